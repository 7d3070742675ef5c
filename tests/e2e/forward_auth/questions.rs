//! The questions of each proxy as raw bytes, and everything that only looks like one.

use tokio::net::UnixStream;

use super::Asked;
use crate::common::wire::{Wire, field, fields, status};
use crate::common::{ALICE, Browser, Gateway, House, Scene, eventually, vestibule};

/// The proxy, as far as the gateway knows.
const PEER: &str = "127.0.0.5";

const HTML: (&str, &str) = ("accept", "text/html,*/*;q=0.8");

type Field<'f> = (&'f str, &'f str);

/// What Traefik and Caddy send, and nginx as documented, for a GET.
fn described<'f>(uri: &'f str) -> Vec<Field<'f>> {
    vec![
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Host", "127.0.0.1"),
        ("X-Forwarded-Uri", uri),
        ("X-Forwarded-For", "198.51.100.7"),
    ]
}

fn request(line: &str, host: &str, fields: &[Field<'_>]) -> Vec<u8> {
    let mut request = format!("{line} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    for (name, value) in fields {
        // Values are written byte for byte as Latin-1, so that a test can send any byte.
        request.extend(format!("{name}: ").bytes());
        request.extend(value.chars().map(|c| u8::try_from(u32::from(c)).unwrap()));
        request.extend(b"\r\n");
    }
    request.extend(b"\r\n");
    request
}

async fn answer(asked: &Asked, from: &str, request: Vec<u8>) -> (String, String) {
    let mut wire = Wire::from(from, asked.gateway.address).await;
    wire.send(request).await;
    wire.answer().await
}

impl Asked {
    /// What a proxy is told that describes the request in fields.
    async fn ask(&self, fields: &[Field<'_>]) -> (String, String) {
        answer(self, PEER, request("GET /.vestibule/auth", "gateway.internal:8081", fields)).await
    }

    async fn status(&self, fields: &[Field<'_>]) -> u16 {
        status(&self.ask(fields).await.0)
    }

    /// What Envoy is told.
    async fn envoy(&self, line: &str, host: &str, fields: &[Field<'_>]) -> (String, String) {
        let usual = [("content-length", "0"), ("x-forwarded-for", "198.51.100.7,127.0.0.5")];
        answer(self, PEER, request(line, host, &[&usual[..], fields].concat())).await
    }

    /// Alice's cookie field.
    async fn alice(&self) -> String {
        let browser = Browser::new(self.gateway.address);
        browser.sign_in(&self.simulator, ALICE).await;
        format!("vestibule={}", browser.cookie("vestibule").unwrap())
    }
}

/// A yes, and to whom.
#[track_caller]
fn assert_yes(head: &str, user: &str, cookies: &str) {
    assert_eq!(status(head), 200, "{head}");
    assert_eq!(fields(head, "x-forwarded-user"), [user], "lesson 19: there once, empty for nobody: {head}");
    assert_eq!(fields(head, "remote-user"), [user], "{head}");
    assert_eq!(fields(head, "cookie"), [cookies], "{head}");
    assert_eq!(field(head, "cache-control"), Some("no-store"));
    assert_eq!(field(head, "set-cookie"), None);
}

#[tokio::test]
async fn traefik_is_answered_in_its_way() {
    let asked = Asked::start("traefik", "[\"127.0.0.5\"]").await;
    let cookie = asked.alice().await;
    // As its source writes them, with the client's own fields copied beside.
    let shaped = |uri: &'static str, more: &[Field<'static>]| {
        let traefik =
            [("User-Agent", "Mozilla/5.0"), ("X-Forwarded-Proto", "http"), ("Accept-Encoding", "gzip")];
        [&described(uri)[..], &traefik, more].concat()
    };
    let (head, _) = asked.ask(&shaped("/a%20b?x=1&y=%2F", &[HTML])).await;
    assert_eq!(status(&head), 303, "{head}");
    let whole = "http://127.0.0.1/.vestibule/challenge?return_to=%2Fa%2520b%3Fx%3D1%26y%3D%252F";
    assert_eq!(field(&head, "location"), Some(whole), "it would resolve a path against our own address");
    assert_eq!(field(&head, "x-forwarded-user"), None);

    let (head, body) = asked.ask(&shaped("/x", &[])).await;
    assert_eq!((status(&head), field(&head, "content-type")), (401, Some("application/problem+json")));
    assert!(body.contains("\"challenge_url\":\"http://127.0.0.1/.vestibule/challenge\""), "{body}");

    let cookies = format!("a=b; {cookie}; c=d");
    let (head, _) = asked.ask(&[&described("/x")[..], &[("Cookie", &cookies)]].concat()).await;
    assert_yes(&head, "alice", "a=b; c=d");
    let (head, _) = asked.ask(&[&described("/x")[..], &[("Cookie", &cookie)]].concat()).await;
    assert_yes(&head, "alice", "");
    let (head, _) = asked.ask(&shaped("/public?x", &[("Cookie", "a=b")])).await;
    assert_yes(&head, "", "a=b");
    let (head, _) = asked.ask(&shaped("/public", &[])).await;
    assert_yes(&head, "", "");

    // The method is the field's, not the question's.
    let post = |method: &'static str| {
        let mut fields = described("/hook");
        fields[0].1 = method;
        fields
    };
    assert_yes(&asked.ask(&post("POST")).await.0, "", "");
    assert_eq!(asked.status(&post("GET")).await, 401);
    for method in ["HEAD", "DELETE", "PROPFIND"] {
        let question = request(&format!("{method} /.vestibule/auth"), "x", &post("GET"));
        let mut wire = Wire::from(PEER, asked.gateway.address).await;
        wire.send(question).await;
        assert_eq!(status(&wire.head().await), 401, "{method}");
    }
    let form = [&post("POST")[1..], &[("X-Forwarded-Method", "PUT"), HTML]].concat();
    let (head, body) = asked.ask(&form).await;
    assert_eq!((status(&head), field(&head, "content-type")), (401, Some("text/html; charset=utf-8")));
    assert!(body.contains(".vestibule"), "{body}");

    for (host, uri, expected) in [
        ("127.0.0.1", "/blocked", 403),
        ("127.0.0.1", "/.vestibule/challenge", 404),
        ("127.0.0.1", "/.vestibule/auth", 404),
        ("evil.test", "/public", 421),
        ("gateway.internal:8081", "/public", 421),
        ("127.0.0.1:8443", "/public", 200),
        ("OTHER.test.", "/", 401),
    ] {
        let mut fields = described(uri);
        fields[1].1 = host;
        assert_eq!(asked.status(&fields).await, expected, "{host}{uri}");
    }
    assert_eq!(asked.upstream.count(), 0);
}

#[tokio::test]
async fn nginx_is_told_nothing_but_200_401_and_403() {
    let asked = Asked::start("nginx", "[\"127.0.0.5\"]").await;
    for (uri, more, expected) in [
        ("/x", &[HTML][..], 401),
        ("/x", &[], 401),
        ("/public", &[], 200),
        ("/blocked", &[], 403),
        ("/a/../b", &[], 403),
        ("/.vestibule/challenge", &[], 403),
        ("/public", &[("X-Forwarded-User", "bob")], 403),
        ("/public", &[("X-Forwarded-Uri", "/public")], 403),
        ("x", &[], 403),
    ] {
        let (head, _) = asked.ask(&[&described(uri)[..], more].concat()).await;
        assert_eq!(status(&head), expected, "{uri} {more:?}");
        assert_eq!(field(&head, "www-authenticate").is_some(), expected == 401);
        let location = (more == [HTML]).then_some("http://127.0.0.1/.vestibule/challenge?return_to=%2Fx");
        assert_eq!(field(&head, "location"), location);
    }
    let mut elsewhere = described("/public");
    elsewhere[1].1 = "evil.test";
    assert_eq!(asked.status(&elsewhere).await, 403);
}

#[tokio::test]
async fn envoy_is_answered_in_its_way() {
    let asked = Asked::start("envoy", "[\"127.0.0.5\"]").await;
    let cookie = asked.alice().await;
    let host = "127.0.0.1";
    let (head, _) = asked.envoy("GET /.vestibule/auth/a%20b?x=1", host, &[HTML]).await;
    assert_eq!(status(&head), 303, "{head}");
    let whole = "http://127.0.0.1/.vestibule/challenge?return_to=%2Fa%2520b%3Fx%3D1";
    assert_eq!(field(&head, "location"), Some(whole));
    let (head, _) =
        asked.envoy("GET /.vestibule/auth/x", host, &[("cookie", &format!("a=b; {cookie}"))]).await;
    assert_yes(&head, "alice", "a=b");
    assert_yes(&asked.envoy("GET /.vestibule/auth/public?x", host, &[]).await.0, "", "");
    assert_yes(&asked.envoy("POST /.vestibule/auth/hook", host, &[]).await.0, "", "");

    // What describes a request to other proxies says nothing here.
    let foreign = [
        ("x-forwarded-uri", "/public"),
        ("x-forwarded-method", "POST"),
        ("x-forwarded-host", "other.test"),
        ("x-original-uri", "/public"),
    ];
    for (line, host, expected) in [
        ("GET /.vestibule/auth/x", host, 401),
        ("GET /.vestibule/auth/hook", host, 401),
        ("GET /.vestibule/auth/blocked", host, 403),
        ("GET /.vestibule/auth/%62locked", host, 403),
        ("GET /.vestibule/auth//blocked", host, 400),
        ("GET /.vestibule/auth/public/../x", host, 400),
        ("GET /.vestibule/auth/../x", host, 400),
        ("GET /.vestibule/auth/.vestibule/challenge", host, 404),
        ("GET /.vestibule/auth", host, 400),
        ("GET /.vestibule/auth?/public", host, 400),
        ("GET /.vestibule/auth/public", "evil.test", 421),
        ("GET /.vestibule/auth/public", "", 400),
        ("GET /.vestibule/auth/public", "127.0.0.1, other.test", 400),
        ("TRACE /.vestibule/auth/public", host, 405),
    ] {
        let (head, _) = asked.envoy(line, host, &foreign).await;
        assert_eq!(status(&head), expected, "{line} {host}");
        assert_eq!(field(&head, "x-forwarded-user"), None, "{line}");
    }
    assert_eq!(status(&asked.envoy("GET /.vestibule/authors", host, &[]).await.0), 404);
    let (head, _) = asked.envoy("GET /.vestibule/auth/public", host, &[("x-forwarded-user", "bob")]).await;
    assert_eq!(status(&head), 400, "lesson 19");
    let twice = [("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "198.51.100.7")];
    for fields in [&[][..], &twice, &[("x-forwarded-for", "a")]] {
        let (head, _) = answer(&asked, PEER, request("GET /.vestibule/auth/public", host, fields)).await;
        assert_eq!(status(&head), 400, "lesson 27: {fields:?}");
    }
    assert_eq!(asked.upstream.count(), 0);
}

/// All of them ask about what everybody may see, with a good session, so that nothing but the fault denies.
#[tokio::test]
async fn lesson_25_26_27_a_question_that_is_not_clear_is_denied() {
    for dialect in ["caddy", "traefik", "nginx"] {
        let asked = Asked::start(dialect, "[\"127.0.0.5\"]").await;
        let denied = if dialect == "nginx" { 403 } else { 400 };
        let cookie = asked.alice().await;
        let good = [&described("/public")[..], &[("Cookie", &*cookie)]].concat();
        assert_yes(&asked.ask(&good).await.0, "alice", "");
        for place in 0..4 {
            let (name, value) = good[place];
            let without: Vec<_> = good.iter().filter(|(known, _)| *known != name).copied().collect();
            assert_eq!(asked.status(&without).await, denied, "{name} is not there");
            for (first, second) in [(value, value), (value, "x"), ("x", value), (value, "")] {
                let twice = [&without[..], &[(name, first), (name, second)]].concat();
                assert_eq!(asked.status(&twice).await, denied, "{name} twice: {first:?} {second:?}");
            }
            let spelled = name.replace('-', "_");
            for more in
                [(&*spelled, value), (&*name.replacen('-', "_", 1), value), (&*name.replace('-', "."), "")]
            {
                assert_eq!(
                    asked.status(&[&good[..], &[more]].concat()).await,
                    denied,
                    "lesson 12: {}",
                    more.0
                );
                assert_eq!(
                    asked.status(&[&without[..], &[more]].concat()).await,
                    denied,
                    "lesson 12: {}",
                    more.0
                );
            }
        }
        let wrong: [(usize, &[&str]); 4] = [
            (0, &["", "G ET", "GET,POST", "GET\u{e9}", "(", "CONNECT", "TRACE"]),
            (
                1,
                &[
                    "",
                    "127.0.0.1, 127.0.0.1",
                    "127.0.0.1@evil.test",
                    "127.0.0.1/x",
                    "a b",
                    "\u{ff}",
                    "127.0.0.1:x",
                ],
            ),
            (
                2,
                &[
                    "",
                    "public",
                    "*",
                    "?x",
                    "http://127.0.0.1/public",
                    "/public#x",
                    "/public x",
                    "/public, /public",
                    "/public/../x",
                    "/public%00",
                    "/public\\x",
                    "/public/%2e%2e/x",
                    "\t",
                ],
            ),
            (
                3,
                &[
                    "",
                    "a",
                    "unknown",
                    "198.51.100.7, a",
                    "198.51.100.7,",
                    "\u{ff}",
                    "198.51.100.7 x",
                    "127.1",
                ],
            ),
        ];
        for (place, values) in wrong {
            for value in values {
                let mut fields = good.clone();
                fields[place].1 = value;
                let status = asked.status(&fields).await;
                assert!((400..=421).contains(&status), "{} {value:?} gave {status}", fields[place].0);
            }
        }
        for value in
            ["x", "vestibule", "=", "vestibule=\u{ff}\u{fe}", "vestibule=a; vestibule=b", ";;;", "\u{e9}"]
        {
            let fields = [&described("/x")[..], &[("Cookie", value)]].concat();
            assert_eq!(asked.status(&fields).await, 401, "lesson 26: {value:?}");
        }
        assert_eq!(asked.upstream.count(), 0);
    }
}

#[tokio::test]
async fn lesson_3_28_only_listed_peers_are_answered() {
    let asked = Asked::start("caddy", "[\"127.0.0.5\", \"10.0.0.0/8\"]").await;
    let cookie = asked.alice().await;
    let question = |uri| {
        request("GET /.vestibule/auth", "127.0.0.1", &[&described(uri)[..], &[("Cookie", &cookie)]].concat())
    };
    for stranger in ["127.0.0.1", "127.0.0.4", "127.0.0.6"] {
        for uri in ["/public", "/x"] {
            let (head, _) = answer(&asked, stranger, question(uri)).await;
            assert_eq!(status(&head), 404, "{stranger}");
            assert_eq!(field(&head, "x-forwarded-user"), None);
            assert_eq!(field(&head, "cookie"), None);
        }
        let nowhere = request("GET /.vestibule/nothing", "127.0.0.1", &[("Cookie", &cookie)]);
        let unknown = answer(&asked, stranger, nowhere).await.1;
        assert_eq!(answer(&asked, stranger, question("/public")).await.1, unknown, "as any unknown page");
    }
    assert_yes(&answer(&asked, PEER, question("/x")).await.0, "alice", "");

    // A proxy on the Unix socket is not listed here; one that is listed is not asked who else may.
    let on_socket = async |asked: &Asked| {
        let stream = UnixStream::connect(asked.house.path("socket")).await.unwrap();
        let mut wire = Wire::new(stream);
        wire.send(request("GET /.vestibule/auth", "127.0.0.1", &described("/public"))).await;
        status(&wire.answer().await.0)
    };
    assert_eq!(on_socket(&asked).await, 404);
    let asked = Asked::start("caddy", "[\"unix\"]").await;
    assert_eq!(on_socket(&asked).await, 200);
    assert_eq!(asked.status(&described("/public")).await, 421, "not a page of ours, for a host that is not");
}

#[tokio::test]
async fn off_unless_configured() {
    let scene = Scene::with("", "trusted_proxies = [\"127.0.0.1\"]", &[]).await;
    let alice = scene.signed_in(ALICE).await;
    let cookie = format!("vestibule={}", alice.cookie("vestibule").unwrap());
    let fields = [&described("/")[..], &[("Cookie", &*cookie)]].concat();
    for line in ["GET /.vestibule/auth", "GET /.vestibule/auth/"] {
        let mut wire = Wire::connect(scene.gateway.address).await;
        wire.send(request(line, "127.0.0.1", &fields)).await;
        let (head, _) = wire.answer().await;
        assert_eq!(status(&head), 404, "{head}");
        assert_eq!(field(&head, "x-forwarded-user"), None);
    }
    assert_eq!(scene.upstream.count(), 0);
}

#[tokio::test]
async fn lesson_16_nobody_can_be_told_to_trust_everybody() {
    let asked = Asked::start("caddy", "[\"127.0.0.5\"]").await;
    let text = std::fs::read_to_string(&asked.house.config).unwrap();
    let file = asked.house.path("other.toml");
    for (from, to, said) in [
        ("peers = [\"127.0.0.5\"]", "peers = [\"0.0.0.0/0\"]", "forward_auth.peers"),
        ("peers = [\"127.0.0.5\"]", "peers = [\"unix\", \"::/0\"]", "forward_auth.peers"),
        ("peers = [\"127.0.0.5\"]", "peers = [\"0.0.0.0/1\", \"128.0.0.0/1\"]", "forward_auth.peers"),
        ("peers = [\"127.0.0.5\"]\n", "", "forward_auth.peers"),
        ("workers = 1", "workers = 1\ntrusted_proxies = [\"0.0.0.0/0\"]", "server.trusted_proxies"),
        ("workers = 1", "workers = 1\ntrusted_proxies = [\"64.0.0.0/2\"]", "server.trusted_proxies"),
        ("dialect = \"caddy\"", "dialect = \"any\"", "forward_auth.dialect"),
    ] {
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let output = vestibule(&["serve", "--config", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(78), "{to}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{to}: {output:?}");
    }
}

#[tokio::test]
async fn the_client_decides_by_its_address_and_no_other() {
    let asked = Asked::start("traefik", "[\"127.0.0.5\", \"10.0.0.0/8\"]").await;
    for (chain, expected) in [
        ("192.0.2.1", 200),
        ("6.6.6.6, 192.0.2.1", 200),
        ("garbage, 192.0.2.1, 10.0.0.2", 200),
        ("::ffff:192.0.2.1", 200),
        ("192.0.2.1, 6.6.6.6", 401),
        ("192.0.2.1, 6.6.6.6, 10.0.0.2", 401),
        ("192.0.2.1, garbage, 10.0.0.2", 400),
        ("10.0.0.2", 401),
    ] {
        let mut fields = described("/office");
        fields[3].1 = chain;
        assert_eq!(asked.status(&fields).await, expected, "{chain}");
    }
}

#[tokio::test]
async fn lesson_7_12_19_a_name_that_a_client_brings_is_refused() {
    let asked = Asked::start("caddy", "[\"127.0.0.5\"]").await;
    let cookie = asked.alice().await;
    for name in [
        "X-Forwarded-User",
        "x_forwarded_user",
        "X-Forwarded_User",
        "x.forwarded.user",
        "Remote-User",
        "REMOTE_USER",
    ] {
        for value in ["bob", "alice", ""] {
            for (uri, cookie) in [("/x", &*cookie), ("/public", "a=b")] {
                let fields = [&described(uri)[..], &[("Cookie", cookie), (name, value)]].concat();
                let (head, _) = asked.ask(&fields).await;
                assert_eq!(status(&head), 400, "{name}: {value}");
                assert_eq!(field(&head, "x-forwarded-user"), None);
            }
        }
    }
    for name in ["X-Remote-User", "X-Forwarded-Prefix", "Forwarded", "X-Original-URI", "X-Real-IP"] {
        let fields = [&described("/x")[..], &[("Cookie", &*cookie), (name, "/public")]].concat();
        assert_yes(&asked.ask(&fields).await.0, "alice", "");
        let fields = [&described("/x")[..], &[(name, "/public")]].concat();
        assert_eq!(asked.status(&fields).await, 401, "lesson 13: {name} is not looked at");
    }
}

#[tokio::test]
async fn a_websocket_of_another_site_is_refused_though_the_proxy_hides_the_upgrade() {
    let asked = Asked::start("traefik", "[\"127.0.0.5\"]").await;
    let cookie = asked.alice().await;
    for (origin, expected) in [("http://127.0.0.1", 200), ("http://evil.test", 403), ("null", 403)] {
        let socket = [("Cookie", &*cookie), ("Sec-WebSocket-Version", "13"), ("Origin", origin)];
        assert_eq!(asked.status(&[&described("/socket")[..], &socket].concat()).await, expected, "{origin}");
    }
    eventually("it is on the trail", async || {
        asked.house.details("request_denied") == ["from a page of another site: GET /socket"]
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_is_only_asked_sends_nothing_on() {
    let mut asked = Asked::start("caddy", "[\"127.0.0.5\"]").await;
    let cookie = asked.alice().await;
    for (path, cookie, expected) in [
        ("/", &*cookie, 404),
        ("/public", "a=b", 404),
        ("/x", "a=b", 401),
        ("/blocked", &*cookie, 403),
        ("/.vestibule/account", &*cookie, 200),
    ] {
        for from in ["127.0.0.1", PEER] {
            let direct = request(&format!("GET {path}"), "127.0.0.1", &[("Cookie", cookie)]);
            assert_eq!(status(&answer(&asked, from, direct).await.0), expected, "{path}");
        }
    }
    assert_eq!(asked.upstream.count(), 0);
    // Of a route that has an upstream proxies may ask, too.
    let direct = request("GET /", "other.test", &[("Cookie", &cookie)]);
    assert_eq!(status(&answer(&asked, "127.0.0.1", direct).await.0), 200);
    let mut fields = described("/");
    fields[1].1 = "other.test";
    let (head, _) = asked.ask(&[&fields[..], &[("Cookie", &*cookie)]].concat()).await;
    assert_eq!((status(&head), fields_of_user(&head)), (200, vec!["alice"]));
    assert_eq!(asked.upstream.count(), 1);

    let said = asked.house.run(&["explain", "/public/x"]);
    assert!(said.contains("pass: everybody may pass") && said.contains("upstream none"), "{said}");
    let said = asked.house.json(&["explain", "/x", "--user", "alice"]);
    assert_eq!(said["decision"], "pass", "{said}");
    asked.gateway.stop();
}

fn fields_of_user(head: &str) -> Vec<&str> {
    assert!(fields(head, "remote-user").is_empty(), "that route does not name it");
    fields(head, "x-forwarded-user")
}

#[tokio::test]
async fn questions_use_the_session_and_leave_no_trace_of_strangers() {
    let mut asked = Asked::start("caddy", "[\"127.0.0.5\"]").await;
    let cookie = asked.alice().await;
    let count = |house: &House| {
        house.told("SELECT (SELECT count(*) FROM session) || ' ' || (SELECT count(*) FROM challenge) || ' ' || (SELECT count(*) FROM audit)")
    };
    let before = count(&asked.house);
    for number in 0..50 {
        let stale = format!("vestibule=x{number}");
        let fields = [&described("/x")[..], &[("Cookie", &*stale), HTML]].concat();
        let (head, _) = asked.ask(&fields).await;
        assert_eq!((status(&head), field(&head, "set-cookie")), (303, None), "lesson 49");
    }
    assert_eq!(count(&asked.house), before);

    // Half an hour ago, as far as the store knows.
    asked.gateway.stop();
    asked.house.sql("UPDATE session SET last_seen_at = last_seen_at - 1800");
    let seen = "SELECT CAST(last_seen_at AS TEXT) FROM session";
    let before: i64 = asked.house.told(seen).parse().unwrap();
    asked.gateway = Gateway::start(&asked.house);
    let fields = [&described("/x")[..], &[("Cookie", &*cookie)]].concat();
    assert_yes(&asked.ask(&fields).await.0, "alice", "");
    asked.gateway.stop();
    let after: i64 = asked.house.told(seen).parse().unwrap();
    assert!(after >= before + 1_800, "it was used: {before} {after}");
}
