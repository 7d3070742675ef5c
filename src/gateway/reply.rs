//! The one place where an error on the way becomes an answer.

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HeaderValue};

use crate::domain::policy::Reason;
use crate::message::kind::Kind;
use crate::pages::Pages;
use crate::pages::problem::Refusal;
use crate::proxy::{NoAnswer, UpstreamError};

/// The answer to a refused request.
pub(super) fn refused(pages: &Pages, refusal: &Refusal, kind: Kind) -> Response<Full<Bytes>> {
    // What an administrator looks for at night; the rest is any scanner's noise.
    if matches!(refusal, Refusal::CrossSite) {
        tracing::info!("a form of another site was refused; if it was ours, a proxy rewrites Host or Origin");
    } else {
        tracing::debug!(?refusal, "refused");
    }
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
            UpstreamError::ClientStalled => Self::TooSlow,
            UpstreamError::TooLarge => Self::TooLarge,
            UpstreamError::NoLength => Self::LengthRequired,
            UpstreamError::Unreachable(..) => Self::UpstreamUnreachable,
            UpstreamError::Timeout(_) => Self::UpstreamTimeout,
            UpstreamError::Resting(rest) => Self::UpstreamsResting { seconds: rest.as_secs().max(1) },
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
