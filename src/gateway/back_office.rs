//! The way from a thread of the front to the back office: by message, bounded, and always answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::refusals::{Refusals, Refused};
use crate::access::keys::Keys;
use crate::access::sessions::{LiveSession, Sessions};
use crate::api;
use crate::domain::event::{Event, What};
use crate::domain::policy::Cause;
use crate::domain::session::SessionEnd;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenError;
use crate::pages::Desk;
use crate::pages::problem::Refusal;
use crate::pages::reply::Reply;
use crate::pages::visit::{LONGEST_BODY, Visit};

/// What is rare and slow: pages, providers, the store.
#[derive(Clone, Debug)]
pub struct BackOffice {
    runtime: Handle,
    desk: Arc<Desk>,
    sessions: Arc<Sessions>,
    keys: Arc<Keys>,
    visits: Arc<Semaphore>,
    look_ups: Arc<Semaphore>,
    notes: Arc<Semaphore>,
    refusals: Arc<Refusals>,
}

/// Lines of the audit trail under way at once; what comes then is in the log only.
const NOTES: usize = 64;
/// Visits under way at once; who comes then is told to come back.
const VISITS: usize = 1_024;
/// Look-ups of sessions under way at once; strangers on our pages cannot take these places.
const LOOK_UPS: usize = 1_024;
/// A form is here in so long, or not at all.
const BODY_TIME: Duration = Duration::from_secs(10);

impl BackOffice {
    /// A back office on this runtime.
    pub fn new(runtime: Handle, desk: Arc<Desk>, keys: Arc<Keys>) -> Self {
        let sessions = desk.sessions.clone();
        let (visits, look_ups) = (Semaphore::new(VISITS), Semaphore::new(LOOK_UPS));
        Self {
            runtime,
            desk,
            sessions,
            keys,
            visits: Arc::new(visits),
            look_ups: Arc::new(look_ups),
            notes: Arc::new(Semaphore::new(NOTES)),
            refusals: Arc::new(Refusals::new()),
        }
    }

    /// The same with another desk: who is there keeps their place.
    pub fn with_desk(&self, desk: Arc<Desk>) -> Self {
        Self { desk, ..self.clone() }
    }

    /// Answers a visit to our own addresses.
    pub(super) async fn serve(&self, visit: Visit) -> Result<Reply, Refusal> {
        let desk = self.desk.clone();
        let serve = Box::pin(async move {
            if visit.path.starts_with(api::BASE) {
                Ok(api::serve(&desk, &visit).await)
            } else {
                desk.serve(&visit).await
            }
        });
        self.ask(&self.visits, serve).await?
    }

    /// Verifies a token here, where it takes microseconds, and reads its session there.
    pub(super) async fn find(
        &self,
        token: &[u8],
        now: Timestamp,
    ) -> Result<Result<Arc<LiveSession>, Cause>, Refusal> {
        let opened = match self.keys.keyring().open(token, now) {
            Ok(opened) => opened,
            Err(TokenError::Expired) => return Ok(Err(Cause::SessionEnded(SessionEnd::Expired))),
            Err(TokenError::Invalid) => return Ok(Err(Cause::NoSession)),
        };
        let sessions = self.sessions.clone();
        let found = self.ask(&self.look_ups, async move { sessions.find(opened.session, now).await }).await?;
        let found = found.map_err(|error| {
            // An outage that is known is in the log already.
            if !self.sessions.outage().is_away() {
                tracing::error!(%error, "a session could not be read");
            }
            Refusal::SessionUnconfirmed
        })?;
        Ok(found.map_err(|end| end.map_or(Cause::NoSession, Cause::SessionEnded)))
    }

    /// Whether the store has been away for longer than sessions in memory are believed, on a route of its own grace or
    /// anywhere.
    pub(super) fn is_cut_off(&self, grace: Option<Duration>) -> bool {
        let outage = self.sessions.outage();
        outage.is_cut_off() || grace.is_some_and(|grace| outage.is_beyond(grace))
    }

    /// Writes down what somebody tried who may not, unless too much of it comes; then it is counted. Nobody waits for it.
    pub(super) fn note(&self, refused: Refused, client: IpAddr, detail: impl FnOnce() -> String) {
        let what = refused.what();
        if !self.refusals.admit(refused, client) {
            self.desk.audit.metrics().trail().leave_out(what);
        } else if !self.write(what, client.to_string(), detail()) {
            self.refusals.leave_out();
            self.desk.audit.metrics().trail().leave_out(what);
        }
    }

    /// Whether it could be, with what is under way.
    fn write(&self, what: What, client: String, detail: String) -> bool {
        let Ok(place) = self.notes.clone().try_acquire_owned() else { return false };
        let event = Event::of_gateway(self.desk.clock.now(), what, client, detail);
        let audit = self.desk.audit.clone();
        self.runtime.spawn(async move {
            let _place = place;
            // What cannot be written now is written later.
            let _ = audit.record(event).await;
        });
        true
    }

    /// Forgets addresses of which something may be written down again, and tells of those of which nothing was.
    pub(super) fn tidy(&self) {
        self.refusals.tidy();
        if let Some(count) = self.refusals.to_tell() {
            let detail = format!("too many at once: {count} more are not written down");
            self.write(What::RequestDenied, String::new(), detail);
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = places.clone().try_acquire_owned().map_err(|_| Refusal::Busy)?;
        // Runs to its end even when the person goes away: what was begun is recorded.
        let task = self.runtime.spawn(async move {
            let _place = place;
            work.await
        });
        task.await.map_err(|error| {
            tracing::error!(%error, "the back office failed");
            Refusal::Internal
        })
    }
}

/// Reads the body of a visit, whole and small and soon.
pub(super) async fn gather(body: Incoming) -> Result<Bytes, Refusal> {
    let gathered = tokio::time::timeout(BODY_TIME, Limited::new(body, LONGEST_BODY).collect()).await;
    match gathered.map_err(|_| Refusal::TooSlow)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Err(_) => Err(Refusal::Incomplete),
    }
}
