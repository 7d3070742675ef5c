//! Tells somebody of each line of the audit trail, in their order and at least once.
//!
//! The trail itself is the queue: the store knows how far the receiver has it. Of several gateways on one store one brings
//! lines at a time, for as long as it says within a minute that it still does.
//!
//! **A line that is refused for itself.** What strangers write (a path) is in some lines, and something before the
//! receiver may refuse it for that. Such a line must not hold up the alarms behind it; nor must a receiver that is set up
//! wrongly lose anything. So a line that was refused often enough is left for a moment, and those behind it are tried until
//! one is taken. That one is the proof: what is refused before it, once more and often enough, is refused for itself.

mod receiver;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::receiver::{Failure, Receiver};
use crate::clock::Clock;
use crate::config;
use crate::crypto;
use crate::domain::time::Timestamp;
use crate::metrics::Metrics;
use crate::store::{GIVEN_UP_AFTER, Progress, Sealed, Store, StoreError};
use crate::tls::TlsError;

/// A receiver, and the lines it still needs.
#[derive(Debug)]
pub struct Webhook {
    receiver: Receiver,
    /// By which the store knows this gateway.
    holder: String,
    /// A line that was taken though one before it was refused.
    proof: Option<i64>,
    sought: Sought,
    store: Store,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

/// How far such a line was looked for.
#[derive(Clone, Copy, Debug, Default)]
struct Sought {
    /// All lines up to this one were refused.
    up_to: i64,
    /// It is not the first time.
    again: bool,
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
/// Lines that are read at once.
const PAGE: usize = 100;
/// So often a line is refused before those behind it are tried, and before it is given up.
const ENOUGH: u32 = 5;
/// Those behind it are tried for so long at a time: while they are, nobody says that we still bring lines.
const SEEK_FOR: Duration = Duration::from_secs(30);
/// What is there when the gateway stops is brought in so long, or by another.
const LAST_LINES: Duration = Duration::from_secs(3);

/// What a look at the queue came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// A line was brought or passed over; there may be more.
    More,
    /// There is nothing to do now.
    Nothing,
}

/// What lines behind a refused one came to.
enum Found {
    /// This one was taken.
    Taken(i64),
    /// None was; there are more.
    NotYet,
    /// None was.
    Nothing,
    /// It is not only a matter of lines.
    Away(Failure),
}

/// Lines are brought for as long as this is there.
#[derive(Debug)]
pub struct Delivery {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Delivery {
    /// From now on another gateway brings them, after what is there at this moment.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// The same, and returns when it is done: after some seconds.
    pub async fn end(mut self) {
        self.stop();
        let _ = self.task.await;
    }
}

/// Whether a receiver can be reached; nothing is sent to it.
pub async fn knock(settings: config::Webhook) -> Result<(), String> {
    Receiver::new(settings).map_err(|error| error.to_string())?.knock().await
}

impl Webhook {
    /// A receiver of a store's trail.
    pub fn new(
        settings: config::Webhook,
        store: Store,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, WebhookError> {
        let holder = format!("{:016x}", u64::from_ne_bytes(crypto::random()));
        let (receiver, sought) = (Receiver::new(settings)?, Sought::default());
        Ok(Self { receiver, holder, proof: None, sought, store, metrics, clock })
    }

    /// Brings lines from now on. What is written from now on is brought to a receiver that is new.
    pub fn begin(self, office: &Handle) -> Delivery {
        let (stop, stopped) = oneshot::channel();
        Delivery { stop: Some(stop), task: office.spawn(self.deliver(stopped)) }
    }

    async fn deliver(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut told = false;
        loop {
            let looked = {
                let mut look = std::pin::pin!(self.look());
                tokio::select! {
                    looked = &mut look => looked,
                    // What was sent meanwhile need not be sent again.
                    _ = &mut stopped => { let _ = timeout(LAST_LINES, look).await; break }
                }
            };
            // The store's outage is told elsewhere.
            if let Err(error) = &looked
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!(%error, "lines of the audit trail cannot be read for the webhook");
            }
            told &= looked.is_err();
            if !matches!(looked, Ok(Looked::More)) {
                tokio::select! {
                    () = sleep(LOOK_EVERY) => {}
                    _ = &mut stopped => break,
                }
            }
        }
        self.take_leave().await;
    }

    /// Brings what is there, and lets another have the rest at once.
    async fn take_leave(mut self) {
        let rest = async { while let Ok(Looked::More) = self.look().await {} };
        let _ = timeout(LAST_LINES, rest).await;
        if !matches!(timeout(LAST_LINES, self.store.let_webhook_go(self.holder)).await, Ok(Ok(()))) {
            tracing::warn!("the webhook could not be let go: another gateway goes on within a minute");
        }
    }

    async fn look(&mut self) -> Result<Looked, StoreError> {
        let now = self.clock.now();
        if let Some(waiting) = self.store.webhook(self.holder.clone(), now).await? {
            let failing = waiting.failing_since.map(|since| now.since(since));
            self.metrics.trail().set_waiting(waiting.lines, failing);
            if waiting.lines == 0 || !waiting.is_ours {
                return Ok(Looked::Nothing);
            }
        }
        let held = self.store.hold_webhook(self.holder.clone(), now).await?;
        let Some(delivery) = held.filter(|delivery| delivery.is_due(now)) else {
            return Ok(Looked::Nothing);
        };
        self.next_line(delivery, now).await
    }

    /// The next line that it wants, or what is in its way.
    async fn next_line(&mut self, delivery: Progress, now: Timestamp) -> Result<Looked, StoreError> {
        let (lines, end) = self.lines_after(delivery.delivered).await?;
        if delivery.delivered > end {
            tracing::error!(
                noted = delivery.delivered,
                end,
                "the store says that the webhook has lines that were never written; it gets what comes from now on"
            );
            return self.move_past(end, delivery).await;
        }
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            let is_there = delivery.delivered == end;
            return if is_there { Ok(Looked::Nothing) } else { self.move_past(end, delivery).await };
        };
        if first.recorded.at < now - GIVEN_UP_AFTER {
            return self.give_up_the_old(delivery, now - GIVEN_UP_AFTER, end).await;
        }
        let Some(line) = lines.iter().find(|line| self.receiver.wants(line)) else {
            return self.move_past(last.line.number, delivery).await;
        };
        let number = line.line.number;
        if self.proof == Some(number) {
            return self.move_past(number, delivery).await;
        }
        match self.receiver.bring(line, now).await {
            Ok(()) => {
                self.sought = Sought::default();
                self.move_past(number, delivery).await
            }
            Err(why @ Failure::Refused(_)) => self.refused(number, why, delivery).await,
            Err(why @ Failure::Away(_)) => self.failed(&why, delivery, None).await,
        }
    }

    /// Some lines after a number, and the number of the last of all. What stands behind the end nobody wrote.
    async fn lines_after(&self, number: i64) -> Result<(Vec<Sealed>, i64), StoreError> {
        let mut page = self.store.audit_after(number, PAGE).await?;
        page.lines.retain(|line| line.line.number <= page.head.number);
        Ok((page.lines, page.head.number))
    }

    /// It needs nothing up to this line any more.
    async fn move_past(&mut self, number: i64, delivery: Progress) -> Result<Looked, StoreError> {
        self.proof = self.proof.filter(|taken| *taken > number);
        self.note(Progress { delivered: number, ..delivery.clean() }).await
    }

    async fn note(&mut self, delivery: Progress) -> Result<Looked, StoreError> {
        if self.store.note_webhook(self.holder.clone(), delivery, self.clock.now()).await? {
            return Ok(Looked::More);
        }
        // Somebody else has it, who goes on from where we were.
        (self.proof, self.sought) = (None, Sought::default());
        Ok(Looked::Nothing)
    }

    /// What nobody took for a day, or was there to take.
    async fn give_up_the_old(
        &mut self,
        delivery: Progress,
        before: Timestamp,
        end: i64,
    ) -> Result<Looked, StoreError> {
        let events = self.receiver.events().to_vec();
        let old = self.store.audit_from_before(delivery.delivered, before, events).await?;
        let Some((lines, last)) = old.filter(|(_, last)| *last <= end) else { return Ok(Looked::Nothing) };
        if lines > 0 {
            tracing::error!(
                lines,
                last,
                "lines of the audit trail are older than a day, were never taken by the webhook, and are given up"
            );
        }
        self.note(Progress { delivered: last, ..delivery }).await
    }

    /// Whether that is for the line itself is known once it took another.
    async fn refused(&mut self, line: i64, why: Failure, delivery: Progress) -> Result<Looked, StoreError> {
        let tries = delivery.tries.saturating_add(1);
        let failing_since = delivery.failing_since.or_else(|| Some(self.clock.now()));
        let at_once = Progress { tries, failing_since, due_at: Timestamp::from_unix(0), ..delivery };
        let is_proved = self.proof.is_some_and(|taken| line < taken);
        if is_proved && tries >= ENOUGH {
            let status = why.to_string();
            tracing::error!(
                line,
                status,
                "the webhook refuses a line of the audit trail, and takes others: that line is given up"
            );
            return self.move_past(line, delivery).await;
        }
        if is_proved {
            return self.note(at_once).await;
        }
        if tries < ENOUGH {
            return self.failed(&why, delivery, None).await;
        }
        match self.seek_proof(line).await? {
            Found::Taken(number) => {
                self.proof = Some(number);
                self.note(at_once).await
            }
            Found::NotYet => self.failed(&why, delivery, Some(LOOK_EVERY)).await,
            Found::Nothing => self.failed(&why, delivery, None).await,
            Found::Away(why) => self.failed(&why, delivery, None).await,
        }
    }

    /// Tries lines behind one in their order, until one is taken.
    async fn seek_proof(&mut self, line: i64) -> Result<Found, StoreError> {
        let begun = Instant::now();
        let (lines, end) = self.lines_after(line.max(self.sought.up_to)).await?;
        for behind in &lines {
            if begun.elapsed() >= SEEK_FOR {
                break;
            }
            if self.receiver.wants(behind) {
                match self.receiver.bring(behind, self.clock.now()).await {
                    Ok(()) => return Ok(Found::Taken(behind.line.number)),
                    Err(Failure::Refused(_)) => {}
                    Err(why @ Failure::Away(_)) => return Ok(Found::Away(why)),
                }
            }
            self.sought.up_to = behind.line.number;
        }
        if self.sought.up_to >= end || lines.is_empty() {
            // From the beginning the next time, and slowly: it may be another that takes them by then.
            self.sought = Sought { up_to: 0, again: true };
            return Ok(Found::Nothing);
        }
        Ok(if self.sought.again { Found::Nothing } else { Found::NotYet })
    }

    /// All waits, longer each time.
    async fn failed(
        &mut self,
        why: &Failure,
        delivery: Progress,
        pause: Option<Duration>,
    ) -> Result<Looked, StoreError> {
        if matches!(why, Failure::Away(_)) {
            // Who comes back may be set up otherwise.
            (self.proof, self.sought) = (None, Sought::default());
        }
        let longer = Duration::from_secs(1 << delivery.tries.min(10)).min(Progress::LONGEST_PAUSE);
        if delivery.tries == 0 {
            tracing::warn!(%why, "the webhook does not take a line of the audit trail; it is tried again for a day");
        } else {
            tracing::debug!(%why, tries = delivery.tries, "the webhook still does not take it");
        }
        let now = self.clock.now();
        let failing_since = delivery.failing_since.or(Some(now));
        let (tries, due_at) = (delivery.tries.saturating_add(1), now + pause.unwrap_or(longer));
        self.note(Progress { failing_since, tries, due_at, ..delivery }).await?;
        Ok(Looked::Nothing)
    }
}
