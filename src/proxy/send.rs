//! One request to one upstream: on a kept connection when there is one, on a new one else.

use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;
use hyper::{Request, Response, Version};
use tokio::time::{Instant, sleep_until};

use super::body::{Progress, Upload};
use super::connection::{Connection, Need, Own};
use super::http2::{self, Stream};
use super::pool::Pools;
use super::standing::Standing;
use super::{SharedPool, UpstreamError};
use crate::message::framing;

/// An answer's head, what its body comes on, and where that connection belongs.
pub(super) type Answered = (Response<Incoming>, Option<Connection>, SharedPool);

/// Sends a request and waits for the head of its answer. It is sent a second time only when the upstream certainly did
/// not process it: not a byte of it went out, or the upstream said so.
pub(super) async fn send(
    pools: &Pools,
    request: Request<Incoming>,
    need: Need,
    patience: Duration,
    standing: Standing,
) -> Result<Answered, UpstreamError> {
    let (head, body) = request.into_parts();
    let (body, progress) = Upload::new(body, standing);
    let mut request = Request::from_parts(head, body);
    let mut failed = None;
    for pool in pools.in_turn() {
        if let Some(error) = &failed {
            tracing::warn!(%error, "trying the next upstream");
        }
        // A stream that was refused is not asked for again here: the next one would be refused as well.
        let mut refused = false;
        while let Some(connection) = pool.take(need).filter(|_| !refused) {
            refused = matches!(connection, Connection::Stream(_));
            match on(pool, connection, request, patience, &progress).await? {
                Sent::Answered(answer, connection) => return Ok((answer, connection, pool.clone())),
                Sent::Unsent(back, _) => request = back,
            }
        }
        let connection = match pool.connect(need).await {
            Ok(connection) => connection,
            Err(error) => {
                failed = Some(error);
                continue;
            }
        };
        match on(pool, connection, request, patience, &progress).await? {
            Sent::Answered(answer, connection) => return Ok((answer, connection, pool.clone())),
            Sent::Unsent(back, why) => {
                request = back;
                failed = Some(UpstreamError::Failed(pool.upstream().to_string(), why));
            }
        }
    }
    Err(failed.expect("a route has an upstream"))
}

enum Sent {
    /// With the connection, unless it must not be used again.
    Answered(Response<Incoming>, Option<Connection>),
    /// The upstream did not process it, and why.
    Unsent(Request<Upload>, hyper::Error),
}

async fn on(
    pool: &SharedPool,
    connection: Connection,
    request: Request<Upload>,
    patience: Duration,
    progress: &Progress,
) -> Result<Sent, UpstreamError> {
    let answering = async {
        match connection {
            Connection::Own(own) => on_own(pool, own, request, progress).await,
            Connection::Stream(stream) => on_stream(pool, stream, request, progress).await,
        }
    };
    tokio::select! {
        biased;
        answered = answering => answered,
        () = silence(patience, progress) => Err(UpstreamError::Timeout(pool.upstream().to_string())),
    }
}

async fn on_own(
    pool: &SharedPool,
    mut own: Own,
    request: Request<Upload>,
    progress: &Progress,
) -> Result<Sent, UpstreamError> {
    let answer = match own.sender.try_send_request(request).await {
        Ok(answer) => answer,
        Err(refused) => return unsent(pool, refused, progress),
    };
    if !framing::is_plain_answer(answer.headers()) {
        // Where it ends is a matter of opinion: nothing that comes on this connection can be trusted.
        own.close();
        return Err(UpstreamError::Misframed(pool.upstream().to_string()));
    }
    // hyper speaks HTTP/1.0 from now on where the upstream does, and an HTTP/1.0 request has no body of unknown length.
    let keeps = answer.version() == Version::HTTP_11;
    Ok(Sent::Answered(answer, keeps.then_some(Connection::Own(own))))
}

async fn on_stream(
    pool: &SharedPool,
    stream: Stream,
    mut request: Request<Upload>,
    progress: &Progress,
) -> Result<Sent, UpstreamError> {
    let host = http2::to_http2(&mut request, stream.scheme());
    // A body can be sent once only; a request without one is kept for the case that it is refused.
    let spare = request.body().is_end_stream().then(|| request.body().empty());
    let spare = spare.map(|body| {
        let mut spare = Request::new(body);
        request.uri().clone_into(spare.uri_mut());
        request.method().clone_into(spare.method_mut());
        request.headers().clone_into(spare.headers_mut());
        spare
    });
    let back = |mut request, refused: TrySendError<_>| {
        http2::from_http2(&mut request, host);
        Ok(Sent::Unsent(request, refused.into_error()))
    };
    let answered = stream.sender().try_send_request(request).await;
    if answered.is_ok() {
        stream.note_answer();
    }
    match (answered, spare) {
        (Ok(answer), _) if framing::is_plain_answer(answer.headers()) => {
            Ok(Sent::Answered(answer, Some(Connection::Stream(stream))))
        }
        (Ok(_), _) => Err(UpstreamError::Misframed(pool.upstream().to_string())),
        (Err(mut refused), spare) => match (refused.take_message(), spare) {
            (Some(request), _) => back(request, refused),
            (None, Some(spare)) if http2::was_refused(refused.error()) => back(spare, refused),
            (None, _) => unsent(pool, refused, progress),
        },
    }
}

/// The request, when it can be had back; else why there is no answer.
fn unsent(
    pool: &SharedPool,
    mut refused: TrySendError<Request<Upload>>,
    progress: &Progress,
) -> Result<Sent, UpstreamError> {
    match refused.take_message() {
        Some(request) => Ok(Sent::Unsent(request, refused.into_error())),
        None if progress.is_broken() => Err(UpstreamError::Client),
        None => Err(UpstreamError::Failed(pool.upstream().to_string(), refused.into_error())),
    }
}

/// Returns once neither the request's body has moved nor an answer has come for so long.
async fn silence(patience: Duration, progress: &Progress) {
    let mut until = Instant::now() + patience;
    loop {
        sleep_until(until).await;
        match progress.moved().map(|at| at + patience) {
            Some(later) if later > until => until = later,
            _ => return,
        }
    }
}
