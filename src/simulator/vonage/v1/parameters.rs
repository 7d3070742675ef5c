//! Which fields of a start and a check are acceptable; the first bad one is named.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::plan::{Plan, Step};
use super::failure::Failure;
use super::{field, required};
use crate::simulator::call::Call;
use crate::simulator::number::is_international;

/// What a start asks for.
pub(super) fn start(call: &Call) -> Result<Plan, Failure> {
    let number = required(call, "number")?;
    let brand = required(call, "brand")?;
    fits("number", is_international(number))?;
    fits("brand", brand.chars().count() <= 18)?;
    let sender = field(call, "sender_id").unwrap_or("verify");
    fits("sender_id", (1..=11).contains(&sender.chars().count()))?;
    fits("lg", field(call, "lg").is_none_or(|language| LANGUAGES.contains(&language)))?;
    let code_length = whole(call, "code_length", 4..=6)?.unwrap_or(4);
    fits("code_length", code_length != 5)?;
    if field(call, "pin_code").is_some() {
        return Err(Failure::own_code_not_enabled());
    }
    let timing = timing(call)?;
    Ok(Plan {
        steps: timing.steps(&format!("+{number}")),
        code_length: u8::try_from(code_length).unwrap_or(4),
        own_code: None,
        code_lifetime: Some(timing.code_lifetime()),
        tries_renewed: true,
        sender: sender.to_owned(),
    })
}

/// The request and code of a check.
pub(super) fn check(call: &Call) -> Result<(&str, &str), Failure> {
    let id = required(call, "request_id")?;
    let code = required(call, "code")?;
    fits("request_id", id.len() <= 32)?;
    fits("code", (4..=6).contains(&code.chars().count()))?;
    Ok((id, code))
}

/// Which messages go out, and when.
struct Timing {
    events: &'static [(&'static str, u64)],
    pin_expiry: Option<u64>,
    next_event_wait: Option<u64>,
}

fn timing(call: &Call) -> Result<Timing, Failure> {
    let id = whole(call, "workflow_id", 1..=7)?.unwrap_or(1);
    let pin_expiry = whole(call, "pin_expiry", 60..=3600)?;
    let next_event_wait = whole(call, "next_event_wait", 60..=900)?;
    let events = usize::try_from(id - 1).ok().and_then(|index| WORKFLOWS.get(index)).copied();
    let events = events.ok_or_else(|| Failure::invalid("workflow_id"))?;
    Ok(Timing { events, pin_expiry, next_event_wait })
}

impl Timing {
    /// An expiry that is no multiple of the given wait becomes equal to it.
    fn code_lifetime(&self) -> Duration {
        Duration::from_secs(match (self.pin_expiry, self.next_event_wait) {
            (Some(expiry), Some(wait)) if expiry % wait != 0 => wait,
            (expiry, _) => expiry.unwrap_or(300),
        })
    }

    fn steps(&self, to: &str) -> Vec<Step> {
        let step = |(channel, wait): &(&str, u64)| Step {
            channel: (*channel).to_owned(),
            to: to.to_owned(),
            wait: Duration::from_secs(self.next_event_wait.unwrap_or(*wait)),
            reuse_code: true,
        };
        let mut steps: Vec<Step> = self.events.iter().map(step).collect();
        if self.pin_expiry.is_some() && self.next_event_wait.is_none() {
            self.end_with_the_code(&mut steps);
        }
        steps
    }

    /// Where only the code's life is asked for, the request lives as long as the code of its last event.
    fn end_with_the_code(&self, steps: &mut [Step]) {
        let lifetime = self.code_lifetime();
        let (mut made, mut now) = (Duration::ZERO, Duration::ZERO);
        let Some((last, earlier)) = steps.split_last_mut() else { return };
        for step in earlier {
            now += step.wait;
            made = if now >= made + lifetime { now } else { made };
        }
        last.wait = made + lifetime - now;
    }
}

fn whole(call: &Call, name: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, Failure> {
    let Some(text) = field(call, name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.map(Some).ok_or_else(|| Failure::invalid(name))
}

fn fits(name: &'static str, fits: bool) -> Result<(), Failure> {
    if fits { Ok(()) } else { Err(Failure::invalid(name)) }
}

/// The preset sequences, each message with the vendor's wait after it in seconds.
const WORKFLOWS: &[&[(&str, u64)]] = &[
    &[("sms", 125), ("tts", 180), ("tts", 300)],
    &[("sms", 125), ("sms", 180), ("tts", 300)],
    &[("tts", 150), ("tts", 150)],
    &[("sms", 120), ("sms", 180)],
    &[("sms", 125), ("tts", 300)],
    &[("sms", 300)],
    &[("tts", 300)],
];

const LANGUAGES: &[&str] = &[
    "ar-xa", "cs-cz", "cy-cy", "cy-gb", "da-dk", "de-de", "el-gr", "en-au", "en-gb", "en-in", "en-us",
    "es-es", "es-mx", "es-us", "fi-fi", "fil-ph", "fr-ca", "fr-fr", "hi-in", "hu-hu", "id-id", "is-is",
    "it-it", "ja-jp", "ko-kr", "nb-no", "nl-nl", "pl-pl", "pt-br", "pt-pt", "ro-ro", "ru-ru", "sv-se",
    "th-th", "tr-tr", "vi-vn", "yue-cn", "zh-cn", "zh-tw",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn call(more: &str) -> Call {
        Call::of_form(&format!("number=14155550100&brand=ACME{more}"))
    }

    fn waits(more: &str) -> Vec<u64> {
        let plan = start(&call(more)).expect("it is sound");
        plan.steps.iter().map(|step| step.wait.as_secs()).collect()
    }

    fn lifetime(more: &str) -> Option<u64> {
        start(&call(more)).ok().and_then(|plan| plan.code_lifetime).map(|lifetime| lifetime.as_secs())
    }

    #[test]
    fn a_workflow_is_a_sequence_of_channels() {
        let channels = |id: u8| {
            let plan = start(&call(&format!("&workflow_id={id}"))).expect("it is sound");
            plan.steps.iter().map(|step| step.channel.clone()).collect::<Vec<_>>().join(" ")
        };
        let all = ["sms tts tts", "sms sms tts", "tts tts", "sms sms", "sms tts", "sms", "tts"];
        assert_eq!((1..=7).map(channels).collect::<Vec<_>>(), all);
        assert_eq!(start(&call("")).map(|plan| plan.steps.len()), Ok(3));
    }

    #[test]
    fn times_are_the_documented_ones() {
        assert_eq!((waits(""), lifetime("")), (vec![125, 180, 300], Some(300)));
        let both = "&pin_expiry=360&next_event_wait=120";
        assert_eq!((waits(both), lifetime(both)), (vec![120, 120, 120], Some(360)));
        assert_eq!(lifetime("&pin_expiry=200&next_event_wait=120"), Some(120));
    }

    #[test]
    fn a_request_lives_as_long_as_its_last_code() {
        assert_eq!(waits("&workflow_id=6&pin_expiry=60"), [60]);
        assert_eq!(waits("&workflow_id=6&pin_expiry=3600"), [3600]);
        assert_eq!(waits("&pin_expiry=600"), [125, 180, 295]);
        assert_eq!(waits("&pin_expiry=300"), [125, 180, 300]);
    }

    #[test]
    fn a_start_names_its_first_bad_field() {
        let refusal = |form: &str| start(&Call::of_form(form)).err();
        assert_eq!(refusal("brand=ACME"), Some(Failure::missing("number")));
        assert_eq!(refusal("number=14155550100"), Some(Failure::missing("brand")));
        let rows = [
            ("number=%2B14155550100&brand=ACME", "number"),
            ("number=0014155550100&brand=ACME", "number"),
            ("number=14155550100&brand=A+brand+of+19+chars", "brand"),
        ];
        for (form, name) in rows {
            assert_eq!(refusal(form), Some(Failure::invalid(name)), "{form}");
        }
        for field in
            ["code_length=5", "pin_expiry=59", "next_event_wait=901", "workflow_id=8", "lg=en", "lg="]
        {
            let name = field.split('=').next().unwrap_or_default().to_owned();
            assert_eq!(start(&call(&format!("&{field}"))).err(), Some(Failure::invalid(&name)));
        }
        assert_eq!(start(&call("&pin_code=1234")).err(), Some(Failure::own_code_not_enabled()));
        assert_eq!(start(&call("&code_length=6")).map(|plan| plan.code_length), Ok(6));
    }

    #[test]
    fn a_check_needs_a_request_and_a_code() {
        let refusal = |form: &str| check(&Call::of_form(form)).err();
        assert_eq!(refusal("request_id=abc&code=1234"), None);
        assert_eq!(refusal("code=1234"), Some(Failure::missing("request_id")));
        assert_eq!(refusal("request_id=abc"), Some(Failure::missing("code")));
        assert_eq!(refusal("request_id=abc&code=1234567"), Some(Failure::invalid("code")));
    }
}
