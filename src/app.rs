//! Wiring: the only room that knows every concrete type.

mod arrangement;
mod clock_watch;
mod complaint;
mod greeting;
mod handover;
mod heartbeat;
mod household;
mod listeners;
mod providers;
mod reload;
mod signals;
mod start_error;
mod state;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;

pub use self::handover::{HandedOver, HandoverError, Predecessor, hand_over};
pub use self::providers::{failover, lines};
pub use self::reload::reload;
pub use self::signals::Signal;
pub use self::start_error::{NOT_A_KEY, StartError};
pub use self::state::{State, master, master_key, name, of_the_keys, open};

use self::arrangement::{Arrangement, Foundation};
use self::greeting::{greet_again, greet_all};
use self::heartbeat::Heartbeat;
use self::household::{Household, keep_house};
use self::listeners::{Kept, Listeners};
use self::signals::{Calls, Signals};
use crate::access::keys::KeysError;
use crate::audit::webhook::{Delivery, Webhook};
use crate::config::Settings;
use crate::domain::event::What;
use crate::pages::Desk;
use crate::server::addresses::Addresses;
use crate::server::front::Drain;
use crate::server::passed::{OBSERVE, Passed};
use crate::server::{acme, front, listener, observe, redirect, tls};
use crate::store::{StoreError, Use};

/// The store has so long to take the last use of sessions when the gateway stops.
const SESSIONS_TAKE: Duration = Duration::from_secs(6);
/// Then the lines of the audit trail that wait.
const LINES_TAKE: Duration = Duration::from_secs(3);
/// And the last line.
const NOTE_TAKES: Duration = Duration::from_secs(3);

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
    /// The audit trail's way to somebody else.
    webhook: Option<Delivery>,
}

/// The threads for what no request waits for. Whoever opens it first of all misses no call to reload or to hand over.
#[derive(Debug)]
pub struct Office {
    runtime: Runtime,
    calls: Calls,
}

impl Office {
    /// Starts them.
    pub fn open() -> Result<Self, StartError> {
        let mut threads = Builder::new_multi_thread();
        let runtime = threads.worker_threads(2).thread_name("office").enable_all().build();
        let runtime = runtime.map_err(StartError::Threads)?;
        let calls = runtime.block_on(async { Calls::hear() }).map_err(StartError::Threads)?;
        Ok(Self { runtime, calls })
    }
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

impl Gateway {
    /// Starts a gateway: everything that can fail has been tried when this returns.
    pub fn start(
        office: Office,
        settings: &Settings,
        passed: &mut Passed,
        use_: Use,
    ) -> Result<Self, StartError> {
        Self::start_on(office, settings, State::open_for(settings, use_)?, passed)
    }

    /// Starts a gateway on an open state.
    pub fn start_on(
        office: Office,
        settings: &Settings,
        state: State,
        passed: &mut Passed,
    ) -> Result<Self, StartError> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let Office { runtime: back_office, calls } = office;
        let signals = back_office.block_on(async { Signals::listen(calls) }).map_err(StartError::Threads)?;
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
        let webhook = settings.audit.webhook.clone().map(|webhook| {
            let Foundation { store, metrics, clock, .. } = &foundation;
            Webhook::new(webhook, store.clone(), metrics.clone(), clock.clone())
        });
        let webhook = webhook.transpose()?;
        // Its sockets are its own by now, and nothing else goes on yet.
        back_office.block_on(foundation.note(What::GatewayStarted, VERSION.to_owned()));
        foundation.audit.tell_end();
        keep_house(back_office.handle(), household, settings);
        let webhook = webhook.map(|webhook| webhook.begin(back_office.handle()));
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
        Ok(Self {
            addresses,
            back_office,
            signals,
            kept,
            fronts,
            drain,
            foundation,
            current,
            outlets,
            webhook,
        })
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
        if how == Drain::HandsOver
            && let Some(webhook) = &mut self.webhook
        {
            // The other process brings lines from now on, however long tunnels last here.
            webhook.stop();
        }
        for front in std::mem::take(&mut self.fronts) {
            match front.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a thread of the front ended"),
                Err(_) => tracing::error!("a thread of the front panicked"),
            }
        }
        self.foundation.traces.end();
        self.last_words(how);
        for session in self.foundation.sessions.unrecorded() {
            tracing::error!(%session, "a session that was signed out will come back with the store; revoke it");
        }
        self.back_office.shutdown_timeout(Duration::from_secs(5));
    }

    /// What is only in memory. Sessions first, without which somebody would be in again; each has its own time, so that
    /// none is lost for what another waits for.
    fn last_words(&mut self, how: Drain) {
        let ended = if how == Drain::HandsOver { "another process serves" } else { "as it was told to" };
        let Foundation { sessions, audit, .. } = &self.foundation;
        self.back_office.block_on(async {
            in_time("the last use of sessions", SESSIONS_TAKE, sessions.catch_up()).await;
            in_time("lines of the audit trail", LINES_TAKE, audit.catch_up()).await;
            let note = self.foundation.note(What::GatewayStopped, ended.to_owned());
            if timeout(NOTE_TAKES, note).await.is_err() {
                tracing::warn!("that the gateway stops is in the log only: the store gives no answer");
            }
            audit.tell_end();
            if let Some(webhook) = self.webhook.take() {
                webhook.end().await;
            }
        });
    }
}

/// What the store does not take in time is told.
async fn in_time(what: &str, time: Duration, written: impl Future<Output = Result<(), StoreError>>) {
    match timeout(time, written).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "{what}: what is only in memory could not be written down"),
        Err(_) => {
            tracing::warn!(
                "{what}: what is only in memory could not be written down: the store gives no answer"
            )
        }
    }
}

/// What the audit trail says of a start.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"));

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
    let listener = passed.take_observe(address).map_or_else(|| std::net::TcpListener::bind(address), Ok);
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
