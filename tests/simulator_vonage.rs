//! `vestibule simulate vonage` as its callers meet it: the real binary over real HTTP, one test per rule.

mod common;

use std::ops::{Deref, DerefMut};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{json_of, member, send, text};
use rcgen::{KeyPair, PKCS_RSA_SHA256, SigningKey as _};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

const KEY: &str = "abcd1234";
const SECRET: &str = "Sup3rS3cr3t";
const NUMBER: &str = "14155550100";
const OTHER: &str = "14155550199";
const TO: &str = "+14155550100";
const CODE: &str = "2468";
const WRONG: &str = "1357";
const UNKNOWN: &str = "c11236f4-00bf-4b89-84ba-88b25df97315";

mod version_2 {
    use super::*;

    #[tokio::test]
    async fn start_answers_a_request_and_no_code() {
        let mut simulator = Simulator::fixed();
        let (status, body) = json_of(simulator.start(&sms(NUMBER)).await).await;
        let id = member(&body, "request_id");
        assert_eq!((status, &body), (202, &json!({"request_id": id})));
        assert!(id.len() == 36 && id.split('-').count() == 5, "{id}");
        let messages = simulator.side("messages").await;
        let sent_at = member(&messages[0], "sent_at");
        let expected = json!([{"to": TO, "channel": "sms", "code": CODE, "sent_at": sent_at}]);
        assert_eq!(messages, expected);
        assert_eq!(simulator.line(), format!("code {TO} {CODE}"));
    }

    #[tokio::test]
    async fn codes_have_the_asked_length() {
        let simulator = Simulator::run(&[]);
        simulator.started(&sms(NUMBER)).await;
        assert_eq!(simulator.code(TO).await.len(), 4);
        let mut order = sms(OTHER);
        order["code_length"] = json!(10);
        simulator.started(&order).await;
        assert_eq!(simulator.code("+14155550199").await.len(), 10);
    }

    #[tokio::test]
    async fn right_code_is_accepted_once() {
        let simulator = Simulator::fixed();
        let id = simulator.started(&sms(NUMBER)).await;
        assert_problem(simulator.check(&id, WRONG).await, 400, "/verify-v2#invalid-code", "Invalid Code")
            .await;
        let completed = json_of(simulator.check(&id, CODE).await).await;
        assert_eq!(completed, (200, json!({"request_id": id, "status": "completed"})));
        assert_not_found(simulator.check(&id, CODE).await, &id).await;
        assert_not_found(simulator.check(UNKNOWN, CODE).await, UNKNOWN).await;
        assert_ne!(simulator.started(&sms(NUMBER)).await, id);
    }

    #[tokio::test]
    async fn the_third_wrong_code_ends_the_workflow() {
        let simulator = Simulator::fixed();
        let id = simulator.started(&sms(NUMBER)).await;
        for _ in 0..2 {
            assert_eq!(simulator.check(&id, WRONG).await.status(), 400);
        }
        assert_problem(simulator.check(&id, WRONG).await, 410, "/verify-v2#expired", "Invalid Code").await;
        assert_not_found(simulator.check(&id, CODE).await, &id).await;
        simulator.started(&sms(NUMBER)).await;
    }

    #[tokio::test]
    async fn a_second_start_names_the_request_under_way() {
        let simulator = Simulator::fixed();
        let id = simulator.started(&sms(NUMBER)).await;
        let response = simulator.start(&sms(NUMBER)).await;
        let body = assert_problem(response, 409, "/verify-v2#concurrent", "Conflict").await;
        assert_eq!(body["request_id"], json!(id));
        simulator.started(&sms(OTHER)).await;
    }

    #[tokio::test]
    async fn next_workflow_sends_at_once_until_no_step_is_left() {
        let simulator = Simulator::run(&[]);
        let id = simulator.started(&workflow(&[("sms", true), ("voice", true), ("sms", false)])).await;
        for _ in 0..2 {
            assert_eq!(text(simulator.next(&id).await).await, (200, String::new()));
        }
        let messages = simulator.side("messages").await;
        assert_eq!((&messages[0]["channel"], &messages[1]["channel"]), (&json!("sms"), &json!("voice")));
        assert_eq!(messages[0]["code"], messages[1]["code"]);
        assert_ne!(messages[1]["code"], messages[2]["code"]);
        let body = assert_problem(simulator.next(&id).await, 409, "/verify-v2#conflict", "Conflict").await;
        assert_eq!(body["detail"], "There are no more events left to trigger.");
        let newest = member(&messages[2], "code");
        assert_eq!(simulator.check(&id, &newest).await.status(), 200);
        assert_not_found(simulator.next(&id).await, &id).await;
    }

    #[tokio::test]
    async fn a_step_goes_out_by_itself_and_the_last_one_ends() {
        let mut simulator = Simulator::run(&[]);
        let mut order = workflow(&[("sms", false), ("voice", false)]);
        order["channel_timeout"] = json!(15);
        let id = simulator.started(&order).await;
        let first = simulator.line();
        let first = first.rsplit(' ').next().expect("the line has a code");
        // Nobody asks for it: the line comes from the timer.
        let second = simulator.line();
        assert!(second.starts_with(&format!("code {TO} ")), "{second}");
        assert_eq!(simulator.side("messages").await[1]["channel"], "voice");
        assert_eq!(simulator.check(&id, first).await.status(), 400, "the first code is no longer the code");
    }

    #[tokio::test]
    async fn cancel_frees_the_number_but_not_at_once() {
        let patient = Simulator::fixed();
        let id = patient.started(&sms(NUMBER)).await;
        assert_not_found(patient.cancel(&id).await, &id).await;
        assert_eq!(patient.check(&id, CODE).await.status(), 200, "it is still under way");

        let hasty = Simulator::run(&["--fixed-code", CODE, "--cancel-after", "0"]);
        let id = hasty.started(&workflow(&[("sms", false), ("voice", false)])).await;
        assert_eq!(text(hasty.cancel(&id).await).await, (204, String::new()));
        assert_not_found(hasty.check(&id, CODE).await, &id).await;
        let id = hasty.started(&workflow(&[("sms", false), ("voice", false)])).await;
        assert_eq!(hasty.next(&id).await.status(), 200);
        assert_not_found(hasty.cancel(&id).await, &id).await;
    }

    #[tokio::test]
    async fn bad_members_are_422_and_named() {
        let simulator = Simulator::run(&[]);
        let mut order = sms("+14155550100");
        order["code_length"] = json!(3);
        let body =
            assert_problem(simulator.start(&order).await, 422, "#invalid-params", "Invalid params").await;
        let names: Vec<&Value> = body["invalid_parameters"]
            .as_array()
            .expect("it is a list")
            .iter()
            .map(|one| &one["name"])
            .collect();
        assert_eq!(names, [&json!("code_length"), &json!("to")]);
        let form = simulator.request(Method::POST, "").form(&[("brand", "ACME")]);
        assert_eq!(send(form).await.status(), 422);
        let id = simulator.started(&sms(NUMBER)).await;
        let empty = simulator.request(Method::POST, &format!("/{id}")).json(&json!({}));
        assert_eq!(send(empty).await.status(), 422);
        assert_eq!(simulator.side("messages").await.as_array().map(Vec::len), Some(1));
    }

    #[tokio::test]
    async fn silent_authentication_is_412() {
        let simulator = Simulator::run(&[]);
        let order = json!({"brand": "ACME", "workflow": [{"channel": "silent_auth", "to": NUMBER}, sms(NUMBER)["workflow"][0]]});
        let kind = "/verify-v2#precondition-failed";
        assert_problem(simulator.start(&order).await, 412, kind, "Network not supported").await;
    }

    #[tokio::test]
    async fn bad_credentials_are_401() {
        let simulator = Simulator::run(&["--api-key", KEY, "--api-secret", SECRET]);
        let url = format!("{}/v2/verify", simulator.url);
        let request = || simulator.client.post(&url).json(&sms(NUMBER));
        for request in [
            request(),
            request().basic_auth(KEY, Some("wrong")),
            request().basic_auth("ffff0000", Some(SECRET)),
            request().bearer_auth("a.b.c"),
        ] {
            assert_problem(send(request).await, 401, "#unauthorized", "Unauthorized").await;
        }
        assert_eq!(send(request().basic_auth(KEY, Some(SECRET))).await.status(), 202);
    }

    #[tokio::test]
    async fn a_token_is_judged_by_its_claims_and_with_a_key_by_its_signature() {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key is made");
        let other = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key is made");
        let directory = tempfile::tempdir().expect("there is room");
        let file = directory.path().join("public.pem");
        std::fs::write(&file, key.public_key_pem()).expect("it is written");
        let open = Simulator::run(&[]);
        let file = file.to_str().expect("the path is text");
        let pinned = Simulator::run(&["--public-key", file, "--application-id", APPLICATION]);
        let start = |simulator: &Simulator, token: &str| {
            let request = simulator.client.post(format!("{}/v2/verify", simulator.url)).json(&sms(NUMBER));
            send(request.bearer_auth(token))
        };
        assert_eq!(start(&open, &token(&other, 900)).await.status(), 202);
        let expired = start(&open, &token(&key, -1)).await;
        let title = "You did not provide correct credentials.";
        assert_problem(expired, 401, "#jwt-expired", title).await;
        let forged = start(&pinned, &token(&other, 900)).await;
        assert_problem(forged, 401, "#unauthorized", "Unauthorized").await;
        assert_eq!(start(&pinned, &token(&key, 900)).await.status(), 202);
    }

    #[tokio::test]
    async fn every_fault_answers_its_status() {
        let simulator = Simulator::fixed();
        for fault in ["400", "401", "402", "404", "409", "410", "412", "422", "429", "500", "503"] {
            simulator.fault(&json!({"on": "start", "fault": fault})).await;
            let (status, body) = json_of(simulator.start(&sms(NUMBER)).await).await;
            assert_eq!(status.to_string(), fault);
            for name in ["title", "type", "detail", "instance"] {
                member(&body, name);
            }
        }
        simulator.fault(&json!({"on": "start", "fault": "429_retry_after", "retry_after": "7"})).await;
        let response = simulator.start(&sms(NUMBER)).await;
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(simulator.side("messages").await, json!([]), "a refused start sends nothing");
    }

    #[tokio::test]
    async fn a_fault_disturbs_only_its_operation_and_number() {
        let simulator = Simulator::fixed();
        let id = simulator.started(&sms(NUMBER)).await;
        let other = simulator.started(&sms(OTHER)).await;
        simulator.fault(&json!({"on": "check", "to": TO, "fault": "409"})).await;
        simulator.fault(&json!({"on": "next", "fault": "500"})).await;
        simulator.fault(&json!({"on": "cancel", "fault": "drop_before"})).await;
        assert_eq!(simulator.check(&other, CODE).await.status(), 200);
        let body =
            assert_problem(simulator.check(&id, CODE).await, 409, "/verify-v2#no-code", "Conflict").await;
        assert_eq!(body["detail"], "The current Verify workflow step does not support a code.");
        assert_eq!(simulator.next(&id).await.status(), 500);
        assert!(simulator.request(Method::DELETE, &format!("/{id}")).send().await.is_err());
        assert_eq!(simulator.check(&id, CODE).await.status(), 200);
    }

    #[tokio::test]
    async fn a_lost_answer_can_be_found_again() {
        let simulator = Simulator::fixed();
        simulator.fault(&json!({"on": "start", "fault": "drop_after"})).await;
        assert!(simulator.request(Method::POST, "").json(&sms(NUMBER)).send().await.is_err());
        let (status, body) = json_of(simulator.start(&sms(NUMBER)).await).await;
        assert_eq!(status, 409);
        assert_eq!(simulator.check(&member(&body, "request_id"), CODE).await.status(), 200);
    }

    #[tokio::test]
    async fn requests_are_listed_without_codes_and_secrets() {
        let simulator = Simulator::fixed();
        let id = simulator.started(&sms(NUMBER)).await;
        simulator.check(&id, WRONG).await;
        let requests = simulator.side("requests").await;
        let listed = requests.to_string();
        assert!(!listed.contains(WRONG) && !listed.contains(SECRET), "{listed}");
        let start = json!({
            "method": "POST", "path": "/v2/verify", "json": sms(NUMBER), "status": 202, "at": requests[0]["at"],
        });
        assert_eq!(requests[0], start);
        assert_eq!(requests[1]["json"], json!({"code": "[hidden]"}));
        assert_eq!(requests[1]["path"], json!(format!("/v2/verify/{id}")));
    }

    #[tokio::test]
    async fn what_is_not_there_is_404_or_405() {
        let simulator = Simulator::run(&[]);
        let fetch = send(simulator.request(Method::GET, &format!("/{UNKNOWN}"))).await;
        assert_problem(fetch, 405, "#method-not-allowed", "Method Not Allowed").await;
        let templates = send(simulator.request(Method::GET, "/a/b/c")).await;
        assert_problem(templates, 404, "#not-found", "Not Found").await;
    }
}

mod version_1 {
    use super::*;

    #[tokio::test]
    async fn start_answers_a_request_and_no_code() {
        let mut simulator = Simulator::fixed();
        let body = simulator.one("json", &[("number", NUMBER), ("brand", "ACME")]).await;
        let id = member(&body, "request_id");
        assert_eq!(body, json!({"request_id": id, "status": "0"}));
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(simulator.line(), format!("code {TO} {CODE}"));
        let message = &simulator.side("messages").await[0];
        assert_eq!((&message["to"], &message["channel"]), (&json!(TO), &json!("sms")));
    }

    #[tokio::test]
    async fn right_code_is_accepted_once() {
        let simulator = Simulator::fixed();
        let id = simulator.one_started().await;
        let wrong = simulator.one_check(&id, WRONG).await;
        let text = "The code inserted does not match the expected value";
        assert_eq!(wrong, json!({"request_id": id, "status": "16", "error_text": text}));
        let right = simulator.one_check(&id, CODE).await;
        let expected = json!({
            "request_id": id, "event_id": right["event_id"], "status": "0", "price": "0.10000000",
            "currency": "EUR", "estimated_price_messages_sent": "0.03330000",
        });
        assert_eq!(right, expected);
        assert_eq!(member(&right, "event_id").len(), 16);
        assert_eq!(simulator.one_check(&id, CODE).await["status"], "6");
    }

    #[tokio::test]
    async fn the_third_wrong_code_ends_the_request() {
        let simulator = Simulator::fixed();
        let id = simulator.one_started().await;
        for status in ["16", "16", "17", "6"] {
            assert_eq!(simulator.one_check(&id, WRONG).await["status"], status);
        }
        assert_eq!(simulator.search(&id).await["status"], "FAILED");
    }

    #[tokio::test]
    async fn a_second_start_names_the_request_under_way() {
        let simulator = Simulator::fixed();
        let id = simulator.one_started().await;
        let second = simulator.one("json", &[("number", NUMBER), ("brand", "ACME")]).await;
        let text = "Concurrent verifications to the same number are not allowed";
        assert_eq!(second, json!({"request_id": id, "status": "10", "error_text": text}));
        simulator.started(&sms(NUMBER)).await;
    }

    #[tokio::test]
    async fn the_next_event_repeats_the_code_until_none_is_left() {
        let simulator = Simulator::run(&[]);
        let id = simulator.one_started().await;
        let next = || simulator.control(&id, "trigger_next_event");
        for _ in 0..2 {
            assert_eq!(next().await, json!({"status": "0", "command": "trigger_next_event"}));
        }
        let messages = simulator.side("messages").await;
        let channels: Vec<&Value> =
            messages.as_array().expect("it is a list").iter().map(|message| &message["channel"]).collect();
        assert_eq!(channels, [&json!("sms"), &json!("tts"), &json!("tts")]);
        assert!(messages[0]["code"] == messages[1]["code"] && messages[1]["code"] == messages[2]["code"]);
        let text = format!("No more events are left to execute for the request ['{id}']");
        assert_eq!(next().await, json!({"status": "19", "error_text": text}));
        assert_eq!(simulator.control(UNKNOWN, "trigger_next_event").await["status"], "6");
        assert_eq!(simulator.control(&id, "stop").await["status"], "3");
    }

    #[tokio::test]
    async fn cancel_is_possible_after_a_while_and_before_the_second_event() {
        let patient = Simulator::fixed();
        let id = patient.one_started().await;
        let early = patient.control(&id, "cancel").await;
        let text = format!("Verification request ['{id}'] can't be cancelled within the first 30 seconds.");
        assert_eq!(early, json!({"status": "19", "error_text": text}));

        let hasty = Simulator::run(&["--cancel-after", "0"]);
        let id = hasty.one_started().await;
        assert_eq!(hasty.control(&id, "cancel").await, json!({"status": "0", "command": "cancel"}));
        assert_eq!(hasty.search(&id).await["status"], "CANCELLED");
        let id = hasty.one_started().await;
        hasty.control(&id, "trigger_next_event").await;
        assert_eq!(hasty.control(&id, "cancel").await["status"], "19");
    }

    #[tokio::test]
    async fn a_search_tells_what_happened() {
        let simulator = Simulator::fixed();
        let id = simulator.one_started().await;
        assert_eq!(simulator.search(&id).await["status"], "IN PROGRESS");
        simulator.one_check(&id, WRONG).await;
        simulator.one_check(&id, CODE).await;
        let body = simulator.search(&id).await;
        let date = member(&body, "date_submitted");
        assert!(date.len() == 19 && date.starts_with("20") && &date[10..11] == " ", "{date}");
        let expected = json!({
            "request_id": id, "account_id": KEY, "number": NUMBER, "sender_id": "verify", "status": "SUCCESS",
            "date_submitted": date, "date_finalized": body["date_finalized"],
            "first_event_date": date, "last_event_date": date,
            "price": "0.10000000", "currency": "EUR", "estimated_price_messages_sent": "0.03330000",
            "checks": [
                {"date_received": body["checks"][0]["date_received"], "code": WRONG, "status": "INVALID", "ip_address": ""},
                {"date_received": body["checks"][1]["date_received"], "code": CODE, "status": "VALID", "ip_address": ""},
            ],
            "events": [{"id": body["events"][0]["id"], "type": "sms"}],
        });
        assert_eq!(body, expected);
        let unknown = simulator.search(UNKNOWN).await;
        assert_eq!(unknown, json!({"status": "101", "error_text": "No response found"}));
    }

    #[tokio::test]
    async fn bad_fields_and_credentials_have_a_status() {
        let simulator = Simulator::run(&["--api-key", KEY, "--api-secret", SECRET]);
        let missing = simulator.one("json", &[("brand", "ACME")]).await;
        assert_eq!(missing, json!({"status": "2", "error_text": "Missing number"}));
        let invalid = simulator.one("json", &[("number", TO), ("brand", "ACME")]).await;
        assert_eq!(invalid, json!({"status": "3", "error_text": "Invalid value for param: number"}));
        let url = format!("{}/verify/json", simulator.url);
        let fields = [("number", NUMBER), ("brand", "ACME"), ("api_key", KEY), ("api_secret", "wrong")];
        let (status, body) = json_of(send(simulator.client.post(&url).form(&fields)).await).await;
        assert_eq!((status, &body["status"]), (200, &json!("4")));
        let anonymous = json_of(send(simulator.client.post(&url).form(&fields[..2])).await).await;
        assert_eq!(anonymous, (200, json!({"status": "2", "error_text": "Missing api_key"})));
        let basic = simulator.client.post(&url).basic_auth(KEY, Some(SECRET)).form(&fields[..2]);
        assert_eq!(json_of(send(basic).await).await.1["status"], "0");
    }

    #[tokio::test]
    async fn everything_may_come_as_a_query() {
        let simulator = Simulator::fixed();
        let get = |path: &str| {
            let url = format!("{}/verify/{path}&api_key={KEY}&api_secret={SECRET}", simulator.url);
            send(simulator.client.get(url))
        };
        let (_, started) = json_of(get(&format!("json?number={NUMBER}&brand=ACME")).await).await;
        let id = member(&started, "request_id");
        let checked = json_of(get(&format!("check/json?request_id={id}&code={CODE}")).await).await;
        assert_eq!((checked.0, &checked.1["status"]), (200, &json!("0")));
        let requests = simulator.side("requests").await;
        let listed = requests.to_string();
        assert!(!listed.contains(CODE) && !listed.contains(SECRET), "{listed}");
        assert_eq!(requests[0]["form"]["number"], NUMBER);
    }

    #[tokio::test]
    async fn every_fault_answers_its_status() {
        let simulator = Simulator::fixed();
        for status in
            ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "15", "16", "17", "19", "20", "29", "101"]
        {
            simulator.fault(&json!({"on": "start", "to": TO, "fault": format!("v1_{status}")})).await;
            let body = simulator.one("json", &[("number", NUMBER), ("brand", "ACME")]).await;
            assert_eq!(body["status"], status);
            member(&body, "error_text");
            assert_eq!(body["network"].is_string(), status == "7");
            assert_eq!(body["request_id"].as_str().map(str::len), (status == "10").then_some(32));
        }
        assert_eq!(simulator.side("messages").await, json!([]), "a refused start sends nothing");
    }

    #[tokio::test]
    async fn a_control_call_is_known_by_two_names() {
        let simulator = Simulator::fixed();
        let id = simulator.one_started().await;
        simulator.fault(&json!({"on": "control", "fault": "v1_1"})).await;
        simulator.fault(&json!({"on": "cancel", "fault": "v1_5"})).await;
        simulator.fault(&json!({"on": "search", "fault": "v1_9"})).await;
        assert_eq!(simulator.control(&id, "trigger_next_event").await["status"], "1");
        assert_eq!(simulator.control(&id, "trigger_next_event").await["status"], "0");
        assert_eq!(simulator.control(&id, "cancel").await["status"], "5");
        assert_eq!(simulator.search(&id).await["status"], "9");
    }
}

#[tokio::test]
async fn faults_are_listed_and_nonsense_is_refused() {
    let simulator = Simulator::run(&["--fault", "on=start,fault=503,times=0"]);
    assert_eq!(simulator.start(&sms(NUMBER)).await.status(), 503);
    let listed = json!([{
        "on": "start", "to": null, "fault": "503", "times": 0, "delay_ms": 0, "retry_after": null,
    }]);
    assert_eq!(simulator.side("faults").await, listed);
    let (status, body) = json_of(simulator.post_fault(&json!({"fault": "v1_99"})).await).await;
    assert_eq!(status, 400);
    let expected = "`v1_99` is no fault; use 500, 503, html, slow, empty, malformed_json, drop_before, drop_after, \
        429_retry_after or an HTTP status of version 2 such as 410, or a status of version 1 such as v1_7";
    assert_eq!(body["error"], expected);
    let (_, body) = json_of(simulator.post_fault(&json!({"on": "update", "fault": "500"})).await).await;
    assert_eq!(
        body["error"],
        "`update` is no operation; use start, check, cancel, next, control, search or any"
    );
}

#[test]
fn a_bad_public_key_is_a_usage_error() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["simulate", "vonage", "--listen", "127.0.0.1:0", "--public-key", "/dev/null"])
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(64));
}

/// The binary under test as Vonage.
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
        Self(common::Simulator::run("vonage", flags))
    }

    fn fixed() -> Self {
        Self::run(&["--fixed-code", CODE])
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/v2/verify{path}", self.url)).basic_auth(KEY, Some(SECRET))
    }

    async fn start(&self, order: &Value) -> Response {
        send(self.request(Method::POST, "").json(order)).await
    }

    /// Starts and answers the request's id.
    async fn started(&self, order: &Value) -> String {
        let (status, body) = json_of(self.start(order).await).await;
        assert_eq!(status, 202, "{body}");
        member(&body, "request_id")
    }

    async fn check(&self, id: &str, code: &str) -> Response {
        send(self.request(Method::POST, &format!("/{id}")).json(&json!({"code": code}))).await
    }

    async fn next(&self, id: &str) -> Response {
        send(self.request(Method::POST, &format!("/{id}/next_workflow"))).await
    }

    async fn cancel(&self, id: &str) -> Response {
        send(self.request(Method::DELETE, &format!("/{id}"))).await
    }

    /// A call of version 1, which must answer 200.
    async fn one(&self, path: &str, fields: &[(&str, &str)]) -> Value {
        let mut form = vec![("api_key", KEY), ("api_secret", SECRET)];
        form.extend(fields);
        let request = self.client.post(format!("{}/verify/{path}", self.url)).form(&form);
        let (status, body) = json_of(send(request).await).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn one_started(&self) -> String {
        member(&self.one("json", &[("number", NUMBER), ("brand", "ACME")]).await, "request_id")
    }

    async fn one_check(&self, id: &str, code: &str) -> Value {
        self.one("check/json", &[("request_id", id), ("code", code)]).await
    }

    async fn control(&self, id: &str, command: &str) -> Value {
        self.one("control/json", &[("request_id", id), ("cmd", command)]).await
    }

    async fn search(&self, id: &str) -> Value {
        self.one("search/json", &[("request_id", id)]).await
    }
}

fn sms(to: &str) -> Value {
    json!({"brand": "ACME", "workflow": [{"channel": "sms", "to": to}]})
}

fn workflow(steps: &[(&str, bool)]) -> Value {
    let steps: Vec<Value> = steps
        .iter()
        .map(|(channel, reuse)| json!({"channel": channel, "to": NUMBER, "reuse_code": reuse}))
        .collect();
    json!({"brand": "ACME", "workflow": steps})
}

/// A token that was made a minute ago and ends so many seconds from now.
fn token(key: &KeyPair, seconds: i64) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_secs().cast_signed();
    let claims = json!({
        "application_id": APPLICATION, "iat": now - 60, "exp": now + seconds, "jti": UNKNOWN,
    });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&json!({"alg": "RS256", "typ": "JWT"})), encode(&claims));
    let signature = key.sign(message.as_bytes()).expect("it signs");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn assert_problem(response: Response, status: u16, kind: &str, title: &str) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let (answered, body) = json_of(response).await;
    assert_eq!((answered, member(&body, "title")), (status, title.to_owned()));
    assert_eq!(member(&body, "type"), format!("https://developer.vonage.com/en/api-errors{kind}"));
    assert!(!member(&body, "detail").is_empty() && !member(&body, "instance").is_empty());
    body
}

async fn assert_not_found(response: Response, id: &str) {
    let body = assert_problem(response, 404, "#not-found", "Not Found").await;
    assert_eq!(body["detail"], format!("Request {id} was not found or it has been verified already."));
}

const APPLICATION: &str = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab";
