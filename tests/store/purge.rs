//! What no rule needs any more goes, in batches; what one needs stays.

use std::time::Duration;

use vestibule::domain::challenge::Subject;
use vestibule::domain::line::Line;
use vestibule::domain::session::SessionEnd;
use vestibule::domain::spend::{Budget, Guard};
use vestibule::domain::time::Timestamp;
use vestibule::store::{About, Which};

use crate::engine::{Fixture, Store, at_once, on_every_engine};
use crate::given::{
    DAY, HOUR, LIFETIME, NOW, OFTEN, after, challenge, count, delivered, find, seconds, signed_in, spend,
    start, stranger, user,
};
use crate::messages::{conversion, reservation};

on_every_engine!(
    an_empty_store_has_nothing_to_forget,
    challenges_stay_for_a_day,
    orphans_stay_for_a_day,
    sessions_stay_for_a_day,
    spends_stay_for_a_month,
    a_strangers_failures_stay_for_a_month_and_a_users_forever,
    budgets_stay_until_their_end,
    the_guard_forgets_after_a_day,
    lines_stay_for_a_quarter,
    users_and_their_story_stay,
    the_audit_trail_goes_from_its_oldest_line_on,
    a_large_rest_goes_in_batches,
);

const SECOND: Duration = Duration::from_secs(1);

async fn purge(store: &Store, at: Timestamp) -> usize {
    store.purge(at, 12 * HOUR).await.unwrap()
}

async fn an_empty_store_has_nothing_to_forget(store: Fixture) {
    assert_eq!(purge(&store, NOW).await, 0);
}

async fn challenges_stay_for_a_day(store: Fixture) {
    let one = start(&store, stranger("a", NOW)).await;
    let two = start(&store, stranger("b", after(60))).await;
    let over = NOW + LIFETIME + DAY;
    assert_eq!(purge(&store, over).await, 0);
    assert_eq!(purge(&store, over + SECOND).await, 1);
    assert!(store.challenge(one.id).await.unwrap().is_none());
    assert!(store.challenge(two.id).await.unwrap().is_some());
}

async fn orphans_stay_for_a_day(store: Fixture) {
    let one = start(&store, stranger("a", NOW)).await;
    store.record_delivery(one.id, NOW, delivered("vonage", "h1")).await.unwrap();
    store.record_delivery(one.id, NOW, delivered("vonage", "h2")).await.unwrap();
    assert_eq!(purge(&store, after(60) + DAY).await, 0);
    assert_eq!(purge(&store, after(61) + DAY).await, 1);
}

async fn sessions_stay_for_a_day(store: Fixture) {
    let alice = user(&store, "alice").await;
    let ended = signed_in(&store, &alice, NOW).await;
    let one = signed_in(&store, &alice, after(60)).await;
    store.end_sessions(Which::One(ended.id), SessionEnd::SignedOut, NOW).await.unwrap();
    // The change and both challenges go before.
    assert_eq!(purge(&store, NOW + 2 * LIFETIME + DAY).await, 3);
    assert_eq!(purge(&store, NOW + 12 * HOUR + DAY).await, 0);
    assert_eq!(purge(&store, NOW + 12 * HOUR + DAY + SECOND).await, 1);
    assert!(store.session(ended.id).await.unwrap().is_none(), "until then its end is known");
    assert!(store.session(one.id).await.unwrap().is_some());
}

async fn spends_stay_for_a_month(store: Fixture) {
    let rate = || vec![spend("starts:x", "1/30d")];
    count(&store, rate(), NOW).await.unwrap();
    purge(&store, NOW + 30 * DAY - SECOND).await;
    assert_eq!(seconds(count(&store, rate(), NOW + 30 * DAY - SECOND).await), 1);
    assert_eq!(purge(&store, NOW + 31 * DAY).await, 0);
    assert_eq!(purge(&store, NOW + 31 * DAY + SECOND).await, 1);
    // Those of typed codes end with their challenge.
    let at = NOW + 40 * DAY;
    let one = start(&store, stranger("a", at)).await;
    store.spend_check(one.id, OFTEN, at).await.unwrap().unwrap();
    assert_eq!(purge(&store, at + DAY).await, 0);
    assert_eq!(purge(&store, at + DAY + SECOND).await, 1);
}

async fn a_strangers_failures_stay_for_a_month_and_a_users_forever(store: Fixture) {
    let alice = user(&store, "alice").await;
    for new in [challenge(&alice, NOW), stranger("x", NOW)] {
        let one = start(&store, new).await;
        store.spend_check(one.id, OFTEN, NOW).await.unwrap().unwrap();
    }
    let failures = async |of: Subject| store.failures(of).await.unwrap().count;
    purge(&store, NOW + 31 * DAY).await;
    assert_eq!(failures(Subject::stranger("x")).await, 1);
    purge(&store, NOW + 31 * DAY + SECOND).await;
    assert_eq!(failures(Subject::stranger("x")).await, 0);
    purge(&store, NOW + 1_000 * DAY).await;
    assert_eq!(failures(Subject::user(alice.id)).await, 1);
}

async fn budgets_stay_until_their_end(store: Fixture) {
    let day = Budget::of_day(Guard::Day, "gateway", 1, NOW);
    let wanted = reservation(&Subject::stranger("x"), vec![day.clone()], Vec::new());
    store.reserve_message(wanted.clone(), NOW).await.unwrap().unwrap();
    purge(&store, day.ends_at).await;
    assert!(store.reserve_message(wanted, NOW).await.unwrap().is_err());
    assert_eq!(purge(&store, day.ends_at + SECOND).await, 1);
    assert_eq!(store.spend_status(vec![day], conversion(), NOW).await.unwrap().used, [0]);
}

async fn the_guard_forgets_after_a_day(store: Fixture) {
    let rule = || vestibule::domain::spend::Conversion { window: 2 * DAY, ..conversion() };
    let wanted = reservation(&Subject::stranger("x"), Vec::new(), Vec::new());
    store.reserve_message(wanted, NOW).await.unwrap().unwrap();
    let sent = async || store.spend_status(Vec::new(), rule(), NOW + DAY).await.unwrap().sent;
    purge(&store, NOW + DAY).await;
    assert_eq!(sent().await, 1);
    purge(&store, NOW + DAY + 60 * SECOND).await;
    assert_eq!(sent().await, 0);
}

async fn lines_stay_for_a_quarter(store: Fixture) {
    let line = Line { kind: Some((None, NOW)), swapped: Some((Some(true), after(60))) };
    store.remember_line("n".to_owned(), line).await.unwrap();
    assert_eq!(purge(&store, after(60) + 90 * DAY).await, 0);
    assert_eq!(store.line("n".to_owned()).await.unwrap(), line);
    assert_eq!(purge(&store, after(61) + 90 * DAY).await, 1);
    assert_eq!(store.line("n".to_owned()).await.unwrap(), Line::default());
}

async fn users_and_their_story_stay(store: Fixture) {
    let alice = user(&store, "alice").await;
    signed_in(&store, &alice, NOW).await;
    store.append_audit(vec![crate::audit::event("it was she")]).await.unwrap();
    purge(&store, NOW + 10_000 * DAY).await;
    assert!(find(&store, "alice").await.is_some());
    assert_eq!(store.audit(About::default(), 9).await.unwrap().len(), 2, "and that she signed in");
    // And nothing of it is left that was to go.
    assert_eq!(purge(&store, NOW + 10_000 * DAY).await, 0);
}

async fn a_large_rest_goes_in_batches(store: Fixture) {
    let gateway = store.clone();
    at_once(8, |task| {
        let gateway = gateway.clone();
        async move {
            for n in 0..150 {
                start(&gateway, stranger(&format!("{task}-{n}"), NOW)).await;
            }
        }
    })
    .await;
    // As long as a thousand go at once there may be more.
    let much_later = NOW + 2 * DAY;
    assert_eq!(purge(&store, much_later).await, 1_000);
    assert_eq!(purge(&store, much_later).await, 200);
    assert_eq!(purge(&store, much_later).await, 0);
}

async fn the_audit_trail_goes_from_its_oldest_line_on(store: Fixture) {
    let at = |n: u64| vestibule::domain::event::Event { at: after(n), ..crate::audit::event(&n.to_string()) };
    store.append_audit((0..2_500).map(at).collect()).await.unwrap();
    let now = after(2_500);
    assert_eq!(store.purge_audit(NOW, now).await.unwrap(), 0);
    // In batches, and never a line that is younger.
    assert_eq!(store.purge_audit(after(1_200), now).await.unwrap(), 1_000);
    assert_eq!(store.purge_audit(after(1_200), now).await.unwrap(), 200);
    assert_eq!(store.purge_audit(after(1_200), now).await.unwrap(), 0);
    let left = store.audit(About::default(), 9_999).await.unwrap();
    assert_eq!((left.len(), left[0].detail.as_str(), left[0].number), (1_302, "1200", 1_201));
    // Each purge is a line.
    assert_eq!(left[1_301].detail, "lines 1001 to 1200");
    // Its numbers are given once, and what tells of a purge goes in the end without another line.
    while store.purge_audit(after(9_999), now).await.unwrap() > 0 {}
    store.append_audit(vec![crate::audit::event("next")]).await.unwrap();
    let last = store.audit(About::default(), 9).await.unwrap();
    assert_eq!((last.len(), last[0].number), (1, 2_505));
}
