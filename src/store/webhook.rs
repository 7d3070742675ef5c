//! How far a receiver has the audit trail, as transactions.
//!
//! The rows are read with distrust: who can write to the database must not silence the alarms by a number.

use std::time::Duration;

use super::sql::{Row, Transaction, Value, values};
use crate::domain::time::Timestamp;
use crate::store::{Progress, StoreError, Waiting};

/// There is one receiver, whatever its address is: another address gets what waits.
const NAME: &str = "webhook";
/// Nobody else brings lines for so long after one was brought.
const HELD_FOR: Duration = Duration::from_secs(60);
/// How it stands, without a write. None of a receiver that is new.
pub(super) fn waiting(
    t: &mut dyn Transaction,
    holder: &str,
    now: Timestamp,
) -> Result<Option<Waiting>, StoreError> {
    let question = "SELECT w.*, c.number AS head FROM webhook AS w, audit_chain AS c WHERE w.name = ?";
    t.one(question, values![NAME], |row| {
        let progress = progress(row)?;
        let lines = row.get::<i64>("head")?.saturating_sub(progress.delivered);
        let (by, until): (String, Timestamp) = (row.get("holder")?, row.get("held_until")?);
        let is_anothers = by != holder && until >= now && until <= now + HELD_FOR;
        let is_ours = !is_anothers && progress.is_due(now);
        Ok(Waiting { lines, failing_since: progress.failing_since, is_ours })
    })
}

/// Has somebody bring lines for a minute from now, unless another does. One that is new has everything.
pub(super) fn hold(
    t: &mut dyn Transaction,
    holder: &str,
    now: Timestamp,
) -> Result<Option<Progress>, StoreError> {
    let until = now + HELD_FOR;
    // Nobody holds it for longer than we would, whatever stands there.
    let bound = "UPDATE webhook SET held_until = ? WHERE name = ? AND held_until > ?";
    t.execute(bound, values![until, NAME, until])?;
    let claim =
        "UPDATE webhook SET holder = ?, held_until = ? WHERE name = ? AND (holder = ? OR held_until < ?)";
    if t.execute(claim, values![holder, until, NAME, holder, now])? == 0 {
        let begin = "INSERT INTO webhook (name, delivered, failing_since, tries, due_at, holder, held_until) \
                     SELECT ?, number, NULL, 0, 0, ?, ? FROM audit_chain WHERE TRUE ON CONFLICT DO NOTHING";
        if t.execute(begin, values![NAME, holder, until])? == 0 {
            return Ok(None);
        }
        // One of another name would keep old lines from going.
        t.execute("DELETE FROM webhook WHERE name <> ?", values![NAME])?;
    }
    t.one("SELECT * FROM webhook WHERE name = ?", values![NAME], progress)
}

fn progress(row: &dyn Row) -> Result<Progress, StoreError> {
    Ok(Progress {
        delivered: row.get("delivered")?,
        failing_since: row.get("failing_since")?,
        tries: u32::try_from(row.get::<i64>("tries")?).unwrap_or(0),
        due_at: row.get("due_at")?,
    })
}

/// Notes what came of it, and holds it for a minute more; false when somebody else does it by now.
pub(super) fn note(
    t: &mut dyn Transaction,
    holder: &str,
    delivery: &Progress,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let statement = "UPDATE webhook SET delivered = ?, failing_since = ?, tries = ?, due_at = ?, held_until = ? \
                     WHERE name = ? AND holder = ?";
    let values = values![
        delivery.delivered,
        delivery.failing_since,
        delivery.tries,
        delivery.due_at,
        now + HELD_FOR,
        NAME,
        holder,
    ];
    Ok(t.execute(statement, values)? == 1)
}

/// Lets another have it at once.
pub(super) fn let_go(t: &mut dyn Transaction, holder: &str) -> Result<(), StoreError> {
    let statement = "UPDATE webhook SET held_until = 0 WHERE name = ? AND holder = ?";
    t.execute(statement, values![NAME, holder]).map(drop)
}

/// How many lines of these events (all, if none are named) come after a number and before the first line that is not
/// older than that, and the number of the last line before that one. None where that is no line at all.
pub(super) fn too_old(
    t: &mut dyn Transaction,
    after: i64,
    before: Timestamp,
    events: &[String],
) -> Result<Option<(i64, i64)>, StoreError> {
    let wanted = if events.is_empty() {
        "1".to_owned()
    } else {
        format!("CASE WHEN what IN ({}) THEN 1 ELSE 0 END", vec!["?"; events.len()].join(", "))
    };
    let question = format!(
        "SELECT CAST(coalesce(sum({wanted}), 0) AS BIGINT) AS many, max(number) AS last FROM audit WHERE number > ? \
         AND number < coalesce((SELECT min(number) FROM audit WHERE number > ? AND at >= ?), 9223372036854775807)"
    );
    let mut values: Vec<Value<'_>> = events.iter().map(Value::from).collect();
    values.extend([Value::from(after), Value::from(after), Value::from(before)]);
    let read = |row: &dyn Row| Ok((row.get::<i64>("many")?, row.get::<Option<i64>>("last")?));
    let found = t.one(&question, &values, read)?;
    Ok(found.and_then(|(many, last)| Some((many, last?))))
}
