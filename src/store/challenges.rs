//! Challenges, limits and failures, as transactions.

use std::time::Duration;

use super::chain::Chain;
use super::rates::spend;
use super::rows::{challenge, parse, user};
use super::sql::{Lock, Row, Transaction, values};
use crate::domain::challenge::{Approval, Challenge, State, Subject};
use crate::domain::channel::Channel;
use crate::domain::id::{ChallengeId, Reference};
use crate::domain::limits::{Failures, Rate};
use crate::domain::sending::{Holder, Pacing};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::domain::user::{UserId, UserName};
use crate::store::{Delivered, Lapsed, NewSession, Opened, Refused, Spend, StoreError};

pub(super) fn find(t: &mut dyn Transaction, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
    t.one("SELECT * FROM challenge WHERE id = ?", values![id.to_string()], challenge)
}

/// The challenge as it is once nobody else works on its subject's.
fn hold(t: &mut dyn Transaction, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
    hold_with(t, id, &[])
}

/// The same with what is to be counted: all at once, in the order that everybody takes them in.
fn hold_with(
    t: &mut dyn Transaction,
    id: ChallengeId,
    spends: &[Spend],
) -> Result<Option<Challenge>, StoreError> {
    let statement = "SELECT subject FROM challenge WHERE id = ?";
    let subject = t.one(statement, values![id.to_string()], |row| row.get("subject"))?;
    let Some(subject) = subject.map(Subject::from_stored) else { return Ok(None) };
    lock(t, &subject, spends)?;
    find(t, id)
}

fn lock(t: &mut dyn Transaction, subject: &Subject, spends: &[Spend]) -> Result<(), StoreError> {
    let counted = spends.iter().map(|spend| Lock::Spend(&spend.key));
    t.lock(&counted.chain([Lock::Subject(subject)]).collect::<Vec<_>>())
}

pub(super) fn of(t: &mut dyn Transaction, reference: Reference) -> Result<Vec<Challenge>, StoreError> {
    let statement = "SELECT * FROM challenge WHERE reference = ? ORDER BY created_at, sent_at";
    t.all(statement, values![reference.to_string()], challenge)
}

pub(super) fn open(
    t: &mut dyn Transaction,
    new: &Challenge,
    spends: &[Spend],
    now: Timestamp,
) -> Result<Result<Opened, Duration>, StoreError> {
    lock(t, &new.subject, spends)?;
    if let Err(wait) = spend(t, spends, now)? {
        return Ok(Err(wait));
    }
    let mut new = new.clone();
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
fn newest(t: &mut dyn Transaction, subject: &Subject) -> Result<Option<Challenge>, StoreError> {
    let statement = "SELECT * FROM challenge WHERE subject = ? AND state IN ('open', 'cancelled') \
                     ORDER BY sent_at DESC, state = 'open' DESC LIMIT 1";
    t.one(statement, values![subject.as_str()], challenge)
}

fn insert(t: &mut dyn Transaction, c: &Challenge) -> Result<(), StoreError> {
    let statement = "INSERT INTO challenge (id, reference, user_id, user_name, subject, recipient, return_to, channel, created_at, \
                     expires_at, sent_at, sends, checks, max_checks, code_length, state, delivery, prospect, provider, handle, last, \
                     landline) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    t.execute(
        statement,
        values![
            c.id.to_string(),
            c.reference.to_string(),
            c.user.map(|user| user.0),
            c.user_name.as_ref().map(UserName::as_str),
            c.subject.as_str(),
            &c.recipient,
            c.return_to.as_str(),
            c.channel.as_str(),
            c.created_at,
            c.expires_at,
            c.sent_at,
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
        ],
    )?;
    Ok(())
}

pub(super) fn resend(
    t: &mut dyn Transaction,
    id: ChallengeId,
    channel: Channel,
    pacing: Pacing,
    spends: &[Spend],
    now: Timestamp,
) -> Result<Result<Challenge, Refused>, StoreError> {
    let Some(found) = hold_with(t, id, spends)? else { return Ok(Err(Refused::Unknown)) };
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
        let statement = format!("UPDATE challenge SET last = TRUE WHERE {SAME_CODE}");
        t.execute(&statement, values![id.to_string()])?;
    }
    let statement = "UPDATE challenge SET channel = ?, sent_at = ?, sends = ? WHERE id = ?";
    let (channel, sends) = (channel.as_str(), newest.sends + 1);
    t.execute(statement, values![channel, now, sends, id.to_string()])?;
    Ok(find(t, id)?.ok_or(Refused::Unknown))
}

/// The challenge as it would be had it been sent by itself what was last sent of its code.
fn newest_sending(t: &mut dyn Transaction, of: &Challenge) -> Result<Challenge, StoreError> {
    let statement =
        format!("SELECT * FROM challenge WHERE {SAME_CODE} ORDER BY sent_at DESC, sends DESC LIMIT 1");
    let newest = t.one(&statement, values![of.id.to_string()], challenge)?;
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
    t: &mut dyn Transaction,
    id: ChallengeId,
    sent_at: Timestamp,
    delivered: &Delivered,
) -> Result<(), StoreError> {
    let Some(found) = hold(t, id)? else { return Ok(()) };
    if found.sent_at != sent_at {
        // One that was sent later has a word of its own.
        return orphan(t, delivered.holder.as_ref(), &found, found.sent_at + SETTLED);
    }
    let statement = "UPDATE challenge SET delivery = ?, prospect = ? \
                     WHERE subject = ? AND state = 'open' AND sent_at = ? AND prospect <> 'used'";
    t.execute(
        statement,
        values![
            delivered.delivery.as_str(),
            delivered.prospect.as_str(),
            found.subject.as_str(),
            found.sent_at
        ],
    )?;
    let Some(holder) = &delivered.holder else { return Ok(()) };
    if found.holder.as_ref() != Some(holder) {
        // Where the new name is not known it may be the old one.
        let may_live = found.holder.as_ref().is_some_and(|old| old.provider == holder.provider)
            && holder.handle.is_none();
        let due = if may_live { found.expires_at } else { found.sent_at + SETTLED };
        orphan(t, found.holder.as_ref(), &found, due)?;
    }
    let adopted = "DELETE FROM orphan WHERE provider = ? AND handle = ?";
    t.execute(adopted, values![&holder.provider, holder.handle.as_deref()])?;
    // All challenges of a code have one holder: the provider keeps one code for a number.
    let statement = format!(
        "UPDATE challenge SET provider = ?2, handle = ?3, code_length = coalesce(?4, code_length), released = FALSE \
         WHERE {SAME_CODE}"
    );
    t.execute(
        &statement,
        values![id.to_string(), &holder.provider, holder.handle.as_deref(), delivered.code_length],
    )?;
    Ok(())
}

/// A request can be cancelled so long after it was made.
const SETTLED: Duration = Duration::from_secs(60);

/// Keeps a code that no challenge holds any more, to be cancelled when the provider lets it be.
fn orphan(
    t: &mut dyn Transaction,
    holder: Option<&Holder>,
    of: &Challenge,
    due: Timestamp,
) -> Result<(), StoreError> {
    let Some((holder, handle)) = holder.and_then(|holder| Some((holder, holder.handle.as_ref()?))) else {
        return Ok(());
    };
    let statement =
        "INSERT INTO orphan (provider, handle, reference, due_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    t.execute(statement, values![&holder.provider, handle, of.reference.to_string(), due])?;
    Ok(())
}

pub(super) fn undo_sending(
    t: &mut dyn Transaction,
    id: ChallengeId,
    before: Option<&Challenge>,
) -> Result<(), StoreError> {
    if hold(t, id)?.is_none() {
        return Ok(());
    }
    let Some(before) = before else {
        let statement = "UPDATE challenge SET state = 'unsent' WHERE (subject, sent_at) = \
                         (SELECT subject, sent_at FROM challenge WHERE id = ?1) AND state = 'open' AND created_at >= sent_at";
        t.execute(statement, values![id.to_string()])?;
        return Ok(());
    };
    let joined = "UPDATE challenge SET state = 'unsent' WHERE (subject, sent_at) = \
                  (SELECT subject, sent_at FROM challenge WHERE id = ?1) \
                  AND id <> ?1 AND state = 'open' AND created_at >= sent_at";
    t.execute(joined, values![id.to_string()])?;
    let statement = "UPDATE challenge SET channel = ?, sent_at = ?, sends = ? WHERE id = ?";
    t.execute(statement, values![before.channel.as_str(), before.sent_at, before.sends, id.to_string()])?;
    let statement = format!("UPDATE challenge SET last = ?2 WHERE {SAME_CODE}");
    t.execute(&statement, values![id.to_string(), before.last])?;
    Ok(())
}

pub(super) fn abandoned(
    t: &mut dyn Transaction,
    now: Timestamp,
) -> Result<Vec<(Holder, Reference)>, StoreError> {
    // After half an hour the provider is done with it, too.
    let oldest = now - Duration::from_secs(1_800);
    let statement = "SELECT provider, handle, min(reference) AS reference FROM challenge \
                     WHERE expires_at BETWEEN ?1 AND ?2 AND NOT released AND handle IS NOT NULL \
                     AND state IN ('open', 'cancelled', 'exhausted') GROUP BY provider, handle \
                     UNION SELECT provider, handle, reference FROM orphan WHERE due_at BETWEEN ?1 AND ?2 LIMIT 100";
    let read = |row: &dyn Row| {
        let holder = Holder { provider: row.get("provider")?, handle: row.get("handle")? };
        Ok((holder, parse(row, "reference")?))
    };
    t.all(statement, values![oldest, now], read)
}

pub(super) fn release(t: &mut dyn Transaction, holder: &Holder) -> Result<Option<Lapsed>, StoreError> {
    let statement = "UPDATE challenge SET released = TRUE WHERE NOT released AND handle = ? AND provider = ? \
                     AND state IN ('open', 'cancelled', 'exhausted')";
    let first = t.execute(statement, values![holder.handle.as_deref(), &holder.provider])? > 0;
    let statement = "DELETE FROM orphan WHERE handle = ? AND provider = ?";
    t.execute(statement, values![holder.handle.as_deref(), &holder.provider])?;
    if !first {
        return Ok(None);
    }
    // Neither given up, nor used up, nor used.
    let statement = "SELECT channel, user_id FROM challenge WHERE handle = ? AND provider = ? AND state = 'open' \
                     AND prospect = 'open' AND user_id IS NOT NULL ORDER BY sent_at DESC LIMIT 1";
    let read =
        |row: &dyn Row| Ok(Lapsed { channel: parse(row, "channel")?, user: UserId(row.get("user_id")?) });
    t.one(statement, values![holder.handle.as_deref(), &holder.provider], read)
}

/// The challenges that one code serves, two tabs or two browsers of one person: they share its tries and its end, as
/// they do at the provider. Were each to have tries of its own, the provider's fewer would tell that a number is known.
const SAME_CODE: &str = "(subject, expires_at) = (SELECT subject, expires_at FROM challenge WHERE id = ?1) \
                         AND state IN ('open', 'cancelled')";

pub(super) fn spend_check(
    t: &mut dyn Transaction,
    id: ChallengeId,
    rate: Rate,
    now: Timestamp,
) -> Result<Result<Challenge, Refused>, StoreError> {
    let Some(found) = hold(t, id)? else { return Ok(Err(Refused::Unknown)) };
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
    t.execute(&statement, values![id.to_string()])?;
    // Nobody else works on it, and one that is usable is among those.
    Ok(Ok(Challenge { checks: found.checks + 1, ..found }))
}

pub(super) fn failures(t: &mut dyn Transaction, subject: &Subject) -> Result<Failures, StoreError> {
    let read = |row: &dyn Row| Ok(Failures { count: row.get("count")?, last_at: row.get("last_at")? });
    let statement = "SELECT count, last_at FROM failure WHERE subject = ?";
    Ok(t.one(statement, values![subject.as_str()], read)?.unwrap_or(Failures::NONE))
}

fn write_failures(t: &mut dyn Transaction, subject: &Subject, failures: Failures) -> Result<(), StoreError> {
    let statement = "INSERT INTO failure (subject, count, last_at) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (subject) DO UPDATE SET count = excluded.count, last_at = excluded.last_at";
    t.execute(statement, values![subject.as_str(), failures.count, failures.last_at])?;
    Ok(())
}

pub(super) fn refund_failure(t: &mut dyn Transaction, subject: &Subject) -> Result<(), StoreError> {
    t.lock(&[Lock::Subject(subject)])?;
    let statement = "UPDATE failure SET count = count - 1 WHERE subject = ? AND count > 0";
    t.execute(statement, values![subject.as_str()])?;
    Ok(())
}

pub(super) fn cancel(t: &mut dyn Transaction, id: ChallengeId) -> Result<(), StoreError> {
    hold(t, id)?;
    t.execute(
        "UPDATE challenge SET state = 'cancelled' WHERE id = ? AND state = 'open'",
        values![id.to_string()],
    )?;
    Ok(())
}

/// Ends every challenge of a code without success.
pub(super) fn use_up(t: &mut dyn Transaction, id: ChallengeId) -> Result<(), StoreError> {
    hold(t, id)?;
    let statement = format!("UPDATE challenge SET state = 'exhausted' WHERE {SAME_CODE}");
    t.execute(&statement, values![id.to_string()])?;
    Ok(())
}

/// The time of a code is over, but who proved to have it a moment ago may still come in: it stays open.
pub(super) fn expire(t: &mut dyn Transaction, id: ChallengeId, now: Timestamp) -> Result<State, StoreError> {
    hold(t, id)?;
    let statement = format!("UPDATE challenge SET expires_at = ?2 WHERE expires_at > ?2 AND {SAME_CODE}");
    t.execute(&statement, values![id.to_string(), now])?;
    Ok(find(t, id)?.map_or(State::Cancelled, |challenge| challenge.state))
}

pub(super) fn accept(
    t: &mut dyn Transaction,
    chain: &Chain,
    approval: &Approval,
    new: &NewSession,
    now: Timestamp,
) -> Result<Option<Session>, StoreError> {
    // Their account, too: who is shut out meanwhile is seen to be.
    hold(t, approval.challenge())?;
    // Whoever turns `open` into `accepted` has won; everybody else finds nothing to turn, and with the same code neither
    // does another tab.
    let statement =
        "UPDATE challenge SET state = 'accepted' WHERE id = ? AND state = 'open' AND prospect <> 'used'";
    if t.execute(statement, values![approval.challenge().to_string()])? == 0 {
        return Ok(None);
    }
    let by_id = "SELECT * FROM \"user\" WHERE id = ?";
    let found = t.one(by_id, values![approval.user().0], user)?.filter(|user| user.may_sign_in());
    let Some(found) = found else { return Ok(None) };
    // The others this code served look as before, and no code is right for them any more: who started one of them for
    // somebody else's number must not see that its holder has just signed in.
    let statement = format!("UPDATE challenge SET prospect = 'used' WHERE {SAME_CODE}");
    t.execute(&statement, values![approval.challenge().to_string()])?;
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
    // A code that is used up must not leave a session that nobody holds: both stand, or neither.
    super::audit::append(t, chain, std::slice::from_ref(&new.event))?;
    Ok(Some(session))
}

fn succeed(t: &mut dyn Transaction, id: UserId, now: Timestamp) -> Result<(), StoreError> {
    t.execute("DELETE FROM failure WHERE subject = ?", values![Subject::user(id).as_str()])?;
    let statement = "UPDATE \"user\" SET phone_verified_at = coalesce(phone_verified_at, ?) WHERE id = ?";
    t.execute(statement, values![now, id.0])?;
    Ok(())
}

/// Forgets what is over: a day is long enough to look a reference up, and longer than any challenge lives.
pub(super) fn purge(t: &mut dyn Transaction, now: Timestamp) -> Result<usize, StoreError> {
    const DAY: Duration = Duration::from_secs(86_400);
    let over = now - DAY;
    let longest_rate = now - DAY * 31;
    let mut gone = t.execute(
        "DELETE FROM challenge WHERE id IN (SELECT id FROM challenge WHERE expires_at < ? LIMIT 1000)",
        values![over],
    )?;
    gone += t.execute("DELETE FROM orphan WHERE due_at < ?", values![over])?;
    gone += t.execute("DELETE FROM emergency_code WHERE expires_at < ?", values![over])?;
    let check = "DELETE FROM spend WHERE (key, at) IN \
                 (SELECT key, at FROM spend WHERE at < ? AND (key LIKE 'checks:%' OR key LIKE 'emergency:%') LIMIT 1000)";
    gone += t.execute(check, values![over])?;
    let spend = "DELETE FROM spend WHERE (key, at) IN (SELECT key, at FROM spend WHERE at < ? LIMIT 1000)";
    gone += t.execute(spend, values![longest_rate])?;
    // A user's failures stay until success; a stranger's long enough that nobody waits to tell them apart.
    let failure = "DELETE FROM failure WHERE subject IN \
                   (SELECT subject FROM failure WHERE subject LIKE 'stranger:%' AND last_at < ? LIMIT 1000)";
    gone += t.execute(failure, values![longest_rate])?;
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sending::Switch;
    use crate::store::sql::Value;

    /// Knows whose a challenge is, and remembers what was locked together.
    #[derive(Default)]
    struct Locked(Vec<Vec<String>>);

    struct Owner;

    impl Row for Owner {
        fn value(&self, _column: &'static str) -> Result<Value<'_>, StoreError> {
            Ok(Value::from("user:1"))
        }
    }

    impl Transaction for Locked {
        fn execute(&mut self, _statement: &str, _values: &[Value<'_>]) -> Result<usize, StoreError> {
            Ok(0)
        }

        fn each(
            &mut self,
            statement: &str,
            _values: &[Value<'_>],
            see: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
        ) -> Result<(), StoreError> {
            if statement.starts_with("SELECT subject") { see(&Owner) } else { Ok(()) }
        }

        fn lock(&mut self, locks: &[Lock<'_>]) -> Result<(), StoreError> {
            self.0.push(locks.iter().map(Lock::name).collect());
            Ok(())
        }

        fn tell(&mut self) -> Result<(), StoreError> {
            Ok(())
        }

        fn undo(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn a_resend_takes_all_it_works_on_at_once_as_a_start_does() {
        let (id, now) = (ChallengeId::from_random([7; 16]), Timestamp::from_unix(1_800_000_000));
        let spends = ["starts_number:a", "starts:user:1"];
        let spends =
            spends.map(|key| Spend { key: key.to_owned(), rate: Rate::new(5, Duration::from_secs(3_600)) });
        let pacing = Pacing { after: Duration::from_secs(30), switch: Switch::Free };
        let mut t = Locked::default();
        resend(&mut t, id, Channel::Sms, pacing, &spends, now).unwrap().unwrap_err();
        assert_eq!(t.0, [["spend starts_number:a", "spend starts:user:1", "subject user:1"]]);
    }
}
