//! Whether the audit trail is what was written: all of it, in its order, to its end.

use crate::crypto::ChainKey;
use crate::domain::chain::{BROKEN, Fault, Hash, Head, Line, Walk, written_at};
use crate::domain::time::Timestamp;
use crate::store::{Sealed, Store, StoreError};

/// Lines that are read at once.
const PAGE: usize = 1_000;

/// What is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// From this line on, whatever was before it; all there is, unless given.
    pub from: Option<i64>,
    /// A line and its seal, as they were noted elsewhere.
    pub expected: Option<(i64, Hash)>,
}

/// A trail that is what was written.
#[derive(Clone, Debug)]
pub struct Report {
    /// Lines from before the chain, of which nothing can be said.
    pub unchained: u64,
    /// Lines that fit.
    pub chained: u64,
    /// When the oldest of those was written.
    pub since: Option<Timestamp>,
    /// The last line that went for its age.
    pub purged: Option<i64>,
    /// The last line and its seal, to be noted elsewhere.
    pub head: (i64, Hash),
}

/// Goes through the trail in bounded memory; `tell` hears how many lines of how many were seen.
pub async fn verify(
    store: &Store,
    chain: &ChainKey,
    wanted: Wanted,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Result<Report, Fault>, StoreError> {
    let seal = |bytes: &[u8]| chain.seal(bytes);
    let verifier = Verifier { store, seal: &seal, wanted, since: None, met: false };
    match verifier.run(tell).await? {
        Err((Fault::Changed(number), Some(sealed))) => Ok(Err(whence(store, &seal, number, &sealed).await?)),
        Err((fault, _)) => Ok(Err(fault)),
        Ok(report) => Ok(Ok(report)),
    }
}

struct Verifier<'s> {
    store: &'s Store,
    seal: &'s dyn Fn(&[u8]) -> Hash,
    wanted: Wanted,
    since: Option<Timestamp>,
    /// Whether the expected line was seen, and was as expected.
    met: bool,
}

/// A fault, and the line where it shows.
type Found = (Fault, Option<Box<Sealed>>);

impl<'s> Verifier<'s> {
    async fn run(mut self, tell: &mut dyn FnMut(u64, u64)) -> Result<Result<Report, Found>, StoreError> {
        // With the line before, whose seal is needed.
        let first = self.wanted.from.map_or(i64::MIN, |from| from.saturating_sub(2));
        let mut page = self.store.audit_after(first, PAGE).await?;
        if let Some(from) = self.wanted.from.filter(|from| *from > page.head.number + 1) {
            return Ok(Err((Fault::Beyond(from, page.head.number), None)));
        }
        let mut walk = self.walk(&page.head, &mut page.lines);
        loop {
            if !page.ours {
                return Ok(Err((Fault::Head, None)));
            }
            walk.skip_purged(&page.head);
            if let Err(found) = self.see_all(&mut walk, &page.lines) {
                return Ok(Err(found));
            }
            let Some(last) = page.lines.last() else { break };
            tell(walk.unchained + walk.chained, page.head.number.unsigned_abs());
            page = self.store.audit_after(last.line.number, PAGE).await?;
        }
        Ok(self.end(&walk, &page.head).map_err(|fault| (fault, None)))
    }

    /// Where to begin.
    fn walk(&self, head: &Head, lines: &mut Vec<Sealed>) -> Walk<'s> {
        let Some(from) = self.wanted.from.filter(|from| *from > head.purged + 1) else {
            return Walk::new(self.seal, head);
        };
        let before = lines.first().filter(|line| line.line.number == from - 1);
        let before = before.and_then(|line| Hash::try_from(line.hash.as_deref()?).ok());
        lines.retain(|line| line.line.number >= from);
        Walk::from(self.seal, head, from, before)
    }

    fn see_all(&mut self, walk: &mut Walk<'_>, lines: &[Sealed]) -> Result<(), Found> {
        for sealed in lines {
            let seen = walk.see(&sealed.line, sealed.hash.as_deref());
            seen.map_err(|fault| (fault, Some(Box::new(sealed.clone()))))?;
            if sealed.hash.is_some() {
                self.since.get_or_insert(sealed.recorded.at);
            }
            walk.at().map_or(Ok(()), |seen| self.meet(seen)).map_err(|fault| (fault, None))?;
        }
        Ok(())
    }

    fn meet(&mut self, (number, hash): (i64, Hash)) -> Result<(), Fault> {
        match self.wanted.expected {
            Some((expected, its_hash)) if expected == number => {
                self.met = its_hash == hash;
                if self.met { Ok(()) } else { Err(Fault::Unexpected(expected)) }
            }
            Some(_) | None => Ok(()),
        }
    }

    fn end(mut self, walk: &Walk<'_>, head: &Head) -> Result<Report, Fault> {
        walk.end(head)?;
        self.meet((head.purged, head.purged_hash))?;
        if let Some((expected, _)) = self.wanted.expected.filter(|_| !self.met) {
            return Err(match expected {
                later if later > head.number => Fault::EndMissing(head.number + 1, later),
                earlier => Fault::Gone(earlier),
            });
        }
        Ok(Report {
            unchained: walk.unchained,
            chained: walk.chained,
            since: self.since,
            purged: Some(head.purged).filter(|purged| *purged > head.begun),
            head: (head.number, head.hash),
        })
    }
}

/// Where the chain goes on with our key, if nothing from this line to there fits it: all of that was written with another.
async fn other_key(
    store: &Store,
    seal: &dyn Fn(&[u8]) -> Hash,
    first: &Sealed,
) -> Result<Option<Fault>, StoreError> {
    let hash = |sealed: &Sealed| Hash::try_from(sealed.hash.as_deref()?).ok();
    let mut before = (first.line.number, hash(first));
    loop {
        let page = store.audit_after(before.0, PAGE).await?;
        for sealed in &page.lines {
            let fits = |it: Hash| Some(seal(&sealed.line.after(&it))) == hash(sealed);
            if fits(BROKEN) {
                return Ok(Some(Fault::Anew(sealed.line.number)));
            }
            if before.1.is_some_and(fits) {
                return Ok(None);
            }
            before = (sealed.line.number, hash(sealed));
        }
        if page.lines.is_empty() {
            return Ok(None);
        }
    }
}

/// Whether a line that does not fit was written elsewhere, or was changed.
async fn whence(
    store: &Store,
    seal: &dyn Fn(&[u8]) -> Hash,
    number: i64,
    sealed: &Sealed,
) -> Result<Fault, StoreError> {
    let (line, Some(hash)): (&Line, _) = (&sealed.line, sealed.hash.as_deref()) else {
        return Ok(Fault::Changed(number));
    };
    if let Some(fault) = other_key(store, seal, sealed).await? {
        return Ok(fault);
    }
    let mut read = i64::MIN;
    loop {
        let page = store.audit_after(read, PAGE).await?;
        let Some(last) = page.lines.last() else { return Ok(Fault::Changed(number)) };
        read = last.line.number;
        let was = page.lines.iter().find_map(|other| {
            let its_hash = Hash::try_from(other.hash.as_deref()?).ok()?;
            written_at(seal, (line, hash), (other.line.number, &its_hash))
        });
        if let Some(was) = was {
            return Ok(Fault::OutOfOrder { number, was });
        }
    }
}
