//! How often something happened lately, as transactions.

use std::time::Duration;

use rusqlite::{Transaction, params};

use super::rows::all;
use crate::domain::time::Timestamp;
use crate::store::{Spend, StoreError};

/// Whether one more fits.
fn judge(t: &Transaction<'_>, spend: &Spend, now: Timestamp) -> Result<Result<(), Duration>, StoreError> {
    let mut statement = t.prepare_cached("SELECT at FROM spend WHERE key = ? ORDER BY at DESC LIMIT ?")?;
    let read = |row: &rusqlite::Row<'_>| Ok(Timestamp::from_unix(row.get(0)?));
    let past = all(&mut statement, params![spend.key, spend.rate.count()], read)?;
    Ok(spend.rate.judge(&past, now))
}

/// Counts all of them, or none and the longest wait.
pub(super) fn spend(
    t: &Transaction<'_>,
    spends: &[Spend],
    now: Timestamp,
) -> Result<Result<(), Duration>, StoreError> {
    let mut longest = Duration::ZERO;
    for spend in spends {
        longest = longest.max(judge(t, spend, now)?.err().unwrap_or_default());
    }
    if !longest.is_zero() {
        return Ok(Err(longest));
    }
    for spend in spends {
        t.prepare_cached("INSERT INTO spend (key, at) VALUES (?, ?)")?
            .execute(params![spend.key, now.unix()])?;
    }
    Ok(Ok(()))
}

/// Takes the newest one back.
pub(super) fn refund(t: &Transaction<'_>, spend: &Spend) -> Result<(), StoreError> {
    let newest =
        "DELETE FROM spend WHERE rowid = (SELECT rowid FROM spend WHERE key = ? ORDER BY at DESC LIMIT 1)";
    t.prepare_cached(newest)?.execute([&spend.key])?;
    Ok(())
}
