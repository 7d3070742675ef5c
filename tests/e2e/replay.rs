//! `vestibule explain --replay`: whose verdict a new configuration changes.

use serde_json::{Value, json};

use crate::common::{House, Simulator, Upstream, config};

fn line(client: &str, method: &str, path: &str, user: Option<&str>, decision: &str) -> String {
    let line = json!({
        "time": "2026-11-30T10:00:00Z", "client": client, "method": method, "scheme": "https", "host": "127.0.0.1",
        "path": path, "user": user, "status": 200, "outcome": "x", "decision": decision,
    });
    format!("{line}\n")
}

async fn house(rules: &str) -> House {
    let (simulator, upstream) = (Simulator::start(&[]), Upstream::start().await);
    let house = House::new(&simulator, &config(&upstream, "", ""));
    house.replace("[observe]", &format!("{rules}\n[observe]"));
    house
}

const STATIC: &str = "[[route.rule]]\npaths = [\"/static\"]\naccess = \"allow\"\n";
const ADMIN: &str = "[[route.rule]]\npaths = [\"/admin\"]\naccess = \"challenge\"\nmax_age = \"15m\"\n";

#[tokio::test]
async fn what_changes_is_grouped_and_what_does_not_is_silent() {
    let (old, new) = (
        house(&format!("{STATIC}{ADMIN}")).await,
        house("[[route.rule]]\npaths = [\"/wiki\"]\nmethods = [\"POST\"]\naccess = \"deny\"\n").await,
    );
    let mut log = String::new();
    for number in 0..30 {
        log += &line("192.0.2.7", "GET", &format!("/static/{number}?v=1"), None, "forward");
        log += &line("192.0.2.7", "GET", "/wiki/page", Some("alice"), "forward");
        log += &line("192.0.2.7", "GET", "/wiki/page", None, "challenge");
    }
    log += &line("192.0.2.7", "POST", "/wiki/page", Some("alice"), "forward");
    log += &line("192.0.2.7", "GET", "/admin", Some("alice"), "challenge");
    log += &line("192.0.2.7", "GET", "/x", None, "refuse");
    log += &line("192.0.2.7", "GET", "/.vestibule/challenge", None, "ours");
    log += "a line of something else\n{\"client\":1}\n\n";
    std::fs::write(new.path("log"), &log).unwrap();
    let file = new.path("log");
    let file = file.to_str().unwrap();

    let output = new.command(&["explain", "--replay", file, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let changes: Vec<_> = told["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let word = |key: &str| change[key].as_str().unwrap();
            format!(
                "{} {} {} {}→{} {}",
                change["count"],
                word("method"),
                word("path"),
                word("old"),
                word("new"),
                word("by")
            )
        })
        .collect();
    assert_eq!(
        changes,
        [
            "30 GET /static/* forward→challenge route 1, no rule",
            "1 GET /admin challenge→forward route 1, no rule",
            "1 POST /wiki/page forward→deny route 1, rule 1",
        ],
        "{told:#}"
    );
    let counts = ["requests", "changed", "not_judged", "skipped"].map(|key| told[key].as_u64().unwrap());
    assert_eq!(counts, [94, 32, 1, 2], "{told:#}");
    assert_eq!(told["skipped_lines"][0]["line"], 95);

    let output = new.command(&["explain", "--replay", file]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("forward → challenge") && said.contains("line 95 is skipped"), "{said}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("32 of 94 requests would be judged otherwise"));

    // Against itself nothing changes, whatever the log says was decided.
    let against = new.config.to_str().unwrap();
    let said = new.run(&["explain", "--replay", file, "--against", against]);
    assert!(said.contains("94 requests would be judged as before"), "{said}");
    let against = old.config.to_str().unwrap();
    assert_eq!(new.command(&["explain", "--replay", file, "--against", against]).status.code(), Some(1));
}

#[tokio::test]
async fn other_servers_logs_need_the_old_configuration_and_a_host() {
    let (old, new) = (house(STATIC).await, house("").await);
    let log = r#"192.0.2.7 - - [30/Nov/2026:10:00:00 +0000] "GET /static/app.js HTTP/1.1" 200 5 "-" "curl/8"
192.0.2.7 - alice [30/Nov/2026:10:00:00 +0000] "GET /page HTTP/1.1" 200 5 "-" "curl/8"
"#;
    std::fs::write(new.path("log"), log).unwrap();
    let (file, against) = (new.path("log"), old.config.clone());
    let (file, against) = (file.to_str().unwrap(), against.to_str().unwrap());
    let output = new.command(&["explain", "--replay", file]);
    assert!(
        output.status.code() == Some(1) && String::from_utf8_lossy(&output.stdout).contains("with --host")
    );
    let arguments = ["explain", "--replay", file, "--host", "127.0.0.1"];
    let output = new.command(&arguments);
    assert!(String::from_utf8_lossy(&output.stdout).contains("--against"), "{output:?}");
    let output = new.command(&[&arguments[..], &["--against", against, "--json"]].concat());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["changed"].as_u64(), told["requests"].as_u64()), (Some(1), Some(2)), "{told:#}");
    assert_eq!(new.command(&["explain"]).status.code(), Some(64), "a URL or a log");
    assert_eq!(new.command(&["explain", "/x", "--replay", file]).status.code(), Some(64));
    assert_eq!(new.command(&["explain", "--replay", "/nonexistent"]).status.code(), Some(1));
}
