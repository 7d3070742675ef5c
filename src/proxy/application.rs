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
}

impl Applications {
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
    pub(super) health: Vec<Health>,
    /// For connections to any application.
    pub(super) places: Places,
}

impl Application {
    fn new(route: &Route, places: Places) -> Result<Self, TlsError> {
        let speaks_tls = |upstream: &Upstream| matches!(upstream, Upstream::Https { .. });
        let some_speak_tls = route.upstreams.list.iter().any(speaks_tls);
        let tls = some_speak_tls.then(|| Tls::new(&route.upstreams.trust)).transpose()?;
        let health = route.upstreams.list.iter().map(|_| Health::new()).collect();
        Ok(Self { route: route.clone(), tls, health, places })
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
