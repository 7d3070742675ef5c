//! READ FIRST: request → decision → our own pages, the challenge, or the application → reply.
//!
//! One [`Front`] serves the connections of one thread and shares nothing with the others but one immutable
//! [`Generation`]; a reload puts the next one in its place.
//! A request with a known session waits for nothing here; what is rare and slow is asked of the [`BackOffice`].

mod back_office;
mod entry;
mod forward_auth;
mod generation;
mod refusals;
mod reply;
mod sessions;
mod tally;
pub mod target;

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_VERSION, STRICT_TRANSPORT_SECURITY, UPGRADE};
use hyper::{HeaderMap, Request, Response};
use ipnet::IpNet;

pub use back_office::BackOffice;
pub use generation::Generation;

use crate::access_log::AccessLog;
use crate::clock::Clock;
use crate::config::Settings;
use crate::crypto;
use crate::domain::policy::{Cause, Decision, Policy, Ruling};
use crate::domain::time::Timestamp;
use crate::message::certificate_names::CertificateNames;
use crate::message::forwarded::chain_field;
use crate::message::kind::{Kind, kind};
use crate::message::origin;
use crate::message::request_id::{self, RequestIds, X_REQUEST_ID};
use crate::message::session_cookie::Names;
use crate::message::{authority, client_address};
use crate::metrics::Outcome;
use crate::pages::problem::Refusal;
use crate::pages::visit::Visit;
use crate::pages::{self, Pages};
use crate::proxy::{Arrival, ClientConnection, Proved, Proxy, ReplyBody};
use crate::traces::{Told, Traces};
use entry::Entry;
use forward_auth::ForwardAuth;
use refusals::Refused;
use sessions::KnownSessions;
use tally::{Fate, Tally};
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
    /// Peers that may ask whether a request may pass.
    forward_auth: Option<ForwardAuth>,
    /// Renders refusals.
    pub pages: Arc<Pages>,
    /// What browsers are told about https (RFC 6797), where they are.
    hsts: Option<HeaderValue>,
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

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its connection; a tunnel keeps that for as long as it lasts.
    connection: Rc<ClientConnection>,
    address: IpAddr,
    kind: PeerKind,
    chain: HeaderValue,
    /// What the certificate that it saw is for, where it might have seen another.
    saw: Option<Arc<CertificateNames>>,
}

/// What may be believed of what a peer writes about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerKind {
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
    fn went_astray(&self, target: &Target<'_>) -> bool {
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
    fn is_trusted(&self, trusted_proxies: &[IpNet]) -> bool {
        match self.kind {
            PeerKind::Network => client_address::is_trusted(self.address, trusted_proxies),
            PeerKind::Unix => true,
            PeerKind::Unnamed => false,
        }
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
    sessions: Rc<KnownSessions>,
    proxy: Proxy,
    office: BackOffice,
    tally: Tally,
    access_log: Option<AccessLog>,
    traces: Traces,
    ids: Rc<RequestIds>,
}

impl Front {
    /// A gateway for one thread.
    pub fn new(generation: &Generation) -> Self {
        let Generation { site, applications, office, metrics, access_log, traces } = generation.clone();
        let proxy = Proxy::new(&applications, site.cookies, site.clock.clone());
        let tally = Tally::new(&metrics, &applications);
        let ids = Rc::new(RequestIds::new(u64::from_ne_bytes(crypto::random())));
        Self { site, sessions: Rc::default(), proxy, office, tally, access_log, traces, ids }
    }

    /// What serves the thread's next requests once the configuration has changed. Sessions that it knows, and
    /// connections to applications that stay as they were, go on.
    pub fn next(&self, generation: &Generation) -> Self {
        let Generation { site, applications, office, metrics, access_log, traces } = generation.clone();
        let proxy = self.proxy.next(&applications, site.cookies);
        let tally = self.tally.next(&metrics, &applications);
        let ids = self.ids.clone();
        Self { site, sessions: self.sessions.clone(), proxy, office, tally, access_log, traces, ids }
    }

    /// What all threads share.
    pub const fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Answers a request. Every way out of here is an answer.
    pub async fn answer(&self, mut request: Box<Request<Incoming>>, peer: &Peer) -> Response<ReplyBody> {
        let entry = self.access_log.as_ref().map(|log| Box::new(self.entry(log, &request, peer)));
        let kind = kind(request.method(), request.headers());
        let trace = self.traces.begin(&mut request, || peer.is_trusted(&self.site.trusted_proxies));
        let fate = Fate::begins(self.name(&request, peer), trace);
        let mut answer = match self.serve(request, peer, kind, &fate).await {
            Ok(answer) => answer,
            Err(refusal) => reply::refused(&self.site.pages, &refusal, kind).map(Either::Right),
        };
        self.tally.count(&fate, answer.status());
        if let Some(trace) = fate.trace() {
            let (status, route) = (answer.status().as_u16(), self.tally.name(&fate));
            let decision = entry::decision(fate.outcome());
            trace.ends(Told { status, route, decision, scheme: self.site.scheme });
        }
        if let Some((entry, log)) = entry.zip(self.access_log.as_ref()) {
            entry.end(log, &fate, self.site.scheme, self.tally.name(&fate), &answer);
            if let Some(name) = fate.name() {
                answer.headers_mut().insert(X_REQUEST_ID, name.clone());
            }
        }
        if let Some(hsts) = &self.site.hsts {
            // The application may know better.
            answer.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
        }
        answer
    }

    /// The name of a request: the one that a proxy of ours gave it, or a new one where it is written down.
    fn name(&self, request: &Request<Incoming>, peer: &Peer) -> Option<HeaderValue> {
        let named =
            request_id::given(request.headers()).filter(|_| peer.is_trusted(&self.site.trusted_proxies));
        named.or_else(|| self.access_log.is_some().then(|| self.ids.next()))
    }

    fn entry(&self, log: &AccessLog, request: &Request<Incoming>, peer: &Peer) -> Entry {
        let now = jiff::Timestamp::from_second(self.site.clock.now().unix()).unwrap_or_default();
        Entry::begin(log, request, peer.address, now)
    }

    async fn serve(
        &self,
        mut request: Box<Request<Incoming>>,
        peer: &Peer,
        kind: Kind,
        fate: &Fate,
    ) -> Result<Response<ReplyBody>, Refusal> {
        if let Some(forward_auth) =
            self.site.forward_auth.as_ref().filter(|asks| asks.is_asked(&request, peer))
        {
            fate.is(Outcome::Judged);
            return Ok(Box::pin(self.vouch(forward_auth, *request)).await.map(Either::Right));
        }
        let target = target::read(&self.site.policy, &request)
            .map_err(|refusal| self.noted(refusal, &request, peer.address))?;
        if peer.went_astray(&target) {
            return Err(self.noted(Refusal::UnknownHost, &request, peer.address));
        }
        if target.is_ours {
            self.note_strange_proxy(&request, peer);
            let session = match self.session(request.headers(), self.site.clock.now()).await {
                // It has its own words for that, or needs nobody.
                Err(Refusal::SessionUnconfirmed) if !pages::needs_session(request.uri().path()) => {
                    Err(Cause::NoSession)
                }
                session => session?,
            };
            fate.is(Outcome::Own);
            // Boxed: the rare ways are long, and would be carried along by each request and idle connection.
            return Box::pin(self.visit(request, peer, kind, &target, session)).await;
        }
        let way = self.way(&request, peer);
        let ruling = target.ruling(&request, way.client);
        let ruling = ruling.map_err(|refusal| self.noted(refusal, &request, way.client))?;
        fate.ruled(&ruling);
        fate.came_from(way.client);
        let decision = self.decide(&request, &target, ruling).await;
        match decision.map_err(|refusal| self.noted(refusal, &request, way.client))? {
            Decision::Forward(permit) => {
                let arrival = Arrival {
                    chain: way.chain,
                    scheme: self.site.scheme,
                    authority: target.written,
                    connection: peer.connection.clone(),
                    name: fate.name().clone(),
                };
                let route = permit.route();
                let grace = permit.outage_grace();
                fate.is(Outcome::Forwarded);
                if let Some(proved) = permit.session().filter(|_| self.access_log.is_some()) {
                    fate.is_of(proved.user());
                }
                if let Some(trace) = fate.trace() {
                    trace.is_sent_on(request.headers_mut());
                }
                let answer = self.proxy.forward(permit, request, arrival).await;
                if let Some(trace) = fate.trace() {
                    match &answer {
                        Ok((answer, upstream)) => trace.is_answered(upstream, answer.status().as_u16()),
                        Err(error) => trace.is_not_answered(error.word()),
                    }
                }
                let (answer, upstream) = answer
                    .map_err(|error| self.or_cut_off(self.proxy.no_answer(route, error).into(), grace))?;
                fate.is_answered_by(upstream);
                Ok(answer)
            }
            Decision::Pass(..) => {
                tracing::debug!("this route has no upstream: the proxy that asks must send its requests on");
                Err(Refusal::NotFound)
            }
            Decision::Challenge(cause) => {
                fate.is(Outcome::Challenged);
                let site = self.site_of(&target);
                let path = target::path_and_query(&request);
                Ok(self.site.pages.challenge_first(cause, kind, &site, path).map(Either::Right))
            }
            Decision::Deny(reason) => {
                fate.is(Outcome::Denied);
                Err(self.noted(reason.into(), &request, way.client))
            }
        }
    }

    /// What becomes of a request, whether it came to us or another proxy asks about it.
    async fn decide<B>(
        &self,
        request: &Request<B>,
        target: &Target<'_>,
        ruling: Ruling,
    ) -> Result<Decision<Proved>, Refusal> {
        let now = self.site.clock.now();
        // Nobody need be recognised where all may pass, or nobody.
        let (session, doubt) = match self.session(request.headers(), now).await {
            Ok(Ok(proved)) if !proved.session().is_believed(ruling.outage_grace()) => {
                (Err(Cause::NoSession), Some(Refusal::SessionUnconfirmed))
            }
            Ok(session) => (session, None),
            Err(refusal) => (Err(Cause::NoSession), Some(refusal)),
        };
        let decision = ruling.decide(session, now);
        if matches!(decision, Decision::Challenge(_)) {
            if let Some(refusal) = doubt {
                return Err(refusal);
            }
            if self.office.is_cut_off(ruling.outage_grace()) {
                return Err(Refusal::StoreUnavailable);
            }
        }
        // A stranger has nothing that another site's page could use.
        if decision.session().is_some() {
            upgrade_comes_from_here(request.headers(), self.site.scheme, target)?;
        }
        Ok(decision)
    }

    /// Writes down which request is refused: in the log, and in the audit trail what somebody tried who may not.
    fn noted<B>(&self, refusal: Refusal, request: &Request<B>, client: IpAddr) -> Refusal {
        let refusal = reply::noted(refusal, request, client);
        let why = if refusal == Refusal::Denied {
            "a rule denies this"
        } else if refusal == Refusal::CrossSite {
            "from a page of another site"
        } else {
            return refusal;
        };
        self.office.note(Refused::Request, client, || named(why, request.method(), request.uri().path()));
        refusal
    }

    /// Whoever asks where only a listed proxy may is answered like everybody, and written down.
    fn note_strange_proxy<B>(&self, request: &Request<B>, peer: &Peer) {
        if self.site.forward_auth.as_ref().is_some_and(|asks| asks.is_here(request)) {
            let detail = || "not in forward_auth.peers".to_owned();
            self.office.note(Refused::Peer, peer.address, detail);
        }
    }

    /// What ended while it was under way did not end for good.
    fn or_cut_off(&self, refusal: Refusal, grace: Option<Duration>) -> Refusal {
        if refusal == Refusal::SessionEnded && self.office.is_cut_off(grace) {
            return Refusal::SessionUnconfirmed;
        }
        refusal
    }

    /// The site as people type it.
    fn site_of(&self, target: &Target<'_>) -> String {
        format!("{}://{}", self.site.scheme, target.authority())
    }

    /// Whose request it is: known to this thread, or to be asked of the back office.
    async fn session(&self, headers: &HeaderMap, now: Timestamp) -> Result<Result<Proved, Cause>, Refusal> {
        let Some(token) = self.site.cookies.find(self.site.cookies.session, headers) else {
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
        request: Box<Request<Incoming>>,
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
        let (method, path) = (visit.method.clone(), visit.path.clone());
        let reply = self.office.serve(visit).await;
        if let Err(Refusal::CrossSite) = &reply {
            let detail = || named("from a page of another site", &method, &path);
            self.office.note(Refused::Request, client, detail);
        }
        Ok(reply?.map(Either::Right))
    }

    /// Which way the request came.
    fn way(&self, request: &Request<Incoming>, peer: &Peer) -> Way {
        if !peer.is_trusted(&self.site.trusted_proxies) {
            return Way { client: peer.address, chain: peer.chain.clone() };
        }
        let chain = client_address::chain(request.headers(), peer.address, &self.site.trusted_proxies);
        Way { client: chain[0], chain: chain_field(&chain) }
    }

    /// Forgets sessions that are over, and closes connections that are idle.
    pub fn tidy(&self) {
        self.sessions.tidy(self.site.clock.now());
        self.office.tidy();
        self.proxy.tidy();
    }
}

/// A refused request for the audit trail. Never the query: it may hold anything.
fn named(why: &str, method: &hyper::Method, path: &str) -> String {
    let path: String = path.chars().take(200).collect();
    format!("{why}: {method} {path}")
}

/// A page of another site may not open a WebSocket with this person's session (RFC 6455 section 10.2).
fn upgrade_comes_from_here(headers: &HeaderMap, scheme: &str, target: &Target<'_>) -> Result<(), Refusal> {
    // Proxies that ask about a request keep `Upgrade` to themselves.
    let upgrades = headers.keys().any(|name| *name == UPGRADE || *name == SEC_WEBSOCKET_VERSION);
    let from_here = || origin::is_same(headers, scheme, target.authority());
    if upgrades && !from_here() { Err(Refusal::CrossSite) } else { Ok(()) }
}
