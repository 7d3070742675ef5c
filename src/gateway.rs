//! READ FIRST: request → decision → our own pages, the challenge, or the application → reply.
//!
//! One [`Front`] serves the connections of one thread and shares nothing with the others but one immutable
//! [`Generation`]; a reload puts the next one in its place.
//! A request with a known session waits for nothing here; what is rare and slow is asked of the [`BackOffice`].

mod back_office;
mod entry;
mod forward_auth;
mod generation;
mod peer;
mod refusals;
mod reply;
mod sessions;
mod site;
mod tally;
pub mod target;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_VERSION, STRICT_TRANSPORT_SECURITY, UPGRADE};
use hyper::{HeaderMap, Request, Response};

pub use back_office::BackOffice;
pub use generation::Generation;
pub use peer::Peer;
pub use site::Site;

use crate::access_log::AccessLog;
use crate::crypto;
use crate::domain::policy::{Cause, Decision, Permit, Ruling};
use crate::domain::time::Timestamp;
use crate::message::kind::{Kind, kind};
use crate::message::origin;
use crate::message::request_id::{self, RequestIds, X_REQUEST_ID};
use crate::metrics::Outcome;
use crate::pages;
use crate::pages::problem::Refusal;
use crate::pages::visit::Visit;
use crate::proxy::{Arrival, Proved, Proxy, ReplyBody};
use crate::traces::{Told, Traces};
use entry::Entry;
use refusals::Refused;
use sessions::KnownSessions;
use tally::{Fate, Tally};
use target::Target;

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
        let fate = Fate::begins(self.request_id(&request, peer), trace);
        let mut answer = match self.serve(request, peer, kind, &fate).await {
            Ok(answer) => answer,
            Err(refusal) => reply::refused(&self.site.pages, &refusal, kind).map(Either::Right),
        };
        self.tally.count(&fate, answer.status());
        if let Some(trace) = fate.trace() {
            let (status, route) = (answer.status().as_u16(), self.tally.route_name(&fate));
            let decision = entry::decision(fate.outcome());
            trace.ends(Told { status, route, decision, scheme: self.site.scheme });
        }
        if let Some((entry, log)) = entry.zip(self.access_log.as_ref()) {
            entry.end(log, &fate, self.site.scheme, self.tally.route_name(&fate), &answer);
            if let Some(id) = fate.request_id() {
                answer.headers_mut().insert(X_REQUEST_ID, id.clone());
            }
        }
        if let Some(hsts) = &self.site.hsts {
            // The application may know better.
            answer.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
        }
        answer
    }

    /// The id of a request: the one that a proxy of ours gave it, or a new one where it is written down.
    fn request_id(&self, request: &Request<Incoming>, peer: &Peer) -> Option<HeaderValue> {
        let named =
            request_id::given(request.headers()).filter(|_| peer.is_trusted(&self.site.trusted_proxies));
        named.or_else(|| self.access_log.is_some().then(|| self.ids.next()))
    }

    fn entry(&self, log: &AccessLog, request: &Request<Incoming>, peer: &Peer) -> Entry {
        let now = self.site.clock.now().to_jiff();
        Entry::begin(log, request, peer.address, now)
    }

    async fn serve(
        &self,
        request: Box<Request<Incoming>>,
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
        let way = peer.way(request.headers(), &self.site.trusted_proxies);
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
                    request_id: fate.request_id().clone(),
                };
                self.forward(permit, request, arrival, fate).await
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

    /// Sends it on: only with a permit.
    async fn forward(
        &self,
        permit: Permit<Proved>,
        mut request: Box<Request<Incoming>>,
        arrival: Arrival,
        fate: &Fate,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let (route, grace) = (permit.route(), permit.outage_grace());
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
        let (answer, upstream) =
            answer.map_err(|error| self.or_cut_off(self.proxy.no_answer(route, error).into(), grace))?;
        fate.is_answered_by(upstream);
        Ok(answer)
    }

    /// What becomes of a request, whether it came to us or another proxy asks about it.
    async fn decide<B>(
        &self,
        request: &Request<B>,
        target: &Target<'_>,
        ruling: Ruling,
    ) -> Result<Decision<Proved>, Refusal> {
        let now = self.site.clock.now();
        // A session that cannot be confirmed matters only where the ruling asks for one: the doubt is kept until then.
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
        let client = peer.way(request.headers(), &self.site.trusted_proxies).client;
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
