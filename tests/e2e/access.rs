//! Nobody gets in without a session of their own: every way around it that a peer of ours once left open, each with
//! the count of what reached the application.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::common::wire::{Wire, field, fields, status};
use crate::common::{ALICE, BOB, Scene};

/// One request on a connection of its own; head and body of the answer.
async fn send(scene: &Scene, request: impl AsRef<[u8]>) -> (String, String) {
    let mut wire = Wire::connect(scene.gateway.address).await;
    wire.send(request).await;
    wire.answer().await
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}\r\n")
}

#[tokio::test]
async fn nobody_gets_in_without_a_session() {
    let scene = Scene::start("").await;
    let rows = rows(&scene);
    each_stranger_gets_the_answer_they_can_use(&scene).await;
    lesson_3_4_no_field_of_a_request_grants_anything(&scene).await;
    lesson_25_an_unknown_host_is_refused(&scene, "").await;
    no_spelling_of_our_addresses_opens_the_application(&scene, "").await;
    assert_eq!(self::rows(&scene), rows);
    lesson_49_strangers_leave_no_trace(&scene).await;
    assert_eq!(scene.upstream.count(), 0, "{:?}", scene.upstream.requests());

    let token = lesson_5_a_planted_cookie_gains_nothing(&scene).await;
    lesson_26_only_our_own_token_opens(&scene, &token).await;
    let cookie = format!("cookie: vestibule={token}\r\n");
    lesson_25_an_unknown_host_is_refused(&scene, &cookie).await;
    no_spelling_of_our_addresses_opens_the_application(&scene, &cookie).await;
    lesson_14_ambiguous_paths_go_no_further(&scene, &cookie).await;
}

async fn each_stranger_gets_the_answer_they_can_use(scene: &Scene) {
    let html = "accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";
    for (line, more) in [
        ("GET /a?b=c", html.to_owned()),
        ("HEAD /a?b=c", html.to_owned()),
        ("GET /a?b=c", format!("{html}sec-fetch-mode: navigate\r\nsec-fetch-site: cross-site\r\n")),
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}\r\n");
        let (head, _) = send(scene, request).await;
        assert_eq!(status(&head), 303, "{head}");
        assert_eq!(field(&head, "location"), Some("/.vestibule/challenge?return_to=%2Fa%3Fb%3Dc"));
        assert_eq!(field(&head, "cache-control"), Some("no-store"));
        assert_eq!(field(&head, "set-cookie"), None);
    }

    let form = format!("POST /a HTTP/1.1\r\nhost: 127.0.0.1\r\n{html}content-length: 3\r\n\r\na=b");
    let (head, body) = send(scene, form).await;
    assert_eq!(status(&head), 401);
    assert_eq!(field(&head, "content-type"), Some("text/html; charset=utf-8"));
    assert!(body.replace("&#x2f;", "/").contains("href=\"/.vestibule/challenge"), "{body}");

    let programs = [
        ("GET", "accept: */*\r\n"),
        ("GET", "accept: application/json\r\n"),
        ("GET", ""),
        ("GET", "accept: text/html\r\nx-requested-with: XMLHttpRequest\r\n"),
        ("GET", "accept: text/html\r\nsec-fetch-mode: cors\r\n"),
        ("POST", "content-length: 0\r\n"),
        ("DELETE", ""),
        ("OPTIONS", "origin: https://evil.test\r\naccess-control-request-method: GET\r\n"),
        ("PROPFIND", ""),
        (
            "GET",
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        ),
    ];
    for (method, more) in programs {
        let (head, body) =
            send(scene, format!("{method} /a HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}\r\n")).await;
        assert_eq!(status(&head), 401, "{method} {more}");
        assert_eq!(field(&head, "content-type"), Some("application/problem+json"), "{method} {more}");
        assert!(field(&head, "www-authenticate").is_some());
        let document: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(document["challenge_url"], "http://127.0.0.1/.vestibule/challenge");
        assert_eq!(document["error"], "session_required");
        assert_eq!(document["status"], 401);
    }
}

async fn lesson_3_4_no_field_of_a_request_grants_anything(scene: &Scene) {
    let fields = [
        "x-forwarded-user: alice",
        "x_forwarded_user: alice",
        "remote-user: alice",
        "connection: x-forwarded-user\r\nx-forwarded-user: alice",
        "connection: cookie, authorization\r\ncookie: vestibule=x",
        "x-forwarded-uri: /.vestibule/challenge",
        "x-original-url: /.vestibule/challenge",
        "x-rewrite-url: /.vestibule/challenge",
        "x-forwarded-prefix: /.vestibule",
        "x-forwarded-for: 127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "forwarded: for=127.0.0.1;host=127.0.0.1;proto=https",
        "x-http-method-override: OPTIONS",
        "user-agent: GoogleHC/1.0",
        "user-agent: ELB-HealthChecker/2.0",
        "user-agent: kube-probe/1.30",
        "authorization: Basic YWxpY2U6YWxpY2U=",
        "authorization: Bearer eyJhbGciOiJub25lIn0.e30.",
        "proxy-authorization: Basic YWxpY2U6YWxpY2U=",
        "purpose: prefetch",
        "x-middleware-subrequest: middleware",
    ];
    for field in fields {
        assert_eq!(status(&send(scene, get("/", &format!("{field}\r\n"))).await.0), 401, "{field}");
    }
    let paths = [
        "/ping",
        "/health",
        "/health/live",
        "/metrics",
        "/favicon.ico",
        "/robots.txt",
        "/.well-known/acme-challenge/x",
        "/oauth2/ping",
        "/?/.vestibule/challenge",
        "/private?x=/.vestibule/assets/",
        "/secret%23/.vestibule/challenge",
        "/secret%3F/.vestibule/challenge",
        "/a//b",
    ];
    for path in paths {
        assert_eq!(status(&send(scene, get(path, "")).await.0), 401, "{path}");
    }
}

async fn lesson_25_an_unknown_host_is_refused(scene: &Scene, cookie: &str) {
    let before = scene.upstream.count();
    for host in
        ["evil.test", "127.0.0.1.evil.test", "localhost", "127.0.0.2", "[::1]", "x.127.0.0.1", "127.1"]
    {
        for path in ["/", "/.vestibule/challenge"] {
            let (head, _) = send(scene, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{cookie}\r\n")).await;
            assert_eq!(status(&head), 421, "{host}{path}");
            assert_eq!(field(&head, "location"), None);
        }
    }
    for host in [
        "127.0.0.1@evil.test",
        "evil.test@127.0.0.1",
        "127.0.0.1/",
        "127.0.0.1:x",
        "127.0.0.1, evil.test",
        "",
    ] {
        let (head, _) = send(scene, format!("GET / HTTP/1.1\r\nhost: {host}\r\n{cookie}\r\n")).await;
        assert_eq!(status(&head), 400, "{host}");
    }
    assert_eq!(scene.upstream.count(), before);
}

/// Whatever is below our path is ours for everybody, and what only looks like it is not.
async fn no_spelling_of_our_addresses_opens_the_application(scene: &Scene, cookie: &str) {
    let before = scene.upstream.count();
    for (path, expected) in [
        ("/.vestibule", 404),
        ("/.vestibule/", 404),
        ("/.vestibule/nothing", 404),
        ("/.vestibule//challenge", 404),
        ("/.vestibule/challenge/", 404),
        ("/.vestibule/Challenge", 404),
        ("/.vestibule/assets/", 404),
        ("/.vestibule/assets/nothing.css", 404),
        ("/.vestibule/../", 400),
        ("/.vestibule/..;/", 400),
        ("/.vestibule/%2e%2e/", 400),
        ("/.vestibule/assets/%2E./%2e%2e/x", 400),
        ("/.vestibule/assets/..%5c..%5cx", 400),
        ("/./.vestibule/challenge", 400),
        ("/x/../.vestibule/challenge", 400),
        ("/.vestibule/challenge%00", 400),
    ] {
        assert_eq!(status(&send(scene, get(path, cookie)).await.0), expected, "{path}");
    }
    assert_eq!(scene.upstream.count(), before);

    for path in [
        "/.vestibules",
        "/.Vestibule/challenge",
        "//.vestibule/challenge",
        "/%2evestibule/challenge",
        "/.vestibule%2fchallenge",
        "/.vestibule;/challenge",
    ] {
        let expected = if cookie.is_empty() { 401 } else { 200 };
        assert_eq!(status(&send(scene, get(path, cookie)).await.0), expected, "{path}");
        if !cookie.is_empty() {
            let line = format!("GET {path} HTTP/1.1\r\n");
            assert!(scene.upstream.last().starts_with(&line), "sent as it was decided on: {path}");
        }
    }
}

async fn lesson_14_ambiguous_paths_go_no_further(scene: &Scene, cookie: &str) {
    let before = scene.upstream.count();
    for path in
        ["/..", "/a/../b", "/a/./b", "/a/%2e%2e/b", "/a/.%2E/b", "/a/..;x=1/b", "/a%5cb", "/a\\b", "/a%00"]
    {
        for cookie in ["", cookie] {
            assert_eq!(status(&send(scene, get(path, cookie)).await.0), 400, "{path}");
        }
    }
    assert_eq!(scene.upstream.count(), before);
}

/// The rows of each table.
fn rows(scene: &Scene) -> Vec<(String, i64)> {
    let store = rusqlite::Connection::open(scene.house.path("state/vestibule.db")).unwrap();
    let mut tables =
        store.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let count =
        |name: &String| store.query_row(&format!("SELECT count(*) FROM \"{name}\""), [], |row| row.get(0));
    names.iter().map(|name| (name.clone(), count(name).unwrap())).collect()
}

async fn lesson_49_strangers_leave_no_trace(scene: &Scene) {
    let before = rows(scene);
    assert!(before.iter().any(|(name, count)| name == "user" && *count == 2), "{before:?}");
    let mut wire = Wire::connect(scene.gateway.address).await;
    for number in 0..50 {
        for request in [
            get(&format!("/page/{number}"), "accept: text/html\r\n"),
            get(&format!("/api/{number}"), &format!("cookie: vestibule=x{number}\r\n")),
            get("/.vestibule/challenge?return_to=/x", &format!("cookie: vestibule-challenge=x{number}\r\n")),
            get(&format!("/.vestibule/{number}"), ""),
        ] {
            wire.send(request).await;
            let (head, _) = wire.answer().await;
            assert_eq!(field(&head, "set-cookie"), None, "{head}");
        }
    }
    assert_eq!(rows(scene), before);
    assert!(scene.simulator.messages().await.is_empty());
}

/// Bob plants his own cookie, and one he made up, in alice's browser; then she signs in. Gives her token.
async fn lesson_5_a_planted_cookie_gains_nothing(scene: &Scene) -> String {
    let bob = scene.signed_in(BOB).await;
    let planted = bob.cookie("vestibule").unwrap();
    let alice = scene.browser();
    alice.set_cookie("vestibule", &planted);
    alice.sign_in(&scene.simulator, ALICE).await;
    let token = alice.cookie("vestibule").unwrap();
    assert_ne!(claim(&token, "sid"), claim(&planted, "sid"));
    assert_eq!(alice.fetch("/").await.status, 200);
    assert_eq!(fields(&scene.upstream.last(), "x-forwarded-user"), ["alice"]);
    assert_eq!(bob.fetch("/").await.status, 200);
    assert_eq!(
        fields(&scene.upstream.last(), "x-forwarded-user"),
        ["bob"],
        "what bob holds is bob's for ever"
    );

    // Signing in again is a new session too.
    let again = alice.stolen();
    again.sign_in(&scene.simulator, ALICE).await;
    assert_ne!(claim(&again.cookie("vestibule").unwrap(), "sid"), claim(&token, "sid"));
    token
}

fn claim(token: &str, name: &str) -> Value {
    part(token, 1)[name].clone()
}

fn part(token: &str, place: usize) -> Value {
    let part = token.split('.').nth(place).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn lesson_26_only_our_own_token_opens(scene: &Scene, token: &str) {
    let started = scene.browser();
    started.start(BOB).await;
    let challenge = started.cookie("vestibule-challenge").unwrap();
    let before = scene.upstream.count();
    let parts: Vec<&str> = token.split('.').collect();
    let (head, claims) = (part(token, 0), part(token, 1));
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let with = |value: &Value, name: &str, new: Value| {
        let mut value = value.clone();
        value[name] = new;
        encode(&value)
    };
    let signed = |algorithm: Algorithm, kid: Option<&str>, key: &[u8]| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(key)).unwrap()
    };
    let kid = head["kid"].as_str().unwrap();
    let tokens = [
        String::new(),
        "garbage".to_owned(),
        "..".to_owned(),
        challenge.clone(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], with(&claims, "sub", json!("bob")), parts[2]),
        format!("{}.{}.{}", parts[0], with(&claims, "exp", json!(9_999_999_999_i64)), parts[2]),
        format!("{}.{}.", with(&head, "alg", json!("none")), parts[1]),
        format!("{}.{}.{}", with(&head, "alg", json!("None")), parts[1], parts[2]),
        format!("{}.{}.{}", with(&head, "alg", json!("HS512")), parts[1], parts[2]),
        format!("{}.{}.{}", with(&head, "jku", json!("https://evil.test/")), parts[1], parts[2]),
        signed(Algorithm::HS256, Some(kid), &[7; 32]),
        signed(Algorithm::HS256, Some(kid), &[]),
        signed(Algorithm::HS512, Some(kid), &[7; 32]),
        signed(Algorithm::HS256, Some("another-installation"), &[7; 32]),
        signed(Algorithm::HS256, None, &[7; 32]),
        format!("{token}x"),
        format!("{token}."),
        format!("\"{token}\""),
        format!(" {token} x"),
        token.to_ascii_lowercase(),
        "x".repeat(20_000),
    ];
    for wrong in &tokens {
        refused(scene, &format!("cookie: vestibule={wrong}\r\n")).await;
    }
    for fields in [
        format!("cookie: vestibule={token}; vestibule={token}\r\n"),
        format!("cookie: vestibule=x; vestibule={token}\r\n"),
        format!("cookie: vestibule={token}\r\ncookie: vestibule=\r\n"),
        format!("cookie: vestibule-challenge={token}\r\n"),
        format!("cookie: vestibule-challenge={challenge}; vestibule={challenge}\r\n"),
        format!("cookie: __Host-vestibule={token}\r\n"),
        format!("cookie: Vestibule={token}\r\n"),
        format!("cookie: vestibule ={token}\r\n"),
        format!("cookie: x=vestibule={token}\r\n"),
        format!("cookie: x=\"; vestibule=\"{token}\r\n"),
        format!("cookie2: vestibule={token}\r\n"),
        format!("authorization: Bearer {token}\r\n"),
        format!("vestibule: {token}\r\n"),
    ] {
        refused(scene, &fields).await;
    }
    let (head, _) = send(scene, get(&format!("/?vestibule={token}&access_token={token}"), "")).await;
    assert_eq!(status(&head), 401);
    let mut bytes = get("/", "cookie: vestibule=@@\r\n").into_bytes();
    bytes.iter_mut().filter(|byte| **byte == b'@').for_each(|byte| *byte = 0xff);
    assert_eq!(status(&send(scene, bytes).await.0), 401);
    assert_eq!(scene.upstream.count(), before);

    // The right one beside others, however they are spaced.
    for cookie in [format!("a=b; vestibule={token}; c"), format!("a=b;vestibule={token} ;")] {
        assert_eq!(status(&send(scene, get("/", &format!("cookie: {cookie}\r\n"))).await.0), 200);
    }
}

async fn refused(scene: &Scene, fields: &str) {
    let (head, _) = send(scene, get("/", fields)).await;
    assert_eq!(status(&head), 401, "{fields}");
    let (head, _) = send(scene, get("/", &format!("{fields}accept: text/html\r\n"))).await;
    assert_eq!(status(&head), 303, "{fields}");
}
