//! `[spend]`: what messages may cost.

use std::time::Duration;

use super::reader::{Section, integer};
use super::values::duration;
use crate::domain::limits::Rate;
use crate::domain::spend::Conversion;

/// `[spend]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Messages of the gateway in a calendar day (UTC).
    pub messages_per_day: u32,
    /// Messages of the gateway in a calendar month (UTC).
    pub messages_per_month: u32,
    /// Messages of one user in a calendar day.
    pub messages_per_user_and_day: u32,
    /// Messages of one user in a calendar month.
    pub messages_per_user_and_month: u32,
    /// Messages to numbers that are alike but for their last four digits.
    pub messages_per_prefix: Rate,
    /// How many codes must come back.
    pub conversion: Conversion,
}

pub(super) fn spend(section: &Section<'_>) -> Spend {
    let count = |key, default: u32| {
        let read = section.value(key, integer(100_000_000));
        read.and_then(|count| u32::try_from(count).ok()).unwrap_or(default)
    };
    let percent = section.value("conversion_least_percent", integer(100)).unwrap_or(20);
    let spend = Spend {
        messages_per_day: count("messages_per_day", 1_000),
        messages_per_month: count("messages_per_month", 10_000),
        messages_per_user_and_day: count("messages_per_user_and_day", 15),
        messages_per_user_and_month: count("messages_per_user_and_month", 450),
        messages_per_prefix: section
            .text("messages_per_prefix")
            .unwrap_or_else(|| Rate::new(100, Duration::from_secs(3_600))),
        conversion: Conversion {
            window: duration(section, "conversion_window", Duration::from_secs(3_600)),
            least_sent: count("conversion_least_sent", 30),
            least_percent: u32::try_from(percent).unwrap_or(100),
            closed_for: duration(section, "conversion_closed_for", Duration::from_secs(1_800)),
        },
    };
    let day = Duration::from_secs(86_400);
    if spend.conversion.window <= Conversion::SETTLE * 2 || spend.conversion.window > day {
        section.problem("conversion_window", "too short to tell, or too long; write from \"7m\" to \"1d\"");
    }
    section.finish();
    spend
}
