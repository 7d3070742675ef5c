//! Asking for a code, and for another.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::identify::Identified;
use super::pending::{Sending, Waiting};
use super::sender::Order;
use super::{Cause, Failure, Identity, SignIn, Trail};
use crate::crypto;
use crate::domain::challenge::{Challenge, Closed, State};
use crate::domain::channel::Channel;
use crate::domain::event::What;
use crate::domain::id::{ChallengeId, Reference};
use crate::domain::limits::FailureStop;
use crate::domain::return_to::ReturnTo;
use crate::domain::sending::{Delivery, Prospect};
use crate::domain::user::User;
use crate::metrics::Limit;
use crate::store::{Opened, Refused, Spend, StoreError, UserKey};

impl SignIn {
    /// Somebody says who they are and asks for a code. The answer does not tell whether they are known.
    pub async fn start(
        &self,
        identity: Identity,
        return_to: ReturnTo,
        client: IpAddr,
    ) -> Result<Challenge, Failure> {
        if let Err(wait) = self.starts.spend(client) {
            return Err(self.turn_away(Limit::StartsPerAddress, Cause::TooManyRequests(wait), client).await);
        }
        let since = Instant::now();
        let mut trail = Trail::new(client);
        let came_to = self.start_at_once(identity, return_to, &mut trail).await;
        self.answer(since, came_to, &trail).await
    }

    async fn start_at_once(
        &self,
        identity: Identity,
        return_to: ReturnTo,
        trail: &mut Trail,
    ) -> Result<Challenge, Cause> {
        let who = self.identify(identity, trail).await?;
        trail.user = who.name.clone();
        let subject = who.subject.clone();
        let turn = self.pending.in_turn(&subject).await;
        let first = self.pending.of(&subject);
        let new = self.new_challenge(&who, return_to, trail.reference);
        let now = new.created_at;
        let opened = self.parts.store.open_challenge(new, who.spends, now).await?;
        match opened.inspect_err(|_| self.hit(Limit::Starts)).map_err(Cause::TooManyRequests)? {
            Opened::Joined(challenge) => {
                drop(turn);
                let detail = match (who.refusal, challenge.prospect) {
                    ("", Prospect::Refused) => "nothing was sent a moment ago, and nothing is now",
                    ("", Prospect::Open | Prospect::Used) => "the code sent a moment ago serves",
                    (refusal, _) => refusal,
                };
                self.writer.note_if_possible(What::ChallengeStarted, trail, detail).await;
                self.joined(challenge, first).await
            }
            Opened::Send(challenge) => {
                let sending = self.pending.begin(&subject);
                drop(turn);
                self.writer.note_if_possible(What::ChallengeStarted, trail, who.refusal).await;
                self.send(Order { challenge, before: None, old: None, to: who.user }, sending, trail).await
            }
        }
    }

    async fn send(&self, order: Order, sending: Sending, trail: &Trail) -> Result<Challenge, Cause> {
        let sent = self.sender.send(order, trail).await;
        sending.end(sent.as_ref().err().cloned());
        sent
    }

    /// Somebody asked for the same a moment before: what became of that is known when their message is under way.
    async fn joined(&self, challenge: Challenge, first: Option<Waiting>) -> Result<Challenge, Cause> {
        if let Some(first) = first
            && let Some(cause) = first.ended().await
        {
            return Err(cause);
        }
        let now = self.parts.store.challenge(challenge.id).await?.unwrap_or(challenge);
        if now.state == State::Unsent { Err(Cause::ProviderDown(None)) } else { Ok(now) }
    }

    fn new_challenge(&self, who: &Identified, return_to: ReturnTo, reference: Reference) -> Challenge {
        let usual = self.challenge.channels.first().copied().unwrap_or(Channel::Sms);
        let channel = if who.landline { Channel::Call } else { usual };
        let (terms, now) = (self.providers.terms(), self.parts.clock.now());
        Challenge {
            id: ChallengeId::from_random(crypto::random()),
            reference,
            user: who.user.as_ref().map(|user| user.id),
            user_name: who.name.clone(),
            subject: who.subject.clone(),
            recipient: who.recipient.clone(),
            return_to,
            channel,
            created_at: now,
            expires_at: now + terms.lifetime,
            sent_at: now,
            sends: 1,
            checks: 0,
            max_checks: terms.max_checks,
            code_length: terms.code_length,
            state: State::Open,
            delivery: Delivery::Pending,
            prospect: Prospect::Open,
            holder: self.providers.first(channel),
            last: false,
            landline: who.landline,
        }
    }

    /// A new challenge for whoever an old one was for.
    fn afresh(&self, of: Challenge, channel: Channel) -> Challenge {
        let (terms, now) = (self.providers.terms(), self.parts.clock.now());
        Challenge {
            id: ChallengeId::from_random(crypto::random()),
            channel,
            created_at: now,
            expires_at: now + terms.lifetime,
            sent_at: now,
            sends: 1,
            checks: 0,
            max_checks: terms.max_checks,
            code_length: terms.code_length,
            state: State::Open,
            delivery: Delivery::Pending,
            prospect: Prospect::Open,
            holder: self.providers.first(channel),
            last: false,
            ..of
        }
    }

    /// The person asks for another code, or for the code another way.
    pub async fn resend(
        &self,
        id: ChallengeId,
        channel: Channel,
        client: IpAddr,
    ) -> Result<Challenge, Failure> {
        if let Err(wait) = self.starts.spend(client) {
            return Err(self.turn_away(Limit::StartsPerAddress, Cause::TooManyRequests(wait), client).await);
        }
        let since = Instant::now();
        let found = self.parts.store.challenge(id).await;
        let trail = Trail::of(found.as_ref().ok().and_then(Option::as_ref), client);
        let resent = match found {
            Ok(Some(challenge)) => self.resend_at_once(challenge, channel, &trail).await,
            Ok(None) => Err(Cause::Unknown),
            Err(error) => Err(error.into()),
        };
        self.answer(since, resent, &trail).await
    }

    async fn resend_at_once(
        &self,
        of: Challenge,
        channel: Channel,
        trail: &Trail,
    ) -> Result<Challenge, Cause> {
        if !self.channels(&of).contains(&channel) {
            return Err(Cause::Channel);
        }
        let (spends, to) = self.again(&of).await?;
        let subject = of.subject.clone();
        let turn = self.pending.in_turn(&subject).await;
        let (first, now) = (self.pending.of(&subject), self.parts.clock.now());
        let old = of.holder.clone().filter(|_| of.prospect == Prospect::Open);
        let (challenge, before) = match of.usable(now) {
            // Its time or its tries are over, but the person is the same: they need not type their number again.
            Err(Closed::Expired | Closed::TooManyChecks) => {
                let new = self.afresh(of, channel);
                match self.parts.store.open_challenge(new, spends, now).await? {
                    Ok(Opened::Send(challenge)) => (challenge, None),
                    Ok(Opened::Joined(challenge)) => {
                        drop(turn);
                        return self.joined(challenge, first).await;
                    }
                    Err(wait) => {
                        self.hit(Limit::Resend);
                        return Err(Cause::ResendTooSoon(wait));
                    }
                }
            }
            Ok(()) | Err(Closed::AlreadyUsed | Closed::Cancelled) => {
                match self.spend(&of, channel, spends).await? {
                    Ok(challenge) => (challenge, Some(of)),
                    // The second of two clicks: what the first asked for is being sent, or was just now.
                    Err(Refused::TooOften(_)) if first.is_some() || of.was_just_resent(channel, now) => {
                        drop(turn);
                        return self.joined(of, first).await;
                    }
                    Err(refused) => return Err(self.refused(refused, true)),
                }
            }
        };
        let sending = self.pending.begin(&subject);
        drop(turn);
        self.writer.note_if_possible(What::CodeResent, trail, channel.as_str()).await;
        self.send(Order { challenge, before, old, to }, sending, trail).await
    }

    async fn spend(
        &self,
        of: &Challenge,
        channel: Channel,
        spends: Vec<Spend>,
    ) -> Result<Result<Challenge, Refused>, StoreError> {
        let (now, pacing) = (self.parts.clock.now(), self.providers.pacing(of, channel));
        self.parts.store.spend_resend(of.id, channel, pacing, spends, now).await
    }

    /// How long until another code of a challenge can be sent.
    pub fn resend_wait(&self, challenge: &Challenge, channel: Channel) -> Duration {
        challenge.resend_wait(channel, self.parts.clock.now(), self.providers.pacing(challenge, channel))
    }

    /// What another code is counted against, like the first, and whom it goes to.
    async fn again(&self, of: &Challenge) -> Result<(Vec<Spend>, Option<User>), StoreError> {
        // Whom it is counted against is one thing, whether they get a code another: somebody shut out is counted like
        // everybody.
        let known = match of.subject.user_id() {
            Some(id) => self.parts.store.user(UserKey::Id(id)).await?,
            None => None,
        };
        let number = known.as_ref().map(|user| &user.phone_number);
        let spends = self.spends(number, &of.subject, of.subject.typed());
        let closed = self.parts.store.failures(of.subject.clone()).await?.is_closed();
        let may_get_one = |user: &User| of.user == Some(user.id) && user.may_sign_in() && !closed;
        Ok((spends, known.filter(may_get_one)))
    }
}

/// The limit that a refusal of the store comes from, if it comes from one.
pub(super) const fn limit_of(refused: Refused, sending: bool) -> Option<Limit> {
    match refused {
        Refused::Unknown | Refused::Closed(Closed::Cancelled | Closed::Expired | Closed::AlreadyUsed) => None,
        Refused::Closed(Closed::TooManyChecks) => Some(Limit::Tries),
        Refused::TooOften(_) if sending => Some(Limit::Resend),
        Refused::TooOften(_) => Some(Limit::ChecksPerChallenge),
        Refused::Failures(FailureStop::Wait(_)) => Some(Limit::Failures),
        Refused::Failures(FailureStop::Closed) => Some(Limit::Closed),
    }
}

/// What a refusal of the store means to the person; `sending` tells another code from another check.
pub(super) const fn cause_of(refused: Refused, sending: bool) -> Cause {
    match refused {
        Refused::Unknown | Refused::Closed(Closed::Cancelled) => Cause::Unknown,
        Refused::Closed(Closed::Expired) => Cause::Expired,
        Refused::Closed(Closed::AlreadyUsed) => Cause::AlreadyUsed,
        Refused::Closed(Closed::TooManyChecks) => Cause::TooManyChecks(Duration::from_secs(30)),
        Refused::TooOften(wait) if sending => Cause::ResendTooSoon(wait),
        Refused::TooOften(wait) => Cause::TooManyAttempts(wait),
        Refused::Failures(FailureStop::Wait(wait)) => Cause::TooManyFailures(wait),
        Refused::Failures(FailureStop::Closed) => Cause::CodesClosed,
    }
}
