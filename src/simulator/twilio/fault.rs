//! One fault: which call it disturbs, how, and how often.
//!
//! A fault arrives as JSON or as a command flag; both become the same [`Request`], which is judged once.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::route::Operation;

/// A disturbance waiting for its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `None` is any operation.
    on: Option<Operation>,
    to: Option<String>,
    name: String,
    kind: Kind,
    remaining: Remaining,
    delay: Duration,
    retry_after: Option<String>,
}

impl Fault {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    pub(super) fn retry_after(&self) -> Option<&str> {
        self.retry_after.as_deref()
    }

    pub(super) fn concerns(&self, operation: Operation, to: Option<&str>) -> bool {
        let operation_fits = self.on.is_none_or(|on| on == operation);
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
            "on": self.on.map_or("any", Operation::name),
            "to": self.to,
            "fault": self.name,
            "times": times,
            "delay_ms": u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX),
            "retry_after": self.retry_after,
        })
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    /// `on=start,fault=503,times=2`: the members of the JSON form, as a command flag.
    fn from_str(flag: &str) -> Result<Self, FaultError> {
        let mut request = Request::default();
        for pair in flag.split(',') {
            let (name, value) = pair.split_once('=').ok_or_else(|| FaultError::NotAPair(pair.to_owned()))?;
            request.set(name.trim(), value.trim())?;
        }
        request.try_into()
    }
}

/// What a fault does to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answers with this error; the call is not processed.
    Error(u32),
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
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "500" => Self::Error(20500),
            "503" => Self::Error(20503),
            "20429_retry_after" => Self::Error(20429),
            "html" => Self::Html,
            "drop_before" => Self::DropBefore,
            "drop_after" => Self::DropAfter,
            "malformed_json" => Self::MalformedJson,
            "empty" => Self::Empty,
            "slow" => Self::Slow,
            code => Self::Error(code.parse().ok().filter(|code| ApiError::known(*code, "").is_some())?),
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
}

impl TryFrom<Request> for Fault {
    type Error = FaultError;

    fn try_from(request: Request) -> Result<Self, FaultError> {
        let name = request.fault.ok_or(FaultError::NoFault)?.into_string();
        let kind = Kind::named(&name).ok_or_else(|| FaultError::UnknownFault(name.clone()))?;
        let remaining = match request.times {
            Some(0) => Remaining::Unlimited,
            times => Remaining::Times(times.unwrap_or(1)),
        };
        let late = if kind == Kind::Slow { SLOW_MS } else { 0 };
        let patience = (name == "20429_retry_after").then(|| "1".to_owned());
        Ok(Self {
            on: operation(request.on.as_deref().unwrap_or("any"))?,
            to: request.to,
            name,
            kind,
            remaining,
            delay: Duration::from_millis(request.delay_ms.unwrap_or(late)),
            retry_after: request.retry_after.or(patience),
        })
    }
}

fn operation(name: &str) -> Result<Option<Operation>, FaultError> {
    if name == "any" {
        return Ok(None);
    }
    Operation::named(name).map(Some).ok_or_else(|| FaultError::UnknownOperation(name.to_owned()))
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
        "`{0}` is no fault; use 500, 503, html, slow, empty, malformed_json, drop_before, drop_after, \
         20429_retry_after or a Twilio error code such as 60203"
    )]
    UnknownFault(String),
    /// The operation is none of ours.
    #[error("`{0}` is no operation; use start, check, update, fetch, service or any")]
    UnknownOperation(String),
}

const SLOW_MS: u64 = 5000;

#[cfg(test)]
mod tests;
