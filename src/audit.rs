//! One line in the log and one in the audit trail for everything worth reading, and a figure for monitors.

pub mod json;
pub mod verify;
pub mod webhook;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::crypto;
use crate::domain::event::{Event, What};
use crate::domain::id::Reference;
use crate::metrics::Metrics;
use crate::store::{About, Store, StoreError};

/// Writes all three.
#[derive(Clone, Debug)]
pub struct Audit {
    store: Store,
    metrics: Metrics,
    /// Lines that the store did not take, oldest first.
    behind: Arc<Mutex<VecDeque<Event>>>,
    /// Whoever writes these: one at a time, in their order. Of a write whose outcome nobody knows a line may stand twice.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// How often the store did not take them.
    refused: Arc<AtomicU64>,
    /// How many lines strangers had of late.
    strangers: Arc<DefaultDirectRateLimiter>,
}

/// So many lines in a minute for what costs a stranger nothing: each is sealed under a lock that all gateways share.
const STRANGERS: NonZeroU32 = NonZeroU32::new(300).expect("it is more than none");

/// So many lines wait for the store; what comes then is in the log only.
const MOST_BEHIND: usize = 10_000;
/// So many are written together.
const BATCH: usize = 100;

impl Audit {
    /// An audit trail in this store.
    pub fn new(store: Store, metrics: Metrics) -> Self {
        let strangers = Arc::new(RateLimiter::direct(Quota::per_minute(STRANGERS)));
        Self {
            store,
            metrics,
            behind: Arc::default(),
            turn: Arc::default(),
            refused: Arc::default(),
            strangers,
        }
    }

    /// Records an event. When the store cannot, the event is in the log all the same, and in the trail once it can; whoever
    /// answers for it must not say meanwhile that it happened, since what is kept does not outlive the process.
    pub async fn record(&self, event: Event) -> Result<(), StoreError> {
        self.log_and_count(&event);
        // In their order.
        if self.is_behind()
            && let Err(error) = self.write_behind(true).await
        {
            self.keep(event);
            return Err(error);
        }
        let appended = self.store.append_audit(vec![event.clone()]).await;
        if let Err(error) = &appended {
            tracing::error!(%error, "the audit trail cannot be written; what happens is kept for it");
            self.keep(event);
        }
        appended
    }

    /// Whether there is room for a line about somebody who comes in vain; else it is counted only.
    pub fn has_room(&self, what: What) -> bool {
        if !matches!(what, What::InputRefused | What::LimitReached) || self.strangers.check().is_ok() {
            return true;
        }
        self.metrics.trail().leave_out(what);
        false
    }

    /// The log and the figures have what stands in the trail already, written together with what it tells of.
    pub fn log_and_count(&self, event: &Event) {
        log(event);
        self.metrics.count(event);
    }

    /// An administrator made an emergency code by a command, which has written it down.
    pub async fn hears_of_emergency_code(&self, reference: Reference) {
        let what = What::BreakGlassMade;
        self.metrics.count_event(what);
        let written = self.store.audit(About { reference: Some(reference), user: None }, 10).await;
        let line = written.unwrap_or_default().into_iter().find(|line| line.what == what.as_str());
        let (user, detail) =
            line.map(|line| (line.user.unwrap_or_default(), line.detail)).unwrap_or_default();
        tracing::error!(
            event = what.as_str(),
            %reference,
            user,
            detail,
            "{what}: run vestibule audit show {reference}",
            what = what.as_str()
        );
    }

    /// Tells the log where the trail ends: what is kept elsewhere cannot be taken away with it.
    pub fn tell_end(&self) {
        if let Some((line, seal)) = self.store.last_line() {
            let end = format!("{line}:{}", crypto::hexadecimal(&seal));
            tracing::info!(end, "the audit trail ends here");
        }
    }

    /// The figures.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether lines wait for the store.
    pub fn is_behind(&self) -> bool {
        !self.lock().is_empty()
    }

    /// How many do.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Writes the lines that wait.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.write_behind(false).await
    }

    /// Writes them, but, where `once`, not if the store refused them to somebody whose turn was waited for: nobody waits
    /// for a row of those that fail.
    async fn write_behind(&self, once: bool) -> Result<(), StoreError> {
        let refused = self.refused.load(Ordering::Relaxed);
        let _turn = self.turn.lock().await;
        if once && self.refused.load(Ordering::Relaxed) != refused {
            return Err(StoreError::Unavailable);
        }
        loop {
            let next: Vec<Event> = self.lock().iter().take(BATCH).cloned().collect();
            if next.is_empty() {
                return Ok(());
            }
            let count = next.len();
            if let Err(error) = self.store.append_audit(next).await {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(error);
            }
            self.lock().drain(..count);
        }
    }

    fn keep(&self, event: Event) {
        let mut behind = self.lock();
        if behind.len() < MOST_BEHIND {
            behind.push_back(event);
        } else {
            self.metrics.count_lost_audit_line();
            tracing::error!("too many lines wait for the audit trail; this one is in the log only");
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.behind.lock().expect("nobody panics while holding it")
    }
}

fn log(event: &Event) {
    let reference = event.reference.map(|reference| reference.to_string()).unwrap_or_default();
    let user = event.user.as_deref().unwrap_or_default();
    let handle = event.message.as_ref().and_then(|message| message.handle.as_deref()).unwrap_or_default();
    let (what, client, detail) = (event.what.as_str(), &event.client, &event.detail);
    match event.what {
        What::BreakGlassMade | What::BreakGlassUsed => {
            tracing::error!(event = what, %reference, user, client, handle, detail, "{what}: somebody goes around the phone");
        }
        What::SendFailed
        | What::CheckFailed
        | What::GuardTripped(_)
        | What::ConfigurationRefused
        | What::BreakGlassRefused => {
            tracing::warn!(event = what, %reference, user, client, handle, detail, "{what}");
        }
        What::ChallengeStarted
        | What::CodeResent
        | What::CodeSent
        | What::WrongCode
        | What::InputRefused
        | What::LimitReached
        | What::NumberRefused
        | What::SendingReopened
        | What::SessionOpened
        | What::SessionEnded
        | What::UserChanged
        | What::KeyRotated
        | What::StoreRestored
        | What::StoreMoved
        | What::GatewayStarted
        | What::GatewayStopped
        | What::ConfigurationReloaded
        | What::RequestDenied
        | What::PeerRefused
        | What::AuditPurged => {
            tracing::info!(event = what, %reference, user, client, handle, detail, "{what}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::store::Use;

    fn event(detail: &str) -> Event {
        Event {
            at: Timestamp::from_unix(1_800_000_000),
            what: What::WrongCode,
            reference: None,
            user: None,
            client: String::new(),
            detail: detail.to_owned(),
            message: None,
        }
    }

    #[tokio::test]
    async fn strangers_fill_no_trail_and_nobody_is_left_out_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let chain = Some(crypto::MasterKey::new(&[7; 32]).chain());
        let store = Store::sqlite(&directory.path().join("vestibule.db"), Use::Beside, chain).unwrap();
        let audit = Audit::new(store.clone(), Metrics::new(&store));
        let written = (0..1_000).filter(|_| audit.has_room(What::InputRefused)).count();
        assert!((300..400).contains(&written), "{written}");
        assert!(audit.has_room(What::WrongCode) && audit.has_room(What::BreakGlassRefused));
    }

    #[tokio::test]
    async fn what_waits_is_written_with_the_next_line_and_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vestibule.db");
        let store =
            Store::sqlite(&path, Use::Beside, Some(crypto::MasterKey::new(&[7; 32]).chain())).unwrap();
        let file = rusqlite::Connection::open(&path).unwrap();
        let audit = Audit::new(store.clone(), Metrics::new(&store));
        file.execute_batch("ALTER TABLE audit RENAME TO gone").unwrap();
        for detail in ["one", "two"] {
            assert!(audit.record(event(detail)).await.is_err() && audit.is_behind());
        }
        file.execute_batch("ALTER TABLE gone RENAME TO audit").unwrap();
        audit.record(event("three")).await.unwrap();
        assert!(!audit.is_behind());
        let lines = store.audit(About::default(), 9).await.unwrap();
        let details: Vec<_> = lines.into_iter().map(|line| line.detail).collect();
        assert_eq!(details, ["one", "two", "three"]);
    }
}
