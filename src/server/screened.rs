//! A connection whose requests are screened on their way into hyper's buffer, without a copy. What is refused is
//! replaced by bytes that hyper certainly refuses: it answers 400 in its turn, after what was asked before, and closes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::listener::Io;
use super::traffic::{Switch, Traffic};
use crate::message::screen::{Refused, Screen, Stage};

/// Wrong wherever it stands: NUL in heads and sizes and where a chunk ends, the line feed in an extension; the empty
/// line has hyper look at once.
const WRONG: &[u8] = b"\0\n\r\n\r\n";

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Screened<S> {
    stream: S,
    traffic: Arc<Traffic>,
    sight: Sight,
}

#[derive(Debug)]
enum Sight {
    Screening(Screen),
    /// What hyper reads now, and then the end.
    Refused(&'static [u8]),
    /// A tunnel's bytes are its own.
    Off,
}

impl<S> Screened<S> {
    pub(super) fn new(stream: S, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic, sight: Sight::Screening(Screen::default()) }
    }
}

/// Gives of the rest what there is room for.
fn give(rest: &mut &'static [u8], buffer: &mut ReadBuf<'_>) {
    let (now, later) = rest.split_at(rest.len().min(buffer.remaining()));
    buffer.put_slice(now);
    *rest = later;
}

impl Sight {
    /// Looks at the bytes from `before` on, and takes back what may not pass.
    fn screen(&mut self, buffer: &mut ReadBuf<'_>, before: usize, traffic: &Traffic) {
        let Self::Screening(screen) = self else { return };
        if screen.stage() == Stage::Switching {
            match traffic.switch(screen.heads()) {
                Switch::Open => {}
                Switch::Stayed => screen.stayed(),
                Switch::Switched => return *self = Self::Off,
            }
        }
        if let Err(Refused { at }) = screen.feed(&buffer.filled()[before..]) {
            tracing::debug!("a request that could be read in two ways was refused");
            traffic.refused();
            buffer.set_filled(before + at);
            let mut rest = WRONG;
            give(&mut rest, buffer);
            *self = Self::Refused(rest);
            return;
        }
        if screen.is_early() {
            traffic.came_early(screen.heads());
        }
        traffic.came(buffer.filled().len() - before, screen.stage());
    }
}

impl<S: Io> Io for Screened<S> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_readable(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Screened<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, traffic, sight } = self.get_mut();
        if let Sight::Refused(rest) = sight {
            give(rest, buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(stream).poll_read(cx, buffer);
        traffic.waits(polled.is_pending());
        ready!(polled)?;
        sight.screen(buffer, before, traffic);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Screened<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.traffic.writes(true);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.traffic.writes(true);
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // hyper flushes when it has written everything.
        if flushed.is_ready() {
            self.traffic.writes(false);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
