//! Figures for monitors: what happened, counted. Never by user, number or requested path.

mod codes;
mod format;
mod labels;
mod limits;
mod process;
mod requests;
mod store;
mod trail;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

pub use codes::Code;
pub use format::Format;
pub use limits::{Limit, Turned};
pub use requests::{Counted, Outcome};

use crate::domain::channel::Channel;
use crate::domain::event::{Event, What};
use crate::domain::phone::Country;
use crate::domain::spend::Guard;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::verifier::Trouble;
use codes::Codes;
use labels::{
    CallLabels, ChannelLabels, ConfigurationLabels, EventLabels, FailureLabels, GuardLabels, LimitLabels,
    NameLabels, PeriodLabels, ProviderLabels, ResultLabels, UpstreamLabels, WhyLabels,
};
use requests::Requests;
use trail::Trail;

/// All figures.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Held while figures are told: who asks at the same moment must not find them half there.
    telling: Arc<Mutex<()>>,
    events: Family<EventLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    codes: Codes,
    limits: Family<LimitLabels, Counter>,
    guards: Family<GuardLabels, Counter>,
    closed: Family<GuardLabels, Gauge>,
    healthy: Family<ProviderLabels, Gauge>,
    upstreams: Family<UpstreamLabels, Gauge>,
    failures: Family<FailureLabels, Counter>,
    messages: Family<PeriodLabels, Gauge<u64, AtomicU64>>,
    budgets: Family<PeriodLabels, Gauge<u64, AtomicU64>>,
    requests: Requests,
    sign_ins: Family<ChannelLabels, Histogram, fn() -> Histogram>,
    reloads: Family<ResultLabels, Counter>,
    configurations: Family<ConfigurationLabels, Gauge>,
    certificates: Family<NameLabels, Gauge>,
    sessions: Gauge,
    connections: Gauge,
    turned: Family<WhyLabels, Counter>,
    store: Gauge<f64, AtomicU64>,
    store_up: Gauge,
    lost_lines: Counter,
    lost_spans: Counter,
    audit_waiting: Gauge,
    audit_lost: Counter,
    trail: Trail,
    audit_breaks: Counter,
}

/// From a code's going out to its coming back, in seconds.
fn typing() -> Histogram {
    Histogram::new([5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0])
}

/// How an upstream of a route is.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Host and path of the route.
    pub route: String,
    /// As the configuration has it.
    pub upstream: String,
    /// Whether requests go there.
    pub is_up: bool,
    /// What went wrong with it how often, by kind.
    pub failures: Vec<(&'static str, u64)>,
}

impl Metrics {
    /// Nothing happened yet; what can happen is there from the start, so that a monitor sees it begin.
    pub fn new(store: &Store) -> Self {
        let mut root = Registry::default();
        // It has the name that monitors know.
        root.register_collector(Box::new(process::Start));
        let registry = root.sub_registry_with_prefix("vestibule");
        registry.register_collector(Box::new(process::Process));
        registry.register_collector(Box::new(store::StoreTimes(store.times())));
        registry.register("build", "Which version runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let requests = Requests::default();
        registry.register_collector(Box::new(requests.clone()));
        let codes = Codes::default();
        registry.register("codes", "Codes by country, and what became of them", codes.0.clone());
        let sign_ins = Family::new_with_constructor(typing as fn() -> Histogram);
        let help = "Seconds from a code's going out to the right code's coming back, by the way it went";
        registry.register("sign_in_seconds", help, sign_ins.clone());
        let trail = Trail::new(registry);
        let mut register = Register(registry);
        let metrics = Self {
            events: register.of("events", "Lines of the audit trail by kind"),
            calls: register.of("provider_calls", "What starts and checks came to"),
            limits: register.of("limits_hit", "How often a limit stopped somebody"),
            guards: register.of("spend_guard_stops", "Messages that the spend guard stopped"),
            closed: register.of("spend_guard_closed", "1 while a guard closes sending for all"),
            healthy: register.of("provider_asked", "0 while a provider fails and is left alone"),
            upstreams: register.of("upstream_up", "0 while an upstream fails and is left alone"),
            failures: register.of("upstream_failures", "What went wrong with an upstream, by kind"),
            messages: register.of("messages", "Messages counted in the running day and month (UTC)"),
            budgets: register.of("messages_allowed", "Messages allowed in a day and month"),
            reloads: register.of("reloads", "Reloads of the configuration, taken over or refused"),
            configurations: register.of(
                "configuration_loaded_timestamp_seconds",
                "When the configuration with this hash was taken over, in seconds since 1970",
            ),
            certificates: register.of(
                "certificate_expires_timestamp_seconds",
                "When the certificate with this first name expires, in seconds since 1970",
            ),
            sessions: register
                .of("sessions_in_use", "Sessions in memory: used since the start, and not over"),
            connections: register.of("connections", "Connections of clients"),
            turned: register.of("connections_refused", "Connections of clients that ended without an answer"),
            store: register
                .of("store_answer_seconds", "How long the store took to answer when this was asked"),
            store_up: register.of("store_up", "0 while the store gives no answer"),
            lost_lines: register
                .of("access_log_lost_lines", "Lines that the access log could not follow with"),
            lost_spans: register.of("traces_lost_spans", "Spans of traces that the collector did not take"),
            audit_waiting: register
                .of("audit_lines_waiting", "Lines of the audit trail that wait for the store"),
            audit_lost: register
                .of("audit_lines_lost", "Lines of the audit trail that are in the log only: too many waited"),
            audit_breaks: register
                .of("audit_chain_breaks", "How often the end of the audit trail was not what was written"),
            requests,
            codes,
            sign_ins,
            trail,
            telling: Arc::default(),
            registry: Arc::new(root),
        };
        metrics.begin();
        metrics
    }

    /// What comes in a known number of kinds is 0 until it happens: an increase can be seen only of what was there.
    fn begin(&self) {
        What::WORDS.iter().for_each(|event| drop(self.events.get_or_create(&EventLabels { event })));
        for guard in Guard::ALL {
            drop(self.guards.get_or_create(&GuardLabels { guard: guard.as_str() }));
        }
        for limit in Limit::ALL {
            drop(self.limits.get_or_create(&LimitLabels { limit: limit.as_str() }));
        }
        for why in Turned::ALL {
            drop(self.turned.get_or_create(&WhyLabels { why: why.as_str() }));
        }
        for result in ["taken_over", "refused"] {
            drop(self.reloads.get_or_create(&ResultLabels { result }));
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

    /// Counts what became of a code that went to a number of this country.
    pub fn count_code(&self, code: Code, provider: &str, channel: Channel, country: Country) {
        self.codes.count(code, provider, channel, country);
    }

    /// A limit stopped somebody.
    pub fn count_limit(&self, limit: Limit) {
        self.limits.get_or_create(&LimitLabels { limit: limit.as_str() }).inc();
    }

    /// A connection ended without an answer.
    pub fn count_turned(&self, why: Turned) {
        self.turned.get_or_create(&WhyLabels { why: why.as_str() }).inc();
    }

    /// A line of the audit trail is in the log only.
    pub fn count_lost_audit_line(&self) {
        self.audit_lost.inc();
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
        self.lost_lines.inner().store(lines as u64, Ordering::Relaxed);
    }

    /// How many lines of the audit trail wait for the store, and how often its end was not what was written.
    pub fn set_audit(&self, waiting: usize, breaks: u64) {
        self.audit_breaks.inner().store(breaks, Ordering::Relaxed);
        self.audit_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// The audit trail and its webhook.
    pub const fn trail(&self) -> &Trail {
        &self.trail
    }

    /// How many spans of traces were lost so far.
    pub fn set_lost_spans(&self, spans: u64) {
        self.lost_spans.inner().store(spans, Ordering::Relaxed);
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

    /// How the upstreams are that there are now.
    pub fn set_upstreams(&self, upstreams: impl Iterator<Item = Upstream>) {
        self.upstreams.clear();
        self.failures.clear();
        for Upstream { route, upstream, is_up, failures } in upstreams {
            for (kind, times) in failures {
                let labels = FailureLabels { route: route.clone(), upstream: upstream.clone(), kind };
                self.failures.get_or_create(&labels).inner().store(times, Ordering::Relaxed);
            }
            self.upstreams.get_or_create(&UpstreamLabels { route, upstream }).set(i64::from(is_up));
        }
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

    /// For whoever sets what is told and tells it.
    pub fn telling(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All figures as text.
    pub fn text(&self, format: Format) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        format.of(text)
    }
}

/// Where figures get their names.
struct Register<'r>(&'r mut Registry);

impl Register<'_> {
    fn of<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }
}
