//! How faults are written, and what they concern.

use super::*;

#[test]
fn flag_and_json_say_the_same() {
    let flag = "on=start,to=+14155550100,fault=20429,times=2,delay_ms=5,retry_after=3".parse::<Fault>();
    let json = r#"{"on":"start","to":"+14155550100","fault":20429,"times":2,"delay_ms":5,"retry_after":"3"}"#;
    let request: Request = serde_json::from_str(json).expect("the JSON is well formed");
    assert_eq!(flag, Fault::try_from(request));
}

#[test]
fn once_is_the_default_and_zero_is_forever() {
    let mut once: Fault = "fault=503".parse().expect("503 is a fault");
    assert!(once.spend());
    let mut always: Fault = "fault=503,times=0".parse().expect("503 is a fault");
    assert!((0..10).all(|_| !always.spend()));
}

#[test]
fn it_concerns_its_operation_and_number_only() {
    let fault: Fault = "on=check,to=+14155550100,fault=slow".parse().expect("slow is a fault");
    assert!(fault.concerns(Operation::Check, Some("+14155550100")));
    assert!(!fault.concerns(Operation::Start, Some("+14155550100")));
    assert!(!fault.concerns(Operation::Check, Some("+14155550101")));
    assert!(!fault.concerns(Operation::Check, None));
}

#[test]
fn nonsense_is_refused_with_its_reason() {
    let reason = |flag: &str| flag.parse::<Fault>().err().map(|error| error.to_string());
    assert_eq!(reason("on=start"), Some("fault is missing".to_owned()));
    assert_eq!(reason("fault=503,times=many"), Some("times needs a number".to_owned()));
    assert!(reason("fault=99999").is_some_and(|text| text.starts_with("`99999` is no fault")));
    assert!(reason("on=sleep,fault=503").is_some_and(|text| text.starts_with("`sleep` is no operation")));
    assert!(reason("fault=503,colour=red").is_some_and(|text| text.starts_with("`colour` is unknown")));
}
