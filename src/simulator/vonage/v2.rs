//! Version 2: JSON both ways, the outcome as the HTTP status.

use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::jwt::{self, Refused};
use super::problem::Problem;
use super::request::{Refusal, Verdict};
use super::route::{Lost, Operation, Route, Version};
use super::server::Server;
use crate::simulator::call::Call;
use crate::simulator::random;
use crate::simulator::reply::Reply;

mod parameters;

pub(super) fn answer(server: &Server, call: &Call, route: Route<'_>, now: SystemTime) -> Reply {
    operate(server, call, route, now).unwrap_or_else(|problem| problem.reply())
}

/// Where a start would send its first code.
pub(super) fn number(call: &Call) -> Option<String> {
    let to = call.json.as_ref()?.pointer("/workflow/0/to")?.as_str()?;
    Some(parameters::destination(to))
}

pub(super) fn is_fault(name: &str) -> bool {
    let route = Route { version: Version::Two, operation: Operation::Start, id: "" };
    fault(name, route, "").is_some()
}

/// The error that a fault of this name asks for; `live` is the request under way, for the one that names it.
pub(super) fn fault(name: &str, route: Route<'_>, live: &str) -> Option<Reply> {
    let problem = match name {
        "400" => Problem::wrong_code(),
        "401" => Problem::unauthorized(),
        "402" => Problem::low_balance(),
        "404" => Problem::no_request(route.id),
        "409" => conflict(route.operation, live),
        "410" => Problem::wrong_too_often(),
        "412" => Problem::no_silent_authentication(),
        "422" => Problem::invalid(&[("to", "The number is invalid")]),
        "429" => Problem::throttled(),
        "500" => Problem::internal(),
        "503" => Problem::unavailable(),
        _ => return None,
    };
    Some(problem.reply())
}

fn conflict(operation: Operation, live: &str) -> Problem {
    match operation {
        Operation::Start => Problem::concurrent(live),
        Operation::Check => Problem::step_without_code(),
        Operation::Next => Problem::no_more_steps(),
        Operation::Cancel | Operation::Control | Operation::Search => Problem::not_now(),
    }
}

fn operate(server: &Server, call: &Call, route: Route<'_>, now: SystemTime) -> Result<Reply, Problem> {
    admit(server, call, now)?;
    match route.operation {
        Operation::Start => start(server, call, now),
        Operation::Check => check(server, call, route.id, now),
        Operation::Cancel => cancel(server, route.id, now),
        Operation::Next => next(server, route.id, now),
        Operation::Control | Operation::Search => Err(Problem::lost(Lost::NotFound)),
    }
}

fn admit(server: &Server, call: &Call, now: SystemTime) -> Result<(), Problem> {
    if let Some(token) = call.bearer() {
        return jwt::admit(token, &server.options, now).map_err(|refused| match refused {
            Refused::Invalid => Problem::unauthorized(),
            Refused::Expired => Problem::token_expired(),
        });
    }
    let admitted = call.basic().is_some_and(|(key, secret)| server.options.admit(&key, &secret));
    if admitted { Ok(()) } else { Err(Problem::unauthorized()) }
}

fn start(server: &Server, call: &Call, now: SystemTime) -> Result<Reply, Problem> {
    let plan = parameters::start(call.json.as_ref().unwrap_or(&Value::Null))?;
    let id = random::uuid();
    let started = server.work(Version::Two, |requests| requests.start(id.clone(), plan, now));
    started.map_err(|refusal| refused(refusal, &id))?;
    Ok(Reply::json(StatusCode::ACCEPTED, &json!({"request_id": id})))
}

fn check(server: &Server, call: &Call, id: &str, now: SystemTime) -> Result<Reply, Problem> {
    let code = parameters::check(call.json.as_ref().unwrap_or(&Value::Null))?;
    let checked = server.work(Version::Two, |requests| requests.check(id, code, now));
    match checked.map_err(|refusal| refused(refusal, id))? {
        Verdict::Right => Ok(Reply::ok(&json!({"request_id": id, "status": "completed"}))),
        Verdict::Wrong => Err(Problem::wrong_code()),
        Verdict::WrongTooOften => Err(Problem::wrong_too_often()),
    }
}

fn cancel(server: &Server, id: &str, now: SystemTime) -> Result<Reply, Problem> {
    let earliest = server.options.cancel_after;
    let canceled = server.work(Version::Two, |requests| requests.cancel(id, earliest, now));
    canceled.map_err(|refusal| refused(refusal, id))?;
    Ok(Reply::no_content())
}

fn next(server: &Server, id: &str, now: SystemTime) -> Result<Reply, Problem> {
    let moved = server.work(Version::Two, |requests| requests.next(id, now));
    moved.map_err(|refusal| refused(refusal, id))?;
    Ok(Reply::empty())
}

fn refused(refusal: Refusal, id: &str) -> Problem {
    match refusal {
        Refusal::Concurrent(live) => Problem::concurrent(&live),
        Refusal::NoMoreSteps => Problem::no_more_steps(),
        // 404 is the one refusal that the contract has for a cancellation, whatever the reason.
        Refusal::NotFound | Refusal::TooEarly | Refusal::TooLate => Problem::no_request(id),
    }
}
