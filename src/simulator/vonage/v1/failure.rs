//! What version 1 says when something is wrong: a status of its own and `error_text`, under HTTP 200.

use serde_json::json;

use crate::simulator::reply::Reply;

/// One answer with a status that is not `0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    status: &'static str,
    text: String,
    /// The member that this status alone has.
    more: Option<(&'static str, String)>,
}

impl Failure {
    /// The failure of this status, as a fault asks for it.
    pub(super) fn known(status: &str, live: &str) -> Option<Self> {
        let (status, text) = TABLE.iter().find(|row| row.0 == status)?;
        let failure = Self::new(status, *text);
        Some(match *status {
            "7" => failure.with("network", NETWORK),
            "10" => failure.with("request_id", live),
            _ => failure,
        })
    }

    pub(super) fn missing(name: &str) -> Self {
        Self::new("2", format!("Missing {name}"))
    }

    pub(super) fn invalid(name: &str) -> Self {
        Self::new("3", format!("Invalid value for param: {name}"))
    }

    pub(super) fn bad_credentials() -> Self {
        Self::new("4", "Bad credentials")
    }

    pub(super) fn no_request(id: &str) -> Self {
        let reason = format!("Request '{id}' was not found or it has been verified already.");
        Self::new("6", format!("{UNABLE}{reason}"))
    }

    pub(super) fn not_active(id: &str) -> Self {
        Self::new("6", format!("The requestId '{id}' does not exist or its no longer active."))
    }

    /// Names the request that is under way.
    pub(super) fn concurrent(live: &str) -> Self {
        Self::new("10", CONCURRENT).with("request_id", live)
    }

    pub(super) fn wrong_code(id: &str) -> Self {
        Self::new("16", WRONG).with("request_id", id)
    }

    pub(super) fn wrong_too_often(id: &str) -> Self {
        Self::new("17", WRONG_TOO_OFTEN).with("request_id", id)
    }

    pub(super) fn too_early(id: &str) -> Self {
        Self::new(
            "19",
            format!("Verification request ['{id}'] can't be cancelled within the first 30 seconds."),
        )
    }

    pub(super) fn too_late(id: &str) -> Self {
        let why = "Too many attempts to re-deliver have already been made.";
        Self::new("19", format!("Verification request  ['{id}'] can't be cancelled now. {why}"))
    }

    pub(super) fn no_more_events(id: &str) -> Self {
        Self::new("19", format!("No more events are left to execute for the request ['{id}']"))
    }

    pub(super) fn own_code_not_enabled() -> Self {
        Self::new("20", OWN_CODE)
    }

    pub(super) fn nothing_found() -> Self {
        Self::new("101", "No response found")
    }

    pub(super) fn reply(&self) -> Reply {
        let mut body = json!({"status": self.status, "error_text": self.text});
        if let Some((name, value)) = &self.more {
            body[*name] = value.as_str().into();
        }
        Reply::ok(&body)
    }

    fn new(status: &'static str, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), more: None }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.more = Some((name, value.to_owned()));
        self
    }
}

const UNABLE: &str = "The Vonage platform was unable to process this message for the following reason: ";
const CONCURRENT: &str = "Concurrent verifications to the same number are not allowed";
const WRONG: &str = "The code inserted does not match the expected value";
const WRONG_TOO_OFTEN: &str = "The wrong code was provided too many times. Request terminated";
const OWN_CODE: &str = "This account does not support the parameter: pin_code.";
const NETWORK: &str = "244523";

/// Status and text of everything that a fault can ask for.
const TABLE: &[(&str, &str)] = &[
    ("1", "Throttled"),
    ("2", "Missing number"),
    ("3", "Invalid value for param: number"),
    ("4", "Bad credentials"),
    ("5", "Internal Error"),
    (
        "6",
        "The Vonage platform was unable to process this message for the following reason: The request could not be \
         routed.",
    ),
    ("7", "The number you are trying to verify is blacklisted for verification."),
    ("8", "The api_key you supplied is for an account that has been barred from submitting messages."),
    ("9", "Partner quota exceeded"),
    ("10", CONCURRENT),
    ("15", "The destination number is not in a supported network"),
    ("16", WRONG),
    ("17", WRONG_TOO_OFTEN),
    ("19", "No more events are left to execute for the request"),
    ("20", OWN_CODE),
    (
        "29",
        "Your Vonage account is still in demo mode. While in demo mode you must add target numbers to the approved \
         list for your account. Add funds to your account to remove this limitation.",
    ),
    ("101", "No response found"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_statuses_have_a_member_of_their_own() {
        let more = |status| Failure::known(status, "abc").and_then(|failure| failure.more);
        assert_eq!(more("7"), Some(("network", NETWORK.to_owned())));
        assert_eq!(more("10"), Some(("request_id", "abc".to_owned())));
        assert_eq!(more("5"), None);
        assert_eq!(Failure::known("0", "abc"), None);
    }
}
