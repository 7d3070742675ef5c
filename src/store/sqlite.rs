//! The embedded store: one SQLite file in WAL mode.
//!
//! One thread writes and commits together what has queued up; another reads beside it. Nothing that an attacker
//! could profit from forgetting is lost by a crash: `synchronous` is FULL.

use std::fmt;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::{
    About, Answer, Change, Conflict, Delivered, NewSession, NewUser, Opened, Recorded, Refused, Reservation,
    Spend, SpendStatus, Store, StoreError, StoredKey, UserChange, UserKey, Which,
};
use super::{audit, challenges, keys, lines, sessions, spend, users};
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

/// A command for one of the threads; it answers by itself once its work is safe.
type Command = Box<dyn FnOnce(&Transaction<'_>) -> Reply + Send>;
/// Tells the one who asked, with whether the transaction was committed.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The embedded store.
pub struct Sqlite {
    path: PathBuf,
    writer: mpsc::SyncSender<Command>,
    reader: mpsc::SyncSender<Command>,
}

/// The schema this version writes, one step a file.
const MIGRATIONS: &[&str] =
    &[include_str!("../../migrations/sqlite/0001.sql"), include_str!("../../migrations/sqlite/0002.sql")];
/// Commands that may wait; beyond that callers wait to ask.
const QUEUE: usize = 1_024;
/// Commands committed together.
const BATCH: usize = 128;

impl Sqlite {
    /// Opens the file, making it and bringing its schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path);
        let mut writing = connect(path)?;
        migrate(&mut writing)?;
        let reading = connect(path)?;
        reading.pragma_update(None, "query_only", true)?;
        Ok(Self {
            path: path.to_owned(),
            writer: serve("store-writer", writing, TransactionBehavior::Immediate),
            reader: serve("store-reader", reading, TransactionBehavior::Deferred),
        })
    }

    fn write<T, F>(&self, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        ask(&self.writer, work)
    }

    fn read<T, F>(&self, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        ask(&self.reader, work)
    }
}

/// Each method hands one function of the rooms below to the thread that runs it.
impl Store for Sqlite {
    fn add_users(&self, users: Vec<NewUser>, now: Timestamp) -> Answer<'_, Result<(), Conflict>> {
        self.write(move |t| users::add(t, &users, now))
    }

    fn users(&self) -> Answer<'_, Vec<User>> {
        self.read(users::list)
    }

    fn user(&self, key: UserKey) -> Answer<'_, Option<User>> {
        self.read(move |t| users::find(t, &key))
    }

    fn change_user(
        &self,
        name: UserName,
        change: UserChange,
        now: Timestamp,
    ) -> Answer<'_, Result<bool, Conflict>> {
        self.write(move |t| users::change(t, &name, &change, now))
    }

    fn failures(&self, subject: Subject) -> Answer<'_, Failures> {
        self.read(move |t| challenges::failures(t, &subject))
    }

    fn open_challenge(
        &self,
        new: Challenge,
        spends: Vec<Spend>,
        now: Timestamp,
    ) -> Answer<'_, Result<Opened, Duration>> {
        self.write(move |t| challenges::open(t, new, &spends, now))
    }

    fn challenge(&self, id: ChallengeId) -> Answer<'_, Option<Challenge>> {
        self.read(move |t| challenges::find(t, id))
    }

    fn challenges_of(&self, reference: Reference) -> Answer<'_, Vec<Challenge>> {
        self.read(move |t| challenges::of(t, reference))
    }

    fn spend_resend(
        &self,
        id: ChallengeId,
        channel: Channel,
        pacing: Pacing,
        spends: Vec<Spend>,
        now: Timestamp,
    ) -> Answer<'_, Result<Challenge, Refused>> {
        self.write(move |t| challenges::resend(t, id, channel, pacing, &spends, now))
    }

    fn record_delivery(&self, id: ChallengeId, sent_at: Timestamp, delivered: Delivered) -> Answer<'_, ()> {
        self.write(move |t| challenges::record_delivery(t, id, sent_at, &delivered))
    }

    fn undo_sending(&self, id: ChallengeId, before: Option<Challenge>) -> Answer<'_, ()> {
        self.write(move |t| challenges::undo_sending(t, id, before.as_ref()))
    }

    fn abandoned(&self, now: Timestamp) -> Answer<'_, Vec<(Holder, Reference)>> {
        self.read(move |t| challenges::abandoned(t, now))
    }

    fn release(&self, holder: Holder) -> Answer<'_, ()> {
        self.write(move |t| challenges::release(t, &holder))
    }

    fn spend_check(
        &self,
        id: ChallengeId,
        rate: Rate,
        now: Timestamp,
    ) -> Answer<'_, Result<Challenge, Refused>> {
        self.write(move |t| challenges::spend_check(t, id, rate, now))
    }

    fn refund_failure(&self, subject: Subject) -> Answer<'_, ()> {
        self.write(move |t| challenges::refund_failure(t, &subject))
    }

    fn cancel_challenge(&self, id: ChallengeId) -> Answer<'_, ()> {
        self.write(move |t| challenges::close(t, id, State::Cancelled).map(drop))
    }

    fn use_up_code(&self, id: ChallengeId) -> Answer<'_, ()> {
        self.write(move |t| challenges::use_up(t, id))
    }

    fn expire_code(&self, id: ChallengeId, now: Timestamp) -> Answer<'_, State> {
        self.write(move |t| challenges::expire(t, id, now))
    }

    fn accept_challenge(
        &self,
        approval: Approval,
        new: NewSession,
        now: Timestamp,
    ) -> Answer<'_, Option<Session>> {
        self.write(move |t| challenges::accept(t, &approval, &new, now))
    }

    fn reserve_message(&self, wanted: Reservation, now: Timestamp) -> Answer<'_, Result<(), Stop>> {
        self.write(move |t| spend::reserve(t, &wanted, now))
    }

    fn refund_message(&self, taken: Reservation) -> Answer<'_, ()> {
        self.write(move |t| spend::refund(t, &taken))
    }

    fn spend_status(
        &self,
        budgets: Vec<Budget>,
        rule: Conversion,
        now: Timestamp,
    ) -> Answer<'_, SpendStatus> {
        self.read(move |t| spend::status(t, &budgets, &rule, now))
    }

    fn reopen_sending(&self, now: Timestamp) -> Answer<'_, bool> {
        self.write(move |t| spend::reopen(t, now))
    }

    fn line(&self, number: String) -> Answer<'_, Line> {
        self.read(move |t| lines::find(t, &number))
    }

    fn remember_line(&self, number: String, line: Line) -> Answer<'_, ()> {
        self.write(move |t| lines::remember(t, &number, &line))
    }

    fn session(&self, id: SessionId) -> Answer<'_, Option<Session>> {
        self.read(move |t| sessions::find(t, id))
    }

    fn sessions(&self, now: Timestamp) -> Answer<'_, Vec<Session>> {
        self.read(move |t| sessions::live(t, now))
    }

    fn touch_sessions(&self, seen: Vec<(SessionId, Timestamp)>) -> Answer<'_, ()> {
        self.write(move |t| sessions::touch(t, &seen))
    }

    fn end_sessions(&self, which: Which, end: SessionEnd, now: Timestamp) -> Answer<'_, usize> {
        self.write(move |t| sessions::end(t, &which, end, now))
    }

    fn last_change(&self) -> Answer<'_, i64> {
        self.read(sessions::last_change)
    }

    fn changes_after(&self, number: i64) -> Answer<'_, (i64, Vec<Change>)> {
        self.read(move |t| sessions::changes_after(t, number))
    }

    fn signing_keys(&self) -> Answer<'_, Vec<StoredKey>> {
        self.read(keys::list)
    }

    fn add_signing_key(&self, key: StoredKey, only_first: bool) -> Answer<'_, ()> {
        self.write(move |t| keys::add(t, &key, only_first))
    }

    fn append_audit(&self, events: Vec<Event>) -> Answer<'_, ()> {
        self.write(move |t| audit::append(t, &events))
    }

    fn audit(&self, about: About, most: usize) -> Answer<'_, Vec<Recorded>> {
        self.read(move |t| audit::tail(t, &about, most))
    }

    fn purge(&self, now: Timestamp, key_lifetime: Duration) -> Answer<'_, usize> {
        self.write(move |t| {
            Ok(challenges::purge(t, now)?
                + sessions::purge(t, now)?
                + spend::purge(t, now)?
                + lines::purge(t, now)?
                + keys::purge_keys(t, now, key_lifetime)?)
        })
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The file is its owner's alone before the first byte is written.
fn make_private(path: &Path) {
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    // Before SQLite makes its other files: it gives them to whoever owns this one.
    crate::crypto::give_to_owner_of_directory(path);
    if made.is_err() {
        // It was there; a file that others may read is closed to them. Failure shows when it is opened.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for step in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

fn ask<T, F>(thread: &mpsc::SyncSender<Command>, work: F) -> Answer<'_, T>
where
    T: Send + 'static,
    F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let command: Command = Box::new(move |transaction| {
        let result = savepoint(transaction, work);
        Box::new(move |committed| {
            // Nobody listening any more is no fault: the person has gone.
            let _ = sender.send(committed.and(result));
        })
    });
    Box::pin(async move {
        // The queue is long and its thread never waits for us, so this blocks only when the disk does.
        thread.send(command).map_err(|_| StoreError::Unavailable)?;
        receiver.await.map_err(|_| StoreError::Unavailable)?
    })
}

/// Runs one command so that its failure undoes its own work and nobody else's.
fn savepoint<T>(
    transaction: &Transaction<'_>,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    transaction.execute_batch("SAVEPOINT command")?;
    let result = work(transaction);
    let end = if result.is_ok() { "RELEASE command" } else { "ROLLBACK TO command; RELEASE command" };
    transaction.execute_batch(end)?;
    result
}

fn serve(name: &str, mut connection: Connection, behavior: TransactionBehavior) -> mpsc::SyncSender<Command> {
    let (sender, receiver) = mpsc::sync_channel::<Command>(QUEUE);
    let work = move || {
        while let Ok(first) = receiver.recv() {
            // All of them before the transaction begins: what is read in it is then newer than every question.
            let batch = std::iter::once(first).chain(receiver.try_iter()).take(BATCH).collect();
            run_together(&mut connection, behavior, batch);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread can be started");
    sender
}

/// Runs commands in one transaction and answers each only after the commit: what is answered is on the disk.
fn run_together(connection: &mut Connection, behavior: TransactionBehavior, commands: Vec<Command>) {
    let transaction = match connection.transaction_with_behavior(behavior) {
        Ok(transaction) => transaction,
        Err(error) => {
            // The callers' receivers are dropped with their commands, which answers them.
            tracing::error!(%error, "the store cannot begin a transaction");
            return drop(commands);
        }
    };
    let replies: Vec<Reply> = commands.into_iter().map(|command| command(&transaction)).collect();
    match transaction.commit() {
        Ok(()) => replies.into_iter().for_each(|reply| reply(Ok(()))),
        Err(error) => {
            tracing::error!(%error, "the store cannot commit");
            replies.into_iter().for_each(|reply| reply(Err(StoreError::Unavailable)));
        }
    }
}
