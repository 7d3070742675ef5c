//! The audit trail, as transactions.

use super::sql::{Lock, Row, Transaction, values};
use crate::domain::event::Event;
use crate::domain::time::Timestamp;
use crate::domain::user::UserName;
use crate::store::{About, Recorded, RecordedMessage, StoreError};

pub(super) fn append(t: &mut dyn Transaction, events: &[Event]) -> Result<(), StoreError> {
    let statement = "INSERT INTO audit (at, what, reference, user_name, client, detail, provider, channel, handle, \
                     recipient, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    for event in events {
        let message = event.message.as_ref();
        let values = values![
            event.at,
            event.what.as_str(),
            event.reference.map(|reference| reference.to_string()),
            event.user.as_deref(),
            &event.client,
            &event.detail,
            message.map(|message| message.provider.as_str()),
            message.map(|message| message.channel.as_str()),
            message.and_then(|message| message.handle.as_deref()),
            message.map(|message| message.recipient.as_str()),
            message.map(|message| message.outcome),
        ];
        t.execute(statement, values)?;
    }
    Ok(())
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

/// Numbers rise with time: the oldest lines are looked at, not all of them.
pub(super) fn purge(t: &mut dyn Transaction, before: Timestamp) -> Result<usize, StoreError> {
    t.lock(&[Lock::Purge])?;
    let statement = "DELETE FROM audit WHERE number IN (SELECT number FROM \
                     (SELECT number, at FROM audit ORDER BY number LIMIT 1000) AS oldest WHERE at < ?)";
    t.execute(statement, values![before])
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
