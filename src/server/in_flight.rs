//! Requests that are being answered on one connection: from their head to the last byte of their answer.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};

/// How many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Rc<Cell<usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Flight(Rc<Cell<usize>>);

impl InFlight {
    pub(super) fn begin(&self) -> Flight {
        self.0.set(self.0.get() + 1);
        Flight(self.0.clone())
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.get() == 0
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The body of an answer, which is in flight as long as it is.
#[derive(Debug)]
pub(super) struct Counted<B> {
    body: B,
    _flight: Flight,
}

impl<B> Counted<B> {
    pub(super) const fn new(body: B, flight: Flight) -> Self {
        Self { body, _flight: flight }
    }
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
