//! HTTP/2 as no library writes it: malformed requests, and floods of what is cheap to send and dear to take.

use std::cell::RefCell;
use std::time::Duration;

use rustls::version::TLS13;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::common::eventually;
use crate::common::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use crate::common::wire::Manual;
use crate::tls::TlsScene;

type Fields<'f> = Vec<(&'f [u8], &'f [u8])>;

struct Stage {
    scene: TlsScene,
    cookie: String,
    authority: String,
    wrong: RefCell<Vec<String>>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Refused,
}

impl Stage {
    fn fields(&self) -> Fields<'_> {
        vec![
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", self.authority.as_bytes()),
            (b":path", b"/x"),
            (b"cookie", self.cookie.as_bytes()),
        ]
    }

    async fn connect(&self) -> Frames {
        self.scene.frames(&[]).await
    }

    /// Sends a head, and a body where there is one.
    async fn outcome(&self, fields: &[(&[u8], &[u8])], body: Option<&[u8]>) -> Outcome {
        let mut frames = self.connect().await;
        let flags = if body.is_some() { END_HEADERS } else { END_HEADERS | END_STREAM };
        frames.send(HEADERS, flags, 1, &block(fields)).await;
        if let Some(body) = body {
            frames.send(DATA, END_STREAM, 1, body).await;
        }
        match frames.about(1).await {
            // `:status 200` of the static table (RFC 7541 appendix A).
            Some(Frame { kind: HEADERS, payload, .. }) if payload[0] == 0x88 => Outcome::Passed,
            Some(Frame { kind: HEADERS | RST_STREAM | GOAWAY, .. }) | None => Outcome::Refused,
            Some(other) => panic!("{other:?}"),
        }
    }

    /// Noted, so that one run shows all that is wrong.
    async fn expects(&self, expected: Outcome, fields: &[(&[u8], &[u8])], body: Option<&[u8]>) {
        let before = self.scene.upstream.count();
        let outcome = self.outcome(fields, body).await;
        let passed = self.scene.upstream.count() - before;
        if outcome != expected || passed != usize::from(expected == Outcome::Passed) {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let fields: Vec<_> = fields.iter().map(|(name, value)| (text(name), text(value))).collect();
            self.wrong.borrow_mut().push(format!("{outcome:?}, {passed} at the application: {fields:?}"));
        }
    }

    async fn passes(&self, fields: &[(&[u8], &[u8])], body: Option<&[u8]>) {
        self.expects(Outcome::Passed, fields, body).await;
    }

    async fn refuses(&self, fields: &[(&[u8], &[u8])], body: Option<&[u8]>) {
        self.expects(Outcome::Refused, fields, body).await;
    }

    async fn goes_on(&self) {
        self.passes(&self.fields(), None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_and_floods_are_refused() {
    let scene = TlsScene::start("").await;
    let cookie = scene.sign_in().await.split(';').next().unwrap().to_owned();
    let authority = scene.address().to_string();
    let mut stage = Stage { scene, cookie, authority, wrong: RefCell::default() };
    stage.goes_on().await;

    what_is_offered(&stage).await;
    pseudo_fields(&stage).await;
    fields_that_are_none_here(&stage).await;
    bytes_of_names_and_values(&stage).await;
    lengths_agree(&stage).await;
    heads_are_bounded(&stage).await;
    rapid_resets(&stage).await;
    resets_of_our_own(&stage).await;
    continuations(&stage).await;
    stage.goes_on().await;

    let wrong = stage.wrong.take();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let log = stage.scene.gateway.stop();
    assert!(!log.contains("panicked"), "{log}");
}

/// RFC 8441 is not spoken, so that nobody is told it is.
async fn what_is_offered(stage: &Stage) {
    let mut frames = stage.connect().await;
    let settings = frames.next().await.unwrap();
    assert_eq!((settings.kind, settings.flags), (SETTINGS, 0));
    let offered = settings.payload.chunks(6).map(|pair| {
        (u16::from_be_bytes([pair[0], pair[1]]), u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
    });
    let offered: Vec<(u16, u32)> = offered.collect();
    assert!(offered.contains(&(3, 100)), "streams at once: {offered:?}");
    assert!(offered.contains(&(6, 65_536)), "a head: {offered:?}");
    assert!(!offered.iter().any(|(name, value)| *name == 8 && *value != 0), "extended CONNECT: {offered:?}");
}

/// RFC 9113 section 8.3.
async fn pseudo_fields(stage: &Stage) {
    let own = stage.fields();
    for missing in 0..4 {
        let mut fields = own.clone();
        fields.remove(missing);
        stage.refuses(&fields, None).await;
    }
    for doubled in 0..4 {
        let mut fields = own.clone();
        fields.insert(doubled, own[doubled]);
        stage.refuses(&fields, None).await;
    }
    for late in 0..4 {
        let mut fields = own.clone();
        let moved = fields.remove(late);
        fields.push(moved);
        stage.refuses(&fields, None).await;
    }
    let replaced: [(usize, &[u8]); 14] = [
        (0, b""),
        (0, b"GET /y HTTP/1.1\r\nx:"),
        (0, b"G T"),
        (0, b"CONNECT"),
        (1, b""),
        (2, b""),
        (2, b"evil.test\r\nx: y"),
        (2, b"x@127.0.0.1"),
        (3, b""),
        (3, b"x"),
        (3, b"*"),
        (3, b"/x y"),
        (3, b"/x HTTP/1.1\r\nx: y"),
        (3, b"/x\0"),
    ];
    for (at, value) in replaced {
        let mut fields = own.clone();
        fields[at].1 = value;
        stage.refuses(&fields, None).await;
    }
    for more in
        [(&b":status"[..], &b"200"[..]), (b":unknown", b"x"), (b":", b"x"), (b":protocol", b"websocket")]
    {
        let mut fields = own.clone();
        fields.insert(4, more);
        stage.refuses(&fields, None).await;
    }
    let mut extended = own.clone();
    extended[0].1 = b"CONNECT";
    extended.insert(4, (b":protocol", b"websocket"));
    stage.refuses(&extended, None).await;
    let tunnel: Fields<'_> = vec![(b":method", b"CONNECT"), own[2], own[4]];
    stage.refuses(&tunnel, None).await;
}

/// RFC 9113 section 8.2.2, and a host that is another than `:authority`.
async fn fields_that_are_none_here(stage: &Stage) {
    for (name, value) in [
        (&b"connection"[..], &b"close"[..]),
        (b"connection", b"x-forwarded-user"),
        (b"keep-alive", b"5"),
        (b"proxy-connection", b"keep-alive"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
        (b"host", b"evil.test"),
        (b"host", b""),
    ] {
        let mut fields = stage.fields();
        fields.push((name, value));
        stage.refuses(&fields, None).await;
    }
    for (name, value) in [(&b"te"[..], &b"trailers"[..]), (b"host", stage.authority.as_bytes())] {
        let mut fields = stage.fields();
        fields.push((name, value));
        stage.passes(&fields, None).await;
    }
}

/// RFC 9113 section 8.2.1.
async fn bytes_of_names_and_values(stage: &Stage) {
    for name in [&b"X-Upper"[..], b"", b"x y", b"x:y", b"x\r\ny", b"x\0y", b"x\xe4", b"\"x\""] {
        let mut fields = stage.fields();
        fields.push((name, b"1"));
        stage.refuses(&fields, None).await;
    }
    for value in [&b"a\r\nx-forwarded-user: mallory"[..], b"a\rb", b"a\nb", b"a\0b", b"\x7f", b"\x01"] {
        let mut fields = stage.fields();
        fields.push((b"x", value));
        stage.refuses(&fields, None).await;
    }
}

/// RFC 9113 section 8.1.1.
async fn lengths_agree(stage: &Stage) {
    for (length, body) in
        [(&b"4"[..], &b"hello"[..]), (b"6", b"hello"), (b"+5", b"hello"), (b"5, 5", b"hello"), (b"x", b"")]
    {
        let mut fields = stage.fields();
        fields[0].1 = b"POST";
        fields.push((b"content-length", length));
        stage.refuses(&fields, Some(body)).await;
    }
    let mut fields = stage.fields();
    fields[0].1 = b"POST";
    fields.push((b"content-length", b"5"));
    stage.passes(&fields, Some(b"hello")).await;
    assert!(stage.scene.upstream.last().ends_with("\r\n\r\nhello"));
    fields.push((b"content-length", b"5"));
    stage.refuses(&fields, Some(b"hello")).await;
}

async fn heads_are_bounded(stage: &Stage) {
    let path = format!("/{}", "x".repeat(16_384 - 4_000));
    let mut fields = stage.fields();
    fields[3].1 = path.as_bytes();
    stage.passes(&fields, None).await;

    let before = stage.scene.upstream.count();
    let large = "y".repeat(70_000);
    let mut fields = stage.fields();
    fields.push((b"x", large.as_bytes()));
    let head = block(&fields);
    let mut frames = stage.connect().await;
    frames.send(HEADERS, END_STREAM, 1, &head[..16_000]).await;
    let rest: Vec<&[u8]> = head[16_000..].chunks(16_000).collect();
    for (at, piece) in rest.iter().enumerate() {
        let flags = if at + 1 == rest.len() { END_HEADERS } else { 0 };
        let _ = frames.wire.stream.write_all(&frame(CONTINUATION, flags, 1, piece)).await;
    }
    let answer = frames.about(1).await;
    assert!(!answer.is_some_and(|frame| frame.kind == HEADERS && frame.payload[0] == 0x88));
    assert_eq!(stage.scene.upstream.count(), before);
}

/// Reads until the gateway ends the connection, which it must.
async fn is_ended(mut frames: Frames) {
    while let Some(frame) = frames.about(0).await {
        assert_eq!(frame.kind, GOAWAY);
    }
}

/// Sends this over and over, until the gateway has had enough or all is sent.
async fn flood(frames: &mut Frames, times: u32, piece: impl Fn(u32) -> Vec<u8>) {
    for n in 0..times {
        if frames.wire.stream.write_all(&piece(n)).await.is_err() {
            return;
        }
    }
    let _ = frames.wire.stream.flush().await;
}

/// CVE-2023-44487.
async fn rapid_resets(stage: &Stage) {
    let head = block(&stage.fields());
    let mut frames = stage.connect().await;
    flood(&mut frames, 5_000, |n| {
        let stream = 2 * n + 1;
        let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head), reset].concat()
    })
    .await;
    is_ended(frames).await;
    stage.goes_on().await;
}

/// CVE-2025-8671: mistakes that make us reset streams.
async fn resets_of_our_own(stage: &Stage) {
    let head = block(&stage.fields());
    let mut frames = stage.connect().await;
    flood(&mut frames, 5_000, |n| {
        let stream = 2 * n + 1;
        let mistake = frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 0]);
        [frame(HEADERS, END_HEADERS, stream, &head), mistake].concat()
    })
    .await;
    is_ended(frames).await;
    stage.goes_on().await;
}

/// CVE-2024-27316: a head that never ends, in large pieces and in empty ones.
async fn continuations(stage: &Stage) {
    let piece = block(&[(b"x", &[b'y'; 8_000])]);
    for piece in [&piece[..], b""] {
        let mut frames = stage.connect().await;
        frames.send(HEADERS, END_STREAM, 1, &block(&stage.fields())).await;
        flood(&mut frames, 20_000, |_| frame(CONTINUATION, 0, 1, piece)).await;
        is_ended(frames).await;
        stage.goes_on().await;
    }
}

/// The whole of an answer comes to who reads late: what TLS kept while the socket was full needs no push. The gateway's
/// next ping, which would be one, is long after the time limit here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_comes_whole_to_who_reads_late() {
    let live = Manual::start().await;
    let route = format!("[[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\n", live.address);
    let scene = TlsScene::start(&route).await;
    let cookie = scene.sign_in().await.split(';').next().unwrap().to_owned();
    let authority = scene.address().to_string();
    let head = block(&[
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", authority.as_bytes()),
        (b":path", b"/live/x"),
        (b"cookie", cookie.as_bytes()),
    ]);
    // As many bytes as there are: only the socket holds them up.
    let (of_streams, of_all) = ([0, 4, 0x7f, 0xff, 0xff, 0xff], 0x7fff_0000_u32.to_be_bytes());
    for size in [300_000, 700_000, 1_300_000, 2_700_000] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1_024).unwrap();
        let stream = socket.connect(scene.address()).await.unwrap();
        let stream = scene.connect_on(stream, &[&TLS13], &["h2"]).await.unwrap();
        let mut frames = Frames::begin(stream, &of_streams).await;
        frames.send(WINDOW_UPDATE, 0, 0, &of_all).await;
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &head).await;
        let (mut upstream, _) = live.request().await;
        let sending = tokio::spawn(async move {
            upstream
                .send(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"))
                .await;
            upstream.send(vec![b'x'; size]).await;
        });
        is_full(frames.wire.stream.get_ref().0).await;
        let reading = timeout(Duration::from_secs(8), whole(&mut frames, size)).await;
        reading.unwrap_or_else(|_| panic!("the end of {size} bytes stays in the gateway"));
        sending.await.unwrap();
    }
}

/// Waits until no more comes, and something has.
async fn is_full(stream: &TcpStream) {
    let (mut buffer, mut last, mut same) = (vec![0; 1 << 20], 0, 0);
    eventually("the socket is full", async || {
        let waiting = stream.peek(&mut buffer).await.unwrap();
        same = if waiting == last { same + 1 } else { 0 };
        last = waiting;
        waiting > 8 * 1_024 && same > 20
    })
    .await;
}

/// Reads an answer of so many bytes to its end.
async fn whole(frames: &mut Frames, size: usize) {
    let mut read = 0;
    loop {
        let frame = frames.about(1).await.expect("the answer goes on");
        if frame.kind == DATA {
            read += frame.payload.len();
            if frame.flags & END_STREAM != 0 {
                return assert_eq!(read, size);
            }
        }
    }
}
