//! Several providers in the order of the configuration: the first that can, sends; whoever sent, checks.
//!
//! A start that certainly did not happen moves on to the next provider; one that may have happened stays where it is,
//! so that nobody gets two codes of which one is wrong.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, Turn};
use super::{Live, Scope, Sent, Terms, Verifier, VerifierError};
use crate::domain::challenge::{Code, Verdict};
use crate::domain::channel::Channel;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::{Holder, Pacing};

/// All providers.
#[derive(Debug)]
pub struct Failover {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    verifier: Arc<dyn Verifier>,
    breaker: Breaker,
}

/// What one provider made of a start.
#[derive(Debug)]
pub struct Attempt {
    /// The provider.
    pub provider: String,
    /// Whether it sent.
    pub result: Result<Sent, VerifierError>,
}

/// Who holds a code under way, and how it was sent last.
#[derive(Clone, Copy, Debug)]
pub struct UnderWay<'a> {
    /// The provider and its name for the code.
    pub holder: &'a Holder,
    /// How it was sent last.
    pub channel: Channel,
    /// How long ago.
    pub age: Duration,
}

impl Failover {
    /// These providers, in this order; at least one.
    pub fn new(verifiers: Vec<Arc<dyn Verifier>>) -> Self {
        let member = |verifier| Member { verifier, breaker: Breaker::default() };
        Self { members: verifiers.into_iter().map(member).collect() }
    }

    /// The providers, in order.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<dyn Verifier>> {
        self.members.iter().map(|member| &member.verifier)
    }

    /// Which providers are asked at the moment.
    pub fn health(&self) -> impl Iterator<Item = (&str, bool)> {
        self.members.iter().map(|member| (member.verifier.name(), member.breaker.is_closed()))
    }

    /// What holds for every code, whoever sends it: the shortest time and the fewest tries of all providers, so that
    /// neither tells who sent. The length is that of whoever would send now.
    pub fn terms(&self) -> Terms {
        let all = self.providers().map(|provider| provider.terms());
        let now = Instant::now();
        let next = self.members.iter().find(|member| member.breaker.rests(now).is_ok());
        let next = next.or_else(|| self.members.first()).map(|member| member.verifier.terms());
        let least = all.reduce(|a, b| Terms {
            code_length: a.code_length,
            max_checks: a.max_checks.min(b.max_checks),
            lifetime: a.lifetime.min(b.lifetime),
        });
        let least = least.unwrap_or(NOBODY);
        Terms { code_length: next.map_or(least.code_length, |terms| terms.code_length), ..least }
    }

    /// How soon whoever holds a code can send it again.
    pub fn pacing(&self, holder: Option<&Holder>, from: Channel, to: Channel) -> Pacing {
        let member = holder.and_then(|holder| self.member(&holder.provider));
        member.map_or(Pacing::USUAL, |member| member.verifier.pacing(from, to))
    }

    /// Who would be asked first to start at this moment.
    pub fn first(&self, channel: Channel) -> Option<&str> {
        let able = || self.members.iter().filter(|member| member.verifier.offers(channel));
        let awake = able().find(|member| member.breaker.rests(Instant::now()).is_ok());
        awake.or_else(|| able().next()).map(|member| member.verifier.name())
    }

    /// Has a code sent. What each provider that was asked made of it, in order; the last is what it came to.
    pub async fn start(
        &self,
        to: &PhoneNumber,
        channel: Channel,
        under_way: Option<UnderWay<'_>>,
    ) -> Vec<Attempt> {
        let holds =
            |member: &Member| under_way.is_some_and(|code| code.holder.provider == member.verifier.name());
        // Whoever holds the code under way can send the same once more, and is asked first.
        let (first, rest): (Vec<_>, Vec<_>) = self.members.iter().partition(|member| holds(member));
        self.start_at(first.into_iter().chain(rest), to, channel, under_way).await
    }

    /// The same, by the others than a provider which does not send to this number.
    pub async fn start_elsewhere(&self, than: &str, to: &PhoneNumber, channel: Channel) -> Vec<Attempt> {
        let others = self.members.iter().filter(|member| member.verifier.name() != than);
        self.start_at(others, to, channel, None).await
    }

    async fn start_at<'a>(
        &'a self,
        members: impl Iterator<Item = &'a Member>,
        to: &PhoneNumber,
        channel: Channel,
        under_way: Option<UnderWay<'_>>,
    ) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let mut resting = None;
        for member in members.filter(|member| member.verifier.offers(channel)) {
            let provider = member.verifier.name().to_owned();
            if let Err(left) = member.breaker.admit(Instant::now()) {
                let (soonest, _) = resting.get_or_insert((left, provider));
                *soonest = (*soonest).min(left);
                continue;
            }
            let held = under_way.filter(|code| code.holder.provider == provider);
            let result = member.send(to, channel, held).await;
            let next = result.as_ref().is_err_and(|error| error.trouble.scope() == Scope::Provider);
            attempts.push(Attempt { provider, result });
            if !next {
                return attempts;
            }
        }
        if attempts.is_empty() {
            attempts.extend(
                resting
                    .map(|(left, provider)| Attempt { provider, result: Err(VerifierError::resting(left)) }),
            );
        }
        attempts
    }

    /// Who would be asked to start at this moment, in order; `Err` when all rest.
    pub fn would_ask(&self, channel: Channel) -> Result<Vec<&Arc<dyn Verifier>>, VerifierError> {
        let now = Instant::now();
        let able = || self.members.iter().filter(|member| member.verifier.offers(channel));
        let awake: Vec<_> =
            able().filter(|member| member.breaker.rests(now).is_ok()).map(|m| &m.verifier).collect();
        if !awake.is_empty() {
            return Ok(awake);
        }
        let soonest = able().filter_map(|member| member.breaker.rests(now).err()).min();
        Err(soonest.map_or_else(VerifierError::down, VerifierError::resting))
    }

    /// Has the code checked by whoever holds it.
    pub async fn check(
        &self,
        holder: &Holder,
        to: &PhoneNumber,
        code: &Code,
    ) -> Result<Verdict, VerifierError> {
        let Some(member) = self.member(&holder.provider) else { return Ok(Verdict::GoneOrExpired) };
        let result = member.verifier.check(to, holder.handle.as_deref(), code).await;
        member.note(&result);
        result
    }

    /// Whether the holder's name for a code was lost with the answer to its start, and a check needs it.
    pub fn is_lost(&self, holder: &Holder) -> bool {
        let member = self.member(&holder.provider);
        holder.handle.is_none() && member.is_some_and(|member| member.verifier.needs_handle())
    }

    /// Asks the holder for its name for a code that was lost. One that turns out to have sent nothing sends now.
    pub async fn recover(
        &self,
        holder: &Holder,
        to: &PhoneNumber,
        channel: Channel,
    ) -> Result<Sent, VerifierError> {
        let Some(member) = self.member(&holder.provider) else { return Err(VerifierError::down()) };
        member.send(to, channel, Some(UnderWay { holder, channel, age: Duration::MAX })).await
    }

    /// Has a code forgotten by whoever holds it.
    pub async fn cancel(&self, holder: &Holder) -> Result<(), VerifierError> {
        match (self.member(&holder.provider), &holder.handle) {
            (Some(member), Some(handle)) => member.verifier.cancel(handle).await,
            _ => Ok(()),
        }
    }

    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.verifier.name() == name)
    }
}

impl Member {
    async fn send(
        &self,
        to: &PhoneNumber,
        channel: Channel,
        held: Option<UnderWay<'_>>,
    ) -> Result<Sent, VerifierError> {
        let result = match held {
            Some(code) => {
                let handle = code.holder.handle.as_deref();
                let live = Live { handle, channel: code.channel, age: code.age };
                self.verifier.resend(to, channel, live).await
            }
            None => self.verifier.start(to, channel).await,
        };
        self.note(&result);
        result
    }

    fn note<T>(&self, result: &Result<T, VerifierError>) {
        let healthy = result.as_ref().err().is_none_or(|error| error.trouble.is_healthy());
        let provider = self.verifier.name();
        match self.breaker.note(Instant::now(), healthy) {
            Turn::None => {}
            Turn::Opened(rest) => {
                tracing::warn!(provider, seconds = rest.as_secs(), "the provider fails and is left alone");
            }
            Turn::Closed => tracing::info!(provider, "the provider works again"),
        }
    }
}

/// Without a provider no code is right.
const NOBODY: Terms = Terms { code_length: 6, max_checks: 0, lifetime: Duration::ZERO };
