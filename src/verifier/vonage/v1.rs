//! Vonage Verify v1 over its wire, for accounts that still have it: form bodies in, JSON out, and HTTP status 200
//! for almost everything.
//!
//! Success is the number 0 in `status`, and nothing else. Key and secret are fields of the body: not every account's
//! v1 takes HTTP Basic.

mod error;
mod reply;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use self::reply::Reply;
use super::common;
use super::request::{self, Requests};
use super::start::{self, Started, UnderWayIs};
use crate::config;
use crate::domain::challenge::{Code, Verdict};
use crate::domain::channel::Channel;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::Pacing;
use crate::verifier::wire::{self, Wire};
use crate::verifier::{Answer, Live, Sent, Terms, Trouble, Verifier, VerifierError};

/// A client of one account.
#[derive(Debug)]
pub struct VonageV1 {
    wire: Wire,
    name: String,
    base_url: String,
    key: String,
    secret: SecretString,
    brand: String,
    code_length: u8,
    /// Whether a person may ask for a call after a text.
    calls: bool,
}

/// One of its fixed sequences of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workflow {
    CallCall,
    SmsSms,
    SmsCall,
}

impl Workflow {
    const fn id(self) -> &'static str {
        match self {
            Self::CallCall => "3",
            Self::SmsSms => "4",
            Self::SmsCall => "5",
        }
    }

    const fn second(self) -> Channel {
        match self {
            Self::CallCall | Self::SmsCall => Channel::Call,
            Self::SmsSms => Channel::Sms,
        }
    }
}

impl VonageV1 {
    /// A client for a configured account; `channels` are the ways a person may ask for. Opens no connection.
    pub fn new(
        name: &str,
        settings: &config::VonageV1,
        brand: &str,
        channels: &[Channel],
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            wire: Wire::new(settings.timeout)?,
            name: name.to_owned(),
            base_url: settings.base_url.clone(),
            key: settings.credentials.user.clone(),
            secret: settings.credentials.secret.clone(),
            brand: common::fit(brand),
            code_length: settings.code_length,
            calls: channels.contains(&Channel::Call),
        })
    }

    /// No sequence goes from a call to a text.
    const fn workflow(&self, channel: Channel) -> Workflow {
        match channel {
            Channel::Call => Workflow::CallCall,
            Channel::Sms | Channel::Whatsapp if self.calls => Workflow::SmsCall,
            Channel::Sms | Channel::Whatsapp => Workflow::SmsSms,
        }
    }

    async fn call(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        until: Instant,
    ) -> Result<Reply, VerifierError> {
        let mut form = vec![("api_key", self.key.as_str()), ("api_secret", self.secret.expose_secret())];
        form.extend(fields);
        let request = self.wire.http().post(format!("{}/verify{path}/json", self.base_url)).form(&form);
        let answer = self.wire.send(request, until).await?;
        if answer.status.is_success() { Reply::read(&answer) } else { Err(error::of_status(&answer)) }
    }

    async fn ask(&self, fields: &[(&str, &str)], until: Instant) -> Result<Started, VerifierError> {
        let reply = self.call("", fields, until).await?;
        if reply.status == 0 {
            return reply.request_id.map(Started::Sent).ok_or_else(wire::lost);
        }
        let error = error::of_reply(&reply);
        if error.trouble == Trouble::InFlight {
            return Ok(Started::UnderWay(reply.request_id, error));
        }
        Err(error)
    }

    async fn control(&self, handle: &str, command: &str, until: Instant) -> Result<Reply, VerifierError> {
        self.call("/control", &[("request_id", handle), ("cmd", command)], until).await
    }

    async fn judge(&self, handle: &str, code: &Code) -> Result<Verdict, VerifierError> {
        let (until, fields) = (self.wire.deadline(), &[("request_id", handle), ("code", code.digits())]);
        let check = || self.call("/check", fields, until);
        let reply = wire::patiently(until, wire::pause_of_check, check).await?;
        error::on_check(&reply)
    }

    /// Looks for a request that cannot be: only whoever is known is told that it is not there.
    async fn look(&self) -> Result<Terms, VerifierError> {
        let nobodys = common::random_id();
        let reply = self.call("/search", &[("request_id", &nobodys)], self.wire.deadline()).await?;
        if reply.status == NOT_FOUND { Ok(self.terms()) } else { Err(error::of_reply(&reply)) }
    }
}

impl Requests for VonageV1 {
    fn second(&self, first: Channel) -> Channel {
        self.workflow(first).second()
    }

    async fn begin(
        &self,
        to: &PhoneNumber,
        channel: Channel,
        until: Instant,
        under_way: UnderWayIs,
    ) -> Result<Sent, VerifierError> {
        let (length, step) = (self.code_length.to_string(), common::STEP.to_string());
        let fields = &[
            ("number", common::digits(to)),
            ("brand", &self.brand),
            ("code_length", &length),
            ("workflow_id", self.workflow(channel).id()),
            // One must be a multiple of the other.
            ("pin_expiry", &step),
            ("next_event_wait", &step),
        ];
        start::start(until, under_way, |until| self.ask(fields, until)).await
    }

    async fn advance(&self, handle: &str, until: Instant) -> Result<bool, VerifierError> {
        let advance = || async {
            let reply = self.control(handle, "trigger_next_event", until).await?;
            match reply.status {
                0 => Ok(true),
                6 | 19 => Ok(false),
                _ => Err(error::of_reply(&reply)),
            }
        };
        wire::patiently(until, wire::pause_of_unprocessed, advance).await
    }

    async fn forget(&self, handle: &str, until: Instant) -> Result<(), VerifierError> {
        let reply = self.control(handle, "cancel", until).await?;
        match reply.status {
            0 | 6 => Ok(()),
            _ => Err(error::of_reply(&reply)),
        }
    }
}

const NOT_FOUND: u32 = 101;

impl Verifier for VonageV1 {
    fn name(&self) -> &str {
        &self.name
    }

    fn terms(&self) -> Terms {
        Terms { code_length: self.code_length, max_checks: common::MAX_CHECKS, lifetime: common::LIFETIME }
    }

    fn offers(&self, channel: Channel) -> bool {
        match channel {
            Channel::Sms | Channel::Call => true,
            Channel::Whatsapp => false,
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

    fn probe(&self) -> Answer<'_, Terms> {
        Box::pin(self.look())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(channels: &[Channel]) -> VonageV1 {
        let credentials = config::Credentials { user: "abc12345".to_owned(), secret: "a-secret".into() };
        let settings = config::VonageV1 {
            base_url: "http://127.0.0.1:1".to_owned(),
            credentials,
            code_length: 6,
            timeout: Duration::from_secs(1),
        };
        VonageV1::new("vonage-v1", &settings, "Acme", channels).unwrap()
    }

    #[test]
    fn the_sequence_has_the_way_that_is_likely_next() {
        let both = client(&[Channel::Sms, Channel::Call]);
        assert_eq!(both.workflow(Channel::Sms), Workflow::SmsCall);
        assert_eq!(both.workflow(Channel::Call), Workflow::CallCall);
        let texts = client(&[Channel::Sms, Channel::Whatsapp]);
        assert_eq!(texts.workflow(Channel::Sms), Workflow::SmsSms);
        assert!(!texts.offers(Channel::Whatsapp));
        assert!(!format!("{texts:?}").contains("a-secret"));
    }
}
