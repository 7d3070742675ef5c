//! The providers as everybody sees them: for a stranger they are asked whether they are there, and nothing is sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::access::pace::Pace;
use crate::domain::challenge::{Challenge, Code, Verdict};
use crate::domain::channel::Channel;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::{Holder, Pacing};
use crate::verifier::failover::{Attempt, Failover, UnderWay};
use crate::verifier::{Scope, Terms, Trouble, Verifier, VerifierError};

#[derive(Debug)]
pub(super) struct Providers {
    failover: Arc<Failover>,
    starts: Operation,
    checks: HashMap<String, Operation>,
    health: HashMap<String, Health>,
}

/// What one provider last said when it was only asked whether it is there.
type Health = Mutex<Option<(Instant, Result<(), VerifierError>)>>;

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
    fn note(&self, since: Instant, error: Option<&VerifierError>) {
        self.pace.note(since.elapsed());
        let shared = |error: &&VerifierError| !error.trouble.is_healthy();
        let trouble = error.filter(shared).map(|error| (Instant::now(), error.clone()));
        *self.trouble.lock().expect("nobody panics while holding it") = trouble;
    }

    fn trouble(&self) -> Option<VerifierError> {
        let trouble = self.trouble.lock().expect("nobody panics while holding it");
        trouble.as_ref().filter(|(at, _)| at.elapsed() < TROUBLE_LASTS).map(|(_, error)| error.clone())
    }
}

impl Providers {
    pub(super) fn new(failover: Arc<Failover>) -> Self {
        let names = || failover.providers().map(|provider| provider.name().to_owned());
        let checks = names().map(|name| (name, Operation::default())).collect();
        let health = names().map(|name| (name, Health::default())).collect();
        Self { starts: Operation::default(), checks, health, failover }
    }

    pub(super) fn terms(&self) -> Terms {
        self.failover.terms()
    }

    /// Who would be asked first to send.
    pub(super) fn first(&self, channel: Channel) -> Option<Holder> {
        let provider = self.failover.first(channel)?.to_owned();
        Some(Holder { provider, handle: None })
    }

    /// How soon whoever holds a code can send it again.
    pub(super) fn pacing(&self, challenge: &Challenge, to: Channel) -> Pacing {
        self.failover.pacing(challenge.holder.as_ref(), challenge.channel, to)
    }

    /// How long the codes of one provider are.
    pub(super) fn code_length(&self, provider: &str) -> Option<u8> {
        let found = self.failover.providers().find(|known| known.name() == provider);
        found.map(|provider| provider.terms().code_length)
    }

    /// Has a code sent, by the first provider that can. The work on it began at `since`.
    pub(super) async fn start(
        &self,
        to: &PhoneNumber,
        channel: Channel,
        under_way: Option<UnderWay<'_>>,
        since: Instant,
    ) -> Vec<Attempt> {
        let attempts = self.failover.start(to, channel, under_way).await;
        let error = attempts.last().and_then(|last| last.result.as_ref().err());
        // While all rest nobody was asked: it says nothing of how long they take, and ends at a known moment.
        if error.is_none_or(|error| error.trouble != Trouble::Resting) {
            self.starts.note(since, error);
        }
        attempts
    }

    /// The same, by those that come after a provider which does not send to this number.
    pub(super) async fn start_after(
        &self,
        provider: &str,
        to: &PhoneNumber,
        channel: Channel,
    ) -> Vec<Attempt> {
        self.failover.start_after(provider, to, channel).await
    }

    /// What a stranger gets: who would send, or the trouble that is everybody's, in the time a start takes.
    pub(super) async fn pretend_start(
        &self,
        channel: Channel,
        since: Instant,
    ) -> Result<String, VerifierError> {
        // While all rest a known person waits for nobody either.
        let able = self.failover.would_ask(channel)?;
        let answer = match self.starts.trouble() {
            Some(error) => Err(error),
            None => self.would_start(able).await,
        };
        self.starts.pace.imitate(since).await;
        answer
    }

    /// What a start by one of these would come to for anybody, as far as can be known without sending.
    async fn would_start(&self, able: Vec<&Arc<dyn Verifier>>) -> Result<String, VerifierError> {
        let mut trouble = VerifierError::down();
        for provider in able {
            match self.health(&**provider).await {
                Ok(()) => return Ok(provider.name().to_owned()),
                Err(error) if error.trouble.scope() == Scope::Provider => trouble = error,
                Err(error) => return Err(error),
            }
        }
        Err(trouble)
    }

    pub(super) async fn check(
        &self,
        holder: &Holder,
        to: &PhoneNumber,
        code: &Code,
    ) -> Result<Verdict, VerifierError> {
        let since = Instant::now();
        let result = self.failover.check(holder, to, code).await;
        if let Some(checks) = self.checks.get(&holder.provider) {
            checks.note(since, result.as_ref().err());
        }
        result
    }

    /// What a stranger gets: it is wrong, in the time a check takes, unless whoever would hold the code is not there.
    pub(super) async fn pretend_check(&self, holder: Option<&Holder>) -> Result<Verdict, VerifierError> {
        let since = Instant::now();
        let named =
            holder.and_then(|holder| self.failover.providers().find(|known| known.name() == holder.provider));
        let Some(provider) = named.or_else(|| self.failover.providers().next()) else {
            return Ok(Verdict::WrongCode);
        };
        let Some(checks) = self.checks.get(provider.name()) else { return Ok(Verdict::WrongCode) };
        let answer = match checks.trouble() {
            Some(error) => Err(error),
            None => self.health(&**provider).await,
        };
        checks.pace.imitate(since).await;
        answer.map(|()| Verdict::WrongCode)
    }

    /// The holder's name for a code, after a start whose answer was lost.
    pub(super) async fn recover(
        &self,
        holder: &Holder,
        to: &PhoneNumber,
        channel: Channel,
    ) -> Result<Option<Holder>, VerifierError> {
        self.failover.recover(holder, to, channel).await
    }

    pub(super) async fn cancel(&self, holder: &Holder) -> Result<(), VerifierError> {
        self.failover.cancel(holder).await
    }

    /// Whether the holder would send the code again by itself if nobody told it not to.
    pub(super) fn goes_on_by_itself(&self, holder: &Holder) -> bool {
        self.failover
            .providers()
            .any(|provider| provider.name() == holder.provider && provider.goes_on_by_itself())
    }

    async fn health(&self, provider: &dyn Verifier) -> Result<(), VerifierError> {
        let Some(known) = self.health.get(provider.name()) else { return Ok(()) };
        // Held while asking: those who come meanwhile wait for the same answer.
        let mut known = known.lock().await;
        if let Some((_, health)) = known.as_ref().filter(|(at, _)| at.elapsed() < HEALTH_SERVES) {
            return health.clone();
        }
        let since = Instant::now();
        // Whatever else it says of the question, it is there and would send.
        let asked = match provider.probe().await {
            Err(error) if !error.trouble.is_healthy() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        };
        self.starts.pace.note_first(since.elapsed());
        if let Some(checks) = self.checks.get(provider.name()) {
            checks.pace.note_first(since.elapsed());
        }
        *known = Some((Instant::now(), asked.clone()));
        asked
    }
}
