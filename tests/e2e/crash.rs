//! What was answered stays true: the gateway, or its database, is killed at random moments while many sign in, and
//! everything anybody was told is looked for afterwards.
//!
//! Ten times here; `benches/crash` a hundred times. The moments come from a seed, which is printed; what runs at once is
//! up to the machine, so that the same seed kills at the same distances, not at the same statements.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::json;

use crate::common::journey::GENEROUS;
use crate::common::postgres::{Cluster, Database};
use crate::common::{Gateway, House, Simulator, Upstream, config, eventually, http};

/// Who sign in at once.
const AT_ONCE: usize = 16;
const RIGHT: &str = "123456";
const WRONG: &str = "654321";
/// Wrong codes that a provider looks at.
const TRIES: u32 = 5;
/// Nobody waits longer for an answer that a crash may have cut off.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// Budgets that do not stop anybody here.
const RICH: &str = "messages_per_day = 1000000\nmessages_per_month = 1000000\nconversion_least_sent = 1000000\n\
                    messages_per_prefix = \"1000/1h\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_crashes_on_sqlite() {
    crashes(Place::File).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_crashes_on_postgres() {
    crashes(Place::Server(Cluster::own().database())).await;
}

async fn crashes(place: Place) {
    let times: usize = environment("VESTIBULE_CRASHES").map_or(10, |text| text.parse().unwrap());
    let seed = environment("VESTIBULE_CRASH_SEED").map_or_else(time_of_day, |text| text.parse().unwrap());
    println!("{}: {times} crashes, VESTIBULE_CRASH_SEED={seed}", place.name());
    let mut chance = Chance(seed | 1);
    let mut town = Town::new(place, times * 400).await;
    let people = town.people.clone();
    let crowd: Vec<_> =
        (0..AT_ONCE).map(|n| tokio::spawn(Person::all(people.clone(), n, town.site()))).collect();
    for n in 0..times {
        town.is_busy().await;
        // The moment is the point of it; nothing can be awaited.
        tokio::time::sleep(Duration::from_millis(chance.between(20, 900))).await;
        town.crash(&mut chance, n).await;
        town.check(&mut chance).await;
    }
    town.site.stop.store(true, Ordering::Relaxed);
    for person in crowd {
        person.await.unwrap();
    }
    town.check(&mut chance).await;
    town.tell();
    let log = town.gateway.as_mut().unwrap().log();
    assert!(town.seen.opened > times && town.seen.wrong > times, "there was no load: {:?}\n{log}", town.seen);
}

#[allow(clippy::disallowed_methods, reason = "a test has no configuration")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[allow(clippy::disallowed_methods, reason = "any number will do")]
fn time_of_day() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Numbers that nobody foresees and a seed repeats (xorshift64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least)
    }
}

/// Where the store is, and questions to it beside the gateway.
enum Place {
    File,
    Server(Database),
}

impl Place {
    const fn name(&self) -> &'static str {
        match self {
            Self::File => "SQLite",
            Self::Server(_) => "PostgreSQL",
        }
    }

    fn settings(&self) -> String {
        match self {
            Self::File => String::new(),
            Self::Server(database) => database.settings(),
        }
    }

    /// The rows that answer a question, as text.
    fn ask(&self, house: &House, question: &str) -> Vec<Vec<String>> {
        match self {
            Self::Server(database) => {
                let lines = database.sql(question);
                lines.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
            }
            Self::File => {
                let store = rusqlite::Connection::open(house.path("state/vestibule.db")).unwrap();
                store.busy_timeout(Duration::from_secs(5)).unwrap();
                let mut statement = store.prepare(question).unwrap();
                let columns = statement.column_count();
                let text = |value: rusqlite::types::Value| {
                    if let rusqlite::types::Value::Integer(number) = value {
                        return number.to_string();
                    }
                    if let rusqlite::types::Value::Text(text) = value { text } else { panic!("{value:?}") }
                };
                let row = |row: &rusqlite::Row<'_>| (0..columns).map(|n| Ok(text(row.get(n)?))).collect();
                statement.query_map([], row).unwrap().map(Result::unwrap).collect()
            }
        }
    }

    /// A map from the first column to the number in the second.
    fn count(&self, house: &House, question: &str) -> HashMap<String, u64> {
        self.ask(house, question).into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect()
    }

    /// Nothing is damaged, as far as the database itself can tell.
    fn is_whole(&self, house: &House) {
        match self {
            Self::File => assert_eq!(self.ask(house, "PRAGMA integrity_check"), [["ok"]]),
            Self::Server(database) => {
                database.sql("CREATE EXTENSION IF NOT EXISTS amcheck");
                database.sql(
                    "SELECT count(bt_index_check(oid, true)) FROM pg_class WHERE relkind = 'i' \
                     AND relnamespace = 'public'::regnamespace",
                );
            }
        }
    }
}

/// What everybody finds the gateway by, and when to go home.
struct Site {
    client: reqwest::Client,
    address: tokio::sync::watch::Receiver<std::net::SocketAddr>,
    stop: Arc<AtomicBool>,
}

impl Site {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An answer, or nothing where a crash may have cut it off: then nobody knows.
    async fn post(&self, what: &str, body: serde_json::Value) -> Option<Answer> {
        let url = format!("http://{}/.vestibule/api/otp/{what}", *self.address.borrow());
        let answer = self.client.post(url).timeout(ANSWERED_WITHIN).json(&body).send().await.ok()?;
        let status = answer.status().as_u16();
        let cookie = answer.headers().get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
        let body: serde_json::Value = answer.json().await.ok()?;
        Some(Answer { status, cookie, body }).filter(|answer| answer.word() != "store_unavailable")
    }
}

struct Answer {
    status: u16,
    cookie: Option<String>,
    body: serde_json::Value,
}

impl Answer {
    fn word(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }
}

/// Somebody who signs in once, and what they were told. What they did is written down before it is sent, what they were
/// told after it came.
#[derive(Clone, Debug, Default)]
struct Person {
    name: String,
    phone: String,
    /// Wrong codes they mean to type first.
    slips: u32,
    /// Their challenge, once they know it.
    challenge: Option<String>,
    /// Codes sent off, right and wrong.
    typed: u32,
    /// Wrong codes that were answered as wrong.
    wrong: u32,
    /// The right code was sent off.
    entered: bool,
    /// The session that they were given.
    cookie: Option<String>,
    /// Answers that never came.
    cut_off: u32,
}

type People = Arc<Vec<Mutex<Person>>>;

impl Person {
    fn new(n: usize) -> Self {
        let number = 2_000_000 + n * 12_347 % 8_000_000;
        // Some never find the right one.
        let slips = if n % 7 == 3 { u32::MAX } else { (n % 3) as u32 };
        Self { name: format!("u{n}"), phone: format!("+1415{number:07}"), slips, ..Self::default() }
    }

    /// One after the other until it is over.
    async fn all(people: People, first: usize, site: Site) {
        for person in people.iter().skip(first).step_by(AT_ONCE) {
            if site.stopped() {
                return;
            }
            Self::sign_in(person, &site).await;
        }
        assert!(site.stopped(), "there were too few people");
    }

    async fn sign_in(person: &Mutex<Self>, site: &Site) {
        let phone = person.lock().unwrap().phone.clone();
        let Some(started) = site.post("request", json!({ "phoneNumber": phone })).await else {
            // Whether their message was sent nobody knows; a person would wait for it.
            person.lock().unwrap().cut_off += 1;
            return wait().await;
        };
        assert_eq!(started.status, 200, "{}", started.body);
        let challenge = started.body["requestId"].as_str().unwrap().to_owned();
        person.lock().unwrap().challenge = Some(challenge.clone());
        while !site.stopped() && Self::type_one(person, &challenge, site).await {}
    }

    /// Types one code; whether another makes sense.
    async fn type_one(person: &Mutex<Self>, challenge: &str, site: &Site) -> bool {
        let right = {
            let mut person = person.lock().unwrap();
            person.typed += 1;
            let right = person.typed > person.slips;
            person.entered |= right;
            right
        };
        let code = if right { RIGHT } else { WRONG };
        let answer = site.post("verify", json!({ "requestId": challenge, "code": code })).await;
        let Some(answer) = answer else {
            person.lock().unwrap().cut_off += 1;
            wait().await;
            return true;
        };
        let mut person = person.lock().unwrap();
        match (answer.status, answer.word()) {
            (200, _) => {
                assert!(right && person.cookie.is_none(), "{person:?}");
                let cookie = answer.cookie.expect("who is in has a session");
                person.cookie = Some(cookie.split(';').next().unwrap().to_owned());
                false
            }
            (_, "wrong_code") => {
                assert!(!right, "{person:?}");
                person.wrong += 1;
                true
            }
            (_, "too_many_codes_checked") => {
                person.wrong += u32::from(!right);
                false
            }
            // What a cut-off answer may have come to.
            (_, "already_used" | "code_expired") => {
                assert!(right && person.cut_off > 0, "{} {person:?}", answer.body);
                false
            }
            // Many slips in a row are slowed down.
            (_, "too_many_failures" | "too_many_attempts") => false,
            (_, "provider_unavailable") => false,
            other => panic!("{other:?} {person:?}"),
        }
    }
}

/// Until the next try; there is nothing to wait for where nobody answers.
async fn wait() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// What the store has of a challenge.
struct Written {
    state: String,
    checks: u64,
    rate: u64,
    failures: u64,
    sessions: u64,
}

impl Written {
    fn read(row: &[String]) -> Self {
        let number = |n: usize| row[n].parse().unwrap();
        let [checks, rate, failures, sessions] = [2, 3, 4, 5].map(number);
        Self { state: row[1].clone(), checks, rate, failures, sessions }
    }
}

/// Sums of what was seen.
#[derive(Debug, Default)]
struct Seen {
    kills: usize,
    database_kills: usize,
    started: usize,
    wrong: usize,
    opened: usize,
    cut_off: usize,
    messages: u64,
    budget: u64,
    audit: u64,
    checks: u64,
    replays: usize,
    passes: usize,
}

struct Town {
    place: Place,
    house: House,
    simulator: Simulator,
    /// None while it is dead.
    gateway: Option<Gateway>,
    people: People,
    site: Site,
    address: tokio::sync::watch::Sender<std::net::SocketAddr>,
    seen: Seen,
    _upstream: Upstream,
}

impl Town {
    async fn new(place: Place, people: usize) -> Self {
        let simulator = Simulator::start(&["--fixed-code", RIGHT]);
        let upstream = Upstream::start().await;
        let more = format!("[spend]\n{RICH}{GENEROUS}{}", place.settings());
        let text = config(&upstream, &more, "").replace("level = \"debug\"", "level = \"info\"");
        let house = House::new(&simulator, &text);
        let people: Vec<_> = (0..people).map(Person::new).collect();
        house
            .add_users(&people.iter().map(|one| (one.name.as_str(), one.phone.as_str())).collect::<Vec<_>>());
        let gateway = Gateway::start(&house);
        let (address, known) = tokio::sync::watch::channel(gateway.address);
        let people: People = Arc::new(people.into_iter().map(Mutex::new).collect());
        let site = Site { client: http(), address: known, stop: Arc::default() };
        Self {
            place,
            house,
            simulator,
            gateway: Some(gateway),
            people,
            site,
            address,
            seen: Seen::default(),
            _upstream: upstream,
        }
    }

    fn site(&self) -> Site {
        Site {
            client: self.site.client.clone(),
            address: self.site.address.clone(),
            stop: self.site.stop.clone(),
        }
    }

    /// Kills the gateway, now and then its database, and looks at what is left before anybody is back.
    async fn crash(&mut self, chance: &mut Chance, n: usize) {
        if let Place::Server(database) = &self.place
            && n % 4 == 3
        {
            self.seen.database_kills += 1;
            database.cluster().crash();
            // Whoever is told something now is told it without a database.
            tokio::time::sleep(Duration::from_millis(chance.between(1, 300))).await;
            database.cluster().start();
        } else {
            self.seen.kills += 1;
            self.gateway.take().unwrap().kill();
            self.place.is_whole(&self.house);
            self.compare().await;
            let gateway = Gateway::start(&self.house);
            self.address.send(gateway.address).unwrap();
            self.gateway = Some(gateway);
        }
    }

    /// Waits until somebody got in since the last crash.
    async fn is_busy(&self) {
        let inside = || self.snapshot().iter().filter(|person| person.cookie.is_some()).count();
        let before = inside();
        eventually("somebody signs in again", async || inside() > before).await;
    }

    fn snapshot(&self) -> Vec<Person> {
        self.people.iter().map(|person| person.lock().unwrap().clone()).collect()
    }

    /// Everything that anybody was told before stands in the store now, and nothing that nobody did.
    async fn compare(&mut self) {
        let messages = self.simulator.messages().await.len() as u64;
        let told = self.snapshot();
        // The simulator remembers its last thousand; a start that was answered has sent one, too.
        let messages = messages.max(told.iter().filter(|person| person.challenge.is_some()).count() as u64);
        let (place, house) = (&self.place, &self.house);
        let counts = |question: &str| place.count(house, question);
        // In one look: what belongs together changes together.
        let challenges: HashMap<String, Written> = place
            .ask(
                house,
                "SELECT id, state, checks, \
                 (SELECT coalesce(sum(times), 0) FROM spend WHERE key = 'checks:' || challenge.id), \
                 (SELECT coalesce(sum(count), 0) FROM failure WHERE failure.subject = challenge.subject), \
                 (SELECT count(*) FROM session WHERE session.user_name = challenge.user_name AND ended IS NULL) \
                 FROM challenge",
            )
            .into_iter()
            .map(|row| (row[0].clone(), Written::read(&row)))
            .collect();
        let audit = counts(
            "SELECT what || ' ' || user_name, count(*) FROM audit WHERE user_name IS NOT NULL GROUP BY what, user_name",
        );
        let budgets = counts(
            "SELECT substr(key, 1, 20), sum(count) FROM budget WHERE key LIKE 'messages_per_day:%' \
             OR key LIKE 'messages_per_user_and_day:%' GROUP BY substr(key, 1, 20)",
        );
        let did = self.snapshot();
        for (told, did) in told.iter().zip(&did) {
            let Some(challenge) = &told.challenge else { continue };
            let of = |counts: &HashMap<String, u64>, key: &str| counts.get(key).copied().unwrap_or(0);
            let written = |what: &str| of(&audit, &format!("{what} {}", told.name));
            assert!(
                written("challenge_started") > 0 && written("code_sent") > 0,
                "no audit of a start: {told:?}"
            );
            assert!(
                written("wrong_code") >= told.wrong.into(),
                "no audit of a wrong code: {told:?} {}",
                written("wrong_code")
            );
            let answered = told.wrong + u32::from(told.cookie.is_some());
            let Some(Written { state, checks, rate, failures, sessions }) = challenges.get(challenge) else {
                panic!("a challenge was forgotten: {told:?}");
            };
            for (name, counted) in [("challenge", *checks), ("rate", *rate)] {
                assert!(counted >= answered.into(), "an attempt was given back ({name} {counted}): {told:?}");
                assert!(
                    counted <= did.typed.into(),
                    "an attempt was counted twice ({name} {counted}): {did:?}"
                );
            }
            assert!(*checks <= TRIES.into(), "too many tries: {told:?}");
            assert!(*sessions <= 1, "a code was accepted twice: {told:?}");
            assert_eq!(*sessions == 1, state == "accepted", "{state} with {sessions} sessions: {told:?}");
            assert!(*sessions == 0 || did.entered, "a session without the code: {did:?}");
            assert!(
                *sessions == 1 || *failures >= told.wrong.into(),
                "a failure was forgotten ({failures}): {told:?}"
            );
            if told.cookie.is_some() {
                assert_eq!(*sessions, 1, "a session was forgotten: {told:?}");
                assert_eq!(written("session_opened"), 1, "no audit of a session: {told:?}");
            }
        }
        for (budget, counted) in &budgets {
            assert!(*counted >= messages, "{messages} messages were sent, {budget}… counted {counted}");
        }
        let sum = |count: &dyn Fn(&Person) -> u32| told.iter().map(count).sum::<u32>() as usize;
        self.seen = Seen {
            started: sum(&|person| person.challenge.is_some().into()),
            wrong: sum(&|person| person.wrong),
            opened: sum(&|person| person.cookie.is_some().into()),
            cut_off: sum(&|person| person.cut_off),
            messages,
            budget: budgets.get("messages_per_day:gat").copied().unwrap_or(0),
            audit: audit.values().sum(),
            checks: challenges.values().map(|written| written.checks).sum(),
            ..std::mem::take(&mut self.seen)
        };
    }

    /// The same beside the running gateway, and what it says itself: sessions are good, codes are used.
    async fn check(&mut self, chance: &mut Chance) {
        self.compare().await;
        let inside: Vec<Person> =
            self.snapshot().into_iter().filter(|person| person.cookie.is_some()).collect();
        let some: BTreeMap<_, _> = (0..12)
            .filter(|_| !inside.is_empty())
            .map(|_| {
                let n = chance.next() as usize % inside.len();
                (n, &inside[n])
            })
            .collect();
        let site = &self.site;
        join_all(some.values().map(|person| async move {
            let url = || format!("http://{}/", *site.address.borrow());
            eventually(&format!("{} is still in", person.name), async || {
                let request = site.client.get(url()).header("cookie", person.cookie.as_ref().unwrap());
                request.send().await.is_ok_and(|answer| answer.status() == 200)
            })
            .await;
            let again = json!({ "requestId": person.challenge, "code": RIGHT });
            eventually(&format!("the code of {} is used", person.name), async || {
                let Some(answer) = site.post("verify", again.clone()).await else { return false };
                assert_ne!(answer.status, 200, "a code was accepted twice: {person:?}");
                answer.word() == "already_used"
            })
            .await;
        }))
        .await;
        self.seen.replays += some.len();
        self.seen.passes += some.len();
    }

    fn tell(&self) {
        let Seen {
            kills,
            database_kills,
            started,
            wrong,
            opened,
            cut_off,
            messages,
            budget,
            audit,
            checks,
            replays,
            passes,
        } = &self.seen;
        println!(
            "{}: {kills} times the gateway was killed, {database_kills} times the database\n\
             answered: {started} starts, {wrong} wrong codes, {opened} sign-ins; {cut_off} answers were cut off\n\
             sent {messages} messages, counted {budget}; counted {checks} attempts; {audit} lines of audit\n\
             accepted twice 0, attempts given back 0, audit events missing 0; {passes} old sessions passed, \
             {replays} used codes were refused",
            self.place.name()
        );
    }
}
