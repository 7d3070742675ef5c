//! The faults that are switched on, and what a fault makes of a call.

use std::time::Duration;

use serde_json::Value;

use super::fault::{Fault, Kind};
use super::reply::Reply;

/// Faults in the order they were asked for.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn to_json(&self) -> Value {
        self.0.iter().map(Fault::to_json).collect()
    }

    /// The oldest fault that concerns this call; it is spent by being taken.
    pub(super) fn take(&mut self, operations: &[&str], to: Option<&str>) -> Option<Fault> {
        let index = self.0.iter().position(|fault| fault.concerns(operations, to))?;
        let taken = self.0[index].clone();
        if self.0[index].spend() {
            self.0.remove(index);
        }
        Some(taken)
    }
}

/// What becomes of a call: an answer, or `None` for a closed connection, after a pause.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) reply: Option<Reply>,
    pub(super) delay: Duration,
}

impl Outcome {
    pub(super) fn undisturbed(reply: Reply) -> Self {
        Self { reply: Some(reply), delay: Duration::ZERO }
    }

    /// The outcome under `fault`. Whether `process` runs at all is the point of some of them.
    pub(super) fn disturbed(
        fault: &Fault,
        error: impl FnOnce(&str) -> Reply,
        process: impl FnOnce() -> Reply,
    ) -> Self {
        let reply = match fault.kind() {
            Kind::Error(name) => Some(error(name)),
            Kind::Html => Some(Reply::html_error()),
            Kind::DropBefore => None,
            Kind::DropAfter => {
                let _lost = process();
                None
            }
            Kind::MalformedJson => Some(process().cut_in_half()),
            Kind::Empty => Some(process().emptied()),
            Kind::Slow => Some(process()),
        };
        let reply = match (reply, fault.retry_after()) {
            (Some(reply), Some(value)) => Some(reply.retry_after(value)),
            (reply, _) => reply,
        };
        Self { reply, delay: fault.delay() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Vocabulary;
    use super::*;

    const WORDS: Vocabulary = Vocabulary {
        operations: &["start", "check"],
        is_error: |name| matches!(name, "500" | "503" | "20429" | "60203"),
        throttled: "20429",
        example: "60203",
    };

    fn fault(flag: &str) -> Fault {
        Fault::parse(flag, &WORDS).expect("the flag is well formed")
    }

    #[test]
    fn faults_are_used_up_in_order() {
        let mut faults = Faults::new(vec![fault("on=start,fault=503"), fault("fault=html,times=2")]);
        let mut kind = |operation| faults.take(&[operation], None).map(|fault| fault.kind().clone());
        assert_eq!(kind("check"), Some(Kind::Html));
        assert_eq!(kind("start"), Some(Kind::Error("503".to_owned())));
        assert_eq!(kind("start"), Some(Kind::Html));
        assert_eq!(kind("start"), None);
    }

    #[test]
    fn only_some_faults_let_the_call_be_processed() {
        let processed = |name: &str| {
            let mut ran = false;
            let process = || {
                ran = true;
                Reply::html_error()
            };
            let fault = fault(&format!("fault={name}"));
            let _outcome = Outcome::disturbed(&fault, |_| Reply::html_error(), process);
            ran
        };
        let after = ["drop_after", "slow", "empty", "malformed_json"];
        assert!(after.iter().all(|name| processed(name)));
        let before = ["drop_before", "html", "500", "60203", "20429_retry_after"];
        assert!(before.iter().all(|name| !processed(name)));
    }
}
