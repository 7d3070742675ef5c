//! Rows as domain types; a row that cannot be read is corrupt, never guessed at.

use std::str::FromStr;

use rusqlite::Row;

use crate::domain::challenge::{Challenge, State, Subject};
use crate::domain::sending::{Delivery, Holder, Prospect};
use crate::domain::session::{Session, SessionEnd};
use crate::domain::time::Timestamp;
use crate::domain::user::{User, UserId};
use crate::store::StoreError;

pub(super) fn parse<T: FromStr>(row: &Row<'_>, column: &'static str) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| StoreError::Corrupt(column))
}

fn maybe<T: FromStr>(row: &Row<'_>, column: &'static str) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|_| StoreError::Corrupt(column))).transpose()
}

pub(super) fn moment(row: &Row<'_>, column: &'static str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_unix(row.get(column)?))
}

fn maybe_moment(row: &Row<'_>, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_unix))
}

pub(super) fn user(row: &Row<'_>) -> Result<User, StoreError> {
    Ok(User {
        id: UserId(row.get("id")?),
        name: parse(row, "name")?,
        phone_number: parse(row, "phone_number")?,
        phone_verified_at: maybe_moment(row, "phone_verified_at")?,
        two_factor_enabled: row.get("two_factor_enabled")?,
        disabled: row.get("disabled")?,
        created_at: moment(row, "created_at")?,
    })
}

pub(super) fn challenge(row: &Row<'_>) -> Result<Challenge, StoreError> {
    Ok(Challenge {
        id: parse(row, "id")?,
        reference: parse(row, "reference")?,
        user: row.get::<_, Option<i64>>("user_id")?.map(UserId),
        user_name: maybe(row, "user_name")?,
        subject: Subject::from_stored(row.get("subject")?),
        recipient: row.get("recipient")?,
        return_to: parse(row, "return_to")?,
        channel: parse(row, "channel")?,
        created_at: moment(row, "created_at")?,
        expires_at: moment(row, "expires_at")?,
        sent_at: moment(row, "sent_at")?,
        sends: row.get("sends")?,
        checks: row.get("checks")?,
        max_checks: row.get("max_checks")?,
        code_length: row.get("code_length")?,
        state: State::from_stored(&row.get::<_, String>("state")?),
        delivery: Delivery::from_stored(&row.get::<_, String>("delivery")?),
        prospect: Prospect::from_stored(&row.get::<_, String>("prospect")?),
        holder: holder(row)?,
        last: row.get("last")?,
        landline: row.get("landline")?,
    })
}

pub(super) fn holder(row: &Row<'_>) -> Result<Option<Holder>, StoreError> {
    let provider: Option<String> = row.get("provider")?;
    let handle = row.get("handle")?;
    Ok(provider.map(|provider| Holder { provider, handle }))
}

pub(super) fn session(row: &Row<'_>) -> Result<Session, StoreError> {
    Ok(Session {
        id: parse(row, "id")?,
        user_id: UserId(row.get("user_id")?),
        user: parse(row, "user_name")?,
        method: row.get("method")?,
        auth_time: moment(row, "auth_time")?,
        expires_at: moment(row, "expires_at")?,
        last_seen_at: moment(row, "last_seen_at")?,
        ended: row.get::<_, Option<String>>("ended")?.map(|text| SessionEnd::from_stored(&text)),
        client: row.get("client")?,
    })
}

/// The one row of a query, or none.
pub(super) fn one<T>(
    statement: &mut rusqlite::CachedStatement<'_>,
    values: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    statement.query(values)?.next()?.map(read).transpose()
}

/// All rows of a query.
pub(super) fn all<T>(
    statement: &mut rusqlite::CachedStatement<'_>,
    values: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = statement.query(values)?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(read(row)?);
    }
    Ok(list)
}
