//! Starts: counted all or none, and joined where a code is on its way.

use vestibule::domain::challenge::{Challenge, State};
use vestibule::domain::channel::Channel;
use vestibule::domain::sending::{Delivery, Pacing, Prospect, Switch};
use vestibule::domain::time::Timestamp;

use crate::engine::{Fixture, on_every_engine};
use crate::given::{
    LIFETIME, NOW, OFTEN, TRIES, after, approval, challenge, count, delivered, holder, join, new_session,
    now_is, reference, seconds, spend, start, stranger, user,
};

on_every_engine!(
    a_challenge_reads_back_as_it_was_written,
    an_unknown_challenge_is_none,
    a_rate_is_spent_and_comes_back,
    when_one_is_too_much_nothing_is_counted,
    the_longest_wait_is_told,
    a_start_soon_after_joins,
    a_later_start_sends_the_code_again,
    another_way_sends_the_code_again,
    nobody_joins_somebody_else,
    a_cancelled_challenge_is_shared_but_not_joined,
    a_code_that_is_done_with_is_shared_with_nobody,
    who_was_unknown_before_shares_no_code,
    after_the_last_message_every_start_joins,
    challenges_are_found_by_their_reference,
);

fn shown(challenge: &Challenge) -> String {
    format!("{} {challenge:?}", challenge.id)
}

async fn a_challenge_reads_back_as_it_was_written(store: Fixture) {
    let alice = user(&store, "alice").await;
    let new = Challenge {
        return_to: "/wiki?q=%27%22%00'&x=1".parse().unwrap(),
        channel: Channel::Whatsapp,
        landline: true,
        max_checks: 3,
        code_length: 8,
        holder: Some(holder("vonage", "it's \"one\"")),
        ..challenge(&alice, NOW)
    };
    let sent = start(&store, new.clone()).await;
    assert_eq!(shown(&sent), shown(&new));
    assert_eq!(shown(&now_is(&store, &new).await), shown(&new));
    let new = Challenge { holder: None, ..stranger("somebody", NOW) };
    start(&store, new.clone()).await;
    assert_eq!(shown(&now_is(&store, &new).await), shown(&new));
}

async fn an_unknown_challenge_is_none(store: Fixture) {
    let unknown = stranger("nobody", NOW);
    assert!(store.challenge(unknown.id).await.unwrap().is_none());
    assert!(store.challenges_of(unknown.reference).await.unwrap().is_empty());
}

async fn a_rate_is_spent_and_comes_back(store: Fixture) {
    let once = async |at| count(&store, vec![spend("starts:x", "2/1h")], after(at)).await;
    once(0).await.unwrap();
    once(600).await.unwrap();
    assert_eq!(seconds(once(601).await), 2_999);
    assert_eq!(seconds(once(3_599).await), 1);
    once(3_600).await.unwrap();
    assert_eq!(seconds(once(3_600).await), 600);
    count(&store, vec![spend("starts:y", "2/1h")], NOW).await.unwrap();
}

async fn when_one_is_too_much_nothing_is_counted(store: Fixture) {
    let both = || vec![spend("starts:a", "5/1h"), spend("starts:b", "1/1h"), spend("starts:c", "5/1h")];
    count(&store, both(), NOW).await.unwrap();
    let new = stranger("refused", after(10));
    let refused = store.open_challenge(new.clone(), both(), after(10)).await.unwrap().unwrap_err();
    assert_eq!(refused.as_secs(), 3_590);
    assert!(store.challenge(new.id).await.unwrap().is_none());
    for key in ["starts:a", "starts:c"] {
        for _ in 0..4 {
            count(&store, vec![spend(key, "5/1h")], after(20)).await.unwrap();
        }
        assert_eq!(seconds(count(&store, vec![spend(key, "5/1h")], after(20)).await), 3_580);
    }
}

async fn the_longest_wait_is_told(store: Fixture) {
    let spends = || vec![spend("a", "1/1m"), spend("b", "1/1h"), spend("c", "1/5m")];
    count(&store, spends(), NOW).await.unwrap();
    assert_eq!(seconds(count(&store, spends(), after(10)).await), 3_590);
    // A clock that was set back gives nobody more tries, nor longer waits than the period.
    assert_eq!(seconds(count(&store, vec![spend("a", "1/1m")], Timestamp::from_unix(1_000)).await), 60);
}

async fn a_start_soon_after_joins(store: Fixture) {
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    store.record_delivery(first.id, NOW, delivered("vonage", "h1")).await.unwrap();
    store.spend_check(first.id, OFTEN, after(5)).await.unwrap().unwrap();
    let second = join(&store, challenge(&alice, after(39))).await;
    assert_eq!((second.sent_at, second.created_at), (NOW, after(39)));
    assert_eq!((second.expires_at, second.checks, second.sends), (first.expires_at, 1, 1));
    assert_eq!((second.delivery, second.holder.clone()), (Delivery::Sent, Some(holder("vonage", "h1"))));
    assert_eq!(shown(&now_is(&store, &second).await), shown(&second));
    assert_ne!(second.reference, first.reference);
    // It counts from the message, not from the last start.
    let third = start(&store, challenge(&alice, after(40))).await;
    assert_eq!(third.sent_at, after(40));
}

async fn a_later_start_sends_the_code_again(store: Fixture) {
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    let later = start(&store, challenge(&alice, after(40))).await;
    assert_eq!((later.sends, later.sent_at), (2, after(40)));
    assert_eq!(later.expires_at, first.expires_at, "it is the same code, with the time it has left");
    let again = start(&store, challenge(&alice, after(100))).await;
    assert_eq!((again.sends, again.expires_at), (3, first.expires_at));
    assert_eq!(now_is(&store, &first).await.sends, 1);
}

async fn another_way_sends_the_code_again(store: Fixture) {
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    let called = Challenge { channel: Channel::Call, ..challenge(&alice, after(5)) };
    let called = start(&store, called).await;
    assert_eq!((called.channel, called.sends), (Channel::Call, 2));
    assert_eq!(called.expires_at, first.expires_at);
    // The newest message is the one that is joined.
    let third = Challenge { channel: Channel::Call, ..challenge(&alice, after(44)) };
    assert_eq!(join(&store, third).await.sent_at, after(5));
}

async fn nobody_joins_somebody_else(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    start(&store, challenge(&alice, NOW)).await;
    assert_eq!(start(&store, challenge(&bob, NOW)).await.sends, 1);
    start(&store, stranger("x", NOW)).await;
    assert_eq!(start(&store, stranger("y", NOW)).await.sends, 1);
    join(&store, stranger("x", NOW)).await;
}

async fn a_cancelled_challenge_is_shared_but_not_joined(store: Fixture) {
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    store.spend_check(first.id, OFTEN, after(1)).await.unwrap().unwrap();
    store.cancel_challenge(first.id).await.unwrap();
    let second = start(&store, challenge(&alice, after(5))).await;
    assert_eq!((second.sends, second.checks, second.expires_at), (2, 1, first.expires_at));
    assert_eq!(second.state, State::Open);
}

async fn a_code_that_is_done_with_is_shared_with_nobody(store: Fixture) {
    let fresh = |challenge: &Challenge| (challenge.sends, challenge.checks, challenge.expires_at);
    let wanted = (1, 0, after(20) + LIFETIME);
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    store.accept_challenge(approval(&first), new_session(NOW), after(10)).await.unwrap().unwrap();
    assert_eq!(fresh(&start(&store, challenge(&alice, after(20))).await), wanted, "accepted");

    let bob = user(&store, "bob").await;
    let first = start(&store, challenge(&bob, NOW)).await;
    store.use_up_code(first.id).await.unwrap();
    assert_eq!(fresh(&start(&store, challenge(&bob, after(20))).await), wanted, "exhausted");

    let carol = user(&store, "carol").await;
    let first = start(&store, challenge(&carol, NOW)).await;
    store.undo_sending(first.id, None).await.unwrap();
    assert_eq!(fresh(&start(&store, challenge(&carol, after(20))).await), wanted, "unsent");

    let dave = user(&store, "dave").await;
    let first = start(&store, challenge(&dave, NOW)).await;
    let other = join(&store, challenge(&dave, after(1))).await;
    store.accept_challenge(approval(&first), new_session(NOW), after(10)).await.unwrap().unwrap();
    assert_eq!(now_is(&store, &other).await.prospect, Prospect::Used);
    assert_eq!(fresh(&start(&store, challenge(&dave, after(20))).await), wanted, "used");

    let erin = user(&store, "erin").await;
    let first = start(&store, challenge(&erin, NOW)).await;
    for _ in 0..TRIES {
        store.spend_check(first.id, OFTEN, after(1)).await.unwrap().unwrap();
    }
    assert_eq!(fresh(&start(&store, challenge(&erin, after(20))).await), wanted, "no tries left");

    let frank = user(&store, "frank").await;
    start(&store, challenge(&frank, NOW)).await;
    let late = start(&store, challenge(&frank, NOW + LIFETIME)).await;
    assert_eq!(fresh(&late), (1, 0, NOW + 2 * LIFETIME), "expired");
}

async fn who_was_unknown_before_shares_no_code(store: Fixture) {
    let alice = user(&store, "alice").await;
    let shut_out = Challenge { user: None, ..challenge(&alice, NOW) };
    start(&store, shut_out).await;
    let let_in = start(&store, challenge(&alice, after(10))).await;
    assert_eq!((let_in.sends, let_in.expires_at), (1, after(610)));
    // The other way round nothing is told: it looks as it did.
    let shut_out = Challenge { user: None, ..challenge(&alice, after(20)) };
    assert_eq!(join(&store, shut_out).await.expires_at, after(610));
}

async fn after_the_last_message_every_start_joins(store: Fixture) {
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    let pacing = Pacing { switch: Switch::Last, ..Pacing::USUAL };
    let resent =
        store.spend_resend(first.id, Channel::Call, pacing, Vec::new(), after(5)).await.unwrap().unwrap();
    assert!(resent.last);
    let joined = join(&store, challenge(&alice, after(500))).await;
    assert!(joined.last);
    assert_eq!((joined.channel, joined.sent_at, joined.sends), (Channel::Call, after(5), 2));
}

async fn challenges_are_found_by_their_reference(store: Fixture) {
    let alice = user(&store, "alice").await;
    let told = reference();
    let first = start(&store, Challenge { reference: told, ..challenge(&alice, NOW) }).await;
    start(&store, challenge(&alice, after(50))).await;
    let second = start(&store, Challenge { reference: told, ..challenge(&alice, after(100)) }).await;
    let found = store.challenges_of(told).await.unwrap();
    let ids: Vec<_> = found.iter().map(|challenge| challenge.id).collect();
    assert_eq!(ids, [first.id, second.id]);
}
