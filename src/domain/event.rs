//! What the audit trail records.

use super::channel::Channel;
use super::id::Reference;
use super::spend::Guard;
use super::time::Timestamp;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Somebody asked for a code.
    ChallengeStarted,
    /// A code was asked for again, or another way.
    CodeResent,
    /// The provider took the message.
    CodeSent,
    /// The provider did not, or its answer was lost.
    SendFailed,
    /// A wrong code was typed.
    WrongCode,
    /// The provider could not judge a code.
    CheckFailed,
    /// Somebody typed or sent what cannot be used.
    InputRefused,
    /// A limit stopped somebody.
    LimitReached,
    /// The spend guard stopped a message.
    GuardTripped(Guard),
    /// An administrator opened sending again.
    SendingReopened,
    /// A line gets no codes, or not this way.
    NumberRefused,
    /// A session began.
    SessionOpened,
    /// Sessions ended before their time.
    SessionEnded,
    /// A user was added, changed or removed.
    UserChanged,
    /// A signing key was made.
    KeyRotated,
    /// A backup took the store's place.
    StoreRestored,
    /// All of it came from another store.
    StoreMoved,
    /// A gateway serves from now on.
    GatewayStarted,
    /// A gateway ended as it was told to.
    GatewayStopped,
    /// A changed configuration is in use.
    ConfigurationReloaded,
    /// A changed configuration cannot be used; the old one stays.
    ConfigurationRefused,
    /// A rule shut somebody out, or another site asked in their name.
    RequestDenied,
    /// Somebody who is no listed proxy asked for a decision.
    PeerRefused,
    /// Lines that were old went.
    AuditPurged,
    /// An administrator made an emergency code.
    BreakGlassMade,
    /// Somebody signed in by one.
    BreakGlassUsed,
    /// An emergency code was wrong.
    BreakGlassRefused,
}

impl What {
    /// All words of [`What::as_str`].
    pub const WORDS: [&'static str; 27] = [
        "challenge_started",
        "code_resent",
        "code_sent",
        "send_failed",
        "wrong_code",
        "check_failed",
        "input_refused",
        "limit_reached",
        "guard_tripped",
        "sending_reopened",
        "number_refused",
        "session_opened",
        "session_ended",
        "user_changed",
        "key_rotated",
        "store_restored",
        "store_moved",
        "gateway_started",
        "gateway_stopped",
        "configuration_reloaded",
        "configuration_refused",
        "request_denied",
        "peer_refused",
        "audit_purged",
        "break_glass_made",
        "break_glass_used",
        "break_glass_refused",
    ];

    /// The word for it in the store and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChallengeStarted => "challenge_started",
            Self::CodeResent => "code_resent",
            Self::CodeSent => "code_sent",
            Self::SendFailed => "send_failed",
            Self::WrongCode => "wrong_code",
            Self::CheckFailed => "check_failed",
            Self::InputRefused => "input_refused",
            Self::LimitReached => "limit_reached",
            Self::GuardTripped(_) => "guard_tripped",
            Self::SendingReopened => "sending_reopened",
            Self::NumberRefused => "number_refused",
            Self::SessionOpened => "session_opened",
            Self::SessionEnded => "session_ended",
            Self::UserChanged => "user_changed",
            Self::KeyRotated => "key_rotated",
            Self::StoreRestored => "store_restored",
            Self::StoreMoved => "store_moved",
            Self::GatewayStarted => "gateway_started",
            Self::GatewayStopped => "gateway_stopped",
            Self::ConfigurationReloaded => "configuration_reloaded",
            Self::ConfigurationRefused => "configuration_refused",
            Self::RequestDenied => "request_denied",
            Self::PeerRefused => "peer_refused",
            Self::AuditPurged => "audit_purged",
            Self::BreakGlassMade => "break_glass_made",
            Self::BreakGlassUsed => "break_glass_used",
            Self::BreakGlassRefused => "break_glass_refused",
        }
    }
}

/// One line of the audit trail. It holds no code, no secret and no whole phone number.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// By which the person's help desk finds it.
    pub reference: Option<Reference>,
    /// The user concerned, when it is one we know.
    pub user: Option<String>,
    /// The client address; empty for the command line.
    pub client: String,
    /// In a few words, what else is worth knowing.
    pub detail: String,
    /// The call to a provider it tells of.
    pub message: Option<Message>,
}

impl Event {
    /// Something that concerns no user and no challenge.
    pub fn of_gateway(at: Timestamp, what: What, client: String, detail: String) -> Self {
        Self { at, what, reference: None, user: None, client, detail, message: None }
    }
}

/// One call to a provider about one code.
#[derive(Clone, Debug)]
pub struct Message {
    /// The provider.
    pub provider: String,
    /// How the code goes.
    pub channel: Channel,
    /// The provider's own name for the code, by which its support finds it.
    pub handle: Option<String>,
    /// The masked number.
    pub recipient: String,
    /// What it came to, in our words.
    pub outcome: &'static str,
}
