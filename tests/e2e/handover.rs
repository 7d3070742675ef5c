//! A restart that nobody notices: the next process takes the sockets over while this one finishes what is under way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::journey::GENEROUS;
use crate::common::wire::{Wire, status};
use crate::common::{ALICE, Browser, Gateway, PATIENCE, Scene, read};

const GOES: &str = "another process has taken over";
const STAYS: &str = "nobody took over";

/// The gateway that has the store of a scene, whichever process that is by now; ended with the test.
struct Holder<'s>(&'s Scene);

impl Holder<'_> {
    fn id(&self) -> String {
        String::from_utf8(read(&self.0.house.path("state/vestibule.db-lock"))).unwrap().trim().to_owned()
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args(["-s", signal, &self.id()]).status().unwrap().success());
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", &self.id()]).status();
    }
}

impl Scene {
    /// Has the next process take over, and waits until it has.
    fn hand_over(&mut self) {
        Holder(self).signal_and_forget("USR2");
        self.gateway.wait_for_log(GOES);
    }
}

impl Holder<'_> {
    fn signal_and_forget(self, signal: &str) {
        self.signal(signal);
        std::mem::forget(self);
    }
}

/// Asks again and again, by one connection that is kept and one that is new; what went wrong.
async fn ask(scene_address: SocketAddr, token: String, over: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let kept = Browser::new(scene_address);
    kept.set_cookie("vestibule", &token);
    let (mut asked, mut wrong) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let page = kept.go("/page").await;
        if page.status != 200 {
            wrong.push(format!("{page:?}"));
        }
        let mut wire = Wire::connect(scene_address).await;
        wire.send(format!(
            "GET /new HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={token}\r\nconnection: close\r\n\r\n"
        ))
        .await;
        let head = wire.head().await;
        if status(&head) != 200 {
            wrong.push(head);
        }
        asked += 2;
    }
    (asked, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_handovers_under_load_fail_nobody() {
    let mut scene = Scene::start(GENEROUS).await;
    let token = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let address = scene.gateway.address;
    let people: Vec<_> = (0..4).map(|_| tokio::spawn(ask(address, token.clone(), over.clone()))).collect();
    let mut before = Holder(&scene);
    let mut ids = vec![before.id()];
    std::mem::forget(before);
    for _ in 0..10 {
        scene.hand_over();
        before = Holder(&scene);
        ids.push(before.id());
        std::mem::forget(before);
    }
    over.store(true, Ordering::Relaxed);
    let mut all = 0;
    for person in people {
        let (asked, wrong) = person.await.unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
        all += asked;
    }
    println!("10 handovers, {all} requests, 0 failed");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 11, "each was another process");
    assert!(scene.gateway.wait().success(), "the first one ended well");
    // The last one has everything: the store, the session, and monitors' questions.
    let holder = Holder(&scene);
    let browser = Browser::new(address);
    browser.set_cookie("vestibule", &token);
    assert!(browser.is_in().await);
    drop(holder);
}

/// A page of our own, by a new connection; its first bytes.
fn ask_at(path: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream
        .write_all(b"GET /.vestibule/challenge HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.chars().take(12).collect())
}

fn keep_asking(path: PathBuf, over: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut asked, mut wrong) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        match ask_at(&path) {
            Ok(status) if status == "HTTP/1.1 200" => {}
            other => wrong.push(format!("{other:?}")),
        }
        asked += 1;
    }
    (asked, wrong)
}

/// A scene whose `server.listen` names something more.
async fn listening_at(more: &str) -> (Scene, String) {
    let mut scene = Scene::start("").await;
    scene.gateway.stop();
    let plain = String::from_utf8(read(&scene.house.config)).unwrap();
    let both = format!("127.0.0.1:0\", \"{more}\"]\npublic");
    let both = both.replace("{dir}", &scene.house.directory.path().display().to_string());
    std::fs::write(&scene.house.config, plain.replace("127.0.0.1:0\"]\npublic", &both)).unwrap();
    scene.gateway = Gateway::start(&scene.house);
    (scene, plain)
}

#[tokio::test]
async fn ten_handovers_fail_nobody_at_a_unix_socket() {
    let (mut scene, _) = listening_at("unix:{dir}/socket").await;
    let (path, over) = (scene.house.path("socket"), Arc::new(AtomicBool::new(false)));
    let keep = || {
        std::thread::spawn({
            let (path, over) = (path.clone(), over.clone());
            || keep_asking(path, over)
        })
    };
    let people: Vec<_> = (0..4).map(|_| keep()).collect();
    for _ in 0..10 {
        scene.hand_over();
    }
    over.store(true, Ordering::Relaxed);
    let _last = Holder(&scene);
    for person in people {
        let (asked, wrong) = person.join().unwrap();
        assert!(asked > 0 && wrong.is_empty(), "{wrong:#?}");
    }
}

#[tokio::test]
async fn what_is_not_listened_on_any_more_is_closed() {
    let (mut scene, plain) = listening_at("127.0.0.2:0").await;
    let address = |line: &str| -> SocketAddr {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    };
    let more = address(&scene.gateway.wait_for_log("\"listening\""));
    let log = scene.gateway.log();
    let told =
        log.lines().find(|line| line.contains("health and metrics")).unwrap_or_else(|| panic!("{log}"));
    let observed = address(told);
    assert!(TcpStream::connect(more).is_ok() && TcpStream::connect(observed).is_ok());

    let elsewhere =
        plain.replace("[observe]\nlisten = \"127.0.0.1:0\"", "[observe]\nlisten = \"127.0.0.2:0\"");
    assert_ne!(elsewhere, plain);
    std::fs::write(&scene.house.config, elsewhere).unwrap();
    Holder(&scene).signal_and_forget("USR2");
    let moved = address(&scene.gateway.wait_for_log("health and metrics"));
    scene.gateway.wait_for_log(GOES);
    assert!(scene.gateway.wait().success());
    let _last = Holder(&scene);
    for closed in [more, observed] {
        let refused = TcpStream::connect(closed).expect_err("nobody is there");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    assert!(TcpStream::connect(moved).is_ok());
    assert!(TcpStream::connect(scene.gateway.address).is_ok());
}

#[tokio::test]
async fn who_cannot_take_over_changes_nothing() {
    let mut scene = Scene::start("").await;
    let alice = scene.signed_in(ALICE).await;
    let good = String::from_utf8(read(&scene.house.config)).unwrap();
    let id = Holder(&scene);
    let first = id.id();
    std::mem::forget(id);
    for wrong in [
        "nothing".to_owned(),
        // It has the store already when it finds this.
        good.replace("[observe]", "[challenge]\ntemplates = \"/nowhere/at/all\"\n[observe]"),
        good.replace("127.0.0.1:0\"]\npublic", "192.0.2.1:1\"]\npublic"),
    ] {
        std::fs::write(&scene.house.config, wrong).unwrap();
        scene.gateway.signal("USR2");
        scene.gateway.wait_for_log(STAYS);
        assert!(alice.is_in().await);
    }
    std::fs::write(&scene.house.config, &good).unwrap();
    // A version that would have to change the schema, which the one that runs could not go on with.
    scene.house.sql("PRAGMA user_version = 2");
    scene.gateway.signal("USR2");
    let line = scene.gateway.wait_for_log("systemctl restart");
    assert!(line.contains("schema 2"), "{line}");
    scene.gateway.wait_for_log(STAYS);
    assert!(alice.is_in().await);
    scene.house.sql("PRAGMA user_version = 3");
    // It still has the store to itself.
    let output = scene.house.command(&["serve"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("process {first}")), "{text}");
    scene.hand_over();
    assert!(alice.is_in().await);
    drop(Holder(&scene));
}

#[tokio::test]
async fn a_tunnel_stays_with_the_process_that_has_it_and_the_service_manager_hears_who_is_next() {
    let mut scene = Scene::start("").await;
    let path = scene.house.path("notify");
    scene.gateway.stop();
    let notices = UnixDatagram::bind(&path).unwrap();
    notices.set_read_timeout(Some(PATIENCE)).unwrap();
    scene.gateway = Gateway::start_with(&scene.house, &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let alice = scene.signed_in(ALICE).await;
    let token = alice.cookie("vestibule").unwrap();
    scene.upstream.answers("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    let mut tunnel = Wire::connect(scene.gateway.address).await;
    tunnel
        .send(format!(
            "GET /socket HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={token}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await;
    assert_eq!(status(&tunnel.head().await), 101);
    scene.upstream.answers("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    scene.hand_over();
    let holder = Holder(&scene);
    tunnel.send("still here").await;
    assert_eq!(tunnel.exactly(10).await, b"still here");
    assert!(alice.is_in().await, "and the next one serves");
    let mut buffer = [0; 4_096];
    loop {
        let length = notices.recv(&mut buffer).expect("it is told");
        if String::from_utf8_lossy(&buffer[..length]).contains(&format!("MAINPID={}", holder.id())) {
            break;
        }
    }
    // A sign-out at the next one ends the tunnel at the one before.
    alice.submit("/.vestibule/sign-out", &[]).await;
    tunnel.end().await;
}
