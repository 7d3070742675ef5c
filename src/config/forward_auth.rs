//! `[forward_auth]`: which proxies may ask whether a request may pass, and how they put it.

use std::str::FromStr;

use ipnet::IpNet;

use super::reader::Section;
use super::values::{Network, one_of, refuse_everybody};

/// `[forward_auth]`
#[derive(Clone, Debug)]
pub struct ForwardAuth {
    /// The proxies that may ask.
    pub peers: Vec<IpNet>,
    /// Whether a proxy on a Unix socket may ask.
    pub unix: bool,
    /// How they describe the request that they ask about, and which answers they take.
    pub dialect: Dialect,
}

/// How a proxy asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// nginx's `auth_request`: fields as our documentation sets them; it takes 2xx, 401 and 403 only.
    Nginx,
    /// Caddy's `forward_auth`.
    Caddy,
    /// Traefik's ForwardAuth.
    Traefik,
    /// Envoy's ext_authz by HTTP: the request itself, its path behind ours.
    Envoy,
}

/// Who may ask.
enum Peer {
    Unix,
    Network(IpNet),
}

impl FromStr for Peer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let wrong =
            "not a proxy; write its network like \"10.0.0.0/8\", its address like \"10.0.0.5\", or \"unix\"";
        text.parse().map(|Network(net)| Self::Network(net)).map_err(|_| wrong)
    }
}

/// Nothing when the section is not there.
pub(super) fn forward_auth(section: &Section<'_>) -> Option<ForwardAuth> {
    if !section.is_present() {
        return None;
    }
    let (mut peers, mut unix) = (Vec::new(), false);
    for peer in section.list("peers") {
        match peer {
            Peer::Unix => unix = true,
            Peer::Network(net) => peers.push(net),
        }
    }
    if section.lists_nothing("peers") {
        section.problem(
            "peers",
            "missing; write the addresses of the proxies that may ask, like [\"127.0.0.1\"]",
        );
    }
    refuse_everybody(section, "peers", &peers);
    let words = [
        ("nginx", Dialect::Nginx),
        ("caddy", Dialect::Caddy),
        ("traefik", Dialect::Traefik),
        ("envoy", Dialect::Envoy),
    ];
    let dialect = one_of(section, "dialect", &words, None);
    section.finish();
    Some(ForwardAuth { peers, unix, dialect: dialect? })
}
