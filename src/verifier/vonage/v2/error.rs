//! Verify v2's errors in our words: by the HTTP status. Its own word for it is kept for the log.

use serde_json::Value;

use crate::domain::challenge::Verdict;
use crate::verifier::wire::{self, Raw};
use crate::verifier::{Trouble, VerifierError};

pub(super) fn of_answer(answer: &Raw) -> VerifierError {
    // An edge proxy's page is no JSON; `detail` could hold the number, and is not kept.
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = answer.status.as_u16();
    let trouble = match status {
        409 => Trouble::InFlight,
        412 => Trouble::ChannelUnsuitable,
        422 if names_the_number(&problem) => Trouble::InvalidNumber,
        422 => Trouble::Configuration,
        // On a start, 404 is an address where there is no such API.
        other => wire::by_status(other),
    };
    VerifierError { trouble, code: word(&problem), status: Some(status), retry_after: answer.retry_after }
}

/// The name of the request that is under way, in the refusal of another.
pub(super) fn live_request(answer: &Raw) -> Option<String> {
    let problem: Value = serde_json::from_slice(&answer.body).ok()?;
    wire::handle(problem["request_id"].as_str()?)
}

/// The end of `type`; hosts and paths before it have changed over time.
fn word(problem: &Value) -> Option<String> {
    let (_, word) = problem["type"].as_str()?.rsplit_once('#')?;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    ((1..=32).contains(&word.len()) && word.bytes().all(allowed)).then(|| word.to_owned())
}

/// A list by its contract, a single one in its own client's tests.
fn names_the_number(problem: &Value) -> bool {
    let parameters = &problem["invalid_parameters"];
    let list = parameters.as_array().map_or_else(|| std::slice::from_ref(parameters), Vec::as_slice);
    let names = list.iter().filter_map(|parameter| parameter["name"].as_str());
    names.into_iter().any(|name| name.starts_with("workflow") || name.rsplit('.').next() == Some("to"))
}

/// On a check, some errors are verdicts. What is left could not be judged.
pub(super) fn on_check(error: VerifierError) -> Result<Verdict, VerifierError> {
    match error.status {
        Some(400) => Ok(Verdict::WrongCode),
        // Expired, approved before, or never there: it does not say which.
        Some(404) => Ok(Verdict::GoneOrExpired),
        Some(410) => Ok(Verdict::TooManyChecks),
        // This step has no code to check.
        Some(409) => Err(VerifierError { trouble: Trouble::ChannelUnsuitable, ..error }),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(status: u16, body: &str) -> Raw {
        let status = reqwest::StatusCode::from_u16(status).unwrap();
        Raw { status, retry_after: None, body: body.as_bytes().to_vec() }
    }

    fn answer(status: u16, body: &str) -> VerifierError {
        of_answer(&raw(status, body))
    }

    #[test]
    fn the_status_decides() {
        for (status, trouble) in [
            (400, Trouble::Refused),
            (401, Trouble::Configuration),
            (402, Trouble::Configuration),
            (403, Trouble::Configuration),
            (404, Trouble::Configuration),
            (409, Trouble::InFlight),
            (412, Trouble::ChannelUnsuitable),
            (418, Trouble::Refused),
            (422, Trouble::Configuration),
            (429, Trouble::Throttled),
            (302, Trouble::Down),
            (500, Trouble::Down),
            (503, Trouble::Down),
        ] {
            for body in ["", "<html>busy</html>", "{", "[]", "null", r#"{"type":7,"invalid_parameters":7}"#] {
                assert_eq!(answer(status, body).trouble, trouble, "{status} {body}");
            }
        }
    }

    #[test]
    fn a_list_of_parameters_and_a_single_one_are_read() {
        for (parameters, trouble) in [
            (r#"[{"name":"workflow","reason":"`to` is not valid"}]"#, Trouble::InvalidNumber),
            (r#"[{"name":"locale"},{"name":"workflow[0].to"}]"#, Trouble::InvalidNumber),
            (r#"{"name":"to","reason":"no number"}"#, Trouble::InvalidNumber),
            (r#"[{"name":"brand","reason":"`brand` is required"}]"#, Trouble::Configuration),
            (r#"{"name":"brand"}"#, Trouble::Configuration),
            (r#"[{"name":"custom_to"}]"#, Trouble::Configuration),
            (r#"[7,{}]"#, Trouble::Configuration),
        ] {
            let body = format!(r#"{{"type":"x#invalid-params","invalid_parameters":{parameters}}}"#);
            assert_eq!(answer(422, &body).trouble, trouble, "{parameters}");
        }
    }

    #[test]
    fn only_a_plain_word_is_kept() {
        let code = |kind: &str| answer(401, &format!(r#"{{"type":"{kind}"}}"#)).code;
        assert_eq!(code("https://developer.vonage.com/api-errors#unauthorized"), Some("unauthorized".into()));
        assert_eq!(code("https://www.developer.vonage.com/en/a/v2#low-balance"), Some("low-balance".into()));
        for kind in ["unauthorized", "https://x/#", "https://x/#Not a word", "https://x/#+14155550100"] {
            assert_eq!(code(kind), None, "{kind}");
        }
        assert_eq!(code(&format!("#{}", "a".repeat(33))), None);
    }

    #[test]
    fn the_live_request_is_told() {
        let id = "575a2054-aaaf-4405-994e-290be7b9a91f";
        let told = live_request(&raw(409, &format!(r#"{{"title":"Conflict","request_id":"{id}"}}"#)));
        assert_eq!(told.as_deref(), Some(id));
        for body in ["", "{}", r#"{"request_id":7}"#, r#"{"request_id":"../account"}"#] {
            assert_eq!(live_request(&raw(409, body)), None, "{body}");
        }
    }

    #[test]
    fn a_check_has_verdicts_among_its_errors() {
        assert_eq!(on_check(answer(400, "")), Ok(Verdict::WrongCode));
        assert_eq!(on_check(answer(404, "")), Ok(Verdict::GoneOrExpired));
        assert_eq!(on_check(answer(410, "")), Ok(Verdict::TooManyChecks));
        let trouble = |status| on_check(answer(status, "")).unwrap_err().trouble;
        assert_eq!(trouble(409), Trouble::ChannelUnsuitable);
        assert_eq!(trouble(401), Trouble::Configuration);
        assert_eq!(trouble(422), Trouble::Configuration);
        assert_eq!(trouble(429), Trouble::Throttled);
        assert_eq!(trouble(500), Trouble::Down);
    }
}
