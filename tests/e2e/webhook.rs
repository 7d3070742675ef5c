//! Somebody is told of each line of the audit trail: signed, in order, and again until they take it.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::common::{ALICE, Gateway, House, Scene, eventually};

const SECRET: &str = "what-only-the-two-of-us-know";

/// What came: id, signature, body.
type Got = (String, String, String);

/// A real server, which answers as it is told to.
#[derive(Clone)]
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    answer: Arc<Mutex<StatusCode>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=between-us", listener.local_addr().unwrap());
        let receiver =
            Self { url, got: Arc::default(), answer: Arc::new(Mutex::new(StatusCode::NO_CONTENT)) };
        let kept = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                let service = service_fn(move |request| kept.clone().take(request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        receiver
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let field =
            |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let (id, signature) = (field("vestibule-event-id"), field("vestibule-signature"));
        assert_eq!((request.method().as_str(), field("content-type").as_str()), ("POST", "application/json"));
        let body = request.into_body().collect().await?.to_bytes();
        let answer = *self.answer.lock().unwrap();
        self.got.lock().unwrap().push((id, signature, String::from_utf8(body.to_vec()).unwrap()));
        let location = if answer.is_redirection() { "http://127.0.0.1:9/" } else { "" };
        Ok(Response::builder().status(answer).header("location", location).body(Full::default()).unwrap())
    }

    fn answers(&self, status: u16) {
        *self.answer.lock().unwrap() = StatusCode::from_u16(status).unwrap();
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn events(&self) -> Vec<String> {
        let word = |(_, _, body): &Got| {
            let event: Value = serde_json::from_str(body).unwrap();
            event["event"].as_str().unwrap().to_owned()
        };
        self.got().iter().map(word).collect()
    }

    fn section(&self, more: &str) -> String {
        format!(
            "[audit]\nwebhook = \"{}\"\nwebhook_secret = {{ file = \"{{dir}}/hook\" }}\n{more}\n",
            self.url
        )
    }
}

fn is_signed((_, signature, body): &Got) -> bool {
    let (at, signature) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, format!("{at}.{body}").as_bytes());
    let expected: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    expected == signature
}

async fn scene(receiver: &Receiver, more: &str) -> Scene {
    let simulator = crate::common::Simulator::start(&[]);
    let upstream = crate::common::Upstream::start().await;
    let house = House::new(&simulator, &crate::common::config(&upstream, &receiver.section(more), ""));
    std::fs::write(house.path("hook"), SECRET).unwrap();
    house.add_users(&[("alice", ALICE)]);
    let gateway = Gateway::start(&house);
    let scene = Scene { simulator, upstream, house, gateway };
    eventually("the receiver is known", async || {
        scene.house.told("SELECT '' || count(*) FROM webhook") == "1"
    })
    .await;
    scene
}

/// How far the receiver has the trail.
fn delivered(house: &House) -> (i64, i64) {
    let one = |question: &str| house.told(question).parse::<i64>().unwrap();
    (one("SELECT '' || delivered FROM webhook"), one("SELECT '' || number FROM audit_chain"))
}

async fn all_delivered(house: &House) {
    eventually("all was delivered", async || {
        let (delivered, all) = delivered(house);
        delivered == all
    })
    .await;
}

#[tokio::test]
async fn each_line_comes_once_signed_and_in_order() {
    let receiver = Receiver::start().await;
    let mut scene = scene(&receiver, "").await;
    let (known, _) = delivered(&scene.house);
    scene.signed_in(ALICE).await;
    scene.house.run(&["session", "revoke", "--user", "alice"]);
    all_delivered(&scene.house).await;
    let got = receiver.got();
    assert!(got.iter().all(is_signed));
    let ids: Vec<i64> = got.iter().map(|(id, _, _)| id.parse().unwrap()).collect();
    let (_, last) = delivered(&scene.house);
    assert_eq!(ids, (known + 1..=last).collect::<Vec<_>>());
    let exported = scene.house.run(&["audit", "export", "--after", &known.to_string()]);
    for ((_, _, body), line) in got.iter().zip(exported.lines()) {
        let (body, mut line): (Value, Value) =
            (serde_json::from_str(body).unwrap(), serde_json::from_str(line).unwrap());
        line.as_object_mut().unwrap().remove("seal");
        assert_eq!(body, line);
    }
    let log = scene.gateway.stop();
    assert!(!log.contains("between-us") && !log.contains(SECRET), "{log}");
}

/// What was not taken comes again with its own number, also after a restart, and before what came later.
#[tokio::test]
async fn what_is_not_taken_comes_again_across_a_restart() {
    let receiver = Receiver::start().await;
    let mut scene = scene(&receiver, "webhook_events = [\"session_opened\", \"session_ended\"]").await;
    receiver.answers(503);
    scene.signed_in(ALICE).await;
    eventually("it was tried twice", async || receiver.got().len() >= 2).await;
    scene.gateway.has_logged("the webhook does not take a line of the audit trail").await;
    let tried = receiver.got();
    assert!(tried.iter().all(|got| got.0 == tried[0].0 && got.2 == tried[0].2 && is_signed(got)));
    scene.house.run(&["session", "revoke", "--user", "alice"]);
    // A redirect is not followed.
    receiver.answers(302);
    scene.gateway.stop();
    let before = receiver.got().len();
    scene.gateway = Gateway::start(&scene.house);
    // The last one, which is gone, has it for a minute more.
    scene.house.sql("UPDATE webhook SET held_until = 0, due_at = 0");
    eventually("it was tried again", async || receiver.got().len() > before).await;
    receiver.answers(200);
    scene.house.sql("UPDATE webhook SET due_at = 0");
    all_delivered(&scene.house).await;
    let events = receiver.events();
    let (last, earlier) = events.split_last().unwrap();
    assert_eq!(last, "session_ended");
    assert!(earlier.iter().all(|event| event == "session_opened"), "{events:?}");
    assert_eq!(receiver.got()[events.len() - 2].0, tried[0].0);
}

/// A line that nobody took for a day is given up, told in the log, and in nobody's way.
#[tokio::test]
async fn a_line_is_given_up_after_a_day_and_not_purged_before() {
    let receiver = Receiver::start().await;
    let mut scene =
        scene(&receiver, "webhook_events = [\"user_changed\"]\n[store]\nkeep_audit = \"1s\"").await;
    receiver.answers(500);
    scene.house.run(&["user", "disable", "alice"]);
    eventually("it was tried", async || !receiver.got().is_empty()).await;
    let line = receiver.got()[0].0.clone();
    let there = format!("SELECT '' || count(*) FROM audit WHERE number = {line}");
    // A purge comes with each start; what is waited for stays.
    while scene.house.details("audit_purged").is_empty() {
        scene.restart();
    }
    assert_eq!(scene.house.told(&there), "1");
    scene.house.sql(&format!("UPDATE audit SET at = at - 86400 WHERE number = {line}; UPDATE webhook SET held_until = 0, due_at = 0"));
    scene.gateway.has_logged("are given up").await;
    receiver.answers(200);
    scene.house.run(&["user", "enable", "alice"]);
    eventually("the next one comes", async || {
        receiver.events().last().is_some_and(|event| event == "user_changed")
            && receiver.got().last().unwrap().0 != line
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_tells_nobody_is_refused() {
    let receiver = Receiver::start().await;
    let scene = scene(&receiver, "").await;
    for (from, to, text) in [
        ("webhook_secret = {", "# {", "audit.webhook_secret: lines are signed"),
        ("webhook = \"http:", "webhook = \"ftp:", "audit.webhook: not an address"),
        ("webhook = \"http://", "webhook = \"http://me:secret@", "audit.webhook: holds a secret in plain"),
        ("[audit]\n", "[audit]\nwebhook_events = [\"nonsense\"]\n", "audit.webhook_events: no event"),
    ] {
        let whole = std::fs::read_to_string(&scene.house.config).unwrap();
        scene.house.replace(from, to);
        let said = scene.house.command(&["check"]);
        assert_eq!(said.status.code(), Some(78), "{text}");
        assert!(String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).contains(text), "{text}");
        std::fs::write(&scene.house.config, whole).unwrap();
    }
}
