//! One request to one upstream: on a kept connection when there is one, on a new one else.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;
use hyper::{Request, Response, Version};
use tokio::time::Instant;

use super::balance::{Pools, UnderWay};
use super::connection::{Connection, Own};
use super::http2::{self, Stream};
use super::pin::Pin;
use super::upload::{Progress, Stage, Upload};
use super::watch::Watch;
use super::{Late, Outgoing, SharedPool, UpstreamError};
use crate::config;
use crate::message::framing;

/// What the body of an answer comes on, and where that belongs.
#[derive(Debug)]
pub(super) struct Answered {
    /// Unless it must not be used again.
    pub(super) connection: Option<Connection>,
    pub(super) pool: SharedPool,
    /// How the request's body gets on.
    pub(super) upload: Option<Rc<Progress>>,
    pub(super) under_way: UnderWay,
    /// Whose the connection is, where it is one client's.
    pub(super) pin: Option<Box<Pin>>,
}

/// Sends a request and waits for the head of its answer. It is sent a second time only when the upstream certainly did
/// not process it: not a byte of it went out, or the upstream said so.
pub(super) async fn send(
    pools: &Pools,
    outgoing: &mut Outgoing,
) -> Result<(Response<Incoming>, Answered), UpstreamError> {
    let Outgoing { request, upload, need, pin } = outgoing;
    let now = Instant::now();
    let mut failed = None;
    let pinned = pin.as_ref().and_then(|pin| pin.pool(pools));
    for pool in pinned.iter().chain(pools.in_turn()) {
        if let Some(error) = &failed {
            tracing::warn!(route = %pool.route(), %error, "trying the next upstream");
        }
        let under_way = pools.count(pool);
        // A new connection is the last; and who refused a stream twice is not asked again.
        let (mut is_new, mut streams) = (false, 0);
        while !is_new && streams < 2 {
            let kept = match pin {
                None => pool.take(*need, now),
                Some(pin) => Box::pin(pin.take(pool)).await,
            };
            let connection = match kept {
                Some(connection) => connection,
                // Rare, and large: not a part of every request.
                None => match Box::pin(pool.connect(*need, pin.as_deref())).await {
                    Ok(connection) => connection,
                    // Nobody else has one either.
                    Err(UpstreamError::Crowded) => return Err(UpstreamError::Crowded),
                    Err(error) => {
                        pool.note_failure(&error);
                        failed = Some(error);
                        break;
                    }
                },
            };
            let sent = match connection {
                Connection::Own(mut own) => {
                    is_new = std::mem::replace(&mut own.is_new, false);
                    own.used = own.used.max(now);
                    let answered = on_own(pool, &mut own, request, upload.as_deref()).await;
                    let answered = answered.inspect_err(|error| pool.failures().note_error(error))?;
                    // hyper speaks HTTP/1.0 from now on where the upstream does, and an HTTP/1.0 request has no body
                    // of unknown length.
                    answered.map(|answer| {
                        let keeps = answer.version() == Version::HTTP_11;
                        (answer, keeps.then_some(Connection::Own(own)))
                    })
                }
                Connection::Stream(mut stream) => {
                    streams += 1;
                    let answered = Box::pin(on_stream(pool, &mut stream, request, upload.as_deref())).await;
                    let answered = answered.inspect_err(|error| pool.failures().note_error(error))?;
                    answered.map(|answer| (answer, Some(Connection::Stream(stream))))
                }
            };
            match sent {
                Ok((answer, connection)) => {
                    pool.note_success();
                    let (pool, upload, pin) = (pool.clone(), upload.take(), pin.take());
                    return Ok((answer, Answered { connection, pool, upload, under_way, pin }));
                }
                Err(error) => {
                    let error = UpstreamError::Failed(pool.upstream().to_string(), error);
                    if is_new {
                        pool.note_failure(&error);
                    }
                    failed = Some(error);
                }
            }
        }
    }
    Err(failed.unwrap_or_else(|| UpstreamError::Resting(pools.rest())))
}

/// The head of an answer. Or why the upstream did not process the request; that is then where it was.
type Sent = Result<Response<Incoming>, hyper::Error>;

async fn on_own(
    pool: &SharedPool,
    own: &mut Own,
    request: &mut Option<Request<Upload>>,
    upload: Option<&Progress>,
) -> Result<Sent, UpstreamError> {
    let sending = own.sender.try_send_request(request.take().expect("it is there until it is sent"));
    let mut sending = pin!(sending);
    let patience = Patience { sent: own.used, terms: pool.terms(), upload };
    let answered = poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Ready(answered) => Poll::Ready(Ok(answered)),
        Poll::Pending => patience.poll(cx, &mut own.watch).map(Err),
    });
    let answer = match answered.await {
        Ok(Ok(answer)) => answer,
        Err(late) => {
            own.close();
            return Err(UpstreamError::Timeout(pool.upstream().to_string(), late));
        }
        Ok(Err(refused)) => return unsent(pool, refused, request, upload),
    };
    if !framing::is_plain_answer(answer.headers()) {
        // Where it ends is a matter of opinion: nothing that comes on this connection can be trusted.
        own.close();
        return Err(UpstreamError::Misframed(pool.upstream().to_string()));
    }
    Ok(Ok(answer))
}

async fn on_stream(
    pool: &SharedPool,
    stream: &mut Stream,
    slot: &mut Option<Request<Upload>>,
    upload: Option<&Progress>,
) -> Result<Sent, UpstreamError> {
    let mut request = slot.take().expect("it is there until it is sent");
    let host = http2::to_http2(&mut request, stream.scheme());
    // A body can be sent once only; a request without one is kept for the case that it is refused.
    let mut spare = request.body().is_end_stream().then(|| {
        let mut spare = Request::new(Upload::NONE);
        request.uri().clone_into(spare.uri_mut());
        request.method().clone_into(spare.method_mut());
        request.headers().clone_into(spare.headers_mut());
        spare
    });
    let mut sender = stream.sender();
    let mut sending = pin!(sender.try_send_request(request));
    let patience = Patience { sent: Instant::now(), terms: pool.terms(), upload };
    let answered = poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Ready(answered) => Poll::Ready(Ok(answered)),
        Poll::Pending => patience.poll(cx, &mut stream.watch).map(Err),
    });
    let mut refused = match answered.await {
        Err(late) => return Err(UpstreamError::Timeout(pool.upstream().to_string(), late)),
        Ok(Ok(answer)) => {
            stream.note_answer();
            return match framing::is_plain_answer(answer.headers()) {
                true => Ok(Ok(answer)),
                false => Err(UpstreamError::Misframed(pool.upstream().to_string())),
            };
        }
        Ok(Err(refused)) => refused,
    };
    let back =
        refused.take_message().or_else(|| spare.take().filter(|_| http2::was_refused(refused.error())));
    let Some(mut request) = back else { return unsent(pool, refused, slot, upload) };
    http2::from_http2(&mut request, host);
    *slot = Some(request);
    Ok(Err(refused.into_error()))
}

/// Puts the request back where it can be had back; else tells why there is no answer.
fn unsent(
    pool: &SharedPool,
    mut refused: TrySendError<Request<Upload>>,
    request: &mut Option<Request<Upload>>,
    upload: Option<&Progress>,
) -> Result<Sent, UpstreamError> {
    *request = refused.take_message();
    if request.is_some() {
        return Ok(Err(refused.into_error()));
    }
    Err(match upload.map(Progress::stage) {
        Some(Stage::Broken) => UpstreamError::Client,
        Some(Stage::Ended) => UpstreamError::SessionEnded,
        Some(Stage::Stalled) => UpstreamError::ClientStalled,
        Some(Stage::TooLarge) => UpstreamError::TooLarge,
        None | Some(Stage::Held | Stage::Passing | Stage::Waiting | Stage::Sent) => {
            UpstreamError::Failed(pool.upstream().to_string(), refused.into_error())
        }
    })
}

/// How long we wait for an answer.
struct Patience<'r> {
    sent: Instant,
    terms: &'r config::Upstreams,
    upload: Option<&'r Progress>,
}

impl Patience<'_> {
    /// Returns once the upstream has kept us waiting for too long: for the head of its answer, or for taking the
    /// request's body. While the client is to send more, nobody else is to blame; the body itself sees to that.
    fn poll(&self, cx: &mut Context<'_>, watch: &mut Watch) -> Poll<Late> {
        let waiting = watch.poll(cx, || match self.upload.map(|upload| (upload.stage(), upload.moved())) {
            None => self.sent + self.terms.response_timeout,
            Some((Stage::Waiting | Stage::Held, _)) => Instant::now() + self.terms.idle_timeout,
            Some((Stage::Passing, moved)) => moved + self.terms.idle_timeout,
            Some((Stage::Sent | Stage::Broken | Stage::Ended | Stage::Stalled | Stage::TooLarge, moved)) => {
                moved + self.terms.response_timeout
            }
        });
        waiting.map(|()| match self.upload.map(Progress::stage) {
            Some(Stage::Passing) => Late::Upload,
            _ => Late::Answer,
        })
    }
}
