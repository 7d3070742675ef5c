//! Several gateways on one PostgreSQL: what one does they all know, and nothing is lost while the store is away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::common::journey::GENEROUS;
use crate::common::more::number;
use crate::common::postgres::{Cluster, Database};
use crate::common::{
    ALICE, BOB, Browser, Gateway, House, STRANGER, Simulator, Upstream, config, eventually, http,
};

/// Gateways that share a store, and the keys beside it.
struct Fleet {
    simulator: Simulator,
    /// Where the administrator works: the house of the first.
    house: House,
    _others: Vec<House>,
    gateways: Vec<Gateway>,
    upstream: Upstream,
}

impl Fleet {
    async fn start(database: &Database, gateways: usize, more: &str) -> Self {
        let simulator = Simulator::start(&[]);
        let upstream = Upstream::start().await;
        let text = config(&upstream, &format!("{more}\n{}", database.settings()), "");
        let mut houses: Vec<House> = (0..gateways).map(|_| House::new(&simulator, &text)).collect();
        houses[0].add_users(&[("alice", ALICE), ("bob", BOB)]);
        let gateways = houses.iter().map(Gateway::start).collect();
        let house = houses.remove(0);
        Self { simulator, house, _others: houses, gateways, upstream }
    }

    /// A fresh browser at one of them.
    fn browser(&self, at: usize) -> Browser {
        Browser::new(self.gateways[at % self.gateways.len()].address)
    }

    /// The same browser at each of them.
    fn everywhere(&self, browser: &Browser) -> Vec<Browser> {
        self.gateways.iter().map(|gateway| browser.stolen().moved_to(gateway.address)).collect()
    }

    async fn signed_in(&self, at: usize, phone: &str) -> Browser {
        let browser = self.browser(at);
        browser.sign_in(&self.simulator, phone).await;
        browser
    }

    /// Waits until none of them lets it in; how long that took the last.
    async fn refused(&self, browser: &Browser, since: Instant) {
        for (n, browser) in self.everywhere(browser).iter().enumerate() {
            eventually(&format!("gateway {n} refuses"), async || !browser.is_in().await).await;
        }
        let took = since.elapsed();
        println!("refused by {} gateways after {took:?}", self.gateways.len());
    }

    /// Waits until every one of them says of itself that it is ready, or is not.
    async fn are_ready(&mut self, wanted: u16) {
        for gateway in &mut self.gateways {
            let url = format!("http://{}/health/ready", observe(gateway));
            eventually(&format!("ready says {wanted}"), async || {
                http().get(&url).send().await.is_ok_and(|answer| answer.status() == wanted)
            })
            .await;
        }
    }
}

/// Where a gateway tells of its health.
fn observe(gateway: &mut Gateway) -> String {
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("health and metrics are told")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["address"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_signs_in_at_one_is_in_at_all_and_out_at_all() {
    let fleet = Fleet::start(&Database::fresh(), 4, GENEROUS).await;
    let (alice, bob) = (fleet.signed_in(0, ALICE).await, fleet.signed_in(1, BOB).await);
    for browser in fleet.everywhere(&alice).iter().chain(&fleet.everywhere(&bob)) {
        assert!(browser.is_in().await);
    }
    let since = Instant::now();
    assert_eq!(fleet.house.json(&["session", "revoke", "--user", "alice"])["revoked"], 1);
    fleet.refused(&alice, since).await;
    // What a person does at one of them.
    let since = Instant::now();
    let third = fleet.everywhere(&bob).remove(2);
    third.submit("/.vestibule/sign-out", &[]).await.expect(200, "You are signed out");
    fleet.refused(&bob, since).await;
    // What an administrator does to a person.
    let alice = fleet.signed_in(3, ALICE).await;
    let since = Instant::now();
    fleet.house.run(&["user", "disable", "alice"]);
    fleet.refused(&alice, since).await;
    assert_eq!(fleet.house.sessions().len(), 0);
}

#[tokio::test]
async fn a_code_asked_for_at_one_is_typed_at_another_and_once() {
    let fleet = Fleet::start(&Database::fresh(), 4, GENEROUS).await;
    let browser = fleet.browser(0);
    assert_eq!(browser.start(ALICE).await.status, 303);
    let code = fleet.simulator.code(ALICE).await;
    let everywhere = fleet.everywhere(&browser);
    join_all(everywhere.iter().map(|browser| browser.verify(&code))).await;
    let inside = everywhere.iter().filter(|browser| browser.cookie("vestibule").is_some()).count();
    assert_eq!((inside, fleet.house.sessions().len()), (1, 1));
}

#[tokio::test]
async fn a_rotated_key_is_known_to_all() {
    let fleet = Fleet::start(&Database::fresh(), 4, GENEROUS).await;
    let before = fleet.signed_in(0, ALICE).await;
    fleet.house.run(&["key", "rotate"]);
    // Whichever signs, all the others know the key.
    for at in 0..4 {
        let after = fleet.signed_in(at, BOB).await;
        for browser in fleet.everywhere(&after).iter().chain(&fleet.everywhere(&before)) {
            eventually("it is in", async || browser.is_in().await).await;
        }
    }
    assert_eq!(fleet.house.sessions().len(), 5);
}

#[tokio::test]
async fn one_limit_is_one_limit_however_many_gateways() {
    let fleet = Fleet::start(&Database::fresh(), 4, "[limits]\nstarts_per_address = \"1000/1m\"\n").await;
    // One after the other,
    for at in 0..5 {
        assert_eq!(fleet.browser(at).start(ALICE).await.status, 303, "{at}");
    }
    for at in 0..4 {
        fleet.browser(at).start(ALICE).await.expect(429, "Too many codes were asked for");
    }
    // or all at once, of one who is known and one who is not.
    for phone in [BOB, STRANGER] {
        let browsers: Vec<_> = (0..24).map(|at| fleet.browser(at)).collect();
        let pages = join_all(browsers.iter().map(|browser| browser.start(phone))).await;
        let started = pages.iter().filter(|page| page.status == 303).count();
        assert_eq!(started, 5, "{phone}");
        assert!(pages.iter().all(|page| [303, 429].contains(&page.status.as_u16())));
    }
}

#[tokio::test]
async fn the_tries_of_a_code_are_shared_by_all_gateways() {
    let fleet = Fleet::start(&Database::fresh(), 4, GENEROUS).await;
    let browser = fleet.browser(0);
    assert_eq!(browser.start(ALICE).await.status, 303);
    let wrong = fleet.simulator.wrong_code(ALICE).await;
    let before = fleet.simulator.calls("/VerificationCheck").await;
    let thieves: Vec<_> = (0..6).flat_map(|_| fleet.everywhere(&browser)).collect();
    join_all(thieves.iter().map(|thief| thief.verify(&wrong))).await;
    let looked_at = fleet.simulator.calls("/VerificationCheck").await - before;
    assert!((1..=5).contains(&looked_at), "{looked_at} of {} reached the provider", thieves.len());
    browser.verify(&fleet.simulator.code(ALICE).await).await;
    assert!(!browser.is_in().await, "its tries are gone");
}

#[tokio::test]
async fn a_revocation_is_heard_although_every_connection_breaks() {
    let database = Database::fresh();
    let fleet = Fleet::start(&database, 4, GENEROUS).await;
    for round in 0..6 {
        let alice = fleet.signed_in(round, ALICE).await;
        for browser in fleet.everywhere(&alice) {
            eventually("it is in", async || browser.is_in().await).await;
        }
        // Before, in between, or after: none may miss it while it connects again.
        if round % 2 == 0 {
            database.kill_connections();
        }
        let revoke = fleet.house.json(&["session", "revoke", "--user", "alice"]);
        let since = Instant::now();
        database.kill_connections();
        assert_eq!(revoke["revoked"], 1, "round {round}");
        fleet.refused(&alice, since).await;
    }
}

/// How long the store is away.
const OUTAGE: Duration = Duration::from_secs(5);

/// What people ask for while the store goes away and comes back: each question as often as it can be, in turn with
/// all the others, until it is over.
struct Load {
    over: AtomicBool,
    asked: AtomicUsize,
}

impl Load {
    async fn ask(&self, question: impl AsyncFn() -> u16) -> BTreeMap<u16, usize> {
        let mut answers = BTreeMap::new();
        while !self.over.load(Ordering::Relaxed) {
            *answers.entry(question().await).or_default() += 1;
            self.asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        answers
    }

    /// Waits until so many more questions have been answered.
    async fn goes_on(&self, answers: usize) {
        let wanted = self.asked.load(Ordering::Relaxed) + answers;
        eventually("questions are answered", async || self.asked.load(Ordering::Relaxed) >= wanted).await;
    }
}

/// Those who are not in, whatever they hold: nobody, a thief of a session that was revoked, and a forger.
async fn outsiders(fleet: &Fleet) -> Vec<Browser> {
    let revoked = fleet.signed_in(0, ALICE).await;
    let token = revoked.cookie("vestibule").unwrap();
    fleet.house.run(&["session", "revoke", "--user", "alice"]);
    fleet.refused(&revoked, Instant::now()).await;
    let forger = fleet.browser(0);
    let (head, signature) = token.rsplit_once('.').unwrap();
    forger.set_cookie("vestibule", &format!("{head}.{}", signature.chars().rev().collect::<String>()));
    revoked.set_cookie("vestibule", &token);
    [fleet.browser(0), revoked, forger].iter().flat_map(|browser| fleet.everywhere(browser)).collect()
}

#[tokio::test]
async fn while_the_store_is_away_who_is_in_stays_in_and_nobody_gets_in() {
    let cluster = Cluster::own();
    let database = cluster.database();
    let mut fleet = Fleet::start(&database, 2, GENEROUS).await;
    fleet.house.add_many(6);
    fleet.are_ready(200).await;
    let outsiders = outsiders(&fleet).await;
    let mut insiders = Vec::new();
    for n in 0..6 {
        let browser = fleet.signed_in(n, &number(n)).await;
        insiders.extend(fleet.everywhere(&browser));
    }
    for browser in &insiders {
        eventually("it is in", async || browser.is_in().await).await;
    }
    // Codes that were asked for before, and wrong ones typed meanwhile.
    let guesser = fleet.browser(1);
    assert_eq!(guesser.start(BOB).await.status, 303);
    let wrong = fleet.simulator.wrong_code(BOB).await;
    let starters = [fleet.browser(0), fleet.browser(1)];
    let before = fleet.house.sessions().len();
    let load = Load { over: AtomicBool::new(false), asked: AtomicUsize::new(0) };

    let inside = join_all(insiders.iter().map(|browser| {
        load.ask(async || {
            let page = browser.go("/in").await;
            if page.text == "hello" { 200 } else { page.status.as_u16().max(201) }
        })
    }));
    let outside = join_all(
        outsiders.iter().map(|browser| load.ask(async || browser.fetch("/out").await.status.as_u16())),
    );
    let started = join_all(
        starters.iter().map(|browser| load.ask(async || browser.start(STRANGER).await.status.as_u16())),
    );
    let guessed = load.ask(async || guesser.verify(&wrong).await.status.as_u16());
    let script = async {
        load.goes_on(100).await;
        cluster.stop();
        fleet.are_ready(503).await;
        tokio::time::sleep(OUTAGE).await;
        load.goes_on(100).await;
        // The command line says so, too, and changes nothing.
        assert_eq!(fleet.house.command(&["session", "list"]).status.code(), Some(1));
        cluster.start();
        fleet.are_ready(200).await;
        load.goes_on(100).await;
        load.over.store(true, Ordering::Relaxed);
    };
    let (inside, outside, started, guessed, ()) = tokio::join!(inside, outside, started, guessed, script);

    println!("inside {inside:?}\noutside {outside:?}\nstarts {started:?}\nguesses {guessed:?}");
    for answers in &inside {
        assert!(answers.keys().eq(&[200]), "somebody who is in was turned away: {answers:?}");
    }
    for answers in &outside {
        assert!(answers.keys().all(|status| [401, 503].contains(status)), "{answers:?}");
    }
    for answers in &started {
        assert!(answers.contains_key(&503) && answers.contains_key(&303), "{answers:?}");
    }
    assert!(guessed.contains_key(&503), "{guessed:?}");
    assert_eq!(guesser.cookie("vestibule"), None);
    let forwarded = fleet.upstream.requests();
    assert!(!forwarded.iter().any(|request| request.starts_with("GET /out")), "a stranger was let through");
    // Nobody was lost, nobody came in, and who comes now gets in as before, at every one of them.
    assert_eq!(fleet.house.sessions().len(), before);
    for browser in &insiders {
        assert!(browser.is_in().await);
    }
    for at in 0..2 {
        let fresh = fleet.signed_in(at, ALICE).await;
        for browser in fleet.everywhere(&fresh) {
            eventually("it is in", async || browser.is_in().await).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_crashes_forgets_nothing_that_was_answered() {
    let cluster = Cluster::own();
    let database = cluster.database();
    let mut fleet = Fleet::start(&database, 2, "[limits]\nstarts_per_address = \"1000/1m\"\n").await;
    let alice = fleet.signed_in(0, ALICE).await;
    for at in 0..4 {
        assert_eq!(fleet.browser(at).start(ALICE).await.status, 303);
    }
    cluster.crash();
    cluster.start();
    fleet.are_ready(200).await;
    // Until it is back nothing is begun, and then the five before are known.
    for at in 0..2 {
        eventually("the limit stops her", async || {
            let status = fleet.browser(at).start(ALICE).await.status;
            assert_ne!(status, 303, "a start was forgotten");
            status == 429
        })
        .await;
    }
    for browser in fleet.everywhere(&alice) {
        assert!(browser.is_in().await);
    }
    assert_eq!(fleet.house.sessions().len(), 1);
    assert_eq!(fleet.house.details("session_opened").len(), 1);
}
