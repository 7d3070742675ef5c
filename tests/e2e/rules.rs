//! Rules: who passes where, on the bytes that the application sees, and `vestibule explain`, which says the same.

use crate::common::wire::{Wire, field, fields, status};
use crate::common::{
    ALICE, BOB, Browser, Gateway, House, Scene, Simulator, Upstream, config, eventually, vestibule,
};

const ANOTHER_ROUTE: &str =
    "[[route]]\nhost = \"apps.test\"\npath = \"/wiki\"\nupstream = [\"http://127.0.0.1:1\"]\n";

/// Rules of the scene's route for 127.0.0.1.
const RULES: &str = r#"
[[route.rule]]
paths = ["/public/private"]
access = "deny"
[[route.rule]]
paths = ["/public", "/static/**", "re:^/v[0-9]+/ping$"]
access = "allow"
[[route.rule]]
paths = ["/hook"]
methods = ["POST"]
access = "allow"
[[route.rule]]
paths = ["/office"]
networks = ["192.0.2.0/24"]
access = "allow"
[[route.rule]]
paths = ["/admin"]
access = "challenge"
max_age = "1m"
[[route.rule]]
paths = ["/blocked"]
access = "deny"
"#;

/// A scene whose first route has the rules.
async fn scene() -> Scene {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    let text = config(&upstream, ANOTHER_ROUTE, "trusted_proxies = [\"127.0.0.2/32\"]");
    let house = House::new(&simulator, &text.replacen("\n\n[observe]", &format!("\n{RULES}\n[observe]"), 1));
    house.add_users(&[("alice", ALICE), ("bob", BOB)]);
    let gateway = Gateway::start(&house);
    Scene { simulator, upstream, house, gateway }
}

/// One request on a connection of its own; the head of the answer.
async fn send(scene: &Scene, line: &str, more: &str) -> String {
    let mut wire = Wire::connect(scene.gateway.address).await;
    wire.send(format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}\r\n")).await;
    wire.head().await
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() {
    let scene = scene().await;
    strangers_pass_where_a_rule_lets_everybody(&scene).await;
    lesson_1_2_14_no_other_spelling_reaches_the_application(&scene).await;
    lesson_3_4_no_field_chooses_the_rule(&scene).await;
    lesson_28_networks_are_those_of_the_client(&scene).await;
    a_stranger_is_nobody_to_the_application(&scene).await;
    no_field_asks_for_a_method_that_no_rule_has_seen(&scene).await;
    explain_says_what_the_gateway_does(&scene).await;

    let alice = scene.signed_in(ALICE).await;
    assert_eq!(alice.go("/public/x").await.status, 200);
    assert_eq!(fields(&scene.upstream.last(), "x-forwarded-user"), ["alice"], "a session is taken along");
    let before = scene.upstream.count();
    for path in ["/blocked", "/public/private/x"] {
        alice.go(path).await.expect(403, "You may not open this page");
    }
    assert_eq!(scene.upstream.count(), before, "a rule that denies is about everybody");
    an_ended_session_does_not_close_what_is_open(&scene, &alice).await;
}

async fn strangers_pass_where_a_rule_lets_everybody(scene: &Scene) {
    for (line, expected) in [
        ("GET /public", 200),
        ("GET /public/x?y=/blocked", 200),
        ("POST /public/x", 200),
        ("GET /static/a/b.css", 200),
        ("GET /v12/ping", 200),
        ("POST /hook", 200),
        ("GET /hook", 401),
        ("GET /v12/ping/x", 401),
        ("GET /publicity", 401),
        ("GET /Public", 401),
        ("GET /x?/public", 401),
        ("GET /", 401),
        ("GET /office", 401),
        ("GET /admin", 401),
        ("GET /blocked", 403),
        ("GET /public/private", 403),
    ] {
        let before = scene.upstream.count();
        let head = send(scene, line, "content-length: 0\r\n").await;
        assert_eq!(status(&head), expected, "{line}: {head}");
        assert_eq!(scene.upstream.count() - before, usize::from(expected == 200), "{line}");
    }
}

async fn lesson_1_2_14_no_other_spelling_reaches_the_application(scene: &Scene) {
    let before = scene.upstream.count();
    for path in [
        "/public/../secret",
        "/public/..%2fsecret",
        "/public%2f..%2fsecret",
        "/public/%2e%2e/secret",
        "/public/.%2e/secret",
        "/public/%252e%252e/secret",
        "/public/..;/secret",
        "/public/..;x=1/secret",
        "/public;/../secret",
        "/public/..\\secret",
        "/public/..%5csecret",
        "/public/%c0%ae%c0%ae/secret",
        "/secret%00/public",
        "/public%00/../secret",
        "/public%23/x",
        "/public%3f/x",
        "/public%2fx",
        "/public;x",
        "//public/x",
        "/public%",
        "/public/%zz",
        "/secret%23/public",
        "/x/../public",
        "/v1/ping%23",
        "/secret?x=/public",
        "/secret?/v1/ping",
        "/secret/v1/ping",
        "/%2fpublic",
        "/.vestibule/../public",
        "/.vestibule%2f..%2fpublic",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let head = send(scene, &format!("{method} {path}"), "content-length: 0\r\n").await;
            assert!(matches!(status(&head), 400 | 401 | 404 | 405), "{method} {path}: {head}");
        }
    }
    for path in ["/%62locked", "/%62%6cocked/x", "/blocked/", "/blocked?x"] {
        assert_eq!(status(&send(scene, &format!("GET {path}"), "").await), 403, "{path}");
    }
    assert_eq!(scene.upstream.count(), before, "{:?}", scene.upstream.requests().last());
}

async fn lesson_3_4_no_field_chooses_the_rule(scene: &Scene) {
    let before = scene.upstream.count();
    for field in [
        "x-forwarded-uri: /public",
        "x-original-uri: /public",
        "x-original-url: /public",
        "x-rewrite-url: /public",
        "x-forwarded-prefix: /public",
        "x-forwarded-method: POST",
        "x-http-method-override: POST",
        "user-agent: kube-probe/1.30",
        "x-forwarded-for: 192.0.2.7",
        "forwarded: for=192.0.2.7",
        "x-real-ip: 192.0.2.7",
    ] {
        for path in ["/", "/hook", "/office"] {
            let head = send(scene, &format!("GET {path}"), &format!("{field}\r\n")).await;
            assert_eq!(status(&head), 401, "{path} {field}");
        }
    }
    assert_eq!(scene.upstream.count(), before);
}

async fn lesson_28_networks_are_those_of_the_client(scene: &Scene) {
    for (chain, expected) in [
        ("192.0.2.7", 200),
        ("6.6.6.6, 192.0.2.7", 200),
        ("192.0.2.7, 6.6.6.6", 401),
        ("192.0.2.7, x", 401),
        ("", 401),
    ] {
        let mut wire = Wire::from("127.0.0.2", scene.gateway.address).await;
        let forwarded = format!("host: 127.0.0.1\r\nx-forwarded-for: {chain}\r\n");
        wire.send(format!("GET /office HTTP/1.1\r\n{forwarded}\r\n")).await;
        assert_eq!(status(&wire.head().await), expected, "{chain}");
    }
}

async fn a_stranger_is_nobody_to_the_application(scene: &Scene) {
    let spoofed = "x-forwarded-user: mallory\r\nx_forwarded_user: mallory\r\nX.Forwarded.User: mallory\r\n\
                   cookie: a=b; vestibule=x.y.z\r\n";
    assert_eq!(status(&send(scene, "GET /public", spoofed).await), 200);
    let sent = scene.upstream.last();
    assert!(!sent.contains("mallory"), "{sent}");
    assert_eq!(field(&sent, "x-forwarded-user"), None, "lesson 19: deleted, and nobody is set");
    assert_eq!(fields(&sent, "cookie"), ["a=b"]);
    assert_eq!(fields(&sent, "x-forwarded-for"), ["127.0.0.1"]);
}

/// A rule that lets POST pass on one path tells methods apart: the application must not act on another one.
async fn no_field_asks_for_a_method_that_no_rule_has_seen(scene: &Scene) {
    let fields = "X-HTTP-Method-Override: DELETE\r\nx_method_override: DELETE\r\nX-HTTP-Method: DELETE\r\n";
    assert_eq!(status(&send(scene, "GET /public", fields).await), 200);
    assert!(!scene.upstream.last().contains("DELETE"), "{}", scene.upstream.last());
}

async fn explain_says_what_the_gateway_does(scene: &Scene) {
    for (path, method) in [
        ("/public", "GET"),
        ("/public/private", "GET"),
        ("/hook", "POST"),
        ("/hook", "GET"),
        ("/office", "GET"),
        ("/x", "TRACE"),
        ("/public%2fx", "GET"),
        ("//public", "GET"),
        ("/blocked", "GET"),
        ("/", "GET"),
    ] {
        let said = scene.house.json(&["explain", path, "--method", method]);
        let head = send(scene, &format!("{method} {path}"), "content-length: 0\r\n").await;
        let expected = match status(&head) {
            200 => "forward",
            401 => "challenge",
            403 => "deny",
            _ => "refuse",
        };
        assert_eq!(said["decision"], expected, "{method} {path}: {said}");
    }
    let json = |arguments: &[&str]| scene.house.json(arguments);
    let office = json(&["explain", "/office", "--from", "192.0.2.7"]);
    assert_eq!((&office["decision"], &office["rule"]["number"]), (&"forward".into(), &4.into()));
    let admin = json(&["explain", "/admin", "--user", "alice", "--proved", "30s"]);
    assert_eq!(
        (&admin["decision"], &admin["fields"]["x-forwarded-user"]),
        (&"forward".into(), &"alice".into())
    );
    let stale = scene.house.run(&["explain", "/admin", "--user", "Alice", "--proved", "1m"]);
    assert!(stale.contains("decision  challenge: the proof is too old"), "{stale}");
    let elsewhere = scene.house.run(&["explain", "http://apps.test/wiki/x"]);
    assert!(
        elsewhere.contains("route     2: host apps.test, path /wiki, upstream http://127.0.0.1:1"),
        "{elsewhere}"
    );
    assert_eq!(
        json(&["explain", "http://apps.test/", "--user", "bob"])["why"],
        "no route has this path (404)"
    );
    scene.house.run(&["user", "disable", "bob"]);
    assert_eq!(json(&["explain", "/", "--user", "bob"])["decision"], "challenge");
    assert_eq!(
        json(&["explain", "http://b.test/"])["why"],
        "no route has this host (421); there are routes for 127.0.0.1, apps.test"
    );
    for path in ["/public%2fx", "/a/..%2fb"] {
        let why = "this path can be read in two ways (400); see docs/rules.md";
        assert_eq!(json(&["explain", path])["why"], why, "{path}");
    }
    for (arguments, code) in [
        (vec!["explain", "/", "--user", "nobody"], 1),
        (vec!["explain", "wiki"], 64),
        (vec!["explain", "/hook", "--method", "post"], 64),
    ] {
        assert_eq!(scene.house.command(&arguments).status.code(), Some(code), "{arguments:?}");
    }
    let help = vestibule(&["explain", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("Example:"));
}

#[tokio::test]
async fn explain_asks_and_changes_nothing() {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    let house = House::new(&simulator, &config(&upstream, "", ""));
    house.replace("[observe]", "[[route.rule]]\npaths = [\"/x\"]\naccess = \"allow\"\n\n[observe]");
    house.replace("public_url = \"http://127.0.0.1\"", "public_url = \"http://127.0.0.1:8080\"");
    let fields = house.json(&["explain", "/x"])["fields"].clone();
    assert_eq!(fields["x-forwarded-host"], "127.0.0.1:8080", "a path is one of public_url: {fields}");
    let asked = house.command(&["explain", "/x", "--user", "alice"]);
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(1), "{said}");
    assert!(said.contains("there is no store yet at ") && said.contains("vestibule user add"), "{said}");
    assert!(!house.path("state").exists(), "{said}");
}

async fn an_ended_session_does_not_close_what_is_open(scene: &Scene, alice: &Browser) {
    let token = alice.cookie("vestibule").unwrap();
    scene.house.run(&["session", "revoke", "--user", "alice"]);
    eventually("the session has ended", async || alice.go("/").await.status != 200).await;
    let cookie = format!("cookie: vestibule={token}\r\n");
    assert_eq!(status(&send(scene, "GET /public", &cookie).await), 200);
    assert_eq!(field(&scene.upstream.last(), "x-forwarded-user"), None);
    assert_eq!(status(&send(scene, "GET /", &cookie).await), 401);
}

/// The proof is as old as the store says: a session that no thread has read yet is read from there.
fn grows_old(scene: &Scene) {
    let store = rusqlite::Connection::open(scene.house.path("state/vestibule.db")).unwrap();
    let older = store.execute("UPDATE session SET auth_time = auth_time - 60", []).unwrap();
    assert!(older > 0);
}

#[tokio::test]
async fn wish_11_an_old_proof_is_asked_for_again_and_the_session_stays() {
    let scene = scene().await;
    let alice = scene.signed_in(ALICE).await;
    grows_old(&scene);
    let before_it = alice.stolen();
    assert_eq!(alice.go("/page").await.status, 200, "elsewhere the session is good");
    let before = scene.upstream.count();
    let sent_to = alice.go("/admin/x?y=1").await;
    assert_eq!(
        sent_to.location(),
        "/.vestibule/challenge?return_to=%2Fadmin%2Fx%3Fy%3D1&ended=proof_too_old"
    );
    let page = alice.go(sent_to.location()).await;
    page.expect(200, "this page asks for a fresh proof");
    page.expect(200, "Another number signs somebody else in.");
    assert!(!page.text.contains("and you are in"), "{page:#?}");
    let program = alice.fetch("/admin").await;
    assert_eq!(program.status, 401);
    let url = program.json()["challenge_url"].as_str().unwrap().to_owned();
    assert!(url.ends_with("/.vestibule/challenge?ended=proof_too_old"), "{url}");
    assert_eq!(program.json()["error"], "proof_too_old");
    let form = alice.submit("/admin", &[("a", "b")]).await;
    form.expect(401, "this page asks for a fresh proof");
    assert!(!form.text.contains("Your session had ended"), "{form:#?}");
    assert_eq!(scene.upstream.count(), before, "not a byte");

    let started =
        alice.submit("/.vestibule/challenge/start", &[("phone", ALICE), ("return_to", "/admin/x?y=1")]).await;
    assert_eq!(started.status, 303, "{started:#?}");
    alice.go(started.location()).await.expect(200, "name=\"code\"");
    let wrong = alice.verify(&scene.simulator.wrong_code(ALICE).await).await;
    alice.go(wrong.location()).await.expect(200, "This code is not right");
    let verified = alice.verify(&scene.simulator.code(ALICE).await).await;
    assert_eq!((verified.status.as_u16(), verified.location()), (303, "/admin/x?y=1"));
    assert_eq!(alice.go("/admin/x?y=1").await.status, 200);
    let home = alice.go("/.vestibule/challenge").await;
    assert_eq!(home.location(), "/", "nothing is asked for any more");

    assert_eq!(before_it.go("/page").await.status, 200, "what the session before is used for goes on");
    assert_eq!(before_it.go("/admin").await.status, 303, "and it is no fresher: a thief of it gains nothing");
    assert_eq!(alice.submit("/.vestibule/sign-out", &[]).await.status, 200);
    eventually("both have ended", async || before_it.go("/page").await.status == 303).await;
}

#[tokio::test]
async fn lesson_35_who_proves_to_be_somebody_else_is_that_person_and_nobody_else() {
    let scene = scene().await;
    let browser = scene.signed_in(ALICE).await;
    grows_old(&scene);
    assert_eq!(browser.go("/admin").await.status, 303);
    browser.sign_in(&scene.simulator, BOB).await;
    assert_eq!(browser.go("/admin").await.status, 200);
    assert_eq!(fields(&scene.upstream.last(), "x-forwarded-user"), ["bob"]);
}

#[tokio::test]
async fn another_sites_page_may_open_a_web_socket_where_everybody_may_pass_and_with_nobodys_session() {
    let scene = scene().await;
    let cookie = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\norigin: https://evil.test\r\n";
    scene
        .upstream
        .answers("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let with = format!("{upgrade}cookie: vestibule={cookie}\r\n");
    for (path, more, expected) in
        [("/public", upgrade, 101), ("/public", &with, 403), ("/", upgrade, 401), ("/", &with, 403)]
    {
        assert_eq!(status(&send(&scene, &format!("GET {path}"), more).await), expected, "{path} {more}");
    }
}
