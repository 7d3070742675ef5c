//! Asking for a code, and for another.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::identify::Identified;
use super::{Cause, Failure, Identity, SignIn, Trail};
use crate::access::pace;
use crate::crypto;
use crate::domain::challenge::{Challenge, Channel, Closed, Delivery, State};
use crate::domain::event::What;
use crate::domain::id::{ChallengeId, Reference};
use crate::domain::limits::FailureStop;
use crate::domain::phone::PhoneNumber;
use crate::domain::return_to::ReturnTo;
use crate::domain::user::User;
use crate::store::{Opened, Refused, UserKey};
use crate::verifier::{Sent, Trouble, VerifierError};

impl SignIn {
    /// Somebody says who they are and asks for a code. The answer does not tell whether they are known.
    pub async fn start(
        &self,
        identity: Identity,
        return_to: ReturnTo,
        client: IpAddr,
    ) -> Result<Challenge, Failure> {
        if let Err(wait) = self.starts.spend(client) {
            return Err(self.turn_away(Cause::TooManyRequests(wait), client).await);
        }
        let since = Instant::now();
        let mut trail = Trail::new(client);
        let answer = match self.start_at_once(identity, return_to, &mut trail).await {
            Ok(challenge) => Ok(challenge),
            Err(cause) => Err(self.fail(cause, &trail).await),
        };
        pace::hold(since).await;
        answer
    }

    async fn start_at_once(
        &self,
        identity: Identity,
        return_to: ReturnTo,
        trail: &mut Trail,
    ) -> Result<Challenge, Cause> {
        let who = self.identify(identity).await?;
        trail.user = who.name.clone();
        let new = self.new_challenge(&who, return_to, trail.reference);
        let now = new.created_at;
        let opened = self.parts.store.open_challenge(new, who.spends, now).await?;
        match opened.map_err(Cause::TooManyRequests)? {
            Opened::Joined(challenge) => {
                self.record(What::ChallengeStarted, trail, "the code sent a moment ago serves").await;
                Ok(challenge)
            }
            Opened::Send(challenge) => {
                self.record(What::ChallengeStarted, trail, who.refusal).await;
                let to = who.user.map(|user| user.phone_number);
                self.send(challenge, to.as_ref(), trail).await
            }
        }
    }

    fn new_challenge(&self, who: &Identified, return_to: ReturnTo, reference: Reference) -> Challenge {
        let (terms, now) = (self.provider.terms(), self.parts.clock.now());
        Challenge {
            id: ChallengeId::from_random(crypto::random()),
            reference,
            user: who.user.as_ref().map(|user| user.id),
            user_name: who.name.clone(),
            subject: who.subject.clone(),
            recipient: who.recipient.clone(),
            return_to,
            channel: self.challenge.channels.first().copied().unwrap_or(Channel::Sms),
            created_at: now,
            expires_at: now + terms.lifetime,
            sent_at: now,
            sends: 1,
            checks: 0,
            max_checks: terms.max_checks,
            code_length: terms.code_length,
            state: State::Open,
            delivery: Delivery::Sent,
            handle: None,
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
            return Err(self.turn_away(Cause::TooManyRequests(wait), client).await);
        }
        let since = Instant::now();
        let found = self.parts.store.challenge(id).await;
        let trail = Trail::of(found.as_ref().ok().and_then(Option::as_ref), client);
        let resent = match found {
            Ok(Some(challenge)) => self.resend_at_once(challenge, channel, &trail).await,
            Ok(None) => Err(Cause::Unknown),
            Err(error) => Err(error.into()),
        };
        let answer = match resent {
            Ok(challenge) => Ok(challenge),
            Err(cause) => Err(self.fail(cause, &trail).await),
        };
        pace::hold(since).await;
        answer
    }

    async fn resend_at_once(
        &self,
        of: Challenge,
        channel: Channel,
        trail: &Trail,
    ) -> Result<Challenge, Cause> {
        if !self.challenge.channels.contains(&channel) {
            return Err(Cause::Channel);
        }
        // Whom it is counted against is one thing, whether they get a code another: somebody shut out is counted like
        // everybody.
        let known = match of.subject.user_id() {
            Some(id) => self.parts.store.user(UserKey::Id(id)).await?,
            None => None,
        };
        // A code asked for again counts like the first.
        let number = known.as_ref().map(|user| &user.phone_number);
        let spends = self.spends(number, &of.subject, of.subject.typed());
        let closed = self.parts.store.failures(of.subject.clone()).await?.is_closed();
        let may_get_one = |user: &User| of.user == Some(user.id) && user.may_sign_in() && !closed;
        let to = known.filter(may_get_one).map(|user| user.phone_number);
        let now = self.parts.clock.now();
        let challenge = match of.usable(now) {
            // Its time or its tries are over, but the person is the same: they need not type their number again.
            Err(Closed::Expired | Closed::TooManyChecks) => {
                match self.parts.store.open_challenge(self.again(of, channel), spends, now).await? {
                    Ok(Opened::Send(challenge)) => challenge,
                    Ok(Opened::Joined(challenge)) => return Ok(challenge),
                    Err(wait) => return Err(Cause::ResendTooSoon(wait)),
                }
            }
            _ => {
                let spent = self.parts.store.spend_resend(of.id, channel, spends, now).await?;
                spent.map_err(|refused| cause_of(refused, true))?
            }
        };
        self.record(What::CodeResent, trail, channel.as_str()).await;
        self.send(challenge, to.as_ref(), trail).await
    }

    /// A new challenge for whoever an old one was for.
    fn again(&self, of: Challenge, channel: Channel) -> Challenge {
        let (terms, now) = (self.provider.terms(), self.parts.clock.now());
        Challenge {
            id: ChallengeId::from_random(crypto::random()),
            channel,
            created_at: now,
            expires_at: now + terms.lifetime,
            sent_at: now,
            sends: 1,
            checks: 0,
            state: State::Open,
            delivery: Delivery::Sent,
            handle: None,
            ..of
        }
    }

    /// Has the provider send the code, or pretends to when there is nobody to send it to.
    async fn send(
        &self,
        challenge: Challenge,
        to: Option<&PhoneNumber>,
        trail: &Trail,
    ) -> Result<Challenge, Cause> {
        let sent = match to {
            Some(number) => self.provider.start(number, challenge.channel).await.map(Some),
            None => self.provider.pretend_start().await.map(|()| None),
        };
        self.record_sending(challenge.channel, &sent, trail).await;
        if let Some(cause) = sent.as_ref().err().and_then(for_everybody) {
            // Nothing went out, so nothing is waited for: the next start sends at once. A code sent earlier stays good.
            if challenge.sends == 1 {
                self.parts.store.close_challenge(challenge.id, State::Unsent).await?;
            }
            return Err(cause);
        }
        let delivery = match &sent {
            Ok(_) => Delivery::Sent,
            Err(error) if error.trouble == Trouble::Ambiguous => Delivery::Unconfirmed,
            // A code sent earlier for this challenge is still good.
            Err(_) if challenge.handle.is_some() => Delivery::Sent,
            Err(_) => Delivery::Refused,
        };
        let handle = sent.ok().flatten().map(|sent| sent.handle);
        self.parts.store.record_delivery(challenge.id, delivery, handle.clone()).await?;
        Ok(Challenge { delivery, handle: handle.or_else(|| challenge.handle.clone()), ..challenge })
    }

    async fn record_sending(
        &self,
        channel: Channel,
        sent: &Result<Option<Sent>, VerifierError>,
        trail: &Trail,
    ) {
        let by = format!("{} {}", self.provider.name(), channel.as_str());
        match sent {
            Err(error) => self.record(What::SendFailed, trail, format!("{by}: {error}")).await,
            Ok(Some(_)) => self.record(What::CodeSent, trail, by).await,
            Ok(None) => {}
        }
    }
}

/// Trouble that is the same whoever asks is told to everybody. Trouble with one number is told to nobody but the log:
/// it would tell that the number is known.
fn for_everybody(error: &VerifierError) -> Option<Cause> {
    let busy = || Cause::ProviderBusy(error.retry_after.unwrap_or(Duration::from_secs(30)));
    error
        .trouble
        .is_for_everybody()
        .then(|| if error.trouble == Trouble::Throttled { busy() } else { Cause::ProviderDown })
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
