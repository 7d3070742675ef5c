//! Tells somebody of each line of the audit trail, in their order and at least once.
//!
//! The trail itself is the queue: the store knows how far the receiver has it. Of several gateways on one store one brings
//! lines at a time, for as long as it says within a minute that it still does.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;

use super::json;
use crate::clock::Clock;
use crate::config;
use crate::crypto;
use crate::domain::time::Timestamp;
use crate::store::{GIVEN_UP_AFTER, Progress, Sealed, Store, StoreError};
use crate::tls::{self, TlsError};

/// A receiver, and the lines it still needs.
#[derive(Debug)]
pub struct Webhook {
    http: reqwest::Client,
    settings: config::Webhook,
    /// By which the store knows the receiver.
    name: String,
    /// By which the store knows this gateway.
    holder: String,
    store: Store,
    clock: Arc<dyn Clock>,
}

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The authorities cannot be read.
    #[error("audit.webhook_ca: {0}")]
    Authorities(#[from] TlsError),
    /// There is no client.
    #[error("audit.webhook: {0}; install the system's CA certificates (package ca-certificates)")]
    Client(#[from] reqwest::Error),
}

/// Whether there is something to bring is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A receiver answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Lines that are read at once.
const PAGE: usize = 100;
/// Nobody else brings lines for so long after one was brought.
const HELD_FOR: Duration = Duration::from_secs(60);
/// The longest pause before trying again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What a look at the queue came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// A line was brought or passed over; there may be more.
    More,
    /// There is nothing to do now.
    Nothing,
}

impl Webhook {
    /// A receiver of a store's trail.
    pub fn new(settings: config::Webhook, store: Store, clock: Arc<dyn Clock>) -> Result<Self, WebhookError> {
        let mut builder = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            // What is signed goes to the configured address only.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &settings.authorities {
            let trust = config::Trust { authorities: Some(file.clone()), identity: None };
            builder = builder.tls_backend_preconfigured(tls::client(&trust)?);
        }
        Ok(Self {
            http: builder.build()?,
            name: crypto::short_digest(settings.url.as_str().as_bytes()),
            holder: format!("{:016x}", u64::from_ne_bytes(crypto::random())),
            settings,
            store,
            clock,
        })
    }

    /// Brings lines for as long as the gateway runs. What is written from now on is brought to a receiver that is new.
    pub async fn deliver(self) {
        let mut told = false;
        loop {
            let looked = self.look().await;
            // The store's outage is told elsewhere.
            if let Err(error) = &looked
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!(%error, "lines of the audit trail cannot be read for the webhook");
            }
            told &= looked.is_err();
            if !matches!(looked, Ok(Looked::More)) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    async fn look(&self) -> Result<Looked, StoreError> {
        let now = self.clock.now();
        let until = now + HELD_FOR;
        let held = self.store.hold_webhook(self.name.clone(), self.holder.clone(), now, until).await?;
        let Some(delivery) = held.filter(|delivery| delivery.due_at <= now) else {
            return Ok(Looked::Nothing);
        };
        let page = self.store.audit_after(delivery.delivered, PAGE).await?;
        let wanted = |line: &&Sealed| {
            self.settings.events.is_empty() || self.settings.events.contains(&line.recorded.what)
        };
        let Some(last) = page.lines.last() else { return Ok(Looked::Nothing) };
        let Some(line) = page.lines.iter().find(wanted) else {
            return self.note(Progress { delivered: last.line.number, ..delivery.clean() }).await;
        };
        match self.bring(line, now).await {
            Ok(()) => self.note(Progress { delivered: line.line.number, ..delivery.clean() }).await,
            Err(why) => self.failed(&why, delivery, &page.lines).await,
        }
    }

    async fn note(&self, delivery: Progress) -> Result<Looked, StoreError> {
        let until = self.clock.now() + HELD_FOR;
        let noted = self.store.note_webhook(self.name.clone(), self.holder.clone(), delivery, until).await?;
        // Else somebody else has it, who goes on from where we were.
        Ok(if noted { Looked::More } else { Looked::Nothing })
    }

    /// One line, by one request. Anything but a 2xx is a failure.
    async fn bring(&self, line: &Sealed, now: Timestamp) -> Result<(), String> {
        let body = json::line(&line.recorded).to_string();
        let at = now.unix();
        let secret = self.settings.secret.expose_secret().as_bytes();
        let signature = crypto::hmac_hexadecimal(secret, format!("{at}.{body}").as_bytes());
        let answer = self
            .http
            .post(self.settings.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("vestibule-event-id", line.line.number)
            .header("vestibule-signature", format!("t={at},v1={signature}"))
            .body(body)
            .send()
            .await;
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
            // Without the address, which may hold what only the two of us know.
            Err(error) => {
                let error = error.without_url();
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                Err(format!("{error}{cause}"))
            }
        }
    }

    /// Lines that are too old are given up; the others wait, longer each time.
    async fn failed(&self, why: &str, delivery: Progress, lines: &[Sealed]) -> Result<Looked, StoreError> {
        let now = self.clock.now();
        let too_old = |line: &&Sealed| line.recorded.at < now - GIVEN_UP_AFTER;
        if let Some(last) = lines.iter().take_while(too_old).last() {
            let (first, last) = (delivery.delivered + 1, last.line.number);
            tracing::error!(
                first,
                last,
                why,
                "lines of the audit trail were never taken by the webhook, and are given up"
            );
            return self.note(Progress { delivered: last, ..delivery }).await;
        }
        let pause = Duration::from_secs(1 << delivery.tries.min(10)).min(LONGEST_PAUSE);
        if delivery.tries == 0 {
            tracing::warn!(
                why,
                "the webhook does not take a line of the audit trail; it is tried again for a day"
            );
        } else {
            tracing::debug!(why, tries = delivery.tries, "the webhook still does not take it");
        }
        let failing_since = delivery.failing_since.or(Some(now));
        let tries = delivery.tries.saturating_add(1);
        self.note(Progress { failing_since, tries, due_at: now + pause, ..delivery }).await?;
        Ok(Looked::Nothing)
    }
}
