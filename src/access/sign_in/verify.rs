//! Typing the code.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::trail::call;
use super::{Cause, Failure, SignIn, SignedIn, Trail};
use crate::crypto;
use crate::domain::challenge::{Approval, Challenge, Code, State, Verdict};
use crate::domain::event::What;
use crate::domain::id::{ChallengeId, SessionId};
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::Prospect;
use crate::metrics::{Code as Fate, Limit};
use crate::store::{NewSession, UserKey};
use crate::verifier::VerifierError;

/// What whoever holds a code says of one that was typed.
struct Asked {
    challenge: Challenge,
    /// Whom it went to; nobody where that is pretended.
    to: Option<PhoneNumber>,
    answer: Result<Verdict, VerifierError>,
}

impl SignIn {
    /// The person types a code. One attempt is spent, durably, before anybody looks at it. `carried` is the session that
    /// their browser has already.
    pub async fn verify(
        &self,
        id: ChallengeId,
        typed: &str,
        client: IpAddr,
        carried: Option<SessionId>,
    ) -> Result<SignedIn, Failure> {
        if let Err(wait) = self.checks.spend(client) {
            return Err(self.turn_away(Limit::ChecksPerAddress, Cause::TooManyAttempts(wait), client).await);
        }
        let since = Instant::now();
        // A store that fails here fails again below, where it is told.
        let challenge = self.parts.store.challenge(id).await.ok().flatten();
        let mut trail = Trail::of(challenge.as_ref(), client);
        let digits =
            challenge.map_or_else(|| self.providers.terms().code_length, |challenge| challenge.code_length);
        let verified = match typed.parse::<Code>() {
            // A digit missed or a phone number in the wrong field costs no try: it cannot be the code.
            Ok(code) if code.digits().len() == usize::from(digits) => {
                self.verify_at_once(id, code, carried, &mut trail).await
            }
            Ok(_) | Err(_) => Err(Cause::MalformedCode(digits)),
        };
        self.answer(since, verified, &trail).await
    }

    async fn verify_at_once(
        &self,
        id: ChallengeId,
        code: Code,
        carried: Option<SessionId>,
        trail: &mut Trail,
    ) -> Result<SignedIn, Cause> {
        let now = self.parts.clock.now();
        let spent = self.parts.store.spend_check(id, self.limits.checks_per_challenge, now).await?;
        let challenge = spent.map_err(|refused| self.refused(refused, false))?;
        let Asked { challenge, to, answer } = self.ask(challenge, &code, trail).await?;
        let verdict = match answer {
            Ok(verdict) => verdict,
            Err(error) => {
                self.count(Fate::CheckFailed, &challenge, to);
                return Err(self.not_judged(&challenge, &error, trail).await?);
            }
        };
        match challenge.judge(verdict) {
            Ok(approval) => {
                let signed_in = self.let_in(&challenge, approval, carried, trail).await?;
                self.count(Fate::Approved, &challenge, to);
                Ok(signed_in)
            }
            Err(verdict) => {
                if matches!(verdict, Verdict::WrongCode | Verdict::TooManyChecks) {
                    self.count(Fate::Wrong, &challenge, to);
                }
                Err(self.keep_out(&challenge, verdict, trail).await?)
            }
        }
    }

    /// Counts what became of a code that was really sent.
    fn count(&self, code: Fate, challenge: &Challenge, to: Option<PhoneNumber>) {
        if let Some((holder, to)) = challenge.holder.as_ref().zip(to) {
            self.writer.count(code, &holder.provider, challenge.channel, to);
        }
    }

    /// Asks whoever holds a known user's code; nobody's code is wrong.
    async fn ask(&self, challenge: Challenge, code: &Code, trail: &Trail) -> Result<Asked, Cause> {
        let user = match challenge.user {
            Some(id) => self.parts.store.user(UserKey::Id(id)).await?.filter(|user| user.may_sign_in()),
            None => None,
        };
        let sent = user.filter(|_| challenge.prospect == Prospect::Open);
        let Some((to, holder)) = sent.map(|user| user.phone_number).zip(challenge.holder.clone()) else {
            let answer = self.providers.pretend_check(challenge.holder.as_ref()).await;
            return Ok(Asked { challenge, to: None, answer });
        };
        let challenge = match self.sender.recover(challenge.clone(), &to, trail).await? {
            Ok(found) => found,
            Err(error) => return Ok(Asked { challenge, to: Some(to), answer: Err(error) }),
        };
        let holder = challenge.holder.clone().unwrap_or(holder);
        let answer = self.providers.check(&holder, &to, code).await;
        Ok(Asked { challenge, to: Some(to), answer })
    }

    async fn let_in(
        &self,
        challenge: &Challenge,
        approval: Approval,
        carried: Option<SessionId>,
        trail: &Trail,
    ) -> Result<SignedIn, Cause> {
        let now = self.parts.clock.now();
        let message =
            challenge.holder.as_ref().map(|holder| call(challenge, holder, Verdict::Approved.as_str()));
        let event =
            self.writer.event(What::SessionOpened, trail, challenge.channel.as_str().to_owned(), message);
        let new = NewSession {
            // A new name at every sign-in: nothing a browser brought along is built upon.
            id: SessionId::from_random(crypto::random()),
            expires_at: now + self.session.absolute_timeout,
            client: trail.client.to_string(),
            follows: carried,
            event: event.clone(),
        };
        let session =
            self.parts.store.accept_challenge(approval, new, now).await?.ok_or(Cause::AlreadyUsed)?;
        let token = self.parts.keys.keyring().sign(&session);
        self.guard.proved(trail.client);
        self.parts.audit.metrics().signed_in(challenge.channel, now.since(challenge.sent_at).as_secs());
        self.writer.log_and_count(&event);
        Ok(SignedIn { session, token, return_to: challenge.return_to.clone() })
    }

    async fn keep_out(
        &self,
        challenge: &Challenge,
        verdict: Verdict,
        trail: &mut Trail,
    ) -> Result<Cause, Cause> {
        let holder = challenge.holder.as_ref().filter(|_| challenge.user.is_some());
        trail.call = holder.map(|holder| call(challenge, holder, verdict.as_str()));
        let left = challenge.max_checks.saturating_sub(challenge.checks);
        match verdict {
            Verdict::WrongCode if left > 0 => Ok(Cause::WrongCode(left)),
            Verdict::WrongCode | Verdict::TooManyChecks | Verdict::Approved => {
                self.hit(Limit::Tries);
                self.use_up(challenge).await?;
                Ok(Cause::TooManyChecks(Duration::from_secs(30)))
            }
            // Of two clicks the second finds the code gone because the first was right.
            Verdict::GoneOrExpired => {
                match self.parts.store.expire_code(challenge.id, self.parts.clock.now()).await? {
                    State::Accepted => Ok(Cause::AlreadyUsed),
                    State::Open | State::Cancelled | State::Exhausted | State::Unsent => Ok(Cause::Expired),
                }
            }
        }
    }

    /// The challenge is over, and the provider forgets its code, so that a new one can be sent.
    async fn use_up(&self, challenge: &Challenge) -> Result<(), Cause> {
        self.parts.store.use_up_code(challenge.id).await?;
        if let Some(holder) = challenge.holder.clone().filter(|holder| holder.handle.is_some()) {
            // Not waited for: a stranger's challenge has nothing to cancel, and ends in the same time.
            let (providers, reference) = (self.providers.clone(), challenge.reference);
            tokio::spawn(async move {
                if let Err(error) = providers.cancel(&holder).await {
                    tracing::warn!(%error, %reference, "the used-up code could not be cancelled");
                }
            });
        }
        Ok(())
    }

    /// The provider could not say. The check stays spent; a failure is taken back, since no code was found wrong.
    async fn not_judged(
        &self,
        challenge: &Challenge,
        error: &VerifierError,
        trail: &Trail,
    ) -> Result<Cause, Cause> {
        // First: a line that cannot be written makes no code wrong.
        let refunded = self.parts.store.refund_failure(challenge.subject.clone()).await;
        // What the provider said, it said, whether it is written down at once or later.
        let _ = match &challenge.holder {
            Some(holder) => {
                let detail = format!("{}: {error}", holder.provider);
                let message = call(challenge, holder, error.trouble.as_str());
                self.writer.note_call(What::CheckFailed, trail, detail, message).await
            }
            None => self.writer.note(What::CheckFailed, trail, error.to_string()).await,
        };
        refunded?;
        Ok(Cause::NotChecked(error.retry_after))
    }
}
