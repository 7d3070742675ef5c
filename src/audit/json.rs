//! A line of the trail as programs read it.

use serde_json::{Value, json};

use crate::domain::time::Timestamp;
use crate::store::{Recorded, RecordedMessage};

/// One line.
pub fn line(event: &Recorded) -> Value {
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

/// A moment as ISO 8601 in UTC.
pub fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.unix())
        .map_or_else(|_| at.unix().to_string(), |moment| moment.to_string())
}
