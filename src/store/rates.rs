//! How often something happened lately, as transactions.

use std::time::Duration;

use super::sql::{Lock, Transaction, values};
use crate::domain::time::Timestamp;
use crate::store::{Spend, StoreError};

/// Whether one more fits.
fn judge(t: &mut dyn Transaction, spend: &Spend, now: Timestamp) -> Result<Result<(), Duration>, StoreError> {
    let statement = "SELECT at, times FROM spend WHERE key = ? ORDER BY at DESC LIMIT ?";
    let most = spend.rate.count() as usize;
    let read = |row: &dyn super::sql::Row| Ok((row.get("at")?, row.get::<u32>("times")?));
    let moments: Vec<(Timestamp, u32)> = t.all(statement, values![&spend.key, spend.rate.count()], read)?;
    let each = moments.into_iter().flat_map(|(at, times)| std::iter::repeat_n(at, times as usize));
    Ok(spend.rate.judge(&each.take(most).collect::<Vec<_>>(), now))
}

/// Counts all of them, or none and the longest wait.
pub(super) fn spend(
    t: &mut dyn Transaction,
    spends: &[Spend],
    now: Timestamp,
) -> Result<Result<(), Duration>, StoreError> {
    t.lock(&spends.iter().map(|spend| Lock::Spend(&spend.key)).collect::<Vec<_>>())?;
    let mut longest = Duration::ZERO;
    for spend in spends {
        longest = longest.max(judge(t, spend, now)?.err().unwrap_or_default());
    }
    if !longest.is_zero() {
        return Ok(Err(longest));
    }
    let statement = "INSERT INTO spend (key, at, times) VALUES (?, ?, 1) \
                     ON CONFLICT (key, at) DO UPDATE SET times = spend.times + 1";
    for spend in spends {
        t.execute(statement, values![&spend.key, now])?;
    }
    Ok(Ok(()))
}

/// Takes the newest one back.
pub(super) fn refund(t: &mut dyn Transaction, spend: &Spend) -> Result<(), StoreError> {
    t.lock(&[Lock::Spend(&spend.key)])?;
    let newest = "UPDATE spend SET times = times - 1 WHERE key = ?1 AND at = (SELECT max(at) FROM spend WHERE key = ?1)";
    t.execute(newest, values![&spend.key])?;
    t.execute("DELETE FROM spend WHERE key = ? AND times < 1", values![&spend.key])?;
    Ok(())
}
