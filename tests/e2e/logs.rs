//! Lesson 46: whatever happens, no code, token, cookie or whole number is ever in a log.

use serde_json::json;

use crate::common::{ALICE, BOB, Browser, Gateway, House, STRANGER, Simulator, Upstream, config};

/// Nothing that is in a log by chance.
const CODE: &str = "8642097531";
const ABROAD: &str = "+49 151 23456789";

/// Everything that people, strangers and a failing provider can do; the secrets that took part.
async fn busy_scene(gateway: &Gateway, simulator: &Simulator) -> Vec<String> {
    let browser = || Browser::new(gateway.address);
    let mut secrets = Vec::new();
    let alice = browser();
    for phone in ["+1 (415) 555-0100", "hello 4155550100", ABROAD, STRANGER, "4155550123"] {
        browser().start(phone).await;
    }
    alice.start(ALICE).await;
    secrets.extend(alice.cookie("vestibule-challenge"));
    alice.verify("8642097532").await;
    alice.verify("86420975").await;
    alice.resend("call").await;
    alice.verify("8642-097-531").await;
    secrets.extend(alice.cookie("vestibule"));
    assert!(alice.is_in().await);
    alice.go("/secret?code=8642097531&phone=+14155550100").await;

    for (on, fault) in [
        ("start", "60203"),
        ("start", "60200"),
        ("start", "20003"),
        ("start", "drop_after"),
        ("start", "malformed_json"),
        ("check", "60202"),
        ("check", "malformed_json"),
        ("check", "html"),
        ("check", "20404"),
        ("check", "503"),
    ] {
        let program = browser();
        simulator.fault(json!({"on": on, "fault": fault, "times": 1})).await;
        let asked = program.api("request", &json!({"phoneNumber": BOB})).await;
        if let Some(id) = asked.text.split('"').nth(3).filter(|_| asked.status == 200) {
            secrets.push(id.to_owned());
            program.api("verify", &json!({"requestId": id, "code": CODE})).await;
            secrets.extend(program.cookie("vestibule"));
        }
        simulator.clear_faults().await;
    }
    let forger = browser();
    let token = alice.cookie("vestibule").unwrap();
    for forged in [&token[..token.len() - 2], "eyJhbGciOiJub25lIn0.e30.", "AAAA\u{7f}", &"x".repeat(3_000)] {
        if forged.bytes().all(|byte| byte.is_ascii_graphic()) {
            forger.set_cookie("vestibule", forged);
            forger.go("/").await;
        }
    }
    forger.api_raw("request", "application/json", "{\"phoneNumber\":\"+14155550100\",\"x\":").await;
    let sent = alice.request(reqwest::Method::GET, "/").header("authorization", "Basic aHVudGVyMjpodW50ZXIy");
    alice.send(sent).await;
    alice.submit("/.vestibule/sign-out", &[]).await;
    secrets.push("aHVudGVyMjpodW50ZXIy".to_owned());
    secrets
}

async fn scene(format: &str) -> (String, Vec<String>) {
    let simulator = Simulator::start(&["--fixed-code", CODE]);
    let upstream = Upstream::start().await;
    let limits = "[challenge]\nallowed_regions = [\"US\"]\n[limits]\nstarts_per_number = \"100/1h\"\nstarts_per_address = \"1000/1m\"";
    let house = House::new(&simulator, &config(&upstream, limits, ""));
    house.replace(
        "format = \"json\"\nlevel = \"debug\"",
        &format!("format = \"{format}\"\nlevel = \"trace\""),
    );
    house.add_users(&[("alice", ALICE), ("bob", BOB)]);
    let mut gateway = Gateway::start_with(&house, &[]);
    let secrets = busy_scene(&gateway, &simulator).await;
    house.run(&["session", "revoke", "--all"]);
    upstream.answers("garbage\r\n\r\n!close");
    let log = gateway.stop();
    let trail = house.run(&["audit", "tail", "--lines", "1000", "--json"]);
    (format!("{log}\n{trail}"), secrets)
}

#[tokio::test]
async fn no_secret_and_no_whole_number_is_written_down() {
    let ((json, of_json), (text, of_text)) = tokio::join!(scene("json"), scene("text"));
    for (written, secrets) in [(json, of_json), (text, of_text)] {
        assert!(written.contains("session_opened") && written.contains("send_failed"), "{written}");
        let mut forbidden: Vec<&str> = secrets.iter().map(String::as_str).collect();
        assert!(forbidden.len() > 5, "the scene was busy: {}", forbidden.len());
        forbidden.extend([CODE, "8642-097", "864209753", "86420975"]);
        forbidden.extend(["4155550", "415 555 0", "555-01", "15123456789", "151 2345", "5550123"]);
        forbidden.extend([
            "a-secret-token-of-32-characters!",
            "uthorization",
            "Basic ",
            "vestibule-challenge=",
        ]);
        // The token as it goes to the provider.
        forbidden.push("YS1zZWNyZXQtdG9rZW4");
        for secret in forbidden {
            let line = written.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret:?} was written down");
        }
        assert!(!written.contains("panicked"), "{written}");
    }
}
