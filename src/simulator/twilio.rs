//! Twilio Verify v2 and Lookup v2 without a phone network: the real wire contract, sent codes shown on a side channel.
//!
//! The APIs live under `/v2`; `/simulator/messages`, `/simulator/requests`, `/simulator/faults` and
//! `/simulator/lines` are the side channel and take no credentials, so never listen where strangers can reach it.
//! Codes appear there and in the sink, and never in an API answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;

use super::number::is_e164;
use super::{Fault, FaultError, SentCode, provider};

mod answer;
mod error;
mod http;
mod line;
mod lookup;
mod parameters;
mod route;
mod verification;
mod verifications;

pub use line::Line;

/// What the simulated account looks like. Whatever is not pinned may be anything well formed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The only account (`AC…`) or key (`SK…`) to take.
    pub account_sid: Option<String>,
    /// The only secret to take.
    pub auth_token: Option<SecretString>,
    /// The only Service that exists.
    pub service_sid: Option<String>,
    /// Digits in a random code.
    pub code_length: u8,
    /// From the first send to expiry.
    pub lifetime: Duration,
    /// Sent instead of random codes.
    pub fixed_code: Option<String>,
    /// Switched on from the start.
    pub faults: Vec<Fault>,
    /// What numbers are, when they are looked up.
    pub lines: HashMap<String, Line>,
}

impl Default for Options {
    /// The vendor's defaults, nothing pinned.
    fn default() -> Self {
        Self {
            account_sid: None,
            auth_token: None,
            service_sid: None,
            code_length: 6,
            lifetime: Duration::from_secs(600),
            fixed_code: None,
            faults: Vec::new(),
            lines: HashMap::new(),
        }
    }
}

impl Options {
    fn admit(&self, user: &str, secret: &str) -> bool {
        let user_fits = self.account_sid.as_deref().is_none_or(|pinned| pinned == user);
        let secret_fits = self.auth_token.as_ref().is_none_or(|pinned| pinned.expose_secret() == secret);
        parameters::is_sid(user, &["AC", "SK"]) && !secret.is_empty() && user_fits && secret_fits
    }

    /// An API key belongs to an account whose SID it does not tell, so one is made up from it.
    fn account_of(&self, user: &str) -> String {
        user.strip_prefix("SK").map_or_else(|| user.to_owned(), |rest| format!("AC{rest}"))
    }

    fn has_service(&self, sid: &str) -> bool {
        self.service_sid.as_deref().map_or_else(|| parameters::is_sid(sid, &["VA"]), |pinned| pinned == sid)
    }

    fn code(&self) -> String {
        self.fixed_code.clone().unwrap_or_else(|| super::random::code(self.code_length))
    }

    fn service_code_length(&self) -> u8 {
        let fixed = self.fixed_code.as_ref().and_then(|code| u8::try_from(code.len()).ok());
        fixed.unwrap_or(self.code_length)
    }
}

/// A simulated Twilio Verify, empty at first.
#[derive(Debug)]
pub struct Simulator {
    options: Options,
}

impl Simulator {
    /// A simulator with these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Serves HTTP/1.1 on `listener` until the future is dropped, and hands every sent code to `sink`
    /// before the start that sent it is answered.
    pub async fn serve(self, listener: TcpListener, sink: impl Fn(&SentCode) + Send + Sync + 'static) {
        let server = Arc::new(http::Server::new(self.options, Box::new(sink)));
        provider::serve(listener, server).await;
    }
}

/// A fault as a command flag writes it: `on=start,fault=503,times=2`.
pub fn fault(flag: &str) -> Result<Fault, FaultError> {
    Fault::parse(flag, &http::WORDS)
}

/// A number and its kind of line as a command flag writes them: `+14155550100=landline`.
pub fn line(flag: &str) -> Result<(String, String), &'static str> {
    let (to, kind) = flag.split_once('=').ok_or("write NUMBER=TYPE")?;
    line::checked(to, kind)
}

/// Whether `number` is in E.164 with its sign.
#[must_use]
pub fn is_number(number: &str) -> bool {
    is_e164(number)
}

/// Whether `sid` is two letters out of `prefixes` and 32 hexadecimal digits.
#[must_use]
pub fn is_sid(sid: &str, prefixes: &[&str]) -> bool {
    parameters::is_sid(sid, prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
    const KEY: &str = "SK0123456789abcdef0123456789abcdef";

    #[test]
    fn any_well_formed_account_or_key_will_do_unless_pinned() {
        let open = Options::default();
        assert!(open.admit(ACCOUNT, "x") && open.admit(KEY, "x"));
        assert!(!open.admit(ACCOUNT, "") && !open.admit("AC123", "x") && !open.admit(" AC123", "x"));
        let pinned = Options {
            account_sid: Some(ACCOUNT.to_owned()),
            auth_token: Some("right".to_owned().into()),
            ..Options::default()
        };
        assert!(pinned.admit(ACCOUNT, "right"));
        assert!(!pinned.admit(ACCOUNT, "wrong") && !pinned.admit(KEY, "right"));
    }

    #[test]
    fn a_fixed_code_decides_the_length() {
        let options = Options { fixed_code: Some("1234".to_owned()), ..Options::default() };
        assert_eq!((options.code(), options.service_code_length()), ("1234".to_owned(), 4));
        assert_eq!(Options::default().code().len(), 6);
    }

    #[test]
    fn debug_hides_the_pinned_secret() {
        let options = Options { auth_token: Some("hunter2".to_owned().into()), ..Options::default() };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
