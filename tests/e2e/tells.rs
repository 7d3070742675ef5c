//! Lesson 31: nothing tells who is known. Not a status, a field, a word or a limit, and not the time an answer takes,
//! whether they are known, unknown, disabled, shut out, not enrolled or refused by the provider.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::common::browser::Page;
use crate::common::journey::{GENEROUS, Kind, TWILIO, VONAGE, VONAGE_V1};
use crate::common::more::{Normal, number};
use crate::common::{ALICE, BOB, Browser, STRANGER, Scene, Simulator};

/// How people say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Phone,
    Name,
}

impl By {
    async fn start(self, browser: &Browser, who: &str) -> Page {
        match self {
            Self::Phone => browser.start(who).await,
            Self::Name => browser.start_by_name(who).await,
        }
    }

    async fn request(self, program: &Browser, who: &str) -> Page {
        let field = if self == Self::Phone { "phoneNumber" } else { "name" };
        program.api("request", &json!({field: who})).await
    }
}

/// Everything a person can make the gateway say about a number or a name, up to its limits.
async fn everything_said_to(scene: &Scene, by: By, who: &str) -> Vec<Normal> {
    let browser = scene.browser();
    let mut said = vec![by.start(&browser, who).await.normal(), browser.challenge().await.normal()];
    for code in ["000000", "0000", "00000000"] {
        said.push(browser.verify(code).await.normal());
        said.push(browser.go("/.vestibule/challenge?wrong=1").await.normal());
    }
    said.push(browser.resend("sms").await.normal());
    said.push(browser.resend("call").await.normal());
    said.push(browser.challenge().await.normal());
    scene.house.passes(120);
    said.push(browser.resend("sms").await.normal());
    said.push(browser.challenge().await.normal());
    // The second of two clicks would be no wish for another.
    scene.house.passes(5);
    // Another tab meets the same tries, and uses them up.
    said.push(by.start(&browser, who).await.normal());
    for _ in 0..3 {
        said.push(browser.verify("000001").await.normal());
    }
    said.push(browser.challenge().await.normal());
    said.push(browser.resend("sms").await.normal());
    said.push(browser.verify("000000").await.normal());
    said.push(browser.submit("/.vestibule/challenge/cancel", &[]).await.normal());
    for _ in 0..3 {
        said.push(by.start(&browser, who).await.normal());
    }
    let field = if by == By::Phone { "phone" } else { "name" };
    for _ in 0..12 {
        let fields = [(field, who), ("code", "0000-0000-0000-0000")];
        said.push(browser.submit("/.vestibule/challenge/emergency", &fields).await.normal());
    }
    // What was typed stands in the form again.
    said.iter_mut().for_each(|(.., text)| *text = text.replace(who, "WHO"));
    said
}

/// Word by word and answer by answer.
#[track_caller]
fn told_the_same(who: &str, theirs: &[Normal], others: &[Normal]) {
    for (place, (theirs, others)) in theirs.iter().zip(others).enumerate() {
        assert_eq!(theirs, others, "{who}, answer {place}");
    }
    assert_eq!(theirs.len(), others.len(), "{who}");
}

const PER_ADDRESS: &str = "[limits]\nstarts_per_address = \"1000/1m\"\nchecks_per_address = \"1000/1m\"\n";

#[tokio::test]
async fn lesson_31_nobody_can_tell_who_is_known() {
    const CAROL: &str = "+14155550102";
    let scene = Scene::start(PER_ADDRESS).await;
    scene.house.add_user("carol", CAROL);
    scene.house.run(&["user", "disable", "bob"]);
    scene.house.sql("UPDATE user SET two_factor_enabled = 0 WHERE name = 'carol'");

    let known = everything_said_to(&scene, By::Phone, ALICE).await;
    assert!(known.iter().any(|(status, ..)| *status == 429), "the limits were met");
    for (who, phone) in [("disabled", BOB), ("two-factor off", CAROL), ("a stranger", STRANGER)] {
        told_the_same(who, &everything_said_to(&scene, By::Phone, phone).await, &known);
        assert_eq!(scene.simulator.sent_to(phone).await, 0, "{who} got a message");
    }
    let asked = scene.simulator.requests().await;
    assert!(asked.iter().all(|request| !request.to_string().contains(STRANGER)), "{asked:#?}");
}

#[tokio::test]
async fn lesson_31_nor_whose_name_is_known_nor_by_another_provider() {
    for (kind, by) in [(TWILIO, By::Name), (VONAGE, By::Phone), (VONAGE, By::Name), (VONAGE_V1, By::Phone)] {
        let challenge = if by == By::Name { "[challenge]\nidentify_by = \"name\"\n" } else { "" };
        let scene = Scene::of(kind, kind.flags, &format!("{challenge}{PER_ADDRESS}")).await;
        let (known, stranger) = if by == By::Name { ("alice", "nobody") } else { (ALICE, STRANGER) };
        let context = format!("{} {by:?}", kind.word);
        let known = everything_said_to(&scene, by, known).await;
        assert!(known.iter().any(|(status, ..)| *status == 429), "{context}: the limits were met");
        told_the_same(&context, &everything_said_to(&scene, by, stranger).await, &known);
    }
}

/// Closed after a hundred wrong codes, a person sees what a stranger sees who made as many.
#[tokio::test]
async fn lesson_31_not_even_who_is_closed() {
    let scene = Scene::start(GENEROUS).await;
    for phone in [ALICE, STRANGER] {
        scene.browser().start(phone).await;
        scene.browser().start(phone).await;
    }
    scene.house.sql("INSERT INTO failure SELECT DISTINCT subject, 100, CAST(strftime('%s') AS INTEGER) FROM challenge WHERE true");
    let before = scene.simulator.messages().await.len();
    let mut said = Vec::new();
    for phone in [ALICE, STRANGER] {
        let browser = scene.browser();
        let mut pages = vec![browser.start(phone).await, browser.challenge().await];
        pages.push(browser.verify("123456").await);
        pages.push(browser.resend("call").await);
        said.push(pages.iter().map(Page::normal).collect::<Vec<_>>());
        pages[2].expect(403, "codes by phone are closed");
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(scene.simulator.messages().await.len(), before, "nothing is sent to who is closed");
}

/// A number that the provider refuses, and one that a guard stops unseen.
#[tokio::test]
async fn lesson_31_not_even_whose_number_gets_no_codes() {
    for (who, spend) in [("refused", ""), ("stopped", "[spend]\nmessages_per_prefix = \"1/1h\"\n")] {
        let scene = Scene::start(&format!("{spend}{PER_ADDRESS}")).await;
        assert_eq!(scene.browser().start(BOB).await.status, 303, "this message the prefix has");
        if spend.is_empty() {
            let refused = json!({"on": "start", "fault": "60410", "to": ALICE, "times": 0});
            scene.simulator.fault(refused).await;
        }
        let stranger = everything_said_to(&scene, By::Phone, STRANGER).await;
        told_the_same(who, &everything_said_to(&scene, By::Phone, ALICE).await, &stranger);
        assert_eq!(scene.simulator.sent_to(ALICE).await, 0);
        // Later, with the time and the tries that are left of the first.
        let later = async |phone: &str| {
            scene.house.sql("DELETE FROM spend; DELETE FROM challenge; DELETE FROM failure");
            let browser = scene.browser();
            browser.start(phone).await;
            browser.verify("000000").await;
            scene.house.sql(
                "UPDATE challenge SET sent_at = sent_at - 300, created_at = created_at - 300, expires_at = expires_at - 300",
            );
            let again = scene.browser();
            again.start(phone).await;
            let page = again.challenge().await;
            page.expect(200, "valid for another 5 minutes");
            (page.normal(), again.mistype("000000").await.normal())
        };
        assert_eq!(later(ALICE).await, later(STRANGER).await, "{who}");
    }
}

/// A number that got a code, and gets no second one when the first has had its tries.
#[tokio::test]
async fn lesson_31_not_even_whose_number_is_refused_later() {
    let scene = Scene::start(GENEROUS).await;
    let mut said = Vec::new();
    for phone in [ALICE, STRANGER] {
        let browser = scene.browser();
        let mut pages = vec![browser.start(phone).await];
        for _ in 0..5 {
            pages.push(browser.verify("000000").await);
        }
        scene.simulator.fault(json!({"on": "start", "fault": "60410", "times": 0})).await;
        pages.push(browser.resend("sms").await);
        pages.push(browser.challenge().await);
        pages.push(browser.verify("000000").await);
        scene.simulator.clear_faults().await;
        said.push(pages.iter().map(Page::normal).collect::<Vec<_>>());
    }
    assert_eq!(said[0], said[1]);
}

/// One way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Page,
    Api,
}

/// Kinds of person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Known,
    Unknown,
    Disabled,
    NotEnrolled,
    Locked,
    LockedUnknown,
    /// Known, and the provider sends nothing to their number.
    Refused,
}

impl Who {
    const fn is_locked(self) -> bool {
        matches!(self, Self::Locked | Self::LockedUnknown)
    }

    const fn is_stranger(self) -> bool {
        matches!(self, Self::Unknown | Self::LockedUnknown)
    }
}

/// How far two samples are apart (Kolmogorov–Smirnov): the greatest difference of their distributions, leaving aside
/// what is shifted by less than `BLUR`.
fn distance(one: &[Duration], other: &[Duration]) -> f64 {
    let below = |sample: &[Duration], limit: Duration| {
        sample.iter().filter(|time| **time <= limit).count() as f64 / sample.len() as f64
    };
    let apart = |a: &[Duration], b: &[Duration]| {
        a.iter().map(|limit| below(a, *limit) - below(b, *limit + BLUR)).fold(0.0, f64::max)
    };
    apart(one, other).max(apart(other, one))
}

const BLUR: Duration = Duration::from_millis(25);
/// With fifty of each, chance alone comes so far once in a hundred thousand; a shift of 50 ms comes beyond, as the test
/// below shows with the times that the provider takes here.
const TOO_FAR: f64 = 0.5;
/// Each answer waits for the gateway's next step.
const STEP: u64 = 200;
/// What the gateway adds to the provider's time, on a machine that is not busy.
const OWN: u64 = 15;

/// How long the provider takes, now fast, now slowly, each time just before the gateway's next step: whoever took 50 ms
/// more would mostly be a step later.
fn provider_takes(n: u64) -> u64 {
    let chance = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let usual = match chance % 10 {
        0 => 145,
        1 => 545,
        _ => 345,
    };
    usual + chance % 11
}

#[test]
fn the_distance_sees_a_shift_and_not_a_blur() {
    // Every answer at its step, and as much late as a busy machine makes it.
    let times = |seed: u64, shift: u64| -> Vec<_> {
        let answer = |n: u64| (provider_takes(n) + OWN + shift).div_ceil(STEP) * STEP + n % 7;
        (seed..seed + 50).map(|n| Duration::from_millis(answer(n))).collect()
    };
    for seed in 0..200 {
        let others = times(1_000 + seed, 0);
        assert!(distance(&times(seed, 0), &others) < TOO_FAR, "{seed}: chance");
        assert!(distance(&times(seed, 15), &others) < TOO_FAR, "{seed}: a blur");
        assert!(distance(&times(seed, 50), &others) > TOO_FAR, "{seed}: a shift");
    }
}

/// How many times each kind of person comes to each door.
const ROUNDS: usize = 25;
/// So many come before, so that it is known how long everything takes.
const EARLY: usize = 24;
/// What each of them does.
const STEPS: [&str; 3] = ["start", "verify", "again"];

/// Who comes, how, and who sends.
struct Run {
    kind: Kind,
    by: By,
    whos: &'static [Who],
}

/// One of them at one door in one round.
#[derive(Clone, Copy)]
struct Guest {
    who: usize,
    door: Door,
    round: usize,
}

impl Guest {
    const fn id(self) -> usize {
        (self.who * ROUNDS + self.round) * 2 + self.door as usize
    }

    fn name(self) -> String {
        format!("k{}-{}", self.who, self.id())
    }

    fn number(self) -> String {
        number(self.id())
    }
}

impl Run {
    fn everybody(&self, who: Who) -> Vec<Guest> {
        let who = self.whos.iter().position(|known| *known == who);
        let guests = |who| {
            (0..ROUNDS).flat_map(move |round| [Door::Page, Door::Api].map(|door| Guest { who, door, round }))
        };
        who.into_iter().flat_map(guests).collect()
    }

    fn says(&self, guest: Guest) -> String {
        if self.by == By::Name { guest.name() } else { guest.number() }
    }

    /// A scene with everybody in it, and a provider that has been used a while.
    async fn peopled(&self) -> Scene {
        let by = if self.by == By::Name { "[challenge]\nidentify_by = \"name\"\n" } else { "" };
        let more =
            format!("{by}[spend]\nmessages_per_day = 100000\nconversion_least_sent = 100000\n{GENEROUS}");
        let scene = Scene::of(self.kind, self.kind.flags, &more).await;
        let known = self.whos.iter().filter(|who| !who.is_stranger());
        let users: Vec<_> =
            known.flat_map(|who| self.everybody(*who)).map(|guest| (guest.name(), guest.number())).collect();
        let early: Vec<_> = (0..EARLY).map(|n| (format!("early{n}"), number(600 + n))).collect();
        let all: Vec<_> = users.iter().chain(&early).map(|(name, to)| (name.as_str(), to.as_str())).collect();
        scene.house.add_users(&all);
        self.mark(&scene).await;
        self.vary(&scene.simulator).await;
        for some in early.chunks(8) {
            let says =
                |(name, to): &(String, String)| if self.by == By::Name { name.clone() } else { to.clone() };
            let some: Vec<_> = some.iter().map(|user| (scene.browser(), says(user))).collect();
            join_all(some.iter().map(|(browser, who)| self.by.start(browser, who))).await;
            join_all(some.iter().map(|(browser, _)| browser.verify("000000"))).await;
            scene.house.passes(60);
            join_all(some.iter().map(|(browser, _)| browser.resend("sms"))).await;
        }
        scene
    }

    /// Makes of everybody what they are.
    async fn mark(&self, scene: &Scene) {
        let names = |who| {
            let names: Vec<_> =
                self.everybody(who).into_iter().map(|guest| format!("'{}'", guest.name())).collect();
            names.join(",")
        };
        scene.house.sql(&format!(
            "UPDATE user SET disabled = 1 WHERE name IN ({}); \
             UPDATE user SET two_factor_enabled = 0 WHERE name IN ({}); \
             INSERT INTO failure SELECT 'user:' || id, 100, CAST(strftime('%s') AS INTEGER) FROM user WHERE name IN ({})",
            names(Who::Disabled),
            names(Who::NotEnrolled),
            names(Who::Locked)
        ));
        let locked: Vec<_> = self
            .everybody(Who::LockedUnknown)
            .into_iter()
            .map(|guest| (scene.browser(), self.says(guest)))
            .collect();
        join_all(locked.iter().map(|(browser, who)| self.by.start(browser, who))).await;
        scene.house.sql("INSERT INTO failure SELECT DISTINCT subject, 100, CAST(strftime('%s') AS INTEGER) FROM challenge; DELETE FROM challenge");
        let refusal = if self.kind.word == "twilio" { "60410" } else { "412" };
        for guest in self.everybody(Who::Refused) {
            let delay = provider_takes(guest.id() as u64);
            let fault =
                json!({"on": "start", "fault": refusal, "to": guest.number(), "delay_ms": delay, "times": 0});
            scene.simulator.fault(fault).await;
        }
    }

    async fn vary(&self, simulator: &Simulator) {
        for n in 0..300 {
            for on in ["start", "check"] {
                let delay = provider_takes(n);
                simulator.fault(json!({"on": on, "fault": "slow", "delay_ms": delay, "times": 1})).await;
            }
        }
        if self.kind.again.contains(&"cancel") {
            simulator.fault(json!({"on": "cancel", "fault": "slow", "delay_ms": STEP, "times": 0})).await;
        }
    }

    /// One step of everybody in a round, side by side: how long each took, and what each was told. `ids` are the names of
    /// the requests by API.
    async fn go(
        &self,
        step: &str,
        guests: &[Guest],
        browsers: &[Browser],
        ids: &mut [serde_json::Value],
    ) -> Vec<(Duration, Vec<Normal>)> {
        let known = &*ids;
        let steps = guests.iter().zip(browsers).zip(known).map(|((guest, browser), id)| async move {
            let since = Instant::now();
            let page = match (guest.door, step) {
                (Door::Page, "start") => self.by.start(browser, &self.says(*guest)).await,
                (Door::Page, "verify") => browser.verify("000000").await,
                (Door::Page, _) => browser.resend("sms").await,
                (Door::Api, "verify") => {
                    browser.api("verify", &json!({"requestId": id, "code": "000000"})).await
                }
                (Door::Api, _) => self.by.request(browser, &self.says(*guest)).await,
            };
            let took = since.elapsed();
            let mut said = vec![page.normal()];
            if guest.door == Door::Page && step != "verify" {
                said.push(browser.challenge().await.normal());
            }
            // The name of the request is all that may differ.
            let mut id = id.clone();
            if guest.door == Door::Api && step != "verify" {
                id = page.json()["requestId"].take();
                said[0].2 = said[0].2.len().min(1).to_string();
                assert!(id.is_string(), "{page:#?}");
            }
            (took, said, id)
        });
        let done = join_all(steps).await;
        for (id, (.., new)) in ids.iter_mut().zip(&done) {
            id.clone_from(new);
        }
        done.into_iter().map(|(took, said, _)| (took, said)).collect()
    }

    async fn nobody_can_be_told_by_the_time(&self) {
        let scene = self.peopled().await;
        let mut times = vec![[const { Vec::new() }; STEPS.len()]; self.whos.len()];
        let mut said: HashMap<(usize, usize, bool), Vec<Normal>> = HashMap::new();
        for round in 0..ROUNDS {
            let doors = [Door::Page, Door::Api];
            let mut guests: Vec<_> =
                (0..self.whos.len()).flat_map(|who| doors.map(|door| Guest { who, door, round })).collect();
            // Whoever is first asks of an idle machine: everybody is, in turn.
            let first = round % guests.len();
            guests.rotate_left(first);
            let browsers: Vec<_> = guests.iter().map(|_| scene.browser()).collect();
            let mut ids = vec![serde_json::Value::Null; guests.len()];
            for (place, step) in STEPS.into_iter().enumerate() {
                if step == "again" {
                    scene.house.passes(60);
                }
                let answers = self.go(step, &guests, &browsers, &mut ids).await;
                for (guest, (took, heard)) in guests.iter().zip(answers) {
                    times[guest.who][place].push(took);
                    // Everybody is told the same, until a locked person types a code: they hear what a locked stranger
                    // hears.
                    let who = self.whos[guest.who];
                    let group = (place, guest.door as usize, step == "verify" && who.is_locked());
                    let others = said.entry(group).or_insert_with(|| heard.clone());
                    assert_eq!(&heard, others, "{who:?} in round {round}: {step}");
                }
            }
        }
        self.compare(&times);
    }

    fn compare(&self, times: &[[Vec<Duration>; STEPS.len()]]) {
        let mut worst: f64 = 0.0;
        println!("{} by {:?}", self.kind.word, self.by);
        println!("{:<16}{:<8}{:>4}{:>12}{:>12}{:>10}", "who", "step", "n", "median", "p90", "distance");
        for (place, step) in STEPS.into_iter().enumerate() {
            for (who, sample) in self.whos.iter().zip(times) {
                let stranger =
                    if step == "verify" && who.is_locked() { Who::LockedUnknown } else { Who::Unknown };
                let like = self.whos.iter().position(|known| *known == stranger).unwrap();
                let far = distance(&sample[place], &times[like][place]);
                worst = worst.max(far);
                let mut sample = sample[place].clone();
                sample.sort();
                let (median, late) = (sample[sample.len() / 2], sample[sample.len() * 9 / 10]);
                let who = format!("{who:?}");
                println!("{who:<16}{step:<8}{:>4}{median:>12.1?}{late:>12.1?}{far:>10.2}", sample.len());
            }
        }
        assert!(worst < TOO_FAR, "somebody can be told from the others by the time: {worst:.2}");
    }
}

#[tokio::test]
async fn lesson_31_no_answer_takes_longer_for_who_is_known() {
    let whos = &[
        Who::Known,
        Who::Unknown,
        Who::Disabled,
        Who::NotEnrolled,
        Who::Locked,
        Who::LockedUnknown,
        Who::Refused,
    ];
    Run { kind: TWILIO, by: By::Phone, whos }.nobody_can_be_told_by_the_time().await;
}

#[tokio::test]
async fn lesson_31_no_answer_takes_longer_for_whose_name_is_known() {
    let whos = &[Who::Known, Who::Unknown, Who::Refused];
    Run { kind: TWILIO, by: By::Name, whos }.nobody_can_be_told_by_the_time().await;
}

#[tokio::test]
async fn lesson_31_no_answer_takes_longer_where_vonage_sends() {
    let whos = &[Who::Known, Who::Unknown, Who::Refused];
    Run { kind: VONAGE, by: By::Phone, whos }.nobody_can_be_told_by_the_time().await;
}
