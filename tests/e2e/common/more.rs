//! More of a person's and an administrator's moves.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::browser::{HTML, Page};
use super::wire::Wire;
use super::{Browser, Gateway, House, Process, Scene, Simulator, Upstream, eventually};

/// Status, names of the fields, and text of a page without what differs from visit to visit.
pub type Normal = (u16, Vec<String>, String);

/// One of many numbers that have nothing in common, not even their first digits.
pub fn number(n: usize) -> String {
    format!("+1415{:07}", 2_000_000 + n * 12_347)
}

impl Page {
    /// Fails unless the page has this status and says this.
    #[track_caller]
    pub fn expect(&self, status: u16, text: &str) {
        assert!(self.status == status && self.text.contains(text), "wanted {status} {text:?}:\n{self:#?}");
    }

    /// The page without what differs from visit to visit: reference, last digits, seconds.
    pub fn normal(&self) -> Normal {
        let mut text = self.text.clone();
        if let Some(reference) = self.reference() {
            text = text.replace(reference, "REFERENCE");
        }
        let mut kept = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, from) = rest.split_at(at);
            kept.push_str(before);
            // Durations, masks and tries are numbers; tries must be the same and are compared by sentence.
            let digits = from.chars().take_while(char::is_ascii_digit).count();
            let is_tries = from[digits..].starts_with(" tries") || from[digits..].starts_with("-digit");
            kept.push_str(if is_tries { &from[..digits] } else { "N" });
            rest = &from[digits..];
        }
        kept.push_str(rest);
        let kept = kept.replace("N seconds", "N second").replace("N minutes", "N minute");
        let mut names: Vec<String> = self.headers.keys().map(ToString::to_string).collect();
        names.sort();
        (self.status.as_u16(), names, kept)
    }

    /// What stands in `Retry-After`.
    #[track_caller]
    pub fn retry_after(&self) -> u64 {
        self.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {self:#?}"))
    }
}

impl Browser {
    /// Asks for another code, or the code another way.
    pub async fn resend(&self, channel: &str) -> Page {
        self.submit("/.vestibule/challenge/resend", &[("channel", channel)]).await
    }

    /// Types a wrong code and reads what the page says then.
    pub async fn mistype(&self, code: &str) -> Page {
        let answer = self.verify(code).await;
        assert!(answer.location().starts_with("/.vestibule/challenge?"), "{answer:#?}");
        self.go(answer.location()).await
    }

    /// Asks for a code where people say their name.
    pub async fn start_by_name(&self, name: &str) -> Page {
        self.submit("/.vestibule/challenge/start", &[("name", name), ("return_to", "/")]).await
    }

    /// The page that an answer leads to.
    pub async fn follow(&self, answer: Page) -> Page {
        let location = answer.location().to_owned();
        if location.starts_with("/.vestibule/challenge") { self.go(&location).await } else { answer }
    }

    /// The challenge page as it is now.
    pub async fn challenge(&self) -> Page {
        self.go("/.vestibule/challenge").await
    }

    /// A form that came through a proxy which says whose it is.
    pub async fn submit_from(&self, client: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        let request =
            self.request(Method::POST, path).header("accept", HTML).header("x-forwarded-for", client);
        self.send(request.form(fields)).await
    }

    /// Any body of any type to the API.
    pub async fn api_raw(&self, what: &str, media_type: &str, body: impl Into<reqwest::Body>) -> Page {
        let request = self.request(Method::POST, &format!("/.vestibule/api/otp/{what}"));
        self.send(request.header("content-type", media_type).body(body)).await
    }

    /// Whether the application behind answers.
    pub async fn is_in(&self) -> bool {
        self.go("/").await.text == "hello"
    }
}

impl Simulator {
    /// How many starts (`Verifications`) or checks (`VerificationCheck`) it was asked for.
    pub async fn calls(&self, path: &str) -> usize {
        let requests = self.requests().await;
        let these = requests.iter().filter(|request| {
            request["method"] == "POST" && request["path"].as_str().is_some_and(|known| known.ends_with(path))
        });
        these.count()
    }

    /// The API calls that came after those which were `known`. It keeps the newest two hundred, so that counting all of
    /// them twice would tell nothing; between the two questions there must be fewer.
    pub async fn requests_after(&self, known: &[Value]) -> Vec<Value> {
        let now = self.requests().await;
        let fits = |gone: &usize| now.starts_with(&known[*gone..]);
        let gone = (0..=known.len()).find(fits).unwrap();
        now[known.len() - gone..].to_vec()
    }

    /// How many messages went to a number.
    pub async fn sent_to(&self, to: &str) -> usize {
        self.messages().await.iter().filter(|message| message["to"] == to).count()
    }
}

impl House {
    /// Adds several users by one command.
    pub fn add_users(&self, users: &[(&str, &str)]) {
        let lines: String = users.iter().map(|(name, phone)| format!("{name},{phone}\n")).collect();
        std::fs::write(self.path("people.csv"), format!("name,phone_number\n{lines}")).unwrap();
        self.run(&["user", "import", self.path("people.csv").to_str().unwrap()]);
    }

    /// Adds so many users: u0, u1 and so on, who have the numbers from 0.
    pub fn add_many(&self, count: usize) {
        let users: Vec<_> = (0..count).map(|n| (format!("u{n}"), number(n))).collect();
        self.add_users(&users.iter().map(|(name, to)| (name.as_str(), to.as_str())).collect::<Vec<_>>());
    }

    /// So much time passes for every code that was sent, and for nothing else.
    pub fn passes(&self, seconds: u32) {
        self.sql(&format!(
            "UPDATE challenge SET sent_at = sent_at - {seconds}, created_at = created_at - {seconds}"
        ));
    }

    /// Changes the database behind the gateway's back.
    pub fn sql(&self, statement: &str) {
        let store = rusqlite::Connection::open(self.path("state/vestibule.db")).unwrap();
        store.busy_timeout(Duration::from_secs(5)).unwrap();
        store.execute_batch(statement).unwrap();
    }

    /// The one text that answers a question to the database.
    pub fn told(&self, question: &str) -> String {
        let store = rusqlite::Connection::open(self.path("state/vestibule.db")).unwrap();
        store.busy_timeout(Duration::from_secs(5)).unwrap();
        store.query_row(question, [], |row| row.get(0)).unwrap()
    }

    /// Whether a question to the database has an answer.
    pub fn finds(&self, question: &str) -> bool {
        let store = rusqlite::Connection::open(self.path("state/vestibule.db")).unwrap();
        store.busy_timeout(Duration::from_secs(5)).unwrap();
        store.prepare(question).unwrap().exists([]).unwrap()
    }

    /// The events of the audit trail that belong to a reference.
    pub fn events(&self, reference: &str) -> Vec<String> {
        let list = self.json(&["audit", "tail", "--reference", reference]);
        list.as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    /// What the audit trail says of an event, oldest first.
    pub fn details(&self, event: &str) -> Vec<String> {
        let list = self.json(&["audit", "tail", "--lines", "1000"]);
        let these = list.as_array().unwrap().iter().filter(|known| known["event"] == event);
        these.map(|known| known["detail"].as_str().unwrap().to_owned()).collect()
    }

    /// Everybody who is in.
    pub fn sessions(&self) -> Vec<Value> {
        self.json(&["session", "list"]).as_array().unwrap().clone()
    }

    /// Writes another text into the configuration.
    pub fn replace(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&self.config, text.replace(from, to)).unwrap();
    }

    /// Runs a command with something on its standard input or in its environment.
    pub fn command_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(arguments).arg("--config").arg(&self.config).stdin(Stdio::null());
        command.env_remove("CREDENTIALS_DIRECTORY").env_remove("STATE_DIRECTORY");
        command.envs(environment.iter().copied()).output().unwrap()
    }
}

impl Gateway {
    /// Starts it, and does something with its process before it listens.
    pub fn start_and(house: &House, meanwhile: impl FnOnce(u32)) -> Self {
        let mut process = Process::start(&["serve", "--config", house.config.to_str().unwrap()], &[]);
        meanwhile(process.child.id());
        let line: Value = serde_json::from_str(&process.wait_for("\"listening\"")).unwrap();
        Self { process, address: line["address"].as_str().unwrap().parse().unwrap() }
    }

    /// Starts it with an environment; reads either format of its log.
    pub fn start_with(house: &House, environment: &[(&str, &str)]) -> Self {
        let mut process = Process::start(&["serve", "--config", house.config.to_str().unwrap()], environment);
        let line = process.wait_for("listening");
        let (_, rest) = line.split_once("127.0.0.1:").unwrap();
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Self { process, address: format!("127.0.0.1:{port}").parse().unwrap() }
    }

    /// The figures for monitors.
    pub async fn figures(&mut self) -> String {
        self.told_monitors("/metrics").await.1
    }

    /// What monitors are told: status and text.
    pub async fn told_monitors(&mut self, path: &str) -> (u16, String) {
        let answer = super::http().get(self.observed(path)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Where monitors are told it.
    pub fn observed(&mut self, path: &str) -> String {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("health and metrics are told")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        format!("http://{}{path}", line["address"].as_str().unwrap())
    }

    /// Waits until the figures have this line.
    pub async fn has_figure(&mut self, line: &str) {
        eventually(&format!("the figures say {line}"), async || {
            self.figures().await.lines().any(|known| known == line)
        })
        .await;
    }

    /// The first line of the whole log with this text, once there is one.
    pub async fn told(&mut self, text: &str) -> String {
        self.has_logged(text).await;
        let log = self.log();
        log.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned()
    }

    /// Waits until the log has this text anywhere.
    pub async fn has_logged(&mut self, text: &str) {
        eventually(&format!("the log says {text}"), async || self.process.all_output().contains(text)).await;
    }
}

/// A scene with alice signed in, for requests by hand.
#[derive(Debug)]
pub struct Visit {
    pub scene: Scene,
    pub cookie: String,
}

impl Visit {
    /// With these sections, and these files in the house: name and text.
    pub async fn new(more: &str, files: &[(&str, &str)]) -> Self {
        let simulator = Simulator::start(&[]);
        let upstream = Upstream::start().await;
        let house = House::new(&simulator, &super::config(&upstream, more, ""));
        for (name, text) in files {
            std::fs::write(house.path(name), text).unwrap();
        }
        house.add_user("alice", super::ALICE);
        let gateway = Gateway::start(&house);
        let scene = Scene { simulator, upstream, house, gateway };
        let cookie = scene.signed_in(super::ALICE).await.cookie("vestibule").unwrap();
        Self { scene, cookie }
    }

    pub async fn connect(&self) -> Wire {
        Wire::connect(self.scene.gateway.address).await
    }

    /// A request of alice's: `GET /path`, and fields with their line ends.
    pub fn request(&self, line: &str, more: &str) -> String {
        format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: vestibule={}\r\n{more}\r\n", self.cookie)
    }

    /// Sends it on a connection of its own, and reads an answer with a length.
    pub async fn send(&self, line: &str, more: &str) -> (String, String) {
        let mut client = self.connect().await;
        client.send(self.request(line, more)).await;
        client.answer().await
    }
}

/// `vestibule demo`, running; everything it prints is in `wait_for`.
#[derive(Debug)]
pub struct Demo(Process);

impl Demo {
    pub fn start(temporary: &std::path::Path) -> Self {
        let arguments = ["demo", "--listen", "127.0.0.1:0"];
        Self(Process::start(&arguments, &[("TMPDIR", temporary.to_str().unwrap())]))
    }

    pub fn wait_for(&mut self, text: &str) -> String {
        self.0.wait_for(text)
    }

    pub fn stop(&mut self) -> String {
        self.0.stop()
    }
}

/// A command failed as commands do, and said so.
#[track_caller]
pub fn expect_failure(output: &Output, text: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(text), "wanted {text:?}: {said}");
}

/// A command did its work; what it printed.
#[track_caller]
pub fn expect_success(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
