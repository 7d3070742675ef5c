//! HTTP/2 on one connection.

mod gathered;
mod streams;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::sleep;

use self::gathered::Gathered;
use self::streams::Streams;
use super::connection::{End, LONGEST_HEAD, note};
use super::front::Service;
use super::listener::Io;
use crate::gateway::Peer;
use crate::metrics::Turned;
use crate::proxy::OnThisThread;

/// Requests at once on one connection.
const STREAMS: u32 = 100;
/// Streams that a client reset before they were looked at, and streams that we reset for its mistakes, before the
/// connection ends: nobody's browser comes near (CVE-2023-44487, CVE-2025-8671).
const RESETS: usize = 20;
const MISTAKES: usize = 100;
/// Bytes that may be on their way to us, of one body and of all; and of one answer that may wait in memory.
const STREAM_WINDOW: u32 = 256 * 1_024;
const CONNECTION_WINDOW: u32 = 1_024 * 1_024;
const SEND_BUFFER: usize = 64 * 1_024;
/// A peer that does not answer a ping in time is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(10);
/// A look at the time is taken this often.
const EVERY: Duration = Duration::from_millis(500);
/// A connection that was told to end, and on which nothing is under way, has so long.
const FAREWELL: Duration = Duration::from_secs(15);

/// Serves requests until the connection ends, is idle for too long, or the gateway stops.
pub(super) async fn serve<S: Io + 'static>(stream: S, peer: Peer, service: Rc<Service>) -> End {
    let (peer, streams) = (Rc::new(peer), Rc::<Streams>::default());
    let stream = Gathered::new(stream);
    let (asked, used) = (service.clone(), streams.clone());
    let respond = service_fn(move |request| {
        let (flight, unanswered) = (used.begin(), used.clone().unanswered());
        let (service, peer, streams) = (asked.clone(), peer.clone(), used.clone());
        let request = Box::new(request);
        // Boxed: a stream is moved about several times before it begins, and once when it ends.
        Box::pin(async move {
            let answer = service.front().answer(request, &peer).await;
            unanswered.answered();
            Ok::<_, Infallible>(answer.map(|body| streams.watch(body, flight)))
        })
    });
    let mut connection = http2::Builder::new(OnThisThread)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(LONGEST_HEAD as u32)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(MISTAKES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .serve_connection(TokioIo::new(stream.clone()), respond);
    let ended = tokio::select! {
        biased;
        ended = drive(&mut connection, &stream) => Some(ended),
        () = idle(&streams, &service) => None,
    };
    if let Some(ended) = ended {
        return note(ended, &service);
    }
    if streams.is_abused() {
        service.turned(Turned::Http2);
        tracing::debug!("a client that kept giving its requests up was cut off");
        return End::Offence;
    }
    Pin::new(&mut connection).graceful_shutdown();
    // Streams that are open go on to their end.
    tokio::select! {
        biased;
        ended = drive(&mut connection, &stream) => note(ended, &service),
        () = quiet(&streams, FAREWELL) => {
            tracing::debug!("a client that did not close was cut off");
            End::Ordinary
        }
    }
}

/// Serves, and sends what the connection had to say each time.
async fn drive<C, S>(connection: &mut C, stream: &Gathered<S>) -> C::Output
where
    C: Future + Unpin,
    S: Io,
{
    poll_fn(|cx| {
        let served = Pin::new(&mut *connection).poll(cx);
        stream.poll_send(cx);
        served
    })
    .await
}

/// Returns once no request has been under way for so long, or when the gateway stops. Pings alone keep nothing open.
async fn idle(streams: &Streams, service: &Service) {
    tokio::select! {
        () = service.drained() => {}
        () = quiet(streams, service.idle_timeout()) => {}
    }
}

async fn quiet(streams: &Streams, time: Duration) {
    let mut looks = 0;
    while EVERY * looks < time && !streams.is_abused() {
        sleep(EVERY).await;
        looks = if streams.look() { looks + 1 } else { 0 };
    }
}
