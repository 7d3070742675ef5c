//! `Expect: 100-continue` (RFC 9110 section 10.1.1): the client keeps its body until somebody wants it. The upstream is
//! asked, and not answered for: what it refuses by the head alone is never sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::EXPECT;
use hyper::{Request, StatusCode, Version};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Many upstreams have never heard of it: after so long the body is sent without being asked for.
const LONGEST: Duration = Duration::from_secs(1);

/// Holds a body back until the upstream wants it.
pub(super) struct Gate {
    wanted: Arc<Notify>,
    opens: Pin<Box<dyn Future<Output = ()>>>,
}

impl Gate {
    /// A gate for this request, if its sender waits.
    pub(super) fn new<B>(request: &mut Request<B>) -> Option<Self> {
        let waits =
            |field: &hyper::header::HeaderValue| field.as_bytes().eq_ignore_ascii_case(b"100-continue");
        if !request.headers().get(EXPECT).is_some_and(waits) {
            return None;
        }
        // No such client waits, whatever it says.
        if request.version() < Version::HTTP_11 {
            request.headers_mut().remove(EXPECT);
            return None;
        }
        let wanted = Arc::<Notify>::default();
        let heard = wanted.clone();
        let opens = Box::pin(async move {
            let _ = timeout(LONGEST, heard.notified()).await;
        });
        Some(Self { wanted, opens })
    }

    /// Listens for the upstream's 100.
    pub(super) fn listen<B>(&self, request: &mut Request<B>) {
        let wanted = self.wanted.clone();
        hyper::ext::on_informational(request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                wanted.notify_one();
            }
        });
    }

    /// Ready once the body may be sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.opens.as_mut().poll(cx)
    }
}
