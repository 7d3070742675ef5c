//! Why somebody is not in, or has no code. Each cause has its own sentence on the page and its own word in the API.

use std::time::Duration;

use crate::domain::event::What;
use crate::domain::id::Reference;
use crate::domain::phone::PhoneError;
use crate::domain::spend::Guard;
use crate::store::StoreError;

/// A cause, and the reference under which the log and the audit trail have it.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// For the help desk; none when it was not written down.
    pub reference: Option<Reference>,
}

/// Why somebody is not in, or has no code.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Cause {
    /// What they typed is no phone number.
    #[error("{}", match .0 {
        PhoneError::NeedsCountry => "a number without country, and no default_region",
        PhoneError::Invalid => "not a phone number",
    })]
    Phone(#[source] PhoneError),
    /// Their number is of a country that is not served.
    #[error("a number of a country that is not served")]
    Region,
    /// Their number is of a kind that gets no codes.
    #[error("a number that gets no codes")]
    NumberKind,
    /// What they typed is no user name.
    #[error("not a user name")]
    Name,
    /// What they typed is no code of this many digits.
    #[error("not a code")]
    MalformedCode(u8),
    /// Too many codes asked for.
    #[error("too many requests, wait {} s", .0.as_secs())]
    TooManyRequests(Duration),
    /// Too many codes typed.
    #[error("too many codes typed, wait {} s", .0.as_secs())]
    TooManyAttempts(Duration),
    /// Another code was asked for too soon.
    #[error("another code too soon, wait {} s", .0.as_secs())]
    ResendTooSoon(Duration),
    /// Too many wrong codes in a row.
    #[error("too many wrong codes in a row, wait {} s", .0.as_secs())]
    TooManyFailures(Duration),
    /// So many wrong codes in a row that codes by phone are closed.
    #[error("codes by phone are closed after too many wrong codes")]
    CodesClosed,
    /// The wrong code; so many more may be typed.
    #[error("wrong code, {} {} left", .0, match .0 { 1 => "try", _ => "tries" })]
    WrongCode(u32),
    /// This challenge looks at no more codes.
    #[error("too many wrong codes for one challenge")]
    TooManyChecks(Duration),
    /// No emergency code, or one that was used or whose time has passed.
    #[error("no emergency code that is good")]
    WrongEmergencyCode,
    /// What was typed cannot be an emergency code; whoever typed it is told the same.
    #[error("what cannot be an emergency code")]
    MalformedEmergencyCode,
    /// The code's time has passed, or the provider no longer knows it.
    #[error("the code has expired")]
    Expired,
    /// The code was accepted before.
    #[error("the code was used before")]
    AlreadyUsed,
    /// There is no such challenge, or it was given up.
    #[error("no such challenge")]
    Unknown,
    /// This way of sending is not offered.
    #[error("a channel that is not offered")]
    Channel,
    /// Nobody sends codes at the moment; for so long, where that is known.
    #[error("the provider cannot be used")]
    ProviderDown(Option<Duration>),
    /// The code could not be checked; it may be typed once more, after so long where that is known.
    #[error("the code could not be checked")]
    NotChecked(Option<Duration>),
    /// The provider wants to be left alone for a while.
    #[error("the provider is busy")]
    ProviderBusy(Duration),
    /// The spend guard closed sending.
    #[error("sending is closed, for {} s", .0.as_secs())]
    SendingClosed(Duration),
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cause {
    /// How long to wait before trying again, where waiting helps.
    pub const fn wait(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests(wait)
            | Self::TooManyAttempts(wait)
            | Self::ResendTooSoon(wait)
            | Self::TooManyFailures(wait)
            | Self::TooManyChecks(wait)
            | Self::ProviderBusy(wait)
            | Self::SendingClosed(wait) => Some(*wait),
            Self::ProviderDown(wait) | Self::NotChecked(wait) => *wait,
            Self::Phone(_)
            | Self::Region
            | Self::NumberKind
            | Self::Name
            | Self::MalformedCode(_)
            | Self::CodesClosed
            | Self::WrongCode(_)
            | Self::WrongEmergencyCode
            | Self::MalformedEmergencyCode
            | Self::Expired
            | Self::AlreadyUsed
            | Self::Unknown
            | Self::Channel
            | Self::Store(_) => None,
        }
    }

    /// What the audit trail calls it, so that a reference on a page is always found; provider trouble and closed sending
    /// have their own.
    pub(super) const fn event(&self) -> Option<What> {
        match self {
            Self::TooManyRequests(_)
            | Self::TooManyAttempts(_)
            | Self::ResendTooSoon(_)
            | Self::TooManyFailures(_)
            | Self::CodesClosed => Some(What::LimitReached),
            Self::WrongCode(_) | Self::TooManyChecks(_) => Some(What::WrongCode),
            Self::WrongEmergencyCode => Some(What::BreakGlassRefused),
            Self::Expired | Self::AlreadyUsed | Self::Store(_) => Some(What::CheckFailed),
            Self::Region => Some(What::GuardTripped(Guard::Country)),
            Self::Phone(_)
            | Self::NumberKind
            | Self::Name
            | Self::MalformedCode(_)
            | Self::MalformedEmergencyCode
            | Self::Unknown
            | Self::Channel => Some(What::InputRefused),
            Self::ProviderDown(_) | Self::NotChecked(_) | Self::ProviderBusy(_) | Self::SendingClosed(_) => {
                None
            }
        }
    }
}
