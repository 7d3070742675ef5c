//! Messages that cost money: counted in all budgets or none, and stopped where too few codes are typed.

use std::time::Duration;

use vestibule::domain::challenge::Subject;
use vestibule::domain::spend::{Budget, Conversion, Guard, Stop};
use vestibule::domain::time::Timestamp;
use vestibule::store::Reservation;

use crate::engine::{Fixture, Store, on_every_engine};
use crate::given::{DAY, HOUR, NOW, after, approval, challenge, new_session, spend, start, user};

on_every_engine!(
    a_message_is_counted_in_all_its_budgets,
    a_full_budget_stops_and_counts_nothing,
    the_gateways_budget_is_told_before_the_users,
    a_stranger_is_judged_by_all_and_counted_as_their_own,
    a_prefix_has_a_rate,
    a_reservation_is_taken_back,
    too_few_typed_codes_close_sending,
    everybody_counts_once,
    typed_codes_keep_sending_open,
    a_closure_ends_by_itself,
    sending_is_opened_again,
    where_nothing_is_closed_the_counts_stay,
);

pub fn conversion() -> Conversion {
    Conversion { window: HOUR, least_sent: 4, least_percent: 50, closed_for: HOUR / 2 }
}

fn never() -> Conversion {
    Conversion { least_sent: 1_000_000, ..conversion() }
}

pub fn reservation(subject: &Subject, gateway: Vec<Budget>, user: Vec<Budget>) -> Reservation {
    Reservation {
        real: true,
        first: true,
        subject: subject.clone(),
        began_at: NOW,
        gateway,
        user,
        prefix: None,
        conversion: never(),
    }
}

pub async fn used(store: &Store, budgets: Vec<Budget>) -> Vec<u32> {
    store.spend_status(budgets, conversion(), NOW).await.unwrap().used
}

pub fn daily(most: u32) -> Budget {
    Budget::of_day(Guard::Day, "gateway", most, NOW)
}

fn monthly(most: u32) -> Budget {
    Budget::of_month(Guard::Month, "gateway", most, NOW)
}

fn own(who: &Subject, most: u32) -> Budget {
    Budget::of_day(Guard::UserDay, who.as_str(), most, NOW)
}

fn somebody(n: u32) -> Subject {
    Subject::stranger(&format!("somebody{n}"))
}

async fn reserve(store: &Store, wanted: Reservation) -> Result<(), Stop> {
    store.reserve_message(wanted, NOW).await.unwrap()
}

async fn a_message_is_counted_in_all_its_budgets(store: Fixture) {
    let who = somebody(1);
    let all = || vec![daily(10), monthly(10), own(&who, 10), own(&somebody(2), 10)];
    assert_eq!(used(&store, all()).await, [0, 0, 0, 0]);
    let wanted = reservation(&who, vec![daily(10), monthly(10)], vec![own(&who, 10)]);
    reserve(&store, wanted.clone()).await.unwrap();
    reserve(&store, wanted).await.unwrap();
    assert_eq!(used(&store, all()).await, [2, 2, 2, 0]);
    // The next day has a budget of its own.
    assert_eq!(used(&store, vec![Budget::of_day(Guard::Day, "gateway", 10, NOW + DAY)]).await, [0]);
}

async fn a_full_budget_stops_and_counts_nothing(store: Fixture) {
    let who = somebody(1);
    let wanted = reservation(&who, vec![daily(10)], vec![own(&who, 2)]);
    reserve(&store, wanted.clone()).await.unwrap();
    reserve(&store, wanted.clone()).await.unwrap();
    let stop = reserve(&store, wanted).await.unwrap_err();
    assert_eq!(stop, Stop { guard: Guard::UserDay, wait: daily(1).ends_at.since(NOW) });
    assert_eq!(used(&store, vec![daily(10), own(&who, 2)]).await, [2, 2]);
    let status = store.spend_status(Vec::new(), never(), after(180)).await.unwrap();
    assert_eq!(status.sent, 1, "one user, however many messages");
}

async fn the_gateways_budget_is_told_before_the_users(store: Fixture) {
    let who = somebody(1);
    let wanted = reservation(&who, vec![daily(1), monthly(1)], vec![own(&who, 1)]);
    reserve(&store, wanted.clone()).await.unwrap();
    assert_eq!(reserve(&store, wanted).await.unwrap_err().guard, Guard::Day);
}

async fn a_stranger_is_judged_by_all_and_counted_as_their_own(store: Fixture) {
    let who = somebody(1);
    let wanted = Reservation { real: false, ..reservation(&who, vec![daily(1)], vec![own(&who, 5)]) };
    reserve(&store, wanted.clone()).await.unwrap();
    reserve(&store, wanted.clone()).await.unwrap();
    assert_eq!(used(&store, vec![daily(1), own(&who, 5)]).await, [0, 2]);
    assert_eq!(store.spend_status(Vec::new(), never(), after(180)).await.unwrap().sent, 0);
    reserve(&store, reservation(&somebody(2), vec![daily(1)], Vec::new())).await.unwrap();
    assert_eq!(reserve(&store, wanted).await.unwrap_err().guard, Guard::Day);
}

async fn a_prefix_has_a_rate(store: Fixture) {
    let prefix = Some(spend("prefix:abc", "2/1h"));
    let who = somebody(1);
    let wanted = Reservation { prefix, ..reservation(&who, vec![daily(10)], vec![own(&who, 10)]) };
    reserve(&store, wanted.clone()).await.unwrap();
    reserve(&store, wanted.clone()).await.unwrap();
    let stop = reserve(&store, wanted.clone()).await.unwrap_err();
    assert_eq!(stop, Stop { guard: Guard::Prefix, wait: HOUR });
    assert_eq!(used(&store, vec![daily(10), own(&who, 10)]).await, [2, 2]);
    // What a budget stops does not count for the prefix.
    store.refund_message(wanted.clone()).await.unwrap();
    let full = Reservation { user: vec![own(&who, 1)], ..wanted.clone() };
    assert_eq!(reserve(&store, full).await.unwrap_err().guard, Guard::UserDay);
    reserve(&store, wanted).await.unwrap();
}

async fn a_reservation_is_taken_back(store: Fixture) {
    let who = somebody(1);
    let prefix = Some(spend("prefix:abc", "1/1h"));
    let wanted = Reservation { prefix, ..reservation(&who, vec![daily(1)], vec![own(&who, 1)]) };
    for _ in 0..3 {
        reserve(&store, wanted.clone()).await.unwrap();
        assert_eq!(store.spend_status(Vec::new(), never(), after(180)).await.unwrap().sent, 1);
        store.refund_message(wanted.clone()).await.unwrap();
        assert_eq!(used(&store, vec![daily(1), own(&who, 1)]).await, [0, 0]);
        assert_eq!(store.spend_status(Vec::new(), never(), after(180)).await.unwrap().sent, 0);
    }
    // Nothing goes below zero.
    store.refund_message(wanted.clone()).await.unwrap();
    reserve(&store, wanted.clone()).await.unwrap();
    assert!(reserve(&store, wanted.clone()).await.is_err());
    // The gateway's part and the user's go back one by one.
    let (gateways, theirs) = wanted.split();
    store.refund_message(gateways).await.unwrap();
    assert_eq!(used(&store, vec![daily(1), own(&who, 1)]).await, [0, 1]);
    store.refund_message(theirs).await.unwrap();
    assert_eq!(used(&store, vec![daily(1), own(&who, 1)]).await, [0, 0]);
}

/// So many messages to different users, who were asked for a code at that moment; nobody types one.
async fn send(store: &Store, users: std::ops::Range<u32>, at: Timestamp) {
    for n in users {
        let wanted = Reservation { began_at: at, ..reservation(&somebody(n), Vec::new(), Vec::new()) };
        store.reserve_message(wanted, at).await.unwrap().unwrap();
    }
}

/// One more message, where the rule holds.
async fn one_more(store: &Store, at: Timestamp) -> Result<(), Stop> {
    let wanted = Reservation {
        began_at: at,
        conversion: conversion(),
        ..reservation(&somebody(1_000), vec![daily(100)], Vec::new())
    };
    store.reserve_message(wanted, at).await.unwrap()
}

async fn too_few_typed_codes_close_sending(store: Fixture) {
    send(&store, 0..3, NOW).await;
    one_more(&store, after(600)).await.unwrap();
    send(&store, 3..4, after(60)).await;
    one_more(&store, after(179)).await.unwrap();
    let stop = one_more(&store, after(600)).await.unwrap_err();
    assert_eq!(stop, Stop { guard: Guard::Conversion, wait: HOUR / 2 });
    assert_eq!(one_more(&store, after(700)).await.unwrap_err().wait, HOUR / 2 - Duration::from_secs(100));
    let status = store.spend_status(vec![daily(100)], conversion(), after(700)).await.unwrap();
    assert_eq!(status.closures, [(Guard::Conversion.as_str().to_owned(), after(2_400))]);
    assert_eq!((status.used, status.sent, status.entered), (vec![2], 0, 0), "it begins to count anew");
}

async fn everybody_counts_once(store: Fixture) {
    for _ in 0..10 {
        send(&store, 0..2, NOW).await;
        send(&store, 0..2, after(60)).await;
    }
    // A message that is not the first of its challenge says nothing of somebody new.
    let later = Reservation { first: false, ..reservation(&somebody(7), Vec::new(), Vec::new()) };
    reserve(&store, later).await.unwrap();
    assert_eq!(store.spend_status(Vec::new(), conversion(), after(600)).await.unwrap().sent, 2);
    one_more(&store, after(600)).await.unwrap();
}

async fn typed_codes_keep_sending_open(store: Fixture) {
    for n in 0..4 {
        let user = user(&store, &format!("user{n}")).await;
        let one = start(&store, challenge(&user, NOW)).await;
        let wanted = reservation(&one.subject, Vec::new(), Vec::new());
        reserve(&store, wanted).await.unwrap();
        if n < 2 {
            store.accept_challenge(approval(&one), new_session(NOW), after(30)).await.unwrap().unwrap();
        }
    }
    let status = store.spend_status(Vec::new(), conversion(), after(600)).await.unwrap();
    assert_eq!((status.sent, status.entered), (4, 2));
    one_more(&store, after(600)).await.unwrap();
}

async fn a_closure_ends_by_itself(store: Fixture) {
    send(&store, 0..4, NOW).await;
    one_more(&store, after(600)).await.unwrap_err();
    one_more(&store, after(2_399)).await.unwrap_err();
    let status = store.spend_status(Vec::new(), conversion(), after(2_400)).await.unwrap();
    assert!(status.closures.is_empty());
    one_more(&store, after(2_400)).await.unwrap();
    // And can close again.
    send(&store, 0..4, after(2_400)).await;
    one_more(&store, after(3_000)).await.unwrap_err();
}

async fn sending_is_opened_again(store: Fixture) {
    send(&store, 0..4, NOW).await;
    one_more(&store, after(600)).await.unwrap_err();
    assert!(store.reopen_sending(after(700)).await.unwrap());
    assert!(!store.reopen_sending(after(700)).await.unwrap());
    one_more(&store, after(700)).await.unwrap();
    let status = store.spend_status(Vec::new(), conversion(), after(700)).await.unwrap();
    assert!(status.closures.is_empty());
}

async fn where_nothing_is_closed_the_counts_stay(store: Fixture) {
    send(&store, 0..4, NOW).await;
    assert!(!store.reopen_sending(after(600)).await.unwrap());
    assert_eq!(store.spend_status(Vec::new(), conversion(), after(600)).await.unwrap().sent, 4);
    one_more(&store, after(600)).await.unwrap_err();
}
