//! The APIs under `/v2`, Verify and Lookup: who is asking, which operation, and what the rules say to it.
//!
//! The rules are behind one lock, so calls are judged one at a time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hyper::{Method, StatusCode};

use super::Options;
use super::answer;
use super::error::{self, ApiError};
use super::line::{self, Line};
use super::lookup;
use super::parameters;
use super::route::{Operation, Route};
use super::verification::Verification;
use super::verifications::{Fresh, Order, Verifications};
use crate::simulator::call::Call;
use crate::simulator::fault::Vocabulary;
use crate::simulator::faults::Outcome;
use crate::simulator::provider::Provider;
use crate::simulator::reply::Reply;
use crate::simulator::side_channel::SideChannel;
use crate::simulator::{SentCode, Sink, random};

/// The words of Twilio's faults.
pub(super) const WORDS: Vocabulary = Vocabulary {
    operations: &["start", "check", "update", "fetch", "service", "lookup"],
    is_error: error::is_fault,
    throttled: "20429",
    example: "a Twilio error code such as 60203",
};

/// The simulator at work.
pub(super) struct Server {
    options: Options,
    side_channel: SideChannel,
    verifications: Mutex<Verifications>,
    lines: Mutex<HashMap<String, Line>>,
}

impl Provider for Server {
    fn side_channel(&self) -> &SideChannel {
        &self.side_channel
    }

    fn page(&self, method: &Method, page: &str, body: &[u8]) -> Option<Reply> {
        (page == "lines").then(|| self.set_line(method, body))
    }

    fn call(&self, call: &Call, now: SystemTime) -> Outcome {
        match Route::find(&call.method, &call.path) {
            Ok(route) => self.routed(call, route, now),
            Err(error) => Outcome::undisturbed(error.reply()),
        }
    }
}

impl Server {
    pub(super) fn new(mut options: Options, sink: Box<Sink>) -> Self {
        let faults = std::mem::take(&mut options.faults);
        let verifications = Mutex::new(Verifications::new(options.lifetime));
        let lines = Mutex::new(std::mem::take(&mut options.lines));
        Self { options, side_channel: SideChannel::new(&WORDS, faults, sink), verifications, lines }
    }

    fn routed(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Outcome {
        let to = self.destination(call, route);
        let error = |name: &str| ApiError::fault(name, &call.path).reply();
        let process = || self.operate(call, route, now).unwrap_or_else(|error| error.reply());
        self.side_channel.disturb(&[route.operation.name()], to.as_deref(), error, process)
    }

    fn destination(&self, call: &Call, route: Route<'_>) -> Option<String> {
        if route.operation == Operation::Lookup {
            return Some(lookup::read(route.number).e164);
        }
        let sid = call.form.get("VerificationSid").unwrap_or(route.verification);
        let named = call.form.get("To").map(str::to_owned);
        named.or_else(|| self.verifications().destination(sid).map(str::to_owned))
    }

    fn operate(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, ApiError> {
        let account = self.account(call).ok_or_else(ApiError::unauthenticated)?;
        if route.operation == Operation::Lookup {
            return self.lookup(call, route, now);
        }
        if !self.options.has_service(route.service) {
            return Err(ApiError::not_found(&call.path));
        }
        match route.operation {
            Operation::Start => self.start(call, route, &account, now),
            Operation::Check => self.check(call, route, now),
            Operation::Update => self.update(call, route, now),
            Operation::Fetch => self.fetch(call, route, now),
            Operation::Service => Ok(self.service(route, &account)),
            Operation::Lookup => self.lookup(call, route, now),
        }
    }

    fn start(
        &self,
        call: &Call,
        route: Route<'_>,
        account: &str,
        now: SystemTime,
    ) -> Result<Reply, ApiError> {
        let (to, channel) = parameters::start(&call.form)?;
        let order = Order { service: route.service, account, to, channel };
        let fresh = Fresh { sid: random::sid("VE"), code: self.options.code(), attempt: random::sid("VL") };
        let started = self.verifications().start(order, fresh, now).cloned();
        let record = started.map_err(|refusal| ApiError::refused(refusal, &call.path))?;
        self.side_channel.sent(sent(&record, now));
        Ok(Reply::json(StatusCode::CREATED, &answer::verification(&record)))
    }

    fn check(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, ApiError> {
        let (target, code) = parameters::check(&call.form)?;
        let checked = self.verifications().check(route.service, target, code, now);
        let record = checked.map_err(|refusal| ApiError::refused(refusal, &call.path))?;
        Ok(Reply::ok(&answer::check(&record)))
    }

    fn update(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, ApiError> {
        let ending = parameters::ending(&call.form)?;
        let updated = self.verifications().update(route.service, route.verification, ending, now);
        let record = updated.map_err(|refusal| ApiError::refused(refusal, &call.path))?;
        Ok(Reply::ok(&answer::verification(&record)))
    }

    fn fetch(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, ApiError> {
        let verifications = self.verifications();
        let fetched = verifications.fetch(route.service, route.verification, now);
        let record = fetched.map_err(|refusal| ApiError::refused(refusal, &call.path))?;
        Ok(Reply::ok(&answer::verification(record)))
    }

    fn service(&self, route: Route<'_>, account: &str) -> Reply {
        Reply::ok(&answer::service(route.service, account, self.options.service_code_length()))
    }

    fn lookup(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, ApiError> {
        let fields = call.query.get("Fields").unwrap_or_default();
        let body = lookup::answer(&lookup::read(route.number), fields, &self.lines(), now)?;
        Ok(Reply::ok(&body))
    }

    fn set_line(&self, method: &Method, body: &[u8]) -> Reply {
        if method != Method::POST {
            return Reply::refused(StatusCode::METHOD_NOT_ALLOWED, "that method does nothing here");
        }
        let line = serde_json::from_slice::<line::Request>(body)
            .map_err(|error| error.to_string())
            .and_then(|request| request.judge().map_err(str::to_owned));
        match line {
            Ok((to, line)) => {
                let listed = line.to_json(&to);
                self.lines().insert(to, line);
                Reply::json(StatusCode::CREATED, &listed)
            }
            Err(reason) => Reply::refused(StatusCode::BAD_REQUEST, &reason),
        }
    }

    /// The account that the credentials belong to, if they are taken.
    fn account(&self, call: &Call) -> Option<String> {
        let (user, secret) = call.basic()?;
        self.options.admit(&user, &secret).then(|| self.options.account_of(&user))
    }

    /// No rule can panic half-way through a change, so a poisoned lock guards sound state.
    fn verifications(&self) -> MutexGuard<'_, Verifications> {
        self.verifications.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<String, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sent(record: &Verification, now: SystemTime) -> SentCode {
    SentCode {
        to: record.to.clone(),
        channel: record.channel().to_owned(),
        code: record.code.clone(),
        sent_at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_can_be_on_every_operation() {
        let all = [
            Operation::Start,
            Operation::Check,
            Operation::Update,
            Operation::Fetch,
            Operation::Service,
            Operation::Lookup,
        ];
        assert_eq!(all.map(Operation::name), WORDS.operations);
    }
}
