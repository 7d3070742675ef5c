//! HTTP/2 to the person, HTTP/1.1 to the application: streams side by side, one host, one cookie field, and an end
//! that is seen.

use futures_util::future::join_all;
use futures_util::stream;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::TLS13;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::common::wire::{Manual, Wire, field, fields, nobody};
use crate::common::{Gateway, PATIENCE};
use crate::tls::TlsScene;

type Chunks = std::pin::Pin<Box<dyn stream::Stream<Item = std::io::Result<Frame<Bytes>>> + Send>>;
type Body = Either<Full<Bytes>, StreamBody<Chunks>>;
type Sender = SendRequest<Body>;

struct Stage {
    scene: TlsScene,
    live: Manual,
    token: String,
}

impl Stage {
    async fn connect(&self) -> Sender {
        let stream = self.scene.connect(&[&TLS13], &["h2"]).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { connection.await.ok() });
        sender
    }

    /// A request of alice's.
    fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.scene.address()))
            .header("cookie", format!("__Host-vestibule={}", self.token))
            .body(Either::Left(Full::new(body.into())))
            .unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        send(&mut self.connect().await, request).await
    }
}

async fn send(sender: &mut Sender, request: Request<Body>) -> Response<Incoming> {
    timeout(PATIENCE, sender.send_request(request)).await.expect("an answer in time").unwrap()
}

async fn text(answer: Response<Incoming>) -> String {
    let body = timeout(PATIENCE, answer.into_body().collect()).await.expect("a body in time").unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// A body that the test sends piece by piece.
fn pieces() -> (mpsc::UnboundedSender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let next = |mut receiver: mpsc::UnboundedReceiver<Frame<Bytes>>| async {
        receiver.recv().await.map(|frame| (Ok(frame), receiver))
    };
    (sender, Either::Right(StreamBody::new(Box::pin(stream::unfold(receiver, next)))))
}

fn piece(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

// The client's connections live on while the test waits for the gateway to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_passed_on_as_http1() {
    let live = Manual::start().await;
    let routes = format!(
        "[[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\n[[route]]\npath = \"/dead\"\nupstream = [\"http://{}\"]\n",
        live.address,
        nobody().await
    );
    let scene = TlsScene::start(&routes).await;
    let cookie = scene.sign_in().await;
    let token = cookie.split(';').next().unwrap().strip_prefix("__Host-vestibule=").unwrap().to_owned();
    let mut stage = Stage { scene, live, token };

    strangers_reach_nothing(&stage).await;
    a_request_becomes_http1(&stage).await;
    one_host_for_one_request(&stage).await;
    streams_run_side_by_side(&stage).await;
    bodies_stream_both_ways(&stage).await;
    trailers_break_nothing(&stage).await;
    a_broken_answer_resets_its_stream_alone(&stage).await;

    let log = stage.scene.gateway.stop();
    assert!(!log.contains("panicked"), "{log}");
}

async fn strangers_reach_nothing(stage: &Stage) {
    for (accept, expected) in [("text/html", 303), ("*/*", 401)] {
        let mut request = stage.request(Method::GET, "/x", "");
        request.headers_mut().insert("cookie", HeaderValue::from_static("__Host-vestibule=x"));
        request.headers_mut().insert("accept", HeaderValue::from_static(accept));
        let answer = stage.send(request).await;
        assert_eq!(answer.status(), expected);
        assert_eq!(answer.headers().get("connection"), None);
    }
    assert_eq!(stage.scene.upstream.count(), 0);
}

async fn a_request_becomes_http1(stage: &Stage) {
    let mut request = stage.request(Method::GET, "/a%20b?c=d", "");
    let headers = request.headers_mut();
    headers.clear();
    // Crumbs, as browsers send them (RFC 9113 section 8.2.3).
    for crumb in ["a=b", &format!("__Host-vestibule={}", stage.token), "c=d"] {
        headers.append("cookie", crumb.parse().unwrap());
    }
    headers.insert("x-forwarded-user", HeaderValue::from_static("mallory"));
    headers.insert("x_forwarded_user", HeaderValue::from_static("mallory"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    let answer = stage.send(request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(text(answer).await, "hello");
    let sent = stage.scene.upstream.last();
    let host = stage.scene.address().to_string();
    assert!(sent.starts_with("GET /a%20b?c=d HTTP/1.1\r\n"), "{sent}");
    assert_eq!(fields(&sent, "host"), [host.as_str()]);
    assert_eq!(fields(&sent, "x-forwarded-host"), [host.as_str()]);
    assert_eq!(fields(&sent, "x-forwarded-proto"), ["https"]);
    assert_eq!(fields(&sent, "x-forwarded-user"), ["alice"]);
    assert_eq!(fields(&sent, "via"), ["2.0 vestibule"]);
    assert_eq!(fields(&sent, "cookie"), ["a=b; c=d"]);
    assert_eq!((field(&sent, "te"), field(&sent, "connection")), (Some("trailers"), Some("te")), "said anew");
    assert_eq!(field(&sent, "transfer-encoding"), None, "no body: {sent}");
    assert!(!sent.contains("mallory"), "{sent}");

    stage.scene.upstream.answers("HTTP/1.1 304 Not Modified\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nETag: \"x\"\r\n\r\n");
    let answer = stage.send(stage.request(Method::GET, "/x", "")).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["etag"]),
        (304, &HeaderValue::from_static("\"x\""))
    );
    for name in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(answer.headers().get(name), None, "{name}");
    }
    stage.scene.upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
    let answer = stage.send(stage.request(Method::HEAD, "/x", "")).await;
    assert_eq!(answer.headers()[CONTENT_LENGTH], "12345");
    stage.scene.upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

async fn one_host_for_one_request(stage: &Stage) {
    let before = stage.scene.upstream.count();
    for (host, expected) in [("evil.test", 400), ("127.0.0.1:1", 400), ("", 400)] {
        let mut request = stage.request(Method::GET, "/x", "");
        request.headers_mut().insert("host", host.parse().unwrap());
        let answered = stage.connect().await.send_request(request).await;
        // A reset of the stream is as good as an answer.
        assert!(answered.is_err() || answered.is_ok_and(|answer| answer.status() == expected), "{host}");
    }
    let mut request = stage.request(Method::GET, "/x", "");
    *request.uri_mut() = "https://evil.test/x".parse().unwrap();
    assert_eq!(stage.send(request).await.status(), 421);

    let mut request = stage.request(Method::CONNECT, "/", "");
    *request.uri_mut() = stage.scene.address().to_string().parse().unwrap();
    let answered = stage.connect().await.send_request(request).await;
    assert!(answered.is_err() || answered.is_ok_and(|answer| answer.status() == 405));
    assert_eq!(stage.send(stage.request(Method::TRACE, "/x", "")).await.status(), 405);
    for path in ["/a/../b", "/%2e%2e/x", "/a%5cb", "/live%2fb"] {
        assert_eq!(stage.send(stage.request(Method::GET, path, "")).await.status(), 400, "{path}");
    }
    assert_eq!(stage.scene.upstream.count(), before);
}

async fn streams_run_side_by_side(stage: &Stage) {
    stage.scene.upstream.answers_by(|head| {
        let path = head.split(' ').nth(1).unwrap();
        let body = path.repeat(1_000);
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    let sender = stage.connect().await;
    let requests = (0..100).map(|number| {
        let mut sender = sender.clone();
        async move {
            let path = format!("/{number:03}");
            let request = stage.request(Method::POST, &path, "x".repeat(number * 100));
            assert!(text(send(&mut sender, request).await).await == path.repeat(1_000), "{path}");
        }
    });
    join_all(requests).await;
    stage.scene.upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");

    let large: String = (0..3_000_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    assert_eq!(text(stage.send(stage.request(Method::POST, "/large", large.clone())).await).await, "hello");
    assert!(stage.scene.upstream.last().ends_with(&large));
}

async fn bodies_stream_both_ways(stage: &Stage) {
    let (upload, body) = pieces();
    let request = stage.request(Method::POST, "/live/x", "").map(|_| body);
    let mut sender = stage.connect().await;
    upload.send(piece("first")).unwrap();
    let upstream = async {
        let (mut upstream, head) = stage.live.request().await;
        assert_eq!(fields(&head, "transfer-encoding"), ["chunked"]);
        upstream.until("first").await;
        upload.send(piece("last")).unwrap();
        drop(upload);
        upstream.until("last\r\n0\r\n\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        upstream
    };
    let (answer, mut upstream) = tokio::join!(send(&mut sender, request), upstream);
    let mut body = answer.into_body();
    assert_eq!(next(&mut body).await.into_data().unwrap(), "first");
    upstream.send("4\r\nlast\r\n0\r\n\r\n").await;
    assert_eq!(next(&mut body).await.into_data().unwrap(), "last");
    assert_eq!(body.collect().await.unwrap().to_bytes(), "", "a whole answer");
    drop(upstream);

    // A stream that its client gives up gives up the request behind it.
    let request = stage.request(Method::GET, "/live/x", "");
    let (answer, mut upstream) = tokio::join!(send(&mut sender, request), begun(stage));
    drop(answer);
    upstream.end().await;
    assert_eq!(text(send(&mut sender, stage.request(Method::GET, "/x", "")).await).await, "hello");
}

/// An answer under way.
async fn begun(stage: &Stage) -> Wire {
    let (mut upstream, _) = stage.live.request().await;
    upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    upstream
}

async fn next(body: &mut Incoming) -> Frame<Bytes> {
    timeout(PATIENCE, body.frame()).await.expect("a frame in time").unwrap().unwrap()
}

async fn trailers_break_nothing(stage: &Stage) {
    let (upload, body) = pieces();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-forwarded-user", HeaderValue::from_static("mallory"));
    upload.send(piece("hello")).unwrap();
    upload.send(Frame::trailers(trailers)).unwrap();
    drop(upload);
    let answer = stage.send(stage.request(Method::POST, "/x", "").map(|_| body)).await;
    assert_eq!(text(answer).await, "hello");
    let sent = stage.scene.upstream.last();
    assert!(sent.contains("5\r\nhello\r\n0\r\n\r\n") && !sent.contains("mallory"), "{sent}");

    // What was announced, and may be a trailer, goes on.
    let (upload, body) = pieces();
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "x-forwarded-user", "x_forwarded_user", "cookie", "content-length"] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    upload.send(piece("hello")).unwrap();
    upload.send(Frame::trailers(trailers)).unwrap();
    drop(upload);
    let mut request = stage.request(Method::POST, "/live/x", "").map(|_| body);
    let announced =
        HeaderValue::from_static("x-sum, x-forwarded-user, x_forwarded_user, cookie, content-length");
    request.headers_mut().insert("trailer", announced);
    let upstream = async {
        let (mut upstream, head) = stage.live.request().await;
        assert_eq!(field(&head, "trailer"), Some("x-sum"), "{head}");
        assert_eq!(upstream.until("\r\n\r\n").await, "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    };
    let (answer, ()) = tokio::join!(stage.send(request), upstream);
    assert_eq!(text(answer).await, "ok");

    stage.scene.upstream.answers(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\
         Set-Cookie: __Host-vestibule=evil\r\nX-Forwarded-User: mallory\r\n\r\n",
    );
    let answer = stage.send(stage.request(Method::GET, "/x", "")).await;
    let whole = answer.into_body().collect().await.unwrap();
    let trailers: Vec<_> = whole.trailers().unwrap().iter().collect();
    assert_eq!(trailers, [(&HeaderName::from_static("x-sum"), &HeaderValue::from_static("1"))]);
    assert_eq!(whole.to_bytes(), "hello");
    stage.scene.upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

async fn a_broken_answer_resets_its_stream_alone(stage: &Stage) {
    let mut sender = stage.connect().await;
    for framing in ["content-length: 100", "transfer-encoding: chunked"] {
        let request = stage.request(Method::GET, "/live/x", "");
        let upstream = async {
            let (mut upstream, _) = stage.live.request().await;
            let part = if framing.starts_with('c') { "hello" } else { "5\r\nhello\r\n" };
            upstream.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}")).await;
            upstream
        };
        let (answer, upstream) = tokio::join!(send(&mut sender, request), upstream);
        let mut body = answer.into_body();
        assert_eq!(next(&mut body).await.into_data().unwrap(), "hello");
        drop(upstream);
        let rest = timeout(PATIENCE, body.frame()).await.expect("an end in time");
        assert!(rest.is_some_and(|frame| frame.is_err()), "{framing}: a short answer is not a whole one");
    }
    assert_eq!(send(&mut sender, stage.request(Method::GET, "/dead", "")).await.status(), 502);
    assert_eq!(text(send(&mut sender, stage.request(Method::GET, "/x", "")).await).await, "hello");
}

/// On one connection there are a hundred requests, and each needs one to an application that speaks HTTP/1.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_applications_are_bounded() {
    let live = Manual::start().await;
    let route = format!(
        "[[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\nconnect_timeout = \"1s\"\n",
        live.address
    );
    let mut scene = TlsScene::start(&route).await;
    let token = scene.sign_in().await.split(';').next().unwrap()["__Host-vestibule=".len()..].to_owned();
    scene.house.replace("workers = 2\n", "workers = 1\nmax_connections = 64\n");
    scene.gateway.stop();
    scene.gateway = Gateway::start(&scene.house);
    let stage = Stage { scene, live, token };
    let mut sender = stage.connect().await;
    let mut asked = Vec::new();
    for _ in 0..64 {
        let answer = sender.send_request(stage.request(Method::GET, "/live", ""));
        asked.push((tokio::spawn(answer), stage.live.request().await.0));
    }
    let crowded = send(&mut sender, stage.request(Method::GET, "/live", "")).await;
    assert_eq!(crowded.status(), 503);
    // One that ends makes room, also for another route.
    let (first, mut upstream) = asked.pop().unwrap();
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(text(first.await.unwrap().unwrap()).await, "ok");
    assert_eq!(send(&mut sender, stage.request(Method::GET, "/x", "")).await.status(), 200);
}
