//! What lies behind the routes, as far as all threads share it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::health::{Change, Health};
use super::places::Places;
use super::tls::Tls;
use crate::config::{Route, Upstream};
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

    /// Route, upstream, and whether requests go there.
    pub fn health(&self) -> impl Iterator<Item = (String, String, bool)> {
        self.0.iter().flat_map(|application| {
            let upstreams = application.route.upstreams.list.iter().zip(&application.health);
            upstreams.map(|(upstream, health)| {
                (application.name().to_string(), upstream.to_string(), health.is_up())
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
    /// For connections to any application.
    pub(super) places: Places,
}

impl Application {
    fn new(route: &Route, places: Places) -> Result<Self, TlsError> {
        let speaks_tls = |upstream: &Upstream| matches!(upstream, Upstream::Https { .. });
        let some_speak_tls = route.upstreams.list.iter().any(speaks_tls);
        let tls = some_speak_tls.then(|| Tls::new(&route.upstreams.trust)).transpose()?;
        let health = route.upstreams.list.iter().map(|_| Arc::new(Health::new())).collect();
        Ok(Self { route: route.clone(), tls, health, places })
    }

    /// Whether it is what a route names, to the letter and in what it read.
    fn is_still(&self, route: &Route) -> bool {
        self.route == *route && !route.upstreams.name_files()
    }

    /// Takes over what is known of its upstreams, where they are checked as they were.
    fn taking_over(mut self, known: &[Arc<Self>]) -> Self {
        let upstreams = &self.route.upstreams;
        for (health, upstream) in self.health.iter_mut().zip(&upstreams.list) {
            let is_same = |other: &&Arc<Self>| {
                (&other.route.host, &other.route.path) == (&self.route.host, &self.route.path)
                    && other.route.upstreams.health == upstreams.health
            };
            let place = |other: &Arc<Self>| {
                let place = other.route.upstreams.list.iter().position(|known| known == upstream)?;
                Some(other.health[place].clone())
            };
            if let Some(known) = known.iter().find(is_same).and_then(place) {
                *health = known;
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
