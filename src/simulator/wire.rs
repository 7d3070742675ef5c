//! The plumbing both servers share: accept connections, speak HTTP/1.1, read bodies, tell the time.
//!
//! Everything runs inside the future that `serve` returns: dropping it closes every connection
//! that has not become a WebSocket.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A body of known length or an endless stream.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Why a request gets no answer at all: the connection is closed instead.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
pub(super) struct HangUp;

/// Answers every request on `listener` with `handle`, until dropped.
pub(super) async fn serve<H, F>(listener: TcpListener, handle: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, HangUp>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, handle.clone()))),
                // Out of descriptors: trying again at once would only spin.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<H, F>(stream: TcpStream, handle: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<Body>, HangUp>> + Send + 'static,
{
    // A connection that ends badly is the caller's business, or a fault that was asked for.
    let _ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service_fn(handle))
        .with_upgrades()
        .await;
}

/// The whole body, or nothing when it is broken off or larger than any honest form.
pub(super) async fn read(body: Incoming) -> Option<Bytes> {
    let read = Limited::new(body, BODY_LIMIT).collect();
    let collected = tokio::time::timeout(BODY_TIMEOUT, read).await.ok()?;
    collected.ok().map(|collected| collected.to_bytes())
}

/// A body that is already complete.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// The current time, for rules that take it as an argument.
#[allow(clippy::disallowed_methods, reason = "the servers are where the simulated rules meet the real clock")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// `2015-07-30T20:00:00Z`: ISO 8601 in UTC, to the second.
pub(super) fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map_or_else(|_| EPOCH.to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

const EPOCH: &str = "1970-01-01T00:00:00Z";
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_is_iso_8601_to_the_second() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_438_286_400_900);
        assert_eq!(timestamp(time), "2015-07-30T20:00:00Z");
    }
}
