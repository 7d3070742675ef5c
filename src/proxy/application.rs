//! What lies behind the routes, as far as all threads share it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::failures::Failures;
use super::health::{Change, Health};
use super::places::Places;
use super::tls::Tls;
use crate::config::{Route, Upstream};
use crate::metrics;
use crate::tls::TlsError;

/// What lies behind all routes. Made once: what can be wrong with it is found before anybody is served.
#[derive(Clone, Debug)]
pub struct Applications(pub(super) Arc<[Arc<Application>]>);

impl Applications {
    /// Reads what the routes name; to all of them together there will be so many connections at most. Opens none.
    pub fn new(routes: &[Route], most: usize) -> Result<Self, TlsError> {
        let places = Places::new(most);
        let application = |route| Application::new(route, places.clone()).map(Arc::new);
        routes.iter().map(application).collect::<Result<_, _>>().map(Self)
    }

    /// What lies behind these routes from now on. Of those that stay as they were, connections and health stay too; an
    /// upstream of another is as well as it was.
    pub fn next(&self, routes: &[Route], most: usize) -> Result<Self, TlsError> {
        let places = self.0.first().map_or_else(|| Places::new(most), |any| any.places.clone());
        let application = |route: &Route| {
            if let Some(same) = self.0.iter().find(|known| known.is_still(route)) {
                return Ok(same.clone());
            }
            let application = Application::new(route, places.clone())?;
            Ok(Arc::new(application.taking_over(&self.0)))
        };
        routes.iter().map(application).collect::<Result<_, _>>().map(Self)
    }

    /// What each route is called, in their order: host and path.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|application| application.name().to_string())
    }

    /// How each upstream is.
    pub fn figures(&self) -> impl Iterator<Item = metrics::Upstream> {
        self.0.iter().flat_map(|application| {
            let how = application.health.iter().zip(&application.failures);
            let upstreams = application.route.upstreams.list.iter().zip(how);
            upstreams.map(|(upstream, (health, failures))| metrics::Upstream {
                route: application.name().to_string(),
                upstream: upstream.to_string(),
                is_up: health.is_up(),
                failures: failures.all(),
            })
        })
    }
}

/// What lies behind one route.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) route: Route,
    /// Where some upstream speaks it.
    pub(super) tls: Option<Tls>,
    /// How its upstreams are, in their order.
    pub(super) health: Vec<Arc<Health>>,
    /// What went wrong with them.
    pub(super) failures: Vec<Arc<Failures>>,
    /// For connections to any application.
    pub(super) places: Places,
}

impl Application {
    fn new(route: &Route, places: Places) -> Result<Self, TlsError> {
        let speaks_tls = |upstream: &Upstream| matches!(upstream, Upstream::Https { .. });
        let some_speak_tls = route.upstreams.list.iter().any(speaks_tls);
        let tls = some_speak_tls.then(|| Tls::new(&route.upstreams.trust)).transpose()?;
        let health = route.upstreams.list.iter().map(|_| Arc::new(Health::new())).collect();
        let failures = route.upstreams.list.iter().map(|_| Arc::default()).collect();
        Ok(Self { route: route.clone(), tls, health, failures, places })
    }

    /// Whether it is what a route names, to the letter and in what it read.
    fn is_still(&self, route: &Route) -> bool {
        self.route == *route && !route.upstreams.name_files()
    }

    /// Takes over what is known of its upstreams: how they are, where they are checked as they were, and what went wrong.
    fn taking_over(mut self, known: &[Arc<Self>]) -> Self {
        let upstreams = &self.route.upstreams;
        for (number, upstream) in upstreams.list.iter().enumerate() {
            let is_same = |other: &&Arc<Self>| {
                (&other.route.host, &other.route.path) == (&self.route.host, &self.route.path)
            };
            let place = |other: &Arc<Self>| {
                let place = other.route.upstreams.list.iter().position(|known| known == upstream)?;
                Some((other.clone(), place))
            };
            let Some((other, place)) = known.iter().find(is_same).and_then(place) else { continue };
            self.failures[number] = other.failures[place].clone();
            if other.route.upstreams.health == upstreams.health {
                self.health[number] = other.health[place].clone();
            }
        }
        self
    }

    /// Tells the log of a change, once.
    pub(super) fn tell(&self, place: usize, change: Change, why: Option<&impl fmt::Display>) {
        let (route, upstream) = (self.name(), &self.route.upstreams.list[place]);
        let why = why.map(tracing::field::display);
        match change {
            Change::None => {}
            Change::Rests(Duration::MAX) => {
                tracing::warn!(%route, %upstream, why, "an upstream is left alone until its check succeeds");
            }
            Change::Rests(rest) => {
                tracing::warn!(%route, %upstream, why, seconds = rest.as_secs(), "an upstream is left alone for a while");
            }
            Change::IsBack => tracing::info!(%route, %upstream, "an upstream is asked again"),
        }
    }

    /// What the log calls it: host and path.
    pub(super) fn name(&self) -> impl fmt::Display + '_ {
        Name(&self.route)
    }
}

struct Name<'r>(&'r Route);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.host, self.0.path)
    }
}
