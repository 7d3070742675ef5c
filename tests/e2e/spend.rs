//! Lesson 47: what messages may cost. Whatever stops them is in the log, the audit trail and the figures, shuts out
//! nobody who is in or has a code, and does not tell who is known.

use futures_util::future::join_all;
use serde_json::json;

use crate::common::browser::Page;
use crate::common::more::number;
use crate::common::{ALICE, BOB, Browser, Gateway, STRANGER, Scene, eventually};

const GENEROUS: &str = "[limits]\nstarts_per_number = \"1000/1h\"\nstarts_per_user = \"1000/1h\"\n\
                        starts_per_address = \"10000/1m\"\nchecks_per_address = \"10000/1m\"\n";

const START: &str = "/.vestibule/challenge/start";
const CLOSED: &str = "So many codes were sent that no more go out for now";
const MANY: &str = "Too many codes were asked for. Please wait";
const UNTOLD: &str = "If this number is known here, a code was sent by text";

/// With users u0, u1 and so on, who have the numbers from 0.
async fn scene(spend: &str, users: usize) -> Scene {
    let scene = Scene::start(&format!("[spend]\n{spend}\n{GENEROUS}")).await;
    let users: Vec<_> = (0..users).map(|n| (format!("u{n}"), number(n))).collect();
    let users: Vec<_> = users.iter().map(|(name, phone)| (name.as_str(), phone.as_str())).collect();
    if !users.is_empty() {
        scene.house.add_users(&users);
    }
    scene
}

/// The guard is on the trail so often, in the log aloud, and counted.
async fn stopped(scene: &mut Scene, guard: &str, times: usize) {
    let for_all = ["messages_per_day", "messages_per_month", "conversion"].contains(&guard);
    let (text, field) = if for_all {
        ("the spend guard closed sending for everybody", format!("\"guard\":\"{guard}\""))
    } else {
        ("guard_tripped", format!("\"detail\":\"{guard}\""))
    };
    scene.gateway.has_logged(text).await;
    let log = scene.gateway.log();
    let line = log.lines().find(|line| line.contains(text) && line.contains(&field));
    let line = line.unwrap_or_else(|| panic!("{guard} is not told aloud:\n{log}"));
    assert!(line.contains(if for_all { "\"ERROR\"" } else { "\"WARN\"" }), "{line}");
    assert_eq!(line.contains("vestibule spend show"), for_all, "{line}");
    assert_eq!(scene.house.details("guard_tripped").iter().filter(|known| *known == guard).count(), times);
    scene
        .gateway
        .has_figure(&format!("vestibule_spend_guard_stops_total{{guard=\"{guard}\"}} {times}"))
        .await;
}

/// Sending is closed for everybody, for at least so long: known and stranger, on pages and API alike.
async fn closed_to_all(scene: &Scene, known: [&str; 2], least: u64) {
    let pages = [scene.browser().start(known[0]).await, scene.browser().start(STRANGER).await];
    for page in &pages {
        page.expect(503, CLOSED);
        assert!(page.retry_after() >= least, "{page:#?}");
        assert!(page.reference().is_some_and(|reference| {
            scene.house.events(reference).contains(&"guard_tripped".to_owned())
        }));
    }
    assert_eq!(pages[0].normal(), pages[1].normal());
    assert!(pages[0].retry_after().abs_diff(pages[1].retry_after()) <= 2);
    let program = scene.browser();
    for phone in [known[1], "+14155550198"] {
        let page = program.api("request", &json!({"phoneNumber": phone})).await;
        assert_eq!((page.status.as_u16(), page.json()), (503, json!({"error": "sending_closed"})));
        assert!(page.retry_after() >= least);
    }
}

#[tokio::test]
async fn lesson_47_a_day_and_a_month_have_their_messages() {
    for (key, period) in [("messages_per_day", "day"), ("messages_per_month", "month")] {
        let mut scene = scene(&format!("{key} = 3"), 4).await;
        let inside = scene.signed_in(&number(0)).await;
        let typing = scene.browser();
        assert_eq!(typing.start(&number(1)).await.status, 303);
        // Strangers cost nothing.
        for n in 0..5 {
            assert_eq!(scene.browser().start(&number(50 + n)).await.status, 303);
        }
        // Another code for the same challenge is a message too.
        assert_eq!(typing.resend("call").await.status, 303);
        scene.gateway.has_figure(&format!("vestibule_messages{{period=\"{period}\"}} 3")).await;
        scene.gateway.has_figure(&format!("vestibule_messages_allowed{{period=\"{period}\"}} 3")).await;

        closed_to_all(&scene, [&number(2), &number(3)], 1).await;
        let figure = format!("vestibule_spend_guard_closed{{guard=\"{key}\"}}");
        scene.gateway.has_figure(&format!("{figure} 1")).await;
        let told = scene.house.run(&["spend", "show"]);
        assert!(told.contains(&format!("{key}: 3 of 3, until ")), "{told}");
        assert!(told.contains(&format!("CLOSED by {key} until ")), "{told}");
        assert!(
            told.contains("; raise it in [spend] and restart the gateway") && !told.contains("nothing is")
        );
        let json = scene.house.json(&["spend", "show"]);
        assert_eq!(json["closed"][0]["guard"], key, "{json:#}");
        assert!(json["closed"][0]["until"].is_string() && json["closed"][1].is_null(), "{json:#}");
        // No command opens a budget.
        let nothing = scene.house.run(&["spend", "reopen"]);
        assert!(nothing.contains("nothing was closed that could be opened"), "{nothing}");
        assert!(scene.house.details("sending_reopened").is_empty());
        let wanted = format!("SELECT 1 FROM budget WHERE key LIKE '{key}:gateway:%' AND count = 3");
        assert!(scene.house.finds(&wanted), "{key}");
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
        typing.resend("sms").await.expect(503, CLOSED);
        assert_eq!(scene.simulator.messages().await.len(), 3);
        stopped(&mut scene, key, 5).await;

        // Who is in stays in, and who has a code types it.
        assert!(inside.is_in().await);
        assert_eq!(typing.verify(&scene.simulator.code(&number(1)).await).await.status, 303);
        assert!(typing.is_in().await);

        // A power cut forgets nothing.
        scene.gateway.kill();
        scene.gateway = Gateway::start(&scene.house);
        scene.browser().start(&number(2)).await.expect(503, CLOSED);
        assert!(inside.stolen().moved_to(scene.gateway.address).is_in().await);
        // The next day or month has messages of its own.
        scene.house.sql("UPDATE budget SET key = key || ' gone'");
        scene.gateway.has_figure(&format!("{figure} 0")).await;
        assert!(scene.house.run(&["spend", "show"]).contains("nothing is closed"));
        assert_eq!(scene.browser().start(&number(2)).await.status, 303);
        assert_eq!(scene.simulator.messages().await.len(), 4);
    }
}

#[tokio::test]
async fn lesson_47_a_user_has_their_messages_and_a_stranger_as_many() {
    for key in ["messages_per_user_and_day", "messages_per_user_and_month"] {
        let mut scene = scene(&format!("{key} = 2"), 2).await;
        let inside = scene.signed_in(&number(0)).await;
        let typing = scene.browser();
        typing.start(&number(0)).await;
        for _ in 0..2 {
            scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
            assert_eq!(scene.browser().start(STRANGER).await.status, 303);
        }
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
        let pages = [scene.browser().start(&number(0)).await, scene.browser().start(STRANGER).await];
        for page in &pages {
            page.expect(429, MANY);
            assert!(page.retry_after() >= 1, "{page:#?}");
        }
        assert_eq!(pages[0].normal(), pages[1].normal());
        assert!(pages[0].retry_after().abs_diff(pages[1].retry_after()) <= 2);
        stopped(&mut scene, key, 2).await;
        assert_eq!(scene.simulator.messages().await.len(), 2);
        assert!(inside.is_in().await);
        assert_eq!(typing.verify(&scene.simulator.code(&number(0)).await).await.status, 303);
        // Others have their own, also after a restart.
        scene.restart();
        scene.browser().start(&number(0)).await.expect(429, MANY);
        assert_eq!(scene.browser().start(&number(1)).await.status, 303);
        assert_eq!(scene.simulator.messages().await.len(), 3);
    }
}

/// A budget of one's own, spent in ways that send nothing: a known person has as many tries as a stranger.
#[tokio::test]
async fn lesson_31_what_is_given_back_does_not_tell_who_is_known() {
    // Stopped by a guard that is not told, refused by the provider, and the provider down.
    let cases = [
        ("messages_per_prefix = \"1/1h\"", None),
        ("", Some(("start", "60410"))),
        ("", Some(("any", "503"))),
    ];
    for (spend, fault) in cases {
        let scene = scene(&format!("messages_per_user_and_day = 3\n{spend}"), 0).await;
        // Bob's message is the one that the prefix has.
        assert_eq!(scene.browser().start(BOB).await.status, 303);
        if let Some((on, fault)) = fault {
            scene.simulator.fault(json!({"on": on, "fault": fault, "times": 0})).await;
        }
        let mut said = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            for (said, phone) in said.iter_mut().zip([ALICE, STRANGER]) {
                said.push(scene.browser().start(phone).await.status.as_u16());
                scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
            }
        }
        println!("{spend}{fault:?}: known {:?}, stranger {:?}", said[0], said[1]);
        assert_eq!(said[0], said[1], "{spend} {fault:?}");
        assert_eq!(scene.simulator.messages().await.len(), 1);
    }
}

#[tokio::test]
async fn lesson_47_numbers_that_begin_alike_and_nobody_is_told() {
    let scene = &mut scene("messages_per_prefix = \"2/1h\"", 1).await;
    let alike: Vec<_> = (0..4).map(|n| (format!("a{n}"), format!("+1415222{:04}", 137 * (n + 1)))).collect();
    let alike: Vec<_> = alike.iter().map(|(name, phone)| (name.as_str(), phone.as_str())).collect();
    scene.house.add_users(&alike);
    let inside = scene.signed_in(alike[0].1).await;
    let typing = scene.browser();
    assert_eq!(typing.start(alike[1].1).await.status, 303);
    let (known, stranger) = (scene.browser(), scene.browser());
    let mut said = [Vec::new(), Vec::new()];
    for ((browser, phone), said) in [(&known, alike[2].1), (&stranger, STRANGER)].into_iter().zip(&mut said) {
        said.push(browser.start(phone).await.normal());
        let page = browser.challenge().await;
        page.expect(200, UNTOLD);
        said.push(page.normal());
        said.push(browser.verify("123456").await.normal());
        said.push(browser.resend("call").await.normal());
        said.push(browser.challenge().await.normal());
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(scene.simulator.messages().await.len(), 2);
    assert_eq!(scene.simulator.calls("/VerificationCheck").await, 1, "no code is looked at that never was");
    stopped(scene, "messages_per_prefix", 2).await;
    // Other numbers, who is in, and who has a code.
    assert_eq!(scene.browser().start(&number(0)).await.status, 303);
    assert_eq!(scene.simulator.messages().await.len(), 3);
    assert!(inside.is_in().await);
    assert_eq!(typing.verify(&scene.simulator.code(alike[1].1).await).await.status, 303);
    scene.restart();
    assert_eq!(scene.browser().start(alike[3].1).await.status, 303);
    assert_eq!(scene.simulator.sent_to(alike[3].1).await, 0);
}

#[tokio::test]
async fn lesson_47_when_few_codes_come_back_sending_closes() {
    let rule = "conversion_least_sent = 5\nconversion_least_percent = 50\nconversion_closed_for = \"20m\"";
    let mut scene = scene(rule, 12).await;
    let inside = scene.signed_in(&number(0)).await;
    let typing = scene.browser();
    for n in 1..6 {
        let browser = if n == 5 { &typing } else { &scene.browser() };
        assert_eq!(browser.start(&number(n)).await.status, 303, "{n}");
    }
    // Six were sent and one was typed, but they are young: each may still be.
    assert_eq!(scene.browser().start(&number(6)).await.status, 303);
    let older = |minutes: u32| format!("UPDATE conversion SET minute = minute - {minutes}");
    scene.house.sql(&older(10));
    let typed = "users who typed their code in the last 1h (without the newest 3 minutes): 1 of 7";
    assert!(scene.house.run(&["spend", "show"]).contains(typed));
    // Where nothing is closed there is nothing to open, and the counts stay.
    assert_eq!(scene.house.json(&["spend", "reopen"]), json!({"was_closed": false}));
    assert!(scene.house.run(&["spend", "show"]).contains(typed));
    closed_to_all(&scene, [&number(7), &number(8)], 1_100).await;
    scene.gateway.has_figure("vestibule_spend_guard_closed{guard=\"conversion\"} 1").await;
    stopped(&mut scene, "conversion", 4).await;
    let told = scene.house.run(&["spend", "show"]);
    assert!(told.contains("CLOSED by conversion until "), "{told}");
    assert!(told.contains("; open it with: vestibule spend reopen"), "{told}");
    assert!(inside.is_in().await);
    assert_eq!(typing.verify(&scene.simulator.code(&number(5)).await).await.status, 303);
    assert!(typing.is_in().await);
    assert_eq!(scene.simulator.messages().await.len(), 7);
    scene.gateway.kill();
    scene.gateway = Gateway::start(&scene.house);
    scene.browser().start(&number(9)).await.expect(503, CLOSED);

    // When its time is over sending opens by itself, and what led to it is not counted again.
    scene.house.sql("UPDATE closure SET until = until - 1200");
    assert_eq!(scene.browser().start(&number(9)).await.status, 303);
    assert_eq!(scene.simulator.messages().await.len(), 8);
    scene.gateway.has_figure("vestibule_spend_guard_closed{guard=\"conversion\"} 0").await;
    // Codes that are typed keep it open.
    for n in 0..6 {
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
        let to = number(n);
        let browser = scene.browser();
        browser.sign_in(&scene.simulator, &to).await;
    }
    scene.house.sql(&older(10));
    assert_eq!(scene.browser().start(&number(10)).await.status, 303);
    // An administrator who looked into it need not wait.
    scene.house.sql("UPDATE conversion SET sent = 1, entered = 0");
    scene.browser().start(&number(11)).await.expect(503, CLOSED);
    assert_eq!(scene.house.json(&["spend", "reopen"]), json!({"was_closed": true}));
    assert_eq!(scene.house.details("sending_reopened"), ["was closed"]);
    // What was sent longer ago than the window says nothing any more.
    scene.house.sql("DELETE FROM conversion; INSERT INTO conversion SELECT strftime('%s') / 60 - 70, 'user:' || id, 1, 0 FROM user");
    assert_eq!(scene.browser().start(&number(11)).await.status, 303);
}

#[tokio::test]
async fn lesson_47_a_few_numbers_that_somebody_knows_do_not_close_sending() {
    let scene = scene("conversion_least_sent = 3\nmessages_per_prefix = \"1000/1h\"", 4).await;
    for _ in 0..4 {
        for n in 0..2 {
            assert_eq!(scene.browser().start(&number(n)).await.status, 303);
        }
        scene.house.sql("UPDATE conversion SET minute = minute - 6; UPDATE challenge SET sent_at = sent_at - 700, expires_at = expires_at - 700");
    }
    assert_eq!(scene.simulator.messages().await.len(), 8);
    // Each counts once; the third and fourth make it three.
    for n in 2..4 {
        assert_eq!(scene.browser().start(&number(n)).await.status, 303);
    }
    scene.house.sql("UPDATE conversion SET minute = minute - 6");
    scene.browser().start(&number(0)).await.expect(503, CLOSED);
}

#[tokio::test]
async fn enabling_a_user_gives_them_their_messages_back() {
    let mut scene =
        Scene::start("[spend]\nmessages_per_user_and_day = 1\n[limits]\nstarts_per_user = \"1/1h\"").await;
    assert_eq!(scene.browser().start(ALICE).await.status, 303);
    scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60");
    scene.browser().start(ALICE).await.expect(429, MANY);
    scene.house.run(&["user", "enable", "alice"]);
    assert_eq!(scene.browser().start(ALICE).await.status, 303);
    assert_eq!(scene.simulator.sent_to(ALICE).await, 2);
    scene.house.sql("UPDATE challenge SET sent_at = sent_at - 60; DELETE FROM spend");
    scene.browser().start(ALICE).await.expect(429, MANY);
    stopped(&mut scene, "messages_per_user_and_day", 1).await;
}

#[tokio::test]
async fn two_tabs_of_one_code_share_the_pause_between_messages() {
    let scene = scene("", 1).await;
    let (one, other) = (scene.browser(), scene.browser());
    for tab in [&one, &other] {
        assert_eq!(tab.start(&number(0)).await.status, 303);
    }
    assert_eq!(one.resend("call").await.status, 303);
    assert_eq!(other.resend("call").await.status, 429, "what the other tab was sent serves it too");
    scene.house.sql("UPDATE challenge SET sent_at = sent_at - 45");
    assert_eq!(other.resend("sms").await.status, 429, "the pause has grown for both");
    scene.house.sql("UPDATE challenge SET sent_at = sent_at - 45");
    assert_eq!(other.resend("sms").await.status, 303);
    assert_eq!(scene.simulator.messages().await.len(), 3);
}

#[tokio::test]
async fn lesson_47_numbers_typed_one_after_the_other() {
    let spend = "[spend]\nmessages_per_prefix = \"1000/1h\"\n";
    let trusted = "trusted_proxies = [\"127.0.0.1/32\"]";
    let mut scene = Scene::with(&format!("{spend}{GENEROUS}"), trusted, &[]).await;
    let inside = scene.signed_in(ALICE).await;
    let browser = scene.browser();
    let from =
        async |client: &str, phone: &str| browser.submit_from(client, START, &[("phone", phone)]).await;
    // Bob's is among them; it makes no difference.
    for n in 96..103 {
        assert_eq!(from("192.0.2.1", &format!("+1415555{:04}", n)).await.status, 303, "{n}");
    }
    for phone in ["+14155550103", BOB, "+14155559999", ALICE] {
        let page = from("192.0.2.1", phone).await;
        page.expect(429, MANY);
        assert!((3_500..=3_600).contains(&page.retry_after()), "{page:#?}");
    }
    let sent = scene.simulator.messages().await.len();
    // By IPv6 a network is a /64, and backwards by fives is in a row too.
    for n in 0..7 {
        let client = format!("2001:db8::{n}");
        assert_eq!(from(&client, &format!("+1415555{:04}", 7_000 - 5 * n)).await.status, 303);
    }
    from("2001:db8::ffff", "+14155556965").await.expect(429, MANY);
    // Others, and in no order.
    for (n, client) in
        [(1, "192.0.2.2"), (17, "192.0.2.2"), (3, "192.0.2.2"), (4, "192.0.2.2"), (5, "2001:db8:0:1::1")]
    {
        assert_eq!(from(client, &format!("+1415555{:04}", 3_000 + n)).await.status, 303, "{n}");
    }
    assert_eq!(scene.simulator.messages().await.len(), sent);
    assert!(inside.is_in().await);
    stopped(&mut scene, "sequential_numbers", 5).await;
    // A right code ends a row: whoever tries new accounts in order is no thief.
    for n in 0..6 {
        assert_eq!(from("192.0.2.9", &format!("+1415555{:04}", 8_000 + n)).await.status, 303);
    }
    let tester = scene.browser();
    assert_eq!(tester.submit_from("192.0.2.9", START, &[("phone", BOB)]).await.status, 303);
    let code = scene.simulator.code(BOB).await;
    let verify = "/.vestibule/challenge/verify";
    assert_eq!(tester.submit_from("192.0.2.9", verify, &[("code", &code)]).await.location(), "/");
    for n in 6..12 {
        assert_eq!(from("192.0.2.9", &format!("+1415555{:04}", 8_000 + n)).await.status, 303);
    }
}

#[tokio::test]
async fn lesson_47_a_name_whose_number_is_of_a_country_not_served() {
    let more = format!("[challenge]\nidentify_by = \"name\"\nallowed_regions = [\"US\"]\n{GENEROUS}");
    let mut scene = Scene::start(&more).await;
    scene.house.add_user("greta", "+4915123456789");
    let mut said = Vec::new();
    for name in ["greta", "nobody"] {
        let browser = scene.browser();
        let mut pages = vec![browser.submit(START, &[("name", name)]).await];
        pages.push(browser.challenge().await);
        pages[1].expect(200, "If this name is known here");
        pages.push(browser.verify("123456").await);
        pages.push(browser.resend("call").await);
        said.push(pages.iter().map(Page::normal).collect::<Vec<_>>());
    }
    assert_eq!(said[0], said[1]);
    assert!(scene.simulator.messages().await.is_empty());
    stopped(&mut scene, "country", 2).await;
    let alice = scene.browser();
    assert_eq!(alice.submit(START, &[("name", "alice")]).await.status, 303);
    assert_eq!(alice.verify(&scene.simulator.code(ALICE).await).await.status, 303);
}

#[tokio::test]
async fn what_was_not_sent_is_given_back() {
    let mut scene =
        scene("messages_per_day = 2\nmessages_per_prefix = \"2/1h\"\nconversion_least_sent = 3", 0).await;
    let count = "SELECT 1 FROM budget WHERE key LIKE 'messages_per_day:gateway:%' AND count =";
    for fault in ["503", "20003", "60410", "60203"] {
        // Nobody is left alone for the last.
        scene.restart();
        for _ in 0..2 {
            scene.simulator.fault(json!({"on": "start", "fault": fault, "times": 0})).await;
            scene.browser().start(ALICE).await;
            scene.simulator.clear_faults().await;
            eventually("it is given back", async || scene.house.finds(&format!("{count} 0"))).await;
            scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
        }
    }
    assert!(!scene.house.finds("SELECT 1 FROM conversion WHERE sent > 0"));
    // What may have been sent is not.
    scene.simulator.fault(json!({"on": "start", "fault": "drop_after", "times": 1})).await;
    assert_eq!(scene.browser().start(ALICE).await.status, 303);
    assert!(scene.house.finds(&format!("{count} 1")));
    assert_eq!(scene.browser().start(BOB).await.status, 303);
    assert_eq!(scene.simulator.messages().await.len(), 2, "the prefix has both its messages too");
    scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
    scene.browser().start(ALICE).await.expect(503, CLOSED);
}

#[tokio::test]
async fn lesson_47_fifty_at_once_send_as_many_as_there_are() {
    let mut scene = scene("messages_per_day = 10", 50).await;
    scene.simulator.fault(json!({"on": "start", "fault": "slow", "delay_ms": 200, "times": 0})).await;
    let browsers: Vec<Browser> = (0..50).map(|_| scene.browser()).collect();
    let numbers: Vec<String> = (0..50).map(number).collect();
    let pages = join_all(browsers.iter().zip(&numbers).map(|(browser, to)| browser.start(to))).await;
    let sent = pages.iter().filter(|page| page.status == 303).count();
    assert_eq!(sent, 10);
    pages.iter().filter(|page| page.status != 303).for_each(|page| page.expect(503, CLOSED));
    assert_eq!(scene.simulator.messages().await.len(), 10);
    assert_eq!(scene.simulator.calls("/Verifications").await, 10);
    scene.gateway.has_figure("vestibule_messages{period=\"day\"} 10").await;
    stopped(&mut scene, "messages_per_day", 40).await;
}
