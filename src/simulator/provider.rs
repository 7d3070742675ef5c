//! Requests in, replies out: what the simulated providers do alike.

use std::sync::Arc;
use std::time::SystemTime;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio::net::TcpListener;

use super::call::Call;
use super::faults::Outcome;
use super::reply::Reply;
use super::side_channel::SideChannel;
use super::wire::{self, Body, HangUp};

/// A provider's API, and the side channel beside it.
pub(super) trait Provider: Send + Sync + 'static {
    fn side_channel(&self) -> &SideChannel;

    /// The provider's own page of the side channel, if it has one of this name.
    fn page(&self, _method: &Method, _page: &str, _body: &[u8]) -> Option<Reply> {
        None
    }

    /// What becomes of a call of the API at `now`.
    fn call(&self, call: &Call, now: SystemTime) -> Outcome;
}

/// Answers every request on `listener`, until dropped.
pub(super) async fn serve<P: Provider>(listener: TcpListener, provider: Arc<P>) {
    wire::serve(listener, move |request| answer(Arc::clone(&provider), request)).await;
}

async fn answer<P: Provider>(provider: Arc<P>, request: Request<Incoming>) -> Result<Response<Body>, HangUp> {
    let method = request.method().clone();
    if let Some(page) = request.uri().path().strip_prefix("/simulator/").map(str::to_owned) {
        let body = wire::read(request.into_body()).await.ok_or(HangUp)?;
        let own = provider.page(&method, &page, &body);
        let reply = own.unwrap_or_else(|| provider.side_channel().answer(&method, &page, &body));
        return Ok(reply.into_response());
    }
    let call = Call::read(request).await.ok_or(HangUp)?;
    let now = wire::now();
    let outcome = provider.call(&call, now);
    let status = outcome.reply.as_ref().map(|reply| reply.status.as_u16());
    provider.side_channel().requested(&call, status, now);
    if !outcome.delay.is_zero() {
        tokio::time::sleep(outcome.delay).await;
    }
    outcome.reply.map(Reply::into_response).ok_or(HangUp)
}
