//! Bringing the schema up to date, one gateway at a time.

use super::Server;
use super::connection::Connection;
use crate::store::{OpenError, StoreError};

/// The schema this version writes, one step a file.
const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/postgres/0001.sql")];
/// The advisory lock of whoever does it: "vestibul" in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"vestibul");

/// All of it in one transaction: a gateway that is killed meanwhile leaves the schema as it was.
pub(super) fn migrate(connection: &mut Connection, server: &Server) -> Result<(), OpenError> {
    let mut transaction = connection.client().transaction().map_err(StoreError::from)?;
    let lock = format!("SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock({LOCK})");
    transaction.batch_execute(&lock).map_err(StoreError::from)?;
    check_locks(server)?;
    let version = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)";
    transaction.batch_execute(version).map_err(StoreError::from)?;
    let found = transaction.query_opt("SELECT version FROM schema_version", &[]).map_err(StoreError::from)?;
    let found: i64 = found.map_or(0, |row| row.get(0));
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { found, known }.into());
    }
    if found < known {
        for step in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
            transaction.batch_execute(step).map_err(StoreError::from)?;
        }
        let written = format!("DELETE FROM schema_version; INSERT INTO schema_version VALUES ({known})");
        transaction.batch_execute(&written).map_err(StoreError::from)?;
    }
    Ok(transaction.commit().map_err(StoreError::from)?)
}

/// Whether `vestibule store migrate` has begun to fill it and not finished.
pub(super) fn is_being_filled(connection: &mut Connection) -> Result<bool, StoreError> {
    Ok(connection.client().query_one("SELECT to_regclass('moving') IS NOT NULL", &[])?.get(0))
}

/// No gateway may work on what is moved.
pub(super) fn refuse_company(connection: &mut Connection) -> Result<(), StoreError> {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                  AND application_name = $1 AND pid <> pg_backend_pid()";
    match connection.client().query_one(others, &[&super::GATEWAY])?.get::<_, i64>(0) {
        0 => Ok(()),
        others => Err(StoreError::InUse(format!("{others} connections"))),
    }
}

/// Whether the lock that this connection has keeps another from having it. Some databases that speak PostgreSQL's protocol
/// take such locks without keeping them: there two gateways could count one attempt once.
fn check_locks(server: &Server) -> Result<(), OpenError> {
    let mut other = Connection::open(server)?;
    let asked = format!("SELECT pg_try_advisory_xact_lock({LOCK})");
    let row = other.client().query_one(&asked, &[]).map_err(StoreError::from)?;
    if row.get(0) { Err(OpenError::NoLocks) } else { Ok(()) }
}
