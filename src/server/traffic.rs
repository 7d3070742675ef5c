//! What passes on an HTTP/1.1 connection: the stream and the service of it tell each other.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Response, StatusCode};

/// Shared by both ends of one connection, which are on one thread: nothing here is ever waited for.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    answered: AtomicU32,
    is_switched: AtomicBool,
    /// The number of a request after which bytes came that only its answer makes a tunnel's; 0 is none.
    early: AtomicU32,
}

/// What a request to switch protocols came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// It has not been answered.
    Open,
    /// It is HTTP as before.
    Stayed,
    /// Nothing that comes is HTTP any more.
    Switched,
}

impl Traffic {
    /// Bytes came after this request, before it was answered.
    pub(super) fn came_early(&self, request: u32) {
        self.early.store(request, Ordering::Relaxed);
    }

    /// The next request has this answer. What came early and is no tunnel's now is nobody's: nothing more is read.
    pub(super) fn answered<B>(&self, answer: &mut Response<B>) {
        let number = self.answered.load(Ordering::Relaxed).wrapping_add(1);
        let is_switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !is_switched && self.early.load(Ordering::Relaxed) == number {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.is_switched.store(is_switched, Ordering::Relaxed);
        self.answered.store(number, Ordering::Relaxed);
    }

    /// What the request of this number, the newest, came to.
    pub(super) fn switch(&self, request: u32) -> Switch {
        if self.answered.load(Ordering::Relaxed) != request {
            return Switch::Open;
        }
        if self.is_switched.load(Ordering::Relaxed) { Switch::Switched } else { Switch::Stayed }
    }
}
