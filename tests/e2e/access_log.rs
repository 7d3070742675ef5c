//! The access log: what a line has, who may name a request, and what `explain --replay` makes of it.

use serde_json::Value;

use crate::common::wire::{Wire, field, status};
use crate::common::{ALICE, Scene, eventually, read};

impl Scene {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(read(&self.house.path("access.log"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn line_of(&self, path: &str) -> Value {
        let find = || self.lines().into_iter().find(|line| line["path"] == path);
        eventually("the line is written", async || find().is_some()).await;
        find().unwrap()
    }
}

#[tokio::test]
async fn a_line_for_each_request_and_a_name_that_the_application_knows_too() {
    let log = "[log]\nformat = \"json\"\nlevel = \"debug\"\naccess = \"json\"\naccess_file = \"{dir}/access.log\"\n";
    let mut scene = Scene::with("", "trusted_proxies = [\"127.0.0.2\"]\n", &[]).await;
    let text = String::from_utf8(read(&scene.house.config)).unwrap();
    let directory = scene.house.directory.path().display().to_string();
    let text =
        text.replace("[log]\nformat = \"json\"\nlevel = \"debug\"\n", &log.replace("{dir}", &directory));
    std::fs::write(&scene.house.config, text).unwrap();
    scene.restart();
    let alice = scene.signed_in(ALICE).await;
    let token = alice.cookie("vestibule").unwrap();
    let ask = async |from: &str, path: &str, more: &str| {
        let mut wire = Wire::from(from, scene.gateway.address).await;
        wire.send(format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={token}\r\n{more}connection: close\r\n\r\n"
        ))
        .await;
        wire.answer().await.0
    };
    let head = ask(
        "127.0.0.1",
        "/page?secret=1",
        "user-agent: a\"b\r\nreferer: https://u:secret@x.example/y?z=1\r\nx-request-id: mine\r\n",
    )
    .await;
    assert_eq!(status(&head), 200);
    let line = scene.line_of("/page").await;
    let id = line["request_id"].as_str().unwrap();
    assert_eq!(id.len(), 32, "a stranger names nothing: {line}");
    assert_eq!(field(&head, "x-request-id"), Some(id));
    assert!(scene.upstream.last().contains(&format!("x-request-id: {id}")), "{}", scene.upstream.last());
    for (key, value) in [
        ("client", Value::from("127.0.0.1")),
        ("user", "alice".into()),
        ("method", "GET".into()),
        ("scheme", "http".into()),
        ("host", "127.0.0.1".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes", 5.into()),
        ("route", "127.0.0.1/".into()),
        ("rule", Value::Null),
        ("decision", "forward".into()),
        ("user_agent", "a\"b".into()),
        ("referer", "https://x.example/y".into()),
        ("upstream", format!("http://{}", scene.upstream.address).into()),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    let line_upstream = line["upstream"].clone();
    // A proxy of ours names requests, and their clients.
    ask("127.0.0.2", "/named", "x-request-id: trace-7\r\nx-forwarded-for: 192.0.2.9\r\n").await;
    let line = scene.line_of("/named").await;
    assert_eq!((line["request_id"].as_str(), line["client"].as_str()), (Some("trace-7"), Some("192.0.2.9")));
    scene.browser().go("/stranger").await;
    let line = scene.line_of("/stranger").await;
    assert_eq!(
        (line["decision"].as_str(), line["status"].as_u64(), &line["user"], &line["upstream"]),
        (Some("challenge"), Some(303), &Value::Null, &Value::Null)
    );
    // The application's 502 is told from ours.
    for (answer, path, upstream) in [
        ("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", "/theirs", line_upstream.clone()),
        ("garbage\r\n\r\n!close", "/ours", Value::Null),
    ] {
        scene.upstream.answers(answer);
        assert_eq!(status(&ask("127.0.0.1", path, "").await), 502);
        let line = scene.line_of(path).await;
        assert_eq!((line["status"].as_u64(), &line["upstream"]), (Some(502), &upstream), "{line}");
    }

    // Moved away, as logrotate does; it is made anew.
    std::fs::rename(scene.house.path("access.log"), scene.house.path("access.log.1")).unwrap();
    eventually("the file is made anew", async || {
        alice.go("/later").await;
        scene.house.path("access.log").exists()
    })
    .await;
    scene.line_of("/later").await;
    let all = String::from_utf8(
        [read(&scene.house.path("access.log")), read(&scene.house.path("access.log.1"))].concat(),
    )
    .unwrap();
    let code = scene.simulator.code(ALICE).await;
    for secret in [token.as_str(), "secret", &code, "4155550100"] {
        assert!(!all.contains(secret), "{secret} is in the access log");
    }
    // What it is for, too: whose requests would another configuration treat otherwise?
    let text = String::from_utf8(read(&scene.house.config)).unwrap();
    let new = scene.house.path("new.toml");
    let rule = "[[route.rule]]\npaths = [\"/page\"]\naccess = \"deny\"\n\n[observe]";
    std::fs::write(&new, text.replace("[observe]", rule)).unwrap();
    let log = scene.house.path("access.log.1");
    let arguments = ["explain", "--replay", log.to_str().unwrap(), "--config", new.to_str().unwrap()];
    let output = crate::common::vestibule(&arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("/page") && said.contains("deny") && !said.contains("/named"), "{said}");
}

#[tokio::test]
async fn a_stranger_names_no_request_though_nothing_is_written_down() {
    let scene = Scene::with("", "trusted_proxies = [\"127.0.0.2\"]\n", &[]).await;
    let token = scene.signed_in(ALICE).await.cookie("vestibule").unwrap();
    let ask = async |from: &str, more: &str| {
        let mut wire = Wire::from(from, scene.gateway.address).await;
        let head = format!("GET /p HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={token}\r\n");
        wire.send(format!("{head}{more}connection: close\r\n\r\n")).await;
        assert_eq!(status(&wire.answer().await.0), 200);
        scene.upstream.last().to_ascii_lowercase()
    };
    for name in ["X-Request-Id", "x-request-id", "X_Request_Id", "x.request-id"] {
        let seen = ask("127.0.0.1", &format!("{name}: mine\r\n")).await;
        assert!(!seen.contains("mine") && !seen.contains("x-request-id"), "{name}: {seen}");
    }
    let seen = ask("127.0.0.2", "X-Request-Id: theirs-7\r\nX_Request_Id: mine\r\n").await;
    assert!(seen.contains("x-request-id: theirs-7\r\n") && !seen.contains("mine"), "{seen}");
    // Which of two is theirs nobody knows.
    let seen = ask("127.0.0.2", "X-Request-Id: theirs-7\r\nX-Request-Id: mine\r\n").await;
    assert!(!seen.contains("x-request-id"), "{seen}");
}
