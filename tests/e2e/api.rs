//! The JSON API to the letter of its contract.

use serde_json::json;

use crate::common::browser::Page;
use crate::common::journey::GENEROUS;
use crate::common::{ALICE, BOB, STRANGER, Scene};

/// An error has this status, says this word and nothing else, and is JSON.
#[track_caller]
fn refuses(page: &Page, status: u16, word: &str) {
    assert_eq!((page.status.as_u16(), page.json()), (status, json!({ "error": word })), "{page:#?}");
    assert_eq!(page.header("content-type"), "application/json");
    assert_eq!(page.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_program_proves_a_phone_and_gets_the_cookie() {
    let scene = Scene::start(GENEROUS).await;
    let program = scene.browser();
    let asked = program.api("request", &json!({"phoneNumber": "+1 (415) 555-0100"})).await;
    assert_eq!(asked.status, 200, "{asked:#?}");
    let document = asked.json();
    let id = document["requestId"].as_str().unwrap().to_owned();
    assert_eq!((document.as_object().unwrap().len(), id.len()), (1, 22), "{document}");
    assert!(asked.headers.get("set-cookie").is_none());

    let wrong = scene.simulator.wrong_code(ALICE).await;
    let refused = program.api("verify", &json!({"requestId": id, "code": wrong})).await;
    refuses(&refused, 401, "wrong_code");
    let reference = refused.header("vestibule-reference");
    assert!(scene.house.events(reference).contains(&"wrong_code".to_owned()), "{refused:#?}");
    assert!(refused.headers.get("set-cookie").is_none());

    let code = scene.simulator.code(ALICE).await;
    let verified = program.api("verify", &json!({"requestId": id, "code": code})).await;
    assert_eq!((verified.status.as_u16(), verified.json()), (200, json!({"status": "verified"})));
    let cookie = verified.header("set-cookie");
    assert!(cookie.starts_with("vestibule=ey") && cookie.len() < 500, "{cookie}");
    let (attributes, lives) = cookie.rsplit_once('=').unwrap();
    assert!(attributes.ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age"), "{cookie}");
    assert!((43_190..=43_200).contains(&lives.parse().unwrap()), "{cookie}");
    assert_eq!(program.fetch("/data").await.text, "hello");

    let again = program.api("verify", &json!({"requestId": id, "code": code})).await;
    refuses(&again, 401, "already_used");
    // The page and the API are two doors of one house.
    let browser = scene.browser();
    browser.start(BOB).await;
    let id = browser.cookie("vestibule-challenge").unwrap();
    let code = scene.simulator.code(BOB).await;
    assert_eq!(program.api("verify", &json!({"requestId": id, "code": code})).await.status, 200);
}

#[tokio::test]
async fn what_is_not_exactly_a_request_is_refused() {
    let scene = Scene::start(&format!("[challenge]\nallowed_regions = [\"US\"]\n{GENEROUS}")).await;
    let program = scene.browser();
    let json_type = "application/json";
    let bad_requests = [
        "",
        " ",
        "{",
        "null",
        "[]",
        "\"+14155550100\"",
        "[\"+14155550100\"]",
        "{}",
        "{\"phoneNumber\":null}",
        "{\"phoneNumber\":14155550100}",
        "{\"phoneNumber\":[\"+14155550100\"]}",
        "{\"phonenumber\":\"+14155550100\"}",
        "{\"phoneNumber\":\"+14155550100\",\"channel\":\"call\"}",
        "{\"phoneNumber\":\"+14155550100\",\"phoneNumber\":\"+14155550199\"}",
        "{\"phoneNumber\":\"+14155550100\"}x",
        "{'phoneNumber':'+14155550100'}",
        "\u{feff}{\"phoneNumber\":\"+14155550100\"}",
    ];
    for body in bad_requests {
        refuses(&program.api_raw("request", json_type, body).await, 400, "invalid_request");
    }
    let not_utf8 = b"{\"phoneNumber\":\"+1415555\xff\"}".to_vec();
    refuses(&program.api_raw("request", json_type, not_utf8).await, 400, "invalid_request");
    for phone in ["", "hello", "+1", "4155550100", &"1".repeat(5_000)] {
        let page = program.api("request", &json!({"phoneNumber": phone})).await;
        refuses(&page, 400, "invalid_phone_number");
    }
    let abroad = program.api("request", &json!({"phoneNumber": "+4915123456789"})).await;
    refuses(&abroad, 403, "region_not_allowed");

    let id = "AAAAAAAAAAAAAAAAAAAAAA";
    for body in [
        "",
        "{}",
        "{\"requestId\":\"x\"}",
        "{\"code\":\"123456\"}",
        "{\"requestId\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"code\":123456}",
        "[\"AAAAAAAAAAAAAAAAAAAAAA\",\"123456\"]",
    ] {
        refuses(&program.api_raw("verify", json_type, body).await, 400, "invalid_request");
    }
    let extra = json!({"requestId": id, "code": "123456", "phone": STRANGER});
    refuses(&program.api("verify", &extra).await, 400, "invalid_request");
    for wrong in ["", "x", "../../etc/passwd", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA "] {
        let page = program.api("verify", &json!({"requestId": wrong, "code": "123456"})).await;
        refuses(&page, 400, "invalid_request_id");
    }
    for code in ["", "123", "12345678901", "abcdef", "１２３４５６"] {
        refuses(&program.api("verify", &json!({"requestId": id, "code": code})).await, 400, "malformed_code");
    }
    let unknown = program.api("verify", &json!({"requestId": id, "code": "123456"})).await;
    refuses(&unknown, 401, "unknown_request");
    assert_eq!(unknown.header("www-authenticate"), "Vestibule");

    let good = "{\"phoneNumber\":\"+14155550100\"}";
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        refuses(&program.api_raw("request", media_type, good).await, 415, "unsupported_media_type");
    }
    let large = program.api_raw("request", json_type, "x".repeat(1_000_000)).await;
    assert_eq!(
        (large.status.as_u16(), large.json()["error"].as_str()),
        (413, Some("too_large")),
        "{large:#?}"
    );
    let get = program.fetch("/.vestibule/api/otp/request").await;
    assert_eq!((get.status.as_u16(), get.header("allow")), (405, "POST"));
    assert_eq!(get.json()["error"], "method_not_allowed");
    let foreign = program.request(reqwest::Method::POST, "/.vestibule/api/otp/request");
    let foreign = foreign.header("origin", "https://evil.example").json(&json!({"phoneNumber": ALICE}));
    let foreign = program.send(foreign).await;
    assert_eq!((foreign.status.as_u16(), foreign.json()["error"].as_str()), (403, Some("cross_site")));
    assert!(scene.simulator.messages().await.is_empty(), "nothing of all this sent a message");
    assert_eq!(program.api_raw("request", "application/json; charset=utf-8", good).await.status, 200);
    assert_eq!(scene.simulator.sent_to(ALICE).await, 1);
}

#[tokio::test]
async fn the_same_limits_as_the_pages_and_no_tell() {
    let mut scene = Scene::start("[limits]\nstarts_per_address = \"1000/1m\"\n").await;
    let (program, person) = (scene.browser(), scene.browser());
    for phone in [ALICE, STRANGER] {
        let body = json!({"phoneNumber": phone});
        for _ in 0..3 {
            assert_eq!(program.api("request", &body).await.status, 200);
        }
        for _ in 0..2 {
            assert_eq!(person.start(phone).await.status, 303);
        }
        let refused = program.api("request", &body).await;
        refuses(&refused, 429, "too_many_requests");
        assert!((3_500..=3_600).contains(&refused.retry_after()), "{refused:#?}");
        person.start(phone).await.expect(429, "Too many codes were asked for. Please wait");
    }
    assert_eq!(scene.simulator.messages().await.len(), 1, "one to the known number, none to the other");

    // Tries count the same: three here and two there are five.
    let other = scene.browser();
    other.start(BOB).await;
    let id = other.cookie("vestibule-challenge").unwrap();
    let body = json!({"requestId": id, "code": scene.simulator.wrong_code(BOB).await});
    for _ in 0..3 {
        refuses(&program.api("verify", &body).await, 401, "wrong_code");
    }
    other.mistype(body["code"].as_str().unwrap()).await.expect(200, "one more try");
    let spent = program.api("verify", &body).await;
    refuses(&spent, 429, "too_many_codes_checked");
    assert!(spent.retry_after() >= 1);

    scene.house.sql("INSERT INTO failure SELECT DISTINCT subject, 100, CAST(strftime('%s') AS INTEGER) FROM challenge WHERE true ON CONFLICT DO UPDATE SET count = 100; UPDATE challenge SET state = 'open', checks = 0");
    refuses(&program.api("verify", &body).await, 403, "codes_closed");
    scene.house.sql("DELETE FROM spend; DELETE FROM failure; DELETE FROM challenge");
    scene.simulator.fault(json!({"on": "any", "fault": "503", "times": 0})).await;
    refuses(&program.api("request", &json!({"phoneNumber": ALICE})).await, 503, "provider_unavailable");
    scene.simulator.clear_faults().await;
    scene.simulator.fault(json!({"on": "start", "fault": "20429", "times": 0, "retry_after": "1"})).await;
    let busy = program.api("request", &json!({"phoneNumber": ALICE})).await;
    refuses(&busy, 503, "provider_busy");
    assert_eq!(busy.retry_after(), 1);
    let log = scene.gateway.stop();
    assert!(!log.contains("panicked"), "{log}");
}
