//! Many at once, through four gateways on one store: what is counted is counted exactly, and one wins.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vestibule::domain::challenge::{Challenge, Closed, State, Subject};
use vestibule::domain::channel::Channel;
use vestibule::domain::limits::Rate;
use vestibule::domain::sending::Pacing;
use vestibule::domain::session::{Session, SessionEnd};
use vestibule::domain::spend::{Budget, Guard};
use vestibule::store::{About, Change, Conflict, Opened, Refused, Reservation, StoredKey, UserChange, Which};

use crate::engine::{Fixture, Store, at_once, on_every_engine};
use crate::given::{
    HOUR, NOW, OFTEN, TRIES, after, approval, challenge, delivered, find, join, name, new_session, new_user,
    now_is, phone, signed_in, spend, start, state, stranger, user,
};
use crate::keys::{key, kids};
use crate::messages::{conversion, daily, reservation, used};

on_every_engine!(
    one_of_many_accepts_a_challenge,
    a_rate_is_spent_exactly,
    rates_in_any_order_block_nobody,
    a_budget_is_spent_exactly,
    reservations_and_refunds_leave_nothing,
    a_closure_stops_everybody,
    one_of_many_starts_sends,
    one_of_many_resends_sends,
    a_code_is_tried_so_often_and_no_more,
    failures_in_a_row_are_counted_exactly,
    a_shut_out_user_has_no_session,
    a_user_whose_phone_changes_keeps_no_session,
    a_removed_user_has_no_session,
    a_session_that_follows_is_ended_with_all_before,
    every_reader_hears_every_change_once_and_in_order,
    one_first_key_is_made,
    every_rotation_leaves_one_key_that_signs,
    a_number_goes_to_one_of_many,
    lists_of_users_in_any_order_block_nobody,
    touching_and_ending_block_nobody,
    every_line_of_the_trail_is_there,
    purges_at_once_forget_nothing_twice,
    deliveries_cancellations_and_expiries_block_nobody,
);

async fn one_of_many_accepts_a_challenge(store: Fixture) {
    let alice = user(&store, "alice").await;
    let one = start(&store, challenge(&alice, NOW)).await;
    let won = store
        .race(64, |_, gateway| {
            let (approval, new) = (approval(&one), new_session(NOW));
            async move { gateway.accept_challenge(approval, new, NOW).await.unwrap() }
        })
        .await;
    let won: Vec<Session> = won.into_iter().flatten().collect();
    let live = store.sessions(NOW).await.unwrap();
    assert_eq!((won.len(), live.len()), (1, 1));
    assert_eq!(won[0].id, live[0].id);
}

async fn a_rate_is_spent_exactly(store: Fixture) {
    let counted = store
        .race(64, |n, gateway| async move {
            // Each for somebody else: nothing but the rate is common.
            let new = stranger(&format!("s{n}"), NOW);
            let id = new.id;
            let opened = gateway.open_challenge(new, vec![spend("starts:x", "5/1h")], NOW).await.unwrap();
            (opened.is_ok(), gateway.challenge(id).await.unwrap().is_some())
        })
        .await;
    assert_eq!(counted.iter().filter(|(counted, _)| *counted).count(), 5);
    assert!(counted.iter().all(|(counted, there)| counted == there));
}

async fn rates_in_any_order_block_nobody(store: Fixture) {
    let counted = store
        .race(64, |n, gateway| async move {
            let mut spends = vec![spend("a", "9/1h"), spend("b", "7/1h"), spend("c", "8/1h")];
            spends.rotate_left(n % 3);
            gateway.open_challenge(stranger(&format!("s{n}"), NOW), spends, NOW).await.unwrap().is_ok()
        })
        .await;
    assert_eq!(counted.iter().filter(|counted| **counted).count(), 7);
    // What was refused was not counted for the others.
    for (key, rate, left) in [("a", "9/1h", 2), ("c", "8/1h", 1)] {
        let more = store
            .race(8, |n, gateway| async move {
                let new = stranger(&format!("{key}{n}"), NOW);
                gateway.open_challenge(new, vec![spend(key, rate)], NOW).await.unwrap().is_ok()
            })
            .await;
        assert_eq!(more.iter().filter(|counted| **counted).count(), left);
    }
}

fn own(who: &Subject, most: u32) -> Budget {
    Budget::of_day(Guard::UserDay, who.as_str(), most, NOW)
}

fn message(n: usize, most: u32) -> Reservation {
    let who = Subject::stranger(&format!("s{n}"));
    let budgets = vec![own(&who, 5)];
    let month = Budget::of_month(Guard::Month, "gateway", 1_000, NOW);
    let mut gateway = vec![daily(most), month];
    gateway.rotate_left(n % 2);
    Reservation { prefix: Some(spend("prefix:x", "1000/1h")), ..reservation(&who, gateway, budgets) }
}

async fn a_budget_is_spent_exactly(store: Fixture) {
    let sent = store
        .race(64, |n, gateway| async move { gateway.reserve_message(message(n, 10), NOW).await.unwrap() })
        .await;
    let (sent, stopped): (Vec<_>, Vec<_>) = sent.into_iter().partition(Result::is_ok);
    assert_eq!((sent.len(), stopped.len()), (10, 54));
    assert!(stopped.iter().all(|stop| stop.unwrap_err().guard == Guard::Day));
    assert_eq!(used(&store, vec![daily(10)]).await, [10]);
    assert_eq!(store.spend_status(Vec::new(), conversion(), after(180)).await.unwrap().sent, 10);
}

async fn reservations_and_refunds_leave_nothing(store: Fixture) {
    store
        .race(32, |n, gateway| async move {
            for _ in 0..5 {
                let wanted = message(n, 1_000);
                gateway.reserve_message(wanted.clone(), NOW).await.unwrap().unwrap();
                gateway.refund_message(wanted).await.unwrap();
            }
        })
        .await;
    let month = Budget::of_month(Guard::Month, "gateway", 1_000, NOW);
    assert_eq!(used(&store, vec![daily(1_000), month]).await, [0, 0]);
    assert_eq!(store.spend_status(Vec::new(), conversion(), after(180)).await.unwrap().sent, 0);
    let full = store.race(4, |n, gateway| async move {
        let prefix = Some(spend("prefix:x", "1/1h"));
        gateway.reserve_message(Reservation { prefix, ..message(n, 1_000) }, NOW).await.unwrap().is_ok()
    });
    assert_eq!(full.await.iter().filter(|sent| **sent).count(), 1, "the prefix is free again");
}

async fn a_closure_stops_everybody(store: Fixture) {
    for n in 0..4 {
        store.reserve_message(message(n, 1_000), NOW).await.unwrap().unwrap();
    }
    let sent = store
        .race(32, |n, gateway| async move {
            let wanted = Reservation { conversion: conversion(), began_at: after(600), ..message(n, 1_000) };
            gateway.reserve_message(wanted, after(600)).await.unwrap()
        })
        .await;
    assert!(sent.iter().all(|sent| sent.is_err_and(|stop| stop.guard == Guard::Conversion)), "{sent:?}");
    assert_eq!(used(&store, vec![daily(1_000)]).await, [4]);
}

async fn one_of_many_starts_sends(store: Fixture) {
    let alice = user(&store, "alice").await;
    let opened = store
        .race(32, |_, gateway| {
            let new = challenge(&alice, NOW);
            async move {
                gateway.open_challenge(new, vec![spend("starts:a", "100/1h")], NOW).await.unwrap().unwrap()
            }
        })
        .await;
    let sent = opened.iter().filter(|opened| matches!(opened, Opened::Send(_))).count();
    assert_eq!(sent, 1);
    let mut ids = HashSet::new();
    for opened in opened {
        let (Opened::Send(one) | Opened::Joined(one)) = opened;
        assert_eq!((one.sends, one.sent_at), (1, NOW));
        assert!(ids.insert(one.id) && store.challenge(one.id).await.unwrap().is_some());
    }
}

async fn one_of_many_resends_sends(store: Fixture) {
    let alice = user(&store, "alice").await;
    let mut tabs = vec![start(&store, challenge(&alice, NOW)).await];
    for _ in 0..3 {
        tabs.push(join(&store, challenge(&alice, after(1))).await);
    }
    let sent = store
        .race(32, |n, gateway| {
            let id = tabs[n % tabs.len()].id;
            async move {
                let spends = vec![spend("resends", "100/1h")];
                gateway.spend_resend(id, Channel::Sms, Pacing::USUAL, spends, after(60)).await.unwrap()
            }
        })
        .await;
    let (sent, refused): (Vec<_>, Vec<_>) = sent.into_iter().partition(Result::is_ok);
    assert_eq!(sent.len(), 1);
    assert!(refused.iter().all(|refused| matches!(refused, Err(Refused::TooOften(_)))));
}

async fn a_code_is_tried_so_often_and_no_more(store: Fixture) {
    for tabs in [1, 4] {
        let user = user(&store, &format!("user{tabs}")).await;
        let mut challenges = vec![start(&store, challenge(&user, NOW)).await];
        while challenges.len() < tabs {
            challenges.push(join(&store, challenge(&user, after(1))).await);
        }
        let looked_at = store
            .race(50, |n, gateway| {
                let id = challenges[n % tabs].id;
                async move { gateway.spend_check(id, OFTEN, after(5)).await.unwrap() }
            })
            .await;
        let (looked_at, refused): (Vec<_>, Vec<_>) = looked_at.into_iter().partition(Result::is_ok);
        assert_eq!(looked_at.len(), TRIES as usize, "{tabs} tabs");
        for refused in refused {
            assert_eq!(refused.unwrap_err(), Refused::Closed(Closed::TooManyChecks));
        }
        let failures = store.failures(Subject::user(user.id)).await.unwrap();
        assert_eq!(failures.count, TRIES, "{tabs} tabs");
        for one in &challenges {
            assert_eq!(now_is(&store, one).await.checks, TRIES);
        }
    }
}

async fn failures_in_a_row_are_counted_exactly(store: Fixture) {
    // Many challenges of one subject, with a code each: nothing but the failures is common.
    let mut challenges = Vec::new();
    for n in 0..8 {
        let new = Challenge { max_checks: 1_000, ..stranger("x", NOW) };
        let one = start(&store, Challenge { expires_at: after(600 + n), ..new }).await;
        store.use_up_code(one.id).await.unwrap();
        challenges.push(one);
    }
    let alike = Challenge { max_checks: 1_000, ..stranger("x", NOW) };
    let open = start(&store, alike).await;
    let looked_at = store
        .race(50, |_, gateway| {
            let id = open.id;
            async move { gateway.spend_check(id, OFTEN, after(5)).await.unwrap().is_ok() }
        })
        .await;
    assert_eq!(looked_at.iter().filter(|looked_at| **looked_at).count(), 10);
    assert_eq!(store.failures(Subject::stranger("x")).await.unwrap().count, 10);
    // And taken back exactly.
    store
        .race(7, |_, gateway| async move { gateway.refund_failure(Subject::stranger("x")).await.unwrap() })
        .await;
    assert_eq!(store.failures(Subject::stranger("x")).await.unwrap().count, 3);
    let again = store
        .race(20, |_, gateway| {
            let (id, rate) = (open.id, Rate::new(14, HOUR));
            async move { gateway.spend_check(id, rate, after(5)).await.unwrap().is_ok() }
        })
        .await;
    assert_eq!(
        again.iter().filter(|looked_at| **looked_at).count(),
        4,
        "the rate of the challenge is exact, too"
    );
}

/// Users prove their phones at the moment in which an administrator does this to them: whoever is first, none is in
/// afterwards, and every gateway hears of each session that was.
async fn nobody_stays(store: &Fixture, change: fn(usize) -> UserChange) {
    for round in 0..12 {
        let who = format!("user{round}");
        let victim = user(store, &who).await;
        let mut open = vec![start(store, challenge(&victim, NOW)).await];
        for n in 1..4 {
            let new = challenge(&victim, NOW);
            let apart = Challenge { channel: Channel::ALL[n % 2 + 1], ..new };
            let spends = Vec::new();
            match store.open_challenge(apart, spends, NOW).await.unwrap().unwrap() {
                Opened::Send(one) | Opened::Joined(one) => open.push(one),
            }
        }
        let before = store.last_change().await.unwrap();
        let sessions = store
            .race(5, |n, gateway| {
                let (who, change) = (name(&who), change(round));
                let accepted = open.get(n).map(|one| (approval(one), new_session(NOW)));
                async move {
                    match accepted {
                        Some((approval, new)) => gateway.accept_challenge(approval, new, NOW).await.unwrap(),
                        None => {
                            assert!(gateway.change_user(who, change, NOW).await.unwrap().unwrap());
                            None
                        }
                    }
                }
            })
            .await;
        let live = store.sessions(NOW).await.unwrap();
        assert!(live.iter().all(|session| session.user_id != victim.id), "round {round}: {live:?}");
        let heard = store.changes_after(before).await.unwrap().1;
        for session in sessions.into_iter().flatten() {
            let ended = store.session(session.id).await.unwrap().unwrap().ended;
            assert_eq!(ended, Some(SessionEnd::Revoked), "round {round}");
            assert!(heard.contains(&Change::SessionEnded(session.id, SessionEnd::Revoked)), "round {round}");
        }
        // A code that was on its way is right for nothing.
        for one in &open {
            let late = store.accept_challenge(approval(one), new_session(NOW), NOW).await.unwrap();
            assert!(late.is_none() && state(store, one).await != State::Open, "round {round}");
        }
    }
}

async fn a_shut_out_user_has_no_session(store: Fixture) {
    nobody_stays(&store, |_| UserChange::Disable).await;
}

async fn a_user_whose_phone_changes_keeps_no_session(store: Fixture) {
    nobody_stays(&store, |round| UserChange::SetPhone(phone(9_000_000 + round as u64))).await;
}

async fn a_removed_user_has_no_session(store: Fixture) {
    nobody_stays(&store, |_| UserChange::Remove).await;
}

async fn a_session_that_follows_is_ended_with_all_before(store: Fixture) {
    let alice = user(&store, "alice").await;
    for _ in 0..10 {
        let first = signed_in(&store, &alice, NOW).await;
        let one = start(&store, challenge(&alice, NOW)).await;
        let ended = store
            .race(8, |n, gateway| {
                let follower = vestibule::store::NewSession { follows: Some(first.id), ..new_session(NOW) };
                let accept = (n == 0).then(|| (approval(&one), follower));
                async move {
                    match accept {
                        Some((approval, new)) => {
                            gateway.accept_challenge(approval, new, NOW).await.unwrap().unwrap();
                            0
                        }
                        None => gateway.end_sessions(Which::All, SessionEnd::Revoked, NOW).await.unwrap(),
                    }
                }
            })
            .await;
        let rest = store.end_sessions(Which::All, SessionEnd::Revoked, NOW).await.unwrap();
        assert_eq!(ended.iter().sum::<usize>() + rest, 2, "each session is ended once");
        assert!(store.sessions(NOW).await.unwrap().is_empty());
    }
    assert_eq!(store.changes_after(0).await.unwrap().1.len(), 20, "and told once");
}

/// Asks on from what it knows until it is told that nothing more comes, and then once more.
async fn listen(gateway: Store, over: Arc<AtomicBool>) -> Vec<Change> {
    let (mut known, mut heard) = (0, Vec::new());
    loop {
        let last_time = over.load(Ordering::SeqCst);
        let (number, changes) = gateway.changes_after(known).await.unwrap();
        assert!(number >= known && (number > known) != changes.is_empty());
        known = number;
        heard.extend(changes);
        if last_time {
            return heard;
        }
        tokio::task::yield_now().await;
    }
}

async fn every_reader_hears_every_change_once_and_in_order(store: Fixture) {
    const USERS: usize = 8;
    const SESSIONS: usize = 25;
    let mut users = Vec::new();
    for n in 0..USERS {
        users.push(user(&store, &format!("user{n}")).await);
    }
    let sessions = at_once(USERS, |n| {
        let (gateway, user) = (store.clone(), users[n].clone());
        async move {
            let mut ids = Vec::new();
            for _ in 0..SESSIONS {
                ids.push(signed_in(&gateway, &user, NOW).await.id);
            }
            ids
        }
    })
    .await;
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = store
        .gateways(4)
        .await
        .into_iter()
        .map(|gateway| tokio::spawn(listen(gateway, over.clone())))
        .collect();
    // Long transactions take their numbers early and commit late; short ones come in between.
    store
        .race(USERS * 3, |n, gateway| {
            let which = match n % 3 {
                0 => Some(Which::Of(users[n / 3].name.clone())),
                1 => Some(Which::One(sessions[n / 3][SESSIONS - 1])),
                _ => None,
            };
            async move {
                match which {
                    Some(which) => {
                        gateway.end_sessions(which, SessionEnd::Revoked, NOW).await.unwrap();
                    }
                    None => {
                        for m in 0..6 {
                            gateway.add_signing_key(key(&format!("k{n}-{m}"), 0), false).await.unwrap();
                        }
                    }
                }
            }
        })
        .await;
    over.store(true, Ordering::SeqCst);
    let (newest, all) = store.changes_after(0).await.unwrap();
    assert_eq!(newest, store.last_change().await.unwrap());
    assert_eq!(all.len(), USERS * (SESSIONS + 6));
    let ended: HashSet<_> = all
        .iter()
        .filter_map(|change| match change {
            Change::SessionEnded(id, _) => Some(*id),
            Change::KeysChanged | Change::BreakGlassMade(_) | Change::Unknown => None,
        })
        .collect();
    assert_eq!(ended.len(), USERS * SESSIONS);
    for (n, reader) in readers.into_iter().enumerate() {
        let heard = reader.await.unwrap();
        assert_eq!(heard.len(), all.len(), "reader {n}");
        assert!(heard == all, "reader {n} heard them in another order");
    }
}

async fn one_first_key_is_made(store: Fixture) {
    store
        .race(16, |n, gateway| async move {
            gateway.add_signing_key(key(&format!("k{n}"), 0), true).await.unwrap();
            let keys = kids(&gateway).await;
            assert_eq!(keys.len(), 1, "every gateway signs with the same");
        })
        .await;
    assert_eq!((kids(&store).await.len(), store.changes_after(0).await.unwrap().1.len()), (1, 1));
}

async fn every_rotation_leaves_one_key_that_signs(store: Fixture) {
    store
        .race(16, |n, gateway| async move {
            gateway.add_signing_key(key(&format!("k{n}"), 0), false).await.unwrap();
        })
        .await;
    let keys: Vec<StoredKey> = store.signing_keys().await.unwrap();
    assert_eq!(keys.len(), 16);
    assert_eq!(keys.iter().filter(|key| key.retired_at.is_none()).count(), 1);
    assert!(keys[15].retired_at.is_none(), "the one that signs is the last");
}

async fn a_number_goes_to_one_of_many(store: Fixture) {
    for round in 0..5_u64 {
        let added = store
            .race(16, |n, gateway| async move {
                let mine = new_user(&format!("user{round}-{n}"), round);
                let other = new_user(&format!("other{round}-{n}"), 1_000 + 16 * round + n as u64);
                (n, gateway.add_users(vec![other, mine], NOW).await.unwrap())
            })
            .await;
        let winners: Vec<_> = added.iter().filter(|(_, added)| added.is_ok()).map(|(n, _)| *n).collect();
        assert_eq!(winners.len(), 1, "{added:?}");
        let winner = name(&format!("user{round}-{}", winners[0]));
        for (n, added) in added.iter().filter(|(_, added)| added.is_err()) {
            let wanted = Conflict::PhoneNumber(name(&format!("user{round}-{n}")), winner.clone());
            assert_eq!(added.as_ref().unwrap_err(), &wanted);
            assert!(find(&store, &format!("other{round}-{n}")).await.is_none(), "all or none");
        }
    }
    // A name, and a number that is changed to.
    let same = store.race(8, |n, gateway| async move {
        gateway.add_users(vec![new_user("same", 5_000 + n as u64)], NOW).await.unwrap()
    });
    let (added, refused): (Vec<_>, Vec<_>) = same.await.into_iter().partition(Result::is_ok);
    assert_eq!(added.len(), 1);
    assert!(refused.iter().all(|refused| refused.as_ref().unwrap_err() == &Conflict::Name(name("same"))));
    let mut users = Vec::new();
    for n in 0..8 {
        users.push(user(&store, &format!("mover{n}")).await.name);
    }
    let moved = store.race(8, |n, gateway| {
        let who = users[n].clone();
        async move { gateway.change_user(who, UserChange::SetPhone(phone(7_777)), NOW).await.unwrap() }
    });
    let (moved, refused): (Vec<_>, Vec<_>) = moved.await.into_iter().partition(Result::is_ok);
    assert_eq!(moved.len(), 1);
    assert!(refused.iter().all(|refused| matches!(refused, Err(Conflict::PhoneNumber(..)))));
}

async fn lists_of_users_in_any_order_block_nobody(store: Fixture) {
    let added = store
        .race(16, |n, gateway| async move {
            let mut users: Vec<_> = (0..20).map(|m| new_user(&format!("user{m}"), m)).collect();
            if n % 2 == 1 {
                users.reverse();
            }
            gateway.add_users(users, NOW).await.unwrap()
        })
        .await;
    assert_eq!(added.iter().filter(|added| added.is_ok()).count(), 1);
    assert_eq!(store.users().await.unwrap().len(), 20);
}

async fn touching_and_ending_block_nobody(store: Fixture) {
    let mut ids = Vec::new();
    for n in 0..4 {
        let user = user(&store, &format!("user{n}")).await;
        for _ in 0..8 {
            ids.push(signed_in(&store, &user, NOW).await.id);
        }
    }
    let ended = store
        .race(24, |n, gateway| {
            let mut seen: Vec<_> = ids.iter().map(|id| (*id, after(n as u64))).collect();
            seen.rotate_left(n);
            if n % 2 == 1 {
                seen.reverse();
            }
            async move {
                match n % 4 {
                    0 => gateway.end_sessions(Which::All, SessionEnd::Revoked, NOW).await.unwrap(),
                    1 => {
                        let which = Which::Of(name(&format!("user{}", n % 3)));
                        gateway.end_sessions(which, SessionEnd::Idle, NOW).await.unwrap()
                    }
                    _ => {
                        gateway.touch_sessions(seen).await.unwrap();
                        0
                    }
                }
            }
        })
        .await;
    assert_eq!(ended.iter().sum::<usize>(), ids.len(), "each is ended once");
    assert_eq!(store.changes_after(0).await.unwrap().1.len(), ids.len());
    for id in ids {
        assert_eq!(store.session(id).await.unwrap().unwrap().last_seen_at, after(23));
    }
}

async fn every_line_of_the_trail_is_there(store: Fixture) {
    store
        .race(64, |n, gateway| async move {
            let lines = (0..3).map(|m| crate::audit::event(&format!("{n} {m}"))).collect();
            gateway.append_audit(lines).await.unwrap();
        })
        .await;
    let lines = store.audit(About::default(), 1_000).await.unwrap();
    assert_eq!(lines.len(), 192);
    assert!(lines.is_sorted_by(|one, next| one.number < next.number));
    for n in 0..64 {
        let mine: Vec<_> = lines
            .iter()
            .map(|line| line.detail.as_str())
            .filter(|line| line.starts_with(&format!("{n} ")))
            .collect();
        assert_eq!(mine, [0, 1, 2].map(|m| format!("{n} {m}")), "in the order they were given");
    }
}

async fn purges_at_once_forget_nothing_twice(store: Fixture) {
    for n in 0..100 {
        let one = start(&store, stranger(&format!("s{n}"), NOW)).await;
        store.spend_check(one.id, OFTEN, NOW).await.unwrap().unwrap();
    }
    let much_later = after(100 * 86_400);
    let gone = store
        .race(16, |n, gateway| async move {
            if n % 4 == 3 {
                start(&gateway, stranger(&format!("new{n}"), much_later)).await;
                return 0;
            }
            gateway.purge(much_later, HOUR).await.unwrap()
        })
        .await;
    assert_eq!(gone.iter().sum::<usize>(), 300, "challenges, their checks, and failures");
    assert_eq!(store.purge(much_later, HOUR).await.unwrap(), 0);
}

/// All that is done to the challenges of one code, at once and through each of them.
async fn deliveries_cancellations_and_expiries_block_nobody(store: Fixture) {
    for round in 0..6 {
        let user = user(&store, &format!("user{round}")).await;
        let mut tabs = vec![start(&store, challenge(&user, NOW)).await];
        for n in 1..8 {
            tabs.push(join(&store, challenge(&user, after(n))).await);
        }
        let sessions = store
            .race(40, |n, gateway| {
                let (one, last) = (tabs[n % 8].clone(), n % 8 == 7);
                let (approval, new) = (approval(&one), new_session(NOW));
                async move {
                    match n % 5 {
                        0 => gateway.record_delivery(one.id, NOW, delivered("vonage", "h")).await.unwrap(),
                        1 => drop(gateway.spend_check(one.id, OFTEN, after(20)).await.unwrap()),
                        2 if last => gateway.cancel_challenge(one.id).await.unwrap(),
                        2 => drop(gateway.expire_code(one.id, after(500)).await.unwrap()),
                        3 => drop(gateway.release(crate::given::holder("vonage", "h")).await.unwrap()),
                        _ => return gateway.accept_challenge(approval, new, after(20)).await.unwrap(),
                    }
                    None
                }
            })
            .await;
        // Each of these was judged right before any was accepted; the code lets in once, or was cancelled before.
        let sessions = sessions.into_iter().flatten().count();
        assert!(sessions <= 1, "{sessions}");
        let live = store.sessions(NOW).await.unwrap();
        assert_eq!(live.iter().filter(|session| session.user_id == user.id).count(), sessions);
    }
}
