//! Twilio's error answers: a code of its own, an HTTP status, and one JSON shape for all.
//!
//! Where the vendor does not state the HTTP status of a code, the table holds the likeliest one.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::verification::Refusal;
use crate::simulator::reply::Reply;

/// One error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    code: u32,
    status: StatusCode,
    message: String,
}

impl ApiError {
    /// The error known by this code, or nothing if the table does not hold it.
    pub(super) fn known(code: u32, path: &str) -> Option<Self> {
        let (_, status, message) = TABLE.iter().find(|row| row.0 == code)?;
        let status = StatusCode::from_u16(*status).ok()?;
        Some(Self { code, status, message: message.replace("{path}", path) })
    }

    /// The error that a fault of this name asks for.
    pub(super) fn fault(name: &str, path: &str) -> Self {
        fault_code(name).and_then(|code| Self::known(code, path)).unwrap_or_else(|| Self::not_found(path))
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(20003, StatusCode::UNAUTHORIZED, "Authenticate")
    }

    pub(super) fn not_found(path: &str) -> Self {
        let message = format!("The requested resource {path} was not found");
        Self::new(20404, StatusCode::NOT_FOUND, message)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(20004, StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    /// A parameter that is missing or has no acceptable value.
    pub(super) fn invalid(parameter: &str) -> Self {
        Self::new(60200, StatusCode::BAD_REQUEST, format!("Invalid parameter: {parameter}"))
    }

    pub(super) fn no_target() -> Self {
        let message = "Either a To number or a VerificationSid must be specified";
        Self::new(60221, StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn app_hash_off_sms() -> Self {
        Self::new(60602, StatusCode::BAD_REQUEST, "AppHash is supported on the sms channel only")
    }

    pub(super) fn refused(refusal: Refusal, path: &str) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        match refusal {
            Refusal::NotFound => Self::not_found(path),
            Refusal::TooManySends => Self::new(60203, status, "Max send attempts reached"),
            Refusal::TooManyChecks => Self::new(60202, status, "Max check attempts reached"),
        }
    }

    pub(super) fn reply(&self) -> Reply {
        let reply = Reply::json(self.status, &self.body());
        if self.status == StatusCode::UNAUTHORIZED {
            return reply.challenge("Basic realm=\"Twilio API\"");
        }
        reply
    }

    fn body(&self) -> Value {
        json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.status.as_u16(),
        })
    }

    fn new(code: u32, status: StatusCode, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into() }
    }
}

/// Whether a fault of this name asks for an error of ours.
pub(super) fn is_fault(name: &str) -> bool {
    fault_code(name).is_some_and(|code| ApiError::known(code, "").is_some())
}

fn fault_code(name: &str) -> Option<u32> {
    match name {
        "500" => Some(20500),
        "503" => Some(20503),
        code => code.parse().ok(),
    }
}

/// Code, HTTP status and message of every error that a fault can ask for.
const TABLE: &[(u32, u16, &str)] = &[
    (20003, 401, "Authenticate"),
    (20005, 403, "Account is not active"),
    (20006, 403, "Access denied"),
    (20008, 403, "Resource not accessible with Test Account Credentials"),
    (20403, 403, "Forbidden"),
    (20404, 404, "The requested resource {path} was not found"),
    (20429, 429, "Too many requests"),
    (20500, 500, "An internal server error has occurred"),
    (20503, 503, "Service unavailable"),
    (21211, 400, "Invalid 'To' Phone Number"),
    (21608, 403, "The number is unverified. Trial accounts cannot send messages to unverified numbers"),
    (25109, 429, "Verify request rate exceeded"),
    (60001, 403, "The carrier set-up for silent network authentication is missing"),
    (60006, 400, "The phone number is not valid"),
    (60200, 400, "Invalid parameter"),
    (60201, 400, "Invalid verification code template"),
    (60202, 429, "Max check attempts reached"),
    (60203, 429, "Max send attempts reached"),
    (60204, 403, "Service does not support this feature"),
    (60205, 403, "SMS is not supported by landline phone number"),
    (60206, 400, "Payee and Amount are required"),
    (60207, 400, "Max rate limits per service reached"),
    (60212, 429, "Too many concurrent requests for phone number"),
    (60214, 400, "The call channel does not support PSD2"),
    (60217, 400, "An e-mail integration is missing"),
    (60220, 400, "Verifications to China require vetting"),
    (60221, 400, "Either a To number or a VerificationSid must be specified"),
    (60223, 400, "Delivery channel disabled"),
    (60224, 400, "Template not found"),
    (60226, 400, "The friendly name is not approved for China"),
    (60228, 400, "The template is not approved"),
    (60229, 400, "The template has no translation for this locale"),
    (60238, 403, "Verification creation is blocked"),
    (60410, 403, "The destination phone number has been temporarily blocked by Verify Fraud Guard"),
    (60413, 403, "The destination is blocked by device intelligence"),
    (60550, 400, "No channel is available for this destination"),
    (60602, 400, "AppHash is supported on the sms channel only"),
    (60605, 403, "The destination country is blocked by geographic permissions"),
    (70051, 403, "The API key is not permitted to access this resource"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_four_documented_members() {
        let error = ApiError::refused(Refusal::TooManyChecks, "/v2");
        let expected = json!({
            "code": 60202,
            "message": "Max check attempts reached",
            "more_info": "https://www.twilio.com/docs/errors/60202",
            "status": 429,
        });
        assert_eq!((error.status.as_u16(), error.body()), (429, expected));
    }

    #[test]
    fn every_row_of_the_table_is_a_client_or_server_error() {
        for (code, _, _) in TABLE {
            let error = ApiError::known(*code, "/v2/x").expect("the row exists");
            assert!(error.status.is_client_error() || error.status.is_server_error(), "{code}");
        }
        assert_eq!(ApiError::known(20404, "/v2/x"), Some(ApiError::not_found("/v2/x")));
        assert_eq!(ApiError::known(12345, "/v2/x"), None);
    }

    #[test]
    fn the_table_agrees_with_the_rules() {
        let path = "/v2/x";
        let refusals = [Refusal::NotFound, Refusal::TooManySends, Refusal::TooManyChecks];
        let mut ours = refusals.map(|refusal| ApiError::refused(refusal, path)).to_vec();
        ours.extend([ApiError::unauthenticated(), ApiError::no_target(), ApiError::app_hash_off_sms()]);
        for error in ours {
            assert_eq!(ApiError::known(error.code, path), Some(error));
        }
    }
}
