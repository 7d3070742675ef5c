//! An answer before it becomes an HTTP response, so that faults can spoil it.

use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::wire::{self, Body};

/// Status, body and the few fields that vary.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    content_type: &'static str,
    /// What a 401 names as the way to say who is asking.
    challenge: Option<&'static str>,
    retry_after: Option<HeaderValue>,
    body: String,
}

impl Reply {
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::new(status, JSON, body.to_string())
    }

    /// What the side channel does not take, and why.
    pub(super) fn refused(status: StatusCode, reason: &str) -> Self {
        Self::json(status, &json!({"error": reason}))
    }

    pub(super) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// An error as RFC 9457 writes it.
    pub(super) fn problem(status: StatusCode, body: &Value) -> Self {
        Self::new(status, "application/problem+json", body.to_string())
    }

    pub(super) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, JSON, String::new())
    }

    /// 200 without a word.
    pub(super) fn empty() -> Self {
        Self::new(StatusCode::OK, JSON, String::new())
    }

    pub(super) fn html_error() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "text/html", HTML_ERROR.to_owned())
    }

    fn new(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, challenge: None, retry_after: None, body }
    }

    pub(super) fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    pub(super) fn cut_in_half(mut self) -> Self {
        self.body.truncate(self.body.floor_char_boundary(self.body.len() / 2));
        self
    }

    pub(super) fn emptied(mut self) -> Self {
        self.body.clear();
        self
    }

    /// Adds the field as it was asked for: clients must survive any value.
    pub(super) fn retry_after(mut self, value: &str) -> Self {
        self.retry_after = HeaderValue::from_str(value).ok();
        self
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(wire::full(self.body));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        if self.status != StatusCode::NO_CONTENT {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        if let Some(challenge) = self.challenge {
            fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(value) = self.retry_after {
            fields.insert(RETRY_AFTER, value);
        }
        response
    }
}

const JSON: &str = "application/json";
const HTML_ERROR: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n\
     <body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
