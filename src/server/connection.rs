//! One connection: TLS, then HTTP/1.1 or HTTP/2 until it ends or is asked to.

use std::cell::Cell;
use std::error::Error as _;
use std::future::{Future, pending};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client::Client;
use super::front::Service;
use super::lingering::Lingering;
use super::listener::Stream;
use super::tls::{ACME_TLS, Tls};
use super::turns::{ALL, Turns};
use super::{http1, http2};
use crate::gateway::Peer;
use crate::message::certificate_names::CertificateNames;
use crate::metrics::Turned;
use crate::proxy::Why;

/// A handshake is done in so long, or not at all.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The first steps of HTTP/2 that are taken in turn: most of those that flood do it at once.
const FIRST: usize = 32;
/// All of a head, in bytes.
pub(super) const LONGEST_HEAD: usize = 64 * 1_024;

/// Whose fault it is that a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody's, or the network's.
    Ordinary,
    /// The client broke the protocol or a bound that nobody comes near by chance.
    Offence,
}

/// Serves one connection; `client` is who it is, where one client can be told from others. What lasts is small: what
/// each part of it needs is in a box of its own.
pub(super) async fn serve(stream: Stream, peer: Peer, client: Option<Client>, service: Rc<Service>) -> End {
    let stream = Lingering::new(stream);
    let Some(tls) = service.tls() else {
        return Box::pin(http1::serve(stream, peer, service)).await;
    };
    let turns = service.turns.clone();
    let Some(stream) = Box::pin(handshake(tls.acceptor(), stream, client, &service)).await else {
        return End::Ordinary;
    };
    // Whoever speaks this wanted to see a certificate, and has seen it.
    if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS) {
        return End::Ordinary;
    }
    let peer = peer.saw(certificate(&tls, &stream));
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(turns.take(client, FIRST, http2::serve(stream, peer, service))).await
    } else {
        Box::pin(http1::serve(stream, peer, service)).await
    }
}

type Encrypted = Box<TlsStream<Lingering<Stream>>>;

async fn handshake(
    tls: &TlsAcceptor,
    stream: Lingering<Stream>,
    client: Option<Client>,
    service: &Service,
) -> Option<Encrypted> {
    match in_time(&service.turns, client, service.drained(), tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            service.turned(Turned::Handshake);
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(late) => {
            service.turned(Turned::Handshake);
            tracing::debug!(?late, "a TLS handshake was given up");
            None
        }
    }
}

/// The names in the certificate that the client saw, where there are others that it might have seen.
fn certificate(tls: &Tls, stream: &Encrypted) -> Option<Arc<CertificateNames>> {
    let certificates = tls.certificates();
    let shown = || certificates.for_host(stream.get_ref().1.server_name());
    certificates.are_several().then(shown).flatten().map(|shown| shown.names().clone())
}

/// Why a handshake was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    /// It took too long, the waits for its turns included.
    TookTooLong,
    /// The gateway stopped before its first turn came.
    NotBegun,
}

/// Takes all steps in turn, in the time that a handshake has. Once begun, it goes on while the gateway stops: the
/// request that comes after it may be on its way already.
async fn in_time<F: Future>(
    turns: &Rc<Turns>,
    client: Option<Client>,
    drained: impl Future<Output = ()>,
    work: F,
) -> Result<F::Output, Late> {
    let is_begun = Cell::new(false);
    let work = async {
        is_begun.set(true);
        work.await
    };
    let stopped = async {
        drained.await;
        if is_begun.get() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        done = timeout(HANDSHAKE, turns.take(client, ALL, work)) => done.map_err(|_| Late::TookTooLong),
        () = stopped => Err(Late::NotBegun),
    }
}

/// Clients break connections all day; who looks into one wants to know why.
pub(super) fn note(ended: hyper::Result<()>, service: &Service) -> End {
    let Err(error) = ended else { return End::Ordinary };
    tracing::debug!(error = %Why(&error), "a connection ended");
    // HTTP/2 ends connections (GOAWAY) for what nobody's browser does; RFC 9113 section 5.4.1.
    let http2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    let is_offence = http2.is_some_and(|error| error.is_go_away() && error.is_library());
    if is_offence {
        service.turned(Turned::Http2);
        return End::Offence;
    }
    // hyper answered it, or closed without a word: nobody read it as a request.
    if error.is_parse() {
        service.turned(Turned::Malformed);
    }
    End::Ordinary
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};
    use std::pin::Pin;
    use std::task::Poll;

    use tokio::time::Instant;

    use super::*;

    async fn is_waiting(mut future: Pin<&mut impl Future>) -> bool {
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_turn_is_given_up_in_time() {
        let turns = Rc::<Turns>::default();
        // It has the turn, and keeps it as long as nobody looks at it.
        let mut holder = Box::pin(turns.take(None, ALL, pending::<()>()));
        assert!(is_waiting(holder.as_mut()).await);
        let begin = Instant::now();
        let waits = in_time(&turns, None, pending(), ready(()));
        assert_eq!(timeout(HANDSHAKE * 2, waits).await, Ok(Err(Late::TookTooLong)));
        assert!(begin.elapsed() < HANDSHAKE * 2);
        // A turn that comes too late keeps nobody waiting.
        drop(holder);
        assert_eq!(in_time(&turns, None, pending(), ready(())).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_begun_ends_when_the_gateway_stops() {
        let turns = Rc::<Turns>::default();
        let mut holder = Box::pin(turns.take(None, ALL, pending::<()>()));
        assert!(is_waiting(holder.as_mut()).await);
        let waits = in_time(&turns, None, ready(()), ready(()));
        assert_eq!(timeout(HANDSHAKE / 2, waits).await, Ok(Err(Late::NotBegun)));
        drop(holder);

        // What was begun has its time.
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let (go_on, more) = tokio::sync::oneshot::channel::<()>();
        let mut begun = Box::pin(in_time(&turns, None, stopped, more));
        // After a look at the sockets its turn has come.
        for _ in 0..2 {
            assert!(is_waiting(begun.as_mut()).await);
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        assert!(is_waiting(begun.as_mut()).await);
        go_on.send(()).unwrap();
        assert_eq!(begun.await, Ok(Ok(())));
    }
}
