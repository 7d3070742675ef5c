//! A session: from the right code to its end.

use std::time::Duration;

use super::id::SessionId;
use super::time::Timestamp;
use super::user::{UserId, UserName};

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// Not used for the idle timeout.
    Idle,
    /// The absolute timeout has passed.
    Expired,
    /// The person signed out.
    SignedOut,
    /// An administrator ended it, or disabled, changed or removed the user.
    Revoked,
}

impl SessionEnd {
    /// The word for it in the store, log and audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::SignedOut => "signed_out",
            Self::Revoked => "revoked",
        }
    }

    /// Reads it back; whatever is unknown was revoked.
    pub fn from_stored(text: &str) -> Self {
        match text {
            "idle" => Self::Idle,
            "expired" => Self::Expired,
            "signed_out" => Self::SignedOut,
            _ => Self::Revoked,
        }
    }
}

/// One session, as the store holds it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name, inside the signed token.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// Their name when it began.
    pub user: UserName,
    /// How they proved themselves (RFC 8176), `sms` or `tel`.
    pub method: String,
    /// When they did.
    pub auth_time: Timestamp,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
    /// When it was last used, at most some seconds ago.
    pub last_seen_at: Timestamp,
    /// Why it ended before its time.
    pub ended: Option<SessionEnd>,
    /// The client address it began from.
    pub client: String,
}

impl Session {
    /// Whether it is still good at `now`.
    pub fn judge(&self, idle_timeout: Duration, now: Timestamp) -> Result<(), SessionEnd> {
        match self.ended {
            Some(end) => Err(end),
            None if now >= self.expires_at => Err(SessionEnd::Expired),
            None if now >= self.last_seen_at + idle_timeout => Err(SessionEnd::Idle),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timeout_ends_at_its_second() {
        let at = Timestamp::from_unix;
        let idle = Duration::from_secs(60);
        let session = Session {
            id: SessionId::from_random([1; 16]),
            user_id: UserId(1),
            user: "alice".parse().unwrap(),
            method: "sms".to_owned(),
            auth_time: at(0),
            expires_at: at(100),
            last_seen_at: at(30),
            ended: None,
            client: "192.0.2.1".to_owned(),
        };
        assert_eq!(session.judge(idle, at(89)), Ok(()));
        assert_eq!(session.judge(idle, at(90)), Err(SessionEnd::Idle));
        assert_eq!(session.judge(Duration::from_secs(600), at(99)), Ok(()));
        assert_eq!(session.judge(Duration::from_secs(600), at(100)), Err(SessionEnd::Expired));
        let revoked = Session { ended: Some(SessionEnd::Revoked), ..session };
        assert_eq!(revoked.judge(idle, at(31)), Err(SessionEnd::Revoked));
    }
}
