//! The embedded database: one SQLite file in WAL mode.
//!
//! One thread writes and commits together what has queued up; another reads beside it. What an attacker could profit from
//! our forgetting is on the disk before it is answered.

pub(super) mod copy;
pub(super) mod file;

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, TransactionBehavior, params_from_iter};
use tokio::sync::{Notify, mpsc};

use self::file::{Depth, explained};
use super::chain::{StoredHead, put_head};
use super::engine::{Command, Dialect, Engine, Kind, QUEUE, Request};
use super::sql::{Lock, Row, Transaction, Value};
use super::times::Times;
use super::{StoreError, Use};
use crate::crypto::ChainKey;
use crate::domain::chain::Head;

/// The schema this version writes, one step a file.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001.sql"),
    include_str!("../../migrations/sqlite/0002.sql"),
    include_str!("../../migrations/sqlite/0003.sql"),
];
/// The one that began the chain of the audit trail.
const CHAINED: i64 = 3;
/// A look at a file costs next to nothing.
const POLL: Duration = Duration::from_millis(250);
/// Commands committed together.
const BATCH: usize = 128;

/// A file is looked through for damage before a gateway starts on it, but for no longer than this.
const CHECK_WITHIN: Duration = Duration::from_secs(20);

/// Opens the file, making it and bringing its schema up to date.
pub(super) fn start(path: &Path, use_: Use, chain: Option<&ChainKey>) -> Result<Engine, StoreError> {
    open(path, use_, chain).map_err(|error| explained(path, error))
}

fn open(path: &Path, use_: Use, chain: Option<&ChainKey>) -> Result<Engine, StoreError> {
    make_private(path);
    let claim = if use_ == Use::Beside { None } else { Some(file::claim(path)?) };
    let mut writing = connect(path)?;
    migrate(&mut writing, chain.filter(|_| use_ != Use::TakeOver))?;
    if use_ != Use::Move && is_being_filled(&writing)? {
        return Err(StoreError::Unfinished);
    }
    let reading = connect(path)?;
    reading.pragma_update(None, "query_only", true)?;
    if claim.is_some() {
        look_through(path, &reading)?;
    }
    let readers = serve("store-reader", reading, TransactionBehavior::Deferred);
    Ok(Engine {
        news: readers.clone(),
        readers,
        writers: serve("store-writer", writing, TransactionBehavior::Immediate),
        told: Arc::new(Notify::new()),
        listen: Box::new(|| ()),
        poll: POLL,
        dialect: Dialect::Sqlite,
        times: Arc::new(Times::new(Dialect::Sqlite)),
        claim: Mutex::new(claim),
    })
}

/// What a gateway does not start without knowing.
fn look_through(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    if let Some(kind) = file::network(path) {
        tracing::warn!(kind, "the store lies on a network file system; move it to a local disk");
    }
    if !file::check(connection, Depth::Quick, CHECK_WITHIN)? {
        tracing::warn!("the store is too large to be checked at the start; run: vestibule store check");
    }
    Ok(())
}

fn is_being_filled(connection: &Connection) -> Result<bool, StoreError> {
    let question = "SELECT count(*) FROM sqlite_schema WHERE name = 'moving'";
    Ok(connection.query_row(question, [], |row| row.get::<_, i64>(0))? > 0)
}

/// The file is its owner's alone before the first byte is written.
fn make_private(path: &Path) {
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    // Before SQLite makes its other files: it gives them to whoever owns this one.
    crate::crypto::give_to_owner_of_directory(path);
    if made.is_err() {
        // It was there; a file that others may read is closed to them. Failure shows when it is opened.
        if let Ok(file) = crate::crypto::open_itself(path) {
            let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
        }
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    file::identify(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// Whoever may bring the schema up to date has the key of the chain, whose beginning is sealed at once.
fn migrate(connection: &mut Connection, chain: Option<&ChainKey>) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    if found == known {
        return Ok(());
    }
    let Some(key) = chain else { return Err(StoreError::Older { found, known }) };
    for step in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
        transaction.execute_batch(step)?;
    }
    if found < CHAINED {
        let begun = transaction.query_row("SELECT begun FROM audit_chain", [], |row| row.get(0))?;
        put_head(&mut Savepoint(&transaction), &StoredHead::new(key, &Head::behind(begun)))?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.pragma_update(None, "application_id", file::APPLICATION)?;
    Ok(transaction.commit()?)
}

fn serve(name: &str, mut connection: Connection, behavior: TransactionBehavior) -> mpsc::Sender<Request> {
    let (sender, mut receiver) = mpsc::channel::<Request>(QUEUE);
    let work = move || {
        while let Some(first) = receiver.blocking_recv() {
            // All of them before the transaction begins: what is read in it is then newer than every question.
            let more = std::iter::from_fn(|| receiver.try_recv().ok());
            let batch = std::iter::once(first).chain(more).take(BATCH).collect();
            run_together(&mut connection, behavior, batch);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread can be started");
    sender
}

/// Runs commands in one transaction and answers each only after the commit: what is answered is on the disk.
fn run_together(connection: &mut Connection, behavior: TransactionBehavior, mut batch: Vec<Request>) {
    batch.retain(|request| !request.command.is_abandoned());
    let casual = batch.iter().all(|request| request.kind == Kind::Casual);
    match run(connection, behavior, casual, &mut batch) {
        Ok(results) => {
            batch.into_iter().zip(results).for_each(|(request, result)| request.command.answer(result));
        }
        Err(error) => {
            tracing::debug!(%error, "a transaction failed");
            batch.into_iter().for_each(|request| request.command.answer(Err(error.clone())));
        }
    }
}

/// What each command came to, once all that they wrote is committed.
fn run(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    casual: bool,
    batch: &mut [Request],
) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    connection.pragma_update(None, "synchronous", if casual { "NORMAL" } else { "FULL" })?;
    let transaction = connection.transaction_with_behavior(behavior)?;
    let results = batch.iter_mut().map(|request| savepoint(&transaction, &mut *request.command)).collect();
    transaction.commit()?;
    Ok(results)
}

/// Runs one command so that its failure undoes its own work and nobody else's.
fn savepoint(transaction: &rusqlite::Transaction<'_>, command: &mut dyn Command) -> Result<(), StoreError> {
    transaction.execute_batch("SAVEPOINT command")?;
    let result = command.work(&mut Savepoint(transaction));
    let end = if result.is_ok() { "RELEASE command" } else { "ROLLBACK TO command; RELEASE command" };
    transaction.execute_batch(end)?;
    result
}

struct Savepoint<'t>(&'t rusqlite::Transaction<'t>);

impl Transaction for Savepoint<'_> {
    fn execute(&mut self, statement: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        Ok(self.0.prepare_cached(statement)?.execute(params_from_iter(values))?)
    }

    fn each(
        &mut self,
        statement: &str,
        values: &[Value<'_>],
        see: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(statement)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            see(row)?;
        }
        Ok(())
    }

    fn lock(&mut self, _: &[Lock<'_>]) -> Result<(), StoreError> {
        Ok(())
    }

    fn tell(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        Ok(self.0.execute_batch("ROLLBACK TO command")?)
    }
}

impl Row for rusqlite::Row<'_> {
    fn value(&self, column: &'static str) -> Result<Value<'_>, StoreError> {
        match self.get_ref(column)? {
            ValueRef::Null => Ok(Value::Null),
            ValueRef::Integer(number) => Ok(Value::Number(number)),
            ValueRef::Text(text) => {
                std::str::from_utf8(text).map(Value::from).map_err(|_| StoreError::Corrupt(column))
            }
            ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.into())),
            ValueRef::Real(_) => Err(StoreError::Corrupt(column)),
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Truth(truth) => ValueRef::Integer((*truth).into()),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
