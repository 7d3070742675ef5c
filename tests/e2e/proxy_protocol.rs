//! The PROXY protocol: a load balancer in front names its clients, and nobody else names anybody. With it, the limit of
//! connections by address.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustls::version::TLS13;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::common::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, block};
use crate::common::wire::{Manual, Wire, field, status};
use crate::common::{ALICE, Gateway, House, Scene, eventually};
use crate::tls::TlsScene;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 for this client.
fn version_2(client: [u8; 4]) -> Vec<u8> {
    [SIGNATURE, &[0x21, 0x11, 0, 12], &client, &[10, 0, 0, 1, 0, 9, 1, 187]].concat()
}

pub fn version_1(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { ("TCP6", "::1") } else { ("TCP4", "10.0.0.1") };
    format!("PROXY {} {client} {} 9 443\r\n", family.0, family.1).into_bytes()
}

fn request(cookie: &str, more: &str) -> Vec<u8> {
    format!("GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: {cookie}\r\n{more}\r\n").into_bytes()
}

/// Sign-in comes first: browsers speak no PROXY protocol.
pub fn switch_on(house: &House, gateway: &mut Gateway, more: &str) {
    let text = std::fs::read_to_string(&house.config).unwrap();
    std::fs::write(&house.config, text.replace("workers = 2\n", &format!("workers = 2\n{more}\n"))).unwrap();
    gateway.stop();
    *gateway = Gateway::start(house);
}

struct Stage {
    scene: Scene,
    cookie: String,
}

impl Stage {
    async fn start(more: &str) -> Self {
        let mut scene = Scene::start("").await;
        let cookie = format!("vestibule={}", scene.signed_in(ALICE).await.cookie("vestibule").unwrap());
        switch_on(&scene.house, &mut scene.gateway, more);
        Self { scene, cookie }
    }

    async fn connect(&self) -> Wire {
        Wire::connect(self.scene.gateway.address).await
    }

    /// Whom the application is told of, on a connection that begins so.
    async fn named(&self, header: &[u8], more: &str) -> String {
        let mut wire = self.connect().await;
        wire.send([header, &request(&self.cookie, more)].concat()).await;
        assert_eq!(status(&wire.answer().await.0), 200);
        field(&self.scene.upstream.last(), "x-forwarded-for").unwrap().to_owned()
    }

    /// A connection of this client's that is open, or none.
    async fn open(&self, client: &str) -> Option<Wire> {
        let mut wire = self.connect().await;
        wire.send([version_1(client), request("", "")].concat()).await;
        let mut first = [0];
        let read = tokio::io::AsyncReadExt::read(&mut wire.stream, &mut first).await;
        (read.ok() == Some(1)).then_some(wire)
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_its_clients() {
    let more = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\nproxy_protocol = true\nmax_connections_per_address = 3";
    let mut stage = Stage::start(more).await;

    assert_eq!(stage.named(&version_1("203.0.113.7"), "").await, "203.0.113.7");
    assert_eq!(stage.named(&version_1("2001:db8::7"), "").await, "2001:db8::7");
    assert_eq!(stage.named(&version_2([203, 0, 113, 8]), "").await, "203.0.113.8");
    // It has named the client; what that client says of itself is another matter.
    let forged = "x-forwarded-for: 198.51.100.1\r\n";
    assert_eq!(stage.named(&version_2([203, 0, 113, 8]), forged).await, "203.0.113.8");
    assert_eq!(stage.named(&version_2([10, 0, 0, 5]), forged).await, "198.51.100.1, 10.0.0.5");
    for own in [&b"PROXY UNKNOWN\r\n"[..], &[SIGNATURE, &[0x20, 0, 0, 0]].concat()] {
        assert_eq!(stage.named(own, "").await, "127.0.0.1");
        assert_eq!(stage.named(own, forged).await, "127.0.0.1", "it passes bytes, whoever wrote them");
    }
    // In pieces.
    for header in [version_1("203.0.113.7"), version_2([203, 0, 113, 7])] {
        let mut wire = stage.connect().await;
        wire.stream.set_nodelay(true).unwrap();
        for byte in [header, request(&stage.cookie, "")].concat() {
            wire.send([byte]).await;
        }
        assert_eq!(status(&wire.answer().await.0), 200);
        assert_eq!(field(&stage.scene.upstream.last(), "x-forwarded-for"), Some("203.0.113.7"));
        wire.send(version_1("198.51.100.1")).await;
        assert_eq!(status(&wire.head().await), 400, "once, and at the beginning");
    }
    lesson_43_what_is_no_header_closes_the_connection(&stage).await;
    each_client_has_so_many_connections(&stage).await;
    haproxy_is_understood(&stage).await;
    let log = stage.scene.gateway.stop();
    assert!(!log.contains("panicked"), "{log}");
}

async fn lesson_43_what_is_no_header_closes_the_connection(stage: &Stage) {
    let before = stage.scene.upstream.count();
    let oversized = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff], &[0; 3_000]].concat();
    let long = format!("PROXY UNKNOWN {}", "x".repeat(3_000)).into_bytes();
    for header in [Vec::new(), b"PROXY NOBODY\r\n".to_vec(), oversized, long, version_1("203.0.113.256")] {
        let mut wire = stage.connect().await;
        let _ = wire.stream.write_all(&[header, request(&stage.cookie, "")].concat()).await;
        assert!(wire.ends_silently().await);
    }
    // Nor does one that never comes hold a connection.
    for header in [&b""[..], b"PROXY TCP4 ", SIGNATURE] {
        let mut wire = stage.connect().await;
        wire.send(header).await;
        assert!(wire.ends_silently().await);
    }
    assert_eq!(stage.scene.upstream.count(), before);
}

async fn each_client_has_so_many_connections(stage: &Stage) {
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(stage.open("203.0.113.9").await.expect("one of three"));
    }
    assert!(stage.open("203.0.113.9").await.is_none(), "the fourth");
    assert!(stage.open("203.0.113.10").await.is_some(), "somebody else");
    let mut proxies = Vec::new();
    for _ in 0..5 {
        proxies.push(stage.open("10.0.0.9").await.expect("a proxy stands for many"));
    }
    for host in 1..=3 {
        open.push(stage.open(&format!("2001:db8:0:1::{host}")).await.expect("one of three"));
    }
    assert!(stage.open("2001:db8:0:1::4").await.is_none(), "one /64 is one client");
    drop(open);
    eventually("they are given back", async || stage.open("203.0.113.9").await.is_some()).await;
}

/// A process that ends with the test.
struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy of Debian, which `tests/run` installs.
async fn haproxy_is_understood(stage: &Stage) {
    let [first, second] = [Manual::start().await.address, Manual::start().await.address];
    let listen = |name: &str, address: SocketAddr, version: &str| {
        format!(
            "listen {name}\n  bind {address}\n  server gateway {} {version}\n",
            stage.scene.gateway.address
        )
    };
    let config = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n{}{}",
        listen("first", first, "send-proxy"),
        listen("second", second, "send-proxy-v2")
    );
    let file = stage.scene.house.path("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    // Where it is for everybody, and where it is for root.
    let start = |binary: &&str| {
        let mut command = Command::new(binary);
        command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
    };
    let running = ["haproxy", "/usr/sbin/haproxy"].iter().find_map(start);
    let _haproxy = HaProxy(running.expect("haproxy: install the Debian package, or run tests/run"));
    for address in [first, second] {
        eventually("haproxy listens", async || TcpStream::connect(address).await.is_ok()).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut wire = Wire::new(socket.connect(address).await.unwrap());
        wire.send(request(&stage.cookie, "")).await;
        assert_eq!(status(&wire.answer().await.0), 200);
        assert_eq!(field(&stage.scene.upstream.last(), "x-forwarded-for"), Some("127.0.0.2"));
    }
}

#[tokio::test]
async fn nobody_else_names_anybody() {
    let stage = Stage::start("trusted_proxies = [\"10.0.0.1\"]\nproxy_protocol = true").await;
    let before = stage.scene.upstream.count();
    for header in [version_1("203.0.113.7"), version_2([203, 0, 113, 7])] {
        let mut wire = stage.connect().await;
        wire.send([header, request(&stage.cookie, "")].concat()).await;
        assert_eq!(status(&wire.head().await), 400);
        wire.end().await;
    }
    assert_eq!(stage.scene.upstream.count(), before);
    assert_eq!(stage.named(b"", "").await, "127.0.0.1");
}

#[tokio::test]
async fn it_comes_before_tls() {
    let mut scene = TlsScene::start("").await;
    let cookie = scene.sign_in().await.split(';').next().unwrap().to_owned();
    switch_on(&scene.house, &mut scene.gateway, "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = true");
    for protocol in ["http/1.1", "h2"] {
        let mut stream = TcpStream::connect(scene.address()).await.unwrap();
        stream.write_all(&version_2([203, 0, 113, 7])).await.unwrap();
        let stream = scene.connect_on(stream, &[&TLS13], &[protocol]).await.unwrap();
        let before = scene.upstream.count();
        if protocol == "h2" {
            let mut frames = Frames::begin(stream, &[]).await;
            let authority = scene.address().to_string();
            let head = block(&[
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", authority.as_bytes()),
                (b":path", b"/x"),
                (b"cookie", cookie.as_bytes()),
            ]);
            frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &head).await;
            assert_eq!(frames.about(1).await.unwrap().kind, HEADERS);
        } else {
            let mut wire = Wire::new(stream);
            wire.send(request(&cookie, "")).await;
            assert_eq!(status(&wire.answer().await.0), 200);
        }
        assert_eq!(scene.upstream.count(), before + 1, "{protocol}");
        assert_eq!(field(&scene.upstream.last(), "x-forwarded-for"), Some("203.0.113.7"));
    }
}
