//! `vestibule audit show`: everything about one challenge, as a help desk reads it out.

use serde_json::{Value, json};

use crate::cli::output::{self, moment};
use crate::cli::state::Work;
use crate::cli::{Common, Failure};
use crate::domain::challenge::{Challenge, State};
use crate::domain::id::Reference;
use crate::store::{Recorded, RecordedMessage};

pub(super) fn run(reference: Reference, common: &Common) -> Result<(), Failure> {
    let work = Work::open(&common.config.config)?;
    let events = work.wait(work.store().audit(Some(reference.to_string()), MOST))?;
    let challenges = work.wait(work.store().challenges_of(reference))?;
    if events.is_empty() {
        let text =
            "nothing is known of it here; was it read out rightly, and is this the right configuration?";
        return Err(Failure::Runtime(format!("{reference}: {text}")));
    }
    if common.json {
        return output::json(&as_json(reference, &events, &challenges));
    }
    output::line(&heading(reference, &events))?;
    output::line("")?;
    for event in &events {
        output::line(format!("{}  {}{}", moment(event.at), sentence(event), named(event)).trim_end())?;
    }
    output::line("")?;
    if challenges.is_empty() {
        return output::line("The challenge itself is gone: it is kept for a day.");
    }
    challenges.iter().try_for_each(|challenge| output::line(&standing(challenge)))
}

/// The longest story has a few dozen events.
const MOST: usize = 1_000;

fn heading(reference: Reference, events: &[Recorded]) -> String {
    let user = events.iter().find_map(|event| event.user.as_deref()).unwrap_or("nobody that is known");
    let number = recipient(events).map(|number| format!(", number {number}")).unwrap_or_default();
    let client = events.first().map_or("", |event| event.client.as_str());
    format!("{reference}: {user}{number}, from {client}")
}

fn recipient(events: &[Recorded]) -> Option<&str> {
    events.iter().find_map(|event| event.message.as_ref()?.recipient.as_deref())
}

/// What happened, in a sentence; what is not known here is told in the trail's own words.
fn sentence(event: &Recorded) -> String {
    let detail = event.detail.as_str();
    let call = event.message.as_ref();
    let provider = call.map_or("the provider", |call| call.provider.as_str());
    let channel = call.and_then(|call| call.channel.as_deref()).unwrap_or("message");
    match event.what.as_str() {
        "challenge_started" if detail.is_empty() => "A code was asked for".to_owned(),
        "challenge_started" => format!("A code was asked for: {detail}"),
        "code_resent" => format!("Another code was asked for, by {detail}"),
        "code_sent" => format!("{provider} sent a code by {channel}"),
        "send_failed" if detail.contains(": resting") => {
            format!("{provider} was not asked to send by {channel}: {}", cause(detail))
        }
        "send_failed" => format!("{provider} did not send by {channel}: {}", cause(detail)),
        "wrong_code" => format!("A code was typed: {detail}"),
        "check_failed" => format!("A code could not be judged: {detail}"),
        "input_refused" => format!("What was typed could not be used: {detail}"),
        "limit_reached" => format!("A limit was reached: {detail}"),
        "guard_tripped" => format!("The spend guard stopped a message: {detail}"),
        "number_refused" => format!("The number: {detail}"),
        "session_opened" => format!("Signed in: {provider} approved the code"),
        other => format!("{other} {detail}"),
    }
}

/// The detail of a failed sending begins with who and how, which has been said.
fn cause(detail: &str) -> &str {
    detail.split_once(": ").map_or(detail, |(_, cause)| cause)
}

/// The provider's own name for the code, by which its support finds it.
fn named(event: &Recorded) -> String {
    let handle = event.message.as_ref().and_then(|call| call.handle.as_deref());
    handle.map(|handle| format!("  [{handle}]")).unwrap_or_default()
}

fn standing(challenge: &Challenge) -> String {
    let state = match challenge.state {
        State::Open => "open",
        State::Accepted => "accepted",
        State::Cancelled => "given up",
        State::Exhausted => "used up by wrong codes",
        State::Unsent => "no code went out",
    };
    let (checks, most) = (challenge.checks, challenge.max_checks);
    let until = moment(challenge.expires_at);
    let sends = match challenge.sends {
        1 => "1 message".to_owned(),
        sends => format!("{sends} messages"),
    };
    format!("Now: {state}; {sends} asked for; {checks} of {most} codes typed; good until {until}")
}

fn as_json(reference: Reference, events: &[Recorded], challenges: &[Challenge]) -> Value {
    json!({
        "reference": reference.to_string(),
        "user": events.iter().find_map(|event| event.user.as_deref()),
        "number": recipient(events),
        "events": events.iter().map(event_as_json).collect::<Vec<_>>(),
        "challenges": challenges.iter().map(challenge_as_json).collect::<Vec<_>>(),
    })
}

/// A line of the trail, as `tail` and `show` print it.
pub(super) fn event_as_json(event: &Recorded) -> Value {
    let call = |call: &RecordedMessage| {
        json!({
            "provider": call.provider, "channel": call.channel, "provider_id": call.handle,
            "number": call.recipient, "result": call.outcome,
        })
    };
    json!({
        "number": event.number, "at": moment(event.at), "event": event.what, "reference": event.reference,
        "user": event.user, "client": event.client, "detail": event.detail,
        "call": event.message.as_ref().map(call),
    })
}

fn challenge_as_json(challenge: &Challenge) -> Value {
    let holder = challenge.holder.as_ref().filter(|_| challenge.user.is_some());
    json!({
        "state": challenge.state.as_str(), "channel": challenge.channel.as_str(),
        "provider": holder.map(|holder| &holder.provider), "provider_id": holder.and_then(|holder| holder.handle.as_ref()),
        "sends": challenge.sends, "checks": challenge.checks, "max_checks": challenge.max_checks,
        "created": moment(challenge.created_at), "expires": moment(challenge.expires_at),
    })
}
