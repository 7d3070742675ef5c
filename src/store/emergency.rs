//! Emergency codes, as transactions.

use super::chain::Chain;
use super::sql::{Lock, Row, Transaction, values};
use super::{audit, rates, sessions, users};
use crate::domain::challenge::Subject;
use crate::domain::event::Event;
use crate::domain::id::Reference;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::domain::user::{UserId, UserName};
use crate::store::{EmergencyAttempt, NewEmergencyCode, NoEmergencyCode, StoreError, UserKey};

/// The newest code of a user is the only one.
pub(super) fn add(
    t: &mut dyn Transaction,
    chain: &Chain,
    new: &NewEmergencyCode,
    now: Timestamp,
) -> Result<Result<(), NoEmergencyCode>, StoreError> {
    let Some(user) = users::find(t, &UserKey::Name(new.user.clone()))? else {
        return Ok(Err(NoEmergencyCode::Unknown));
    };
    t.lock(&[Lock::Subject(&Subject::user(user.id))])?;
    if !user.may_sign_in() {
        return Ok(Err(NoEmergencyCode::ShutOut));
    }
    withdraw_of(t, user.id)?;
    let statement = "INSERT INTO emergency_code (hash, user_id, reference, made_at, expires_at, lifetime) \
                     VALUES (?, ?, ?, ?, ?, ?)";
    let lifetime = i64::try_from(new.lifetime.as_secs()).unwrap_or(i64::MAX);
    let reference = new.reference.to_string();
    t.execute(statement, values![&new.hash, user.id.0, &reference, now, new.expires_at, lifetime])?;
    sessions::note_change(t, "break_glass_made", &reference, now)?;
    audit::append(t, chain, std::slice::from_ref(&new.event))?;
    Ok(Ok(()))
}

/// Takes the code of a user back; whether there was one. None when there is no such user.
pub(super) fn withdraw(t: &mut dyn Transaction, name: &UserName) -> Result<Option<bool>, StoreError> {
    let Some(user) = users::find(t, &UserKey::Name(name.clone()))? else { return Ok(None) };
    t.lock(&[Lock::Subject(&Subject::user(user.id))])?;
    withdraw_of(t, user.id).map(Some)
}

/// The same for whoever has the user.
pub(super) fn withdraw_of(t: &mut dyn Transaction, user: UserId) -> Result<bool, StoreError> {
    Ok(t.execute("DELETE FROM emergency_code WHERE user_id = ?", values![user.0])? > 0)
}

/// Takes all of them back.
pub(super) fn withdraw_all(t: &mut dyn Transaction) -> Result<usize, StoreError> {
    t.execute("DELETE FROM emergency_code", values![])
}

/// What was tried in vain counts no more, from wherever.
pub(super) fn forget_tries(t: &mut dyn Transaction, subject: &Subject) -> Result<(), StoreError> {
    let key = format!("emergency:{}", subject.as_str());
    // A semicolon comes after the colon, and no key goes on with another sign.
    let statement = "DELETE FROM spend WHERE key > ? AND key < ?";
    t.execute(statement, values![format!("{key}:"), format!("{key};")]).map(drop)
}

/// Counts a try, whoever it is by.
pub(super) fn spend(
    t: &mut dyn Transaction,
    spend: &crate::store::Spend,
    now: Timestamp,
) -> Result<Result<(), std::time::Duration>, StoreError> {
    rates::spend(t, std::slice::from_ref(spend), now)
}

/// Opens a session for whoever takes the code away first, and writes that down.
pub(super) fn take(
    t: &mut dyn Transaction,
    chain: &Chain,
    attempt: &EmergencyAttempt,
    now: Timestamp,
) -> Result<Option<(Session, Event)>, StoreError> {
    t.lock(&[Lock::Subject(&attempt.subject)])?;
    let id = attempt.user.map_or(-1, |user| user.0);
    let question =
        "SELECT reference, lifetime FROM emergency_code WHERE hash = ? AND user_id = ? AND expires_at > ?";
    let read = |row: &dyn Row| Ok((row.get::<String>("reference")?, row.get::<i64>("lifetime")?));
    let code = t.one(question, values![&attempt.hash, id, now], read)?;
    let gone = t.execute(
        "DELETE FROM emergency_code WHERE hash = ? AND user_id = ? AND expires_at > ?",
        values![&attempt.hash, id, now],
    )?;
    let (Some(user), Some((reference, lifetime)), 1) = (attempt.user, code, gone) else { return Ok(None) };
    let found = users::find(t, &UserKey::Id(user))?.filter(|user| user.may_sign_in());
    let Some(found) = found else { return Ok(None) };
    let lifetime = std::time::Duration::from_secs(u64::try_from(lifetime).unwrap_or(0));
    let session = Session {
        id: attempt.session.id,
        user_id: found.id,
        user: found.name,
        method: METHOD.to_owned(),
        auth_time: now,
        expires_at: attempt.session.expires_at.min(now + lifetime),
        last_seen_at: now,
        ended: None,
        client: attempt.session.client.clone(),
    };
    sessions::insert(t, &session, attempt.session.follows)?;
    let reference: Option<Reference> = reference.parse().ok();
    let event =
        Event { reference: reference.or(attempt.session.event.reference), ..attempt.session.event.clone() };
    audit::append(t, chain, std::slice::from_ref(&event))?;
    Ok(Some((session, event)))
}

/// How sessions say that they began so.
const METHOD: &str = "break_glass";
