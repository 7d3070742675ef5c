//! The JSON API: the same steps and the same limits as the pages, for programs that bring their own.

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::access::sign_in::{Cause, Failure, Identity};
use crate::config::IdentifyBy;
use crate::domain::id::ChallengeId;
use crate::domain::return_to::ReturnTo;
use crate::pages::reply::{self, Reply, with_cookie, with_retry_after};
use crate::pages::visit::Visit;
use crate::pages::{Desk, status_of};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtpRequest {
    #[serde(rename = "phoneNumber")]
    phone_number: String,
}

/// Where people say who they are by name, a program does too: numbers would tell whose they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtpRequestByName {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtpVerify {
    #[serde(rename = "requestId")]
    request_id: String,
    code: String,
}

/// The reference of a failure, for the help desk; the body is kept to what was agreed.
const REFERENCE: HeaderName = HeaderName::from_static("vestibule-reference");

/// Where the API lives.
pub const BASE: &str = "/.vestibule/api/";

/// Answers a call of the API.
pub async fn serve(desk: &Desk, visit: &Visit) -> Reply {
    let known = matches!(visit.path.strip_prefix(BASE), Some("otp/request" | "otp/verify"));
    if !known {
        return error(StatusCode::NOT_FOUND, "not_found");
    }
    if visit.method != Method::POST {
        let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return reply;
    }
    if !visit.is_same_site() {
        return error(StatusCode::FORBIDDEN, "cross_site");
    }
    if desk.sessions.outage().is_away() {
        return error(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable");
    }
    if visit.path.ends_with("/request") { request(desk, visit).await } else { verify(desk, visit).await }
}

/// `POST /.vestibule/api/otp/request`
async fn request(desk: &Desk, visit: &Visit) -> Reply {
    let identity = match desk.sign_in.identify_by() {
        IdentifyBy::Phone => read(visit).map(|body: OtpRequest| Identity::Phone(body.phone_number)),
        IdentifyBy::Name => read(visit).map(|body: OtpRequestByName| Identity::Name(body.name)),
    };
    let identity = match identity {
        Ok(identity) => identity,
        Err((status, word)) => return error(status, word),
    };
    match desk.sign_in.start(identity, ReturnTo::home(), visit.client).await {
        Ok(challenge) => reply::json(StatusCode::OK, &json!({ "requestId": challenge.id.to_string() })),
        Err(failure) => failed(&failure),
    }
}

/// `POST /.vestibule/api/otp/verify`
async fn verify(desk: &Desk, visit: &Visit) -> Reply {
    let body: OtpVerify = match read(visit) {
        Ok(body) => body,
        Err((status, word)) => return error(status, word),
    };
    let Ok(id) = body.request_id.parse::<ChallengeId>() else {
        return error(StatusCode::BAD_REQUEST, "invalid_request_id");
    };
    match verify_code(desk, id, &body.code, visit).await {
        Ok((cookie, reply)) => with_cookie(reply, cookie),
        Err(failure) => failed(&failure),
    }
}

async fn verify_code(
    desk: &Desk,
    id: ChallengeId,
    code: &str,
    visit: &Visit,
) -> Result<(HeaderValue, Reply), Failure> {
    let signed_in = desk.sign_in.verify(id, code, visit.client, visit.carried()).await?;
    let lives = signed_in.session.expires_at.since(desk.clock.now());
    let cookie = desk.cookies.set(desk.cookies.session, signed_in.token, lives);
    Ok((cookie, reply::json(StatusCode::OK, &json!({ "status": "verified" }))))
}

fn read<T: DeserializeOwned>(visit: &Visit) -> Result<T, (StatusCode, &'static str)> {
    let media_type =
        visit.headers.get(CONTENT_TYPE).and_then(|field| field.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"));
    }
    // serde reads a struct from an array too, by the order of its members.
    if visit.body.trim_ascii_start().first() != Some(&b'{') {
        return Err((StatusCode::BAD_REQUEST, "invalid_request"));
    }
    serde_json::from_slice(&visit.body).map_err(|_| (StatusCode::BAD_REQUEST, "invalid_request"))
}

fn failed(failure: &Failure) -> Reply {
    let cause = &failure.cause;
    let mut reply = with_retry_after(error(status_of(cause), word(cause)), cause.wait());
    let reference = failure.reference.and_then(|reference| HeaderValue::try_from(reference.to_string()).ok());
    if let Some(reference) = reference {
        reply.headers_mut().insert(REFERENCE, reference);
    }
    reply
}

fn error(status: StatusCode, word: &str) -> Reply {
    reply::json(status, &json!({ "error": word }))
}

const fn word(cause: &Cause) -> &'static str {
    match cause {
        Cause::Phone(_) => "invalid_phone_number",
        Cause::Region => "region_not_allowed",
        Cause::NumberKind => "number_not_supported",
        Cause::Name => "invalid_name",
        Cause::MalformedCode(_) => "malformed_code",
        Cause::TooManyRequests(_) => "too_many_requests",
        Cause::TooManyAttempts(_) => "too_many_attempts",
        Cause::ResendTooSoon(_) => "resend_too_soon",
        Cause::TooManyFailures(_) => "too_many_failures",
        Cause::CodesClosed => "codes_closed",
        Cause::WrongCode(_) | Cause::WrongEmergencyCode | Cause::MalformedEmergencyCode => "wrong_code",
        Cause::TooManyChecks(_) => "too_many_codes_checked",
        Cause::Expired => "code_expired",
        Cause::AlreadyUsed => "already_used",
        Cause::Unknown => "unknown_request",
        Cause::Channel => "channel_not_offered",
        Cause::ProviderDown(_) | Cause::NotChecked(_) => "provider_unavailable",
        Cause::ProviderBusy(_) => "provider_busy",
        Cause::SendingClosed(_) => "sending_closed",
        Cause::Store(_) => "store_unavailable",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Read from the lines themselves: a list of causes kept here would be one more to forget.
    #[test]
    fn every_word_stands_in_the_document_and_no_other() {
        let code = include_str!("api.rs").split("#[cfg(test)]").next().unwrap_or_default();
        let said: BTreeSet<&str> = code
            .lines()
            .filter(|line| !line.contains("StatusCode::OK"))
            .filter(|line| line.contains("StatusCode::") || line.trim_start().starts_with("Cause::"))
            .filter_map(|line| line.split('"').nth(1))
            .collect();
        let documented: BTreeSet<&str> = include_str!("../docs/openapi.yaml")
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("- {const: ")?.split(',').next())
            .collect();
        assert!(said.len() > 20, "{said:?}");
        assert_eq!(said, documented);
    }
}
