//! One line in the log and one in the audit trail for everything worth reading, and a figure for monitors.

use crate::domain::event::{Event, What};
use crate::metrics::Metrics;
use crate::store::Store;

/// Writes all three.
#[derive(Clone, Debug)]
pub struct Audit {
    store: Store,
    metrics: Metrics,
}

impl Audit {
    /// An audit trail in this store.
    pub fn new(store: Store, metrics: Metrics) -> Self {
        Self { store, metrics }
    }

    /// Records an event. When the store cannot, the log says so and the event is in the log all the same.
    pub async fn record(&self, event: Event) {
        log(&event);
        self.metrics.count(&event);
        if let Err(error) = self.store.append_audit(vec![event]).await {
            tracing::error!(%error, "the audit trail could not be written");
        }
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
        | What::KeyRotated => tracing::info!(%reference, user, client, handle, detail, "{what}"),
    }
}
