//! The JSON resources of the API, every documented member of them.

use serde_json::{Value, json};

use super::verification::{Send, Status, Verification};
use crate::simulator::wire::timestamp;

/// A verification, as start, update and fetch answer it.
pub(super) fn verification(record: &Verification) -> Value {
    json!({
        "sid": record.sid,
        "service_sid": record.service,
        "account_sid": record.account,
        "to": record.to,
        "channel": record.channel(),
        "status": record.status.as_str(),
        "valid": record.status == Status::Approved,
        "lookup": {},
        "amount": null,
        "payee": null,
        "send_code_attempts": record.sends.iter().map(send).collect::<Value>(),
        "sna": null,
        "date_created": timestamp(record.created),
        "date_updated": timestamp(record.updated),
        "url": format!("{}/Verifications/{}", service_url(&record.service), record.sid),
    })
}

/// A verification, as a check answers it.
pub(super) fn check(record: &Verification) -> Value {
    json!({
        "sid": record.sid,
        "service_sid": record.service,
        "account_sid": record.account,
        "to": record.to,
        "channel": record.channel(),
        "status": record.status.as_str(),
        "valid": record.status == Status::Approved,
        "amount": null,
        "payee": null,
        "sna_attempts_error_codes": [],
        "date_created": timestamp(record.created),
        "date_updated": timestamp(record.updated),
    })
}

/// A Service with the vendor's defaults.
pub(super) fn service(sid: &str, account: &str, code_length: u8) -> Value {
    let url = service_url(sid);
    json!({
        "sid": sid,
        "account_sid": account,
        "friendly_name": FRIENDLY_NAME,
        "code_length": code_length,
        "lookup_enabled": false,
        "psd2_enabled": false,
        "skip_sms_to_landlines": false,
        "dtmf_input_required": true,
        "tts_name": null,
        "do_not_share_warning_enabled": false,
        "custom_code_enabled": false,
        "push": {"include_date": false, "apn_credential_sid": null, "fcm_credential_sid": null},
        "totp": {"issuer": null, "time_step": null, "code_length": null, "skew": null},
        "whatsapp": {"msg_service_sid": null, "from": null},
        "passkeys": {
            "relying_party": {"id": null, "name": null, "origins": null},
            "authenticator_attachment": null,
            "discoverable_credentials": null,
            "user_verification": null,
        },
        "default_template_sid": null,
        "verify_event_subscription_enabled": false,
        "date_created": SERVICE_DATE,
        "date_updated": SERVICE_DATE,
        "links": {
            "verification_checks": format!("{url}/VerificationCheck"),
            "verifications": format!("{url}/Verifications"),
            "rate_limits": format!("{url}/RateLimits"),
            "messaging_configurations": format!("{url}/MessagingConfigurations"),
            "entities": format!("{url}/Entities"),
            "webhooks": format!("{url}/Webhooks"),
            "access_tokens": format!("{url}/AccessTokens"),
        },
        "url": url,
    })
}

fn send(send: &Send) -> Value {
    // The vendor writes some channels in capitals here and nowhere else.
    let channel = match send.channel.as_str() {
        "sms" | "call" | "email" => send.channel.to_ascii_uppercase(),
        other => other.to_owned(),
    };
    json!({"time": timestamp(send.at), "channel": channel, "attempt_sid": send.attempt})
}

/// The real host, as the vendor answers it: a client must not follow it anywhere.
fn service_url(sid: &str) -> String {
    format!("https://verify.twilio.com/v2/Services/{sid}")
}

const FRIENDLY_NAME: &str = "Simulated Service";
const SERVICE_DATE: &str = "2015-07-30T20:00:00Z";
