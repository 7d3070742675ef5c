//! What passes on an HTTP/1.1 connection: its stream and its service tell each other, and whoever minds its time.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};

use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Response, StatusCode};

use super::connection::End;
use crate::message::screen::Stage;

/// Shared by both ends of one connection, which are on one thread: nothing here is ever waited for. Atomic all the same,
/// since hyper lets only a stream that is `Send` become a tunnel's.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    stage: AtomicU8,
    /// Bytes that came, modulo what fits.
    read: AtomicUsize,
    /// All that came was taken, and more is waited for.
    is_waiting: AtomicBool,
    /// Something was written that may not have gone out.
    is_writing: AtomicBool,
    answered: AtomicU32,
    is_switched: AtomicBool,
    /// The number of a request after which bytes came that only its answer makes a tunnel's; 0 is none.
    early: AtomicU32,
    is_refused: AtomicBool,
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

/// How it is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// Where the next byte stands.
    pub(super) stage: Stage,
    /// Bytes that came, modulo what fits.
    pub(super) read: usize,
    /// Whether all that came was taken, and more is waited for.
    pub(super) is_waiting: bool,
    /// Whether something may not have gone out.
    pub(super) is_writing: bool,
    /// Requests answered, modulo 2³².
    pub(super) answered: u32,
}

impl Traffic {
    /// So many bytes came, and the next stands there.
    pub(super) fn came(&self, bytes: usize, stage: Stage) {
        self.read.store(self.read.load(Relaxed).wrapping_add(bytes), Relaxed);
        self.stage.store(stage as u8, Relaxed);
    }

    /// Whether the reader must wait for more.
    pub(super) fn waits(&self, is_waiting: bool) {
        self.is_waiting.store(is_waiting, Relaxed);
    }

    /// Something was written, or all of it has gone out.
    pub(super) fn writes(&self, is_writing: bool) {
        self.is_writing.store(is_writing, Relaxed);
    }

    /// Bytes came after this request, before it was answered.
    pub(super) fn came_early(&self, request: u32) {
        self.early.store(request, Relaxed);
    }

    /// A request could be read in two ways; it is the last.
    pub(super) fn refused(&self) {
        self.is_refused.store(true, Relaxed);
    }

    /// Whose fault it is that the connection has ended.
    pub(super) fn end(&self) -> End {
        if self.is_refused.load(Relaxed) { End::Offence } else { End::Ordinary }
    }

    /// The next request has this answer. What came early and is no tunnel's now is nobody's: nothing more is read.
    pub(super) fn answered<B>(&self, answer: &mut Response<B>) {
        let number = self.answered.load(Relaxed).wrapping_add(1);
        let is_switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !is_switched && self.early.load(Relaxed) == number {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if !is_switched && self.stage.load(Relaxed) == Stage::Switching as u8 {
            self.stage.store(Stage::Between as u8, Relaxed);
        }
        self.is_switched.store(is_switched, Relaxed);
        self.answered.store(number, Relaxed);
    }

    /// What the request of this number, the newest, came to.
    pub(super) fn switch(&self, request: u32) -> Switch {
        if self.answered.load(Relaxed) != request {
            return Switch::Open;
        }
        if self.is_switched.load(Relaxed) { Switch::Switched } else { Switch::Stayed }
    }

    /// How it is going now.
    pub(super) fn look(&self) -> Sight {
        let stages = [Stage::Between, Stage::Head, Stage::Body, Stage::Switching];
        let stage = self.stage.load(Relaxed);
        Sight {
            stage: stages.into_iter().find(|known| *known as u8 == stage).unwrap_or(Stage::Switching),
            read: self.read.load(Relaxed),
            is_waiting: self.is_waiting.load(Relaxed),
            is_writing: self.is_writing.load(Relaxed),
            answered: self.answered.load(Relaxed),
        }
    }
}
