//! Every kind of upstream: plain, over TLS, HTTP/2 both ways, and a Unix socket; and whom TLS trusts.

use futures_util::future::join_all;
use h2::Reason;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame};
use hyper::{Response, Version};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

use crate::common::House;
use crate::common::eventually;
use crate::common::more::Visit;
use crate::common::origin::{Authority, Manner, Origin, pieces, whole};
use crate::common::wire::{End, Wire, field, fields, status};

fn route(path: &str, upstream: &str, more: &str) -> String {
    format!("[[route]]\npath = \"{path}\"\nupstream = [\"{upstream}\"]\n{more}\n")
}

fn over_tls(tls: std::sync::Arc<rustls::ServerConfig>) -> Manner {
    Manner { tls: Some(tls), ..Manner::default() }
}

const CA: &str = "upstream_ca = \"{dir}/ca.pem\"";
const BOTH: &[&str] = &["h2", "http/1.1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_upstreams_are_verified_and_spoken_to_as_they_choose() {
    let (ours, others) = (Authority::new(), Authority::new());
    let both = Origin::start(over_tls(ours.serves("127.0.0.1", BOTH, None))).await;
    let old = Origin::start(over_tls(ours.serves("127.0.0.1", &["http/1.1"], None))).await;
    let mute = Origin::start(over_tls(ours.serves("127.0.0.1", &[], None))).await;
    let stranger = Origin::start(over_tls(others.serves("127.0.0.1", BOTH, None))).await;
    let misnamed = Origin::start(over_tls(ours.serves("elsewhere.test", BOTH, None))).await;
    let named = Origin::start(over_tls(ours.serves("app.internal", BOTH, None))).await;
    let knowing = Origin::start(over_tls(ours.serves("127.0.0.1", BOTH, Some(&others)))).await;
    let us = others.issue("vestibule");
    let identity =
        format!("{CA}\nupstream_certificate = \"{{dir}}/us.pem\"\nupstream_key = \"{{dir}}/us.key\"");
    let https = |origin: &Origin| format!("https://{}", origin.address);
    let routes = [
        route("/both", &https(&both), CA),
        route("/old", &https(&old), CA),
        route("/mute", &https(&mute), CA),
        route("/stranger", &https(&stranger), CA),
        route("/system", &https(&both), ""),
        route("/misnamed", &https(&misnamed), CA),
        route("/named", &https(&named), &format!("{CA}\nupstream_name = \"app.internal\"")),
        route("/knowing", &https(&knowing), &identity),
        route("/unknown", &https(&knowing), CA),
    ];
    let files = [("ca.pem", ours.pem()), ("us.pem", us.certificate), ("us.key", us.key)];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut visit = Visit::new(&routes.concat(), &files).await;

    for (path, origin, version) in [
        ("/both", &both, Version::HTTP_2),
        ("/old", &old, Version::HTTP_11),
        ("/mute", &mute, Version::HTTP_11),
        ("/named", &named, Version::HTTP_2),
        ("/knowing", &knowing, Version::HTTP_2),
    ] {
        let line = format!("GET {path}/x?y=z");
        let upstream = async {
            let asked = origin.next().await;
            assert_eq!(asked.request.version(), version, "{path}");
            asked.say("over TLS")
        };
        let ((head, body), request) = tokio::join!(visit.send(&line, ""), upstream);
        assert_eq!((status(&head), body.as_str()), (200, "over TLS"), "{path}: {head}");
        assert_eq!(request.uri().path_and_query().unwrap().as_str(), format!("{path}/x?y=z"));
        assert_eq!(request.headers()["x-forwarded-user"], "alice");
        if version == Version::HTTP_2 {
            assert_eq!(request.uri().authority().unwrap(), "127.0.0.1", "the host that the client asked for");
            assert_eq!(request.uri().scheme_str(), Some("https"));
            assert_eq!(request.headers().get("host"), None, "once is enough");
        }
    }

    for (path, why) in [
        ("/stranger", "failed: invalid peer certificate: UnknownIssuer"),
        ("/system", "failed: invalid peer certificate: UnknownIssuer"),
        ("/misnamed", "not valid for name"),
        ("/unknown", ""),
    ] {
        let (head, body) = visit.send(&format!("GET {path}"), "accept: text/html\r\n").await;
        assert_eq!(status(&head), 502, "{path}: {head}");
        assert!(!body.contains("127.0.0.1:"), "no address: {body}");
        let log = visit.scene.gateway.wait_for_log("gave no answer");
        assert!(log.contains("https://127.0.0.1:") && log.contains(why), "{path}: {log}");
        assert!(log.contains(&format!("\"route\":\"127.0.0.1{path}\"")), "{path}: {log}");
    }
    assert!(stranger.has_none().await && misnamed.has_none().await && knowing.has_none().await);

    // A handshake for a tunnel goes over HTTP/1.1, although the upstream would rather speak HTTP/2.
    let handshake = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upstream = async {
        let asked = both.next().await;
        assert_eq!(asked.request.version(), Version::HTTP_11);
        assert_eq!(asked.request.headers()["upgrade"], "websocket");
        asked.say("not now")
    };
    let ((head, _), _) = tokio::join!(visit.send("GET /both/socket", handshake), upstream);
    assert_eq!(status(&head), 200);
}

#[test]
fn lesson_20_an_unusable_file_is_no_reason_to_trust_everybody() {
    let us = Authority::new().issue("vestibule");
    let cases = [
        ("upstream_ca = \"{dir}/nowhere.pem\"", "nowhere.pem cannot be read"),
        ("upstream_ca = \"{dir}/empty.pem\"", "empty.pem holds no certificate; give a PEM file"),
        ("upstream_ca = \"{dir}/us.key\"", "us.key holds no certificate"),
        ("upstream_certificate = \"{dir}/us.pem\"", "upstream_key: missing"),
        ("upstream_key = \"{dir}/us.key\"", "upstream_certificate: missing"),
        (
            "upstream_certificate = \"{dir}/us.pem\"\nupstream_key = \"{dir}/other.key\"",
            "give the key that belongs to the certificate",
        ),
    ];
    for (keys, expected) in cases {
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\npublic_url = \"http://127.0.0.1\"\nstate_directory = \"{{dir}}/state\"\n\
             [observe]\nlisten = \"127.0.0.1:0\"\n{}",
            route("/", "https://127.0.0.1:1", keys)
        );
        let house = House::with_providers(&crate::common::provider("twilio", "http://127.0.0.1:1"), &text);
        std::fs::write(house.path("empty.pem"), "").unwrap();
        std::fs::write(house.path("us.pem"), &us.certificate).unwrap();
        std::fs::write(house.path("us.key"), &us.key).unwrap();
        std::fs::write(house.path("other.key"), Authority::new().issue("x").key).unwrap();
        for command in ["check", "serve"] {
            let output = house.command(&[command]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(expected), "{command} {keys}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_upstreams_share_a_connection() {
    let many = Origin::start(Manner { http2: true, ..Manner::default() }).await;
    let few = Origin::start(Manner { http2: true, streams: 2, ..Manner::default() }).await;
    let one = Origin::start(Manner { http2: true, streams: 1, ..Manner::default() }).await;
    let h2c = |origin: &Origin| format!("h2c://{}", origin.address);
    let routes =
        [route("/many", &h2c(&many), ""), route("/few", &h2c(&few), ""), route("/one", &h2c(&one), "")];
    let visit = Visit::new(&routes.concat(), &[]).await;

    requests_become_http2(&visit, &many).await;
    a_connection_carries_many(&visit, &many).await;
    bodies_stream_both_ways(&visit, &many).await;
    a_client_that_goes_away_resets_its_stream(&visit, &many).await;
    a_broken_stream_breaks_the_answer(&visit, &many).await;
    what_was_refused_is_sent_again(&visit, &many).await;
    an_upstream_may_leave_at_any_time(&visit, &many).await;
    a_full_connection_gets_a_second(&visit, &few).await;
    beyond_that_requests_wait(&visit, &one).await;
}

async fn requests_become_http2(visit: &Visit, origin: &Origin) {
    let more = "te: gzip, trailers\r\nconnection: te, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\nx-kept: 1\r\n\
                cookie: a=b\r\ncontent-length: 3\r\n";
    let mut client = visit.connect().await;
    client.send(visit.request("POST /many/a%20b?c", more) + "abc").await;
    let mut asked = origin.next().await;
    let request = &asked.request;
    assert_eq!(request.uri(), "http://127.0.0.1/many/a%20b?c");
    assert_eq!(request.headers()["x-kept"], "1");
    assert_eq!(request.headers()["cookie"], "a=b");
    assert_eq!(request.headers()["via"], "1.1 vestibule");
    for gone in ["x-hop", "keep-alive", "connection", "host"] {
        assert_eq!(request.headers().get(gone), None);
    }
    assert_eq!(asked.body().await.0, "abc");
    let answer = Response::builder().status(418).header("x-mark", "1").header("set-cookie", "vestibule=evil");
    asked.answer(answer.body(whole("tea")).unwrap());
    let (head, body) = client.answer().await;
    assert!(head.starts_with("HTTP/1.1 418 "), "{head}");
    assert_eq!((field(&head, "x-mark"), field(&head, "set-cookie"), body.as_str()), (Some("1"), None, "tea"));
}

async fn a_connection_carries_many(visit: &Visit, origin: &Origin) {
    let before = origin.connections();
    // On one connection of the client after another, so that one thread has them all or both have some.
    let requests = join_all((0..20).map(|_| visit.send("GET /many/x", "")));
    let answers = async {
        let mut all = Vec::new();
        for _ in 0..20 {
            all.push(origin.next().await);
        }
        all.into_iter().for_each(|asked| drop(asked.say("one of many")));
    };
    let (answered, ()) = tokio::join!(requests, answers);
    assert!(answered.iter().all(|(head, body)| status(head) == 200 && body == "one of many"));
    assert!(origin.connections() <= before + 1, "one for each thread at most, and one was there");
}

async fn bodies_stream_both_ways(visit: &Visit, origin: &Origin) {
    let mut client = visit.connect().await;
    client.send(visit.request("POST /many/x", "transfer-encoding: chunked\r\n") + "5\r\nfirst\r\n").await;
    let asked = origin.next().await;
    let (answer, body) = pieces();
    let mut upload = asked.answer(Response::new(body)).into_body();
    assert_eq!(status(&client.head().await), 200, "before the request is whole");
    assert_eq!(upload.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    answer.send(Ok(Frame::data(Bytes::from_static(b"echo one")))).unwrap();
    client.until("echo one").await;
    client.send("4\r\nlast\r\n0\r\n\r\n").await;
    assert_eq!(upload.frame().await.unwrap().unwrap().into_data().unwrap(), "last");
    answer.send(Ok(Frame::data(Bytes::from_static(b"echo two")))).unwrap();
    drop(answer);
    client.until("echo two\r\n0\r\n\r\n").await;
}

async fn a_client_that_goes_away_resets_its_stream(visit: &Visit, origin: &Origin) {
    let mut client = visit.connect().await;
    client.send(visit.request("GET /many/x", "")).await;
    let asked = origin.next().await;
    drop(client);
    asked.given_up().await;

    let mut client = visit.connect().await;
    client.send(visit.request("GET /many/x", "")).await;
    let (answer, body) = pieces();
    origin.next().await.answer(Response::new(body));
    client.head().await;
    drop(client);
    eventually("the stream is reset", async || answer.is_closed()).await;
}

async fn a_broken_stream_breaks_the_answer(visit: &Visit, origin: &Origin) {
    let mut client = visit.connect().await;
    client.send(visit.request("GET /many/x", "")).await;
    let (answer, body) = pieces();
    origin.next().await.answer(Response::new(body));
    answer.send(Ok(Frame::data(Bytes::from_static(b"half")))).unwrap();
    client.until("half").await;
    answer.send(Err(std::io::Error::other("broken"))).unwrap();
    if let End::Closed(rest) = client.end().await {
        assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"), "it must not look whole");
    }
}

async fn what_was_refused_is_sent_again(visit: &Visit, origin: &Origin) {
    let mut client = visit.connect().await;
    client.send(visit.request("GET /many/x", "")).await;
    origin.next().await.reset(Reason::REFUSED_STREAM);
    let again = origin.next().await;
    assert_eq!(again.request.headers()["x-forwarded-user"], "alice");
    again.say("the second time");
    assert_eq!(client.answer().await.1, "the second time");

    // With a body, or for another reason, it may have been processed.
    for (line, more, reason) in [
        ("POST /many/x", "content-length: 3\r\n", Reason::REFUSED_STREAM),
        ("GET /many/x", "", Reason::INTERNAL_ERROR),
    ] {
        client.send(visit.request(line, more) + if more.is_empty() { "" } else { "abc" }).await;
        let mut asked = origin.next().await;
        asked.body().await;
        asked.reset(reason);
        assert_eq!(status(&client.answer().await.0), 502, "{line}");
        assert!(origin.has_none().await);
    }
}

async fn an_upstream_may_leave_at_any_time(visit: &Visit, origin: &Origin) {
    let mut client = visit.connect().await;
    client.send(visit.request("GET /many/x", "")).await;
    let asked = origin.next().await;
    origin.leave();
    let before = origin.connections();
    // A new request gets a new connection, and the old one is finished.
    let mut other = visit.connect().await;
    other.send(visit.request("POST /many/y", "content-length: 3\r\n") + "abc").await;
    let mut next = origin.next().await;
    assert_eq!(next.body().await.0, "abc");
    next.say("new");
    assert_eq!(other.answer().await.1, "new");
    assert!(origin.connections() <= before + 1);
    asked.say("old");
    assert_eq!(client.answer().await.1, "old");
}

async fn a_full_connection_gets_a_second(visit: &Visit, origin: &Origin) {
    // The limit is known once the upstream has said it, to each thread by itself.
    for _ in 0..12 {
        let (first, _) =
            tokio::join!(visit.send("GET /few/x", ""), async { origin.next().await.say("hello") });
        assert_eq!(status(&first.0), 200);
    }
    let mut client = visit.connect().await;
    client.send(visit.request("GET /few/x", "")).await;
    let held = origin.next().await;
    let requests = join_all((0..7).map(|_| visit.send("GET /few/x", "")));
    let answers = async {
        let mut all = vec![held];
        for _ in 0..7 {
            all.push(origin.next().await);
        }
        all.into_iter().for_each(|asked| drop(asked.say("all at once")));
    };
    let (answered, ()) = tokio::join!(requests, answers);
    assert!(answered.iter().all(|(head, _)| status(head) == 200));
    assert_eq!(status(&client.answer().await.0), 200);
}

async fn beyond_that_requests_wait(visit: &Visit, origin: &Origin) {
    let requests = join_all((0..40).map(|_| visit.send("GET /one/x", "")));
    let answers = async {
        for _ in 0..40 {
            origin.next().await.say("in turn");
        }
    };
    let (answered, ()) = tokio::join!(requests, answers);
    assert!(answered.iter().all(|(head, _)| status(head) == 200));
    assert!(origin.connections() <= 16, "{}: eight for each thread at most", origin.connections());
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let routes = [
        route("/unix", &format!("unix:{}", path.display()), ""),
        route("/nobody", &format!("unix:{}/none.sock", directory.path().display()), ""),
    ];
    let mut visit = Visit::new(&routes.concat(), &[]).await;
    let mut client = visit.connect().await;
    client.send(visit.request("POST /unix/x", "content-length: 3\r\n") + "abc").await;
    let mut upstream = Wire::new(listener.accept().await.unwrap().0);
    let head = upstream.head().await;
    assert!(head.starts_with("POST /unix/x HTTP/1.1\r\n"), "{head}");
    assert_eq!(
        (fields(&head, "host"), fields(&head, "x-forwarded-user")),
        (vec!["127.0.0.1"], vec!["alice"])
    );
    assert_eq!(upstream.exactly(3).await, b"abc");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.1, "ok");
    // The connection is kept.
    client.send(visit.request("GET /unix/y", "")).await;
    assert!(upstream.head().await.starts_with("GET /unix/y "));
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    client.answer().await;
    upstream.stream.shutdown().await.unwrap();

    let (head, body) = visit.send("GET /nobody/x", "").await;
    assert_eq!(status(&head), 502);
    assert!(!body.contains("sock"), "{body}");
    visit.scene.gateway.has_logged("none.sock").await;
}
