//! Answers of ours: every one of them with the fields that keep a browser from being turned against the person.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// An answer of ours, whole.
pub type Reply = Response<Full<Bytes>>;

/// Nothing is loaded, run or framed but our own stylesheet and script (CSP level 3).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; \
                                       base-uri 'none'; frame-ancestors 'none'";

const PROTECTION: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// A page.
pub fn html(status: StatusCode, html: String) -> Reply {
    with_type(status, "text/html; charset=utf-8", html)
}

/// JSON.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    with_type(status, "application/json", value.to_string())
}

/// A problem document (RFC 9457).
pub fn problem(status: StatusCode, value: &serde_json::Value) -> Reply {
    with_type(status, "application/problem+json", value.to_string())
}

/// A last word when nothing else can be said.
pub fn plain(status: StatusCode, text: &'static str) -> Reply {
    with_type(status, "text/plain; charset=utf-8", text)
}

/// Go there and GET (RFC 9110 section 15.4.4).
pub fn see_other(location: &str) -> Reply {
    let mut reply = with_type(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    // What is no field value is no path of ours.
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    reply.headers_mut().insert(header::LOCATION, location);
    reply
}

/// An answer of this type.
pub fn with_type(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    for (name, value) in &PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 section 15.5.2 wants a scheme; this one makes no browser ask for a password.
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Vestibule"));
    }
    reply
}

/// Sets a cookie with an answer.
pub fn with_cookie(mut reply: Reply, cookie: HeaderValue) -> Reply {
    reply.headers_mut().append(header::SET_COOKIE, cookie);
    reply
}

/// Says when to come back, in whole seconds and at least one.
pub fn with_retry_after(mut reply: Reply, wait: Option<std::time::Duration>) -> Reply {
    if let Some(wait) = wait {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    reply
}
