//! What one configuration comes to: made whole, and tried, before anybody is served with it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{StartError, State, failover, lines, of_the_keys};
use crate::access::keys::Keys;
use crate::access::sessions::Sessions;
use crate::access::sign_in::{Parts, SignIn};
use crate::access_log::AccessLog;
use crate::audit::Audit;
use crate::clock::{Clock, SystemClock};
use crate::config::{Route, Settings};
use crate::crypto::MasterKey;
use crate::domain::event::{Event, What};
use crate::domain::policy::Cause;
use crate::gateway::{BackOffice, Generation, Site};
use crate::message::kind::Kind;
use crate::message::session_cookie::Names;
use crate::metrics::Metrics;
use crate::pages::visit::Visit;
use crate::pages::{BASE, Desk, Pages};
use crate::proxy::Applications;
use crate::server::front::Serving;
use crate::server::observe::Observed;
use crate::server::tls::{Kept, Tls};
use crate::store::Store;
use crate::traces::Traces;

/// What a gateway stands on as long as it runs, whatever its configuration becomes.
pub(super) struct Foundation {
    pub(super) store: Store,
    master: Arc<MasterKey>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) keys: Arc<Keys>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) audit: Audit,
    access_log: Option<AccessLog>,
    pub(super) traces: Traces,
    pub(super) tls: Kept,
    /// Places for connections of clients, and how many.
    pub(super) places: Arc<Semaphore>,
    pub(super) most_connections: usize,
}

impl fmt::Debug for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foundation").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Foundation {
    /// Writes down what became of the gateway; where the store does not take it, later or in the log only.
    pub(super) fn note(&self, what: What, detail: String) -> impl Future<Output = ()> + use<> {
        let event = Event::of_gateway(self.clock.now(), what, String::new(), detail);
        let audit = self.audit.clone();
        async move {
            let _ = audit.record(event).await;
        }
    }

    pub(super) async fn lay(settings: &Settings, state: State) -> Result<Self, StartError> {
        let State { store, master } = state;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = Keys::open(store.clone(), master.clone(), &*clock).await;
        let keys = Arc::new(keys.map_err(|error| of_the_keys(settings, error))?);
        let sessions = Arc::new(Sessions::new(store.clone(), settings.session, clock.clone()));
        let metrics = Metrics::new(&store);
        let audit = Audit::new(store.clone(), metrics.clone());
        let tls = Kept::new(&settings.server.state_directory).map_err(StartError::Tickets)?;
        let most_connections = settings.server.max_connections;
        let places = Arc::new(Semaphore::new(most_connections));
        let access_log = AccessLog::open(&settings.log).map_err(|error| {
            let path =
                settings.log.access_file.as_ref().map_or_else(String::new, |path| path.display().to_string());
            StartError::AccessLog(path, error)
        })?;
        let traces = Traces::open(settings.traces.as_ref(), &Handle::current())?;
        Ok(Self {
            store,
            master,
            clock,
            metrics,
            keys,
            sessions,
            audit,
            access_log,
            traces,
            tls,
            places,
            most_connections,
        })
    }

    fn state(&self) -> State {
        State { store: self.store.clone(), master: self.master.clone() }
    }
}

/// All that a reload replaces.
#[derive(Debug)]
pub(super) struct Arrangement {
    settings: Settings,
    pub(super) desk: Arc<Desk>,
    pub(super) serving: Arc<Serving>,
    pub(super) observed: Arc<Observed>,
}

impl Arrangement {
    /// The one that a gateway starts with.
    pub(super) fn first(
        settings: &Settings,
        foundation: &Foundation,
        office: &Handle,
    ) -> Result<Self, StartError> {
        let parts = Parts {
            store: foundation.store.clone(),
            failover: Arc::new(failover(settings, foundation.clock.clone())?),
            clock: foundation.clock.clone(),
            keys: foundation.keys.clone(),
            master: foundation.master.clone(),
            audit: foundation.audit.clone(),
        };
        let lines = Arc::new(lines(settings, &foundation.state())?);
        let desk = desk(settings, foundation, SignIn::new(parts, lines, settings))?;
        let office = BackOffice::new(office.clone(), desk.clone(), foundation.keys.clone());
        let applications = Applications::new(&settings.routes, settings.server.max_connections)?;
        Self::of(settings, foundation, desk, office, applications)
    }

    /// The one of another configuration. What it has in common with this one goes on: upstream connections and how
    /// upstreams are, providers and how they are, limits, who waits for a message.
    pub(super) fn next(&self, settings: &Settings, foundation: &Foundation) -> Result<Self, StartError> {
        let sign_in = &self.desk.sign_in;
        let failover = if self.has_the_providers_of(settings) {
            sign_in.failover().clone()
        } else {
            Arc::new(failover(settings, foundation.clock.clone())?)
        };
        let lines = if sign_in.lines().follow(settings.lookup.as_ref()) {
            sign_in.lines().clone()
        } else {
            Arc::new(lines(settings, &foundation.state())?)
        };
        let desk = desk(settings, foundation, sign_in.next(failover, lines, settings))?;
        let Generation { applications, office, .. } = &self.serving.generation;
        let applications = applications.next(&settings.routes, settings.server.max_connections)?;
        Self::of(settings, foundation, desk.clone(), office.with_desk(desk), applications)
    }

    /// Whether they are asked in the same words, too.
    fn has_the_providers_of(&self, settings: &Settings) -> bool {
        let (mine, theirs) = (&self.settings.challenge, &settings.challenge);
        self.settings.providers == settings.providers
            && mine.brand == theirs.brand
            && mine.channels == theirs.channels
    }

    fn of(
        settings: &Settings,
        foundation: &Foundation,
        desk: Arc<Desk>,
        office: BackOffice,
        applications: Applications,
    ) -> Result<Self, StartError> {
        let Foundation { store, clock, metrics, sessions, audit, .. } = foundation;
        let tls = settings.server.tls.as_ref().map(|tls| Tls::new(tls, &foundation.tls));
        let tls = tls.transpose().map_err(StartError::Tls)?;
        let observed = Observed {
            store: store.clone(),
            sessions: sessions.clone(),
            audit: audit.clone(),
            failover: desk.sign_in.failover().clone(),
            applications: applications.clone(),
            metrics: metrics.clone(),
            spend: settings.spend,
            access_log: foundation.access_log.clone(),
            traces: foundation.traces.clone(),
            places: foundation.places.clone(),
            most_connections: foundation.most_connections,
            certificates: tls.as_ref().map(|tls| tls.certificates().clone()),
            clock: clock.clone(),
        };
        let site = Arc::new(Site::new(settings, desk.pages.clone(), clock.clone()));
        let serving = Serving {
            generation: Generation {
                site,
                applications,
                office,
                metrics: metrics.clone(),
                access_log: foundation.access_log.clone(),
                traces: foundation.traces.clone(),
            },
            tls,
            idle_timeout: settings.server.idle_timeout,
            public_url: settings.server.public_url.clone(),
        };
        Ok(Self {
            settings: settings.clone(),
            desk,
            serving: Arc::new(serving),
            observed: Arc::new(observed),
        })
    }

    /// Tries it: on each host a stranger must get the page that everything begins with.
    pub(super) async fn probe(&self) -> Result<(), String> {
        let server = &self.settings.server;
        let hosts: BTreeSet<&str> = self.settings.routes.iter().map(|route: &Route| &*route.host).collect();
        for host in hosts {
            let visit = Visit {
                method: Method::GET,
                path: format!("{BASE}/challenge"),
                query: None,
                headers: HeaderMap::new(),
                body: Bytes::new(),
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
                scheme: server.public_url.scheme(),
                authority: host.to_owned(),
                kind: Kind::Navigation,
                session: Err(Cause::NoSession),
            };
            match self.desk.serve(&visit).await.map(|reply| reply.status()) {
                Ok(StatusCode::OK) => {}
                other => {
                    return Err(format!(
                        "the challenge page of {host} was tried and gave {other:?}; look at challenge.templates"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn desk(settings: &Settings, foundation: &Foundation, sign_in: SignIn) -> Result<Arc<Desk>, StartError> {
    let pages = Pages::new(settings.challenge.templates.as_deref(), &settings.challenge.brand);
    let pages = pages.map_err(|error| StartError::Pages(error.to_string()))?;
    Ok(Arc::new(Desk {
        sign_in,
        audit: foundation.audit.clone(),
        sessions: foundation.sessions.clone(),
        pages: Arc::new(pages),
        cookies: Names::new(settings.server.public_url.secure),
        clock: foundation.clock.clone(),
    }))
}
