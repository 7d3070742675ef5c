//! How far a receiver has the audit trail, as transactions.

use super::sql::{Row, Transaction, values};
use crate::domain::time::Timestamp;
use crate::store::{Progress, StoreError};

/// Who may bring lines until then: whoever asks, unless somebody else does. None when nothing is to be brought, or another
/// does it. A receiver that is new has everything.
pub(super) fn hold(
    t: &mut dyn Transaction,
    name: &str,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Progress>, StoreError> {
    let claim =
        "UPDATE webhook SET holder = ?, held_until = ? WHERE name = ? AND (holder = ? OR held_until < ?)";
    if t.execute(claim, values![holder, until, name, holder, now])? == 0 {
        let begin = "INSERT INTO webhook (name, delivered, failing_since, tries, due_at, holder, held_until) \
                     SELECT ?, number, NULL, 0, 0, ?, ? FROM audit_chain WHERE TRUE ON CONFLICT DO NOTHING";
        if t.execute(begin, values![name, holder, until])? == 0 {
            return Ok(None);
        }
    }
    find(t, name)
}

/// Whether there may be anything to do, without a write.
pub(super) fn is_waiting(t: &mut dyn Transaction, name: &str) -> Result<bool, StoreError> {
    let question =
        "SELECT w.delivered < c.number AS waiting FROM webhook AS w, audit_chain AS c WHERE w.name = ?";
    // One that is not there yet is to be begun.
    Ok(t.one(question, values![name], |row| row.get::<bool>("waiting"))?.unwrap_or(true))
}

fn find(t: &mut dyn Transaction, name: &str) -> Result<Option<Progress>, StoreError> {
    let read = |row: &dyn Row| {
        Ok(Progress {
            delivered: row.get("delivered")?,
            failing_since: row.get("failing_since")?,
            tries: row.get("tries")?,
            due_at: row.get("due_at")?,
        })
    };
    t.one("SELECT * FROM webhook WHERE name = ?", values![name], read)
}

/// Notes what came of it; false when somebody else does it by now.
pub(super) fn note(
    t: &mut dyn Transaction,
    name: &str,
    holder: &str,
    delivery: &Progress,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let statement = "UPDATE webhook SET delivered = ?, failing_since = ?, tries = ?, due_at = ?, held_until = ? \
                     WHERE name = ? AND holder = ?";
    let values = values![
        delivery.delivered,
        delivery.failing_since,
        delivery.tries,
        delivery.due_at,
        until,
        name,
        holder,
    ];
    Ok(t.execute(statement, values)? == 1)
}
