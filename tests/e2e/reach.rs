//! What an attacker tried, or might have: each is named by what must hold.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::common::browser::Page;
use crate::common::journey::{GENEROUS, Kind, Stage, TWILIO, VONAGE, VONAGE_V1};
use crate::common::more::{Normal, number};
use crate::common::{ALICE, BOB, Browser, Gateway, House, STRANGER, Scene, Simulator, Upstream};
use crate::common::{config, eventually, provider};

const START: &str = "/.vestibule/challenge/start";
const DOWN: &str = "Codes cannot be sent at the moment";
const CLOSED: &str = "So many codes were sent that no more go out for now";
const MANY: &str = "Too many codes were asked for. Please wait";
const UNCONFIRMED: &str = "We could not confirm that the message went out";

/// Where a code that was sent is no longer young: a start sends anew.
const LATER: u32 = 41;

/// All that tells one answer from another.
fn all_of(page: &Page) -> (String, Normal) {
    (page.location().to_owned(), page.normal())
}

/// The messages that the budget of the day has counted.
fn counted(house: &House) -> u64 {
    house.json(&["spend", "show"])["budgets"][0]["used"].as_u64().unwrap()
}

// Whose phone it was.

/// The number that alice has from some moment on.
const NEW: &str = "+14155550177";
const NEW_NUMBER: &[&[&str]] = &[&["user", "set-phone", "alice", NEW]];
const SHUT_OUT_MEANWHILE: &[&[&str]] =
    &[&["user", "disable", "alice"], &["user", "set-phone", "alice", NEW], &["user", "enable", "alice"]];
const ADDED_AGAIN: &[&[&str]] = &[&["user", "remove", "alice"], &["user", "add", "alice", "--phone", NEW]];

const TEXTS_ONLY: &str = "channels = [\"sms\"]";

/// Whoever has the old phone has a code from before, and asks for more after the record was changed; `fault` is on at
/// the provider from then on.
async fn old_phone(kind: Kind, flags: &[&str], channels: &str, changes: &[&[&str]], fault: Option<&str>) {
    let context = format!("{} {flags:?} {channels} {changes:?} {fault:?}", kind.word);
    let more = format!("[challenge]\nidentify_by = \"name\"\n{channels}\n{GENEROUS}");
    let scene = Scene::of(kind, flags, &more).await;
    let before = scene.browser();
    assert_eq!(before.start_by_name("alice").await.status, 303, "{context}");
    let old = scene.simulator.code(ALICE).await;
    for change in changes {
        scene.house.run(change);
    }
    if let Some(fault) = fault {
        scene.simulator.fault(json!({"on": "start", "fault": fault, "to": NEW, "times": 0})).await;
    }
    for seconds in [0, LATER] {
        scene.house.passes(seconds);
        let after = scene.browser();
        assert_eq!(after.start_by_name("alice").await.status, 303, "{context}");
        let at_the_new_phone = scene.simulator.sent_to(NEW).await > 0;
        assert_eq!(at_the_new_phone, fault != Some("60410"), "{context}: sent to the new phone");
        for browser in [&before, &after] {
            browser.verify(&old).await;
            assert!(!browser.is_in().await, "{context}: a code at the old phone signs in");
        }
        assert_eq!(scene.simulator.sent_to(ALICE).await, 1, "{context}: a message to the old phone");
        if at_the_new_phone && seconds == 0 {
            after.verify(&scene.simulator.code(NEW).await).await;
            assert!(after.is_in().await, "{context}: the code at the new phone signs in");
        }
        for channel in ["sms", "call"] {
            before.resend(channel).await;
            after.resend(channel).await;
        }
        assert_eq!(scene.simulator.sent_to(ALICE).await, 1, "{context}: a message to the old phone");
    }
}

#[tokio::test]
async fn lesson_29_a_number_that_changed_gets_nothing_more_by_twilio() {
    for fault in [None, Some("drop_after"), Some("60410")] {
        old_phone(TWILIO, &[], "", NEW_NUMBER, fault).await;
    }
}

#[tokio::test]
async fn lesson_29_a_number_that_changed_gets_nothing_more_by_vonage() {
    for flags in [&[], VONAGE.flags] {
        for channels in [TEXTS_ONLY, ""] {
            old_phone(VONAGE, flags, channels, NEW_NUMBER, None).await;
        }
        old_phone(VONAGE_V1, flags, "", NEW_NUMBER, None).await;
    }
}

#[tokio::test]
async fn lesson_29_nor_after_a_user_was_shut_out_or_removed_meanwhile() {
    for changes in [SHUT_OUT_MEANWHILE, ADDED_AGAIN] {
        old_phone(TWILIO, &[], "", changes, None).await;
        old_phone(VONAGE, &[], "", changes, None).await;
        old_phone(VONAGE_V1, &[], "", changes, None).await;
    }
}

/// The number is the same: a challenge from before is over, and another one has its code.
#[tokio::test]
async fn what_began_before_a_user_was_disabled_is_over_when_they_are_enabled() {
    for kind in [TWILIO, VONAGE, VONAGE_V1] {
        let scene = Scene::of(kind, kind.flags, GENEROUS).await;
        let before = scene.browser();
        assert_eq!(before.start(ALICE).await.status, 303);
        scene.house.run(&["user", "disable", "alice"]);
        scene.house.run(&["user", "enable", "alice"]);
        before.verify(&scene.simulator.code(ALICE).await).await;
        assert!(!before.is_in().await, "{}", kind.word);
        // At Vonage it keeps the number to itself until it is cancelled, when its time is over.
        scene.house.sql("UPDATE challenge SET expires_at = created_at");
        let held = "SELECT 1 FROM challenge WHERE released = 0 AND handle IS NOT NULL";
        eventually("the provider was told", async || !scene.house.finds(held)).await;
        scene.browser().sign_in(&scene.simulator, ALICE).await;
    }
}

/// The record changes while the provider is asked to send.
#[tokio::test]
async fn lesson_29_a_message_that_was_under_way_when_the_number_changed_opens_nothing() {
    for kind in [TWILIO, VONAGE, VONAGE_V1] {
        let more = format!("[challenge]\nidentify_by = \"name\"\n{GENEROUS}");
        let scene = Scene::of(kind, kind.flags, &more).await;
        let (before, after) = (scene.browser(), scene.browser());
        scene.simulator.fault(json!({"on": "start", "fault": "slow", "delay_ms": 1_500})).await;
        let change = async {
            eventually("the message is under way", async || scene.simulator.sent_to(ALICE).await == 1).await;
            scene.house.run(NEW_NUMBER[0]);
        };
        tokio::join!(before.start_by_name("alice"), change);
        let old = scene.simulator.code(ALICE).await;
        assert_eq!(after.start_by_name("alice").await.status, 303);
        for browser in [&before, &after] {
            browser.verify(&old).await;
            assert!(!browser.is_in().await, "{}", kind.word);
        }
        assert_eq!(scene.simulator.sent_to(ALICE).await, 1, "{}", kind.word);
        after.verify(&scene.simulator.code(NEW).await).await;
        assert!(after.is_in().await, "{}", kind.word);
    }
}

// A second browser, when the first code is no longer young.

async fn start_in_two(scene: &Scene, phone: &str) -> [Browser; 2] {
    let browsers = [scene.browser(), scene.browser()];
    assert_eq!(browsers[0].start(phone).await.status, 303);
    scene.house.passes(LATER);
    assert_eq!(browsers[1].start(phone).await.status, 303);
    browsers
}

/// Whoever asks for a code for somebody else does not make their code worthless.
#[tokio::test]
async fn the_newest_code_works_in_every_browser_that_asked() {
    for kind in [TWILIO, VONAGE, VONAGE_V1] {
        let scene = Scene::of(kind, kind.flags, GENEROUS).await;
        scene.house.add_many(2);
        for which in 0..2 {
            let to = number(which);
            let browsers = start_in_two(&scene, &to).await;
            assert_eq!(scene.simulator.sent_to(&to).await, 2, "{}", kind.word);
            let code = scene.simulator.code(&to).await;
            let verified = browsers[which].verify(&code).await;
            assert!(browsers[which].is_in().await, "{} browser {which}: {verified:#?}", kind.word);
        }
    }
}

#[tokio::test]
async fn lesson_31_a_wrong_code_in_the_first_of_two_browsers() {
    for kind in [TWILIO, VONAGE, VONAGE_V1] {
        let scene = Scene::of(kind, kind.flags, GENEROUS).await;
        let mut said = Vec::new();
        for phone in [ALICE, STRANGER] {
            let [first, second] = start_in_two(&scene, phone).await;
            let mut heard = Vec::new();
            for browser in [&first, &second, &first] {
                let answer = browser.verify("000000").await;
                heard.push(all_of(&answer));
                heard.push(all_of(&browser.follow(answer).await));
            }
            said.push(heard);
        }
        assert_eq!(said[0], said[1], "{}", kind.word);
    }
}

#[tokio::test]
async fn lesson_31_nor_does_the_api_tell_by_it() {
    for kind in [TWILIO, VONAGE, VONAGE_V1] {
        let scene = Scene::of(kind, kind.flags, GENEROUS).await;
        let program = scene.browser();
        let mut said = Vec::new();
        for phone in [ALICE, STRANGER] {
            let body = json!({"phoneNumber": phone});
            let first = program.api("request", &body).await.json()["requestId"].take();
            scene.house.passes(LATER);
            let second = program.api("request", &body).await.json()["requestId"].take();
            let mut heard = Vec::new();
            for id in [&first, &second, &first] {
                let answer = program.api("verify", &json!({"requestId": id, "code": "000000"})).await;
                heard.push((answer.status, answer.json()));
            }
            said.push(heard);
        }
        assert_eq!(said[0], said[1], "{}", kind.word);
    }
}

// Who can close sending for everybody, under the limits that nobody changed.

/// As it comes, behind a proxy that says whose a request is.
async fn as_it_comes(users: usize) -> Scene {
    let scene = Scene::with("", "trusted_proxies = [\"127.0.0.1/32\"]", &[]).await;
    scene.house.add_many(users);
    scene
}

/// One of many client addresses, each in a network of its own.
fn client(n: usize) -> String {
    format!("203.0.{}.{}", n / 200, 1 + n % 200)
}

/// A user signs in by a message that is theirs alone.
async fn sign_in_from(scene: &Scene, client: &str, to: &str) {
    let browser = scene.browser();
    assert_eq!(browser.submit_from(client, START, &[("phone", to)]).await.status, 303);
    let code = scene.simulator.code(to).await;
    let verify = "/.vestibule/challenge/verify";
    assert_eq!(browser.submit_from(client, verify, &[("code", &code)]).await.location(), "/");
}

/// What was sent until now is old enough to be judged; whether a person who comes now is told that sending is closed.
async fn closed_for(scene: &Scene, to: &str) -> bool {
    scene.house.sql("UPDATE conversion SET minute = minute - 10");
    let page = scene.browser().submit_from("198.51.100.1", START, &[("phone", to)]).await;
    if page.status == 303 {
        return false;
    }
    page.expect(503, CLOSED);
    true
}

#[tokio::test]
async fn lesson_47_one_address_and_six_names_do_not_close_sending_for_everybody() {
    let scene = as_it_comes(7).await;
    for _ in 0..5 {
        for n in 0..6 {
            let page = scene.browser().submit_from("203.0.113.9", START, &[("phone", &number(n))]).await;
            assert_eq!(page.status, 303, "{page:#?}");
        }
        scene.house.passes(LATER);
    }
    assert_eq!(scene.simulator.messages().await.len(), 30);
    assert!(!closed_for(&scene, &number(6)).await);
}

#[tokio::test]
async fn lesson_47_thirty_users_without_a_code_typed_do() {
    let scene = as_it_comes(31).await;
    for n in 0..30 {
        let page = scene.browser().submit_from(&client(n), START, &[("phone", &number(n))]).await;
        assert_eq!(page.status, 303, "{page:#?}");
    }
    assert!(closed_for(&scene, &number(30)).await);
}

/// Five users who sign in three times each are five of thirty, which is too few; fifteen of forty would be enough.
#[tokio::test]
async fn lesson_47_who_signs_in_three_times_counts_once() {
    let scene = as_it_comes(31).await;
    for time in 0..3 {
        for n in 0..5 {
            sign_in_from(&scene, &client(100 + 5 * time + n), &number(n)).await;
        }
    }
    for n in 5..30 {
        let page = scene.browser().submit_from(&client(n), START, &[("phone", &number(n))]).await;
        assert_eq!(page.status, 303, "{page:#?}");
    }
    scene.house.sql("UPDATE conversion SET minute = minute - 10");
    assert_eq!(scene.house.json(&["spend", "show"])["conversion"], json!({"sent": 30, "entered": 5}));
    assert!(closed_for(&scene, &number(30)).await);
}

/// Strangers used up what a user has for a day or a month; the administrator gives it back.
#[tokio::test]
async fn lesson_47_an_administrator_gives_a_user_their_messages_back() {
    for key in ["messages_per_user_and_day", "messages_per_user_and_month"] {
        let scene = Scene::start(&format!("[spend]\n{key} = 2\n{GENEROUS}")).await;
        for who in [ALICE, BOB] {
            for _ in 0..2 {
                assert_eq!(scene.browser().start(who).await.status, 303);
                scene.house.passes(300);
            }
            scene.browser().start(who).await.expect(429, MANY);
        }
        scene.house.run(&["user", "enable", "alice"]);
        let browser = scene.browser();
        browser.sign_in(&scene.simulator, ALICE).await;
        assert!(browser.is_in().await, "{key}");
        assert_eq!(scene.simulator.sent_to(ALICE).await, 3, "{key}");
        scene.browser().start(BOB).await.expect(429, MANY);
        assert_eq!(counted(&scene.house), 5, "{key}: the gateway's are not given back");
    }
}

// What a question about a line takes, and costs.

/// A scene where Lookup is asked, with users u0 and so on; `more` are keys of `[lookup]` and sections.
async fn with_lookup(more: &str) -> Scene {
    let simulator = Simulator::start(&[]);
    let upstream = Upstream::start().await;
    let lookup = format!(
        "[lookup]\nkind = \"twilio\"\nbase_url = \"{}\"\naccount_sid = \"AC{}\"\nauth_token = {{ file = \"{{dir}}/token\" }}\n{more}\n",
        simulator.url,
        "0".repeat(32)
    );
    let text = config(&upstream, &format!("{lookup}\n{GENEROUS}"), "");
    let house = House::with_providers(&provider("twilio", &simulator.url), &text);
    house.add_many(30);
    let gateway = Gateway::start(&house);
    Scene { simulator, upstream, house, gateway }
}

async fn slow_lookup(scene: &Scene, delay: u64) {
    scene.simulator.fault(json!({"on": "lookup", "fault": "slow", "delay_ms": delay, "times": 0})).await;
}

/// So many come first, so that it is known how long it takes.
const FIRST: usize = 4;
/// So many of each kind are compared.
const TRIES: usize = 7;

async fn timed_start(scene: &Scene, phone: &str) -> (Duration, Page) {
    let (browser, since) = (scene.browser(), Instant::now());
    let page = browser.start(phone).await;
    (since.elapsed(), page)
}

/// Users and strangers ask side by side: they hear the same, in about the same time.
async fn alike(scene: &Scene, context: &str) {
    let known: Vec<_> = (0..TRIES).map(|n| number(FIRST + n)).collect();
    let strangers: Vec<_> = (0..TRIES).map(|n| number(1_000 + n)).collect();
    let mut times = [Vec::new(), Vec::new()];
    let mut said = [Vec::new(), Vec::new()];
    for pair in known.iter().zip(&strangers) {
        let (one, other) = tokio::join!(timed_start(scene, pair.0), timed_start(scene, pair.1));
        for (kind, (time, page)) in [one, other].into_iter().enumerate() {
            times[kind].push(time);
            said[kind].push(all_of(&page));
        }
    }
    assert_eq!(said[0], said[1], "{context}");
    times.iter_mut().for_each(|times| times.sort());
    let [known, stranger] = times.map(|times| times[TRIES / 2]);
    println!("{context}: known {known:.1?}, stranger {stranger:.1?}");
    // One step of the pace, and what a busy machine adds.
    assert!(known.abs_diff(stranger) < Duration::from_millis(300), "{context}: {known:?}, {stranger:?}");
}

async fn first_ones(scene: &Scene) {
    let numbers: Vec<_> = (0..FIRST).map(number).collect();
    join_all(numbers.iter().map(|to| timed_start(scene, to))).await;
}

#[tokio::test]
async fn lesson_31_a_line_that_cannot_be_looked_up_takes_no_longer() {
    for choice in ["refuse", "allow"] {
        let scene = with_lookup(&format!("on_failure = \"{choice}\"\ntimeout = \"1s\"")).await;
        slow_lookup(&scene, 1_500).await;
        first_ones(&scene).await;
        alike(&scene, choice).await;
    }
}

#[tokio::test]
async fn lesson_47_no_line_is_looked_up_while_sending_is_closed_and_nobody_waits_for_it() {
    for budget in ["messages_per_day", "messages_per_month"] {
        let scene = with_lookup(&format!("on_failure = \"allow\"\n[spend]\n{budget} = {FIRST}")).await;
        slow_lookup(&scene, 700).await;
        first_ones(&scene).await;
        let before = scene.simulator.requests().await;
        alike(&scene, budget).await;
        let after = scene.simulator.requests_after(&before).await;
        let paid =
            after.iter().filter(|request| request["path"].as_str().unwrap().contains("/PhoneNumbers/"));
        assert_eq!(paid.count(), 0, "{budget}: look-ups that lead to no message");
        scene.browser().start(&number(29)).await.expect(503, CLOSED);
    }
}

#[tokio::test]
async fn lesson_31_a_line_that_is_known_already_is_known_for_strangers_too() {
    let scene = with_lookup("on_failure = \"allow\"").await;
    slow_lookup(&scene, 700).await;
    first_ones(&scene).await;
    alike(&scene, "for the first time").await;
    scene.house.passes(60);
    alike(&scene, "for the second time").await;
}

// The provider is down when another code is asked for.

async fn down(simulator: &Simulator, fault: &str) {
    let delay = if fault == "slow" { 3_500 } else { 0 };
    for on in ["cancel", "start"] {
        simulator.fault(json!({"on": on, "fault": fault, "times": 0, "delay_ms": delay})).await;
    }
}

#[tokio::test]
async fn lesson_31_another_code_while_vonage_is_down() {
    for kind in [VONAGE, VONAGE_V1] {
        let mut stage = Stage::new(kind).await;
        for fault in ["503", "401", "429", "slow"] {
            let ((known, to), stranger) = (stage.next_person(), stage.scene.browser());
            assert_eq!(known.start(&to).await.status, 303);
            // What the provider last said of its health serves strangers for two seconds.
            let served = async || stranger.start(STRANGER).await.status == 303;
            eventually("a stranger is served again", served).await;
            stage.scene.house.passes(60);
            down(&stage.scene.simulator, fault).await;
            let mut said = Vec::new();
            for browser in [&known, &stranger] {
                let answer = browser.resend("sms").await;
                said.push([all_of(&answer), all_of(&browser.follow(answer).await)]);
            }
            println!("{} {fault}: {} {}", kind.word, said[0][0].1.0, said[0][1].0);
            assert_eq!(said[0], said[1], "{} {fault}", kind.word);
            assert_eq!(stage.scene.simulator.sent_to(&to).await, 1, "{} {fault}", kind.word);
            stage.scene.house.sql("DELETE FROM challenge");
            stage.heal().await;
        }
    }
}

#[tokio::test]
async fn another_code_comes_from_the_second_provider_while_vonage_is_down() {
    for kind in [VONAGE, VONAGE_V1] {
        let first = Simulator::start_kind(kind.simulator, kind.flags);
        let second = Simulator::start(&[]);
        let upstream = Upstream::start().await;
        let providers = kind.section(&first.url) + &provider("second", &second.url);
        let house = House::with_providers(&providers, &config(&upstream, GENEROUS, ""));
        let faults = ["503", "401", "429"];
        house.add_many(faults.len());
        for (n, fault) in faults.into_iter().enumerate() {
            // Nobody is left alone yet.
            let gateway = Gateway::start(&house);
            let (browser, to) = (Browser::new(gateway.address), number(n));
            let stranger = Browser::new(gateway.address);
            assert_eq!(browser.start(&to).await.status, 303);
            assert_eq!(stranger.start(&number(1_000 + n)).await.status, 303);
            house.passes(60);
            down(&first, fault).await;
            let said = [all_of(&browser.resend("sms").await), all_of(&stranger.resend("sms").await)];
            first.clear_faults().await;
            let context = format!("{} {fault}", kind.word);
            assert_eq!(said[0].1.0, 303, "{context}: {said:#?}");
            assert_eq!(said[0], said[1], "{context}");
            assert_eq!((first.sent_to(&to).await, second.sent_to(&to).await), (1, 1), "{context}");
            browser.verify(&second.code(&to).await).await;
            assert!(browser.is_in().await, "{context}");
        }
    }
}

/// The provider says that it is there, and sends nothing: no credit, or half of it is down.
#[tokio::test]
async fn lesson_31_a_start_that_fails_for_everybody_fails_for_strangers_too() {
    for (kind, fault) in [(TWILIO, "503"), (VONAGE, "402"), (VONAGE, "503"), (VONAGE_V1, "v1_9")] {
        let mut stage = Stage::new(kind).await;
        stage.fault("start", fault).await;
        let (known, to) = stage.next_person();
        let told = known.start(&to).await;
        told.expect(503, DOWN);
        for n in 0..10 {
            let page = stage.scene.browser().start(&number(1_000 + n)).await;
            assert_eq!(page.normal(), told.normal(), "{} {fault}: stranger {n}", kind.word);
        }
        stage.scene.house.sql("DELETE FROM challenge");
        stage.heal().await;
        for n in 0..3 {
            assert_eq!(stage.scene.browser().start(&number(1_000 + n)).await.status, 303, "{}", kind.word);
        }
    }
}

// What may have been sent is counted, and not sent again and again.

async fn starts_after(scene: &Scene, kind: Kind, known: &[Value]) -> usize {
    let requests = scene.simulator.requests_after(known).await;
    requests.iter().filter(|request| kind.is("start", request["path"].as_str().unwrap())).count()
}

#[tokio::test]
async fn lesson_47_a_message_whose_answer_was_lost_is_counted_once() {
    for kind in [TWILIO, VONAGE, VONAGE_V1] {
        for times in [1, 2] {
            let scene = Scene::of(kind, kind.flags, GENEROUS).await;
            scene.simulator.fault(json!({"on": "start", "fault": "drop_after", "times": times})).await;
            let browser = scene.browser();
            assert_eq!(browser.start(ALICE).await.status, 303);
            let context = format!("{} {times}", kind.word);
            assert_eq!(scene.simulator.sent_to(ALICE).await, 1, "{context}");
            assert_eq!(counted(&scene.house), 1, "{context}");
            scene.simulator.clear_faults().await;
            browser.verify(&scene.simulator.code(ALICE).await).await;
            assert!(browser.is_in().await, "{context}");
            assert_eq!(scene.simulator.sent_to(ALICE).await, 1, "{context}");
            // Asking what became of it is counted too: where nothing was sent before, it sends.
            assert!(counted(&scene.house) <= times, "{context}: {} counted", counted(&scene.house));
        }
    }
}

/// Whoever types codes can have the start made once more, and pays for it.
#[tokio::test]
async fn lesson_47_typing_codes_sends_one_more_message_at_most() {
    // Sent, and no answer can be read; and never arrived.
    for fault in ["malformed_json", "drop_before"] {
        for kind in [TWILIO, VONAGE, VONAGE_V1] {
            let scene = Scene::of(kind, kind.flags, GENEROUS).await;
            scene.simulator.fault(json!({"on": "start", "fault": fault, "times": 0})).await;
            let browser = scene.browser();
            assert_eq!(browser.start(ALICE).await.status, 303);
            browser.challenge().await.expect(200, UNCONFIRMED);
            let context = format!("{} {fault}", kind.word);
            assert_eq!(counted(&scene.house), 1, "{context}");
            if fault == "drop_before" {
                scene.simulator.clear_faults().await;
            }
            let before = scene.simulator.requests().await;
            for _ in 0..6 {
                browser.verify("000000").await;
            }
            let further = starts_after(&scene, kind, &before).await;
            let (sent, counted) = (scene.simulator.sent_to(ALICE).await, counted(&scene.house));
            println!("{context}: {further} further starts, {sent} sent, {counted} counted");
            // Each try that finds no name asks for it, which makes a start and, at Vonage, one more.
            assert!(further <= 2 * kind.checks, "{context}: {further} further starts");
            assert!(sent <= 1, "{context}");
            assert!((sent as u64..=1 + further as u64).contains(&counted), "{context}: {counted} counted");
        }
    }
}

#[tokio::test]
async fn lesson_47_nothing_is_sent_by_typing_codes_when_the_budget_is_spent() {
    for kind in [VONAGE, VONAGE_V1] {
        let scene = Scene::of(kind, kind.flags, &format!("[spend]\nmessages_per_day = 1\n{GENEROUS}")).await;
        scene.simulator.fault(json!({"on": "start", "fault": "drop_before", "times": 0})).await;
        let browser = scene.browser();
        assert_eq!(browser.start(ALICE).await.status, 303);
        scene.simulator.clear_faults().await;
        for _ in 0..3 {
            browser.verify("000000").await;
        }
        assert!(scene.simulator.messages().await.len() <= 1, "{}", kind.word);
        scene.browser().start(BOB).await.expect(503, CLOSED);
    }
}

// What nobody typed.

/// The cancellation of one code, by its name at the provider.
fn cancels(request: &Value, handle: &str) -> bool {
    let by_path = request["method"] == "DELETE" && request["path"].as_str().unwrap().ends_with(handle);
    by_path || request["form"]["cmd"] == "cancel" && request["form"]["request_id"] == handle
}

#[tokio::test]
async fn a_code_that_could_not_be_cancelled_is_cancelled_later() {
    let scenes = [
        Scene::of(VONAGE, VONAGE.flags, GENEROUS).await,
        Scene::of(VONAGE_V1, VONAGE_V1.flags, GENEROUS).await,
    ];
    let mut handles = Vec::new();
    for scene in &scenes {
        assert_eq!(scene.browser().start(ALICE).await.status, 303);
        handles.push(scene.house.told("SELECT handle FROM challenge"));
        scene.simulator.fault(json!({"on": "cancel", "fault": "503", "times": 0})).await;
        scene.house.sql("UPDATE challenge SET expires_at = created_at");
    }
    let asked = async |scene: &Scene, handle: &str, good: bool| {
        let requests = scene.simulator.requests().await;
        requests.iter().any(|request| cancels(request, handle) && (request["status"] != 503) == good)
    };
    for (scene, handle) in scenes.iter().zip(&handles) {
        eventually("it is asked to cancel", async || asked(scene, handle, false).await).await;
        assert!(!asked(scene, handle, true).await);
        scene.simulator.clear_faults().await;
    }
    for (scene, handle) in scenes.iter().zip(&handles) {
        eventually("it is cancelled", async || asked(scene, handle, true).await).await;
        assert_eq!(scene.browser().start(ALICE).await.status, 303);
        assert_eq!(scene.simulator.sent_to(ALICE).await, 2, "the number is free again");
    }
}

// One cooldown for one code.

#[tokio::test]
async fn lesson_47_all_tabs_of_a_code_share_its_cooldown() {
    for kind in [TWILIO, VONAGE] {
        let scene = Scene::of(kind, kind.flags, GENEROUS).await;
        let mut said = Vec::new();
        for phone in [ALICE, STRANGER] {
            let tabs = [scene.browser(), scene.browser()];
            for tab in &tabs {
                assert_eq!(tab.start(phone).await.status, 303);
            }
            // At once, and again when the first has its answer.
            let clicks = [tabs[0].resend("call"), tabs[1].resend("call")];
            let mut pages = join_all(clicks).await;
            pages.sort_by_key(|page| page.status);
            // The second of two clicks would be no wish for another.
            scene.house.passes(5);
            pages.push(tabs[1].resend("call").await);
            pages.push(tabs[0].resend("call").await);
            let calls = async || {
                let messages = scene.simulator.messages().await;
                messages
                    .iter()
                    .filter(|message| message["to"] == phone && message["channel"] != "sms")
                    .count()
            };
            let expected = usize::from(phone == ALICE);
            assert_eq!(calls().await, expected, "{}: one call for all tabs", kind.word);

            // A new start, and the call is not free a second time.
            scene.house.passes(LATER);
            let third = scene.browser();
            pages.push(third.start(phone).await);
            pages.push(third.resend("call").await);
            assert_eq!(calls().await, expected, "{}: {pages:#?}", kind.word);
            // Which of the tabs was first is chance, and shows on their pages.
            said.push(pages.iter().map(|page| (page.status, page.location().to_owned())).collect::<Vec<_>>());
        }
        assert_eq!(said[0], said[1], "{}", kind.word);
    }
}

// A gateway that dies at the wrong moment.

/// Kills the gateway while the provider takes its time over a message, and starts another.
async fn dies_while_sending(mut scene: Scene, messages: usize, ask: impl Future<Output = Page>) -> Scene {
    scene.simulator.fault(json!({"on": "start", "fault": "slow", "delay_ms": 8_000})).await;
    let sent = async || scene.simulator.sent_to(ALICE).await == messages;
    tokio::select! {
        page = ask => panic!("answered too soon: {page:#?}"),
        () = eventually("the message is out", sent) => {}
    }
    scene.gateway.kill();
    scene.gateway = Gateway::start(&scene.house);
    scene
}

#[tokio::test]
async fn a_code_that_was_being_sent_when_the_gateway_died_works() {
    for kind in [TWILIO, VONAGE, VONAGE_V1] {
        let scene = Scene::of(kind, kind.flags, GENEROUS).await;
        let browser = scene.browser();
        let scene = dies_while_sending(scene, 1, browser.start(ALICE)).await;
        // The browser has heard nothing: its person asks again.
        let browser = scene.browser();
        assert_eq!(browser.start(ALICE).await.status, 303, "{}", kind.word);
        if scene.simulator.sent_to(ALICE).await == 1 {
            browser.challenge().await.expect(200, UNCONFIRMED);
        }
        browser.verify(&scene.simulator.code(ALICE).await).await;
        assert!(browser.is_in().await, "{}", kind.word);
        let (sent, counted) = (scene.simulator.sent_to(ALICE).await as u64, counted(&scene.house));
        // Asking what became of it is counted too.
        assert!((sent..=sent + 1).contains(&counted), "{}: {counted} counted", kind.word);
    }
}

/// Vonage's own name for it is lost with the gateway: there the person asks once more.
#[tokio::test]
async fn another_code_that_was_being_sent_when_the_gateway_died_works() {
    let scene = Scene::of(TWILIO, TWILIO.flags, GENEROUS).await;
    let browser = scene.browser();
    assert_eq!(browser.start(ALICE).await.status, 303);
    scene.house.passes(60);
    let clicks = browser.stolen();
    let scene = dies_while_sending(scene, 2, clicks.resend("sms")).await;
    let browser = browser.moved_to(scene.gateway.address);
    let verified = browser.verify(&scene.simulator.code(ALICE).await).await;
    assert!(browser.is_in().await, "{verified:#?}");
}
