//! Typed codes: counted before anybody looks at them, against the challenge, its rate and its subject.

use std::time::Duration;

use vestibule::domain::challenge::{Challenge, Closed, State, Subject};
use vestibule::domain::limits::{FailureStop, Failures, Rate};
use vestibule::domain::sending::Prospect;
use vestibule::domain::time::Timestamp;
use vestibule::store::Refused;

use crate::engine::{Fixture, Store, on_every_engine};
use crate::given::{
    HOUR, NOW, OFTEN, TRIES, after, approval, challenge, delivered, join, new_session, now_is, start, state,
    stranger, user,
};

on_every_engine!(
    a_check_is_counted_everywhere,
    a_code_has_so_many_tries_in_all_its_tabs,
    a_rate_bounds_the_checks_of_a_challenge,
    ten_failures_in_a_row_make_everybody_wait,
    a_hundred_failures_close,
    nothing_is_looked_at_for_a_closed_challenge,
    a_failure_can_be_taken_back,
    giving_up_ends_one_challenge,
    a_used_up_code_ends_all_it_serves,
    an_earlier_code_of_the_same_person_is_another,
    an_expired_code_may_still_be_accepted,
);

async fn check(store: &Store, of: &Challenge, at: u64) -> Result<Challenge, Refused> {
    store.spend_check(of.id, OFTEN, after(at)).await.unwrap()
}

async fn failures(store: &Store, of: &Challenge) -> Failures {
    store.failures(of.subject.clone()).await.unwrap()
}

async fn a_check_is_counted_everywhere(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    assert_eq!(failures(&store, &one).await, Failures::NONE);
    assert_eq!(check(&store, &one, 7).await.unwrap().checks, 1);
    assert_eq!(check(&store, &one, 9).await.unwrap().checks, 2);
    assert_eq!(now_is(&store, &one).await.checks, 2);
    assert_eq!(failures(&store, &one).await, Failures { count: 2, last_at: after(9) });
}

async fn a_code_has_so_many_tries_in_all_its_tabs(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(5))).await;
    let theirs = start(&store, challenge(&bob, NOW)).await;
    for n in 0..TRIES {
        let tab = if n % 2 == 0 { &one } else { &other };
        assert_eq!(check(&store, tab, 10).await.unwrap().checks, n + 1);
    }
    for tab in [&one, &other] {
        let refused = check(&store, tab, 10).await.unwrap_err();
        assert_eq!(refused, Refused::Closed(Closed::TooManyChecks));
    }
    assert_eq!(failures(&store, &one).await.count, TRIES, "what is refused is not counted");
    assert_eq!(check(&store, &theirs, 10).await.unwrap().checks, 1);
}

async fn a_rate_bounds_the_checks_of_a_challenge(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(1))).await;
    let rate = Rate::new(2, Duration::from_secs(300));
    let check = async |of: &Challenge, at| store.spend_check(of.id, rate, after(at)).await.unwrap();
    check(&one, 10).await.unwrap();
    check(&one, 20).await.unwrap();
    assert_eq!(check(&one, 30).await.unwrap_err(), Refused::TooOften(Duration::from_secs(280)));
    assert_eq!((now_is(&store, &one).await.checks, failures(&store, &one).await.count), (2, 2));
    check(&other, 30).await.unwrap();
    check(&one, 310).await.unwrap();
}

/// Fails so often, each time as soon as it may; when the last was.
async fn fail(store: &Store, times: u32) -> Timestamp {
    let mut at = NOW;
    for _ in 0..times {
        let failures = store.failures(Subject::stranger("x")).await.unwrap();
        if let Err(FailureStop::Wait(wait)) = failures.judge(at) {
            at = at + wait;
        }
        let one = start(store, Challenge { max_checks: 1, ..stranger("x", at) }).await;
        store.spend_check(one.id, OFTEN, at).await.unwrap().unwrap();
    }
    at
}

async fn ten_failures_in_a_row_make_everybody_wait(store: Fixture) {
    fail(&store, 10).await;
    let one = start(&store, stranger("x", NOW)).await;
    let wait = Refused::Failures(FailureStop::Wait(Duration::from_secs(30)));
    assert_eq!(check(&store, &one, 0).await.unwrap_err(), wait);
    assert_eq!((now_is(&store, &one).await.checks, failures(&store, &one).await.count), (0, 10));
    assert_eq!(check(&store, &one, 30).await.unwrap().checks, 1);
    let wait = Refused::Failures(FailureStop::Wait(Duration::from_secs(60)));
    assert_eq!(check(&store, &one, 30).await.unwrap_err(), wait);
    let other = start(&store, stranger("y", NOW)).await;
    check(&store, &other, 0).await.unwrap();
}

async fn a_hundred_failures_close(store: Fixture) {
    let much_later = fail(&store, Failures::CLOSED_AT).await + 1_000 * HOUR;
    let one = start(&store, stranger("x", much_later)).await;
    let refused = store.spend_check(one.id, OFTEN, much_later).await.unwrap().unwrap_err();
    assert_eq!(refused, Refused::Failures(FailureStop::Closed));
    assert!(store.failures(Subject::stranger("x")).await.unwrap().is_closed());
}

async fn nothing_is_looked_at_for_a_closed_challenge(store: Fixture) {
    let closed = async |of: &Challenge, at| check(&store, of, at).await.unwrap_err();
    assert_eq!(closed(&stranger("nobody", NOW), 1).await, Refused::Unknown);
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    assert_eq!(closed(&one, 600).await, Refused::Closed(Closed::Expired));
    store.cancel_challenge(one.id).await.unwrap();
    assert_eq!(closed(&one, 1).await, Refused::Closed(Closed::Cancelled));
    let two = start(&store, challenge(&alice, after(600))).await;
    store.accept_challenge(approval(&two), new_session(NOW), after(601)).await.unwrap().unwrap();
    assert_eq!(closed(&two, 601).await, Refused::Closed(Closed::AlreadyUsed));
    let three = start(&store, challenge(&alice, after(700))).await;
    store.use_up_code(three.id).await.unwrap();
    assert_eq!(closed(&three, 701).await, Refused::Closed(Closed::TooManyChecks));
    assert_eq!(failures(&store, &one).await.count, 0);
}

async fn a_failure_can_be_taken_back(store: Fixture) {
    let alice = user(&store, "alice").await;
    let subject = Subject::user(alice.id);
    store.refund_failure(subject.clone()).await.unwrap();
    assert_eq!(store.failures(subject.clone()).await.unwrap(), Failures::NONE);
    let one = start(&store, challenge(&alice, NOW)).await;
    check(&store, &one, 7).await.unwrap();
    check(&store, &one, 9).await.unwrap();
    store.refund_failure(subject.clone()).await.unwrap();
    assert_eq!(failures(&store, &one).await, Failures { count: 1, last_at: after(9) });
    assert_eq!(now_is(&store, &one).await.checks, 2, "the try is gone");
    for _ in 0..3 {
        store.refund_failure(subject.clone()).await.unwrap();
    }
    assert_eq!(failures(&store, &one).await.count, 0);
}

async fn giving_up_ends_one_challenge(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(5))).await;
    store.cancel_challenge(one.id).await.unwrap();
    assert_eq!((state(&store, &one).await, state(&store, &other).await), (State::Cancelled, State::Open));
    store.accept_challenge(approval(&other), new_session(NOW), after(6)).await.unwrap().unwrap();
    store.cancel_challenge(other.id).await.unwrap();
    assert_eq!(state(&store, &other).await, State::Accepted);
    store.cancel_challenge(stranger("nobody", NOW).id).await.unwrap();
}

async fn a_used_up_code_ends_all_it_serves(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(5))).await;
    let given_up = join(&store, challenge(&alice, after(6))).await;
    store.cancel_challenge(given_up.id).await.unwrap();
    let theirs = start(&store, challenge(&bob, NOW)).await;
    store.use_up_code(other.id).await.unwrap();
    for challenge in [&one, &other, &given_up] {
        assert_eq!(state(&store, challenge).await, State::Exhausted);
        let accepted = store.accept_challenge(approval(challenge), new_session(NOW), after(7)).await.unwrap();
        assert!(accepted.is_none());
    }
    assert_eq!(state(&store, &theirs).await, State::Open);
    store.use_up_code(stranger("nobody", NOW).id).await.unwrap();
}

async fn an_earlier_code_of_the_same_person_is_another(store: Fixture) {
    let alice = user(&store, "alice").await;
    let earlier = start(&store, challenge(&alice, NOW)).await;
    let one = start(&store, challenge(&alice, after(600))).await;
    let untouched = async || {
        let now = now_is(&store, &earlier).await;
        assert_eq!((now.state, now.prospect, now.checks), (State::Open, Prospect::Open, 0));
        assert_eq!((now.holder, now.expires_at), (earlier.holder.clone(), earlier.expires_at));
    };
    store.record_delivery(one.id, after(600), delivered("vonage", "h1")).await.unwrap();
    check(&store, &one, 601).await.unwrap();
    store.expire_code(one.id, after(602)).await.unwrap();
    untouched().await;
    store.use_up_code(one.id).await.unwrap();
    untouched().await;
    let two = start(&store, challenge(&alice, after(700))).await;
    store.accept_challenge(approval(&two), new_session(NOW), after(701)).await.unwrap().unwrap();
    untouched().await;
}

async fn an_expired_code_may_still_be_accepted(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(5))).await;
    assert_eq!(store.expire_code(one.id, after(60)).await.unwrap(), State::Open);
    for tab in [&one, &other] {
        assert_eq!(now_is(&store, tab).await.expires_at, after(60));
        assert_eq!(check(&store, tab, 60).await.unwrap_err(), Refused::Closed(Closed::Expired));
    }
    // Its time is never longer than it was.
    store.expire_code(one.id, after(90)).await.unwrap();
    assert_eq!(now_is(&store, &one).await.expires_at, after(60));
    assert!(store.accept_challenge(approval(&one), new_session(NOW), after(61)).await.unwrap().is_some());
    assert_eq!(store.expire_code(one.id, after(62)).await.unwrap(), State::Accepted);
    assert_eq!(store.expire_code(stranger("nobody", NOW).id, NOW).await.unwrap(), State::Cancelled);
}
