//! A line of the trail as programs read it.

use serde_json::{Value, json};

use crate::domain::time::moment;
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
