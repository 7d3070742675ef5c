//! Bodies on their way through: never gathered, never altered.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::SharedPool;
use super::pool::Connection;

/// The body of an answer: an upstream's, streaming, or ours, whole.
pub type ReplyBody = Either<Streamed, Full<Bytes>>;

/// An upstream's answer; gives the connection back to its thread when it has been read.
#[derive(Debug)]
pub struct Streamed {
    body: Incoming,
    connection: Option<Connection>,
    pool: SharedPool,
}

pub(super) fn streamed(body: Incoming, connection: Connection, pool: SharedPool) -> ReplyBody {
    Either::Left(Streamed { body, connection: Some(connection), pool })
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection);
        }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How a request's body gets on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    moved: Cell<Option<Instant>>,
    broken: Cell<bool>,
}

impl Progress {
    /// When it last moved, so that a long upload is not taken for a silent upstream.
    pub(super) fn moved(&self) -> Option<Instant> {
        self.moved.get()
    }

    /// Whether the client broke it off, or sent what is no body: then the upstream is not to blame.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }
}

/// A request's body; notes how it gets on.
#[derive(Debug)]
pub(super) struct Upload {
    body: Incoming,
    progress: Rc<Progress>,
}

impl Upload {
    pub(super) fn new(body: Incoming) -> (Self, Rc<Progress>) {
        let progress = Rc::<Progress>::default();
        (Self { body, progress: progress.clone() }, progress)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(frame) = &polled {
            self.progress.moved.set(Some(Instant::now()));
            self.progress.broken.set(matches!(frame, Some(Err(_))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
