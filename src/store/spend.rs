//! Budgets for messages, the share of codes that come back, and closed guards, as transactions.

use std::collections::HashMap;
use std::time::Duration;

use super::rates;
use super::sql::{Lock, Row, Transaction, Value, values};
use crate::domain::challenge::Subject;
use crate::domain::spend::{Budget, Conversion, Guard, Stop, minute};
use crate::domain::time::Timestamp;
use crate::store::{Reservation, SpendStatus, StoreError};

/// Counts one message against everything it is counted against, or against nothing and says what stopped it.
pub(super) fn reserve(
    t: &mut dyn Transaction,
    wanted: &Reservation,
    now: Timestamp,
) -> Result<Result<(), Stop>, StoreError> {
    t.lock(&locks(wanted))?;
    if let Some(stop) = closed(t, wanted, now)? {
        return Ok(Err(stop));
    }
    let budgets: Vec<&Budget> = wanted.budgets().collect();
    for (budget, used) in budgets.iter().zip(counts(t, &budgets)?) {
        if let Err(stop) = budget.judge(used, now) {
            return Ok(Err(stop));
        }
    }
    if let Some(prefix) = &wanted.prefix
        && let Err(wait) = rates::spend(t, std::slice::from_ref(prefix), now)?
    {
        return Ok(Err(Stop { guard: Guard::Prefix, wait }));
    }
    add(t, &wanted.counted().collect::<Vec<_>>())?;
    if wanted.real && wanted.first {
        tally(t, &wanted.subject, wanted.began_at, (1, false))?;
    }
    Ok(Ok(()))
}

/// All that a reservation is counted in.
fn locks(of: &Reservation) -> Vec<Lock<'_>> {
    let sending = of.real.then_some(Lock::Sending);
    let budgets = of.user.iter().map(|budget| Lock::Spend(&budget.key));
    let prefix = of.prefix.iter().map(|prefix| Lock::Spend(&prefix.key));
    sending.into_iter().chain(budgets).chain(prefix).collect()
}

/// Takes a reservation back: nothing went out.
pub(super) fn refund(t: &mut dyn Transaction, taken: &Reservation) -> Result<(), StoreError> {
    t.lock(&locks(taken))?;
    for budget in taken.counted() {
        let statement = "UPDATE budget SET count = count - 1 WHERE key = ? AND count > 0";
        t.execute(statement, values![&budget.key])?;
    }
    if let Some(prefix) = &taken.prefix {
        rates::refund(t, prefix)?;
    }
    if taken.real && taken.first {
        let statement = "UPDATE conversion SET sent = sent - 1 WHERE minute = ? AND subject = ? AND sent > 0";
        t.execute(statement, values![minute(taken.began_at), taken.subject.as_str()])?;
    }
    Ok(())
}

/// A code was typed: it counts in the minute its challenge began in.
pub(super) fn entered(
    t: &mut dyn Transaction,
    subject: &Subject,
    began_at: Timestamp,
) -> Result<(), StoreError> {
    tally(t, subject, began_at, (0, true))
}

pub(super) fn status(
    t: &mut dyn Transaction,
    budgets: &[Budget],
    rule: &Conversion,
    now: Timestamp,
) -> Result<SpendStatus, StoreError> {
    let used = counts(t, &budgets.iter().collect::<Vec<_>>())?;
    let (sent, entered) = converted(t, rule, now)?;
    let statement = "SELECT guard, until FROM closure WHERE until > ? ORDER BY guard";
    let closures = t.all(statement, values![now], |row| Ok((row.get("guard")?, row.get("until")?)))?;
    Ok(SpendStatus { used, sent, entered, closures })
}

/// An administrator looked into it: sending is open again, and what led to the closure is not counted twice. Where
/// nothing is closed the counts stay: they are what the guard judges by.
pub(super) fn reopen(t: &mut dyn Transaction, now: Timestamp) -> Result<bool, StoreError> {
    let was_closed = t.execute("DELETE FROM closure WHERE until > ?", values![now])? > 0;
    if was_closed {
        t.execute("DELETE FROM conversion", values![])?;
    }
    Ok(was_closed)
}

pub(super) fn purge(t: &mut dyn Transaction, now: Timestamp) -> Result<usize, StoreError> {
    const DAY: Duration = Duration::from_secs(86_400);
    let over = "DELETE FROM budget WHERE key IN (SELECT key FROM budget WHERE forget_at < ? LIMIT 1000)";
    let gone = t.execute(over, values![now])?;
    t.execute("DELETE FROM conversion WHERE minute < ?", values![minute(now - DAY)])?;
    t.execute("DELETE FROM closure WHERE until < ?", values![now])?;
    Ok(gone)
}

/// Whether the conversion guard is closed, or closes now.
fn closed(t: &mut dyn Transaction, wanted: &Reservation, now: Timestamp) -> Result<Option<Stop>, StoreError> {
    let guard = Guard::Conversion;
    let statement = "SELECT until FROM closure WHERE guard = ?";
    let until: Option<Timestamp> = t.one(statement, values![guard.as_str()], |row| row.get("until"))?;
    if let Some(wait) = until.map(|until| until.since(now)).filter(|wait| !wait.is_zero()) {
        return Ok(Some(Stop { guard, wait }));
    }
    let rule = &wanted.conversion;
    let (sent, entered) = converted(t, rule, now)?;
    if rule.is_healthy(sent, entered) {
        return Ok(None);
    }
    let until = now + rule.closed_for;
    let statement = "INSERT INTO closure (guard, until) VALUES (?, ?) \
                     ON CONFLICT (guard) DO UPDATE SET until = excluded.until";
    t.execute(statement, values![guard.as_str(), until])?;
    // When it opens again it judges what comes then, or one bad hour would close it again and again.
    t.execute("DELETE FROM conversion", values![])?;
    Ok(Some(Stop { guard, wait: rule.closed_for }))
}

fn converted(t: &mut dyn Transaction, rule: &Conversion, now: Timestamp) -> Result<(u32, u32), StoreError> {
    // Each of them once: a few numbers that somebody knows and starts again and again must not close sending.
    let statement = "SELECT count(DISTINCT subject) FILTER (WHERE sent > 0 OR entered) AS sent, \
                     count(DISTINCT subject) FILTER (WHERE entered) AS entered \
                     FROM (SELECT subject, sent, entered FROM conversion WHERE minute BETWEEN ? AND ? \
                     ORDER BY minute DESC, subject DESC LIMIT ?) AS newest";
    let (first, last) = rule.minutes(now);
    // A user may stand there several times.
    let most = NEWEST.max(rule.least_sent.saturating_mul(20));
    let read = |row: &dyn Row| Ok((row.get("sent")?, row.get("entered")?));
    Ok(t.one(statement, values![first, last, most], read)?.unwrap_or_default())
}

/// So many of the newest starts tell enough of whether codes come back, however many there were within the window: the
/// question is asked for each message, while the others wait.
const NEWEST: u32 = 2_000;

/// How full each of them is. One question for all: while it is asked, nobody else counts a message.
fn counts(t: &mut dyn Transaction, budgets: &[&Budget]) -> Result<Vec<u32>, StoreError> {
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    let keys = vec!["?"; budgets.len()].join(", ");
    let statement = format!("SELECT key, count FROM budget WHERE key IN ({keys})");
    let keys: Vec<Value<'_>> = budgets.iter().map(|budget| Value::from(&budget.key)).collect();
    let read = |row: &dyn Row| Ok((row.get::<String>("key")?, row.get("count")?));
    let known: HashMap<String, u32> = t.all(&statement, &keys, read)?.into_iter().collect();
    Ok(budgets.iter().map(|budget| known.get(&budget.key).copied().unwrap_or(0)).collect())
}

/// One more in each of them.
fn add(t: &mut dyn Transaction, budgets: &[&Budget]) -> Result<(), StoreError> {
    if budgets.is_empty() {
        return Ok(());
    }
    let rows = vec!["(?, 1, ?)"; budgets.len()].join(", ");
    let statement = format!(
        "INSERT INTO budget (key, count, forget_at) VALUES {rows} \
         ON CONFLICT (key) DO UPDATE SET count = budget.count + 1"
    );
    let values: Vec<Value<'_>> =
        budgets.iter().flat_map(|budget| [(&budget.key).into(), budget.ends_at.into()]).collect();
    t.execute(&statement, &values)?;
    Ok(())
}

fn tally(
    t: &mut dyn Transaction,
    subject: &Subject,
    began_at: Timestamp,
    (sent, entered): (u32, bool),
) -> Result<(), StoreError> {
    let statement = "INSERT INTO conversion (minute, subject, sent, entered) VALUES (?, ?, ?, ?) \
                     ON CONFLICT (minute, subject) DO UPDATE SET sent = conversion.sent + excluded.sent, \
                     entered = conversion.entered OR excluded.entered";
    t.execute(statement, values![minute(began_at), subject.as_str(), sent, entered])?;
    Ok(())
}
