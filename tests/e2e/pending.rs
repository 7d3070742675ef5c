//! Several who ask for the same at once: one message, and all of them hear what became of it.

use futures_util::future::join_all;
use serde_json::json;

use crate::common::browser::Page;
use crate::common::journey::GENEROUS;
use crate::common::more::number;
use crate::common::{ALICE, Browser, STRANGER, Scene, eventually};

fn slow(on: &str) -> serde_json::Value {
    json!({"on": on, "fault": "slow", "delay_ms": 700, "times": 0})
}

/// So many browsers ask for a code at the same moment.
async fn at_once(scene: &Scene, browsers: usize, phone: &str) -> (Vec<Browser>, Vec<Page>) {
    let browsers: Vec<Browser> = (0..browsers).map(|_| scene.browser()).collect();
    let pages = join_all(browsers.iter().map(|browser| browser.start(phone))).await;
    (browsers, pages)
}

/// All answers are the same.
#[track_caller]
fn alike(pages: &[Page], status: u16, sentence: &str) {
    for page in pages {
        page.expect(status, sentence);
        assert_eq!(page.normal(), pages[0].normal());
    }
}

#[tokio::test]
async fn two_and_ten_starts_at_once_send_one_message() {
    let scene = Scene::start(GENEROUS).await;
    scene.simulator.fault(slow("start")).await;
    for (n, count) in [2, 10].into_iter().enumerate() {
        let to = number(n);
        scene.house.add_user(&format!("u{n}"), &to);
        let (browsers, pages) = at_once(&scene, count, &to).await;
        alike(&pages, 303, "");
        assert_eq!(
            (scene.simulator.sent_to(&to).await, scene.simulator.calls("/Verifications").await),
            (1, n + 1)
        );
        let code = scene.simulator.code(&to).await;
        let last = browsers.last().unwrap();
        last.challenge().await.expect(200, "••• ••");
        assert_eq!(last.verify(&code).await.location(), "/", "whoever of them types it is in");
        assert!(last.is_in().await);
    }
    // A stranger's look the same, in about the same time.
    let (_, pages) = at_once(&scene, 10, STRANGER).await;
    alike(&pages, 303, "");
    assert_eq!(scene.simulator.calls("/Verifications").await, 2);
}

#[tokio::test]
async fn when_the_message_fails_all_hear_it_and_one_was_tried() {
    let scene = Scene::start(GENEROUS).await;
    let busy = "The service that sends codes is busy. Please try again in 7 seconds";
    let cases = [
        (json!({"fault": "503", "delay_ms": 300}), 503, "Codes cannot be sent at the moment", 2),
        (json!({"fault": "20003", "delay_ms": 300}), 503, "Codes cannot be sent at the moment", 1),
        (json!({"fault": "20429", "delay_ms": 300, "retry_after": "7"}), 503, busy, 3),
        (json!({"fault": "60203", "delay_ms": 300}), 303, "", 1),
    ];
    for (n, (mut fault, status, sentence, calls)) in cases.into_iter().enumerate() {
        let to = number(n);
        scene.house.add_user(&format!("u{n}"), &to);
        fault["on"] = "start".into();
        fault["times"] = 0.into();
        let before = scene.simulator.calls("/Verifications").await;
        scene.simulator.fault(fault.clone()).await;
        let (_, pages) = at_once(&scene, 10, &to).await;
        scene.simulator.clear_faults().await;
        alike(&pages, status, sentence);
        let asked = scene.simulator.calls("/Verifications").await - before;
        assert_eq!(asked, calls, "{fault}");
        // Nothing is left behind: the next one sends at once, and forgets the failures.
        let browser = scene.browser();
        scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
        browser.sign_in(&scene.simulator, &to).await;
    }
}

#[tokio::test]
async fn when_a_budget_is_spent_all_hear_it() {
    let scene = Scene::start(&format!("[spend]\nmessages_per_day = 0\n{GENEROUS}")).await;
    for phone in [ALICE, STRANGER] {
        let (_, pages) = at_once(&scene, 10, phone).await;
        alike(&pages, 503, "So many codes were sent that no more go out for now");
    }
    let scene = Scene::start(&format!("[spend]\nmessages_per_user_and_day = 0\n{GENEROUS}")).await;
    for phone in [ALICE, STRANGER] {
        let (_, pages) = at_once(&scene, 10, phone).await;
        alike(&pages, 429, "Too many codes were asked for. Please wait");
    }
    assert!(scene.simulator.messages().await.is_empty());
}

/// Many rounds, so that whoever comes first in one place and second in another is met too.
#[tokio::test]
async fn whoever_comes_first_nobody_is_told_of_a_code_that_was_not_sent() {
    let scene = Scene::start(GENEROUS).await;
    scene.house.add_many(30);
    scene.simulator.fault(json!({"on": "start", "fault": "20003", "delay_ms": 150, "times": 0})).await;
    let numbers: Vec<_> = (0..30).map(number).collect();
    let rounds = numbers.iter().map(|phone| at_once(&scene, 6, phone));
    let told: Vec<Vec<u16>> = join_all(rounds)
        .await
        .into_iter()
        .map(|(_, pages)| pages.iter().map(|page| page.status.as_u16()).collect())
        .collect();
    assert!(told.iter().flatten().all(|status| *status == 503), "{told:?}");
}

#[tokio::test]
async fn a_double_click_on_resend_sends_one_message_and_shows_no_error() {
    let scene = Scene::start(GENEROUS).await;
    for phone in [STRANGER, ALICE] {
        let browser = scene.browser();
        assert_eq!(browser.start(phone).await.status, 303);
        for channel in ["sms", "call"] {
            scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
            let before = scene.simulator.messages().await.len();
            scene.simulator.fault(slow("start")).await;
            let clicks = [browser.stolen(), browser.stolen(), browser.stolen()];
            let pages = join_all(clicks.iter().map(|click| click.resend(channel))).await;
            scene.simulator.clear_faults().await;
            alike(&pages, 303, "");
            let sent = usize::from(phone == ALICE);
            assert_eq!(scene.simulator.messages().await.len() - before, sent, "{phone} {channel}");
            browser.challenge().await.expect(200, "one-time-code");
            // A second click that comes when the first has its answer, and within two seconds on any machine.
            scene.house.sql("UPDATE challenge SET sent_at = unixepoch()");
            assert_eq!(browser.resend(channel).await.status, 303);
            assert_eq!(scene.simulator.messages().await.len() - before, sent, "{phone} {channel}");
        }
    }
    // It fails: both hear it, and the code from before is still good.
    let browser = scene.browser();
    assert_eq!(browser.start(ALICE).await.status, 303);
    let code = scene.simulator.code(ALICE).await;
    scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300");
    scene.simulator.fault(json!({"on": "any", "fault": "503", "delay_ms": 300, "times": 0})).await;
    let clicks = [browser.stolen(), browser.stolen()];
    let pages = join_all(clicks.iter().map(|click| click.resend("sms"))).await;
    scene.simulator.clear_faults().await;
    alike(&pages, 503, "Codes cannot be sent at the moment");
    assert_eq!(browser.verify(&code).await.status, 303);
}

/// Whoever goes away while their message is being sent holds nobody up.
#[tokio::test]
async fn who_goes_away_leaves_the_message_to_the_others() {
    let scene = Scene::start(GENEROUS).await;
    scene.simulator.fault(slow("start")).await;
    let (gone, stays) = (scene.browser(), scene.browser());
    let first = async {
        let started = async || scene.simulator.calls("/Verifications").await == 1;
        tokio::select! {
            page = gone.start(ALICE) => panic!("answered too soon: {page:#?}"),
            () = eventually("the message is under way", started) => {}
        }
        stays.start(ALICE).await
    };
    assert_eq!(first.await.status, 303);
    assert_eq!(scene.simulator.sent_to(ALICE).await, 1);
    assert_eq!(stays.verify(&scene.simulator.code(ALICE).await).await.location(), "/");
}

#[tokio::test]
async fn whoever_joined_a_resend_that_failed_keeps_nobody_from_the_next() {
    let scene = Scene::start(GENEROUS).await;
    let browser = scene.browser();
    assert_eq!(browser.start(ALICE).await.status, 303);
    scene.house.sql("UPDATE challenge SET sent_at = sent_at - 300, created_at = created_at - 300");
    let before = scene.simulator.calls("/Verifications").await;
    scene.simulator.fault(json!({"on": "start", "fault": "503", "delay_ms": 400, "times": 0})).await;
    let resend = browser.resend("sms");
    let joins = async {
        eventually("the resend is under way", async || {
            scene.simulator.calls("/Verifications").await > before
        })
        .await;
        scene.browser().start(ALICE).await
    };
    let (resent, joined) = tokio::join!(resend, joins);
    for page in [resent, joined] {
        page.expect(503, "Codes cannot be sent at the moment");
    }
    scene.simulator.clear_faults().await;
    assert_eq!(scene.browser().start(ALICE).await.status, 303);
    assert_eq!(scene.simulator.sent_to(ALICE).await, 2);
}
