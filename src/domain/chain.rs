//! The chain of the audit trail: each line is sealed together with the seal of the line before it.
//!
//! The seal is a keyed hash (HMAC-SHA-256), handed in: whoever changes the store without the key can mend no line, and
//! whoever removes lines cannot make the ends meet. What stands at the head is sealed too, so that the end cannot go either.

pub mod age;

use std::fmt;

use super::event::Event;

/// A seal.
pub type Hash = [u8; 32];

/// What the first line follows.
pub const BEGINNING: Hash = [0; 32];
/// What a line follows when the head before it was not ours: it fits nothing, and nobody can take that back.
pub const BROKEN: Hash = [0xff; 32];

/// The columns of a line that are texts, in the order in which they are sealed.
pub const TEXTS: [&str; 10] = [
    "what",
    "reference",
    "user_name",
    "client",
    "detail",
    "provider",
    "channel",
    "handle",
    "recipient",
    "outcome",
];

/// All that a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place.
    pub number: i64,
    /// When, in seconds since 1970-01-01 UTC.
    pub at: i64,
    /// The columns of [`TEXTS`].
    pub texts: [Option<String>; 10],
}

impl Line {
    /// An event at its place.
    pub fn of(event: &Event, number: i64) -> Self {
        let message = event.message.as_ref();
        Self {
            number,
            at: event.at.unix(),
            texts: [
                Some(event.what.as_str().to_owned()),
                event.reference.map(|reference| reference.to_string()),
                event.user.clone(),
                Some(event.client.clone()),
                Some(event.detail.clone()),
                message.map(|message| message.provider.clone()),
                message.map(|message| message.channel.as_str().to_owned()),
                message.and_then(|message| message.handle.clone()),
                message.map(|message| message.recipient.clone()),
                message.map(|message| message.outcome.to_owned()),
            ],
        }
    }

    /// What is sealed: one text for one line at one place behind one other. Each part has its length before it.
    pub fn after(&self, before: &Hash) -> Vec<u8> {
        let mut bytes = b"line\0".to_vec();
        bytes.extend(before);
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.at.to_be_bytes());
        for text in &self.texts {
            let Some(text) = text else {
                bytes.push(0);
                continue;
            };
            // PostgreSQL has no NUL in texts and keeps this in its place.
            let text = text.replace('\0', "\u{fffd}");
            bytes.push(1);
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }
}

/// Where the chain begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last line.
    pub number: i64,
    /// Its seal.
    pub hash: Hash,
    /// The last line from before there was a chain.
    pub begun: i64,
    /// The last line that is not there any more because it was old.
    pub purged: i64,
    /// Its seal, which the oldest line follows.
    pub purged_hash: Hash,
}

impl Head {
    /// What is sealed.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"head\0".to_vec();
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.hash);
        bytes.extend(self.begun.to_be_bytes());
        bytes.extend(self.purged.to_be_bytes());
        bytes.extend(self.purged_hash);
        bytes
    }

    /// Of a chain that begins behind a line.
    pub const fn behind(begun: i64) -> Self {
        Self { number: begun, hash: BEGINNING, begun, purged: begun, purged_hash: BEGINNING }
    }

    /// Whether nothing was written to the chain yet.
    pub fn is_new(&self) -> bool {
        *self == Self::behind(self.begun)
    }
}

/// What is wrong with a trail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The head's seal is not ours.
    #[error("the head of the chain was changed, or was written with another master key")]
    Head,
    /// The content or the seal of a line is not what was written.
    #[error("line {0} was changed")]
    Changed(i64),
    /// A line without a seal where each has one.
    #[error("line {0} was added, or its seal was taken away")]
    Unsealed(i64),
    /// A line that was written at another place.
    #[error("line {number} is out of order: it was written as line {was}")]
    OutOfOrder {
        /// Where it stands.
        number: i64,
        /// Where it was written.
        was: i64,
    },
    /// Lines in the middle are not there.
    #[error("{} missing", lines(*.0, *.1))]
    Missing(i64, i64),
    /// Lines at the end are not there.
    #[error("the end is missing: {}", lines(*.0, *.1))]
    EndMissing(i64, i64),
    /// There are lines behind the end.
    #[error("the head was put back: the chain ends before line {0}, which is there")]
    BehindEnd(i64),
    /// What was gone is there again.
    #[error("line {0} is there, and was purged")]
    Purged(i64),
    /// The line before was no end of ours.
    #[error(
        "the chain was broken before line {0}: its head was changed there, or another master key was in use until then"
    )]
    Anew(i64),
    /// Somebody wants to begin behind the end.
    #[error("there is no line {0}: the last one is line {1}")]
    Beyond(i64, i64),
    /// An earlier head is no part of the chain.
    #[error("line {0} has not the seal that was expected")]
    Unexpected(i64),
    /// An earlier head went for its age.
    #[error("line {0} is not there any more, so that its seal cannot be compared")]
    Gone(i64),
}

impl Fault {
    /// The first line concerned.
    pub fn line(&self) -> Option<i64> {
        match *self {
            Self::Head => None,
            Self::Changed(number)
            | Self::Unsealed(number)
            | Self::OutOfOrder { number, .. }
            | Self::Missing(number, _)
            | Self::EndMissing(number, _)
            | Self::BehindEnd(number)
            | Self::Purged(number)
            | Self::Anew(number)
            | Self::Beyond(number, _)
            | Self::Unexpected(number)
            | Self::Gone(number) => Some(number),
        }
    }
}

fn lines(from: i64, to: i64) -> String {
    if from == to { format!("line {from} is") } else { format!("lines {from} to {to} are") }
}

/// Looks at lines in their order.
pub struct Walk<'k> {
    seal: &'k dyn Fn(&[u8]) -> Hash,
    begun: i64,
    /// The last line that went for its age.
    purged: i64,
    /// The last line seen, or the one before the first.
    at: i64,
    /// Its seal. None where the next line is believed, whatever it follows.
    hash: Option<Hash>,
    /// Whether the next line may be the first behind a break.
    anew: bool,
    /// Lines from before the chain.
    pub unchained: u64,
    /// Lines that fit.
    pub chained: u64,
}

impl fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("at", &self.at).finish_non_exhaustive()
    }
}

impl<'k> Walk<'k> {
    /// From the oldest line that must be there.
    pub fn new(seal: &'k dyn Fn(&[u8]) -> Hash, head: &Head) -> Self {
        Self {
            seal,
            begun: head.begun,
            purged: head.purged,
            at: head.purged,
            hash: Some(head.purged_hash),
            anew: false,
            unchained: 0,
            chained: 0,
        }
    }

    /// From a line on, behind one whose seal is believed, or missing.
    pub fn from(seal: &'k dyn Fn(&[u8]) -> Hash, head: &Head, number: i64, before: Option<Hash>) -> Self {
        Self { at: number - 1, hash: before, anew: true, ..Self::new(seal, head) }
    }

    /// The last line seen, and its seal.
    pub fn at(&self) -> Option<(i64, Hash)> {
        Some((self.at, self.hash?))
    }

    /// What was still to be seen has been purged meanwhile: goes on behind it.
    pub fn skip_purged(&mut self, head: &Head) {
        if head.purged > self.at {
            (self.purged, self.at, self.hash) = (head.purged, head.purged, Some(head.purged_hash));
        }
    }

    /// Looks at the next line.
    pub fn see(&mut self, line: &Line, hash: Option<&[u8]>) -> Result<(), Fault> {
        let number = line.number;
        let is_from_before = (1..=self.begun).contains(&number) && self.purged <= self.begun;
        if is_from_before && hash.is_none() {
            self.unchained += 1;
            return Ok(());
        }
        if number <= self.at {
            return Err(Fault::Purged(number));
        }
        if number > self.at + 1 {
            return Err(Fault::Missing(self.at + 1, number - 1));
        }
        let Some(hash) = hash else { return Err(Fault::Unsealed(number)) };
        let fits = |before: &Hash| (self.seal)(&line.after(before)).as_slice() == hash;
        // First of all: whoever could have the head say that a line follows a break would have hidden it.
        let is_anew = fits(&BROKEN);
        if is_anew && !self.anew {
            return Err(Fault::Anew(number));
        }
        if !is_anew && self.hash.is_some_and(|before| !fits(&before)) {
            return Err(Fault::Changed(number));
        }
        self.anew = false;
        self.at = number;
        self.hash = Some(hash.try_into().map_err(|_| Fault::Changed(number))?);
        self.chained += 1;
        Ok(())
    }

    /// After the last line.
    pub fn end(&self, head: &Head) -> Result<(), Fault> {
        if self.at < head.number {
            return Err(Fault::EndMissing(self.at + 1, head.number));
        }
        if self.at > head.number {
            return Err(Fault::BehindEnd(head.number + 1));
        }
        if self.hash == Some(head.hash) { Ok(()) } else { Err(Fault::Changed(self.at)) }
    }
}

/// Where a line that does not fit was written, if `other` tells: a line whose seal it may have followed.
pub fn written_at(
    seal: &dyn Fn(&[u8]) -> Hash,
    (line, hash): (&Line, &[u8]),
    (other, its_hash): (i64, &Hash),
) -> Option<i64> {
    // Behind it, or, if the two changed places, at its place.
    [other + 1, other].into_iter().find(|&number| {
        let elsewhere = Line { number, ..line.clone() };
        number != line.number && seal(&elsewhere.after(its_hash)).as_slice() == hash
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anything that depends on all bytes will do here.
    pub(super) fn seal(bytes: &[u8]) -> Hash {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        digest.as_ref().try_into().unwrap()
    }

    fn line(number: i64, detail: &str) -> Line {
        let mut texts = [const { None }; 10];
        texts[0] = Some("wrong_code".to_owned());
        texts[4] = Some(detail.to_owned());
        Line { number, at: 1_800_000_000, texts }
    }

    pub(super) type Written = Vec<(Line, Option<Hash>)>;

    /// Lines 3 to 7 after two unchained ones.
    pub(super) fn chain() -> (Head, Written) {
        let mut lines = vec![(line(1, "old"), None), (line(2, "old"), None)];
        let mut hash = BEGINNING;
        for number in 3..=7 {
            let line = line(number, &number.to_string());
            hash = seal(&line.after(&hash));
            lines.push((line, Some(hash)));
        }
        (Head { number: 7, hash, begun: 2, purged: 2, purged_hash: BEGINNING }, lines)
    }

    fn walk(head: &Head, lines: &[(Line, Option<Hash>)]) -> Result<(u64, u64), Fault> {
        let mut walk = Walk::new(&seal, head);
        for (line, hash) in lines {
            walk.see(line, hash.as_ref().map(Hash::as_slice))?;
        }
        walk.end(head)?;
        Ok((walk.unchained, walk.chained))
    }

    #[test]
    fn what_was_written_fits() {
        let (head, lines) = chain();
        assert_eq!(walk(&head, &lines), Ok((2, 5)));
        let after_purge = Head { purged: 4, purged_hash: lines[3].1.unwrap(), ..head };
        assert_eq!(walk(&after_purge, &lines[4..]), Ok((0, 3)));
    }

    #[test]
    fn each_column_is_sealed() {
        let (_, lines) = chain();
        let whole = lines[4].0.after(&BEGINNING);
        for (column, name) in TEXTS.iter().enumerate() {
            let mut other = lines[4].0.clone();
            other.texts[column] = match &other.texts[column] {
                None => Some(String::new()),
                Some(_) => None,
            };
            assert_ne!(other.after(&BEGINNING), whole, "{name}");
        }
        assert_ne!(Line { at: 0, ..lines[4].0.clone() }.after(&BEGINNING), whole);
        assert_ne!(Line { number: 9, ..lines[4].0.clone() }.after(&BEGINNING), whole);
        assert_ne!(lines[4].0.after(&BROKEN), whole);
    }

    #[test]
    fn text_does_not_flow_from_one_column_into_the_next() {
        let (mut one, mut other) = (line(1, "a"), line(1, "ab"));
        (one.texts[5], other.texts[5]) = (Some("bc".to_owned()), Some("c".to_owned()));
        assert_ne!(one.after(&BEGINNING), other.after(&BEGINNING));
    }

    #[test]
    fn what_was_done_to_the_trail_is_named() {
        let (head, lines) = chain();
        let with = |change: &dyn Fn(&mut Written)| {
            let mut lines = lines.clone();
            change(&mut lines);
            walk(&head, &lines).unwrap_err()
        };
        assert_eq!(with(&|l| l[4].0.texts[4] = Some("else".to_owned())), Fault::Changed(5));
        assert_eq!(with(&|l| drop(l.remove(4))), Fault::Missing(5, 5));
        assert_eq!(with(&|l| drop(l.drain(2..4))), Fault::Missing(3, 4));
        assert_eq!(with(&|l| l.truncate(5)), Fault::EndMissing(6, 7));
        assert_eq!(with(&|l| l[4].1 = None), Fault::Unsealed(5));
        assert_eq!(with(&|l| l.push((line(8, "more"), None))), Fault::Unsealed(8));
        let put_back = Head { number: 6, hash: lines[5].1.unwrap(), ..head };
        assert_eq!(walk(&put_back, &lines), Err(Fault::BehindEnd(7)));
    }

    #[test]
    fn lines_that_changed_places_are_told_from_changed_ones() {
        for (one, other) in [(3, 4), (2, 5)] {
            let (head, mut lines) = chain();
            let numbers = (lines[one].0.number, lines[other].0.number);
            lines.swap(one, other);
            (lines[one].0.number, lines[other].0.number) = numbers;
            assert_eq!(walk(&head, &lines), Err(Fault::Changed(numbers.0)));
            let hash = lines[one].1.unwrap();
            let was = lines.iter().filter_map(|(line, hash)| Some((line.number, (*hash)?)));
            let was =
                was.filter_map(|(number, its)| written_at(&seal, (&lines[one].0, &hash), (number, &its)));
            assert_eq!(was.collect::<Vec<_>>(), [numbers.1]);
        }
    }

    #[test]
    fn a_head_that_was_not_ours_stays_to_be_seen_and_can_be_passed_on_purpose() {
        let (head, mut lines) = chain();
        let next = line(8, "next");
        let hash = seal(&next.after(&BROKEN));
        lines.push((next.clone(), Some(hash)));
        let head = Head { number: 8, hash, ..head };
        assert_eq!(walk(&head, &lines), Err(Fault::Anew(8)));
        for before in [lines[6].1, None] {
            let mut from = Walk::from(&seal, &head, 8, before);
            assert_eq!(from.see(&next, Some(&hash)), Ok(()));
            assert_eq!(from.end(&head), Ok(()));
        }
        // Nobody hides it by a head that says what is before it went for its age.
        let hiding = Head { begun: 0, purged: 7, purged_hash: BROKEN, ..head };
        assert_eq!(walk(&hiding, &lines[7..]), Err(Fault::Anew(8)));
    }

    #[test]
    fn whoever_puts_a_line_in_front_is_seen() {
        let (head, mut lines) = chain();
        lines.insert(0, (line(-5, "added"), None));
        assert_eq!(walk(&head, &lines), Err(Fault::Purged(-5)));
        let (head, lines) = chain();
        let purged = Head { purged: 3, purged_hash: lines[2].1.unwrap(), ..head };
        assert_eq!(walk(&purged, &lines[1..2]), Err(Fault::Purged(2)));
    }
}
