//! What goes into the store and comes out of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::crypto::ChainKey;
use crate::domain::chain::{Head, Line};
use crate::domain::challenge::{Challenge, Closed, Subject};
use crate::domain::channel::Channel;
use crate::domain::event::Event;
use crate::domain::id::{Reference, SessionId};
use crate::domain::limits::{FailureStop, Rate};
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::{Delivery, Holder, Prospect};
use crate::domain::session::SessionEnd;
use crate::domain::spend::{Budget, Conversion};
use crate::domain::time::Timestamp;
use crate::domain::user::{UserId, UserName};

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

/// A code whose time passed without anybody typing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapsed {
    /// How it went out last.
    pub channel: Channel,
    /// Whose it was.
    pub user: UserId,
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
    /// The line of the audit trail that is written with it, or not at all.
    pub event: Event,
}

/// An emergency code to be kept.
#[derive(Clone, Debug)]
pub struct NewEmergencyCode {
    /// Whom it lets in.
    pub user: UserName,
    /// Its keyed hash.
    pub hash: String,
    /// Under which the trail has it.
    pub reference: Reference,
    /// Until when it can be used.
    pub expires_at: Timestamp,
    /// How long its session lasts.
    pub lifetime: Duration,
    /// The line of the audit trail that is written with it, or not at all.
    pub event: Event,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEmergencyCode {
    /// No such user.
    Unknown,
    /// They may not sign in.
    ShutOut,
}

/// Somebody types an emergency code.
#[derive(Clone, Debug)]
pub struct EmergencyAttempt {
    /// Who they say they are; none of a stranger.
    pub user: Option<UserId>,
    /// The same, for whoever waits for others that try.
    pub subject: Subject,
    /// The keyed hash of what they typed.
    pub hash: String,
    /// The session to open. It ends with the code's own lifetime, where that is shorter.
    pub session: NewSession,
}

/// Which sessions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// An emergency code was made; the trail has it under this reference.
    BreakGlassMade(Reference),
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

/// A line of the audit trail with all that is sealed.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// As people read it.
    pub recorded: Recorded,
    /// As it was sealed.
    pub line: Line,
    /// The seal; none of a line from before the chain.
    pub hash: Option<Vec<u8>>,
}

/// Some lines of the audit trail, and where the chain was when they were read.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where the chain ended.
    pub head: Head,
    /// Whether we sealed it, or nobody has sealed anything yet.
    pub ours: bool,
    /// The lines.
    pub lines: Vec<Sealed>,
}

/// How far a receiver has the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last line it took, or that it does not get.
    pub delivered: i64,
    /// Since when it takes none.
    pub failing_since: Option<Timestamp>,
    /// How often it did not take the next one.
    pub tries: u32,
    /// When that is tried again.
    pub due_at: Timestamp,
}

impl Progress {
    /// The longest pause before a line is tried again.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);

    /// The same of one that takes lines.
    #[must_use]
    pub const fn clean(self) -> Self {
        Self { failing_since: None, tries: 0, due_at: Timestamp::from_unix(0), ..self }
    }

    /// Whether the next line is to be tried. A moment that we would not have written is none.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due_at <= now || self.due_at > now + Self::LONGEST_PAUSE
    }
}

/// What a receiver still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many lines were written since the last one that it took; less than none is wrong.
    pub lines: i64,
    /// Since when it takes none.
    pub failing_since: Option<Timestamp>,
    /// Whether it is for whoever asked to bring the next one, now.
    pub is_ours: bool,
}

/// A backup to be put in the place of a store.
pub struct Restoring<'a> {
    /// The backup.
    pub backup: &'a Path,
    /// The store.
    pub store: &'a Path,
    /// Under which name the store that is there is kept.
    pub keep: PathBuf,
    /// Whether the master key opens these.
    pub opens: &'a dyn Fn(&[StoredKey]) -> bool,
    /// The key of the audit trail.
    pub chain: ChainKey,
    /// The key that signs from now on.
    pub fresh: StoredKey,
    /// Whether sessions of the backup go on.
    pub keep_sessions: bool,
    /// Whether users who were shut out since the backup are let in again.
    pub let_back_in: bool,
    /// Now.
    pub now: Timestamp,
}

impl fmt::Debug for Restoring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restoring").field("backup", &self.backup).finish_non_exhaustive()
    }
}

/// What putting a backup in place came to.
#[derive(Debug, Default)]
pub struct Restored {
    /// What became of the store that was there.
    pub kept: Kept,
    /// How many sessions were ended.
    pub sessions_ended: usize,
    /// Whether the store that was there told what was spent and ended since the backup.
    pub compared: bool,
    /// Who may sign in by the backup, and could not by the store that was there.
    pub shut_out: Vec<String>,
}

/// What became of a store that another takes the place of.
#[derive(Debug, Default)]
pub enum Kept {
    /// There was none.
    #[default]
    Nothing,
    /// It is there, under this name.
    Copy(PathBuf),
    /// It could not be read, for this reason, and was given this name.
    Damaged(PathBuf, String),
}
