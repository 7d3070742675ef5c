//! One connection, and one transaction on it.

use std::collections::HashMap;
use std::error::Error as _;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::ToSql;
use postgres::{Client, Statement};

use super::Server;
use crate::store::StoreError;
use crate::store::engine::{Command, Kind};
use crate::store::sql::{Lock, Row, Transaction, Value};

pub(super) struct Connection {
    client: Client,
    statements: HashMap<String, Statement>,
    used_at: Instant,
    /// Whether a commit can be waited for after its locks are let go.
    early: bool,
}

/// A connection that was good a moment ago needs no question before a statement that cannot be tried twice.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Nobody waits longer for a lock, a statement, or a transaction that was left open. What is answered is on the disk, even
/// where the server's own settings would have it otherwise.
const TERMS: &str = "SET lock_timeout = '5s'; SET statement_timeout = '60s'; \
                     SET idle_in_transaction_session_timeout = '30s'; \
                     SELECT set_config('synchronous_commit', 'on', false) \
                     WHERE current_setting('synchronous_commit') = 'off'";

/// A transaction that changes nothing, and is answered when it and all before it are on the disk.
const FLUSH: &str = "SELECT pg_logical_emit_message(TRUE, 'vestibule', '')";

impl Connection {
    pub(super) fn open(server: &Server) -> Result<Self, StoreError> {
        let mut client = server.config.connect(server.tls.clone())?;
        client.batch_execute(TERMS)?;
        // A database that does not let us write such a message makes everybody wait in turn.
        let early = client.batch_execute(FLUSH).is_ok();
        Ok(Self { client, statements: HashMap::new(), used_at: Instant::now(), early })
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs a command as one transaction.
    pub(super) fn run(&mut self, kind: Kind, command: &mut dyn Command) -> Result<(), StoreError> {
        // Where an answer may get lost because the server went away meanwhile, the beginning finds it out.
        let kind = if kind == Kind::Once && self.used_at.elapsed() > GOOD_FOR { Kind::Write } else { kind };
        let mut running =
            Running { connection: self, kind, begun: false, held: Vec::new(), crowded: false, tell: false };
        match command.work(&mut running) {
            Ok(()) => {
                running.commit()?;
                self.used_at = Instant::now();
                Ok(())
            }
            Err(error) => {
                // A plan may be older than the tables: a newer gateway has brought them up to date.
                running.connection.statements.clear();
                // Where this fails the connection is gone, and the transaction with it.
                let _ = running.undo();
                Err(error)
            }
        }
    }

    fn statement(&mut self, text: &str) -> Result<Statement, StoreError> {
        if let Some(known) = self.statements.get(text) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(&numbered(text))?;
        self.statements.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Whether the same transaction may succeed when it is run once more, and has certainly not been committed.
pub(super) fn is_worth_another_try(error: &StoreError) -> bool {
    let StoreError::Postgres(error) = error else { return false };
    let again = [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        // "Cached plan must not change result type".
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    is_broken(error) || error.code().is_some_and(|code| again.contains(code))
}

/// Whether the connection is gone. A server that crashed says nothing before.
fn is_broken(error: &postgres::Error) -> bool {
    error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>())
}

struct Running<'c> {
    connection: &'c mut Connection,
    kind: Kind,
    begun: bool,
    held: Vec<i64>,
    /// Whether it holds what every sign-in of every gateway waits for.
    crowded: bool,
    tell: bool,
}

impl Running<'_> {
    /// Begins, unless it has; a command that only looks needs no transaction, and one statement is one.
    fn begin(&mut self, and: &str) -> Result<(), StoreError> {
        if self.begun || matches!(self.kind, Kind::Read | Kind::Once) {
            return Ok(());
        }
        let lazy = if self.kind == Kind::Casual { "; SET LOCAL synchronous_commit = off" } else { "" };
        self.connection.client.batch_execute(&format!("BEGIN ISOLATION LEVEL READ COMMITTED{lazy}{and}"))?;
        self.begun = true;
        Ok(())
    }

    fn commit(self) -> Result<(), StoreError> {
        if !self.begun {
            return Ok(());
        }
        let tell = if self.tell { "NOTIFY vestibule_change; " } else { "" };
        // Locks are let go when a commit is on the disk. Where everybody waits for them they are let go before, and the
        // disk is waited for afterwards, by many at once: what is on it later than this commit has this commit before it.
        let commit = if self.crowded && self.connection.early {
            format!("{tell}SET LOCAL synchronous_commit = off; COMMIT; {FLUSH}")
        } else {
            format!("{tell}COMMIT")
        };
        self.connection.client.batch_execute(&commit).map_err(|_| StoreError::Unavailable)
    }

    /// Of a statement that is a transaction by itself nobody knows whether it happened when its answer is lost, as of a
    /// commit.
    fn settled(&self, error: ::postgres::Error) -> StoreError {
        if self.kind == Kind::Once && is_broken(&error) { StoreError::Unavailable } else { error.into() }
    }
}

impl Transaction for Running<'_> {
    fn execute(&mut self, statement: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        self.begin("")?;
        let statement = self.connection.statement(statement)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let rows = self.connection.client.execute(&statement, &values);
        let rows = rows.map_err(|error| self.settled(error))?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    fn each(
        &mut self,
        statement: &str,
        values: &[Value<'_>],
        see: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.begin("")?;
        let statement = self.connection.statement(statement)?;
        let mut rows = self.connection.client.query_raw(&statement, values)?;
        while let Some(row) = rows.next()? {
            see(&row)?;
        }
        Ok(())
    }

    fn lock(&mut self, locks: &[Lock<'_>]) -> Result<(), StoreError> {
        let mut keys: Vec<i64> = locks.iter().map(key).filter(|key| !self.held.contains(key)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        // In one order for all, so that no two wait for each other.
        keys.sort_unstable();
        keys.dedup();
        let take: String = keys.iter().map(|key| format!("; SELECT pg_advisory_xact_lock({key})")).collect();
        if self.begun {
            self.connection.client.batch_execute(take.trim_start_matches("; "))?;
        } else {
            self.begin(&take)?;
        }
        self.crowded |= locks.contains(&Lock::Sending);
        self.held.extend(keys);
        Ok(())
    }

    fn tell(&mut self) -> Result<(), StoreError> {
        self.tell = true;
        Ok(())
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        if self.begun {
            self.connection.client.batch_execute("ROLLBACK")?;
        }
        (self.begun, self.crowded, self.tell) = (false, false, false);
        self.held.clear();
        Ok(())
    }
}

/// The number an advisory lock has in the server: the first eight bytes of SHA-256 of its name.
fn key(lock: &Lock<'_>) -> i64 {
    let hash = digest(&SHA256, format!("vestibule {}", lock.name()).as_bytes());
    let first = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    i64::from_be_bytes(*first)
}

/// Our statements with PostgreSQL's parameters: `?2` is `$2`, and a bare `?` the next one.
fn numbered(statement: &str) -> String {
    let mut parts = statement.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        text.push('$');
        if !part.starts_with(|first: char| first.is_ascii_digit()) {
            text.push_str(&(index + 1).to_string());
        }
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered() {
        assert_eq!(numbered("a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(numbered("a = ?2 OR b = ?2 OR c = ?1"), "a = $2 OR b = $2 OR c = $1");
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
    }

    #[test]
    fn locks_differ() {
        assert_ne!(key(&Lock::Users), key(&Lock::Keys));
        assert_ne!(key(&Lock::Spend("users")), key(&Lock::Users));
    }
}
