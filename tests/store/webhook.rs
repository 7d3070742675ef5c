//! How far a receiver has the trail: one gateway brings it lines at a time.

use vestibule::domain::event::Event;
use vestibule::store::Progress;

use crate::engine::{Fixture, Store, on_every_engine};
use crate::given::{DAY, after};

on_every_engine!(
    one_of_many_gateways_brings_lines,
    another_goes_on_when_one_is_gone,
    one_that_lets_go_is_followed_at_once,
    only_what_is_due_is_for_somebody_to_bring,
    what_a_hand_wrote_silences_nobody,
    lines_that_are_too_old_are_counted_by_their_events,
);

async fn write(store: &Store, details: &[&str]) {
    store.append_audit(details.iter().map(|detail| crate::audit::event(detail)).collect()).await.unwrap();
}

async fn hold(store: &Store, holder: &str, at: u64) -> Option<Progress> {
    store.hold_webhook(holder.to_owned(), after(at)).await.unwrap()
}

async fn note(store: &Store, holder: &str, progress: Progress, at: u64) -> bool {
    store.note_webhook(holder.to_owned(), progress, after(at)).await.unwrap()
}

/// How many lines wait, and whether it is for this one to bring them.
async fn waiting(store: &Store, holder: &str, at: u64) -> (i64, bool) {
    let waiting = store.webhook(holder.to_owned(), after(at)).await.unwrap().unwrap();
    (waiting.lines, waiting.is_ours)
}

async fn one_of_many_gateways_brings_lines(store: Fixture) {
    // Whoever comes first begins it; what was there before is not brought.
    write(&store, &["before"]).await;
    assert_eq!(store.webhook("a".to_owned(), after(0)).await.unwrap(), None);
    for at in [0, 100] {
        let held = store
            .race(
                12,
                |n, gateway| async move { gateway.hold_webhook(n.to_string(), after(at)).await.unwrap() },
            )
            .await;
        let held: Vec<Progress> = held.into_iter().flatten().collect();
        assert!(held.len() == 1 && held[0].delivered == 1, "{held:?}");
        write(&store, &["after"]).await;
    }
}

async fn another_goes_on_when_one_is_gone(store: Fixture) {
    hold(&store, "a", 0).await.unwrap();
    write(&store, &["1", "2"]).await;
    let progress = hold(&store, "a", 1).await.unwrap();
    assert!(hold(&store, "b", 61).await.is_none());
    let progress = Progress { delivered: 1, tries: 3, ..progress };
    assert!(note(&store, "a", progress, 1).await && !note(&store, "b", progress, 1).await);
    assert_eq!(hold(&store, "b", 62).await, Some(progress), "from where the other was");
    assert!(!note(&store, "a", progress, 63).await);
}

async fn one_that_lets_go_is_followed_at_once(store: Fixture) {
    let progress = hold(&store, "a", 0).await.unwrap();
    write(&store, &["1"]).await;
    assert_eq!(waiting(&store, "b", 1).await, (1, false));
    store.let_webhook_go("b".to_owned()).await.unwrap();
    assert_eq!(hold(&store, "b", 1).await, None, "what another has is not let go");
    store.let_webhook_go("a".to_owned()).await.unwrap();
    assert_eq!(waiting(&store, "b", 1).await, (1, true));
    assert_eq!(hold(&store, "b", 1).await, Some(progress));
}

async fn only_what_is_due_is_for_somebody_to_bring(store: Fixture) {
    let progress = hold(&store, "a", 0).await.unwrap();
    assert_eq!(waiting(&store, "a", 0).await, (0, true));
    write(&store, &["1"]).await;
    let failing = Progress { failing_since: Some(after(1)), tries: 4, due_at: after(9), ..progress };
    assert!(note(&store, "a", failing, 1).await);
    assert_eq!(waiting(&store, "a", 8).await, (1, false), "nothing is written until it is due");
    assert_eq!(waiting(&store, "a", 9).await, (1, true));
    assert_eq!(waiting(&store, "b", 9).await, (1, false));
    assert_eq!(waiting(&store, "b", 62).await, (1, true));
}

/// A number in the database holds nothing up for longer than we would ourselves.
async fn what_a_hand_wrote_silences_nobody(store: Fixture) {
    let progress = hold(&store, "a", 0).await.unwrap();
    write(&store, &["1"]).await;
    let never = after(0) + 9_000 * DAY;
    assert!(store.note_webhook("a".to_owned(), Progress { due_at: never, ..progress }, never).await.unwrap());
    assert_eq!(waiting(&store, "b", 1).await, (1, true));
    assert_eq!(hold(&store, "b", 1).await, None);
    let held = hold(&store, "b", 62).await.unwrap();
    assert!(held.is_due(after(62)), "{held:?}");
    assert!(note(&store, "b", Progress { delivered: 99, ..held }, 62).await);
    assert_eq!(waiting(&store, "b", 62).await, (-98, true), "to be set right");
}

async fn lines_that_are_too_old_are_counted_by_their_events(store: Fixture) {
    let at = |n: u64| Event { at: after(n), ..crate::audit::event(&n.to_string()) };
    // The fourth is from a clock that was wrong.
    store.append_audit([1, 2, 3, 1, 9, 2].map(at).to_vec()).await.unwrap();
    let old = async |number: i64, before: u64, events: &[&str]| {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        store.audit_from_before(number, after(before), events).await.unwrap()
    };
    assert_eq!(old(0, 9, &[]).await, Some((4, 4)));
    assert_eq!(old(0, 3, &[]).await, Some((2, 2)));
    assert_eq!(old(2, 9, &["session_opened", "wrong_code"]).await, Some((2, 4)));
    assert_eq!(old(2, 9, &["session_opened"]).await, Some((0, 4)), "passed over, and nobody misses them");
    assert_eq!(old(4, 9, &[]).await, None);
    assert_eq!(old(4, 10, &[]).await, Some((2, 6)));
}
