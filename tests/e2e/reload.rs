//! Another configuration for a gateway that runs: all of it or nothing, and nobody notices.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::journey::GENEROUS;
use crate::common::wire::{Wire, status};
use crate::common::{ALICE, BOB, Browser, Gateway, Scene, Upstream, eventually, read};

const DONE: &str = "the configuration was reloaded";
const REFUSED: &str = "the configuration was not reloaded";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

impl Gateway {
    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.process_id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Scene {
    fn text(&self) -> String {
        String::from_utf8(read(&self.house.config)).unwrap()
    }

    /// Has the gateway read this; the line that it ends with.
    fn reload(&mut self, text: &str, end: &str) -> String {
        std::fs::write(&self.house.config, text).unwrap();
        self.gateway.signal("HUP");
        self.gateway.wait_for_log(end)
    }
}

fn other_upstream(text: &str, from: &Upstream, to: &Upstream) -> String {
    text.replace(&format!("http://{}", from.address), &format!("http://{}", to.address))
}

#[tokio::test]
async fn a_new_configuration_is_taken_over_and_sessions_and_tunnels_go_on() {
    let mut scene = Scene::start("").await;
    let alice = scene.signed_in(ALICE).await;
    let token = alice.cookie("vestibule").unwrap();
    scene.upstream.answers(SWITCHED);
    let mut tunnel = Wire::connect(scene.gateway.address).await;
    tunnel
        .send(format!(
            "GET /socket HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={token}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&tunnel.head().await), 101);

    // A connection that is open all the while, too.
    let mut kept = Wire::connect(scene.gateway.address).await;
    let request = format!("GET /kept HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={token}\r\n\r\n");
    scene.upstream.answers("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    kept.send(&request).await;
    assert_eq!(status(&kept.head().await), 200);
    assert_eq!(kept.exactly(5).await, b"hello");

    let second = Upstream::start().await;
    second.answers("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond");
    let text = other_upstream(&scene.text(), &scene.upstream, &second)
        + "\n[[route.rule]]\npaths = [\"/open\"]\naccess = \"allow\"\n";
    // The rule belongs to the route: TOML wants it behind that, before the next section.
    let (rule, text) = (text.split("[[route.rule]]").nth(1).unwrap().to_owned(), text);
    let text = text.replace(&format!("\n[[route.rule]]{rule}"), "");
    let text = text.replace("[observe]", &format!("[[route.rule]]{rule}\n[observe]"));
    scene.reload(&text, DONE);

    assert_eq!(alice.go("/").await.text, "second", "the session goes on, at the new upstream");
    assert_eq!(scene.browser().go("/open").await.text, "second", "a new rule holds");
    assert_eq!(scene.browser().go("/").await.status, 303, "and no more than that");
    kept.send(&request).await;
    assert_eq!(status(&kept.head().await), 200, "a connection goes on");
    assert_eq!(kept.exactly(6).await, b"second");
    tunnel.send("hello").await;
    assert_eq!(tunnel.exactly(5).await, b"hello", "a tunnel goes on, at the old upstream");
    // And its session still ends it.
    alice.submit("/.vestibule/sign-out", &[]).await;
    tunnel.end().await;
}

#[tokio::test]
async fn a_wrong_configuration_changes_nothing_and_says_why() {
    let mut scene = Scene::start("").await;
    let alice = scene.signed_in(ALICE).await;
    let good = scene.text();
    for (wrong, why) in [
        (good.replace("[observe]", "[[route]]\nhost = \"a.example\"\n[observe]"), "upstream"),
        (good.replace("workers", "wrokers"), "wrokers"),
        ("not TOML at all".to_owned(), "not TOML"),
        (good.replace("/token\"", "/gone\""), "gone"),
        (good.replace("[observe]", "[challenge]\ntemplates = \"/nowhere/at/all\"\n[observe]"), "templates"),
    ] {
        assert_ne!(wrong, good);
        let line = scene.reload(&wrong, REFUSED);
        assert!(line.contains(why), "{line}");
        assert!(alice.is_in().await);
    }
    std::fs::remove_file(&scene.house.config).unwrap();
    std::fs::create_dir(&scene.house.config).unwrap();
    scene.gateway.signal("HUP");
    let line = scene.gateway.wait_for_log(REFUSED);
    assert!(line.contains("directory"), "{line}");
    std::fs::remove_dir(&scene.house.config).unwrap();
    scene.reload(&good, DONE);
    assert!(alice.is_in().await);
}

#[tokio::test]
async fn what_was_counted_stays_counted() {
    let mut scene =
        Scene::start("[limits]\nstarts_per_address = \"3/1h\"\nstarts_per_number = \"9/1h\"\n").await;
    let browser = scene.browser();
    for _ in 0..3 {
        assert_eq!(browser.start(ALICE).await.status, 303);
    }
    let text = scene.text();
    let changed = text.replace("9/1h", "8/1h");
    scene.reload(&changed, DONE);
    assert_eq!(browser.start(BOB).await.status, 429, "the address has had its three");
    // Another rate begins anew.
    scene.reload(&changed.replace("3/1h", "4/1h"), DONE);
    assert_eq!(browser.start(BOB).await.status, 303);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_stays_as_it_was() {
    let mut scene = Scene::start("").await;
    let text = scene.text();
    let wider = text.replace("127.0.0.1:0\"]\npublic", "127.0.0.1:0\", \"127.0.0.2:0\"]\npublic")
        + "\n[session]\nidle_timeout = \"30m\"\n[challenge]\nbrand = \"The new name\"\n";
    std::fs::write(&scene.house.config, &wider).unwrap();
    for _ in 0..2 {
        scene.gateway.signal("HUP");
        let line = scene.gateway.wait_for_log("next start only");
        assert!(line.contains("server.listen") && line.contains("127.0.0.2"), "{line}");
        let line = scene.gateway.wait_for_log("next start only");
        assert!(line.contains("session.idle_timeout"), "{line}");
        scene.gateway.wait_for_log(DONE);
    }
    scene.browser().go("/.vestibule/challenge").await.expect(200, "The new name");
    assert!(scene.gateway.log().contains("challenge.brand"));
}

/// Asks again and again until told to stop; what went wrong.
async fn ask(browser: Browser, over: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut asked, mut wrong) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let page = browser.go("/page").await;
        asked += 1;
        if page.status != 200 || !["hello", "second"].contains(&&*page.text) {
            wrong.push(format!("{page:?}"));
        }
    }
    (asked, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_under_load_fail_nobody() {
    let mut scene = Scene::start(GENEROUS).await;
    let second = Upstream::start().await;
    second.answers("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond");
    let first = scene.text();
    let other = other_upstream(&first, &scene.upstream, &second)
        .replace("[observe]", "[challenge]\nbrand = \"Other\"\n[observe]");
    let over = Arc::new(AtomicBool::new(false));
    let signed_in = scene.signed_in(ALICE).await;
    let people: Vec<_> = (0..8).map(|_| tokio::spawn(ask(signed_in.stolen(), over.clone()))).collect();
    for round in 0..100 {
        scene.reload(if round % 2 == 0 { &other } else { &first }, DONE);
    }
    over.store(true, Ordering::Relaxed);
    let mut all = 0;
    for person in people {
        let (asked, wrong) = person.await.unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
        all += asked;
    }
    println!("100 reloads, {all} requests, 0 failed");
    assert!(all > 100 && second.count() > 0 && scene.upstream.count() > 0, "{all}");
}

#[tokio::test]
async fn a_storm_of_signals_is_one_reload_after_the_other() {
    let mut scene = Scene::start("").await;
    let alice = scene.signed_in(ALICE).await;
    for _ in 0..300 {
        scene.gateway.signal("HUP");
    }
    scene.gateway.wait_for_log(DONE);
    assert!(alice.is_in().await);
    // The last one counts, whatever became of those before it.
    let text = scene.text().replace("[observe]", "[challenge]\nbrand = \"After the storm\"\n[observe]");
    std::fs::write(&scene.house.config, text).unwrap();
    scene.gateway.signal("HUP");
    let browser = scene.browser();
    eventually("the last one is taken over", async || {
        browser.go("/.vestibule/challenge").await.text.contains("After the storm")
    })
    .await;
    let log = scene.gateway.stop();
    assert!(!log.contains("panicked"), "{log}");
}

/// The thread that hears the call to end does not wait for the store.
#[tokio::test]
async fn a_reload_does_not_wait_until_it_is_noted() {
    let mut scene = Scene::start("").await;
    let text = scene.text().replace("[observe]", "[limits]\nstarts_per_user = \"7/1h\"\n[observe]");
    let writer = rusqlite::Connection::open(scene.house.path("state/vestibule.db")).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    scene.reload(&text, DONE);
    assert!(!scene.gateway.log().contains("the audit trail cannot be written"), "it was not waited for");
    writer.execute_batch("COMMIT").unwrap();
    eventually("it is noted", async || !scene.house.details("configuration_reloaded").is_empty()).await;
}
