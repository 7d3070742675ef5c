//! Two providers: the first that can, sends; whoever sent, checks; who fails again and again is left alone; and however
//! they fail, one message goes out at most and nobody gets in by it.

use serde_json::json;

use crate::common::journey::GENEROUS;
use crate::common::more::number;
use crate::common::{Browser, Gateway, House, STRANGER, Simulator, Upstream, config, eventually, provider};

const DOWN: &str = "Codes cannot be sent at the moment";
const UNTOLD: &str = "If this number is known here, a code was sent by text";
const UNCONFIRMED: &str = "We could not confirm that the message went out. If a code arrives, it works";

/// A gateway with two providers of a second's patience, and users with the numbers from 0.
struct Two {
    first: Simulator,
    second: Simulator,
    house: House,
    gateway: Gateway,
    _upstream: Upstream,
}

impl Two {
    async fn start(users: usize) -> Self {
        let (first, second) = (Simulator::start(&[]), Simulator::start(&[]));
        let upstream = Upstream::start().await;
        let providers = [("first", &first), ("second", &second)];
        let providers = providers.map(|(name, at)| format!("{}timeout = \"1s\"\n", provider(name, &at.url)));
        let house = House::with_providers(&providers.concat(), &config(&upstream, GENEROUS, ""));
        house.add_many(users);
        let gateway = Gateway::start(&house);
        Self { first, second, house, gateway, _upstream: upstream }
    }

    fn browser(&self) -> Browser {
        Browser::new(self.gateway.address)
    }

    /// How many messages each has sent to a number.
    async fn sent(&self, to: &str) -> (usize, usize) {
        (self.first.sent_to(to).await, self.second.sent_to(to).await)
    }

    /// How many calls of a kind each has had.
    async fn calls(&self, path: &str) -> (usize, usize) {
        (self.first.calls(path).await, self.second.calls(path).await)
    }

    /// Somebody signs in by the first, whose failures in a row are then forgotten.
    async fn settle(&self, to: &str) {
        self.browser().sign_in(&self.first, to).await;
    }

    async fn both(&self, fault: serde_json::Value) {
        self.first.fault(fault.clone()).await;
        self.second.fault(fault).await;
    }

    async fn clear(&self) {
        self.first.clear_faults().await;
        self.second.clear_faults().await;
    }
}

fn fault(on: &str, name: &str) -> serde_json::Value {
    json!({"on": on, "fault": name, "times": 0, "delay_ms": if name == "slow" { 1_500 } else { 0 }})
}

#[tokio::test]
async fn what_certainly_was_not_sent_is_sent_by_the_next() {
    let faults = ["500", "503", "20003", "20404", "20429", "20429_retry_after"];
    let mut two = Two::start(faults.len() + 2).await;
    let regular = number(faults.len());
    two.settle(&regular).await;
    assert_eq!(two.sent(&regular).await, (1, 0), "in good health the first sends");
    for (n, name) in faults.into_iter().enumerate() {
        let (browser, to) = (two.browser(), number(n));
        two.first.fault(fault("start", name)).await;
        assert_eq!(browser.start(&to).await.status, 303, "{name}");
        two.first.clear_faults().await;
        assert_eq!(two.sent(&to).await, (0, 1), "{name}");
        let page = browser.challenge().await;
        page.expect(200, UNTOLD);
        let events = two.house.events(page.reference().unwrap());
        assert_eq!(events, ["challenge_started", "send_failed", "code_sent"], "{name}");
        assert_eq!(browser.verify(&two.second.code(&to).await).await.status, 303, "{name}");
        assert!(browser.is_in().await, "{name}");
        two.settle(&regular).await;
    }
    assert_eq!(two.second.messages().await.len(), faults.len());
    let log = two.gateway.log();
    assert!(!log.contains("is left alone") && !log.contains("panicked"), "{log}");

    // Nobody there at all.
    let (to, Two { first, second, house: _house, gateway, .. }) = (number(faults.len() + 1), two);
    first.stop();
    let browser = Browser::new(gateway.address);
    browser.sign_in(&second, &to).await;
    assert!(browser.is_in().await && second.sent_to(&to).await == 1);
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_twice() {
    let faults = ["drop_after", "slow", "malformed_json", "empty", "drop_before", "html"];
    let two = Two::start(faults.len() + 1).await;
    let regular = number(faults.len());
    for (n, name) in faults.into_iter().enumerate() {
        let (browser, to) = (two.browser(), number(n));
        two.first.fault(fault("start", name)).await;
        assert_eq!(browser.start(&to).await.status, 303, "{name}");
        two.first.clear_faults().await;
        browser.challenge().await.expect(200, UNCONFIRMED);
        let arrived = usize::from(!["drop_before", "html"].contains(&name));
        assert_eq!(two.sent(&to).await, (arrived, 0), "{name}");
        if arrived == 0 {
            // It did not: another one does.
            assert_eq!(browser.resend("call").await.status, 303);
            assert_eq!(two.sent(&to).await, (1, 0), "{name}");
        }
        assert_eq!(browser.verify(&two.first.code(&to).await).await.status, 303, "{name}");
        assert!(browser.is_in().await, "{name}");
        two.settle(&regular).await;
    }
    assert_eq!(two.calls("/Verifications").await.1, 0, "the second is never asked");
}

#[tokio::test]
async fn a_number_that_the_first_refuses_is_sent_to_by_the_second_and_nobody_sees_it() {
    let refusals = ["60410", "60605", "21608"];
    let two = Two::start(refusals.len()).await;
    let stranger = two.browser();
    let strangers = [stranger.start(STRANGER).await.normal(), stranger.challenge().await.normal()];
    for (n, name) in refusals.into_iter().enumerate() {
        let (browser, to) = (two.browser(), number(n));
        two.first.fault(fault("start", name)).await;
        let said = [browser.start(&to).await.normal(), browser.challenge().await.normal()];
        assert_eq!(said, strangers, "{name}");
        eventually("the second sends", async || two.sent(&to).await == (0, 1)).await;
        let delivered =
            format!("SELECT 1 FROM challenge WHERE subject = 'user:{}' AND provider = 'second'", n + 1);
        eventually("it is written down", async || two.house.finds(&delivered)).await;
        let page = browser.challenge().await;
        assert_eq!(page.normal(), strangers[1], "{name}, once it is sent");
        // A second tab joins it, and its code is the same.
        let tab = two.browser();
        assert_eq!(tab.start(&to).await.status, 303, "{name}");
        assert_eq!(two.sent(&to).await, (0, 1), "{name}");
        let events = two.house.events(page.reference().unwrap());
        assert_eq!(events, ["challenge_started", "send_failed", "code_sent"], "{name}");
        assert_eq!(tab.verify(&two.second.code(&to).await).await.location(), "/", "{name}");
        assert!(tab.is_in().await, "{name}");
        two.first.clear_faults().await;
    }
    assert_eq!(two.calls("/Verifications").await, (refusals.len(), refusals.len()));
}

#[tokio::test]
async fn what_every_provider_would_say_of_a_number_is_not_asked_twice() {
    let refusals = ["60203", "60202", "60212", "60205", "60200"];
    let two = Two::start(refusals.len()).await;
    for (n, name) in refusals.into_iter().enumerate() {
        let (browser, to) = (two.browser(), number(n));
        two.first.fault(fault("start", name)).await;
        assert_eq!(browser.start(&to).await.status, 303, "{name}");
        two.first.clear_faults().await;
        browser.challenge().await.expect(200, UNTOLD);
        browser.mistype("123456").await.expect(200, "4 tries left");
        assert_eq!(two.sent(&to).await, (0, 0), "{name}");
    }
    let (starts, checks) = (two.calls("/Verifications").await, two.calls("/VerificationCheck").await);
    assert_eq!((starts.1, checks), (0, (0, 0)));
}

#[tokio::test]
async fn a_challenge_remembers_who_holds_its_code() {
    let two = Two::start(2).await;
    let (browser, to) = (two.browser(), number(0));
    two.first.fault(fault("any", "503")).await;
    assert_eq!(browser.start(&to).await.status, 303);
    two.first.clear_faults().await;
    let starts = two.calls("/Verifications").await;

    // The first is back, and is not asked about a code it never sent.
    let wrong = two.second.wrong_code(&to).await;
    browser.mistype(&wrong).await.expect(200, "4 tries left");
    assert_eq!(two.calls("/VerificationCheck").await, (0, 1));
    assert_eq!(browser.resend("call").await.status, 303);
    assert_eq!(two.sent(&to).await, (0, 2), "another goes to the holder");
    assert_eq!(two.calls("/Verifications").await.0, starts.0);
    let messages = two.second.messages().await;
    assert_eq!(messages[0]["code"], messages[1]["code"], "and is the same code");
    // A second tab, after the time in which it would join, shares the holder too.
    two.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
    let tab = two.browser();
    assert_eq!(tab.start(&to).await.status, 303);
    assert_eq!(two.sent(&to).await, (0, 3));
    let old = two.second.code(&to).await;

    // The holder is down when another is asked for: the first sends a new one, and now holds it.
    two.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
    two.second.fault(fault("any", "503")).await;
    assert_eq!(tab.resend("sms").await.status, 303);
    assert_eq!(two.sent(&to).await, (1, 3));
    let new = two.first.code(&to).await;
    if old != new {
        tab.mistype(&old).await.expect(200, "tries left");
    }
    assert_eq!(tab.verify(&new).await.status, 303);
    assert!(tab.is_in().await);
    two.second.clear_faults().await;

    // The holder is down when a code is typed: nobody else can judge it, and it stays good.
    let (late, to) = (two.browser(), number(1));
    assert_eq!(late.start(&to).await.status, 303);
    let code = two.first.code(&to).await;
    two.first.fault(fault("any", "503")).await;
    let checks = two.calls("/VerificationCheck").await.1;
    late.verify(&code).await.expect(503, "Your code could not be checked just now");
    assert!(!late.is_in().await);
    assert_eq!(two.calls("/VerificationCheck").await.1, checks);
    two.first.clear_faults().await;
    assert_eq!(late.verify(&code).await.status, 303);
    assert!(late.is_in().await);
}

#[tokio::test]
async fn who_fails_three_times_in_a_row_is_left_alone() {
    let mut two = Two::start(6).await;
    two.gateway.has_figure("vestibule_provider_asked{provider=\"first\"} 1").await;
    two.first.fault(fault("start", "503")).await;
    for n in 0..3 {
        assert_eq!(two.browser().start(&number(n)).await.status, 303, "{n}");
    }
    two.gateway.has_logged("the provider fails and is left alone").await;
    let log = two.gateway.log();
    let line = log.lines().find(|line| line.contains("is left alone")).unwrap();
    assert!(line.contains("\"provider\":\"first\"") && line.contains("\"seconds\":10"), "{line}");
    two.gateway.has_figure("vestibule_provider_asked{provider=\"first\"} 0").await;
    two.gateway.has_figure("vestibule_provider_asked{provider=\"second\"} 1").await;
    let failed =
        "vestibule_provider_calls_total{provider=\"first\",channel=\"sms\",outcome=\"provider_down\"} 3";
    two.gateway.has_figure(failed).await;

    let before = two.first.requests().await.len();
    for n in 3..6 {
        let browser = two.browser();
        browser.sign_in(&two.second, &number(n)).await;
        assert!(browser.is_in().await);
    }
    assert_eq!(two.browser().start(STRANGER).await.status, 303);
    assert_eq!(two.first.requests().await.len(), before, "not one call reaches it, also not for a stranger");
    assert_eq!(two.second.messages().await.len(), 6);
}

#[tokio::test]
async fn when_all_are_down_everybody_is_told_the_same() {
    let mut two = Two::start(8).await;
    two.both(fault("any", "503")).await;
    // A stranger comes before and after each: what one meets, all meet.
    for n in 0..3 {
        let before = two.browser().start(&number(100 + n)).await;
        before.expect(503, DOWN);
        let known = two.browser().start(&number(n)).await;
        assert_eq!(known.normal(), before.normal(), "{n}");
    }
    // Three failures: from now on nobody is asked, and everybody hears when to come back.
    for name in ["first", "second"] {
        two.gateway.has_figure(&format!("vestibule_provider_asked{{provider=\"{name}\"}} 0")).await;
    }
    let calls = two.calls("/Verifications").await;
    let [stranger, known] = [two.browser().start(STRANGER).await, two.browser().start(&number(5)).await];
    known.expect(503, DOWN);
    assert!((1..=10).contains(&known.retry_after()), "{known:#?}");
    assert_eq!(stranger.normal(), known.normal());
    assert!(stranger.retry_after().abs_diff(known.retry_after()) <= 1);
    let program = two.browser();
    for phone in [number(6), number(106)] {
        let page = program.api("request", &json!({"phoneNumber": phone})).await;
        assert_eq!((page.status.as_u16(), page.json()), (503, json!({"error": "provider_unavailable"})));
    }
    assert_eq!(two.calls("/Verifications").await, calls, "nobody is asked while they rest");
    let failed = two.house.details("send_failed");
    assert!(failed.last().unwrap().contains("resting, not asked for another"), "{failed:?}");
    assert!(two.first.messages().await.is_empty() && two.second.messages().await.is_empty());
    assert!(two.house.sessions().is_empty());
}

#[tokio::test]
async fn lesson_45_no_outage_at_any_step_lets_anybody_in() {
    let faults = [
        "500",
        "503",
        "html",
        "20003",
        "20404",
        "20429",
        "60202",
        "60203",
        "60205",
        "60212",
        "60410",
        "21608",
        "malformed_json",
        "empty",
        "drop_before",
        "drop_after",
        "slow",
    ];
    let mut two = Two::start(faults.len()).await;
    for (n, name) in faults.into_iter().enumerate() {
        // Nobody is left alone yet.
        two.gateway.stop();
        two.gateway = Gateway::start(&two.house);
        let (browser, to) = (two.browser(), number(n));
        assert_eq!(browser.start(&to).await.status, 303, "{name}");
        let code = two.first.code(&to).await;
        two.both(fault("any", name)).await;
        // The right code, and the outage is at the check; a new one, and it is at the start.
        let fresh = two.browser();
        let pages = [
            browser.verify(&code).await,
            browser.resend("call").await,
            browser.verify("000000").await,
            fresh.start(&to).await,
            fresh.verify(&code).await,
            fresh.resend("sms").await,
        ];
        for (step, page) in pages.iter().enumerate() {
            assert_ne!(page.status, 200, "{name}, step {step}");
            assert!(!page.header("set-cookie").starts_with("vestibule="), "{name}, step {step}: {page:#?}");
        }
        for one in [&browser, &fresh] {
            assert!(one.cookie("vestibule").is_none() && !one.is_in().await, "{name}");
        }
        two.clear().await;
    }
    assert!(two.house.sessions().is_empty());
}
