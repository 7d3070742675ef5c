//! Users, as transactions.

use std::collections::{HashMap, HashSet};

use super::rows::user;
use super::sql::{Lock, Transaction, Value, values};
use super::{emergency, sessions};
use crate::domain::challenge::Subject;
use crate::domain::session::SessionEnd;
use crate::domain::time::Timestamp;
use crate::domain::user::{User, UserName};
use crate::store::{Conflict, NewUser, StoreError, UserChange, UserKey};

/// Adds all or none: the first in the way is answered, and what was added before it is taken back.
pub(super) fn add(
    t: &mut dyn Transaction,
    users: &[NewUser],
    now: Timestamp,
) -> Result<Result<(), Conflict>, StoreError> {
    t.lock(&[Lock::Users])?;
    for some in users.chunks(CHUNK) {
        let rows = vec!["(?, ?, ?)"; some.len()].join(", ");
        let mut values: Vec<Value<'_>> = Vec::with_capacity(some.len() * 3);
        for new in some {
            values.extend([new.name.as_str().into(), new.phone_number.as_e164().into(), now.into()]);
        }
        let statement = format!(
            "INSERT INTO \"user\" (name, phone_number, created_at) VALUES {rows} ON CONFLICT DO NOTHING"
        );
        if t.execute(&statement, &values)? < some.len() {
            t.undo()?;
            return first_conflict(t, users).map(Err);
        }
    }
    Ok(Ok(()))
}

/// Rows written by one statement.
const CHUNK: usize = 500;

/// What is in the way, in the store or earlier in the list itself.
fn first_conflict(t: &mut dyn Transaction, users: &[NewUser]) -> Result<Conflict, StoreError> {
    let (mut names, mut numbers) = (HashSet::new(), HashMap::new());
    for new in users {
        if !names.insert(&new.name) || find(t, &UserKey::Name(new.name.clone()))?.is_some() {
            return Ok(Conflict::Name(new.name.clone()));
        }
        let number = &new.phone_number;
        let earlier = numbers.insert(number.as_e164().to_owned(), &new.name).cloned();
        let holder = find(t, &UserKey::PhoneNumber(number.clone()))?.map(|holder| holder.name);
        if let Some(holder) = earlier.or(holder) {
            return Ok(Conflict::PhoneNumber(new.name.clone(), holder));
        }
    }
    // Whatever it was, it is gone by now.
    Err(StoreError::Unavailable)
}

pub(super) fn list(t: &mut dyn Transaction) -> Result<Vec<User>, StoreError> {
    t.all("SELECT * FROM \"user\" ORDER BY name", values![], user)
}

pub(super) fn find(t: &mut dyn Transaction, key: &UserKey) -> Result<Option<User>, StoreError> {
    match key {
        UserKey::Name(name) => t.one("SELECT * FROM \"user\" WHERE name = ?", values![name.as_str()], user),
        UserKey::Id(id) => t.one("SELECT * FROM \"user\" WHERE id = ?", values![id.0], user),
        UserKey::PhoneNumber(number) => {
            t.one("SELECT * FROM \"user\" WHERE phone_number = ?", values![number.as_e164()], user)
        }
    }
}

/// Changes one user and, unless it lets them in, ends their sessions and whatever challenge is under way.
pub(super) fn change(
    t: &mut dyn Transaction,
    name: &UserName,
    change: &UserChange,
    now: Timestamp,
) -> Result<Result<bool, Conflict>, StoreError> {
    t.lock(&[Lock::Users])?;
    let Some(found) = find(t, &UserKey::Name(name.clone()))? else { return Ok(Ok(false)) };
    // Whoever is about to sign them in has them for now; after that there is a session to end.
    let subject = Subject::user(found.id);
    t.lock(&[Lock::Subject(&subject)])?;
    let id = found.id.0;
    // Whatever is changed about them, a code that was made before is good for nothing any more.
    emergency::withdraw_of(t, found.id)?;
    match change {
        UserChange::SetPhone(number) => {
            let holder =
                find(t, &UserKey::PhoneNumber(number.clone()))?.filter(|holder| holder.id != found.id);
            if let Some(holder) = holder {
                return Ok(Err(Conflict::PhoneNumber(name.clone(), holder.name)));
            }
            let statement = "UPDATE \"user\" SET phone_number = ?, phone_verified_at = NULL WHERE id = ?";
            t.execute(statement, values![number.as_e164(), id])?;
        }
        UserChange::Disable => {
            t.execute("UPDATE \"user\" SET disabled = TRUE WHERE id = ?", values![id])?;
        }
        UserChange::Enable => {
            t.execute(
                "UPDATE \"user\" SET disabled = FALSE, two_factor_enabled = TRUE WHERE id = ?",
                values![id],
            )?;
            forget_limits(t, &subject)?;
            emergency::forget_tries(t, &subject)?;
            return Ok(Ok(true));
        }
        UserChange::Remove => {
            t.execute("DELETE FROM \"user\" WHERE id = ?", values![id])?;
            t.execute("DELETE FROM failure WHERE subject = ?", values![subject.as_str()])?;
        }
    }
    end_challenges(t, &subject)?;
    sessions::end_of(t, name, SessionEnd::Revoked, now)?;
    Ok(Ok(true))
}

/// Ends whatever is under way. A code sent before is right for nothing any more, and none that comes later shares it:
/// it may have gone to another phone.
fn end_challenges(t: &mut dyn Transaction, subject: &Subject) -> Result<(), StoreError> {
    let statement = "UPDATE challenge SET state = 'cancelled', prospect = 'used' \
                     WHERE subject = ? AND state IN ('open', 'cancelled', 'exhausted')";
    t.execute(statement, values![subject.as_str()])?;
    Ok(())
}

/// What a user used up by trying in vain: wrong codes, starts and messages.
fn forget_limits(t: &mut dyn Transaction, subject: &Subject) -> Result<(), StoreError> {
    let subject = subject.as_str();
    t.execute("DELETE FROM failure WHERE subject = ?", values![subject])?;
    t.execute("DELETE FROM spend WHERE key = 'starts:' || ?", values![subject])?;
    let budgets = "DELETE FROM budget WHERE key LIKE 'messages_per_user_and_%:' || ? || ':%'";
    t.execute(budgets, values![subject])?;
    Ok(())
}
