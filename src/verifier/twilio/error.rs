//! Twilio's errors in our words: by its own code first, by the HTTP status where there is none.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use crate::crypto;
use crate::domain::challenge::Verdict;
use crate::verifier::{Trouble, VerifierError};

#[derive(Deserialize)]
struct Body {
    code: Option<u32>,
}

pub(super) fn of_answer(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> VerifierError {
    // An edge proxy's HTML page has no code; its message could hold the number, and is not kept.
    let code = serde_json::from_slice::<Body>(body).ok().and_then(|body| body.code);
    let trouble = code.and_then(by_code).unwrap_or_else(|| by_status(status));
    VerifierError { trouble, code, status: Some(status.as_u16()), retry_after }
}

/// The error dictionary, as far as Verify's operations meet it.
const fn by_code(code: u32) -> Option<Trouble> {
    Some(match code {
        20003 | 20005 | 20006 | 20008 | 20403 | 20404 | 60201 | 60207 | 60221 | 60224 | 60228 | 60229
        | 60602 | 70051 => Trouble::Configuration,
        20429 | 25109 => Trouble::Throttled,
        // A trial account sends to its own verified numbers only.
        21608 => Trouble::Refused,
        20500 | 20503 => Trouble::Down,
        21211 | 60006 | 60200 => Trouble::InvalidNumber,
        // 60202 is about checks, but a start meets it too while the number's code is used up: it says nothing of others.
        60202 | 60203 => Trouble::TooManySends,
        60212 => Trouble::InFlight,
        60001 | 60204 | 60205 | 60206 | 60214 | 60217 | 60223 | 60550 => Trouble::ChannelUnsuitable,
        60220 | 60226 | 60238 | 60410 | 60413 | 60605 => Trouble::Blocked,
        _ => return None,
    })
}

fn by_status(status: StatusCode) -> Trouble {
    match status.as_u16() {
        401 | 403 | 404 => Trouble::Configuration,
        429 => Trouble::Throttled,
        // Answered, so certainly not sent; whether for this number or for all it does not say.
        400..=499 => Trouble::Refused,
        _ => Trouble::Down,
    }
}

/// A request that found no connection was certainly not processed; of any other lost one nothing is known.
pub(super) fn of_transport(error: &reqwest::Error) -> VerifierError {
    let trouble = if error.is_connect() { Trouble::Down } else { Trouble::Ambiguous };
    VerifierError {
        trouble,
        code: None,
        status: error.status().map(|status| status.as_u16()),
        retry_after: None,
    }
}

/// A 2xx that cannot be read: done, but we do not know what.
pub(super) const fn lost() -> VerifierError {
    VerifierError { trouble: Trouble::Ambiguous, code: None, status: None, retry_after: None }
}

/// On a check, some errors are verdicts. What is left could not be judged.
pub(super) fn on_check(error: VerifierError) -> Result<Verdict, VerifierError> {
    match (error.code, error.status) {
        (Some(60202), _) => Ok(Verdict::TooManyChecks),
        // Expired, approved before, or never there: it does not say which.
        (Some(20404), _) | (None, Some(404)) => Ok(Verdict::GoneOrExpired),
        // A code of the wrong length.
        (Some(60200), _) => Ok(Verdict::WrongCode),
        _ => Err(error),
    }
}

/// How long to wait before the same start is tried again, where it was certainly not processed.
pub(super) fn pause(error: &VerifierError, tried: u32) -> Option<Duration> {
    let wait = match error.trouble {
        Trouble::Throttled => error.retry_after.unwrap_or_else(|| Duration::from_millis(100 << tried.min(5))),
        Trouble::InFlight if tried == 1 => Duration::from_secs(1),
        // No connection, or the vendor's own fault: once more.
        Trouble::Down if tried == 1 => Duration::from_millis(200),
        Trouble::TooManySends
        | Trouble::InFlight
        | Trouble::InvalidNumber
        | Trouble::ChannelUnsuitable
        | Trouble::Blocked
        | Trouble::Refused
        | Trouble::Configuration
        | Trouble::Down
        | Trouble::Ambiguous => return None,
    };
    Some(wait + jitter(wait))
}

/// Up to a quarter more, so that those refused together do not come back together.
fn jitter(wait: Duration) -> Duration {
    wait / 4 * u32::from(crypto::random::<1>()[0]) / 255
}

/// Seconds, a date, or a word that means nothing.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(LONGEST_WISH))
}

/// No answer is believed that asks for more.
const LONGEST_WISH: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> VerifierError {
        of_answer(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None)
    }

    #[test]
    fn the_code_decides_and_the_status_only_without_one() {
        let cases = [
            (401, r#"{"code":20003}"#, Trouble::Configuration),
            (403, r#"{"code":60410}"#, Trouble::Blocked),
            (403, r#"{"code":60605}"#, Trouble::Blocked),
            (403, r#"{"code":60205}"#, Trouble::ChannelUnsuitable),
            (429, r#"{"code":60203}"#, Trouble::TooManySends),
            (429, r#"{"code":60202}"#, Trouble::TooManySends),
            (429, r#"{"code":60212}"#, Trouble::InFlight),
            (429, r#"{"code":20429}"#, Trouble::Throttled),
            (400, r#"{"code":60200}"#, Trouble::InvalidNumber),
            (404, r#"{"code":20404}"#, Trouble::Configuration),
            (403, r#"{"code":21608}"#, Trouble::Refused),
            (503, "<html>busy</html>", Trouble::Down),
            (500, "{", Trouble::Down),
            (502, "", Trouble::Down),
            (429, "", Trouble::Throttled),
            (418, r#"{"code":99999}"#, Trouble::Refused),
        ];
        for (status, body, trouble) in cases {
            assert_eq!(answer(status, body).trouble, trouble, "{status} {body}");
        }
    }

    #[test]
    fn a_check_has_verdicts_among_its_errors() {
        assert_eq!(on_check(answer(429, r#"{"code":60202}"#)), Ok(Verdict::TooManyChecks));
        assert_eq!(on_check(answer(404, r#"{"code":20404}"#)), Ok(Verdict::GoneOrExpired));
        assert_eq!(on_check(answer(400, r#"{"code":60200}"#)), Ok(Verdict::WrongCode));
        assert!(on_check(answer(500, "")).is_err());
        assert!(on_check(answer(401, r#"{"code":20003}"#)).is_err());
    }

    #[test]
    fn only_what_was_not_processed_is_tried_again() {
        let again = |status, body| pause(&answer(status, body), 1).is_some();
        assert!(again(429, r#"{"code":20429}"#));
        assert!(again(429, r#"{"code":60212}"#));
        assert!(again(503, ""));
        for (status, body) in [(429, r#"{"code":60203}"#), (401, ""), (400, ""), (403, r#"{"code":60410}"#)] {
            assert!(!again(status, body), "{status} {body}");
        }
        assert!(pause(&lost(), 1).is_none());
        assert!(pause(&answer(503, ""), 2).is_none());
    }

    #[test]
    fn a_strange_retry_after_is_survived() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("2"), Some(Duration::from_secs(2)));
        assert_eq!(read("string"), None);
        assert_eq!(read("-1"), None);
        assert_eq!(read("NaN"), None);
        assert_eq!(read("1e300"), None);
        assert_eq!(read("1e19"), Some(LONGEST_WISH));
    }
}
