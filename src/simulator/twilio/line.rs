//! What a number is, as far as a look-up tells: its kind of line, and whether its SIM was changed lately.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::simulator::number::is_e164;

/// One number's line. Every number is a mobile with its old SIM unless it is told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// In the vendor's word: `mobile`, `nonFixedVoip`, …
    pub kind: String,
    /// Whether its SIM was changed within the last day.
    pub swapped: bool,
    /// What a package says instead of an answer, such as 60606.
    pub error_code: Option<u32>,
}

impl Default for Line {
    fn default() -> Self {
        Self { kind: MOBILE.to_owned(), swapped: false, error_code: None }
    }
}

impl Line {
    pub(super) fn is_mobile(&self) -> bool {
        self.kind == MOBILE
    }

    /// The vendor knows no carrier of what is not one person's line.
    pub(super) fn has_carrier(&self) -> bool {
        ["mobile", "landline", "fixedVoip", "nonFixedVoip"].contains(&self.kind.as_str())
    }

    /// As the side channel writes it.
    pub(super) fn to_json(&self, to: &str) -> Value {
        json!({"to": to, "type": self.kind, "swapped": self.swapped, "error_code": self.error_code})
    }
}

/// A line as the side channel sets it. What is left out is as usual.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    to: String,
    r#type: Option<String>,
    #[serde(default)]
    swapped: bool,
    error_code: Option<u32>,
}

impl Request {
    pub(super) fn judge(self) -> Result<(String, Line), &'static str> {
        let kind = self.r#type.unwrap_or_else(|| MOBILE.to_owned());
        let (to, kind) = checked(&self.to, &kind)?;
        Ok((to, Line { kind, swapped: self.swapped, error_code: self.error_code }))
    }
}

/// A number and its kind of line, if they are such.
pub(super) fn checked(to: &str, kind: &str) -> Result<(String, String), &'static str> {
    if !is_e164(to) {
        return Err("a number is in E.164, like +14155550100");
    }
    if !KINDS.contains(&kind) {
        return Err(
            "a type is mobile, landline, tollFree, fixedVoip, nonFixedVoip, personal, premium, voicemail, \
             sharedCost, uan, pager or unknown",
        );
    }
    Ok((to.to_owned(), kind.to_owned()))
}

const MOBILE: &str = "mobile";
const KINDS: &[&str] = &[
    MOBILE,
    "landline",
    "tollFree",
    "fixedVoip",
    "nonFixedVoip",
    "personal",
    "premium",
    "voicemail",
    "sharedCost",
    "uan",
    "pager",
    "unknown",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(json: &str) -> Result<(String, Line), &'static str> {
        serde_json::from_str::<Request>(json).expect("the JSON is well formed").judge()
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        assert_eq!(judge(r#"{"to":"+14155550100"}"#), Ok(("+14155550100".to_owned(), Line::default())));
        let line = Line { kind: "premium".to_owned(), swapped: true, error_code: Some(60600) };
        let json = r#"{"to":"+14155550100","type":"premium","swapped":true,"error_code":60600}"#;
        assert_eq!(judge(json), Ok(("+14155550100".to_owned(), line)));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(judge(r#"{"to":"14155550100"}"#).is_err());
        assert!(judge(r#"{"to":"+14155550100","type":"voip"}"#).is_err());
    }
}
