//! Codes that nobody typed: their providers are told once, whoever held them last.

use vestibule::domain::channel::Channel;
use vestibule::domain::id::Reference;
use vestibule::domain::sending::{Holder, Pacing};
use vestibule::domain::time::Timestamp;
use vestibule::store::Lapsed;

use crate::engine::{Fixture, Store, on_every_engine};
use crate::given::{
    LIFETIME, NOW, after, approval, challenge, delivered, holder, join, new_session, start, stranger, user,
};

on_every_engine!(
    a_code_is_abandoned_when_its_time_is_over,
    a_code_of_two_challenges_is_told_once,
    a_released_code_is_told_no_more,
    only_codes_that_may_live_are_abandoned,
    a_message_since_makes_a_late_word_an_orphan,
    another_holder_makes_the_old_code_an_orphan,
    a_code_whose_name_is_lost_may_be_the_old_one,
    a_code_that_comes_back_is_no_orphan,
    a_new_code_is_told_although_the_old_one_was,
    no_more_than_a_hundred_at_once,
);

/// The handles of what is abandoned at that moment.
async fn abandoned(store: &Store, at: Timestamp) -> Vec<String> {
    let mut handles: Vec<String> =
        store.abandoned(at).await.unwrap().into_iter().filter_map(|(holder, _)| holder.handle).collect();
    handles.sort_unstable();
    handles
}

async fn a_code_is_abandoned_when_its_time_is_over(store: Fixture) {
    let alice = user(&store, "alice").await;
    let open = start(&store, challenge(&alice, NOW)).await;
    store.record_delivery(open.id, NOW, delivered("twilio", "VE1")).await.unwrap();
    assert!(abandoned(&store, after(599)).await.is_empty());
    for at in [600, 2_400] {
        let wanted: Vec<(Holder, Reference)> = vec![(holder("twilio", "VE1"), open.reference)];
        assert_eq!(store.abandoned(after(at)).await.unwrap(), wanted);
    }
    assert!(abandoned(&store, after(2_401)).await.is_empty(), "the provider has forgotten it, too");
    // Without a name nobody can be told.
    start(&store, stranger("nobody", NOW)).await;
    assert_eq!(abandoned(&store, after(600)).await, ["VE1"]);
}

async fn a_code_of_two_challenges_is_told_once(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let other = join(&store, challenge(&alice, after(5))).await;
    store.record_delivery(one.id, NOW, delivered("twilio", "VE1")).await.unwrap();
    let found = store.abandoned(after(600)).await.unwrap();
    let least =
        [one.reference, other.reference].map(|reference| reference.to_string()).into_iter().min().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.to_string(), least);
}

async fn a_released_code_is_told_no_more(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let one = start(&store, challenge(&alice, NOW)).await;
    join(&store, challenge(&alice, after(5))).await;
    let theirs = start(&store, challenge(&bob, NOW)).await;
    store.record_delivery(one.id, NOW, delivered("twilio", "VE1")).await.unwrap();
    store.record_delivery(theirs.id, NOW, delivered("vonage", "VE1")).await.unwrap();
    // Whose it was is told once.
    let lapsed = Lapsed { channel: Channel::Sms, user: alice.id };
    assert_eq!(store.release(holder("twilio", "VE1")).await.unwrap(), Some(lapsed));
    assert_eq!(store.release(holder("twilio", "VE1")).await.unwrap(), None);
    assert_eq!(store.abandoned(after(600)).await.unwrap(), [(holder("vonage", "VE1"), theirs.reference)]);
    assert_eq!(store.release(holder("twilio", "VE9")).await.unwrap(), None);
    // A code that was given up has not lapsed.
    store.cancel_challenge(theirs.id).await.unwrap();
    assert_eq!(store.release(holder("vonage", "VE1")).await.unwrap(), None);
    assert!(abandoned(&store, after(600)).await.is_empty());
}

async fn only_codes_that_may_live_are_abandoned(store: Fixture) {
    for (who, handle) in
        [("open", "o"), ("cancelled", "c"), ("exhausted", "e"), ("accepted", "a"), ("unsent", "u")]
    {
        let user = user(&store, who).await;
        let one = start(&store, challenge(&user, NOW)).await;
        store.record_delivery(one.id, NOW, delivered("twilio", handle)).await.unwrap();
        match who {
            "cancelled" => store.cancel_challenge(one.id).await.unwrap(),
            "exhausted" => store.use_up_code(one.id).await.unwrap(),
            "unsent" => store.undo_sending(one.id, None).await.unwrap(),
            "accepted" => {
                drop(store.accept_challenge(approval(&one), new_session(NOW), NOW).await.unwrap().unwrap());
            }
            _ => {}
        }
    }
    assert_eq!(abandoned(&store, after(600)).await, ["c", "e", "o"]);
}

async fn a_message_since_makes_a_late_word_an_orphan(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    store.spend_resend(one.id, Channel::Sms, Pacing::USUAL, Vec::new(), after(30)).await.unwrap().unwrap();
    store.record_delivery(one.id, NOW, delivered("vonage", "late")).await.unwrap();
    store.record_delivery(one.id, NOW, delivered("vonage", "late")).await.unwrap();
    assert!(abandoned(&store, after(89)).await.is_empty());
    // A minute after the message that came since, it can be cancelled.
    assert_eq!(store.abandoned(after(90)).await.unwrap(), [(holder("vonage", "late"), one.reference)]);
    assert_eq!(abandoned(&store, after(1_890)).await, ["late"]);
    assert!(abandoned(&store, after(1_891)).await.is_empty());
    store.release(holder("vonage", "late")).await.unwrap();
    assert!(abandoned(&store, after(90)).await.is_empty());
}

async fn another_holder_makes_the_old_code_an_orphan(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    store.record_delivery(one.id, NOW, delivered("twilio", "old")).await.unwrap();
    store.record_delivery(one.id, NOW, delivered("vonage", "new")).await.unwrap();
    assert_eq!(abandoned(&store, after(60)).await, ["old"]);
    assert_eq!(abandoned(&store, NOW + LIFETIME).await, ["new", "old"]);
}

async fn a_code_whose_name_is_lost_may_be_the_old_one(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    store.record_delivery(one.id, NOW, delivered("twilio", "old")).await.unwrap();
    let mut unnamed = delivered("twilio", "");
    unnamed.holder.as_mut().unwrap().handle = None;
    store.record_delivery(one.id, NOW, unnamed).await.unwrap();
    assert!(abandoned(&store, after(599)).await.is_empty(), "the person may still type it");
    assert_eq!(abandoned(&store, NOW + LIFETIME).await, ["old"]);
}

async fn a_code_that_comes_back_is_no_orphan(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    for handle in ["h1", "h2", "h1"] {
        store.record_delivery(one.id, NOW, delivered("vonage", handle)).await.unwrap();
    }
    assert_eq!(abandoned(&store, after(60)).await, ["h2"]);
}

async fn a_new_code_is_told_although_the_old_one_was(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    store.record_delivery(one.id, NOW, delivered("vonage", "h1")).await.unwrap();
    store.release(holder("vonage", "h1")).await.unwrap();
    store.record_delivery(one.id, NOW, delivered("vonage", "h2")).await.unwrap();
    assert!(abandoned(&store, NOW + LIFETIME).await.contains(&"h2".to_owned()));
}

async fn no_more_than_a_hundred_at_once(store: Fixture) {
    for n in 0..101 {
        let one = start(&store, stranger(&format!("s{n}"), NOW)).await;
        store.record_delivery(one.id, NOW, delivered("vonage", &format!("h{n}"))).await.unwrap();
    }
    let some = store.abandoned(NOW + LIFETIME).await.unwrap();
    assert_eq!(some.len(), 100);
    for (holder, _) in some {
        store.release(holder).await.unwrap();
    }
    assert_eq!(store.abandoned(NOW + LIFETIME).await.unwrap().len(), 1);
}
