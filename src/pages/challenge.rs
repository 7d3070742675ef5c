//! The challenge: who are you, and which code did you get.
//!
//! Every form that succeeds answers 303, so that reload and back never send it again; one that fails shows the page
//! with a sentence and the status that fits.

use std::time::Duration;

use hyper::StatusCode;

use super::form::{FieldError, Form};
use super::problem::{Refusal, TOO_OLD};
use super::reply::{self, Reply, with_cookie, with_retry_after};
use super::sentence::status;
use super::visit::Visit;
use super::{Desk, challenge_page};
use crate::access::sign_in::{Cause, Failure, Identity, SignedIn};
use crate::config::IdentifyBy;
use crate::domain::challenge::{Challenge, State};
use crate::domain::channel::Channel;
use crate::domain::id::ChallengeId;
use crate::domain::return_to::ReturnTo;
use crate::store::StoreError;

mod ask;
mod emergency;

/// Says that the last code was wrong; how many tries are left the challenge itself knows.
const WRONG: &str = "wrong";
/// Asks for the form of an emergency code.
const EMERGENCY: &str = "emergency";

impl Desk {
    /// The challenge page: for somebody who is in and need not prove it again, where they wanted to go; with a code
    /// under way, its form; else the question who they are.
    pub(super) async fn show_challenge(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let query = Form::of_query(visit.query.as_deref());
        let return_to = query.optional("return_to").and_then(|text| text.parse().ok());
        // Before all else: whoever is in and must prove it again may have no other way, either.
        if query.optional(EMERGENCY).is_some() {
            return Ok(self.ask_emergency_code(visit, StatusCode::OK, None, None, "", return_to.as_ref()));
        }
        let challenge = self.challenge_of(visit).await?;
        let proves_again = query.optional("ended") == Some(TOO_OLD)
            || challenge.as_ref().is_some_and(|challenge| challenge.usable(self.clock.now()).is_ok());
        if visit.session.is_ok() && !proves_again {
            let return_to = return_to.unwrap_or_else(ReturnTo::home);
            return Ok(reply::see_other(return_to.as_str()));
        }
        let ended = query.optional("ended").filter(|ended| *ended != TOO_OLD || visit.session.is_ok());
        let notice = ended.and_then(|ended| self.pages.notice_of(ended));
        match challenge {
            Some(challenge) => {
                let wrong = query.optional(WRONG).map(|_| self.wrong_code(&challenge));
                Ok(self.show_under_way(visit, &challenge, wrong, return_to.as_ref()))
            }
            None => Ok(self.ask_who(visit, StatusCode::OK, notice.as_ref(), None, "", return_to.as_ref())),
        }
    }

    pub(super) async fn start(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let form = Form::read(visit)?;
        let return_to = form.optional("return_to").and_then(|text| text.parse().ok());
        let (name, identity) = self.who();
        let typed = match form.required(name) {
            Ok(typed) => typed,
            Err(error) => {
                let message = self.pages.field_sentence(error);
                return Ok(self.ask_who(
                    visit,
                    StatusCode::BAD_REQUEST,
                    Some(&message),
                    None,
                    "",
                    return_to.as_ref(),
                ));
            }
        };
        let goal = return_to.clone().unwrap_or_else(ReturnTo::home);
        match self.sign_in.start(identity(typed.to_owned()), goal, visit.client).await {
            Ok(challenge) => Ok(self.to_code_page(&challenge)),
            Err(failure) => Ok(self.ask_who_again(visit, &failure, typed, return_to.as_ref())),
        }
    }

    fn ask_who_again(
        &self,
        visit: &Visit,
        failure: &Failure,
        typed: &str,
        return_to: Option<&ReturnTo>,
    ) -> Reply {
        let message = self.pages.sentence(&failure.cause);
        let page =
            self.ask_who(visit, status(&failure.cause), Some(&message), failure.reference, typed, return_to);
        with_retry_after(page, failure.cause.wait())
    }

    pub(super) async fn verify(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let form = Form::read(visit)?;
        let return_to: Option<ReturnTo> = form.optional("return_to").and_then(|text| text.parse().ok());
        let Some(challenge) = self.challenge_of(visit).await? else {
            return Ok(self.no_challenge(visit, return_to.as_ref()));
        };
        let typed = match form.required("code") {
            Ok(typed) => typed,
            Err(error) => {
                let message = self.pages.field_sentence(error);
                return Ok(self.ask_code(
                    StatusCode::BAD_REQUEST,
                    Some(&message),
                    &challenge,
                    return_to.as_ref(),
                ));
            }
        };
        match self.sign_in.verify(challenge.id, typed, visit.client, visit.carried()).await {
            // Of two tabs each goes on to its own page, whichever of them asked for the code.
            Ok(signed_in) => Ok(self.let_in(signed_in, return_to)),
            Err(failure) => self.after_failure(&challenge, failure, return_to.as_ref()).await,
        }
    }

    /// The field in which people say who they are, and what stands in it.
    fn who(&self) -> (&'static str, fn(String) -> Identity) {
        match self.sign_in.identify_by() {
            IdentifyBy::Phone => ("phone", Identity::Phone),
            IdentifyBy::Name => ("name", Identity::Name),
        }
    }

    /// Sends somebody who is in to where they wanted to go.
    fn let_in(&self, signed_in: SignedIn, return_to: Option<ReturnTo>) -> Reply {
        let lives = signed_in.session.expires_at.since(self.clock.now());
        let reply = reply::see_other(return_to.unwrap_or(signed_in.return_to).as_str());
        let reply = with_cookie(reply, self.cookies.set(self.cookies.session, signed_in.token, lives));
        with_cookie(reply, self.cookies.clear(self.cookies.challenge))
    }

    /// The page after a form that came to nothing, with the challenge as it is now.
    async fn after_failure(
        &self,
        before: &Challenge,
        failure: Failure,
        return_to: Option<&ReturnTo>,
    ) -> Result<Reply, Refusal> {
        let goal = ("return_to", return_to.unwrap_or(&before.return_to).as_str());
        match failure.cause {
            // The first of two clicks may just have signed this browser in; its next request tells.
            Cause::AlreadyUsed => Ok(reply::see_other(&challenge_page(&[goal]))),
            // So that a reload does not send the wrong code again and cost another try.
            Cause::WrongCode(_) => Ok(reply::see_other(&challenge_page(&[(WRONG, "1"), goal]))),
            Cause::Phone(_)
            | Cause::Region
            | Cause::NumberKind
            | Cause::Name
            | Cause::MalformedCode(_)
            | Cause::TooManyRequests(_)
            | Cause::TooManyAttempts(_)
            | Cause::ResendTooSoon(_)
            | Cause::TooManyFailures(_)
            | Cause::CodesClosed
            | Cause::TooManyChecks(_)
            | Cause::WrongEmergencyCode
            | Cause::MalformedEmergencyCode
            | Cause::Expired
            | Cause::Unknown
            | Cause::Channel
            | Cause::ProviderDown(_)
            | Cause::NotChecked(_)
            | Cause::ProviderBusy(_)
            | Cause::SendingClosed(_)
            | Cause::Store(_) => self.show_failure(before, &failure.cause, return_to).await,
        }
    }

    async fn show_failure(
        &self,
        before: &Challenge,
        cause: &Cause,
        return_to: Option<&ReturnTo>,
    ) -> Result<Reply, Refusal> {
        let challenge = self.sign_in.challenge(before.id).await.map_err(unavailable)?;
        let challenge = challenge.unwrap_or_else(|| before.clone());
        let page = self.ask_code(status(cause), Some(&self.pages.sentence(cause)), &challenge, return_to);
        Ok(with_retry_after(page, cause.wait()))
    }

    pub(super) async fn resend(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let form = Form::read(visit)?;
        let Some(challenge) = self.challenge_of(visit).await? else {
            return Ok(self.no_challenge(visit, None));
        };
        let channel = match form.required("channel").map(str::parse::<Channel>) {
            Ok(Ok(channel)) => channel,
            Err(FieldError::Missing) => challenge.channel,
            Ok(Err(_)) | Err(FieldError::Duplicate) => return Err(Refusal::Malformed),
        };
        match self.sign_in.resend(challenge.id, channel, visit.client).await {
            Ok(challenge) => Ok(self.to_code_page(&challenge)),
            Err(failure) => self.after_failure(&challenge, failure, None).await,
        }
    }

    pub(super) async fn cancel(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let mut location = challenge_page(&[]);
        if let Some(challenge) = self.challenge_of(visit).await? {
            // Nothing is written for one that is over: there is no limit to how often somebody asks.
            if challenge.state == State::Open {
                self.sign_in.cancel(challenge.id).await.map_err(unavailable)?;
            }
            location = challenge_page(&[("return_to", challenge.return_to.as_str())]);
        }
        Ok(with_cookie(reply::see_other(&location), self.cookies.clear(self.cookies.challenge)))
    }

    fn to_code_page(&self, challenge: &Challenge) -> Reply {
        // A little longer than the code lives, so that an expired one is explained and not forgotten.
        let lives = challenge.expires_at.since(self.clock.now()) + Duration::from_secs(3_600);
        let cookie = self.cookies.set(self.cookies.challenge, challenge.id.to_string(), lives);
        with_cookie(reply::see_other(&challenge_page(&[])), cookie)
    }

    /// The challenge this browser has under way.
    async fn challenge_of(&self, visit: &Visit) -> Result<Option<Challenge>, Refusal> {
        let value = self.cookies.find(self.cookies.challenge, &visit.headers);
        let id: Option<ChallengeId> = value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        match id {
            Some(id) => self.sign_in.challenge(id).await.map_err(unavailable),
            None => Ok(None),
        }
    }

    /// A code or a wish for one, and no challenge that it could belong to.
    fn no_challenge(&self, visit: &Visit, return_to: Option<&ReturnTo>) -> Reply {
        if visit.session.is_ok() {
            return reply::see_other(return_to.map_or("/", ReturnTo::as_str));
        }
        let page = self.ask_who(
            visit,
            StatusCode::BAD_REQUEST,
            Some(&self.pages.sentence(&Cause::Unknown)),
            None,
            "",
            None,
        );
        with_cookie(page, self.cookies.clear(self.cookies.challenge))
    }
}

/// The store is at fault, not the visitor; the log has the cause.
pub(super) fn unavailable(error: StoreError) -> Refusal {
    tracing::error!(%error, "a visitor was turned away");
    Refusal::StoreUnavailable
}
