//! The providers as everybody sees them: for a stranger they are asked whether they are there, and nothing is sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fault::Fault;
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
    /// How long it takes to have a code sent, and to have the one under way sent once more.
    starts: Arc<Pace>,
    resends: Arc<Pace>,
    mirrors: HashMap<String, Arc<Mirror>>,
}

/// What strangers must see of one provider.
#[derive(Debug, Default)]
struct Mirror {
    starts: Fault,
    checks: Fault,
    /// How long a check takes.
    pace: Pace,
    /// What it last said when it was only asked whether it is there.
    health: Mutex<Option<(Instant, Result<(), VerifierError>)>>,
}

/// For so long one answer about its health serves all strangers: they cannot be used to flood it.
const HEALTH_SERVES: Duration = Duration::from_secs(2);

impl Providers {
    pub(super) fn new(failover: Arc<Failover>) -> Self {
        let mirror = |provider: &Arc<dyn Verifier>| (provider.name().to_owned(), Arc::default());
        let mirrors = failover.providers().map(mirror).collect();
        Self { starts: Arc::default(), resends: Arc::default(), mirrors, failover }
    }

    /// These providers from now on. What strangers must see of one is its name's.
    pub(super) fn next(known: &Arc<Self>, failover: &Arc<Failover>) -> Arc<Self> {
        if Arc::ptr_eq(&known.failover, failover) {
            return known.clone();
        }
        let mut next = Self::new(failover.clone());
        for (name, mirror) in &mut next.mirrors {
            if let Some(known) = known.mirrors.get(name) {
                *mirror = known.clone();
            }
        }
        Arc::new(Self { starts: known.starts.clone(), resends: known.resends.clone(), ..next })
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
        self: &Arc<Self>,
        to: &PhoneNumber,
        channel: Channel,
        under_way: Option<UnderWay<'_>>,
        since: Instant,
    ) -> Vec<Attempt> {
        let pace = if under_way.is_some() { &self.resends } else { &self.starts };
        let attempts = self.failover.start(to, channel, under_way).await;
        for Attempt { provider, result } in &attempts {
            self.note(provider, |mirror| &mirror.starts, result.as_ref().err());
        }
        let error = attempts.last().and_then(|last| last.result.as_ref().err());
        // While all rest nobody was asked: it says nothing of how long they take.
        if error.is_none_or(|error| error.trouble != Trouble::Resting) {
            pace.note(since.elapsed());
        }
        attempts
    }

    /// The same, by the others than a provider which does not send to this number.
    pub(super) async fn start_elsewhere(
        &self,
        than: &str,
        to: &PhoneNumber,
        channel: Channel,
    ) -> Vec<Attempt> {
        self.failover.start_elsewhere(than, to, channel).await
    }

    /// What a stranger gets: who would send, or the trouble that is everybody's, in the time a start takes; `again` when
    /// they would have a code under way.
    pub(super) async fn pretend_start(
        &self,
        channel: Channel,
        again: bool,
        since: Instant,
    ) -> Result<String, VerifierError> {
        // While all rest a known person waits for nobody either.
        let able = self.failover.would_ask(channel)?;
        let answer = self.would_start(able).await;
        let pace = if again && self.resends.knows() { &self.resends } else { &self.starts };
        pace.imitate(since).await;
        answer
    }

    /// Waits as if a code under way had been sent once more.
    pub(super) async fn imitate_resend(&self, since: Instant) {
        self.resends.imitate(since).await;
    }

    /// What a start by one of these would come to for anybody, as far as can be known without sending.
    async fn would_start(&self, able: Vec<&Arc<dyn Verifier>>) -> Result<String, VerifierError> {
        let mut trouble = VerifierError::down();
        for provider in able {
            let Some(mirror) = self.mirrors.get(provider.name()) else { continue };
            match mirror.starts.judge(self.health(&**provider, mirror).await) {
                Ok(()) => return Ok(provider.name().to_owned()),
                Err(error) if error.trouble.scope() == Scope::Provider => trouble = error,
                Err(error) => return Err(error),
            }
        }
        Err(trouble)
    }

    pub(super) async fn check(
        self: &Arc<Self>,
        holder: &Holder,
        to: &PhoneNumber,
        code: &Code,
    ) -> Result<Verdict, VerifierError> {
        let since = Instant::now();
        let result = self.failover.check(holder, to, code).await;
        self.note(&holder.provider, |mirror| &mirror.checks, result.as_ref().err());
        if let Some(mirror) = self.mirrors.get(&holder.provider) {
            mirror.pace.note(since.elapsed());
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
        let Some(mirror) = self.mirrors.get(provider.name()) else { return Ok(Verdict::WrongCode) };
        let answer = mirror.checks.judge(self.health(&**provider, mirror).await);
        mirror.pace.imitate(since).await;
        answer.map(|()| Verdict::WrongCode)
    }

    /// Whether the holder's name for a code was lost with the answer to its start, and a check needs it.
    pub(super) fn is_lost(&self, holder: &Holder) -> bool {
        self.failover.is_lost(holder)
    }

    /// Asks for the name that was lost. Trouble with it is trouble of the check that needs it.
    pub(super) async fn recover(
        self: &Arc<Self>,
        holder: &Holder,
        to: &PhoneNumber,
        channel: Channel,
    ) -> Result<Holder, VerifierError> {
        let recovered = self.failover.recover(holder, to, channel).await;
        if let Err(error) = &recovered {
            self.note(&holder.provider, |mirror| &mirror.checks, Some(error));
        }
        let sent = recovered?;
        Ok(Holder { provider: holder.provider.clone(), handle: Some(sent.handle) })
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

    /// A real call of one kind came to this; that a provider rests is no call.
    fn note(self: &Arc<Self>, provider: &str, of: fn(&Mirror) -> &Fault, error: Option<&VerifierError>) {
        let rests = error.is_some_and(|error| error.trouble == Trouble::Resting);
        let Some(mirror) = self.mirrors.get(provider).filter(|_| !rests) else { return };
        let fault = of(mirror);
        fault.note(error);
        // What it said of its health in the trouble before is over for strangers, too; whoever asks now will hear it.
        if error.is_none()
            && let Ok(mut health) = mirror.health.try_lock()
        {
            *health = Some((Instant::now(), Ok(())));
        }
        if fault.is_met() {
            tokio::spawn(self.clone().look_at(provider.to_owned()));
        }
    }

    /// Looks whether trouble that was just met shows as well when the provider is only asked whether it is there: if so,
    /// strangers see it end.
    async fn look_at(self: Arc<Self>, name: String) {
        let provider = self.failover.providers().find(|provider| provider.name() == name);
        let Some((provider, mirror)) = provider.zip(self.mirrors.get(&name)) else { return };
        // What it said before the trouble says nothing of it.
        *mirror.health.lock().await = None;
        let health = self.health(&**provider, mirror).await;
        for fault in [&mirror.starts, &mirror.checks] {
            let _ = fault.judge(health.clone());
        }
    }

    async fn health(&self, provider: &dyn Verifier, mirror: &Mirror) -> Result<(), VerifierError> {
        // Held while asking: those who come meanwhile wait for the same answer.
        let mut known = mirror.health.lock().await;
        if let Some((_, health)) = known.as_ref().filter(|(at, _)| at.elapsed() < HEALTH_SERVES) {
            return health.clone();
        }
        let since = Instant::now();
        // Whatever else it says of the question, it is there and would send.
        let asked = match provider.probe().await {
            Err(error) if !error.trouble.is_healthy() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        };
        self.starts.note_first(since.elapsed());
        mirror.pace.note_first(since.elapsed());
        *known = Some((Instant::now(), asked.clone()));
        asked
    }
}
