//! Another message for a challenge: paced, recorded, taken back.

use std::time::Duration;

use vestibule::domain::challenge::{Challenge, Closed, State};
use vestibule::domain::channel::Channel;
use vestibule::domain::sending::{Delivery, Pacing, Prospect, Switch};
use vestibule::domain::time::Timestamp;
use vestibule::store::{Delivered, Refused};

use crate::engine::{Fixture, Store, on_every_engine};
use crate::given::{
    LIFETIME, NOW, OFTEN, TRIES, after, approval, challenge, count, delivered, holder, join, new_session,
    now_is, seconds, spend, start, state, stranger, user,
};

on_every_engine!(
    another_message_waits_and_the_wait_doubles,
    a_closed_challenge_gets_no_message,
    a_refused_message_counts_nothing,
    two_tabs_are_paced_as_one,
    another_way_early_may_be_the_last,
    another_way_may_have_to_wait,
    the_word_of_a_message_reaches_all_that_share_it,
    a_word_that_comes_too_late_changes_nothing,
    a_used_code_stays_used,
    what_is_not_told_stays_as_it_was,
    a_first_message_that_did_not_go_out_ends_all_it_was_for,
    a_later_message_that_did_not_go_out_is_taken_back,
);

async fn resend(
    store: &Store,
    of: &Challenge,
    channel: Channel,
    pacing: Pacing,
    at: Timestamp,
) -> Result<Challenge, Refused> {
    store.spend_resend(of.id, channel, pacing, Vec::new(), at).await.unwrap()
}

async fn resend_sms(store: &Store, of: &Challenge, at: u64) -> Result<Challenge, Refused> {
    resend(store, of, Channel::Sms, Pacing::USUAL, after(at)).await
}

fn too_often(seconds: u64) -> Refused {
    Refused::TooOften(Duration::from_secs(seconds))
}

async fn another_message_waits_and_the_wait_doubles(store: Fixture) {
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    assert_eq!(resend_sms(&store, &first, 10).await.unwrap_err(), too_often(20));
    let second = resend_sms(&store, &first, 30).await.unwrap();
    assert_eq!((second.sends, second.sent_at, second.channel), (2, after(30), Channel::Sms));
    assert_eq!((second.expires_at, second.created_at), (first.expires_at, NOW));
    assert_eq!(resend_sms(&store, &first, 31).await.unwrap_err(), too_often(59));
    assert_eq!(resend_sms(&store, &first, 90).await.unwrap().sends, 3);
    assert_eq!(resend_sms(&store, &first, 90).await.unwrap_err(), too_often(120));
    assert_eq!(now_is(&store, &first).await.sent_at, after(90));
}

async fn a_closed_challenge_gets_no_message(store: Fixture) {
    let closed = async |of: &Challenge, at| resend_sms(&store, of, at).await.unwrap_err();
    assert_eq!(closed(&stranger("nobody", NOW), 60).await, Refused::Unknown);
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    assert_eq!(closed(&first, 600).await, Refused::Closed(Closed::Expired));
    store.cancel_challenge(first.id).await.unwrap();
    assert_eq!(closed(&first, 60).await, Refused::Closed(Closed::Cancelled));
    let second = start(&store, challenge(&alice, after(600))).await;
    store.accept_challenge(approval(&second), new_session(NOW), after(601)).await.unwrap().unwrap();
    assert_eq!(closed(&second, 660).await, Refused::Closed(Closed::AlreadyUsed));
    let third = start(&store, challenge(&alice, after(700))).await;
    for _ in 0..TRIES {
        store.spend_check(third.id, OFTEN, after(701)).await.unwrap().unwrap();
    }
    assert_eq!(closed(&third, 760).await, Refused::Closed(Closed::TooManyChecks));
}

async fn a_refused_message_counts_nothing(store: Fixture) {
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    count(&store, vec![spend("full", "1/1h")], NOW).await.unwrap();
    let spends = vec![spend("other", "1/1h"), spend("full", "1/1h")];
    let refused = store.spend_resend(first.id, Channel::Sms, Pacing::USUAL, spends, after(60)).await.unwrap();
    assert_eq!(refused.unwrap_err(), too_often(3_540));
    let now = now_is(&store, &first).await;
    assert_eq!((now.sends, now.sent_at), (1, NOW));
    // Nor does one that comes too early.
    let early =
        store.spend_resend(first.id, Channel::Sms, Pacing::USUAL, vec![spend("other", "1/1h")], after(10));
    assert_eq!(early.await.unwrap().unwrap_err(), too_often(20));
    let spends = || vec![spend("other", "1/1h")];
    store.spend_resend(first.id, Channel::Sms, Pacing::USUAL, spends(), after(60)).await.unwrap().unwrap();
    assert_eq!(seconds(count(&store, spends(), after(60)).await), 3_600);
}

async fn two_tabs_are_paced_as_one(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(10))).await;
    assert_eq!(resend_sms(&store, &other, 20).await.unwrap_err(), too_often(10));
    assert_eq!(resend_sms(&store, &other, 31).await.unwrap().sends, 2);
    assert_eq!(resend_sms(&store, &one, 40).await.unwrap_err(), too_often(51));
    assert_eq!(resend_sms(&store, &one, 91).await.unwrap().sends, 3);
    // Somebody else's pace is their own.
    let bob = user(&store, "bob").await;
    let theirs = start(&store, challenge(&bob, after(91))).await;
    assert_eq!(resend_sms(&store, &theirs, 121).await.unwrap().sends, 2);
}

async fn another_way_early_may_be_the_last(store: Fixture) {
    let alice = user(&store, "alice").await;
    let pacing = Pacing { after: Duration::from_secs(40), switch: Switch::Last };
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(1))).await;
    let called = resend(&store, &one, Channel::Call, pacing, after(5)).await.unwrap();
    assert!(called.last && called.channel == Channel::Call);
    assert!(now_is(&store, &other).await.last, "for all of its code");
    let again = resend(&store, &other, Channel::Sms, pacing, after(100)).await.unwrap_err();
    assert_eq!(again, Refused::TooOften(LIFETIME - Duration::from_secs(100)));
    // Later it is one as any other.
    let bob = user(&store, "bob").await;
    let theirs = start(&store, challenge(&bob, NOW)).await;
    assert!(!resend(&store, &theirs, Channel::Call, pacing, after(45)).await.unwrap().last);
}

async fn another_way_may_have_to_wait(store: Fixture) {
    let alice = user(&store, "alice").await;
    let pacing = Pacing { after: Duration::from_secs(40), switch: Switch::Waits };
    let one = start(&store, challenge(&alice, NOW)).await;
    assert_eq!(resend(&store, &one, Channel::Call, pacing, after(5)).await.unwrap_err(), too_often(35));
    // Where it need not, it need not once.
    assert_eq!(resend(&store, &one, Channel::Call, Pacing::USUAL, after(5)).await.unwrap().sends, 2);
    assert_eq!(resend_sms(&store, &one, 10).await.unwrap_err(), too_often(55));
}

async fn the_word_of_a_message_reaches_all_that_share_it(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(5))).await;
    let cancelled = join(&store, challenge(&alice, after(6))).await;
    store.cancel_challenge(cancelled.id).await.unwrap();
    let bob = user(&store, "bob").await;
    let theirs = start(&store, challenge(&bob, NOW)).await;
    let word = Delivered {
        delivery: Delivery::Unconfirmed,
        prospect: Prospect::Refused,
        code_length: Some(4),
        ..delivered("vonage", "h1")
    };
    store.record_delivery(other.id, NOW, word).await.unwrap();
    for challenge in [&one, &other] {
        let now = now_is(&store, challenge).await;
        assert_eq!((now.delivery, now.prospect), (Delivery::Unconfirmed, Prospect::Refused));
        assert_eq!((now.holder, now.code_length), (Some(holder("vonage", "h1")), 4));
    }
    let now = now_is(&store, &cancelled).await;
    assert_eq!((now.holder, now.code_length), (Some(holder("vonage", "h1")), 4), "the code is the same");
    assert_eq!(now.delivery, Delivery::Pending);
    assert_eq!(now_is(&store, &theirs).await.delivery, Delivery::Pending);
    store.record_delivery(stranger("nobody", NOW).id, NOW, delivered("vonage", "h2")).await.unwrap();
}

async fn a_word_that_comes_too_late_changes_nothing(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    resend_sms(&store, &one, 30).await.unwrap();
    store.record_delivery(one.id, NOW, delivered("vonage", "h1")).await.unwrap();
    let now = now_is(&store, &one).await;
    assert_eq!((now.delivery, now.holder), (Delivery::Pending, one.holder));
}

async fn a_used_code_stays_used(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(5))).await;
    store.accept_challenge(approval(&one), new_session(NOW), after(10)).await.unwrap().unwrap();
    store.record_delivery(other.id, NOW, delivered("vonage", "h1")).await.unwrap();
    let now = now_is(&store, &other).await;
    assert_eq!((now.prospect, now.delivery), (Prospect::Used, Delivery::Pending));
}

async fn what_is_not_told_stays_as_it_was(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    store.record_delivery(one.id, NOW, delivered("vonage", "h1")).await.unwrap();
    let word = Delivered {
        delivery: Delivery::Unconfirmed,
        prospect: Prospect::Open,
        holder: None,
        code_length: Some(4),
    };
    store.record_delivery(one.id, NOW, word).await.unwrap();
    let now = now_is(&store, &one).await;
    assert_eq!((now.delivery, now.holder), (Delivery::Unconfirmed, Some(holder("vonage", "h1"))));
    assert_eq!(now.code_length, 6);
}

async fn a_first_message_that_did_not_go_out_ends_all_it_was_for(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(5))).await;
    let cancelled = join(&store, challenge(&alice, after(6))).await;
    store.cancel_challenge(cancelled.id).await.unwrap();
    let bob = user(&store, "bob").await;
    let theirs = start(&store, challenge(&bob, NOW)).await;
    store.undo_sending(one.id, None).await.unwrap();
    for challenge in [&one, &other] {
        assert_eq!(state(&store, challenge).await, State::Unsent);
        assert!(store.accept_challenge(approval(challenge), new_session(NOW), NOW).await.unwrap().is_none());
    }
    assert_eq!(state(&store, &cancelled).await, State::Cancelled);
    assert_eq!(state(&store, &theirs).await, State::Open);
    store.undo_sending(stranger("nobody", NOW).id, None).await.unwrap();
}

async fn a_later_message_that_did_not_go_out_is_taken_back(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let early = join(&store, challenge(&alice, after(1))).await;
    let before = now_is(&store, &one).await;
    let pacing = Pacing { switch: Switch::Last, ..Pacing::USUAL };
    resend(&store, &one, Channel::Call, pacing, after(20)).await.unwrap();
    // It trusts in the message that is on its way.
    let joined = join(&store, Challenge { channel: Channel::Call, ..challenge(&alice, after(21)) }).await;
    store.undo_sending(one.id, Some(before)).await.unwrap();
    let now = now_is(&store, &one).await;
    assert_eq!((now.state, now.channel, now.sends), (State::Open, Channel::Sms, 1));
    assert_eq!((now.sent_at, now.last), (NOW, false));
    assert_eq!(state(&store, &joined).await, State::Unsent);
    let early = now_is(&store, &early).await;
    assert_eq!((early.state, early.last), (State::Open, false));
}
