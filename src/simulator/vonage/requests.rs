//! The rules of Vonage Verify as a pure state machine, for both of its versions: who may start, check, move on and
//! cancel, and what happens by itself.
//!
//! A number has at most one live request. It sends by one step after the other, each after its time or when asked,
//! allows three wrong codes, and ends by the right code, cancellation, the third wrong code or its last step's time.
//! The time and the maker of codes are arguments; there is no HTTP here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::{Duration, SystemTime};

use super::plan::Plan;
use super::request::{Fresh, Refusal, Request, Status, Verdict};
use crate::simulator::SentCode;

/// Every request of one version of the API.
pub(super) struct Requests {
    fresh: Box<dyn Fn(u8) -> String + Send + Sync>,
    records: HashMap<String, Request>,
    /// The one request under way for each destination.
    live: HashMap<String, String>,
    oldest_first: VecDeque<String>,
    outbox: Vec<SentCode>,
}

impl Requests {
    /// `fresh` makes a code of so many digits.
    pub(super) fn new(fresh: Box<dyn Fn(u8) -> String + Send + Sync>) -> Self {
        Self {
            fresh,
            records: HashMap::new(),
            live: HashMap::new(),
            oldest_first: VecDeque::new(),
            outbox: Vec::new(),
        }
    }

    /// Opens a request under this id and sends its first code.
    pub(super) fn start(&mut self, id: String, plan: Plan, now: SystemTime) -> Result<(), Refusal> {
        self.settle(now);
        if let Some(other) = plan.steps.iter().find_map(|step| self.live.get(&step.to)) {
            return Err(Refusal::Concurrent(other.clone()));
        }
        self.forget_the_oldest();
        let (request, sent) = Request::open(id, plan, &*self.fresh, now);
        self.outbox.push(sent);
        for step in &request.plan.steps {
            self.live.insert(step.to.clone(), request.id.clone());
        }
        self.oldest_first.push_back(request.id.clone());
        self.records.insert(request.id.clone(), request);
        Ok(())
    }

    pub(super) fn check(&mut self, id: &str, code: &str, now: SystemTime) -> Result<Verdict, Refusal> {
        self.change(id, now, |request, _, _| Ok(request.judge(code, now)))
    }

    /// Ends a request by hand, at the earliest so long after its start.
    pub(super) fn cancel(&mut self, id: &str, earliest: Duration, now: SystemTime) -> Result<(), Refusal> {
        self.change(id, now, |request, _, _| request.cancel(earliest, now))
    }

    /// Moves a request on to its next step at once.
    pub(super) fn next(&mut self, id: &str, now: SystemTime) -> Result<(), Refusal> {
        self.change(id, now, |request, fresh, outbox| {
            outbox.push(request.advance(fresh, now).ok_or(Refusal::NoMoreSteps)?);
            Ok(())
        })
    }

    /// A request, under way or over.
    pub(super) fn find(&mut self, id: &str, now: SystemTime) -> Option<&Request> {
        self.settle(now);
        self.records.get(id)
    }

    /// Where a request's codes go, dead or alive.
    pub(super) fn destination(&self, id: &str) -> Option<&str> {
        let request = self.records.get(id)?;
        request.plan.steps.first().map(|step| step.to.as_str())
    }

    /// The request under way for this destination.
    pub(super) fn live(&self, to: &str) -> Option<&str> {
        self.live.get(to).map(String::as_str)
    }

    /// Does everything that was due until `now`.
    pub(super) fn settle(&mut self, now: SystemTime) {
        let live: HashSet<String> = self.live.values().cloned().collect();
        for id in live {
            let Some(request) = self.records.get_mut(&id) else { continue };
            request.settle(&*self.fresh, now, &mut self.outbox);
            self.release(&id);
        }
        self.outbox.sort_by_key(|sent| sent.sent_at);
    }

    /// The codes that went out since this was last asked.
    pub(super) fn take_sent(&mut self) -> Vec<SentCode> {
        std::mem::take(&mut self.outbox)
    }

    fn change<T>(
        &mut self,
        id: &str,
        now: SystemTime,
        change: impl FnOnce(&mut Request, Fresh<'_>, &mut Vec<SentCode>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.settle(now);
        let live = self.records.get_mut(id).filter(|request| request.status == Status::Pending);
        let changed = change(live.ok_or(Refusal::NotFound)?, &*self.fresh, &mut self.outbox);
        self.release(id);
        changed
    }

    /// A request that is over holds its numbers no longer.
    fn release(&mut self, id: &str) {
        let Some(over) = self.records.get(id).filter(|request| request.status != Status::Pending) else {
            return;
        };
        for step in &over.plan.steps {
            // The number may already belong to a younger request.
            if self.live.get(&step.to).is_some_and(|live| live == id) {
                self.live.remove(&step.to);
            }
        }
    }

    /// What is over is kept to be searched for, up to a limit.
    fn forget_the_oldest(&mut self) {
        if self.oldest_first.len() < RECORDS {
            return;
        }
        let over = |id: &String| self.records.get(id).is_none_or(|request| request.status != Status::Pending);
        let oldest = self.oldest_first.iter().position(over);
        if let Some(id) = oldest.and_then(|index| self.oldest_first.remove(index)) {
            self.records.remove(&id);
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

const RECORDS: usize = 10_000;

#[cfg(test)]
mod tests;
