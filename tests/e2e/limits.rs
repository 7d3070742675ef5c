//! Nothing can be tried more often than the settings say, whoever tries, from wherever, under whatever spelling.

use std::time::Instant;

use serde_json::json;

use crate::common::browser::Page;
use crate::common::{ALICE, BOB, Browser, Gateway, STRANGER, Scene};

const START: &str = "/.vestibule/challenge/start";
const VERIFY: &str = "/.vestibule/challenge/verify";

/// An answer without its minutes, which pass.
fn shape(page: &Page) -> (u16, String, usize) {
    let sentence = page.text.split("<p>Too many").nth(1).unwrap_or_default().split("</p>").next();
    let sentence = sentence.unwrap_or_default().replace(|c: char| c.is_ascii_digit(), "");
    (page.status.as_u16(), sentence, page.headers.len())
}

#[tokio::test]
async fn five_starts_for_a_number_under_every_spelling_and_after_a_power_cut() {
    let mut scene = Scene::start("[limits]\nstarts_per_address = \"1000/1m\"\n").await;
    let spellings = [
        ["+14155550100", " +1 415 555 0100 ", "001 415-555-0100", "+1 (415) 555.0100", "+1/415/5550100"],
        ["+14155550199", " +1 415 555 0199 ", "001 415-555-0199", "+1 (415) 555.0199", "+1/415/5550199"],
    ];
    for number in spellings {
        for (place, spelling) in number.iter().enumerate() {
            // The last of the five has its answer while the power fails.
            if place == 4 {
                scene.gateway.kill();
                scene.gateway = Gateway::start(&scene.house);
            }
            assert_eq!(scene.browser().start(spelling).await.status, 303, "{spelling}");
        }
    }
    scene.gateway.kill();
    scene.gateway = Gateway::start(&scene.house);
    let (known, stranger) = (scene.browser().start(ALICE).await, scene.browser().start(STRANGER).await);
    known.expect(429, "Too many codes were asked for. Please wait");
    assert_eq!(shape(&known), shape(&stranger));
    assert!(known.retry_after().abs_diff(stranger.retry_after()) < 60);
    let by_api = scene.browser().api("request", &json!({"phoneNumber": "+1 415 555 0100"})).await;
    assert_eq!((by_api.status.as_u16(), by_api.retry_after() > 3_000), (429, true));
    assert_eq!(scene.simulator.sent_to(STRANGER).await, 0);
    // Others are not held up.
    assert_eq!(scene.browser().start(BOB).await.status, 303);
}

#[tokio::test]
async fn starts_per_user_count_whatever_the_number() {
    let more = "[challenge]\nidentify_by = \"name\"\n[limits]\nstarts_per_user = \"2/1h\"\n";
    let scene = Scene::start(more).await;
    for name in ["alice", " Alice "] {
        assert_eq!(scene.browser().submit(START, &[("name", name)]).await.status, 303);
    }
    scene.house.run(&["user", "set-phone", "alice", "+14155550177"]);
    scene.browser().submit(START, &[("name", "ALICE")]).await.expect(429, "Too many codes were asked for");
    for name in ["nobody", "NOBODY\t"] {
        assert_eq!(scene.browser().submit(START, &[("name", name)]).await.status, 303);
    }
    scene.browser().submit(START, &[("name", "Nobody")]).await.expect(429, "Too many codes were asked for");
}

/// A start that fails at its number has been counted all the same: the count comes first.
async fn start_from(browser: &Browser, client: &str) -> u16 {
    browser.submit_from(client, START, &[("phone", "none")]).await.status.as_u16()
}

#[tokio::test]
async fn an_address_has_its_starts_and_checks_behind_a_trusted_proxy() {
    let more = "[limits]\nstarts_per_address = \"2/1h\"\nchecks_per_address = \"3/1h\"\n";
    let scene = Scene::with(more, "trusted_proxies = [\"127.0.0.1/32\"]", &[]).await;
    let browser = scene.browser();
    for client in ["192.0.2.1", "192.0.2.1", "6.6.6.6, 192.0.2.9", "7.7.7.7, 192.0.2.9"] {
        assert_eq!(start_from(&browser, client).await, 400, "{client}");
    }
    for client in ["192.0.2.1", "192.0.2.1:4711", "::ffff:192.0.2.1", "8.8.8.8, 192.0.2.9"] {
        let page = browser.submit_from(client, START, &[("phone", ALICE)]).await;
        page.expect(429, "Too many codes were asked for");
        assert!((1..=1_800).contains(&page.retry_after()), "{client}");
    }
    for client in ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.2"] {
        assert_eq!(start_from(&browser, client).await, 400, "{client}");
    }
    assert_eq!(start_from(&browser, "2001:db8::ffff:1:2").await, 429);
    assert_eq!(start_from(&browser, "[2001:db8::3]:443").await, 429);
    assert_eq!(start_from(&browser, "2001:db8:0:1::2").await, 400);

    // Every way in counts: a resend is a start, and so is a request of the API.
    let resend = "/.vestibule/challenge/resend";
    assert_eq!(browser.submit_from("198.51.100.1", START, &[("phone", ALICE)]).await.status, 303);
    assert_eq!(browser.submit_from("198.51.100.1", resend, &[("channel", "call")]).await.status, 303);
    assert_eq!(browser.submit_from("198.51.100.1", resend, &[("channel", "sms")]).await.status, 429);
    let request = browser.request(reqwest::Method::POST, "/.vestibule/api/otp/request");
    let request = request.header("x-forwarded-for", "198.51.100.1").json(&json!({"phoneNumber": BOB}));
    assert_eq!(browser.send(request).await.status, 429);

    let wrong = scene.simulator.wrong_code(ALICE).await;
    for code in [wrong.as_str(), "12", wrong.as_str()] {
        assert_ne!(browser.submit_from("198.51.100.7", VERIFY, &[("code", code)]).await.status, 429);
    }
    let right = scene.simulator.code(ALICE).await;
    let stopped = browser.submit_from("198.51.100.7", VERIFY, &[("code", &right)]).await;
    assert!(stopped.status == 429 && stopped.retry_after() > 600, "{stopped:#?}");
    assert_eq!(scene.simulator.calls("VerificationCheck").await, 2);
    assert_eq!(browser.submit_from("198.51.100.8", VERIFY, &[("code", &right)]).await.status, 303);
}

#[tokio::test]
async fn lesson_28_nobody_names_their_own_address() {
    let scene = Scene::start("[limits]\nstarts_per_address = \"2/1h\"\n").await;
    let browser = scene.browser();
    assert_eq!(start_from(&browser, "192.0.2.1").await, 400);
    assert_eq!(start_from(&browser, "192.0.2.2").await, 400);
    for client in ["192.0.2.3", "127.0.0.2", "a", ""] {
        assert_eq!(start_from(&browser, client).await, 429, "{client}");
    }
}

#[tokio::test]
async fn lesson_40_no_more_than_five_codes_reach_the_provider() {
    let more = "[limits]\nchecks_per_address = \"1000/1m\"\nstarts_per_address = \"1000/1m\"\n";
    let mut scene = Scene::start(more).await;
    let browser = scene.browser();
    browser.start(ALICE).await;
    let other = scene.browser();
    other.start(ALICE).await;
    let (right, wrong) = (scene.simulator.code(ALICE).await, scene.simulator.wrong_code(ALICE).await);
    // Half of them from another browser: one code has one count.
    let tries: Vec<Browser> =
        (0..50).map(|n| if n % 2 == 0 { browser.stolen() } else { other.stolen() }).collect();
    let since = Instant::now();
    let pages = futures_util::future::join_all(tries.iter().map(|copy| copy.verify(&wrong))).await;
    println!("50 wrong codes at once took {:?}", since.elapsed());
    assert_eq!(scene.simulator.calls("VerificationCheck").await, 5);
    assert!(pages.iter().all(|page| page.status == 303 || page.status == 429), "{pages:#?}");
    assert!(pages.iter().filter(|page| page.status == 303).count() <= 5);
    assert!(tries.iter().all(|copy| copy.cookie("vestibule").is_none()));
    for copy in [&browser, &other] {
        copy.verify(&right).await.expect(429, "Too many codes were tried");
    }
    assert_eq!(scene.simulator.calls("VerificationCheck").await, 5);

    // A new code forgets none of the five, nor does a restart: five more wrong ones make ten, and then one waits.
    assert_eq!(browser.resend("sms").await.status, 303);
    let failures =
        |scene: &Scene| scene.house.json(&["user", "show", "alice"])["wrong_codes_in_a_row"].clone();
    assert_eq!(failures(&scene), 5);
    scene.gateway.kill();
    scene.gateway = Gateway::start(&scene.house);
    let moved = scene.browser();
    moved.set_cookie("vestibule-challenge", &browser.cookie("vestibule-challenge").unwrap());
    let wrong = scene.simulator.wrong_code(ALICE).await;
    for _ in 0..5 {
        moved.verify(&wrong).await;
    }
    assert_eq!(failures(&scene), 10);
    assert_eq!(moved.resend("sms").await.status, 303);
    let waits = moved.verify(&scene.simulator.code(ALICE).await).await;
    waits.expect(429, "Too many wrong codes were tried. To protect the account, please wait");
    assert!((1..=30).contains(&waits.retry_after()), "{waits:#?}");
    assert_eq!(scene.simulator.calls("VerificationCheck").await, 10, "not even the right one is looked at");
}

#[tokio::test]
async fn checks_per_challenge_may_be_fewer_than_the_provider_takes() {
    let scene = Scene::start("[limits]\nchecks_per_challenge = \"2/1h\"\n").await;
    let browser = scene.browser();
    browser.start(ALICE).await;
    let wrong = scene.simulator.wrong_code(ALICE).await;
    for _ in 0..2 {
        assert_eq!(browser.verify(&wrong).await.status, 303);
    }
    let stopped = browser.verify(&wrong).await;
    assert!(stopped.status == 429 && stopped.retry_after() > 3_000, "{stopped:#?}");
    assert_eq!(scene.simulator.calls("VerificationCheck").await, 2);
}
