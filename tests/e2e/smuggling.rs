//! Request smuggling, wire by wire: whatever two readers could end at different bytes gets one 400 and the end of the
//! connection, in one piece or in many, and the connections to the application are in step afterwards.

use tokio::io::AsyncWriteExt as _;

use crate::common::wire::{End, Wire, status};
use crate::common::{ALICE, Scene};

struct Stage {
    scene: Scene,
    cookie: String,
}

impl Stage {
    /// The head of a request of alice's.
    fn head(&self, line: &str, more: &str) -> String {
        format!("{line}\r\nhost: 127.0.0.1\r\ncookie: vestibule={}\r\n{more}\r\n", self.cookie)
    }

    /// All that is said to these pieces until the gateway closes.
    async fn said(&self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut wire = Wire::connect(self.scene.gateway.address).await;
        wire.stream.set_nodelay(true).unwrap();
        for piece in pieces {
            // The gateway may have closed already.
            let _ = wire.stream.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let End::Closed(said) = wire.end().await else { panic!("a reset, which may take an answer along") };
        said
    }

    /// One 400, nothing for the application, and the next request of somebody else's is answered as it should be.
    async fn refuses(&self, wire: &[u8]) {
        let (before, text) = (self.scene.upstream.count(), String::from_utf8_lossy(wire));
        let third = wire.len() / 3;
        let pieces: [&[&[u8]]; 3] = [
            &[wire],
            &[&wire[..third], &wire[third..]],
            &[&wire[..2 * third], &wire[2 * third..wire.len() - 1], &wire[wire.len() - 1..]],
        ];
        for pieces in pieces {
            let said = String::from_utf8(self.said(pieces).await).unwrap();
            assert_eq!((status(&said), said.matches("HTTP/1.").count()), (400, 1), "{text:?}: {said}");
            assert!(said.to_ascii_lowercase().contains("connection: close\r\n"), "{text:?}: {said}");
        }
        assert_eq!(self.scene.upstream.count(), before, "{text:?}");
        self.probe().await;
        assert_eq!(self.scene.upstream.count(), before + 1, "{text:?}");
    }

    async fn probe(&self) {
        let mut wire = Wire::connect(self.scene.gateway.address).await;
        wire.send(self.head("GET /probe HTTP/1.1", "")).await;
        let (head, body) = wire.answer().await;
        assert_eq!((status(&head), body.as_str()), (200, "hello"));
        assert!(self.scene.upstream.last().starts_with("GET /probe HTTP/1.1\r\n"));
    }
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

#[tokio::test]
async fn what_two_readers_end_at_different_bytes_is_refused() {
    let scene = Scene::start("").await;
    let cookie = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
    let stage = Stage { scene, cookie };
    stage.probe().await;

    framing_fields(&stage).await;
    line_ends(&stage).await;
    request_lines(&stage).await;
    every_byte_in_a_name_and_a_value(&stage).await;
    chunks(&stage).await;
    trailers(&stage).await;
    in_its_turn(&stage).await;
    what_is_well_formed_passes(&stage).await;
    old_versions(&stage).await;
    early_bytes_of_a_handshake_are_no_request(&stage).await;

    let mut stage = stage;
    let all = stage.scene.upstream.requests();
    assert!(!all.iter().any(|request| request.contains("smuggled")));
    let log = stage.scene.gateway.stop();
    assert!(!log.contains("panicked"), "{log}");
}

async fn framing_fields(stage: &Stage) {
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 0\r\ntransfer-encoding: chunked",
        "content-length: 5\r\ncontent-length: 5",
        "content-length: 5\r\ncontent-length: 0",
        "content-length: 5, 5",
        "content-length: 5,",
        "content-length: +5",
        "content-length: -5",
        "content-length: 0x5",
        "content-length: 5.0",
        "content-length: 5 5",
        "content-length: \"5\"",
        "content-length: \u{0b}5",
        "content-length: 18446744073709551616",
        "content-length: 00000000000000000005",
        "content-length:",
        "content_length: 5",
        "content-length : 5",
        "content-length\t: 5",
        "content-length\0: 5",
        " content-length: 5",
        "x: y\r\n content-length: 5",
        "content-length:\r\n 5",
        "transfer-encoding: identity",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked,",
        "transfer-encoding: ,chunked",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunkedx",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: \u{0b}chunked",
        "transfer-encoding: chunked\u{0c}",
        "transfer-encoding: chunked\0",
        "transfer-encoding: chun\0ked",
        "transfer-encoding: ch\u{fc}nked",
        "transfer-encoding:",
        "transfer_encoding: chunked",
        "transfer-encoding : chunked",
        "transfer-encoding\r: chunked",
        "transfer-encoding\r\n: chunked",
        "transfer-encoding:\r\n chunked",
        "x: y\rtransfer-encoding: chunked",
        "x: y\ntransfer-encoding: chunked",
        "x: y\n\rtransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        ": chunked",
        "transfer encoding: chunked",
        "transfer-encoding",
    ] {
        let wire = stage.head("POST /x HTTP/1.1", &format!("{fields}\r\n")) + "0\r\n\r\n" + SMUGGLED;
        stage.refuses(wire.as_bytes()).await;
    }
}

async fn line_ends(stage: &Stage) {
    let head = stage.head("GET /x HTTP/1.1", "x: y\r\n");
    for (from, to) in [
        ("HTTP/1.1\r\n", "HTTP/1.1\n"),
        ("127.0.0.1\r\n", "127.0.0.1\n"),
        ("127.0.0.1\r\n", "127.0.0.1\r\r\n"),
        ("127.0.0.1\r\n", "127.0.0.1\n\r\n"),
        ("127.0.0.1\r\n", "127.0.0.1\r"),
        ("y\r\n\r\n", "y\n\n"),
        ("y\r\n\r\n", "y\r\n\n"),
        ("y\r\n\r\n", "y\n\r\n"),
        ("y\r\n\r\n", "y\r\r\n\r\n"),
        ("x: y", "x: \ny"),
        ("x: y", "x: y\r\n\tz"),
        ("x: y", "x: y\r\n \r\nz: 1"),
        ("host", " host"),
        ("host", "\thost"),
    ] {
        stage.refuses((head.replacen(from, to, 1) + SMUGGLED).as_bytes()).await;
    }
    stage.refuses(format!("\n{head}").as_bytes()).await;
    stage.refuses(format!("\r\n\r\n{head}").as_bytes()).await;
}

async fn request_lines(stage: &Stage) {
    for line in [
        "GET /x",
        "GET /x ",
        "GET /x HTTP/0.9",
        "GET /x HTTP/1.2",
        "GET /x HTTP/1.10",
        "GET /x HTTP/1",
        "GET /x HTTP/01.1",
        "GET /x HTTP/2",
        "GET /x HTTP/2.0",
        "GET /x http/1.1",
        "GET /x Http/1.1",
        "GET /x HTTP /1.1",
        "GET /x HTTP/1.1 ",
        "GET /x\tHTTP/1.1",
        "GET  /x HTTP/1.1",
        "GET /x  HTTP/1.1",
        "GET\t/x HTTP/1.1",
        "GET /x y HTTP/1.1",
        "GET /x#y HTTP/1.1",
        "GET /x?a#y HTTP/1.1",
        "GET # HTTP/1.1",
        "GET /\u{e4} HTTP/1.1",
        "GET /x\0 HTTP/1.1",
        "GET /x\u{7f} HTTP/1.1",
        "GET /x\r HTTP/1.1",
        "GET x HTTP/1.1",
        " GET /x HTTP/1.1",
        "G{T /x HTTP/1.1",
        "G\0T /x HTTP/1.1",
        "G\u{c4}T /x HTTP/1.1",
        "\u{16}\u{3}\u{1}\u{2}",
        "/x HTTP/1.1",
        "HTTP/1.1 200 OK",
    ] {
        stage.refuses((stage.head(line, "") + SMUGGLED).as_bytes()).await;
    }
    stage.refuses(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    for host in ["", "host: 127.0.0.1\r\nhost: 127.0.0.1\r\n", "host: 127.0.0.1\r\nHost: x\r\n"] {
        stage.refuses(format!("GET /x HTTP/1.1\r\n{host}\r\n").as_bytes()).await;
    }
}

/// What hyper itself must go on refusing.
async fn every_byte_in_a_name_and_a_value(stage: &Stage) {
    let (start, end) = (stage.head("GET /x HTTP/1.1", ""), "\r\nconnection: close\r\n\r\n");
    let start = start.strip_suffix("\r\n").unwrap();
    for byte in 0..=255_u8 {
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        // A colon ends the name, and what follows is a value.
        if !is_token && byte != b':' {
            let wire = [start.as_bytes(), b"x", &[byte], b"x: y", end.as_bytes()].concat();
            stage.refuses(&wire).await;
        }
        if byte.is_ascii_control() && byte != b'\t' {
            let wire = [start.as_bytes(), b"x: x", &[byte], b"x", end.as_bytes()].concat();
            stage.refuses(&wire).await;
        }
    }
}

const BAD_CHUNKS: [&str; 33] = [
    "0x5\r\nhello\r\n",
    "+5\r\nhello\r\n",
    "-5\r\nhello\r\n",
    " 5\r\nhello\r\n",
    "5 \r\nhello\r\n",
    "5\t\r\nhello\r\n",
    "5 ;a\r\nhello\r\n",
    "5_\r\nhello\r\n",
    "5,5\r\nhello\r\n",
    "g\r\nhello\r\n",
    "\u{ff15}\r\nhello\r\n",
    "\r\nhello\r\n",
    "\0\r\nhello\r\n",
    "00000000000000005\r\nhello\r\n",
    "fffffffffffffffff\r\nhello\r\n",
    "10000000000000005\r\nhello\r\n",
    "5\nhello\r\n",
    "5\rhello\r\n",
    "5\r\r\nhello\r\n",
    "5\r\nhello",
    "5\r\nhello!\r\n",
    "5\r\nhello\n",
    "5\r\nhello\r",
    "5\r\nhello\r\r\n",
    "5\r\nhello\r\n\r\n",
    "5;\r\nhello\r\n",
    "5; a=b\r\nhello\r\n",
    "5;a=b \r\nhello\r\n",
    "5;a\nb\r\nhello\r\n",
    "5;a=b\nhello\r\n",
    "5;a=\"\r\n\"\r\nhello\r\n",
    "5;a=\"\\\"\r\nhello\r\n",
    "5;a\0\r\nhello\r\n",
];

async fn chunks(stage: &Stage) {
    for chunk in BAD_CHUNKS {
        let wire =
            stage.head("POST /x HTTP/1.1", "transfer-encoding: chunked\r\n") + chunk + "0\r\n\r\n" + SMUGGLED;
        stage.refuses(wire.as_bytes()).await;
    }
    let long = format!("5;{}\r\nhello\r\n", "x".repeat(300));
    let wire =
        stage.head("POST /x HTTP/1.1", "transfer-encoding: chunked\r\n") + &long + "0\r\n\r\n" + SMUGGLED;
    stage.refuses(wire.as_bytes()).await;
}

const BAD_TRAILERS: [&str; 9] = [
    "x: y\n\r\n",
    "x: y\r\n\n",
    "x: y\r\n z\r\n\r\n",
    "\0: y\r\n\r\n",
    "x : y\r\n\r\n",
    "x: \0\r\n\r\n",
    "content-length: 5\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n",
    "x\r\n\r\n",
];

async fn trailers(stage: &Stage) {
    for trailers in BAD_TRAILERS {
        let body = format!("5\r\nhello\r\n0\r\n{trailers}");
        let wire = stage.head("POST /x HTTP/1.1", "transfer-encoding: chunked\r\n") + &body + SMUGGLED;
        stage.refuses(wire.as_bytes()).await;
    }
}

/// What is wrong comes after the answers to what was right.
async fn in_its_turn(stage: &Stage) {
    let right = stage.head("GET /right HTTP/1.1", "");
    let form = stage.head("POST /right HTTP/1.1", "content-length: 5\r\n") + "a=b&c";
    for wrong in
        ["\n", "x\r\n\r\n", "GET / HTTP/1.1\n\n", "POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n", "\0"]
    {
        let before = stage.scene.upstream.count();
        let wire = format!("{right}{form}{wrong}{right}");
        let said = String::from_utf8(stage.said(&[wire.as_bytes()]).await).unwrap();
        let statuses: Vec<u16> = said.match_indices("HTTP/1.1 ").map(|(at, _)| status(&said[at..])).collect();
        assert_eq!(statuses, [200, 200, 400], "{wrong:?}: {said}");
        assert_eq!(stage.scene.upstream.count(), before + 2, "{wrong:?}");
    }
    stage.probe().await;
}

/// What a body in chunks comes to, however its bytes happened to be cut on their way.
fn joined(chunks: &str) -> String {
    let (size, rest) = chunks.split_once("\r\n").unwrap();
    let (data, rest) = rest.split_at(usize::from_str_radix(size, 16).unwrap());
    let rest = rest.strip_prefix("\r\n").unwrap();
    if data.is_empty() {
        assert_eq!(rest, "");
        return String::new();
    }
    data.to_owned() + &joined(rest)
}

async fn what_is_well_formed_passes(stage: &Stage) {
    for (more, body) in [
        ("content-length:5", "hello"),
        ("content-length: \t5 \t", "hello"),
        ("Content-LENGTH: 0000000000000000005", "hello"),
        ("Transfer-Encoding:CHUNKED", "5\r\nhello\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "0000000000000005\r\nhello\r\n00\r\n\r\n"),
        ("transfer-encoding: chunked", "5;a;b=c;d=\" e;\"\r\nhello\r\n0;f\r\n\r\n"),
    ] {
        let wire = stage.head("POST /x HTTP/1.1", &format!("{more}\r\n")) + body;
        for next in ["", "\r\n"] {
            let mut connection = Wire::connect(stage.scene.gateway.address).await;
            for byte in wire.as_bytes() {
                connection.send([*byte]).await;
            }
            assert_eq!(status(&connection.answer().await.0), 200, "{wire}");
            let came = stage.scene.upstream.last();
            let (_, came) = came.split_once("\r\n\r\n").unwrap();
            let came = if more.to_lowercase().contains("length") { came.to_owned() } else { joined(came) };
            assert_eq!(came, "hello", "{wire}");
            connection.send(next.to_owned() + &stage.head("GET /next HTTP/1.1", "")).await;
            assert_eq!(status(&connection.answer().await.0), 200, "{wire}");
            assert!(stage.scene.upstream.last().starts_with("GET /next HTTP/1.1\r\n"), "{wire}");
        }
    }
}

/// HTTP/1.0 is taken, with a host and a length; without `Host` nobody knows whom it is for.
async fn old_versions(stage: &Stage) {
    stage.refuses(format!("GET /x HTTP/1.0\r\ncookie: vestibule={}\r\n\r\n", stage.cookie).as_bytes()).await;
    let chunked = stage.head("POST /x HTTP/1.0", "transfer-encoding: chunked\r\n") + "0\r\n\r\n" + SMUGGLED;
    stage.refuses(chunked.as_bytes()).await;

    let said = stage.said(&[stage.head("GET /x HTTP/1.0", "").as_bytes()]).await;
    assert!(said.starts_with(b"HTTP/1.0 200 OK\r\n") && said.ends_with(b"\r\n\r\nhello"));
    let form = stage.head("POST /x HTTP/1.0", "connection: keep-alive\r\ncontent-length: 5\r\n") + "a=b&c";
    let mut wire = Wire::connect(stage.scene.gateway.address).await;
    for _ in 0..2 {
        wire.send(&form).await;
        assert_eq!(status(&wire.answer().await.0), 200);
        assert!(stage.scene.upstream.last().ends_with("\r\n\r\na=b&c"));
    }
}

/// What comes before the answer to a handshake is a tunnel's or nobody's.
async fn early_bytes_of_a_handshake_are_no_request(stage: &Stage) {
    let handshake = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    let upgrade = stage.head("GET /x HTTP/1.1", handshake);
    let smuggled = stage.head("GET /smuggled HTTP/1.1", "");
    let said = stage.said(&[(upgrade.clone() + &smuggled).as_bytes()]).await;
    let said = String::from_utf8(said).unwrap();
    assert_eq!((status(&said), said.matches("HTTP/1.1").count()), (200, 1), "{said}");
    assert!(said.contains("connection: close\r\n"), "{said}");

    // After an answer that is none of a tunnel's, it is HTTP again, and screened.
    let mut wire = Wire::connect(stage.scene.gateway.address).await;
    for _ in 0..2 {
        wire.send(&upgrade).await;
        assert_eq!(status(&wire.answer().await.0), 200);
    }
    wire.send(stage.head("POST /x HTTP/1.1", "content-length: 1\r\ncontent-length: 1\r\n")).await;
    assert_eq!(status(&wire.head().await), 400);
    stage.probe().await;
}
