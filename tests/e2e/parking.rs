//! Idle connections are parked: nothing of the parser stays, and nobody notices.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use futures_util::future::join_all;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use crate::common::wire::{End, Wire, status};
use crate::common::{ALICE, PATIENCE, Scene};
use crate::tls::TlsScene;

const PARKED: &str = "an idle connection is parked";

fn request(line: &str, cookie: &str, more: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: {cookie}\r\n{more}\r\n")
}

async fn says_hello<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) {
    let (head, body) = wire.answer().await;
    assert_eq!((status(&head), body.as_str()), (200, "hello"));
}

#[tokio::test]
async fn a_parked_connection_goes_on_as_if_nothing_had_been() {
    let mut scene = Scene::start("").await;
    let cookie = format!("vestibule={}", scene.signed_in(ALICE).await.cookie("vestibule").unwrap());
    let address = scene.gateway.address;
    let (get, post) = (request("GET /x", &cookie, ""), request("POST /x", &cookie, "content-length: 5\r\n"));

    // Before the first request it is not begun at all.
    let mut late = Wire::connect(address).await;
    let mut wire = Wire::connect(address).await;
    for _ in 0..2 {
        wire.send(&get).await;
        says_hello(&mut wire).await;
        scene.gateway.wait_for_log(PARKED);
    }
    // All at once, cut anywhere, and an empty line after a form.
    wire.send(format!("{get}{post}a=b&c\r\n{get}")).await;
    for _ in 0..3 {
        says_hello(&mut wire).await;
    }
    wire.send(format!("{post}a=b&c\r\n")).await;
    says_hello(&mut wire).await;
    scene.gateway.wait_for_log(PARKED);
    let (first, last) = get.split_at(30);
    wire.send(first).await;
    assert!(wire.hears_nothing_for(Duration::from_millis(1_200)).await);
    wire.send(last).await;
    says_hello(&mut wire).await;
    scene.gateway.wait_for_log(PARKED);
    // Still screened.
    wire.send("GET / HTTP/1.1\n\n").await;
    assert_eq!(status(&wire.head().await), 400);
    late.send(&get).await;
    says_hello(&mut late).await;

    // Requests that come just when it happens.
    let meeting = (0..60).map(|n| {
        let get = &get;
        async move {
            let mut wire = Wire::connect(address).await;
            for _ in 0..3 {
                wire.send(get).await;
                says_hello(&mut wire).await;
                sleep(Duration::from_millis(450 + n * 10)).await;
            }
            wire.send(get).await;
            says_hello(&mut wire).await;
        }
    });
    join_all(meeting).await;

    // A tunnel is never parked.
    scene
        .upstream
        .answers("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let handshake = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    let mut tunnel = Wire::connect(address).await;
    tunnel.send(request("GET /x", &cookie, handshake)).await;
    assert_eq!(status(&tunnel.head().await), 101);
    sleep(Duration::from_millis(1_500)).await;
    tunnel.send("echo").await;
    assert_eq!(tunnel.exactly(4).await, b"echo");
    drop(tunnel);

    // Nothing keeps the gateway from stopping.
    scene.gateway.wait_for_log(PARKED);
    let mut untouched = Wire::connect(address).await;
    scene.gateway.terminate();
    assert_eq!(late.end().await, End::Closed(Vec::new()));
    untouched.end().await;
    assert_eq!(scene.gateway.wait().code(), Some(0));
    let log = scene.gateway.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn an_answer_under_way_is_not_parked() {
    let live = crate::common::wire::Manual::start().await;
    let scene =
        Scene::start(&format!("[[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\n", live.address))
            .await;
    let cookie = format!("vestibule={}", scene.signed_in(ALICE).await.cookie("vestibule").unwrap());
    let mut wire = Wire::connect(scene.gateway.address).await;
    wire.send(request("GET /live", &cookie, "")).await;
    let (mut upstream, _) = live.request().await;
    sleep(Duration::from_millis(1_500)).await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    wire.until("hello").await;
    sleep(Duration::from_millis(1_500)).await;
    upstream.send("world").await;
    wire.until("world").await;
    wire.send(request("GET /x", &cookie, "")).await;
    says_hello(&mut wire).await;
}

#[tokio::test]
async fn over_tls_too() {
    let mut scene = TlsScene::start("").await;
    let cookie = scene.sign_in().await.split(';').next().unwrap().to_owned();
    let mut wire = Wire::new(scene.connect(&[&TLS13], &["http/1.1"]).await.unwrap());
    for _ in 0..3 {
        wire.send(request("GET /x", &cookie, "")).await;
        says_hello(&mut wire).await;
        scene.gateway.wait_for_log(PARKED);
    }
    wire.send(request("GET /x", &cookie, "").repeat(3)).await;
    for _ in 0..3 {
        says_hello(&mut wire).await;
    }
    scene.gateway.wait_for_log(PARKED);
    scene.gateway.terminate();
    assert_eq!(wire.end().await, End::Closed(Vec::new()), "closed as TLS is");
    assert_eq!(scene.gateway.wait().code(), Some(0));
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let scene = Scene::with("", "idle_timeout = \"2s\"", &[]).await;
    let mut wire = Wire::connect(scene.gateway.address).await;
    wire.send("GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(status(&wire.answer().await.0), 401);
    assert_eq!(wire.end().await, End::Closed(Vec::new()));
}

/// Its bytes are decrypted before anybody waits for more.
#[tokio::test]
async fn a_request_that_came_with_the_end_of_the_handshake_is_answered() {
    let scene = TlsScene::start("").await;
    let address = scene.address();
    let mut session = scene.session(&[&TLS13], &["http/1.1"]);
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        session.write_tls(&mut stream).unwrap();
        while session.is_handshaking() {
            session.read_tls(&mut stream).unwrap();
            session.process_new_packets().unwrap();
        }
        session.writer().write_all(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
        let mut all = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut all).unwrap();
        }
        stream.write_all(&all).unwrap();
        let mut answer = vec![0; 12];
        rustls::Stream::new(&mut session, &mut stream).read_exact(&mut answer).unwrap();
        answer
    });
    assert_eq!(answer.await.unwrap(), b"HTTP/1.1 401");
}
