//! Which lines of the trail go for their age.

use super::{BROKEN, Hash, Head, Line};
use crate::domain::time::Timestamp;

/// A line that may have to go for its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    /// Its place.
    pub number: i64,
    /// When it was written, as it says itself.
    pub at: Timestamp,
    /// Whether that is what was written: its seal fits, or it is from before the chain.
    pub fits: bool,
}

/// What the oldest lines say of their age; the first is the oldest that is there.
pub fn aged(seal: &dyn Fn(&[u8]) -> Hash, head: &Head, oldest: &[(Line, Option<Hash>)]) -> Vec<Aged> {
    let mut before = (head.purged, head.purged_hash);
    let look = |(line, hash): &(Line, Option<Hash>)| {
        let fits = match hash {
            None => line.number <= head.begun,
            Some(hash) => {
                let follows = |it: &Hash| seal(&line.after(it)) == *hash;
                (before.0 + 1 == line.number && follows(&before.1)) || follows(&BROKEN)
            }
        };
        if let Some(hash) = hash {
            before = (line.number, *hash);
        }
        Aged { number: line.number, at: Timestamp::from_unix(line.at), fits }
    };
    oldest.iter().map(look).collect()
}

/// How many of the oldest lines no webhook waits for: it has them, or they are from before `given_up`.
pub fn not_waited_for(oldest: &[Aged], delivered: Option<i64>, given_up: Timestamp) -> usize {
    let is_waited_for =
        |line: &Aged| delivered.is_some_and(|number| line.number > number) && line.at >= given_up;
    oldest.iter().take_while(|line| !is_waited_for(line)).count()
}

/// How many of the oldest lines go: up to the last that is from before a moment, and none behind one that is younger. Lines
/// rise with time, so that one which does not fit goes with the next old one that does; what it says itself, somebody else
/// may have written. One from the future is of a clock that was wrong, and goes likewise.
pub fn old(oldest: &[Aged], before: Timestamp, now: Timestamp) -> usize {
    let is_young = |line: &Aged| line.fits && line.at >= before && line.at <= now;
    let until = oldest.iter().position(is_young).unwrap_or(oldest.len());
    oldest[..until].iter().rposition(|line| line.fits && line.at < before).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Written, chain, seal};
    use super::*;

    fn ages(head: &Head, lines: &Written) -> Vec<(i64, bool)> {
        aged(&seal, head, lines).iter().map(|line| (line.number, line.fits)).collect()
    }

    #[test]
    fn what_a_line_says_of_its_age_is_believed_if_it_fits() {
        let (head, mut lines) = chain();
        assert!(ages(&head, &lines).iter().all(|(_, fits)| *fits));
        lines[3].0.at = 0;
        let doubtful = |lines: &Written| {
            ages(&head, lines)
                .into_iter()
                .filter(|(_, fits)| !fits)
                .map(|(number, _)| number)
                .collect::<Vec<_>>()
        };
        assert_eq!(doubtful(&lines), [4]);
        lines[3].1 = Some([1; 32]);
        assert_eq!(doubtful(&lines), [4, 5], "what follows it cannot be told");
        lines[3].1 = None;
        assert_eq!(doubtful(&lines), [4, 5]);
        lines.remove(3);
        assert_eq!(doubtful(&lines), [5]);
    }

    #[test]
    fn what_is_old_goes_and_nothing_younger_with_it() {
        let day = |day: i64| Timestamp::from_unix(day * 86_400);
        let lines = |days: &[(i64, bool)]| {
            let line = |(place, (at, fits)): (usize, &(i64, bool))| Aged {
                number: place as i64,
                at: day(*at),
                fits: *fits,
            };
            days.iter().enumerate().map(line).collect::<Vec<_>>()
        };
        for (days, gone) in [
            (&[(1, true), (2, true), (50, true)][..], 2),
            (&[(50, true), (1, true)], 0),
            // A clock that began in 1970 takes nothing along.
            (&[(1, true), (50, true), (0, true), (51, true)], 1),
            // One that was ahead goes with what was written after it.
            (&[(1, true), (900, true), (2, true), (50, true)], 3),
            (&[(900, true), (50, true)], 0),
            // What somebody else wrote says nothing, whichever way.
            (&[(1, true), (50, false), (2, true)], 3),
            (&[(50, true), (0, false)], 0),
            (&[(0, false), (50, true)], 0),
            (&[], 0),
        ] {
            assert_eq!(old(&lines(days), day(10), day(100)), gone, "{days:?}");
        }
    }

    #[test]
    fn what_a_webhook_waits_for_stays() {
        let lines: Vec<_> =
            (1..=5).map(|number| Aged { number, at: Timestamp::from_unix(number), fits: true }).collect();
        let free = |delivered, given_up| not_waited_for(&lines, delivered, Timestamp::from_unix(given_up));
        assert_eq!((free(None, 0), free(Some(3), 0), free(Some(9), 0), free(Some(1), 4)), (5, 3, 5, 3));
    }
}
