//! Figures for monitors: what happened, counted. Never by user, number or requested path.

mod process;
mod requests;
mod trail;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use requests::{Counted, Outcome};

use crate::domain::channel::Channel;
use crate::domain::event::{Event, What};
use crate::domain::spend::Guard;
use crate::domain::time::Timestamp;
use crate::verifier::Trouble;
use requests::Requests;
use trail::Trail;

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
    requests: Requests,
    sign_ins: Family<ChannelLabels, Histogram, fn() -> Histogram>,
    reloads: Family<ResultLabels, Counter>,
    configurations: Family<ConfigurationLabels, Gauge>,
    certificates: Family<NameLabels, Gauge>,
    sessions: Gauge,
    connections: Gauge,
    store: Gauge<f64, AtomicU64>,
    store_up: Gauge,
    lost_lines: Gauge,
    trail: Trail,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ChannelLabels {
    channel: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConfigurationLabels {
    hash: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NameLabels {
    name: String,
}

/// From a code's going out to its coming back, in seconds.
fn typing() -> Histogram {
    Histogram::new([5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0])
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
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which version runs", build);
        registry.register_collector(Box::new(process::Process));
        let requests = Requests::default();
        registry.register_collector(Box::new(requests.clone()));
        let sign_ins = Family::new_with_constructor(typing as fn() -> Histogram);
        let help = "Seconds from a code's going out to the right code's coming back, by the way it went";
        registry.register("sign_in_seconds", help, sign_ins.clone());
        let reloads: Family<ResultLabels, Counter> = Family::default();
        registry.register("reloads", "Reloads of the configuration, taken over or refused", reloads.clone());
        for result in ["taken_over", "refused"] {
            let _ = reloads.get_or_create(&ResultLabels { result });
        }
        let configurations = Family::default();
        let help = "When the configuration with this hash was taken over, in seconds since 1970";
        registry.register("configuration_loaded_timestamp_seconds", help, configurations.clone());
        let certificates = Family::default();
        let help = "When the certificate with this first name expires, in seconds since 1970";
        registry.register("certificate_expires_timestamp_seconds", help, certificates.clone());
        let (sessions, connections, store, store_up) =
            (Gauge::default(), Gauge::default(), Gauge::default(), Gauge::default());
        registry.register(
            "sessions_in_use",
            "Sessions in memory: used since the start, and not over",
            sessions.clone(),
        );
        registry.register("connections", "Connections of clients", connections.clone());
        registry.register(
            "store_answer_seconds",
            "How long the store took to answer when this was asked",
            store.clone(),
        );
        registry.register("store_up", "0 while the store gives no answer", store_up.clone());
        let lost_lines = Gauge::default();
        registry.register(
            "access_log_lost_lines",
            "Lines that the access log could not follow with",
            lost_lines.clone(),
        );
        let trail = Trail::new(&mut registry);
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
            requests,
            sign_ins,
            reloads,
            configurations,
            certificates,
            sessions,
            connections,
            store,
            store_up,
            lost_lines,
            trail,
        }
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        self.count_event(event.what);
        if let What::GuardTripped(guard) = event.what {
            self.guards.get_or_create(&GuardLabels { guard: guard.as_str() }).inc();
        }
        // A provider that rests was not called.
        if let Some(call) = event.message.as_ref().filter(|call| call.outcome != Trouble::Resting.as_str()) {
            let (provider, channel) = (call.provider.clone(), call.channel.as_str());
            self.calls.get_or_create(&CallLabels { provider, channel, outcome: call.outcome }).inc();
        }
    }

    /// Counts something that another process wrote down.
    pub fn count_event(&self, what: What) {
        self.events.get_or_create(&EventLabels { event: what.as_str() }).inc();
    }

    /// Where one thread counts the requests of a route (host and path), or of none.
    pub fn requests_of(&self, route: Option<&str>) -> Arc<Counted> {
        self.requests.of(route.unwrap_or_default())
    }

    /// Somebody typed the right code so many seconds after it went out.
    pub fn signed_in(&self, channel: Channel, seconds: u64) {
        let labels = ChannelLabels { channel: channel.as_str() };
        self.sign_ins.get_or_create(&labels).observe(seconds as f64);
    }

    /// A configuration is in use from now on.
    pub fn set_configuration(&self, hash: &str, at: Timestamp) {
        self.configurations.clear();
        self.configurations.get_or_create(&ConfigurationLabels { hash: hash.to_owned() }).set(at.unix());
    }

    /// A reload was taken over, or refused.
    pub fn count_reload(&self, taken_over: bool) {
        let result = if taken_over { "taken_over" } else { "refused" };
        self.reloads.get_or_create(&ResultLabels { result }).inc();
    }

    /// When each certificate ends that is shown.
    pub fn set_certificates(&self, ends: impl Iterator<Item = (String, Timestamp)>) {
        self.certificates.clear();
        ends.for_each(|(name, end)| {
            self.certificates.get_or_create(&NameLabels { name }).set(end.unix());
        });
    }

    /// How many are here.
    pub fn set_people(&self, sessions: usize, connections: usize) {
        self.sessions.set(i64::try_from(sessions).unwrap_or(i64::MAX));
        self.connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    /// How many lines of the access log were lost so far.
    pub fn set_lost_lines(&self, lines: usize) {
        self.lost_lines.set(i64::try_from(lines).unwrap_or(i64::MAX));
    }

    /// The audit trail and its webhook.
    pub const fn trail(&self) -> &Trail {
        &self.trail
    }

    /// How long the store took to answer; nothing when it gave none.
    pub fn set_store(&self, answer: Option<Duration>) {
        self.store_up.set(i64::from(answer.is_some()));
        if let Some(answer) = answer {
            self.store.set(answer.as_secs_f64());
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
