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

/// What a receiver answers to a body.
type Answer = Box<dyn FnMut(&str) -> u16 + Send>;

/// A real server, which answers as it is told to.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    got: Arc<Mutex<Vec<Got>>>,
    /// The ids of those to which it said yes.
    taken: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Answer>>,
    knocks: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=between-us", listener.local_addr().unwrap());
        let receiver = Self {
            url,
            got: Arc::default(),
            taken: Arc::default(),
            answer: Arc::new(Mutex::new(Box::new(|_| 204))),
            knocks: Arc::default(),
        };
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
        if request.method() == "HEAD" {
            self.knocks.lock().unwrap().push(request.uri().to_string());
            return Ok(Response::builder().status(405).body(Full::default()).unwrap());
        }
        let field =
            |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let (id, signature) = (field("vestibule-event-id"), field("vestibule-signature"));
        assert_eq!((request.method().as_str(), field("content-type").as_str()), ("POST", "application/json"));
        let body = request.into_body().collect().await?.to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let answer = StatusCode::from_u16((self.answer.lock().unwrap())(&body)).unwrap();
        if answer.is_success() {
            self.taken.lock().unwrap().push(id.clone());
        }
        self.got.lock().unwrap().push((id, signature, body));
        let location = if answer.is_redirection() { "http://127.0.0.1:9/" } else { "" };
        Ok(Response::builder().status(answer).header("location", location).body(Full::default()).unwrap())
    }

    fn answers(&self, status: u16) {
        self.answers_by(move |_| status);
    }

    fn answers_by(&self, answer: impl FnMut(&str) -> u16 + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    /// What it was asked without being told anything.
    pub fn knocks(&self) -> Vec<String> {
        self.knocks.lock().unwrap().clone()
    }

    /// The numbers of the lines that it took.
    fn taken(&self) -> Vec<i64> {
        self.taken.lock().unwrap().iter().map(|id| number(id)).collect()
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

    pub fn section(&self, more: &str) -> String {
        format!(
            "[audit]\nwebhook = \"{}\"\nwebhook_secret = {{ file = \"{{dir}}/hook\" }}\n{more}\n",
            self.url
        )
    }
}

/// The line that an id is of.
fn number(id: &str) -> i64 {
    id.split_once('-').unwrap().0.parse().unwrap()
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
    let rule = "\n[[route.rule]]\npaths = [\"/secret\"]\naccess = \"deny\"\n[observe]";
    let text = crate::common::config(&upstream, &receiver.section(more), "").replace("\n[observe]", rule);
    let house = House::new(&simulator, &text);
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
    let ids: Vec<i64> = got.iter().map(|(id, _, _)| number(id)).collect();
    let (_, last) = delivered(&scene.house);
    assert_eq!(ids, (known + 1..=last).collect::<Vec<_>>());
    let exported = scene.house.run(&["audit", "export", "--after", &known.to_string()]);
    for ((id, _, body), line) in got.iter().zip(exported.lines()) {
        let (body, mut line): (Value, Value) =
            (serde_json::from_str(body).unwrap(), serde_json::from_str(line).unwrap());
        let seal = line.as_object_mut().unwrap().remove("seal").unwrap();
        assert_eq!(*id, format!("{}-{}", line["number"], &seal.as_str().unwrap()[..8]));
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
    scene.house.sql("UPDATE webhook SET due_at = 0");
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
    let line = number(&receiver.got()[0].0);
    let there = format!("SELECT '' || count(*) FROM audit WHERE number = {line}");
    // A purge comes with each start; what is waited for stays.
    while scene.house.details("audit_purged").is_empty() {
        scene.restart();
    }
    assert_eq!(scene.house.told(&there), "1");
    scene.house.sql(&format!(
        "UPDATE audit SET at = at - 86400 WHERE number = {line}; UPDATE webhook SET due_at = 0"
    ));
    scene.gateway.has_logged("are given up").await;
    receiver.answers(200);
    scene.house.run(&["user", "enable", "alice"]);
    eventually("the next one comes", async || {
        receiver.events().last().is_some_and(|event| event == "user_changed")
            && number(&receiver.got().last().unwrap().0) != line
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
        (
            "webhook = \"http://127.0.0.1",
            "webhook = \"http://127.0.0.1.example.com",
            "audit.webhook: tells everybody on the way; write https://",
        ),
        ("[audit]\n", "[audit]\nwebhook_ca = \"ca.pem\"\n", "audit.webhook_ca: http has no TLS"),
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

/// Has the next try come at once, again and again, until something holds.
async fn soon(house: &House, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, async || {
        house.sql("UPDATE webhook SET due_at = 0");
        holds().await
    })
    .await;
}

/// Whoever stands before the receiver refuses a line for what a stranger wrote: the alarms behind it come all the same.
#[tokio::test]
async fn a_line_that_is_refused_for_itself_holds_nothing_up() {
    let receiver = Receiver::start().await;
    let mut scene = scene(&receiver, "").await;
    all_delivered(&scene.house).await;
    receiver.answers_by(|body| if body.contains("poison") { 403 } else { 204 });
    assert_eq!(scene.browser().go("/secret/poison").await.status, 403);
    eventually("it was tried", async || !receiver.got().is_empty()).await;
    let (known, poison) = (receiver.taken(), number(&receiver.got().last().unwrap().0));
    scene.house.run(&["user", "disable", "alice"]);
    scene.house.run(&["user", "enable", "alice"]);
    soon(&scene.house, "what is behind it came", async || receiver.taken().len() >= known.len() + 2).await;
    all_delivered(&scene.house).await;
    assert_eq!(receiver.taken()[known.len()..], [poison + 1, poison + 2], "each once");
    let tried = receiver.got().iter().filter(|(id, _, _)| number(id) == poison).count();
    assert!(tried >= 6, "and once more when it was known that others are taken: {tried}");
    let log = scene.gateway.told("that line is given up").await;
    assert!(log.contains("ERROR") && log.contains("403") && log.contains(&poison.to_string()), "{log}");
    assert!(!log.contains("/secret"), "{log}");
}

/// Nothing is lost where no line is taken, nor by a receiver that is set right while lines are tried.
#[tokio::test]
async fn a_receiver_that_refuses_everything_loses_nothing() {
    let receiver = Receiver::start().await;
    let mut scene = scene(&receiver, "").await;
    all_delivered(&scene.house).await;
    let (known, _) = delivered(&scene.house);
    receiver.answers(401);
    for what in ["disable", "enable", "disable", "enable"] {
        scene.house.run(&["user", what, "alice"]);
    }
    let tries = || scene.house.told("SELECT '' || tries FROM webhook").parse::<u32>().unwrap();
    soon(&scene.house, "it was tried often", async || tries() >= 9).await;
    assert_eq!(delivered(&scene.house), (known, known + 4));
    scene.gateway.has_figure("vestibule_webhook_waiting_lines 4").await;
    eventually("a figure for how long", async || {
        let figures = scene.gateway.figures().await;
        figures.lines().any(|line| {
            line.strip_prefix("vestibule_webhook_failing_seconds ").is_some_and(|seconds| seconds != "0")
        })
    })
    .await;
    // It is set right just after the first of the others was tried.
    let before = receiver.taken().len();
    let mut asked = 0;
    receiver.answers_by(move |_| {
        asked += 1;
        if asked <= 2 { 401 } else { 204 }
    });
    soon(&scene.house, "all came", async || {
        let (delivered, all) = delivered(&scene.house);
        delivered == all
    })
    .await;
    let mut taken = receiver.taken()[before..].to_vec();
    taken.sort_unstable();
    assert_eq!(taken, (known + 1..=known + 4).collect::<Vec<_>>(), "each once");
    scene.gateway.has_figure("vestibule_webhook_waiting_lines 0").await;
    scene.gateway.has_figure("vestibule_webhook_failing_seconds 0").await;
    let log = scene.gateway.stop();
    assert!(!log.contains("given up"), "{log}");
}

/// Who is told may change; what waits is told to whoever it is.
#[tokio::test]
async fn another_address_gets_what_waits() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let mut scene = scene(&receiver, "webhook_events = [\"user_changed\"]").await;
    receiver.answers(503);
    scene.house.run(&["user", "disable", "alice"]);
    eventually("it was tried", async || !receiver.got().is_empty()).await;
    scene.gateway.stop();
    scene.house.replace(&receiver.url, &other.url);
    scene.house.run(&["user", "enable", "alice"]);
    scene.gateway = Gateway::start(&scene.house);
    soon(&scene.house, "both came", async || other.taken().len() == 2).await;
    assert_eq!(other.taken()[0], number(&receiver.got()[0].0));
    // A queue of another name would keep old lines from going.
    scene.house.sql("UPDATE webhook SET name = 'other'");
    eventually("there is one queue", async || {
        scene.house.told("SELECT group_concat(name) FROM webhook") == "webhook"
    })
    .await;
}

/// A webhook that was away from the configuration for long: what is old is passed over at once.
#[tokio::test]
async fn what_is_old_is_passed_over_with_one_line_in_the_log() {
    let receiver = Receiver::start().await;
    let mut scene = scene(&receiver, "webhook_events = [\"user_changed\"]").await;
    all_delivered(&scene.house).await;
    scene.gateway.stop();
    let waits = receiver.got().len();
    for what in ["disable", "enable", "disable"] {
        scene.house.run(&["user", what, "alice"]);
    }
    scene.house.sql("UPDATE audit SET at = at - 90000 WHERE number > (SELECT delivered FROM webhook)");
    scene.house.run(&["user", "enable", "alice"]);
    scene.gateway = Gateway::start(&scene.house);
    eventually("what is not old", async || receiver.got().len() > waits).await;
    all_delivered(&scene.house).await;
    assert_eq!(receiver.got().len(), waits + 1, "{:?}", receiver.got());
    let log = scene.gateway.stop();
    let told: Vec<_> = log.lines().filter(|line| line.contains("are given up")).collect();
    assert!(told.len() == 1 && told[0].contains("\"lines\":3"), "{log}");
}

/// Whoever can write to the database does not silence it by a number.
#[tokio::test]
async fn a_number_that_is_too_high_is_set_back_and_told() {
    let receiver = Receiver::start().await;
    let mut scene = scene(&receiver, "").await;
    scene.house.sql("UPDATE webhook SET delivered = 999999999");
    scene.gateway.has_logged("lines that were never written").await;
    all_delivered(&scene.house).await;
    let known = receiver.got().len();
    scene.house.run(&["user", "disable", "alice"]);
    eventually("what comes now", async || receiver.got().len() > known).await;
    all_delivered(&scene.house).await;
    // Where nothing is left of what waits, it has all.
    receiver.answers(503);
    scene.house.run(&["user", "enable", "alice"]);
    eventually("it was tried", async || receiver.got().len() > known + 1).await;
    scene.house.sql("DELETE FROM audit WHERE number > (SELECT delivered FROM webhook)");
    soon(&scene.house, "nothing waits", async || {
        let (delivered, all) = delivered(&scene.house);
        delivered == all
    })
    .await;
}

/// A process that takes over brings lines at once, the last of the one before it too.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_goes_on_at_once() {
    let receiver = Receiver::start().await;
    let mut scene = scene(&receiver, "").await;
    all_delivered(&scene.house).await;
    scene.gateway.signal("USR2");
    scene.gateway.has_logged("another process has taken over").await;
    scene.gateway.wait();
    scene.house.run(&["user", "disable", "alice"]);
    let came = async || receiver.events().iter().any(|event| event == "user_changed");
    eventually("what the next one brings", came).await;
    let lock = std::fs::read_to_string(scene.house.path("state/vestibule.db-lock")).unwrap();
    let ended = std::process::Command::new("kill").arg(lock.trim()).status().unwrap();
    assert!(ended.success());
    // And what the last one says as it ends is told before it does.
    eventually("its end", async || {
        receiver.events().iter().filter(|event| *event == "gateway_stopped").count() == 2
    })
    .await;
}

/// The log says what is wrong to the bottom, and nothing of the address.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_not_there_is_told_with_its_cause() {
    let receiver = Receiver::start().await;
    let mut scene = scene(&receiver, "").await;
    scene.gateway.stop();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    scene.house.replace(&receiver.url, &format!("http://{free}/hook?token=between-us"));
    scene.gateway = Gateway::start(&scene.house);
    scene.gateway.has_logged("Connection refused").await;
    let log = scene.gateway.stop();
    assert!(!log.contains("between-us"), "{log}");
}

/// `check` reads the authorities, and what cannot be begun is not noted as begun.
#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_cannot_be_read_are_told_before_anything_else() {
    let (simulator, upstream) =
        (crate::common::Simulator::start(&[]), crate::common::Upstream::start().await);
    let section = "[audit]\nwebhook = \"https://127.0.0.1:9/\"\nwebhook_secret = { file = \"{dir}/hook\" }\n\
                   webhook_ca = \"{dir}/ca.pem\"\n";
    let house = House::new(&simulator, &crate::common::config(&upstream, section, ""));
    std::fs::write(house.path("hook"), SECRET).unwrap();
    std::fs::write(house.path("ca.pem"), "nothing").unwrap();
    let said = house.command(&["check"]);
    let text = std::fs::read_to_string(&house.config).unwrap();
    let line = text.lines().position(|line| line.starts_with("webhook_ca")).unwrap() + 1;
    assert_eq!(said.status.code(), Some(78));
    let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.contains(&format!("config.toml:{line}: audit.webhook_ca: ")), "{said}");
    let said = house.command(&["serve"]);
    assert_eq!(said.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).contains("audit.webhook_ca"));
    assert!(house.details("gateway_started").is_empty());
}

/// `check --online` knocks, and tells nothing.
#[tokio::test(flavor = "multi_thread")]
async fn check_looks_whether_it_is_there() {
    let receiver = Receiver::start().await;
    let scene = scene(&receiver, "").await;
    all_delivered(&scene.house).await;
    let known = receiver.got().len();
    let said = scene.house.command(&["check", "--online"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("webhook") && said.contains("is there; no event was sent"), "{said}");
    assert_eq!((receiver.knocks(), receiver.got().len()), (vec!["/hook".to_owned()], known));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    scene.house.replace(&receiver.url, &format!("http://{free}/hook?token=between-us"));
    let said = scene.house.command(&["check", "--online"]);
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("cannot be reached: ") && said.contains("Connection refused"), "{said}");
    assert!(!said.contains("between-us"), "{said}");
}
