//! What goes on behind the requests: changes of other processes, what was abandoned, what is old.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;

use crate::access::keys::Keys;
use crate::access::sessions::Sessions;
use crate::clock::Clock;
use crate::config::Settings;
use crate::pages::Desk;
use crate::store::Store;

/// When sessions were last used is written down this often.
const TIDY_EVERY: Duration = Duration::from_secs(10);
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
    pub(super) desk: Arc<Desk>,
    pub(super) clock: Arc<dyn Clock>,
    /// The newest change before any session was in use.
    pub(super) known_change: i64,
}

pub(super) fn keep_house(office: &Handle, household: Household, settings: &Settings) {
    let Household { store, sessions, keys, desk, clock, known_change } = household;
    office.spawn(listen_for_changes(store.clone(), sessions.clone(), keys, known_change));
    let abandoned = desk.clone();
    office.spawn(async move {
        let mut ticks = tokio::time::interval(RELEASE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            abandoned.sign_in.release_abandoned().await;
        }
    });
    let tidy_clock = clock.clone();
    office.spawn(async move {
        let mut ticks = tokio::time::interval(TIDY_EVERY);
        loop {
            ticks.tick().await;
            desk.sign_in.tidy();
            if let Err(error) = sessions.tidy(tidy_clock.now()).await {
                tracing::warn!(%error, "the last use of sessions could not be written down");
            }
        }
    });
    let key_lifetime = settings.session.absolute_timeout;
    office.spawn(async move {
        let mut ticks = tokio::time::interval(PURGE_EVERY);
        loop {
            ticks.tick().await;
            // In small batches, so that nobody waits long behind one; again at once while there is more.
            loop {
                match store.purge(clock.now(), key_lifetime).await {
                    Ok(gone) if gone >= FULL_BATCH => tokio::time::sleep(Duration::from_millis(100)).await,
                    Ok(_) => break,
                    Err(error) => break tracing::warn!(%error, "old records could not be purged"),
                }
            }
        }
    });
}

/// Reads on from the last change it knows of. A store that fails is asked again: nothing is missed meanwhile.
async fn listen_for_changes(store: Store, sessions: Arc<Sessions>, keys: Arc<Keys>, mut known: i64) {
    let mut reload_keys = false;
    loop {
        store.changed().await;
        match store.changes_after(known).await {
            Ok((number, changes)) => {
                known = number;
                if !changes.is_empty() {
                    reload_keys |= sessions.hear(changes);
                }
            }
            Err(error) => tracing::warn!(%error, "changes cannot be read"),
        }
        // What fails is tried again with the next tick.
        reload_keys = reload_keys && !reload(&keys).await;
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
