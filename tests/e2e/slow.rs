//! Who holds a connection up and gives or takes next to nothing loses it. All of them wait side by side: the limits
//! are tens of seconds.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::common::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, NO_WINDOW, block};
use crate::common::wire::{Manual, Wire, status};
use crate::common::{ALICE, Scene};
use crate::tls::TlsScene;

/// Longer than any of the limits, on the slowest machine.
const LONGEST: Duration = Duration::from_secs(300);

fn request(line: &str, cookie: &str, more: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: {cookie}\r\n{more}\r\n")
}

/// An upstream of the test's at a path of its own.
async fn route(path: &str, idle: &str) -> (Manual, String) {
    let live = Manual::start().await;
    let address = live.address;
    let route = format!(
        "[[route]]\npath = \"{path}\"\nupstream = [\"http://{address}\"]\nidle_timeout = \"{idle}\"\n"
    );
    (live, route)
}

/// Feeds these bytes one by one until the gateway has had enough.
async fn trickle(wire: &mut Wire, bytes: impl Iterator<Item = u8>) {
    let ended = async {
        for byte in bytes {
            if wire.stream.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
        panic!("all of it was taken");
    };
    timeout(LONGEST, ended).await.expect("an end");
}

/// Writes until the other side closes: it waits for somebody who reads nothing.
async fn is_given_up(mut upstream: Wire) {
    let writing = async {
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n").await;
        while upstream.stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
    };
    timeout(LONGEST, writing).await.expect("an end");
}

#[tokio::test]
async fn slow_clients_lose_their_connections() {
    let (live, of_live) = route("/live", "5m").await;
    let (_brisk, of_brisk) = route("/brisk", "20s").await;
    let (calm, of_calm) = route("/calm", "90s").await;
    let scene = Scene::start(&[of_live, of_brisk, of_calm].concat()).await;
    let cookie = format!("vestibule={}", scene.signed_in(ALICE).await.cookie("vestibule").unwrap());
    let connect = async || Wire::connect(scene.gateway.address).await;

    let silent = async {
        let mut wire = connect().await;
        timeout(LONGEST, tokio::io::copy(&mut wire.stream, &mut tokio::io::sink())).await.expect("an end")
    };
    let slow_head = async {
        let mut wire = connect().await;
        let head = request("GET /x", &cookie, "").trim_end().to_owned() + "\r\nx: ";
        trickle(&mut wire, head.into_bytes().into_iter().chain(std::iter::repeat_n(b'y', 1_000))).await;
    };
    let slow_body = async {
        let mut wire = connect().await;
        wire.send(request("POST /brisk", &cookie, "content-length: 1000000\r\n")).await;
        trickle(&mut wire, std::iter::repeat_n(b'y', 1_000)).await;
    };
    // Longer than a minute, where the route says so.
    let quiet_body = async {
        let mut wire = connect().await;
        wire.send(request("POST /calm", &cookie, "content-length: 5\r\n")).await;
        let (mut upstream, _) = calm.request().await;
        sleep(Duration::from_secs(70)).await;
        wire.send("hello").await;
        assert_eq!(upstream.exactly(5).await, b"hello");
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(status(&wire.answer().await.0), 200);
    };
    let slow_reader = async {
        let mut wire = connect().await;
        wire.send(request("GET /live", &cookie, "")).await;
        let (upstream, _) = live.request().await;
        is_given_up(upstream).await;
        drop(wire);
    };
    let honest = async {
        let mut wire = connect().await;
        for _ in 0..70 {
            wire.send(request("GET /x", &cookie, "")).await;
            assert_eq!(status(&wire.answer().await.0), 200);
            sleep(Duration::from_secs(1)).await;
        }
    };
    let _ = tokio::join!(silent, slow_head, slow_body, quiet_body, slow_reader, honest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_lose_their_encrypted_connections() {
    let (live, of_live) = route("/live", "5m").await;
    let (brisk, of_brisk) = route("/brisk", "20s").await;
    let scene = TlsScene::start(&[of_live, of_brisk].concat()).await;
    let cookie = scene.sign_in().await.split(';').next().unwrap().to_owned();
    let authority = scene.address().to_string();

    let no_handshake = async {
        let mut stream = TcpStream::connect(scene.address()).await.unwrap();
        stream.write_all(&[0x16]).await.unwrap();
        let _ = timeout(LONGEST, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await.expect("an end");
    };
    let head = |method: &[u8], path: &[u8]| {
        block(&[
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", authority.as_bytes()),
            (b":path", path),
            (b"cookie", cookie.as_bytes()),
        ])
    };
    // No window, but every ping is answered: no write ever waits.
    let no_window = async {
        let mut frames = scene.frames(NO_WINDOW).await;
        let head = head(b"GET", b"/live");
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &head).await;
        let (upstream, _) = live.request().await;
        let answering = async {
            assert_eq!(frames.about(1).await.unwrap().kind, HEADERS);
            loop {
                frames.ping().await;
                sleep(Duration::from_secs(5)).await;
            }
        };
        tokio::select! {
            () = is_given_up(upstream) => {}
            () = answering => {}
        }
    };
    let slow_body = async {
        let mut frames = scene.frames(&[]).await;
        frames.send(HEADERS, END_HEADERS, 1, &head(b"POST", b"/brisk")).await;
        let (mut upstream, _) = brisk.request().await;
        let trickling = async {
            for _ in 0..200 {
                frames.send(DATA, 0, 1, b"y").await;
                frames.ping().await;
                sleep(Duration::from_millis(500)).await;
            }
        };
        let given_up = async { tokio::io::copy(&mut upstream.stream, &mut tokio::io::sink()).await };
        tokio::select! {
            _ = given_up => {}
            () = trickling => panic!("all of it was taken"),
        }
    };
    tokio::join!(no_handshake, no_window, slow_body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_http2_connection_is_closed() {
    let mut scene = TlsScene::start("").await;
    let text = std::fs::read_to_string(&scene.house.config).unwrap();
    let text = text.replace("workers = 2\n", "workers = 2\nidle_timeout = \"1s\"\n");
    std::fs::write(&scene.house.config, text).unwrap();
    scene.gateway.stop();
    scene.gateway = crate::common::Gateway::start(&scene.house);
    let mut frames = scene.frames(&[]).await;
    while frames.about(0).await.is_some() {}
}
