//! Which sentence and which status each cause has.

use hyper::StatusCode;

use super::form::FieldError;
use super::{Message, Pages};
use crate::access::sign_in::Cause;
use crate::domain::phone::PhoneError;

impl Pages {
    /// The sentence for a cause.
    pub(super) fn sentence(&self, cause: &Cause) -> Message {
        let words = self.catalogue();
        let text = match cause {
            Cause::Phone(PhoneError::Invalid) => words.text("message.invalid_phone"),
            Cause::Phone(PhoneError::NeedsCountry) => {
                words.fill("message.phone_needs_country", &[("example", "+1 415 555 0100".to_owned())])
            }
            Cause::Region => words.text("message.region_not_allowed"),
            Cause::NumberKind => words.text("message.number_not_supported"),
            Cause::Name => words.text("message.invalid_name"),
            Cause::MalformedCode(digits) => {
                words.fill("message.malformed_code", &[("count", digits.to_string())])
            }
            Cause::TooManyRequests(wait) => self.waiting("message.too_many_requests", *wait),
            Cause::TooManyAttempts(wait) => self.waiting("message.too_many_attempts", *wait),
            Cause::ResendTooSoon(wait) => self.waiting("message.resend_too_soon", *wait),
            Cause::TooManyFailures(wait) => self.waiting("message.too_many_failures", *wait),
            Cause::ProviderBusy(wait) => self.waiting("message.provider_busy", *wait),
            Cause::SendingClosed(wait) => self.waiting("message.sending_closed", *wait),
            Cause::CodesClosed => words.text("message.codes_closed"),
            Cause::WrongCode(left) => words.fill("message.wrong_code", &[("count", left.to_string())]),
            Cause::WrongEmergencyCode | Cause::MalformedEmergencyCode => {
                words.text("message.wrong_emergency_code")
            }
            Cause::TooManyChecks(_) => words.text("message.too_many_codes_checked"),
            Cause::Expired => words.text("message.code_expired"),
            Cause::AlreadyUsed => words.text("message.already_used"),
            Cause::Unknown => words.text("message.unknown_challenge"),
            Cause::Channel => words.text("problem.400.explanation"),
            Cause::ProviderDown(None) => words.text("message.provider_down"),
            Cause::ProviderDown(Some(wait)) => self.waiting("message.provider_resting", *wait),
            Cause::NotChecked(None) => words.text("message.not_checked"),
            Cause::NotChecked(Some(wait)) => self.waiting("message.not_checked_wait", *wait),
            Cause::Store(_) => words.text("problem.store_unavailable.explanation"),
        };
        Message::error(text)
    }

    fn waiting(&self, key: &str, wait: std::time::Duration) -> String {
        self.catalogue().fill(key, &[("duration", self.catalogue().duration(wait))])
    }

    /// The sentence for a field that is not there once.
    pub(super) fn field_sentence(&self, error: FieldError) -> Message {
        Message::error(self.catalogue().text(match error {
            FieldError::Missing => "message.missing_input",
            FieldError::Duplicate => "message.duplicate_input",
        }))
    }
}

/// The status for a cause, on pages and in the API alike.
pub(crate) const fn status(cause: &Cause) -> StatusCode {
    match cause {
        Cause::Phone(_) | Cause::Name | Cause::MalformedCode(_) | Cause::Channel => StatusCode::BAD_REQUEST,
        Cause::WrongCode(_)
        | Cause::WrongEmergencyCode
        | Cause::MalformedEmergencyCode
        | Cause::Expired
        | Cause::AlreadyUsed
        | Cause::Unknown => StatusCode::UNAUTHORIZED,
        Cause::Region | Cause::NumberKind | Cause::CodesClosed => StatusCode::FORBIDDEN,
        Cause::TooManyRequests(_)
        | Cause::TooManyAttempts(_)
        | Cause::ResendTooSoon(_)
        | Cause::TooManyFailures(_)
        | Cause::TooManyChecks(_) => StatusCode::TOO_MANY_REQUESTS,
        Cause::ProviderDown(_)
        | Cause::NotChecked(_)
        | Cause::ProviderBusy(_)
        | Cause::SendingClosed(_)
        | Cause::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
