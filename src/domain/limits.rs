//! How often something may be tried, and how long to wait after failures.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::time::{NotADuration, Short, Timestamp, parse_duration};

/// At most `count` times in any `period`, written `5/1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period: Duration,
}

impl Rate {
    /// `count` times in any `period`; at least once.
    pub const fn new(count: u32, period: Duration) -> Self {
        Self { count: if count == 0 { 1 } else { count }, period }
    }

    /// How many times.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// In how long.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// Whether one more fits at `now`, given the moments already spent in any order.
    /// `Err` is how long to wait until one does.
    pub fn judge(&self, spent: &[Timestamp], now: Timestamp) -> Result<(), Duration> {
        // Moments yet to come, written before the clock was set back, count too: a moved clock gives nobody more tries.
        let mut recent: Vec<_> = spent.iter().filter(|at| **at + self.period > now).collect();
        if recent.len() < self.count as usize {
            return Ok(());
        }
        recent.sort_unstable();
        let oldest_in_the_way = *recent[recent.len() - self.count as usize];
        Err((oldest_in_the_way + self.period).since(now).clamp(Duration::from_secs(1), self.period))
    }
}

/// What was spent is remembered a day longer than this.
const LONGEST_PERIOD: Duration = Duration::from_secs(30 * 86_400);

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (count, period) = text.split_once('/').ok_or(NotARate)?;
        let count: u32 = count.trim().parse().map_err(|_| NotARate)?;
        let period = parse_duration(period).map_err(|NotADuration| NotARate)?;
        if (1..=100_000).contains(&count) && period <= LONGEST_PERIOD {
            Ok(Self { count, period })
        } else {
            Err(NotARate)
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, Short(self.period))
    }
}

/// The text is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a rate; write how often in how long, like \"5/1h\" or \"10/5m\", up to 30 days")]
pub struct NotARate;

/// Wrong codes in a row, over all challenges, addresses and spellings of one user; only success clears them
/// (NIST SP 800-63B section 3.2.2: at most 100, with growing waits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many since the last success.
    pub count: u32,
    /// When the last was counted.
    pub last_at: Timestamp,
}

/// Why no further code is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureStop {
    /// Not before this much time has passed.
    Wait(Duration),
    /// Codes by phone are closed until an administrator or another authenticator opens them.
    Closed,
}

impl Failures {
    /// Nothing failed yet.
    pub const NONE: Self = Self { count: 0, last_at: Timestamp::from_unix(0) };
    /// So many in a row close codes by phone.
    pub const CLOSED_AT: u32 = 100;
    /// So many in a row are typing mistakes.
    const WITHOUT_WAIT: u32 = 10;
    const FIRST_WAIT: Duration = Duration::from_secs(30);
    const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

    /// Whether a further code may be looked at.
    pub fn judge(&self, now: Timestamp) -> Result<(), FailureStop> {
        if self.is_closed() {
            return Err(FailureStop::Closed);
        }
        let left = self.wait().saturating_sub(now.since(self.last_at));
        if left.is_zero() { Ok(()) } else { Err(FailureStop::Wait(left)) }
    }

    /// Whether codes by phone are closed.
    pub const fn is_closed(&self) -> bool {
        self.count >= Self::CLOSED_AT
    }

    /// One more, counted before the answer is known.
    pub const fn spend(self, now: Timestamp) -> Self {
        Self { count: self.count.saturating_add(1), last_at: now }
    }

    fn wait(&self) -> Duration {
        let Some(doublings) = self.count.checked_sub(Self::WITHOUT_WAIT) else { return Duration::ZERO };
        Self::FIRST_WAIT.saturating_mul(1 << doublings.min(7)).min(Self::LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    #[test]
    fn five_an_hour_means_five_in_any_hour() {
        let rate: Rate = "5/1h".parse().unwrap();
        let spent: Vec<_> = [0, 600, 1_200, 1_800, 2_400].map(at).into();
        assert_eq!(rate.judge(&spent[..4], at(2_400)), Ok(()));
        assert_eq!(rate.judge(&spent, at(3_000)), Err(Duration::from_secs(600)));
        assert_eq!(rate.judge(&spent, at(3_599)), Err(Duration::from_secs(1)));
        assert_eq!(rate.judge(&spent, at(3_600)), Ok(()));
    }

    #[test]
    fn a_clock_set_back_gives_nobody_more_tries() {
        let rate: Rate = "1/1m".parse().unwrap();
        assert_eq!(rate.judge(&[at(1_000_000)], at(10)), Err(Duration::from_secs(60)));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "5", "5/", "/1h", "0/1h", "-1/1h", "5/0s", "1.5/1h", "5/1h/2", "1000000/1h", "5/31d"]
        {
            assert_eq!(text.parse::<Rate>(), Err(NotARate), "{text}");
        }
    }

    #[test]
    fn waits_grow_and_a_hundred_failures_close() {
        let failed = |count| Failures { count, last_at: at(1_000) };
        assert_eq!(failed(9).judge(at(1_000)), Ok(()));
        assert_eq!(failed(10).judge(at(1_000)), Err(FailureStop::Wait(Duration::from_secs(30))));
        assert_eq!(failed(10).judge(at(1_030)), Ok(()));
        assert_eq!(failed(12).judge(at(1_000)), Err(FailureStop::Wait(Duration::from_secs(120))));
        assert_eq!(failed(99).judge(at(1_000)), Err(FailureStop::Wait(Duration::from_secs(3_600))));
        assert_eq!(failed(100).judge(at(1_000_000_000)), Err(FailureStop::Closed));
    }
}
