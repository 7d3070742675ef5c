//! The error answers of version 2: one shape, `application/problem+json`, for every HTTP status.
//!
//! Texts and `type` are those that the vendor documents; the vendor's own examples differ in their hosts.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::route::Lost;
use crate::simulator::random;
use crate::simulator::reply::Reply;

/// One error answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    /// After `https://developer.vonage.com/en/api-errors`.
    kind: &'static str,
    detail: String,
    /// Members of this problem alone.
    more: Option<(&'static str, Value)>,
}

impl Problem {
    pub(super) fn unauthorized() -> Self {
        let detail = "You did not provide correct credentials";
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "#unauthorized", detail)
    }

    pub(super) fn token_expired() -> Self {
        let title = "You did not provide correct credentials.";
        Self::new(StatusCode::UNAUTHORIZED, title, "#jwt-expired", "The JWT provided has expired.")
    }

    pub(super) fn low_balance() -> Self {
        let detail = "This request could not be performed due to your account balance being low.";
        Self::new(StatusCode::PAYMENT_REQUIRED, "Low balance", "/#low-balance", detail)
    }

    pub(super) fn wrong_code() -> Self {
        let detail = "The code you provided does not match the expected value.";
        Self::new(StatusCode::BAD_REQUEST, "Invalid Code", "/verify-v2#invalid-code", detail)
    }

    pub(super) fn wrong_too_often() -> Self {
        let detail = "An incorrect code has been provided too many times. Workflow terminated.";
        Self::new(StatusCode::GONE, "Invalid Code", "/verify-v2#expired", detail)
    }

    pub(super) fn no_request(id: &str) -> Self {
        let detail = format!("Request {id} was not found or it has been verified already.");
        Self::new(StatusCode::NOT_FOUND, "Not Found", "#not-found", detail)
    }

    pub(super) fn lost(lost: Lost) -> Self {
        match lost {
            Lost::NotFound => {
                Self::new(StatusCode::NOT_FOUND, "Not Found", "#not-found", "There is no such path.")
            }
            Lost::MethodNotAllowed => {
                let detail = "That method does nothing here.";
                Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", "#method-not-allowed", detail)
            }
        }
    }

    /// Names the request that is under way.
    pub(super) fn concurrent(id: &str) -> Self {
        let detail = "Concurrent verifications to the same number are not allowed.";
        Self::new(StatusCode::CONFLICT, "Conflict", "/verify-v2#concurrent", detail)
            .with("request_id", id.into())
    }

    pub(super) fn step_without_code() -> Self {
        let detail = "The current Verify workflow step does not support a code.";
        Self::new(StatusCode::CONFLICT, "Conflict", "/verify-v2#no-code", detail)
    }

    pub(super) fn no_more_steps() -> Self {
        let detail = "There are no more events left to trigger.";
        Self::new(StatusCode::CONFLICT, "Conflict", "/verify-v2#conflict", detail)
    }

    pub(super) fn not_now() -> Self {
        let detail = "The operation cannot be performed at this time. Please try again later.";
        Self::new(StatusCode::CONFLICT, "Conflict", "/verify-v2#conflict", detail)
    }

    pub(super) fn no_silent_authentication() -> Self {
        let detail = "Device number does not resolve to a supported Mobile Network Operator.";
        let kind = "/verify-v2#precondition-failed";
        Self::new(StatusCode::PRECONDITION_FAILED, "Network not supported", kind, detail)
    }

    /// Names every bad parameter and what is wrong with it.
    pub(super) fn invalid(parameters: &[(&str, &str)]) -> Self {
        let listed =
            parameters.iter().map(|(name, reason)| json!({"name": name, "reason": reason})).collect();
        let detail = "The value of one or more parameters is invalid.";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid params", "#invalid-params", detail)
            .with("invalid_parameters", listed)
    }

    pub(super) fn throttled() -> Self {
        let detail = "Please wait, then retry your request";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Rate Limit Hit", "#throttled", detail)
    }

    pub(super) fn internal() -> Self {
        let detail = "There was an error processing your request in the Platform.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error", "#internal-error", detail)
    }

    pub(super) fn unavailable() -> Self {
        let detail = "The service is not available at this time.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", "#service-unavailable", detail)
    }

    pub(super) fn reply(&self) -> Reply {
        let mut body = json!({
            "title": self.title,
            "type": format!("https://developer.vonage.com/en/api-errors{}", self.kind),
            "detail": self.detail,
            "instance": random::uuid(),
        });
        if let Some((name, value)) = &self.more {
            body[*name] = value.clone();
        }
        Reply::problem(self.status, &body)
    }

    fn new(status: StatusCode, title: &'static str, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, kind, detail: detail.into(), more: None }
    }

    fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more = Some((name, value));
        self
    }
}
