//! Bodies that trickle: who sends next to nothing must not hold an upstream's connection for ever.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes that a body brings in the time its route gives it; where that is short, in a minute.
const LEAST: u128 = 256;
const MINUTE: Duration = Duration::from_secs(60);

/// What one body brought of late.
#[derive(Debug)]
pub(super) struct Trickle {
    patience: Duration,
    since: Instant,
    bytes: u64,
}

impl Trickle {
    /// A body that is waited for from now on.
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, since: now, bytes: 0 }
    }

    /// So many bytes came.
    pub(super) fn came(&mut self, bytes: u64, now: Instant) {
        self.bytes += bytes;
        if self.bytes >= self.least() {
            (self.since, self.bytes) = (now, 0);
        }
    }

    /// Nobody waited for it for so long.
    pub(super) fn rested(&mut self, time: Duration) {
        self.since += time;
    }

    /// When it is given up, should too little come until then.
    pub(super) fn due(&self) -> Instant {
        self.since + self.patience
    }

    fn least(&self) -> u64 {
        let share = LEAST * self.patience.min(MINUTE).as_millis() / MINUTE.as_millis();
        u64::try_from(share).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// After how many seconds a body is given up that brings so many bytes each second, if ever.
    fn given_up_after(patience: Duration, bytes: impl Fn(u32) -> u64) -> Option<u32> {
        let begin = Instant::now();
        let mut trickle = Trickle::new(patience, begin);
        (1..3_600).find(|second| {
            let now = begin + SECOND * *second;
            let is_late = now >= trickle.due();
            trickle.came(bytes(*second), now);
            is_late
        })
    }

    #[test]
    fn a_body_that_trickles_is_given_up_and_a_quiet_one_only_when_its_time_is_over() {
        let minutes = |minutes| MINUTE * minutes;
        let each = |seconds: u32, bytes: u64| move |n: u32| if n.is_multiple_of(seconds) { bytes } else { 0 };
        assert_eq!(given_up_after(minutes(5), |_| 0), Some(300));
        assert_eq!(given_up_after(minutes(5), each(299, 1)), Some(300));
        assert_eq!(given_up_after(minutes(5), each(10, 1)), Some(300));
        assert_eq!(given_up_after(minutes(5), each(299, 256)), None);
        assert_eq!(given_up_after(minutes(1), |_| 4), Some(60));
        assert_eq!(given_up_after(minutes(1), |_| 5), None);
        // Where its time is short, so is what is asked of it.
        assert_eq!(given_up_after(SECOND * 6, |_| 4), Some(6));
        assert_eq!(given_up_after(SECOND * 6, |_| 5), None);
    }

    #[test]
    fn an_upstream_that_takes_nothing_is_not_the_clients_fault() {
        let begin = Instant::now();
        let mut trickle = Trickle::new(MINUTE, begin);
        trickle.came(10, begin);
        trickle.rested(MINUTE);
        assert_eq!(trickle.due(), begin + MINUTE * 2);
    }
}
