//! What the audit trail says of signing in: whom and what it is about, beside what happened.

use std::net::IpAddr;
use std::sync::Arc;

use crate::audit::Audit;
use crate::clock::Clock;
use crate::crypto;
use crate::domain::challenge::Challenge;
use crate::domain::channel::Channel;
use crate::domain::event::{Event, Message, What};
use crate::domain::id::Reference;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::Holder;
use crate::domain::time::Timestamp;
use crate::domain::user::UserName;
use crate::metrics::Code;
use crate::store::StoreError;

/// Whom and what the audit trail is about, beside what happened.
#[derive(Clone, Debug)]
pub(super) struct Trail {
    pub(super) reference: Reference,
    pub(super) user: Option<UserName>,
    pub(super) client: IpAddr,
    /// The call to a provider that a failure came from.
    pub(super) call: Option<Message>,
}

impl Trail {
    /// A trail that begins here.
    pub(super) fn new(client: IpAddr) -> Self {
        Self { reference: Reference::from_random(crypto::random()), user: None, client, call: None }
    }

    /// The trail of a challenge, where there is one.
    pub(super) fn of(challenge: Option<&Challenge>, client: IpAddr) -> Self {
        challenge.map_or_else(
            || Self::new(client),
            |of| Self { reference: of.reference, user: of.user_name.clone(), client, call: None },
        )
    }
}

/// Writes down what happens while somebody signs in. That they are in, or typed a wrong code, is not told to them unless it
/// is written down.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    audit: Audit,
    clock: Arc<dyn Clock>,
}

impl Writer {
    pub(super) fn new(audit: Audit, clock: Arc<dyn Clock>) -> Self {
        Self { audit, clock }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Something that no provider took part in.
    pub(super) async fn note(
        &self,
        what: What,
        trail: &Trail,
        detail: impl Into<String>,
    ) -> Result<(), StoreError> {
        self.write(what, trail, detail.into(), None).await
    }

    /// Something that stands whether it is written down at once or later.
    pub(super) async fn note_if_possible(&self, what: What, trail: &Trail, detail: &str) {
        // The log has it, and the trail once the store takes it.
        let _ = self.note(what, trail, detail).await;
    }

    /// Something that a provider took part in.
    pub(super) async fn note_call(
        &self,
        what: What,
        trail: &Trail,
        detail: impl Into<String>,
        message: Message,
    ) -> Result<(), StoreError> {
        self.write(what, trail, detail.into(), Some(message)).await
    }

    async fn write(
        &self,
        what: What,
        trail: &Trail,
        detail: String,
        message: Option<Message>,
    ) -> Result<(), StoreError> {
        let event = self.event(what, trail, detail, message);
        self.audit.record(event).await
    }

    /// The line itself.
    pub(super) fn event(&self, what: What, trail: &Trail, detail: String, message: Option<Message>) -> Event {
        Event {
            at: self.clock.now(),
            what,
            reference: Some(trail.reference),
            user: trail.user.as_ref().map(UserName::to_string),
            client: trail.client.to_string(),
            detail,
            message,
        }
    }

    /// Counts what became of a code that went to a number. Not waited for: what its country is takes up to milliseconds to
    /// find out, which would tell that a number is known.
    pub(super) fn count(&self, code: Code, provider: &str, channel: Channel, to: PhoneNumber) {
        let (metrics, provider) = (self.audit.metrics().clone(), provider.to_owned());
        tokio::task::spawn_blocking(move || metrics.count_code(code, &provider, channel, to.country()));
    }

    /// A line stands in the trail already, written together with what it tells of.
    pub(super) fn log_and_count(&self, event: &Event) {
        self.audit.log_and_count(event);
    }
}

/// What a call about the code of a challenge came to.
pub(super) fn call(challenge: &Challenge, holder: &Holder, outcome: &'static str) -> Message {
    Message {
        provider: holder.provider.clone(),
        channel: challenge.channel,
        handle: holder.handle.clone(),
        recipient: challenge.recipient.clone(),
        outcome,
    }
}
