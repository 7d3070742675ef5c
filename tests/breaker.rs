//! A provider that was left alone comes back by one trial: the real clients and simulators over real sockets, under a
//! clock that is moved by hand between the calls.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use vestibule::app;
use vestibule::clock::SystemClock;
use vestibule::config::{Purpose, Settings};
use vestibule::domain::challenge::{Code, Verdict};
use vestibule::domain::channel::Channel;
use vestibule::domain::phone::PhoneNumber;
use vestibule::domain::sending::Holder;
use vestibule::simulator::SentCode;
use vestibule::simulator::twilio::{Options, Simulator};
use vestibule::verifier::Trouble;
use vestibule::verifier::failover::{Attempt, Failover};

/// A simulated provider that can be told to fail.
struct Provider {
    url: String,
    sent: Arc<Mutex<Vec<SentCode>>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::<Mutex<Vec<SentCode>>>::default();
        let heard = sent.clone();
        let simulator = Simulator::new(Options::default());
        tokio::spawn(simulator.serve(listener, move |code| heard.lock().unwrap().push(code.clone())));
        Self { url, sent }
    }

    /// Fails this way from now on.
    async fn fails(&self, fault: &str) {
        let body = format!("{{\"on\":\"start\",\"fault\":\"{fault}\",\"times\":0,\"delay_ms\":50}}");
        let answer = http().post(format!("{}/simulator/faults", self.url)).body(body).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    async fn works(&self) {
        http().delete(format!("{}/simulator/faults", self.url)).send().await.unwrap();
    }

    /// How many calls it got.
    async fn calls(&self) -> usize {
        let answer = http().get(format!("{}/simulator/requests", self.url)).send().await.unwrap();
        answer.json::<Vec<serde_json::Value>>().await.unwrap().len()
    }

    fn messages(&self) -> usize {
        self.sent.lock().unwrap().len()
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Two providers and their failover.
async fn two() -> (Provider, Provider, Failover, tempfile::TempDir) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (first, second, directory) =
        (Provider::start().await, Provider::start().await, tempfile::tempdir().unwrap());
    std::fs::write(directory.path().join("token"), "secret").unwrap();
    let path = directory.path().display();
    let sections = [("first", &first.url), ("second", &second.url)].map(|(name, url)| {
        format!(
            "[[provider]]\nkind = \"twilio\"\nname = \"{name}\"\nbase_url = \"{url}\"\naccount_sid = \"AC{}\"\nauth_token = {{ file = \"{path}/token\" }}\nservice_sid = \"VA{}\"\n",
            "0".repeat(32),
            "1".repeat(32)
        )
    });
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\npublic_url = \"http://127.0.0.1\"\nstate_directory = \"{path}/state\"\n\
         [[route]]\nupstream = [\"http://127.0.0.1:1\"]\n{}",
        sections.concat()
    );
    let settings = Settings::parse(&text, Purpose::Serve).unwrap();
    let failover = app::failover(&settings, Arc::new(SystemClock)).unwrap();
    (first, second, failover, directory)
}

/// Time passes for everything that waits or rests. What is under way on a socket knows nothing of it.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

fn number(n: usize) -> PhoneNumber {
    format!("+1415{:07}", 2_000_000 + n * 12_347).parse().unwrap()
}

async fn start(failover: &Failover, n: usize) -> Vec<Attempt> {
    failover.start(&number(n), Channel::Sms, None).await
}

/// Who was asked, and whether that sent.
fn asked(attempts: &[Attempt]) -> Vec<(&str, bool)> {
    attempts.iter().map(|attempt| (attempt.provider.as_str(), attempt.result.is_ok())).collect()
}

fn health(failover: &Failover) -> Vec<bool> {
    failover.health().map(|(_, asked)| asked).collect()
}

#[tokio::test]
async fn after_its_rest_one_trial_decides_and_each_rest_is_longer() {
    let (first, second, failover, _directory) = two().await;
    first.fails("503").await;
    for n in 0..3 {
        assert_eq!(asked(&start(&failover, n).await), [("first", false), ("second", true)]);
    }
    assert_eq!(health(&failover), [false, true]);
    let calls = first.calls().await;
    pass(8).await;
    assert_eq!(asked(&start(&failover, 3).await), [("second", true)], "it rests for ten seconds");
    assert_eq!(first.calls().await, calls);

    // Ten at once after the rest: one is the trial, the others do not wait for it.
    pass(2).await;
    let starts = futures_util::future::join_all((4..14).map(|n| start(&failover, n))).await;
    let trials = starts.iter().filter(|attempts| asked(attempts).contains(&("first", false))).count();
    assert_eq!(trials, 1, "{starts:?}");
    assert!(starts.iter().all(|attempts| asked(attempts).last() == Some(&("second", true))), "{starts:?}");
    assert_eq!(second.messages(), 14);
    assert_eq!(first.messages(), 0);

    // The trial failed: twenty seconds now. The next one works, and all is as before.
    let calls = first.calls().await;
    pass(15).await;
    assert_eq!(asked(&start(&failover, 14).await), [("second", true)]);
    assert_eq!(first.calls().await, calls);
    first.works().await;
    pass(5).await;
    assert_eq!(health(&failover), [false, true], "nobody has tried it yet");
    assert_eq!(asked(&start(&failover, 15).await), [("first", true)]);
    assert_eq!(health(&failover), [true, true]);
    assert_eq!(asked(&start(&failover, 16).await), [("first", true)]);

    // From nothing again: two failures do not open it, three do.
    first.fails("20003").await;
    for n in 17..19 {
        start(&failover, n).await;
        assert_eq!(health(&failover), [true, true]);
    }
    start(&failover, 19).await;
    assert_eq!(health(&failover), [false, true]);
}

#[tokio::test]
async fn when_all_rest_nobody_is_asked_and_the_soonest_end_is_told() {
    let (first, second, failover, _directory) = two().await;
    first.fails("503").await;
    second.fails("503").await;
    for n in 0..3 {
        assert_eq!(asked(&start(&failover, n).await), [("first", false), ("second", false)]);
    }
    let calls = (first.calls().await, second.calls().await);
    let attempts = start(&failover, 3).await;
    let [Attempt { result: Err(error), .. }] = attempts.as_slice() else { panic!("{attempts:?}") };
    assert!(error.trouble == Trouble::Resting, "{error:?}");
    let left = error.retry_after.unwrap();
    assert!(left <= Duration::from_secs(10) && left > Duration::from_secs(5), "{left:?}");
    assert!(failover.would_ask(Channel::Sms).is_err_and(|error| error.trouble == Trouble::Resting));
    assert_eq!((first.calls().await, second.calls().await), calls);

    pass(10).await;
    second.works().await;
    assert_eq!(failover.would_ask(Channel::Sms).unwrap().len(), 2, "looking takes no trial");
    assert_eq!(asked(&start(&failover, 4).await), [("first", false), ("second", true)]);
    assert_eq!(health(&failover), [false, true]);
}

#[tokio::test]
async fn a_code_is_checked_by_its_holder_also_while_that_rests_and_wakes_it() {
    let (first, second, failover, _directory) = two().await;
    let attempts = start(&failover, 0).await;
    let handle = attempts[0].result.as_ref().unwrap().handle.clone();
    let holder = Holder { provider: "first".to_owned(), handle: Some(handle) };
    let code: Code = first.sent.lock().unwrap()[0].code.parse().unwrap();
    first.fails("503").await;
    for n in 1..4 {
        start(&failover, n).await;
    }
    assert_eq!(health(&failover), [false, true]);
    assert_eq!(failover.check(&holder, &number(0), &code).await, Ok(Verdict::Approved));
    assert_eq!(health(&failover), [true, true], "whoever checks works");
    first.works().await;
    assert_eq!(asked(&start(&failover, 4).await), [("first", true)]);
    assert_eq!((first.messages(), second.messages()), (2, 3));

    // Of somebody who is not configured any more nothing is known.
    let gone = Holder { provider: "third".to_owned(), handle: None };
    assert_eq!(failover.check(&gone, &number(0), &code).await, Ok(Verdict::GoneOrExpired));
}
