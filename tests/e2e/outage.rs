//! The store is away: who is in stays in for the grace, nobody else gets in, and no restart is needed when it is back.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::common::browser::HTML;
use crate::common::wire::{Manual, Wire, status};
use crate::common::{ALICE, BOB, Browser, Gateway, House, STRANGER, Scene, eventually};

const AWAY: &str = "the store is away";
const BACK: &str = "the store is back";

const HANDSHAKE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

impl House {
    /// Takes every table away, so that whatever the gateway asks the store for fails.
    fn take_store_away(&self) {
        self.rename_tables("", "away_");
    }

    fn bring_store_back(&self) {
        self.rename_tables("away_", "");
    }

    fn rename_tables(&self, from: &str, to: &str) {
        let names = self.told(&format!(
            "SELECT group_concat(substr(name, {} + 1), ' ') FROM sqlite_schema \
             WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            from.len()
        ));
        let rename = |name: &str| format!("ALTER TABLE {from}{name} RENAME TO {to}{name};");
        let all: String = names.split(' ').map(rename).collect();
        self.sql(&format!("BEGIN IMMEDIATE; {all} COMMIT"));
    }
}

async fn goes_away(gateway: &mut Gateway, house: &House) {
    house.take_store_away();
    gateway.has_logged(AWAY).await;
}

async fn comes_back(gateway: &mut Gateway, house: &House) {
    house.bring_store_back();
    gateway.has_logged(BACK).await;
}

/// Refuses without a byte to the application, and says that the session itself is not over.
async fn is_unconfirmed(browser: &Browser) {
    let page = browser.go("/page").await;
    page.expect(503, "Your session cannot be confirmed at the moment");
    page.expect(503, "You need not sign in again");
    let document = browser.fetch("/page").await;
    assert_eq!(
        (document.status.as_u16(), document.json()["error"].as_str()),
        (503, Some("store_unavailable"))
    );
    assert_eq!(document.header("content-type"), "application/problem+json");
    browser
        .submit("/page", &[("a", "b")])
        .await
        .expect(503, "Your session cannot be confirmed at the moment");
}

/// Every step of signing in is refused, in words for whoever asks.
async fn nobody_signs_in(browser: &Browser) {
    const SAYS: &str = "Signing in is not possible at the moment";
    let page = browser.challenge().await;
    page.expect(503, SAYS);
    page.expect(503, "Whoever is signed in stays signed in");
    browser.start(STRANGER).await.expect(503, SAYS);
    browser.start(BOB).await.expect(503, SAYS);
    browser.verify("123456").await.expect(503, SAYS);
    browser.resend("sms").await.expect(503, SAYS);
    browser.submit("/.vestibule/challenge/cancel", &[]).await.expect(503, SAYS);
    for (what, body) in [
        ("request", json!({"phoneNumber": BOB})),
        ("verify", json!({"requestId": "A".repeat(22), "code": "123456"})),
    ] {
        let answer = browser.api(what, &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (503, json!({"error": "store_unavailable"})),
            "{what}"
        );
    }
}

/// So many lines of the log are complaints with this text.
fn told(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn who_is_in_stays_in_and_nobody_else_gets_in() {
    let mut scene = Scene::start("").await;
    let alice = scene.signed_in(ALICE).await;
    assert!(alice.is_in().await);
    // Known to the store alone: nobody used it here yet.
    let bob = scene.signed_in(BOB).await;
    // A code under way, which would be right.
    let waiting = scene.browser();
    scene.house.passes(3_600);
    assert_eq!(waiting.start(ALICE).await.status, 303);
    let code = scene.simulator.code(ALICE).await;
    assert_eq!(scene.gateway.told_monitors("/health/ready").await, (200, "ready\n".to_owned()));

    goes_away(&mut scene.gateway, &scene.house).await;
    let (forwarded, calls) = (scene.upstream.count(), scene.simulator.requests().await);
    for _ in 0..20 {
        assert!(alice.is_in().await, "in memory, and within the grace");
    }
    assert_eq!(scene.upstream.count(), forwarded + 20);
    is_unconfirmed(&bob).await;
    bob.go("/.vestibule/account").await.expect(503, "Your session cannot be confirmed");
    assert_eq!(bob.go("/.vestibule/assets/vestibule.css").await.status, 200, "the page has its style");
    nobody_signs_in(&scene.browser()).await;
    waiting.verify(&code).await.expect(503, "Signing in is not possible at the moment");
    assert_eq!(waiting.cookie("vestibule"), None);
    // Who has no session is led to the page that says so, as ever.
    assert_eq!(scene.browser().go("/page").await.location(), "/.vestibule/challenge?return_to=%2Fpage");
    assert_eq!(scene.browser().fetch("/page").await.status, 401);
    assert_eq!(scene.upstream.count(), forwarded + 20, "not a byte of any of these");
    assert!(scene.simulator.requests_after(&calls).await.iter().all(|call| call["method"] == "GET"));
    let (ready, said) = scene.gateway.told_monitors("/health/ready").await;
    assert!(
        ready == 503 && said.contains("the store is away since 20") && said.contains("go on for 14m"),
        "{said}"
    );
    assert_eq!(scene.gateway.told_monitors("/health/live").await.0, 200);

    comes_back(&mut scene.gateway, &scene.house).await;
    assert_eq!(scene.gateway.told_monitors("/health/ready").await.0, 200);
    assert!(bob.is_in().await && alice.is_in().await);
    assert_eq!(waiting.verify(&code).await.status, 303, "no try was spent and no code was lost");
    assert!(waiting.is_in().await);
    let log = scene.gateway.stop();
    assert_eq!((told(&log, AWAY), told(&log, BACK)), (1, 1), "{log}");
    let complaints =
        log.lines().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).count();
    assert_eq!(complaints, 2, "one line when it goes and one when it comes, not one a tick:\n{log}");
}

#[tokio::test]
async fn what_was_revoked_meanwhile_is_heard_of_before_anything_else() {
    let mut scene = Scene::start("").await;
    let (alice, bob) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    assert!(alice.is_in().await && bob.is_in().await);
    goes_away(&mut scene.gateway, &scene.house).await;
    scene.house.sql(
        "UPDATE away_session SET ended = 'revoked' WHERE user_name = 'alice'; \
         INSERT INTO away_change (at, kind, subject) \
         SELECT auth_time, 'session_ended', id || ' revoked' FROM away_session WHERE user_name = 'alice'",
    );
    assert!(alice.is_in().await, "it cannot be known yet: that is the grace");
    comes_back(&mut scene.gateway, &scene.house).await;
    assert!(alice.go("/page").await.location().contains("ended=revoked"));
    assert!(bob.is_in().await);
}

/// A tunnel, and an answer that goes on and on.
async fn under_way(
    scene: &Scene,
    browser: &Browser,
    live: &Manual,
) -> ((Wire, Wire), (reqwest::Response, Wire)) {
    let token = browser.cookie("vestibule").unwrap();
    let mut client = Wire::connect(scene.gateway.address).await;
    let line =
        format!("GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={token}\r\n{HANDSHAKE}\r\n");
    client.send(line).await;
    let (mut upstream, _) = live.request().await;
    upstream.send(SWITCHED).await;
    assert_eq!(status(&client.head().await), 101);
    let stream = browser.request(Method::GET, "/live").send();
    let answer = async {
        let (mut upstream, _) = live.request().await;
        upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        upstream
    };
    let (stream, events) = tokio::join!(stream, answer);
    let mut stream = stream.unwrap();
    assert_eq!(stream.chunk().await.unwrap().as_deref(), Some(b"hello".as_slice()));
    ((client, upstream), (stream, events))
}

#[tokio::test]
async fn after_the_grace_nothing_passes_and_the_same_session_goes_on_when_the_store_is_back() {
    let live = Manual::start().await;
    let more = format!(
        "[[route.rule]]\npaths = [\"/public\"]\naccess = \"allow\"\n\
         [[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\n[session]\noutage_grace = \"4s\"\n",
        live.address
    );
    let mut scene = Scene::start(&more).await;
    let (alice, bob) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    assert!(alice.is_in().await);
    let ((mut client, mut upstream), (mut stream, mut events)) = under_way(&scene, &alice, &live).await;
    goes_away(&mut scene.gateway, &scene.house).await;
    // A message each way: the tunnel stands for the grace.
    client.send("up").await;
    upstream.until("up").await;
    assert!(alice.is_in().await);

    client.end().await;
    upstream.end().await;
    let ended = tokio::time::timeout(crate::common::PATIENCE, stream.chunk()).await.expect("it ends");
    assert!(ended.is_err(), "{ended:?}");
    events.end().await;
    let forwarded = scene.upstream.count();
    for browser in [&alice, &bob] {
        is_unconfirmed(browser).await;
    }
    // Nobody is sent to a challenge that cannot be met.
    let stranger = scene.browser();
    stranger.go("/page").await.expect(503, "Signing in is not possible at the moment");
    assert_eq!(stranger.fetch("/page").await.json()["error"], "store_unavailable");
    nobody_signs_in(&stranger).await;
    assert_eq!(scene.upstream.count(), forwarded);
    for browser in [&alice, &stranger] {
        assert_eq!(browser.go("/public").await.text, "hello", "what everybody may see");
    }
    let (ready, said) = scene.gateway.told_monitors("/health/ready").await;
    assert!(ready == 503 && said.contains("the grace is over"), "{said}");
    assert_eq!(scene.gateway.told_monitors("/health/live").await.0, 200);

    comes_back(&mut scene.gateway, &scene.house).await;
    assert!(alice.is_in().await && bob.is_in().await, "without a new proof");
    under_way(&scene, &alice, &live).await;
    let log = scene.gateway.log();
    assert_eq!((told(&log, AWAY), told(&log, "the grace is over"), told(&log, BACK)), (1, 1, 1), "{log}");
}

/// A route where nobody goes on while the store is away, beside one where everybody does.
#[tokio::test]
async fn a_route_may_believe_sessions_for_a_shorter_time_than_others() {
    let live = Manual::start().await;
    let mut scene = Scene::start(&format!(
        "[[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\noutage_grace = \"0s\"\n\
         [[route.rule]]\npaths = [\"/live/public\"]\naccess = \"allow\"\n\
         [[route.rule]]\npaths = [\"/live/closed\"]\naccess = \"deny\"\n",
        live.address
    ))
    .await;
    let alice = scene.signed_in(ALICE).await;
    let ((mut client, mut upstream), (mut stream, mut events)) = under_way(&scene, &alice, &live).await;
    client.send("up").await;
    upstream.until("up").await;
    goes_away(&mut scene.gateway, &scene.house).await;
    // What is under way there ends, though the session is believed elsewhere.
    client.end().await;
    upstream.end().await;
    let ended = tokio::time::timeout(crate::common::PATIENCE, stream.chunk()).await.expect("it ends");
    assert!(ended.is_err(), "{ended:?}");
    events.end().await;
    alice.go("/live").await.expect(503, "Your session cannot be confirmed at the moment");
    scene.browser().go("/live").await.expect(503, "Signing in is not possible at the moment");
    assert!(alice.is_in().await, "elsewhere the grace holds");
    // Who it is does not matter where nobody may pass.
    assert_eq!(alice.go("/live/closed").await.status, 403);
    let (open, answered) = tokio::join!(alice.go("/live/public"), async {
        let (mut upstream, head) = live.request().await;
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        head
    });
    assert_eq!(open.text, "hello", "what everybody may see");
    assert!(!answered.to_lowercase().contains("x-forwarded-user"), "as nobody: {answered}");
    comes_back(&mut scene.gateway, &scene.house).await;
    eventually("what was denied meanwhile is on the trail", async || {
        scene.house.details("request_denied") == ["a rule denies this: GET /live/closed"]
    })
    .await;
    assert_ne!(alice.fetch_status_of_live(&live).await, 503);
}

impl Browser {
    async fn fetch_status_of_live(&self, live: &Manual) -> u16 {
        let (answer, ()) = tokio::join!(self.go("/live"), async {
            let (mut upstream, _) = live.request().await;
            upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        });
        answer.status.as_u16()
    }
}

#[tokio::test]
async fn without_a_grace_nothing_passes_at_once() {
    let mut scene = Scene::start("[session]\noutage_grace = \"0s\"\n").await;
    let alice = scene.signed_in(ALICE).await;
    for _ in 0..50 {
        assert!(alice.is_in().await, "a store that answers is not away");
    }
    goes_away(&mut scene.gateway, &scene.house).await;
    eventually("the end of no grace", async || alice.go("/page").await.status == 503).await;
    is_unconfirmed(&alice).await;
    comes_back(&mut scene.gateway, &scene.house).await;
    assert!(alice.is_in().await);
}

/// Signs out and is told what is so.
async fn signs_out_unrecorded(browser: &Browser) {
    let thief = browser.stolen();
    let page = browser.submit("/.vestibule/sign-out", &[]).await;
    page.expect(202, "You are signed out");
    page.expect(202, "You are signed out here. That could not be written down yet");
    assert_eq!(browser.cookie("vestibule"), None);
    assert!(!thief.is_in().await, "it ends at once all the same");
}

#[tokio::test]
async fn who_signs_out_while_the_store_is_away_is_out_for_good() {
    let mut scene =
        Scene::start("[session]\noutage_grace = \"3s\"\n[limits]\nstarts_per_number = \"100/1h\"\n").await;
    let (used, unused) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    let (late, other) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    assert!(used.is_in().await && late.is_in().await);
    assert_eq!(scene.house.sessions().len(), 4);
    let thieves = [used.stolen(), unused.stolen(), late.stolen()];
    goes_away(&mut scene.gateway, &scene.house).await;
    signs_out_unrecorded(&used).await;
    signs_out_unrecorded(&unused).await;
    scene.gateway.has_logged("the grace is over").await;
    signs_out_unrecorded(&late).await;
    // Without a session, and with one that is none.
    assert_eq!(scene.browser().submit("/.vestibule/sign-out", &[]).await.status, 200);
    let forged = scene.browser();
    forged.set_cookie("vestibule", &format!("{}x", thieves[0].cookie("vestibule").unwrap()));
    assert_eq!(forged.submit("/.vestibule/sign-out", &[]).await.status, 200);

    comes_back(&mut scene.gateway, &scene.house).await;
    for thief in &thieves {
        assert_eq!(thief.go("/page").await.location(), "/.vestibule/challenge?return_to=%2Fpage");
    }
    assert!(other.is_in().await, "nobody else is signed out");
    eventually("it is written down", async || scene.house.sessions().len() == 1).await;
    eventually("on the trail too", async || {
        scene.house.details("session_ended").iter().filter(|detail| *detail == "signed_out").count() == 3
    })
    .await;
    scene.restart();
    for thief in thieves {
        assert!(!thief.moved_to(scene.gateway.address).is_in().await, "nor after a restart");
    }
}

/// Not an error but silence: a reader of this database waits for the index that another process is about to mend.
#[tokio::test]
async fn a_store_that_says_nothing_is_away_too() {
    let mut scene = Scene::start("").await;
    let alice = scene.signed_in(ALICE).await;
    assert!(alice.is_in().await);
    let bob = scene.signed_in(BOB).await;
    let other = rusqlite::Connection::open(scene.house.path("state/vestibule.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let index =
        std::fs::OpenOptions::new().write(true).open(scene.house.path("state/vestibule.db-shm")).unwrap();
    index.write_all_at(&[0xff; 96], 0).unwrap();
    scene.gateway.has_logged(AWAY).await;
    let begin = std::time::Instant::now();
    for _ in 0..20 {
        assert!(alice.is_in().await);
    }
    is_unconfirmed(&bob).await;
    nobody_signs_in(&scene.browser()).await;
    let (ready, said) = scene.gateway.told_monitors("/health/ready").await;
    assert!(ready == 503 && said.contains("away since"), "{said}");
    let took = begin.elapsed();
    println!("refused {took:?} after it was known");
    assert!(took < Duration::from_secs(5), "nobody waits for what is known: {took:?}");
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    scene.gateway.has_logged(BACK).await;
    assert!(bob.is_in().await && alice.is_in().await);
    assert_eq!(scene.gateway.told_monitors("/health/ready").await.0, 200);
    let refused = scene.browser().request(Method::GET, "/").header("accept", HTML);
    assert_eq!(scene.browser().send(refused).await.status, 303);
}
