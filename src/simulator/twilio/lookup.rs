//! Twilio Lookup v2: what is known of a number, every documented member of it.
//!
//! The packages `line_type_intelligence` and `sim_swap` are simulated; the others are not enabled for the account.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::error::ApiError;
use super::line::Line;
use crate::simulator::wire::timestamp;

mod number;

use number::Number;
pub(super) use number::read;

/// What a look-up answers, with the packages that `fields` asks for.
pub(super) fn answer(
    number: &Number,
    fields: &str,
    lines: &HashMap<String, Line>,
    now: SystemTime,
) -> Result<Value, ApiError> {
    let fields: Vec<&str> = fields.split(',').map(str::trim).filter(|field| !field.is_empty()).collect();
    if fields.iter().any(|field| *field != VALIDATION && !PACKAGES.contains(field)) {
        return Err(ApiError::invalid("Fields"));
    }
    let mut body = json!({
        "calling_country_code": number.country.map(|country| country.calling_code),
        "country_code": number.country.map(|country| country.name),
        "phone_number": number.e164,
        "national_format": number.national,
        "valid": number.error.is_none(),
        "validation_errors": number.error.map(|error| [error]),
        "url": format!("https://lookups.twilio.com/v2/PhoneNumbers/{}", number.e164),
    });
    let line = lines.get(&number.e164).cloned().unwrap_or_default();
    for package in PACKAGES {
        let asked = number.error.is_none() && fields.contains(package);
        body[*package] = if asked { packaged(package, &line, now) } else { Value::Null };
    }
    Ok(body)
}

fn packaged(package: &str, line: &Line, now: SystemTime) -> Value {
    match package {
        "line_type_intelligence" => line_type(line),
        "sim_swap" => sim_swap(line, now),
        // The contract has text in this one place.
        "reassigned_number" => json!({"error_code": NOT_ENABLED.to_string()}),
        _ => json!({"error_code": NOT_ENABLED}),
    }
}

fn line_type(line: &Line) -> Value {
    let known = line.error_code.is_none();
    with_carrier(
        json!({"type": known.then_some(&line.kind), "error_code": line.error_code}),
        known && line.has_carrier(),
    )
}

fn sim_swap(line: &Line, now: SystemTime) -> Value {
    let error = line.error_code.or_else(|| (!line.is_mobile()).then_some(NOT_MOBILE));
    let changed = line.swapped.then(|| timestamp(now - SINCE_SWAP));
    let last = json!({
        "last_sim_swap_date": changed,
        "swapped_period": "PT24H",
        "swapped_in_period": line.swapped,
    });
    let last = if error.is_none() { last } else { Value::Null };
    with_carrier(json!({"last_sim_swap": last, "error_code": error}), error.is_none())
}

/// The codes are those of test networks.
fn with_carrier(mut package: Value, known: bool) -> Value {
    package["carrier_name"] = known.then_some("Simulated Carrier").into();
    package["mobile_country_code"] = known.then_some("001").into();
    package["mobile_network_code"] = known.then_some("01").into();
    package
}

const VALIDATION: &str = "validation";
const PACKAGES: &[&str] = &[
    "caller_name",
    "sim_swap",
    "call_forwarding",
    "line_status",
    "line_type_intelligence",
    "identity_match",
    "reassigned_number",
    "sms_pumping_risk",
    "phone_number_quality_score",
    "pre_fill",
];

const NOT_ENABLED: u32 = 60606;
const NOT_MOBILE: u32 = 60612;
const SINCE_SWAP: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "+14155550100";

    fn answered(fields: &str, line: Line) -> Value {
        let lines = HashMap::from([(TO.to_owned(), line)]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_438_286_400);
        answer(&read(TO), fields, &lines, now).expect("the fields are known")
    }

    #[test]
    fn only_what_was_asked_for_is_told() {
        let body = answered("", Line::default());
        let members = body.as_object().expect("it is an object");
        assert_eq!(members.len(), 7 + PACKAGES.len());
        assert!(PACKAGES.iter().all(|package| body[*package].is_null()), "{body}");
        let body = answered("line_type_intelligence, sim_swap", Line::default());
        let line_type = json!({
            "type": "mobile", "error_code": null, "carrier_name": "Simulated Carrier",
            "mobile_country_code": "001", "mobile_network_code": "01",
        });
        let sim_swap = json!({
            "last_sim_swap": {"last_sim_swap_date": null, "swapped_period": "PT24H", "swapped_in_period": false},
            "error_code": null, "carrier_name": "Simulated Carrier",
            "mobile_country_code": "001", "mobile_network_code": "01",
        });
        assert_eq!((&body["line_type_intelligence"], &body["sim_swap"]), (&line_type, &sim_swap));
        assert_eq!(body["caller_name"], Value::Null);
    }

    #[test]
    fn a_swap_has_its_date() {
        let body = answered("sim_swap", Line { swapped: true, ..Line::default() });
        let last = json!({
            "last_sim_swap_date": "2015-07-30T19:00:00Z", "swapped_period": "PT24H", "swapped_in_period": true,
        });
        assert_eq!(body["sim_swap"]["last_sim_swap"], last);
    }

    #[test]
    fn an_error_is_told_instead_of_an_answer() {
        let fields = "line_type_intelligence,sim_swap,caller_name";
        let body = answered(fields, Line { error_code: Some(60600), ..Line::default() });
        for package in ["line_type_intelligence", "sim_swap"] {
            assert_eq!(body[package]["error_code"], 60600);
            assert_eq!(body[package]["carrier_name"], Value::Null);
        }
        assert_eq!(body["line_type_intelligence"]["type"], Value::Null);
        assert_eq!(body["caller_name"], json!({"error_code": 60606}));
        let landline = answered(fields, Line { kind: "landline".to_owned(), ..Line::default() });
        assert_eq!(landline["sim_swap"]["error_code"], 60612, "a landline has no SIM");
    }

    #[test]
    fn unknown_fields_are_refused() {
        let refused = answer(&read(TO), "validation,carrier", &HashMap::new(), SystemTime::UNIX_EPOCH);
        assert_eq!(refused, Err(ApiError::invalid("Fields")));
    }
}
