//! The observe listener: is it alive, is it ready, and how much of what. For monitors on this machine, never for
//! people.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::text::text;
use crate::access::outage::Away;
use crate::access::sessions::Sessions;
use crate::access::spend_guard::gateway_budgets;
use crate::access_log::AccessLog;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config;
use crate::domain::spend::Guard;
use crate::domain::time::Short;
use crate::metrics::{Format, Metrics};
use crate::proxy::Applications;
use crate::server::tls::Certificates;
use crate::store::Store;
use crate::traces::Traces;
use crate::verifier::failover::Failover;

/// What is told.
#[derive(Debug)]
pub struct Observed {
    /// Whether it can be written.
    pub store: Store,
    /// Whether it is away, and what it did not take.
    pub sessions: Arc<Sessions>,
    /// What it did not take either.
    pub audit: Audit,
    /// Which providers are asked.
    pub failover: Arc<Failover>,
    /// Which upstreams get requests.
    pub applications: Applications,
    /// What has been counted.
    pub metrics: Metrics,
    /// What messages may cost.
    pub spend: config::Spend,
    /// Whether it loses lines.
    pub access_log: Option<AccessLog>,
    /// Whose losses are told, too.
    pub traces: Traces,
    /// Places for connections of clients.
    pub places: Arc<Semaphore>,
    /// All of them.
    pub most_connections: usize,
    /// What is shown to clients, where TLS is spoken.
    pub certificates: Option<Arc<Certificates>>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// The store answers a monitor in so long, or not at all.
const STORE: Duration = Duration::from_secs(2);
/// A monitor's request is here in so long.
const HEAD: Duration = Duration::from_secs(10);

/// Serves until dropped; what is told changes with the configuration.
pub async fn serve(listener: TcpListener, observed: watch::Receiver<Arc<Observed>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let observed = observed.borrow().clone();
        tokio::spawn(async move {
            let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request, &observed).await));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD);
            // A monitor that breaks off has its reasons.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Observed {
    /// Why people cannot sign in, if that is so. Nothing is written to find out: what the store last refused to take
    /// tells of a full or read-only disk.
    pub async fn unready(&self) -> Option<String> {
        if let Some(away) = self.sessions.outage().status() {
            return Some(describe(away));
        }
        if self.certificates.as_ref().is_some_and(|certificates| certificates.all().is_empty()) {
            return Some("there is no certificate yet; the log says what the authority says\n".to_owned());
        }
        if self.sessions.is_behind() || self.audit.is_behind() {
            return Some("the store does not take what is to be written down; sessions go on\n".to_owned());
        }
        let answer = tokio::time::timeout(STORE, self.store.touch_sessions(Vec::new())).await;
        match answer {
            Ok(Ok(())) => None,
            Ok(Err(_)) | Err(_) => Some("the store does not answer\n".to_owned()),
        }
    }

    async fn metrics(&self, format: Format) -> Response<Full<Bytes>> {
        let now = self.clock.now();
        let budgets = gateway_budgets(&self.spend, now);
        let asked = Instant::now();
        let status = self.store.spend_status(budgets.to_vec(), self.spend.conversion, now).await;
        let took = status.is_ok().then(|| asked.elapsed());
        let _telling = self.metrics.telling();
        self.metrics.set_store(took);
        self.set_from_memory();
        match status {
            Ok(status) => {
                for ((period, used), budget) in ["day", "month"].into_iter().zip(status.used).zip(budgets) {
                    self.metrics.set_messages(period, used, budget.most);
                    self.metrics.set_closed(budget.guard, budget.judge(used, now).is_err());
                }
                let closed = status.closures.iter().any(|(guard, _)| guard == Guard::Conversion.as_str());
                self.metrics.set_closed(Guard::Conversion, closed);
            }
            // What has been counted in memory is told all the same.
            Err(error) => tracing::warn!(%error, "the spend guard's figures cannot be read"),
        }
        let mut response = text(StatusCode::OK, self.metrics.text(format));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        response
    }

    fn set_from_memory(&self) {
        for (provider, asked) in self.failover.health() {
            self.metrics.set_health(provider, asked);
        }
        self.metrics.set_upstreams(self.applications.figures());
        let connections = self.most_connections.saturating_sub(self.places.available_permits());
        self.metrics.set_people(self.sessions.in_use(), connections);
        self.metrics.set_lost_spans(self.traces.lost());
        self.metrics.set_lost_lines(self.access_log.as_ref().map_or(0, AccessLog::lost));
        self.metrics.set_audit(self.audit.waiting(), self.store.chain_breaks());
        let certificates =
            self.certificates.as_ref().map(|certificates| certificates.all()).unwrap_or_default();
        let ends = certificates.iter().map(|shown| (shown.name().to_owned(), shown.expires()));
        self.metrics.set_certificates(ends);
    }
}

fn describe(Away { since, grace_left }: Away) -> String {
    let since = since.to_jiff();
    match grace_left {
        Some(left) => format!("the store is away since {since}; sessions in use go on for {}\n", Short(left)),
        None => format!("the store is away since {since}; the grace is over and no session goes on\n"),
    }
}

async fn answer(request: &Request<Incoming>, observed: &Observed) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok());
            observed.metrics(Format::wanted(accept)).await
        }
        "/health/live" => text(StatusCode::OK, "live\n"),
        "/health/ready" => match observed.unready().await {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}
