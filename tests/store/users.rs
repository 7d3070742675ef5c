//! Users: added all or none, found by each key, changed with what that ends.

use vestibule::domain::challenge::{State, Subject};
use vestibule::domain::limits::Failures;
use vestibule::domain::sending::Prospect;
use vestibule::domain::session::SessionEnd;
use vestibule::domain::spend::{Budget, Guard};
use vestibule::domain::user::{User, UserId};
use vestibule::store::{Change, Conflict, UserChange, UserKey};

use crate::engine::{Fixture, Store, on_every_engine};
use crate::given::{
    NOW, OFTEN, after, approval, challenge, count, find, name, new_session, new_user, now_is, phone,
    signed_in, spend, start, state, stranger, user,
};
use crate::messages::{reservation, used};

on_every_engine!(
    a_user_is_found_by_every_key,
    names_are_in_the_order_of_their_bytes,
    a_conflict_adds_nobody,
    a_list_that_conflicts_with_itself_adds_nobody,
    the_number_of_a_removed_user_is_nobodys_again,
    nobody_is_changed_when_there_is_none,
    another_phone_is_not_verified,
    a_number_is_one_users,
    what_shuts_out_ends_sessions_and_challenges,
    a_code_sent_before_a_change_is_shared_with_nobody,
    who_is_let_in_again_has_a_clean_slate,
    a_removed_user_is_forgotten,
);

async fn names(store: &Store) -> Vec<String> {
    store.users().await.unwrap().into_iter().map(|user| user.name.to_string()).collect()
}

async fn change(store: &Store, user: &User, change: UserChange) -> bool {
    store.change_user(user.name.clone(), change, after(60)).await.unwrap().unwrap()
}

async fn a_user_is_found_by_every_key(store: Fixture) {
    assert!(names(&store).await.is_empty());
    store.add_users(vec![new_user("alice", 1), new_user("bob", 2)], NOW).await.unwrap().unwrap();
    let bob = find(&store, "bob").await.unwrap();
    assert_eq!((bob.name.as_str(), bob.phone_number.as_e164()), ("bob", phone(2).as_e164()));
    assert_eq!((bob.phone_verified_at, bob.created_at), (None, NOW));
    assert!(bob.may_sign_in() && bob.two_factor_enabled && !bob.disabled);
    for key in [UserKey::Id(bob.id), UserKey::PhoneNumber(phone(2))] {
        assert_eq!(store.user(key).await.unwrap().unwrap().name, name("bob"));
    }
    for key in [UserKey::Id(UserId(99)), UserKey::PhoneNumber(phone(3)), UserKey::Name(name("carol"))] {
        assert!(store.user(key).await.unwrap().is_none());
    }
    store.add_users(Vec::new(), NOW).await.unwrap().unwrap();
    assert_eq!(names(&store).await, ["alice", "bob"]);
}

async fn names_are_in_the_order_of_their_bytes(store: Fixture) {
    let mut wanted = vec!["zoe", "a_b", "a-b", "a.b", "ab", "a@b", "a+b", "a1", "a", "b", "1", "a-c", "aa"];
    let users = wanted.iter().enumerate().map(|(n, name)| new_user(name, n as u64)).collect();
    store.add_users(users, NOW).await.unwrap().unwrap();
    wanted.sort_unstable();
    assert_eq!(names(&store).await, wanted);
}

async fn a_conflict_adds_nobody(store: Fixture) {
    store.add_users(vec![new_user("alice", 1)], NOW).await.unwrap().unwrap();
    let add = async |users| store.add_users(users, NOW).await.unwrap().unwrap_err();
    let taken = add(vec![new_user("carol", 3), new_user("alice", 4), new_user("dave", 5)]).await;
    assert_eq!(taken, Conflict::Name(name("alice")));
    let taken = add(vec![new_user("carol", 3), new_user("dave", 1), new_user("alice", 4)]).await;
    assert_eq!(taken, Conflict::PhoneNumber(name("dave"), name("alice")));
    // Of both the name is told.
    assert_eq!(add(vec![new_user("alice", 1)]).await, Conflict::Name(name("alice")));
    assert_eq!(names(&store).await, ["alice"]);
    store.add_users(vec![new_user("carol", 3)], NOW).await.unwrap().unwrap();
}

async fn a_list_that_conflicts_with_itself_adds_nobody(store: Fixture) {
    let add = async |users| store.add_users(users, NOW).await.unwrap().unwrap_err();
    assert_eq!(add(vec![new_user("carol", 3), new_user("carol", 4)]).await, Conflict::Name(name("carol")));
    let taken = add(vec![new_user("carol", 3), new_user("erin", 5), new_user("dave", 3)]).await;
    assert_eq!(taken, Conflict::PhoneNumber(name("dave"), name("carol")));
    assert!(names(&store).await.is_empty());
}

async fn the_number_of_a_removed_user_is_nobodys_again(store: Fixture) {
    let alice = user(&store, "alice").await;
    assert!(change(&store, &alice, UserChange::Remove).await);
    let bob = user(&store, "bob").await;
    assert!(bob.id.0 > alice.id.0, "what is counted for one must not be another's");
    store.add_users(vec![new_user("alice", 1)], NOW).await.unwrap().unwrap();
    let again = find(&store, "alice").await.unwrap();
    assert!(again.id.0 > bob.id.0);
}

async fn nobody_is_changed_when_there_is_none(store: Fixture) {
    for change in
        [UserChange::SetPhone(phone(1)), UserChange::Disable, UserChange::Enable, UserChange::Remove]
    {
        assert_eq!(store.change_user(name("nobody"), change, NOW).await.unwrap(), Ok(false));
    }
    assert_eq!(store.last_change().await.unwrap(), 0);
}

async fn another_phone_is_not_verified(store: Fixture) {
    let alice = user(&store, "alice").await;
    signed_in(&store, &alice, NOW).await;
    assert_eq!(find(&store, "alice").await.unwrap().phone_verified_at, Some(NOW));
    assert!(change(&store, &alice, UserChange::SetPhone(phone(7))).await);
    let now = find(&store, "alice").await.unwrap();
    assert_eq!((now.phone_number, now.phone_verified_at, now.id), (phone(7), None, alice.id));
    assert!(store.user(UserKey::PhoneNumber(alice.phone_number.clone())).await.unwrap().is_none());
    // Their own once more is no conflict.
    assert!(change(&store, &alice, UserChange::SetPhone(phone(7))).await);
}

async fn a_number_is_one_users(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let session = signed_in(&store, &alice, NOW).await;
    let taken = UserChange::SetPhone(bob.phone_number.clone());
    let answer = store.change_user(alice.name.clone(), taken, after(60)).await.unwrap();
    assert_eq!(answer, Err(Conflict::PhoneNumber(name("alice"), name("bob"))));
    let now = find(&store, "alice").await.unwrap();
    assert_eq!((now.phone_number, now.phone_verified_at), (alice.phone_number, Some(NOW)));
    assert_eq!(store.session(session.id).await.unwrap().unwrap().ended, None);
    assert_eq!(store.last_change().await.unwrap(), 0);
}

async fn what_shuts_out_ends_sessions_and_challenges(store: Fixture) {
    for (who, what) in [
        ("alice", UserChange::SetPhone(phone(1))),
        ("bob", UserChange::Disable),
        ("carol", UserChange::Remove),
    ] {
        let (victim, other) = (user(&store, who).await, user(&store, &format!("{who}2")).await);
        let sessions = [signed_in(&store, &victim, NOW).await, signed_in(&store, &victim, after(1)).await];
        let others = signed_in(&store, &other, NOW).await;
        let [open, exhausted, cancelled] = [100, 200, 300].map(after).map(|at| challenge(&victim, at));
        let open = start(&store, open).await;
        store.use_up_code(open.id).await.unwrap();
        let (exhausted_one, exhausted) = (open, start(&store, exhausted).await);
        store.cancel_challenge(exhausted.id).await.unwrap();
        let (cancelled_one, cancelled) = (exhausted, start(&store, cancelled).await);
        let theirs = start(&store, challenge(&other, after(100))).await;
        let before = store.last_change().await.unwrap();

        assert!(change(&store, &victim, what).await, "{who}");
        for session in &sessions {
            let ended = store.session(session.id).await.unwrap().unwrap().ended;
            assert_eq!(ended, Some(SessionEnd::Revoked), "{who}");
        }
        for challenge in [&exhausted_one, &cancelled_one, &cancelled] {
            let now = now_is(&store, challenge).await;
            assert_eq!((now.state, now.prospect), (State::Cancelled, Prospect::Used), "{who}");
        }
        assert_eq!(store.session(others.id).await.unwrap().unwrap().ended, None);
        assert_eq!(state(&store, &theirs).await, State::Open);
        let (_, mut heard) = store.changes_after(before).await.unwrap();
        let mut wanted =
            sessions.map(|session| Change::SessionEnded(session.id, SessionEnd::Revoked)).to_vec();
        heard.sort_by_key(|change| format!("{:?}", id_of(change)));
        wanted.sort_by_key(|change| format!("{:?}", id_of(change)));
        assert_eq!(heard, wanted, "{who}");
        // The code comes too late.
        let accepted = store.accept_challenge(approval(&cancelled), new_session(after(61)), after(61)).await;
        assert!(accepted.unwrap().is_none(), "{who}");
    }
}

fn id_of(change: &Change) -> String {
    match change {
        Change::SessionEnded(id, _) => id.to_string(),
        Change::KeysChanged | Change::BreakGlassMade(_) | Change::Unknown => String::new(),
    }
}

async fn a_code_sent_before_a_change_is_shared_with_nobody(store: Fixture) {
    let alice = user(&store, "alice").await;
    let first = start(&store, challenge(&alice, NOW)).await;
    assert!(change(&store, &alice, UserChange::SetPhone(phone(1))).await);
    let second = start(&store, challenge(&alice, after(5))).await;
    assert_eq!((second.sends, second.expires_at), (1, after(605)));
    assert_eq!(state(&store, &first).await, State::Cancelled);
}

/// Wrong codes, starts and messages, counted for this one.
async fn use_up(store: &Store, who: &Subject, of: vestibule::domain::challenge::Challenge) {
    let open = start(store, of).await;
    store.spend_check(open.id, OFTEN, NOW).await.unwrap().unwrap();
    count(store, vec![spend(&format!("starts:{}", who.as_str()), "1/1h")], NOW).await.unwrap();
    let budgets = user_budgets(who);
    let wanted = reservation(who, Vec::new(), budgets);
    store.reserve_message(wanted, NOW).await.unwrap().unwrap();
}

fn user_budgets(who: &Subject) -> Vec<Budget> {
    let whose = who.as_str();
    vec![Budget::of_day(Guard::UserDay, whose, 5, NOW), Budget::of_month(Guard::UserMonth, whose, 5, NOW)]
}

/// What of that is counted.
async fn counted(store: &Store, who: &Subject) -> (u32, Vec<u32>, bool) {
    let failures = store.failures(who.clone()).await.unwrap().count;
    let key = format!("starts:{}", who.as_str());
    let starts = count(store, vec![spend(&key, "1/1h")], NOW).await;
    (failures, used(store, user_budgets(who)).await, starts.is_err())
}

async fn who_is_let_in_again_has_a_clean_slate(store: Fixture) {
    // user:1 and user:11 begin alike, and so do their keys.
    let mut users = Vec::new();
    for n in 0..11 {
        users.push(user(&store, &format!("user{n}")).await);
    }
    let (first, eleventh) = (&users[0], &users[10]);
    let (one, eleven) = (Subject::user(first.id), Subject::user(eleventh.id));
    assert!(eleven.as_str().starts_with(one.as_str()), "{eleven:?}");
    let nobody = Subject::stranger("1");
    let session = signed_in(&store, first, NOW).await;
    use_up(&store, &one, challenge(first, NOW)).await;
    use_up(&store, &eleven, challenge(eleventh, NOW)).await;
    use_up(&store, &nobody, stranger("1", NOW)).await;
    assert!(change(&store, first, UserChange::Disable).await);
    assert!(!find(&store, "user0").await.unwrap().may_sign_in());
    assert!(change(&store, first, UserChange::Disable).await, "once more changes nothing");
    let before = store.last_change().await.unwrap();

    assert!(change(&store, first, UserChange::Enable).await);
    assert!(find(&store, "user0").await.unwrap().may_sign_in());
    assert_eq!(store.failures(one.clone()).await.unwrap(), Failures::NONE);
    assert_eq!(counted(&store, &one).await, (0, vec![0, 0], false));
    assert_eq!(counted(&store, &eleven).await, (1, vec![1, 1], true));
    assert_eq!(counted(&store, &nobody).await, (1, vec![1, 1], true));
    // What was ended stays so, and nothing ends now.
    assert_eq!(store.session(session.id).await.unwrap().unwrap().ended, Some(SessionEnd::Revoked));
    assert_eq!(store.last_change().await.unwrap(), before);
    let session = signed_in(&store, first, after(90)).await;
    assert!(change(&store, first, UserChange::Enable).await);
    assert_eq!(store.session(session.id).await.unwrap().unwrap().ended, None);
}

async fn a_removed_user_is_forgotten(store: Fixture) {
    let alice = user(&store, "alice").await;
    let open = start(&store, challenge(&alice, NOW)).await;
    store.spend_check(open.id, OFTEN, NOW).await.unwrap().unwrap();
    assert!(change(&store, &alice, UserChange::Remove).await);
    assert!(find(&store, "alice").await.is_none() && names(&store).await.is_empty());
    assert_eq!(store.failures(Subject::user(alice.id)).await.unwrap(), Failures::NONE);
    assert!(!change(&store, &alice, UserChange::Remove).await);
    store.add_users(vec![new_user("alice", 1)], NOW).await.unwrap().unwrap();
}
