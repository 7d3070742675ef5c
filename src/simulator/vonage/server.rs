//! Both versions of the API on one port: which is meant, which fault concerns the call, and when steps are due.
//!
//! The rules are behind one lock for each version, so calls are judged one at a time. No lock is held while a code is
//! shown.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::Options;
use super::problem::Problem;
use super::requests::Requests;
use super::route::{Operation, Route, Version};
use super::{v1, v2};
use crate::simulator::call::Call;
use crate::simulator::fault::Vocabulary;
use crate::simulator::faults::Outcome;
use crate::simulator::provider::Provider;
use crate::simulator::reply::Reply;
use crate::simulator::side_channel::SideChannel;
use crate::simulator::{Sink, random};

/// The words of Vonage's faults.
pub(super) const WORDS: Vocabulary = Vocabulary {
    operations: &["start", "check", "cancel", "next", "control", "search"],
    is_error: |name| v1::is_fault(name) || v2::is_fault(name),
    throttled: "429",
    example: "an HTTP status of version 2 such as 410, or a status of version 1 such as v1_7",
};

/// The simulator at work.
pub(super) struct Server {
    pub(super) options: Options,
    side_channel: SideChannel,
    one: Mutex<Requests>,
    two: Mutex<Requests>,
}

impl Provider for Server {
    fn side_channel(&self) -> &SideChannel {
        &self.side_channel
    }

    fn call(&self, call: &Call, now: SystemTime) -> Outcome {
        match Route::find(&call.method, &call.path) {
            Ok(route) => self.routed(call, route, now),
            Err(lost) => Outcome::undisturbed(Problem::lost(lost).reply()),
        }
    }
}

impl Server {
    pub(super) fn new(mut options: Options, sink: Box<Sink>) -> Self {
        let faults = std::mem::take(&mut options.faults);
        let (one, two) = (requests(&options), requests(&options));
        Self { options, side_channel: SideChannel::new(&WORDS, faults, sink), one, two }
    }

    /// Sends what is due by now.
    pub(super) fn settle(&self, now: SystemTime) {
        for version in [Version::One, Version::Two] {
            self.work(version, |requests| requests.settle(now));
        }
    }

    /// Lets the rules of one version do something, and shows the codes that went out by it.
    pub(super) fn work<T>(&self, version: Version, work: impl FnOnce(&mut Requests) -> T) -> T {
        let mut requests = self.requests(version);
        let done = work(&mut requests);
        let sent = requests.take_sent();
        drop(requests);
        sent.into_iter().for_each(|sent| self.side_channel.sent(sent));
        done
    }

    fn routed(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Outcome {
        self.settle(now);
        let to = self.destination(call, route);
        let error = |name: &str| self.fault(name, route, to.as_deref());
        let process = || match route.version {
            Version::One => v1::answer(self, call, route.operation, now),
            Version::Two => v2::answer(self, call, route, now),
        };
        let also = v1::command(call).filter(|_| route.operation == Operation::Control);
        let operations = [route.operation.name(), also.unwrap_or_default()];
        self.side_channel.disturb(&operations, to.as_deref(), error, process)
    }

    /// The number that a call is about, in E.164, or the e-mail address.
    fn destination(&self, call: &Call, route: Route<'_>) -> Option<String> {
        let (named, id) = match route.version {
            Version::One => (v1::number(call), v1::request_id(call).unwrap_or_default()),
            Version::Two => (v2::number(call), route.id),
        };
        named.or_else(|| self.requests(route.version).destination(id).map(str::to_owned))
    }

    fn fault(&self, name: &str, route: Route<'_>, to: Option<&str>) -> Reply {
        let live = to.and_then(|to| self.requests(route.version).live(to).map(str::to_owned));
        let live = live.unwrap_or_else(|| match route.version {
            Version::One => random::hexadecimal(),
            Version::Two => random::uuid(),
        });
        v1::fault(name, &live).or_else(|| v2::fault(name, route, &live)).unwrap_or_else(Reply::html_error)
    }

    /// No rule can panic half-way through a change, so a poisoned lock guards sound state.
    fn requests(&self, version: Version) -> MutexGuard<'_, Requests> {
        let requests = match version {
            Version::One => &self.one,
            Version::Two => &self.two,
        };
        requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn requests(options: &Options) -> Mutex<Requests> {
    let fixed = options.fixed_code.clone();
    let fresh = move |length| fixed.clone().unwrap_or_else(|| random::code(length));
    Mutex::new(Requests::new(Box::new(fresh)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_can_be_on_every_operation() {
        let all = [
            Operation::Start,
            Operation::Check,
            Operation::Cancel,
            Operation::Next,
            Operation::Control,
            Operation::Search,
        ];
        assert_eq!(all.map(Operation::name), WORDS.operations);
    }
}
