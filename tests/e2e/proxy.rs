//! What passes through: requests and answers to the letter, bodies as they come, and what people see when the
//! application breaks.

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use crate::common::upstream::find;
use crate::common::wire::{End, Manual, Wire, field, fields, nobody, status};
use crate::common::{ALICE, Scene, Upstream, eventually};

/// A gateway with routes of every kind, and alice signed in.
struct Stage {
    scene: Scene,
    cookie: String,
    wiki: Upstream,
    turns: [Upstream; 2],
    live: Manual,
    slow: Manual,
}

impl Stage {
    async fn set() -> Self {
        let (wiki, turns) = (Upstream::start().await, [Upstream::start().await, Upstream::start().await]);
        let (live, slow) = (Manual::start().await, Manual::start().await);
        let route = |keys: &str, upstreams: &[SocketAddr]| {
            let list: Vec<_> = upstreams.iter().map(|address| format!("\"http://{address}\"")).collect();
            format!("[[route]]\n{keys}\nupstream = [{}]\n", list.join(", "))
        };
        let routes = [
            route("path = \"/wiki\"\nidentity_headers = [\"X-Remote-User\"]", &[wiki.address]),
            route("host = \"wiki.test\"", &[wiki.address]),
            route("path = \"/live\"", &[live.address]),
            route("path = \"/slow\"\nresponse_timeout = \"1s\"", &[slow.address]),
            route("path = \"/dead\"", &[nobody().await]),
            route("path = \"/turns\"", &[turns[0].address, turns[1].address]),
            route("path = \"/half-dead\"", &[nobody().await, turns[0].address]),
        ];
        let scene = Scene::with(&routes.concat(), "trusted_proxies = [\"127.0.0.2/32\"]", &[]).await;
        let cookie = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
        Self { scene, cookie, wiki, turns, live, slow }
    }

    async fn connect(&self) -> Wire {
        Wire::connect(self.scene.gateway.address).await
    }

    /// A request of alice's: `GET /path`, and fields with their line ends.
    fn request(&self, line: &str, more: &str) -> String {
        format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={}\r\n{more}\r\n", self.cookie)
    }

    /// Sends it on a connection of its own, and reads an answer with a length.
    async fn send(&self, line: &str, more: &str) -> (String, String) {
        let mut client = self.connect().await;
        client.send(self.request(line, more)).await;
        client.answer().await
    }

    /// The request as the application got it.
    async fn sent(&self, line: &str, more: &str) -> String {
        let (head, _) = self.send(line, more).await;
        assert_eq!(status(&head), 200, "{line} {more}: {head}");
        let upstream = if line.contains(" /wiki") { &self.wiki } else { &self.scene.upstream };
        upstream.last()
    }
}

#[tokio::test]
async fn requests_and_answers_pass_unharmed() {
    let stage = Stage::set().await;
    each_route_has_its_own_upstreams(&stage).await;
    lesson_7_13_no_spelling_of_an_identity_field_passes(&stage).await;
    lesson_11_connection_cannot_strip_identity(&stage).await;
    lesson_28_only_trusted_proxies_name_the_client(&stage).await;
    our_cookies_stay_here_and_others_pass(&stage).await;
    answers_keep_their_fields(&stage).await;
    every_framing_stays_in_step(&stage).await;
    large_bodies_arrive_byte_for_byte(&stage).await;
    upstreams_are_taken_in_turn(&stage).await;
    connections_to_the_upstream_are_kept(&stage).await;
}

async fn each_route_has_its_own_upstreams(stage: &Stage) {
    let at_root = stage.scene.upstream.count();
    for (path, host, in_wiki) in [
        ("/wiki", "127.0.0.1", true),
        ("/wiki/page?x=/", "127.0.0.1", true),
        ("/wikis", "127.0.0.1", false),
        ("/?/wiki", "127.0.0.1", false),
        ("/Wiki", "127.0.0.1", false),
        ("/", "wiki.test", true),
        ("/anything", "WIKI.test.:8080", true),
    ] {
        let before = (stage.wiki.count(), stage.scene.upstream.count());
        let mut stranger = stage.connect().await;
        stranger.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(status(&stranger.head().await), 401, "{path}");
        assert_eq!((stage.wiki.count(), stage.scene.upstream.count()), before, "{path}");

        let mut client = stage.connect().await;
        let cookie = &stage.cookie;
        client
            .send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\ncookie: vestibule={cookie}\r\n\r\n"))
            .await;
        assert_eq!(status(&client.answer().await.0), 200, "{path}");
        let after = (before.0 + usize::from(in_wiki), before.1 + usize::from(!in_wiki));
        assert_eq!((stage.wiki.count(), stage.scene.upstream.count()), after, "{path}");
        let request = if in_wiki { stage.wiki.last() } else { stage.scene.upstream.last() };
        assert!(request.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{request}");
        assert_eq!(fields(&request, "host"), [host]);
    }
    assert_eq!(stage.scene.upstream.count(), at_root + 3);
}

async fn lesson_7_13_no_spelling_of_an_identity_field_passes(stage: &Stage) {
    let spellings = [
        "X-Forwarded-User",
        "x_forwarded_user",
        "X-Forwarded_User",
        "X_FORWARDED-USER",
        "X.Forwarded.User",
        "x-forwarded.user",
        "X-Remote-User",
        "x_remote_user",
        "X-REMOTE_USER",
        "x.remote.user",
        "X-Forwarded-Email",
        "X_Forwarded_Groups",
        "X-Forwarded-Prefix",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-For",
        "Forwarded",
        "X-Real-IP",
        "X_Real_Ip",
        "Proxy",
        "Proxy-Authorization",
    ];
    let all: String =
        spellings.iter().map(|name| format!("{name}: mallory\r\n{name}: mallory\r\n")).collect();
    let request = stage.sent("GET /wiki/x", &all).await;
    assert!(!request.contains("mallory"), "{request}");
    assert_eq!(fields(&request, "x-forwarded-user"), ["alice"]);
    assert_eq!(fields(&request, "x-remote-user"), ["alice"], "the field this route names");
    assert_eq!(fields(&request, "x-forwarded-host"), ["127.0.0.1"]);
    assert_eq!(fields(&request, "x-forwarded-proto"), ["http"]);
    // A route without that field has no opinion on it.
    assert!(stage.sent("GET /x", "x-remote-user: whoever\r\n").await.contains("whoever"));
}

async fn lesson_11_connection_cannot_strip_identity(stage: &Stage) {
    let more = "Connection: x-forwarded-user, X-Remote-User, X-Forwarded-For, host, via, X-Mine\r\n\
                Connection: close\r\nX-Mine: 1\r\nX-Kept: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: x\r\n\
                Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nProxy-Connection: keep-alive\r\n";
    let request = stage.sent("GET /wiki/x", more).await;
    for name in ["x-forwarded-user", "x-remote-user"] {
        assert_eq!(fields(&request, name), ["alice"], "{request}");
    }
    assert_eq!(fields(&request, "x-forwarded-for"), ["127.0.0.1"], "{request}");
    assert_eq!(fields(&request, "host"), ["127.0.0.1"], "{request}");
    assert_eq!(fields(&request, "via"), ["1.1 vestibule"], "{request}");
    assert_eq!(field(&request, "x-kept"), Some("1"), "{request}");
    // That it takes trailers is said anew, for this hop.
    assert_eq!((fields(&request, "te"), fields(&request, "connection")), (vec!["trailers"], vec!["te"]));
    for name in ["x-mine", "keep-alive", "trailer", "upgrade", "http2-settings", "proxy-connection"] {
        assert_eq!(field(&request, name), None, "{request}");
    }
}

async fn lesson_28_only_trusted_proxies_name_the_client(stage: &Stage) {
    let more = "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nVia: 1.0 outer\r\n";
    let request = stage.sent("GET /x", more).await;
    assert_eq!(fields(&request, "x-forwarded-for"), ["127.0.0.1"]);

    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut proxy = Wire::new(socket.connect(stage.scene.gateway.address).await.unwrap());
    proxy.send(stage.request("GET /x", more)).await;
    assert_eq!(status(&proxy.answer().await.0), 200);
    let request = stage.scene.upstream.last();
    assert_eq!(fields(&request, "x-forwarded-for"), ["192.0.2.7, 127.0.0.2"]);
    assert_eq!(fields(&request, "via").join(", "), "1.0 outer, 1.1 vestibule");
}

async fn our_cookies_stay_here_and_others_pass(stage: &Stage) {
    let cookies = format!(
        "a=b; vestibule-challenge=x; vestibule={}; c=\"d e\"; f==g; VESTIBULE=h; vestibule2=i; j",
        stage.cookie
    );
    let mut client = stage.connect().await;
    let request = |cookies: &str| format!("GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: {cookies}\r\n\r\n");
    client.send(request(&cookies)).await;
    assert_eq!(status(&client.answer().await.0), 200);
    let kept = stage.scene.upstream.last();
    assert_eq!(fields(&kept, "cookie"), ["a=b; c=\"d e\"; f==g; vestibule2=i; j"]);

    client.send(request(&format!("vestibule={}", stage.cookie))).await;
    assert_eq!(status(&client.answer().await.0), 200);
    assert_eq!(field(&stage.scene.upstream.last(), "cookie"), None, "nothing left is no field");
}

async fn answers_keep_their_fields(stage: &Stage) {
    stage.scene.upstream.answers_by(|_| {
        b"HTTP/1.1 418 Teapot\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\nServer: old/1.0\r\nX-Odd: gr\xfc\xdfe\r\n\
          Set-Cookie: a=b; Path=/\r\nSet-Cookie: vestibule=evil; Path=/\r\nset-cookie: c=d\r\n\
          SET-COOKIE: Vestibule-Challenge=evil\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: Digest\r\n\
          Cache-Control: max-age=5\r\nVia: 1.1 inner\r\nX-Forwarded-User: theirs\r\nLocation: http://x.test/\r\n\
          Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
          Content-Length: 5\r\n\r\nhello"
            .to_vec()
    });
    let mut client = stage.connect().await;
    client.send(stage.request("GET /x", "")).await;
    let head = client.head().await;
    assert_eq!(client.exactly(5).await, b"hello");
    assert!(head.starts_with("HTTP/1.1 418 "), "{head}");
    let mut names: Vec<_> = head
        .trim_end()
        .lines()
        .skip(1)
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| format!("{}: {}", name.to_ascii_lowercase(), value.trim()))
        .collect();
    names.sort();
    let kept = [
        "cache-control: max-age=5",
        "content-length: 5",
        "date: Tue, 01 Jan 2030 00:00:00 GMT",
        "location: http://x.test/",
        "server: old/1.0",
        "set-cookie: a=b; Path=/",
        "set-cookie: c=d",
        "via: 1.1 inner",
        "www-authenticate: Basic",
        "www-authenticate: Digest",
        "x-forwarded-user: theirs",
        "x-odd: gr\u{fffd}\u{fffd}e",
    ];
    assert_eq!(names, kept);

    // `Connection: close` was for us: the client's connection goes on.
    client.send(stage.request("GET /x", "")).await;
    assert_eq!(status(&client.answer().await.0), 418);
}

async fn every_framing_stays_in_step(stage: &Stage) {
    let upstream = &stage.scene.upstream;
    let mut client = stage.connect().await;

    upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
    client.send(stage.request("HEAD /x", "")).await;
    assert_eq!(field(&client.head().await, "content-length"), Some("12345"));

    upstream.answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(stage.request("HEAD /x", "")).await;
    assert_eq!(status(&client.head().await), 200);

    upstream.answers("HTTP/1.1 204 No Content\r\nX-Mark: 1\r\n\r\n");
    client.send(stage.request("DELETE /x", "")).await;
    let head = client.head().await;
    assert_eq!((status(&head), field(&head, "x-mark")), (204, Some("1")));
    assert_eq!((field(&head, "content-length"), field(&head, "transfer-encoding")), (None, None), "{head}");

    upstream.answers("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n");
    client.send(stage.request("GET /x", "if-none-match: \"x\"\r\n")).await;
    let head = client.head().await;
    assert_eq!((status(&head), field(&head, "etag")), (304, Some("\"x\"")));
    assert_eq!(field(&upstream.last(), "if-none-match"), Some("\"x\""));

    upstream.answers("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.send(stage.request("GET /x", "")).await;
    assert_eq!(client.answer().await.1, "ok");

    upstream.answers(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    client.send(stage.request("GET /x", "te: trailers\r\n")).await;
    assert_eq!(field(&client.head().await, "transfer-encoding"), Some("chunked"));
    let body = client.until("0\r\n").await;
    assert!(body.contains("abc") && body.contains("de"), "{body}");
    client.until("\r\n").await;

    upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.send(stage.request("PUT /x", "content-length: 0\r\n")).await;
    assert_eq!(client.answer().await.1, "");

    upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    client.send(stage.request("POST /x", "transfer-encoding: chunked\r\n")).await;
    client.send("3;ext=\"1\"\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(client.answer().await.1, "ok");
    let request = upstream.last();
    assert!(request.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{request}");

    client.send(stage.request("POST /x", "content-length: 3\r\nexpect: 100-continue\r\n")).await;
    assert_eq!(status(&client.head().await), 100);
    client.send("abc").await;
    assert_eq!(client.answer().await.1, "ok");
    assert!(upstream.last().ends_with("\r\n\r\nabc"));

    upstream.answers("HTTP/1.0 200 OK\r\nX-Old: 1\r\n\r\nan old server!close");
    client.send(stage.request("GET /x", "")).await;
    assert_eq!(field(&client.head().await, "x-old"), Some("1"));
    assert!(client.until("\r\n0\r\n\r\n").await.contains("an old server"));

    upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    client.send(stage.request("GET /x", "").replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(client.answer().await.1, "hello", "an old client");
    assert_eq!(client.end().await, End::Closed(Vec::new()));
}

async fn large_bodies_arrive_byte_for_byte(stage: &Stage) {
    let upstream = &stage.scene.upstream;
    let large: Vec<u8> = (0..4_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let answer =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", large.len()).as_bytes(), &large].concat();
    upstream.answers_by(move |_| answer.clone());
    let mut client = stage.connect().await;
    client.send(stage.request("GET /large", "")).await;
    client.head().await;
    assert!(client.exactly(large.len()).await == large);

    upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let text: String = large.iter().map(|byte| char::from(b' ' + byte % 90)).collect();
    client.send(stage.request("POST /large", &format!("content-length: {}\r\n", text.len()))).await;
    client.send(&text).await;
    assert_eq!(client.answer().await.1, "ok");
    assert!(upstream.last().split_once("\r\n\r\n").unwrap().1 == text);
    upstream.answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

async fn upstreams_are_taken_in_turn(stage: &Stage) {
    let [one, two] = &stage.turns;
    let mut client = stage.connect().await;
    for _ in 0..6 {
        client.send(stage.request("GET /turns", "")).await;
        assert_eq!(status(&client.answer().await.0), 200);
    }
    assert_eq!((one.count(), two.count()), (3, 3));
    for _ in 0..4 {
        client.send(stage.request("POST /half-dead", "content-length: 3\r\n") + "abc").await;
        assert_eq!(status(&client.answer().await.0), 200);
    }
    assert_eq!(one.count(), 7, "the one that is there has them all");
    // Also when many ask at once and each of them meets the dead one.
    let at_once = (0..20).map(|_| stage.send("GET /half-dead", ""));
    for (head, _) in futures_util::future::join_all(at_once).await {
        assert_eq!(status(&head), 200);
    }
}

async fn connections_to_the_upstream_are_kept(stage: &Stage) {
    let before = stage.scene.upstream.connections();
    let mut client = stage.connect().await;
    for _ in 0..5 {
        client.send(stage.request("GET /x", "")).await;
        client.answer().await;
    }
    let opened = stage.scene.upstream.connections() - before;
    assert!(opened <= 1, "{opened} connections for five requests in a row");
}

#[tokio::test]
async fn bodies_stream_and_broken_upstreams_are_told_apart() {
    let mut stage = Stage::set().await;
    an_upload_is_passed_on_as_it_comes(&stage).await;
    a_download_is_passed_on_as_it_comes(&stage).await;
    an_early_answer_reaches_the_client_that_still_sends(&stage).await;
    an_answer_that_breaks_off_is_visibly_broken(&stage).await;
    each_failure_has_its_status(&stage).await;
    a_kept_connection_that_was_closed_harms_nobody(&stage).await;
    a_client_that_goes_away_takes_its_request_along(&stage).await;
    the_gateway_stops_gracefully(&mut stage).await;
}

async fn an_upload_is_passed_on_as_it_comes(stage: &Stage) {
    let mut client = stage.connect().await;
    client.send(stage.request("POST /live/up", "transfer-encoding: chunked\r\n") + "5\r\nfirst\r\n").await;
    let (mut upstream, _) = stage.live.request().await;
    upstream.until("first").await;
    client.send("4\r\nlast\r\n0\r\n\r\n").await;
    upstream.until("last\r\n0\r\n\r\n").await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(client.answer().await.1, "ok");
}

async fn a_download_is_passed_on_as_it_comes(stage: &Stage) {
    let mut client = stage.connect().await;
    client.send(stage.request("GET /live/events", "accept: text/event-stream\r\n")).await;
    let (mut upstream, _) = stage.live.request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(field(&client.head().await, "content-type"), Some("text/event-stream"), "the head at once");
    upstream.send("d\r\ndata: first\n\n\r\n").await;
    client.until("data: first\n\n").await;
    upstream.send("c\r\ndata: last\n\n\r\n0\r\n\r\n").await;
    client.until("data: last\n\n\r\n0\r\n\r\n").await;
}

async fn an_early_answer_reaches_the_client_that_still_sends(stage: &Stage) {
    let mut client = stage.connect().await;
    client.send(stage.request("POST /live/up", "content-length: 10000000\r\n") + &"x".repeat(50_000)).await;
    let (mut upstream, _) = stage.live.request().await;
    upstream.send("HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\n\r\ntoo much").await;
    let (head, body) = client.answer().await;
    assert_eq!((status(&head), body.as_str()), (413, "too much"));
}

async fn an_answer_that_breaks_off_is_visibly_broken(stage: &Stage) {
    for (framing, part) in
        [("content-length: 100", "hello"), ("transfer-encoding: chunked", "5\r\nhello\r\n")]
    {
        let mut client = stage.connect().await;
        client.send(stage.request("GET /live/x", "")).await;
        let (mut upstream, _) = stage.live.request().await;
        upstream.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}")).await;
        client.until("hello").await;
        drop(upstream);
        if let End::Closed(rest) = client.end().await {
            assert_eq!(find(&rest, b"0\r\n\r\n"), None, "{framing}: the answer must not look whole");
        }
    }
}

async fn each_failure_has_its_status(stage: &Stage) {
    assert_eq!(status(&stage.send("GET /dead/x", "").await.0), 502, "unreachable");

    let accept = "accept: text/html\r\n";
    let (waited, _silent) = tokio::join!(stage.send("GET /slow/x", accept), stage.slow.request());
    assert_eq!(status(&waited.0), 504);
    assert!(waited.1.contains("<h1"), "a page for a person: {}", waited.1);

    for answer in [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ] {
        let upstream = async {
            let (mut upstream, _) = stage.live.request().await;
            upstream.send(answer).await;
        };
        let (failed, ()) = tokio::join!(stage.send("GET /live/x", ""), upstream);
        assert_eq!(status(&failed.0), 502, "{answer:?}");
        assert_eq!(field(&failed.0, "content-type"), Some("application/problem+json"), "{answer:?}");
    }

    let (failed, _) = tokio::join!(stage.send("GET /live/x", ""), async { drop(stage.live.accept().await) });
    assert_eq!(status(&failed.0), 502, "closed before a byte was read");

    for more in ["", "upgrade: websocket\r\n", "connection: upgrade\r\nupgrade: other\r\n"] {
        let switch = async {
            let (mut upstream, head) = stage.live.request().await;
            assert_eq!(field(&head, "upgrade"), None, "{head}");
            upstream
                .send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
                .await;
            upstream.end().await
        };
        let (failed, ended) = tokio::join!(stage.send("GET /live/x", more), switch);
        assert_eq!(status(&failed.0), 502, "{more}");
        assert_eq!(ended, End::Closed(Vec::new()), "not a byte after it");
    }
}

async fn a_kept_connection_that_was_closed_harms_nobody(stage: &Stage) {
    let mut client = stage.connect().await;
    for line in ["GET /live/x", "POST /live/x", "GET /live/x", "POST /live/x", "PUT /live/x"] {
        let more = if line.starts_with("GET") { "" } else { "content-length: 3\r\n" };
        let body = if more.is_empty() { "" } else { "abc" };
        client.send(stage.request(line, more) + body).await;
        let (mut upstream, _) = stage.live.request().await;
        assert_eq!(upstream.exactly(body.len()).await, body.as_bytes());
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(client.answer().await.1, "ok");
        drop(upstream);
    }
}

async fn a_client_that_goes_away_takes_its_request_along(stage: &Stage) {
    let mut client = stage.connect().await;
    client.send(stage.request("GET /live/x", "")).await;
    let (mut upstream, _) = stage.live.request().await;
    drop(client);
    upstream.end().await;

    let mut client = stage.connect().await;
    client.send(stage.request("GET /live/x", "")).await;
    let (mut upstream, _) = stage.live.request().await;
    upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    client.until("first").await;
    drop(client);
    upstream.end().await;

    let mut client = stage.connect().await;
    client.send(stage.request("POST /live/x", "content-length: 100\r\n") + "first").await;
    let (mut upstream, _) = stage.live.request().await;
    upstream.until("first").await;
    drop(client);
    upstream.end().await;
}

async fn the_gateway_stops_gracefully(stage: &mut Stage) {
    let mut idle = stage.connect().await;
    idle.send(stage.request("GET /x", "")).await;
    idle.answer().await;
    let untouched = stage.connect().await;
    let mut client = stage.connect().await;
    client.send(stage.request("GET /live/x", "")).await;
    let (mut upstream, _) = stage.live.request().await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").await;
    client.until("first").await;

    stage.scene.gateway.terminate();
    let address = stage.scene.gateway.address;
    eventually("new connections are refused", async || TcpStream::connect(address).await.is_err()).await;
    assert_eq!(idle.end().await, End::Closed(Vec::new()));
    let mut untouched = untouched;
    untouched.end().await;

    upstream.send(" last").await;
    client.until(" last").await;
    assert_eq!(client.end().await, End::Closed(Vec::new()));
    assert_eq!(stage.scene.gateway.wait().code(), Some(0));
    let log = stage.scene.gateway.log();
    assert!(!log.contains("panicked"), "{log}");
}
