//! A reply of Verify v1.

use serde::Deserialize;
use serde_json::Value;

use crate::verifier::VerifierError;
use crate::verifier::wire::{self, Raw};

/// As far as it is of use. What its text says is not kept: it can hold the number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u32,
    pub(super) request_id: Option<String>,
    /// Whether its text is about the parameter `number`.
    pub(super) names_the_number: bool,
}

/// Whatever types its fields have; one that is there twice says nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    status: Value,
    request_id: Value,
    error_text: Value,
}

impl Reply {
    /// A reply without a number for what it came to says nothing.
    pub(super) fn read(answer: &Raw) -> Result<Self, VerifierError> {
        let body: Body = wire::read(&answer.body)?;
        let status = match &body.status {
            // Nothing but 0 is 0.
            Value::String(text) => text.parse().ok().filter(|status: &u32| status.to_string() == *text),
            Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let text = body.error_text.as_str().unwrap_or_default();
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        Ok(Self {
            status: status.ok_or_else(wire::lost)?,
            request_id: body.request_id.as_str().and_then(wire::handle),
            names_the_number: words.any(|word| word == "number"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier::Trouble;

    fn read(body: &str) -> Result<Reply, Trouble> {
        let answer =
            Raw { status: reqwest::StatusCode::OK, retry_after: None, body: body.as_bytes().to_vec() };
        Reply::read(&answer).map_err(|error| error.trouble)
    }

    #[test]
    fn the_number_may_be_a_text_or_not() {
        let id = "abcdef0123456789abcdef0123456789";
        let sent = Reply { status: 0, request_id: Some(id.to_owned()), names_the_number: false };
        assert_eq!(read(&format!(r#"{{"request_id":"{id}","status":"0"}}"#)).unwrap(), sent);
        assert_eq!(read(&format!(r#"{{"request_id":"{id}","status":0}}"#)).unwrap(), sent);
        assert_eq!(read(r#"{"request_id":"","status":"10"}"#).unwrap().request_id, None);
        for garbled in [
            "",
            "<html>0</html>",
            "{}",
            "[]",
            r#"{"status":""}"#,
            r#"{"status":"ok"}"#,
            r#"{"status":"00"}"#,
            r#"{"status":"+0"}"#,
            r#"{"status":" 0"}"#,
            r#"{"status":null}"#,
            r#"{"status":-1}"#,
            r#"{"status":0.5}"#,
            r#"{"status":"0"#,
            r#"["0"]"#,
            r#"{"status":"5","status":"0"}"#,
        ] {
            assert_eq!(read(garbled), Err(Trouble::Ambiguous), "{garbled}");
        }
    }

    #[test]
    fn the_parameter_is_found_in_the_text() {
        for (text, found) in [
            ("Invalid value for number", true),
            ("Invalid value for param: number", true),
            ("Your request is incomplete and missing the mandatory parameter `number`", true),
            ("Missing api_key", false),
            ("Invalid value for param: request_id", false),
            ("Invalid value for parameter $number_of_events", false),
        ] {
            let reply = read(&format!(r#"{{"status":"3","error_text":"{text}"}}"#)).unwrap();
            assert_eq!(reply.names_the_number, found, "{text}");
        }
    }
}
