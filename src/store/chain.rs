//! Where the chain of the audit trail ends, as it stands in the store: whoever writes a line holds it until its transaction
//! is committed, and goes on from it only if it is what this process and the master key vouch for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StoreError;
use super::sql::{Lock, Row, Transaction, values};
use crate::crypto::ChainKey;
use crate::domain::chain::{BROKEN, Hash, Head};

/// The key of the chain, and its end as this process knows it.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) key: ChainKey,
    /// What was written and is on the disk: the chain never ends before it.
    kept: Arc<Mutex<Option<(i64, Hash)>>>,
    /// What a transaction has written that is not committed yet.
    written: Arc<Mutex<Option<(i64, Hash)>>>,
    /// How often its end was not what was written.
    breaks: Arc<AtomicU64>,
}

impl Chain {
    pub(super) fn new(key: ChainKey) -> Self {
        Self { key, kept: Arc::default(), written: Arc::default(), breaks: Arc::default() }
    }

    pub(super) fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::Relaxed)
    }

    /// For one transaction.
    pub(super) fn afresh(&self) -> Self {
        Self { written: Arc::default(), ..self.clone() }
    }

    /// The transaction was committed.
    pub(super) fn commit(&self) {
        let Some(written) = *lock(&self.written) else { return };
        let mut kept = lock(&self.kept);
        if kept.is_none_or(|kept| kept.0 < written.0) {
            *kept = Some(written);
        }
    }

    /// The last line that this process wrote, and its seal.
    pub(super) fn last(&self) -> Option<(i64, Hash)> {
        *lock(&self.kept)
    }

    /// An older end in the place of the one that is known, whoever sealed it.
    fn is_put_back(&self, head: &Head) -> bool {
        lock(&self.kept).is_some_and(|(number, hash)| {
            head.number < number || (head.number == number && head.hash != hash)
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic is done under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The head as it stands in the store, whoever wrote it.
#[derive(Clone, Debug)]
pub(super) struct StoredHead {
    pub(super) number: i64,
    pub(super) hash: Vec<u8>,
    pub(super) begun: i64,
    pub(super) purged: i64,
    pub(super) purged_hash: Vec<u8>,
    pub(super) seal: Vec<u8>,
}

impl StoredHead {
    pub(super) fn read(row: &dyn Row) -> Result<Self, StoreError> {
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
    pub(super) fn new(key: &ChainKey, head: &Head) -> Self {
        Self {
            number: head.number,
            hash: head.hash.to_vec(),
            begun: head.begun,
            purged: head.purged,
            purged_hash: head.purged_hash.to_vec(),
            seal: key.seal(&head.bytes()).to_vec(),
        }
    }

    /// The same where nobody sealed it.
    pub(super) fn broken(self) -> Self {
        Self { seal: b"broken".to_vec(), ..self }
    }

    /// What it says, and whether we said it.
    pub(super) fn opened(&self, key: &ChainKey) -> (Head, bool) {
        let hash = |bytes: &[u8]| Hash::try_from(bytes).unwrap_or(BROKEN);
        let head = Head {
            number: self.number,
            hash: hash(&self.hash),
            begun: self.begun,
            purged: self.purged,
            purged_hash: hash(&self.purged_hash),
        };
        let ours = self.seal.as_slice() == key.seal(&head.bytes());
        (head, ours)
    }
}

/// Its columns, by names that no column of a line has.
pub(super) const HEAD: &str =
    "c.number AS head_number, c.hash AS head_hash, c.begun, c.purged, c.purged_hash, c.seal";

pub(super) fn corrupt() -> StoreError {
    StoreError::Unusable(
        "the head of the audit trail's chain is missing; put a backup back (docs/store.md)".to_owned(),
    )
}

/// The head, for whoever only looks.
pub(super) fn stored_head(t: &mut dyn Transaction) -> Result<StoredHead, StoreError> {
    head_in(t, "audit_chain")
}

pub(super) fn head_in(t: &mut dyn Transaction, table: &str) -> Result<StoredHead, StoreError> {
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

/// The same by us, behind lines that were just written.
pub(super) fn put_ours(t: &mut dyn Transaction, chain: &Chain, head: &Head) -> Result<(), StoreError> {
    put_head(t, &StoredHead::new(&chain.key, head))?;
    *lock(&chain.written) = Some((head.number, head.hash));
    Ok(())
}

/// The head, which nobody else changes until this transaction ends. One that is not ours, or older than what we know, is
/// gone on from so that it shows.
pub(super) fn hold(t: &mut dyn Transaction, chain: &Chain) -> Result<Head, StoreError> {
    t.lock(&[Lock::Audit])?;
    let question =
        format!("SELECT {HEAD}, (SELECT coalesce(max(number), 0) FROM audit) AS last FROM audit_chain AS c");
    let read = |row: &dyn Row| Ok((StoredHead::read(row)?, row.get::<i64>("last")?));
    let (stored, last) = t.one(&question, values![], read)?.ok_or_else(corrupt)?;
    let (head, ours) = stored.opened(&chain.key);
    let is_put_back = chain.is_put_back(&head);
    if ours && last <= head.number && !is_put_back {
        return Ok(head);
    }
    chain.breaks.fetch_add(1, Ordering::Relaxed);
    let known = chain.last().map_or(0, |(number, _)| number);
    tracing::error!(
        last_line = head.number,
        known,
        "the end of the audit trail is not what was written; run: vestibule audit verify"
    );
    Ok(Head { number: head.number.max(last).max(known), hash: BROKEN, ..head })
}
