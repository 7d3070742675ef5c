//! How faults are written, and what they concern.

use super::*;

const WORDS: Vocabulary = Vocabulary {
    operations: &["start", "check"],
    is_error: |name| matches!(name, "503" | "20429" | "60203"),
    throttled: "20429",
    example: "a Twilio error code such as 60203",
};

fn fault(flag: &str) -> Result<Fault, FaultError> {
    Fault::parse(flag, &WORDS)
}

#[test]
fn flag_and_json_say_the_same() {
    let flag = fault("on=start,to=+14155550100,fault=20429,times=2,delay_ms=5,retry_after=3");
    let json = r#"{"on":"start","to":"+14155550100","fault":20429,"times":2,"delay_ms":5,"retry_after":"3"}"#;
    let request: Request = serde_json::from_str(json).expect("the JSON is well formed");
    assert_eq!(flag, request.judge(&WORDS));
}

#[test]
fn once_is_the_default_and_zero_is_forever() {
    let mut once = fault("fault=503").expect("503 is a fault");
    assert!(once.spend());
    let mut always = fault("fault=503,times=0").expect("503 is a fault");
    assert!((0..10).all(|_| !always.spend()));
}

#[test]
fn it_concerns_its_operation_and_number_only() {
    let fault = fault("on=check,to=+14155550100,fault=slow").expect("slow is a fault");
    assert!(fault.concerns(&["check"], Some("+14155550100")));
    assert!(!fault.concerns(&["start"], Some("+14155550100")));
    assert!(!fault.concerns(&["check"], Some("+14155550101")));
    assert!(!fault.concerns(&["check"], None));
}

#[test]
fn nonsense_is_refused_with_its_reason() {
    let reason = |flag: &str| fault(flag).err().map(|error| error.to_string());
    assert_eq!(reason("on=start"), Some("fault is missing".to_owned()));
    assert_eq!(reason("fault=503,times=many"), Some("times needs a number".to_owned()));
    let unknown = "`99999` is no fault; use 500, 503, html, slow, empty, malformed_json, drop_before, drop_after, \
        20429_retry_after or a Twilio error code such as 60203";
    assert_eq!(reason("fault=99999").as_deref(), Some(unknown));
    let unknown = "`sleep` is no operation; use start, check or any";
    assert_eq!(reason("on=sleep,fault=503").as_deref(), Some(unknown));
    assert!(reason("fault=503,colour=red").is_some_and(|text| text.starts_with("`colour` is unknown")));
}

#[test]
fn only_the_throttling_error_knows_when_to_come_back() {
    let patient = fault("fault=20429_retry_after").expect("it is a fault");
    assert_eq!((patient.kind(), patient.retry_after()), (&Kind::Error("20429".to_owned()), Some("1")));
    assert!(fault("fault=60203_retry_after").is_err());
}
