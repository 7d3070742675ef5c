//! One fault: which call it disturbs, how, and how often.
//!
//! A fault arrives as JSON or as a command flag; both become the same [`Request`], which is judged once, by the
//! words of the provider it is meant for.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// The words that a provider's faults are made of.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) operations: &'static [&'static str],
    /// Whether the provider has an error answer of this name.
    pub(super) is_error: fn(&str) -> bool,
    /// The error that says "later". With `_retry_after` behind its name it says how much later, too.
    pub(super) throttled: &'static str,
    /// An error to name as an example.
    pub(super) example: &'static str,
}

/// A disturbance waiting for its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `None` is any operation.
    on: Option<&'static str>,
    to: Option<String>,
    name: String,
    kind: Kind,
    remaining: Remaining,
    delay: Duration,
    retry_after: Option<String>,
}

impl Fault {
    /// `on=start,fault=503,times=2`: the members of the JSON form, as a command flag.
    pub(super) fn parse(flag: &str, words: &Vocabulary) -> Result<Self, FaultError> {
        let mut request = Request::default();
        for pair in flag.split(',') {
            let (name, value) = pair.split_once('=').ok_or_else(|| FaultError::NotAPair(pair.to_owned()))?;
            request.set(name.trim(), value.trim())?;
        }
        request.judge(words)
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    pub(super) fn retry_after(&self) -> Option<&str> {
        self.retry_after.as_deref()
    }

    /// Whether a call is meant that goes to this number and is known by any of these operations' names.
    pub(super) fn concerns(&self, operations: &[&str], to: Option<&str>) -> bool {
        let operation_fits = self.on.is_none_or(|on| operations.contains(&on));
        operation_fits && self.to.as_deref().is_none_or(|wanted| Some(wanted) == to)
    }

    /// Counts one use; true when none is left.
    pub(super) fn spend(&mut self) -> bool {
        match &mut self.remaining {
            Remaining::Unlimited => false,
            Remaining::Times(times) => {
                *times -= 1;
                *times == 0
            }
        }
    }

    /// As `GET /simulator/faults` lists it, in the words that made it.
    pub(super) fn to_json(&self) -> Value {
        let times = match self.remaining {
            Remaining::Unlimited => 0,
            Remaining::Times(times) => times,
        };
        json!({
            "on": self.on.unwrap_or("any"),
            "to": self.to,
            "fault": self.name,
            "times": times,
            "delay_ms": u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX),
            "retry_after": self.retry_after,
        })
    }
}

/// What a fault does to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answers with the error of this name; the call is not processed.
    Error(String),
    /// Answers with an HTML page, as a broken edge proxy does; not processed.
    Html,
    /// Closes the connection; not processed.
    DropBefore,
    /// Processes, then closes the connection.
    DropAfter,
    /// Processes, then sends the first half of the answer as if it were whole.
    MalformedJson,
    /// Processes, then sends the answer's status without its body.
    Empty,
    /// Processes, then answers late.
    Slow,
}

impl Kind {
    fn named(name: &str, words: &Vocabulary) -> Option<Self> {
        Some(match name {
            "html" => Self::Html,
            "drop_before" => Self::DropBefore,
            "drop_after" => Self::DropAfter,
            "malformed_json" => Self::MalformedJson,
            "empty" => Self::Empty,
            "slow" => Self::Slow,
            _ if is_patient(name, words) => Self::Error(words.throttled.to_owned()),
            _ if (words.is_error)(name) => Self::Error(name.to_owned()),
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remaining {
    Unlimited,
    Times(u32),
}

/// The wire form of a fault.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    on: Option<String>,
    to: Option<String>,
    fault: Option<Name>,
    times: Option<u32>,
    delay_ms: Option<u64>,
    retry_after: Option<String>,
}

impl Request {
    fn set(&mut self, name: &str, value: &str) -> Result<(), FaultError> {
        let number = || FaultError::NotANumber(name.to_owned());
        match name {
            "on" => self.on = Some(value.to_owned()),
            "to" => self.to = Some(value.to_owned()),
            "fault" => self.fault = Some(Name::Text(value.to_owned())),
            "times" => self.times = Some(value.parse().map_err(|_| number())?),
            "delay_ms" => self.delay_ms = Some(value.parse().map_err(|_| number())?),
            "retry_after" => self.retry_after = Some(value.to_owned()),
            _ => return Err(FaultError::UnknownKey(name.to_owned())),
        }
        Ok(())
    }

    pub(super) fn judge(self, words: &Vocabulary) -> Result<Fault, FaultError> {
        let name = self.fault.ok_or(FaultError::NoFault)?.into_string();
        let kind = Kind::named(&name, words).ok_or_else(|| FaultError::unknown_fault(&name, words))?;
        let remaining = match self.times {
            Some(0) => Remaining::Unlimited,
            times => Remaining::Times(times.unwrap_or(1)),
        };
        let late = if kind == Kind::Slow { SLOW_MS } else { 0 };
        let patience = is_patient(&name, words).then(|| "1".to_owned());
        Ok(Fault {
            on: operation(self.on.as_deref().unwrap_or("any"), words)?,
            to: self.to,
            name,
            kind,
            remaining,
            delay: Duration::from_millis(self.delay_ms.unwrap_or(late)),
            retry_after: self.retry_after.or(patience),
        })
    }
}

fn is_patient(name: &str, words: &Vocabulary) -> bool {
    name.strip_suffix("_retry_after") == Some(words.throttled)
}

fn operation(name: &str, words: &Vocabulary) -> Result<Option<&'static str>, FaultError> {
    if name == "any" {
        return Ok(None);
    }
    let known = words.operations.iter().find(|operation| **operation == name);
    known.map(|operation| Some(*operation)).ok_or_else(|| FaultError::unknown_operation(name, words))
}

/// A fault's name: the codes may be written as numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Name {
    Number(u32),
    Text(String),
}

impl Name {
    fn into_string(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// What is wrong with a fault's description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// A flag's part is not `key=value`.
    #[error("`{0}` is not key=value")]
    NotAPair(String),
    /// A flag's key is none of ours.
    #[error("`{0}` is unknown; the keys are on, to, fault, times, delay_ms, retry_after")]
    UnknownKey(String),
    /// A value should have been a number.
    #[error("{0} needs a number")]
    NotANumber(String),
    /// No `fault` was given.
    #[error("fault is missing")]
    NoFault,
    /// The fault is neither a name nor a code we know.
    #[error(
        "`{name}` is no fault; use 500, 503, html, slow, empty, malformed_json, drop_before, drop_after, \
         {throttled}_retry_after or {example}"
    )]
    UnknownFault {
        /// What was asked for.
        name: String,
        /// The provider's error that says "later".
        throttled: &'static str,
        /// What else there is.
        example: &'static str,
    },
    /// The operation is none of ours.
    #[error("`{name}` is no operation; use {known} or any")]
    UnknownOperation {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl FaultError {
    fn unknown_fault(name: &str, words: &Vocabulary) -> Self {
        Self::UnknownFault { name: name.to_owned(), throttled: words.throttled, example: words.example }
    }

    fn unknown_operation(name: &str, words: &Vocabulary) -> Self {
        Self::UnknownOperation { name: name.to_owned(), known: words.operations.join(", ") }
    }
}

const SLOW_MS: u64 = 5000;

#[cfg(test)]
mod tests;
