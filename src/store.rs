//! What must not be forgotten: users, challenges, limits, sessions, keys, the audit trail.
//!
//! One narrow trait. Each method is one transaction named for its intent, so no caller ever reads, thinks and
//! writes back. Not found is an answer, not an error.

mod audit;
mod challenges;
mod keys;
mod lines;
mod rates;
mod rows;
mod sessions;
mod spend;
pub mod sqlite;
mod users;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::challenge::{Approval, Challenge, Closed, State, Subject};
use crate::domain::channel::Channel;
use crate::domain::event::Event;
use crate::domain::id::{ChallengeId, Reference, SessionId};
use crate::domain::limits::{FailureStop, Failures, Rate};
use crate::domain::line::Line;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::{Delivery, Holder, Pacing, Prospect};
use crate::domain::session::{Session, SessionEnd};
use crate::domain::spend::{Budget, Conversion, Stop};
use crate::domain::time::Timestamp;
use crate::domain::user::{User, UserId, UserName};

/// What a store answers, later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The store could not do its work; nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error("the store failed: {0}")]
    Database(#[source] Arc<rusqlite::Error>),
    /// It holds what no version of ours writes.
    #[error("the store holds something unreadable in {0}")]
    Corrupt(&'static str),
    /// It was made by a newer version.
    #[error("the store has schema {found}, this version knows {known}; run the newer version")]
    Newer {
        /// What it has.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// It cannot begin or commit; the log has the cause.
    #[error("the store cannot do its work at the moment; the log says why")]
    Unavailable,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// A user to add.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Their name.
    pub name: UserName,
    /// Where their codes go.
    pub phone_number: PhoneNumber,
}

/// What is already somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The name.
    #[error("there is a user {0} already")]
    Name(UserName),
    /// The phone number of the user with the first name is that of the second.
    #[error("the phone number of {0} is that of {1} already")]
    PhoneNumber(UserName, UserName),
}

/// How a user is looked up.
#[derive(Clone, Debug)]
pub enum UserKey {
    /// By name.
    Name(UserName),
    /// By the number they typed.
    PhoneNumber(PhoneNumber),
    /// By their number in the store.
    Id(UserId),
}

/// What an administrator does to a user. All but `Enable` end the user's sessions in the same transaction.
#[derive(Clone, Debug)]
pub enum UserChange {
    /// Codes go to another phone, not yet verified.
    SetPhone(PhoneNumber),
    /// They are shut out.
    Disable,
    /// They are let in again, and their wrong codes, starts and messages are forgotten; what is counted by number ends by
    /// itself.
    Enable,
    /// They are forgotten.
    Remove,
}

/// Something counted, and how often it may be.
#[derive(Clone, Debug)]
pub struct Spend {
    /// What is counted together.
    pub key: String,
    /// How often.
    pub rate: Rate,
}

/// What a start came to.
#[derive(Clone, Debug)]
pub enum Opened {
    /// A code must be sent.
    Send(Challenge),
    /// A code sent a moment ago serves this challenge too; nothing is sent.
    Joined(Challenge),
}

/// What became of a message.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// What the page may say of it.
    pub delivery: Delivery,
    /// Whether its code may be right.
    pub prospect: Prospect,
    /// Who holds its code; none leaves it with whoever held it.
    pub holder: Option<Holder>,
    /// How long its code is; none leaves it as it was.
    pub code_length: Option<u8>,
}

/// A message to be counted before it is sent.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// Whether it is sent. A stranger's is judged like everybody's, and counted as theirs only: it costs nothing.
    pub real: bool,
    /// Whether it is the first of its challenge.
    pub first: bool,
    /// Whose it is.
    pub subject: Subject,
    /// When its challenge began.
    pub began_at: Timestamp,
    /// The budgets of the gateway.
    pub gateway: Vec<Budget>,
    /// The budgets of the user, or of what a stranger typed.
    pub user: Vec<Budget>,
    /// How often messages go to numbers that begin alike; none for a stranger's, which goes nowhere.
    pub prefix: Option<Spend>,
    /// How many codes must come back.
    pub conversion: Conversion,
}

impl Reservation {
    /// The budgets it must fit into.
    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.gateway.iter().chain(&self.user)
    }

    /// What is the gateway's, and what is the user's own.
    pub fn split(self) -> (Self, Self) {
        let own = Self { real: false, gateway: Vec::new(), prefix: None, ..self.clone() };
        (Self { user: Vec::new(), ..self }, own)
    }

    /// The budgets it is counted in.
    pub fn counted(&self) -> impl Iterator<Item = &Budget> {
        self.gateway.iter().filter(|_| self.real).chain(&self.user)
    }
}

/// Where the spend guard stands.
#[derive(Clone, Debug)]
pub struct SpendStatus {
    /// Messages counted in each of the budgets that were asked for.
    pub used: Vec<u32>,
    /// Users to whom a code was sent, within the window that counts.
    pub sent: u32,
    /// How many of them typed one.
    pub entered: u32,
    /// The guards that closed sending, and until when.
    pub closures: Vec<(String, Timestamp)>,
}

/// Why nothing further is done with a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is none of that name.
    Unknown,
    /// It is over.
    Closed(Closed),
    /// Too often; so long to wait.
    TooOften(Duration),
    /// Too many wrong codes in a row.
    Failures(FailureStop),
}

/// A session to open.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its name.
    pub id: SessionId,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
    /// The client address it begins from.
    pub client: String,
    /// The session that this browser has already. If it is the same user's it ends with this one.
    pub follows: Option<SessionId>,
}

/// Which sessions are meant.
#[derive(Clone, Debug)]
pub enum Which {
    /// One, and those of the same browser that it follows.
    One(SessionId),
    /// All of a user.
    Of(UserName),
    /// All.
    All,
}

/// What other processes changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session ended before its time.
    SessionEnded(SessionId, SessionEnd),
    /// A signing key was added.
    KeysChanged,
    /// Something this version has no word for.
    Unknown,
}

/// A signing key as it rests in the store.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// Its name in tokens.
    pub kid: String,
    /// Its bytes, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a newer one took over.
    pub retired_at: Option<Timestamp>,
}

/// What lines of the audit trail are about; what is `None` is anything.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The help desk's reference.
    pub reference: Option<Reference>,
    /// The user; also one who is not there any more.
    pub user: Option<UserName>,
}

/// A line of the audit trail as it was written.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its place, from 1.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: String,
    /// The help desk's reference.
    pub reference: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The client address.
    pub client: String,
    /// What else.
    pub detail: String,
    /// The call to a provider it tells of.
    pub message: Option<RecordedMessage>,
}

/// A call to a provider as it was written down.
#[derive(Clone, Debug)]
pub struct RecordedMessage {
    /// The provider.
    pub provider: String,
    /// How the code went.
    pub channel: Option<String>,
    /// The provider's own name for it.
    pub handle: Option<String>,
    /// The masked number.
    pub recipient: Option<String>,
    /// What it came to.
    pub outcome: Option<String>,
}

/// The store. `Err` means that it could not do its work, never that the answer is no.
pub trait Store: Debug + Send + Sync {
    /// Adds all of them, or, when one is in the way, none.
    fn add_users(&self, users: Vec<NewUser>, now: Timestamp) -> Answer<'_, Result<(), Conflict>>;
    /// All users by name.
    fn users(&self) -> Answer<'_, Vec<User>>;
    /// One user.
    fn user(&self, key: UserKey) -> Answer<'_, Option<User>>;
    /// Changes a user; false when there is none.
    fn change_user(
        &self,
        name: UserName,
        change: UserChange,
        now: Timestamp,
    ) -> Answer<'_, Result<bool, Conflict>>;
    /// How many wrong codes in a row.
    fn failures(&self, subject: Subject) -> Answer<'_, Failures>;

    /// Counts every spend and opens a challenge, joining a recent one of the same subject. When one spend is too
    /// much nothing is counted; the answer is the longest wait.
    fn open_challenge(
        &self,
        new: Challenge,
        spends: Vec<Spend>,
        now: Timestamp,
    ) -> Answer<'_, Result<Opened, Duration>>;
    /// One challenge.
    fn challenge(&self, id: ChallengeId) -> Answer<'_, Option<Challenge>>;
    /// The challenges a person reads out one reference for, oldest first; they are kept for a day.
    fn challenges_of(&self, reference: Reference) -> Answer<'_, Vec<Challenge>>;
    /// Counts every spend and another sending of a challenge.
    fn spend_resend(
        &self,
        id: ChallengeId,
        channel: Channel,
        pacing: Pacing,
        spends: Vec<Spend>,
        now: Timestamp,
    ) -> Answer<'_, Result<Challenge, Refused>>;
    /// Records what became of the message sent at that moment, for this challenge and those that joined it; nothing when
    /// another was sent since.
    fn record_delivery(&self, id: ChallengeId, sent_at: Timestamp, delivered: Delivered) -> Answer<'_, ()>;
    /// The last message did not go out, whoever it was for: a later one leaves the challenge as it was before, the
    /// first one ends it and those that joined it.
    fn undo_sending(&self, id: ChallengeId, before: Option<Challenge>) -> Answer<'_, ()>;
    /// Some codes whose time is over, that nobody typed, and whose holders have not been told.
    fn abandoned(&self, now: Timestamp) -> Answer<'_, Vec<(Holder, Reference)>>;
    /// The holder of an abandoned code has been told.
    fn release(&self, holder: Holder) -> Answer<'_, ()>;
    /// Counts a check against the challenge, its rate and its subject's failures, before anybody looks at the code.
    fn spend_check(
        &self,
        id: ChallengeId,
        rate: Rate,
        now: Timestamp,
    ) -> Answer<'_, Result<Challenge, Refused>>;
    /// Takes one failure back: the code could not be judged.
    fn refund_failure(&self, subject: Subject) -> Answer<'_, ()>;
    /// The person gives an open challenge up.
    fn cancel_challenge(&self, id: ChallengeId) -> Answer<'_, ()>;
    /// The code of a challenge had its wrong tries: ends every challenge it serves.
    fn use_up_code(&self, id: ChallengeId) -> Answer<'_, ()>;
    /// The provider knows nothing of the code of a challenge any more: its time is over. What became of the challenge
    /// meanwhile; one that is open may still be accepted by whoever was approved just before.
    fn expire_code(&self, id: ChallengeId, now: Timestamp) -> Answer<'_, State>;
    /// Turns an approval into a session: for one caller only, and only while the user may sign in. Clears the
    /// user's failures, marks the phone as verified and the code as used for every challenge it serves.
    fn accept_challenge(
        &self,
        approval: Approval,
        new: NewSession,
        now: Timestamp,
    ) -> Answer<'_, Option<Session>>;

    /// Counts a message in all its budgets, or in none and says what stopped it.
    fn reserve_message(&self, wanted: Reservation, now: Timestamp) -> Answer<'_, Result<(), Stop>>;
    /// Takes a reservation back: nothing went out.
    fn refund_message(&self, taken: Reservation) -> Answer<'_, ()>;
    /// How full these budgets are, and what is closed.
    fn spend_status(&self, budgets: Vec<Budget>, rule: Conversion, now: Timestamp)
    -> Answer<'_, SpendStatus>;
    /// Opens sending again; whether it was closed. If not, nothing is changed.
    fn reopen_sending(&self, now: Timestamp) -> Answer<'_, bool>;
    /// What is known of a line, by the keyed hash of its number.
    fn line(&self, number: String) -> Answer<'_, Line>;
    /// Keeps what was learned of a line.
    fn remember_line(&self, number: String, line: Line) -> Answer<'_, ()>;

    /// One session, ended or not.
    fn session(&self, id: SessionId) -> Answer<'_, Option<Session>>;
    /// All that have neither ended nor expired.
    fn sessions(&self, now: Timestamp) -> Answer<'_, Vec<Session>>;
    /// Moves the last use of sessions forward.
    fn touch_sessions(&self, seen: Vec<(SessionId, Timestamp)>) -> Answer<'_, ()>;
    /// Ends sessions that have not ended; how many.
    fn end_sessions(&self, which: Which, end: SessionEnd, now: Timestamp) -> Answer<'_, usize>;
    /// The number of the newest change.
    fn last_change(&self) -> Answer<'_, i64>;
    /// All changes after a number, with the number of the newest.
    fn changes_after(&self, number: i64) -> Answer<'_, (i64, Vec<Change>)>;

    /// All signing keys, oldest first.
    fn signing_keys(&self) -> Answer<'_, Vec<StoredKey>>;
    /// Adds a key that signs from now on. With `only_first` nothing happens when there is one.
    fn add_signing_key(&self, key: StoredKey, only_first: bool) -> Answer<'_, ()>;

    /// Writes lines of the audit trail.
    fn append_audit(&self, events: Vec<Event>) -> Answer<'_, ()>;
    /// The newest lines about something, oldest first.
    fn audit(&self, about: About, most: usize) -> Answer<'_, Vec<Recorded>>;

    /// Forgets some of what no rule needs any more: challenges and sessions over for a day, old spends, changes
    /// and keys. How many rows went.
    fn purge(&self, now: Timestamp, key_lifetime: Duration) -> Answer<'_, usize>;
}
