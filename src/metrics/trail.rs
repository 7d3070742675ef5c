//! The audit trail and its webhook in figures.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::EventLabels;
use crate::domain::event::What;

/// What waits, and what was left out.
#[derive(Clone, Debug)]
pub struct Trail {
    waiting: Gauge,
    failing: Gauge,
    left_out: Family<EventLabels, Counter>,
}

impl Trail {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (waiting, failing, left_out) = (Gauge::default(), Gauge::default(), Family::default());
        let help = "Lines of the audit trail since the last one that the webhook took";
        registry.register("webhook_waiting_lines", help, waiting.clone());
        let help = "For how long the webhook has taken none, in seconds; 0 while it does";
        registry.register("webhook_failing_seconds", help, failing.clone());
        let help = "What was refused and is no line of the audit trail, since too much of it came";
        registry.register("events_left_out", help, left_out.clone());
        Self { waiting, failing, left_out }
    }

    /// So many lines wait for the webhook, which has taken none for so long.
    pub fn set_waiting(&self, lines: i64, failing: Option<Duration>) {
        self.waiting.set(lines);
        let failing = failing.unwrap_or_default().as_secs();
        self.failing.set(i64::try_from(failing).unwrap_or(i64::MAX));
    }

    /// Something happened that is not written down.
    pub fn leave_out(&self, what: What) {
        self.left_out.get_or_create(&EventLabels { event: what.as_str() }).inc();
    }
}
