//! The side channel under `/simulator`, alike for every provider: the codes that were sent, the calls that were
//! made, and the faults. It takes no credentials, so never listen where strangers can reach it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hyper::{Method, StatusCode};

use super::call::Call;
use super::fault::{self, Fault, Vocabulary};
use super::faults::{Faults, Outcome};
use super::journal::Journal;
use super::reply::Reply;
use super::{SentCode, Sink};

/// What a simulator remembers for its onlookers, and what they asked it to do wrong.
pub(super) struct SideChannel {
    words: &'static Vocabulary,
    sink: Box<Sink>,
    state: Mutex<State>,
}

struct State {
    faults: Faults,
    journal: Journal,
}

impl SideChannel {
    pub(super) fn new(words: &'static Vocabulary, faults: Vec<Fault>, sink: Box<Sink>) -> Self {
        let state = State { faults: Faults::new(faults), journal: Journal::default() };
        Self { words, sink, state: Mutex::new(state) }
    }

    /// Notes a sent code and shows it. The sink may be slow (a terminal, a pipe): hold no lock.
    pub(super) fn sent(&self, sent: SentCode) {
        self.state().journal.sent(sent.clone());
        (self.sink)(&sent);
    }

    /// Notes a request; no status means that it got no answer.
    pub(super) fn requested(&self, call: &Call, status: Option<u16>, at: SystemTime) {
        self.state().journal.requested(call, status, at);
    }

    /// The outcome of a call under the oldest fault that concerns it, or of an undisturbed one.
    pub(super) fn disturb(
        &self,
        operations: &[&str],
        to: Option<&str>,
        error: impl FnOnce(&str) -> Reply,
        process: impl FnOnce() -> Reply,
    ) -> Outcome {
        let fault = self.state().faults.take(operations, to);
        match fault {
            Some(fault) => Outcome::disturbed(&fault, error, process),
            None => Outcome::undisturbed(process()),
        }
    }

    pub(super) fn answer(&self, method: &Method, page: &str, body: &[u8]) -> Reply {
        let mut state = self.state();
        match (method.as_str(), page) {
            ("GET", "messages") => Reply::ok(&state.journal.messages()),
            ("GET", "requests") => Reply::ok(&state.journal.requests()),
            ("GET", "faults") => Reply::ok(&state.faults.to_json()),
            ("DELETE", "faults") => {
                state.faults.clear();
                Reply::no_content()
            }
            ("POST", "faults") => add_fault(&mut state.faults, self.words, body),
            (_, "messages" | "requests" | "faults") => {
                Reply::refused(StatusCode::METHOD_NOT_ALLOWED, "that method does nothing here")
            }
            _ => Reply::refused(StatusCode::NOT_FOUND, "there are /simulator/messages, requests and faults"),
        }
    }

    /// No rule can panic half-way through a change, so a poisoned lock guards sound state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add_fault(faults: &mut Faults, words: &Vocabulary, body: &[u8]) -> Reply {
    let fault = serde_json::from_slice::<fault::Request>(body)
        .map_err(|error| error.to_string())
        .and_then(|request| request.judge(words).map_err(|error| error.to_string()));
    match fault {
        Ok(fault) => {
            let listed = fault.to_json();
            faults.add(fault);
            Reply::json(StatusCode::CREATED, &listed)
        }
        Err(reason) => Reply::refused(StatusCode::BAD_REQUEST, &reason),
    }
}
