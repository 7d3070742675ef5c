//! Real proxies before the application, the gateway beside them.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpStream;

use super::Asked;
use crate::common::wire::{Wire, field, fields, status};
use crate::common::{ALICE, BOB, Browser, eventually};

const DOCUMENTATION: &str = include_str!("../../../docs/forward-auth.md");

/// Where clients come from; not an address of a peer.
const CLIENT: &str = "127.0.0.9";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nginx,
    Caddy,
}

/// A proxy that ends with the test, and everything behind it.
struct Stage {
    asked: Asked,
    kind: Kind,
    address: SocketAddr,
    process: Child,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first block of a language in the documentation.
fn documented(language: &str) -> String {
    let (_, block) = DOCUMENTATION.split_once(&format!("\n```{language}\n")).unwrap();
    block.split_once("\n```").unwrap().0.to_owned()
}

/// The documentation's configuration with another text in it, which must be there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in docs/forward-auth.md");
    text.replace(from, to)
}

fn configuration(kind: Kind, address: SocketAddr, asked: &Asked) -> String {
    let text = match kind {
        Kind::Nginx => {
            let text = replaced(&documented("nginx"), "listen 443 ssl;", &format!("listen {address};"));
            let tls = |line: &&str| !line.trim_start().starts_with("ssl_");
            let text: String = text.lines().filter(tls).map(|line| format!("{line}\n")).collect();
            // As the documentation says of another port.
            let host = format!("X-Forwarded-Host $host:{};", address.port());
            let text = replaced(&text, "X-Forwarded-Host $host;", &host);
            let text = replaced(&text, "server_name wiki.example.com", "server_name 127.0.0.1");
            let dir = asked.house.directory.path().display();
            format!(
                "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
                 http {{\naccess_log off;\nclient_body_temp_path {dir}/1;\nproxy_temp_path {dir}/2;\n\
                 fastcgi_temp_path {dir}/3;\nuwsgi_temp_path {dir}/4;\nscgi_temp_path {dir}/5;\n{text}}}\n"
            )
        }
        Kind::Caddy => {
            let text =
                replaced(&documented("caddyfile"), "wiki.example.com {", &format!("http://{address} {{"));
            format!("{{\n\tadmin off\n\tauto_https off\n}}\n{text}\n")
        }
    };
    let text = replaced(&text, "127.0.0.1:8081", &asked.gateway.address.to_string());
    replaced(&text, "127.0.0.1:8080", &asked.upstream.address.to_string())
}

impl Stage {
    async fn start(kind: Kind) -> Self {
        let dialect = if kind == Kind::Nginx { "nginx" } else { "caddy" };
        Self::behind(Asked::start(dialect, "[\"127.0.0.1\"]").await, kind).await
    }

    async fn behind(asked: Asked, kind: Kind) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = asked.house.path("proxy.conf");
        std::fs::write(&file, configuration(kind, address, &asked)).unwrap();
        let dir = asked.house.directory.path();
        let mut command = match kind {
            Kind::Nginx => {
                let mut command = Command::new("/usr/sbin/nginx");
                command.arg("-p").arg(dir).arg("-e").arg("stderr").arg("-c").arg(&file);
                command
            }
            Kind::Caddy => {
                let mut command = Command::new("/usr/bin/caddy");
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
                command
            }
        };
        let process = command
            .env("HOME", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(asked.house.path("proxy.log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{kind:?}: {error}; tests/run installs it from Debian's package"));
        let stage = Self { asked, kind, address, process };
        eventually("the proxy listens", async || {
            let log = std::fs::read_to_string(stage.asked.house.path("proxy.log")).unwrap();
            assert!(!log.contains("[emerg]") && !log.contains("Error:"), "{log}");
            TcpStream::connect(address).await.is_ok()
        })
        .await;
        stage
    }

    fn browser(&self) -> Browser {
        Browser::new(self.address)
    }

    async fn signed_in(&self, phone: &str) -> Browser {
        let browser = self.browser();
        browser.sign_in(&self.asked.simulator, phone).await;
        browser
    }

    /// One request by hand: head and body of the answer.
    async fn send(&self, line: &str, more: &str) -> (String, String) {
        let mut wire = Wire::from(CLIENT, self.address).await;
        let host = self.address;
        wire.send(format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n")).await;
        let head = wire.head().await;
        let body = match wire.end().await {
            crate::common::wire::End::Closed(body) => String::from_utf8_lossy(&body).into_owned(),
            crate::common::wire::End::Broken => String::new(),
        };
        (head, body)
    }

    async fn status(&self, line: &str, more: &str) -> u16 {
        status(&self.send(line, more).await.0)
    }

    /// What the newest request said about its user.
    fn user(&self) -> Vec<String> {
        let last = self.asked.upstream.last();
        let names = ["x-forwarded-user", "x_forwarded_user", "x-forwarded_user", "x_forwarded-user"];
        let values = names.iter().flat_map(|name| fields(&last, name));
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    fn reached(&self) -> usize {
        self.asked.upstream.count()
    }
}

async fn everything_through(kind: Kind) {
    let stage = Stage::start(kind).await;
    a_stranger_is_led_to_the_challenge(&stage).await;
    strangers_pass_where_a_rule_lets_everybody(&stage).await;
    lesson_3_13_no_field_of_a_client_changes_the_question(&stage, "").await;
    lesson_14_no_spelling_of_a_path_reaches_the_application(&stage, "").await;
    lesson_25_an_unknown_host_is_refused(&stage).await;
    lesson_26_no_cookie_but_ours_opens(&stage).await;
    lesson_28_networks_are_those_of_the_client(&stage).await;
    the_question_is_not_for_clients(&stage).await;

    let alice = a_person_signs_in_and_arrives(&stage).await;
    let token = alice.cookie("vestibule").unwrap();
    let cookie = format!("cookie: vestibule={token}\r\n");
    lesson_3_13_no_field_of_a_client_changes_the_question(&stage, &cookie).await;
    lesson_14_no_spelling_of_a_path_reaches_the_application(&stage, &cookie).await;
    lesson_7_12_19_nobody_chooses_their_name(&stage, &cookie).await;
    our_cookies_stay_with_the_proxy(&stage, &token).await;
    paths_and_bodies_go_on_to_the_letter(&stage, &cookie).await;
    rules_are_about_the_signed_in_too(&stage, &alice).await;
    websockets_are_decided_on_at_the_handshake(&stage, &cookie).await;
    wish_11_an_old_proof_is_asked_for_again(&stage).await;
    a_revoked_session_is_refused(&stage, &cookie).await;
    without_the_gateway_nobody_passes(stage).await;
}

#[tokio::test]
async fn nginx_asks_as_documented() {
    everything_through(Kind::Nginx).await;
}

#[tokio::test]
async fn caddy_asks_as_documented() {
    everything_through(Kind::Caddy).await;
}

async fn a_stranger_is_led_to_the_challenge(stage: &Stage) {
    let html = "accept: text/html,*/*;q=0.8\r\n";
    let (head, _) = stage.send("GET /a%20b?x=1&y=%2F", html).await;
    assert_eq!(status(&head), 303, "{head}");
    let location = field(&head, "location").unwrap();
    let path = location.strip_prefix(&format!("http://{}", stage.address)).unwrap_or(location);
    assert_eq!(path, "/.vestibule/challenge?return_to=%2Fa%2520b%3Fx%3D1%26y%3D%252F");
    assert_eq!(field(&head, "cache-control"), Some("no-store"));

    let form = format!("{html}content-length: 3\r\n\r\na=b");
    let (head, body) = stage.send("POST /form", &form).await;
    assert_eq!(status(&head), 401, "{head}");
    assert!(body.contains("session"), "a page that says so: {body}");

    for (line, more) in [("GET /x", ""), ("POST /x", "content-length: 0\r\n"), ("DELETE /x", "")] {
        let (head, body) = stage.send(line, more).await;
        assert_eq!(status(&head), 401, "{head}");
        assert_eq!(field(&head, "content-type"), Some("application/problem+json"), "lesson 14: {head}");
        assert_eq!(field(&head, "location"), None, "{head}");
        let url = format!("http://{}/.vestibule/challenge", stage.address);
        assert!(body.contains(&url), "{body}");
    }
    assert_eq!(stage.reached(), 0, "not a byte");
}

async fn strangers_pass_where_a_rule_lets_everybody(stage: &Stage) {
    for (line, expected) in [
        ("GET /public", 200),
        ("GET /public/x?y=/blocked", 200),
        ("GET /publics", 401),
        ("GET /hook", 401),
        ("GET /hook?method=POST", 401),
        ("GET /x?/public", 401),
        ("GET /blocked/x", 403),
    ] {
        assert_eq!(stage.status(line, "").await, expected, "{line}");
    }
    assert_eq!(stage.status("POST /hook", "content-length: 0\r\n").await, 200);
    assert!(stage.user().is_empty(), "a stranger is nobody: {}", stage.asked.upstream.last());
    assert_eq!(stage.reached(), 3);
}

/// What the question is about is what the proxy sends on, whatever a client claims.
async fn lesson_3_13_no_field_of_a_client_changes_the_question(stage: &Stage, cookie: &str) {
    let before = stage.reached();
    for more in [
        "x-forwarded-uri: /public\r\n",
        "x-original-uri: /public\r\n",
        "x-original-url: /public\r\n",
        "x-rewrite-url: /public\r\n",
        "x_forwarded_uri: /public\r\n",
        "x-forwarded-method: POST\r\nx-forwarded-uri: /hook\r\n",
        "x-original-method: POST\r\n",
        "x-http-method-override: POST\r\n",
        "x-forwarded-host: other.test\r\n",
        "x-forwarded-prefix: /public\r\n",
        "forwarded: host=other.test;for=192.0.2.1\r\n",
        "x-forwarded-proto: https\r\nx-forwarded-port: 443\r\n",
        "x-forwarded-user: alice\r\n",
        "connection: x-forwarded-uri, x-forwarded-host\r\nx-forwarded-uri: /public\r\n",
        "connection: cookie, x-forwarded-user\r\nx-forwarded-user: alice\r\n",
    ] {
        let status = stage.status("GET /blocked/x", &format!("{cookie}{more}")).await;
        assert!(matches!(status, 400..=404), "{more} gave {status}");
        if cookie.is_empty() {
            let status = stage.status("GET /private", more).await;
            assert!(matches!(status, 400 | 401 | 403 | 404), "{more} gave {status}");
        }
    }
    assert_eq!(stage.reached(), before);
}

/// The application would take each of these for a path that is not open.
async fn lesson_14_no_spelling_of_a_path_reaches_the_application(stage: &Stage, cookie: &str) {
    let before = stage.reached();
    for path in [
        "/blocked",
        "/%62locked",
        "/%2562locked",
        "//blocked",
        "/blocked%2fx",
        "/blocked;x",
        "/blocked%23",
        "/blocked%3f",
        "/./blocked",
        "/public/../blocked",
        "/public/..%2fblocked",
        "/public/%2e%2e/blocked",
        "/public/..;/blocked",
        "/public/..\\blocked",
        "/public%5c..%5cblocked",
        "/public/%00",
        "/public%2f..%2fblocked",
        "/.vestibule/../blocked",
        "/.vestibule/auth/../../blocked",
    ] {
        let status = stage.status(&format!("GET {path}"), cookie).await;
        assert!(matches!(status, 400..=404), "{path} gave {status}");
    }
    // An absolute target names the host, and the path is its path.
    let host = stage.address;
    let status = stage.status(&format!("GET http://{host}/blocked/x"), cookie).await;
    assert!(matches!(status, 400..=404), "{status}");
    assert_eq!(stage.reached(), before, "{}", stage.asked.upstream.last());
}

async fn lesson_25_an_unknown_host_is_refused(stage: &Stage) {
    let before = stage.reached();
    for host in ["evil.test", "other.test.evil.test", "127.0.0.2", ""] {
        let mut wire = Wire::from(CLIENT, stage.address).await;
        wire.send(format!("GET /public HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        let status = status(&wire.head().await);
        // Caddy answers itself, emptily, for a host that it does not serve.
        let by_caddy_itself = stage.kind == Kind::Caddy && status == 200;
        assert!(by_caddy_itself || matches!(status, 400 | 403 | 404 | 421), "{host} gave {status}");
    }
    assert_eq!(stage.reached(), before);
}

async fn lesson_26_no_cookie_but_ours_opens(stage: &Stage) {
    let before = stage.reached();
    let long = "x".repeat(6_000);
    for value in ["", "x", "..", "e30.e30.", "\"\"", "%00", "\u{e9}", "=", "a b", long.as_str()] {
        for name in ["vestibule", "__Host-vestibule", "vestibule-challenge"] {
            let status = stage.status("GET /private", &format!("cookie: {name}={value}\r\n")).await;
            assert!(matches!(status, 400 | 401), "{name}={value} gave {status}");
        }
    }
    assert_eq!(stage.reached(), before);
}

async fn lesson_28_networks_are_those_of_the_client(stage: &Stage) {
    for more in [
        "x-forwarded-for: 192.0.2.1\r\n",
        "x-forwarded-for: 192.0.2.1, 127.0.0.1\r\n",
        "x-forwarded-for: 192.0.2.1\r\nx-forwarded-for: 192.0.2.1\r\n",
        "x_forwarded_for: 192.0.2.1\r\n",
        "x-real-ip: 192.0.2.1\r\n",
        "forwarded: for=192.0.2.1\r\n",
        "x-forwarded-for: a\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
    ] {
        let status = stage.status("GET /office", more).await;
        assert!(matches!(status, 400 | 401 | 403), "{more} gave {status}");
    }
}

async fn the_question_is_not_for_clients(stage: &Stage) {
    let before = stage.reached();
    let spoofed = "x-forwarded-method: GET\r\nx-forwarded-uri: /public\r\nx-forwarded-host: 127.0.0.1\r\n";
    for path in ["/.vestibule/auth", "/.vestibule/auth?x", "/.vestibule/auth/public"] {
        let (head, _) = stage.send(&format!("GET {path}"), spoofed).await;
        assert_eq!(status(&head), 404, "{path}");
        assert_eq!(field(&head, "x-forwarded-user"), None);
    }
    assert_eq!(stage.reached(), before);
}

async fn a_person_signs_in_and_arrives(stage: &Stage) -> Browser {
    let before = stage.reached();
    let alice = stage.browser();
    let sent_to = alice.go("/wiki/a%2520b?x=1&y=%2F").await;
    assert_eq!(sent_to.status, 303, "{sent_to:#?}");
    let location = sent_to.location();
    let path = location.strip_prefix(&format!("http://{}", stage.address)).unwrap_or(location);
    let page = alice.go(path).await;
    page.expect(200, "name=\"phone\"");
    assert!(page.text.contains("name=\"return_to\""), "{}", page.text);
    let sheet = alice.go("/.vestibule/assets/vestibule.css").await;
    assert_eq!(sheet.status, 200);

    let form = [("phone", ALICE), ("return_to", "/wiki/a%2520b?x=1&y=%2F")];
    let started = alice.submit("/.vestibule/challenge/start", &form).await;
    assert_eq!(started.status, 303, "{started:#?}");
    alice.go(started.location()).await.expect(200, "name=\"code\"");
    let wrong = stage.asked.simulator.wrong_code(ALICE).await;
    assert!(alice.verify(&wrong).await.location().starts_with("/.vestibule/challenge"));
    assert_eq!(stage.reached(), before, "not a byte before the proof");
    let verified = alice.verify(&stage.asked.simulator.code(ALICE).await).await;
    assert_eq!(verified.location(), "/wiki/a%2520b?x=1&y=%2F");

    let arrived = alice.go(verified.location()).await;
    assert_eq!((arrived.status.as_u16(), arrived.text.as_str()), (200, "hello"));
    let last = stage.asked.upstream.last();
    assert!(last.starts_with("GET /wiki/a%2520b?x=1&y=%2F HTTP/1.1\r\n"), "{last}");
    assert_eq!(stage.user(), ["alice"]);
    alice
}

/// Names that a client brings under any spelling are replaced, or the request is refused.
async fn lesson_7_12_19_nobody_chooses_their_name(stage: &Stage, cookie: &str) {
    for name in [
        "X-Forwarded-User",
        "x-forwarded-user",
        "X_Forwarded_User",
        "X-Forwarded_User",
        "x_forwarded-user",
        "X.Forwarded.User",
    ] {
        for (path, cookie, expected) in [("/private", cookie, Some("alice")), ("/public", "", None)] {
            let before = stage.reached();
            let more = format!("{cookie}{name}: bob\r\n{name}: carol\r\n");
            let status = stage.status(&format!("GET {path}"), &more).await;
            if status == 200 {
                assert_eq!(stage.user(), expected.as_slice(), "{name} {path}");
                let last = stage.asked.upstream.last();
                assert!(!last.contains("bob") && !last.contains("carol"), "{last}");
            } else {
                assert!(matches!(status, 400 | 403 | 404), "{name} {path} gave {status}");
                assert_eq!(stage.reached(), before);
            }
        }
    }
    assert_eq!(stage.status("GET /public", "x-forwarded-user: bob\r\n").await, 200, "the proxy takes it out");
    assert!(stage.user().is_empty());
}

async fn our_cookies_stay_with_the_proxy(stage: &Stage, token: &str) {
    for (sent, expected) in [
        (format!("a=b; vestibule={token}; c=\"d e\""), "a=b; c=\"d e\""),
        (format!("vestibule={token}; a=b"), "a=b"),
        (format!("a=b; vestibule={token}; vestibule-challenge=x; c=d"), "a=b; c=d"),
        (format!("my-vestibule=1; vestibule={token}"), "my-vestibule=1"),
        (format!("vestibule={token}"), ""),
    ] {
        assert_eq!(stage.status("GET /private", &format!("cookie: {sent}\r\n")).await, 200);
        let last = stage.asked.upstream.last();
        let cookies = field(&last, "cookie").unwrap_or_default();
        assert_eq!(cookies.trim_end_matches([';', ' ']), expected, "{sent}");
        assert!(!last.contains(token), "{last}");
    }
    let long = "x".repeat(6_000);
    assert_eq!(stage.status("GET /private", &format!("cookie: a={long}; vestibule={token}\r\n")).await, 200);
    assert_eq!(
        field(&stage.asked.upstream.last(), "cookie").unwrap().trim_end_matches([';', ' ']),
        format!("a={long}")
    );
    if stage.kind == Kind::Caddy {
        // Over https they have other names, and this proxy takes them out itself.
        let secure = "cookie: a=b; __Host-vestibule=stale; __Host-vestibule-challenge=stale\r\n";
        assert_eq!(stage.status("GET /public", secure).await, 200);
        assert!(!stage.asked.upstream.last().contains("stale"));
    }
    assert_eq!(stage.status("GET /public", "cookie: a=b; vestibule=stale\r\n").await, 200);
    assert!(!stage.asked.upstream.last().contains("stale"));
}

async fn paths_and_bodies_go_on_to_the_letter(stage: &Stage, cookie: &str) {
    for path in ["/a%2Fb?c=%2F&d", "/%7Euser/x;y=1", "/a?b=http://x/%00", "/caf%C3%A9", "/x?#"] {
        let status = stage.status(&format!("GET {path}"), cookie).await;
        if path.contains('#') {
            assert!(matches!(status, 200 | 400 | 403 | 404), "{path} gave {status}");
            continue;
        }
        assert_eq!(status, 200, "{path}");
        let last = stage.asked.upstream.last();
        assert!(last.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{path} became {last}");
    }
    let (head, _) = stage.send("POST /upload", &format!("{cookie}content-length: 5\r\n\r\n12345")).await;
    assert_eq!(status(&head), 200, "{head}");
    let last = stage.asked.upstream.last();
    assert!(last.starts_with("POST /upload ") && last.contains("12345"), "{last}");
}

async fn rules_are_about_the_signed_in_too(stage: &Stage, alice: &Browser) {
    let before = stage.reached();
    alice.go("/blocked").await.expect(403, "You may not open this page");
    assert_eq!(stage.reached(), before);
    alice.go("/.vestibule/account").await.expect(200, "alice");
    assert_eq!(alice.go("/public").await.status, 200);
    assert_eq!(stage.user(), ["alice"], "a session is taken along");
}

async fn websockets_are_decided_on_at_the_handshake(stage: &Stage, cookie: &str) {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stage.asked.upstream.answers(switched);
    let before = stage.reached();
    let host = stage.address;
    let handshake = |more: &str| {
        format!(
            "GET /socket HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    };
    let refused = [
        ("", 401),
        (&*format!("{cookie}origin: http://evil.test\r\n"), 403),
        (&*format!("{cookie}origin: http://{host}\r\nsec-fetch-site: cross-site\r\n"), 403),
    ];
    for (more, expected) in refused {
        let mut wire = Wire::from(CLIENT, stage.address).await;
        wire.send(handshake(more)).await;
        let head = wire.head().await;
        assert_eq!(status(&head), expected, "{more} {head}");
    }
    assert_eq!(stage.reached(), before);
    let mut wire = Wire::from(CLIENT, stage.address).await;
    wire.send(handshake(&format!("{cookie}origin: http://{host}\r\n"))).await;
    let head = wire.head().await;
    assert_eq!(status(&head), 101, "{head}");
    wire.send("ping").await;
    assert_eq!(wire.exactly(4).await, b"ping");
    assert_eq!(stage.user(), ["alice"]);
    stage.asked.upstream.answers("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
}

async fn wish_11_an_old_proof_is_asked_for_again(stage: &Stage) {
    let bob = stage.signed_in(BOB).await;
    // No thread has read this session yet.
    stage.asked.house.sql("UPDATE session SET auth_time = auth_time - 60 WHERE user_name = 'bob'");
    assert_eq!(bob.go("/page").await.status, 200, "elsewhere the session is good");
    let before = stage.reached();
    let sent_to = bob.go("/fresh?x").await;
    assert_eq!(sent_to.status, 303);
    let path = "/.vestibule/challenge?return_to=%2Ffresh%3Fx&ended=proof_too_old";
    assert!(sent_to.location().ends_with(path), "{}", sent_to.location());
    assert_eq!(stage.reached(), before);
    bob.go(path).await.expect(200, "this page asks for a fresh proof");
}

async fn a_revoked_session_is_refused(stage: &Stage, cookie: &str) {
    assert_eq!(stage.status("GET /private", cookie).await, 200);
    stage.asked.house.run(&["session", "revoke", "--user", "alice"]);
    eventually("the session is refused", async || stage.status("GET /private", cookie).await == 401).await;
    let before = stage.reached();
    let (head, _) = stage.send("GET /private", &format!("{cookie}accept: text/html\r\n")).await;
    assert!(field(&head, "location").unwrap().ends_with("&ended=revoked"), "{head}");
    assert_eq!(stage.reached(), before);
}

async fn without_the_gateway_nobody_passes(mut stage: Stage) {
    let before = stage.reached();
    stage.asked.gateway.stop();
    for path in ["/public", "/private", "/.vestibule/challenge"] {
        let status = stage.status(&format!("GET {path}"), "").await;
        assert!(status >= 500, "{path} gave {status}");
    }
    assert_eq!(stage.reached(), before);
}
