//! Connections to upstreams are counted, over all threads and routes: a client has a hundred requests on one
//! connection, and each may need one. Only who opens one looks here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many there may be, and are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    most: usize,
    free: Arc<Semaphore>,
}

/// One of them.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { most, free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))) }
    }

    /// One more, once there is one.
    pub(super) async fn take(&self, patience: Duration) -> Option<Place> {
        timeout(patience, self.free.clone().acquire_owned()).await.ok()?.ok()
    }

    /// Whether few are left: then none is kept for later.
    pub(super) fn are_scarce(&self) -> bool {
        self.free.available_permits() < self.most / 4
    }
}

/// A connection that gives its place back when it is closed, whatever it was by then: a tunnel, too.
#[derive(Debug)]
pub(super) struct Placed<S> {
    stream: S,
    _place: Option<Place>,
}

impl<S> Placed<S> {
    /// Of a health check there is no place to give back.
    pub(super) const fn new(stream: S, place: Option<Place>) -> Self {
        Self { stream, _place: place }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Placed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Placed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_is_given_back_with_its_connection() {
        let (places, patience) = (Places::new(8), Duration::from_secs(5));
        let mut held = Vec::new();
        for _ in 0..8 {
            let (near, _far) = tokio::io::duplex(1);
            held.push(Placed::new(near, places.take(patience).await));
        }
        assert!(places.are_scarce());
        assert!(places.take(patience).await.is_none());
        held.truncate(6);
        assert!(!places.are_scarce());
        assert!(places.take(patience).await.is_some());
    }
}
