//! What becomes of requests, noted on their way and counted at its end.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::HeaderValue;

use crate::domain::policy::{RouteId, Ruling};
use crate::metrics::{Counted, Metrics, Outcome};
use crate::proxy::{AnsweredBy, Applications};
use crate::traces::Trace;

/// What is known of one request so far.
#[derive(Debug)]
pub(super) struct Fate {
    began: Instant,
    route: Cell<Option<RouteId>>,
    outcome: Cell<Outcome>,
    rule: Cell<Option<usize>>,
    client: Cell<Option<IpAddr>>,
    user: RefCell<Option<HeaderValue>>,
    request_id: Option<HeaderValue>,
    upstream: RefCell<Option<AnsweredBy>>,
    trace: Option<Trace>,
}

impl Fate {
    /// Until more is known it is refused. It may have an id, by which others know it, too.
    pub(super) fn begins(request_id: Option<HeaderValue>, trace: Option<Trace>) -> Self {
        Self {
            began: Instant::now(),
            route: Cell::new(None),
            outcome: Cell::new(Outcome::Refused),
            rule: Cell::new(None),
            client: Cell::new(None),
            user: RefCell::new(None),
            request_id,
            upstream: RefCell::new(None),
            trace,
        }
    }

    /// Which route and rule it falls under.
    pub(super) fn ruled(&self, ruling: &Ruling) {
        self.route.set(ruling.route());
        self.rule.set(ruling.rule());
    }

    /// Whose it is, as far as proxies that we trust can tell.
    pub(super) fn came_from(&self, client: IpAddr) {
        self.client.set(Some(client));
    }

    /// Whose session it has.
    pub(super) fn is_of(&self, user: &HeaderValue) {
        self.user.replace(Some(user.clone()));
    }

    /// Which upstream answered it.
    pub(super) fn is_answered_by(&self, upstream: AnsweredBy) {
        self.upstream.replace(Some(upstream));
    }

    pub(super) const fn request_id(&self) -> &Option<HeaderValue> {
        &self.request_id
    }

    /// Its part of a trace, where that is told.
    pub(super) const fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    pub(super) fn upstream(&self) -> Option<AnsweredBy> {
        self.upstream.borrow().clone()
    }

    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client.get()
    }

    pub(super) fn rule(&self) -> Option<usize> {
        self.rule.get()
    }

    pub(super) fn user(&self) -> Option<HeaderValue> {
        self.user.borrow().clone()
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome.get()
    }

    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn is(&self, outcome: Outcome) {
        self.outcome.set(outcome);
    }
}

/// Where one thread counts.
#[derive(Debug)]
pub(super) struct Tally {
    /// In the order of the routes.
    routes: Vec<(String, Arc<Counted>)>,
    /// What has no route.
    others: Arc<Counted>,
}

impl Tally {
    pub(super) fn new(metrics: &Metrics, applications: &Applications) -> Self {
        let counted = |name: String| {
            let counted = metrics.requests_of(Some(&name));
            (name, counted)
        };
        Self { routes: applications.names().map(counted).collect(), others: metrics.requests_of(None) }
    }

    /// For other routes. Those that are still there go on being counted where they were.
    pub(super) fn next(&self, metrics: &Metrics, applications: &Applications) -> Self {
        let counted = |name: String| {
            let known = self.routes.iter().find(|(known, _)| *known == name);
            let counted =
                known.map_or_else(|| metrics.requests_of(Some(&name)), |(_, counted)| counted.clone());
            (name, counted)
        };
        Self { routes: applications.names().map(counted).collect(), others: self.others.clone() }
    }

    /// What the route of a request is called; nothing where it has none.
    pub(super) fn route_name(&self, fate: &Fate) -> &str {
        let route = fate.route.get().and_then(|route| self.routes.get(route.0));
        route.map_or("", |(name, _)| name)
    }

    /// A request has its answer.
    pub(super) fn count(&self, fate: &Fate, status: StatusCode) {
        let route = fate.route.get().and_then(|route| self.routes.get(route.0));
        let counted = route.map_or(&self.others, |(_, counted)| counted);
        counted.count(fate.outcome.get(), status, fate.began.elapsed());
    }
}
