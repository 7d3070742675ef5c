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

use super::{Answer, Sent, Terms, Trouble, Verifier, VerifierError};
use crate::config;
use crate::domain::challenge::{Channel, Code, Verdict};
use crate::domain::phone::PhoneNumber;

/// A client of one Verify Service.
#[derive(Debug)]
pub struct Twilio {
    http: reqwest::Client,
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
/// A start that was certainly not processed is tried so often.
const TRIES: u32 = 3;
/// Longest pause before trying again, whatever the answer asked for: a person is waiting.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

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
    pub fn new(settings: &config::Twilio, brand: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            http,
            service: format!("{}/v2/Services/{}", settings.base_url, settings.service_sid),
            user: settings.credentials.user.clone(),
            secret: settings.credentials.secret.clone(),
            brand: brand.to_owned(),
            code_length: AtomicU8::new(DEFAULT_CODE_LENGTH),
        })
    }

    async fn call(&self, method: Method, path: &str, form: &[(&str, &str)]) -> Reply {
        let url = format!("{}{path}", self.service);
        let mut request =
            self.http.request(method.clone(), url).basic_auth(&self.user, Some(self.secret.expose_secret()));
        if method == Method::POST {
            request = request.form(form);
        }
        let answer = request.send().await.map_err(|error| error::of_transport(&error))?;
        let (status, retry_after) = (answer.status(), error::retry_after(answer.headers()));
        // The whole answer is needed to know what happened: one that breaks off is as lost as none.
        let body = limited(answer).await?;
        if status.is_success() { Ok(body) } else { Err(error::of_answer(status, &body, retry_after)) }
    }

    /// Calls again only where Twilio says that a refused call was not processed, or no connection was had.
    async fn call_patiently(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        let mut tried = 1;
        loop {
            let error = match self.call(Method::POST, path, form).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            let Some(pause) = error::pause(&error, tried).filter(|_| tried < TRIES) else {
                return Err(error);
            };
            tracing::debug!(%error, tried, "calling Twilio again");
            tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
            tried += 1;
        }
    }

    async fn send(&self, to: &PhoneNumber, channel: Channel) -> Result<Sent, VerifierError> {
        let mut form = vec![("To", to.as_e164()), ("Channel", channel.as_str())];
        if !self.brand.is_empty() {
            form.push(("CustomFriendlyName", &self.brand));
        }
        let body = self.call_patiently("/Verifications", &form).await?;
        let verification: Verification = serde_json::from_slice(&body).map_err(|_| error::lost())?;
        Ok(Sent { handle: verification.sid })
    }

    async fn judge(
        &self,
        to: &PhoneNumber,
        handle: Option<&str>,
        code: &Code,
    ) -> Result<Verdict, VerifierError> {
        let target = handle.map_or(("To", to.as_e164()), |sid| ("VerificationSid", sid));
        let body =
            match self.call(Method::POST, "/VerificationCheck", &[target, ("Code", code.digits())]).await {
                Ok(body) => body,
                Err(error) => return error::on_check(error),
            };
        let verification: Verification = serde_json::from_slice(&body).map_err(|_| error::lost())?;
        Ok(match verification.status.as_str() {
            "approved" => Verdict::Approved,
            "max_attempts_reached" => Verdict::TooManyChecks,
            "expired" | "canceled" | "deleted" | "failed" => Verdict::GoneOrExpired,
            _ => Verdict::WrongCode,
        })
    }

    async fn ask_service(&self) -> Result<Terms, VerifierError> {
        let body = self.call(Method::GET, "", &[]).await?;
        let service: Service = serde_json::from_slice(&body).map_err(|_| error::lost())?;
        if let Some(length) = service.code_length.filter(|length| (4..=10).contains(length)) {
            self.code_length.store(length, Ordering::Relaxed);
        }
        Ok(self.terms())
    }
}

impl Verifier for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn terms(&self) -> Terms {
        let code_length = self.code_length.load(Ordering::Relaxed);
        Terms { code_length, max_checks: MAX_CHECKS, lifetime: LIFETIME }
    }

    fn start<'a>(&'a self, to: &'a PhoneNumber, channel: Channel) -> Answer<'a, Sent> {
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

    fn cancel<'a>(&'a self, handle: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let path = format!("/Verifications/{handle}");
            self.call(Method::POST, &path, &[("Status", "canceled")]).await.map(drop)
        })
    }

    fn probe(&self) -> Answer<'_, Terms> {
        Box::pin(self.ask_service())
    }
}

/// Reads a body of at most 64 KiB; the documents are a few hundred bytes.
async fn limited(mut answer: reqwest::Response) -> Result<Vec<u8>, VerifierError> {
    const MOST: usize = 64 * 1_024;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| error::of_transport(&error))? {
        if body.len() + chunk.len() > MOST {
            return Err(VerifierError {
                trouble: Trouble::Ambiguous,
                code: None,
                status: Some(answer.status().as_u16()),
                retry_after: None,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
