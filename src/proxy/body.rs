//! The body of an answer on its way to the client: never gathered, never altered.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::balance::UnderWay;
use super::connection::Connection;
use super::pin::Pin as Pinned;
use super::send::Answered;
use super::standing::Standing;
use super::upload::Progress;
use super::watch::Watch;
use super::{SharedPool, Why};
use crate::message::trailers;

/// The body of an answer: an upstream's, streaming, or ours, whole. Boxed: it is moved more often than it is read.
pub type ReplyBody = Either<Box<Streamed>, Full<Bytes>>;

/// A session that ends is seen so soon, while its answer is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Its sender broke it off.
    #[error("{why}", why = Why(.0))]
    Broken(#[from] hyper::Error),
    /// The session it belongs to is over.
    #[error("the session ended")]
    SessionEnded,
    /// Its sender sent next to nothing for too long.
    #[error("nothing came in time")]
    Stalled,
    /// It is larger than the route takes.
    #[error("the body is too large")]
    TooLarge,
}

/// An upstream's answer, for as long as what it stands on lasts; gives the connection back to its thread when it has
/// been read.
pub struct Streamed {
    body: Incoming,
    connection: Option<Connection>,
    pool: SharedPool,
    upload: Option<Rc<Progress>>,
    _under_way: UnderWay,
    pin: Option<Box<Pinned>>,
    standing: Standing,
    /// The length it would have, had it a body: of what was not modified.
    only_length: bool,
    /// What is whole in its first piece goes out, whatever happened meanwhile: the request was decided on before.
    begun: bool,
    /// Since when the upstream keeps us waiting.
    waiting: Option<Instant>,
    /// When it is seen whether the session is over, should the upstream keep us waiting then.
    look: Option<Instant>,
    /// Where the connection has none.
    watch: Watch,
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("body", &self.body).finish_non_exhaustive()
    }
}

impl Streamed {
    pub(super) fn new(body: Incoming, answered: Answered, standing: Standing) -> Self {
        let Answered { connection, pool, upload, under_way: _under_way, pin } = answered;
        let (only_length, begun, waiting, look, watch) = (false, false, None, None, Watch::default());
        Self {
            body,
            connection,
            pool,
            upload,
            _under_way,
            pin,
            standing,
            only_length,
            begun,
            waiting,
            look,
            watch,
        }
    }

    /// Lets hyper keep the length in the head of an answer that has no body: it takes it out where it knows that
    /// nothing comes.
    pub(super) fn keeping_length(mut self) -> Self {
        self.only_length = true;
        self
    }
}

impl Streamed {
    /// Why it ends while the upstream keeps us waiting, if it does.
    fn given_up(&mut self, cx: &mut Context<'_>) -> Option<BodyError> {
        let now = Instant::now();
        let stalled = *self.waiting.get_or_insert(now) + self.pool.terms().idle_timeout;
        let mut look = *self.look.get_or_insert(now + LOOK);
        while self.watch().poll(cx, || stalled.min(look)).is_ready() {
            if self.standing.is_over() {
                return Some(BodyError::SessionEnded);
            }
            let now = Instant::now();
            if now >= stalled {
                return Some(BodyError::Stalled);
            }
            look = now + LOOK;
            self.look = Some(look);
        }
        None
    }

    /// The connection's: a timer for each answer would cost more than all else that is done for it.
    fn watch(&mut self) -> &mut Watch {
        match &mut self.connection {
            Some(Connection::Own(own)) => &mut own.watch,
            Some(Connection::Stream(stream)) => &mut stream.watch,
            None => &mut self.watch,
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.given_up(cx).map_or(Poll::Pending, |error| Poll::Ready(Some(Err(error))));
        };
        self.waiting = None;
        if self.begun && self.standing.has_ended() {
            return Poll::Ready(Some(Err(BodyError::SessionEnded)));
        }
        self.begun = true;
        Poll::Ready(polled.map(|frame| frame.map(|frame| self.cleaned(frame)).map_err(BodyError::Broken)))
    }

    fn cleaned(&self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(trailers) = frame.trailers_mut() {
            trailers::clean(trailers, self.pool.identity_headers());
        }
        frame
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match self.pin.take() {
            None => self.pool.give_back(connection, self.upload.take()),
            Some(pin) => pin.give_back(&self.pool, connection, self.upload.as_deref()),
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
        let polled = self.poll_upstream(cx);
        if let Poll::Ready(Some(Err(error))) = &polled {
            tracing::info!(upstream = %self.pool.upstream(), route = %self.pool.route(), %error, "an answer broke off");
            self.pool.failures().note_broken(error);
            // The upstream may still be sending.
            if let Some(connection) = self.connection.take() {
                connection.close();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        !self.only_length && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.only_length { SizeHint::default() } else { self.body.size_hint() }
    }
}
