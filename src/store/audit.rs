//! The audit trail, as transactions.
//!
//! Lines are numbered and sealed here (`domain/chain`). Whoever writes holds the chain until its transaction is committed:
//! it is taken last, just before the lines are written.

use std::time::Duration;

use super::sql::{Lock, Row, Transaction, Value, values};
use crate::crypto::ChainKey;
use crate::domain::chain::{BROKEN, Hash, Head, Line, TEXTS};
use crate::domain::event::{Event, What};
use crate::domain::time::Timestamp;
use crate::domain::user::UserName;
use crate::store::{About, Page, Recorded, RecordedMessage, Sealed, StoreError};

/// Rows of one statement.
const ROWS: usize = 500;
/// Lines of one purge.
const PURGED: usize = 1_000;
/// A webhook that did not take a line for so long does not get it any more.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(86_400);

/// The head as it stands in the store, whoever wrote it.
#[derive(Clone, Debug)]
pub(super) struct StoredHead {
    number: i64,
    hash: Vec<u8>,
    begun: i64,
    purged: i64,
    purged_hash: Vec<u8>,
    seal: Vec<u8>,
}

impl StoredHead {
    fn read(row: &dyn Row) -> Result<Self, StoreError> {
        Ok(Self {
            number: row.get("head_number")?,
            hash: row.get("head_hash")?,
            begun: row.get("begun")?,
            purged: row.get("purged")?,
            purged_hash: row.get("purged_hash")?,
            seal: row.get("seal")?,
        })
    }

    /// Sealed by us.
    fn new(chain: &ChainKey, head: &Head) -> Self {
        Self {
            number: head.number,
            hash: head.hash.to_vec(),
            begun: head.begun,
            purged: head.purged,
            purged_hash: head.purged_hash.to_vec(),
            seal: chain.seal(&head.bytes()).to_vec(),
        }
    }

    /// The same where nobody sealed it.
    fn broken(self) -> Self {
        Self { seal: b"broken".to_vec(), ..self }
    }

    /// What it says, and whether we said it. Before the first line nobody has.
    fn opened(&self, chain: &ChainKey) -> (Head, bool) {
        let hash = |bytes: &[u8]| Hash::try_from(bytes).unwrap_or(BROKEN);
        let head = Head {
            number: self.number,
            hash: hash(&self.hash),
            begun: self.begun,
            purged: self.purged,
            purged_hash: hash(&self.purged_hash),
        };
        let ours = self.seal.as_slice() == chain.seal(&head.bytes());
        (head, ours || (self.seal.is_empty() && head.is_new()))
    }
}

/// Its columns, by names that no column of a line has.
const HEAD: &str = "c.number AS head_number, c.hash AS head_hash, c.begun, c.purged, c.purged_hash, c.seal";

fn corrupt() -> StoreError {
    StoreError::Corrupt("audit_chain")
}

/// The head, for whoever only looks.
pub(super) fn stored_head(t: &mut dyn Transaction) -> Result<StoredHead, StoreError> {
    head_in(t, "audit_chain")
}

fn head_in(t: &mut dyn Transaction, table: &str) -> Result<StoredHead, StoreError> {
    let question = format!("SELECT {HEAD} FROM {table} AS c");
    t.one(&question, values![], StoredHead::read)?.ok_or_else(corrupt)
}

/// Another head in its place.
pub(super) fn put_head(t: &mut dyn Transaction, head: &StoredHead) -> Result<(), StoreError> {
    let statement =
        "UPDATE audit_chain SET number = ?, hash = ?, begun = ?, purged = ?, purged_hash = ?, seal = ?";
    let values = values![head.number, &head.hash, head.begun, head.purged, &head.purged_hash, &head.seal];
    if t.execute(statement, values)? == 1 { Ok(()) } else { Err(corrupt()) }
}

/// The head, which nobody else changes until this transaction ends. One that is not ours is gone on from so that it shows.
fn hold(t: &mut dyn Transaction, chain: &ChainKey) -> Result<Head, StoreError> {
    t.lock(&[Lock::Audit])?;
    let question =
        format!("SELECT {HEAD}, (SELECT coalesce(max(number), 0) FROM audit) AS last FROM audit_chain AS c");
    let read = |row: &dyn Row| Ok((StoredHead::read(row)?, row.get::<i64>("last")?));
    let (stored, last) = t.one(&question, values![], read)?.ok_or_else(corrupt)?;
    let (head, ours) = stored.opened(chain);
    if ours && last <= head.number {
        return Ok(head);
    }
    tracing::error!("the end of the audit trail is not what was written; run: vestibule audit verify");
    Ok(Head { number: head.number.max(last), hash: BROKEN, ..head })
}

/// Writes lines behind the last one. The last thing a transaction does: others wait for its end.
pub(super) fn append(t: &mut dyn Transaction, chain: &ChainKey, events: &[Event]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let head = hold(t, chain)?;
    write(t, chain, head, events)
}

fn write(
    t: &mut dyn Transaction,
    chain: &ChainKey,
    mut head: Head,
    events: &[Event],
) -> Result<(), StoreError> {
    for some in events.chunks(ROWS) {
        let lines: Vec<_> = some
            .iter()
            .map(|event| {
                let line = Line::of(event, head.number + 1);
                let hash = chain.seal(&line.after(&head.hash));
                (head.number, head.hash) = (line.number, hash);
                (line, hash)
            })
            .collect();
        insert(t, &lines)?;
    }
    put_head(t, &StoredHead::new(chain, &head))
}

fn insert(t: &mut dyn Transaction, lines: &[(Line, Hash)]) -> Result<(), StoreError> {
    let row = format!("({})", vec!["?"; TEXTS.len() + 3].join(", "));
    let (columns, marks) = (TEXTS.join(", "), vec![row.as_str(); lines.len()].join(", "));
    let statement = format!("INSERT INTO audit (number, at, {columns}, hash) VALUES {marks}");
    let mut values = Vec::with_capacity(lines.len() * (TEXTS.len() + 3));
    for (line, hash) in lines {
        values.extend([Value::from(line.number), Value::from(line.at)]);
        values.extend(line.texts.iter().map(|text| Value::from(text.as_deref())));
        values.push(Value::Bytes(hash.as_slice().into()));
    }
    t.execute(&statement, &values).map(drop)
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

/// Lines after a number and the head, as they were at one moment: it is one statement.
pub(super) fn page(
    t: &mut dyn Transaction,
    chain: &ChainKey,
    after: i64,
    most: usize,
) -> Result<Page, StoreError> {
    let statement = format!(
        "SELECT a.*, {HEAD} FROM audit_chain AS c \
         LEFT JOIN (SELECT * FROM audit WHERE number > ? ORDER BY number LIMIT ?) AS a ON TRUE ORDER BY a.number"
    );
    let (mut stored, mut lines) = (None, Vec::new());
    t.each(&statement, values![after, most as i64], &mut |row| {
        if stored.is_none() {
            stored = Some(StoredHead::read(row)?);
        }
        if row.get::<Option<i64>>("number")?.is_some() {
            lines.push(Sealed { recorded: recorded(row)?, line: line(row)?, hash: row.get("hash")? });
        }
        Ok(())
    })?;
    let (head, ours) = stored.ok_or_else(corrupt)?.opened(chain);
    Ok(Page { head, ours, lines })
}

fn line(row: &dyn Row) -> Result<Line, StoreError> {
    let mut texts = [const { None }; TEXTS.len()];
    for (text, column) in texts.iter_mut().zip(TEXTS) {
        *text = row.get(column)?;
    }
    Ok(Line { number: row.get("number")?, at: row.get("at")?, texts })
}

/// The oldest lines go, up to the last of them that is old enough: numbers rise with time, and a line from a clock that was
/// wrong goes with those behind it.
pub(super) fn purge(
    t: &mut dyn Transaction,
    chain: &ChainKey,
    before: Timestamp,
    now: Timestamp,
) -> Result<usize, StoreError> {
    t.lock(&[Lock::Purge])?;
    let oldest = format!("SELECT number, at, what, hash FROM audit ORDER BY number LIMIT {PURGED}");
    let oldest = t.all(&oldest, values![], |row| {
        let (number, at): (i64, Timestamp) = (row.get("number")?, row.get("at")?);
        Ok((number, at, row.get::<String>("what")?, row.get::<Option<Vec<u8>>>("hash")?))
    })?;
    // What a webhook still waits for stays until it is given up.
    let delivered =
        t.one("SELECT min(delivered) AS delivered FROM webhook", values![], |row| row.get("delivered"))?;
    let delivered: i64 = delivered.flatten().unwrap_or(i64::MAX);
    let is_waited_for = |number: i64, at: Timestamp| number > delivered && at >= now - GIVEN_UP_AFTER;
    let free = oldest.iter().take_while(|(number, at, _, _)| !is_waited_for(*number, *at)).count();
    let Some(last) = oldest[..free].iter().rposition(|(_, at, _, _)| *at < before) else { return Ok(0) };
    let gone = &oldest[..=last];
    let (first, last) = (gone[0].0, gone[last].0);
    t.execute("DELETE FROM audit WHERE number <= ?", values![last])?;
    let mut head = hold(t, chain)?;
    if last > head.begun
        && let Some(hash) = gone.iter().rev().find_map(|(_, _, _, hash)| hash.as_deref())
    {
        head.purged = last;
        head.purged_hash = hash.try_into().unwrap_or(BROKEN);
    }
    // A purge of nothing but such lines would otherwise go on for ever.
    let worth_a_line = gone.iter().any(|(_, _, what, _)| what != What::AuditPurged.as_str());
    let event = Event::of_gateway(now, What::AuditPurged, String::new(), format!("lines {first} to {last}"));
    write(t, chain, head, if worth_a_line { std::slice::from_ref(&event) } else { &[] })?;
    Ok(gone.len())
}

/// In a restore: goes on with what was written since the backup in the store that is there (`present`).
pub(super) fn carry_on(t: &mut dyn Transaction, chain: &ChainKey) -> Result<(), StoreError> {
    let (here, there) = (stored_head(t)?, head_in(t, "present.audit_chain")?);
    let last = "SELECT coalesce(max(number), 0) AS last FROM main.audit";
    let last = t.one(last, values![], |row| row.get::<i64>("last"))?.unwrap_or(0);
    if there.number <= last.max(here.number) {
        return Ok(());
    }
    let ((ours, here_fits), (theirs, there_fits)) = (here.opened(chain), there.opened(chain));
    let link = t.one("SELECT hash FROM present.audit WHERE number = ?", values![last], |row| {
        row.get::<Option<Vec<u8>>>("hash")
    })?;
    t.execute("INSERT INTO main.audit SELECT * FROM present.audit WHERE number > ?", values![last])?;
    if here_fits && ours.is_new() {
        return put_head(t, &there);
    }
    if theirs.purged > ours.number {
        // What lies between is gone for its age, and so is what the backup has.
        let old = "DELETE FROM main.audit WHERE number > ? AND number <= ?";
        t.execute(old, values![ours.begun, theirs.purged])?;
        return put_head(t, &there);
    }
    let linked = link.flatten().is_some_and(|hash| hash == ours.hash)
        || (theirs.purged == ours.number && theirs.purged_hash == ours.hash);
    let head = StoredHead::new(chain, &Head { number: theirs.number, hash: theirs.hash, ..ours });
    // Two stores that went ways of their own do not fit; that is to be seen.
    put_head(t, &if here_fits && there_fits && linked { head } else { head.broken() })
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
