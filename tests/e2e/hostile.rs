//! What no well-behaved client sends: two framings in one, odd lengths, no host, forms too large or too slow. Each is
//! refused, nothing of it reaches the application as a second request, and the gateway serves on.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::common::wire::{End, Manual, Wire, field, status};
use crate::common::{ALICE, Scene};

struct Stage {
    scene: Scene,
    cookie: String,
    live: Manual,
}

impl Stage {
    async fn connect(&self) -> Wire {
        Wire::connect(self.scene.gateway.address).await
    }

    /// Sends bytes; gives all that was said until the gateway closed.
    async fn until_closed(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut wire = self.connect().await;
        wire.send(bytes).await;
        let End::Closed(said) = wire.end().await else { panic!("a reset, which may take an answer along") };
        String::from_utf8_lossy(&said).into_owned()
    }

    /// A whole request of alice's.
    fn request(&self, line: &str, more: &str) -> String {
        format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={}\r\n{more}\r\n", self.cookie)
    }

    async fn send(&self, request: impl AsRef<[u8]>) -> (String, String) {
        let mut wire = self.connect().await;
        wire.send(request).await;
        wire.answer().await
    }

    async fn status(&self, request: impl AsRef<[u8]>) -> u16 {
        status(&self.send(request).await.0)
    }
}

#[tokio::test]
async fn hostile_requests_harm_nobody() {
    let live = Manual::start().await;
    let route = format!("[[route]]\npath = \"/live\"\nupstream = [\"http://{}\"]\n", live.address);
    let scene = Scene::start(&route).await;
    let cookie = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
    let mut stage = Stage { scene, cookie, live };

    // The slow ones take their ten seconds beside the others.
    let others = async {
        two_framings_are_never_two_requests(&stage).await;
        odd_lengths_are_refused(&stage).await;
        odd_chunks_are_refused(&stage).await;
        odd_heads_are_refused(&stage).await;
        one_host_and_one_target(&stage).await;
        too_much_of_a_head_is_refused(&stage).await;
        odd_bytes_in_fields_pass_unharmed(&stage).await;
        pipelined_requests_are_answered_in_order(&stage).await;
        forms_are_taken_as_they_should_be(&stage).await;
        large_forms_are_refused(&stage).await;
        each_address_takes_its_methods(&stage).await;
        only_our_own_pages_change_anything(&stage).await;
    };
    tokio::join!(others, slow_forms_are_given_up(&stage));

    assert_eq!(stage.status(stage.request("GET /", "")).await, 200, "it serves on");
    let log = stage.scene.gateway.stop();
    assert!(!log.contains("panicked"), "{log}");
}

async fn two_framings_are_never_two_requests(stage: &Stage) {
    let upstream = &stage.scene.upstream;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let chunked = "0\r\n\r\n";
    let before = upstream.count();
    for fields in [
        "content-length: 6\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 6\r\n",
        "content-length: 60\r\nTransfer-Encoding: CHUNKED\r\ncontent-length: 60\r\n",
    ] {
        let said = stage.until_closed(stage.request("POST /x", fields) + chunked + smuggled).await;
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{fields}: {said}");
        assert_eq!((status(&said), upstream.count()), (400, before), "{fields}");
    }
    for coding in [
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding:",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: x\r\ncontent-length: 5",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        " transfer-encoding: chunked",
        "transfer-encoding: \u{b}chunked",
        "transfer-encoding:\r\n chunked",
        "x: y\r\n transfer-encoding: chunked",
        "x: y\rtransfer-encoding: chunked",
        "transfer-encoding: chunked\0",
    ] {
        let request = stage.request("POST /x", &format!("{coding}\r\n")) + chunked + smuggled;
        assert_eq!(status(&stage.until_closed(request).await), 400, "{coding:?}");
        assert_eq!(upstream.count(), before, "{coding:?}");
    }
    let old = stage.request("POST /x", "transfer-encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(
        status(&stage.until_closed(old + chunked + smuggled).await),
        400,
        "chunked before there was any"
    );
    assert_eq!(upstream.count(), before);
}

async fn odd_lengths_are_refused(stage: &Stage) {
    let before = stage.scene.upstream.count();
    for length in [
        "+5",
        "-1",
        "0x5",
        "5 5",
        "5,5",
        "5, 6",
        "five",
        "",
        "5\0",
        "5;",
        "1e1",
        "99999999999999999999",
        "\u{ff15}",
    ] {
        let request = stage.request("POST /x", &format!("content-length: {length}\r\n")) + "hello";
        assert_eq!(status(&stage.until_closed(request).await), 400, "{length:?}");
    }
    for second in ["5", "6"] {
        let two =
            stage.request("POST /x", &format!("content-length: 5\r\nContent-Length: {second}\r\n")) + "hello";
        assert_eq!(status(&stage.until_closed(two).await), 400);
    }
    assert_eq!(stage.scene.upstream.count(), before);
}

async fn odd_chunks_are_refused(stage: &Stage) {
    let before = stage.scene.upstream.count();
    for chunk in [
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "g\r\nhello\r\n",
        "\r\nhello\r\n",
        "fffffffffffffffff\r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\nhello!\r\n",
        "5\r\nhello\n",
        "5;a=\"\r\n\"\r\nhello\r\n",
        "5;a=b\nhello\r\n",
    ] {
        let end = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        let request = stage.request("POST /x", "transfer-encoding: chunked\r\n") + chunk + end;
        let said = stage.until_closed(request).await;
        assert_eq!(status(&said), 400, "{chunk:?}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{chunk:?}: {said}");
    }
    let endless = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000));
    let mut wire = stage.connect().await;
    let _ =
        wire.stream.write_all(stage.request("POST /x", "transfer-encoding: chunked\r\n").as_bytes()).await;
    let _ = wire.stream.write_all(endless.as_bytes()).await;
    wire.end().await;
    assert_eq!(stage.scene.upstream.count(), before);
}

async fn odd_heads_are_refused(stage: &Stage) {
    let before = stage.scene.upstream.count();
    for more in [
        "x y: 1",
        ": 1",
        "x\0: 1",
        "x: a\0b",
        "x: a\rb",
        "x",
        "x\u{e4}: 1",
        "(x): 1",
        " x: 1",
        "x : 1",
        "x: a\r\n folded",
        "x: a\r\n\tfolded",
    ] {
        let request = stage.request("GET /x", &format!("{more}\r\n"));
        assert_eq!(status(&stage.until_closed(request).await), 400, "{more:?}");
    }
    let head = stage.request("GET /x", "");
    for line in [
        "GET /x",
        "GET /x HTTP/0.9",
        "GET /x HTTP/1.2",
        "GET /x HTTP/1.10",
        "GET /x HTTP/2.0",
        "GET /x HTTP/3",
        "GET /x http/1.1",
        "GET  /x HTTP/1.1",
        "GET /x y HTTP/1.1",
        "GET /x\0 HTTP/1.1",
        "GET /x\t HTTP/1.1",
        " GET /x HTTP/1.1",
        "GET x HTTP/1.1",
        "G{T /x HTTP/1.1",
        "GET",
        "PRI * HTTP/2.0",
        "\u{16}\u{3}\u{1}",
    ] {
        let request = head.replace("GET /x HTTP/1.1", line);
        let said = stage.until_closed(request).await;
        assert!(said.is_empty() || status(&said) == 400, "{line:?}: {said}");
    }
    assert_eq!(stage.scene.upstream.count(), before);

    // Bare line feeds end lines for some.
    assert_eq!(status(&stage.until_closed(head.replace("\r\n", "\n")).await), 400);
    assert_eq!(stage.scene.upstream.count(), before);
}

async fn one_host_and_one_target(stage: &Stage) {
    let upstream = &stage.scene.upstream;
    let before = upstream.count();
    let cookie = format!("cookie: vestibule={}\r\n", stage.cookie);
    for (request, expected) in [
        (format!("GET / HTTP/1.1\r\n{cookie}\r\n"), 400),
        (format!("GET / HTTP/1.0\r\n{cookie}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: 127.0.0.1\r\n{cookie}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nHost: evil.test\r\n{cookie}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nhost: 127.0.0.1 evil.test\r\n{cookie}\r\n"), 400),
        (format!("GET http://127.0.0.1/ HTTP/1.1\r\nhost: evil.test\r\n{cookie}\r\n"), 400),
        (format!("GET http://evil.test/ HTTP/1.1\r\nhost: 127.0.0.1\r\n{cookie}\r\n"), 400),
        (format!("GET http://evil.test/ HTTP/1.1\r\nhost: evil.test\r\n{cookie}\r\n"), 421),
        (format!("GET http://x@127.0.0.1/ HTTP/1.1\r\nhost: 127.0.0.1\r\n{cookie}\r\n"), 400),
        (format!("GET * HTTP/1.1\r\nhost: 127.0.0.1\r\n{cookie}\r\n"), 404),
        (format!("CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: 127.0.0.1:22\r\n{cookie}\r\n"), 405),
        (format!("CONNECT / HTTP/1.1\r\nhost: 127.0.0.1\r\n{cookie}\r\n"), 405),
        (format!("TRACE / HTTP/1.1\r\nhost: 127.0.0.1\r\n{cookie}\r\n"), 405),
    ] {
        let (head, body) = stage.send(&request).await;
        assert_eq!(status(&head), expected, "{request}");
        assert!(!body.contains(&stage.cookie), "nothing of the request is shown: {body}");
    }
    let mut wire = stage.connect().await;
    wire.send("GET /a#fragment HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(status(&wire.head().await), 400);
    assert_eq!(upstream.count(), before);

    let absolute = format!("GET http://127.0.0.1/x?y HTTP/1.1\r\nhost: 127.0.0.1\r\n{cookie}\r\n");
    assert_eq!(stage.status(absolute).await, 200);
    assert!(upstream.last().starts_with("GET /x?y HTTP/1.1\r\n"));

    for more in [
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "connection: upgrade\r\nupgrade: foo\r\n",
        "upgrade: websocket\r\n",
    ] {
        assert_eq!(stage.status(stage.request("GET /x", more)).await, 200, "{more}");
        assert_eq!(field(&upstream.last(), "upgrade"), None, "{more}");
    }
    // A handshake has no body; what follows its head would be read in two ways.
    let before = upstream.count();
    let request = stage
        .request("GET /x", "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n")
        + "hello";
    let (head, _) = stage.send(request).await;
    assert_eq!((status(&head), upstream.count()), (200, before + 1));
    assert_eq!(field(&upstream.last(), "upgrade"), None);
}

async fn too_much_of_a_head_is_refused(stage: &Stage) {
    let before = stage.scene.upstream.count();
    for (line, more) in [
        ("GET /x".to_owned(), format!("x: {}\r\n", "y".repeat(200_000))),
        ("GET /x".to_owned(), format!("{}: y\r\n", "x".repeat(200_000))),
        ("GET /x".to_owned(), (0..5_000).map(|n| format!("x-{n}: y\r\n")).collect()),
        (format!("GET /{}", "x".repeat(200_000)), String::new()),
        ("GET /x".to_owned(), format!("x: {}\r\n", "y".repeat(65_536))),
        ("GET /x".to_owned(), (0..100).map(|n| format!("x-{n}: y\r\n")).collect()),
        (format!("GET /{}", "x".repeat(16_384)), String::new()),
        (format!("GET /x?{}", "x".repeat(16_384)), String::new()),
    ] {
        let mut wire = stage.connect().await;
        let _ = wire.stream.write_all(stage.request(&line, &more).as_bytes()).await;
        let head = wire.head().await;
        let long_target = line.len() > 10_000 && line.len() < 100_000;
        assert_eq!(status(&head), if long_target { 414 } else { 431 }, "{head}");
    }
    assert_eq!(stage.scene.upstream.count(), before);
    let most: String = (0..98).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!(stage.status(stage.request("GET /x", &most)).await, 200);
    assert_eq!(stage.status(stage.request("GET /x", &format!("x: {}\r\n", "y".repeat(60_000)))).await, 200);
    assert_eq!(stage.status(stage.request(&format!("GET /{}", "x".repeat(16_383)), "")).await, 200);
}

async fn odd_bytes_in_fields_pass_unharmed(stage: &Stage) {
    let request = stage.request("GET /live/x", "x-odd: @@\r\n");
    let (head, tail) = request.split_once("@@").unwrap();
    let odd = b"\xff\xfe \xe4\t\x80";
    let upstream = async {
        let mut upstream = stage.live.accept().await;
        let head = upstream.bytes_until("\r\n\r\n").await;
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        head
    };
    let bytes = [head.as_bytes(), odd, tail.as_bytes()].concat();
    let (expected, got) = tokio::join!(stage.status(bytes), upstream);
    assert_eq!(expected, 200);
    let wanted = [b"x-odd: ".as_slice(), odd, b"\r\n"].concat();
    assert!(got.windows(wanted.len()).any(|at| at == wanted), "{}", String::from_utf8_lossy(&got));
}

async fn pipelined_requests_are_answered_in_order(stage: &Stage) {
    let upstream = &stage.scene.upstream;
    upstream.answers_by(|head| {
        let path = head.split(' ').nth(1).unwrap();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()).into_bytes()
    });
    let mut wire = stage.connect().await;
    let second = stage.request("POST /2", "content-length: 5\r\n") + "hello";
    wire.send(stage.request("GET /1", "") + &second + &stage.request("GET /3", "")).await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(wire.answer().await.1, path);
    }
    // What follows the last request costs nobody its answer: some send a line end after a form.
    let last = post("/5", &format!("connection: close\r\ncookie: vestibule={}\r\n", stage.cookie), "a=b");
    for more in ["", "\r\n", "GET /6 HTTP/1.1\r\n\r\n"] {
        let said = stage.until_closed(format!("{last}{more}")).await;
        assert!(said.ends_with("\r\n\r\n/5"), "{more:?}: {said}");
    }
    // The body of a request that was refused is not the next request.
    let before = upstream.count();
    let inner = stage.request("GET /smuggled", "");
    let refused =
        format!("POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n{inner}", inner.len());
    let mut wire = stage.connect().await;
    wire.send(refused).await;
    assert_eq!(status(&wire.answer().await.0), 401);
    wire.stream.shutdown().await.unwrap();
    assert_eq!(wire.end().await, End::Closed(Vec::new()));
    assert_eq!(upstream.count(), before);
}

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

fn post(path: &str, more: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}content-length: {}\r\n\r\n{body}", body.len())
}

async fn forms_are_taken_as_they_should_be(stage: &Stage) {
    let (start, verify) = ("/.vestibule/challenge/start", "/.vestibule/challenge/verify");
    let json = "content-type: application/json\r\n";
    for (path, more, body) in [
        (start, "", "phone=1"),
        (start, "content-type: text/plain\r\n", "phone=1"),
        (start, "content-type: multipart/form-data; boundary=x\r\n", "--x--"),
        (start, json, "{}"),
        (verify, "content-type: application/x-www-form-urlencodedx\r\n", "code=1"),
        ("/.vestibule/api/otp/request", FORM, "phoneNumber=1"),
        ("/.vestibule/api/otp/request", "", "{}"),
        ("/.vestibule/api/otp/verify", "content-type: text/json\r\n", "{}"),
    ] {
        assert_eq!(stage.status(post(path, more, body)).await, 415, "{path} {more}");
    }
    for (path, body) in [
        (start, ""),
        (start, "phone="),
        (start, "phone=+++"),
        (start, "name=alice"),
        (start, "phone=%2B14155550100&phone=%2B14155550101"),
        (start, "phone=%ff%fe"),
        (start, "phone=%00"),
        (start, "&&&==="),
        (verify, ""),
        (verify, "code=123456"),
        (verify, "code=123456&code=654321"),
        ("/.vestibule/challenge/resend", ""),
    ] {
        let (head, page) = stage.send(post(path, FORM, body)).await;
        assert_eq!(status(&head), 400, "{path} {body}");
        assert!(page.contains("<form"), "{path} {body}: the form is there again");
    }
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"phoneNumber\": 1}",
        "{\"phoneNumber\": \"+14155550100\", \"x\": 1}",
        "{\"phoneNumber\": \"+14155550100\", \"phoneNumber\": \"+14155550101\"}",
        "\u{feff}{}",
    ] {
        let (head, answer) = stage.send(post("/.vestibule/api/otp/request", json, body)).await;
        assert_eq!(status(&head), 400, "{body}");
        assert!(answer.contains("\"error\""), "{answer}");
    }
    let deep = "[".repeat(10_000);
    assert_eq!(stage.status(post("/.vestibule/api/otp/verify", json, &deep)).await, 400);

    let unknown = "AAAAAAAAAAAAAAAAAAAAAA";
    for cookie in [unknown, "x", "", "%00", "../../etc/passwd", "\"quoted\"", "a.b.c"] {
        let more = format!("{FORM}cookie: vestibule-challenge={cookie}\r\n");
        let (head, page) = stage.send(post(verify, &more, "code=123456")).await;
        assert_eq!(status(&head), 400, "{cookie}");
        assert!(page.contains("<form"), "{page}");
        let get = format!("GET /.vestibule/challenge HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}\r\n");
        assert_eq!(stage.status(get).await, 200, "{cookie}");
    }
    let body = format!("{{\"requestId\": \"{unknown}\", \"code\": \"123456\"}}");
    let answered = stage.status(post("/.vestibule/api/otp/verify", json, &body)).await;
    assert!((400..404).contains(&answered), "{answered}");
    assert_eq!(stage.scene.simulator.messages().await.len(), 1, "only alice's own code was ever sent");
}

async fn large_forms_are_refused(stage: &Stage) {
    let body = format!("phone={}", "1".repeat(10_000_000));
    for (path, more) in [
        ("/.vestibule/challenge/start", FORM),
        ("/.vestibule/challenge/verify", FORM),
        ("/.vestibule/api/otp/request", "content-type: application/json\r\n"),
        ("/.vestibule/sign-out", FORM),
    ] {
        let (head, _) = stage.send(post(path, more, &body)).await;
        assert_eq!(status(&head), 413, "{path}");
    }
    let chunked: String = (0..1_000).map(|_| format!("2710\r\n{}\r\n", "1".repeat(10_000))).collect();
    let request = format!(
        "POST /.vestibule/challenge/start HTTP/1.1\r\nhost: 127.0.0.1\r\n{FORM}transfer-encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"
    );
    assert_eq!(stage.status(request).await, 413);
    // An upload without a session: told so, also when it is large.
    let (head, _) = stage.send(post("/upload", "accept: text/html\r\n", &body)).await;
    assert_eq!(status(&head), 401);
}

async fn slow_forms_are_given_up(stage: &Stage) {
    let mut wire = stage.connect().await;
    let path = "/.vestibule/challenge/start";
    wire.send(format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{FORM}content-length: 100\r\n\r\nphone="))
        .await;
    let feeding = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if wire.stream.write_all(b"1").await.is_err() {
                return;
            }
        }
    };
    // A byte now and then buys no time.
    let _ = tokio::time::timeout(Duration::from_secs(9), feeding).await;
    assert_eq!(status(&wire.head().await), 408);
    wire.end().await;
}

async fn each_address_takes_its_methods(stage: &Stage) {
    let posts = [
        "challenge/start",
        "challenge/verify",
        "challenge/resend",
        "challenge/cancel",
        "sign-out",
        "api/otp/request",
        "api/otp/verify",
    ];
    for path in posts {
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
            let request = format!(
                "{method} /.vestibule/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
            );
            let said = stage.until_closed(request).await;
            assert_eq!((status(&said), field(&said, "allow")), (405, Some("POST")), "{method} {path}");
        }
    }
    for path in ["challenge", "account", "assets/vestibule.css"] {
        for method in ["POST", "PUT", "DELETE", "TRACE"] {
            let (head, _) = stage
                .send(format!(
                    "{method} /.vestibule/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n"
                ))
                .await;
            assert_eq!((status(&head), field(&head, "allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
}

async fn only_our_own_pages_change_anything(stage: &Stage) {
    let cookie = format!("cookie: vestibule={}\r\n", stage.cookie);
    for path in [
        "challenge/start",
        "challenge/verify",
        "challenge/resend",
        "challenge/cancel",
        "sign-out",
        "api/otp/request",
        "api/otp/verify",
    ] {
        for fields in [
            "origin: https://evil.test",
            "origin: http://127.0.0.1.evil.test",
            "origin: http://127.0.0.1:1",
            "origin: https://127.0.0.1",
            "origin: null",
            "origin:",
            "origin: http://127.0.0.1\r\norigin: http://evil.test",
            "sec-fetch-site: cross-site",
            "sec-fetch-site: same-site",
            "origin: http://127.0.0.1\r\nsec-fetch-site: cross-site",
        ] {
            let more = format!("{FORM}{cookie}{fields}\r\n");
            let answered =
                stage.status(post(&format!("/.vestibule/{path}"), &more, "phone=%2B14155550100")).await;
            assert_eq!(answered, 403, "{path} {fields}");
        }
    }
    assert_eq!(stage.status(stage.request("GET /", "")).await, 200, "nobody signed alice out");
}
