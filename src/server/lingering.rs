//! Closing so that the last answer arrives. A socket closed while bytes come in is reset, and a reset may take the
//! answer along before the client has read it: a refusal of a large upload would look like a broken network
//! (RFC 9112 section 9.6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::listener::Io;

/// A client that is told the end has so long to close, from its last byte on, and no longer than that in all.
const SILENCE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(15);
/// A client that keeps us waiting takes so much in so long, or is cut off.
const STALL: Duration = Duration::from_secs(60);
const LEAST: usize = 64 * 1_024;
/// Bytes thrown away at once.
const HEAP: usize = 16 * 1_024;

/// A connection that does not wait for ever for its reader, and whose shutdown waits for the other side's and throws
/// away what still comes.
#[derive(Debug)]
pub(super) struct Lingering<S> {
    stream: S,
    stalled: Option<Stalled>,
    farewell: Option<Farewell>,
}

#[derive(Debug)]
struct Farewell {
    since: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Farewell {
    fn begin() -> Self {
        Self { since: Instant::now(), silence: Box::pin(sleep(SILENCE)) }
    }

    fn heard_more(&mut self) {
        let until = Instant::now() + SILENCE;
        self.silence.as_mut().reset(until.min(self.since + LONGEST));
    }
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, stalled: None, farewell: None }
    }
}

/// Since when a client keeps us waiting.
#[derive(Debug)]
struct Stalled {
    until: Pin<Box<Sleep>>,
    taken: usize,
}

impl Stalled {
    fn begin() -> Self {
        Self { until: Box::pin(sleep(STALL)), taken: 0 }
    }
}

impl<S> Lingering<S> {
    /// A client that takes next to nothing for so long is gone, or holds us up.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            let taken = written.as_ref().copied().unwrap_or_default();
            self.stalled = self.stalled.take().filter(|stalled| stalled.taken + taken < LEAST);
            self.stalled.iter_mut().for_each(|stalled| stalled.taken += taken);
            return Poll::Ready(written);
        }
        ready!(self.stalled.get_or_insert_with(Stalled::begin).until.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: Io> Io for Lingering<S> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_readable(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // Everything was taken: the next wait is another.
        if flushed.is_ready() {
            self.stalled = None;
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, farewell, .. } = self.get_mut();
        if farewell.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let farewell = farewell.get_or_insert_with(Farewell::begin);
        let mut heap = [0; HEAP];
        loop {
            let mut rest = ReadBuf::new(&mut heap);
            match Pin::new(&mut *stream).poll_read(cx, &mut rest) {
                Poll::Ready(Ok(())) if !rest.filled().is_empty() => farewell.heard_more(),
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return farewell.silence.as_mut().poll(cx).map(Ok),
            }
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
            if farewell.since.elapsed() >= LONGEST {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Writes a megabyte to somebody who takes so many bytes every five seconds.
    async fn write_to_a_reader_of(bytes: usize) -> io::Result<()> {
        let (mut reader, stream) = tokio::io::duplex(HEAP);
        let mut stream = Lingering::new(stream);
        tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            while reader.read_exact(&mut taken).await.is_ok() {
                sleep(Duration::from_secs(5)).await;
            }
        });
        stream.write_all(&[0; 1_000_000]).await?;
        stream.flush().await
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_next_to_nothing_is_cut_off() {
        for bytes in [1, 1_000, LEAST / 16] {
            let written = write_to_a_reader_of(bytes).await;
            assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut), "{bytes}");
        }
        write_to_a_reader_of(LEAST / 8).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_over_when_everything_was_taken() {
        let (mut reader, stream) = tokio::io::duplex(1_000);
        let mut stream = Lingering::new(stream);
        for _ in 0..10 {
            let (written, read) = tokio::join!(
                async {
                    stream.write_all(&[0; 1_500]).await?;
                    stream.flush().await
                },
                async {
                    sleep(STALL / 2).await;
                    reader.read_exact(&mut [0; 1_500]).await
                }
            );
            assert!(written.is_ok() && read.is_ok());
        }
    }
}
