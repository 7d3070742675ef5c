//! The one place where an error on the way becomes an answer.

use std::net::IpAddr;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response};

use crate::domain::policy::Reason;
use crate::message::kind::Kind;
use crate::pages::Pages;
use crate::pages::problem::Refusal;
use crate::proxy::{NoAnswer, UpstreamError};

/// Writes down which request is refused. What an administrator looks for at night is told always; the rest is any
/// scanner's noise. Never the query: it may hold anything.
pub(super) fn noted<B>(refusal: Refusal, request: &Request<B>, client: IpAddr) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    let host = request.headers().get(HOST);
    if refusal == Refusal::Denied {
        tracing::info!(%client, ?host, %method, path, "a rule denies this to everybody");
    } else if refusal == Refusal::CrossSite {
        let hint = "if it was ours, a proxy rewrites Host or Origin";
        tracing::info!(%client, ?host, %method, path, hint, "another site's page asked for a WebSocket");
    } else {
        tracing::debug!(%client, ?host, %method, path, ?refusal, "refused");
    }
    refusal
}

/// The answer to a refused request.
pub(super) fn refused(pages: &Pages, refusal: &Refusal, kind: Kind) -> Response<Full<Bytes>> {
    let mut reply = pages.refuse(refusal, kind);
    if ends_connection(refusal) {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

/// After a request that could be read in two ways, or whose body was not read, nothing more is read.
const fn ends_connection(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Malformed
            | Refusal::AmbiguousPath
            | Refusal::TargetTooLong
            | Refusal::TooLarge
            | Refusal::TooSlow
            | Refusal::Incomplete
            | Refusal::SessionEnded
            | Refusal::LengthRequired
    )
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NoRoute => Self::NotFound,
            Reason::Rule => Self::Denied,
        }
    }
}

impl From<NoAnswer> for Refusal {
    fn from(NoAnswer { route, error }: NoAnswer) -> Self {
        let refusal = match &error {
            UpstreamError::Client => Self::Incomplete,
            UpstreamError::SessionEnded => Self::SessionEnded,
            UpstreamError::ClientStalled => Self::TooSlow,
            UpstreamError::TooLarge => Self::TooLarge,
            UpstreamError::NoLength => Self::LengthRequired,
            UpstreamError::Unreachable(..) | UpstreamError::Unresolved(..) => Self::UpstreamUnreachable,
            UpstreamError::Crowded => Self::Busy,
            UpstreamError::Timeout(..) => Self::UpstreamTimeout,
            // Who comes back at once would come too early.
            UpstreamError::Resting(rest) => Self::UpstreamsResting { seconds: rest.as_secs() + 1 },
            UpstreamError::Tls(..) => Self::UpstreamTls,
            UpstreamError::Failed(..) | UpstreamError::Misframed(_) | UpstreamError::Unsolicited(_) => {
                Self::UpstreamFailed
            }
        };
        // Clients break off all day.
        if refusal.is_the_clients() {
            tracing::debug!(route, %error, "a request goes no further");
        } else {
            tracing::warn!(route, %error, "the upstream gave no answer");
        }
        refusal
    }
}
