//! One line in the log and one in the audit trail for everything worth reading, and a figure for monitors.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::domain::event::{Event, What};
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

/// Writes all three.
#[derive(Clone, Debug)]
pub struct Audit {
    store: Store,
    metrics: Metrics,
    /// Lines that the store did not take, oldest first.
    behind: Arc<Mutex<VecDeque<Event>>>,
    /// Whoever writes these, so that none is written twice.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// So many lines wait for the store; what comes then is in the log only.
const MOST_BEHIND: usize = 10_000;
/// So many are written together.
const BATCH: usize = 100;

impl Audit {
    /// An audit trail in this store.
    pub fn new(store: Store, metrics: Metrics) -> Self {
        Self { store, metrics, behind: Arc::default(), turn: Arc::default() }
    }

    /// Records an event. When the store cannot, the event is in the log all the same, and in the trail once it can; whoever
    /// answers for it must not say meanwhile that it happened, since what is kept does not outlive the process.
    pub async fn record(&self, event: Event) -> Result<(), StoreError> {
        log(&event);
        self.metrics.count(&event);
        // In their order, and nobody waits for a store that did not take the one before.
        if self.is_behind() {
            self.keep(event);
            return Err(StoreError::Unavailable);
        }
        let appended = self.store.append_audit(vec![event.clone()]).await;
        if let Err(error) = &appended {
            tracing::error!(%error, "the audit trail cannot be written; what happens is kept for it");
            self.keep(event);
        }
        appended
    }

    /// Whether lines wait for the store.
    pub fn is_behind(&self) -> bool {
        !self.lock().is_empty()
    }
    /// The log and the figures have what stands in the trail already, written together with what it tells of.
    pub fn is_written(&self, event: &Event) {
        log(event);
        self.metrics.count(event);
    }


    /// Writes the lines that wait.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        loop {
            let next: Vec<Event> = self.lock().iter().take(BATCH).cloned().collect();
            if next.is_empty() {
                return Ok(());
            }
            let count = next.len();
            self.store.append_audit(next).await?;
            self.lock().drain(..count);
        }
    }

    fn keep(&self, event: Event) {
        let mut behind = self.lock();
        if behind.len() < MOST_BEHIND {
            behind.push_back(event);
        } else {
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
        What::SendFailed | What::CheckFailed | What::GuardTripped(_) => {
            tracing::warn!(%reference, user, client, handle, detail, "{what}");
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
        | What::StoreMoved => tracing::info!(%reference, user, client, handle, detail, "{what}"),
    }
}
