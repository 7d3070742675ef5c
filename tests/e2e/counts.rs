//! What is counted by kind: codes by country, limits, what goes wrong with upstreams, connections that end without an
//! answer.

use serde_json::json;

use crate::common::journey::GENEROUS;
use crate::common::more::Visit;
use crate::common::wire::Wire;
use crate::common::{ALICE, STRANGER, Scene, eventually};
use crate::tls::TlsScene;

const GERMAN: &str = "+4915123456789";

/// The sum of a figure over all series with these labels.
fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let of_it = |line: &&str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
        rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
    };
    text.lines().filter(of_it).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

impl Scene {
    /// Waits until a figure is this much.
    async fn counts(&mut self, name: &str, labels: &[&str], much: f64) {
        let mut text = String::new();
        eventually(&format!("{name} {labels:?} is {much}"), async || {
            text = self.gateway.figures().await;
            sum(&text, name, labels) == much
        })
        .await;
    }
}

#[tokio::test]
async fn codes_are_counted_by_provider_channel_and_country() {
    let mut scene = Scene::start(GENEROUS).await;
    scene.house.add_users(&[("dora", GERMAN), ("emil", "+4915123456790")]);
    scene.signed_in(ALICE).await;
    scene.browser().start(STRANGER).await;
    let dora = scene.browser();
    dora.start(GERMAN).await;
    dora.verify(&scene.simulator.wrong_code(GERMAN).await).await.expect(303, "");
    let provider = "provider=\"twilio\"";
    let codes = "vestibule_codes_total";
    let (german, american) = ("country=\"DE\"", "country=\"US\"");
    scene.counts(codes, &[provider, "channel=\"sms\"", american, "outcome=\"sent\""], 1.0).await;
    scene.counts(codes, &[provider, "channel=\"sms\"", american, "outcome=\"approved\""], 1.0).await;
    scene.counts(codes, &[provider, "channel=\"sms\"", german, "outcome=\"sent\""], 1.0).await;
    scene.counts(codes, &[provider, "channel=\"sms\"", german, "outcome=\"wrong\""], 1.0).await;
    scene.counts(codes, &["outcome=\"expired\""], 0.0).await;

    // Nobody typed it in time.
    scene.house.sql("UPDATE challenge SET expires_at = created_at WHERE user_name = 'dora'");
    scene.counts(codes, &[provider, "channel=\"sms\"", german, "outcome=\"expired\""], 1.0).await;

    scene.simulator.fault(json!({"on": "start", "fault": "503", "times": 0})).await;
    assert_eq!(scene.browser().start("+4915123456790").await.status, 503);
    scene.simulator.clear_faults().await;
    scene.counts(codes, &[german, "outcome=\"send_failed\""], 1.0).await;
    let emil = scene.browser();
    emil.start("+4915123456790").await;
    let code = scene.simulator.code("+4915123456790").await;
    scene.simulator.fault(json!({"on": "check", "fault": "503", "times": 0})).await;
    assert_eq!(emil.verify(&code).await.status, 503);
    scene.simulator.clear_faults().await;
    scene.counts(codes, &[german, "outcome=\"check_failed\""], 1.0).await;

    // All of it fits what else is counted. Of a stranger nothing is.
    let text = scene.gateway.figures().await;
    let calls = |outcome: &str| sum(&text, "vestibule_provider_calls_total", &[outcome]);
    assert_eq!(sum(&text, codes, &["\"sent\""]), 3.0, "{text}");
    assert_eq!(calls("\"sent\""), 3.0);
    assert_eq!(sum(&text, "vestibule_events_total", &["\"code_sent\""]), 3.0);
    assert_eq!(sum(&text, codes, &["\"approved\""]), calls("\"approved\""));
    assert_eq!(sum(&text, codes, &["\"wrong\""]), sum(&text, "vestibule_events_total", &["\"wrong_code\""]));
    assert_eq!(
        sum(&text, codes, &["\"send_failed\""]),
        sum(&text, "vestibule_events_total", &["\"send_failed\""])
    );
    assert!(!text.contains("1512") && !text.contains("dora"), "{text}");
}

#[tokio::test]
async fn limits_are_counted_by_which_it_was() {
    let more = "[limits]\nstarts_per_number = \"2/1h\"\nstarts_per_address = \"4/1m\"\nchecks_per_address = \"3/1m\"\n";
    let mut scene = Scene::start(more).await;
    let alice = scene.browser();
    assert_eq!(alice.start(ALICE).await.status, 303);
    // The pause before another code.
    assert_eq!(alice.resend("sms").await.status, 429);
    let code = scene.simulator.wrong_code(ALICE).await;
    for status in [303, 303, 303, 429] {
        assert_eq!(alice.verify(&code).await.status, status);
    }
    assert_eq!(scene.browser().start(ALICE).await.status, 303);
    assert_eq!(scene.browser().start(ALICE).await.status, 429);
    assert_eq!(scene.browser().start(STRANGER).await.status, 429);
    let text = scene.gateway.figures().await;
    let hit = |limit: &str| sum(&text, "vestibule_limits_hit_total", &[&format!("limit=\"{limit}\"")]);
    for limit in ["resend", "checks_per_address", "starts", "starts_per_address"] {
        assert_eq!(hit(limit), 1.0, "{limit}: {text}");
    }
    assert_eq!(sum(&text, "vestibule_limits_hit_total", &[]), 4.0, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_with_an_upstream_is_counted_by_kind() {
    // Takes connections, and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = mute.local_addr().map(|address| (address, mute)).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Speaks first, and no TLS.
    let blunt = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_tls = blunt.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = blunt.accept().await {
            Wire::new(stream).send("220 mail.example\r\n").await;
        }
    });
    let talker = crate::common::Upstream::start().await;
    let answer = |head: &str| -> Vec<u8> {
        match head.split(' ').nth(1) {
            Some("/reset") => b"!close".to_vec(),
            Some("/nonsense") => b"nonsense\r\n\r\n!close".to_vec(),
            Some("/half") => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf!close".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec(),
        }
    };
    talker.answers_by(answer);
    let route = |path: &str, upstream: &str, more: &str| {
        format!("[[route]]\npath = \"{path}\"\nupstream = [\"{upstream}\"]\n{more}\n")
    };
    let talk = format!("http://{}", talker.address);
    let routes = [
        route("/refused", &format!("http://{free}"), ""),
        route("/unreachable", "unix:/run/vestibule-nobody.sock", ""),
        route("/dns", "http://nobody.invalid:80", ""),
        route("/tls", &format!("https://{no_tls}"), ""),
        route("/slow", &format!("http://{}", mute.0), "response_timeout = \"1s\""),
        route("/reset", &talk, ""),
        route("/nonsense", &talk, ""),
        route("/half", &talk, ""),
        route("/well", &talk, ""),
    ];
    let mut visit = Visit::new(&routes.concat(), &[]).await;
    for (path, status) in [
        ("/refused", "502"),
        ("/unreachable", "502"),
        ("/dns", "502"),
        ("/tls", "502"),
        ("/slow", "504"),
        ("/reset", "502"),
        ("/nonsense", "502"),
        ("/well", "200"),
    ] {
        let (head, _) = visit.send(&format!("GET {path}"), "").await;
        assert!(head.contains(status), "{path}: {head}");
    }
    let mut half = visit.connect().await;
    half.send(visit.request("GET /half", "")).await;
    visit.scene.counts("vestibule_upstream_failures_total", &["\"127.0.0.1/half\"", "\"reset\""], 1.0).await;
    let text = visit.scene.gateway.figures().await;
    for (path, kind) in [
        ("refused", "refused"),
        ("unreachable", "unreachable"),
        ("dns", "dns"),
        ("tls", "tls"),
        ("slow", "response_timeout"),
        ("reset", "reset"),
        ("nonsense", "protocol"),
        ("half", "reset"),
    ] {
        let route = format!("route=\"127.0.0.1/{path}\"");
        let (of_kind, all) = ([route.as_str(), &format!("kind=\"{kind}\"")], [route.as_str()]);
        assert_eq!(sum(&text, "vestibule_upstream_failures_total", &of_kind), 1.0, "{path}: {text}");
        assert_eq!(sum(&text, "vestibule_upstream_failures_total", &all), 1.0, "{path}: {text}");
    }
    assert_eq!(sum(&text, "vestibule_upstream_failures_total", &["127.0.0.1/well\""]), 0.0);

    // Another configuration: an upstream that is no more is not told of, and what was counted stays.
    visit.scene.house.replace(&route("/dns", "http://nobody.invalid:80", ""), "");
    visit.scene.house.replace("response_timeout = \"1s\"", "response_timeout = \"2s\"");
    visit.scene.gateway.signal("HUP");
    visit.scene.gateway.wait_for_log("the configuration was reloaded");
    let text = visit.scene.gateway.figures().await;
    assert!(!text.contains("nobody.invalid"), "{text}");
    let slow = ["route=\"127.0.0.1/slow\"", "kind=\"response_timeout\""];
    assert_eq!(sum(&text, "vestibule_upstream_failures_total", &slow), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_without_an_answer_are_counted() {
    let mut scene = Scene::start("").await;
    for garbage in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let mut wire = Wire::connect(scene.gateway.address).await;
        wire.send(garbage).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    }
    scene.counts("vestibule_connections_refused_total", &["why=\"malformed\""], 2.0).await;
    let text = scene.gateway.figures().await;
    assert_eq!(sum(&text, "vestibule_requests_total", &[]), 0.0, "nobody read them as requests: {text}");

    let mut encrypted = TlsScene::start("").await;
    let mut wire = Wire::connect(encrypted.address()).await;
    wire.send("GET / HTTP/1.1\r\n\r\n").await;
    eventually("it is counted", async || {
        let text = encrypted.gateway.figures().await;
        sum(&text, "vestibule_connections_refused_total", &["why=\"handshake\""]) == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_trail_whose_end_was_changed_is_counted() {
    let mut scene = Scene::start(GENEROUS).await;
    scene.signed_in(ALICE).await;
    scene.counts("vestibule_audit_chain_breaks_total", &[], 0.0).await;
    scene.house.sql("DELETE FROM audit WHERE number > 1; UPDATE audit_chain SET number = 1");
    scene.browser().start(ALICE).await;
    eventually("it is counted", async || {
        let text = scene.gateway.figures().await;
        sum(&text, "vestibule_audit_chain_breaks_total", &[]) >= 1.0
    })
    .await;
}
