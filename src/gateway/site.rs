//! What all threads share, and nobody changes.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HeaderValue;
use ipnet::IpNet;

use super::forward_auth::{self, ForwardAuth};
use super::target;
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::policy::Policy;
use crate::message::client_address;
use crate::message::session_cookie::Names;
use crate::pages::Pages;

/// What all threads share, and nobody changes.
#[derive(Debug)]
pub struct Site {
    /// Who may pass where.
    pub policy: Policy,
    /// The names of our cookies.
    pub cookies: Names,
    /// `http` or `https`, as people type it.
    pub scheme: &'static str,
    /// Peers whose word about the client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Peers that may ask whether a request may pass.
    pub(super) forward_auth: Option<ForwardAuth>,
    /// Renders refusals.
    pub pages: Arc<Pages>,
    /// What browsers are told about https (RFC 6797), where they are.
    pub(super) hsts: Option<HeaderValue>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Site {
    /// The site of these settings.
    pub fn new(settings: &Settings, pages: Arc<Pages>, clock: Arc<dyn Clock>) -> Self {
        Self {
            policy: target::policy(settings),
            cookies: Names::new(settings.server.public_url.secure),
            scheme: settings.server.public_url.scheme(),
            trusted_proxies: forward_auth::trusted_proxies(settings),
            forward_auth: ForwardAuth::new(settings),
            pages,
            hsts: hsts(settings),
            clock,
        }
    }

    /// One of the hosts that requests may be for.
    pub fn a_host(&self) -> &str {
        self.policy.hosts().next().unwrap_or_default()
    }

    /// Whether this peer is one of our proxies.
    pub fn trusts(&self, address: IpAddr) -> bool {
        client_address::is_trusted(address.to_canonical(), &self.trusted_proxies)
    }
}

fn hsts(settings: &Settings) -> Option<HeaderValue> {
    let time = settings.server.tls.as_ref()?.hsts?;
    HeaderValue::try_from(format!("max-age={}", time.as_secs())).ok()
}
