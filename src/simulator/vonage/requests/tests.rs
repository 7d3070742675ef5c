//! The rules, one test each, on a clock that moves only when told to. Codes count up: 1000, 1001, …

use std::sync::atomic::{AtomicU32, Ordering};

use super::super::plan::Step;
use super::*;

const TO: &str = "+14155550100";
const EARLIEST: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn requests() -> Requests {
    let made = AtomicU32::new(1000);
    Requests::new(Box::new(move |_| made.fetch_add(1, Ordering::Relaxed).to_string()))
}

fn step(channel: &str, wait: u64, reuse_code: bool) -> Step {
    Step { channel: channel.to_owned(), to: TO.to_owned(), wait: Duration::from_secs(wait), reuse_code }
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan {
        steps,
        code_length: 4,
        own_code: None,
        code_lifetime: None,
        tries_renewed: false,
        sender: String::new(),
    }
}

fn started(plan: Plan) -> Requests {
    let mut requests = requests();
    requests.start("a".to_owned(), plan, at(0)).expect("a first start is allowed");
    requests
}

/// Channel, code and second of everything sent until then.
fn sent(requests: &mut Requests, seconds: u64) -> Vec<(String, String, u64)> {
    requests.settle(at(seconds));
    let second = |sent: &SentCode| sent.sent_at.duration_since(at(0)).map_or(0, |since| since.as_secs());
    requests.take_sent().iter().map(|sent| (sent.channel.clone(), sent.code.clone(), second(sent))).collect()
}

fn expected(rows: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    rows.iter().map(|row| (row.0.to_owned(), row.1.to_owned(), row.2)).collect()
}

#[test]
fn steps_follow_each_other_by_themselves_and_then_it_is_over() {
    let mut requests = started(plan(vec![step("sms", 180, false), step("voice", 180, false)]));
    assert_eq!(sent(&mut requests, 179), expected(&[("sms", "1000", 0)]));
    assert_eq!(
        requests.check("a", "1000", at(180)),
        Ok(Verdict::Wrong),
        "the first code is no longer the code"
    );
    assert_eq!(sent(&mut requests, 359), expected(&[("voice", "1001", 180)]));
    assert_eq!(requests.check("a", "1001", at(360)), Err(Refusal::NotFound));
    let over = requests.find("a", at(360)).map(|request| (request.status, request.finished));
    assert_eq!(over, Some((Status::Expired, Some(at(360)))));
    assert_eq!(requests.start("b".to_owned(), plan(vec![step("sms", 180, false)]), at(360)), Ok(()));
}

#[test]
fn steps_nobody_looked_at_happened_in_their_time() {
    let mut requests = started(plan(vec![step("sms", 100, false), step("sms", 100, false)]));
    assert_eq!(sent(&mut requests, 1_000), expected(&[("sms", "1000", 0), ("sms", "1001", 100)]));
    assert_eq!(requests.find("a", at(1_000)).and_then(|request| request.finished), Some(at(200)));
}

#[test]
fn a_step_repeats_the_code_only_when_asked() {
    let steps = vec![step("sms", 180, true), step("voice", 180, true), step("sms", 180, false)];
    let mut requests = started(plan(steps));
    assert_eq!(requests.next("a", at(5)), Ok(()));
    assert_eq!(requests.next("a", at(6)), Ok(()));
    let codes = expected(&[("sms", "1000", 0), ("voice", "1000", 5), ("sms", "1001", 6)]);
    assert_eq!(sent(&mut requests, 7), codes);
    assert_eq!(requests.next("a", at(8)), Err(Refusal::NoMoreSteps));
    assert_eq!(requests.check("a", "1001", at(185)), Ok(Verdict::Right), "the last step began at 6");
}

#[test]
fn a_code_can_expire_between_steps() {
    let mut short = plan(vec![step("sms", 120, true), step("tts", 120, true), step("tts", 120, true)]);
    short.code_lifetime = Some(Duration::from_secs(240));
    let mut requests = started(short.clone());
    let codes = expected(&[("sms", "1000", 0), ("tts", "1000", 120), ("tts", "1001", 240)]);
    assert_eq!(sent(&mut requests, 359), codes);
    short.code_lifetime = Some(Duration::from_secs(60));
    let mut requests = started(short);
    assert_eq!(requests.check("a", "1000", at(60)), Ok(Verdict::Wrong));
}

#[test]
fn the_right_code_is_accepted_once() {
    let mut requests = started(plan(vec![step("sms", 180, false)]));
    assert_eq!(requests.check("a", "9999", at(1)), Ok(Verdict::Wrong));
    assert_eq!(requests.check("a", "9999", at(1)), Ok(Verdict::Wrong));
    assert_eq!(requests.check("a", "1000", at(1)), Ok(Verdict::Right));
    assert_eq!(requests.check("a", "1000", at(1)), Err(Refusal::NotFound));
    assert_eq!(requests.next("a", at(1)), Err(Refusal::NotFound));
    assert_eq!(requests.cancel("a", EARLIEST, at(60)), Err(Refusal::NotFound));
}

#[test]
fn the_third_wrong_code_ends_it() {
    let mut requests = started(plan(vec![step("sms", 180, false), step("voice", 180, false)]));
    assert_eq!(requests.check("a", "9999", at(1)), Ok(Verdict::Wrong));
    assert_eq!(requests.next("a", at(2)), Ok(()));
    assert_eq!(requests.check("a", "9999", at(3)), Ok(Verdict::Wrong));
    assert_eq!(requests.check("a", "9999", at(3)), Ok(Verdict::WrongTooOften));
    assert_eq!(requests.check("a", "1001", at(3)), Err(Refusal::NotFound));
    assert_eq!(requests.find("a", at(3)).map(|request| request.status), Some(Status::Failed));
}

#[test]
fn a_new_code_may_renew_the_tries() {
    let mut renewing = plan(vec![step("sms", 180, false), step("tts", 180, false), step("tts", 180, true)]);
    renewing.tries_renewed = true;
    let mut requests = started(renewing);
    assert_eq!(requests.check("a", "9999", at(1)), Ok(Verdict::Wrong));
    assert_eq!(requests.check("a", "9999", at(1)), Ok(Verdict::Wrong));
    assert_eq!(requests.next("a", at(2)), Ok(()));
    assert_eq!(requests.check("a", "9999", at(3)), Ok(Verdict::Wrong));
    assert_eq!(requests.check("a", "9999", at(3)), Ok(Verdict::Wrong));
    assert_eq!(requests.next("a", at(4)), Ok(()));
    assert_eq!(
        requests.check("a", "9999", at(5)),
        Ok(Verdict::WrongTooOften),
        "the same code, the same tries"
    );
}

#[test]
fn a_number_has_one_request_at_a_time() {
    let mut requests = started(plan(vec![step("sms", 180, false)]));
    let mut other = plan(vec![step("sms", 180, false)]);
    let second = requests.start("b".to_owned(), other.clone(), at(179));
    assert_eq!(second, Err(Refusal::Concurrent("a".to_owned())));
    assert_eq!(requests.live(TO), Some("a"));
    other.steps[0].to = "+14155550199".to_owned();
    assert_eq!(requests.start("c".to_owned(), other, at(179)), Ok(()));
}

#[test]
fn cancel_is_possible_after_a_while_and_before_the_second_step() {
    let steps = vec![step("sms", 60, false), step("voice", 60, false)];
    let mut requests = started(plan(steps.clone()));
    assert_eq!(requests.cancel("a", EARLIEST, at(29)), Err(Refusal::TooEarly));
    assert_eq!(requests.cancel("a", EARLIEST, at(60)), Err(Refusal::TooLate));
    let mut requests = started(plan(steps.clone()));
    assert_eq!(requests.cancel("a", EARLIEST, at(30)), Ok(()));
    assert_eq!(requests.check("a", "1000", at(31)), Err(Refusal::NotFound));
    assert_eq!(sent(&mut requests, 1_000), expected(&[("sms", "1000", 0)]), "nothing more is sent");
    assert_eq!(requests.start("b".to_owned(), plan(steps), at(31)), Ok(()), "the number is free");
    assert_eq!(requests.find("a", at(31)).map(|request| request.status), Some(Status::Canceled));
}

#[test]
fn debug_shows_no_code_and_no_number() {
    let mut requests = started(plan(vec![step("sms", 180, false)]));
    let request = format!("{:?}", requests.find("a", at(1)));
    let shown = format!("{requests:?} {request}");
    assert!(!shown.contains("1000") && !shown.contains("4155550100"), "{shown}");
}
