//! The rules, one test each, on a clock that moves only when told to.

use super::*;

const SERVICE: &str = "VA00000000000000000000000000000000";
const TO: &str = "+14155550100";
const CODE: &str = "123456";
const WRONG: &str = "000000";
const LIFETIME: Duration = Duration::from_secs(600);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn start_with(
    verifications: &mut Verifications,
    sid: &str,
    channel: &str,
    seconds: u64,
) -> Result<Verification, Refusal> {
    let order = Order { service: SERVICE, account: "AC", to: TO, channel };
    let fresh = Fresh { sid: sid.to_owned(), code: CODE.to_owned(), attempt: format!("VL{seconds}") };
    verifications.start(order, fresh, at(seconds)).cloned()
}

fn started() -> Verifications {
    let mut verifications = Verifications::new(LIFETIME);
    start_with(&mut verifications, "VE1", "sms", 0).expect("a first start is allowed");
    verifications
}

fn check(verifications: &mut Verifications, code: &str, seconds: u64) -> Result<Status, Refusal> {
    verifications.check(SERVICE, Target::To(TO), code, at(seconds)).map(|checked| checked.status)
}

#[test]
fn restart_keeps_sid_code_and_expiry_across_channels() {
    let mut verifications = started();
    let again = start_with(&mut verifications, "VE2", "call", 599).expect("a second send is allowed");
    assert_eq!((again.sid.as_str(), again.code.as_str(), again.channel()), ("VE1", CODE, "call"));
    assert_eq!(again.sends.len(), 2);
    assert_eq!(check(&mut verifications, CODE, 600), Err(Refusal::NotFound), "a resend extends nothing");
}

#[test]
fn sixth_send_is_refused_until_expiry() {
    let mut verifications = started();
    for second in 1..5 {
        start_with(&mut verifications, "VE2", "sms", second).expect("five sends are allowed");
    }
    let sixth = start_with(&mut verifications, "VE2", "call", 5).map(|record| record.sid);
    assert_eq!(sixth, Err(Refusal::TooManySends));
    let fresh = start_with(&mut verifications, "VE3", "sms", 600).map(|record| record.sid);
    assert_eq!(fresh, Ok("VE3".to_owned()));
}

#[test]
fn right_code_is_accepted_once() {
    let mut verifications = started();
    assert_eq!(check(&mut verifications, CODE, 1), Ok(Status::Approved));
    assert_eq!(check(&mut verifications, CODE, 1), Err(Refusal::NotFound));
    assert_eq!(verifications.fetch(SERVICE, "VE1", at(1)).err(), Some(Refusal::NotFound));
}

#[test]
fn five_wrong_codes_end_it_even_for_the_right_one() {
    let mut verifications = started();
    for second in 0..5 {
        assert_eq!(check(&mut verifications, WRONG, second), Ok(Status::Pending));
    }
    let status = verifications.fetch(SERVICE, "VE1", at(5)).map(|record| record.status);
    assert_eq!(status, Ok(Status::MaxAttemptsReached));
    assert_eq!(check(&mut verifications, CODE, 5), Err(Refusal::TooManyChecks));
    let restart = start_with(&mut verifications, "VE2", "sms", 6).map(|record| record.sid);
    assert_eq!(restart, Err(Refusal::TooManySends));
    assert_eq!(check(&mut verifications, CODE, 600), Err(Refusal::NotFound));
}

#[test]
fn fifth_try_may_still_be_right() {
    let mut verifications = started();
    for second in 0..4 {
        assert_eq!(check(&mut verifications, WRONG, second), Ok(Status::Pending));
    }
    assert_eq!(check(&mut verifications, CODE, 5), Ok(Status::Approved));
}

#[test]
fn a_resend_does_not_renew_the_tries() {
    let mut verifications = started();
    for second in 0..4 {
        assert_eq!(check(&mut verifications, WRONG, second), Ok(Status::Pending));
    }
    start_with(&mut verifications, "VE2", "sms", 5).expect("a second send is allowed");
    assert_eq!(check(&mut verifications, WRONG, 6), Ok(Status::Pending));
    assert_eq!(check(&mut verifications, WRONG, 7), Err(Refusal::TooManyChecks));
}

#[test]
fn cancel_frees_the_number_and_stays_fetchable() {
    let mut verifications = started();
    let canceled = verifications.update(SERVICE, "VE1", Ending::Canceled, at(1)).map(|record| record.status);
    assert_eq!(canceled, Ok(Status::Canceled));
    assert_eq!(check(&mut verifications, CODE, 2), Err(Refusal::NotFound));
    let by_sid = verifications.check(SERVICE, Target::Sid("VE1"), CODE, at(2)).err();
    assert_eq!(by_sid, Some(Refusal::NotFound));
    let fetched = verifications.fetch(SERVICE, "VE1", at(2)).map(|record| record.status);
    assert_eq!(fetched, Ok(Status::Canceled));
    let fresh =
        start_with(&mut verifications, "VE2", "sms", 3).map(|record| (record.sid, record.sends.len()));
    assert_eq!(fresh, Ok(("VE2".to_owned(), 1)));
}

#[test]
fn an_expired_cancellation_leaves_its_successor_alone() {
    let mut verifications = started();
    verifications.update(SERVICE, "VE1", Ending::Canceled, at(1)).expect("it is live");
    start_with(&mut verifications, "VE2", "sms", 300).expect("the number is free");
    let again = start_with(&mut verifications, "VE3", "sms", 700).map(|record| record.sid);
    assert_eq!(again, Ok("VE2".to_owned()));
    assert_eq!(verifications.fetch(SERVICE, "VE1", at(700)).err(), Some(Refusal::NotFound));
}

#[test]
fn approved_by_hand_is_gone() {
    let mut verifications = started();
    let approved = verifications.update(SERVICE, "VE1", Ending::Approved, at(1)).map(|record| record.status);
    assert_eq!(approved, Ok(Status::Approved));
    assert_eq!(check(&mut verifications, CODE, 2), Err(Refusal::NotFound));
}

#[test]
fn another_service_knows_nothing() {
    let mut verifications = started();
    let other = verifications.check("VA1", Target::To(TO), CODE, at(1)).err();
    assert_eq!(other, Some(Refusal::NotFound));
    let other = verifications.check("VA1", Target::Sid("VE1"), CODE, at(1)).err();
    assert_eq!(other, Some(Refusal::NotFound));
}

#[test]
fn it_lives_to_the_last_moment_and_is_then_forgotten() {
    let mut verifications = started();
    assert_eq!(check(&mut verifications, WRONG, 599), Ok(Status::Pending));
    assert_eq!(check(&mut verifications, CODE, 600), Err(Refusal::NotFound));
    start_with(&mut verifications, "VE2", "sms", 601).expect("the number is free");
    assert_eq!((verifications.records.len(), verifications.oldest_first.len()), (1, 1));
}

#[test]
fn debug_shows_no_code_and_no_number() {
    let mut verifications = started();
    let shown = start_with(&mut verifications, "VE1", "sms", 1).map(|record| format!("{record:?}"));
    let shown = format!("{verifications:?} {shown:?}");
    assert!(!shown.contains(CODE) && !shown.contains(TO), "{shown}");
}
