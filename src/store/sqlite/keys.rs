//! Signing keys and the audit trail, as transactions.

use std::time::Duration;

use rusqlite::{Transaction, params};

use super::rows::{all, moment};
use super::sessions;
use crate::domain::event::Event;
use crate::domain::time::Timestamp;
use crate::store::{Recorded, StoreError, StoredKey};

pub(super) fn list(t: &Transaction<'_>) -> Result<Vec<StoredKey>, StoreError> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(StoredKey {
            kid: row.get("kid")?,
            sealed: row.get("sealed")?,
            created_at: moment(row, "created_at")?,
            retired_at: row.get::<_, Option<i64>>("retired_at")?.map(Timestamp::from_unix),
        })
    };
    all(&mut t.prepare_cached("SELECT * FROM signing_key ORDER BY created_at, kid")?, [], read)
}

pub(super) fn add(t: &Transaction<'_>, key: &StoredKey, only_first: bool) -> Result<(), StoreError> {
    if only_first && !list(t)?.is_empty() {
        return Ok(());
    }
    let now = key.created_at;
    t.execute("UPDATE signing_key SET retired_at = ? WHERE retired_at IS NULL", [now.unix()])?;
    let statement = "INSERT INTO signing_key (kid, sealed, created_at) VALUES (?, ?, ?)";
    t.execute(statement, params![key.kid, key.sealed, now.unix()])?;
    sessions::note_change(t, "keys_changed", &key.kid, now)
}

pub(super) fn append(t: &Transaction<'_>, events: &[Event]) -> Result<(), StoreError> {
    let statement =
        "INSERT INTO audit (at, what, reference, user_name, client, detail) VALUES (?, ?, ?, ?, ?, ?)";
    let mut statement = t.prepare_cached(statement)?;
    for event in events {
        statement.execute(params![
            event.at.unix(),
            event.what.as_str(),
            event.reference.map(|reference| reference.to_string()),
            event.user,
            event.client,
            event.detail
        ])?;
    }
    Ok(())
}

pub(super) fn tail(
    t: &Transaction<'_>,
    reference: Option<&str>,
    most: usize,
) -> Result<Vec<Recorded>, StoreError> {
    let statement = "SELECT * FROM audit WHERE ?1 IS NULL OR reference = ?1 ORDER BY number DESC LIMIT ?2";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Recorded {
            number: row.get("number")?,
            at: moment(row, "at")?,
            what: row.get("what")?,
            reference: row.get("reference")?,
            user: row.get("user_name")?,
            client: row.get("client")?,
            detail: row.get("detail")?,
        })
    };
    let mut rows = all(&mut t.prepare_cached(statement)?, params![reference, most as i64], read)?;
    rows.reverse();
    Ok(rows)
}

/// A key goes once everything it signed has expired.
pub(super) fn purge_keys(
    t: &Transaction<'_>,
    now: Timestamp,
    lifetime: Duration,
) -> Result<usize, StoreError> {
    Ok(t.execute("DELETE FROM signing_key WHERE retired_at < ?", [(now - lifetime).unix()])?)
}
