//! Two hundred codes at once for one challenge: no more than its tries reach the provider, and one session at most.

use std::time::Instant;

use futures_util::future::join_all;

use crate::common::browser::Page;
use crate::common::journey::GENEROUS;
use crate::common::{ALICE, BOB, Browser, Scene};

const AT_ONCE: usize = 200;
/// As many as the provider looks at.
const TRIES: usize = 5;

/// What two hundred came to.
struct Outcome {
    checks: usize,
    inside: usize,
    sessions: usize,
    pages: Vec<Page>,
}

/// One challenge, and two hundred codes for it at once.
async fn race(scene: &Scene, phone: &str, user: &str, code: impl Fn(usize, &str, &str) -> String) -> Outcome {
    let browser = scene.browser();
    assert_eq!(browser.start(phone).await.status, 303);
    let (right, wrong) = (scene.simulator.code(phone).await, scene.simulator.wrong_code(phone).await);
    let copies: Vec<(Browser, String)> =
        (0..AT_ONCE).map(|n| (browser.stolen(), code(n, &right, &wrong))).collect();
    let before = scene.simulator.calls("/VerificationCheck").await;
    let since = Instant::now();
    let pages = join_all(copies.iter().map(|(copy, code)| copy.verify(code))).await;
    let took = since.elapsed();
    let checks = scene.simulator.calls("/VerificationCheck").await - before;
    let inside = copies.iter().filter(|(copy, _)| copy.cookie("vestibule").is_some()).count();
    let sessions = scene.house.sessions().iter().filter(|session| session["user"] == user).count();
    println!("{AT_ONCE} codes at once: {checks} looked at, {inside} in, {sessions} sessions, {took:?}");
    Outcome { checks, inside, sessions, pages }
}

#[tokio::test]
async fn two_hundred_right_and_wrong_codes_at_once() {
    let mut scene = Scene::start(GENEROUS).await;
    // Every tenth is right: it may be among the first, or come too late.
    let mixed = |n: usize, right: &str, wrong: &str| if n % 10 == 3 { right } else { wrong }.to_owned();
    let outcome = race(&scene, ALICE, "alice", mixed).await;
    assert!(outcome.checks <= TRIES, "{} reached the provider", outcome.checks);
    assert!(outcome.inside <= 1 && outcome.sessions == outcome.inside);
    for page in &outcome.pages {
        assert!([303, 401, 429].contains(&page.status.as_u16()), "{page:#?}");
    }
    // The right one two hundred times.
    let outcome = race(&scene, BOB, "bob", |_, right, _| right.to_owned()).await;
    assert!(outcome.checks <= TRIES, "{} reached the provider", outcome.checks);
    assert_eq!((outcome.inside, outcome.sessions), (1, 1));
    let opened = scene.house.details("session_opened").len();
    assert!((1..=2).contains(&opened), "{opened}");
    let log = scene.gateway.stop();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn two_hundred_at_once_while_the_provider_is_slow() {
    let scene = Scene::start(GENEROUS).await;
    let slow = serde_json::json!({"on": "check", "fault": "slow", "delay_ms": 400, "times": 0});
    scene.simulator.fault(slow).await;
    let outcome = race(&scene, ALICE, "alice", |_, right, _| right.to_owned()).await;
    assert!(outcome.checks <= TRIES, "{} reached the provider", outcome.checks);
    assert_eq!((outcome.inside, outcome.sessions), (1, 1));
}
