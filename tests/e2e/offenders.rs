//! Clients whose connections had to be ended come at a pace afterwards, and nobody else does.

use futures_util::future::join_all;
use rustls::version::TLS13;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::common::eventually;
use crate::common::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, block, frame,
};
use crate::common::wire::{Wire, status};
use crate::proxy_protocol::{switch_on, version_1};
use crate::tls::TlsScene;

/// More than may wait, of one client's.
const MANY: usize = 120;

const UNNAMED: &[u8] = b"PROXY UNKNOWN\r\n";

/// The gateway behind a balancer that names its clients, which are all on this machine otherwise.
struct Stage(TlsScene);

impl Stage {
    /// A connection that begins with this header, and no more of it yet.
    async fn begin(&self, header: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.0.address()).await.unwrap();
        stream.write_all(header).await.unwrap();
        stream
    }

    async fn go_on(&self, stream: TcpStream, protocol: &str) -> std::io::Result<TlsStream<TcpStream>> {
        self.0.connect_on(stream, &[&TLS13], &[protocol]).await
    }

    async fn connect(&self, header: &[u8], protocol: &str) -> std::io::Result<TlsStream<TcpStream>> {
        self.go_on(self.begin(header).await, protocol).await
    }

    /// Many connections at once: how many of them were served, sooner or later.
    async fn served(&self, header: &[u8]) -> usize {
        let mut begun = Vec::new();
        for _ in 0..MANY {
            begun.push(self.begin(header).await);
        }
        let done = join_all(begun.into_iter().map(|stream| self.go_on(stream, "http/1.1"))).await;
        done.iter().filter(|stream| stream.is_ok()).count()
    }

    /// Sends this over and over until the gateway ends the connection, which it must.
    async fn flood(&self, header: &[u8], piece: impl Fn(u32) -> Vec<u8>) {
        let mut frames = Frames::begin(self.connect(header, "h2").await.unwrap(), &[]).await;
        for n in 0..5_000 {
            if frames.wire.stream.write_all(&piece(n)).await.is_err() {
                break;
            }
        }
        let _ = frames.wire.stream.flush().await;
        while let Some(frame) = frames.about(0).await {
            assert_eq!(frame.kind, GOAWAY);
        }
    }

    /// CVE-2023-44487.
    async fn resets(&self, header: &[u8]) {
        let head = self.head();
        self.flood(header, |n| {
            let stream = 2 * n + 1;
            let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head), reset].concat()
        })
        .await;
    }

    /// CVE-2024-27316.
    async fn continuations(&self, header: &[u8]) {
        let (head, more) = (self.head(), block(&[(b"x", &[b'y'; 100])]));
        self.flood(header, |n| match n {
            0 => frame(HEADERS, END_STREAM, 1, &head),
            _ => frame(CONTINUATION, 0, 1, &more),
        })
        .await;
    }

    /// A request that could end in two places.
    async fn two_lengths(&self, header: &[u8]) {
        let mut wire = Wire::new(self.connect(header, "http/1.1").await.unwrap());
        wire.send("GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n").await;
        assert_eq!(status(&wire.head().await), 400);
        wire.end().await;
    }

    fn head(&self) -> Vec<u8> {
        let authority = self.0.address().to_string();
        block(&[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", authority.as_bytes()),
            (b":path", b"/x"),
        ])
    }

    /// Some of many connections wait, and the others are closed: it is slower, and not shut out.
    async fn is_slowed_down(&self, header: &[u8]) -> bool {
        let served = self.served(header).await;
        assert!(served > 0, "nobody is locked out");
        served < MANY
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offenders_come_at_a_pace_and_others_at_once() {
    let mut scene = TlsScene::start("").await;
    let more = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\nproxy_protocol = true";
    switch_on(&scene.house, &mut scene.gateway, more);
    let mut stage = Stage(scene);
    let client = |last: u8| version_1(&format!("203.0.113.{last}"));

    // Whoever stands for many is not judged by one of them: the balancer itself, and a proxy that it names.
    let proxies = [UNNAMED.to_vec(), version_1("10.0.0.9")];
    for proxy in &proxies {
        stage.resets(proxy).await;
        stage.two_lengths(proxy).await;
    }
    let (resets, continuations, lengths) = (client(1), client(2), client(3));
    tokio::join!(stage.resets(&resets), stage.continuations(&continuations), stage.two_lengths(&lengths));
    let slowed = async |offender: &[u8]| {
        eventually("the offender is slowed down", async || stage.is_slowed_down(offender).await).await;
    };
    tokio::join!(slowed(&resets), slowed(&continuations), slowed(&lengths));

    // What the offender began before is still waiting when others have been served.
    let mut waiting = Vec::new();
    for _ in 0..30 {
        waiting.push(stage.begin(&resets).await);
    }
    let waiting = waiting.into_iter().map(|stream| stage.go_on(stream, "http/1.1"));
    let mut offender = Box::pin(join_all(waiting));
    let others = async {
        for other in [client(4), version_1("2001:db8::1"), UNNAMED.to_vec(), version_1("10.0.0.9")] {
            let mut wire = Wire::new(stage.connect(&other, "http/1.1").await.unwrap());
            wire.send("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
            assert_eq!(status(&wire.answer().await.0), 401);
        }
    };
    tokio::select! {
        biased;
        _ = &mut offender => panic!("the offender was served before others"),
        () = others => {}
    }
    assert!(offender.await.iter().all(Result::is_ok), "they come late, and come");
    for other in [&client(4), &proxies[0], &proxies[1]] {
        assert_eq!(stage.served(other).await, MANY, "{}", String::from_utf8_lossy(other));
    }
    let log = stage.0.gateway.stop();
    assert!(log.contains("are slowed down") && !log.contains("panicked"), "{log}");
}
