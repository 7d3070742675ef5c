//! Every fault at every step of the journey: each ends in a named outcome, lets nobody in, sends nothing twice without
//! need, and once it is over the person gets in. Every row is printed.

use std::fmt::Write as _;

use crate::common::browser::Page;
use crate::common::journey::{Kind, Stage, TWILIO, VONAGE, VONAGE_V1, said};
use crate::common::more::number;
use crate::common::{Browser, Gateway};

/// What happens to the transport is the same everywhere.
const TRANSPORT: [&str; 8] =
    ["500", "503", "html", "slow", "empty", "malformed_json", "drop_before", "drop_after"];
const OF_TWILIO: [&str; 14] = [
    "20003",
    "20404",
    "20429",
    "20429_retry_after",
    "21608",
    "25109",
    "60200",
    "60202",
    "60203",
    "60205",
    "60212",
    "60410",
    "60605",
    "70051",
];
const OF_VONAGE: [&str; 9] = ["401", "402", "404", "409", "410", "412", "422", "429", "429_retry_after"];
const OF_VONAGE_V1: [&str; 13] = [
    "401", "429", "v1_1", "v1_3", "v1_4", "v1_5", "v1_6", "v1_7", "v1_9", "v1_10", "v1_15", "v1_17", "v1_19",
];

fn faults(kind: &Kind) -> Vec<&'static str> {
    let own: &[_] = match kind.word {
        "twilio" => &OF_TWILIO,
        "vonage" => &OF_VONAGE,
        _ => &OF_VONAGE_V1,
    };
    TRANSPORT.iter().chain(own).copied().collect()
}

/// The name of what a person sees. A page that has none fails the test.
fn name(page: &Page) -> &'static str {
    let said = said(&page.text);
    let known = [
        ("If this number is known here", "as sent"),
        ("If you are known here", "as sent again"),
        ("We could not confirm that the message went out", "unconfirmed"),
        ("Codes cannot be sent at the moment", "nobody sends"),
        ("Your code could not be checked just now", "not checked"),
        ("The service that sends codes is busy", "busy"),
        ("This code has expired", "expired"),
        ("This code is not right", "wrong"),
        ("Too many codes were tried", "used up"),
    ];
    let found = known.iter().find(|(begins, _)| said.starts_with(begins));
    found.unwrap_or_else(|| panic!("a page without a name: {said:?}\n{page:#?}")).1
}

/// The page an answer leads to.
async fn seen(browser: &Browser, answer: Page) -> Page {
    let location = answer.location().to_owned();
    if location.starts_with("/.vestibule/challenge") { browser.go(&location).await } else { answer }
}

async fn wrong(stage: &Stage, to: &str) -> String {
    stage.scene.simulator.wrong_code(to).await
}

/// Goes to the step, with the fault on during it; what the person saw, and how many messages may have gone out.
async fn step(stage: &Stage, step: &str, fault: &str, browser: &Browser, to: &str) -> (Page, usize) {
    let kind = stage.kind;
    if step != "start" {
        assert_eq!(browser.start(to).await.status, 303);
    }
    match step {
        "start" => {
            stage.fault("start", fault).await;
            (seen(browser, browser.start(to).await).await, 1)
        }
        "resend" => {
            stage.fault(kind.resend, fault).await;
            (seen(browser, browser.resend("call").await).await, 2)
        }
        "check" => {
            let code = stage.scene.simulator.code(to).await;
            stage.fault("check", fault).await;
            (seen(browser, browser.verify(&code).await).await, 1)
        }
        _ => {
            for _ in 1..kind.checks {
                browser.verify(&wrong(stage, to).await).await;
            }
            stage.fault(kind.cancel, fault).await;
            (seen(browser, browser.verify(&wrong(stage, to).await).await).await, 1)
        }
    }
}

/// The trouble is over: with the newest code, or with another one, the person gets in.
async fn gets_in(stage: &Stage, browser: &Browser, to: &str) -> &'static str {
    if stage.scene.simulator.sent_to(to).await > 0 {
        browser.verify(&stage.scene.simulator.code(to).await).await;
        if browser.is_in().await {
            return "with the code they have";
        }
    }
    // The half minute between two messages is over, and so is what the provider still had under way.
    stage.scene.house.sql("UPDATE challenge SET sent_at = sent_at - 3600, expires_at = expires_at - 3600 WHERE state <> 'accepted'");
    let afresh = stage.scene.browser();
    for _ in 0..2 {
        let before = stage.scene.simulator.sent_to(to).await;
        afresh.start(to).await;
        if stage.scene.simulator.sent_to(to).await > before {
            afresh.verify(&stage.scene.simulator.code(to).await).await;
        }
        if afresh.is_in().await {
            return "with another code";
        }
    }
    "once the provider's code has expired"
}

async fn matrix(kind: Kind, name_of_step: &str) {
    let mut stage = Stage::new(kind).await;
    let mut rows = String::new();
    for fault in faults(&kind) {
        let (browser, to) = stage.next_person();
        let context = format!("{} | {name_of_step} | {fault}", kind.word);
        let (page, most) = step(&stage, name_of_step, fault, &browser, &to).await;
        let outcome = name(&page);
        assert!(!browser.is_in().await && browser.cookie("vestibule").is_none(), "{context} let somebody in");
        let messages = stage.scene.simulator.sent_to(&to).await;
        assert!(messages <= most, "{context} sent {messages} messages");
        stage.scene.simulator.clear_faults().await;
        let then = gets_in(&stage, &browser, &to).await;
        let _ = writeln!(rows, "{context} | {outcome} | {messages} | then in {then}");
        stage.heal().await;
    }
    println!("{rows}");
    assert!(!stage.scene.gateway.stop().contains("panicked"));
}

/// A gateway whose provider answers badly when it is asked at the start runs all the same, and serves once it is over.
async fn at_the_start_of_the_gateway(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    let (mut rows, mut strangers) = (String::new(), 0);
    for fault in faults(&kind) {
        stage.fault(kind.probe, fault).await;
        let gateway = Gateway::start(&stage.scene.house);
        let stranger = Browser::new(gateway.address);
        strangers += 1;
        let page = seen(&stranger, stranger.start(&number(5_000 + strangers)).await).await;
        let outcome = name(&page);
        stage.scene.simulator.clear_faults().await;
        let (_, to) = stage.next_person();
        let browser = Browser::new(gateway.address);
        browser.sign_in(&stage.scene.simulator, &to).await;
        let _ = writeln!(
            rows,
            "{} | probe | {fault} | {outcome} for a stranger | 1 | then in with the code they have",
            kind.word
        );
    }
    println!("{rows}");
}

macro_rules! matrix {
    ($($name:ident: $kind:ident, $step:literal;)*) => {
        $(#[tokio::test]
        async fn $name() {
            matrix($kind, $step).await;
        })*
    };
}

matrix! {
    twilio_start: TWILIO, "start";
    twilio_resend: TWILIO, "resend";
    twilio_check: TWILIO, "check";
    twilio_cancel: TWILIO, "cancel";
    vonage_start: VONAGE, "start";
    vonage_resend: VONAGE, "resend";
    vonage_check: VONAGE, "check";
    vonage_cancel: VONAGE, "cancel";
    vonage_v1_start: VONAGE_V1, "start";
    vonage_v1_resend: VONAGE_V1, "resend";
    vonage_v1_check: VONAGE_V1, "check";
    vonage_v1_cancel: VONAGE_V1, "cancel";
}

#[tokio::test]
async fn twilio_probe() {
    at_the_start_of_the_gateway(TWILIO).await;
}

#[tokio::test]
async fn vonage_probe() {
    at_the_start_of_the_gateway(VONAGE).await;
}

#[tokio::test]
async fn vonage_v1_probe() {
    at_the_start_of_the_gateway(VONAGE_V1).await;
}
