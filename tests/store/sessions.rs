//! Sessions: listed while they live, touched forward only, ended once.

use vestibule::domain::session::SessionEnd;
use vestibule::domain::time::Timestamp;
use vestibule::store::{Change, Which};

use crate::engine::{Fixture, Store, on_every_engine};
use crate::given::{HOUR, NOW, after, approval, challenge, name, new_session, signed_in, start, user};

on_every_engine!(
    an_unknown_session_is_none,
    only_live_sessions_are_listed,
    the_last_use_moves_forward_only,
    one_session_is_ended_once,
    all_sessions_of_a_user_are_ended,
    all_sessions_are_ended,
    every_reason_reads_back_as_it_was_written,
);

async fn ended(store: &Store, id: vestibule::domain::id::SessionId) -> Option<SessionEnd> {
    store.session(id).await.unwrap().unwrap().ended
}

async fn an_unknown_session_is_none(store: Fixture) {
    let unknown = new_session(NOW).id;
    assert!(store.session(unknown).await.unwrap().is_none());
    store.touch_sessions(vec![(unknown, NOW)]).await.unwrap();
    store.touch_sessions(Vec::new()).await.unwrap();
    assert!(store.session(unknown).await.unwrap().is_none());
    for which in [Which::One(unknown), Which::Of(name("nobody")), Which::All] {
        assert_eq!(store.end_sessions(which, SessionEnd::Revoked, NOW).await.unwrap(), 0);
    }
    assert_eq!(store.last_change().await.unwrap(), 0);
}

async fn only_live_sessions_are_listed(store: Fixture) {
    let (zoe, alice) = (user(&store, "zoe").await, user(&store, "a_b").await);
    let aaron = user(&store, "aaron").await;
    let first = signed_in(&store, &zoe, NOW).await;
    let second = signed_in(&store, &alice, after(60)).await;
    let third = signed_in(&store, &alice, after(30)).await;
    let fourth = signed_in(&store, &aaron, after(90)).await;
    let live = async |at: Timestamp| {
        let sessions = store.sessions(at).await.unwrap();
        sessions.into_iter().map(|session| session.id).collect::<Vec<_>>()
    };
    assert_eq!(live(after(90)).await, [third.id, second.id, fourth.id, first.id], "by name and time");
    assert_eq!(live(NOW + 12 * HOUR).await, [third.id, second.id, fourth.id], "one expires at its second");
    store.end_sessions(Which::One(third.id), SessionEnd::Idle, after(90)).await.unwrap();
    assert_eq!(live(after(90)).await, [second.id, fourth.id, first.id]);
    assert!(live(NOW + 13 * HOUR).await.is_empty());
    assert!(store.session(first.id).await.unwrap().is_some(), "it is known for longer");
}

async fn the_last_use_moves_forward_only(store: Fixture) {
    let alice = user(&store, "alice").await;
    let (one, other) = (signed_in(&store, &alice, NOW).await, signed_in(&store, &alice, NOW).await);
    let seen = async |id| store.session(id).await.unwrap().unwrap().last_seen_at;
    let unknown = new_session(NOW).id;
    store
        .touch_sessions(vec![(unknown, after(9)), (one.id, after(60)), (other.id, after(70))])
        .await
        .unwrap();
    assert_eq!((seen(one.id).await, seen(other.id).await), (after(60), after(70)));
    store.touch_sessions(vec![(one.id, after(50)), (other.id, after(80))]).await.unwrap();
    assert_eq!((seen(one.id).await, seen(other.id).await), (after(60), after(80)));
    // Twice in one list: the latest.
    store.touch_sessions(vec![(one.id, after(95)), (one.id, after(90))]).await.unwrap();
    assert_eq!(seen(one.id).await, after(95));
    assert_eq!(store.last_change().await.unwrap(), 0, "nobody else needs to know");
}

async fn one_session_is_ended_once(store: Fixture) {
    let alice = user(&store, "alice").await;
    let (one, other) = (signed_in(&store, &alice, NOW).await, signed_in(&store, &alice, NOW).await);
    let end = async |end| store.end_sessions(Which::One(one.id), end, after(60)).await.unwrap();
    assert_eq!(end(SessionEnd::SignedOut).await, 1);
    assert_eq!(end(SessionEnd::Revoked).await, 0);
    assert_eq!(ended(&store, one.id).await, Some(SessionEnd::SignedOut), "why it ended stands");
    assert_eq!(ended(&store, other.id).await, None);
    let wanted = vec![Change::SessionEnded(one.id, SessionEnd::SignedOut)];
    assert_eq!(store.changes_after(0).await.unwrap(), (store.last_change().await.unwrap(), wanted));
    // A touch that comes late opens nothing.
    store.touch_sessions(vec![(one.id, after(90))]).await.unwrap();
    assert_eq!(ended(&store, one.id).await, Some(SessionEnd::SignedOut));
}

async fn all_sessions_of_a_user_are_ended(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "alice2").await);
    for at in [0, 60, 120] {
        signed_in(&store, &alice, after(at)).await;
    }
    let gone = signed_in(&store, &alice, after(180)).await;
    store.end_sessions(Which::One(gone.id), SessionEnd::Expired, after(200)).await.unwrap();
    let theirs = signed_in(&store, &bob, NOW).await;
    let which = || Which::Of(name("alice"));
    assert_eq!(store.end_sessions(which(), SessionEnd::Revoked, after(200)).await.unwrap(), 3);
    assert_eq!(store.end_sessions(which(), SessionEnd::Revoked, after(200)).await.unwrap(), 0);
    assert_eq!(ended(&store, gone.id).await, Some(SessionEnd::Expired));
    assert_eq!(ended(&store, theirs.id).await, None);
    assert_eq!(store.changes_after(0).await.unwrap().1.len(), 4);
}

async fn all_sessions_are_ended(store: Fixture) {
    for who in ["alice", "bob", "carol"] {
        let user = user(&store, who).await;
        signed_in(&store, &user, NOW).await;
    }
    assert_eq!(store.end_sessions(Which::All, SessionEnd::Revoked, after(60)).await.unwrap(), 3);
    assert!(store.sessions(after(60)).await.unwrap().is_empty());
    assert_eq!(store.end_sessions(Which::All, SessionEnd::Revoked, after(60)).await.unwrap(), 0);
    assert_eq!(store.changes_after(0).await.unwrap().1.len(), 3);
}

async fn every_reason_reads_back_as_it_was_written(store: Fixture) {
    let alice = user(&store, "alice").await;
    for (n, end) in [SessionEnd::Idle, SessionEnd::Expired, SessionEnd::SignedOut, SessionEnd::Revoked]
        .into_iter()
        .enumerate()
    {
        let one = start(&store, challenge(&alice, after(n as u64 * 100))).await;
        let new = new_session(NOW);
        store.accept_challenge(approval(&one), new.clone(), NOW).await.unwrap().unwrap();
        let before = store.last_change().await.unwrap();
        store.end_sessions(Which::One(new.id), end, NOW).await.unwrap();
        assert_eq!(ended(&store, new.id).await, Some(end));
        let heard = store.changes_after(before).await.unwrap().1;
        assert_eq!(heard, [Change::SessionEnded(new.id, end)]);
    }
}
