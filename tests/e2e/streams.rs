//! Messages that are more than a head and a body: trailers, interim answers, bodies that wait or are refused, and answers
//! that are none.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::TLS13;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::common::more::Visit;
use crate::common::origin::{Manner, Origin, collect, pieces};
use crate::common::upstream::find;
use crate::common::wire::{End, Manual, Wire, field, fields, status};
use crate::common::{BOB, PATIENCE};
use crate::tls::TlsScene;

/// A gateway with an upstream that is answered by hand.
struct Stage {
    visit: Visit,
    live: Manual,
}

impl Stage {
    async fn set() -> Self {
        let live = Manual::start().await;
        let route = |path: &str, more: &str| {
            format!("[[route]]\npath = \"{path}\"\nupstream = [\"http://{}\"]\n{more}\n", live.address)
        };
        let routes = [
            route("/live", "identity_headers = [\"X-Remote-User\"]"),
            route("/once", "upstream_idle_connections = 0"),
            route("/ten", ""),
            route("/old", "upstream_http = \"1.0\""),
            route("/small", "max_body = \"10B\""),
            route("/slow", "idle_timeout = \"1s\"\nresponse_timeout = \"1s\""),
        ];
        Self { visit: Visit::new(&routes.concat(), &[]).await, live }
    }

    /// Sends a request and takes it as the upstream.
    async fn open(&self, line: &str, more: &str) -> (Wire, Wire, String) {
        let mut client = self.visit.connect().await;
        client.send(self.visit.request(line, more)).await;
        let (upstream, head) = self.live.request().await;
        (client, upstream, head)
    }

    /// What the client gets for an answer of these bytes.
    async fn answered(&self, line: &str, more: &str, answer: impl AsRef<[u8]>) -> (Wire, Wire, String) {
        let (mut client, mut upstream, _) = self.open(line, more).await;
        upstream.send(answer).await;
        let head = client.head().await;
        (client, upstream, head)
    }
}

/// The last answer on a connection: kept after it, the next test might meet its end.
const LAST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn trailers_pass_both_ways_and_steer_nothing() {
    let stage = Stage::set().await;
    let forbidden = "X-Forwarded-User: mallory\r\nx_remote_user: mallory\r\nCookie: a=b\r\nHost: evil\r\n\
                     Authorization: x\r\nSet-Cookie: vestibule=evil\r\n";
    let names = "x-sum, X-Forwarded-User, x_remote_user, content-length, cookie, transfer-encoding, host, authorization, \
                 set-cookie";
    let chunked = format!("te: trailers\r\ntrailer: {names}\r\ntransfer-encoding: chunked\r\n");
    let (mut client, mut upstream, head) = stage.open("POST /live/x", &chunked).await;
    client.send(format!("3\r\nabc\r\n0\r\nX-Sum: 1\r\n{forbidden}\r\n")).await;
    assert_eq!((field(&head, "trailer"), fields(&head, "te")), (Some("x-sum"), vec!["trailers"]), "{head}");
    assert_eq!(upstream.until("\r\n\r\n").await, "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n");
    upstream
        .send(format!(
            "HTTP/1.1 200 OK\r\ntrailer: {names}\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 2\r\n\
             Content-Length: 9\r\nTransfer-Encoding: gzip\r\n{forbidden}\r\n"
        ))
        .await;
    assert_eq!(field(&client.head().await, "trailer"), Some("x-sum"));
    assert_eq!(client.until("\r\n\r\n").await, "2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n");

    // The connections stay in step, and who does not take trailers gets none.
    client.send(stage.visit.request("GET /live/y", "")).await;
    assert!(upstream.head().await.starts_with("GET /live/y "));
    upstream
        .send("HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.until("\r\n\r\n").await, "2\r\nok\r\n0\r\n\r\n");
    client.send(stage.visit.request("GET /live/z", "")).await;
    upstream.head().await;
    upstream.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_grpc_passes_from_end_to_end() {
    let origin = Origin::start(Manner { http2: true, ..Manner::default() }).await;
    let scene =
        TlsScene::start(&format!("[[route]]\npath = \"/grpc\"\nupstream = [\"h2c://{}\"]\n", origin.address))
            .await;
    let cookie = scene.sign_in().await.split(';').next().unwrap().to_owned();
    let stream = scene.connect(&[&TLS13], &["h2"]).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(async move { connection.await.ok() });

    let (upload, body) = pieces();
    let call = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{}/grpc/echo.Echo/Chat", scene.address()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("cookie", &cookie)
        .body(body)
        .unwrap();
    let sent = tokio::spawn(async move { sender.send_request(call).await.unwrap() });
    let asked = origin.next().await;
    assert_eq!(asked.request.headers()["te"], "trailers", "gRPC servers refuse a call without it");
    assert_eq!(asked.request.headers()["content-type"], "application/grpc");
    assert_eq!(asked.request.uri(), &*format!("http://{}/grpc/echo.Echo/Chat", scene.address()));
    let (download, body) = pieces();
    let answer = Response::builder().header("content-type", "application/grpc").body(body).unwrap();
    let mut request = asked.answer(answer).into_body();
    let mut answer = timeout(PATIENCE, sent).await.unwrap().unwrap().into_body();
    // Message for message, while both are open.
    for text in ["one", "two", "three"] {
        let message = Bytes::from(format!("\0\0\0\0{}{text}", char::from(text.len() as u8)));
        upload.send(Ok(Frame::data(message.clone()))).unwrap();
        assert_eq!(
            timeout(PATIENCE, request.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap(),
            message
        );
        download.send(Ok(Frame::data(message.clone()))).unwrap();
        assert_eq!(
            timeout(PATIENCE, answer.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap(),
            message
        );
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("3"));
    upload.send(Ok(Frame::trailers(trailers))).unwrap();
    assert_eq!(collect(&mut request).await.1, ["x-sum: 3"]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("5"));
    trailers.insert("grpc-message", HeaderValue::from_static("not found"));
    trailers.insert("set-cookie", HeaderValue::from_static("__Host-vestibule=evil"));
    download.send(Ok(Frame::trailers(trailers))).unwrap();
    assert_eq!(collect(&mut answer).await.1, ["grpc-status: 5", "grpc-message: not found"]);
}

#[tokio::test]
async fn a_client_that_asks_first_is_not_answered_for_the_upstream() {
    let stage = Stage::set().await;
    let expects = "content-length: 3\r\nexpect: 100-Continue\r\n";
    // Wanted.
    let (mut client, mut upstream, head) = stage.open("PUT /once/x", expects).await;
    assert_eq!(field(&head, "expect"), Some("100-Continue"));
    assert!(client.hears_nothing_for(Duration::from_millis(100)).await, "nobody has asked for the body");
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 100);
    client.send("abc").await;
    assert_eq!(upstream.exactly(3).await, b"abc");
    upstream.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");

    // Refused by the head alone: not a byte of the body is asked for, or sent.
    for refusal in ["417 Expectation Failed", "413 Content Too Large", "401 Unauthorized"] {
        let (mut client, mut upstream, _) = stage.open("PUT /once/x", expects).await;
        upstream.send(format!("HTTP/1.1 {refusal}\r\ncontent-length: 2\r\n\r\nno")).await;
        let (head, body) = client.answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {}", &refusal[..3])) && body == "no", "{head}");
        assert_eq!(upstream.end().await, End::Closed(Vec::new()), "{refusal}: not a byte of the body");
        client.send("abc").await;
        client.end().await;
    }

    // An upstream that has never heard of it gets the body all the same.
    let (mut client, mut upstream, _) = stage.open("PUT /once/x", expects).await;
    assert_eq!(status(&client.head().await), 100);
    client.send("abc").await;
    assert_eq!(upstream.exactly(3).await, b"abc");
    upstream.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");

    // An HTTP/1.0 client waits for nobody.
    let mut client = stage.visit.connect().await;
    client.send(stage.visit.request("PUT /once/x", expects).replace("HTTP/1.1", "HTTP/1.0") + "abc").await;
    let (mut upstream, head) = stage.live.request().await;
    assert_eq!(field(&head, "expect"), None);
    assert_eq!(upstream.exactly(3).await, b"abc");
    upstream.send(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.0 200 "));
}

/// curl asks first when it sends much, and goes on as HTTP has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_uploads_as_the_upstream_wants() {
    let stage = Stage::set().await;
    let file = stage.visit.scene.house.path("upload");
    let large = "0123456789abcdef".repeat(1 << 18);
    std::fs::write(&file, &large).unwrap();
    let curl = |file: &std::path::Path| {
        let mut command = std::process::Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--expect100-timeout",
            "20",
            "--noproxy",
            "*",
        ]);
        command
            .arg("--cookie")
            .arg(format!("vestibule={}", stage.visit.cookie))
            .arg("--upload-file")
            .arg(file);
        command.args(["--write-out", " %{http_code} %{size_upload}"]);
        command.arg(format!("http://{}/once/x", stage.visit.scene.gateway.address));
        tokio::task::spawn_blocking(move || {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
    };
    let wanted = curl(&file);
    let (mut upstream, head) = stage.live.request().await;
    assert_eq!(field(&head, "expect"), Some("100-continue"), "{head}");
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(upstream.exactly(large.len()).await == large.as_bytes());
    upstream.send(OK).await;
    assert_eq!(wanted.await.unwrap(), format!("ok 200 {}", large.len()));

    let refused = curl(&file);
    let (mut upstream, _) = stage.live.request().await;
    upstream.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await;
    assert_eq!(upstream.end().await, End::Closed(Vec::new()));
    assert_eq!(refused.await.unwrap(), "no 413 0");
}

#[tokio::test]
async fn every_kind_of_answer_passes_as_it_is() {
    let stage = Stage::set().await;
    interim_answers_are_not_answers(&stage).await;
    answers_without_a_body_keep_their_length(&stage).await;
    ranges_pass(&stage).await;
    old_clients_and_old_upstreams_are_understood(&stage).await;
    a_body_is_never_lost(&stage).await;
    large_heads_pass_within_limits(&stage).await;
    a_request_for_the_server_itself_passes(&stage).await;
}

async fn interim_answers_are_not_answers(stage: &Stage) {
    let interim =
        "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let (mut client, mut upstream, _) = stage.open("GET /live/x", "").await;
    upstream.send(interim).await;
    // hyper can send no interim answer but 100: they end here, and harm nothing.
    assert!(client.hears_nothing_for(Duration::from_millis(50)).await);
    upstream.send(format!("{interim}{OK}")).await;
    let (head, body) = client.answer().await;
    assert_eq!((status(&head), field(&head, "link"), body.as_str()), (200, None, "ok"));
    client.send(stage.visit.request("GET /live/y", "")).await;
    upstream.head().await;
    upstream.send(LAST).await;
    assert_eq!(client.answer().await.1, "ok");
}

async fn answers_without_a_body_keep_their_length(stage: &Stage) {
    for (line, answer) in [
        ("HEAD /live/x", "HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n"),
        ("GET /live/x", "HTTP/1.1 304 Not Modified\r\ncontent-length: 12345\r\netag: \"x\"\r\n\r\n"),
    ] {
        let (mut client, mut upstream, head) = stage.answered(line, "", answer).await;
        assert_eq!(field(&head, "content-length"), Some("12345"), "{line}: {head}");
        client.send(stage.visit.request("GET /live/next", "")).await;
        assert!(upstream.head().await.starts_with("GET /live/next "), "the connection is in step");
        upstream.send(LAST).await;
        assert_eq!(client.answer().await.1, "ok");
    }
    // A 204 has neither body nor length, whatever the upstream says (RFC 9110 section 8.6).
    let (mut client, mut upstream, head) =
        stage.answered("DELETE /live/x", "", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((status(&head), field(&head, "transfer-encoding")), (204, None), "{head}");
    client.send(stage.visit.request("GET /live/next", "")).await;
    upstream.head().await;
    upstream.send(LAST).await;
    assert_eq!(client.answer().await.1, "ok");
}

async fn ranges_pass(stage: &Stage) {
    let (mut client, mut upstream, head) =
        stage.open("GET /once/x", "range: bytes=2-3\r\nif-range: \"x\"\r\n").await;
    assert_eq!((field(&head, "range"), field(&head, "if-range")), (Some("bytes=2-3"), Some("\"x\"")));
    upstream
        .send(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 2-3/10\r\naccept-ranges: bytes\r\n\
             content-length: 2\r\n\r\ncd",
        )
        .await;
    let (head, body) = client.answer().await;
    assert_eq!(
        (status(&head), field(&head, "content-range"), body.as_str()),
        (206, Some("bytes 2-3/10"), "cd")
    );
    let answer =
        "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-range: bytes */10\r\ncontent-length: 0\r\n\r\n";
    let (_, _, head) = stage.answered("GET /once/x", "range: bytes=99-\r\n", answer).await;
    assert_eq!((status(&head), field(&head, "content-range")), (416, Some("bytes */10")));
}

async fn old_clients_and_old_upstreams_are_understood(stage: &Stage) {
    // Chunks are not for an HTTP/1.0 client: its answer ends with the connection.
    let mut client = stage.visit.connect().await;
    client.send(stage.visit.request("GET /once/x", "").replace("HTTP/1.1", "HTTP/1.0")).await;
    let (mut upstream, head) = stage.live.request().await;
    assert!(head.starts_with("GET /once/x HTTP/1.1\r\n"), "{head}");
    upstream
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        .await;
    let head = client.head().await;
    assert_eq!((field(&head, "transfer-encoding"), field(&head, "content-length")), (None, None), "{head}");
    assert_eq!(client.end().await, End::Closed(b"abcde".to_vec()));

    // An upstream that answers HTTP/1.0 keeps no connection, even when it says so: the next request could not have a body
    // of unknown length.
    let answer = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok";
    let (mut client, mut upstream, _) = stage.answered("GET /ten/x", "", answer).await;
    assert_eq!(client.exactly(2).await, b"ok");
    assert_eq!(upstream.end().await, End::Closed(Vec::new()));
    client
        .send(stage.visit.request("POST /ten/x", "transfer-encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n")
        .await;
    let (mut upstream, _) = stage.live.request().await;
    assert_eq!(upstream.until("0\r\n\r\n").await, "3\r\nabc\r\n0\r\n\r\n");
    upstream.send(LAST).await;
    assert_eq!(client.answer().await.1, "ok");

    // One that is known to speak nothing else is spoken to so.
    let (mut client, mut upstream, head) = stage.open("POST /old/x", "content-length: 3\r\n").await;
    client.send("abc").await;
    assert!(head.starts_with("POST /old/x HTTP/1.0\r\n"), "{head}");
    assert_eq!((field(&head, "content-length"), field(&head, "transfer-encoding")), (Some("3"), None));
    assert_eq!(upstream.exactly(3).await, b"abc");
    upstream.send("HTTP/1.0 200 OK\r\n\r\nread to its end").await;
    drop(upstream);
    assert_eq!(status(&client.head().await), 200);
    assert!(client.until("0\r\n\r\n").await.contains("read to its end"));
    let (head, _) = stage.visit.send("POST /old/x", "transfer-encoding: chunked\r\n").await;
    assert_eq!(status(&head), 411, "{head}");
}

async fn a_body_is_never_lost(stage: &Stage) {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND"] {
        let (mut client, mut upstream, head) =
            stage.open(&format!("{method} /once/x"), "transfer-encoding: chunked\r\n").await;
        client.send("3\r\nabc\r\n0\r\n\r\n").await;
        assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
        assert_eq!(upstream.until("0\r\n\r\n").await, "3\r\nabc\r\n0\r\n\r\n");
        upstream.send(if method == "HEAD" { &OK[..OK.len() - 2] } else { OK }).await;
        assert_eq!(status(&client.head().await), 200);
    }
}

async fn large_heads_pass_within_limits(stage: &Stage) {
    let head = |size: usize| {
        let line = format!("x-large: {}\r\n", "x".repeat(1_000));
        format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", line.repeat(size))
    };
    let (mut client, _, large) = stage.answered("GET /once/x", "", head(60)).await;
    assert_eq!((status(&large), fields(&large, "x-large").len()), (200, 60));
    assert_eq!(client.exactly(2).await, b"ok");
    let (mut client, mut upstream, _) = stage.open("GET /once/x", "").await;
    let _ = upstream.stream.write_all(head(70).as_bytes()).await;
    assert_eq!(status(&client.answer().await.0), 502);
    upstream.end().await;
}

async fn a_request_for_the_server_itself_passes(stage: &Stage) {
    let (head, _) = stage.visit.send("OPTIONS *", "").await;
    assert_eq!(status(&head), 200, "{head}");
    assert!(stage.visit.scene.upstream.last().starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[tokio::test]
async fn ur_an_answer_that_can_be_read_in_two_ways_is_none() {
    let stage = Stage::set().await;
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n content-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: a\r\n b\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "garbage\r\n\r\n",
    ] {
        let (mut client, mut upstream, _) = stage.open("GET /live/x", "").await;
        upstream.send(format!("{answer}{smuggled}")).await;
        let (head, body) = client.answer().await;
        assert_eq!(status(&head), 502, "{answer:?}: {head}");
        assert!(!body.contains("evil") && !body.contains("ok\""), "{body}");
        assert!(upstream.ends_silently().await, "{answer:?}: never used again");
        // The client's own connection is as good as before.
        client.send(stage.visit.request("GET /x", "")).await;
        assert_eq!(client.answer().await.1, "hello");
    }

    // Bytes after an answer are nobody's: not the next one's, whoever asks.
    for answer in ["", "0", "\r\n", smuggled] {
        let (mut client, mut upstream, _) = stage.answered("GET /live/x", "", format!("{OK}{answer}")).await;
        assert_eq!(client.exactly(2).await, b"ok");
        if answer.is_empty() {
            upstream.send(smuggled).await;
        }
        upstream.end().await;
        client.send(stage.visit.request("GET /live/next", "")).await;
        let (mut upstream, _) = stage.live.request().await;
        upstream.send(LAST).await;
        assert_eq!(client.answer().await.1, "ok", "{answer:?}");
        drop(upstream);
    }
}

#[tokio::test]
async fn bodies_are_limited_in_size_and_time() {
    let mut stage = Stage::set().await;
    // At once by what is said, later by what comes.
    let (head, _) = stage.visit.send("POST /small/x", "content-length: 11\r\n").await;
    assert_eq!(status(&head), 413);
    let (mut client, mut upstream, _) = stage.open("POST /small/x", "transfer-encoding: chunked\r\n").await;
    client.send("5\r\nhello\r\n").await;
    upstream.until("hello").await;
    client.send("6\r\nhello!\r\n").await;
    assert_eq!(status(&client.answer().await.0), 413);
    let End::Closed(rest) = upstream.end().await else { panic!("closed") };
    assert_eq!(find(&rest, b"0\r\n\r\n"), None, "it must not look whole");
    let (mut client, mut upstream, _) = stage.open("POST /small/x", "content-length: 10\r\n").await;
    client.send("0123456789").await;
    assert_eq!(upstream.exactly(10).await, b"0123456789");
    upstream.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");

    // A client that stops is told so, and the upstream let go.
    let (mut client, mut upstream, _) = stage.open("POST /slow/x", "content-length: 10\r\n").await;
    client.send("01234").await;
    assert_eq!(status(&client.answer().await.0), 408);
    upstream.end().await;

    // A session that ends takes what is being sent along, and it is nobody's mistake.
    stage.visit.scene.house.add_user("bob", BOB);
    let other = stage.visit.scene.signed_in(BOB).await;
    let mut client = stage.visit.connect().await;
    let cookie = other.cookie("vestibule").unwrap();
    client.send(format!("POST /live/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={cookie}\r\n")).await;
    client.send("content-length: 10\r\n\r\n01234").await;
    let (mut upstream, _) = stage.live.request().await;
    upstream.until("01234").await;
    assert_eq!(other.submit("/.vestibule/sign-out", &[]).await.status, 200);
    client.send("56789").await;
    let (head, body) = client.answer().await;
    assert_eq!(status(&head), 401);
    assert!(body.contains("session_ended"), "{body}");
    upstream.end().await;

    // An upstream that stops in the middle of an answer breaks it.
    let (mut client, mut upstream, _) = stage.open("GET /slow/x", "").await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234").await;
    client.until("01234").await;
    assert_eq!(client.end().await, End::Closed(Vec::new()));
    upstream.end().await;
    stage.visit.scene.gateway.has_logged("an answer broke off").await;

    // One that takes no more of a request has not answered in time.
    let length = 64 << 20;
    let (client, mut upstream, _) =
        stage.open("POST /slow/x", &format!("content-length: {length}\r\n")).await;
    let (mut read, mut write) = client.stream.into_split();
    let writing = tokio::spawn(async move { write.write_all(&vec![b'x'; length]).await.is_err() });
    let mut answer = Vec::new();
    timeout(PATIENCE, tokio::io::AsyncReadExt::read_buf(&mut read, &mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 504 "), "{}", String::from_utf8_lossy(&answer));
    if let End::Closed(taken) = upstream.end().await {
        assert!(taken.len() < length, "the upload stops");
    }
    drop(read);
    let _ = timeout(PATIENCE, writing).await.unwrap();
    let said = "took nothing of the request's body within idle_timeout";
    stage.visit.scene.gateway.has_logged(said).await;
}

#[tokio::test]
async fn nothing_is_gathered_for_who_does_not_read() {
    let stage = Stage::set().await;
    let much = vec![b'x'; 64 << 20];
    let most = 24 << 20;
    // The answer waits for the client…
    let (client, upstream, _) = stage.open("GET /once/x", "").await;
    let taken =
        pushed(upstream, format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", much.len()), &much).await;
    assert!(taken < most, "{taken} bytes of an answer that nobody reads");
    drop(client);
    // … and the request for the upstream.
    let (client, upstream, _) =
        stage.open("POST /once/x", &format!("content-length: {}\r\n", much.len())).await;
    let taken = pushed(client, String::new(), &much).await;
    assert!(taken < most, "{taken} bytes of a request that nobody reads");
    drop(upstream);
}

/// How many bytes a connection takes before it takes no more.
async fn pushed(mut wire: Wire, head: String, bytes: &[u8]) -> usize {
    wire.send(head).await;
    let mut taken = 0;
    while let Ok(Ok(written)) = timeout(Duration::from_millis(500), wire.stream.write(&bytes[taken..])).await
    {
        taken += written;
        if taken == bytes.len() {
            break;
        }
    }
    taken
}
