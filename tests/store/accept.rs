//! A right code becomes a session: once, and only for who may sign in.

use vestibule::domain::challenge::{Challenge, State, Subject};
use vestibule::domain::channel::Channel;
use vestibule::domain::limits::Failures;
use vestibule::domain::sending::Prospect;
use vestibule::domain::session::SessionEnd;
use vestibule::store::{About, UserChange, Which};

use crate::engine::{Fixture, on_every_engine};
use crate::given::{
    HOUR, NOW, OFTEN, after, approval, challenge, find, join, name, new_session, now_is, signed_in,
    signed_in_after, start, state, user,
};
use crate::messages::conversion;

on_every_engine!(
    a_right_code_opens_one_session,
    the_way_of_the_code_is_the_method,
    the_first_proof_of_a_phone_is_remembered,
    success_clears_the_failures,
    the_code_is_right_for_nothing_else,
    who_may_not_sign_in_gets_no_session,
    what_is_over_is_not_accepted,
    a_typed_code_counts_in_the_minute_it_was_asked_for,
    a_session_ends_with_the_one_that_follows_it,
    nobody_follows_somebody_elses_session,
    a_session_and_its_line_of_the_audit_trail_stand_together,
);

async fn a_right_code_opens_one_session(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let new = new_session(after(30));
    let session = store.accept_challenge(approval(&one), new.clone(), after(30)).await.unwrap().unwrap();
    assert_eq!((session.id, session.user_id, session.user.clone()), (new.id, alice.id, alice.name));
    assert_eq!((session.auth_time, session.last_seen_at), (after(30), after(30)));
    assert_eq!((session.expires_at, session.ended), (after(30) + 12 * HOUR, None));
    assert_eq!(session.client, "192.0.2.7");
    assert_eq!(state(&store, &one).await, State::Accepted);
    let again = store.accept_challenge(approval(&one), new_session(after(31)), after(31)).await.unwrap();
    assert!(again.is_none());
    let stored = store.session(new.id).await.unwrap().unwrap();
    assert_eq!(format!("{stored:?}"), format!("{session:?}"));
    assert_eq!(store.sessions(after(31)).await.unwrap().len(), 1);
}

async fn the_way_of_the_code_is_the_method(store: Fixture) {
    for (who, channel, method) in
        [("alice", Channel::Sms, "sms"), ("bob", Channel::Call, "tel"), ("carol", Channel::Whatsapp, "otp")]
    {
        let user = user(&store, who).await;
        let one = start(&store, Challenge { channel, ..challenge(&user, NOW) }).await;
        let session = store.accept_challenge(approval(&one), new_session(NOW), NOW).await.unwrap().unwrap();
        assert_eq!(session.method, method);
    }
}

async fn the_first_proof_of_a_phone_is_remembered(store: Fixture) {
    let alice = user(&store, "alice").await;
    signed_in(&store, &alice, after(10)).await;
    signed_in(&store, &alice, after(900)).await;
    assert_eq!(find(&store, "alice").await.unwrap().phone_verified_at, Some(after(10)));
}

async fn success_clears_the_failures(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    for user in [&alice, &bob] {
        let one = start(&store, challenge(user, NOW)).await;
        store.spend_check(one.id, OFTEN, NOW).await.unwrap().unwrap();
    }
    signed_in(&store, &alice, after(60)).await;
    assert_eq!(store.failures(Subject::user(alice.id)).await.unwrap(), Failures::NONE);
    assert_eq!(store.failures(Subject::user(bob.id)).await.unwrap().count, 1);
}

async fn the_code_is_right_for_nothing_else(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(5))).await;
    let theirs = start(&store, challenge(&bob, NOW)).await;
    store.accept_challenge(approval(&one), new_session(NOW), after(10)).await.unwrap().unwrap();
    let now = now_is(&store, &other).await;
    // It looks as it did to whoever started it.
    assert_eq!((now.state, now.prospect), (State::Open, Prospect::Used));
    assert_eq!(now_is(&store, &theirs).await.prospect, Prospect::Open);
}

async fn who_may_not_sign_in_gets_no_session(store: Fixture) {
    let alice = user(&store, "alice").await;
    store.change_user(name("alice"), UserChange::Disable, NOW).await.unwrap().unwrap();
    // A challenge that began before they were read as disabled.
    let one = start(&store, challenge(&alice, after(1))).await;
    assert!(store.accept_challenge(approval(&one), new_session(NOW), after(2)).await.unwrap().is_none());
    store.change_user(name("alice"), UserChange::Enable, after(3)).await.unwrap().unwrap();
    assert!(store.accept_challenge(approval(&one), new_session(NOW), after(4)).await.unwrap().is_none());
    assert_eq!(find(&store, "alice").await.unwrap().phone_verified_at, None);
    store.change_user(name("alice"), UserChange::Remove, after(5)).await.unwrap().unwrap();
    let one = start(&store, challenge(&alice, after(6))).await;
    assert!(store.accept_challenge(approval(&one), new_session(NOW), after(7)).await.unwrap().is_none());
    assert!(store.sessions(NOW).await.unwrap().is_empty());
}

async fn what_is_over_is_not_accepted(store: Fixture) {
    let alice = user(&store, "alice").await;
    let refused = async |of: &Challenge| {
        store.accept_challenge(approval(of), new_session(NOW), NOW).await.unwrap().is_none()
    };
    assert!(refused(&challenge(&alice, NOW)).await, "it was never started");
    let one = start(&store, challenge(&alice, NOW)).await;
    store.cancel_challenge(one.id).await.unwrap();
    assert!(refused(&one).await);
    let two = start(&store, challenge(&alice, after(60))).await;
    store.use_up_code(two.id).await.unwrap();
    assert!(refused(&two).await);
    let three = start(&store, challenge(&alice, after(120))).await;
    store.undo_sending(three.id, None).await.unwrap();
    assert!(refused(&three).await);
    assert!(store.sessions(NOW).await.unwrap().is_empty());
}

async fn a_typed_code_counts_in_the_minute_it_was_asked_for(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    store.accept_challenge(approval(&one), new_session(NOW), after(500)).await.unwrap().unwrap();
    let at = async |seconds| {
        let status = store.spend_status(Vec::new(), conversion(), after(seconds)).await.unwrap();
        (status.sent, status.entered)
    };
    assert_eq!(at(179).await, (0, 0), "too young to count");
    assert_eq!(at(180).await, (1, 1));
    assert_eq!(at(3_659).await, (1, 1));
    assert_eq!(at(3_660).await, (0, 0));
}

async fn a_session_ends_with_the_one_that_follows_it(store: Fixture) {
    let alice = user(&store, "alice").await;
    let first = signed_in(&store, &alice, NOW).await;
    let second = signed_in_after(&store, &alice, after(60), Some(first.id)).await;
    let third = signed_in_after(&store, &alice, after(120), Some(second.id)).await;
    let fourth = signed_in_after(&store, &alice, after(180), Some(third.id)).await;
    let apart = signed_in(&store, &alice, after(240)).await;
    let live = async || store.sessions(after(300)).await.unwrap().len();
    assert_eq!(live().await, 5, "a new one does not end the old one by itself");
    let ended = store.end_sessions(Which::One(third.id), SessionEnd::SignedOut, after(300)).await.unwrap();
    assert_eq!((ended, live().await), (3, 2));
    for (session, end) in [(&first, true), (&second, true), (&third, true), (&fourth, false), (&apart, false)]
    {
        let now = store.session(session.id).await.unwrap().unwrap();
        assert_eq!(now.ended, end.then_some(SessionEnd::SignedOut));
    }
    // Through those that have ended it reaches none twice.
    assert_eq!(store.end_sessions(Which::One(fourth.id), SessionEnd::Idle, after(300)).await.unwrap(), 1);
}

async fn nobody_follows_somebody_elses_session(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let theirs = signed_in(&store, &bob, NOW).await;
    let mine = signed_in_after(&store, &alice, after(60), Some(theirs.id)).await;
    let unknown = signed_in_after(&store, &alice, after(120), Some(new_session(NOW).id)).await;
    for session in [mine, unknown] {
        assert_eq!(store.end_sessions(Which::One(session.id), SessionEnd::SignedOut, NOW).await.unwrap(), 1);
    }
    assert_eq!(store.session(theirs.id).await.unwrap().unwrap().ended, None);
}

async fn a_session_and_its_line_of_the_audit_trail_stand_together(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let lines = async || store.audit(About::default(), 9).await.unwrap();
    store.place.sql("ALTER TABLE audit RENAME TO gone");
    let new = new_session(NOW);
    assert!(store.accept_challenge(approval(&one), new.clone(), NOW).await.is_err());
    store.place.sql("ALTER TABLE gone RENAME TO audit");
    assert!(store.session(new.id).await.unwrap().is_none());
    assert_eq!(state(&store, &one).await, State::Open, "the code is not used up");
    assert!(lines().await.is_empty());
    store.accept_challenge(approval(&one), new, NOW).await.unwrap().unwrap();
    assert_eq!(lines().await[0].what, "session_opened");
    assert!(store.accept_challenge(approval(&one), new_session(NOW), NOW).await.unwrap().is_none());
    assert_eq!(lines().await.len(), 1, "who gets none has no line");
}
