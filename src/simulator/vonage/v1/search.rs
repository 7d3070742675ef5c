//! What a search tells of a request, every documented member of it.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::super::request::{Check, Request, Status};
use crate::simulator::wire::timestamp;

pub(super) fn answer(request: &Request, account: &str) -> Value {
    let events = request.sends.iter().zip(&request.plan.steps).enumerate();
    let step = request.plan.steps.first();
    json!({
        "request_id": request.id,
        "account_id": account,
        "number": step.map_or("", |step| step.to.trim_start_matches('+')),
        "sender_id": request.plan.sender,
        "date_submitted": date(request.started),
        "date_finalized": request.finished.map(date).unwrap_or_default(),
        "checks": request.checks.iter().map(check).collect::<Value>(),
        "first_event_date": request.sends.first().copied().map(date),
        "last_event_date": request.sends.last().copied().map(date),
        "price": if request.status == Status::Completed { PRICE } else { NOTHING },
        "currency": CURRENCY,
        "status": status(request.status),
        "estimated_price_messages_sent": ESTIMATE,
        "events": events
            .map(|(index, (_, step))| json!({"id": request.event(index), "type": step.channel}))
            .collect::<Value>(),
    })
}

fn check(check: &Check) -> Value {
    json!({
        "date_received": date(check.at),
        "code": check.code,
        "status": if check.right { "VALID" } else { "INVALID" },
        "ip_address": "",
    })
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Pending => "IN PROGRESS",
        Status::Completed => "SUCCESS",
        Status::Failed => "FAILED",
        Status::Expired => "EXPIRED",
        Status::Canceled => "CANCELLED",
    }
}

/// `2020-01-01 12:00:00`, in UTC.
fn date(time: SystemTime) -> String {
    timestamp(time).replace('T', " ").replace('Z', "")
}

/// Of a successful verification, as the vendor's examples have it.
pub(super) const PRICE: &str = "0.10000000";
pub(super) const CURRENCY: &str = "EUR";
pub(super) const ESTIMATE: &str = "0.03330000";
const NOTHING: &str = "0.00000000";
