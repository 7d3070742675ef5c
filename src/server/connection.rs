//! One connection: TLS, then HTTP/1.1 or HTTP/2 until it ends or is asked to.

use std::error::Error as _;
use std::rc::Rc;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client::Client;
use super::front::Service;
use super::lingering::Lingering;
use super::listener::Stream;
use super::turns::ALL;
use super::{http1, http2};
use crate::gateway::Peer;
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
    let Some(tls) = service.terms.tls.clone() else {
        return Box::pin(http1::serve(stream, peer, service)).await;
    };
    let turns = service.turns.clone();
    let Some(stream) = Box::pin(turns.take(client, ALL, handshake(tls, stream))).await else {
        return End::Ordinary;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(turns.take(client, FIRST, http2::serve(stream, peer, service))).await
    } else {
        Box::pin(http1::serve(stream, peer, service)).await
    }
}

type Encrypted = Box<TlsStream<Lingering<Stream>>>;

async fn handshake(tls: TlsAcceptor, stream: Lingering<Stream>) -> Option<Encrypted> {
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

/// Clients break connections all day; who looks into one wants to know why.
pub(super) fn note(ended: hyper::Result<()>) -> End {
    let Err(error) = ended else { return End::Ordinary };
    tracing::debug!(error = %Why(&error), "a connection ended");
    // HTTP/2 ends connections (GOAWAY) for what nobody's browser does; RFC 9113 section 5.4.1.
    let http2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    let is_offence = http2.is_some_and(|error| error.is_go_away() && error.is_library());
    if is_offence { End::Offence } else { End::Ordinary }
}
