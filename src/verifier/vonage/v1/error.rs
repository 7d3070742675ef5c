//! Verify v1's errors in our words: by its own number, which comes with HTTP status 200. Without one, something
//! before it answered, and the HTTP status decides.

use super::reply::Reply;
use crate::domain::challenge::Verdict;
use crate::verifier::wire::{self, Raw};
use crate::verifier::{Trouble, VerifierError};

pub(super) fn of_reply(reply: &Reply) -> VerifierError {
    let trouble = match reply.status {
        1 => Trouble::Throttled,
        // The number is a parameter like others; which one is wrong stands in the text only.
        2 | 3 if reply.names_the_number => Trouble::InvalidNumber,
        2 | 3 | 4 | 8 | 9 | 20 | 29 => Trouble::Configuration,
        5 => Trouble::Down,
        6 => Trouble::InvalidNumber,
        7 => Trouble::Blocked,
        // The number has one under way, or this one cannot be cancelled or moved on at the moment.
        10 | 19 => Trouble::InFlight,
        15 => Trouble::ChannelUnsuitable,
        _ => Trouble::Refused,
    };
    VerifierError { trouble, code: Some(reply.status.to_string()), status: Some(200), retry_after: None }
}

pub(super) fn of_status(answer: &Raw) -> VerifierError {
    let status = answer.status.as_u16();
    let trouble = wire::by_status(status);
    VerifierError { trouble, code: None, status: Some(status), retry_after: answer.retry_after }
}

/// On a check, some numbers are verdicts. What is left could not be judged.
pub(super) fn on_check(reply: &Reply) -> Result<Verdict, VerifierError> {
    match reply.status {
        0 => Ok(Verdict::Approved),
        // Expired, approved before, or never there: it does not say which.
        6 => Ok(Verdict::GoneOrExpired),
        16 => Ok(Verdict::WrongCode),
        17 => Ok(Verdict::TooManyChecks),
        _ => Err(of_reply(reply)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u32) -> Reply {
        Reply { status, request_id: None, names_the_number: false }
    }

    #[test]
    fn the_number_decides() {
        for (number, trouble) in [
            (1, Trouble::Throttled),
            (2, Trouble::Configuration),
            (3, Trouble::Configuration),
            (4, Trouble::Configuration),
            (5, Trouble::Down),
            (6, Trouble::InvalidNumber),
            (7, Trouble::Blocked),
            (8, Trouble::Configuration),
            (9, Trouble::Configuration),
            (10, Trouble::InFlight),
            (15, Trouble::ChannelUnsuitable),
            (19, Trouble::InFlight),
            (20, Trouble::Configuration),
            (29, Trouble::Configuration),
            (99, Trouble::Refused),
        ] {
            let error = of_reply(&reply(number));
            assert_eq!((error.trouble, error.code), (trouble, Some(number.to_string())));
        }
        for number in [2, 3] {
            let named = Reply { names_the_number: true, ..reply(number) };
            assert_eq!(of_reply(&named).trouble, Trouble::InvalidNumber);
        }
    }

    #[test]
    fn without_a_number_the_status_decides() {
        for (status, trouble) in [
            (401, Trouble::Configuration),
            (403, Trouble::Configuration),
            (404, Trouble::Configuration),
            (418, Trouble::Refused),
            (429, Trouble::Throttled),
            (302, Trouble::Down),
            (500, Trouble::Down),
        ] {
            let status = reqwest::StatusCode::from_u16(status).unwrap();
            assert_eq!(of_status(&Raw { status, retry_after: None, body: Vec::new() }).trouble, trouble);
        }
    }

    #[test]
    fn a_check_has_verdicts_among_its_numbers() {
        assert_eq!(on_check(&reply(0)), Ok(Verdict::Approved));
        assert_eq!(on_check(&reply(6)), Ok(Verdict::GoneOrExpired));
        assert_eq!(on_check(&reply(16)), Ok(Verdict::WrongCode));
        assert_eq!(on_check(&reply(17)), Ok(Verdict::TooManyChecks));
        for number in [1, 2, 3, 4, 5, 7, 10, 18, 101] {
            assert!(on_check(&reply(number)).is_err(), "{number}");
        }
    }
}
