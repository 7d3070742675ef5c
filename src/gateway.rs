//! READ FIRST: request → decision → our own pages, the challenge, or the application → reply.
//!
//! One [`Front`] serves the connections of one thread and shares nothing with the others but immutable settings.
//! A request with a known session waits for nothing here; what is rare and slow is asked of the [`BackOffice`].

mod back_office;
mod reply;
mod sessions;
pub mod target;

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, UPGRADE};
use hyper::{Request, Response};
use ipnet::IpNet;

pub use back_office::BackOffice;

use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::policy::{Asked, Cause, Decision, Policy, Reason};
use crate::domain::time::Timestamp;
use crate::message::client_address;
use crate::message::forwarded::chain_field;
use crate::message::kind::{Kind, kind};
use crate::message::origin;
use crate::message::session_cookie::Names;
use crate::pages::Pages;
use crate::pages::problem::Refusal;
use crate::pages::visit::Visit;
use crate::proxy::{Arrival, Place, Proved, Proxy, ReplyBody};
use sessions::KnownSessions;
use target::Target;

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
    /// Renders refusals.
    pub pages: Arc<Pages>,
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
            trusted_proxies: settings.server.trusted_proxies.clone(),
            pages,
            clock,
        }
    }

    /// Whether this peer is one of our proxies.
    pub fn trusts(&self, address: IpAddr) -> bool {
        client_address::is_trusted(address.to_canonical(), &self.trusted_proxies)
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its place among the connections that may be open; a tunnel keeps it for as long as it lasts.
    place: Place,
    address: IpAddr,
    trusted: bool,
    chain: HeaderValue,
}

impl Peer {
    /// A peer, trusted when it is one of our proxies.
    pub fn new(address: IpAddr, site: &Site, place: Place) -> Self {
        let address = address.to_canonical();
        let trusted = client_address::is_trusted(address, &site.trusted_proxies);
        Self { place, address, trusted, chain: chain_field(&[address]) }
    }

    /// A peer on a Unix socket: a proxy on this machine.
    pub fn local(place: Place) -> Self {
        let address = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        Self { place, address, trusted: true, chain: chain_field(&[address]) }
    }
}

/// Which way a request came.
struct Way {
    /// The client, as far as proxies that we trust can tell.
    client: IpAddr,
    /// The addresses from the client to us, as a field.
    chain: HeaderValue,
}

/// One thread's gateway.
#[derive(Debug)]
pub struct Front {
    site: Arc<Site>,
    sessions: KnownSessions,
    proxy: Proxy,
    office: BackOffice,
}

impl Front {
    /// A gateway for one thread.
    pub fn new(site: Arc<Site>, proxy: Proxy, office: BackOffice) -> Self {
        Self { site, sessions: KnownSessions::default(), proxy, office }
    }

    /// Answers a request. Every way out of here is an answer.
    pub async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<ReplyBody> {
        let kind = kind(request.method(), request.headers());
        match self.serve(request, peer, kind).await {
            Ok(answer) => answer,
            Err(refusal) => reply::refused(&self.site.pages, &refusal, kind).map(Either::Right),
        }
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        kind: Kind,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let target = target::read(&self.site.policy, &request)?;
        if target.is_ours {
            let session = self.session(&request, self.site.clock.now()).await?;
            // Boxed: the rare ways are long, and would be carried along by each request and idle connection.
            return Box::pin(self.visit(request, peer, kind, &target, session)).await;
        }
        let way = self.way(&request, peer);
        let asked = Asked { path: request.uri().path(), method: request.method(), client: way.client };
        let ruling = target.host.ruling(&asked).map_err(|_| Refusal::AmbiguousPath)?;
        let now = self.site.clock.now();
        let session = match self.session(&request, now).await {
            // What everybody may see is there when nobody can be recognised, too.
            Err(_) if ruling.is_open() => Err(Cause::NoSession),
            session => session?,
        };
        match ruling.decide(session, now) {
            Decision::Forward(permit) => {
                // A stranger has nothing that another site's page could use.
                if permit.session().is_some() {
                    upgrade_comes_from_here(&request, self.site.scheme, &target)?;
                }
                let arrival = Arrival {
                    chain: way.chain,
                    scheme: self.site.scheme,
                    authority: target.written,
                    place: peer.place.clone(),
                };
                Ok(self.proxy.forward(permit, request, arrival).await?)
            }
            Decision::Challenge(cause) => {
                let site = format!("{}://{}", self.site.scheme, target.authority());
                let path = target::path_and_query(&request);
                Ok(self.site.pages.challenge_first(cause, kind, &site, path).map(Either::Right))
            }
            Decision::Deny(Reason::NoRoute) => Err(Refusal::NotFound),
            Decision::Deny(Reason::Rule) => Err(Refusal::Denied),
        }
    }

    /// Whose request it is: known to this thread, or to be asked of the back office.
    async fn session(
        &self,
        request: &Request<Incoming>,
        now: Timestamp,
    ) -> Result<Result<Proved, Cause>, Refusal> {
        let Some(token) = self.site.cookies.find(self.site.cookies.session, request.headers()) else {
            return Ok(Err(Cause::NoSession));
        };
        match self.sessions.known(token, now) {
            Some(known) => Ok(known),
            None => Box::pin(self.sessions.learn(token, now, &self.office)).await,
        }
    }

    /// A request to our own pages: gathered whole, and answered by the back office.
    async fn visit(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        kind: Kind,
        target: &Target<'_>,
        session: Result<Proved, Cause>,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let client = self.way(&request, peer).client;
        let (head, body) = request.into_parts();
        let visit = Visit {
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            method: head.method,
            headers: head.headers,
            body: back_office::gather(body).await?,
            client,
            scheme: self.site.scheme,
            authority: target.authority().to_owned(),
            kind,
            session: session.map(|proved| proved.session().clone()),
        };
        Ok(self.office.serve(visit).await?.map(Either::Right))
    }

    /// Which way the request came.
    fn way(&self, request: &Request<Incoming>, peer: &Peer) -> Way {
        if !peer.trusted {
            return Way { client: peer.address, chain: peer.chain.clone() };
        }
        let chain = client_address::chain(request.headers(), peer.address, &self.site.trusted_proxies);
        Way { client: chain[0], chain: chain_field(&chain) }
    }

    /// Forgets sessions that are over, and closes connections that are idle.
    pub fn tidy(&self) {
        self.sessions.tidy(self.site.clock.now());
        self.proxy.tidy();
    }
}

/// A page of another site may not open a WebSocket with this person's session (RFC 6455 section 10.2).
fn upgrade_comes_from_here(
    request: &Request<Incoming>,
    scheme: &str,
    target: &Target<'_>,
) -> Result<(), Refusal> {
    let upgrades = request.headers().contains_key(UPGRADE);
    let from_here = || origin::is_same(request.headers(), scheme, target.authority());
    if upgrades && !from_here() { Err(Refusal::CrossSite) } else { Ok(()) }
}
