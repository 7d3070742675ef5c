//! A rule of a route: which requests it is about, and what it asks of them.

use std::time::Duration;

use hyper::Method;
use ipnet::IpNet;

use super::Asked;
use super::pattern::PathPattern;

/// What is asked of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: everybody passes, with their session's name when they have one.
    Allow,
    /// A session, proved no longer ago than `max_age`.
    Challenge {
        /// The oldest proof that is taken; any good session without it.
        max_age: Option<Duration>,
    },
    /// Nobody passes.
    Deny,
}

impl Default for Access {
    fn default() -> Self {
        Self::Challenge { max_age: None }
    }
}

/// A rule. An empty list is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The paths it is about.
    pub paths: Vec<PathPattern>,
    /// The methods.
    pub methods: Vec<Method>,
    /// Where the client is.
    pub networks: Vec<IpNet>,
    /// What it asks.
    pub access: Access,
}

impl Rule {
    /// Whether it takes every request for `path` and what is below it.
    pub fn is_about_everything(&self, path: &str) -> bool {
        let takes_all_paths =
            self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.takes_all(path));
        takes_all_paths && self.methods.is_empty() && are_everywhere(&self.networks)
    }

    /// Whether a request whose path is read like this is one of its.
    pub(super) fn matches(&self, asked: &Asked<'_>, path: &[u8]) -> bool {
        self.takes_method(asked.method)
            && (self.networks.is_empty() || self.networks.iter().any(|net| net.contains(&asked.client)))
            && (self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.is_match(path)))
    }

    /// GET is HEAD too: it is the same question (RFC 9110 section 9.3.2).
    fn takes_method(&self, method: &Method) -> bool {
        let asked = if *method == Method::HEAD { &Method::GET } else { method };
        self.methods.is_empty() || self.methods.contains(method) || self.methods.contains(asked)
    }
}

/// Whether everybody is in one of them.
fn are_everywhere(networks: &[IpNet]) -> bool {
    let whole = |four: bool| networks.iter().any(|net| net.prefix_len() == 0 && net.addr().is_ipv4() == four);
    networks.is_empty() || whole(true) && whole(false)
}
