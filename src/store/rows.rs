//! Rows as domain types; a row that cannot be read is corrupt, never guessed at.

use std::str::FromStr;

use super::StoreError;
use super::sql::Row;
use crate::domain::challenge::{Challenge, State, Subject};
use crate::domain::sending::{Delivery, Holder, Prospect};
use crate::domain::session::{Session, SessionEnd};
use crate::domain::user::{User, UserId};

pub(super) fn parse<T: FromStr>(row: &dyn Row, column: &'static str) -> Result<T, StoreError> {
    row.get::<String>(column)?.parse().map_err(|_| StoreError::Corrupt(column))
}

fn maybe<T: FromStr>(row: &dyn Row, column: &'static str) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|_| StoreError::Corrupt(column))).transpose()
}

pub(super) fn user(row: &dyn Row) -> Result<User, StoreError> {
    Ok(User {
        id: UserId(row.get("id")?),
        name: parse(row, "name")?,
        phone_number: parse(row, "phone_number")?,
        phone_verified_at: row.get("phone_verified_at")?,
        two_factor_enabled: row.get("two_factor_enabled")?,
        disabled: row.get("disabled")?,
        created_at: row.get("created_at")?,
    })
}

pub(super) fn challenge(row: &dyn Row) -> Result<Challenge, StoreError> {
    Ok(Challenge {
        id: parse(row, "id")?,
        reference: parse(row, "reference")?,
        user: row.get::<Option<i64>>("user_id")?.map(UserId),
        user_name: maybe(row, "user_name")?,
        subject: Subject::from_stored(row.get("subject")?),
        recipient: row.get("recipient")?,
        return_to: parse(row, "return_to")?,
        channel: parse(row, "channel")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        sent_at: row.get("sent_at")?,
        sends: row.get("sends")?,
        checks: row.get("checks")?,
        max_checks: row.get("max_checks")?,
        code_length: row.get("code_length")?,
        state: State::from_stored(&row.get::<String>("state")?),
        delivery: Delivery::from_stored(&row.get::<String>("delivery")?),
        prospect: Prospect::from_stored(&row.get::<String>("prospect")?),
        holder: holder(row)?,
        last: row.get("last")?,
        landline: row.get("landline")?,
    })
}

pub(super) fn holder(row: &dyn Row) -> Result<Option<Holder>, StoreError> {
    let provider: Option<String> = row.get("provider")?;
    let handle = row.get("handle")?;
    Ok(provider.map(|provider| Holder { provider, handle }))
}

pub(super) fn session(row: &dyn Row) -> Result<Session, StoreError> {
    Ok(Session {
        id: parse(row, "id")?,
        user_id: UserId(row.get("user_id")?),
        user: parse(row, "user_name")?,
        method: row.get("method")?,
        auth_time: row.get("auth_time")?,
        expires_at: row.get("expires_at")?,
        last_seen_at: row.get("last_seen_at")?,
        ended: row.get::<Option<String>>("ended")?.map(|text| SessionEnd::from_stored(&text)),
        client: row.get("client")?,
    })
}
