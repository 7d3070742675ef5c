//! `vestibule audit show`: everything about one challenge, as a help desk reads it out.

use serde_json::{Value, json};

use crate::audit::json::line as event_as_json;
use crate::cli::output::{self, moment};
use crate::cli::state::Work;
use crate::cli::{Common, Failure};
use crate::domain::challenge::{Challenge, Closed, State};
use crate::domain::event::What;
use crate::domain::id::Reference;
use crate::domain::time::Timestamp;
use crate::store::{About, Recorded, RecordedMessage};

pub(super) fn run(reference: Reference, common: &Common) -> Result<(), Failure> {
    let work = Work::look(&common.config.config)?;
    let events = work.wait(work.store().audit(About { reference: Some(reference), user: None }, MOST))?;
    let challenges = work.wait(work.store().challenges_of(reference))?;
    if events.is_empty() {
        let text =
            "nothing is known of it here; was it read out rightly, and is this the right configuration?";
        return Err(Failure::Runtime(format!("{reference}: {text}")));
    }
    if common.json {
        return output::json(&as_json(reference, &events, &challenges, work.now()));
    }
    output::line(&heading(reference, &events))?;
    output::line("")?;
    for event in &events {
        output::line(format!("{}  {}{}", moment(event.at), sentence(event), named(event)).trim_end())?;
    }
    for line in ending(&events, &challenges, work.now()) {
        output::line(&line)?;
    }
    Ok(())
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
    let way = way(call.and_then(|call| call.channel.as_deref()).unwrap_or("message"));
    match event.what.as_str() {
        "challenge_started" if detail.is_empty() => "A code was asked for".to_owned(),
        "challenge_started" => format!("A code was asked for: {detail}"),
        "code_resent" => format!("Another code was asked for, by {}", self::way(detail)),
        "code_sent" => format!("{provider} sent a code by {way}"),
        "send_failed" => not_sent(provider, way, detail, call),
        "wrong_code" => format!("A code was typed: {detail}"),
        "check_failed" => not_judged(detail, call),
        "input_refused" => format!("What was typed could not be used: {detail}"),
        "limit_reached" => format!("A limit was reached: {detail}"),
        "guard_tripped" => format!("The spend guard stopped a message: {detail}"),
        "number_refused" if detail.starts_with("a landline gets") => format!("The number: {detail}"),
        "number_refused" => format!("The number: {detail}: nothing was sent"),
        "session_opened" => format!("Signed in: {provider} approved the code"),
        "break_glass_made" => format!("An emergency code was made: {detail}"),
        "break_glass_used" => {
            format!("Signed in from {} by an emergency code: no provider was asked", event.client)
        }
        "break_glass_refused" => format!("From {}: {detail}", event.client),
        "session_ended" => format!("Sessions ended: {detail}"),
        "user_changed" => format!("An administrator: {detail}"),
        // A newer version may have written it.
        other => format!("{other} {detail}"),
    }
}

fn not_sent(provider: &str, way: &str, detail: &str, call: Option<&RecordedMessage>) -> String {
    let cause = cause(detail);
    match call.and_then(|call| call.outcome.as_deref()) {
        Some("ambiguous") => format!("{provider} may have sent by {way}: its answer was lost ({cause})"),
        Some("resting") => format!("{provider} was not asked to send by {way}: {cause}"),
        Some(_) | None => format!("{provider} did not send by {way}: {cause}"),
    }
}

fn not_judged(detail: &str, call: Option<&RecordedMessage>) -> String {
    let Some(RecordedMessage { provider, outcome, .. }) = call else {
        return format!("A code could not be judged: {detail}");
    };
    match detail.split_once(": ").filter(|(by, _)| by == provider) {
        Some((_, error)) => format!("A code could not be judged by {provider}: {error}"),
        None => {
            let error = outcome.as_deref().unwrap_or("no error was noted");
            format!("A code could not be judged by {provider}: {detail} ({error})")
        }
    }
}

/// A channel's word in the trail, as people call it.
fn way(channel: &str) -> &str {
    match channel {
        "sms" => "text message",
        "whatsapp" => "WhatsApp",
        other => other,
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

/// How its challenges stand. Somebody who asked again after the time of a code was over has several.
fn ending(events: &[Recorded], challenges: &[Challenge], now: Timestamp) -> Vec<String> {
    let Some((newest, earlier)) = challenges.split_last() else {
        let was_there = events.iter().any(|event| event.what == What::ChallengeStarted.as_str());
        let gone = ["", "The challenge itself is gone: it is kept for a day."].map(str::to_owned);
        return if was_there { gone.into() } else { Vec::new() };
    };
    let before = earlier.iter().map(|challenge| format!("Before: {}", standing(challenge, now)));
    let last = format!("Now: {}", standing(newest, now));
    [String::new()].into_iter().chain(before).chain([last]).collect()
}

fn standing(challenge: &Challenge, now: Timestamp) -> String {
    let state = match challenge.state {
        State::Open if is_over(challenge, now) => "expired",
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
    format!("{state}; {sends} asked for; {checks} of {most} codes typed; good until {until}")
}

fn is_over(challenge: &Challenge, now: Timestamp) -> bool {
    challenge.usable(now) == Err(Closed::Expired)
}

fn as_json(reference: Reference, events: &[Recorded], challenges: &[Challenge], now: Timestamp) -> Value {
    json!({
        "reference": reference.to_string(),
        "user": events.iter().find_map(|event| event.user.as_deref()),
        "number": recipient(events),
        "events": events.iter().map(event_as_json).collect::<Vec<_>>(),
        "challenges": challenges.iter().map(|challenge| challenge_as_json(challenge, now)).collect::<Vec<_>>(),
    })
}

fn challenge_as_json(challenge: &Challenge, now: Timestamp) -> Value {
    let state = if is_over(challenge, now) { "expired" } else { challenge.state.as_str() };
    let holder = challenge.holder.as_ref().filter(|_| challenge.user.is_some());
    json!({
        "state": state, "channel": challenge.channel.as_str(),
        "provider": holder.map(|holder| &holder.provider), "provider_id": holder.and_then(|holder| holder.handle.as_ref()),
        "sends": challenge.sends, "checks": challenge.checks, "max_checks": challenge.max_checks,
        "created": moment(challenge.created_at), "expires": moment(challenge.expires_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(what: &str, detail: &str, call: Option<&str>) -> String {
        let message = call.map(|outcome| RecordedMessage {
            provider: "twilio".to_owned(),
            channel: Some("whatsapp".to_owned()),
            handle: None,
            recipient: None,
            outcome: Some(outcome.to_owned()),
        });
        sentence(&Recorded {
            number: 1,
            at: Timestamp::from_unix(0),
            what: what.to_owned(),
            reference: None,
            user: None,
            client: String::new(),
            detail: detail.to_owned(),
            message,
        })
    }

    #[test]
    fn a_sentence_says_what_was_sent_and_by_whom() {
        for (what, detail, call, expected) in [
            (
                "send_failed",
                "twilio whatsapp: refused, error 1",
                Some("refused"),
                "twilio did not send by WhatsApp: refused, error 1",
            ),
            (
                "send_failed",
                "twilio whatsapp: ambiguous",
                Some("ambiguous"),
                "twilio may have sent by WhatsApp: its answer was lost (ambiguous)",
            ),
            (
                "send_failed",
                "twilio whatsapp: resting, not asked",
                Some("resting"),
                "twilio was not asked to send by WhatsApp: resting, not asked",
            ),
            (
                "number_refused",
                "its SIM was swapped lately",
                None,
                "The number: its SIM was swapped lately: nothing was sent",
            ),
            ("number_refused", "a landline gets a call", None, "The number: a landline gets a call"),
            (
                "check_failed",
                "the code was used before",
                None,
                "A code could not be judged: the code was used before",
            ),
            (
                "check_failed",
                "twilio: throttled",
                Some("throttled"),
                "A code could not be judged by twilio: throttled",
            ),
            (
                "check_failed",
                "the code has expired",
                Some("gone_or_expired"),
                "A code could not be judged by twilio: the code has expired (gone_or_expired)",
            ),
        ] {
            assert_eq!(told(what, detail, call), expected);
        }
    }
}
