//! What the end-to-end tests stand on: the real binary, the real simulator, and an upstream that shows every byte
//! it gets. Everything listens on a port of its own.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

pub mod browser;
pub mod frames;
pub mod journey;
pub mod more;
pub mod origin;
#[path = "../../common/postgres.rs"]
pub mod postgres;
pub mod raw;
pub mod upstream;
pub mod wire;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub use browser::Browser;
pub use upstream::Upstream;

pub const ALICE: &str = "+14155550100";
pub const BOB: &str = "+14155550101";
pub const STRANGER: &str = "+14155550199";

/// Nothing here takes longer; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with the test.
#[derive(Debug)]
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .args(arguments)
            .env_remove("CREDENTIALS_DIRECTORY")
            .env_remove("STATE_DIRECTORY")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// The next line that has this text, from now on.
    fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {text:?}; there were:\n{}", self.seen.join("\n")),
            }
        }
    }

    fn all_output(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    fn terminate(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
    }

    /// Asks it to end and waits until it has; everything it ever printed.
    fn stop(&mut self) -> String {
        self.terminate();
        self.child.wait().unwrap();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(2)) {
            self.seen.push(line);
        }
        self.seen.join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `vestibule simulate …`, running.
#[derive(Debug)]
pub struct Simulator {
    process: Process,
    pub url: String,
}

impl Simulator {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_kind("twilio", arguments)
    }

    /// The same of another provider.
    pub fn start_kind(kind: &str, arguments: &[&str]) -> Self {
        let mut all = vec!["simulate", kind, "--listen", "127.0.0.1:0"];
        all.extend(arguments);
        let mut process = Process::start(&all, &[]);
        let line = process.wait_for("listening ");
        let url = line.trim_start_matches("listening ").trim().to_owned();
        Self { process, url }
    }

    /// All messages so far, as the simulator tells them: to, channel, code, sent_at.
    pub async fn messages(&self) -> Vec<serde_json::Value> {
        let url = format!("{}/simulator/messages", self.url);
        http().get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The newest code sent to a number.
    pub async fn code(&self, to: &str) -> String {
        let messages = self.messages().await;
        let newest = messages.iter().rev().find(|message| message["to"] == to);
        newest.unwrap_or_else(|| panic!("nothing was sent to {to}"))["code"].as_str().unwrap().to_owned()
    }

    /// A code that is not the one sent.
    pub async fn wrong_code(&self, to: &str) -> String {
        let right: u64 = self.code(to).await.parse().unwrap();
        format!("{:06}", (right + 1) % 1_000_000)
    }

    /// Switches a fault on: see `vestibule simulate twilio --help`.
    pub async fn fault(&self, fault: serde_json::Value) {
        let answer = http().post(format!("{}/simulator/faults", self.url)).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    pub async fn clear_faults(&self) {
        http().delete(format!("{}/simulator/faults", self.url)).send().await.unwrap();
    }

    /// The API calls it got.
    pub async fn requests(&self) -> Vec<serde_json::Value> {
        http().get(format!("{}/simulator/requests", self.url)).send().await.unwrap().json().await.unwrap()
    }

    pub fn stop(mut self) {
        self.process.stop();
    }
}

/// A plain HTTP client for talking to the simulator.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A directory with a configuration, where a gateway runs and commands work.
#[derive(Debug)]
pub struct House {
    pub directory: tempfile::TempDir,
    pub config: PathBuf,
}

impl House {
    /// Writes a configuration: `[[provider]]` and state are filled in, the rest is `text`.
    pub fn new(simulator: &Simulator, text: &str) -> Self {
        Self::with_providers(&provider("twilio", &simulator.url), text)
    }

    /// The same, with `[[provider]]` sections of the test's own; `{dir}` is the house's directory.
    pub fn with_providers(providers: &str, text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        std::fs::write(directory.path().join("token"), "a-secret-token-of-32-characters!").unwrap();
        let house = Self { directory, config };
        let path = house.directory.path().display();
        let text = format!("{text}\n{providers}").replace("{dir}", &path.to_string());
        std::fs::write(&house.config, text).unwrap();
        house
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command of ours on this configuration.
    pub fn command(&self, arguments: &[&str]) -> Output {
        vestibule(&[arguments, &["--config", self.config.to_str().unwrap()]].concat())
    }

    /// The same, which must succeed; its standard output.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.run(&[arguments, &["--json"]].concat())).unwrap()
    }

    pub fn add_user(&self, name: &str, phone: &str) {
        self.run(&["user", "add", name, "--phone", phone]);
    }
}

/// Runs the binary.
pub fn vestibule(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command
        .args(arguments)
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("STATE_DIRECTORY")
        .stdin(Stdio::null());
    command.output().unwrap()
}

/// `vestibule serve`, running.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Gateway {
    /// Starts it on the configuration of a house and waits until it listens.
    pub fn start(house: &House) -> Self {
        let mut process = Process::start(&["serve", "--config", house.config.to_str().unwrap()], &[]);
        let line = process.wait_for("\"listening\"");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        Self { process, address: line["address"].as_str().unwrap().parse().unwrap() }
    }

    /// The next log line with this text, from now on.
    pub fn wait_for_log(&mut self, text: &str) -> String {
        self.process.wait_for(text)
    }

    /// The log so far.
    pub fn log(&mut self) -> String {
        self.process.all_output()
    }

    /// Stops it gently; the whole log.
    pub fn stop(&mut self) -> String {
        self.process.stop()
    }

    /// Asks it to stop, and does not wait.
    pub fn terminate(&mut self) {
        self.process.terminate();
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.process.child.wait().unwrap()
    }

    /// Kills it, as a power cut would.
    pub fn kill(mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    pub fn process_id(&self) -> u32 {
        self.process.child.id()
    }
}

/// A whole scene: simulator, upstream, a house with alice and bob, and the gateway on plain http.
#[derive(Debug)]
pub struct Scene {
    pub simulator: Simulator,
    pub upstream: Upstream,
    pub house: House,
    pub gateway: Gateway,
}

impl Scene {
    /// With one route to the upstream for the host 127.0.0.1, and whatever sections `more` adds.
    pub async fn start(more: &str) -> Self {
        Self::with(more, "", &[]).await
    }

    /// `in_server` goes into `[server]`; `simulate` are flags of the simulator.
    pub async fn with(more: &str, in_server: &str, simulate: &[&str]) -> Self {
        let simulator = Simulator::start(simulate);
        let upstream = Upstream::start().await;
        let text = config(&upstream, more, in_server);
        let house = House::new(&simulator, &text);
        house.add_users(&[("alice", ALICE), ("bob", BOB)]);
        let gateway = Gateway::start(&house);
        Self { simulator, upstream, house, gateway }
    }

    /// A fresh browser at this gateway.
    pub fn browser(&self) -> Browser {
        Browser::new(self.gateway.address)
    }

    /// A browser where somebody is signed in.
    pub async fn signed_in(&self, phone: &str) -> Browser {
        let browser = self.browser();
        browser.sign_in(&self.simulator, phone).await;
        browser
    }

    /// Kills the gateway and starts it again on the same state.
    pub fn restart(&mut self) {
        self.gateway.stop();
        self.gateway = Gateway::start(&self.house);
    }
}

/// A `[[provider]]` section for a simulator.
pub fn provider(name: &str, url: &str) -> String {
    format!(
        "[[provider]]\nkind = \"twilio\"\nname = \"{name}\"\nbase_url = \"{url}\"\naccount_sid = \"AC{}\"\nauth_token = {{ file = \"{{dir}}/token\" }}\nservice_sid = \"VA{}\"\n",
        "0".repeat(32),
        "1".repeat(32)
    )
}

/// The configuration of a scene.
pub fn config(upstream: &Upstream, more: &str, in_server: &str) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\npublic_url = \"http://127.0.0.1\"\nstate_directory = \"{{dir}}/state\"\nworkers = 2\n{in_server}\n\n\
         [[route]]\nupstream = [\"http://{}\"]\n\n[observe]\nlisten = \"127.0.0.1:0\"\n\n[log]\nformat = \"json\"\nlevel = \"debug\"\n\n{more}\n",
        upstream.address
    )
}

/// Waits until something holds, looking often; fails after [`PATIENCE`].
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All bytes of a file.
pub fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}
