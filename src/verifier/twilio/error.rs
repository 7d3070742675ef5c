//! Twilio's errors in our words: by its own code first, by the HTTP status where there is none.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::challenge::Verdict;
use crate::verifier::wire::{self, Raw};
use crate::verifier::{Trouble, VerifierError};

#[derive(Deserialize)]
struct Body {
    code: Option<u32>,
}

pub(super) fn of_answer(answer: &Raw) -> VerifierError {
    // An edge proxy's HTML page has no code; its message could hold the number, and is not kept.
    let code = serde_json::from_slice::<Body>(&answer.body).ok().and_then(|body| body.code);
    let status = answer.status.as_u16();
    let trouble = code.and_then(by_code).unwrap_or_else(|| unknown(code, status));
    let code = code.map(|code| code.to_string());
    VerifierError { trouble, code, status: Some(status), retry_after: answer.retry_after }
}

/// A code of Verify's own that is not known here may be about one number: told to everybody it would tell of that number,
/// and three of them would stop all. Anything else goes by the status.
fn unknown(code: Option<u32>, status: u16) -> Trouble {
    let of_verify = code.is_some_and(|code| (60_000..61_000).contains(&code));
    match status {
        400 | 402..=428 if of_verify => Trouble::Refused,
        _ => wire::by_status(status),
    }
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

/// On a check, some errors are verdicts. What is left could not be judged.
pub(super) fn on_check(error: VerifierError) -> Result<Verdict, VerifierError> {
    match (error.code.as_deref(), error.status) {
        (Some("60202"), _) => Ok(Verdict::TooManyChecks),
        // Expired, approved before, or never there: it does not say which.
        (Some("20404"), _) | (None, Some(404)) => Ok(Verdict::GoneOrExpired),
        // A code of the wrong length.
        (Some("60200"), _) => Ok(Verdict::WrongCode),
        _ => Err(error),
    }
}

/// Before a start is made again: a number with a start under way may be asked for once more, a second later.
pub(super) fn pause_of_start(error: &VerifierError, tried: u32) -> Option<Duration> {
    if error.trouble == Trouble::InFlight {
        return (tried == 1).then_some(Duration::from_secs(1));
    }
    wire::pause_of_start(error, tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> VerifierError {
        let status = reqwest::StatusCode::from_u16(status).unwrap();
        of_answer(&Raw { status, retry_after: None, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn an_unknown_code_of_verify_is_one_numbers() {
        for status in [400, 402, 403, 404, 410] {
            assert_eq!(answer(status, r#"{"code":60999}"#).trouble, Trouble::Refused, "{status}");
        }
        for (status, body) in [(401, r#"{"code":60999}"#), (403, "{}"), (403, r#"{"code":29999}"#)] {
            assert_eq!(answer(status, body).trouble, Trouble::Configuration, "{status} {body}");
        }
        assert_eq!(answer(429, r#"{"code":60999}"#).trouble, Trouble::Throttled);
        assert_eq!(answer(500, r#"{"code":60999}"#).trouble, Trouble::Down);
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
            (502, "", Trouble::Ambiguous),
            (504, "<html>", Trouble::Ambiguous),
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
    fn a_start_under_way_is_tried_once_more() {
        let in_flight = answer(429, r#"{"code":60212}"#);
        assert_eq!(pause_of_start(&in_flight, 1), Some(Duration::from_secs(1)));
        assert_eq!(pause_of_start(&in_flight, 2), None);
        assert!(pause_of_start(&answer(503, ""), 1).is_some());
        for (status, body) in [(429, r#"{"code":60203}"#), (401, ""), (400, ""), (403, r#"{"code":60410}"#)] {
            assert!(pause_of_start(&answer(status, body), 1).is_none(), "{status} {body}");
        }
    }
}
