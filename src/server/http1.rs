//! HTTP/1.1 on one connection. While nothing is under way it is parked: hyper and its buffers are let go, and the bare
//! stream waits for the next byte.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::connection::{End, LONGEST_HEAD, note};
use super::front::Service;
use super::in_flight::{Counted, InFlight};
use super::listener::Io;
use super::minder::{self, Advice, Minder};
use super::screened::Screened;
use super::traffic::Traffic;
use crate::gateway::Peer;

/// Serves requests until the connection ends, is idle for too long, or the gateway stops.
pub(super) async fn serve<S: Io + 'static>(stream: S, peer: Peer, service: Rc<Service>) -> End {
    let traffic = Arc::<Traffic>::default();
    let mut stream = Screened::new(stream, traffic.clone());
    let mut until = Instant::now() + minder::HEAD;
    let mut answered = 0;
    while is_wanted(&stream, until, &service).await {
        let Some(parked) = Box::pin(work(stream, &peer, &traffic, &service)).await else {
            return traffic.end();
        };
        stream = parked;
        // Only an answer buys time.
        let now = traffic.look().answered;
        if now != answered {
            (answered, until) = (now, Instant::now() + service.idle_timeout());
        }
    }
    let _ = stream.shutdown().await;
    End::Ordinary
}

/// Waits for a byte. False once it is too late for one.
async fn is_wanted<S: Io>(stream: &Screened<S>, until: Instant, service: &Service) -> bool {
    tokio::select! {
        biased;
        // The end is hyper's to find, too.
        _ = poll_fn(|cx| stream.poll_readable(cx)) => true,
        () = service.drained() => false,
        () = tokio::time::sleep_until(until) => false,
    }
}

/// Has hyper serve until nothing is under way: then the stream is given back. None is the end of the connection.
async fn work<S: Io + 'static>(
    stream: Screened<S>,
    peer: &Peer,
    traffic: &Traffic,
    service: &Service,
) -> Option<Screened<S>> {
    let in_flight = InFlight::default();
    let respond = service_fn(async |request| {
        let flight = in_flight.begin();
        let mut answer = service.front().answer(Box::new(request), peer).await;
        traffic.answered(&mut answer);
        Ok::<_, Infallible>(answer.map(|body| Counted::new(body, flight)))
    });
    let mut connection = http1::Builder::new()
        .max_buf_size(LONGEST_HEAD)
        .max_header_size(LONGEST_HEAD)
        .half_close(false)
        // The minder does it.
        .header_read_timeout(None::<Duration>)
        .serve_connection(TokioIo::new(stream), respond)
        .with_upgrades();
    let advice = tokio::select! {
        biased;
        ended = &mut connection => {
            note(ended, service);
            return None;
        }
        advice = mind(traffic, &in_flight, service) => advice,
    };
    match advice {
        Some(Advice::Park) => {
            let parts = connection.into_parts()?;
            let stream = parts.io.into_inner();
            // An empty line may wait for the request after it. A body that nobody read is not to be read as a request.
            let is_clean = parts.read_buf.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            if is_clean {
                tracing::debug!("an idle connection is parked");
                return Some(stream);
            }
        }
        Some(Advice::Cut) => tracing::debug!("a client that kept us waiting was cut off"),
        // The gateway stops.
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            note(connection.await, service);
        }
    }
    None
}

/// Returns when the connection can be parked or must be cut off; with None when the gateway stops.
async fn mind(traffic: &Traffic, in_flight: &InFlight, service: &Service) -> Option<Advice> {
    let mut minder = Minder::default();
    let mut pause = minder::FIRST;
    loop {
        sleep(pause).await;
        pause = minder::EVERY.min(pause * 2);
        if service.is_draining() {
            return None;
        }
        let advice = minder.look(Instant::now(), traffic.look(), in_flight.is_none());
        if advice.is_some() {
            return advice;
        }
    }
}
