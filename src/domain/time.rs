//! Moments in whole seconds, and durations as people write them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment: whole seconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The same for a calendar.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(self.unix()).unwrap_or_default()
    }

    /// The moment `seconds` after the epoch.
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; nothing when it is before (a clock that was set back).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
        Self(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_seconds(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_seconds(duration)))
    }
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// A moment as ISO 8601 in UTC.
pub fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.unix())
        .map_or_else(|_| at.unix().to_string(), |moment| moment.to_string())
}

/// Reads `90s`, `15m`, `1h30m`, `7d`: whole numbers with a unit, at least one second.
pub fn parse_duration(text: &str) -> Result<Duration, NotADuration> {
    let mut rest = text.trim();
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| NotADuration)?;
        let unit = match rest.as_bytes().get(digits) {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3_600,
            Some(b'd') => 86_400,
            _ => return Err(NotADuration),
        };
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or(NotADuration)?;
        rest = rest[digits + 1..].trim_start();
    }
    // A century is more than anybody means, and keeps every later addition far from overflow.
    if seconds == 0 || seconds > 100 * 366 * 86_400 {
        Err(NotADuration)
    } else {
        Ok(Duration::from_secs(seconds))
    }
}

/// The text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration; write a number and a unit, like \"90s\", \"15m\", \"1h30m\" or \"7d\"")]
pub struct NotADuration;

/// A duration as [`parse_duration`] reads it.
#[derive(Clone, Copy, Debug)]
pub struct Short(pub Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seconds = self.0.as_secs();
        if seconds == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
            if seconds >= size {
                write!(f, "{}{unit}", seconds / size)?;
                seconds %= size;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, seconds) in [("1s", 1), ("15m", 900), ("1h30m", 5_400), ("1h 30m", 5_400), ("7d", 604_800)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "0s", "5", "h", "-1h", "1.5h", "1h30", "99999999999999999999s", "1000000d", "10ms", "é"]
        {
            assert_eq!(parse_duration(text), Err(NotADuration), "{text}");
        }
    }

    #[test]
    fn a_clock_set_back_is_no_time_at_all() {
        assert_eq!(Timestamp::from_unix(5).since(Timestamp::from_unix(9)), Duration::ZERO);
    }

    #[test]
    fn short_form_reads_back() {
        for seconds in [1, 59, 60, 3_661, 86_400 * 3 + 5] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse_duration(&Short(duration).to_string()), Ok(duration));
        }
    }
}
