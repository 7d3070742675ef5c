//! Wiring: the only room that knows every concrete type.

mod arrangement;
mod clock_watch;
mod complaint;
mod greeting;
mod handover;
mod heartbeat;
mod household;
mod listeners;
mod reload;

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;

pub use self::handover::{HandedOver, HandoverError, Predecessor, hand_over};
pub use self::reload::reload;

use self::arrangement::{Arrangement, Foundation};
use self::greeting::{greet_again, greet_all};
use self::heartbeat::Heartbeat;
use self::household::{Household, keep_house};
use self::listeners::{Kept, Listeners};
use crate::access::keys::KeysError;
use crate::access::lines::Lines;
use crate::clock::Clock;
use crate::config::{Account, Place, Provider, Settings, host_name};
use crate::crypto::{MasterKey, MasterKeyError};
use crate::pages::Desk;
use crate::server::addresses::Addresses;
use crate::server::front::Drain;
use crate::server::passed::{OBSERVE, Passed, PassedError};
use crate::server::{acme, front, listener, observe, redirect, tls};
use crate::store::{OpenError, Store, StoreError, Use};
use crate::tls::TlsError;
use crate::verifier::Verifier;
use crate::verifier::failover::Failover;
use crate::verifier::lookup::Lookup;
use crate::verifier::twilio::Twilio;
use crate::verifier::vonage::v1::VonageV1;
use crate::verifier::vonage::v2::{self, Vonage};

/// Why the gateway cannot start, in words that name the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("state directory {0}: {1}; create it and give it to the user the gateway runs as")]
    StateDirectory(String, io::Error),
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The store cannot be used.
    #[error("store {0}: {1}{remedy}", remedy = remedy(.1))]
    Store(String, OpenError),
    /// A secret of the store cannot be had.
    #[error("{0}")]
    Secret(String),
    /// The signing keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The signing keys were sealed by another master key than the one of this name.
    #[error(
        "the signing keys in the store do not open with {0}; put the key that belongs to this store in its place"
    )]
    Sealed(String),
    /// The pages cannot be used.
    #[error("templates: {0}")]
    Pages(String),
    /// The certificate cannot be used.
    #[error("server.tls: {0}")]
    Tls(TlsError),
    /// No key for session tickets.
    #[error("no key for TLS session tickets: {0}")]
    Tickets(rustls::Error),
    /// TLS to an upstream cannot be spoken.
    #[error("route: {0}")]
    Upstream(#[from] TlsError),
    /// The provider's client cannot be made.
    #[error(
        "no HTTPS client for the provider: {0}; install the system's CA certificates (package ca-certificates)"
    )]
    Client(#[from] reqwest::Error),
    /// The key of the provider's application cannot be used.
    #[error("private_key of provider {0}: {NOT_A_KEY}")]
    PrivateKey(String),
    /// Somebody else listens there, or it is not allowed.
    #[error("cannot listen on {0}: {1}; stop what listens there, or choose another address")]
    Listen(String, io::Error),
    /// The access log cannot be written.
    #[error(
        "log.access_file: {0}; give the directory to the user the gateway runs as (LogsDirectory= of the unit)"
    )]
    AccessLog(io::Error),
    /// What was made of the configuration does not work.
    #[error("{0}")]
    Probe(String),
    /// The service manager does not pass a socket that is listened on.
    #[error("{0}: {1}")]
    Passed(String, PassedError),
    /// No thread or runtime.
    #[error("the system gives no threads: {0}")]
    Threads(io::Error),
}

/// What is wrong with a key that cannot sign, and what to give instead.
pub const NOT_A_KEY: &str = "no RSA private key in PEM (unencrypted, 2048 bits or more); give the file that was made with \
                             the application";

/// What outlives a command: the store and the key that belongs to it.
#[derive(Debug)]
pub struct State {
    /// The store.
    pub store: Store,
    /// The key its secrets rest under.
    pub master: Arc<MasterKey>,
}

impl State {
    /// Opens, or makes, the state of a gateway, to work on it beside the gateway.
    pub fn open(settings: &Settings) -> Result<Self, StartError> {
        Self::open_for(settings, Use::Beside)
    }

    /// Opens it, or makes it.
    pub fn open_for(settings: &Settings, use_: Use) -> Result<Self, StartError> {
        let place = &settings.store.place;
        let new = matches!(place, Place::Sqlite(file) if !file.exists());
        let had_key = settings.server.state_directory.join("master.key").exists();
        let master = master(settings, new)?;
        let store = open(place, use_)?;
        if new && had_key {
            tracing::warn!(
                "made a new, empty store at {}, although there is a master key already; \
                 if there was one, restore it",
                name(place)
            );
        }
        Ok(Self { store, master })
    }
}

/// Opens a store, wherever it is.
pub fn open(place: &Place, use_: Use) -> Result<Store, StartError> {
    let opened = match place {
        Place::Sqlite(file) => Store::sqlite_for(file, use_).map_err(OpenError::Store),
        Place::Postgres(server) => {
            server.password.as_ref().map_err(|text| StartError::Secret(text.clone()))?;
            Store::postgres_for(server, use_)
        }
    };
    opened.map_err(|error| StartError::Store(name(place), error))
}

/// The key under which the secrets of a store rest; made with a SQLite store that is `new`.
pub fn master(settings: &Settings, new: bool) -> Result<Arc<MasterKey>, StartError> {
    let shared = settings.store.master_key.clone().map_err(StartError::Secret)?;
    let directory = &settings.server.state_directory;
    if let Place::Sqlite(_) = settings.store.place {
        make_directory(directory)
            .map_err(|error| StartError::StateDirectory(directory.display().to_string(), error))?;
    }
    match (shared, &settings.store.place) {
        (Some(master), _) => Ok(master),
        // The configuration does not read without one.
        (None, Place::Postgres(_)) => Err(StartError::Keys(KeysError::Sealed)),
        (None, Place::Sqlite(_)) => Ok(Arc::new(MasterKey::open(directory, new)?)),
    }
}

/// Where the master key of a configuration is kept.
pub fn master_key(settings: &Settings) -> String {
    match &settings.store.master_key {
        Ok(None) => settings.server.state_directory.join("master.key").display().to_string(),
        Ok(Some(_)) | Err(_) => "the key that store.master_key names".to_owned(),
    }
}

/// An error of the signing keys, which names the master key as it is configured.
pub fn of_the_keys(settings: &Settings, error: KeysError) -> StartError {
    match error {
        KeysError::Sealed => StartError::Sealed(master_key(settings)),
        KeysError::Store(_) => StartError::Keys(error),
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// A store as errors name it.
pub fn name(place: &Place) -> String {
    match place {
        Place::Sqlite(file) => file.display().to_string(),
        Place::Postgres(server) => server_name(&server.server),
    }
}

/// What to do about an error of PostgreSQL or its driver, which says only what is wrong.
fn remedy(error: &OpenError) -> String {
    let OpenError::Store(error @ StoreError::Postgres(_)) = error else { return String::new() };
    let text = error.to_string();
    let known = REMEDIES.iter().find(|(said, _)| text.contains(said));
    known.map_or_else(String::new, |(_, remedy)| format!("; {remedy}"))
}

/// By what they say: the driver has no kinds for most of them.
const REMEDIES: [(&str, &str); 6] = [
    ("password missing", "name where our password is in store.password"),
    ("password authentication failed", "give the role's password in store.password"),
    ("UnknownIssuer", "name the authority of the server's certificate in store.ca"),
    (
        "does not support TLS",
        "set ssl = on at the server, or, where nobody can listen in, end store.url in ?sslmode=disable",
    ),
    ("permission denied for schema public", "the role must own the database: ALTER DATABASE … OWNER TO …"),
    ("Connection refused", "start the server, or correct host and port in store.url"),
];

/// `postgres://USER@HOST:PORT,…/DATABASE`.
fn server_name(server: &tokio_postgres::Config) -> String {
    let ports = server.get_ports();
    let host = |(place, host): (usize, &tokio_postgres::config::Host)| {
        // One port is that of all hosts.
        let port = ports.get(place).or_else(|| ports.first()).copied().unwrap_or(5432);
        format!("{}:{port}", host_name(host))
    };
    let hosts: Vec<_> = server.get_hosts().iter().enumerate().map(host).collect();
    let (user, database) = (server.get_user().unwrap_or_default(), server.get_dbname().unwrap_or_default());
    format!("postgres://{user}@{}/{database}", hosts.join(","))
}

/// The providers' clients, in the order of the configuration.
pub fn failover(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Failover, StartError> {
    let verifiers = settings.providers.iter().map(|provider| verifier(provider, settings, clock.clone()));
    Ok(Failover::new(verifiers.collect::<Result<_, _>>()?))
}

fn verifier(
    provider: &Provider,
    settings: &Settings,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Verifier>, StartError> {
    let name = provider.name.as_str();
    let (brand, channels) = (settings.challenge.brand.as_str(), settings.challenge.channels.as_slice());
    Ok(match &provider.account {
        Account::Twilio(account) => Arc::new(Twilio::new(name, account, brand)?),
        Account::Vonage(account) => {
            let client = Vonage::new(name, account, brand, channels, clock);
            Arc::new(client.map_err(|error| match error {
                v2::SetUpError::Client(error) => StartError::Client(error),
                v2::SetUpError::PrivateKey => StartError::PrivateKey(name.to_owned()),
            })?)
        }
        Account::VonageV1(account) => Arc::new(VonageV1::new(name, account, brand, channels)?),
    })
}

/// Who is asked about lines, and from what is known.
pub fn lines(settings: &Settings, state: &State) -> Result<Lines, StartError> {
    let lookup = settings.lookup.as_ref().map(|lookup| Ok((Lookup::new(lookup)?, lookup.clone())));
    let lookup = lookup.transpose().map_err(StartError::Client)?;
    Ok(Lines::new(state.store.clone(), state.master.clone(), lookup))
}

/// The store has so long to take what is only in memory when the gateway stops.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A thread goes over to another configuration in so long.
const FOLLOW: Duration = Duration::from_secs(5);

/// A running gateway. Dropping it stops the back office at once; [`Gateway::stop`] does it gently.
#[derive(Debug)]
pub struct Gateway {
    /// Where it listens, as it turned out.
    pub addresses: Vec<String>,
    back_office: Runtime,
    signals: Signals,
    /// The listening sockets, for the process that takes over.
    kept: Vec<Kept>,
    fronts: Vec<thread::JoinHandle<io::Result<()>>>,
    drain: watch::Sender<Drain>,
    foundation: Foundation,
    /// What the configuration comes to.
    current: Arrangement,
    outlets: Outlets,
}

/// Whoever takes an arrangement over hears of it here.
#[derive(Debug)]
struct Outlets {
    serving: watch::Sender<Arc<front::Serving>>,
    /// How often a thread of the front took one over.
    followed: Arc<watch::Sender<usize>>,
    observed: watch::Sender<Arc<observe::Observed>>,
    desk: watch::Sender<Arc<Desk>>,
}

impl Outlets {
    fn of(arrangement: &Arrangement) -> Self {
        Self {
            serving: watch::Sender::new(arrangement.serving.clone()),
            followed: Arc::new(watch::Sender::new(0)),
            observed: watch::Sender::new(arrangement.observed.clone()),
            desk: watch::Sender::new(arrangement.desk.clone()),
        }
    }

    /// Returns once all of so many threads serve with it.
    async fn take_over(&self, arrangement: &Arrangement, threads: usize) {
        let mut followed = self.followed.subscribe();
        let all = *followed.borrow() + threads;
        self.serving.send_replace(arrangement.serving.clone());
        self.observed.send_replace(arrangement.observed.clone());
        self.desk.send_replace(arrangement.desk.clone());
        if timeout(FOLLOW, followed.wait_for(|times| *times >= all)).await.is_err() {
            tracing::warn!("a thread is busy and goes over to the new configuration later");
        }
    }
}

/// What the process was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end (SIGTERM, SIGINT).
    End,
    /// To read its configuration again (SIGHUP).
    Reload,
    /// To have another process take over (SIGUSR2).
    HandOver,
}

#[derive(Debug)]
struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    hup: unix::Signal,
    usr2: unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            term: unix::signal(SignalKind::terminate())?,
            int: unix::signal(SignalKind::interrupt())?,
            hup: unix::signal(SignalKind::hangup())?,
            usr2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits until the process is asked to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.term.recv() => Signal::End,
            _ = self.int.recv() => Signal::End,
            _ = self.usr2.recv() => Signal::HandOver,
            _ = self.hup.recv() => Signal::Reload,
        }
    }
}

impl Gateway {
    /// Starts a gateway: everything that can fail has been tried when this returns.
    pub fn start(settings: &Settings, passed: &mut Passed) -> Result<Self, StartError> {
        Self::start_on(settings, State::open_for(settings, Use::Serve)?, passed)
    }

    /// Starts a gateway on an open state.
    pub fn start_on(settings: &Settings, state: State, passed: &mut Passed) -> Result<Self, StartError> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let back_office = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("office")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        // First of all: until somebody listens, a signal ends the process.
        let signals = back_office.block_on(async { Signals::listen() }).map_err(StartError::Threads)?;
        let known_change = back_office.block_on(state.store.last_change()).map_err(KeysError::Store)?;
        let foundation = back_office.block_on(Foundation::lay(settings, state))?;
        let current = Arrangement::first(settings, &foundation, back_office.handle())?;
        let Listeners { addresses, by_thread, mut kept, redirects } = Listeners::open(settings, passed)?;
        let outlets = Outlets::of(&current);
        kept.extend(observe(settings, &back_office, outlets.observed.subscribe(), passed)?);
        let failover = current.desk.sign_in.failover().clone();
        let silent = back_office.block_on(greet_all(&failover));
        back_office.spawn(greet_again(failover, silent));
        let household = Household {
            store: foundation.store.clone(),
            sessions: foundation.sessions.clone(),
            keys: foundation.keys.clone(),
            audit: foundation.audit.clone(),
            desk: outlets.desk.subscribe(),
            clock: foundation.clock.clone(),
            known_change,
        };
        keep_house(back_office.handle(), household, settings);
        let watched = (outlets.serving.subscribe(), foundation.clock.clone());
        back_office.spawn(tls::watch(watched.0, watched.1));
        back_office.spawn(acme::keep(acme::Renewal {
            serving: outlets.serving.subscribe(),
            kept: foundation.tls.clone(),
            clock: foundation.clock.clone(),
        }));
        let known = Arc::new(redirect::Redirect {
            challenges: foundation.tls.challenges().clone(),
            serving: outlets.serving.subscribe(),
            public_url: settings.server.public_url.clone(),
        });
        for socket in redirects {
            back_office.spawn(redirect::serve(socket, known.clone()));
        }

        let (drain, draining) = watch::channel(Drain::No);
        let terms = front::Terms {
            serving: outlets.serving.subscribe(),
            followed: outlets.followed.clone(),
            connections: foundation.places.clone(),
            most_connections: foundation.most_connections,
            drain: draining,
            drain_timeout: settings.server.drain_timeout,
            proxy_protocol: settings.server.proxy_protocol,
            addresses: Arc::new(Addresses::new(settings.server.max_connections_per_address)),
            offenders: Arc::default(),
        };
        check_upstreams(terms.serving.clone(), terms.drain.clone()).map_err(StartError::Threads)?;
        let heartbeat = Heartbeat {
            observed: outlets.observed.subscribe(),
            serving: terms.serving.clone(),
            places: terms.connections.clone(),
            addresses: addresses.clone(),
            threads: by_thread.len(),
        };
        let fronts = fronts(by_thread, &terms).map_err(StartError::Threads)?;
        heartbeat.begin(back_office.handle(), settings);
        Ok(Self { addresses, back_office, signals, kept, fronts, drain, foundation, current, outlets })
    }

    /// Waits until the process is asked for something.
    pub fn wait(&mut self) -> Signal {
        self.back_office.block_on(self.signals.next())
    }

    /// Tells monitors which configuration it has from now on.
    pub fn is_configured(&self, hash: &str) {
        self.foundation.metrics.set_configuration(hash, self.foundation.clock.now());
    }

    /// Goes over to another configuration, or stays with the one it has. What cannot be changed while it runs must be
    /// as it was.
    fn take_over(&mut self, settings: &Settings) -> Result<(), StartError> {
        let next = self.current.next(settings, &self.foundation)?;
        self.back_office.block_on(next.probe()).map_err(StartError::Probe)?;
        self.back_office.block_on(self.outlets.take_over(&next, self.fronts.len()));
        self.current = next;
        Ok(())
    }

    /// Finishes what is under way, writes down what is only in memory, and stops.
    pub fn stop(self) {
        self.drain(Drain::Stops);
    }

    /// The same once another process serves: tunnels have their time, too.
    pub fn retire(self) {
        self.drain(Drain::HandsOver);
    }

    fn drain(mut self, how: Drain) {
        // Whoever comes from now on is somebody else's, or refused: nobody is to wait in a queue that is given up.
        self.kept.clear();
        let _ = self.drain.send(how);
        for front in self.fronts {
            match front.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a thread of the front ended"),
                Err(_) => tracing::error!("a thread of the front panicked"),
            }
        }
        let write_down = async {
            self.foundation.sessions.catch_up().await?;
            self.foundation.audit.catch_up().await
        };
        match self.back_office.block_on(async { timeout(LAST_WORDS, write_down).await }) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "what is only in memory could not be written down"),
            Err(_) => {
                tracing::warn!("what is only in memory could not be written down: the store gives no answer")
            }
        }
        for session in self.foundation.sessions.unrecorded() {
            tracing::error!(%session, "a session that was signed out will come back with the store; revoke it");
        }
        self.back_office.shutdown_timeout(Duration::from_secs(5));
    }
}

/// A thread that checks upstreams until the gateway stops; which ones changes with the configuration.
fn check_upstreams(
    mut serving: watch::Receiver<Arc<front::Serving>>,
    mut drain: watch::Receiver<Drain>,
) -> io::Result<()> {
    let runtime =
        Builder::new_current_thread().enable_all().max_blocking_threads(front::RESOLVERS).build()?;
    let check = async move {
        loop {
            let applications = serving.borrow_and_update().generation.applications.clone();
            tokio::select! {
                // Where nothing is checked, nothing is to be done until that changes.
                () = async { applications.check().await; std::future::pending().await } => {}
                changed = serving.changed() => if changed.is_err() { return },
                _ = drain.wait_for(Drain::is_on) => return,
            }
        }
    };
    let check = move || LocalSet::new().block_on(&runtime, check);
    thread::Builder::new().name("checks".to_owned()).spawn(check).map(drop)
}

/// A thread of the front for each set of listeners.
fn fronts(
    bound: Vec<Vec<listener::Bound>>,
    terms: &front::Terms,
) -> io::Result<Vec<thread::JoinHandle<io::Result<()>>>> {
    let spawn = |(number, bound): (usize, Vec<listener::Bound>)| {
        let terms = terms.clone();
        let serve = move || front::run(bound, &terms);
        thread::Builder::new().name(format!("front-{number}")).spawn(serve)
    };
    bound.into_iter().enumerate().map(spawn).collect()
}

/// Opens the observe listener, or takes it over; the socket once more, to be passed on.
fn observe(
    settings: &Settings,
    back_office: &Runtime,
    observed: watch::Receiver<Arc<observe::Observed>>,
    passed: &mut Passed,
) -> Result<Option<Kept>, StartError> {
    let address = settings.observe.listen;
    let listener = passed.take_observe().map_or_else(|| std::net::TcpListener::bind(address), Ok);
    let opened = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        let kept = Kept { name: OBSERVE.to_owned(), socket: listener.try_clone()?.into() };
        let _entered = back_office.enter();
        Ok((tokio::net::TcpListener::from_std(listener)?, kept))
    });
    match opened {
        Ok((listener, kept)) => {
            // Port 0 takes a free one; a monitor must learn which.
            let address = listener.local_addr().unwrap_or(address);
            tracing::info!(%address, "health and metrics are told");
            drop(back_office.spawn(observe::serve(listener, observed)));
            Ok(Some(kept))
        }
        Err(error) if settings.observe.explicit => Err(StartError::Listen(address.to_string(), error)),
        Err(error) => {
            tracing::warn!(%address, %error, "health is not told: set observe.listen to a free address");
            Ok(None)
        }
    }
}
