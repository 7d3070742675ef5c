//! Whoever checks an authenticator. One narrow trait; a provider's words stop at its adapter.

pub mod twilio;

use std::fmt::{self, Debug};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::challenge::{Channel, Code, Verdict};
use crate::domain::phone::PhoneNumber;

/// What a provider answers, later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, VerifierError>>;

/// Sends codes to phones and checks what people type.
pub trait Verifier: Debug + Send + Sync {
    /// Its name in the log.
    fn name(&self) -> &'static str;

    /// What it promises about its codes; known before the first is sent.
    fn terms(&self) -> Terms;

    /// Sends a code. Again for the same number, while a code of it lives, the same code is sent again.
    fn start<'a>(&'a self, to: &'a PhoneNumber, channel: Channel) -> Answer<'a, Sent>;

    /// Checks a code. `handle` is what [`Sent`] carried, when its answer was not lost.
    fn check<'a>(
        &'a self,
        to: &'a PhoneNumber,
        handle: Option<&'a str>,
        code: &'a Code,
    ) -> Answer<'a, Verdict>;

    /// Forgets a code, so that a new one can be sent.
    fn cancel<'a>(&'a self, handle: &'a str) -> Answer<'a, ()>;

    /// Asks whether it is there and takes our credentials; costs nothing and sends nothing.
    fn probe(&self) -> Answer<'_, Terms>;
}

/// What a verifier promises about its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Digits of a code.
    pub code_length: u8,
    /// How many codes it looks at for one that was sent.
    pub max_checks: u32,
    /// How long a code works.
    pub lifetime: Duration,
}

/// A code is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The provider's name for it.
    pub handle: String,
}

/// Why a provider did not do what it was asked, in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It sends no more to this number for a while.
    TooManySends,
    /// Another sending to this number is under way.
    InFlight,
    /// The number is none, or dead.
    InvalidNumber,
    /// The number cannot be reached this way: a landline gets no texts.
    ChannelUnsuitable,
    /// The provider refuses this number or country.
    Blocked,
    /// The provider refuses, and we do not know its word for it.
    Refused,
    /// Too many calls of ours at once.
    Throttled,
    /// Our account, key or service is not as it must be: an administrator is needed.
    Configuration,
    /// It is down, or cannot be reached.
    Down,
    /// The answer was lost: it may have done it.
    Ambiguous,
}

impl Trouble {
    /// The word for it in the log and the audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooManySends => "too_many_sends",
            Self::InFlight => "in_flight",
            Self::InvalidNumber => "invalid_number",
            Self::ChannelUnsuitable => "channel_unsuitable",
            Self::Blocked => "blocked",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Configuration => "configuration",
            Self::Down => "provider_down",
            Self::Ambiguous => "ambiguous",
        }
    }

    /// Whether it is the same for everybody. All other trouble may be this number's own: it is told to the log and
    /// the help desk, not to the page, where it would tell that the number is known.
    pub const fn is_for_everybody(self) -> bool {
        match self {
            Self::Throttled | Self::Configuration | Self::Down => true,
            Self::TooManySends
            | Self::InFlight
            | Self::InvalidNumber
            | Self::ChannelUnsuitable
            | Self::Blocked
            | Self::Refused
            | Self::Ambiguous => false,
        }
    }
}

/// A call of a provider that came to nothing. Holds no number, code or secret: it may be logged whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct VerifierError {
    /// In our words.
    pub trouble: Trouble,
    /// The provider's own number for it.
    pub code: Option<u32>,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.trouble.as_str())?;
        if let Some(status) = self.status {
            write!(f, ", HTTP status {status}")?;
        }
        self.code.map_or(Ok(()), |code| write!(f, ", error {code}"))
    }
}
