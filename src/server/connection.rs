//! One connection: TLS, then HTTP/1.1 or HTTP/2 until it ends or is asked to.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::lingering::Lingering;
use super::screened::Screened;
use super::traffic::Traffic;
use crate::gateway::{Front, Peer};

/// A handshake is done in so long, or not at all.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The head of a request is here in so long; an idle connection is kept no longer either.
const HEAD: Duration = Duration::from_secs(30);
/// An HTTP/2 connection without a new request for so long is told to end; pings alone keep nothing open.
const IDLE: Duration = Duration::from_secs(75);
/// All of a head, in bytes.
const LONGEST_HEAD: usize = 64 * 1_024;
const HEADER_LIST: u32 = 64 * 1_024;
const STREAMS: u32 = 100;
/// An HTTP/2 peer that does not answer a ping in time is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// Serves one connection. `drain` turns true when the gateway stops: what is under way is finished, nothing new is
/// begun.
pub async fn serve<S>(
    stream: S,
    peer: Peer,
    front: Rc<Front>,
    tls: Option<TlsAcceptor>,
    drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Lingering::new(stream);
    let Some(tls) = tls else { return http1(stream, peer, front, drain).await };
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else {
        tracing::debug!("a TLS handshake failed");
        return;
    };
    let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if second {
        http2(TokioIo::new(stream), peer, front, drain).await
    } else {
        http1(stream, peer, front, drain).await
    }
}

async fn http1<S>(stream: S, peer: Peer, front: Rc<Front>, drain: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let traffic = Arc::<Traffic>::default();
    let service = service_fn(async |request| {
        let mut answer = front.answer(request, &peer).await;
        traffic.answered(&mut answer);
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD)
        .max_header_size(LONGEST_HEAD)
        .half_close(false)
        .serve_connection(TokioIo::new(Screened::new(stream, traffic.clone())), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = told(drain) => connection.as_mut().graceful_shutdown(),
    }
    note(connection.await);
}

async fn http2<I>(stream: I, peer: Peer, front: Rc<Front>, drain: watch::Receiver<bool>)
where
    I: Read + Write + Unpin + Send + 'static,
{
    let peer = Rc::new(peer);
    let last_request = Rc::new(Cell::new(Instant::now()));
    let noted = last_request.clone();
    let service = service_fn(move |request| {
        noted.set(Instant::now());
        let (front, peer) = (front.clone(), peer.clone());
        async move { Ok::<_, Infallible>(front.answer(request, &peer).await) }
    });
    let connection = http2::Builder::new(OnThisThread)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = told(drain) => connection.as_mut().graceful_shutdown(),
        // Streams that are open go on to their end.
        () = silent(&last_request) => connection.as_mut().graceful_shutdown(),
    }
    note(connection.await);
}

/// Returns once no request has come for so long.
async fn silent(last_request: &Cell<Instant>) {
    while last_request.get().elapsed() < IDLE {
        tokio::time::sleep_until(last_request.get() + IDLE).await;
    }
}

async fn told(mut drain: watch::Receiver<bool>) {
    // The sender gone means stopping too.
    let _ = drain.wait_for(|drain| *drain).await;
}

/// Clients break connections all day; who looks into one wants to know why.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Runs the tasks of a connection on the thread that has it.
#[derive(Clone, Copy, Debug)]
struct OnThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
