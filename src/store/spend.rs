//! Budgets for messages, the share of codes that come back, and closed guards, as transactions.

use std::time::Duration;

use rusqlite::{Transaction, params};

use super::rates;
use super::rows::{all, one};
use crate::domain::challenge::Subject;
use crate::domain::spend::{Budget, Conversion, Guard, Stop, minute};
use crate::domain::time::Timestamp;
use crate::store::{Reservation, SpendStatus, StoreError};

/// Counts one message against everything it is counted against, or against nothing and says what stopped it.
pub(super) fn reserve(
    t: &Transaction<'_>,
    wanted: &Reservation,
    now: Timestamp,
) -> Result<Result<(), Stop>, StoreError> {
    if let Some(stop) = closed(t, wanted, now)? {
        return Ok(Err(stop));
    }
    for budget in wanted.budgets() {
        if let Err(stop) = budget.judge(count(t, &budget.key)?, now) {
            return Ok(Err(stop));
        }
    }
    if let Some(prefix) = &wanted.prefix
        && let Err(wait) = rates::spend(t, std::slice::from_ref(prefix), now)?
    {
        return Ok(Err(Stop { guard: Guard::Prefix, wait }));
    }
    for budget in wanted.counted() {
        add(t, budget, 1)?;
    }
    if wanted.real && wanted.first {
        tally(t, &wanted.subject, wanted.began_at, (1, false))?;
    }
    Ok(Ok(()))
}

/// Takes a reservation back: nothing went out.
pub(super) fn refund(t: &Transaction<'_>, taken: &Reservation) -> Result<(), StoreError> {
    for budget in taken.counted() {
        add(t, budget, -1)?;
    }
    if let Some(prefix) = &taken.prefix {
        rates::refund(t, prefix)?;
    }
    if taken.real && taken.first {
        let statement = "UPDATE conversion SET sent = max(sent - 1, 0) WHERE minute = ? AND subject = ?";
        t.prepare_cached(statement)?.execute(params![minute(taken.began_at), taken.subject.as_str()])?;
    }
    Ok(())
}

/// A code was typed: it counts in the minute its challenge began in.
pub(super) fn entered(t: &Transaction<'_>, subject: &Subject, began_at: Timestamp) -> Result<(), StoreError> {
    tally(t, subject, began_at, (0, true))
}

pub(super) fn status(
    t: &Transaction<'_>,
    budgets: &[Budget],
    rule: &Conversion,
    now: Timestamp,
) -> Result<SpendStatus, StoreError> {
    let used = budgets.iter().map(|budget| count(t, &budget.key)).collect::<Result<_, _>>()?;
    let (sent, entered) = converted(t, rule, now)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, String>("guard")?, Timestamp::from_unix(row.get("until")?)))
    };
    let statement = "SELECT guard, until FROM closure WHERE until > ? ORDER BY guard";
    let closures = all(&mut t.prepare_cached(statement)?, [now.unix()], read)?;
    Ok(SpendStatus { used, sent, entered, closures })
}

/// An administrator looked into it: sending is open again, and what led to the closure is not counted twice. Where
/// nothing is closed the counts stay: they are what the guard judges by.
pub(super) fn reopen(t: &Transaction<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let was_closed = t.execute("DELETE FROM closure WHERE until > ?", [now.unix()])? > 0;
    if was_closed {
        t.execute("DELETE FROM conversion", [])?;
    }
    Ok(was_closed)
}

pub(super) fn purge(t: &Transaction<'_>, now: Timestamp) -> Result<usize, StoreError> {
    const DAY: Duration = Duration::from_secs(86_400);
    let over = "DELETE FROM budget WHERE key IN (SELECT key FROM budget WHERE forget_at < ? LIMIT 1000)";
    let gone = t.execute(over, [now.unix()])?;
    t.execute("DELETE FROM conversion WHERE minute < ?", [minute(now - DAY)])?;
    t.execute("DELETE FROM closure WHERE until < ?", [now.unix()])?;
    Ok(gone)
}

/// Whether the conversion guard is closed, or closes now.
fn closed(t: &Transaction<'_>, wanted: &Reservation, now: Timestamp) -> Result<Option<Stop>, StoreError> {
    let guard = Guard::Conversion;
    let mut statement = t.prepare_cached("SELECT until FROM closure WHERE guard = ?")?;
    let until = one(&mut statement, [guard.as_str()], |row| Ok(Timestamp::from_unix(row.get(0)?)))?;
    if let Some(wait) = until.map(|until| until.since(now)).filter(|wait| !wait.is_zero()) {
        return Ok(Some(Stop { guard, wait }));
    }
    let rule = &wanted.conversion;
    let (sent, entered) = converted(t, rule, now)?;
    if rule.is_healthy(sent, entered) {
        return Ok(None);
    }
    let until = now + rule.closed_for;
    t.prepare_cached("INSERT OR REPLACE INTO closure (guard, until) VALUES (?, ?)")?
        .execute(params![guard.as_str(), until.unix()])?;
    // When it opens again it judges what comes then, or one bad hour would close it again and again.
    t.execute("DELETE FROM conversion", [])?;
    Ok(Some(Stop { guard, wait: rule.closed_for }))
}

fn converted(t: &Transaction<'_>, rule: &Conversion, now: Timestamp) -> Result<(u32, u32), StoreError> {
    // Each of them once: a few numbers that somebody knows and starts again and again must not close sending.
    let statement = "SELECT count(DISTINCT subject) FILTER (WHERE sent > 0 OR entered = 1), \
                     count(DISTINCT subject) FILTER (WHERE entered = 1) \
                     FROM conversion WHERE minute BETWEEN ? AND ?";
    let (first, last) = rule.minutes(now);
    let mut statement = t.prepare_cached(statement)?;
    Ok(statement.query_row([first, last], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn count(t: &Transaction<'_>, key: &str) -> Result<u32, StoreError> {
    let mut statement = t.prepare_cached("SELECT count FROM budget WHERE key = ?")?;
    Ok(one(&mut statement, [key], |row| Ok(row.get(0)?))?.unwrap_or(0))
}

fn add(t: &Transaction<'_>, budget: &Budget, by: i64) -> Result<(), StoreError> {
    let statement = "INSERT INTO budget (key, count, forget_at) VALUES (?1, max(?2, 0), ?3) \
                     ON CONFLICT (key) DO UPDATE SET count = max(count + ?2, 0)";
    t.prepare_cached(statement)?.execute(params![budget.key, by, budget.ends_at.unix()])?;
    Ok(())
}

fn tally(
    t: &Transaction<'_>,
    subject: &Subject,
    began_at: Timestamp,
    (sent, entered): (u32, bool),
) -> Result<(), StoreError> {
    let statement = "INSERT INTO conversion (minute, subject, sent, entered) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET sent = sent + ?3, entered = max(entered, ?4)";
    t.prepare_cached(statement)?.execute(params![minute(began_at), subject.as_str(), sent, entered])?;
    Ok(())
}
