//! What the tests of the simulators share: the real binary, over real HTTP, and its side channel.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

/// The binary under test, killed when the test ends.
pub(crate) struct Simulator {
    pub(crate) process: Child,
    pub(crate) output: Option<BufReader<ChildStdout>>,
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Simulator {
    pub(crate) fn run(provider: &str, flags: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .args(["simulate", provider, "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let output = process.stdout.take().map(BufReader::new);
        let client = Client::builder().no_proxy().build().expect("a plain client needs nothing");
        let mut simulator = Self { process, output, url: String::new(), client };
        let line = simulator.line();
        simulator.url = line.strip_prefix("listening ").expect("the first line tells the URL").to_owned();
        simulator
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let output = self.output.as_mut().expect("the output is open");
        output.by_ref().read_line(&mut line).expect("the output is text");
        line.trim_end_matches('\n').to_owned()
    }

    pub(crate) async fn side(&self, page: &str) -> Value {
        let (status, body) =
            json_of(send(self.client.get(format!("{}/simulator/{page}", self.url))).await).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The newest code sent to a number.
    pub(crate) async fn code(&self, to: &str) -> String {
        let messages = self.side("messages").await;
        let newest = messages.as_array().and_then(|all| all.iter().rfind(|message| message["to"] == to));
        member(newest.expect("something was sent there"), "code")
    }

    pub(crate) async fn post_fault(&self, fault: &Value) -> Response {
        send(self.client.post(format!("{}/simulator/faults", self.url)).json(fault)).await
    }

    pub(crate) async fn fault(&self, fault: &Value) {
        let (status, body) = json_of(self.post_fault(fault).await).await;
        assert_eq!(status, 201, "{body}");
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _status = self.process.wait();
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("it answers")
}

pub(crate) async fn text(response: Response) -> (u16, String) {
    (response.status().as_u16(), response.text().await.expect("the body is text"))
}

pub(crate) async fn json_of(response: Response) -> (u16, Value) {
    let (status, text) = text(response).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {status} {text}")))
}

pub(crate) fn member(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned()
}
