//! Vonage Verify v2 over its wire: JSON in and out, HTTP Basic or a signed token.
//!
//! A request is a workflow of two steps: the way that was asked for, and the way a person is likely to ask for next.
//! All steps carry the same code. Success of a check is a `completed` that could be read, and nothing else.

mod credentials;
mod error;

use std::sync::Arc;

use reqwest::Method;
use reqwest::header::CONTENT_LENGTH;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::credentials::{Credentials, NotAKey};
use super::common;
use super::request::{self, Requests};
use super::start::{self, Started, UnderWayIs};
use crate::clock::Clock;
use crate::config;
use crate::domain::challenge::{Code, Verdict};
use crate::domain::channel::Channel;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::Pacing;
use crate::verifier::wire::{self, Raw, Wire};
use crate::verifier::{Answer, Live, Sent, Terms, Trouble, Verifier, VerifierError};

/// A client of one account or application.
#[derive(Debug)]
pub struct Vonage {
    wire: Wire,
    name: String,
    requests: String,
    credentials: Credentials,
    brand: String,
    code_length: u8,
    whatsapp_from: Option<String>,
    /// The ways a person may ask for.
    offered: Vec<Channel>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// No HTTPS.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
    /// The application's key cannot sign.
    #[error("its private_key is no RSA private key in PEM")]
    PrivateKey,
}

impl From<NotAKey> for SetUpError {
    fn from(NotAKey: NotAKey) -> Self {
        Self::PrivateKey
    }
}

#[derive(Deserialize)]
struct Request {
    request_id: String,
}

#[derive(Deserialize)]
struct Checked {
    status: String,
}

impl Vonage {
    /// A client for a configured account; `channels` are the ways a person may ask for. Opens no connection.
    pub fn new(
        name: &str,
        settings: &config::Vonage,
        brand: &str,
        channels: &[Channel],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetUpError> {
        let mut client = Self {
            wire: Wire::new(settings.timeout)?,
            name: name.to_owned(),
            requests: format!("{}/v2/verify", settings.base_url),
            credentials: Credentials::new(&settings.credentials, clock)?,
            brand: common::fit(brand),
            code_length: settings.code_length,
            whatsapp_from: settings.whatsapp_from.clone(),
            offered: Vec::new(),
        };
        client.offered = channels.iter().copied().filter(|channel| client.offers(*channel)).collect();
        Ok(client)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        until: Instant,
    ) -> Result<Raw, VerifierError> {
        let request = self.wire.http().request(method.clone(), format!("{}{path}", self.requests));
        let request = match body {
            Some(body) => request.json(body),
            // Some servers refuse a POST that does not say so (RFC 9110 section 8.6).
            None if method == Method::POST => request.header(CONTENT_LENGTH, 0),
            None => request,
        };
        self.wire.send(self.credentials.sign(request), until).await
    }

    fn workflow(&self, to: &PhoneNumber, channel: Channel) -> Value {
        let steps = [channel, self.second(channel)];
        json!({
            "brand": self.brand,
            "code_length": self.code_length,
            "channel_timeout": common::STEP,
            "workflow": steps.map(|step| self.step(to, step)),
        })
    }

    fn step(&self, to: &PhoneNumber, channel: Channel) -> Value {
        let to = common::digits(to);
        match channel {
            Channel::Sms => json!({ "channel": "sms", "to": to, "reuse_code": true }),
            Channel::Call => json!({ "channel": "voice", "to": to, "reuse_code": true }),
            Channel::Whatsapp => {
                json!({ "channel": "whatsapp", "to": to, "from": self.whatsapp_from, "reuse_code": true })
            }
        }
    }

    async fn ask(&self, workflow: &Value, until: Instant) -> Result<Started, VerifierError> {
        let answer = self.call(Method::POST, "", Some(workflow), until).await?;
        if answer.status.is_success() {
            let request: Request = wire::read(&answer.body)?;
            return wire::handle(&request.request_id).map(Started::Sent).ok_or_else(wire::lost);
        }
        let error = error::of_answer(&answer);
        if error.trouble == Trouble::InFlight {
            return Ok(Started::UnderWay(error::live_request(&answer), error));
        }
        Err(error)
    }

    async fn judge(&self, handle: &str, code: &Code) -> Result<Verdict, VerifierError> {
        let (until, path) = (self.wire.deadline(), format!("/{handle}"));
        let body = &json!({ "code": code.digits() });
        let check = || self.call(Method::POST, &path, Some(body), until);
        verdict(&wire::patiently(until, wire::pause_of_check, check).await?)
    }
}

impl Requests for Vonage {
    fn second(&self, first: Channel) -> Channel {
        common::second(first, &self.offered)
    }

    async fn begin(
        &self,
        to: &PhoneNumber,
        channel: Channel,
        until: Instant,
        under_way: UnderWayIs,
    ) -> Result<Sent, VerifierError> {
        let workflow = &self.workflow(to, channel);
        start::start(until, under_way, |until| self.ask(workflow, until)).await
    }

    async fn advance(&self, handle: &str, until: Instant) -> Result<bool, VerifierError> {
        let path = format!("/{handle}/next_workflow");
        let advance = || async {
            let answer = self.call(Method::POST, &path, None, until).await?;
            match answer.status.as_u16() {
                200..=299 => Ok(true),
                404 | 409 => Ok(false),
                _ => Err(error::of_answer(&answer)),
            }
        };
        wire::patiently(until, wire::pause_of_unprocessed, advance).await
    }

    async fn forget(&self, handle: &str, until: Instant) -> Result<(), VerifierError> {
        let answer = self.call(Method::DELETE, &format!("/{handle}"), None, until).await?;
        if answer.status.is_success() || answer.status == 404 {
            Ok(())
        } else {
            Err(error::of_answer(&answer))
        }
    }
}

fn verdict(answer: &Raw) -> Result<Verdict, VerifierError> {
    if !answer.status.is_success() {
        return error::on_check(error::of_answer(answer));
    }
    let checked: Checked = wire::read(&answer.body)?;
    match checked.status.as_str() {
        "completed" | "complete" => Ok(Verdict::Approved),
        _ => Err(wire::lost()),
    }
}

impl Verifier for Vonage {
    fn name(&self) -> &str {
        &self.name
    }

    fn terms(&self) -> Terms {
        Terms { code_length: self.code_length, max_checks: common::MAX_CHECKS, lifetime: common::LIFETIME }
    }

    fn offers(&self, channel: Channel) -> bool {
        match channel {
            Channel::Sms | Channel::Call => true,
            Channel::Whatsapp => self.whatsapp_from.is_some(),
        }
    }

    fn pacing(&self, from: Channel, to: Channel) -> Pacing {
        common::pacing(self.second(from), to)
    }

    fn start<'a>(&'a self, to: &'a PhoneNumber, channel: Channel) -> Answer<'a, Sent> {
        Box::pin(self.begin(to, channel, self.wire.deadline(), UnderWayIs::Anothers))
    }

    fn resend<'a>(&'a self, to: &'a PhoneNumber, channel: Channel, live: Live<'a>) -> Answer<'a, Sent> {
        Box::pin(request::again(self, to, channel, live, self.wire.deadline()))
    }

    fn check<'a>(
        &'a self,
        _: &'a PhoneNumber,
        handle: Option<&'a str>,
        code: &'a Code,
    ) -> Answer<'a, Verdict> {
        Box::pin(async move { self.judge(handle.ok_or_else(wire::lost)?, code).await })
    }

    fn needs_handle(&self) -> bool {
        true
    }

    fn cancel<'a>(&'a self, handle: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let until = self.wire.deadline();
            wire::patiently(until, wire::pause_of_cancel, || self.forget(handle, until)).await
        })
    }

    fn goes_on_by_itself(&self) -> bool {
        true
    }

    /// Cancels a request that cannot be: only whoever is known is told that it is not there.
    fn probe(&self) -> Answer<'_, Terms> {
        Box::pin(async move {
            let nobodys = common::random_uuid();
            self.forget(&nobodys, self.wire.deadline()).await.map(|()| self.terms())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::VonageCredentials;

    fn client(whatsapp_from: Option<&str>, channels: &[Channel]) -> Vonage {
        let key = config::Credentials { user: "abc12345".to_owned(), secret: "a-secret".into() };
        let settings = config::Vonage {
            base_url: "http://127.0.0.1:1".to_owned(),
            credentials: VonageCredentials::Key(key),
            code_length: 6,
            whatsapp_from: whatsapp_from.map(str::to_owned),
            timeout: Duration::from_secs(1),
        };
        Vonage::new("vonage", &settings, "Acme: a house", channels, Arc::new(SystemClock)).unwrap()
    }

    #[test]
    fn a_workflow_has_two_steps_with_one_code() {
        let to = "+14155550100".parse().unwrap();
        let client = client(Some("447700900000"), &[Channel::Sms, Channel::Whatsapp]);
        assert_eq!(
            client.workflow(&to, Channel::Sms),
            json!({
                "brand": "Acme a house",
                "code_length": 6,
                "channel_timeout": 690,
                "workflow": [
                    { "channel": "sms", "to": "14155550100", "reuse_code": true },
                    { "channel": "whatsapp", "to": "14155550100", "from": "447700900000", "reuse_code": true },
                ],
            })
        );
        let calls = client.workflow(&to, Channel::Call);
        assert_eq!(
            calls["workflow"][0],
            json!({ "channel": "voice", "to": "14155550100", "reuse_code": true })
        );
        assert_eq!(calls["workflow"][1]["channel"], "sms");
    }

    #[test]
    fn approval_is_a_completed_that_can_be_read_and_nothing_else() {
        let verdict = |status, body: &str| {
            let status = reqwest::StatusCode::from_u16(status).unwrap();
            let answer = Raw { status, retry_after: None, body: body.as_bytes().to_vec() };
            verdict(&answer).map_err(|error| error.trouble)
        };
        for status in ["completed", "complete"] {
            assert_eq!(verdict(200, &format!(r#"{{"status":"{status}"}}"#)), Ok(Verdict::Approved));
        }
        for body in [
            "",
            "{}",
            "<html>completed</html>",
            r#"{"status":"pending"}"#,
            r#"{"status":"completed"#,
            r#""completed""#,
        ] {
            assert_eq!(verdict(200, body), Err(Trouble::Ambiguous), "{body}");
        }
        assert_eq!(verdict(400, r#"{"status":"completed"}"#), Ok(Verdict::WrongCode));
    }

    #[test]
    fn without_a_sender_nothing_goes_by_whatsapp() {
        let to = "+14155550100".parse().unwrap();
        let client = client(None, &[Channel::Sms, Channel::Whatsapp]);
        assert!(!client.offers(Channel::Whatsapp));
        assert_eq!(client.workflow(&to, Channel::Sms)["workflow"][1]["channel"], "sms");
        assert!(!format!("{client:?}").contains("a-secret"));
    }
}
