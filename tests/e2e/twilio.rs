//! Every way the provider can fail: what the person sees, what is written down, how often it was asked, and that
//! nobody ever gets in by it.

use std::time::Duration;

use serde_json::json;

use crate::common::browser::Page;
use crate::common::{ALICE, Browser, Gateway, House, STRANGER, Scene, Simulator, Upstream, config};

const GENEROUS: &str = "[limits]\nstarts_per_address = \"1000/1m\"\nchecks_per_address = \"1000/1m\"\n";

const DOWN: &str = "Codes cannot be sent at the moment";
const BUSY: &str = "The service that sends codes is busy";
const UNTOLD: &str = "If this number is known here, we have sent it a text message";
const UNCONFIRMED: &str = "We could not confirm that the message went out. If a code arrives, it works";

struct Case {
    fault: &'static str,
    /// Of the answer a person gets.
    status: u16,
    sentence: &'static str,
    /// In the log and the audit trail.
    recorded: &'static str,
    /// How many calls reached the provider.
    calls: usize,
    /// Whether a code came, or the check was made, all the same.
    processed: bool,
}

const fn case(
    fault: &'static str,
    status: u16,
    sentence: &'static str,
    recorded: &'static str,
    calls: usize,
    processed: bool,
) -> Case {
    Case { fault, status, sentence, recorded, calls, processed }
}

/// A scene with a patience of one second, and a user for each case.
async fn scene(cases: &[Case]) -> Scene {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    let house = House::new(&simulator, &config(&upstream, GENEROUS, ""));
    house.replace("kind = \"twilio\"", "kind = \"twilio\"\ntimeout = \"1s\"");
    let users: Vec<_> = (0..cases.len()).map(|n| (format!("u{n}"), phone(n))).collect();
    let users: Vec<_> = users.iter().map(|(name, phone)| (name.as_str(), phone.as_str())).collect();
    house.add_users(&users);
    let gateway = Gateway::start(&house);
    Scene { simulator, upstream, house, gateway }
}

fn phone(n: usize) -> String {
    format!("+1415555{:04}", 100 + n)
}

fn fault(on: &str, name: &str) -> serde_json::Value {
    json!({"on": on, "fault": name, "times": 0, "delay_ms": if name == "slow" { 1_500 } else { 0 }})
}

/// The words are in the log and under the person's reference in the audit trail; no number is in either.
async fn recorded(scene: &mut Scene, page: &Page, words: &str, context: &str) {
    let reference =
        page.reference().unwrap_or_else(|| panic!("{context}: no reference: {page:#?}")).to_owned();
    scene.gateway.has_logged(words).await;
    let line = scene.gateway.log();
    let line = line.lines().find(|line| line.contains(words) && line.contains(&reference));
    assert!(line.is_some(), "{context}: {words:?} with {reference} is not in the log");
    let tail = scene.house.json(&["audit", "tail", "--reference", &reference]).to_string();
    assert!(tail.contains(words), "{context}: {tail}");
}

#[tokio::test]
async fn every_failure_of_a_start() {
    let cases = [
        case("20429", 503, BUSY, "throttled, HTTP status 429, error 20429", 3, false),
        case("20429_retry_after", 503, "busy. Please try again in 1 second", "error 20429", 3, false),
        case("25109", 503, BUSY, "error 25109", 3, false),
        case("60202", 303, UNTOLD, "too_many_sends, HTTP status 429, error 60202", 1, false),
        case("60203", 303, UNTOLD, "too_many_sends, HTTP status 429, error 60203", 1, false),
        case("60205", 303, UNTOLD, "channel_unsuitable, HTTP status 403, error 60205", 1, false),
        case("60212", 303, UNTOLD, "in_flight, HTTP status 429, error 60212", 2, false),
        case("60410", 303, UNTOLD, "blocked, HTTP status 403, error 60410", 1, false),
        case("60605", 303, UNTOLD, "blocked, HTTP status 403, error 60605", 1, false),
        case("60200", 303, UNTOLD, "invalid_number, HTTP status 400, error 60200", 1, false),
        case("20003", 503, DOWN, "configuration, HTTP status 401, error 20003", 1, false),
        case("20404", 503, DOWN, "configuration, HTTP status 404, error 20404", 1, false),
        case("21608", 303, UNTOLD, "refused, HTTP status 403, error 21608", 1, false),
        case("500", 503, DOWN, "provider_down, HTTP status 500, error 20500", 2, false),
        case("503", 503, DOWN, "provider_down, HTTP status 503, error 20503", 2, false),
        case("html", 503, DOWN, "provider_down, HTTP status 50", 2, false),
        case("malformed_json", 303, UNCONFIRMED, "ambiguous", 1, true),
        case("empty", 303, UNCONFIRMED, "ambiguous", 1, true),
        case("slow", 303, UNCONFIRMED, "ambiguous", 1, true),
        case("drop_before", 303, UNCONFIRMED, "ambiguous", 1, false),
        case("drop_after", 303, UNCONFIRMED, "ambiguous", 1, true),
    ];
    let mut scene = scene(&cases).await;
    for (n, case) in cases.iter().enumerate() {
        let (browser, to, context) = (scene.browser(), phone(n), case.fault);
        let before = scene.simulator.calls("/Verifications").await;
        scene.simulator.fault(fault("start", case.fault)).await;
        let mut page = browser.start(&to).await;
        scene.simulator.clear_faults().await;
        assert_eq!(page.status, case.status, "{context}: {page:#?}");
        if page.status == 303 {
            page = browser.challenge().await;
        }
        assert!(page.text.contains(case.sentence), "{context}: {page:#?}");
        if case.sentence == BUSY {
            assert!(page.retry_after() >= 1, "{context}");
        }
        recorded(&mut scene, &page, case.recorded, context).await;
        assert_eq!(scene.simulator.calls("/Verifications").await - before, case.calls, "{context}: calls");
        assert_eq!(scene.simulator.sent_to(&to).await, usize::from(case.processed), "{context}: messages");
        assert!(!browser.is_in().await, "{context}");
        if case.processed {
            // The answer was lost, the message was not: what the person holds works.
            let verified = browser.verify(&scene.simulator.code(&to).await).await;
            assert_eq!(verified.status, 303, "{context}: {verified:#?}");
            assert!(browser.is_in().await, "{context}");
        }
        // Trouble over, everybody can start again.
        if case.status == 503 {
            assert_eq!(browser.start(&to).await.status, 303, "{context}");
            assert_eq!(scene.simulator.sent_to(&to).await, 1, "{context}");
        }
    }
    quiet(&mut scene, cases.len()).await;
}

#[tokio::test]
async fn every_failure_of_a_check() {
    const AGAIN: &str = "This code has expired. Ask for another one.";
    const MANY: &str = "Too many codes were tried";
    let cases = [
        case("20429", 503, BUSY, "throttled, HTTP status 429, error 20429", 1, false),
        case("20429_retry_after", 503, "Please try again in 1 second", "error 20429", 1, false),
        case("60202", 429, MANY, "wrong_code", 1, false),
        case("60203", 503, DOWN, "too_many_sends, HTTP status 429, error 60203", 1, false),
        case("60205", 503, DOWN, "error 60205", 1, false),
        case("60212", 503, DOWN, "error 60212", 1, false),
        case("60410", 503, DOWN, "error 60410", 1, false),
        case("60605", 503, DOWN, "error 60605", 1, false),
        case("60200", 200, "This code is not right", "wrong code, 4 more", 1, false),
        case("20003", 503, DOWN, "configuration, HTTP status 401, error 20003", 1, false),
        case("20404", 401, AGAIN, "the code has expired", 1, false),
        case("500", 503, DOWN, "provider_down, HTTP status 500, error 20500", 1, false),
        case("503", 503, DOWN, "provider_down, HTTP status 503, error 20503", 1, false),
        case("html", 503, DOWN, "provider_down, HTTP status 50", 1, false),
        case("malformed_json", 503, DOWN, "ambiguous", 1, true),
        case("empty", 503, DOWN, "ambiguous", 1, true),
        case("slow", 503, DOWN, "ambiguous", 1, true),
        case("drop_before", 503, DOWN, "ambiguous", 1, false),
        case("drop_after", 503, DOWN, "ambiguous", 1, true),
    ];
    let mut scene = scene(&cases).await;
    for (n, case) in cases.iter().enumerate() {
        let (browser, to, context) = (scene.browser(), phone(n), case.fault);
        assert_eq!(browser.start(&to).await.status, 303, "{context}");
        let code = scene.simulator.code(&to).await;
        let before = scene.simulator.calls("/VerificationCheck").await;
        scene.simulator.fault(fault("check", case.fault)).await;
        let mut page = browser.verify(&code).await;
        if page.location().contains("/challenge?wrong") {
            page = browser.go(page.location()).await;
        }
        scene.simulator.clear_faults().await;
        assert!(page.status == case.status && page.text.contains(case.sentence), "{context}: {page:#?}");
        recorded(&mut scene, &page, case.recorded, context).await;
        assert_eq!(
            scene.simulator.calls("/VerificationCheck").await - before,
            case.calls,
            "{context}: calls"
        );
        assert!(browser.cookie("vestibule").is_none() && !browser.is_in().await, "{context}");
        let again = browser.verify(&code).await;
        match case.status {
            // Judged, but the verdict was lost: approval is not guessed, and the code is spent.
            503 if case.processed => again.expect(401, AGAIN),
            // Not judged: the same code is still good.
            503 => assert_eq!(again.status, 303, "{context}: {again:#?}"),
            _ => {}
        }
        // A try that was not judged is nobody's wrong code.
        if case.status == 503 && !case.processed {
            let user = scene.house.json(&["user", "show", &format!("u{n}")]);
            assert_eq!(user["wrong_codes_in_a_row"], 0, "{context}");
        }
    }
    quiet(&mut scene, cases.len()).await;
}

/// No line of the log has a whole number, and nothing panicked.
async fn quiet(scene: &mut Scene, users: usize) {
    let log = scene.gateway.stop();
    for n in 0..users {
        assert!(!log.contains(&phone(n)[1..]), "{} is in the log", phone(n));
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn the_start_up_check_names_the_remedy_and_people_are_served_all_the_same() {
    let pinned = format!("VA{}", "2".repeat(32));
    let mut scene = Scene::with("", "", &["--service-sid", &pinned]).await;
    scene.gateway.has_logged("the provider refuses us").await;
    let log = scene.gateway.log();
    let line = log.lines().find(|line| line.contains("the provider refuses us")).unwrap();
    assert!(line.contains("\"ERROR\"") && line.contains("error 20404"), "{line}");
    assert!(line.contains("check account, token and service in [[provider]]"), "{line}");
    scene.browser().challenge().await.expect(200, "name=\"phone\"");
    for phone in [ALICE, STRANGER] {
        scene.browser().start(phone).await.expect(503, DOWN);
    }
    // Nobody there at all.
    let house = House::new(&scene.simulator, &config(&scene.upstream, "", ""));
    scene.simulator.stop();
    let mut gateway = Gateway::start(&house);
    gateway.has_logged("the provider cannot be reached").await;
    Browser::new(gateway.address).challenge().await.expect(200, "name=\"phone\"");
}

#[tokio::test]
async fn the_length_of_a_code_is_the_services() {
    for (length, button) in [("4", "4-digit code"), ("8", "8-digit code")] {
        let scene = Scene::with("", "", &["--code-length", length]).await;
        let browser = scene.browser();
        browser.start(ALICE).await;
        browser.challenge().await.expect(200, button);
        let code = scene.simulator.code(ALICE).await;
        assert_eq!(code.len().to_string(), length);
        browser.verify("x").await.expect(400, &format!("A code has {length} digits"));
        assert_eq!(browser.verify(&format!("{}-{}", &code[..2], &code[2..])).await.status, 303);
    }
}

#[tokio::test]
async fn credentials_of_every_kind_from_every_place() {
    const SECRET: &str = "the-right-secret-of-this-account";
    let account = format!("SK{}", "3".repeat(32));
    let simulator = Simulator::start(&["--account-sid", &account, "--auth-token", SECRET]);
    let upstream = Upstream::start().await;
    let house = House::new(&simulator, &config(&upstream, "", ""));
    house.add_user("alice", ALICE);
    let token = format!("auth_token = {{ file = \"{}\" }}", house.path("token").display());
    std::fs::create_dir(house.path("credentials")).unwrap();
    let credentials = house.path("credentials");
    std::fs::write(credentials.join("twilio"), format!("{SECRET}\n")).unwrap();
    std::fs::write(house.path("secret"), format!("{SECRET}\n")).unwrap();
    let credentials = credentials.to_str().unwrap();
    let file = house.path("secret").display().to_string();
    let places = [
        (format!("{{ file = \"{file}\" }}"), ("UNUSED", "")),
        ("{ env = \"A_SECRET\" }".to_owned(), ("A_SECRET", SECRET)),
        ("{ credential = \"twilio\" }".to_owned(), ("CREDENTIALS_DIRECTORY", credentials)),
    ];
    let mut last = token;
    for (place, environment) in places {
        let key = format!("api_key_sid = \"{account}\"\napi_key_secret = {place}");
        house.replace(&last, &key);
        last = key;
        let mut gateway = Gateway::start_with(&house, &[environment]);
        gateway.has_logged("the provider is there").await;
        if environment.0 == "CREDENTIALS_DIRECTORY" {
            let browser = Browser::new(gateway.address);
            browser.sign_in(&simulator, ALICE).await;
        }
        let log = gateway.stop();
        assert!(!log.contains(SECRET), "{log}");
        // Without its place there is no secret, and the remedy is named.
        if environment.0 != "UNUSED" {
            let output = house.command(&["serve"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains("api_key_secret"), "{said}");
        }
    }
    let wrong = House::new(&simulator, &config(&upstream, "", ""));
    let mut gateway = Gateway::start(&wrong);
    gateway.has_logged("configuration, HTTP status 401, error 20003").await;
    tokio::time::timeout(Duration::from_secs(20), Browser::new(gateway.address).start(ALICE))
        .await
        .unwrap()
        .expect(503, DOWN);
}

/// A number that the provider refuses looks like a stranger's, also when a code is typed for it.
#[tokio::test]
async fn a_refused_number_tells_no_more_than_a_strangers() {
    let scene = Scene::start("").await;
    scene.simulator.fault(json!({"on": "start", "fault": "60410", "times": 0})).await;
    let mut said = Vec::new();
    for phone in [ALICE, STRANGER] {
        let browser = scene.browser();
        assert_eq!(browser.start(phone).await.status, 303);
        let verified = browser.verify("123456").await;
        said.push((verified.status, verified.location().to_owned()));
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(
        scene.simulator.calls("/VerificationCheck").await,
        0,
        "nobody is asked about a code that never was"
    );
}
