//! Minds the time of an HTTP/1.1 connection by a look now and then: no request costs a timer of its own. Bodies are
//! minded by whoever reads them.

use std::time::Duration;

use tokio::time::Instant;

use super::traffic::Sight;
use crate::message::screen::Stage;

/// The first look is taken after so long, and each after twice the time before it, up to the other: who asks once is
/// soon parked, and who asks all the time is looked at now and then.
pub(super) const FIRST: Duration = Duration::from_millis(50);
pub(super) const EVERY: Duration = Duration::from_millis(500);
/// The head of a request is here in so long.
pub(super) const HEAD: Duration = Duration::from_secs(30);

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Minder {
    before: Option<Sight>,
    /// When the head was first seen that is not here yet.
    head: Option<(u32, Instant)>,
}

/// What is to be done with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Nothing is under way, and has not been for a while.
    Park,
    /// Its client holds us up.
    Cut,
}

impl Minder {
    /// Judges what is seen now, unless the connection is at work; `is_idle` is whether no request is being answered.
    pub(super) fn look(&mut self, now: Instant, sight: Sight, is_idle: bool) -> Option<Advice> {
        let before = self.before.replace(sight);
        let is_late = self.is_head_late(now, sight, is_idle);
        let is_settled = is_idle && sight.is_waiting && !sight.is_writing && sight.stage == Stage::Between;
        match before {
            _ if is_late => Some(Advice::Cut),
            Some(before) if is_settled && before == sight => Some(Advice::Park),
            Some(_) | None => None,
        }
    }

    fn is_head_late(&mut self, now: Instant, sight: Sight, is_idle: bool) -> bool {
        if sight.stage != Stage::Head || !is_idle {
            self.head = None;
            return false;
        }
        let since =
            self.head.filter(|(answered, _)| *answered == sight.answered).map_or(now, |(_, since)| since);
        self.head = Some((sight.answered, since));
        now - since >= HEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Sight =
        Sight { stage: Stage::Between, read: 0, is_waiting: true, is_writing: false, answered: 1 };

    /// What is advised at the end, when this is seen at every look.
    fn after(looks: u32, is_idle: bool, see: impl Fn(u32) -> Sight) -> Option<Advice> {
        let (mut minder, begin) = (Minder::default(), Instant::now());
        let look = |n| minder.look(begin + EVERY * n, see(n), is_idle);
        (0..=looks).find_map(look)
    }

    #[test]
    fn what_is_quiet_is_parked_and_nothing_else() {
        assert_eq!(after(1, true, |_| IDLE), Some(Advice::Park));
        assert_eq!(after(0, true, |_| IDLE), None);
        assert_eq!(after(1_000, false, |_| IDLE), None);
        assert_eq!(after(1_000, true, |n| Sight { answered: n, ..IDLE }), None);
        assert_eq!(after(1_000, true, |_| Sight { is_waiting: false, ..IDLE }), None);
        assert_eq!(after(1_000, true, |_| Sight { is_writing: true, ..IDLE }), None);
        assert_eq!(after(1_000, true, |_| Sight { stage: Stage::Switching, ..IDLE }), None);
    }

    #[test]
    fn a_head_that_does_not_end_is_cut_off_however_it_trickles() {
        let in_head = |n| Sight { stage: Stage::Head, read: n as usize, ..IDLE };
        assert_eq!(after(60, true, in_head), Some(Advice::Cut));
        assert_eq!(after(59, true, in_head), None);
        // Others in turn, and one that came while another is answered.
        assert_eq!(after(1_000, true, |n| Sight { answered: n / 50, ..in_head(n) }), None);
        assert_eq!(after(1_000, false, in_head), None);
    }
}
