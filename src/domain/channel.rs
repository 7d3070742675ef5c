//! The ways a code reaches a phone.

use std::str::FromStr;

/// The way a code reaches a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// A text message.
    Sms,
    /// A voice call.
    Call,
    /// A WhatsApp message.
    Whatsapp,
}

impl Channel {
    /// The word for it in forms, config, store, log and audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Call => "call",
            Self::Whatsapp => "whatsapp",
        }
    }

    /// The authentication method reference (RFC 8176 section 2) of a code that came this way.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Call => "tel",
            Self::Whatsapp => "otp",
        }
    }

    /// Every way there is.
    pub const ALL: [Self; 3] = [Self::Sms, Self::Call, Self::Whatsapp];
}

impl FromStr for Channel {
    type Err = NotAChannel;

    fn from_str(text: &str) -> Result<Self, NotAChannel> {
        Self::ALL.into_iter().find(|c| c.as_str() == text).ok_or(NotAChannel)
    }
}

/// The text is not a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a channel; one of \"sms\", \"call\", \"whatsapp\"")]
pub struct NotAChannel;
