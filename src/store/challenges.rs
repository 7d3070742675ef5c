//! Challenges, limits and failures, as transactions.

use std::time::Duration;

use rusqlite::{Transaction, params};

use super::rates::spend;
use super::rows::{all, challenge, one, parse, user};
use crate::domain::challenge::{Approval, Challenge, State, Subject};
use crate::domain::channel::Channel;
use crate::domain::id::{ChallengeId, Reference};
use crate::domain::limits::{Failures, Rate};
use crate::domain::sending::{Holder, Pacing};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::domain::user::{UserId, UserName};
use crate::store::{Delivered, NewSession, Opened, Refused, Spend, StoreError};

pub(super) fn find(t: &Transaction<'_>, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
    one(&mut t.prepare_cached("SELECT * FROM challenge WHERE id = ?")?, [id.to_string()], challenge)
}

pub(super) fn of(t: &Transaction<'_>, reference: Reference) -> Result<Vec<Challenge>, StoreError> {
    let statement = "SELECT * FROM challenge WHERE reference = ? ORDER BY created_at, sent_at";
    all(&mut t.prepare_cached(statement)?, [reference.to_string()], challenge)
}

pub(super) fn open(
    t: &Transaction<'_>,
    mut new: Challenge,
    spends: &[Spend],
    now: Timestamp,
) -> Result<Result<Opened, Duration>, StoreError> {
    if let Err(wait) = spend(t, spends, now)? {
        return Ok(Err(wait));
    }
    // Who was shut out when it began and is let in now has no code to share.
    let newly_let_in = |earlier: &Challenge| earlier.user.is_none() && new.user.is_some();
    let shares = |earlier: &Challenge| earlier.shares_code(now) && !newly_let_in(earlier);
    let earlier = newest(t, &new.subject)?.filter(shares);
    if let Some(earlier) = &earlier {
        new.expires_at = earlier.expires_at;
        new.checks = earlier.checks;
        new.code_length = earlier.code_length;
        new.delivery = earlier.delivery;
        new.prospect = earlier.prospect;
        new.last = earlier.last;
        new.holder.clone_from(&earlier.holder);
        new.sends = earlier.sends;
    }
    let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.joins(new.channel, now)) else {
        // The same code once more: the pause before the next grows as it would for one who asks for another.
        new.sends = earlier.as_ref().map_or(1, |earlier| earlier.sends + 1);
        insert(t, &new)?;
        return Ok(Ok(Opened::Send(new)));
    };
    new.sent_at = earlier.sent_at;
    new.channel = earlier.channel;
    insert(t, &new)?;
    Ok(Ok(Opened::Joined(new)))
}

/// The subject's challenge whose code was sent last.
fn newest(t: &Transaction<'_>, subject: &Subject) -> Result<Option<Challenge>, StoreError> {
    let statement = "SELECT * FROM challenge WHERE subject = ? AND state IN ('open', 'cancelled') \
                     ORDER BY sent_at DESC, state = 'open' DESC LIMIT 1";
    one(&mut t.prepare_cached(statement)?, [subject.as_str()], challenge)
}

fn insert(t: &Transaction<'_>, c: &Challenge) -> Result<(), StoreError> {
    let statement = "INSERT INTO challenge (id, reference, user_id, user_name, subject, recipient, return_to, channel, created_at, \
                     expires_at, sent_at, sends, checks, max_checks, code_length, state, delivery, prospect, provider, handle, last, \
                     landline) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    t.prepare_cached(statement)?.execute(params![
        c.id.to_string(),
        c.reference.to_string(),
        c.user.map(|user| user.0),
        c.user_name.as_ref().map(UserName::as_str),
        c.subject.as_str(),
        c.recipient,
        c.return_to.as_str(),
        c.channel.as_str(),
        c.created_at.unix(),
        c.expires_at.unix(),
        c.sent_at.unix(),
        c.sends,
        c.checks,
        c.max_checks,
        c.code_length,
        c.state.as_str(),
        c.delivery.as_str(),
        c.prospect.as_str(),
        c.holder.as_ref().map(|holder| holder.provider.as_str()),
        c.holder.as_ref().and_then(|holder| holder.handle.as_deref()),
        c.last,
        c.landline,
    ])?;
    Ok(())
}

pub(super) fn resend(
    t: &Transaction<'_>,
    id: ChallengeId,
    channel: Channel,
    pacing: Pacing,
    spends: &[Spend],
    now: Timestamp,
) -> Result<Result<Challenge, Refused>, StoreError> {
    let Some(found) = find(t, id)? else { return Ok(Err(Refused::Unknown)) };
    if let Err(closed) = found.usable(now) {
        return Ok(Err(Refused::Closed(closed)));
    }
    // Whoever shares the code got the last one, or waits for it: two tabs do not send twice as often.
    let newest = newest_sending(t, &found)?;
    let wait = newest.resend_wait(channel, now, pacing);
    if !wait.is_zero() {
        return Ok(Err(Refused::TooOften(wait)));
    }
    if let Err(wait) = spend(t, spends, now)? {
        return Ok(Err(Refused::TooOften(wait)));
    }
    if newest.ends_with(channel, now, pacing) {
        let statement = format!("UPDATE challenge SET last = 1 WHERE {SAME_CODE}");
        t.prepare_cached(&statement)?.execute([id.to_string()])?;
    }
    let statement = "UPDATE challenge SET channel = ?, sent_at = ?, sends = ? WHERE id = ?";
    let (channel, sends) = (channel.as_str(), newest.sends + 1);
    t.prepare_cached(statement)?.execute(params![channel, now.unix(), sends, id.to_string()])?;
    Ok(find(t, id)?.ok_or(Refused::Unknown))
}

/// The challenge as it would be had it been sent by itself what was last sent of its code.
fn newest_sending(t: &Transaction<'_>, of: &Challenge) -> Result<Challenge, StoreError> {
    let statement =
        format!("SELECT * FROM challenge WHERE {SAME_CODE} ORDER BY sent_at DESC, sends DESC LIMIT 1");
    let newest = one(&mut t.prepare_cached(&statement)?, [of.id.to_string()], challenge)?;
    Ok(newest.map_or_else(
        || of.clone(),
        |newest| Challenge {
            sent_at: newest.sent_at,
            sends: newest.sends.max(of.sends),
            channel: newest.channel,
            ..of.clone()
        },
    ))
}

pub(super) fn record_delivery(
    t: &Transaction<'_>,
    id: ChallengeId,
    sent_at: Timestamp,
    delivered: &Delivered,
) -> Result<(), StoreError> {
    let Some(found) = find(t, id)? else { return Ok(()) };
    if found.sent_at != sent_at {
        // One that was sent later has a word of its own.
        return orphan(t, delivered.holder.as_ref(), &found, found.sent_at + SETTLED);
    }
    let statement = "UPDATE challenge SET delivery = ?, prospect = ? \
                     WHERE subject = ? AND state = 'open' AND sent_at = ? AND prospect <> 'used'";
    t.prepare_cached(statement)?.execute(params![
        delivered.delivery.as_str(),
        delivered.prospect.as_str(),
        found.subject.as_str(),
        found.sent_at.unix()
    ])?;
    let Some(holder) = &delivered.holder else { return Ok(()) };
    if found.holder.as_ref() != Some(holder) {
        // Where the new name is not known it may be the old one.
        let may_live = found.holder.as_ref().is_some_and(|old| old.provider == holder.provider)
            && holder.handle.is_none();
        let due = if may_live { found.expires_at } else { found.sent_at + SETTLED };
        orphan(t, found.holder.as_ref(), &found, due)?;
    }
    let adopted = "DELETE FROM orphan WHERE provider = ? AND handle = ?";
    t.prepare_cached(adopted)?.execute(params![holder.provider, holder.handle])?;
    // All challenges of a code have one holder: the provider keeps one code for a number.
    let statement = format!(
        "UPDATE challenge SET provider = ?2, handle = ?3, code_length = coalesce(?4, code_length), released = 0 \
         WHERE {SAME_CODE}"
    );
    t.prepare_cached(&statement)?.execute(params![
        id.to_string(),
        holder.provider,
        holder.handle,
        delivered.code_length
    ])?;
    Ok(())
}

/// A request can be cancelled so long after it was made.
const SETTLED: Duration = Duration::from_secs(60);

/// Keeps a code that no challenge holds any more, to be cancelled when the provider lets it be.
fn orphan(
    t: &Transaction<'_>,
    holder: Option<&Holder>,
    of: &Challenge,
    due: Timestamp,
) -> Result<(), StoreError> {
    let Some((holder, handle)) = holder.and_then(|holder| Some((holder, holder.handle.as_ref()?))) else {
        return Ok(());
    };
    let statement = "INSERT OR IGNORE INTO orphan (provider, handle, reference, due_at) VALUES (?, ?, ?, ?)";
    t.prepare_cached(statement)?.execute(params![
        holder.provider,
        handle,
        of.reference.to_string(),
        due.unix()
    ])?;
    Ok(())
}

pub(super) fn undo_sending(
    t: &Transaction<'_>,
    id: ChallengeId,
    before: Option<&Challenge>,
) -> Result<(), StoreError> {
    let Some(before) = before else {
        let statement = "UPDATE challenge SET state = 'unsent' WHERE (subject, sent_at) = \
                         (SELECT subject, sent_at FROM challenge WHERE id = ?1) AND state = 'open' AND created_at >= sent_at";
        t.prepare_cached(statement)?.execute([id.to_string()])?;
        return Ok(());
    };
    let joined = "UPDATE challenge SET state = 'unsent' WHERE (subject, sent_at) = \
                  (SELECT subject, sent_at FROM challenge WHERE id = ?1) \
                  AND id <> ?1 AND state = 'open' AND created_at >= sent_at";
    t.prepare_cached(joined)?.execute([id.to_string()])?;
    let statement = "UPDATE challenge SET channel = ?, sent_at = ?, sends = ? WHERE id = ?";
    t.prepare_cached(statement)?.execute(params![
        before.channel.as_str(),
        before.sent_at.unix(),
        before.sends,
        id.to_string()
    ])?;
    let statement = format!("UPDATE challenge SET last = ?2 WHERE {SAME_CODE}");
    t.prepare_cached(&statement)?.execute(params![id.to_string(), before.last])?;
    Ok(())
}

pub(super) fn abandoned(t: &Transaction<'_>, now: Timestamp) -> Result<Vec<(Holder, Reference)>, StoreError> {
    // After half an hour the provider is done with it, too.
    let oldest = now - Duration::from_secs(1_800);
    let statement = "SELECT provider, handle, min(reference) AS reference FROM challenge \
                     WHERE expires_at BETWEEN ?1 AND ?2 AND released = 0 AND handle IS NOT NULL \
                     AND state IN ('open', 'cancelled', 'exhausted') GROUP BY provider, handle \
                     UNION SELECT provider, handle, reference FROM orphan WHERE due_at BETWEEN ?1 AND ?2 LIMIT 100";
    let read = |row: &rusqlite::Row<'_>| {
        let holder = Holder { provider: row.get("provider")?, handle: row.get("handle")? };
        Ok((holder, parse(row, "reference")?))
    };
    all(&mut t.prepare_cached(statement)?, [oldest.unix(), now.unix()], read)
}

pub(super) fn release(t: &Transaction<'_>, holder: &Holder) -> Result<(), StoreError> {
    let statement = "UPDATE challenge SET released = 1 WHERE released = 0 AND handle = ? AND provider = ? \
                     AND state IN ('open', 'cancelled', 'exhausted')";
    t.prepare_cached(statement)?.execute(params![holder.handle, holder.provider])?;
    let statement = "DELETE FROM orphan WHERE handle = ? AND provider = ?";
    t.prepare_cached(statement)?.execute(params![holder.handle, holder.provider])?;
    Ok(())
}

/// The challenges that one code serves, two tabs or two browsers of one person: they share its tries and its end, as
/// they do at the provider. Were each to have tries of its own, the provider's fewer would tell that a number is known.
const SAME_CODE: &str = "(subject, expires_at) = (SELECT subject, expires_at FROM challenge WHERE id = ?1) \
                         AND state IN ('open', 'cancelled')";

pub(super) fn spend_check(
    t: &Transaction<'_>,
    id: ChallengeId,
    rate: Rate,
    now: Timestamp,
) -> Result<Result<Challenge, Refused>, StoreError> {
    let Some(found) = find(t, id)? else { return Ok(Err(Refused::Unknown)) };
    if let Err(closed) = found.usable(now) {
        return Ok(Err(Refused::Closed(closed)));
    }
    let failures = failures(t, &found.subject)?;
    if let Err(stop) = failures.judge(now) {
        return Ok(Err(Refused::Failures(stop)));
    }
    if let Err(wait) = spend(t, &[Spend { key: format!("checks:{id}"), rate }], now)? {
        return Ok(Err(Refused::TooOften(wait)));
    }
    write_failures(t, &found.subject, failures.spend(now))?;
    let statement = format!("UPDATE challenge SET checks = checks + 1 WHERE {SAME_CODE}");
    t.prepare_cached(&statement)?.execute([id.to_string()])?;
    Ok(find(t, id)?.ok_or(Refused::Unknown))
}

pub(super) fn failures(t: &Transaction<'_>, subject: &Subject) -> Result<Failures, StoreError> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Failures { count: row.get("count")?, last_at: Timestamp::from_unix(row.get("last_at")?) })
    };
    let mut statement = t.prepare_cached("SELECT count, last_at FROM failure WHERE subject = ?")?;
    Ok(one(&mut statement, [subject.as_str()], read)?.unwrap_or(Failures::NONE))
}

fn write_failures(t: &Transaction<'_>, subject: &Subject, failures: Failures) -> Result<(), StoreError> {
    let statement = "INSERT INTO failure (subject, count, last_at) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (subject) DO UPDATE SET count = ?2, last_at = ?3";
    t.prepare_cached(statement)?.execute(params![
        subject.as_str(),
        failures.count,
        failures.last_at.unix()
    ])?;
    Ok(())
}

pub(super) fn refund_failure(t: &Transaction<'_>, subject: &Subject) -> Result<(), StoreError> {
    let statement = "UPDATE failure SET count = max(count - 1, 0) WHERE subject = ?";
    t.prepare_cached(statement)?.execute([subject.as_str()])?;
    Ok(())
}

pub(super) fn close(t: &Transaction<'_>, id: ChallengeId, state: State) -> Result<bool, StoreError> {
    let statement = "UPDATE challenge SET state = ? WHERE id = ? AND state = 'open'";
    Ok(t.prepare_cached(statement)?.execute(params![state.as_str(), id.to_string()])? == 1)
}

/// Ends every challenge of a code without success.
pub(super) fn use_up(t: &Transaction<'_>, id: ChallengeId) -> Result<(), StoreError> {
    let statement = format!("UPDATE challenge SET state = 'exhausted' WHERE {SAME_CODE}");
    t.prepare_cached(&statement)?.execute([id.to_string()])?;
    Ok(())
}

/// The time of a code is over, but who proved to have it a moment ago may still come in: it stays open.
pub(super) fn expire(t: &Transaction<'_>, id: ChallengeId, now: Timestamp) -> Result<State, StoreError> {
    let statement = format!("UPDATE challenge SET expires_at = min(expires_at, ?2) WHERE {SAME_CODE}");
    t.prepare_cached(&statement)?.execute(params![id.to_string(), now.unix()])?;
    Ok(find(t, id)?.map_or(State::Cancelled, |challenge| challenge.state))
}

pub(super) fn accept(
    t: &Transaction<'_>,
    approval: &Approval,
    new: &NewSession,
    now: Timestamp,
) -> Result<Option<Session>, StoreError> {
    // Whoever turns `open` into `accepted` has won; everybody else finds nothing to turn.
    if !close(t, approval.challenge(), State::Accepted)? {
        return Ok(None);
    }
    let by_id = "SELECT * FROM user WHERE id = ?";
    let found =
        one(&mut t.prepare_cached(by_id)?, [approval.user().0], user)?.filter(|user| user.may_sign_in());
    let Some(found) = found else { return Ok(None) };
    // The others this code served look as before, and no code is right for them any more: who started one of them for
    // somebody else's number must not see that its holder has just signed in.
    let statement = format!("UPDATE challenge SET prospect = 'used' WHERE {SAME_CODE}");
    t.prepare_cached(&statement)?.execute([approval.challenge().to_string()])?;
    succeed(t, found.id, now)?;
    super::spend::entered(t, &Subject::user(found.id), approval.began_at())?;
    let session = Session {
        id: new.id,
        user_id: found.id,
        user: found.name,
        method: approval.channel().method().to_owned(),
        auth_time: now,
        expires_at: new.expires_at,
        last_seen_at: now,
        ended: None,
        client: new.client.clone(),
    };
    super::sessions::insert(t, &session, new.follows)?;
    Ok(Some(session))
}

fn succeed(t: &Transaction<'_>, id: UserId, now: Timestamp) -> Result<(), StoreError> {
    t.execute("DELETE FROM failure WHERE subject = ?", [Subject::user(id).as_str()])?;
    let statement = "UPDATE user SET phone_verified_at = coalesce(phone_verified_at, ?) WHERE id = ?";
    t.execute(statement, params![now.unix(), id.0])?;
    Ok(())
}

/// Forgets what is over: a day is long enough to look a reference up, and longer than any challenge lives.
pub(super) fn purge(t: &Transaction<'_>, now: Timestamp) -> Result<usize, StoreError> {
    const DAY: Duration = Duration::from_secs(86_400);
    let over = (now - DAY).unix();
    let longest_rate = (now - DAY * 31).unix();
    let mut gone = t.execute(
        "DELETE FROM challenge WHERE id IN (SELECT id FROM challenge WHERE expires_at < ? LIMIT 1000)",
        [over],
    )?;
    gone += t.execute("DELETE FROM orphan WHERE due_at < ?", [over])?;
    let check = "DELETE FROM spend WHERE rowid IN (SELECT rowid FROM spend WHERE at < ?1 AND key LIKE 'checks:%' LIMIT 1000)";
    gone += t.execute(check, [over])?;
    let spend = "DELETE FROM spend WHERE rowid IN (SELECT rowid FROM spend WHERE at < ? LIMIT 1000)";
    gone += t.execute(spend, [longest_rate])?;
    // A user's failures stay until success; a stranger's long enough that nobody waits to tell them apart.
    let failure = "DELETE FROM failure WHERE subject IN \
                   (SELECT subject FROM failure WHERE subject LIKE 'stranger:%' AND last_at < ? LIMIT 1000)";
    gone += t.execute(failure, [longest_rate])?;
    Ok(gone)
}
