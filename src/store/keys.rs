//! Signing keys, as transactions.

use std::time::Duration;

use super::sessions;
use super::sql::{Lock, Row, Transaction, values};
use crate::domain::time::Timestamp;
use crate::store::{StoreError, StoredKey};

pub(super) fn list(t: &mut dyn Transaction) -> Result<Vec<StoredKey>, StoreError> {
    let read = |row: &dyn Row| {
        Ok(StoredKey {
            kid: row.get("kid")?,
            sealed: row.get("sealed")?,
            created_at: row.get("created_at")?,
            retired_at: row.get("retired_at")?,
        })
    };
    t.all("SELECT * FROM signing_key ORDER BY created_at, retired_at IS NULL, kid", values![], read)
}

pub(super) fn add(t: &mut dyn Transaction, key: &StoredKey, only_first: bool) -> Result<(), StoreError> {
    t.lock(&[Lock::Keys])?;
    if only_first && !list(t)?.is_empty() {
        return Ok(());
    }
    let now = key.created_at;
    t.execute("UPDATE signing_key SET retired_at = ? WHERE retired_at IS NULL", values![now])?;
    let statement = "INSERT INTO signing_key (kid, sealed, created_at) VALUES (?, ?, ?)";
    t.execute(statement, values![&key.kid, &key.sealed, now])?;
    sessions::note_change(t, "keys_changed", &key.kid, now)
}

/// A key goes once everything it signed has expired.
pub(super) fn purge_keys(
    t: &mut dyn Transaction,
    now: Timestamp,
    lifetime: Duration,
) -> Result<usize, StoreError> {
    t.execute("DELETE FROM signing_key WHERE retired_at < ?", values![now - lifetime])
}
