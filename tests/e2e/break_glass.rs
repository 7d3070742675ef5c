//! An emergency code: made by whoever may read the master key, good for one person, once, for a while.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::browser::Page;
use crate::common::more::expect_failure;
use crate::common::{ALICE, BOB, Browser, House, STRANGER, Scene};

impl House {
    fn break_glass(&self, name: &str, flags: &[&str]) -> Value {
        self.json(&[&["user", "break-glass", name, "--reason", "phone lost, ticket 4711"], flags].concat())
    }

    fn code(&self, name: &str) -> String {
        self.break_glass(name, &[])["code"].as_str().unwrap().to_owned()
    }
}

impl Browser {
    async fn break_glass(&self, phone: &str, code: &str) -> Page {
        let fields = [("phone", phone), ("code", code), ("return_to", "/page?a=b")];
        self.submit("/.vestibule/challenge/emergency", &fields).await
    }
}

const WRONG: &str = "This is no emergency code that is good for you";

#[tokio::test]
async fn a_code_lets_one_person_in_once_while_no_provider_answers() {
    let mut scene = Scene::start("").await;
    scene.simulator.fault(json!({"on": "start", "fault": "503", "times": 0})).await;
    let browser = scene.browser();
    let page = browser.challenge().await;
    page.expect(200, "I have an emergency code");
    let form = browser.go("/.vestibule/challenge?emergency=1&return_to=%2Fpage").await;
    form.expect(200, "Enter your emergency code");
    form.expect(200, "name=\"return_to\" value=\"&#x2f;page\"");

    let made = scene.house.break_glass("alice", &[]);
    let (code, reference) = (made["code"].as_str().unwrap(), made["reference"].as_str().unwrap());
    // Whoever watches the gateway hears of it.
    scene.gateway.has_logged(&format!("break_glass_made: run vestibule audit show {reference}")).await;
    // Somebody else's it is not.
    browser.break_glass(BOB, code).await.expect(401, WRONG);
    browser.break_glass(STRANGER, code).await.expect(401, WRONG);
    // However it is typed.
    let entered = browser.break_glass(ALICE, &code.to_lowercase().replace('-', " ")).await;
    assert_eq!((entered.status.as_u16(), entered.header("location")), (303, "/page?a=b"));
    assert!(browser.is_in().await);
    let session = &scene.house.sessions()[0];
    assert_eq!((session["user"].as_str(), session["method"].as_str()), (Some("alice"), Some("break_glass")));

    // Once.
    let another = scene.browser();
    another.break_glass(ALICE, code).await.expect(401, WRONG);
    assert!(!another.is_in().await);
    assert_eq!(scene.house.events(reference), ["break_glass_made", "break_glass_used"]);
    assert!(scene.house.details("break_glass_made")[0].ends_with("phone lost, ticket 4711"));
    assert_eq!(scene.house.details("break_glass_refused").len(), 3);
    let figures = scene.gateway.figures().await;
    for event in ["break_glass_made", "break_glass_used"] {
        assert!(figures.contains(&format!("vestibule_events_total{{event=\"{event}\"}} 1")), "{figures}");
    }
    scene.house.run(&["audit", "verify"]);
    let log = scene.gateway.stop();
    let alarm = log.lines().find(|line| line.contains("break_glass_used")).unwrap();
    assert!(alarm.contains("\"ERROR\"") && alarm.contains("alice"), "{alarm}");
    assert!(!log.contains(code) && !log.contains(&code.replace('-', "")), "a code in the log");
    let kept = scene.house.told("SELECT group_concat(detail || coalesce(handle, '')) FROM audit");
    assert!(!kept.contains(code));
}

/// Of many that type it at the same moment one is let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_code_is_good_for_one_of_many() {
    let scene =
        Scene::start("[limits]\nchecks_per_challenge = \"100/5m\"\nchecks_per_address = \"100/5m\"\n").await;
    let code = scene.house.code("alice");
    let tries = (0..20).map(|_| {
        let (browser, code) = (scene.browser(), code.clone());
        async move { browser.break_glass(ALICE, &code).await.status.as_u16() }
    });
    let mut answers = futures_util::future::join_all(tries).await;
    answers.sort_unstable();
    assert_eq!((answers[0], &answers[1..]), (303, &[401; 19][..]));
}

#[tokio::test]
async fn a_code_ends_and_so_does_its_session() {
    let scene = Scene::start("").await;
    let code = scene.house.code("alice");
    scene.house.sql("UPDATE emergency_code SET expires_at = expires_at - 901");
    scene.browser().break_glass(ALICE, &code).await.expect(401, WRONG);
    // A newer one takes the place of an older one.
    let older = scene.house.code("alice");
    let newer = scene.house.break_glass("alice", &["--session", "10m", "--valid", "24h"]);
    let newer = newer["code"].as_str().unwrap();
    scene.browser().break_glass(ALICE, &older).await.expect(401, WRONG);
    assert_eq!(scene.browser().break_glass(ALICE, newer).await.status, 303);
    assert_eq!(scene.house.told("SELECT '' || (expires_at - auth_time) FROM session"), "600");
    // Whoever is shut out meanwhile stays out.
    let bob = scene.house.code("bob");
    scene.house.run(&["user", "disable", "bob"]);
    scene.browser().break_glass(BOB, &bob).await.expect(401, WRONG);
    expect_failure(&scene.house.command(&["user", "break-glass", "bob", "--reason", "x"]), "bob is disabled");
    // And their code is good no more once they may come again: who knows who has it.
    scene.house.run(&["user", "enable", "bob"]);
    scene.browser().break_glass(BOB, &bob).await.expect(401, WRONG);
    expect_failure(
        &scene.house.command(&["user", "break-glass", "nobody", "--reason", "x"]),
        "there is no user",
    );
}

#[tokio::test]
async fn a_code_is_taken_back() {
    let scene = Scene::start("").await;
    let withdraw = ["user", "break-glass", "alice", "--withdraw"];
    for taken_back in [
        &withdraw[..],
        &["session", "revoke", "--user", "alice"],
        &["session", "revoke", "--all"],
        &["user", "set-phone", "alice", "+14155550177"],
        &["user", "set-phone", "alice", ALICE],
    ] {
        let code = scene.house.code("alice");
        scene.house.run(taken_back);
        scene.browser().break_glass(ALICE, &code).await.expect(401, WRONG);
        assert_eq!(scene.house.told("SELECT '' || count(*) FROM emergency_code"), "0", "{taken_back:?}");
    }
    assert!(scene.house.run(&withdraw).contains("had no emergency code"));
    assert!(scene.house.details("user_changed").contains(&"emergency code withdrawn".to_owned()));
    expect_failure(
        &scene.house.command(&["user", "break-glass", "nobody", "--withdraw"]),
        "there is no user",
    );
    assert_eq!(scene.house.command(&["user", "break-glass", "alice"]).status.code(), Some(64));
}

/// Whoever is in and has to prove it again has a phone that is lost, too.
#[tokio::test]
async fn a_code_proves_again_and_is_offered_where_people_wait_for_one() {
    let scene = Scene::start("").await;
    let alice = scene.signed_in(ALICE).await;
    let page = alice.go("/.vestibule/challenge?ended=proof_too_old&return_to=%2Fpage").await;
    page.expect(200, "emergency=1");
    let form = alice.go("/.vestibule/challenge?emergency=1&return_to=%2Fpage").await;
    form.expect(200, "Enter your emergency code");
    form.expect(200, "ended=proof_too_old");
    let code = scene.house.code("alice");
    assert_eq!(alice.break_glass(ALICE, &code).await.status, 303);
    let waiting = scene.browser();
    waiting.start(BOB).await;
    waiting.challenge().await.expect(200, "I have an emergency code");
    waiting.go("/.vestibule/challenge?emergency=1").await.expect(200, "Enter your emergency code");
    // Nobody else's form leads there.
    let fields = [("phone", BOB), ("code", "0000-0000-0000-0000")];
    let foreign =
        waiting.submit_from_site("http://evil.example", "/.vestibule/challenge/emergency", &fields).await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn tries_are_counted_whoever_makes_them() {
    let scene =
        Scene::start("[limits]\nchecks_per_challenge = \"3/5m\"\nchecks_per_address = \"8/5m\"\n").await;
    let code = scene.house.code("alice");
    let wrong = "0000-0000-0000-0000";
    for phone in [ALICE, STRANGER] {
        for _ in 0..3 {
            scene.browser().break_glass(phone, wrong).await.expect(401, WRONG);
        }
        // The right one is not looked at any more.
        scene.browser().break_glass(phone, &code).await.expect(429, "Too many codes were typed");
    }
    scene.browser().break_glass(BOB, wrong).await.expect(429, "Too many codes were typed");
    let tries = "SELECT group_concat(DISTINCT substr(key, -10)) FROM spend WHERE key LIKE 'emergency:user:%'";
    assert_eq!(scene.house.told(tries), ":127.0.0.1", "whoever else tries does not keep her out");
    // An administrator lets her begin anew; her code goes with that.
    assert_eq!(scene.house.told("SELECT '' || count(*) FROM emergency_code"), "1", "it is still there");
    scene.house.run(&["user", "enable", "alice"]);
    assert_eq!(scene.house.told("SELECT '' || count(*) FROM spend WHERE key LIKE 'emergency:user:1:%'"), "0");
}

#[tokio::test]
async fn only_who_may_read_the_master_key_makes_one() {
    let scene = Scene::start("").await;
    for (flags, text) in [
        (vec!["--reason", " "], "--reason: write why"),
        (vec!["--reason", "x", "--valid", "25h"], "at most 24h"),
        (vec![], "--reason"),
    ] {
        let said = scene.house.command(&[&["user", "break-glass", "alice"], &flags[..]].concat());
        assert_eq!(said.status.code(), Some(64), "{flags:?}");
        assert!(String::from_utf8_lossy(&said.stderr).contains(text), "{flags:?}");
    }
    // As anybody else on this machine, who may read the configuration and run the program.
    let said = Command::new("id").arg("-u").output().unwrap();
    if String::from_utf8_lossy(&said.stdout).trim() != "0" {
        println!("not root: nobody else can be tried");
        return;
    }
    let open = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(scene.house.directory.path());
    let program = scene.house.path("vestibule");
    std::fs::copy(env!("CARGO_BIN_EXE_vestibule"), &program).unwrap();
    let said = Command::new(&program)
        .args(["user", "break-glass", "alice", "--reason", "x", "--config"])
        .arg(&scene.house.config)
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(1));
    expect_failure(&said, "only root and the owner of");
    assert_eq!(scene.house.told("SELECT '' || count(*) FROM emergency_code"), "0");
}
