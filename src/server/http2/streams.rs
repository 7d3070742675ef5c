//! The answers under way on an HTTP/2 connection. A client may open no window and so take nothing of an answer, and no
//! write ever waits: who takes nothing for too long loses the answer, and the application its wait.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use crate::proxy::ReplyBody;
use crate::server::in_flight::{Flight, InFlight};

/// Bytes of an answer that are given at once, so that a slow client is seen to take them.
const PIECE: usize = 32 * 1_024;
/// Looks during which a piece of an answer may wait to be taken: a minute.
const STALL: u32 = 120;

/// Requests that a client may give up before their answers begin, and how many of them each look forgives: a person who
/// types into a search field gives up a few a second.
const MOST_GIVEN_UP: u32 = 200;
const FORGIVEN: u32 = 10;

/// The requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    in_flight: InFlight,
    begun: Cell<bool>,
    looks: Rc<Cell<u32>>,
    bodies: RefCell<Vec<Weak<Slot>>>,
    given_up: Cell<u32>,
}

/// A request whose answer has not begun.
#[derive(Debug)]
pub(super) struct Unanswered {
    streams: Rc<Streams>,
    answered: bool,
}

impl Unanswered {
    /// Its answer begins.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.answered {
            self.streams.given_up.set(self.streams.given_up.get() + 1);
        }
    }
}

#[derive(Debug)]
struct Slot {
    body: RefCell<Option<(ReplyBody, Flight)>>,
    /// Of what came from the application in one piece.
    rest: RefCell<Bytes>,
    /// The look before which a piece was given that nobody came back from.
    given: Cell<Option<u32>>,
}

impl Slot {
    fn is_stalled(&self, looks: u32) -> bool {
        self.given.get().is_some_and(|given| looks - given > STALL)
    }
}

impl Streams {
    /// Another request.
    pub(super) fn begin(&self) -> Flight {
        self.begun.set(true);
        self.in_flight.begin()
    }

    /// Watches whether its client waits for the answer to begin.
    pub(super) const fn unanswered(self: Rc<Self>) -> Unanswered {
        Unanswered { streams: self, answered: false }
    }

    /// Whether the client keeps asking and giving up, which costs the application a connection each time
    /// (CVE-2023-44487 after the request was begun).
    pub(super) const fn is_abused(&self) -> bool {
        self.given_up.get() > MOST_GIVEN_UP
    }

    /// Its answer's body.
    pub(super) fn watch(&self, body: ReplyBody, flight: Flight) -> Watched {
        let body = RefCell::new(Some((body, flight)));
        let slot = Rc::new(Slot { body, rest: RefCell::default(), given: Cell::default() });
        self.bodies.borrow_mut().push(Rc::downgrade(&slot));
        Watched { slot, looks: self.looks.clone() }
    }

    /// Takes a look: lets go what nobody takes. Whether nothing was under way since the last one.
    pub(super) fn look(&self) -> bool {
        let looks = self.looks.get() + 1;
        self.looks.set(looks);
        self.given_up.set(self.given_up.get().saturating_sub(FORGIVEN));
        self.bodies.borrow_mut().retain(|slot| {
            let Some(slot) = slot.upgrade() else { return false };
            if slot.is_stalled(looks) {
                tracing::debug!("an answer that its client does not take was let go");
                drop(slot.body.take());
            }
            true
        });
        !self.begun.replace(false) && self.in_flight.is_none()
    }
}

/// An answer's body that is taken back when nobody takes it.
#[derive(Debug)]
pub(super) struct Watched {
    slot: Rc<Slot>,
    looks: Rc<Cell<u32>>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut body = self.slot.body.borrow_mut();
        let Some((body, _)) = body.as_mut() else {
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())));
        };
        let mut rest = self.slot.rest.borrow_mut();
        let polled = if rest.is_empty() {
            Pin::new(body).poll_frame(cx)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut *rest)))))
        };
        let polled = polled.map_ok(|frame| frame.map_data(|data| first_piece(data, &mut rest)));
        self.slot.given.set(polled.is_ready().then(|| self.looks.get()));
        polled
    }

    fn is_end_stream(&self) -> bool {
        let is_end = |(body, _): &(ReplyBody, Flight)| body.is_end_stream();
        self.slot.rest.borrow().is_empty() && self.slot.body.borrow().as_ref().is_some_and(is_end)
    }

    fn size_hint(&self) -> SizeHint {
        self.slot.body.borrow().as_ref().map_or_else(SizeHint::default, |(body, _)| body.size_hint())
    }
}

/// Keeps the rest for later.
fn first_piece(mut data: Bytes, rest: &mut Bytes) -> Bytes {
    if data.len() > PIECE {
        *rest = data.split_off(PIECE);
    }
    data
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Either, Full};

    use super::*;

    /// An answer of two pieces would need an upstream; one piece, asked for again, is as good.
    fn body() -> ReplyBody {
        Either::Right(Full::new(Bytes::from_static(b"hello")))
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_let_go() {
        let streams = Streams::default();
        let mut watched = streams.watch(body(), streams.begin());
        assert!(watched.frame().await.unwrap().is_ok());
        (0..STALL).for_each(|_| assert!(!streams.look(), "it is under way"));
        assert!(watched.slot.body.borrow().is_some());
        streams.look();
        assert!(watched.slot.body.borrow().is_none());
        assert!(watched.frame().await.unwrap().is_err(), "visibly broken");
        assert!(streams.look(), "nothing is under way");
        drop(watched);
        streams.look();
        assert!(streams.bodies.borrow().is_empty());
    }

    #[tokio::test]
    async fn a_large_piece_is_given_in_small_ones() {
        let streams = Streams::default();
        let whole: Bytes = (0..100_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
        let mut watched = streams.watch(Either::Right(Full::new(whole.clone())), streams.begin());
        let mut given = Vec::new();
        while let Some(piece) = watched.frame().await {
            let piece = piece.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            given.extend(piece);
            assert_eq!(watched.is_end_stream(), given.len() == whole.len());
        }
        assert_eq!(given, whole);
    }

    #[test]
    fn who_keeps_giving_up_is_seen_and_a_search_field_is_not() {
        let streams = Rc::<Streams>::default();
        for _ in 0..1_000 {
            (0..10).for_each(|_| drop(streams.clone().unanswered()));
            (0..100).for_each(|_| streams.clone().unanswered().answered());
            streams.look();
        }
        assert!(!streams.is_abused());
        (0..=MOST_GIVEN_UP).for_each(|_| drop(streams.clone().unanswered()));
        assert!(streams.is_abused());
    }

    #[tokio::test]
    async fn an_answer_that_is_not_there_yet_is_waited_for() {
        let streams = Streams::default();
        let waiting = streams.watch(body(), streams.begin());
        (0..10 * STALL).for_each(|_| assert!(!streams.look()));
        assert!(waiting.slot.body.borrow().is_some());
        drop(waiting);
        assert!(streams.look());
        drop(streams.begin());
        assert!(!streams.look(), "one that came and went between two looks");
    }
}
