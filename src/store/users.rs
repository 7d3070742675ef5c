//! Users, as transactions.

use rusqlite::{Transaction, params};

use super::rows::{all, one, user};
use super::sessions;
use crate::domain::challenge::Subject;
use crate::domain::session::SessionEnd;
use crate::domain::time::Timestamp;
use crate::domain::user::{User, UserName};
use crate::store::{Conflict, NewUser, StoreError, UserChange, UserKey, Which};

/// Adds all or none: the first in the way is answered, and what was added before it is taken back.
pub(super) fn add(
    t: &Transaction<'_>,
    users: &[NewUser],
    now: Timestamp,
) -> Result<Result<(), Conflict>, StoreError> {
    for new in users {
        if let Some(conflict) = conflict(t, new)? {
            t.execute_batch("ROLLBACK TO command")?;
            return Ok(Err(conflict));
        }
        t.prepare_cached("INSERT INTO user (name, phone_number, created_at) VALUES (?, ?, ?)")?
            .execute(params![new.name.as_str(), new.phone_number.as_e164(), now.unix()])?;
    }
    Ok(Ok(()))
}

fn conflict(t: &Transaction<'_>, new: &NewUser) -> Result<Option<Conflict>, StoreError> {
    if find(t, &UserKey::Name(new.name.clone()))?.is_some() {
        return Ok(Some(Conflict::Name(new.name.clone())));
    }
    let holder = find(t, &UserKey::PhoneNumber(new.phone_number.clone()))?;
    Ok(holder.map(|holder| Conflict::PhoneNumber(new.name.clone(), holder.name)))
}

pub(super) fn list(t: &Transaction<'_>) -> Result<Vec<User>, StoreError> {
    all(&mut t.prepare_cached("SELECT * FROM user ORDER BY name")?, [], user)
}

pub(super) fn find(t: &Transaction<'_>, key: &UserKey) -> Result<Option<User>, StoreError> {
    match key {
        UserKey::Name(name) => {
            one(&mut t.prepare_cached("SELECT * FROM user WHERE name = ?")?, [name.as_str()], user)
        }
        UserKey::Id(id) => one(&mut t.prepare_cached("SELECT * FROM user WHERE id = ?")?, [id.0], user),
        UserKey::PhoneNumber(number) => {
            one(&mut t.prepare_cached("SELECT * FROM user WHERE phone_number = ?")?, [number.as_e164()], user)
        }
    }
}

/// Changes one user and, unless it lets them in, ends their sessions and whatever challenge is under way.
pub(super) fn change(
    t: &Transaction<'_>,
    name: &UserName,
    change: &UserChange,
    now: Timestamp,
) -> Result<Result<bool, Conflict>, StoreError> {
    let Some(found) = find(t, &UserKey::Name(name.clone()))? else { return Ok(Ok(false)) };
    let id = found.id.0;
    match change {
        UserChange::SetPhone(number) => {
            let holder =
                find(t, &UserKey::PhoneNumber(number.clone()))?.filter(|holder| holder.id != found.id);
            if let Some(holder) = holder {
                return Ok(Err(Conflict::PhoneNumber(name.clone(), holder.name)));
            }
            let statement = "UPDATE user SET phone_number = ?, phone_verified_at = NULL WHERE id = ?";
            t.execute(statement, params![number.as_e164(), id])?;
        }
        UserChange::Disable => drop(t.execute("UPDATE user SET disabled = 1 WHERE id = ?", [id])?),
        UserChange::Enable => {
            t.execute("UPDATE user SET disabled = 0, two_factor_enabled = 1 WHERE id = ?", [id])?;
            forget_limits(t, &Subject::user(found.id))?;
            return Ok(Ok(true));
        }
        UserChange::Remove => {
            t.execute("DELETE FROM user WHERE id = ?", [id])?;
            t.execute("DELETE FROM failure WHERE subject = ?", [Subject::user(found.id).as_str()])?;
        }
    }
    end_challenges(t, &Subject::user(found.id))?;
    sessions::end(t, &Which::Of(name.clone()), SessionEnd::Revoked, now)?;
    Ok(Ok(true))
}

/// Ends whatever is under way. A code sent before is right for nothing any more, and none that comes later shares it:
/// it may have gone to another phone.
fn end_challenges(t: &Transaction<'_>, subject: &Subject) -> Result<(), StoreError> {
    let statement = "UPDATE challenge SET state = 'cancelled', prospect = 'used' \
                     WHERE subject = ? AND state IN ('open', 'cancelled', 'exhausted')";
    t.execute(statement, [subject.as_str()])?;
    Ok(())
}

/// What a user used up by trying in vain: wrong codes, starts and messages.
fn forget_limits(t: &Transaction<'_>, subject: &Subject) -> Result<(), StoreError> {
    let subject = subject.as_str();
    t.execute("DELETE FROM failure WHERE subject = ?", [subject])?;
    t.execute("DELETE FROM spend WHERE key = 'starts:' || ?", [subject])?;
    t.execute("DELETE FROM budget WHERE key GLOB 'messages_per_user_*:' || ? || ':*'", [subject])?;
    Ok(())
}
