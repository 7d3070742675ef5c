//! What is known of a code that was sent: who holds it, whether it is on its way, whether it may be right, and how soon
//! another may follow.

use std::time::Duration;

/// Who holds the code of a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The provider, by its name in the configuration.
    pub provider: String,
    /// The provider's own name for the code, once known.
    pub handle: Option<String>,
}

/// What a page may say of the last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A provider is being asked. What is still read back so was left by a gateway that was stopped meanwhile.
    Pending,
    /// The provider took it.
    Sent,
    /// The provider's answer was lost: it may be on its way.
    Unconfirmed,
}

impl Delivery {
    /// The word for it in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// Reads it back; of what is unknown nothing is known.
    pub fn from_stored(text: &str) -> Self {
        match text {
            "sent" => Self::Sent,
            "pending" => Self::Pending,
            _ => Self::Unconfirmed,
        }
    }
}

/// Whether a code may be right for a challenge. The page says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// There may be one.
    Open,
    /// None went out: the number gets none. As for a stranger, no code is right.
    Refused,
    /// It let somebody in who had it under another challenge.
    Used,
}

impl Prospect {
    /// The word for it in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Used => "used",
        }
    }

    /// Reads it back; what is unknown is never right.
    pub fn from_stored(text: &str) -> Self {
        match text {
            "open" => Self::Open,
            "used" => Self::Used,
            _ => Self::Refused,
        }
    }
}

/// How soon whoever holds a code can send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// From the first message to the second; doubled with each one sent.
    pub after: Duration,
    /// Whether another way is possible before that.
    pub switch: Switch,
}

/// What a provider does with the wish for another way, for a person who waits for a text that a landline never shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It takes it, once, and sends more later.
    Free,
    /// It takes it, and sends nothing more for this code.
    Last,
    /// It does not take it yet.
    Waits,
}

impl Pacing {
    /// What holds where nobody in particular holds the code.
    pub const USUAL: Self = Self { after: Duration::from_secs(30), switch: Switch::Free };
}
