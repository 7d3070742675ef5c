//! Every fault at every step of the journey: each ends in a named outcome, lets nobody in, sends nothing twice without
//! need, and once it is over the person gets in. Every row is printed.

use crate::common::browser::Page;
use crate::common::journey::{Kind, Stage, TWILIO, VONAGE, VONAGE_V1, said};
use crate::common::more::number;
use crate::common::{Browser, Gateway, eventually};

/// How each fault must end, for each kind of provider and step: what the person sees, how many messages went to them,
/// and how they get in when it is over. Where a stranger goes the same way, they see the same.
const TABLE: &str = include_str!("faults.md");

/// What happens to the transport is the same everywhere.
const TRANSPORT: [&str; 8] =
    ["500", "503", "html", "slow", "empty", "malformed_json", "drop_before", "drop_after"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    fault: String,
    seen: String,
    messages: usize,
    then: String,
}

/// The rows of one step, one for each fault.
fn rows(kind: &Kind, step: &str) -> Vec<Row> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let lines = TABLE.lines().filter(|line| line.starts_with('|')).map(cells);
    let mut rows = Vec::new();
    for line in lines.filter(|line: &Vec<String>| line[0] == kind.word && line[1] == step) {
        let [_, _, faults, seen, messages, then] = &line[..] else { panic!("not six cells: {line:?}") };
        for fault in faults.split(['`', ' ']).filter(|fault| !fault.is_empty()) {
            let messages = messages.parse().unwrap();
            rows.push(Row { fault: fault.to_owned(), seen: seen.clone(), messages, then: then.clone() });
        }
    }
    rows
}

#[test]
fn every_fault_of_a_provider_is_at_every_step_once() {
    for kind in [TWILIO, VONAGE, VONAGE_V1] {
        let faults = |step| {
            let mut faults: Vec<_> = rows(&kind, step).into_iter().map(|row| row.fault).collect();
            faults.sort();
            faults
        };
        let all = faults("start");
        assert!(TRANSPORT.iter().all(|fault| all.iter().any(|known| known == fault)), "{}", kind.word);
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{}: twice: {all:?}", kind.word);
        for step in ["resend", "again", "check", "cancel", "probe"] {
            assert_eq!(faults(step), all, "{} {step}", kind.word);
        }
    }
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

async fn wrong(stage: &Stage, to: &str) -> String {
    stage.scene.simulator.wrong_code(to).await
}

/// Goes to the step, with the fault on during it; what the person saw.
async fn step(stage: &Stage, step: &str, fault: &str, browser: &Browser, to: &str) -> Page {
    let kind = stage.kind;
    if step != "start" {
        assert_eq!(browser.start(to).await.status, 303);
    }
    let answer = match step {
        "start" => {
            stage.fault("start", fault).await;
            browser.start(to).await
        }
        "resend" => {
            stage.fault(kind.resend, fault).await;
            browser.resend("call").await
        }
        "again" => {
            stage.scene.house.passes(60);
            for on in kind.again {
                stage.fault(on, fault).await;
            }
            browser.resend("sms").await
        }
        "check" => {
            let code = stage.scene.simulator.code(to).await;
            stage.fault("check", fault).await;
            browser.verify(&code).await
        }
        _ => {
            for _ in 1..kind.checks {
                browser.verify(&wrong(stage, to).await).await;
            }
            stage.fault(kind.cancel, fault).await;
            browser.verify(&wrong(stage, to).await).await
        }
    };
    browser.follow(answer).await
}

/// A stranger went the same way until the fault, and meets it after the person: what they see.
async fn stranger_sees(step: &str, stranger: &Browser, number: &str) -> Page {
    let answer = match step {
        "start" => stranger.start(number).await,
        "resend" => stranger.resend("call").await,
        _ => stranger.resend("sms").await,
    };
    stranger.follow(answer).await
}

/// The gateway has told the provider to forget a code, and has its last word.
async fn told_to_forget(stage: &mut Stage, fault: &str, reference: &str) {
    let works = ["slow", "empty", "malformed_json", "drop_after"].contains(&fault);
    if stage.kind.word == "twilio" && !works {
        let given_up = |line: &str| line.contains("could not be cancelled") && line.contains(reference);
        eventually("it gives up", async || stage.scene.gateway.log().lines().any(given_up)).await;
    }
}

/// The newest code, if there is one, gets the person in.
async fn newest_gets_in(stage: &Stage, browser: &Browser, to: &str, before: usize) -> bool {
    for _ in 0..2 {
        let sent = stage.scene.simulator.sent_to(to).await;
        if sent > before {
            browser.verify(&stage.scene.simulator.code(to).await).await;
        }
        // Where a start was lost, and sent nothing, the first code that is typed has it made once more.
        if stage.scene.simulator.sent_to(to).await == sent {
            break;
        }
    }
    browser.is_in().await
}

/// They ask for another code when the time of the last is over.
async fn another_gets_in(stage: &Stage, to: &str) -> bool {
    stage.scene.house.sql(
        "UPDATE challenge SET sent_at = sent_at - 900, expires_at = expires_at - 900 \
         WHERE state <> 'accepted' AND expires_at > CAST(strftime('%s') AS INTEGER)",
    );
    let (afresh, before) = (stage.scene.browser(), stage.scene.simulator.sent_to(to).await);
    afresh.start(to).await;
    newest_gets_in(stage, &afresh, to, before).await
}

const WITH_THE_CODE: &str = "with the code they have";
const WITH_ANOTHER: &str = "with another code";
/// The provider was not told, or does not know: until it has forgotten the code by itself it sends none.
const LATE: &str = "once the provider has forgotten it";

async fn matrix(kind: Kind, step_name: &str) {
    // A used-up code that Twilio was not told to forget lives on; here it does not live long.
    let flags: &[&str] =
        if (kind.word, step_name) == ("twilio", "cancel") { &["--lifetime", "10"] } else { kind.flags };
    let mut stage = Stage::with(kind, flags).await;
    let (mut found, mut late) = (Vec::new(), Vec::new());
    for row in rows(&kind, step_name) {
        let (browser, to) = stage.next_person();
        let context = format!("{} | {step_name} | {}", kind.word, row.fault);
        let (stranger, strange) = (stage.scene.browser(), number(5_000 + found.len()));
        if ["resend", "again"].contains(&step_name) {
            // What the provider last said of its health serves strangers for two seconds.
            let served = async || stranger.start(&strange).await.status == 303;
            eventually("a stranger is served again", served).await;
        }
        let page = step(&stage, step_name, &row.fault, &browser, &to).await;
        let seen = name(&page).to_owned();
        assert!(!browser.is_in().await && browser.cookie("vestibule").is_none(), "{context} let somebody in");
        let mut beside = String::new();
        if ["start", "resend", "again"].contains(&step_name) {
            let page = stranger_sees(step_name, &stranger, &strange).await;
            if name(&page) != seen {
                beside = format!(", but a stranger: {}", name(&page));
            }
        }
        let messages = stage.scene.simulator.sent_to(&to).await;
        if step_name == "cancel" {
            told_to_forget(&mut stage, &row.fault, page.reference().unwrap()).await;
        }
        stage.scene.simulator.clear_faults().await;
        let then = if newest_gets_in(&stage, &browser, &to, 0).await {
            WITH_THE_CODE
        } else if another_gets_in(&stage, &to).await {
            WITH_ANOTHER
        } else {
            late.push((context, to));
            LATE
        };
        let fault = row.fault.clone();
        found.push((row, Row { fault, seen: seen + &beside, messages, then: then.to_owned() }));
        stage.heal().await;
    }
    for (_, row) in &found {
        let Row { fault, seen, messages, then } = row;
        println!("| {} | {step_name} | {fault} | {seen} | {messages} | {then} |", kind.word);
    }
    for (context, to) in &late {
        eventually(&format!("{context}: in {LATE}"), async || another_gets_in(&stage, to).await).await;
    }
    let wrong: Vec<_> = found.iter().filter(|(wanted, row)| wanted != row).collect();
    assert!(wrong.is_empty(), "wanted and found: {wrong:#?}");
    assert!(!stage.scene.gateway.stop().contains("panicked"));
}

/// A gateway whose provider answers badly when it is asked at the start runs all the same, and serves once it is over.
async fn at_the_start_of_the_gateway(kind: Kind) {
    let mut stage = Stage::new(kind).await;
    let mut found = Vec::new();
    for row in rows(&kind, "probe") {
        stage.fault(kind.probe, &row.fault).await;
        stage.scene.gateway.stop();
        stage.scene.gateway = Gateway::start(&stage.scene.house);
        let stranger = stage.scene.browser();
        let page = stranger.follow(stranger.start(&number(5_000 + found.len())).await).await;
        let seen = name(&page).to_owned();
        stage.scene.simulator.clear_faults().await;
        let (_, to) = stage.next_person();
        let browser = stage.scene.browser();
        browser.sign_in(&stage.scene.simulator, &to).await;
        let (fault, messages) = (row.fault.clone(), stage.scene.simulator.sent_to(&to).await);
        println!("| {} | probe | {fault} | {seen} | {messages} | {WITH_THE_CODE} |", kind.word);
        found.push((row, Row { fault, seen, messages, then: WITH_THE_CODE.to_owned() }));
    }
    let wrong: Vec<_> = found.iter().filter(|(wanted, row)| wanted != row).collect();
    assert!(wrong.is_empty(), "wanted and found: {wrong:#?}");
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
    twilio_again: TWILIO, "again";
    twilio_check: TWILIO, "check";
    twilio_cancel: TWILIO, "cancel";
    vonage_start: VONAGE, "start";
    vonage_resend: VONAGE, "resend";
    vonage_again: VONAGE, "again";
    vonage_check: VONAGE, "check";
    vonage_cancel: VONAGE, "cancel";
    vonage_v1_start: VONAGE_V1, "start";
    vonage_v1_resend: VONAGE_V1, "resend";
    vonage_v1_again: VONAGE_V1, "again";
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
