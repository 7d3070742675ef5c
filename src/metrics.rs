//! Figures for monitors: what happened, counted. Never by user, number or requested path.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::event::{Event, What};
use crate::domain::spend::Guard;
use crate::verifier::Trouble;

/// All figures.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    events: Family<EventLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    guards: Family<GuardLabels, Counter>,
    closed: Family<GuardLabels, Gauge>,
    healthy: Family<ProviderLabels, Gauge>,
    upstreams: Family<UpstreamLabels, Gauge>,
    messages: Family<PeriodLabels, Gauge<u64, AtomicU64>>,
    budgets: Family<PeriodLabels, Gauge<u64, AtomicU64>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    provider: String,
    channel: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GuardLabels {
    guard: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProviderLabels {
    provider: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UpstreamLabels {
    route: String,
    upstream: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PeriodLabels {
    period: &'static str,
}

/// The media type of what [`Metrics::text`] writes.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// Nothing happened yet; what can trip is there from the start, so that a monitor sees it begin.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("vestibule");
        let (events, calls) = (Family::default(), Family::default());
        let (guards, closed): (Family<GuardLabels, Counter>, _) = (Family::default(), Family::default());
        let (healthy, messages, budgets) = (Family::default(), Family::default(), Family::default());
        registry.register("events", "Lines of the audit trail by kind", events.clone());
        registry.register("provider_calls", "What starts and checks came to", calls.clone());
        registry.register("spend_guard_stops", "Messages that the spend guard stopped", guards.clone());
        registry.register("spend_guard_closed", "1 while a guard closes sending for all", closed.clone());
        registry.register("provider_asked", "0 while a provider fails and is left alone", healthy.clone());
        let upstreams: Family<UpstreamLabels, Gauge> = Family::default();
        registry.register("upstream_up", "0 while an upstream fails and is left alone", upstreams.clone());
        registry.register(
            "messages",
            "Messages counted in the running day and month (UTC)",
            messages.clone(),
        );
        registry.register("messages_allowed", "Messages allowed in a day and month", budgets.clone());
        for guard in Guard::ALL {
            let _ = guards.get_or_create(&GuardLabels { guard: guard.as_str() });
        }
        Self {
            registry: Arc::new(registry),
            events,
            calls,
            guards,
            closed,
            healthy,
            upstreams,
            messages,
            budgets,
        }
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        self.events.get_or_create(&EventLabels { event: event.what.as_str() }).inc();
        if let What::GuardTripped(guard) = event.what {
            self.guards.get_or_create(&GuardLabels { guard: guard.as_str() }).inc();
        }
        // A provider that rests was not called.
        if let Some(call) = event.message.as_ref().filter(|call| call.outcome != Trouble::Resting.as_str()) {
            let (provider, channel) = (call.provider.clone(), call.channel.as_str());
            self.calls.get_or_create(&CallLabels { provider, channel, outcome: call.outcome }).inc();
        }
    }

    /// Whether a provider is asked.
    pub fn set_health(&self, provider: &str, asked: bool) {
        let labels = ProviderLabels { provider: provider.to_owned() };
        self.healthy.get_or_create(&labels).set(i64::from(asked));
    }

    /// Whether requests go to an upstream of a route.
    pub fn set_upstream(&self, route: String, upstream: String, up: bool) {
        self.upstreams.get_or_create(&UpstreamLabels { route, upstream }).set(i64::from(up));
    }

    /// Whether a guard closes sending.
    pub fn set_closed(&self, guard: Guard, closed: bool) {
        self.closed.get_or_create(&GuardLabels { guard: guard.as_str() }).set(i64::from(closed));
    }

    /// How many messages a period (`day`, `month`) has had, and how many it may have.
    pub fn set_messages(&self, period: &'static str, used: u32, allowed: u32) {
        self.messages.get_or_create(&PeriodLabels { period }).set(u64::from(used));
        self.budgets.get_or_create(&PeriodLabels { period }).set(u64::from(allowed));
    }

    /// All figures as text (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
