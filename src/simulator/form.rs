//! The fields of a call, and how they may be shown.

use serde_json::Value;

/// A decoded form or query. A field that occurs twice counts once, as its first occurrence.
#[derive(Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    /// The fields as they may be shown: codes and tokens are named, not repeated.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), if secret(name) { HIDDEN } else { value.as_str() }))
    }
}

/// The same for JSON.
pub(super) fn shown(json: &Value) -> Value {
    match json {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), if secret(name) { HIDDEN.into() } else { shown(value) }))
            .collect(),
        Value::Array(items) => items.iter().map(shown).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => json.clone(),
    }
}

/// `reuse_code` says yes or no.
fn secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name != "reuse_code" && ["code", "token", "secret", "password"].iter().any(|word| name.ends_with(word))
}

const HIDDEN: &str = "[hidden]";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plus_must_be_encoded() {
        assert_eq!(Form::parse(b"To=%2B14155550100").get("To"), Some("+14155550100"));
        assert_eq!(Form::parse(b"To=+14155550100").get("To"), Some(" 14155550100"));
    }

    #[test]
    fn codes_and_tokens_are_not_shown() {
        let form = Form::parse(b"To=%2B14155550100&Code=123456&SnaClientToken=x&CustomCode=98765");
        let listed: Vec<_> = form.shown().collect();
        let expected =
            [("To", "+14155550100"), ("Code", HIDDEN), ("SnaClientToken", HIDDEN), ("CustomCode", HIDDEN)];
        assert_eq!(listed, expected);
        let body = json!({"code": "123456", "brand": "ACME", "workflow": [{"token": 5, "reuse_code": true}]});
        let expected =
            json!({"code": HIDDEN, "brand": "ACME", "workflow": [{"token": HIDDEN, "reuse_code": true}]});
        assert_eq!(shown(&body), expected);
    }
}
