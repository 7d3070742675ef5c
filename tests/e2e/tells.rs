//! Lesson 31: nothing tells who is known. Not a status, a field, a word or a limit, and not the time an answer takes,
//! whether they are known, unknown, disabled, shut out, not enrolled or refused by the provider.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::common::browser::Page;
use crate::common::more::{Normal, number};
use crate::common::{ALICE, BOB, Browser, STRANGER, Scene, Simulator};

/// Limits out of the way of what is tried here.
const GENEROUS: &str = "[limits]\nstarts_per_number = \"100/1h\"\nstarts_per_user = \"100/1h\"\n\
                        starts_per_address = \"10000/1m\"\nchecks_per_address = \"10000/1m\"\n";

/// Everything a person can make the gateway say about a number, up to its limits.
async fn everything_said_to(browser: &Browser, phone: &str) -> Vec<Normal> {
    let mut said = vec![browser.start(phone).await.normal(), browser.challenge().await.normal()];
    for code in ["000000", "0000", "00000000"] {
        said.push(browser.verify(code).await.normal());
        said.push(browser.go("/.vestibule/challenge?wrong=1").await.normal());
    }
    said.push(browser.resend("sms").await.normal());
    said.push(browser.resend("call").await.normal());
    said.push(browser.challenge().await.normal());
    // Another tab meets the same tries, and uses them up.
    said.push(browser.start(phone).await.normal());
    for _ in 0..3 {
        said.push(browser.verify("000001").await.normal());
    }
    said.push(browser.challenge().await.normal());
    said.push(browser.resend("sms").await.normal());
    said.push(browser.verify("000000").await.normal());
    said.push(browser.submit("/.vestibule/challenge/cancel", &[]).await.normal());
    for _ in 0..3 {
        said.push(browser.start(phone).await.normal());
    }
    said
}

#[tokio::test]
async fn lesson_31_nobody_can_tell_who_is_known() {
    const CAROL: &str = "+14155550102";
    let limits = "[limits]\nstarts_per_address = \"1000/1m\"\nchecks_per_address = \"1000/1m\"\n";
    let scene = Scene::start(limits).await;
    scene.house.add_user("carol", CAROL);
    scene.house.run(&["user", "disable", "bob"]);
    scene.house.sql("UPDATE user SET two_factor_enabled = 0 WHERE name = 'carol'");

    let known = everything_said_to(&scene.browser(), ALICE).await;
    assert!(known.iter().any(|(status, ..)| *status == 429), "the limits were met");
    for (who, phone) in [("disabled", BOB), ("two-factor off", CAROL), ("a stranger", STRANGER)] {
        let said = everything_said_to(&scene.browser(), phone).await;
        for (place, (theirs, known)) in said.iter().zip(&known).enumerate() {
            assert_eq!(theirs, known, "{who}, answer {place}");
        }
        assert_eq!(scene.simulator.sent_to(phone).await, 0, "{who} got a message");
    }
    let asked = scene.simulator.requests().await;
    assert!(asked.iter().all(|request| !request.to_string().contains(STRANGER)), "{asked:#?}");
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
    let limits = "[limits]\nstarts_per_address = \"1000/1m\"\nchecks_per_address = \"1000/1m\"\n";
    for (who, spend) in [("refused", ""), ("stopped", "[spend]\nmessages_per_prefix = \"1/1h\"\n")] {
        let scene = Scene::start(&format!("{spend}{limits}")).await;
        assert_eq!(scene.browser().start(BOB).await.status, 303, "this message the prefix has");
        if spend.is_empty() {
            let refused = json!({"on": "start", "fault": "60410", "to": ALICE, "times": 0});
            scene.simulator.fault(refused).await;
        }
        let stranger = everything_said_to(&scene.browser(), STRANGER).await;
        let theirs = everything_said_to(&scene.browser(), ALICE).await;
        for (place, (theirs, stranger)) in theirs.iter().zip(&stranger).enumerate() {
            assert_eq!(theirs, stranger, "{who}, answer {place}");
        }
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
#[derive(Clone, Copy, Debug)]
enum Door {
    Page,
    Api,
}

/// What one person met at one door.
struct Visit {
    times: [Duration; 2],
    said: Vec<Normal>,
}

/// A start and a wrong code; each answer with its time.
async fn visit(browser: &Browser, door: Door, phone: &str) -> Visit {
    let since = Instant::now();
    let started = match door {
        Door::Page => browser.start(phone).await,
        Door::Api => browser.api("request", &json!({"phoneNumber": phone})).await,
    };
    let start = since.elapsed();
    let mut said = vec![started.normal()];
    if let Door::Page = door {
        said.push(browser.challenge().await.normal());
    }
    let since = Instant::now();
    let verified = match door {
        Door::Page => browser.verify("000000").await,
        Door::Api => {
            // The name of the request is all that may differ.
            let id = started.json()["requestId"].take();
            said[0].2 = "{\"requestId\":ID}".to_owned();
            browser.api("verify", &json!({"requestId": id, "code": "000000"})).await
        }
    };
    let times = [start, since.elapsed()];
    said.push(verified.normal());
    Visit { times, said }
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
/// With fifty of each, chance alone comes so far once in a hundred thousand; a shift of 50 ms comes beyond 0.65.
const TOO_FAR: f64 = 0.5;

#[test]
fn the_distance_sees_a_shift_and_not_a_blur() {
    let times = |shift: u64| -> Vec<_> {
        (0..50).map(|n| Duration::from_millis(200 * (1 + n % 3) + n % 7 + shift)).collect()
    };
    assert!(distance(&times(0), &times(0)) < 0.01);
    assert!(distance(&times(0), &times(15)) < 0.01);
    assert!(distance(&times(0), &times(50)) > 0.9 / 3.0);
    assert!(distance(&times(0), &times(200)) > 0.3);
}

/// The provider answers now fast, now slowly, each time just before the gateway's next step: whoever took 50 ms more
/// would mostly be a step later.
async fn vary(simulator: &Simulator) {
    for n in 0_u64..150 {
        let chance = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let usual = match chance % 10 {
            0 => 145,
            1 => 545,
            _ => 345,
        };
        let delay = usual + chance % 11;
        for on in ["start", "check"] {
            simulator.fault(json!({"on": on, "fault": "slow", "delay_ms": delay, "times": 1})).await;
        }
    }
}

/// How many times each kind of person comes to each door.
const ROUNDS: usize = 25;
const KINDS: [&str; 6] = ["known", "unknown", "disabled", "not enrolled", "locked", "locked unknown"];

/// The number of one kind of person in one round at one door.
fn number_of(kind: usize, round: usize, door: Door) -> String {
    number((kind * ROUNDS + round) * 2 + usize::from(matches!(door, Door::Api)))
}

/// A scene with everybody in it, and a provider that has been used a while.
async fn peopled() -> Scene {
    let scene = Scene::start(&format!("[spend]\nmessages_per_day = 100000\n{GENEROUS}")).await;
    let everybody = |kind: usize| {
        (0..ROUNDS).flat_map(move |round| [Door::Page, Door::Api].map(|door| number_of(kind, round, door)))
    };
    let users: Vec<_> = [0, 2, 3, 4]
        .into_iter()
        .flat_map(|kind| everybody(kind).enumerate().map(move |(n, phone)| (format!("k{kind}-{n}"), phone)))
        .collect();
    let users: Vec<_> = users.iter().map(|(name, phone)| (name.as_str(), phone.as_str())).collect();
    scene.house.add_users(&users);
    scene.house.sql(
        "UPDATE user SET disabled = 1 WHERE name LIKE 'k2-%'; \
         UPDATE user SET two_factor_enabled = 0 WHERE name LIKE 'k3-%'; \
         INSERT INTO failure SELECT 'user:' || id, 100, CAST(strftime('%s') AS INTEGER) FROM user WHERE name LIKE 'k4-%'",
    );
    let shut_out: Vec<_> = everybody(5).map(|phone| (scene.browser(), phone)).collect();
    join_all(shut_out.iter().map(|(browser, phone)| browser.start(phone))).await;
    scene
        .house
        .sql("INSERT INTO failure SELECT DISTINCT subject, 100, CAST(strftime('%s') AS INTEGER) FROM challenge; DELETE FROM challenge");
    vary(&scene.simulator).await;
    let early: Vec<_> = (0..24).map(|n| (format!("early{n}"), number(400 + n))).collect();
    let early: Vec<_> = early.iter().map(|(name, phone)| (name.as_str(), phone.as_str())).collect();
    scene.house.add_users(&early);
    for some in early.chunks(8) {
        let some: Vec<_> = some.iter().map(|(_, phone)| (scene.browser(), *phone)).collect();
        join_all(some.iter().map(|(browser, phone)| visit(browser, Door::Page, phone))).await;
    }
    scene
}

#[tokio::test]
async fn lesson_31_no_answer_takes_longer_for_who_is_known() {
    let scene = peopled().await;
    let mut times: [[Vec<Duration>; 2]; KINDS.len()] = Default::default();
    let mut said: [Vec<Vec<Normal>>; 2] = Default::default();
    for round in 0..ROUNDS {
        let mut guests: Vec<_> =
            (0..KINDS.len()).flat_map(|kind| [(kind, Door::Page), (kind, Door::Api)]).collect();
        // Whoever is first asks of an idle machine: everybody is, in turn.
        let first = round % guests.len();
        guests.rotate_left(first);
        let browsers: Vec<_> = guests.iter().map(|_| scene.browser()).collect();
        let visits = guests.iter().zip(&browsers).map(|((kind, door), browser)| async move {
            visit(browser, *door, &number_of(*kind, round, *door)).await
        });
        for ((kind, door), visit) in guests.iter().zip(join_all(visits).await) {
            for (sample, time) in times[*kind].iter_mut().zip(visit.times) {
                sample.push(time);
            }
            // Everybody is told the same until a code is typed; then who is locked is told what a locked stranger is.
            let door = usize::from(matches!(door, Door::Api));
            let (mut heard, locked) = (visit.said, *kind >= 4);
            let last = heard.pop().unwrap();
            let all = [heard, vec![last]];
            if said[door].is_empty() {
                said[door] = vec![Vec::new(); 3];
            }
            for (place, heard) in [(0, &all[0]), (1 + usize::from(locked), &all[1])] {
                if said[door][place].is_empty() {
                    said[door][place].clone_from(heard);
                }
                assert_eq!(heard, &said[door][place], "{} in round {round}", KINDS[*kind]);
            }
        }
    }
    assert!(said.iter().all(|said| said[0][0].0 < 400 && said[2][0].0 == 403), "{said:#?}");
    let mut worst: f64 = 0.0;
    println!("{:<16}{:<8}{:>4}{:>12}{:>12}{:>10}", "who", "step", "n", "median", "p90", "distance");
    for (step, name) in ["start", "verify"].into_iter().enumerate() {
        for (kind, who) in KINDS.into_iter().enumerate() {
            let like = if step == 1 && kind >= 4 { 5 } else { 0 };
            let far = distance(&times[kind][step], &times[like][step]);
            worst = worst.max(far);
            let mut sample = times[kind][step].clone();
            sample.sort();
            let (median, late) = (sample[sample.len() / 2], sample[sample.len() * 9 / 10]);
            println!("{who:<16}{name:<8}{:>4}{median:>12.1?}{late:>12.1?}{far:>10.2}", sample.len());
        }
    }
    assert!(worst < TOO_FAR, "somebody can be told from the others by the time: {worst:.2}");
}
