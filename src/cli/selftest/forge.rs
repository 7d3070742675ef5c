//! Session tokens as a forger makes them: JWTs (RFC 7519) that nobody signed, or somebody else.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::trick::Tokens;

/// From a good one, or from nothing.
pub(super) fn tokens(good: Option<String>) -> Tokens {
    let claims = good.as_deref().and_then(|token| token.split('.').nth(1)).map(str::to_owned);
    let claims = claims.unwrap_or_else(|| URL_SAFE_NO_PAD.encode(CLAIMS));
    let unsigned = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
    // The key's own name, where one is known: what is guessed is the key.
    let header = good.as_deref().and_then(|token| token.split('.').next()).map(str::to_owned);
    let header = header.unwrap_or_else(|| URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#));
    let signed = format!("{header}.{claims}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), signed.as_bytes());
    Tokens {
        unsigned,
        guessed: format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag)),
        changed: good.as_deref().map(changed),
        cut: good.as_deref().map(|token| token[..token.len() - 8].to_owned()),
        revoked: None,
        good,
    }
}

const CLAIMS: &str = r#"{"iss":"vestibule","sub":"admin","sid":"AAAAAAAAAAAAAAAAAAAAAA","amr":["sms"],"auth_time":1,"exp":9999999999}"#;

/// With another first letter of the signature.
fn changed(token: &str) -> String {
    let at = token.rfind('.').map_or(0, |dot| dot + 1);
    let other = if token[at..].starts_with('A') { 'B' } else { 'A' };
    let rest = token.get(at + 1..).unwrap_or_default();
    format!("{}{other}{rest}", &token[..at])
}
