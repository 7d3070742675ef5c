//! `vestibule simulate twilio` as its callers meet it: the real binary over real HTTP, one test per rule.

mod common;

use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::time::Duration;

use common::{json_of, member, send, text};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const KEY: &str = "SK0123456789abcdef0123456789abcdef";
const SERVICE: &str = "VA0123456789abcdef0123456789abcdef";
const OTHER_SERVICE: &str = "VA00000000000000000000000000000000";
const TO: &str = "+14155550100";
const CODE: &str = "246810";
const WRONG: &str = "135791";

#[tokio::test]
async fn start_answers_every_documented_member_and_no_code() {
    let simulator = Simulator::fixed();
    let (status, text) = text(simulator.start(TO, "sms").await).await;
    assert_eq!(status, 201);
    assert!(!text.contains(CODE), "{text}");
    let body: Value = serde_json::from_str(&text).expect("the answer is JSON");
    let sid = member(&body, "sid");
    assert!(sid.starts_with("VE") && sid.len() == 34, "{sid}");
    let time = member(&body, "date_created");
    let attempt = member(&body["send_code_attempts"][0], "attempt_sid");
    assert!(attempt.starts_with("VL") && attempt.len() == 34, "{attempt}");
    let expected = json!({
        "sid": sid, "service_sid": SERVICE, "account_sid": ACCOUNT, "to": TO, "channel": "sms",
        "status": "pending", "valid": false, "lookup": {}, "amount": null, "payee": null, "sna": null,
        "send_code_attempts": [{"time": time, "channel": "SMS", "attempt_sid": attempt}],
        "date_created": time, "date_updated": time,
        "url": format!("https://verify.twilio.com/v2/Services/{SERVICE}/Verifications/{sid}"),
    });
    assert_eq!(body, expected);
    assert!(time.len() == 20 && time.starts_with("20") && time.ends_with('Z'), "{time}");
}

#[tokio::test]
async fn random_codes_have_the_asked_length_and_differ() {
    let simulator = Simulator::run(&["--code-length", "8"]);
    let mut codes = Vec::new();
    for to in ["+14155550101", "+14155550102", "+14155550103"] {
        assert_eq!(simulator.start(to, "sms").await.status(), 201);
        codes.push(simulator.code(to).await);
    }
    assert!(codes.iter().all(|code| code.len() == 8 && code.bytes().all(|byte| byte.is_ascii_digit())));
    codes.dedup();
    assert_eq!(codes.len(), 3);
}

#[tokio::test]
async fn each_code_is_an_output_line_and_a_message() {
    let mut simulator = Simulator::run(&[]);
    simulator.start(TO, "call").await;
    let messages = simulator.side("messages").await;
    let code = member(&messages[0], "code");
    let expected = json!([{"to": TO, "channel": "call", "code": code, "sent_at": messages[0]["sent_at"]}]);
    assert_eq!(messages, expected);
    assert!(member(&messages[0], "sent_at").ends_with('Z'));
    assert_eq!(simulator.line(), format!("code {TO} {code}"));
}

#[tokio::test]
async fn restart_keeps_sid_and_code_across_channels() {
    let simulator = Simulator::run(&[]);
    let first = json_of(simulator.start(TO, "sms").await).await.1;
    let (status, second) = json_of(simulator.start(TO, "call").await).await;
    assert_eq!(status, 201);
    assert_eq!(second["sid"], first["sid"]);
    assert_eq!(second["channel"], "call");
    assert_eq!(second["send_code_attempts"].as_array().map(Vec::len), Some(2));
    let messages = simulator.side("messages").await;
    assert_eq!(messages[0]["code"], messages[1]["code"]);
    let other = json_of(simulator.start("+14155550199", "sms").await).await.1;
    assert_ne!(other["sid"], first["sid"]);
}

#[tokio::test]
async fn sixth_send_is_60203() {
    let simulator = Simulator::run(&[]);
    for _ in 0..5 {
        assert_eq!(simulator.start(TO, "sms").await.status(), 201);
    }
    assert_error(simulator.start(TO, "sms").await, 429, 60203, "Max send attempts reached").await;
    assert_eq!(simulator.side("messages").await.as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn wrong_code_is_200_pending_and_the_sixth_check_60202() {
    let simulator = Simulator::fixed();
    let sid = simulator.started().await;
    for _ in 0..5 {
        let (status, body) = json_of(simulator.check(TO, WRONG).await).await;
        assert_eq!((status, &body["status"], &body["valid"]), (200, &json!("pending"), &json!(false)));
    }
    assert_error(simulator.check(TO, CODE).await, 429, 60202, "Max check attempts reached").await;
    let (_, fetched) = json_of(simulator.fetch(&sid).await).await;
    assert_eq!(fetched["status"], "max_attempts_reached");
    assert_error(simulator.start(TO, "sms").await, 429, 60203, "Max send attempts reached").await;
}

#[tokio::test]
async fn right_code_is_approved_once_then_404() {
    let simulator = Simulator::fixed();
    let sid = simulator.started().await;
    let (status, body) = json_of(simulator.check(TO, CODE).await).await;
    let expected = json!({
        "sid": sid, "service_sid": SERVICE, "account_sid": ACCOUNT, "to": TO, "channel": "sms",
        "status": "approved", "valid": true, "amount": null, "payee": null, "sna_attempts_error_codes": [],
        "date_created": body["date_created"], "date_updated": body["date_updated"],
    });
    assert_eq!((status, &body), (200, &expected));
    assert_not_found(simulator.check(TO, CODE).await, "/VerificationCheck").await;
    assert_not_found(simulator.fetch(&sid).await, &format!("/Verifications/{sid}")).await;
    assert_ne!(simulator.started().await, sid);
}

#[tokio::test]
async fn a_check_by_sid_shares_the_tries() {
    let simulator = Simulator::fixed();
    let sid = simulator.started().await;
    for _ in 0..4 {
        simulator.check(TO, WRONG).await;
    }
    let by_sid = |code| simulator.post("VerificationCheck", &[("VerificationSid", &sid), ("Code", code)]);
    assert_eq!(json_of(send(by_sid(WRONG)).await).await.1["status"], "pending");
    assert_error(send(by_sid(CODE)).await, 429, 60202, "Max check attempts reached").await;
}

#[tokio::test]
async fn cancel_frees_the_number() {
    let simulator = Simulator::fixed();
    let sid = simulator.started().await;
    let (status, body) = json_of(simulator.update(&sid, "canceled").await).await;
    assert_eq!((status, &body["status"], &body["valid"]), (200, &json!("canceled"), &json!(false)));
    assert_eq!(json_of(simulator.fetch(&sid).await).await.1["status"], "canceled");
    assert_not_found(simulator.check(TO, CODE).await, "/VerificationCheck").await;
    let (_, fresh) = json_of(simulator.start(TO, "sms").await).await;
    assert_ne!(fresh["sid"], json!(sid));
    assert_eq!(fresh["send_code_attempts"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn update_approves_or_refuses() {
    let simulator = Simulator::fixed();
    let sid = simulator.started().await;
    assert_error(simulator.update(&sid, "pending").await, 400, 60200, "Invalid parameter: Status").await;
    let (status, body) = json_of(simulator.update(&sid, "approved").await).await;
    assert_eq!((status, &body["status"], &body["valid"]), (200, &json!("approved"), &json!(true)));
    let path = format!("/Verifications/{sid}");
    assert_not_found(simulator.update(&sid, "canceled").await, &path).await;
}

#[tokio::test]
async fn a_verification_expires() {
    let simulator = Simulator::run(&["--lifetime", "2", "--fixed-code", CODE]);
    let sid = simulator.started().await;
    let mut status = simulator.fetch(&sid).await.status();
    assert_eq!(status, 200);
    for _ in 0..100 {
        if status == StatusCode::NOT_FOUND {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = simulator.fetch(&sid).await.status();
    }
    assert_eq!(status, 404);
    assert_not_found(simulator.check(TO, CODE).await, "/VerificationCheck").await;
    assert_ne!(simulator.started().await, sid);
}

#[tokio::test]
async fn bad_credentials_are_401() {
    let simulator = Simulator::run(&["--account-sid", ACCOUNT, "--auth-token", "right"]);
    let path = format!("Services/{SERVICE}");
    let attempts =
        [Some((ACCOUNT, "wrong")), Some((ACCOUNT, "")), Some((KEY, "right")), Some(("AC1", "right")), None];
    for attempt in attempts {
        let request = simulator.client.get(simulator.api(&path));
        let request = match attempt {
            Some((user, secret)) => request.basic_auth(user, Some(secret)),
            None => request,
        };
        let response = send(request).await;
        assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"Twilio API\"");
        assert_error(response, 401, 20003, "Authenticate").await;
    }
    let right = simulator.client.get(simulator.api(&path)).basic_auth(ACCOUNT, Some("right"));
    assert_eq!(send(right).await.status(), 200);
}

#[tokio::test]
async fn any_well_formed_key_is_taken_when_nothing_is_pinned() {
    let simulator = Simulator::run(&[]);
    let path = simulator.api(&format!("Services/{SERVICE}"));
    let (status, body) = json_of(send(simulator.client.get(path).basic_auth(KEY, Some("x"))).await).await;
    assert_eq!((status, member(&body, "account_sid")), (200, ACCOUNT.to_owned()));
}

#[tokio::test]
async fn unknown_service_is_404() {
    let simulator = Simulator::run(&["--service-sid", SERVICE]);
    assert_eq!(simulator.start(TO, "sms").await.status(), 201);
    for path in ["/Verifications", "/VerificationCheck"] {
        let url = simulator.api(&format!("Services/{OTHER_SERVICE}{path}"));
        let form = [("To", TO), ("Channel", "sms"), ("Code", CODE)];
        let response = send(simulator.client.post(url).basic_auth(ACCOUNT, Some("x")).form(&form)).await;
        let message = format!("The requested resource /v2/Services/{OTHER_SERVICE}{path} was not found");
        assert_error(response, 404, 20404, &message).await;
    }
    let unpinned = Simulator::run(&[]);
    let malformed = unpinned.client.get(unpinned.api("Services/VA123")).basic_auth(ACCOUNT, Some("x"));
    assert_eq!(send(malformed).await.status(), 404);
}

#[tokio::test]
async fn bad_parameters_are_60200() {
    let simulator = Simulator::run(&[]);
    let json_body = simulator.post("Verifications", &[]).json(&json!({"To": TO, "Channel": "sms"}));
    assert_error(send(json_body).await, 400, 60200, "Invalid parameter: To").await;
    let unlabelled = simulator.client.post(simulator.api(&format!("Services/{SERVICE}/Verifications")));
    let unlabelled = unlabelled.basic_auth(ACCOUNT, Some("x")).body("To=%2B14155550100&Channel=sms");
    assert_error(send(unlabelled).await, 400, 60200, "Invalid parameter: To").await;
    assert_error(simulator.start("4155550100", "sms").await, 400, 60200, "Invalid parameter: To").await;
    assert_error(simulator.start(TO, "voice").await, 400, 60200, "Invalid parameter: Channel").await;
    assert_error(simulator.check(TO, "123").await, 400, 60200, "Invalid parameter: Code").await;
    assert_error(simulator.check("555", CODE).await, 400, 60200, "Invalid parameter: To").await;
    let untargeted = simulator.post("VerificationCheck", &[("request_id", "x"), ("Code", CODE)]);
    let message = "Either a To number or a VerificationSid must be specified";
    assert_error(send(untargeted).await, 400, 60221, message).await;
    assert_not_found(simulator.check(TO, CODE).await, "/VerificationCheck").await;
    assert_eq!(simulator.side("messages").await, json!([]));
}

#[tokio::test]
async fn the_service_tells_its_code_length() {
    let simulator = Simulator::run(&["--code-length", "7"]);
    let request = simulator.client.get(simulator.api(&format!("Services/{SERVICE}")));
    let (status, body) = json_of(send(request.basic_auth(ACCOUNT, Some("x"))).await).await;
    assert_eq!((status, &body["code_length"], &body["sid"]), (200, &json!(7), &json!(SERVICE)));
    let documented = "sid account_sid friendly_name code_length lookup_enabled psd2_enabled \
        skip_sms_to_landlines dtmf_input_required tts_name do_not_share_warning_enabled \
        custom_code_enabled push totp default_template_sid whatsapp passkeys \
        verify_event_subscription_enabled date_created date_updated url links";
    let documented: Vec<&str> = documented.split_whitespace().collect();
    let members = body.as_object().expect("the Service is an object");
    assert_eq!(members.len(), documented.len());
    assert!(documented.iter().all(|name| members.contains_key(*name)), "{body}");
}

#[tokio::test]
async fn a_lookup_tells_every_documented_member() {
    let simulator = Simulator::run(&[]);
    let (status, body) = json_of(simulator.lookup(TO, "").await).await;
    let expected = json!({
        "calling_country_code": "1", "country_code": "US", "phone_number": TO, "national_format": "(415) 555-0100",
        "valid": true, "validation_errors": null, "caller_name": null, "sim_swap": null, "call_forwarding": null,
        "line_status": null, "line_type_intelligence": null, "identity_match": null, "reassigned_number": null,
        "sms_pumping_risk": null, "phone_number_quality_score": null, "pre_fill": null,
        "url": format!("https://lookups.twilio.com/v2/PhoneNumbers/{TO}"),
    });
    assert_eq!((status, body), (200, expected));
    let (status, body) = json_of(simulator.lookup("+141599299600", "line_type_intelligence").await).await;
    assert_eq!((status, &body["valid"]), (200, &json!(false)));
    assert_eq!(body["validation_errors"], json!(["TOO_LONG"]));
    assert_eq!(body["line_type_intelligence"], Value::Null);
    let anonymous = simulator.client.get(simulator.api(&format!("PhoneNumbers/{TO}")));
    assert_error(send(anonymous).await, 401, 20003, "Authenticate").await;
}

#[tokio::test]
async fn what_a_number_is_can_be_told() {
    let other = "+14155550199";
    let simulator = Simulator::run(&["--line", "+14155550199=landline", "--swapped", TO]);
    let both = "line_type_intelligence,sim_swap";
    let (_, body) = json_of(simulator.lookup(TO, both).await).await;
    assert_eq!(body["line_type_intelligence"]["type"], "mobile");
    assert_eq!(body["sim_swap"]["last_sim_swap"]["swapped_in_period"], true);
    let (_, body) = json_of(simulator.lookup(other, both).await).await;
    assert_eq!(body["line_type_intelligence"]["type"], "landline");

    let line = json!({"to": other, "type": "nonFixedVoip", "swapped": false, "error_code": null});
    let told = json_of(simulator.post_line(&line).await).await;
    assert_eq!(told, (201, line));
    let (_, body) = json_of(simulator.lookup(other, both).await).await;
    assert_eq!(body["line_type_intelligence"]["type"], "nonFixedVoip");
    simulator.post_line(&json!({"to": other, "error_code": 60606})).await;
    let (status, body) = json_of(simulator.lookup(other, both).await).await;
    assert_eq!((status, &body["line_type_intelligence"]["error_code"]), (200, &json!(60606)));
    assert_eq!(simulator.post_line(&json!({"to": other, "type": "voip"})).await.status(), 400);
    let requests = simulator.side("requests").await;
    assert_eq!(requests[0]["path"], format!("/v2/PhoneNumbers/{TO}"));
    assert_eq!(requests[0]["form"], json!({"Fields": both}));
}

#[tokio::test]
async fn a_lookup_can_be_disturbed() {
    let simulator = Simulator::run(&[]);
    simulator.fault(&json!({"on": "lookup", "to": TO, "fault": "503"})).await;
    assert_eq!(simulator.start(TO, "sms").await.status(), 201);
    assert_eq!(simulator.lookup(TO, "").await.status(), 503);
    assert_eq!(simulator.lookup(TO, "").await.status(), 200);
}

#[tokio::test]
async fn requests_are_listed_without_codes_and_secrets() {
    let simulator = Simulator::fixed();
    simulator.started().await;
    simulator.check(TO, WRONG).await;
    let requests = simulator.side("requests").await;
    assert!(!requests.to_string().contains(WRONG) && !requests.to_string().contains("secret"), "{requests}");
    let start = json!({
        "method": "POST", "path": format!("/v2/Services/{SERVICE}/Verifications"),
        "form": {"To": TO, "Channel": "sms"}, "status": 201, "at": requests[0]["at"],
    });
    assert_eq!(requests[0], start);
    assert_eq!(requests[1]["form"], json!({"To": TO, "Code": "[hidden]"}));
    assert_eq!(requests[1]["status"], 200);
}

#[tokio::test]
async fn every_error_fault_answers_its_status_and_code() {
    let simulator = Simulator::fixed();
    let faults = "20429 429 20429, 20429_retry_after 429 20429, 60212 429 60212, 60202 429 60202, 60203 429 60203, \
        60205 403 60205, 60410 403 60410, 60605 403 60605, 60238 403 60238, 60200 400 60200, \
        21211 400 21211, 21608 403 21608, 20003 401 20003, 20404 404 20404, 500 500 20500, \
        503 503 20503, 25109 429 25109, 60217 400 60217";
    for fault in faults.split(", ") {
        let row: Vec<&str> = fault.split(' ').collect();
        let (name, status, code) = (row[0], number(row[1]), number(row[2]));
        simulator.fault(&json!({"on": "start", "fault": name})).await;
        let response = simulator.start(TO, "sms").await;
        assert_eq!(response.headers().contains_key("retry-after"), name == "20429_retry_after");
        let (answered, body) = json_of(response).await;
        assert_eq!(
            (u32::from(answered), &body["code"], &body["status"]),
            (status, &json!(code), &json!(status)),
            "{name}"
        );
        assert_eq!(body["more_info"], format!("https://www.twilio.com/docs/errors/{code}"));
    }
    assert_eq!(simulator.side("messages").await, json!([]), "a refused start sends nothing");
    assert_eq!(simulator.start(TO, "sms").await.status(), 201, "each fault was used up");
}

#[tokio::test]
async fn a_fault_disturbs_only_its_operation_number_and_times() {
    let simulator = Simulator::fixed();
    let other = "+14155550199";
    simulator
        .fault(&json!({"on": "check", "to": other, "fault": "503", "times": 2, "retry_after": "soon"}))
        .await;
    simulator.started().await;
    let theirs = json_of(simulator.start(other, "sms").await).await.1;
    assert_eq!(simulator.check(TO, WRONG).await.status(), 200);
    let disturbed = simulator.check(other, CODE).await;
    assert_eq!(
        (disturbed.status().as_u16(), &disturbed.headers()["retry-after"]),
        (503, &"soon".parse().expect("a value"))
    );
    let sid = member(&theirs, "sid");
    let by_sid = simulator.post("VerificationCheck", &[("VerificationSid", &sid), ("Code", CODE)]);
    assert_eq!(send(by_sid).await.status(), 503, "the number is found by the SID too");
    assert_eq!(json_of(simulator.check(other, CODE).await).await.1["status"], "approved");
}

#[tokio::test]
async fn faults_are_listed_and_cleared() {
    let simulator = Simulator::run(&["--fault", "on=start,fault=503,times=0"]);
    let listed = json!([{
        "on": "start", "to": null, "fault": "503", "times": 0, "delay_ms": 0, "retry_after": null,
    }]);
    for _ in 0..3 {
        assert_eq!(simulator.start(TO, "sms").await.status(), 503);
    }
    assert_eq!(simulator.side("faults").await, listed);
    let url = format!("{}/simulator/faults", simulator.url);
    assert_eq!(send(simulator.client.delete(url)).await.status(), 204);
    assert_eq!(simulator.side("faults").await, json!([]));
    assert_eq!(simulator.start(TO, "sms").await.status(), 201);
    let refused = simulator.post_fault(&json!({"on": "start", "fault": "99999"})).await;
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn broken_bodies_come_as_asked() {
    let simulator = Simulator::fixed();
    simulator.fault(&json!({"fault": "html"})).await;
    let response = simulator.start(TO, "sms").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (502, &"text/html".parse().expect("a value"))
    );
    assert!(text(response).await.1.starts_with("<html>"));
    assert_eq!(simulator.side("messages").await, json!([]));

    simulator.fault(&json!({"fault": "malformed_json"})).await;
    let (status, body) = text(simulator.start(TO, "sms").await).await;
    assert!(
        status == 201 && body.starts_with('{') && serde_json::from_str::<Value>(&body).is_err(),
        "{body}"
    );

    simulator.fault(&json!({"fault": "empty"})).await;
    assert_eq!(text(simulator.check(TO, CODE).await).await, (200, String::new()));
    assert_not_found(simulator.check(TO, CODE).await, "/VerificationCheck").await;
}

#[tokio::test]
async fn drop_before_does_nothing_and_drop_after_does_everything_but_answer() {
    let simulator = Simulator::fixed();
    let start = || simulator.post("Verifications", &[("To", TO), ("Channel", "sms")]).send();
    simulator.fault(&json!({"on": "start", "fault": "drop_before"})).await;
    assert!(start().await.is_err());
    assert_eq!(simulator.side("messages").await, json!([]));

    simulator.fault(&json!({"on": "start", "fault": "drop_after"})).await;
    assert!(start().await.is_err());
    assert_eq!(simulator.code(TO).await, CODE);
    assert_eq!(simulator.side("requests").await[1]["status"], Value::Null);

    simulator.fault(&json!({"on": "check", "fault": "drop_after"})).await;
    let form = [("To", TO), ("Code", CODE)];
    assert!(simulator.post("VerificationCheck", &form).send().await.is_err());
    assert_not_found(simulator.check(TO, CODE).await, "/VerificationCheck").await;
}

#[tokio::test]
async fn slow_sends_at_once_and_answers_late() {
    let simulator = Simulator::fixed();
    simulator.fault(&json!({"on": "start", "fault": "slow", "delay_ms": 60_000})).await;
    let start = simulator.post("Verifications", &[("To", TO), ("Channel", "sms")]);
    let given_up = start.timeout(Duration::from_secs(1)).send().await;
    assert!(given_up.is_err_and(|error| error.is_timeout()));
    assert_eq!(simulator.code(TO).await, CODE);
    simulator.fault(&json!({"on": "check", "fault": "slow", "delay_ms": 10})).await;
    assert_eq!(json_of(simulator.check(TO, CODE).await).await.1["status"], "approved");
}

#[tokio::test]
async fn a_closed_output_stops_nothing() {
    let mut simulator = Simulator::fixed();
    drop(simulator.output.take());
    for _ in 0..3 {
        assert_eq!(simulator.start(TO, "sms").await.status(), 201);
    }
    assert_eq!(simulator.code(TO).await, CODE);
}

#[tokio::test]
async fn a_signal_ends_it_with_success() {
    for signal in ["-TERM", "-INT"] {
        let mut simulator = Simulator::run(&[]);
        let pid = simulator.process.id().to_string();
        let killed = Command::new("kill").args([signal, &pid]).status().expect("kill exists");
        assert!(killed.success());
        let ended = simulator.process.wait().expect("it is our child");
        assert_eq!(ended.code(), Some(0), "{signal}");
    }
}

#[test]
fn contradicting_flags_are_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["simulate", "twilio", "--listen", "127.0.0.1:0", "--code-length", "6", "--fixed-code", "1234"])
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(64));
}

/// The binary under test as Twilio.
struct Simulator(common::Simulator);

impl Deref for Simulator {
    type Target = common::Simulator;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Simulator {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Simulator {
    fn run(flags: &[&str]) -> Self {
        Self(common::Simulator::run("twilio", flags))
    }

    fn fixed() -> Self {
        Self::run(&["--fixed-code", CODE])
    }

    fn api(&self, path: &str) -> String {
        format!("{}/v2/{path}", self.url)
    }

    fn post(&self, resource: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let url = self.api(&format!("Services/{SERVICE}/{resource}"));
        self.client.post(url).basic_auth(ACCOUNT, Some("secret")).form(form)
    }

    async fn start(&self, to: &str, channel: &str) -> Response {
        send(self.post("Verifications", &[("To", to), ("Channel", channel)])).await
    }

    /// Starts by text message and answers the SID.
    async fn started(&self) -> String {
        let (status, body) = json_of(self.start(TO, "sms").await).await;
        assert_eq!(status, 201, "{body}");
        member(&body, "sid")
    }

    async fn check(&self, to: &str, code: &str) -> Response {
        send(self.post("VerificationCheck", &[("To", to), ("Code", code)])).await
    }

    async fn update(&self, sid: &str, status: &str) -> Response {
        send(self.post(&format!("Verifications/{sid}"), &[("Status", status)])).await
    }

    async fn fetch(&self, sid: &str) -> Response {
        let url = self.api(&format!("Services/{SERVICE}/Verifications/{sid}"));
        send(self.client.get(url).basic_auth(ACCOUNT, Some("secret"))).await
    }

    async fn lookup(&self, to: &str, fields: &str) -> Response {
        let query = if fields.is_empty() { String::new() } else { format!("?Fields={fields}") };
        let url = self.api(&format!("PhoneNumbers/{to}{query}"));
        send(self.client.get(url).basic_auth(ACCOUNT, Some("secret"))).await
    }

    async fn post_line(&self, line: &Value) -> Response {
        send(self.client.post(format!("{}/simulator/lines", self.url)).json(line)).await
    }
}

async fn assert_error(response: Response, status: u16, code: u32, message: &str) {
    let (answered, body) = json_of(response).await;
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    let expected = json!({"code": code, "message": message, "more_info": more_info, "status": status});
    assert_eq!((answered, body), (status, expected));
}

async fn assert_not_found(response: Response, path: &str) {
    let message = format!("The requested resource /v2/Services/{SERVICE}{path} was not found");
    assert_error(response, 404, 20404, &message).await;
}

fn number(text: &str) -> u32 {
    text.parse().expect("the table holds numbers")
}
