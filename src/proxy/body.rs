//! Bodies on their way through: never gathered, never altered.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::SharedPool;
use super::connection::Connection;
use super::standing::Standing;

/// The body of an answer: an upstream's, streaming, or ours, whole.
pub type ReplyBody = Either<Streamed, Full<Bytes>>;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Its sender broke it off.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// The session it belongs to is over.
    #[error("the session ended")]
    SessionEnded,
}

/// An upstream's answer, for as long as what it stands on lasts; gives the connection back to its thread when it has
/// been read.
pub struct Streamed {
    body: Incoming,
    connection: Option<Connection>,
    pool: SharedPool,
    standing: Standing,
    /// What is whole in its first piece goes out, whatever happened meanwhile: the request was decided on before.
    begun: bool,
    /// Made when the upstream first keeps us waiting: most answers never need it.
    over: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("body", &self.body).finish_non_exhaustive()
    }
}

pub(super) fn streamed(
    body: Incoming,
    connection: Option<Connection>,
    pool: SharedPool,
    standing: Standing,
) -> ReplyBody {
    Either::Left(Streamed { body, connection, pool, standing, begun: false, over: None })
}

impl Streamed {
    /// Whether the session ended while the upstream keeps us waiting.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let over = self.over.get_or_insert_with(|| {
            let standing = self.standing.clone();
            Box::pin(async move { standing.over().await })
        });
        over.as_mut().poll(cx).is_ready()
    }
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
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let over =
            if polled.is_pending() { self.is_over(cx) } else { self.begun && self.standing.has_ended() };
        self.begun |= polled.is_ready();
        if over {
            // Closed, not given back: the upstream is still sending.
            self.connection = None;
            return Poll::Ready(Some(Err(BodyError::SessionEnded)));
        }
        polled.map_err(BodyError::Broken)
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

/// A request's body, where it has one; notes how it gets on.
#[derive(Debug)]
pub(super) struct Upload {
    body: Option<Incoming>,
    standing: Standing,
    progress: Rc<Progress>,
}

impl Upload {
    pub(super) fn new(body: Incoming, standing: Standing) -> (Self, Rc<Progress>) {
        let progress = Rc::<Progress>::default();
        let body = (!body.is_end_stream()).then_some(body);
        (Self { body, standing, progress: progress.clone() }, progress)
    }

    /// That of the same request, had it none.
    pub(super) fn empty(&self) -> Self {
        Self { body: None, standing: self.standing.clone(), progress: self.progress.clone() }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(frame) = &polled {
            self.progress.moved.set(Some(Instant::now()));
            self.progress.broken.set(matches!(frame, Some(Err(_))));
        }
        if polled.is_ready() && self.standing.has_ended() {
            self.progress.broken.set(true);
            return Poll::Ready(Some(Err(BodyError::SessionEnded)));
        }
        polled.map_err(BodyError::Broken)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
