//! The rules of Twilio Verify as a pure state machine: who may send, who may check, when it is over.
//!
//! A Service holds at most one live verification per destination. It lasts a fixed time from its first
//! send, allows five sends and five checks, and ends by approval, cancellation or expiry. The time and
//! every random value are arguments; there is no HTTP here.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, SystemTime};

use super::verification::{Refusal, Status, Verification};

/// Every verification of every Service.
pub(super) struct Verifications {
    lifetime: Duration,
    records: HashMap<String, Verification>,
    /// The one record per Service and destination that a start or a check finds.
    live: HashMap<(String, String), String>,
    /// In the order of their first send, which is the order of their expiry.
    oldest_first: VecDeque<String>,
}

impl Verifications {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, records: HashMap::new(), live: HashMap::new(), oldest_first: VecDeque::new() }
    }

    /// Sends a code: the one already under way for this destination, or else the fresh one.
    pub(super) fn start(
        &mut self,
        order: Order<'_>,
        fresh: Fresh,
        now: SystemTime,
    ) -> Result<&Verification, Refusal> {
        self.forget_expired(now);
        let sid = match self.live_sid(order.service, order.to, now) {
            Some(sid) => sid,
            None => self.open(&order, fresh.sid, fresh.code, now),
        };
        let verification = self.records.get_mut(&sid).ok_or(Refusal::NotFound)?;
        verification.send(order.channel, fresh.attempt, now)?;
        Ok(verification)
    }

    /// Judges a code. A wrong one is an answer, not a refusal, and costs one of five tries.
    pub(super) fn check(
        &mut self,
        service: &str,
        target: Target<'_>,
        code: &str,
        now: SystemTime,
    ) -> Result<Verification, Refusal> {
        let sid = match target {
            Target::To(to) => self.live_sid(service, to, now),
            Target::Sid(sid) => self.live_record(service, sid, now).map(|record| record.sid.clone()),
        };
        let sid = sid.ok_or(Refusal::NotFound)?;
        let verification = self.records.get_mut(&sid).ok_or(Refusal::NotFound)?;
        if !verification.judge(code, now)? {
            // The fifth wrong try is still answered as pending; only the next one meets the limit.
            return Ok(Verification { status: Status::Pending, ..verification.clone() });
        }
        self.close(&sid, Status::Approved, now)
    }

    /// Ends a verification by hand, which frees the number for a new one.
    pub(super) fn update(
        &mut self,
        service: &str,
        sid: &str,
        ending: Ending,
        now: SystemTime,
    ) -> Result<Verification, Refusal> {
        let sid = self.live_record(service, sid, now).ok_or(Refusal::NotFound)?.sid.clone();
        match ending {
            Ending::Canceled => self.close(&sid, Status::Canceled, now),
            Ending::Approved => self.close(&sid, Status::Approved, now),
        }
    }

    /// A verification that is neither approved nor expired.
    pub(super) fn fetch(&self, service: &str, sid: &str, now: SystemTime) -> Result<&Verification, Refusal> {
        let record = self.records.get(sid).filter(|record| record.service == service);
        record.filter(|record| !self.expired(record, now)).ok_or(Refusal::NotFound)
    }

    /// Where a verification's codes go, dead or alive.
    pub(super) fn destination(&self, sid: &str) -> Option<&str> {
        self.records.get(sid).map(|record| record.to.as_str())
    }

    fn open(&mut self, order: &Order<'_>, sid: String, code: String, now: SystemTime) -> String {
        let record = Verification {
            sid: sid.clone(),
            service: order.service.to_owned(),
            account: order.account.to_owned(),
            to: order.to.to_owned(),
            code,
            status: Status::Pending,
            created: now,
            updated: now,
            sends: Vec::new(),
            checks: 0,
        };
        self.live.insert(record.key(), sid.clone());
        self.oldest_first.push_back(sid.clone());
        self.records.insert(sid.clone(), record);
        sid
    }

    /// Approved records are gone at once; canceled ones stay to be looked at until they expire.
    fn close(&mut self, sid: &str, status: Status, now: SystemTime) -> Result<Verification, Refusal> {
        let record = self.records.get_mut(sid).ok_or(Refusal::NotFound)?;
        record.status = status;
        record.updated = now;
        let closed = record.clone();
        self.live.remove(&closed.key());
        if closed.status == Status::Approved {
            self.records.remove(sid);
        }
        Ok(closed)
    }

    fn live_sid(&self, service: &str, to: &str, now: SystemTime) -> Option<String> {
        let sid = self.live.get(&(service.to_owned(), to.to_owned()))?;
        self.fetch(service, sid, now).ok().map(|record| record.sid.clone())
    }

    fn live_record(&self, service: &str, sid: &str, now: SystemTime) -> Option<&Verification> {
        self.fetch(service, sid, now).ok().filter(|record| record.status != Status::Canceled)
    }

    fn expired(&self, record: &Verification, now: SystemTime) -> bool {
        now >= record.created + self.lifetime
    }

    fn forget_expired(&mut self, now: SystemTime) {
        while let Some(sid) = self.oldest_first.front() {
            if self.records.get(sid).is_some_and(|record| !self.expired(record, now)) {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let record = self.oldest_first.pop_front().and_then(|sid| self.records.remove(&sid));
        let Some(record) = record else { return };
        // A canceled record's number may already belong to a younger verification.
        if self.live.get(&record.key()) == Some(&record.sid) {
            self.live.remove(&record.key());
        }
    }
}

impl fmt::Debug for Verifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifications").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

/// What a start asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) service: &'a str,
    pub(super) account: &'a str,
    pub(super) to: &'a str,
    pub(super) channel: &'a str,
}

/// The random values a start may need; the first two go unused when a verification is under way.
pub(super) struct Fresh {
    pub(super) sid: String,
    pub(super) code: String,
    pub(super) attempt: String,
}

/// How a check names its verification.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    To(&'a str),
    Sid(&'a str),
}

/// What an update can turn a verification into.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    Canceled,
    Approved,
}

#[cfg(test)]
mod tests;
