//! Who is at the other end of a connection, and what is believed of what they write about themselves.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use ipnet::IpNet;

use super::target::Target;
use crate::message::certificate_names::CertificateNames;
use crate::message::forwarded::chain_field;
use crate::message::{authority, client_address};
use crate::proxy::ClientConnection;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its connection; a tunnel keeps that for as long as it lasts.
    pub(super) connection: Rc<ClientConnection>,
    pub(super) address: IpAddr,
    pub(super) kind: PeerKind,
    chain: HeaderValue,
    /// What the certificate that it saw is for, where it might have seen another.
    saw: Option<Arc<CertificateNames>>,
}

/// What may be believed of what a peer writes about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerKind {
    /// What its address allows.
    Network,
    /// It came by a Unix socket: a proxy on this machine. The address is this machine's then.
    Unix,
    /// Nothing.
    Unnamed,
}

impl Peer {
    /// A peer, trusted when it is one of our proxies. What its connection is to hold is let go when that has ended.
    pub fn new(address: IpAddr, held: Rc<dyn fmt::Debug>) -> Self {
        let address = address.to_canonical();
        let connection = Rc::new(ClientConnection::new(held));
        Self { connection, address, kind: PeerKind::Network, chain: chain_field(&[address]), saw: None }
    }

    /// The same, of whom a proxy before it said that it cannot name its client: nothing that the client writes about
    /// itself is believed.
    pub fn unnamed(self) -> Self {
        Self { kind: PeerKind::Unnamed, ..self }
    }

    /// The same, which saw a certificate with these names; none where there is but one.
    pub fn saw(self, names: Option<Arc<CertificateNames>>) -> Self {
        Self { saw: names, ..self }
    }

    /// A request for a host that the certificate of its connection is not for went astray (RFC 9110 section 15.5.20).
    pub(super) fn went_astray(&self, target: &Target<'_>) -> bool {
        let Some(names) = &self.saw else { return false };
        !authority::host(target.authority()).is_ok_and(|host| names.cover(&host))
    }

    /// A peer on a Unix socket: a proxy on this machine.
    pub fn local(held: Rc<dyn fmt::Debug>) -> Self {
        let address = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        let connection = Rc::new(ClientConnection::new(held));
        Self { connection, address, kind: PeerKind::Unix, chain: chain_field(&[address]), saw: None }
    }

    /// Whether what it writes about its clients is believed. Asked anew for each request: a reload may have changed it.
    pub(super) fn is_trusted(&self, trusted_proxies: &[IpNet]) -> bool {
        match self.kind {
            PeerKind::Network => client_address::is_trusted(self.address, trusted_proxies),
            PeerKind::Unix => true,
            PeerKind::Unnamed => false,
        }
    }

    /// Which way a request of its came.
    pub(super) fn way(&self, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Way {
        if !self.is_trusted(trusted_proxies) {
            return Way { client: self.address, chain: self.chain.clone() };
        }
        let chain = client_address::chain(headers, self.address, trusted_proxies);
        Way { client: chain[0], chain: chain_field(&chain) }
    }
}

/// Which way a request came.
pub(super) struct Way {
    /// The client, as far as proxies that we trust can tell.
    pub(super) client: IpAddr,
    /// The addresses from the client to us, as a field.
    pub(super) chain: HeaderValue,
}
