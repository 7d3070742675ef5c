//! Which members of a start and a check are acceptable; every bad one is named.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::super::plan::{Plan, Step};
use super::super::problem::Problem;
use crate::simulator::number::is_international;

/// Name and reason of everything that is wrong.
type Faults = Vec<(&'static str, &'static str)>;

/// What a start asks for.
pub(super) fn start(body: &Value) -> Result<Plan, Problem> {
    let mut faults = Faults::new();
    brand(body, &mut faults);
    options(body, &mut faults);
    let wait = whole(body, "channel_timeout", 180, 15..=900, &mut faults);
    let code_length = whole(body, "code_length", 4, 4..=10, &mut faults);
    let steps = workflow(body, Duration::from_secs(wait), &mut faults);
    if !faults.is_empty() {
        return Err(Problem::invalid(&faults));
    }
    if steps.first().is_some_and(|step| step.channel == SILENT) {
        return Err(Problem::no_silent_authentication());
    }
    Ok(Plan {
        steps,
        code_length: u8::try_from(code_length).unwrap_or(4),
        own_code: body["code"].as_str().map(str::to_owned),
        code_lifetime: None,
        tries_renewed: false,
        sender: String::new(),
    })
}

/// The code of a check.
pub(super) fn check(body: &Value) -> Result<&str, Problem> {
    let code = body["code"].as_str().filter(|code| (4..=10).contains(&code.chars().count()));
    code.ok_or_else(|| Problem::invalid(&[("code", "Code must be 4 to 10 characters")]))
}

/// A number in E.164; an e-mail address, or what is neither, as it stands.
pub(super) fn destination(to: &str) -> String {
    if is_international(to) { format!("+{to}") } else { to.to_owned() }
}

fn brand(body: &Value, faults: &mut Faults) {
    let brand = body["brand"].as_str().unwrap_or_default();
    if brand.is_empty() {
        faults.push(("brand", "Brand is required"));
    } else if brand.chars().count() > 18 || brand.contains(['/', '{', '}', ':', '$']) {
        faults.push(("brand", "Brand must be at most 18 characters, without / { } : $"));
    }
}

fn options(body: &Value, faults: &mut Faults) {
    text(body, "locale", is_locale, "Locale is not supported", faults);
    text(body, "client_ref", |text| is_word(text, 1..=40), "Must be up to 40 letters and digits", faults);
    text(body, "code", |text| is_word(text, 4..=10), "Code must be 4 to 10 letters and digits", faults);
    flag(body, "fraud_check", faults);
}

fn workflow(body: &Value, wait: Duration, faults: &mut Faults) -> Vec<Step> {
    let channels = body["workflow"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !(1..=3).contains(&channels.len()) {
        faults.push(("workflow", "Workflow must have 1 to 3 channels"));
    }
    if channels.iter().skip(1).any(|channel| channel["channel"] == SILENT) {
        faults.push(("workflow", "silent_auth must be the first channel"));
    }
    channels.iter().map(|channel| step(channel, wait, faults)).collect()
}

fn step(channel: &Value, wait: Duration, faults: &mut Faults) -> Step {
    let name = channel["channel"].as_str().unwrap_or_default();
    let to = channel["to"].as_str().unwrap_or_default();
    let reachable = if name == "email" { is_address(to) } else { is_international(to) };
    if !CHANNELS.contains(&name) {
        faults.push(("channel", "Channel is not supported"));
    } else if !reachable {
        faults.push(("to", "Must be a number in E.164 without + or 00, or an e-mail address for email"));
    }
    sender(name, channel, faults);
    text(channel, "app_hash", |text| text.chars().count() == 11, "Must be 11 characters", faults);
    flag(channel, "reuse_code", faults);
    Step {
        channel: name.to_owned(),
        to: destination(to),
        wait,
        reuse_code: channel["reuse_code"].as_bool().unwrap_or_default(),
    }
}

fn sender(name: &str, channel: &Value, faults: &mut Faults) {
    if ["whatsapp", "rcs"].contains(&name) && channel["from"].is_null() {
        faults.push(("from", "From is required"));
    }
    if name == "whatsapp" {
        text(channel, "from", is_international, "Must be a number in E.164 without + or 00", faults);
    } else {
        text(
            channel,
            "from",
            |from| (1..=15).contains(&from.chars().count()),
            "Must be up to 15 characters",
            faults,
        );
    }
}

fn whole(
    body: &Value,
    name: &'static str,
    default: u64,
    range: RangeInclusive<u64>,
    faults: &mut Faults,
) -> u64 {
    if body[name].is_null() {
        return default;
    }
    body[name].as_u64().filter(|number| range.contains(number)).unwrap_or_else(|| {
        faults.push((name, "Value is out of range"));
        default
    })
}

fn text(
    body: &Value,
    name: &'static str,
    fits: impl Fn(&str) -> bool,
    reason: &'static str,
    faults: &mut Faults,
) {
    if !body[name].is_null() && !body[name].as_str().is_some_and(fits) {
        faults.push((name, reason));
    }
}

fn flag(body: &Value, name: &'static str, faults: &mut Faults) {
    if !body[name].is_null() && !body[name].is_boolean() {
        faults.push((name, "Must be true or false"));
    }
}

fn is_word(text: &str, lengths: RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `en-us`, `yue-cn`.
fn is_locale(text: &str) -> bool {
    let is_part = |part: &str, lengths: RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    text.split_once('-').is_some_and(|(language, region)| is_part(language, 2..=3) && is_part(region, 2..=2))
}

fn is_address(to: &str) -> bool {
    to.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'))
}

const SILENT: &str = "silent_auth";
const CHANNELS: &[&str] = &[SILENT, "sms", "voice", "whatsapp", "rcs", "email"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order() -> Value {
        json!({"brand": "ACME", "workflow": [{"channel": "sms", "to": "14155550100"}]})
    }

    /// The names of what is wrong once `change` has been made.
    fn bad(change: impl FnOnce(&mut Value)) -> Result<Plan, Problem> {
        let mut body = order();
        change(&mut body);
        start(&body)
    }

    fn invalid(name: &'static str, reason: &'static str) -> Result<Plan, Problem> {
        Err(Problem::invalid(&[(name, reason)]))
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let plan = start(&order()).expect("it is sound");
        assert_eq!(plan.code_length, 4);
        assert_eq!((plan.steps[0].wait, plan.steps[0].reuse_code), (Duration::from_secs(180), false));
        assert_eq!(plan.steps[0].to, "+14155550100");
    }

    #[test]
    fn everything_can_be_said() {
        let body = json!({
            "brand": "ACME", "locale": "es-es", "channel_timeout": 60, "code_length": 6, "client_ref": "a1",
            "code": "12ab34", "fraud_check": false,
            "workflow": [
                {"channel": "sms", "to": "14155550100", "from": "ACME", "app_hash": "ABC12345678", "reuse_code": true},
                {"channel": "whatsapp", "to": "14155550100", "from": "447700400080", "reuse_code": true},
                {"channel": "email", "to": "ada@example.com"},
            ],
        });
        let plan = start(&body).expect("it is sound");
        assert_eq!((plan.code_length, plan.own_code.as_deref()), (6, Some("12ab34")));
        assert_eq!(plan.steps[1].wait, Duration::from_secs(60));
        assert!(plan.steps[1].reuse_code && !plan.steps[2].reuse_code);
        assert_eq!(plan.steps[2].to, "ada@example.com");
    }

    #[test]
    fn numbers_have_no_plus() {
        let reason = "Must be a number in E.164 without + or 00, or an e-mail address for email";
        for to in ["+14155550100", "0014155550100", "415", "ada@example.com", ""] {
            assert_eq!(bad(|body| body["workflow"][0]["to"] = to.into()), invalid("to", reason), "{to}");
        }
    }

    #[test]
    fn a_bad_member_is_named() {
        let long = "Brand must be at most 18 characters, without / { } : $";
        assert_eq!(bad(|body| body["brand"] = "A brand of 19 chars".into()), invalid("brand", long));
        assert_eq!(bad(|body| body["brand"] = "a/b".into()), invalid("brand", long));
        for (name, value) in
            [("code_length", json!(3)), ("code_length", json!("6")), ("channel_timeout", json!(14))]
        {
            assert_eq!(bad(|body| body[name] = value), invalid(name, "Value is out of range"));
        }
        let from = "From is required";
        assert_eq!(bad(|body| body["workflow"][0]["channel"] = "whatsapp".into()), invalid("from", from));
        let channel = "Channel is not supported";
        assert_eq!(bad(|body| body["workflow"][0]["channel"] = "call".into()), invalid("channel", channel));
        let flag = "Must be true or false";
        assert_eq!(bad(|body| body["workflow"][0]["reuse_code"] = "yes".into()), invalid("reuse_code", flag));
        assert_eq!(
            bad(|body| body["locale"] = "English".into()),
            invalid("locale", "Locale is not supported")
        );
    }

    #[test]
    fn all_bad_members_are_named_at_once() {
        let all = Problem::invalid(&[
            ("brand", "Brand is required"),
            ("workflow", "Workflow must have 1 to 3 channels"),
        ]);
        assert_eq!(start(&Value::Null), Err(all));
    }

    #[test]
    fn silent_authentication_is_beyond_us_and_comes_first_or_not_at_all() {
        let silent = json!({"channel": "silent_auth", "to": "14155550100"});
        let first = bad(|body| body["workflow"] = json!([silent]));
        assert_eq!(first, Err(Problem::no_silent_authentication()));
        let second = bad(|body| body["workflow"] = json!([body["workflow"][0], silent]));
        assert_eq!(second, invalid("workflow", "silent_auth must be the first channel"));
    }

    #[test]
    fn a_check_needs_a_code() {
        assert_eq!(check(&json!({"code": "1234"})), Ok("1234"));
        for body in [json!({"code": "123"}), json!({"code": 1234}), json!({}), Value::Null] {
            assert_eq!(check(&body), Err(Problem::invalid(&[("code", "Code must be 4 to 10 characters")])));
        }
    }
}
