//! Sessions and the changes other processes must hear of, as transactions.

use std::collections::HashMap;
use std::time::Duration;

use super::rows::session;
use super::sql::{Lock, Row, Transaction, Value, values};
use crate::domain::id::SessionId;
use crate::domain::session::{Session, SessionEnd};
use crate::domain::time::Timestamp;
use crate::domain::user::UserName;
use crate::store::{CHANGES_AT_ONCE, Change, StoreError};

pub(super) fn insert(
    t: &mut dyn Transaction,
    s: &Session,
    follows: Option<SessionId>,
) -> Result<(), StoreError> {
    // Of somebody else's, which may have been planted there, it follows nothing.
    let statement = "INSERT INTO session \
                     (id, user_id, user_name, method, auth_time, expires_at, last_seen_at, client, follows) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                     (SELECT id FROM session WHERE id = ?9 AND user_id = ?2))";
    let values = values![
        s.id.to_string(),
        s.user_id.0,
        s.user.as_str(),
        &s.method,
        s.auth_time,
        s.expires_at,
        s.last_seen_at,
        &s.client,
        follows.map(|id| id.to_string()),
    ];
    t.execute(statement, values)?;
    Ok(())
}

pub(super) fn find(t: &mut dyn Transaction, id: SessionId) -> Result<Option<Session>, StoreError> {
    t.one("SELECT * FROM session WHERE id = ?", values![id.to_string()], session)
}

pub(super) fn live(t: &mut dyn Transaction, now: Timestamp) -> Result<Vec<Session>, StoreError> {
    let statement =
        "SELECT * FROM session WHERE ended IS NULL AND expires_at > ? ORDER BY user_name, auth_time";
    t.all(statement, values![now], session)
}

/// One gateway at a time: two that write several rows each would wait for each other.
pub(super) fn touch(t: &mut dyn Transaction, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
    if seen.is_empty() {
        // Whoever touches nothing wants to know whether the store answers.
        return t.execute("UPDATE last_change SET number = number WHERE FALSE", values![]).map(drop);
    }
    t.lock(&[Lock::Touch])?;
    // Of one that is named twice, its newest: the statement would take either.
    let mut seen = seen.to_vec();
    seen.sort_unstable_by_key(|(_, at)| *at);
    let newest: HashMap<String, Timestamp> = seen.iter().map(|(id, at)| (id.to_string(), *at)).collect();
    let newest: Vec<_> = newest.into_iter().collect();
    for some in newest.chunks(CHUNK) {
        let rows = vec!["(CAST(? AS TEXT), CAST(? AS BIGINT))"; some.len()].join(", ");
        let statement = format!(
            "UPDATE session SET last_seen_at = seen.column2 FROM (VALUES {rows}) AS seen \
             WHERE session.id = seen.column1 AND session.last_seen_at < seen.column2"
        );
        let values: Vec<Value<'_>> = some.iter().flat_map(|(id, at)| [id.into(), (*at).into()]).collect();
        t.execute(&statement, &values)?;
    }
    Ok(())
}

/// A session and those it follows; each began before, so that this ends.
const ONE_AND_BEFORE: &str = "id IN (WITH RECURSIVE before (id) AS (SELECT CAST(?2 AS TEXT) UNION \
                              SELECT follows FROM session JOIN before USING (id) WHERE follows IS NOT NULL) \
                              SELECT id FROM before)";

/// Ends one and those it follows.
pub(super) fn end_one(
    t: &mut dyn Transaction,
    id: SessionId,
    why: SessionEnd,
    now: Timestamp,
) -> Result<usize, StoreError> {
    end(t, (ONE_AND_BEFORE, &id.to_string()), why, now)
}

/// Ends all of a user.
pub(super) fn end_of(
    t: &mut dyn Transaction,
    user: &UserName,
    why: SessionEnd,
    now: Timestamp,
) -> Result<usize, StoreError> {
    end(t, ("user_name = ?2", user.as_str()), why, now)
}

/// Ends them and notes each as a change, so that every gateway hears of it.
fn end(
    t: &mut dyn Transaction,
    (filter, value): (&str, &str),
    end: SessionEnd,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let statement = format!("UPDATE session SET ended = ?1 WHERE ended IS NULL AND {filter} RETURNING id");
    let ended = t.all(&statement, values![end.as_str(), value], |row| row.get::<String>("id"))?;
    note_ended(t, &ended, end, now)?;
    Ok(ended.len())
}

/// Ends the next so many after a name, in the order of their names; how many, and the last name, when there may be more.
pub(super) fn end_some(
    t: &mut dyn Transaction,
    after: &str,
    most: usize,
    end: SessionEnd,
    now: Timestamp,
) -> Result<(usize, Option<String>), StoreError> {
    let statement =
        "SELECT max(id) AS last FROM (SELECT id FROM session WHERE id > ? ORDER BY id LIMIT ?) AS next";
    let last = t.one(statement, values![after, most as i64], |row| row.get::<Option<String>>("last"))?;
    let Some(last) = last.flatten() else { return Ok((0, None)) };
    let statement = "UPDATE session SET ended = ?1 WHERE ended IS NULL AND id > ?2 AND id <= ?3 RETURNING id";
    let ended = t.all(statement, values![end.as_str(), after, &last], |row| row.get::<String>("id"))?;
    note_ended(t, &ended, end, now)?;
    Ok((ended.len(), Some(last)))
}

fn note_ended(
    t: &mut dyn Transaction,
    ended: &[String],
    end: SessionEnd,
    now: Timestamp,
) -> Result<(), StoreError> {
    let subjects: Vec<_> = ended.iter().map(|id| format!("{id} {}", end.as_str())).collect();
    note_changes(t, "session_ended", &subjects, now)
}

pub(super) fn note_change(
    t: &mut dyn Transaction,
    kind: &str,
    subject: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    note_changes(t, kind, &[subject.to_owned()], now)
}

/// Numbers are given while nobody else gives any, until the commit: whoever has read one has read all below it.
fn note_changes(
    t: &mut dyn Transaction,
    kind: &str,
    subjects: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    if subjects.is_empty() {
        return Ok(());
    }
    let statement = "UPDATE last_change SET number = number + ? RETURNING number";
    let last: i64 = t
        .one(statement, values![subjects.len() as i64], |row| row.get("number"))?
        .ok_or(StoreError::Corrupt("last_change"))?;
    let mut number = last - subjects.len() as i64;
    for some in subjects.chunks(CHUNK) {
        let rows = vec!["(?, ?, ?, ?)"; some.len()].join(", ");
        let mut values: Vec<Value<'_>> = Vec::with_capacity(some.len() * 4);
        for subject in some {
            number += 1;
            values.extend([number.into(), now.into(), kind.into(), subject.into()]);
        }
        t.execute(&format!("INSERT INTO change (number, at, kind, subject) VALUES {rows}"), &values)?;
    }
    t.tell()
}

/// Rows written by one statement.
const CHUNK: usize = 500;

pub(super) fn last_change(t: &mut dyn Transaction) -> Result<i64, StoreError> {
    t.one("SELECT number FROM last_change", values![], |row| row.get("number"))?
        .ok_or(StoreError::Corrupt("last_change"))
}

pub(super) fn changes_after(t: &mut dyn Transaction, number: i64) -> Result<(i64, Vec<Change>), StoreError> {
    let statement = "SELECT number, kind, subject FROM change WHERE number > ? ORDER BY number LIMIT ?";
    let read = |row: &dyn Row| {
        Ok((row.get("number")?, change(&row.get::<String>("kind")?, &row.get::<String>("subject")?)))
    };
    let rows = t.all(statement, values![number, CHANGES_AT_ONCE as i64], read)?;
    if let Some((newest, _)) = rows.last() {
        return Ok((*newest, rows.into_iter().map(|(_, change)| change).collect()));
    }
    // The database was set back, as by a standby that had not heard of all: what was read stands there no more, and
    // what comes has the same numbers.
    let last = last_change(t)?;
    if last < number { Ok((last, vec![Change::Unknown])) } else { Ok((number, Vec::new())) }
}

/// A newer version may write what we have no word for; that must not keep us from hearing the rest.
fn change(kind: &str, subject: &str) -> Change {
    let ended = || {
        let (id, end) = subject.split_once(' ')?;
        Some(Change::SessionEnded(id.parse().ok()?, SessionEnd::from_stored(end)))
    };
    match kind {
        "keys_changed" => Change::KeysChanged,
        "break_glass_made" => subject.parse().map_or(Change::Unknown, Change::BreakGlassMade),
        "session_ended" => ended().unwrap_or(Change::Unknown),
        _ => Change::Unknown,
    }
}

/// A gateway that missed a day of changes reads the sessions themselves when it starts.
pub(super) fn purge(t: &mut dyn Transaction, now: Timestamp) -> Result<usize, StoreError> {
    let over = now - Duration::from_secs(86_400);
    let session = "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expires_at < ? LIMIT 1000)";
    let change = "DELETE FROM change WHERE number IN (SELECT number FROM change WHERE at < ? LIMIT 1000)";
    Ok(t.execute(session, values![over])? + t.execute(change, values![over])?)
}
