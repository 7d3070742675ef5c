//! Bringing the schema up to date, one gateway at a time.

use std::time::Duration;

use super::Server;
use super::connection::Connection;
use super::wire::{ANSWER_WITHIN, Wire};
use crate::crypto::ChainKey;
use crate::domain::chain::Head;
use crate::store::{OpenError, StoreError};

/// The schema this version writes, one step a file.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001.sql"),
    include_str!("../../../migrations/postgres/0002.sql"),
];
/// The one that began the chain of the audit trail.
const CHAINED: i64 = 2;
/// The advisory lock of whoever does it: "vestibul" in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"vestibul");

/// How long the tables of a large installation may take.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// All of it in one transaction: a gateway that is killed meanwhile leaves the schema as it was.
/// Whoever may bring it up to date has the key of the chain, whose beginning is sealed at once.
pub(super) fn migrate(
    connection: &mut Connection,
    server: &Server,
    chain: Option<&ChainKey>,
) -> Result<(), OpenError> {
    let wire = connection.wire();
    wire.patience = PATIENCE;
    let lock = format!("SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock({LOCK})");
    wire.batch(&format!("BEGIN; SET LOCAL statement_timeout = 0; {lock}; SET LOCAL lock_timeout = 0"))?;
    check_encoding(wire)?;
    check_locks(server)?;
    bring_up_to_date(wire, chain)?;
    wire.batch("COMMIT")?;
    wire.patience = ANSWER_WITHIN;
    Ok(())
}

fn bring_up_to_date(wire: &mut Wire, chain: Option<&ChainKey>) -> Result<(), StoreError> {
    wire.batch("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")?;
    let found: i64 = wire.row("SELECT version FROM schema_version", &[])?.map_or(0, |row| row.get(0));
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    if found == known {
        return Ok(());
    }
    let Some(key) = chain else { return Err(StoreError::Older { found, known }) };
    for step in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
        wire.batch(step)?;
    }
    if found < CHAINED {
        let begun = wire.row("SELECT begun FROM audit_chain", &[])?.map_or(0, |row| row.get(0));
        let seal = key.seal(&Head::behind(begun).bytes()).to_vec();
        wire.row("UPDATE audit_chain SET seal = $1 RETURNING begun", &[&seal])?;
    }
    wire.batch(&format!("DELETE FROM schema_version; INSERT INTO schema_version VALUES ({known})"))
}

/// Names, and the dots of masked numbers, must have a place in it.
fn check_encoding(wire: &mut Wire) -> Result<(), OpenError> {
    let row = wire.row("SELECT current_setting('server_encoding')", &[])?;
    match row.map(|row| row.get::<_, String>(0)) {
        Some(other) if other != "UTF8" => Err(OpenError::Encoding(other)),
        Some(_) | None => Ok(()),
    }
}

/// Whether `vestibule store migrate` has begun to fill it and not finished.
pub(super) fn is_being_filled(connection: &mut Connection) -> Result<bool, StoreError> {
    let row = connection.wire().row("SELECT to_regclass('moving') IS NOT NULL", &[])?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// No gateway may work on what is moved.
pub(super) fn refuse_company(connection: &mut Connection) -> Result<(), StoreError> {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                  AND application_name = $1 AND pid <> pg_backend_pid()";
    match connection.wire().row(others, &[&super::GATEWAY])?.map_or(0, |row| row.get::<_, i64>(0)) {
        0 => Ok(()),
        others => Err(StoreError::InUse(format!("{others} connections"))),
    }
}

/// Whether the lock that this connection has keeps another from having it. Some databases that speak PostgreSQL's protocol
/// take such locks without keeping them: there two gateways could count one attempt once.
fn check_locks(server: &Server) -> Result<(), OpenError> {
    let mut other = Connection::open(server)?;
    let asked = format!("SELECT pg_try_advisory_xact_lock({LOCK})");
    let taken = other.wire().row(&asked, &[])?.is_none_or(|row| row.get(0));
    if taken { Err(OpenError::NoLocks) } else { Ok(()) }
}
