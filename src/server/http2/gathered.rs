//! What a connection says to its client, gathered: h2 writes and flushes each large frame by itself. The answers that are
//! ready at the same time go out in one TLS record and one system call.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered at most: what fits into one TLS record.
const MOST: usize = 16 * 1_024;

/// A stream that is told when to send: whoever polls the connection calls [`poll_send`](Self::poll_send) afterwards.
#[derive(Debug)]
pub(super) struct Gathered<S>(Rc<RefCell<Inner<S>>>);

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Inner<S> {
    stream: S,
    bytes: Vec<u8>,
    /// So many of them have been sent.
    sent: usize,
    /// The stream may have kept some of what it took: TLS does so while its socket is full.
    unflushed: bool,
    /// Why the rest cannot be.
    failed: Option<io::ErrorKind>,
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        let inner = Inner { stream, bytes: Vec::new(), sent: 0, unflushed: false, failed: None };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Sends what was gathered, as far as the client takes it. The connection learns of an error when it flushes.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) {
        let mut inner = self.0.borrow_mut();
        let is_all_sent = inner.bytes.is_empty() && !inner.unflushed;
        if is_all_sent || inner.failed.is_some() {
            return;
        }
        if let Poll::Ready(Err(error)) = inner.poll_flush(cx) {
            inner.failed = Some(error.kind());
            cx.waker().wake_by_ref();
        }
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    /// Writes all of it.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.unflushed = true;
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        // Given back: most connections are idle most of the time.
        (self.bytes, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        let length = bytes.iter().map(|slice| slice.len()).sum();
        if inner.bytes.len() + length > MOST {
            ready!(inner.poll_empty(cx))?;
        }
        if length > MOST {
            inner.unflushed = true;
            return Pin::new(&mut inner.stream).poll_write_vectored(cx, bytes);
        }
        if inner.bytes.is_empty() {
            inner.bytes.reserve_exact(MOST);
        }
        bytes.iter().for_each(|slice| inner.bytes.extend_from_slice(slice));
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let failed = self.0.borrow().failed;
        Poll::Ready(failed.map_or(Ok(()), |kind| Err(kind.into())))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_empty(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    async fn send<S: AsyncWrite + Unpin>(stream: &Gathered<S>) {
        poll_fn(|cx| {
            stream.poll_send(cx);
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_written_goes_out_together_when_it_is_told_to() {
        let (stream, mut client) = duplex(1_000);
        let mut stream = Gathered::new(stream);
        for piece in ["one, ", "two, ", "three"] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut seen = [0; 100];
        tokio::select! {
            biased;
            _ = client.read(&mut seen) => panic!("nothing was to be sent yet"),
            () = send(&stream) => {}
        }
        let read = client.read(&mut seen).await.unwrap();
        assert_eq!(&seen[..read], b"one, two, three");
        assert_eq!(stream.0.borrow().bytes.capacity(), 0, "it is given back");
    }

    #[tokio::test]
    async fn a_client_that_is_gone_is_told_of_at_the_next_flush() {
        let (stream, client) = duplex(1_000);
        let mut stream = Gathered::new(stream);
        drop(client);
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        send(&stream).await;
        assert_eq!(stream.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    /// As TLS does when its socket is full: it takes all bytes, and keeps them until a flush finds room.
    #[derive(Default)]
    struct Keeping {
        kept: Vec<u8>,
        arrived: Vec<u8>,
        has_room: bool,
    }

    impl AsyncWrite for Keeping {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.kept.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.has_room {
                return Poll::Pending;
            }
            let kept = std::mem::take(&mut self.kept);
            self.arrived.extend(kept);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[tokio::test]
    async fn what_the_stream_kept_goes_out_when_there_is_room() {
        // The second is written past what is gathered.
        for size in [5, MOST + 1] {
            let mut stream = Gathered::new(Keeping::default());
            stream.write_all(&vec![b'x'; size]).await.unwrap();
            stream.flush().await.unwrap();
            send(&stream).await;
            assert!(stream.0.borrow().stream.arrived.is_empty(), "there is no room");
            stream.0.borrow_mut().stream.has_room = true;
            send(&stream).await;
            assert_eq!(stream.0.borrow().stream.arrived.len(), size);
        }
    }

    proptest! {
        #[test]
        fn every_byte_comes_in_its_place(sizes in proptest::collection::vec(0_usize..40_000, 0..8), room in 1_usize..20_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (written, read) = runtime.block_on(async {
                let (stream, mut client) = duplex(room);
                let mut stream = Gathered::new(stream);
                let write = async {
                    let mut written = Vec::new();
                    for (n, size) in sizes.iter().enumerate() {
                        let piece: Vec<u8> = (0..*size).map(|at| (at + n) as u8).collect();
                        stream.write_all(&piece).await.unwrap();
                        written.extend(piece);
                        send(&stream).await;
                    }
                    stream.shutdown().await.unwrap();
                    written
                };
                let read = async {
                    let mut read = Vec::new();
                    client.read_to_end(&mut read).await.unwrap();
                    read
                };
                tokio::join!(write, read)
            });
            prop_assert!(written == read);
        }
    }
}
