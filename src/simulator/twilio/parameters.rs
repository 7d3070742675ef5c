//! Which parameters of a start and a check are acceptable; the first bad one is named.

use super::error::ApiError;
use super::verifications::{Ending, Target};
use crate::simulator::form::Form;
use crate::simulator::number::is_e164;

/// The destination and channel of a start.
pub(super) fn start(form: &Form) -> Result<(&str, &str), ApiError> {
    let channel = form.get("Channel").unwrap_or_default();
    let to = form.get("To").unwrap_or_default();
    let reachable = if channel == "email" { is_email(to) } else { is_e164(to) };
    if !reachable {
        return Err(ApiError::invalid("To"));
    }
    if !CHANNELS.contains(&channel) {
        return Err(ApiError::invalid("Channel"));
    }
    options(form, channel)?;
    Ok((to, channel))
}

fn options(form: &Form, channel: &str) -> Result<(), ApiError> {
    if form.get("Locale").is_some_and(|locale| !LOCALES.contains(&locale)) {
        return Err(ApiError::invalid("Locale"));
    }
    if form.get("RiskCheck").is_some_and(|check| !["enable", "disable"].contains(&check)) {
        return Err(ApiError::invalid("RiskCheck"));
    }
    if form.get("AppHash").is_some() && channel != "sms" {
        return Err(ApiError::app_hash_off_sms());
    }
    Ok(())
}

/// The verification and code of a check.
pub(super) fn check(form: &Form) -> Result<(Target<'_>, &str), ApiError> {
    let code = form.get("Code").unwrap_or_default();
    if !(4..=10).contains(&code.chars().count()) {
        return Err(ApiError::invalid("Code"));
    }
    let target = match (form.get("VerificationSid"), form.get("To")) {
        (Some(sid), _) => Target::Sid(sid),
        (None, Some(to)) if is_e164(to) || is_email(to) => Target::To(to),
        (None, Some(_)) => return Err(ApiError::invalid("To")),
        (None, None) => return Err(ApiError::no_target()),
    };
    Ok((target, code))
}

/// What an update asks for.
pub(super) fn ending(form: &Form) -> Result<Ending, ApiError> {
    match form.get("Status") {
        Some("canceled") => Ok(Ending::Canceled),
        Some("approved") => Ok(Ending::Approved),
        _ => Err(ApiError::invalid("Status")),
    }
}

/// A well-formed identifier with one of these two-letter prefixes.
pub(super) fn is_sid(sid: &str, prefixes: &[&str]) -> bool {
    let hexadecimal = |rest: &str| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    prefixes.iter().any(|prefix| sid.strip_prefix(prefix).is_some_and(hexadecimal))
}

fn is_email(to: &str) -> bool {
    let Some((local, domain)) = to.split_once('@') else { return false };
    let clean = !to.contains(|character: char| character.is_whitespace() || character.is_control());
    clean && !local.is_empty() && domain.contains('.') && !domain.contains('@')
}

/// `auto` and `sna` exist only where the vendor has switched them on; `voice` never did.
const CHANNELS: &[&str] = &["sms", "call", "whatsapp", "email", "rcs"];

/// The vendor's default template speaks these; another tag is refused rather than replaced.
const LOCALES: &[&str] = &[
    "af", "ar", "ca", "cs", "da", "de", "el", "en", "en-GB", "es", "et", "fi", "fr", "he", "hi", "hr", "hu",
    "id", "it", "ja", "kn", "ko", "lt", "mr", "ms", "nb", "nl", "pl", "pt", "pt-BR", "ro", "ru", "sk", "sv",
    "te", "th", "tl", "tr", "uk", "vi", "zh", "zh-CN", "zh-HK",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Form {
        Form::parse(body.as_bytes())
    }

    #[test]
    fn a_start_names_its_first_bad_parameter() {
        let refusal = |body| start(&form(body)).err();
        assert_eq!(refusal("To=%2B14155550100&Channel=sms&Locale=de&CodeLength=9"), None);
        assert_eq!(refusal("To=a%40example.com&Channel=email"), None);
        assert_eq!(refusal("To=a%40example.com&Channel=sms"), Some(ApiError::invalid("To")));
        assert_eq!(refusal("Channel=sms"), Some(ApiError::invalid("To")));
        assert_eq!(refusal("To=%2B14155550100"), Some(ApiError::invalid("Channel")));
        assert_eq!(refusal("To=%2B14155550100&Channel=voice"), Some(ApiError::invalid("Channel")));
        assert_eq!(refusal("To=%2B14155550100&Channel=sms&Locale=xx"), Some(ApiError::invalid("Locale")));
        let hash = refusal("To=%2B14155550100&Channel=call&AppHash=He42w354ol9");
        assert_eq!(hash, Some(ApiError::app_hash_off_sms()));
    }

    #[test]
    fn a_check_needs_a_code_and_a_target() {
        let refusal = |body| check(&form(body)).err();
        assert_eq!(refusal("To=%2B14155550100&Code=1234"), None);
        assert_eq!(refusal("VerificationSid=VE1&Code=1234567890"), None);
        assert_eq!(refusal("To=%2B14155550100&Code=123"), Some(ApiError::invalid("Code")));
        assert_eq!(refusal("To=%2B14155550100"), Some(ApiError::invalid("Code")));
        assert_eq!(refusal("To=555&Code=1234"), Some(ApiError::invalid("To")));
        assert_eq!(refusal("request_id=VE1&Code=1234"), Some(ApiError::no_target()));
    }

    #[test]
    fn a_sid_is_its_prefix_and_32_hexadecimal_digits() {
        assert!(is_sid("VA0123456789abcdefABCDEF0123456789", &["AC", "VA"]));
        assert!(!is_sid("VA0123456789abcdefABCDEF0123456789", &["AC"]));
        assert!(!is_sid("VA0123456789abcdefABCDEF012345678g", &["VA"]));
        assert!(!is_sid("VA0123", &["VA"]));
    }
}
