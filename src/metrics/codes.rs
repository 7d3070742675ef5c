//! Codes by who sent them, how, and to which country: what became of each.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::domain::channel::Channel;
use crate::domain::phone::Country;

/// What became of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The provider took the message.
    Sent,
    /// It did not, or its answer was lost.
    SendFailed,
    /// The right code was typed, and its owner is in.
    Approved,
    /// A wrong one was typed.
    Wrong,
    /// The provider could not say whether it is right.
    CheckFailed,
    /// Its time passed, and nobody had typed it.
    Expired,
}

impl Code {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::SendFailed => "send_failed",
            Self::Approved => "approved",
            Self::Wrong => "wrong",
            Self::CheckFailed => "check_failed",
            Self::Expired => "expired",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Labels {
    provider: String,
    channel: &'static str,
    country: String,
    outcome: &'static str,
}

/// As many series as there were kinds of outcomes: providers are configured, and countries are those of the users.
#[derive(Clone, Debug, Default)]
pub(super) struct Codes(pub(super) Family<Labels, Counter>);

impl Codes {
    pub(super) fn count(&self, code: Code, provider: &str, channel: Channel, country: Country) {
        let labels = Labels {
            provider: provider.to_owned(),
            channel: channel.as_str(),
            country: country.to_string(),
            outcome: code.as_str(),
        };
        self.0.get_or_create(&labels).inc();
    }
}
