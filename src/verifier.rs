//! Whoever checks an authenticator. One narrow trait; a provider's words stop at its adapter.

mod breaker;
pub mod failover;
pub mod lookup;
pub mod twilio;
pub mod vonage;
mod wire;

use std::fmt::{self, Debug};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::challenge::{Code, Verdict};
use crate::domain::channel::Channel;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::Pacing;

/// What a provider answers, later.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, VerifierError>>;

/// Sends codes to phones and checks what people type.
pub trait Verifier: Debug + Send + Sync {
    /// Its name in configuration, store, log and audit trail.
    fn name(&self) -> &str;

    /// What it promises about its codes; known before the first is sent.
    fn terms(&self) -> Terms;

    /// Whether it can send codes this way.
    fn offers(&self, channel: Channel) -> bool;

    /// How soon a code that was sent one way can be sent another, or the same.
    fn pacing(&self, from: Channel, to: Channel) -> Pacing;

    /// Sends a code to a number that has none under way.
    fn start<'a>(&'a self, to: &'a PhoneNumber, channel: Channel) -> Answer<'a, Sent>;

    /// Sends the code under way once more, the same one where the provider can.
    fn resend<'a>(&'a self, to: &'a PhoneNumber, channel: Channel, live: Live<'a>) -> Answer<'a, Sent>;

    /// Checks a code. `handle` is what [`Sent`] carried, when its answer was not lost.
    fn check<'a>(
        &'a self,
        to: &'a PhoneNumber,
        handle: Option<&'a str>,
        code: &'a Code,
    ) -> Answer<'a, Verdict>;

    /// Whether a check needs the handle; else the number will do.
    fn needs_handle(&self) -> bool;

    /// Forgets a code, so that a new one can be sent.
    fn cancel<'a>(&'a self, handle: &'a str) -> Answer<'a, ()>;

    /// Whether a code that nobody typed must be cancelled, or the provider would send it again by itself.
    fn goes_on_by_itself(&self) -> bool;

    /// Asks whether it is there and takes our credentials; costs nothing and sends nothing.
    fn probe(&self) -> Answer<'_, Terms>;
}

/// A code under way.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// The provider's name for it, unless the answer that told it was lost.
    pub handle: Option<&'a str>,
    /// How it was sent last.
    pub channel: Channel,
    /// How long ago.
    pub age: Duration,
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
    /// It was not asked: it has failed too often to be asked now.
    Resting,
    /// The answer was lost: it may have done it.
    Ambiguous,
}

/// Whose trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The provider's: the same for everybody, and certainly nothing was sent. Another provider may be asked at once.
    Provider,
    /// The provider's, but what it has done is not known.
    Unknown,
    /// This number's at this provider; another may send to it.
    NumberHere,
    /// This number's everywhere: it gets no more codes, has one under way, or cannot be reached this way.
    Number,
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
            Self::Resting => "resting",
            Self::Ambiguous => "ambiguous",
        }
    }

    /// Whose trouble it is. A number's is told to the log and the help desk, not to the page, where it would tell that
    /// the number is known.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Throttled | Self::Configuration | Self::Down | Self::Resting => Scope::Provider,
            Self::Ambiguous => Scope::Unknown,
            Self::Blocked | Self::Refused => Scope::NumberHere,
            Self::TooManySends | Self::InFlight | Self::InvalidNumber | Self::ChannelUnsuitable => {
                Scope::Number
            }
        }
    }

    /// Whether the provider is in good health, as far as this tells.
    pub const fn is_healthy(self) -> bool {
        match self.scope() {
            Scope::Number | Scope::NumberHere => true,
            Scope::Provider | Scope::Unknown => false,
        }
    }
}

/// A call of a provider that came to nothing. Holds no number, code or secret: it may be logged whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct VerifierError {
    /// In our words.
    pub trouble: Trouble,
    /// The provider's own word or number for it.
    pub code: Option<String>,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl VerifierError {
    /// Nobody is there.
    pub const fn down() -> Self {
        Self { trouble: Trouble::Down, code: None, status: None, retry_after: None }
    }

    /// It was not asked, and will be again so much later.
    pub const fn resting(left: Duration) -> Self {
        Self { trouble: Trouble::Resting, code: None, status: None, retry_after: Some(left) }
    }

    /// Whether the call never reached the provider.
    pub fn never_left(&self) -> bool {
        self.trouble == Trouble::Down && self.status.is_none()
    }
}

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.trouble.as_str())?;
        if let Some(left) = self.retry_after.filter(|_| self.trouble == Trouble::Resting) {
            write!(f, ", not asked for another {} s", left.as_secs())?;
        }
        if let Some(status) = self.status {
            write!(f, ", HTTP status {status}")?;
        }
        self.code.as_ref().map_or(Ok(()), |code| write!(f, ", error {code}"))
    }
}
