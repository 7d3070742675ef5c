//! The audit trail, as transactions.
//!
//! Lines are numbered and sealed here (`domain/chain`). Whoever writes holds the chain until its transaction is committed:
//! it is taken last, just before the lines are written.

use std::time::Duration;

use super::chain::{Chain, HEAD, StoredHead, corrupt, head_in, hold, put_head, put_ours, stored_head};
use super::sql::{Lock, Row, Transaction, Value, values};
use crate::domain::chain::{BROKEN, Hash, Head, Line, TEXTS, age};
use crate::domain::event::{Event, What};
use crate::domain::time::Timestamp;
use crate::domain::user::UserName;
use crate::store::{About, Page, Recorded, RecordedMessage, Sealed, StoreError};

/// Rows of one statement.
const ROWS: usize = 500;
/// Lines of one purge.
const PURGED: usize = 1_000;
/// A webhook that did not take a line for so long does not get it any more.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(86_400);

/// Writes lines behind the last one. The last thing a transaction does: others wait for its end.
pub(super) fn append(t: &mut dyn Transaction, chain: &Chain, events: &[Event]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let head = hold(t, chain)?;
    write(t, chain, head, events)
}

fn write(t: &mut dyn Transaction, chain: &Chain, mut head: Head, events: &[Event]) -> Result<(), StoreError> {
    for some in events.chunks(ROWS) {
        let lines: Vec<_> = some
            .iter()
            .map(|event| {
                let line = Line::of(event, head.number.checked_add(1).ok_or_else(corrupt)?);
                let hash = chain.key.seal(&line.after(&head.hash));
                (head.number, head.hash) = (line.number, hash);
                Ok((line, hash))
            })
            .collect::<Result<_, StoreError>>()?;
        insert(t, &lines)?;
    }
    put_ours(t, chain, &head)
}

fn insert(t: &mut dyn Transaction, lines: &[(Line, Hash)]) -> Result<(), StoreError> {
    let row = format!("({})", vec!["?"; TEXTS.len() + 3].join(", "));
    let (columns, marks) = (TEXTS.join(", "), vec![row.as_str(); lines.len()].join(", "));
    let statement = format!("INSERT INTO audit (number, at, {columns}, hash) VALUES {marks}");
    let mut values = Vec::with_capacity(lines.len() * (TEXTS.len() + 3));
    for (line, hash) in lines {
        values.extend([Value::from(line.number), Value::from(line.at)]);
        values.extend(line.texts.iter().map(|text| Value::from(text.as_deref())));
        values.push(Value::Bytes(hash.as_slice().into()));
    }
    t.execute(&statement, &values).map(drop)
}

pub(super) fn tail(t: &mut dyn Transaction, about: &About, most: usize) -> Result<Vec<Recorded>, StoreError> {
    let statement = "SELECT * FROM audit WHERE (CAST(?1 AS TEXT) IS NULL OR reference = ?1) \
                     AND (CAST(?2 AS TEXT) IS NULL OR user_name = ?2) ORDER BY number DESC LIMIT ?3";
    let reference = about.reference.map(|reference| reference.to_string());
    let user = about.user.as_ref().map(UserName::as_str);
    let mut rows = t.all(statement, values![reference, user, most as i64], recorded)?;
    rows.reverse();
    Ok(rows)
}

/// Lines after a number and the head, as they were at one moment: it is one statement.
pub(super) fn page(
    t: &mut dyn Transaction,
    chain: &Chain,
    after: i64,
    most: usize,
) -> Result<Page, StoreError> {
    let statement = format!(
        "SELECT a.*, {HEAD} FROM audit_chain AS c \
         LEFT JOIN (SELECT * FROM audit WHERE number > ? ORDER BY number LIMIT ?) AS a ON TRUE ORDER BY a.number"
    );
    let (mut stored, mut lines) = (None, Vec::new());
    t.each(&statement, values![after, most as i64], &mut |row| {
        if stored.is_none() {
            stored = Some(StoredHead::read(row)?);
        }
        if row.get::<Option<i64>>("number")?.is_some() {
            lines.push(Sealed { recorded: recorded(row)?, line: line(row)?, hash: seal(row)? });
        }
        Ok(())
    })?;
    let (head, ours) = stored.ok_or_else(corrupt)?.opened(&chain.key);
    Ok(Page { head, ours, lines })
}

/// A line from before the chain has an empty one.
fn seal(row: &dyn Row) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(Some(row.get::<Vec<u8>>("hash")?).filter(|seal| !seal.is_empty()))
}

/// The same; one that is none fits nothing.
fn hash(row: &dyn Row) -> Result<Option<Hash>, StoreError> {
    Ok(seal(row)?.map(|seal| seal.try_into().unwrap_or(BROKEN)))
}

fn line(row: &dyn Row) -> Result<Line, StoreError> {
    let mut texts = [const { None }; TEXTS.len()];
    for (text, column) in texts.iter_mut().zip(TEXTS) {
        *text = row.get(column)?;
    }
    Ok(Line { number: row.get("number")?, at: row.get("at")?, texts })
}

/// Some of the oldest lines go: those that are old, by times that can be believed (`chain/age`).
pub(super) fn purge(
    t: &mut dyn Transaction,
    chain: &Chain,
    before: Timestamp,
    now: Timestamp,
) -> Result<usize, StoreError> {
    t.lock(&[Lock::Purge])?;
    let (head, ours) = stored_head(t)?.opened(&chain.key);
    if !ours {
        tracing::error!(
            "the audit trail is not purged: its end is not what was written; run: vestibule audit verify"
        );
        return Ok(0);
    }
    let oldest = format!("SELECT * FROM audit ORDER BY number LIMIT {PURGED}");
    let oldest = t.all(&oldest, values![], |row| Ok((line(row)?, hash(row)?)))?;
    let aged = age::aged(&|bytes| chain.key.seal(bytes), &head, &oldest);
    let delivered =
        t.one("SELECT min(delivered) AS delivered FROM webhook", values![], |row| row.get("delivered"))?;
    let free = age::not_waited_for(&aged, delivered.flatten(), now - GIVEN_UP_AFTER);
    let gone = age::old(&aged[..free], before, now);
    let (Some(first), Some(last)) = (oldest[..gone].first(), oldest[..gone].last()) else { return Ok(0) };
    let (first, last, its_hash) = (first.0.number, last.0.number, last.1);
    let is_whole = aged[..gone].iter().all(|line| line.fits);
    t.execute("DELETE FROM audit WHERE number <= ?", values![last])?;
    let mut head = hold(t, chain)?;
    if let Some(hash) = its_hash {
        (head.purged, head.purged_hash) = (last, hash);
    }
    // A purge of nothing but such lines would otherwise go on for ever.
    let purges = What::AuditPurged.as_str();
    let worth_a_line = oldest[..gone].iter().any(|(line, _)| line.texts[0].as_deref() != Some(purges));
    let not_whole = if is_whole { "" } else { ", which were not all as they had been written" };
    let event = Event::of_gateway(
        now,
        What::AuditPurged,
        String::new(),
        format!("lines {first} to {last}{not_whole}"),
    );
    write(t, chain, head, if worth_a_line { std::slice::from_ref(&event) } else { &[] })?;
    Ok(gone)
}

/// In a restore: goes on with what was written since the backup in the store that is there (`present`).
pub(super) fn carry_on(t: &mut dyn Transaction, chain: &Chain) -> Result<(), StoreError> {
    let (here, there) = (stored_head(t)?, head_in(t, "present.audit_chain")?);
    let last = "SELECT coalesce(max(number), 0) AS last FROM main.audit";
    let last = t.one(last, values![], |row| row.get::<i64>("last"))?.unwrap_or(0);
    if there.number <= last.max(here.number) {
        return Ok(());
    }
    let ((ours, here_fits), (theirs, there_fits)) = (here.opened(&chain.key), there.opened(&chain.key));
    let link = t.one("SELECT hash FROM present.audit WHERE number = ?", values![last], |row| {
        row.get::<Vec<u8>>("hash")
    })?;
    t.execute("INSERT INTO main.audit SELECT * FROM present.audit WHERE number > ?", values![last])?;
    if here_fits && ours.is_new() {
        return put_head(t, &there);
    }
    if theirs.purged > ours.number {
        // What lies between is gone for its age, and so is what the backup has.
        let old = "DELETE FROM main.audit WHERE number > ? AND number <= ?";
        t.execute(old, values![ours.begun, theirs.purged])?;
        return put_head(t, &there);
    }
    let linked = link.is_some_and(|hash| hash == ours.hash)
        || (theirs.purged == ours.number && theirs.purged_hash == ours.hash);
    let head = StoredHead::new(&chain.key, &Head { number: theirs.number, hash: theirs.hash, ..ours });
    // Two stores that went ways of their own do not fit; that is to be seen.
    put_head(t, &if here_fits && there_fits && linked { head } else { head.broken() })
}

fn recorded(row: &dyn Row) -> Result<Recorded, StoreError> {
    Ok(Recorded {
        number: row.get("number")?,
        at: row.get("at")?,
        what: row.get("what")?,
        reference: row.get("reference")?,
        user: row.get("user_name")?,
        client: row.get("client")?,
        detail: row.get("detail")?,
        message: message(row)?,
    })
}

fn message(row: &dyn Row) -> Result<Option<RecordedMessage>, StoreError> {
    let Some(provider) = row.get("provider")? else { return Ok(None) };
    Ok(Some(RecordedMessage {
        provider,
        channel: row.get("channel")?,
        handle: row.get("handle")?,
        recipient: row.get("recipient")?,
        outcome: row.get("outcome")?,
    }))
}
