//! Requests in, replies out: the API under `/v2` and the side channel under `/simulator`.
//!
//! All state is behind one lock that is never held across a wait, so calls are judged one at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::Options;
use super::answer;
use super::call::Call;
use super::error::ApiError;
use super::fault::{self, Fault};
use super::faults::{Faults, Outcome};
use super::journal::Journal;
use super::parameters;
use super::reply::Reply;
use super::route::{Operation, Route};
use super::verification::Verification;
use super::verifications::{Fresh, Order, Verifications};
use crate::simulator::wire::{self, Body, HangUp};
use crate::simulator::{SentCode, Sink, random};

/// The simulator at work.
pub(super) struct Server {
    options: Options,
    sink: Box<Sink>,
    state: Mutex<State>,
}

struct State {
    verifications: Verifications,
    faults: Faults,
    journal: Journal,
}

impl Server {
    pub(super) fn new(mut options: Options, sink: Box<Sink>) -> Self {
        let faults = Faults::new(std::mem::take(&mut options.faults));
        let verifications = Verifications::new(options.lifetime);
        let state = State { verifications, faults, journal: Journal::default() };
        Self { options, sink, state: Mutex::new(state) }
    }

    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, HangUp> {
        let method = request.method().clone();
        if let Some(page) = request.uri().path().strip_prefix("/simulator/").map(str::to_owned) {
            let body = wire::read(request.into_body()).await.ok_or(HangUp)?;
            return Ok(self.side_channel(&method, &page, &body).into_response());
        }
        let call = Call::read(request).await.ok_or(HangUp)?;
        let outcome = self.api(&call, wire::now());
        if !outcome.delay.is_zero() {
            tokio::time::sleep(outcome.delay).await;
        }
        outcome.reply.map(Reply::into_response).ok_or(HangUp)
    }

    fn api(&self, call: &Call, now: SystemTime) -> Outcome {
        let outcome = match Route::find(&call.method, &call.path) {
            Ok(route) => self.routed(call, route, now),
            Err(error) => Outcome::undisturbed(Reply::error(&error)),
        };
        let status = outcome.reply.as_ref().map(|reply| reply.status.as_u16());
        self.state().journal.requested(call, status, now);
        outcome
    }

    fn routed(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Outcome {
        let process = || self.operate(call, route, now).unwrap_or_else(|error| Reply::error(&error));
        match self.fault_for(call, route) {
            Some(fault) => Outcome::disturbed(&fault, &call.path, process),
            None => Outcome::undisturbed(process()),
        }
    }

    fn fault_for(&self, call: &Call, route: Route<'_>) -> Option<Fault> {
        let mut state = self.state();
        let State { verifications, faults, .. } = &mut *state;
        let sid = call.form.get("VerificationSid").unwrap_or(route.verification);
        let to = call.form.get("To").or_else(|| verifications.destination(sid));
        faults.take(route.operation, to)
    }

    fn operate(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, ApiError> {
        let account = call.account(&self.options).ok_or_else(ApiError::unauthenticated)?;
        if !self.options.has_service(route.service) {
            return Err(ApiError::not_found(&call.path));
        }
        match route.operation {
            Operation::Start => self.start(call, route, &account, now),
            Operation::Check => self.check(call, route, now),
            Operation::Update => self.update(call, route, now),
            Operation::Fetch => self.fetch(call, route, now),
            Operation::Service => Ok(self.service(route, &account)),
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
        let mut state = self.state();
        let record = state.verifications.start(order, fresh, now).cloned();
        let record = record.map_err(|refusal| ApiError::refused(refusal, &call.path))?;
        let sent = sent(&record, now);
        state.journal.sent(sent.clone());
        // The sink may be slow (a terminal, a pipe): other calls need not wait for it.
        drop(state);
        (self.sink)(&sent);
        Ok(Reply::json(StatusCode::CREATED, &answer::verification(&record)))
    }

    fn check(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, ApiError> {
        let (target, code) = parameters::check(&call.form)?;
        let checked = self.state().verifications.check(route.service, target, code, now);
        let record = checked.map_err(|refusal| ApiError::refused(refusal, &call.path))?;
        Ok(Reply::ok(&answer::check(&record)))
    }

    fn update(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, ApiError> {
        let ending = parameters::ending(&call.form)?;
        let updated = self.state().verifications.update(route.service, route.verification, ending, now);
        let record = updated.map_err(|refusal| ApiError::refused(refusal, &call.path))?;
        Ok(Reply::ok(&answer::verification(&record)))
    }

    fn fetch(&self, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, ApiError> {
        let state = self.state();
        let fetched = state.verifications.fetch(route.service, route.verification, now);
        let record = fetched.map_err(|refusal| ApiError::refused(refusal, &call.path))?;
        Ok(Reply::ok(&answer::verification(record)))
    }

    fn service(&self, route: Route<'_>, account: &str) -> Reply {
        Reply::ok(&answer::service(route.service, account, self.options.service_code_length()))
    }

    fn side_channel(&self, method: &Method, page: &str, body: &[u8]) -> Reply {
        let mut state = self.state();
        match (method.as_str(), page) {
            ("GET", "messages") => Reply::ok(&state.journal.messages()),
            ("GET", "requests") => Reply::ok(&state.journal.requests()),
            ("GET", "faults") => Reply::ok(&state.faults.to_json()),
            ("DELETE", "faults") => {
                state.faults.clear();
                Reply::no_content()
            }
            ("POST", "faults") => add_fault(&mut state.faults, body),
            (_, "messages" | "requests" | "faults") => {
                refuse(StatusCode::METHOD_NOT_ALLOWED, "that method does nothing here")
            }
            _ => refuse(StatusCode::NOT_FOUND, "there are /simulator/messages, requests and faults"),
        }
    }

    /// No rule can panic half-way through a change, so a poisoned lock guards sound state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add_fault(faults: &mut Faults, body: &[u8]) -> Reply {
    let fault = serde_json::from_slice::<fault::Request>(body)
        .map_err(|error| error.to_string())
        .and_then(|request| Fault::try_from(request).map_err(|error| error.to_string()));
    match fault {
        Ok(fault) => {
            let listed = fault.to_json();
            faults.add(fault);
            Reply::json(StatusCode::CREATED, &listed)
        }
        Err(reason) => refuse(StatusCode::BAD_REQUEST, &reason),
    }
}

fn refuse(status: StatusCode, reason: &str) -> Reply {
    let body: Value = json!({"error": reason});
    Reply::json(status, &body)
}

fn sent(record: &Verification, now: SystemTime) -> SentCode {
    SentCode {
        to: record.to.clone(),
        channel: record.channel().to_owned(),
        code: record.code.clone(),
        sent_at: now,
    }
}
