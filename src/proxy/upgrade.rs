//! WebSocket: after a handshake that both sides wanted, bytes pass both ways until either side or the session ends.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body_util::{Either, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use super::ClientConnection;
use super::balance::UnderWay;
use super::body::ReplyBody;
use super::standing::Standing;
use crate::message::list;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const BUFFER: usize = 16 * 1_024;

/// The client's end of a tunnel, when the request asks for a WebSocket (RFC 6455 section 4.1). No other protocol is
/// switched to, and a handshake has no body: where it would end and the tunnel begin, two servers may not agree.
pub(super) fn wanted(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let headers = request.headers();
    let upgrade = headers.get(header::UPGRADE)?;
    let wanted = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream()
        && upgrade.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
        && list::has(headers, &header::CONNECTION, "upgrade");
    wanted.then(|| hyper::upgrade::on(request))
}

/// Asks the upstream for the same; the client's own fields for it ended at this hop.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Passes the upstream's 101 on and joins both ends once the client has it. What is `held` counts for as long as the
/// tunnel lasts.
pub(super) fn relay(
    client: OnUpgrade,
    mut answer: Response<Incoming>,
    standing: Standing,
    held: (Rc<ClientConnection>, UnderWay),
) -> Response<ReplyBody> {
    let upstream = hyper::upgrade::on(&mut answer);
    tokio::task::spawn_local(async move {
        let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else { return };
        let mut client = Used { io: TokioIo::new(client), standing: standing.clone() };
        let mut upstream = TokioIo::new(upstream);
        tokio::select! {
            _ = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER) => {}
            () = standing.over() => {
                tracing::info!(user = standing.user().map(tracing::field::display), "a tunnel ended with its session");
            }
        }
        drop(held);
    });
    answer.map(|_| Either::Right(Full::new(Bytes::new())))
}

/// The client's end; what the person sends uses their session.
struct Used {
    io: TokioIo<Upgraded>,
    standing: Standing,
}

impl AsyncRead for Used {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if polled.is_ready() && self.standing.touch().is_err() {
            return Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()));
        }
        polled
    }
}

impl AsyncWrite for Used {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
