//! One started verification: what it is, and what may still be done with it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::channel::Channel;
use super::id::{ChallengeId, Reference};
use super::return_to::ReturnTo;
use super::sending::{Delivery, Holder, Pacing, Prospect, Switch};
use super::time::Timestamp;
use super::user::{UserId, UserName};

/// What a person typed as the code: four to ten digits. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

impl Code {
    /// The digits, for the verifier and nobody else.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl FromStr for Code {
    type Err = NotACode;

    /// Reads `123456`, `123 456` and `123-456`.
    fn from_str(text: &str) -> Result<Self, NotACode> {
        if text.len() > 40 {
            return Err(NotACode);
        }
        let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        let well_formed = (4..=10).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if well_formed { Ok(Self(digits)) } else { Err(NotACode) }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(…)")
    }
}

/// The text cannot be a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a code of digits")]
pub struct NotACode;

/// Whose failures and starts are counted together: one user under every spelling, or one stranger's input
/// (as a keyed hash: what strangers type is not kept).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// A user of ours.
    pub fn user(id: UserId) -> Self {
        Self(format!("user:{}", id.0))
    }

    /// Somebody we do not know, by a keyed hash of what they typed.
    pub fn stranger(hash: &str) -> Self {
        Self(format!("stranger:{hash}"))
    }

    /// As the store has it.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// What stands for what was typed: a stranger's keyed hash.
    pub fn typed(&self) -> &str {
        self.0.strip_prefix("stranger:").unwrap_or(&self.0)
    }

    /// The user of ours it stands for.
    pub fn user_id(&self) -> Option<UserId> {
        self.0.strip_prefix("user:")?.parse().ok().map(UserId)
    }

    /// As the store has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What became of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A code may be typed.
    Open,
    /// The right code was typed; nobody wins it again.
    Accepted,
    /// The person gave it up.
    Cancelled,
    /// Too many wrong codes.
    Exhausted,
    /// No code went out for it.
    Unsent,
}

impl State {
    /// The word for it in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Cancelled => "cancelled",
            Self::Exhausted => "exhausted",
            Self::Unsent => "unsent",
        }
    }

    /// Reads it back; whatever is unknown can no longer be used.
    pub fn from_stored(text: &str) -> Self {
        match text {
            "open" => Self::Open,
            "accepted" => Self::Accepted,
            "exhausted" => Self::Exhausted,
            "unsent" => Self::Unsent,
            _ => Self::Cancelled,
        }
    }
}

/// A started verification.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Its name; the person's browser holds it.
    pub id: ChallengeId,
    /// What the person may read to their help desk.
    pub reference: Reference,
    /// Who is asked to prove their phone. `None`: nobody we know, no message went out, and no code is right.
    pub user: Option<UserId>,
    /// The name of the user it is counted against, also of one who is shut out; for the audit trail.
    pub user_name: Option<UserName>,
    /// Whose failures count.
    pub subject: Subject,
    /// The masked number the page shows.
    pub recipient: String,
    /// Where the person wanted to go.
    pub return_to: ReturnTo,
    /// How the last code was sent.
    pub channel: Channel,
    /// When it was started.
    pub created_at: Timestamp,
    /// When the code stops working; resending does not move it.
    pub expires_at: Timestamp,
    /// When the last code was sent.
    pub sent_at: Timestamp,
    /// How many were sent.
    pub sends: u32,
    /// How many codes were looked at.
    pub checks: u32,
    /// How many may be.
    pub max_checks: u32,
    /// How long a code is, in digits.
    pub code_length: u8,
    /// What became of it.
    pub state: State,
    /// What the page may say of the last message.
    pub delivery: Delivery,
    /// Whether a code may be right; for nobody's challenge none is.
    pub prospect: Prospect,
    /// Who holds its code, or is asked to send one. Of a stranger's: who would be.
    pub holder: Option<Holder>,
    /// Whether no further message can be sent for its code.
    pub last: bool,
    /// Whether the number that was typed is one of a landline, which gets calls only.
    pub landline: bool,
}

/// Why no code is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its time has passed.
    Expired,
    /// It was accepted before.
    AlreadyUsed,
    /// The person gave it up.
    Cancelled,
    /// It had its wrong codes.
    TooManyChecks,
}

impl Challenge {
    /// Whether the code may still be typed.
    pub fn usable(&self, now: Timestamp) -> Result<(), Closed> {
        match self.state {
            State::Accepted => Err(Closed::AlreadyUsed),
            State::Cancelled | State::Unsent => Err(Closed::Cancelled),
            State::Exhausted => Err(Closed::TooManyChecks),
            State::Open if now >= self.expires_at => Err(Closed::Expired),
            State::Open if self.checks >= self.max_checks => Err(Closed::TooManyChecks),
            State::Open => Ok(()),
        }
    }

    /// How long until another code may be sent.
    pub fn resend_wait(&self, channel: Channel, now: Timestamp, pacing: Pacing) -> Duration {
        if self.last {
            return self.expires_at.since(now);
        }
        if channel != self.channel && self.sends <= 1 && pacing.switch != Switch::Waits {
            return Duration::ZERO;
        }
        let wait = pacing.after.saturating_mul(1 << self.sends.saturating_sub(1).min(5));
        wait.saturating_sub(now.since(self.sent_at))
    }

    /// Whether another code this way is the last there can be.
    pub fn ends_with(&self, channel: Channel, now: Timestamp, pacing: Pacing) -> bool {
        let early = now.since(self.sent_at) < pacing.after;
        early && channel != self.channel && pacing.switch == Switch::Last
    }

    /// Whether another code was sent this way just now, so that who asks again only clicked twice.
    pub fn was_just_resent(&self, channel: Channel, now: Timestamp) -> bool {
        self.sends > 1 && self.channel == channel && now.since(self.sent_at) < DOUBLE_CLICK
    }

    /// Whether a start for the same person gets the code of this one again, as providers do while a code lives: with
    /// the time and the tries it has left, also when the person gave this challenge up.
    pub fn shares_code(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Open | State::Cancelled)
            && self.prospect != Prospect::Used
            && now < self.expires_at
            && self.checks < self.max_checks
    }

    /// Whether a start for the same person joins this one and sends nothing: a double click, a reload, a second tab, or
    /// nothing more can be sent.
    pub fn joins(&self, channel: Channel, now: Timestamp) -> bool {
        let recent = now >= self.sent_at && now.since(self.sent_at) < JOIN_WITHIN;
        self.usable(now).is_ok() && (self.last || recent && self.channel == channel)
    }
}

/// A code sent so recently is on its way; another would only cost, and not every provider could send it.
const JOIN_WITHIN: Duration = Duration::from_secs(40);

/// Moments are whole seconds: at least one of these passes.
const DOUBLE_CLICK: Duration = Duration::from_secs(2);

/// What a verifier says of a typed code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the right one.
    Approved,
    /// It is not.
    WrongCode,
    /// The provider looks at no more codes for this one.
    TooManyChecks,
    /// The provider knows nothing of it any more.
    GoneOrExpired,
}

impl Verdict {
    /// The word for it in log, audit trail and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::WrongCode => "wrong_code",
            Self::TooManyChecks => "too_many_checks",
            Self::GoneOrExpired => "gone_or_expired",
        }
    }
}

/// The proof that a verifier approved the code of one challenge. Only [`Challenge::judge`] makes one, and the
/// store opens a session for nothing else.
#[derive(Debug)]
pub struct Approval {
    challenge: ChallengeId,
    user: UserId,
    channel: Channel,
    began_at: Timestamp,
}

impl Approval {
    /// The approved challenge.
    pub const fn challenge(&self) -> ChallengeId {
        self.challenge
    }

    /// Who proved their phone.
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// How the code came.
    pub const fn channel(&self) -> Channel {
        self.channel
    }

    /// When the challenge began.
    pub const fn began_at(&self) -> Timestamp {
        self.began_at
    }
}

impl Challenge {
    /// Turns a verdict into an approval. Nobody's challenge is never approved, whatever the verdict.
    pub fn judge(&self, verdict: Verdict) -> Result<Approval, Verdict> {
        match (verdict, self.user) {
            (Verdict::Approved, Some(user)) => {
                Ok(Approval { challenge: self.id, user, channel: self.channel, began_at: self.created_at })
            }
            (Verdict::Approved, None) => Err(Verdict::WrongCode),
            (other, _) => Err(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    fn challenge() -> Challenge {
        Challenge {
            id: ChallengeId::from_random([1; 16]),
            reference: Reference::from_random([2; 5]),
            user: Some(UserId(1)),
            user_name: Some("alice".parse().unwrap()),
            subject: Subject::user(UserId(1)),
            recipient: "••• ••00".to_owned(),
            return_to: ReturnTo::home(),
            channel: Channel::Sms,
            created_at: at(0),
            expires_at: at(600),
            sent_at: at(0),
            sends: 1,
            checks: 0,
            max_checks: 5,
            code_length: 6,
            state: State::Open,
            delivery: Delivery::Sent,
            prospect: Prospect::Open,
            holder: None,
            last: false,
            landline: false,
        }
    }

    #[test]
    fn codes_are_read_as_people_paste_them() {
        for text in ["123456", " 123 456 ", "123-456", "123\u{a0}456"] {
            assert_eq!(text.parse::<Code>().unwrap().digits(), "123456", "{text}");
        }
        for text in ["", "123", "12345678901", "12345a", "１２３４５６", "123456\0", &"1 ".repeat(30)] {
            assert_eq!(text.parse::<Code>(), Err(NotACode), "{text:?}");
        }
    }

    #[test]
    fn a_challenge_closes_at_its_second() {
        assert_eq!(challenge().usable(at(599)), Ok(()));
        assert_eq!(challenge().usable(at(600)), Err(Closed::Expired));
    }

    #[test]
    fn a_used_up_challenge_looks_at_no_code() {
        for (state, closed) in [
            (State::Accepted, Closed::AlreadyUsed),
            (State::Cancelled, Closed::Cancelled),
            (State::Exhausted, Closed::TooManyChecks),
        ] {
            assert_eq!(Challenge { state, ..challenge() }.usable(at(1)), Err(closed));
        }
        assert_eq!(Challenge { checks: 5, ..challenge() }.usable(at(1)), Err(Closed::TooManyChecks));
    }

    #[test]
    fn the_wait_for_another_code_doubles() {
        let wait = |sends, channel, now| {
            Challenge { sends, ..challenge() }.resend_wait(channel, at(now), Pacing::USUAL).as_secs()
        };
        assert_eq!(wait(1, Channel::Sms, 10), 20);
        assert_eq!(wait(1, Channel::Sms, 30), 0);
        assert_eq!(wait(2, Channel::Sms, 30), 30);
        assert_eq!(wait(1, Channel::Call, 1), 0);
        assert_eq!(wait(2, Channel::Call, 30), 30);
    }

    #[test]
    fn another_way_is_what_the_provider_makes_of_it() {
        let pacing = |switch| Pacing { after: Duration::from_secs(40), switch };
        let (early, late) = (at(5), at(45));
        for (switch, wait, ends) in
            [(Switch::Free, 0, false), (Switch::Last, 0, true), (Switch::Waits, 35, false)]
        {
            let challenge = challenge();
            assert_eq!(
                challenge.resend_wait(Channel::Call, early, pacing(switch)).as_secs(),
                wait,
                "{switch:?}"
            );
            assert_eq!(challenge.ends_with(Channel::Call, early, pacing(switch)), ends, "{switch:?}");
            assert!(!challenge.ends_with(Channel::Call, late, pacing(switch)));
            assert!(!challenge.ends_with(Channel::Sms, early, pacing(switch)));
            assert!(challenge.resend_wait(Channel::Call, late, pacing(switch)).is_zero());
        }
        let last = Challenge { last: true, ..challenge() };
        assert_eq!(last.resend_wait(Channel::Sms, at(100), Pacing::USUAL).as_secs(), 500);
        assert!(last.joins(Channel::Sms, at(100)) && !challenge().joins(Channel::Sms, at(100)));
    }

    #[test]
    fn only_a_known_user_is_approved() {
        let approval = challenge().judge(Verdict::Approved).unwrap();
        assert_eq!((approval.user(), approval.challenge()), (UserId(1), challenge().id));
        let nobody = Challenge { user: None, ..challenge() };
        assert_eq!(nobody.judge(Verdict::Approved).unwrap_err(), Verdict::WrongCode);
        assert_eq!(challenge().judge(Verdict::WrongCode).unwrap_err(), Verdict::WrongCode);
    }
}
