//! Version 1: a form in, JSON out, HTTP 200 for almost everything, the outcome as the text `status`.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::request::{Refusal, Request, Verdict};
use super::route::{Operation, Version};
use super::server::Server;
use crate::simulator::call::Call;
use crate::simulator::random;
use crate::simulator::reply::Reply;

mod failure;
mod parameters;
mod search;

use failure::Failure;

pub(super) fn answer(server: &Server, call: &Call, operation: Operation, now: SystemTime) -> Reply {
    operate(server, call, operation, now).map_or_else(|failure| failure.reply(), |body| Reply::ok(&body))
}

/// Where a start would send its code.
pub(super) fn number(call: &Call) -> Option<String> {
    field(call, "number").map(|number| format!("+{}", number.trim_start_matches('+')))
}

pub(super) fn request_id(call: &Call) -> Option<&str> {
    field(call, "request_id")
}

/// The other name of a control call.
pub(super) fn command(call: &Call) -> Option<&'static str> {
    match field(call, "cmd")? {
        CANCEL => Some(Operation::Cancel.name()),
        NEXT => Some(Operation::Next.name()),
        _ => None,
    }
}

pub(super) fn is_fault(name: &str) -> bool {
    fault(name, "").is_some()
}

/// The status that a fault such as `v1_7` asks for; `live` is the request under way, for the one that names it.
pub(super) fn fault(name: &str, live: &str) -> Option<Reply> {
    let status = name.strip_prefix("v1_")?;
    Failure::known(status, live).map(|failure| failure.reply())
}

fn operate(server: &Server, call: &Call, operation: Operation, now: SystemTime) -> Result<Value, Failure> {
    let account = account(server, call)?;
    match operation {
        Operation::Start => start(server, call, now),
        Operation::Check => check(server, call, now),
        Operation::Control | Operation::Cancel | Operation::Next => control(server, call, now),
        Operation::Search => search(server, call, &account, now),
    }
}

/// The API key, when it and its secret are taken.
fn account(server: &Server, call: &Call) -> Result<String, Failure> {
    let (key, secret) = match call.basic() {
        Some(pair) => pair,
        None => (required(call, "api_key")?.to_owned(), required(call, "api_secret")?.to_owned()),
    };
    if server.options.admit(&key, &secret) { Ok(key) } else { Err(Failure::bad_credentials()) }
}

fn start(server: &Server, call: &Call, now: SystemTime) -> Result<Value, Failure> {
    let plan = parameters::start(call)?;
    let id = random::hexadecimal();
    let started = server.work(Version::One, |requests| requests.start(id.clone(), plan, now));
    started.map_err(|refusal| refused(refusal, &id))?;
    Ok(json!({"request_id": id, "status": "0"}))
}

fn check(server: &Server, call: &Call, now: SystemTime) -> Result<Value, Failure> {
    let (id, code) = parameters::check(call)?;
    let checked = server.work(Version::One, |requests| {
        let verdict = requests.check(id, code, now)?;
        Ok((verdict, requests.find(id, now).map(Request::latest_event)))
    });
    match checked.map_err(|refusal| refused(refusal, id))? {
        (Verdict::Right, event) => Ok(json!({
            "request_id": id,
            "event_id": event,
            "status": "0",
            "price": search::PRICE,
            "currency": search::CURRENCY,
            "estimated_price_messages_sent": search::ESTIMATE,
        })),
        (Verdict::Wrong, _) => Err(Failure::wrong_code(id)),
        (Verdict::WrongTooOften, _) => Err(Failure::wrong_too_often(id)),
    }
}

fn control(server: &Server, call: &Call, now: SystemTime) -> Result<Value, Failure> {
    let id = required(call, "request_id")?;
    let command = required(call, "cmd")?;
    let done = match command {
        CANCEL => {
            let earliest = server.options.cancel_after;
            server.work(Version::One, |requests| requests.cancel(id, earliest, now))
        }
        NEXT => server.work(Version::One, |requests| requests.next(id, now)),
        _ => return Err(Failure::invalid("cmd")),
    };
    done.map_err(|refusal| match refusal {
        Refusal::NotFound => Failure::not_active(id),
        other @ (Refusal::Concurrent(_) | Refusal::NoMoreSteps | Refusal::TooEarly | Refusal::TooLate) => {
            refused(other, id)
        }
    })?;
    Ok(json!({"status": "0", "command": command}))
}

fn search(server: &Server, call: &Call, account: &str, now: SystemTime) -> Result<Value, Failure> {
    let id = required(call, "request_id")?;
    let found = server.work(Version::One, |requests| {
        requests.find(id, now).map(|request| search::answer(request, account))
    });
    found.ok_or_else(Failure::nothing_found)
}

fn refused(refusal: Refusal, id: &str) -> Failure {
    match refusal {
        Refusal::NotFound => Failure::no_request(id),
        Refusal::Concurrent(live) => Failure::concurrent(&live),
        Refusal::NoMoreSteps => Failure::no_more_events(id),
        Refusal::TooEarly => Failure::too_early(id),
        Refusal::TooLate => Failure::too_late(id),
    }
}

fn required<'a>(call: &'a Call, name: &'static str) -> Result<&'a str, Failure> {
    field(call, name).filter(|value| !value.is_empty()).ok_or_else(|| Failure::missing(name))
}

/// A field of the body or the query: all calls may come as POST or GET.
fn field<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.form.get(name).or_else(|| call.query.get(name))
}

const CANCEL: &str = "cancel";
const NEXT: &str = "trigger_next_event";
