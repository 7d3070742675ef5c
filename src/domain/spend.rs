//! What messages may cost: budgets by calendar day and month, how many codes come back, and numbers typed in a row.

use std::time::Duration;

use super::phone::PhoneNumber;
use super::time::Timestamp;

/// What stops messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The gateway's messages of a day.
    Day,
    /// The gateway's messages of a month.
    Month,
    /// One user's messages of a day.
    UserDay,
    /// One user's messages of a month.
    UserMonth,
    /// Messages to numbers that begin alike.
    Prefix,
    /// Too few of the codes sent are typed.
    Conversion,
    /// One client address types number after number.
    Sequence,
    /// A country that is not served.
    Country,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Day,
        Self::Month,
        Self::UserDay,
        Self::UserMonth,
        Self::Prefix,
        Self::Conversion,
        Self::Sequence,
        Self::Country,
    ];

    /// The word for it in store, log, audit trail and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "messages_per_day",
            Self::Month => "messages_per_month",
            Self::UserDay => "messages_per_user_and_day",
            Self::UserMonth => "messages_per_user_and_month",
            Self::Prefix => "messages_per_prefix",
            Self::Conversion => "conversion",
            Self::Sequence => "sequential_numbers",
            Self::Country => "country",
        }
    }

    /// Whether it stands in everybody's way: then everybody is told.
    pub const fn is_for_everybody(self) -> bool {
        match self {
            Self::Day | Self::Month | Self::Conversion => true,
            Self::UserDay | Self::UserMonth | Self::Prefix | Self::Sequence | Self::Country => false,
        }
    }
}

/// A guard that stopped a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Which.
    pub guard: Guard,
    /// How long it will.
    pub wait: Duration,
}

/// So many messages in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Whose it is.
    pub guard: Guard,
    /// What is counted together, with its period.
    pub key: String,
    /// How many.
    pub most: u32,
    /// When the period ends.
    pub ends_at: Timestamp,
}

impl Budget {
    /// A budget of the calendar day (UTC) that `now` is in; `whose` tells it from others of the kind.
    pub fn of_day(guard: Guard, whose: &str, most: u32, now: Timestamp) -> Self {
        let (start, end) = period(now, jiff::Unit::Day);
        Self::new(guard, whose, most, start, end)
    }

    /// A budget of the calendar month (UTC) that `now` is in.
    pub fn of_month(guard: Guard, whose: &str, most: u32, now: Timestamp) -> Self {
        let (start, end) = period(now, jiff::Unit::Month);
        Self::new(guard, whose, most, start, end)
    }

    fn new(guard: Guard, whose: &str, most: u32, start: Timestamp, ends_at: Timestamp) -> Self {
        Self { guard, key: format!("{}:{whose}:{}", guard.as_str(), start.unix()), most, ends_at }
    }

    /// Whether one more fits, with `count` spent already.
    pub fn judge(&self, count: u32, now: Timestamp) -> Result<(), Stop> {
        let wait = self.ends_at.since(now).max(Duration::from_secs(1));
        if count < self.most { Ok(()) } else { Err(Stop { guard: self.guard, wait }) }
    }
}

fn period(now: Timestamp, unit: jiff::Unit) -> (Timestamp, Timestamp) {
    use jiff::tz::TimeZone;
    let moment = now.to_jiff().to_zoned(TimeZone::UTC);
    let (first, next) = if unit == jiff::Unit::Month {
        let first = moment.date().first_of_month();
        (first, first.saturating_add(jiff::Span::new().months(1)))
    } else {
        (moment.date(), moment.date().saturating_add(jiff::Span::new().days(1)))
    };
    let midnight = |date: jiff::civil::Date| {
        let seconds = date.to_zoned(TimeZone::UTC).map_or(0, |zoned| zoned.timestamp().as_second());
        Timestamp::from_unix(seconds)
    };
    (midnight(first), midnight(next))
}

/// How many of those who were sent a code must type it, each counted once. Far fewer means that somebody has messages sent for the money
/// (artificially inflated traffic): healthy figures are 60 to 80 in a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// Over which time it is counted.
    pub window: Duration,
    /// Of fewer users nothing is concluded.
    pub least_sent: u32,
    /// So many of a hundred.
    pub least_percent: u32,
    /// How long sending is closed.
    pub closed_for: Duration,
}

impl Conversion {
    /// Codes sent this recently may still be typed: they are not counted yet, or each morning would look like an attack.
    pub const SETTLE: Duration = Duration::from_secs(180);

    /// The minutes that count at `now`, first and last.
    pub fn minutes(&self, now: Timestamp) -> (i64, i64) {
        (minute(now - self.window), minute(now - Self::SETTLE))
    }

    /// Whether enough of them were typed.
    pub const fn is_healthy(&self, sent: u32, entered: u32) -> bool {
        sent < self.least_sent || entered.saturating_mul(100) >= sent.saturating_mul(self.least_percent)
    }
}

/// The minute a challenge is counted in.
pub fn minute(at: Timestamp) -> i64 {
    at.unix().div_euclid(60)
}

/// What stands for the numbers that begin like this one: all but its last four digits.
pub fn prefix(number: &PhoneNumber) -> &str {
    let digits = number.as_e164();
    &digits[..digits.len() - 4]
}

/// Numbers typed one after the other by one client address.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    last: u64,
    step: i64,
    length: u32,
}

impl Sequence {
    /// So many numbers in a row are no chance.
    pub const TOO_LONG: u32 = 8;
    const LONGEST_STEP: i64 = 10;

    /// A sequence that begins with this number.
    pub fn begin(number: &PhoneNumber) -> Self {
        Self { last: digits(number), step: 0, length: 1 }
    }

    /// The sequence with one number more: longer when the number lies as far from the last as that from the one
    /// before, else begun anew. The same number again changes nothing.
    #[must_use]
    pub fn next(self, number: &PhoneNumber) -> Self {
        let number = digits(number);
        let step = i64::try_from(i128::from(number) - i128::from(self.last)).unwrap_or(i64::MAX);
        match step {
            0 => self,
            step if step.abs() > Self::LONGEST_STEP => Self { last: number, step: 0, length: 1 },
            step if step == self.step => Self { last: number, step, length: self.length + 1 },
            step => Self { last: number, step, length: 2 },
        }
    }

    /// Whether it goes on for too long.
    pub const fn is_too_long(&self) -> bool {
        self.length >= Self::TOO_LONG
    }
}

fn digits(number: &PhoneNumber) -> u64 {
    number.as_e164()[1..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    /// 2026-02-28 23:59:30 UTC.
    const LATE: Timestamp = at(1_772_323_170);

    fn number(last: u32) -> PhoneNumber {
        format!("+1415555{last:04}").parse().unwrap()
    }

    #[test]
    fn a_budget_is_of_its_day_or_month() {
        let day = Budget::of_day(Guard::Day, "all", 2, LATE);
        assert_eq!(day.ends_at.since(LATE), Duration::from_secs(30));
        assert_eq!(day.judge(1, LATE), Ok(()));
        assert_eq!(day.judge(2, LATE), Err(Stop { guard: Guard::Day, wait: Duration::from_secs(30) }));
        assert_ne!(day.key, Budget::of_day(Guard::Day, "all", 2, day.ends_at).key);
        let month = Budget::of_month(Guard::Month, "all", 2, LATE);
        assert_eq!(month.ends_at, day.ends_at, "February ends");
        let march = Budget::of_month(Guard::Month, "all", 2, month.ends_at);
        assert_eq!(march.ends_at.since(month.ends_at), Duration::from_secs(31 * 86_400));
    }

    #[test]
    fn few_codes_prove_nothing_and_young_ones_are_not_counted() {
        let rule = Conversion {
            window: Duration::from_secs(3_600),
            least_sent: 30,
            least_percent: 20,
            closed_for: Duration::from_secs(1_800),
        };
        assert!(rule.is_healthy(29, 0));
        assert!(!rule.is_healthy(30, 5));
        assert!(rule.is_healthy(30, 6));
        assert_eq!(rule.minutes(at(36_000)), (540, 597));
    }

    #[test]
    fn eight_numbers_in_a_row_are_a_sequence() {
        let run = |numbers: &[u32]| {
            let begin = Sequence::begin(&number(numbers[0]));
            numbers[1..].iter().fold(begin, |sequence, last| sequence.next(&number(*last))).is_too_long()
        };
        assert!(run(&[100, 101, 102, 103, 104, 105, 106, 107]));
        assert!(run(&[115, 113, 111, 109, 107, 105, 103, 101]));
        assert!(run(&[7, 100, 101, 101, 102, 103, 104, 105, 106, 107]));
        assert!(!run(&[100, 101, 102, 103, 104, 105, 106]));
        let office = [104, 101, 107, 100, 103, 106, 102, 105, 108, 110, 109];
        assert!(!run(&office), "an office of neighbours comes in no order");
        assert!(!run(&[100, 200, 300, 400, 500, 600, 700, 800]));
        assert!(!run(&[100; 9]), "one person who tries again");
    }

    #[test]
    fn a_prefix_is_all_but_four_digits() {
        assert_eq!(prefix(&number(100)), "+1415555");
        assert_eq!(prefix(&"+4912345".parse().unwrap()), "+491");
    }
}
