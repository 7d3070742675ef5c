//! Refusals, and the one place where each becomes an answer.

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER};
use minijinja::context;
use serde_json::json;

use super::reply::{self, Reply};
use super::{Message, Pages, challenge_page};
use crate::domain::policy::Cause;
use crate::domain::return_to::ReturnTo;
use crate::domain::session::SessionEnd;
use crate::message::kind::Kind;

/// Why a request goes no further, whoever sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a request we can read: no host or two, an odd target.
    Malformed,
    /// The path can be read in two ways.
    AmbiguousPath,
    /// Path and query are longer than anything we take.
    TargetTooLong,
    /// No route has this host.
    UnknownHost,
    /// No route has this path, or nothing of ours is there.
    NotFound,
    /// A rule refuses it, whoever sends it.
    Denied,
    /// The address does not take the method; it takes these.
    MethodNotAllowed(&'static str),
    /// A method that makes no sense here.
    MethodRefused,
    /// Another site's page sent it.
    CrossSite,
    /// Neither a form nor what the address takes.
    WrongMediaType,
    /// Larger than anything we take.
    TooLarge,
    /// A body whose length is not known beforehand.
    LengthRequired,
    /// The body did not come in time.
    TooSlow,
    /// The client went away in the middle.
    Incomplete,
    /// The session ended before all of the request had come.
    SessionEnded,
    /// More at once than we take.
    Busy,
    /// We made a mistake.
    Internal,
    /// The store could not do its work.
    StoreUnavailable,
    /// Somebody has a session, and the store cannot tell whether it goes on.
    SessionUnconfirmed,
    /// The application cannot be reached.
    UpstreamUnreachable,
    /// The application did not answer in time.
    UpstreamTimeout,
    /// The application's answer is none.
    UpstreamFailed,
    /// The application cannot prove who it is.
    UpstreamTls,
    /// Nothing of the application works; it is looked at again in so many seconds.
    UpstreamsResting {
        /// From now.
        seconds: u64,
    },
}

impl Refusal {
    /// Its HTTP status.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed | Self::AmbiguousPath | Self::Incomplete => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::SessionEnded => StatusCode::UNAUTHORIZED,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) | Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::CrossSite | Self::Denied => StatusCode::FORBIDDEN,
            Self::WrongMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy
            | Self::StoreUnavailable
            | Self::SessionUnconfirmed
            | Self::UpstreamsResting { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnreachable | Self::UpstreamFailed | Self::UpstreamTls => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether it is for what the client sent, and no trouble of ours or the application's.
    pub fn is_the_clients(&self) -> bool {
        self.status().is_client_error()
    }

    /// Whether the application may have done what it was asked for.
    const fn may_have_been_carried_out(&self) -> bool {
        matches!(self, Self::UpstreamTimeout | Self::UpstreamFailed)
    }

    /// Whether the same request may succeed later.
    fn may_succeed_later(&self) -> bool {
        self.status().is_server_error() || *self == Self::TooSlow
    }

    /// Its word for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed_request",
            Self::AmbiguousPath => "ambiguous_path",
            Self::TargetTooLong => "target_too_long",
            Self::UnknownHost => "unknown_host",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed(_) | Self::MethodRefused => "method_not_allowed",
            Self::CrossSite => "cross_site",
            Self::Denied => "denied",
            Self::WrongMediaType => "unsupported_media_type",
            Self::TooLarge => "too_large",
            Self::LengthRequired => "length_required",
            Self::TooSlow => "too_slow",
            Self::Incomplete => "incomplete_request",
            Self::SessionEnded => "session_ended",
            Self::Busy => "busy",
            Self::Internal => "internal_error",
            Self::StoreUnavailable | Self::SessionUnconfirmed => "store_unavailable",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamsResting { .. } => "upstreams_left_alone",
        }
    }

    /// Its word in the catalogue, where it has sentences of its own.
    const fn word(&self) -> Option<&'static str> {
        match self {
            Self::AmbiguousPath => Some("ambiguous_path"),
            Self::UnknownHost => Some("unknown_host"),
            Self::StoreUnavailable => Some("store_unavailable"),
            Self::SessionUnconfirmed => Some("session_unconfirmed"),
            Self::UpstreamUnreachable => Some("upstream_unreachable"),
            Self::UpstreamTimeout => Some("upstream_timeout"),
            Self::UpstreamFailed => Some("upstream_failed"),
            Self::UpstreamTls => Some("upstream_tls"),
            Self::UpstreamsResting { .. } => Some("upstreams_left_alone"),
            Self::Malformed
            | Self::TargetTooLong
            | Self::NotFound
            | Self::Denied
            | Self::MethodNotAllowed(_)
            | Self::MethodRefused
            | Self::CrossSite
            | Self::WrongMediaType
            | Self::TooLarge
            | Self::LengthRequired
            | Self::TooSlow
            | Self::Incomplete
            | Self::SessionEnded
            | Self::Busy
            | Self::Internal => None,
        }
    }
}

impl Pages {
    /// Turns a refusal into an answer: a page for a person, a problem document for a program.
    pub fn refuse(&self, refusal: &Refusal, kind: Kind) -> Reply {
        let status = refusal.status();
        let word = refusal.word().map_or_else(|| status.as_u16().to_string(), str::to_owned);
        let title = self.catalogue().text(&format!("problem.{word}.title"));
        let mut explanation = self.catalogue().text(&format!("problem.{word}.explanation"));
        if refusal.may_have_been_carried_out() && kind != Kind::Navigation {
            explanation = format!("{explanation} {}", self.catalogue().text("problem.carried_out"));
        }
        let mut reply = if kind.is_navigation() {
            let try_again = refusal.may_succeed_later() && kind == Kind::Navigation;
            let link_to = link_to(refusal, try_again);
            let page = context! { status => status.as_u16(), title, explanation, link_to, try_again };
            self.render("problem.html", status, None, None, page)
        } else {
            reply::problem(
                status,
                // `error` is what the API's other answers have (RFC 9457 section 3.2 lets a problem have more members).
                &json!({ "status": status.as_u16(), "title": title, "detail": explanation, "error": refusal.name() }),
            )
        };
        if let Refusal::MethodNotAllowed(allowed) = refusal {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if let Refusal::UpstreamsResting { seconds } = refusal {
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
        }
        reply
    }

    /// What a request without a session gets: the way to the challenge, in the shape the sender can use.
    pub fn challenge_first(&self, cause: Cause, kind: Kind, site: &str, target: &str) -> Reply {
        let return_to: Option<ReturnTo> = target.parse().ok();
        let location = challenge_location(cause, return_to.as_ref());
        match kind {
            Kind::Navigation => reply::see_other(&location),
            Kind::FormNavigation => {
                let proves_again = cause == Cause::ProofTooOld;
                let page = context! { challenge_url => location, proves_again };
                let message = proves_again.then(|| self.notice_of(TOO_OLD)).flatten();
                self.render("session_ended.html", StatusCode::UNAUTHORIZED, message.as_ref(), None, page)
            }
            Kind::Program => reply::problem(StatusCode::UNAUTHORIZED, &program_document(cause, site)),
        }
    }

    /// Why somebody who had a session is asked again.
    pub(super) fn notice_of(&self, ended: &str) -> Option<Message> {
        let key = match ended {
            "idle" => "message.session_idle",
            "expired" => "message.session_expired",
            "revoked" => "message.session_revoked",
            TOO_OLD => "message.proof_too_old",
            _ => return None,
        };
        Some(Message::notice(self.catalogue().text(key)))
    }
}

/// Where a person goes on. The same page again is the empty reference (RFC 3986 section 4.4); a host we do not serve
/// has no front page.
fn link_to(refusal: &Refusal, try_again: bool) -> Option<&'static str> {
    let address = if try_again { "" } else { "/" };
    (*refusal != Refusal::UnknownHost).then_some(address)
}

/// What a program is told.
fn program_document(cause: Cause, site: &str) -> serde_json::Value {
    let (error, detail) = match cause {
        Cause::ProofTooOld => (
            TOO_OLD,
            "A fresh proof is asked for here. Prove your identity again at challenge_url, then send the request again.",
        ),
        Cause::SessionEnded(_) | Cause::NoSession => {
            ("session_required", "Prove your identity at challenge_url, then send the request again.")
        }
    };
    json!({
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": detail,
        "error": error,
        "challenge_url": format!("{site}{}", program_location(cause)),
    })
}

/// A program is told nothing but where; a proof that is too old is no use without saying so there.
fn program_location(cause: Cause) -> String {
    match cause {
        Cause::ProofTooOld => challenge_location(cause, None),
        Cause::SessionEnded(_) | Cause::NoSession => challenge_page(&[]),
    }
}

/// In place of why a session ended: it did not, and what the person wants asks for a fresh proof.
pub(super) const TOO_OLD: &str = "proof_too_old";

fn challenge_location(cause: Cause, return_to: Option<&ReturnTo>) -> String {
    let mut query = Vec::new();
    if let Some(return_to) = return_to.filter(|path| path.as_str() != "/") {
        query.push(("return_to", return_to.as_str()));
    }
    match cause {
        Cause::SessionEnded(end @ (SessionEnd::Idle | SessionEnd::Expired | SessionEnd::Revoked)) => {
            query.push(("ended", end.as_str()));
        }
        Cause::ProofTooOld => query.push(("ended", TOO_OLD)),
        Cause::SessionEnded(SessionEnd::SignedOut) | Cause::NoSession => {}
    }
    challenge_page(&query)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn page(refusal: Refusal, kind: Kind) -> String {
        let reply = Pages::new(None, "Wiki").unwrap().refuse(&refusal, kind);
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn only_who_sent_something_is_warned_to_send_it_again() {
        let warning = "What you sent may have been carried out";
        for refusal in [Refusal::UpstreamTimeout, Refusal::UpstreamFailed] {
            assert!(!page(refusal, Kind::Navigation).await.contains(warning), "{refusal:?}");
            assert!(page(refusal, Kind::FormNavigation).await.contains(warning), "{refusal:?}");
            assert!(page(refusal, Kind::Program).await.contains(warning), "{refusal:?}");
        }
        assert!(!page(Refusal::UpstreamUnreachable, Kind::FormNavigation).await.contains(warning));
    }

    #[tokio::test]
    async fn only_a_page_that_was_opened_can_be_tried_again() {
        let again = "href=\"\">Try again<";
        assert!(page(Refusal::UpstreamFailed, Kind::Navigation).await.contains(again));
        assert!(!page(Refusal::NotFound, Kind::Navigation).await.contains("Try again"));
        let form = page(Refusal::UpstreamFailed, Kind::FormNavigation).await;
        assert!(form.contains(">Go to the home page<") && !form.contains("Try again"), "{form}");
        assert!(!page(Refusal::UnknownHost, Kind::Navigation).await.contains("class=\"button"));
    }
}
