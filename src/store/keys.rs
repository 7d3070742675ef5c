//! Signing keys, as transactions.

use std::time::Duration;

use rusqlite::{Transaction, params};

use super::rows::{all, moment};
use super::sessions;
use crate::domain::time::Timestamp;
use crate::store::{StoreError, StoredKey};

pub(super) fn list(t: &Transaction<'_>) -> Result<Vec<StoredKey>, StoreError> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(StoredKey {
            kid: row.get("kid")?,
            sealed: row.get("sealed")?,
            created_at: moment(row, "created_at")?,
            retired_at: row.get::<_, Option<i64>>("retired_at")?.map(Timestamp::from_unix),
        })
    };
    all(
        &mut t.prepare_cached("SELECT * FROM signing_key ORDER BY created_at, retired_at IS NULL, kid")?,
        [],
        read,
    )
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

/// A key goes once everything it signed has expired.
pub(super) fn purge_keys(
    t: &Transaction<'_>,
    now: Timestamp,
    lifetime: Duration,
) -> Result<usize, StoreError> {
    Ok(t.execute("DELETE FROM signing_key WHERE retired_at < ?", [(now - lifetime).unix()])?)
}
