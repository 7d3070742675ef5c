//! How an upstream is: noted by every thread, read before each request, and never waited for.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// An upstream that could not be connected to so often in a row is left alone for a while.
const FAILURES: u32 = 3;
/// For so long the first time, twice as long each time after, and never longer than that.
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// A check may fail for once.
const FAILED_CHECKS: u32 = 2;

/// How one upstream is.
#[derive(Debug)]
pub(super) struct Health {
    began: Instant,
    /// Failures to connect in a row.
    failures: AtomicU32,
    /// Until when it is left alone, in milliseconds since we began; 0 while it is not.
    rests_until: AtomicU64,
    /// Failed checks in a row.
    failed_checks: AtomicU32,
    /// When its last check ended, in milliseconds since we began.
    checked: AtomicU64,
    /// Whether its checks say that it cannot work.
    unwell: AtomicBool,
    /// Requests under way, where they are counted.
    under_way: AtomicUsize,
}

/// What a note changed, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that anybody must know.
    None,
    /// It is left alone for so long.
    Rests(Duration),
    /// It is asked again.
    IsBack,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            failed_checks: AtomicU32::new(0),
            checked: AtomicU64::new(0),
            unwell: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
        }
    }

    /// Whether requests go there.
    pub(super) fn is_up(&self) -> bool {
        !self.is_unwell() && (self.rests_until.load(Relaxed) == 0 || self.rest().is_zero())
    }

    /// Whether its checks say that it cannot work.
    pub(super) fn is_unwell(&self) -> bool {
        self.unwell.load(Relaxed)
    }

    /// How long it is still left alone.
    pub(super) fn rest(&self) -> Duration {
        Duration::from_millis(self.rests_until.load(Relaxed)).saturating_sub(self.began.elapsed())
    }

    /// Notes that a connection could not be had.
    pub(super) fn note_failure(&self) -> Change {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let Some(doublings) = failures.checked_sub(FAILURES) else { return Change::None };
        // Others that were under way when it began to rest tell nothing new.
        if !self.rest().is_zero() {
            return Change::None;
        }
        let rest = FIRST_REST.saturating_mul(1 << doublings.min(8)).min(LONGEST_REST);
        let until = (self.began.elapsed() + rest).as_millis();
        self.rests_until.store(u64::try_from(until).unwrap_or(u64::MAX), Relaxed);
        Change::Rests(rest)
    }

    /// Notes that it answered.
    pub(super) fn note_success(&self) -> Change {
        if self.failures.load(Relaxed) == 0 {
            return Change::None;
        }
        self.failures.store(0, Relaxed);
        if self.rests_until.swap(0, Relaxed) == 0 { Change::None } else { Change::IsBack }
    }

    /// How long until its next check, when they begin so long after each other.
    pub(super) fn next_check(&self, interval: Duration) -> Duration {
        let next = Duration::from_millis(self.checked.load(Relaxed)).saturating_add(interval);
        next.saturating_sub(self.began.elapsed())
    }

    /// Notes what a check came to.
    pub(super) fn note_check(&self, well: bool) -> Change {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.checked.store(now, Relaxed);
        if well {
            self.failed_checks.store(0, Relaxed);
            let was_unwell = self.unwell.swap(false, Relaxed);
            let change = self.note_success();
            return if was_unwell { Change::IsBack } else { change };
        }
        let failed = self.failed_checks.fetch_add(1, Relaxed).saturating_add(1);
        let rests = failed >= FAILED_CHECKS && !self.unwell.swap(true, Relaxed);
        if rests { Change::Rests(Duration::MAX) } else { Change::None }
    }

    /// Requests under way there.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Relaxed)
    }

    pub(super) fn begin(&self) {
        self.under_way.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.under_way.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_and_ever_longer_rests() {
        let health = Health::new();
        for _ in 0..10 {
            assert_eq!((health.note_failure(), health.note_failure()), (Change::None, Change::None));
            assert!(health.is_up(), "two are no pattern");
            assert_eq!(health.note_success(), Change::None);
        }
        health.note_failure();
        health.note_failure();
        for rest in [5, 10, 20, 40, 60, 60] {
            assert_eq!(health.note_failure(), Change::Rests(SECOND * rest));
            assert_eq!(health.note_failure(), Change::None, "said once");
            // What failed meanwhile does not make the next rest longer than it would be.
            health.failures.fetch_sub(1, Relaxed);
            assert!(!health.is_up());
            advance(SECOND * rest).await;
            assert!(health.is_up(), "tried again after {rest} s");
        }
        assert_eq!(health.note_success(), Change::IsBack);
        assert_eq!(health.note_success(), Change::None);
        health.note_failure();
        assert!(health.is_up());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_until_the_next_check_is_told() {
        let health = Health::new();
        advance(SECOND * 100).await;
        health.note_check(false);
        advance(SECOND * 7).await;
        assert_eq!(health.next_check(SECOND * 10), SECOND * 3);
        advance(SECOND * 7).await;
        assert_eq!(health.next_check(SECOND * 10), Duration::ZERO, "one is under way");
    }

    #[tokio::test(start_paused = true)]
    async fn checks_take_out_and_bring_back() {
        let health = Health::new();
        assert_eq!(health.note_check(false), Change::None);
        assert!(health.is_up(), "once is nothing");
        assert_eq!(health.note_check(false), Change::Rests(Duration::MAX));
        assert_eq!(health.note_check(false), Change::None);
        advance(SECOND * 3_600).await;
        assert!(!health.is_up(), "time alone does not heal");
        assert_eq!(health.note_check(true), Change::IsBack);
        assert!(health.is_up());
        for _ in 0..3 {
            health.note_failure();
        }
        assert!(!health.is_up());
        assert_eq!(health.note_check(true), Change::IsBack, "a check that succeeds ends a rest");
        assert!(health.is_up());
    }
}
