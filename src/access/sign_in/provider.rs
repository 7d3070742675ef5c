//! The provider as everybody sees it: for a stranger it is asked whether it is there, and nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::access::pace::Pace;
use crate::domain::challenge::{Channel, Code, Verdict};
use crate::domain::phone::PhoneNumber;
use crate::verifier::{Sent, Terms, Trouble, Verifier, VerifierError};

#[derive(Debug)]
pub(super) struct Provider {
    verifier: Arc<dyn Verifier>,
    starts: Operation,
    checks: Operation,
    /// What it last said when it was only asked whether it is there.
    health: Mutex<Option<(Instant, Result<(), VerifierError>)>>,
}

/// What strangers must see of one kind of call: how long it takes, and trouble that is everybody's.
#[derive(Debug, Default)]
struct Operation {
    pace: Pace,
    trouble: std::sync::Mutex<Option<(Instant, VerifierError)>>,
}

/// For so long one answer about its health serves all strangers: they cannot be used to flood it.
const HEALTH_SERVES: Duration = Duration::from_secs(2);
/// For so long, or until a call of the same kind succeeds, strangers meet the trouble a known person met.
const TROUBLE_LASTS: Duration = Duration::from_secs(60);

impl Operation {
    /// A real call began at `since` and came to this.
    fn note<T>(&self, since: Instant, result: &Result<T, VerifierError>) {
        self.pace.note(since.elapsed());
        let shared = |e: &&VerifierError| e.trouble.is_for_everybody() || e.trouble == Trouble::Ambiguous;
        let trouble = result.as_ref().err().filter(shared).map(|error| (Instant::now(), error.clone()));
        *self.trouble.lock().expect("nobody panics while holding it") = trouble;
    }

    fn trouble(&self) -> Option<VerifierError> {
        let trouble = self.trouble.lock().expect("nobody panics while holding it");
        trouble.as_ref().filter(|(at, _)| at.elapsed() < TROUBLE_LASTS).map(|(_, error)| error.clone())
    }
}

impl Provider {
    pub(super) fn new(verifier: Arc<dyn Verifier>) -> Self {
        Self {
            verifier,
            starts: Operation::default(),
            checks: Operation::default(),
            health: Mutex::default(),
        }
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
        self.starts.note(since, &result);
        result
    }

    /// What a stranger gets: the trouble that is everybody's, in the time a start takes.
    pub(super) async fn pretend_start(&self) -> Result<(), VerifierError> {
        self.pretend(&self.starts).await
    }

    pub(super) async fn check(
        &self,
        to: &PhoneNumber,
        handle: Option<&str>,
        code: &Code,
    ) -> Result<Verdict, VerifierError> {
        let since = Instant::now();
        let result = self.verifier.check(to, handle, code).await;
        self.checks.note(since, &result);
        result
    }

    /// What a stranger gets: it is wrong, in the time a check takes, unless the provider is not there for anybody.
    pub(super) async fn pretend_check(&self) -> Result<Verdict, VerifierError> {
        self.pretend(&self.checks).await.map(|()| Verdict::WrongCode)
    }

    async fn pretend(&self, operation: &Operation) -> Result<(), VerifierError> {
        let since = Instant::now();
        let answer = match operation.trouble() {
            Some(error) => Err(error),
            None => self.health().await,
        };
        operation.pace.imitate(since).await;
        answer
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
        let since = Instant::now();
        let asked = self.verifier.probe().await.map(drop);
        self.starts.pace.note_first(since.elapsed());
        self.checks.pace.note_first(since.elapsed());
        *health = Some((Instant::now(), asked.clone()));
        asked
    }
}
