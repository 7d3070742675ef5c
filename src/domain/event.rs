//! What the audit trail records.

use super::channel::Channel;
use super::id::Reference;
use super::spend::Guard;
use super::time::Timestamp;

/// One list: an event cannot be without its word, nor a word be forgotten where all are listed.
macro_rules! events {
    ($($(#[$doc:meta])+ $event:ident $(($about:ty))? = $word:literal,)+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum What {
            $($(#[$doc])+ $event $(($about))?,)+
        }

        impl What {
            /// All words of [`What::as_str`].
            pub const WORDS: &[&str] = &[$($word),+];

            /// The word for it in the store and on the command line.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$event { .. } => $word,)+
                }
            }
        }
    };
}

events! {
    /// Somebody asked for a code.
    ChallengeStarted = "challenge_started",
    /// A code was asked for again, or another way.
    CodeResent = "code_resent",
    /// The provider took the message.
    CodeSent = "code_sent",
    /// The provider did not, or its answer was lost.
    SendFailed = "send_failed",
    /// A wrong code was typed.
    WrongCode = "wrong_code",
    /// The provider could not judge a code.
    CheckFailed = "check_failed",
    /// Somebody typed or sent what cannot be used.
    InputRefused = "input_refused",
    /// A limit stopped somebody.
    LimitReached = "limit_reached",
    /// The spend guard stopped a message.
    GuardTripped(Guard) = "guard_tripped",
    /// An administrator opened sending again.
    SendingReopened = "sending_reopened",
    /// A line gets no codes, or not this way.
    NumberRefused = "number_refused",
    /// A session began.
    SessionOpened = "session_opened",
    /// Sessions ended before their time.
    SessionEnded = "session_ended",
    /// A user was added, changed or removed.
    UserChanged = "user_changed",
    /// A signing key was made.
    KeyRotated = "key_rotated",
    /// A backup took the store's place.
    StoreRestored = "store_restored",
    /// All of it came from another store.
    StoreMoved = "store_moved",
    /// A gateway serves from now on.
    GatewayStarted = "gateway_started",
    /// A gateway ended as it was told to.
    GatewayStopped = "gateway_stopped",
    /// A changed configuration is in use.
    ConfigurationReloaded = "configuration_reloaded",
    /// A changed configuration cannot be used; the old one stays.
    ConfigurationRefused = "configuration_refused",
    /// A rule shut somebody out, or another site asked in their name.
    RequestDenied = "request_denied",
    /// Somebody who is no listed proxy asked for a decision.
    PeerRefused = "peer_refused",
    /// Lines that were old went.
    AuditPurged = "audit_purged",
    /// An administrator made an emergency code.
    BreakGlassMade = "break_glass_made",
    /// Somebody signed in by one.
    BreakGlassUsed = "break_glass_used",
    /// An emergency code was wrong.
    BreakGlassRefused = "break_glass_refused",
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
    /// The client address; `command line` for an administrator's doing, empty for the gateway's own.
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
