//! One request: the steps it sends by, the code under way, and where it stands.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::plan::Plan;
use crate::simulator::SentCode;

/// One request. Its times are those at which things were due, not those at which somebody looked.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) plan: Plan,
    pub(super) status: Status,
    pub(super) started: SystemTime,
    pub(super) finished: Option<SystemTime>,
    pub(super) sends: Vec<SystemTime>,
    pub(super) checks: Vec<Check>,
    code: Code,
    wrong: u8,
}

impl Request {
    /// A request whose first code goes out at once.
    pub(super) fn open(id: String, plan: Plan, fresh: Fresh<'_>, now: SystemTime) -> (Self, SentCode) {
        let code = Code::make(&plan, fresh, now);
        let mut request = Self {
            id,
            plan,
            status: Status::Pending,
            started: now,
            finished: None,
            sends: Vec::new(),
            checks: Vec::new(),
            code,
            wrong: 0,
        };
        let sent = request.send(now);
        (request, sent)
    }

    /// Does what was due until `now`: the next steps, and at last the end.
    pub(super) fn settle(&mut self, fresh: Fresh<'_>, now: SystemTime, sent: &mut Vec<SentCode>) {
        while self.status == Status::Pending && now >= self.due() {
            let due = self.due();
            match self.advance(fresh, due) {
                Some(code) => sent.push(code),
                None => self.finish(Status::Expired, due),
            }
        }
    }

    /// Sends by the next step, if one is left.
    pub(super) fn advance(&mut self, fresh: Fresh<'_>, now: SystemTime) -> Option<SentCode> {
        let next = self.plan.steps.get(self.sends.len())?;
        if !(next.reuse_code && self.code_lives(now)) {
            self.code = Code::make(&self.plan, fresh, now);
            self.wrong = if self.plan.tries_renewed { 0 } else { self.wrong };
        }
        Some(self.send(now))
    }

    /// Judges a code; the third wrong one ends the request.
    pub(super) fn judge(&mut self, code: &str, now: SystemTime) -> Verdict {
        let right = self.code_lives(now) && self.code.digits == code;
        self.checks.push(Check { at: now, code: code.to_owned(), right });
        if right {
            self.finish(Status::Completed, now);
            return Verdict::Right;
        }
        self.wrong += 1;
        if self.wrong < TRIES {
            return Verdict::Wrong;
        }
        self.finish(Status::Failed, now);
        Verdict::WrongTooOften
    }

    /// Ends it by hand, which is possible for a while only.
    pub(super) fn cancel(&mut self, earliest: Duration, now: SystemTime) -> Result<(), Refusal> {
        if self.sends.len() > 1 {
            return Err(Refusal::TooLate);
        }
        if now < self.started + earliest {
            return Err(Refusal::TooEarly);
        }
        self.finish(Status::Canceled, now);
        Ok(())
    }

    /// The identifier of a message, in version 1: `0A00000012345678`.
    pub(super) fn event(&self, index: usize) -> String {
        format!("{}{index:04X}", self.id.get(..12).unwrap_or_default().to_ascii_uppercase())
    }

    pub(super) fn latest_event(&self) -> String {
        self.event(self.sends.len().saturating_sub(1))
    }

    fn send(&mut self, now: SystemTime) -> SentCode {
        let step = &self.plan.steps[self.sends.len()];
        self.sends.push(now);
        SentCode {
            to: step.to.clone(),
            channel: step.channel.clone(),
            code: self.code.digits.clone(),
            sent_at: now,
        }
    }

    fn due(&self) -> SystemTime {
        let latest = self.sends.last().copied().unwrap_or(self.started);
        latest + self.plan.steps[self.sends.len().saturating_sub(1)].wait
    }

    fn code_lives(&self, now: SystemTime) -> bool {
        self.plan.code_lifetime.is_none_or(|lifetime| now < self.code.made + lifetime)
    }

    fn finish(&mut self, status: Status, now: SystemTime) {
        self.status = status;
        self.finished = Some(now);
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

/// Makes a code of so many digits.
pub(super) type Fresh<'a> = &'a (dyn Fn(u8) -> String + Send + Sync);

#[derive(Clone)]
struct Code {
    digits: String,
    made: SystemTime,
}

impl Code {
    fn make(plan: &Plan, fresh: Fresh<'_>, now: SystemTime) -> Self {
        let digits = plan.own_code.clone().unwrap_or_else(|| fresh(plan.code_length));
        Self { digits, made: now }
    }
}

/// A code that somebody tried.
#[derive(Clone)]
pub(super) struct Check {
    pub(super) at: SystemTime,
    pub(super) code: String,
    pub(super) right: bool,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Completed,
    Failed,
    Expired,
    Canceled,
}

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    WrongTooOften,
}

/// Why the state does not allow a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Unknown, or no longer under way.
    NotFound,
    /// This other request to the same number is under way.
    Concurrent(String),
    NoMoreSteps,
    TooEarly,
    TooLate,
}

const TRIES: u8 = 3;
