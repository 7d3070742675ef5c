//! `[lookup]`: who is asked what kind of line a number is, before a code goes to it.

use std::time::Duration;

use super::provider::{Credentials, base_url, credentials};
use super::reader::{Section, boolean};
use super::values::{duration, one_of, timeout};

/// `[lookup]`: Twilio Lookup v2.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Without `/v2` and without a slash at its end.
    pub base_url: String,
    /// How it knows us.
    pub credentials: Credentials,
    /// Whether it is asked what kind of line a number is.
    pub line_type: bool,
    /// Whether it is asked if the SIM was swapped lately.
    pub sim_swap: bool,
    /// How long the kind of a line is believed.
    pub line_type_lasts: Duration,
    /// How long a SIM is believed not to have been swapped.
    pub sim_swap_lasts: Duration,
    /// What happens when it cannot be asked.
    pub on_failure: OnFailure,
    /// For one whole call of it.
    pub timeout: Duration,
}

/// What happens to a code when nothing can be learned of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is sent all the same.
    Allow,
    /// It is not sent.
    Refuse,
}

pub(super) fn lookup(section: &Section<'_>) -> Option<Lookup> {
    if !section.is_present() {
        return None;
    }
    one_of(section, "kind", &[("twilio", ())], None);
    let base_url = base_url(section, TWILIO);
    let credentials = credentials(section);
    let line_type = section.value("line_type", boolean).unwrap_or(true);
    let sim_swap = section.value("sim_swap", boolean).unwrap_or(false);
    if !line_type && !sim_swap {
        section.problem("line_type", "nothing is asked; set line_type or sim_swap, or leave [lookup] out");
    }
    let choices = [("allow", OnFailure::Allow), ("refuse", OnFailure::Refuse)];
    // Whoever turns this on must have thought about it: neither is a safe default for everybody.
    let on_failure = one_of(section, "on_failure", &choices, None);
    let line_type_lasts = duration(section, "line_type_lasts", Duration::from_secs(30 * 86_400));
    let sim_swap_lasts = duration(section, "sim_swap_lasts", Duration::from_secs(3_600));
    let timeout = timeout(section, Duration::from_secs(2));
    section.finish();
    Some(Lookup {
        base_url: base_url?,
        credentials: credentials?,
        line_type,
        sim_swap,
        line_type_lasts,
        sim_swap_lasts,
        on_failure: on_failure?,
        timeout,
    })
}

const TWILIO: &str = "https://lookups.twilio.com";
