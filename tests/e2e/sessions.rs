//! Sessions end when they should, everywhere and at once, and no sooner.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{ALICE, BOB, Browser, Gateway, House, Scene, eventually, read};

/// A command has been run: how long until this cookie opens nothing any more.
async fn refused(what: &str, browser: &Browser, since: Instant) {
    eventually(what, async || !browser.is_in().await).await;
    let took = since.elapsed();
    println!("{what}: refused after {took:?}");
}

#[tokio::test]
async fn lesson_42_a_captured_cookie_is_worth_nothing_after_sign_out() {
    let scene = Scene::start("").await;
    let (browser, elsewhere) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    let thief = browser.stolen();
    assert!(thief.is_in().await);
    let since = Instant::now();
    let page = browser.submit("/.vestibule/sign-out", &[]).await;
    page.expect(200, "You are signed out");
    assert!(page.header("set-cookie").starts_with("vestibule=;"), "{page:#?}");
    assert_eq!(browser.cookie("vestibule"), None);
    refused("sign-out", &thief, since).await;
    let turned_away = thief.go("/page").await;
    assert_eq!(turned_away.location(), "/.vestibule/challenge?return_to=%2Fpage");
    assert_eq!(thief.fetch("/page").await.status, 401);
    assert_eq!(thief.go("/.vestibule/account").await.status, 303);
    assert!(elsewhere.is_in().await, "nobody else is signed out");
    // Signing out without a session, and from another site.
    assert_eq!(scene.browser().submit("/.vestibule/sign-out", &[]).await.status, 200);
    let foreign = elsewhere.request(reqwest::Method::POST, "/.vestibule/sign-out");
    assert_eq!(elsewhere.send(foreign.header("origin", "https://evil.example")).await.status, 403);
    assert_eq!(elsewhere.go("/.vestibule/sign-out").await.status, 405);
    assert!(elsewhere.is_in().await);
}

#[tokio::test]
async fn another_process_ends_sessions_of_a_running_gateway() {
    let scene = Scene::start("[limits]\nstarts_per_number = \"100/1h\"\n").await;
    let (alice, bob) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    let list = scene.house.json(&["session", "list", "--user", "alice"]);
    let session = &list.as_array().unwrap()[0];
    let mut keys: Vec<&str> = session.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["auth_time", "client", "expires_at", "id", "last_seen_at", "method", "user"]);
    let said = (session["user"].as_str(), session["method"].as_str(), session["client"].as_str());
    assert_eq!(said, (Some("alice"), Some("sms"), Some("127.0.0.1")));
    assert!(session["expires_at"].as_str().unwrap().ends_with('Z'), "{session}");
    assert!(!list.to_string().contains(&alice.cookie("vestibule").unwrap()), "a list shows no token");
    assert_eq!(scene.house.json(&["session", "list"]).as_array().unwrap().len(), 2);

    let id = session["id"].as_str().unwrap();
    assert_eq!(scene.house.json(&["session", "revoke", id])["revoked"], 1);
    refused("session revoke ID", &alice, Instant::now()).await;
    assert!(alice.go("/page").await.location().contains("ended=revoked"));
    alice
        .go(alice.go("/").await.location())
        .await
        .expect(200, "Your session was ended, by you or by the administrator");
    assert!(bob.is_in().await);
    assert_eq!(scene.house.command(&["session", "revoke", id]).status.code(), Some(1));

    let (alice, second) = (scene.signed_in(ALICE).await, scene.signed_in(ALICE).await);
    assert_eq!(scene.house.json(&["session", "revoke", "--user", "ALICE"])["revoked"], 2);
    let since = Instant::now();
    refused("session revoke --user", &alice, since).await;
    refused("session revoke --user, second browser", &second, since).await;
    assert!(bob.is_in().await);

    let alice = scene.signed_in(ALICE).await;
    assert_eq!(scene.house.json(&["session", "revoke", "--all"])["revoked"], 2);
    let since = Instant::now();
    refused("session revoke --all", &alice, since).await;
    refused("session revoke --all, bob", &bob, since).await;
    assert_eq!(scene.house.json(&["session", "list"]), serde_json::json!([]));

    // Lesson 37: a change of the person is a change of what they may do now.
    for command in [["user", "disable", "alice"].as_slice(), &["user", "set-phone", "bob", "+14155550155"]] {
        scene.house.run(&["user", "enable", "alice"]);
        let (alice, bob) = (scene.signed_in(ALICE).await, scene.browser());
        let is_disable = command[1] == "disable";
        if !is_disable {
            bob.sign_in(&scene.simulator, BOB).await;
        }
        scene.house.run(command);
        refused(&command.join(" "), if is_disable { &alice } else { &bob }, Instant::now()).await;
        if !is_disable {
            assert!(alice.is_in().await, "changing bob touches nobody else");
        }
    }
    let bob = scene.signed_in("+14155550155").await;
    scene.house.run(&["user", "remove", "bob"]);
    refused("user remove", &bob, Instant::now()).await;
    let messages = scene.simulator.messages().await.len();
    assert_eq!(scene.browser().start("+14155550155").await.status, 303);
    assert_eq!(scene.simulator.messages().await.len(), messages, "nobody is sent a code who was removed");
}

#[tokio::test]
async fn lesson_37_a_code_of_the_old_phone_opens_nothing() {
    let scene = Scene::start("[challenge]\nidentify_by = \"name\"\n").await;
    let start = async |browser: &Browser| {
        browser.submit("/.vestibule/challenge/start", &[("name", "alice")]).await.status
    };
    // Whoever has the old phone has codes: under way, and given up.
    for gives_up in [false, true] {
        let (thief, old) = (scene.browser(), if gives_up { "+14155550177" } else { ALICE });
        assert_eq!(start(&thief).await, 303);
        let code = scene.simulator.code(old).await;
        if gives_up {
            thief.submit("/.vestibule/challenge/cancel", &[]).await;
        }
        let new = if gives_up { "+14155550188" } else { "+14155550177" };
        scene.house.run(&["user", "set-phone", "alice", new]);
        thief.verify(&code).await;
        assert!(!thief.is_in().await);
        // Also where none reaches the new one.
        scene.simulator.fault(json!({"on": "start", "fault": "60410", "times": 1})).await;
        let refused = scene.browser();
        assert_eq!(start(&refused).await, 303);
        refused.verify(&code).await;
        assert!(!refused.is_in().await, "where nothing was sent no code is right");
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
        let again = scene.browser();
        assert_eq!(start(&again).await, 303);
        assert_eq!(scene.simulator.sent_to(new).await, 1, "the new phone has its own");
        again.verify(&code).await;
        assert!(!again.is_in().await, "a new start does not revive it");
        again.verify(&scene.simulator.code(new).await).await;
        assert!(again.is_in().await);
    }
}

#[tokio::test]
async fn lesson_37_a_start_that_overlaps_a_change_of_phone_sends_nothing_to_the_old_one() {
    let scene = Scene::start("").await;
    let other = rusqlite::Connection::open(scene.house.path("state/vestibule.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let browser = scene.browser();
    let start = browser.start(ALICE);
    let change = async {
        // Nothing tells that the start has read the user and waits to write; if it had not, it would see the change.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let change = "UPDATE user SET phone_number = '+14155550177' WHERE name = 'alice'; COMMIT";
        other.execute_batch(change).unwrap();
    };
    let (page, ()) = tokio::join!(start, change);
    assert_eq!(page.status, 303);
    assert!(scene.simulator.messages().await.is_empty());
}

fn kid(browser: &Browser) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let token = browser.cookie("vestibule").unwrap();
    assert!(token.len() < 400, "{} bytes", token.len());
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["alg"], "HS256");
    header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn keys_turn_and_sessions_go_on_through_restarts_but_nowhere_else() {
    let mut scene = Scene::start("").await;
    let old = scene.signed_in(ALICE).await;
    for name in ["state/master.key", "state/vestibule.db", "state/vestibule.db-wal"] {
        let mode = std::fs::metadata(scene.house.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let first = scene.house.json(&["key", "list"])[0]["kid"].as_str().unwrap().to_owned();
    assert_eq!(kid(&old), first);
    let second = scene.house.json(&["key", "rotate"])["kid"].as_str().unwrap().to_owned();
    scene.gateway.has_logged("signing keys were read again").await;
    let new = scene.signed_in(BOB).await;
    assert_eq!(kid(&new), second);
    assert!(old.is_in().await && new.is_in().await);
    let list = scene.house.json(&["key", "list"]);
    assert_eq!((list[0]["state"].as_str(), list[1]["state"].as_str()), (Some("verifies"), Some("signs")));
    let sealed = String::from_utf8_lossy(&read(&scene.house.path("state/vestibule.db"))).into_owned();
    assert!(!sealed.contains(&old.cookie("vestibule").unwrap()), "the store holds no token");

    // Gently, and as a power cut would.
    let token = |browser: &Browser| browser.cookie("vestibule").unwrap();
    let (old, new) = (token(&old), token(&new));
    scene.restart();
    for after in ["a restart", "a power cut"] {
        for token in [&old, &new] {
            let browser = scene.browser();
            browser.set_cookie("vestibule", token);
            assert!(browser.is_in().await, "after {after}");
        }
        scene.gateway.kill();
        scene.gateway = Gateway::start(&scene.house);
    }

    // Another installation, with the same user, knows neither the key nor the session.
    let house = House::new(&scene.simulator, &crate::common::config(&scene.upstream, "", ""));
    house.add_user("alice", ALICE);
    let elsewhere = Gateway::start(&house);
    let before = scene.upstream.count();
    for token in [&old, &new] {
        let browser = Browser::new(elsewhere.address);
        browser.set_cookie("vestibule", token);
        assert_eq!(browser.go("/").await.location(), "/.vestibule/challenge");
        assert_eq!(browser.fetch("/").await.status, 401);
    }
    assert_eq!(scene.upstream.count(), before);

    // A master key of another installation opens nothing, and is no reason to make new keys in silence.
    scene.gateway.stop();
    std::fs::copy(house.path("state/master.key"), scene.house.path("state/master.key")).unwrap();
    let output = scene.house.command(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let named = format!("do not open with {}; put the key", scene.house.path("state/master.key").display());
    assert!(output.status.code() == Some(1) && said.contains(&named), "{said}");
}

/// Uses a session every 200 ms until something is so, or the session is over; where it was sent then.
async fn use_until(browser: &Browser, mut so: impl FnMut() -> bool) -> String {
    let mut sent_to = String::new();
    eventually("the time is over", async || {
        sent_to = browser.go("/page").await.location().to_owned();
        tokio::time::sleep(Duration::from_millis(200)).await;
        !sent_to.is_empty() || so()
    })
    .await;
    sent_to
}

#[tokio::test]
async fn timeouts_end_sessions_and_say_so() {
    let scene = Scene::start("[session]\nidle_timeout = \"4s\"\nabsolute_timeout = \"5m\"\n").await;
    let idle = scene.signed_in(BOB).await;
    let busy = scene.signed_in(ALICE).await;
    assert!(idle.is_in().await);
    let began = Instant::now();
    let still_in = use_until(&busy, || began.elapsed() > Duration::from_millis(5_100)).await;
    assert_eq!(still_in, "", "used again and again, it outlives its idle timeout");
    let turned_away = idle.go("/page").await;
    assert_eq!(turned_away.location(), "/.vestibule/challenge?return_to=%2Fpage&ended=idle");
    let page = idle.go(turned_away.location()).await;
    page.expect(200, "You were signed out because nothing happened for a while");
    assert_eq!(idle.fetch("/page").await.status, 401);
    idle.submit("/page", &[("a", "b")]).await.expect(401, "What you just sent was not delivered");
}

#[tokio::test]
async fn a_session_in_use_ends_at_its_absolute_timeout() {
    let scene = Scene::start("[session]\nidle_timeout = \"4s\"\nabsolute_timeout = \"4s\"\n").await;
    let busy = scene.signed_in(ALICE).await;
    let sent_to = use_until(&busy, || false).await;
    assert_eq!(sent_to, "/.vestibule/challenge?return_to=%2Fpage&ended=expired");
    busy.go(&sent_to).await.expect(200, "Your session reached its time limit");
    assert_eq!(scene.house.json(&["session", "list"]), serde_json::json!([]));
}

/// Not only WebSockets: an answer that streams ends with its session.
#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let scene = Scene::start("").await;
    let browser = scene.signed_in(ALICE).await;
    scene.upstream.answers("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let mut stream = browser.request(reqwest::Method::GET, "/events").send().await.unwrap();
    assert_eq!(stream.chunk().await.unwrap().as_deref(), Some(b"hello".as_slice()));

    scene.house.run(&["session", "revoke", "--user", "alice"]);
    let ended = tokio::time::timeout(crate::common::PATIENCE, stream.chunk()).await.expect("it ends");
    assert!(ended.is_err(), "visibly broken, never silently short: {ended:?}");
}
