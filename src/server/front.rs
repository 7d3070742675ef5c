//! One thread of the front: its own runtime, listeners and connections.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until};

use super::addresses::Addresses;
use super::client::Client;
use super::connection::{self, End};
use super::listener::{Bound, Listener, Stream};
use super::offenders::{Admission, Offenders};
use super::proxy_protocol;
use super::tls::Tls;
use super::turns::Turns;
use crate::config::PublicUrl;
use crate::gateway::{Front, Generation, Peer};
use crate::metrics::Turned;

/// What one configuration has connections served with; a reload gives the next.
#[derive(Clone, Debug)]
pub struct Serving {
    /// What requests are served with.
    pub generation: Generation,
    /// TLS, when the gateway speaks it itself.
    pub tls: Option<Tls>,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
    /// Where people come.
    pub public_url: PublicUrl,
}

/// Whether new connections and requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// They are.
    No,
    /// The gateway stops: what is under way is finished, and tunnels are cut, so that the next one can start.
    Stops,
    /// Another process serves already: tunnels have as long as requests under way.
    HandsOver,
}

impl Drain {
    /// Whether nothing new is taken.
    pub fn is_on(&self) -> bool {
        *self != Self::No
    }
}

/// What every thread of the front is given, once.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What connections are served with now.
    pub serving: watch::Receiver<Arc<Serving>>,
    /// How often a thread went over to another configuration, over all threads.
    pub followed: Arc<watch::Sender<usize>>,
    /// Places for connections, over all threads.
    pub connections: Arc<Semaphore>,
    /// How many that are.
    pub most_connections: usize,
    /// Whether the gateway stops.
    pub drain: watch::Receiver<Drain>,
    /// How long connections may take then.
    pub drain_timeout: Duration,
    /// Whether trusted proxies name their clients by the PROXY protocol.
    pub proxy_protocol: bool,
    /// Connections by client, over all threads.
    pub addresses: Arc<Addresses>,
    /// Clients whose connections come at a pace.
    pub offenders: Arc<Offenders>,
}

/// What the connections of one thread are served with.
#[derive(Debug)]
pub(super) struct Service {
    current: RefCell<Current>,
    pub(super) terms: Terms,
    /// For new connections.
    pub(super) turns: Rc<Turns>,
}

/// What a request that comes now is served with. One that is under way keeps what it began with.
#[derive(Clone, Debug)]
struct Current {
    front: Rc<Front>,
    serving: Arc<Serving>,
}

impl Service {
    fn new(terms: Terms) -> Self {
        let serving = terms.serving.borrow().clone();
        let front = Rc::new(Front::new(&serving.generation));
        Self { current: RefCell::new(Current { front, serving }), terms, turns: Rc::default() }
    }

    pub(super) fn front(&self) -> Rc<Front> {
        self.current.borrow().front.clone()
    }

    pub(super) fn tls(&self) -> Option<Tls> {
        self.current.borrow().serving.tls.clone()
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.current.borrow().serving.idle_timeout
    }

    /// Counts a connection that ended without an answer.
    pub(super) fn turned(&self, why: Turned) {
        self.current.borrow().serving.generation.metrics.count_turned(why);
    }

    /// Goes over to each configuration as it comes.
    async fn follow(&self) {
        let mut serving = self.terms.serving.clone();
        while serving.changed().await.is_ok() {
            let serving = serving.borrow_and_update().clone();
            let front = Rc::new(self.front().next(&serving.generation));
            *self.current.borrow_mut() = Current { front, serving };
            self.terms.followed.send_modify(|times| *times += 1);
        }
    }

    /// What is under way is finished, nothing new is begun.
    pub(super) fn is_draining(&self) -> bool {
        // The sender gone means stopping too.
        self.terms.drain.borrow().is_on() || self.terms.drain.has_changed().is_err()
    }

    pub(super) async fn drained(&self) {
        let _ = self.terms.drain.clone().wait_for(Drain::is_on).await;
    }
}

/// Threads that look names up at once, for one of ours.
pub const RESOLVERS: usize = 4;
/// Idle connections and ended sessions are let go this often.
const TIDY_EVERY: Duration = Duration::from_secs(15);
/// The pause after the machine ran out of what a connection needs.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// Serves until told to stop and every connection has ended or run out of time.
pub fn run(bound: Vec<Bound>, terms: &Terms) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // They look names of upstreams up, and nothing else.
        .max_blocking_threads(RESOLVERS)
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let service = Rc::new(Service::new(terms.clone()));
        let mut listeners = JoinSet::new();
        for bound in bound {
            listeners.spawn_local(accept(bound.listen()?, service.clone()));
        }
        let tidying = tokio::task::spawn_local(tidy(service.clone()));
        let following = tokio::task::spawn_local(async move { service.follow().await });
        while let Some(ended) = listeners.join_next().await {
            note(ended, "a listener");
        }
        if *terms.drain.borrow() == Drain::HandsOver {
            tunnels(terms).await;
        }
        tidying.abort();
        following.abort();
        Ok(())
    })
}

/// Waits for connections that became tunnels: each has its place until it ends.
async fn tunnels(terms: &Terms) {
    let all = u32::try_from(terms.most_connections).unwrap_or(u32::MAX);
    let ended = tokio::time::timeout(terms.drain_timeout, terms.connections.acquire_many(all)).await;
    if ended.is_err() {
        let left = terms.most_connections.saturating_sub(terms.connections.available_permits());
        tracing::warn!(tunnels = left, "tunnels still open after drain_timeout are cut");
    }
}

/// A task that panicked took down what it served and nothing else; somebody must know.
fn note(ended: Result<(), JoinError>, what: &'static str) {
    if let Err(error) = ended {
        tracing::error!(what, %error, "a task of the front panicked");
    }
}

async fn tidy(service: Rc<Service>) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    loop {
        ticks.tick().await;
        service.front().tidy();
    }
}

/// Accepts until told to stop, then waits for what is under way.
async fn accept(listener: Listener, service: Rc<Service>) {
    let terms = &service.terms;
    let mut drain = terms.drain.clone();
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            _ = drain.wait_for(Drain::is_on) => break,
            Some(ended) = open.join_next() => note(ended, "a connection"),
            (place, accepted) = next(&listener, &terms.connections) => match accepted {
                Ok((stream, address)) => {
                    open.spawn_local(admit(stream, address, place, service.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(OUT_OF_FILES).await;
                }
            },
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(terms.drain_timeout, async {
        while let Some(ended) = open.join_next().await {
            note(ended, "a connection")
        }
    })
    .await;
    if drained.is_err() {
        tracing::warn!(connections = open.len(), "connections still open after drain_timeout are closed");
    }
}

/// Finds out whose connection it is, and serves it if they have not too many.
async fn admit(
    mut stream: Stream,
    address: Option<SocketAddr>,
    place: Option<OwnedSemaphorePermit>,
    service: Rc<Service>,
) {
    let (terms, site) = (&service.terms, service.front().site().clone());
    let mut address = address.map(|address| address.ip());
    let mut is_named = true;
    if terms.proxy_protocol && address.is_none_or(|address| site.trusts(address)) {
        match Box::pin(proxy_protocol::read(&mut stream)).await {
            Ok(named) => {
                is_named = named.is_some();
                address = named.or(address);
            }
            Err(error) => {
                service.turned(Turned::ProxyProtocol);
                return tracing::warn!(%error, "a trusted proxy sent no PROXY header; proxy_protocol wants one");
            }
        }
    }
    let Some(address) = address else {
        let peer = Peer::local(Rc::new(place));
        let peer = if is_named { peer } else { peer.unnamed() };
        connection::serve(stream, peer, None, service.clone()).await;
        return;
    };
    let client = Client::of(address);
    let held = terms.addresses.take(client);
    // A proxy stands for many, and so does what is on this machine.
    let stands_for_many = address.to_canonical().is_loopback() || site.trusts(address);
    if held.is_none() && !stands_for_many {
        service.turned(Turned::PerAddress);
        return tracing::debug!("an address has too many connections");
    }
    let client = (!stands_for_many).then_some(client);
    if !Box::pin(is_admitted(client, &service)).await {
        return;
    }
    let peer = Peer::new(address, Rc::new((place, held)));
    let peer = if is_named { peer } else { peer.unnamed() };
    let end = connection::serve(stream, peer, client, service.clone()).await;
    if let (Some(client), End::Offence) = (client, end) {
        terms.offenders.offended(client, Instant::now());
    }
}

/// Waits for an offender's turn; false when there will be none.
async fn is_admitted(client: Option<Client>, service: &Service) -> bool {
    let Some(client) = client else { return true };
    match service.terms.offenders.admit(client, Instant::now()) {
        Admission::Now => true,
        Admission::Never => {
            service.turned(Turned::Offender);
            false
        }
        Admission::At(turn) => tokio::select! {
            () = service.drained() => false,
            () = sleep_until(turn) => true,
        },
    }
}

/// Waits for a place first: beyond the limit, connections wait in the kernel and not in our memory.
async fn next(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, io::Result<(Stream, Option<SocketAddr>)>) {
    let place = places.clone().acquire_owned().await.ok();
    (place, listener.accept().await)
}
