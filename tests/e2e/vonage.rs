//! Both versions of Vonage Verify, at the simulator: the journey, the resend, and every way an answer can be lost.

use std::path::Path;

use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::common::journey::GENEROUS;
use crate::common::{ALICE, Gateway, House, STRANGER, Scene, Simulator, Upstream, config};
use crate::common::{eventually, http};

const DOWN: &str = "Codes cannot be sent at the moment";
const UNTOLD: &str = "If this number is known here, a code was sent by text";
const UNCONFIRMED: &str = "We could not confirm that the message went out";

/// The secret in every house.
const TOKEN: &str = "a-secret-token-of-32-characters!";

/// A version of the API, with what differs in it.
#[derive(Clone, Copy, Debug)]
struct Version {
    kind: &'static str,
    /// Where a start goes.
    starts: &'static str,
    call: &'static str,
}

const V2: Version = Version { kind: "vonage", starts: "/v2/verify", call: "voice" };
const V1: Version = Version { kind: "vonage-v1", starts: "/verify/json", call: "tts" };

const KEY: &str = "api_key = \"abcd1234\"\napi_secret = { file = \"{dir}/token\" }";
const APPLICATION: &str = "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab";

fn provider(simulator: &Simulator, version: Version, credentials: &str) -> String {
    let Version { kind, .. } = version;
    format!(
        "[[provider]]\nkind = \"{kind}\"\nbase_url = \"{}\"\ntimeout = \"2s\"\n{credentials}\n",
        simulator.url
    )
}

/// A house at a simulator, with alice and a user for each of many cases.
fn house(simulator: &Simulator, upstream: &Upstream, version: Version, credentials: &str) -> House {
    let text = config(upstream, GENEROUS, "");
    let house = House::with_providers(&provider(simulator, version, credentials), &text);
    let more: Vec<_> = (0..20).map(|n| (format!("u{n}"), phone(n))).collect();
    let more = more.iter().map(|(name, phone)| (name.as_str(), phone.as_str()));
    house.add_users(&[("alice", ALICE)].into_iter().chain(more).collect::<Vec<_>>());
    house
}

/// None lies near another: whoever types number after number is stopped.
fn phone(n: usize) -> String {
    format!("+1415555{:04}", 100 + 37 * (n + 1))
}

async fn scene(version: Version, simulate: &[&str]) -> Scene {
    let simulator = Simulator::start_kind("vonage", simulate);
    let upstream = Upstream::start().await;
    let house = house(&simulator, &upstream, version, KEY);
    let gateway = Gateway::start(&house);
    Scene { simulator, upstream, house, gateway }
}

/// From the number to the application, and nothing said that should not be.
async fn journey(mut scene: Scene, more_secret: &str) {
    scene.gateway.has_logged("the provider is there").await;
    let browser = scene.browser();
    assert_eq!(browser.start(ALICE).await.status, 303);
    browser.challenge().await.expect(200, "6-digit code");
    let code = scene.simulator.code(ALICE).await;
    assert_eq!(browser.verify(&code).await.location(), "/");
    assert!(browser.is_in().await);
    assert_eq!(scene.browser().start(STRANGER).await.status, 303);
    assert_eq!(scene.simulator.messages().await.len(), 1, "a stranger gets nothing");
    let log = scene.gateway.stop();
    for secret in [TOKEN, &ALICE[1..], &code, more_secret] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_person_proves_their_phone_by_either_version() {
    for version in [V2, V1] {
        let scene = scene(version, &["--api-key", "abcd1234", "--api-secret", TOKEN]).await;
        journey(scene, "api_secret").await;
    }
}

/// A pair of keys, the public one in a file.
fn keys(directory: &Path) -> (KeyPair, String) {
    let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let file = directory.join("public.pem");
    std::fs::write(&file, pair.public_key_pem()).unwrap();
    (pair, file.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_application_signs_its_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let (pair, public) = keys(directory.path());
    let simulator =
        Simulator::start_kind("vonage", &["--application-id", APPLICATION, "--public-key", &public]);
    let upstream = Upstream::start().await;
    let credentials =
        format!("application_id = \"{APPLICATION}\"\nprivate_key = {{ file = \"{{dir}}/private.pem\" }}");
    let house = house(&simulator, &upstream, V2, &credentials);

    // No key at all is found before anybody is served.
    std::fs::write(house.path("private.pem"), "not a key").unwrap();
    for (command, key) in
        [("serve", "private_key of provider vonage: "), ("check", " provider.private_key: ")]
    {
        let output = house.command(&[command]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        let wanted =
            format!("{key}no RSA private key in PEM (unencrypted, 2048 bits or more); give the file");
        assert!(said.contains(&wanted), "{said}");
        assert!(!said.contains("not a key"), "{said}");
    }
    // Another's key is refused by the provider.
    let (other, _) = keys(tempfile::tempdir().unwrap().path());
    std::fs::write(house.path("private.pem"), other.serialize_pem()).unwrap();
    let mut gateway = Gateway::start(&house);
    gateway.has_logged("configuration, HTTP status 401, error unauthorized").await;
    gateway.stop();

    std::fs::write(house.path("private.pem"), pair.serialize_pem()).unwrap();
    house.run(&["check"]);
    let gateway = Gateway::start(&house);
    journey(Scene { simulator, upstream, house, gateway }, "PRIVATE KEY").await;
}

#[tokio::test]
async fn a_call_after_the_message_brings_the_same_code() {
    for version in [V2, V1] {
        let scene = scene(version, &[]).await;
        let browser = scene.browser();
        browser.start(ALICE).await;
        assert_eq!(browser.resend("call").await.status, 303);
        browser.challenge().await.expect(200, "we are calling now");
        let messages = scene.simulator.messages().await;
        assert_eq!(messages.len(), 2, "{version:?}");
        assert_eq!((&messages[0]["channel"], &messages[1]["channel"]), (&json!("sms"), &json!(version.call)));
        assert_eq!(messages[0]["code"], messages[1]["code"], "{version:?}");
        assert_eq!(scene.simulator.calls(version.starts).await, 1, "{version:?}");
        browser.verify(messages[0]["code"].as_str().unwrap()).await;
        assert!(browser.is_in().await, "{version:?}");
    }
}

#[tokio::test]
async fn another_message_takes_the_place_of_the_first() {
    for version in [V2, V1] {
        let scene = scene(version, &["--cancel-after", "0"]).await;
        let browser = scene.browser();
        browser.start(ALICE).await;
        let first = scene.simulator.code(ALICE).await;
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
        assert_eq!(browser.resend("sms").await.status, 303);
        assert_eq!(scene.simulator.sent_to(ALICE).await, 2, "{version:?}");
        let second = scene.simulator.code(ALICE).await;
        if first != second {
            browser.mistype(&first).await.expect(200, "This code is not right");
        }
        browser.verify(&second).await;
        assert!(browser.is_in().await, "{version:?}");
    }
}

/// Within half a minute nothing can be cancelled: nothing is sent, and what was sent before stays good.
#[tokio::test]
async fn a_code_that_cannot_be_replaced_stays_good() {
    for (version, recorded) in
        [(V2, "in_flight, HTTP status 409"), (V1, "in_flight, HTTP status 200, error 19")]
    {
        let mut scene = scene(version, &[]).await;
        let browser = scene.browser();
        browser.start(ALICE).await;
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
        assert_eq!(browser.resend("sms").await.status, 303);
        scene.gateway.has_logged(recorded).await;
        assert_eq!(scene.simulator.sent_to(ALICE).await, 1, "{version:?}");
        browser.verify(&scene.simulator.code(ALICE).await).await;
        assert!(browser.is_in().await, "{version:?}");
    }
}

#[tokio::test]
async fn a_start_whose_answer_was_lost_is_found_again() {
    let common = ["drop_after", "drop_before", "malformed_json", "empty", "slow"];
    for (version, failing) in [(V2, "500"), (V1, "v1_5")] {
        let scene = scene(version, &[]).await;
        for (n, fault) in common.into_iter().chain([failing]).enumerate() {
            let (browser, to, context) = (scene.browser(), phone(n), format!("{version:?} {fault}"));
            let slow = if fault == "slow" { 1_600 } else { 0 };
            scene.simulator.fault(json!({"on": "start", "fault": fault, "delay_ms": slow})).await;
            assert_eq!(browser.start(&to).await.status, 303, "{context}");
            let page = browser.challenge().await;
            assert!(page.text.contains(UNTOLD) && !page.text.contains(UNCONFIRMED), "{context}: {page:#?}");
            assert_eq!(scene.simulator.sent_to(&to).await, 1, "{context}");
            browser.verify(&scene.simulator.code(&to).await).await;
            assert!(browser.is_in().await, "{context}");
        }
        assert_eq!(scene.simulator.calls(version.starts).await, 12, "{version:?}: two for each");
    }
}

#[tokio::test]
async fn a_start_that_stayed_lost_is_found_when_the_code_is_typed() {
    for version in [V2, V1] {
        let scene = scene(version, &[]).await;
        let browser = scene.browser();
        scene.simulator.fault(json!({"on": "start", "fault": "drop_after", "times": 2})).await;
        assert_eq!(browser.start(ALICE).await.status, 303);
        browser.challenge().await.expect(200, UNCONFIRMED);
        browser.verify(&scene.simulator.code(ALICE).await).await;
        assert!(browser.is_in().await, "{version:?}");
        assert_eq!(scene.simulator.sent_to(ALICE).await, 1, "{version:?}");
    }
}

/// Somebody else has a request for this number: its code opens nothing here.
#[tokio::test]
async fn anothers_request_is_not_taken_over() {
    for (version, recorded) in
        [(V2, "in_flight, HTTP status 409, error concurrent"), (V1, "in_flight, HTTP status 200, error 10")]
    {
        let mut scene = scene(version, &[]).await;
        let number = &ALICE[1..];
        let start = http().post(format!("{}{}", scene.simulator.url, version.starts));
        let start = match version.kind {
            "vonage" => start.basic_auth("theirs12", Some("x")).json(&json!({
                "brand": "Theirs", "code_length": 6, "workflow": [{"channel": "sms", "to": number}],
            })),
            _ => start.form(&[
                ("api_key", "theirs12"),
                ("api_secret", "x"),
                ("number", number),
                ("brand", "Theirs"),
                ("code_length", "6"),
            ]),
        };
        assert!(start.send().await.unwrap().status().is_success());
        let browser = scene.browser();
        assert_eq!(browser.start(ALICE).await.status, 303, "as for a stranger");
        scene.gateway.has_logged(recorded).await;
        browser.mistype(&scene.simulator.code(ALICE).await).await.expect(200, "This code is not right");
        assert!(!browser.is_in().await, "{version:?}");
    }
}

#[tokio::test]
async fn three_wrong_codes_and_then_another_one() {
    for version in [V2, V1] {
        let scene = scene(version, &[]).await;
        let browser = scene.browser();
        browser.start(ALICE).await;
        let (right, wrong) = (scene.simulator.code(ALICE).await, scene.simulator.wrong_code(ALICE).await);
        for left in ["you have 2 tries left", "you have one more try"] {
            browser.mistype(&wrong).await.expect(200, left);
        }
        for code in [&wrong, &right] {
            browser.verify(code).await.expect(429, "Too many codes were tried");
        }
        for channel in ["call", "sms"] {
            scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
            assert_eq!(browser.resend(channel).await.status, 303, "{version:?} {channel}");
        }
        browser.verify(&scene.simulator.code(ALICE).await).await;
        assert!(browser.is_in().await, "{version:?}");
    }
}

#[tokio::test]
async fn refused_credentials_are_named_and_people_are_served_all_the_same() {
    for (version, recorded) in [
        (V2, "configuration, HTTP status 401, error unauthorized"),
        (V1, "configuration, HTTP status 200, error 4"),
    ] {
        let mut scene = scene(version, &["--api-secret", "another"]).await;
        scene.gateway.has_logged("the provider refuses us").await;
        let log = scene.gateway.log();
        let line = log.lines().find(|line| line.contains("the provider refuses us")).unwrap();
        assert!(line.contains("\"ERROR\"") && line.contains(recorded), "{line}");
        assert!(line.contains("check its credentials in [[provider]]"), "{line}");
        for phone in [ALICE, STRANGER] {
            scene.browser().start(phone).await.expect(503, DOWN);
        }
    }
}

/// It would send the second step by itself.
#[tokio::test]
async fn a_code_that_nobody_typed_is_cancelled() {
    let scenes = [scene(V2, &[]).await, scene(V1, &[]).await];
    for scene in &scenes {
        scene.browser().start(ALICE).await;
        scene.house.sql("UPDATE challenge SET expires_at = created_at");
    }
    for scene in &scenes {
        let is_cancel = |request: &Value| {
            let is_v2 = request["method"] == "DELETE" && request["status"] != 401;
            is_v2 || request["form"]["cmd"] == "cancel"
        };
        // The probe of version 2 is a cancellation too.
        let probes = if scene.simulator.calls("/v2/verify").await > 0 { 1 } else { 0 };
        eventually("the code is cancelled", async || {
            scene.simulator.requests().await.iter().filter(|request| is_cancel(request)).count() > probes
        })
        .await;
    }
}

/// The old request was cancelled to make room, and the name of the new one was lost.
#[tokio::test]
async fn the_code_of_a_resend_whose_answer_was_lost_is_right() {
    for version in [V2, V1] {
        let scene = scene(version, &["--cancel-after", "0"]).await;
        let browser = scene.browser();
        assert_eq!(browser.start(ALICE).await.status, 303);
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
        scene.simulator.fault(json!({"on": "start", "fault": "malformed_json", "times": 0})).await;
        assert_eq!(browser.resend("sms").await.status, 303);
        scene.simulator.clear_faults().await;
        browser.challenge().await.expect(200, UNCONFIRMED);
        assert_eq!(scene.simulator.sent_to(ALICE).await, 2, "it had gone out");
        assert_eq!(browser.verify(&scene.simulator.code(ALICE).await).await.status, 303);
        assert!(browser.is_in().await, "{version:?}");
    }
}

/// What another application of the same account has under way is not ours.
#[tokio::test]
async fn a_code_of_another_application_opens_nothing_however_often_one_asks() {
    let scene = scene(V2, &[]).await;
    let body = json!({
        "brand": "Theirs", "code_length": 6, "workflow": [{"channel": "sms", "to": &ALICE[1..]}],
    });
    let theirs =
        http().post(format!("{}/v2/verify", scene.simulator.url)).basic_auth("abcd1234", Some(TOKEN));
    assert!(theirs.json(&body).send().await.unwrap().status().is_success());
    let code = scene.simulator.code(ALICE).await;
    let browser = scene.browser();
    assert_eq!(browser.start(ALICE).await.status, 303);
    scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
    assert_eq!(browser.resend("sms").await.status, 303);
    browser.mistype(&code).await.expect(200, "This code is not right");
    assert!(!browser.is_in().await);
    assert_eq!(scene.simulator.sent_to(ALICE).await, 1);
}

/// Another provider sent since: nobody types its code any more, and it would send again by itself.
#[tokio::test]
async fn a_code_that_another_provider_took_over_is_cancelled() {
    let (vonage, twilio) = (Simulator::start_kind("vonage", &["--cancel-after", "0"]), Simulator::start(&[]));
    let upstream = Upstream::start().await;
    let twilios = crate::common::provider("twilio", &twilio.url);
    let providers = format!("{}\n{twilios}", provider(&vonage, V2, KEY));
    let house = House::with_providers(&providers, &config(&upstream, GENEROUS, ""));
    house.add_user("alice", ALICE);
    let gateway = Gateway::start(&house);
    let browser = crate::common::Browser::new(gateway.address);
    assert_eq!(browser.start(ALICE).await.status, 303);
    house.sql("UPDATE challenge SET sent_at = sent_at - 60");
    vonage.fault(json!({"on": "any", "fault": "503", "times": 0})).await;
    assert_eq!(browser.resend("sms").await.status, 303);
    vonage.clear_faults().await;
    assert_eq!((vonage.sent_to(ALICE).await, twilio.sent_to(ALICE).await), (1, 1));
    house.sql("UPDATE orphan SET due_at = due_at - 60");
    eventually("it is cancelled", async || {
        let requests = vonage.requests().await;
        requests.iter().any(|request| request["method"] == "DELETE" && request["status"] == 204)
    })
    .await;
    eventually("it is forgotten", async || !house.finds("SELECT 1 FROM orphan")).await;
    browser.verify(&twilio.code(ALICE).await).await;
    assert!(browser.is_in().await);
}
