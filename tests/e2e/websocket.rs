//! WebSockets: bytes pass both ways once both sides agreed, and not a moment longer than the session lives.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::common::wire::{End, Manual, Wire, field, fields, status};
use crate::common::{ALICE, BOB, Scene, eventually};

/// What revocation and signing out promise.
const SOON: Duration = Duration::from_secs(1);

const HANDSHAKE: &str = "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: chat\r\n\r\n";

fn request(line: &str, token: &str, more: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={token}\r\n{more}\r\n")
}

/// A tunnel through to the upstream, which echoes.
async fn tunnel(scene: &Scene, token: &str) -> Wire {
    let mut wire = Wire::connect(scene.gateway.address).await;
    wire.send(request("GET /socket", token, HANDSHAKE)).await;
    let head = wire.head().await;
    assert_eq!(status(&head), 101, "{head}");
    echoes(&mut wire, "hello").await;
    wire
}

async fn echoes(wire: &mut Wire, text: &str) {
    wire.send(text).await;
    assert_eq!(wire.exactly(text.len()).await, text.as_bytes());
}

/// Until when the kernel asks whether the other side of a connection is still there, in seconds.
fn asks_in(here: SocketAddr, there: SocketAddr) -> Option<u64> {
    let name = |address: SocketAddr| {
        let IpAddr::V4(ip) = address.ip() else { panic!("{address}") };
        format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port())
    };
    let (here, there) = (name(here), name(there));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut mine = rows.filter(|row| row[1] == here && row[2] == there);
    let (timer, ticks) = mine.next()?[5].split_once(':')?;
    // The kernel's timer 2 is keep-alive; it counts hundredths.
    (timer == "02").then(|| u64::from_str_radix(ticks, 16).unwrap() / 100)
}

#[tokio::test]
async fn a_tunnel_with_a_machine_that_vanished_ends() {
    let live = Manual::start().await;
    let scene =
        Scene::start(&format!("[[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\n", live.address))
            .await;
    let token = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
    let (client, upstream) = open_live(&scene, &token, &live).await;
    for stream in [&client.stream, &upstream.stream] {
        let (gateway, other) = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
        eventually("the kernel asks", async || asks_in(gateway, other).is_some_and(|time| time <= 60)).await;
    }
}

#[tokio::test]
async fn websockets_pass_and_end_with_their_session() {
    let (real, live) = (Manual::start().await, Manual::start().await);
    let routes = format!(
        "[[route]]\npath = \"/real\"\nupstream = [\"http://{}\"]\n[[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\n",
        real.address, live.address
    );
    let mut scene = Scene::start(&routes).await;
    scene.upstream.answers(SWITCHED);
    nobody_opens_one_without_a_session(&scene).await;

    let (alice, bob) = (scene.signed_in(ALICE).await, scene.signed_in(BOB).await);
    let (of_alice, of_bob) = (alice.cookie("vestibule").unwrap(), bob.cookie("vestibule").unwrap());
    no_other_site_opens_one(&scene, &of_alice).await;
    the_handshake_passes(&scene, &of_alice).await;
    what_only_looks_like_one_is_none(&scene, &of_alice).await;
    a_refusal_passes(&scene, &of_alice, &live).await;
    real_frames_pass(&scene, &of_alice, &real).await;

    // Each closes for the application too; other people's stay.
    let mut other = tunnel(&scene, &of_bob).await;
    let (mut client, mut upstream) = open_live(&scene, &of_alice, &live).await;
    let begin = Instant::now();
    assert_eq!(alice.submit("/.vestibule/sign-out", &[]).await.status, 200);
    client.end().await;
    upstream.end().await;
    told("sign-out", begin);
    echoes(&mut other, "still here").await;
    let (head, _) = answer(&scene, &request("GET /socket", &of_alice, HANDSHAKE)).await;
    assert_eq!(status(&head), 401, "no new one either");

    let (mut client, mut upstream) = open_live(&scene, &of_bob, &live).await;
    assert!(client.hears_nothing_for(Duration::from_millis(50)).await);
    scene.house.run(&["session", "revoke", "--user", "bob"]);
    let begin = Instant::now();
    client.end().await;
    upstream.end().await;
    other.end().await;
    told("session revoke", begin);

    // One that is open does not keep the gateway from stopping.
    scene.house.run(&["session", "list"]);
    scene.gateway.terminate();
    assert_eq!(scene.gateway.wait().code(), Some(0));
    let log = scene.gateway.log();
    assert!(!log.contains("panicked"), "{log}");
}

fn told(what: &str, begin: Instant) {
    let took = begin.elapsed();
    println!("a tunnel ended {} ms after {what}", took.as_millis());
    assert!(took < SOON, "{what}: {took:?}");
}

async fn answer(scene: &Scene, request: &str) -> (String, String) {
    let mut wire = Wire::connect(scene.gateway.address).await;
    wire.send(request).await;
    wire.answer().await
}

/// A tunnel whose both ends are the test's.
async fn open_live(scene: &Scene, token: &str, live: &Manual) -> (Wire, Wire) {
    let mut client = Wire::connect(scene.gateway.address).await;
    client.send(request("GET /live", token, HANDSHAKE)).await;
    let (mut upstream, _) = live.request().await;
    upstream.send(SWITCHED).await;
    assert_eq!(status(&client.head().await), 101);
    client.send("up").await;
    upstream.until("up").await;
    upstream.send("down").await;
    client.until("down").await;
    (client, upstream)
}

async fn nobody_opens_one_without_a_session(scene: &Scene) {
    for token in ["", "garbage", "eyJhbGciOiJub25lIn0.e30."] {
        let mut wire = Wire::connect(scene.gateway.address).await;
        wire.send(request("GET /socket", token, HANDSHAKE) + "early bytes").await;
        let (head, body) = wire.answer().await;
        assert_eq!(status(&head), 401, "{head}");
        assert_eq!(field(&head, "content-type"), Some("application/problem+json"));
        assert!(body.contains("challenge_url"), "{body}");
    }
    assert_eq!((scene.upstream.count(), scene.upstream.connections()), (0, 0));
}

async fn no_other_site_opens_one(scene: &Scene, token: &str) {
    for origin in ["https://evil.test", "http://127.0.0.1.evil.test", "http://127.0.0.1:1", "null"] {
        let more = format!("{HANDSHAKE}origin: {origin}\r\n");
        let (head, _) = answer(scene, &request("GET /socket", token, &more)).await;
        assert_eq!(status(&head), 403, "{origin}");
    }
    let more = format!("{HANDSHAKE}sec-fetch-site: cross-site\r\n");
    assert_eq!(status(&answer(scene, &request("GET /socket", token, &more)).await.0), 403);
    assert_eq!((scene.upstream.count(), scene.upstream.connections()), (0, 0));
}

async fn the_handshake_passes(scene: &Scene, token: &str) {
    let mut wire = Wire::connect(scene.gateway.address).await;
    let more = format!("{HANDSHAKE}origin: http://127.0.0.1\r\nsec-websocket-protocol: chat\r\n");
    // Bytes sent before the answer are not lost.
    wire.send(request("GET /socket?x", token, &more) + "early").await;
    let head = wire.head().await;
    assert_eq!(status(&head), 101);
    assert_eq!(field(&head, "upgrade"), Some("websocket"));
    assert_eq!(field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(field(&head, "sec-websocket-protocol"), Some("chat"));
    assert_eq!(wire.exactly(5).await, b"early");
    echoes(&mut wire, "\0\r\n\r\nGET / HTTP/1.1\r\n\r\n").await;

    let sent = scene.upstream.last();
    assert!(sent.starts_with("GET /socket?x HTTP/1.1\r\n"), "{sent}");
    assert_eq!(fields(&sent, "connection"), ["upgrade"]);
    assert_eq!(fields(&sent, "upgrade"), ["websocket"]);
    assert_eq!(fields(&sent, "sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);
    assert_eq!(fields(&sent, "x-forwarded-user"), ["alice"]);
    assert_eq!(field(&sent, "cookie"), None);
}

async fn what_only_looks_like_one_is_none(scene: &Scene, token: &str) {
    scene.upstream.answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    for (line, more) in [
        ("GET /socket", HANDSHAKE.replace("keep-alive, Upgrade", "keep-alive")),
        ("GET /socket", HANDSHAKE.replace("WebSocket", "websocket, h2c")),
        ("GET /socket", HANDSHAKE.replace("WebSocket", "h2c")),
        ("GET /socket", HANDSHAKE.replace("WebSocket", "websocket/13")),
        ("POST /socket", format!("{HANDSHAKE}content-length: 0\r\n")),
        ("HEAD /socket", HANDSHAKE.to_owned()),
    ] {
        let mut wire = Wire::connect(scene.gateway.address).await;
        wire.send(request(line, token, &more)).await;
        assert_eq!(status(&wire.head().await), 200, "{line} {more}");
        assert_eq!(field(&scene.upstream.last(), "upgrade"), None, "{line} {more}");
        assert_eq!(field(&scene.upstream.last(), "connection"), None, "{line} {more}");
    }
    scene.upstream.answers(SWITCHED);
}

async fn a_refusal_passes(scene: &Scene, token: &str, live: &Manual) {
    let mut client = Wire::connect(scene.gateway.address).await;
    client.send(request("GET /live", token, HANDSHAKE)).await;
    let (mut upstream, _) = live.request().await;
    upstream.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
    let (head, body) = client.answer().await;
    assert_eq!((status(&head), body.as_str()), (403, "no"));
    drop(upstream);

    // An application that closes ends it for the client, and the other way round.
    let (mut client, upstream) = open_live(scene, token, live).await;
    drop(upstream);
    assert_eq!(client.end().await, End::Closed(Vec::new()));
    let (client, mut upstream) = open_live(scene, token, live).await;
    drop(client);
    upstream.end().await;
}

async fn real_frames_pass(scene: &Scene, token: &str, real: &Manual) {
    let url = format!("ws://{}/real", scene.gateway.address);
    let mut handshake = url.into_client_request().unwrap();
    handshake.headers_mut().insert("cookie", format!("vestibule={token}").parse().unwrap());
    let stream = TcpStream::connect(scene.gateway.address).await.unwrap();
    let server = async { echo(accept_async(real.accept().await.stream).await.unwrap()).await };
    let client = async {
        let (mut socket, _) = client_async(handshake, stream).await.unwrap();
        let large = Bytes::from((0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
        for message in
            [Message::text("hello"), Message::text(""), Message::binary(large), Message::text("bye")]
        {
            socket.send(message.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == message);
        }
        socket.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"?")));
        socket.close(None).await.unwrap();
        while socket.next().await.is_some() {}
    };
    tokio::join!(server, client);
}

async fn echo(mut socket: WebSocketStream<TcpStream>) {
    while let Some(Ok(message)) = socket.next().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            socket.send(message).await.unwrap();
        }
    }
}
