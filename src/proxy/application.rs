//! What lies behind the routes, as far as all threads share it.

use std::fmt;
use std::sync::Arc;

use super::tls::{Tls, TlsError};
use crate::config::{Route, Upstream};

/// What lies behind all routes. Made once: what can be wrong with it is found before anybody is served.
#[derive(Clone, Debug)]
pub struct Applications(pub(super) Arc<[Arc<Application>]>);

impl Applications {
    /// Reads what the routes name. Opens no connection.
    pub fn new(routes: &[Route]) -> Result<Self, TlsError> {
        routes.iter().map(|route| Application::new(route).map(Arc::new)).collect::<Result<_, _>>().map(Self)
    }
}

/// What lies behind one route.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) route: Route,
    /// Where some upstream speaks it.
    pub(super) tls: Option<Tls>,
}

impl Application {
    fn new(route: &Route) -> Result<Self, TlsError> {
        let speaks_tls = |upstream: &Upstream| matches!(upstream, Upstream::Https { .. });
        let some_speak_tls = route.upstreams.list.iter().any(speaks_tls);
        let tls = some_speak_tls.then(|| Tls::new(&route.upstreams.trust)).transpose()?;
        Ok(Self { route: route.clone(), tls })
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
