//! One connection, and one transaction on it.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Weak;

use aws_lc_rs::digest::{SHA256, digest};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::Server;
use super::wire::Wire;
use crate::store::StoreError;
use crate::store::engine::{Command, Kind};
use crate::store::sql::{Lock, Row, Transaction, Value};

pub(super) struct Connection {
    wire: Wire,
    statements: HashMap<String, Statement>,
    /// Whether a commit can be waited for after its locks are let go.
    early: bool,
}

/// Nobody waits longer for a lock, a statement, or a transaction that was left open. What is answered is on the disk, even
/// where the server's own settings would have it otherwise.
const TERMS: &str = "SET lock_timeout = '5s'; SET statement_timeout = '30s'; \
                     SET idle_in_transaction_session_timeout = '30s'; \
                     SELECT set_config('synchronous_commit', 'on', false) \
                     WHERE current_setting('synchronous_commit') = 'off'";

/// A transaction that changes nothing, and is answered when it and all before it are on the disk.
const FLUSH: &str = "SELECT pg_logical_emit_message(TRUE, 'vestibule', '')";

/// Bytes of a statement that is kept ready.
const LONGEST_KEPT: usize = 1_000;

impl Connection {
    pub(super) fn open(server: &Server) -> Result<Self, StoreError> {
        let mut wire = Wire::open(server, TERMS, Weak::new())?;
        // A database that does not let us write such a message makes everybody wait in turn.
        let early = wire.batch(FLUSH).is_ok();
        Ok(Self { wire, statements: HashMap::new(), early })
    }

    pub(super) const fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    pub(super) fn is_closed(&self) -> bool {
        self.wire.is_closed()
    }

    /// Runs a command as one transaction.
    pub(super) fn run(&mut self, kind: Kind, command: &mut dyn Command) -> Result<(), StoreError> {
        let mut running =
            Running { connection: self, kind, begun: false, held: Vec::new(), crowded: false, tell: false };
        match command.work(&mut running) {
            Ok(()) => {
                let committed = running.commit();
                if let Err(error) = committed {
                    tracing::warn!(%error, "nobody knows whether a transaction was committed");
                    self.wire.lose();
                    return Err(StoreError::Unavailable);
                }
                Ok(())
            }
            Err(error) => {
                // A plan may be older than the tables: a newer gateway has brought them up to date.
                running.connection.statements.clear();
                // Where this fails the connection is not used again, and the transaction is gone with it.
                if running.undo().is_err() {
                    self.wire.lose();
                }
                Err(error)
            }
        }
    }

    fn statement(&mut self, text: &str) -> Result<Statement, StoreError> {
        if let Some(known) = self.statements.get(text) {
            return Ok(known.clone());
        }
        let statement = self.wire.prepare(&numbered(text))?;
        // The long ones have a row for each of what they write, in any number; the server would keep each for good.
        if text.len() <= LONGEST_KEPT {
            self.statements.insert(text.to_owned(), statement.clone());
        }
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
fn is_broken(error: &tokio_postgres::Error) -> bool {
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
    /// Begins, unless it has; a command that only looks needs no transaction.
    fn begin(&mut self, and: &str) -> Result<(), StoreError> {
        if self.begun || matches!(self.kind, Kind::Read | Kind::News) {
            return Ok(());
        }
        let lazy = if self.kind == Kind::Casual { "; SET LOCAL synchronous_commit = off" } else { "" };
        // Whatever becomes of what is sent along: there may be something to undo.
        self.begun = true;
        self.connection.wire.batch(&format!("BEGIN ISOLATION LEVEL READ COMMITTED{lazy}{and}"))
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
        self.connection.wire.batch(&commit)
    }
}

impl Transaction for Running<'_> {
    fn execute(&mut self, statement: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        self.begin("")?;
        let statement = self.connection.statement(statement)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let rows = self.connection.wire.execute(&statement, &values)?;
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
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        self.connection.wire.each(&statement, &values, &mut |row| see(row))
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
            self.connection.wire.batch(take.trim_start_matches("; "))?;
        } else {
            self.begin(&take)?;
        }
        self.crowded |= locks.contains(&Lock::Sending) || locks.contains(&Lock::Audit);
        self.held.extend(keys);
        Ok(())
    }

    fn tell(&mut self) -> Result<(), StoreError> {
        self.tell = true;
        Ok(())
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        if self.begun {
            self.connection.wire.batch("ROLLBACK")?;
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
