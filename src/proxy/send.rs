//! One request to one upstream: on a kept connection when there is one, on a new one else.

use std::io;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::time::{Instant, sleep_until};

use super::body::{Progress, Upload};
use super::pool::{Connection, Pools};
use super::standing::Standing;
use super::{SharedPool, UpstreamError};

/// Sends a request and waits for the head of its answer. It is sent a second time only when not a byte of it went
/// out: the kept connection had been closed, or the upstream could not be reached and another can.
pub(super) async fn send(
    pools: &Pools,
    request: Request<Incoming>,
    patience: Duration,
    standing: Standing,
) -> Result<(Response<Incoming>, Connection, SharedPool), UpstreamError> {
    let (head, body) = request.into_parts();
    let (body, progress) = Upload::new(body, standing);
    let mut request = Request::from_parts(head, body);
    let mut failed = None;
    for pool in pools.in_turn() {
        if let Some(error) = &failed {
            tracing::warn!(%error, "trying the next upstream");
        }
        while let Some(connection) = pool.take() {
            match on(pool, connection, request, patience, &progress).await? {
                Sent::Answered(answer, connection) => return Ok((answer, connection, pool.clone())),
                Sent::Unsent(back) => request = back,
            }
        }
        let connection = match pool.connect().await {
            Ok(connection) => connection,
            Err(error) => {
                failed = Some(error);
                continue;
            }
        };
        match on(pool, connection, request, patience, &progress).await? {
            Sent::Answered(answer, connection) => return Ok((answer, connection, pool.clone())),
            Sent::Unsent(back) => request = back,
        }
        let closed = io::ErrorKind::ConnectionReset.into();
        failed = Some(UpstreamError::Unreachable(pool.authority().to_owned(), closed));
    }
    Err(failed.expect("a route has an upstream"))
}

enum Sent {
    Answered(Response<Incoming>, Connection),
    /// The connection was closed before a byte went out.
    Unsent(Request<Upload>),
}

async fn on(
    pool: &SharedPool,
    mut connection: Connection,
    request: Request<Upload>,
    patience: Duration,
    progress: &Progress,
) -> Result<Sent, UpstreamError> {
    let sending = connection.try_send_request(request);
    let answered = tokio::select! {
        biased;
        answered = sending => answered,
        () = silence(patience, progress) => return Err(UpstreamError::Timeout(pool.authority().to_owned())),
    };
    match answered {
        Ok(answer) => Ok(Sent::Answered(answer, connection)),
        Err(mut refused) => match refused.take_message() {
            Some(request) => Ok(Sent::Unsent(request)),
            None if progress.is_broken() => Err(UpstreamError::Client),
            None => Err(UpstreamError::Failed(pool.authority().to_owned(), refused.into_error())),
        },
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
