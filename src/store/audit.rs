//! The audit trail, as transactions.

use rusqlite::{Transaction, params};

use super::rows::{all, moment};
use crate::domain::event::Event;
use crate::domain::user::UserName;
use crate::store::{About, Recorded, RecordedMessage, StoreError};

pub(super) fn append(t: &Transaction<'_>, events: &[Event]) -> Result<(), StoreError> {
    let statement = "INSERT INTO audit (at, what, reference, user_name, client, detail, provider, channel, handle, \
                     recipient, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let mut statement = t.prepare_cached(statement)?;
    for event in events {
        let message = event.message.as_ref();
        statement.execute(params![
            event.at.unix(),
            event.what.as_str(),
            event.reference.map(|reference| reference.to_string()),
            event.user,
            event.client,
            event.detail,
            message.map(|message| message.provider.as_str()),
            message.map(|message| message.channel.as_str()),
            message.and_then(|message| message.handle.as_deref()),
            message.map(|message| message.recipient.as_str()),
            message.map(|message| message.outcome),
        ])?;
    }
    Ok(())
}

pub(super) fn tail(t: &Transaction<'_>, about: &About, most: usize) -> Result<Vec<Recorded>, StoreError> {
    let statement = "SELECT * FROM audit WHERE (?1 IS NULL OR reference = ?1) AND (?2 IS NULL OR user_name = ?2) \
                     ORDER BY number DESC LIMIT ?3";
    let reference = about.reference.map(|reference| reference.to_string());
    let user = about.user.as_ref().map(UserName::as_str);
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Recorded {
            number: row.get("number")?,
            at: moment(row, "at")?,
            what: row.get("what")?,
            reference: row.get("reference")?,
            user: row.get("user_name")?,
            client: row.get("client")?,
            detail: row.get("detail")?,
            message: message(row)?,
        })
    };
    let mut rows = all(&mut t.prepare_cached(statement)?, params![reference, user, most as i64], read)?;
    rows.reverse();
    Ok(rows)
}

fn message(row: &rusqlite::Row<'_>) -> Result<Option<RecordedMessage>, StoreError> {
    let Some(provider) = row.get("provider")? else { return Ok(None) };
    Ok(Some(RecordedMessage {
        provider,
        channel: row.get("channel")?,
        handle: row.get("handle")?,
        recipient: row.get("recipient")?,
        outcome: row.get("outcome")?,
    }))
}
