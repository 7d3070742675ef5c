//! One verification: the code, how often it was sent and tried, and where it stands.

use std::fmt;
use std::time::SystemTime;

/// One verification, as it stands or as it stood when the call was answered.
#[derive(Clone)]
pub(super) struct Verification {
    pub(super) sid: String,
    pub(super) service: String,
    pub(super) account: String,
    pub(super) to: String,
    pub(super) code: String,
    pub(super) status: Status,
    pub(super) created: SystemTime,
    pub(super) updated: SystemTime,
    pub(super) sends: Vec<Send>,
    pub(super) checks: u8,
}

impl Verification {
    /// The channel of the latest send.
    pub(super) fn channel(&self) -> &str {
        self.sends.last().map_or("", |send| send.channel.as_str())
    }

    pub(super) fn key(&self) -> (String, String) {
        (self.service.clone(), self.to.clone())
    }

    pub(super) fn send(&mut self, channel: &str, attempt: String, now: SystemTime) -> Result<(), Refusal> {
        if self.sends.len() >= SENDS || self.status == Status::MaxAttemptsReached {
            return Err(Refusal::TooManySends);
        }
        self.sends.push(Send { at: now, channel: channel.to_owned(), attempt });
        self.updated = now;
        Ok(())
    }

    pub(super) fn judge(&mut self, code: &str, now: SystemTime) -> Result<bool, Refusal> {
        if self.status == Status::MaxAttemptsReached {
            return Err(Refusal::TooManyChecks);
        }
        self.checks += 1;
        self.updated = now;
        let right = self.code == code;
        if !right && self.checks == CHECKS {
            self.status = Status::MaxAttemptsReached;
        }
        Ok(right)
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verification")
            .field("sid", &self.sid)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// One code on its way.
#[derive(Debug, Clone)]
pub(super) struct Send {
    pub(super) at: SystemTime,
    pub(super) channel: String,
    pub(super) attempt: String,
}

/// Where a verification stands, in the provider's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Approved,
    Canceled,
    MaxAttemptsReached,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Canceled => "canceled",
            Self::MaxAttemptsReached => "max_attempts_reached",
        }
    }
}

/// Why the state does not allow a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NotFound,
    TooManySends,
    TooManyChecks,
}

const SENDS: usize = 5;
const CHECKS: u8 = 5;
