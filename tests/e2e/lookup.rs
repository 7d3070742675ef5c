//! The number look-up: what kind of line a user's number is decides how a code goes there, or that none does; the page
//! says nothing of it.

use serde_json::json;

use crate::common::journey::GENEROUS;
use crate::common::more::number;
use crate::common::{Gateway, House, STRANGER, Scene, Simulator, Upstream, config, provider};

/// A scene where Lookup is asked; `more` are keys of `[lookup]`, `flags` of the simulator.
async fn scene(more: &str, flags: &[&str]) -> Scene {
    let simulator = Simulator::start(flags);
    let upstream = Upstream::start().await;
    let lookup = format!(
        "[lookup]\nkind = \"twilio\"\nbase_url = \"{}\"\naccount_sid = \"AC{}\"\nauth_token = {{ file = \"{{dir}}/token\" }}\n{more}\n",
        simulator.url,
        "0".repeat(32)
    );
    let sections = format!("{lookup}\n{GENEROUS}");
    let house = House::with_providers(&provider("twilio", &simulator.url), &config(&upstream, &sections, ""));
    let users: Vec<_> = (0..8).map(|n| (format!("u{n}"), number(n))).collect();
    house.add_users(&users.iter().map(|(name, to)| (name.as_str(), to.as_str())).collect::<Vec<_>>());
    let gateway = Gateway::start(&house);
    Scene { simulator, upstream, house, gateway }
}

async fn is(scene: &Scene, n: usize, line: serde_json::Value) {
    let mut line = line;
    line["to"] = number(n).into();
    let set =
        crate::common::http().post(format!("{}/simulator/lines", scene.simulator.url)).json(&line).send();
    assert!(set.await.unwrap().status().is_success());
}

async fn look_ups(scene: &Scene) -> usize {
    let asked = scene.simulator.requests().await;
    asked.iter().filter(|request| request["path"].as_str().unwrap().contains("/PhoneNumbers/")).count()
}

/// Asks for a code; the channels it went by, and what the trail says of the number.
async fn start(scene: &Scene, n: usize) -> (Vec<String>, Option<String>) {
    let browser = scene.browser();
    assert_eq!(browser.start(&number(n)).await.status, 303);
    let page = browser.challenge().await;
    page.expect(200, "If this number is known here, a code was sent by text to");
    let messages = scene.simulator.messages().await;
    let channels = messages.iter().filter(|message| message["to"] == number(n));
    let story = scene.house.json(&["audit", "show", page.reference().unwrap()]);
    let events = story["events"].as_array().unwrap();
    let refused = events.iter().find(|event| event["event"] == "number_refused");
    (
        channels.map(|message| message["channel"].as_str().unwrap().to_owned()).collect(),
        refused.map(|event| event["detail"].as_str().unwrap().to_owned()),
    )
}

#[tokio::test]
async fn the_kind_of_a_line_decides_and_is_asked_once() {
    let scene = scene("on_failure = \"refuse\"", &[]).await;
    for (n, kind) in
        ["mobile", "landline", "fixedVoip", "nonFixedVoip", "premium", "tollFree"].iter().enumerate()
    {
        is(&scene, n, json!({"type": kind})).await;
    }
    let seen = [
        (0, vec!["sms"], None),
        (1, vec!["call"], Some("a landline gets a call")),
        (2, vec!["sms"], None),
        (3, vec![], Some("an internet telephone number of an app")),
        (4, vec![], Some("a number that gets no codes: premium, toll-free or the like")),
        (5, vec![], Some("a number that gets no codes: premium, toll-free or the like")),
    ];
    for (n, channels, trail) in seen {
        let (by, refused) = start(&scene, n).await;
        assert_eq!(
            (by, refused.as_deref()),
            (channels.into_iter().map(str::to_owned).collect(), trail),
            "{n}"
        );
    }
    assert_eq!(look_ups(&scene).await, 6);

    // A second code, another browser, another gateway: what is known is not asked again, nor is a stranger's number.
    scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
    assert_eq!(start(&scene, 1).await.0, ["call", "call"]);
    assert_eq!(scene.browser().start(STRANGER).await.status, 303);
    let mut scene = scene;
    scene.restart();
    assert!(start(&scene, 3).await.0.is_empty());
    assert_eq!(look_ups(&scene).await, 6);
    assert!(scene.simulator.requests().await.iter().all(|request| !request.to_string().contains(STRANGER)));

    // What is a month old is asked again.
    scene
        .house
        .sql("UPDATE line SET kind_at = kind_at - 2592000; UPDATE challenge SET sent_at = sent_at - 60");
    is(&scene, 3, json!({"type": "mobile"})).await;
    assert_eq!(start(&scene, 3).await.0, ["sms"]);
    assert_eq!(look_ups(&scene).await, 7);
    let log = scene.gateway.stop();
    assert!(!log.contains("4152") && !log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_landline_that_may_not_be_called_gets_nothing() {
    let more = "on_failure = \"allow\"\n[challenge]\nchannels = [\"sms\"]";
    let scene = scene(more, &["--line", &format!("{}=landline", number(0))]).await;
    let (by, refused) = start(&scene, 0).await;
    assert_eq!((by.len(), refused.as_deref()), (0, Some("a landline, and calls are not offered")));
}

#[tokio::test]
async fn a_swapped_sim_gets_no_code_by_phone() {
    let more = "sim_swap = true\nline_type = false\non_failure = \"refuse\"";
    let scene = scene(more, &["--swapped", &number(0)]).await;
    let (by, refused) = start(&scene, 0).await;
    assert_eq!((by.len(), refused.as_deref()), (0, Some("its SIM was swapped lately")));
    assert_eq!(start(&scene, 1).await.0, ["sms"]);
    // Asked for by call, it gets none either, and no code is right.
    let browser = scene.browser();
    browser.start(&number(0)).await;
    assert_eq!(browser.resend("call").await.status, 303);
    assert!(browser.mistype("123456").await.text.contains("This code is not right"));
    assert_eq!(scene.simulator.sent_to(&number(0)).await, 0);
    assert_eq!(scene.simulator.calls("/VerificationCheck").await, 0);
    assert_eq!(look_ups(&scene).await, 2);
    scene
        .house
        .sql("UPDATE line SET swapped_at = swapped_at - 3600; UPDATE challenge SET sent_at = sent_at - 60");
    is(&scene, 0, json!({"type": "mobile"})).await;
    assert_eq!(start(&scene, 0).await.0, ["sms"], "an hour later it is asked again");
}

#[tokio::test]
async fn a_kind_that_cannot_be_said_does_not_hide_a_swapped_sim() {
    let scene = scene("sim_swap = true\nsim_swap_lasts = \"10m\"\non_failure = \"allow\"", &[]).await;
    is(&scene, 0, json!({"type": "mobile", "swapped": true})).await;
    for asked in [1, 2] {
        assert_eq!(
            start(&scene, 0).await,
            (vec![], Some("its SIM was swapped lately".to_owned())),
            "{asked}"
        );
        assert_eq!(look_ups(&scene).await, asked);
        scene.house.sql(
            "UPDATE line SET kind = NULL, swapped_at = swapped_at - 600; UPDATE challenge SET sent_at = sent_at - 60",
        );
    }
    let requests = scene.simulator.requests().await;
    let last = requests.iter().rfind(|request| request["path"].as_str().unwrap().contains("/PhoneNumbers/"));
    assert!(!last.unwrap().to_string().contains("line_type"), "only what is old is asked again: {last:?}");
}

#[tokio::test]
async fn what_happens_without_an_answer_is_the_operators_choice() {
    for (choice, sent) in [("allow", 1), ("refuse", 0)] {
        let scene = scene(&format!("on_failure = \"{choice}\"\ntimeout = \"1s\""), &[]).await;
        let faults = ["500", "20003", "20429", "html", "empty", "malformed_json", "drop_before", "slow"];
        for (n, fault) in faults.iter().enumerate() {
            let fault = json!({"on": "lookup", "fault": fault, "times": 0, "delay_ms": if *fault == "slow" { 1_500 } else { 0 }});
            scene.simulator.fault(fault.clone()).await;
            let (by, refused) = start(&scene, n).await;
            scene.simulator.clear_faults().await;
            assert_eq!(by.len(), sent, "{choice} {fault}");
            let trail = (sent == 0).then_some("the number look-up could not be asked");
            assert_eq!(refused.as_deref(), trail, "{choice} {fault}");
        }
        // A failure is not remembered.
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
        assert_eq!(start(&scene, 0).await.0.len(), sent + 1, "{choice}");
        // A package that failed says so inside a success.
        is(&scene, 1, json!({"type": "mobile", "error_code": 60600})).await;
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
        assert_eq!(start(&scene, 1).await.0.len(), sent * 2, "{choice}");
        // It is asked again an hour later only: each question costs money.
        let asked = look_ups(&scene).await;
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
        assert_eq!(start(&scene, 1).await.0.len(), sent * 3, "{choice}");
        assert_eq!(look_ups(&scene).await, asked, "{choice}");
        scene
            .house
            .sql("UPDATE challenge SET sent_at = sent_at - 60; UPDATE line SET kind_at = kind_at - 3600");
        start(&scene, 1).await;
        assert_eq!(look_ups(&scene).await, asked + 1, "{choice}");
    }
}
