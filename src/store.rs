//! What must not be forgotten: users, challenges, limits, sessions, keys, the audit trail.
//!
//! Each method is one transaction named for its intent, so no caller ever reads, thinks and writes back. Not found is an
//! answer, not an error. The transactions are written once (`users`, `challenges`, … over `sql`) and run on SQLite or
//! PostgreSQL.

mod audit;
mod chain;
mod challenges;
mod emergency;
mod engine;
mod keys;
mod lines;
mod postgres;
mod rates;
mod records;
mod rows;
mod sessions;
mod spend;
mod sql;
mod sqlite;
mod times;
mod transfer;
mod users;
mod webhook;

use std::error::Error as _;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::audit::GIVEN_UP_AFTER;
pub use self::records::*;
pub use self::times::{Times, Took};
pub use self::transfer::{Moved, Step, transfer};

use self::chain::Chain;
use self::engine::{Engine, Kind};
use self::sql::{Lock, Transaction};
use self::sqlite::file::Claim;
use crate::config;
use crate::crypto::ChainKey;
use crate::domain::chain::Hash;
use crate::domain::challenge::{Approval, Challenge, State, Subject};
use crate::domain::channel::Channel;
use crate::domain::event::Event;
use crate::domain::id::{ChallengeId, Reference, SessionId};
use crate::domain::limits::{Failures, Rate};
use crate::domain::line::Line;
use crate::domain::sending::{Holder, Pacing};
use crate::domain::session::{Session, SessionEnd};
use crate::domain::spend::{Budget, Conversion, Stop};
use crate::domain::time::Timestamp;
use crate::domain::user::{User, UserName};
use crate::tls::TlsError;

/// The store could not do its work; nothing was changed, or nobody knows.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("the store failed: {0}")]
    Sqlite(#[source] Arc<rusqlite::Error>),
    /// PostgreSQL said no, or is not there.
    #[error("the store failed: {}", whole(.0))]
    Postgres(#[source] Arc<tokio_postgres::Error>),
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
    /// It is of an older version, and whoever opened it may not change that.
    #[error(
        "the store has schema {found}, this version has {known}; a start brings it up to date: systemctl restart vestibule"
    )]
    Older {
        /// What it has.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// It cannot be used as it is; in words that name the remedy.
    #[error("{0}")]
    Unusable(String),
    /// It is somebody else's.
    #[error("it is the database of another program; name a file of its own in store.url")]
    Foreign,
    /// Another works on it alone: its process, or how it is connected.
    #[error(
        "a gateway, or a command that works on all of it, has it open ({0}): stop that first; two gateways need a store \
         each, or share one on PostgreSQL"
    )]
    InUse(String),
    /// It is being filled from another store.
    #[error(
        "a move into it was begun and is not finished: run the same `vestibule store migrate` again, which goes on where \
         it stopped"
    )]
    Unfinished,
    /// It does not answer in time, or what it answered is not known.
    #[error("the store does not answer")]
    Unavailable,
    /// A connection to the server stands, and nothing comes on it.
    #[error("the server takes connections and does not answer")]
    Mute,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

/// An error with its causes, which the first line of PostgreSQL's does not tell.
fn whole(error: &tokio_postgres::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS to it cannot be spoken.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// Not every name and sentence could be written down there.
    #[error(
        "the database's encoding is {0}; make it with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding(String),
    /// Two gateways could not be kept apart there.
    #[error("this database takes advisory locks without keeping them; use PostgreSQL")]
    NoLocks,
}

impl From<TlsError> for OpenError {
    fn from(error: TlsError) -> Self {
        Self::Tls(Box::new(error))
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To work on it beside a gateway that may be running.
    Beside,
    /// To run a gateway: on SQLite the only one.
    Serve,
    /// The same in the place of one that runs: whatever happens, that one can go on with the schema it knows.
    TakeOver,
    /// To move all of it: while no gateway runs on it.
    Move,
}

/// The store. `Err` means that it could not do its work, never that the answer is no. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Arc<Engine>,
    patience: Duration,
    /// Without it nothing is written to the audit trail.
    chain: Option<Chain>,
}

/// Rows of one transaction where there may be any number.
const BATCH: usize = 5_000;

/// Changes read at once: where there are as many there may be more.
pub const CHANGES_AT_ONCE: usize = 10_000;

/// How long anybody waits for the store.
const PATIENCE: Duration = Duration::from_secs(10);

impl Store {
    /// Opens a file, making it and bringing its schema up to date. Without the key of the chain it must be there as it is,
    /// and nothing is written to the audit trail.
    pub fn sqlite(path: &Path, use_: Use, chain: Option<ChainKey>) -> Result<Self, StoreError> {
        Ok(Self::on(sqlite::start(path, use_, chain.as_ref())?, chain))
    }

    fn on(engine: Engine, chain: Option<ChainKey>) -> Self {
        Self { engine: Arc::new(engine), patience: PATIENCE, chain: chain.map(Chain::new) }
    }

    /// Lets another gateway have the store, where one works alone; this one goes on until that is ready.
    pub fn let_go(&self) {
        if let Some(claim) = self.claim().as_mut() {
            claim.let_go();
        }
    }

    /// Takes the store back from one that did not become ready.
    pub fn claim_again(&self) -> Result<(), StoreError> {
        self.claim().as_mut().map_or(Ok(()), Claim::take_again)
    }

    fn claim(&self) -> MutexGuard<'_, Option<Claim>> {
        // Nothing that can panic is done under it.
        self.engine.claim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to a server and brings its schema up to date; without the key of the chain as above.
    pub fn postgres(
        server: &config::Postgres,
        use_: Use,
        chain: Option<ChainKey>,
    ) -> Result<Self, OpenError> {
        Ok(Self::on(postgres::start(server, use_, chain.as_ref())?, chain))
    }

    /// Copies a SQLite store, which may be in use, to a file that is not there yet; how many bytes it has.
    pub fn backup(from: &Path, to: &Path) -> Result<u64, StoreError> {
        sqlite::copy::backup(from, to)
    }

    /// Puts a backup in the place of a SQLite store on which no gateway runs.
    pub fn restore(how: &Restoring<'_>) -> Result<Restored, StoreError> {
        sqlite::copy::restore(how)
    }

    /// Looks a SQLite store, which may be in use, through for damage; its signing keys.
    pub fn check(path: &Path) -> Result<Vec<StoredKey>, StoreError> {
        sqlite::copy::look_through(path)
    }

    /// The same store for one who waits longer: a command that works on all of it.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// How long it takes to answer, counted since it was opened.
    pub fn times(&self) -> Arc<Times> {
        self.engine.times.clone()
    }

    /// How often the end of the audit trail was not what was written, since this store was opened.
    pub fn chain_breaks(&self) -> u64 {
        self.chain.as_ref().map_or(0, Chain::breaks)
    }

    fn chain(&self) -> Result<&Chain, StoreError> {
        let keyless =
            || StoreError::Unusable("the audit trail cannot be written without the master key".to_owned());
        self.chain.as_ref().ok_or_else(keyless)
    }

    /// The last line that this process wrote to the audit trail, and its seal.
    pub fn last_line(&self) -> Option<(i64, Hash)> {
        self.chain.as_ref()?.last()
    }

    /// Returns when others may have changed something: at once where the database tells, at the latest after a moment.
    pub async fn changed(&self) {
        (self.engine.listen)();
        let _ = tokio::time::timeout(self.engine.poll, self.engine.told.notified()).await;
    }

    /// Reads a row of each table: whether all are there, with the columns and the kinds of values that we know.
    pub async fn sample(&self) -> Result<(), StoreError> {
        self.read(|t| transfer::sample(t)).await
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
    {
        self.engine.ask(Kind::Read, self.patience, work).await
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
    {
        self.engine.ask(Kind::Write, self.patience, work).await
    }

    /// A write that may write lines of the audit trail, too.
    async fn write_sealed<T, F>(&self, kind: Kind, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Transaction, &Chain) -> Result<T, StoreError> + Send + 'static,
    {
        let chain = self.chain()?.afresh();
        let used = chain.clone();
        let done = self.engine.ask(kind, self.patience, move |t| work(t, &used)).await?;
        chain.commit();
        Ok(done)
    }

    async fn write_casually<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
    {
        self.engine.ask(Kind::Casual, self.patience, work).await
    }
}

/// Each hands one function of the rooms below to a thread of the database.
impl Store {
    /// Adds all of them, or, when one is in the way, none.
    pub async fn add_users(
        &self,
        users: Vec<NewUser>,
        now: Timestamp,
    ) -> Result<Result<(), Conflict>, StoreError> {
        self.write(move |t| users::add(t, &users, now)).await
    }

    /// All users by name.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.read(|t| users::list(t)).await
    }

    /// One user.
    pub async fn user(&self, key: UserKey) -> Result<Option<User>, StoreError> {
        self.read(move |t| users::find(t, &key)).await
    }

    /// Changes a user; false when there is none.
    pub async fn change_user(
        &self,
        name: UserName,
        change: UserChange,
        now: Timestamp,
    ) -> Result<Result<bool, Conflict>, StoreError> {
        self.write(move |t| users::change(t, &name, &change, now)).await
    }

    /// How many wrong codes in a row.
    pub async fn failures(&self, subject: Subject) -> Result<Failures, StoreError> {
        self.read(move |t| challenges::failures(t, &subject)).await
    }

    /// Counts every spend and opens a challenge, joining a recent one of the same subject. When one spend is too
    /// much nothing is counted; the answer is the longest wait.
    pub async fn open_challenge(
        &self,
        new: Challenge,
        spends: Vec<Spend>,
        now: Timestamp,
    ) -> Result<Result<Opened, Duration>, StoreError> {
        self.write(move |t| challenges::open(t, &new, &spends, now)).await
    }

    /// One challenge.
    pub async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
        self.read(move |t| challenges::find(t, id)).await
    }

    /// The challenges a person reads out one reference for, oldest first; they are kept for a day.
    pub async fn challenges_of(&self, reference: Reference) -> Result<Vec<Challenge>, StoreError> {
        self.read(move |t| challenges::of(t, reference)).await
    }

    /// Counts every spend and another sending of a challenge.
    pub async fn spend_resend(
        &self,
        id: ChallengeId,
        channel: Channel,
        pacing: Pacing,
        spends: Vec<Spend>,
        now: Timestamp,
    ) -> Result<Result<Challenge, Refused>, StoreError> {
        self.write(move |t| challenges::resend(t, id, channel, pacing, &spends, now)).await
    }

    /// Records what became of the message sent at that moment, for this challenge and those that joined it; nothing when
    /// another was sent since.
    pub async fn record_delivery(
        &self,
        id: ChallengeId,
        sent_at: Timestamp,
        delivered: Delivered,
    ) -> Result<(), StoreError> {
        self.write(move |t| challenges::record_delivery(t, id, sent_at, &delivered)).await
    }

    /// The last message did not go out, whoever it was for: a later one leaves the challenge as it was before, the
    /// first one ends it and those that joined it.
    pub async fn undo_sending(&self, id: ChallengeId, before: Option<Challenge>) -> Result<(), StoreError> {
        self.write(move |t| challenges::undo_sending(t, id, before.as_ref())).await
    }

    /// Some codes whose time is over, that nobody typed, and whose holders have not been told.
    pub async fn abandoned(&self, now: Timestamp) -> Result<Vec<(Holder, Reference)>, StoreError> {
        self.read(move |t| challenges::abandoned(t, now)).await
    }

    /// The holder of an abandoned code has been told. To whoever is first to say so: whose it was, unless it was given up.
    pub async fn release(&self, holder: Holder) -> Result<Option<Lapsed>, StoreError> {
        self.write(move |t| challenges::release(t, &holder)).await
    }

    /// Counts a check against the challenge, its rate and its subject's failures, before anybody looks at the code.
    pub async fn spend_check(
        &self,
        id: ChallengeId,
        rate: Rate,
        now: Timestamp,
    ) -> Result<Result<Challenge, Refused>, StoreError> {
        self.write(move |t| challenges::spend_check(t, id, rate, now)).await
    }

    /// Takes one failure back: the code could not be judged.
    pub async fn refund_failure(&self, subject: Subject) -> Result<(), StoreError> {
        self.write(move |t| challenges::refund_failure(t, &subject)).await
    }

    /// The person gives an open challenge up.
    pub async fn cancel_challenge(&self, id: ChallengeId) -> Result<(), StoreError> {
        self.write(move |t| challenges::cancel(t, id)).await
    }

    /// The code of a challenge had its wrong tries: ends every challenge it serves.
    pub async fn use_up_code(&self, id: ChallengeId) -> Result<(), StoreError> {
        self.write(move |t| challenges::use_up(t, id)).await
    }

    /// The provider knows nothing of the code of a challenge any more: its time is over. What became of the challenge
    /// meanwhile; one that is open may still be accepted by whoever was approved just before.
    pub async fn expire_code(&self, id: ChallengeId, now: Timestamp) -> Result<State, StoreError> {
        self.write(move |t| challenges::expire(t, id, now)).await
    }

    /// Turns an approval into a session: for one caller only, and only while the user may sign in. Clears the
    /// user's failures, marks the phone as verified and the code as used for every challenge it serves, and writes the line
    /// of the audit trail.
    pub async fn accept_challenge(
        &self,
        approval: Approval,
        new: NewSession,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        self.write_sealed(Kind::Write, move |t, chain| challenges::accept(t, chain, &approval, &new, now))
            .await
    }

    /// Counts a message in all its budgets, or in none and says what stopped it.
    pub async fn reserve_message(
        &self,
        wanted: Reservation,
        now: Timestamp,
    ) -> Result<Result<(), Stop>, StoreError> {
        self.write(move |t| spend::reserve(t, &wanted, now)).await
    }

    /// Takes a reservation back: nothing went out.
    pub async fn refund_message(&self, taken: Reservation) -> Result<(), StoreError> {
        self.write(move |t| spend::refund(t, &taken)).await
    }

    /// How full these budgets are, and what is closed.
    pub async fn spend_status(
        &self,
        budgets: Vec<Budget>,
        rule: Conversion,
        now: Timestamp,
    ) -> Result<SpendStatus, StoreError> {
        self.read(move |t| spend::status(t, &budgets, &rule, now)).await
    }

    /// Opens sending again; whether it was closed. If not, nothing is changed.
    pub async fn reopen_sending(&self, now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |t| spend::reopen(t, now)).await
    }

    /// What is known of a line, by the keyed hash of its number.
    pub async fn line(&self, number: String) -> Result<Line, StoreError> {
        self.read(move |t| lines::find(t, &number)).await
    }

    /// Keeps what was learned of a line.
    pub async fn remember_line(&self, number: String, line: Line) -> Result<(), StoreError> {
        self.write(move |t| lines::remember(t, &number, &line)).await
    }

    /// One session, ended or not.
    pub async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        self.read(move |t| sessions::find(t, id)).await
    }

    /// All that have neither ended nor expired.
    pub async fn sessions(&self, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        self.read(move |t| sessions::live(t, now)).await
    }

    /// Moves the last use of sessions forward.
    pub async fn touch_sessions(&self, mut seen: Vec<(SessionId, Timestamp)>) -> Result<(), StoreError> {
        loop {
            let some = seen.split_off(seen.len().saturating_sub(BATCH));
            self.write_casually(move |t| sessions::touch(t, &some)).await?;
            if seen.is_empty() {
                return Ok(());
            }
        }
    }

    /// Ends sessions that have not ended; how many. All of everybody's end some after some, so that nobody waits long
    /// behind it; those opened meanwhile may stay.
    pub async fn end_sessions(
        &self,
        which: Which,
        end: SessionEnd,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        match which {
            Which::One(id) => self.write(move |t| sessions::end_one(t, id, end, now)).await,
            Which::Of(name) => {
                self.write(move |t| {
                    emergency::withdraw(t, &name)?;
                    sessions::end_of(t, &name, end, now)
                })
                .await
            }
            Which::All => self.end_all_sessions(end, now).await,
        }
    }

    async fn end_all_sessions(&self, end: SessionEnd, now: Timestamp) -> Result<usize, StoreError> {
        self.write(|t| emergency::withdraw_all(t)).await?;
        let (mut count, mut after) = (0, String::new());
        loop {
            let (ended, last) = self.write(move |t| sessions::end_some(t, &after, BATCH, end, now)).await?;
            count += ended;
            let Some(last) = last else { return Ok(count) };
            after = last;
        }
    }

    /// The number of the newest change.
    pub async fn last_change(&self) -> Result<i64, StoreError> {
        self.read(|t| sessions::last_change(t)).await
    }

    /// All changes after a number, or [`CHANGES_AT_ONCE`] of them, with the number of the newest. Where the numbers do not
    /// reach that far any more: an unknown change, and the number that they go on from.
    pub async fn changes_after(&self, number: i64) -> Result<(i64, Vec<Change>), StoreError> {
        self.engine.ask(Kind::News, self.patience, move |t| sessions::changes_after(t, number)).await
    }

    /// All signing keys, oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.read(|t| keys::list(t)).await
    }

    /// Adds a key that signs from now on. With `only_first` nothing happens when there is one.
    pub async fn add_signing_key(&self, key: StoredKey, only_first: bool) -> Result<(), StoreError> {
        self.write(move |t| keys::add(t, &key, only_first)).await
    }

    /// Keeps a new emergency code, in the place of an older one of the same user, and writes that down.
    pub async fn add_emergency_code(
        &self,
        new: NewEmergencyCode,
        now: Timestamp,
    ) -> Result<Result<(), NoEmergencyCode>, StoreError> {
        self.write_sealed(Kind::Write, move |t, chain| emergency::add(t, chain, &new, now)).await
    }

    /// Takes the emergency code of a user back; whether there was one. None when there is no such user.
    pub async fn withdraw_emergency_code(&self, name: UserName) -> Result<Option<bool>, StoreError> {
        self.write(move |t| emergency::withdraw(t, &name)).await
    }

    /// Counts a try at an emergency code, before anybody looks at it.
    pub async fn spend_emergency_try(
        &self,
        spend: Spend,
        now: Timestamp,
    ) -> Result<Result<(), Duration>, StoreError> {
        self.write(move |t| emergency::spend(t, &spend, now)).await
    }

    /// Turns an emergency code into a session, for one caller only and only while the user may sign in, and writes the
    /// line of the audit trail.
    pub async fn take_emergency_code(
        &self,
        attempt: EmergencyAttempt,
        now: Timestamp,
    ) -> Result<Option<(Session, Event)>, StoreError> {
        self.write_sealed(Kind::Write, move |t, chain| emergency::take(t, chain, &attempt, now)).await
    }

    /// Writes lines of the audit trail.
    pub async fn append_audit(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.write_sealed(Kind::Write, move |t, chain| audit::append(t, chain, &events)).await
    }

    /// The newest lines about something, oldest first.
    pub async fn audit(&self, about: About, most: usize) -> Result<Vec<Recorded>, StoreError> {
        self.read(move |t| audit::tail(t, &about, most)).await
    }

    /// Some lines after a number, oldest first, with their seals, and where the chain ends.
    pub async fn audit_after(&self, number: i64, most: usize) -> Result<Page, StoreError> {
        let chain = self.chain()?.clone();
        self.read(move |t| audit::page(t, &chain, number, most)).await
    }

    /// What the webhook still needs, and whether it is for this gateway to bring it; none when it is new.
    pub async fn webhook(&self, holder: String, now: Timestamp) -> Result<Option<Waiting>, StoreError> {
        self.read(move |t| webhook::waiting(t, &holder, now)).await
    }

    /// Has this gateway bring lines of the trail to the webhook for a minute, unless another does.
    pub async fn hold_webhook(&self, holder: String, now: Timestamp) -> Result<Option<Progress>, StoreError> {
        self.write(move |t| webhook::hold(t, &holder, now)).await
    }

    /// Notes how far the webhook has the trail, and holds it for a minute more; false when another has it by now.
    pub async fn note_webhook(
        &self,
        holder: String,
        delivery: Progress,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |t| webhook::note(t, &holder, &delivery, now)).await
    }

    /// Has another gateway bring what comes next, at once.
    pub async fn let_webhook_go(&self, holder: String) -> Result<(), StoreError> {
        self.write(move |t| webhook::let_go(t, &holder)).await
    }

    /// How many lines of some events (all, if none are named) follow a number and are from before a moment, up to the
    /// first that is not; and the number of the last. None when no line is.
    pub async fn audit_from_before(
        &self,
        after: i64,
        moment: Timestamp,
        events: Vec<String>,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        self.read(move |t| webhook::too_old(t, after, moment, &events)).await
    }

    /// Forgets some lines of the audit trail that were written before a moment, and writes that down. How many went.
    pub async fn purge_audit(&self, before: Timestamp, now: Timestamp) -> Result<usize, StoreError> {
        self.write_sealed(Kind::Casual, move |t, chain| audit::purge(t, chain, before, now)).await
    }

    /// Forgets some of what no rule needs any more: challenges and sessions over for a day, old spends, changes
    /// and keys. How many rows went.
    pub async fn purge(&self, now: Timestamp, key_lifetime: Duration) -> Result<usize, StoreError> {
        self.write_casually(move |t| {
            t.lock(&[Lock::Purge])?;
            Ok(challenges::purge(t, now)?
                + sessions::purge(t, now)?
                + spend::purge(t, now)?
                + lines::purge(t, now)?
                + keys::purge_keys(t, now, key_lifetime)?)
        })
        .await
    }
}
