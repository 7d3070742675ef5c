//! Sessions and the changes other processes must hear of, as transactions.

use std::time::Duration;

use rusqlite::{Transaction, params};

use super::rows::{all, one, session};
use crate::domain::id::SessionId;
use crate::domain::session::{Session, SessionEnd};
use crate::domain::time::Timestamp;
use crate::store::{Change, StoreError, Which};

pub(super) fn insert(t: &Transaction<'_>, s: &Session, follows: Option<SessionId>) -> Result<(), StoreError> {
    // Of somebody else's, which may have been planted there, it follows nothing.
    let statement = "INSERT INTO session \
                     (id, user_id, user_name, method, auth_time, expires_at, last_seen_at, client, follows) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                     (SELECT id FROM session WHERE id = ?9 AND user_id = ?2))";
    t.prepare_cached(statement)?.execute(params![
        s.id.to_string(),
        s.user_id.0,
        s.user.as_str(),
        s.method,
        s.auth_time.unix(),
        s.expires_at.unix(),
        s.last_seen_at.unix(),
        s.client,
        follows.map(|id| id.to_string()),
    ])?;
    Ok(())
}

pub(super) fn find(t: &Transaction<'_>, id: SessionId) -> Result<Option<Session>, StoreError> {
    one(&mut t.prepare_cached("SELECT * FROM session WHERE id = ?")?, [id.to_string()], session)
}

pub(super) fn live(t: &Transaction<'_>, now: Timestamp) -> Result<Vec<Session>, StoreError> {
    let statement =
        "SELECT * FROM session WHERE ended IS NULL AND expires_at > ? ORDER BY user_name, auth_time";
    all(&mut t.prepare_cached(statement)?, [now.unix()], session)
}

pub(super) fn touch(t: &Transaction<'_>, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
    let mut statement =
        t.prepare_cached("UPDATE session SET last_seen_at = max(last_seen_at, ?) WHERE id = ?")?;
    for (id, at) in seen {
        statement.execute(params![at.unix(), id.to_string()])?;
    }
    Ok(())
}

/// A session and those it follows; each began before, so that this ends.
const ONE_AND_BEFORE: &str = "id IN (WITH RECURSIVE line (id) AS (SELECT ?1 UNION \
                              SELECT follows FROM session JOIN line USING (id) WHERE follows IS NOT NULL) \
                              SELECT id FROM line)";

/// Ends them and notes each as a change, so that every gateway hears of it.
pub(super) fn end(
    t: &Transaction<'_>,
    which: &Which,
    end: SessionEnd,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let (filter, value) = match which {
        Which::One(id) => (ONE_AND_BEFORE, id.to_string()),
        Which::Of(name) => ("user_name = ?1", name.to_string()),
        Which::All => ("?1 = ''", String::new()),
    };
    let open = format!("SELECT id FROM session WHERE ended IS NULL AND {filter}");
    let ids: Vec<String> = all(&mut t.prepare_cached(&open)?, [value], |row| Ok(row.get(0)?))?;
    for id in &ids {
        t.prepare_cached("UPDATE session SET ended = ? WHERE id = ?")?.execute(params![end.as_str(), id])?;
        note_change(t, "session_ended", &format!("{id} {}", end.as_str()), now)?;
    }
    Ok(ids.len())
}

pub(super) fn note_change(
    t: &Transaction<'_>,
    kind: &str,
    subject: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let statement = "INSERT INTO change (at, kind, subject) VALUES (?, ?, ?)";
    t.prepare_cached(statement)?.execute(params![now.unix(), kind, subject])?;
    Ok(())
}

pub(super) fn last_change(t: &Transaction<'_>) -> Result<i64, StoreError> {
    let statement = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'change'), 0)";
    Ok(t.prepare_cached(statement)?.query_row([], |row| row.get(0))?)
}

pub(super) fn changes_after(t: &Transaction<'_>, number: i64) -> Result<(i64, Vec<Change>), StoreError> {
    let statement = "SELECT number, kind, subject FROM change WHERE number > ? ORDER BY number LIMIT 10000";
    let read = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?, change(&row.get::<_, String>(1)?, &row.get::<_, String>(2)?)))
    };
    let rows = all(&mut t.prepare_cached(statement)?, [number], read)?;
    let newest = rows.last().map_or(number, |(newest, _)| *newest);
    Ok((newest, rows.into_iter().map(|(_, change)| change).collect()))
}

/// A newer version may write what we have no word for; that must not keep us from hearing the rest.
fn change(kind: &str, subject: &str) -> Change {
    let ended = || {
        let (id, end) = subject.split_once(' ')?;
        Some(Change::SessionEnded(id.parse().ok()?, SessionEnd::from_stored(end)))
    };
    match kind {
        "keys_changed" => Change::KeysChanged,
        "session_ended" => ended().unwrap_or(Change::Unknown),
        _ => Change::Unknown,
    }
}

/// A gateway that missed a day of changes reads the sessions themselves when it starts.
pub(super) fn purge(t: &Transaction<'_>, now: Timestamp) -> Result<usize, StoreError> {
    let over = (now - Duration::from_secs(86_400)).unix();
    let session = "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expires_at < ? LIMIT 1000)";
    let change = "DELETE FROM change WHERE number IN (SELECT number FROM change WHERE at < ? LIMIT 1000)";
    Ok(t.execute(session, [over])? + t.execute(change, [over])?)
}
