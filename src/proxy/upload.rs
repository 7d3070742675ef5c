//! The body of a request on its way to the upstream: never gathered, never altered.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::application::Application;
use super::body::BodyError;
use super::expect::Gate;
use super::standing::Standing;
use super::trickle::Trickle;
use super::watch::Watch;
use crate::message::trailers;

/// How far a body has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The upstream has not asked for it yet, and the client holds it back.
    Held,
    /// The upstream is to take what has come.
    Passing,
    /// The client is to send more.
    Waiting,
    /// The upstream has it all.
    Sent,
    /// The client broke it off, or sent what is no body: the upstream is not to blame.
    Broken,
    /// The session it belongs to ended.
    Ended,
    /// The client sent next to nothing for too long.
    Stalled,
    /// It is larger than the route takes.
    TooLarge,
}

/// How a request's body gets on.
#[derive(Debug)]
pub(super) struct Progress {
    stage: Cell<Stage>,
    moved: Cell<Instant>,
}

impl Progress {
    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// When it last moved.
    pub(super) fn moved(&self) -> Instant {
        self.moved.get()
    }

    fn end(&self, stage: Stage, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.stage.set(stage);
        Poll::Ready(Some(Err(error)))
    }
}

/// A request's body, if it has one.
#[derive(Debug)]
pub(super) struct Upload(Option<Box<Sending>>);

struct Sending {
    body: Incoming,
    terms: Terms,
    gate: Option<Gate>,
    progress: Rc<Progress>,
    watch: Watch,
    /// Once the upstream is there to take it.
    trickle: Option<Trickle>,
    sent: u64,
}

/// What holds for a body.
pub(super) struct Terms {
    pub(super) standing: Standing,
    pub(super) application: Arc<Application>,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending")
            .field("body", &self.body)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Upload {
    /// No body.
    pub(super) const NONE: Self = Self(None);

    /// A body that comes through this gate, and what tells how it gets on.
    pub(super) fn new(body: Incoming, gate: Option<Gate>, terms: Terms) -> (Self, Rc<Progress>) {
        let stage = Cell::new(if gate.is_some() { Stage::Held } else { Stage::Waiting });
        let progress = Rc::new(Progress { stage, moved: Cell::new(Instant::now()) });
        let (noted, watch) = (progress.clone(), Watch::default());
        let sending = Sending { body, terms, gate, progress: noted, watch, trickle: None, sent: 0 };
        (Self(Some(Box::new(sending))), progress)
    }
}

impl Sending {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(gate) = &mut self.gate {
            ready!(gate.poll(cx));
            self.gate = None;
            self.progress.moved.set(Instant::now());
        }
        let patience = self.terms.application.route.upstreams.idle_timeout;
        let trickle = self.trickle.get_or_insert_with(|| Trickle::new(patience, Instant::now()));
        if self.progress.stage() == Stage::Passing {
            trickle.rested(self.progress.moved().elapsed());
        }
        let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(cx) else {
            self.progress.stage.set(Stage::Waiting);
            ready!(self.watch.poll(cx, || trickle.due()));
            return self.progress.end(Stage::Stalled, BodyError::Stalled);
        };
        self.progress.moved.set(Instant::now());
        if self.terms.standing.has_ended() {
            return self.progress.end(Stage::Ended, BodyError::SessionEnded);
        }
        match polled {
            None => {
                self.progress.stage.set(Stage::Sent);
                Poll::Ready(None)
            }
            Some(Err(error)) => self.progress.end(Stage::Broken, error.into()),
            Some(Ok(frame)) => self.pass(frame),
        }
    }

    fn pass(&mut self, mut frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let route = &self.terms.application.route;
        if let Some(trailers) = frame.trailers_mut() {
            trailers::clean(trailers, &route.identity_headers);
        }
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.sent += bytes;
        if let Some(trickle) = &mut self.trickle {
            trickle.came(bytes, self.progress.moved());
        }
        if route.upstreams.max_body.is_some_and(|most| self.sent > most) {
            return self.progress.end(Stage::TooLarge, BodyError::TooLarge);
        }
        self.progress.stage.set(if self.body.is_end_stream() { Stage::Sent } else { Stage::Passing });
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |sending| sending.poll(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|sending| sending.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |sending| sending.body.size_hint())
    }
}
