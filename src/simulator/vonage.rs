//! Vonage Verify, versions 1 and 2, without a phone network: the real wire contract, sent codes shown on a side
//! channel.
//!
//! Version 2 lives under `/v2/verify`, version 1 under `/verify`; `/simulator/messages`, `/simulator/requests` and
//! `/simulator/faults` are the side channel and take no credentials, so never listen where strangers can reach it.
//! Codes appear there and in the sink, and never in an API answer, but for those that version 1 was asked to check.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;

use super::{Fault, FaultError, SentCode, provider, wire};

mod jwt;
mod plan;
mod problem;
mod request;
mod requests;
mod route;
mod server;
mod v1;
mod v2;

pub use jwt::{PublicKey, PublicKeyError};

/// What the simulated account looks like. Whatever is not pinned may be anything well formed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The only API key to take.
    pub api_key: Option<String>,
    /// The only API secret to take.
    pub api_secret: Option<SecretString>,
    /// The only application whose tokens are taken.
    pub application_id: Option<String>,
    /// Verifies tokens; without it, nobody does.
    pub public_key: Option<PublicKey>,
    /// From a start until it can be cancelled.
    pub cancel_after: Duration,
    /// Sent instead of random codes.
    pub fixed_code: Option<String>,
    /// Switched on from the start.
    pub faults: Vec<Fault>,
}

impl Default for Options {
    /// The vendor's defaults, nothing pinned.
    fn default() -> Self {
        Self {
            api_key: None,
            api_secret: None,
            application_id: None,
            public_key: None,
            cancel_after: Duration::from_secs(30),
            fixed_code: None,
            faults: Vec::new(),
        }
    }
}

impl Options {
    fn admit(&self, key: &str, secret: &str) -> bool {
        let key_fits = self.api_key.as_deref().is_none_or(|pinned| pinned == key);
        let secret_fits = self.api_secret.as_ref().is_none_or(|pinned| pinned.expose_secret() == secret);
        is_api_key(key) && !secret.is_empty() && key_fits && secret_fits
    }
}

/// A simulated Vonage Verify, empty at first.
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

    /// Serves HTTP/1.1 on `listener` until the future is dropped, and hands every sent code to `sink`: before the
    /// call that sent it is answered, or soon after it was due.
    pub async fn serve(self, listener: TcpListener, sink: impl Fn(&SentCode) + Send + Sync + 'static) {
        let server = Arc::new(server::Server::new(self.options, Box::new(sink)));
        let steps = Arc::clone(&server);
        tokio::select! {
            () = provider::serve(listener, server) => {}
            () = send_what_is_due(&steps) => {}
        }
    }
}

async fn send_what_is_due(server: &server::Server) {
    loop {
        tokio::time::sleep(TICK).await;
        server.settle(wire::now());
    }
}

/// A fault as a command flag writes it: `on=start,fault=503,times=2`.
pub fn fault(flag: &str) -> Result<Fault, FaultError> {
    Fault::parse(flag, &server::WORDS)
}

/// Whether `key` looks like an API key: up to 32 letters and digits.
#[must_use]
pub fn is_api_key(key: &str) -> bool {
    (1..=32).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether `text` is a UUID in its usual form.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_well_formed_key_will_do_unless_pinned() {
        let open = Options::default();
        assert!(open.admit("abcd1234", "x"));
        assert!(!open.admit("abcd1234", "") && !open.admit("", "x") && !open.admit("abcd 1234", "x"));
        let pinned = Options {
            api_key: Some("abcd1234".to_owned()),
            api_secret: Some("right".to_owned().into()),
            ..Options::default()
        };
        assert!(pinned.admit("abcd1234", "right"));
        assert!(!pinned.admit("abcd1234", "wrong") && !pinned.admit("ffff0000", "right"));
    }

    #[test]
    fn a_uuid_is_36_characters() {
        assert!(is_uuid("c11236f4-00bf-4b89-84ba-88b25df97315"));
        assert!(
            !is_uuid("c11236f400bf4b8984ba88b25df97315") && !is_uuid("c11236f4-00bf-4b89-84ba-88b25df9731x")
        );
    }

    #[test]
    fn debug_hides_the_pinned_secret() {
        let options = Options { api_secret: Some("hunter2".to_owned().into()), ..Options::default() };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
