//! Twilio Verify v2 over its wire: form bodies in, JSON out, HTTP Basic.
//!
//! Success of a check is `status == "approved"` and nothing else. A check is never sent twice once it may have
//! arrived; a start is, only where the provider says it was not processed.

mod error;

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;

use super::wire::{self, Wire};
use super::{Answer, Live, Sent, Terms, Verifier, VerifierError};
use crate::config;
use crate::domain::challenge::{Code, Verdict};
use crate::domain::channel::Channel;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::Pacing;

/// A client of one Verify Service.
#[derive(Debug)]
pub struct Twilio {
    wire: Wire,
    name: String,
    service: String,
    user: String,
    secret: SecretString,
    brand: String,
    /// As the Service says; six until it has been asked.
    code_length: AtomicU8,
}

/// Twilio sends and checks five times in the ten minutes a code lives; none of it can be configured.
const MAX_CHECKS: u32 = 5;
const LIFETIME: Duration = Duration::from_secs(600);
const DEFAULT_CODE_LENGTH: u8 = 6;

#[derive(Deserialize)]
struct Verification {
    sid: String,
    status: String,
}

#[derive(Deserialize)]
struct Service {
    code_length: Option<u8>,
}

/// An answer of 2xx with a body, or the trouble.
type Reply = Result<Vec<u8>, VerifierError>;

impl Twilio {
    /// A client for a configured account. Opens no connection.
    pub fn new(name: &str, settings: &config::Twilio, brand: &str) -> Result<Self, reqwest::Error> {
        Ok(Self {
            wire: Wire::new(settings.timeout)?,
            name: name.to_owned(),
            service: format!("{}/v2/Services/{}", settings.base_url, settings.service_sid),
            user: settings.credentials.user.clone(),
            secret: settings.credentials.secret.clone(),
            brand: brand.to_owned(),
            code_length: AtomicU8::new(DEFAULT_CODE_LENGTH),
        })
    }

    async fn call(&self, method: Method, path: &str, form: &[(&str, &str)], until: Instant) -> Reply {
        let url = format!("{}{path}", self.service);
        let mut request = self.wire.http().request(method.clone(), url);
        request = request.basic_auth(&self.user, Some(self.secret.expose_secret()));
        if method == Method::POST {
            request = request.form(form);
        }
        let answer = self.wire.send(request, until).await?;
        if answer.status.is_success() { Ok(answer.body) } else { Err(error::of_answer(&answer)) }
    }

    async fn send(&self, to: &PhoneNumber, channel: Channel) -> Result<Sent, VerifierError> {
        let mut form = vec![("To", to.as_e164()), ("Channel", channel.as_str())];
        if !self.brand.is_empty() {
            form.push(("CustomFriendlyName", &self.brand));
        }
        let (until, form) = (self.wire.deadline(), form.as_slice());
        let body = wire::patiently(until, error::pause_of_start, || {
            self.call(Method::POST, "/Verifications", form, until)
        });
        let verification: Verification = wire::read(&body.await?)?;
        Ok(Sent { handle: wire::handle(&verification.sid).ok_or_else(wire::lost)? })
    }

    async fn judge(
        &self,
        to: &PhoneNumber,
        handle: Option<&str>,
        code: &Code,
    ) -> Result<Verdict, VerifierError> {
        let target = handle.map_or(("To", to.as_e164()), |sid| ("VerificationSid", sid));
        let (until, form) = (self.wire.deadline(), &[target, ("Code", code.digits())]);
        let asked = wire::patiently(until, wire::pause_of_check, || {
            self.call(Method::POST, "/VerificationCheck", form, until)
        });
        let body = match asked.await {
            Ok(body) => body,
            Err(error) => return error::on_check(error),
        };
        let verification: Verification = wire::read(&body)?;
        Ok(match verification.status.as_str() {
            "approved" => Verdict::Approved,
            "max_attempts_reached" => Verdict::TooManyChecks,
            "expired" | "canceled" | "deleted" | "failed" => Verdict::GoneOrExpired,
            _ => Verdict::WrongCode,
        })
    }

    async fn ask_service(&self) -> Result<Terms, VerifierError> {
        let body = self.call(Method::GET, "", &[], self.wire.deadline()).await?;
        let service: Service = wire::read(&body)?;
        if let Some(length) = service.code_length.filter(|length| (4..=10).contains(length)) {
            self.code_length.store(length, Ordering::Relaxed);
        }
        Ok(self.terms())
    }
}

impl Verifier for Twilio {
    fn name(&self) -> &str {
        &self.name
    }

    fn terms(&self) -> Terms {
        let code_length = self.code_length.load(Ordering::Relaxed);
        Terms { code_length, max_checks: MAX_CHECKS, lifetime: LIFETIME }
    }

    fn offers(&self, _: Channel) -> bool {
        true
    }

    fn pacing(&self, _: Channel, _: Channel) -> Pacing {
        Pacing::USUAL
    }

    fn start<'a>(&'a self, to: &'a PhoneNumber, channel: Channel) -> Answer<'a, Sent> {
        Box::pin(self.send(to, channel))
    }

    /// A start for a number with a code under way sends the same code again, by whichever channel.
    fn resend<'a>(&'a self, to: &'a PhoneNumber, channel: Channel, _: Live<'a>) -> Answer<'a, Sent> {
        Box::pin(self.send(to, channel))
    }

    fn check<'a>(
        &'a self,
        to: &'a PhoneNumber,
        handle: Option<&'a str>,
        code: &'a Code,
    ) -> Answer<'a, Verdict> {
        Box::pin(self.judge(to, handle, code))
    }

    fn needs_handle(&self) -> bool {
        false
    }

    fn cancel<'a>(&'a self, handle: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let path = format!("/Verifications/{handle}");
            let (until, form) = (self.wire.deadline(), &[("Status", "canceled")]);
            let cancelled =
                wire::patiently(until, wire::pause_of_cancel, || self.call(Method::POST, &path, form, until));
            cancelled.await.map(drop)
        })
    }

    fn goes_on_by_itself(&self) -> bool {
        false
    }

    fn probe(&self) -> Answer<'_, Terms> {
        Box::pin(self.ask_service())
    }
}
