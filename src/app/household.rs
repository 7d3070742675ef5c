//! What goes on behind the requests: changes of other processes, what was abandoned, what is old.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, timeout};

use super::clock_watch;
use super::complaint::Complaint;
use crate::access::keys::Keys;
use crate::access::outage::Outage;
use crate::access::sessions::{Sessions, write_every};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::Settings;
use crate::pages::Desk;
use crate::store::{CHANGES_AT_ONCE, Change, Store, StoreError};

/// Whether the grace of an outage is over is looked at this often.
const KEEP_GRACE_EVERY: Duration = Duration::from_millis(250);
/// A store that says nothing for so long is away, though what was asked may still be answered.
const LATE: Duration = Duration::from_secs(2);
/// What the store did not take is offered again this often.
const CATCH_UP_EVERY: Duration = Duration::from_secs(5);
/// Codes that nobody typed are looked for this often.
const RELEASE_EVERY: Duration = Duration::from_secs(10);
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// A purge that removed so many may have left some.
const FULL_BATCH: usize = 1_000;

/// What the household looks after.
pub(super) struct Household {
    pub(super) store: Store,
    pub(super) sessions: Arc<Sessions>,
    pub(super) keys: Arc<Keys>,
    pub(super) audit: Audit,
    /// It changes with the configuration.
    pub(super) desk: watch::Receiver<Arc<Desk>>,
    pub(super) clock: Arc<dyn Clock>,
    /// The newest change before any session was in use.
    pub(super) known_change: i64,
}

pub(super) fn keep_house(office: &Handle, household: Household, settings: &Settings) {
    let Household { store, sessions, keys, audit, desk, clock, known_change } = household;
    let trail = Trail { sessions: sessions.clone(), audit };
    let listener = Listener { store: store.clone(), trail: trail.clone(), keys, known: known_change };
    office.spawn(listener.listen());
    office.spawn(keep_grace(sessions.clone()));
    office.spawn(settle(sessions.clone()));
    office.spawn(clock_watch::watch(clock.clone()));
    office.spawn(catch_up(trail));
    office.spawn(release(desk.clone()));
    office.spawn(tidy(desk, clock.clone(), write_every(settings.session.idle_timeout)));
    office.spawn(purge_audit(store.clone(), sessions.clone(), clock.clone(), settings.store.keep_audit));
    office.spawn(purge(store, sessions, clock, settings.session.absolute_timeout));
}

fn every(period: Duration) -> Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Reads on from the last change it knows of. A store that fails is asked again: nothing is missed meanwhile.
struct Listener {
    store: Store,
    trail: Trail,
    keys: Arc<Keys>,
    known: i64,
}

/// What the store is offered again when it did not take it.
#[derive(Clone)]
struct Trail {
    sessions: Arc<Sessions>,
    audit: Audit,
}

impl Trail {
    fn is_behind(&self) -> bool {
        self.sessions.is_behind() || self.audit.is_behind()
    }

    async fn offer(&self) -> Result<(), StoreError> {
        self.sessions.catch_up().await?;
        self.audit.catch_up().await
    }
}

impl Listener {
    async fn listen(mut self) {
        let mut reload_keys = false;
        loop {
            self.store.changed().await;
            // What fails is tried again the next time.
            reload_keys |= self.hear().await;
            reload_keys = reload_keys && !reload(&self.keys).await;
        }
    }

    /// Hears of all that changed; whether the keys did.
    async fn hear(&mut self) -> bool {
        let sessions = self.trail.sessions.clone();
        let outage = sessions.outage();
        let mut keys_changed = false;
        loop {
            let asked = outage.moment();
            let changes = match self.read(outage).await {
                Ok(changes) => changes,
                Err(error) => {
                    outage.begin(&error);
                    return keys_changed;
                }
            };
            let many = changes.len() >= CHANGES_AT_ONCE;
            for change in &changes {
                if let Change::BreakGlassMade(reference) = change {
                    self.trail.audit.hears_of_emergency_code(*reference).await;
                }
            }
            if !changes.is_empty() {
                keys_changed |= sessions.hear(changes);
            }
            // Nobody is let through again by half of what happened meanwhile.
            if !many {
                let was_away = outage.is_away();
                sessions.caught_up(asked);
                if was_away {
                    self.catch_up();
                }
                return keys_changed;
            }
        }
    }

    async fn read(&mut self, outage: &Outage) -> Result<Vec<Change>, StoreError> {
        let mut reading = pin!(self.store.changes_after(self.known));
        let answer = match timeout(LATE, &mut reading).await {
            Ok(answer) => answer,
            Err(_) => {
                outage.begin(&"it gives no answer");
                reading.await
            }
        };
        let (number, changes) = answer?;
        self.known = number;
        Ok(changes)
    }

    /// Writes down who signed out meanwhile, and what was used, before another gateway takes somebody for idle. Beside
    /// the listening, which waits for no writer.
    fn catch_up(&self) {
        let trail = self.trail.clone();
        // What is not taken now is offered again soon, and told then.
        tokio::spawn(async move { trail.offer().await });
    }
}

/// Whether the keys were read.
async fn reload(keys: &Keys) -> bool {
    let reloaded = keys.reload().await;
    match &reloaded {
        Ok(()) => tracing::info!("the signing keys were read again"),
        Err(error) => tracing::error!(%error, "the signing keys could not be read again; the old ones stay"),
    }
    reloaded.is_ok()
}

/// Beside the listener, which may be waiting for the store.
async fn keep_grace(sessions: Arc<Sessions>) {
    let mut ticks = every(KEEP_GRACE_EVERY);
    loop {
        ticks.tick().await;
        sessions.keep_grace();
    }
}

async fn settle(sessions: Arc<Sessions>) {
    loop {
        sessions.settle().await;
    }
}

async fn catch_up(trail: Trail) {
    let mut ticks = every(CATCH_UP_EVERY);
    let mut complaint = Complaint::about("what happened cannot be written down in the store");
    loop {
        ticks.tick().await;
        if trail.is_behind() && !trail.sessions.outage().is_away() {
            complaint.tell(&trail.offer().await);
        }
    }
}

async fn release(desk: watch::Receiver<Arc<Desk>>) {
    let mut ticks = every(RELEASE_EVERY);
    let mut complaint = Complaint::about("codes that nobody typed cannot be looked for");
    loop {
        ticks.tick().await;
        let desk = desk.borrow().clone();
        if !desk.sessions.outage().is_away() {
            complaint.tell(&desk.sign_in.release_abandoned().await);
        }
    }
}

async fn tidy(desk: watch::Receiver<Arc<Desk>>, clock: Arc<dyn Clock>, period: Duration) {
    let mut ticks = every(period);
    let mut complaint = Complaint::about("the last use of sessions cannot be written down");
    loop {
        ticks.tick().await;
        let desk = desk.borrow().clone();
        desk.sign_in.tidy();
        complaint.tell(&desk.sessions.tidy(clock.now()).await);
    }
}

async fn purge(store: Store, sessions: Arc<Sessions>, clock: Arc<dyn Clock>, key_lifetime: Duration) {
    let some = || store.purge(clock.now(), key_lifetime);
    in_batches(&sessions, Complaint::about("old records cannot be purged"), some).await;
}

/// Lines of the audit trail go when they are as old as this.
async fn purge_audit(store: Store, sessions: Arc<Sessions>, clock: Arc<dyn Clock>, keep: Duration) {
    let some = || store.purge_audit(clock.now() - keep, clock.now());
    in_batches(&sessions, Complaint::about("the audit trail cannot be purged"), some).await;
}

/// In small batches, so that nobody waits long behind one; again at once while there is more.
async fn in_batches<F>(sessions: &Sessions, mut complaint: Complaint, some: impl Fn() -> F)
where
    F: Future<Output = Result<usize, StoreError>>,
{
    let mut ticks = every(PURGE_EVERY);
    loop {
        ticks.tick().await;
        while !sessions.outage().is_away() {
            let gone = some().await;
            complaint.tell(&gone);
            if !gone.is_ok_and(|gone| gone >= FULL_BATCH) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
