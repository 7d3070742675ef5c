//! The provider as everybody sees it: for a stranger it is asked whether it is there, and nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::access::pace::Pace;
use crate::domain::challenge::{Channel, Code, Verdict};
use crate::domain::phone::PhoneNumber;
use crate::verifier::{Sent, Terms, Verifier, VerifierError};

#[derive(Debug)]
pub(super) struct Provider {
    verifier: Arc<dyn Verifier>,
    starts: Pace,
    checks: Pace,
    /// What the provider last said that is true for everybody.
    health: Mutex<Option<(Instant, Result<(), VerifierError>)>>,
}

/// For so long one answer about its health serves all strangers: they cannot be used to flood it.
const HEALTH_SERVES: Duration = Duration::from_secs(2);

impl Provider {
    pub(super) fn new(verifier: Arc<dyn Verifier>) -> Self {
        Self { verifier, starts: Pace::default(), checks: Pace::default(), health: Mutex::default() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.verifier.name()
    }

    pub(super) fn terms(&self) -> Terms {
        self.verifier.terms()
    }

    pub(super) async fn start(&self, to: &PhoneNumber, channel: Channel) -> Result<Sent, VerifierError> {
        let since = Instant::now();
        let result = self.verifier.start(to, channel).await;
        self.starts.note(since.elapsed());
        let for_all = result.as_ref().map(drop).map_err(Clone::clone);
        let for_all =
            for_all.or_else(|error| if error.trouble.is_about_the_number() { Ok(()) } else { Err(error) });
        *self.health.lock().await = Some((Instant::now(), for_all));
        result
    }

    /// What a stranger gets: the trouble that is everybody's, in the time a start takes.
    pub(super) async fn pretend_start(&self) -> Result<(), VerifierError> {
        let since = Instant::now();
        let health = self.health().await;
        self.starts.imitate(since).await;
        health
    }

    pub(super) async fn check(
        &self,
        to: &PhoneNumber,
        handle: Option<&str>,
        code: &Code,
    ) -> Result<Verdict, VerifierError> {
        let since = Instant::now();
        let result = self.verifier.check(to, handle, code).await;
        self.checks.note(since.elapsed());
        result
    }

    /// What a stranger gets: it is wrong, in the time a check takes, unless the provider is not there for anybody.
    pub(super) async fn pretend_check(&self) -> Result<Verdict, VerifierError> {
        let since = Instant::now();
        let health = self.health().await;
        self.checks.imitate(since).await;
        health.map(|()| Verdict::WrongCode)
    }

    pub(super) async fn cancel(&self, handle: &str) -> Result<(), VerifierError> {
        self.verifier.cancel(handle).await
    }

    async fn health(&self) -> Result<(), VerifierError> {
        // Held while asking: those who come meanwhile wait for the same answer.
        let mut health = self.health.lock().await;
        if let Some((_, known)) = health.as_ref().filter(|(at, _)| at.elapsed() < HEALTH_SERVES) {
            return known.clone();
        }
        let asked = self.verifier.probe().await.map(drop);
        *health = Some((Instant::now(), asked.clone()));
        asked
    }
}
