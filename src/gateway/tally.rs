//! What becomes of requests, noted on their way and counted at its end.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;

use crate::domain::policy::RouteId;
use crate::metrics::{Counted, Metrics, Outcome};
use crate::proxy::Applications;

/// What is known of one request so far.
#[derive(Debug)]
pub(super) struct Fate {
    began: Instant,
    route: Cell<Option<RouteId>>,
    outcome: Cell<Outcome>,
}

impl Fate {
    /// Until more is known it is refused.
    pub(super) fn begins() -> Self {
        Self { began: Instant::now(), route: Cell::new(None), outcome: Cell::new(Outcome::Refused) }
    }

    pub(super) fn route(&self, route: Option<RouteId>) {
        self.route.set(route);
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

    /// A request has its answer.
    pub(super) fn count(&self, fate: &Fate, status: StatusCode) {
        let route = fate.route.get().and_then(|route| self.routes.get(route.0));
        let counted = route.map_or(&self.others, |(_, counted)| counted);
        counted.count(fate.outcome.get(), status, fate.began.elapsed());
    }
}
