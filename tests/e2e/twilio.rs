//! What is Twilio's own: its Service, its credentials, and a number that it refuses. How it can fail is walked in
//! `answers` and `faults`.

use std::time::Duration;

use serde_json::json;

use crate::common::{ALICE, Browser, Gateway, House, STRANGER, Scene, Simulator, Upstream, config};

const DOWN: &str = "Codes cannot be sent at the moment";

#[tokio::test]
async fn the_start_up_check_names_the_remedy_and_people_are_served_all_the_same() {
    let pinned = format!("VA{}", "2".repeat(32));
    let mut scene = Scene::with("", "", &["--service-sid", &pinned]).await;
    scene.gateway.has_logged("the provider refuses us").await;
    let log = scene.gateway.log();
    let line = log.lines().find(|line| line.contains("the provider refuses us")).unwrap();
    assert!(line.contains("\"ERROR\"") && line.contains("error 20404"), "{line}");
    assert!(line.contains("check its credentials in [[provider]]"), "{line}");
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
async fn a_provider_that_was_away_at_the_start_is_asked_again_how_long_its_codes_are() {
    let mut scene = Scene::with("", "", &["--code-length", "8"]).await;
    scene.gateway.kill();
    scene.simulator.fault(json!({"on": "service", "fault": "503", "times": 0})).await;
    scene.gateway = Gateway::start(&scene.house);
    scene.gateway.has_logged("the provider cannot be reached").await;
    scene.simulator.clear_faults().await;
    scene.gateway.has_logged("the provider is there").await;
    let browser = scene.browser();
    browser.start(ALICE).await;
    browser.challenge().await.expect(200, "8-digit code");
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

/// A used-up code that the provider would not forget keeps a new one from going out; the page shows what a stranger sees.
#[tokio::test]
async fn a_code_that_could_not_be_cancelled_tells_no_more_than_a_strangers() {
    let scene = Scene::start("[limits]\nstarts_per_number = \"100/1h\"\n").await;
    scene.simulator.fault(json!({"on": "update", "fault": "20403", "times": 0})).await;
    let mut said = Vec::new();
    for phone in [ALICE, STRANGER] {
        let browser = scene.browser();
        assert_eq!(browser.start(phone).await.status, 303);
        for _ in 0..5 {
            browser.verify("000000").await;
        }
        assert_eq!(browser.resend("sms").await.status, 303);
        let verified = browser.verify("000000").await;
        said.push((verified.status, verified.location().to_owned(), browser.challenge().await.normal()));
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(scene.simulator.sent_to(ALICE).await, 1);
}
