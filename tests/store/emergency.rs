//! Emergency codes: one for a user, good once, whoever asks how often at once.

use vestibule::domain::challenge::Subject;
use vestibule::domain::event::{Event, What};
use vestibule::domain::id::SessionId;
use vestibule::domain::user::{User, UserId};
use vestibule::store::{
    About, EmergencyAttempt, NewEmergencyCode, NewSession, NoEmergencyCode, Store, UserChange,
};

use crate::engine::{Fixture, on_every_engine};
use crate::given::{HOUR, NOW, after, name, reference, user};

on_every_engine!(
    a_code_is_taken_once_by_one_of_many,
    a_code_is_its_users_and_ends,
    a_newer_code_is_the_only_one,
    who_is_shut_out_gets_none,
);

fn line(what: What) -> Event {
    Event { what, ..crate::audit::event("") }
}

async fn make(store: &Store, hash: &str) -> Result<(), NoEmergencyCode> {
    let new = NewEmergencyCode {
        user: name("alice"),
        hash: hash.to_owned(),
        reference: reference(),
        expires_at: after(900),
        lifetime: HOUR,
        event: line(What::BreakGlassMade),
    };
    store.add_emergency_code(new, NOW).await.unwrap()
}

fn attempt(user: Option<UserId>, hash: &str, n: u8) -> EmergencyAttempt {
    let session = NewSession {
        id: SessionId::from_random([n; 16]),
        expires_at: NOW + 12 * HOUR,
        client: "192.0.2.7".to_owned(),
        follows: None,
        event: line(What::BreakGlassUsed),
    };
    let subject = user.map_or_else(|| Subject::stranger("somebody"), Subject::user);
    EmergencyAttempt { user, subject, hash: hash.to_owned(), session }
}

async fn takes(store: &Store, user: &User, hash: &str, at: u64) -> bool {
    store.take_emergency_code(attempt(Some(user.id), hash, 1), after(at)).await.unwrap().is_some()
}

async fn a_code_is_taken_once_by_one_of_many(store: Fixture) {
    let alice = user(&store, "alice").await;
    make(&store, "h").await.unwrap();
    let id = alice.id;
    let taken = store
        .race(16, |n, gateway| async move {
            let attempt = attempt(Some(id), "h", u8::try_from(n).unwrap());
            gateway.take_emergency_code(attempt, NOW).await.unwrap()
        })
        .await;
    let taken: Vec<_> = taken.into_iter().flatten().collect();
    assert_eq!(taken.len(), 1);
    let (session, event) = &taken[0];
    assert_eq!((session.method.as_str(), session.expires_at), ("break_glass", NOW + HOUR));
    assert_eq!(store.sessions(NOW).await.unwrap().len(), 1);
    // Both lines are found by the reference it was made under.
    let about = About { reference: event.reference, ..About::default() };
    let told = store.audit(about, 9).await.unwrap();
    assert!(told.iter().any(|line| line.what == "break_glass_used"), "{told:?}");
}

async fn a_code_is_its_users_and_ends(store: Fixture) {
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    make(&store, "h").await.unwrap();
    assert!(!takes(&store, &bob, "h", 0).await && !takes(&store, &alice, "x", 0).await);
    assert!(store.take_emergency_code(attempt(None, "h", 1), NOW).await.unwrap().is_none());
    assert!(!takes(&store, &alice, "h", 900).await, "over");
    assert!(takes(&store, &alice, "h", 899).await, "nobody's try has used it up");
}

async fn a_newer_code_is_the_only_one(store: Fixture) {
    let alice = user(&store, "alice").await;
    make(&store, "older").await.unwrap();
    make(&store, "newer").await.unwrap();
    assert!(!takes(&store, &alice, "older", 0).await && takes(&store, &alice, "newer", 0).await);
}

async fn who_is_shut_out_gets_none(store: Fixture) {
    assert_eq!(make(&store, "h").await, Err(NoEmergencyCode::Unknown));
    let alice = user(&store, "alice").await;
    make(&store, "h").await.unwrap();
    store.change_user(name("alice"), UserChange::Disable, NOW).await.unwrap().unwrap();
    assert!(!takes(&store, &alice, "h", 0).await);
    assert_eq!(make(&store, "h").await, Err(NoEmergencyCode::ShutOut));
}
