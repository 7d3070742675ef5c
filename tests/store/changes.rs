//! What other gateways must hear of: in order, each once.

use vestibule::domain::session::{Session, SessionEnd};
use vestibule::store::{Change, Which};

use crate::engine::{Fixture, on_every_engine};
use crate::given::{DAY, NOW, signed_in, user};
use crate::keys::key;

on_every_engine!(
    changes_are_heard_in_their_order,
    where_nothing_changed_nothing_is_heard,
    another_gateway_hears_at_once,
    numbers_go_on_after_a_purge,
    a_store_that_was_set_back_is_read_anew,
);

const fn ended(session: &Session, end: SessionEnd) -> Change {
    Change::SessionEnded(session.id, end)
}

async fn changes_are_heard_in_their_order(store: Fixture) {
    let alice = user(&store, "alice").await;
    let sessions = [signed_in(&store, &alice, NOW).await, signed_in(&store, &alice, NOW).await];
    assert_eq!(store.last_change().await.unwrap(), 0, "what begins is no news");
    let mut known = Vec::new();
    store.end_sessions(Which::One(sessions[1].id), SessionEnd::Idle, NOW).await.unwrap();
    known.push(store.last_change().await.unwrap());
    store.add_signing_key(key("k1", 0), false).await.unwrap();
    known.push(store.last_change().await.unwrap());
    store.end_sessions(Which::One(sessions[0].id), SessionEnd::SignedOut, NOW).await.unwrap();
    known.push(store.last_change().await.unwrap());
    assert!(known.is_sorted_by(|one, next| one < next) && known[0] > 0, "{known:?}");
    let all = [
        ended(&sessions[1], SessionEnd::Idle),
        Change::KeysChanged,
        ended(&sessions[0], SessionEnd::SignedOut),
    ];
    assert_eq!(store.changes_after(0).await.unwrap(), (known[2], all.to_vec()));
    for (n, number) in known.iter().enumerate() {
        assert_eq!(store.changes_after(*number).await.unwrap(), (known[2], all[n + 1..].to_vec()));
    }
}

async fn where_nothing_changed_nothing_is_heard(store: Fixture) {
    assert_eq!(store.changes_after(0).await.unwrap(), (0, Vec::new()));
    store.add_signing_key(key("k1", 0), false).await.unwrap();
    assert_eq!(store.changes_after(1).await.unwrap(), (1, Vec::new()), "it asks on from there");
}

async fn another_gateway_hears_at_once(store: Fixture) {
    let other = store.place.open().await.unwrap();
    let alice = user(&store, "alice").await;
    let session = signed_in(&store, &alice, NOW).await;
    other.end_sessions(Which::All, SessionEnd::Revoked, NOW).await.unwrap();
    assert_eq!(store.changes_after(0).await.unwrap().1, [ended(&session, SessionEnd::Revoked)]);
    assert_eq!(store.session(session.id).await.unwrap().unwrap().ended, Some(SessionEnd::Revoked));
}

async fn numbers_go_on_after_a_purge(store: Fixture) {
    store.add_signing_key(key("k1", 0), false).await.unwrap();
    store.add_signing_key(key("k2", 60), false).await.unwrap();
    let last = store.last_change().await.unwrap();
    store.purge(NOW + 2 * DAY, 100 * DAY).await.unwrap();
    assert_eq!(store.changes_after(0).await.unwrap(), (0, Vec::new()));
    assert_eq!(store.last_change().await.unwrap(), last, "who starts now begins after all of them");
    // Not after a restart either.
    let again = store.place.open().await.unwrap();
    assert_eq!(again.last_change().await.unwrap(), last);
    again.add_signing_key(key("k3", 3 * 86_400), false).await.unwrap();
    let (number, changes) = store.changes_after(last).await.unwrap();
    assert!(number > last && changes == [Change::KeysChanged]);
}

async fn a_store_that_was_set_back_is_read_anew(store: Fixture) {
    let alice = user(&store, "alice").await;
    let sessions = [signed_in(&store, &alice, NOW).await, signed_in(&store, &alice, NOW).await];
    store.end_sessions(Which::One(sessions[0].id), SessionEnd::Idle, NOW).await.unwrap();
    store.add_signing_key(key("k1", 0), false).await.unwrap();
    let known = store.last_change().await.unwrap();
    // As a standby that lacked the last of them.
    store.place.sql("DELETE FROM change WHERE number = 2; UPDATE last_change SET number = 1");
    assert_eq!(store.changes_after(known).await.unwrap(), (1, vec![Change::Unknown]));
    assert_eq!(store.changes_after(1).await.unwrap(), (1, Vec::new()), "once");
    store.end_sessions(Which::One(sessions[1].id), SessionEnd::Revoked, NOW).await.unwrap();
    let heard = store.changes_after(1).await.unwrap();
    assert_eq!(heard, (2, vec![ended(&sessions[1], SessionEnd::Revoked)]));
}
