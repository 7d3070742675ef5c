//! What the cases begin from: users, challenges, codes that were sent, sessions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vestibule::domain::challenge::{Approval, Challenge, State, Subject, Verdict};
use vestibule::domain::channel::Channel;
use vestibule::domain::event::{Event, What};
use vestibule::domain::id::{ChallengeId, Reference, SessionId};
use vestibule::domain::limits::Rate;
use vestibule::domain::phone::PhoneNumber;
use vestibule::domain::return_to::ReturnTo;
use vestibule::domain::sending::{Delivery, Holder, Prospect};
use vestibule::domain::session::Session;
use vestibule::domain::time::Timestamp;
use vestibule::domain::user::{User, UserName};
use vestibule::store::{Delivered, NewSession, NewUser, Opened, Spend, UserKey};

use crate::engine::Store;

/// 2027-01-15 08:00 UTC.
pub const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
pub const HOUR: Duration = Duration::from_secs(3_600);
pub const DAY: Duration = Duration::from_secs(86_400);
/// How long a code lives.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// How many codes are looked at for one challenge.
pub const TRIES: u32 = 5;
/// A rate that nobody reaches.
pub const OFTEN: Rate = Rate::new(100_000, HOUR);

pub fn after(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

/// A number that was not given before.
pub fn next() -> u64 {
    static GIVEN: AtomicU64 = AtomicU64::new(1);
    GIVEN.fetch_add(1, Ordering::Relaxed)
}

fn random() -> [u8; 16] {
    (u128::from(next()) << 64 | 0x5eed).to_be_bytes()
}

pub fn reference() -> Reference {
    let [.., a, b, c, d, e] = next().to_be_bytes();
    Reference::from_random([a, b, c, d, e])
}

pub fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

pub fn phone(n: u64) -> PhoneNumber {
    format!("+1415{n:07}").parse().unwrap()
}

pub fn new_user(user: &str, n: u64) -> NewUser {
    NewUser { name: name(user), phone_number: phone(n) }
}

/// Adds a user with a number of their own.
pub async fn user(store: &Store, user: &str) -> User {
    store.add_users(vec![new_user(user, 1_000_000 + next())], NOW).await.unwrap().unwrap();
    find(store, user).await.unwrap()
}

pub async fn find(store: &Store, user: &str) -> Option<User> {
    store.user(UserKey::Name(name(user))).await.unwrap()
}

/// A challenge as a start makes it.
pub fn challenge(user: &User, now: Timestamp) -> Challenge {
    Challenge {
        id: ChallengeId::from_random(random()),
        reference: reference(),
        user: Some(user.id),
        user_name: Some(user.name.clone()),
        subject: Subject::user(user.id),
        recipient: user.phone_number.masked(),
        return_to: ReturnTo::home(),
        channel: Channel::Sms,
        created_at: now,
        expires_at: now + LIFETIME,
        sent_at: now,
        sends: 1,
        checks: 0,
        max_checks: TRIES,
        code_length: 6,
        state: State::Open,
        delivery: Delivery::Pending,
        prospect: Prospect::Open,
        holder: Some(Holder { provider: "twilio".to_owned(), handle: None }),
        last: false,
        landline: false,
    }
}

/// The challenge of somebody whom nobody knows.
pub fn stranger(hash: &str, now: Timestamp) -> Challenge {
    let id = vestibule::domain::user::UserId(0);
    let somebody = User {
        id,
        name: name("nobody"),
        phone_number: phone(0),
        phone_verified_at: None,
        two_factor_enabled: true,
        disabled: false,
        created_at: now,
    };
    Challenge { user: None, user_name: None, subject: Subject::stranger(hash), ..challenge(&somebody, now) }
}

/// Starts a challenge; a message must be due for it.
#[track_caller]
pub fn start(store: &Store, new: Challenge) -> impl Future<Output = Challenge> {
    let (store, now) = (store.clone(), new.created_at);
    async move {
        match store.open_challenge(new, Vec::new(), now).await.unwrap() {
            Ok(Opened::Send(challenge)) => challenge,
            other => panic!("no message is due: {other:?}"),
        }
    }
}

/// Starts a challenge that a code sent before serves.
pub async fn join(store: &Store, new: Challenge) -> Challenge {
    let now = new.created_at;
    match store.open_challenge(new, Vec::new(), now).await.unwrap() {
        Ok(Opened::Joined(challenge)) => challenge,
        other => panic!("nothing was joined: {other:?}"),
    }
}

/// The challenge as it stands in the store.
pub async fn now_is(store: &Store, of: &Challenge) -> Challenge {
    store.challenge(of.id).await.unwrap().expect("it is there")
}

pub async fn state(store: &Store, of: &Challenge) -> State {
    now_is(store, of).await.state
}

/// What the verifier makes of the right code.
pub fn approval(of: &Challenge) -> Approval {
    of.judge(Verdict::Approved).unwrap()
}

pub fn new_session(now: Timestamp) -> NewSession {
    NewSession {
        id: SessionId::from_random(random()),
        expires_at: now + 12 * HOUR,
        client: "192.0.2.7".to_owned(),
        follows: None,
        event: Event {
            at: now,
            what: What::SessionOpened,
            reference: None,
            user: None,
            client: "192.0.2.7".to_owned(),
            detail: "sms".to_owned(),
            message: None,
        },
    }
}

/// Starts a challenge and types its code.
pub async fn signed_in(store: &Store, user: &User, now: Timestamp) -> Session {
    signed_in_after(store, user, now, None).await
}

/// The same in a browser that has a session already.
pub async fn signed_in_after(
    store: &Store,
    user: &User,
    now: Timestamp,
    follows: Option<SessionId>,
) -> Session {
    let challenge = start(store, challenge(user, now)).await;
    let new = NewSession { follows, ..new_session(now) };
    store.accept_challenge(approval(&challenge), new, now).await.unwrap().expect("the code is right")
}

/// The provider took the message, and calls its code so.
pub fn delivered(provider: &str, handle: &str) -> Delivered {
    Delivered {
        delivery: Delivery::Sent,
        prospect: Prospect::Open,
        holder: Some(holder(provider, handle)),
        code_length: None,
    }
}

pub fn holder(provider: &str, handle: &str) -> Holder {
    Holder { provider: provider.to_owned(), handle: Some(handle.to_owned()) }
}

pub fn spend(key: &str, rate: &str) -> Spend {
    Spend { key: key.to_owned(), rate: rate.parse().unwrap() }
}

/// Counts these for somebody new, at that moment.
pub async fn count(store: &Store, spends: Vec<Spend>, now: Timestamp) -> Result<(), Duration> {
    let new = stranger(&format!("counted-{}", next()), now);
    store.open_challenge(new, spends, now).await.unwrap().map(drop)
}

/// How long to wait, in seconds.
pub fn seconds(wait: Result<(), Duration>) -> u64 {
    wait.expect_err("there is room").as_secs()
}
