//! How far a receiver has the trail: one gateway brings it lines at a time.

use vestibule::store::Progress;

use crate::engine::{Fixture, on_every_engine};
use crate::given::after;

on_every_engine!(one_of_many_gateways_brings_lines, another_goes_on_when_one_is_gone);

async fn one_of_many_gateways_brings_lines(store: Fixture) {
    // Whoever comes first begins it; what was there before is not brought.
    store.append_audit(vec![crate::audit::event("before")]).await.unwrap();
    let held = store
        .race(12, |n, gateway| async move {
            gateway.hold_webhook("w".to_owned(), n.to_string(), after(0), after(60)).await.unwrap()
        })
        .await;
    let held: Vec<Progress> = held.into_iter().flatten().collect();
    assert!(held.len() <= 1 && held.iter().all(|progress| progress.delivered == 1), "{held:?}");
    store.append_audit(vec![crate::audit::event("after")]).await.unwrap();
    let held = store
        .race(12, |n, gateway| async move {
            gateway.hold_webhook("w".to_owned(), n.to_string(), after(1), after(60)).await.unwrap().map(|_| n)
        })
        .await;
    assert_eq!(held.into_iter().flatten().count(), 1);
}

async fn another_goes_on_when_one_is_gone(store: Fixture) {
    let hold = async |holder: &str, at: u64| {
        store.hold_webhook("w".to_owned(), holder.to_owned(), after(at), after(at + 60)).await.unwrap()
    };
    hold("a", 0).await;
    store.append_audit(vec![crate::audit::event("1"), crate::audit::event("2")]).await.unwrap();
    let progress = hold("a", 1).await.unwrap();
    assert!(hold("b", 61).await.is_none());
    let progress = Progress { delivered: 1, tries: 3, ..progress };
    let note = async |holder: &str| {
        store.note_webhook("w".to_owned(), holder.to_owned(), progress, after(61)).await.unwrap()
    };
    assert!(note("a").await && !note("b").await);
    assert_eq!(hold("b", 62).await, Some(progress), "from where the other was");
    assert!(!note("a").await);
}
