//! Sending a permitted request on, and its answer back. Only what the policy permitted comes in here.

mod application;
mod balance;
mod body;
mod check;
mod connection;
mod expect;
mod failures;
mod health;
mod http2;
mod keepalive;
mod pin;
mod places;
mod pool;
mod proxy_protocol;
mod send;
mod standing;
mod tls;
mod trickle;
mod upgrade;
mod upload;
mod watch;

use std::error::Error as _;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri, Version};

pub use application::Applications;
pub use body::ReplyBody;
pub use check::Look;
pub use http2::OnThisThread;
pub use keepalive::KEEPALIVE;
pub use pin::ClientConnection;

use crate::access::sessions::LiveSession;
use crate::clock::Clock;
use crate::config::{Http1, Route, Upstreams};
use crate::domain::policy::{Permit, Proof, RouteId};
use crate::domain::time::Timestamp;
use crate::message::request_id::X_REQUEST_ID;
use crate::message::rewrite::{self, Typed};
use crate::message::session_cookie::Names;
use crate::message::{forwarded, hop_by_hop, identity, list, method_override, trailers};
use application::Application;
use balance::Pools;
use body::Streamed;
use connection::Need;
use expect::Gate;
use pin::Pin;
use pool::Pool;
use send::Answered;
use standing::Standing;
use upload::{Progress, Terms, Upload};

/// A session whose token was verified, with the user's name ready as a field.
#[derive(Clone, Debug)]
pub struct Proved {
    session: Arc<LiveSession>,
    user: HeaderValue,
}

impl Proved {
    /// Prepares a session for forwarding. Names are visible ASCII, so each is a field value.
    pub fn new(session: Arc<LiveSession>) -> Self {
        let user = HeaderValue::from_str(session.user().as_str()).expect("a user name is a field value");
        Self { session, user }
    }

    /// The user's name, ready as a field.
    pub const fn user(&self) -> &HeaderValue {
        &self.user
    }

    /// The session.
    pub const fn session(&self) -> &Arc<LiveSession> {
        &self.session
    }
}

impl Proof for Proved {
    fn proved_at(&self) -> Timestamp {
        self.session.auth_time()
    }
}

/// How a request came to us.
#[derive(Debug)]
pub struct Arrival {
    /// The addresses from the client to us.
    pub chain: HeaderValue,
    /// What people type: `http` or `https`.
    pub scheme: &'static str,
    /// Host and port as the client wrote them.
    pub authority: HeaderValue,
    /// The connection it came on.
    pub connection: Rc<ClientConnection>,
    /// Its id (`X-Request-Id`), where we or a proxy of ours know it by one.
    pub request_id: Option<HeaderValue>,
}

/// Which upstream answered.
#[derive(Clone, Debug)]
pub struct AnsweredBy(SharedPool);

impl fmt::Display for AnsweredBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.upstream().fmt(f)
    }
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be had.
    #[error("no connection to {0}: {1}")]
    Unreachable(String, std::io::Error),
    /// Its name has no address.
    #[error("no connection to {0}: its name cannot be looked up: {1}")]
    Unresolved(String, std::io::Error),
    /// It kept us waiting for longer than it may.
    #[error("{0} {1}")]
    Timeout(String, Late),
    /// All connections to upstreams that there may be are in use.
    #[error("as many connections to upstreams are in use as max_connections lets there be")]
    Crowded,
    /// TLS with it failed; most often its certificate could not be verified.
    #[error("TLS with {0} failed: {1}")]
    Tls(String, std::io::Error),
    /// What came is no answer.
    #[error("{0} broke off: {why}", why = Why(.1))]
    Failed(String, hyper::Error),
    /// Where its answer ends can be read in two ways.
    #[error("the answer of {0} has lengths that contradict each other, or a transfer coding beside chunked")]
    Misframed(String),
    /// It never had the whole request.
    #[error("the client broke its request off")]
    Client,
    /// All upstreams failed their checks; the next ones are due in so long.
    #[error("all upstreams failed their checks")]
    Resting(Duration),
    /// The session that the request was let pass for ended before all of it had come.
    #[error("the session ended while the request was being sent")]
    SessionEnded,
    /// The client sent next to nothing of its body for too long.
    #[error("the client sent next to nothing of its body within idle_timeout")]
    ClientStalled,
    /// The request's body is larger than the route takes.
    #[error("the body is larger than max_body")]
    TooLarge,
    /// The upstream wants to know a body's length beforehand.
    #[error("a body without a length, for an upstream that speaks HTTP/1.0")]
    NoLength,
    /// It switched protocols unasked.
    #[error("{0} switched protocols unasked")]
    Unsolicited(String),
}

impl UpstreamError {
    /// Why, in a word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unreachable(..) => "unreachable",
            Self::Unresolved(..) => "unresolved",
            Self::Timeout(..) => "timeout",
            Self::Crowded => "crowded",
            Self::Tls(..) => "tls",
            Self::Failed(..) => "failed",
            Self::Misframed(_) => "misframed",
            Self::Client => "client_broke_off",
            Self::Resting(_) => "resting",
            Self::SessionEnded => "session_ended",
            Self::ClientStalled => "client_stalled",
            Self::TooLarge => "too_large",
            Self::NoLength => "no_length",
            Self::Unsolicited(_) => "unsolicited_upgrade",
        }
    }
}

/// What an upstream did not do within the time its route gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Late {
    /// Nor its TLS handshake.
    #[error("gave no connection within connect_timeout")]
    Connection,
    /// The head of it.
    #[error("gave no answer within response_timeout")]
    Answer,
    /// The request's body.
    #[error("took nothing of the request's body within idle_timeout")]
    Upload,
}

/// Why no answer came, and on which route.
#[derive(Debug)]
pub struct NoAnswer {
    /// Its host and path.
    pub route: String,
    /// Why.
    pub error: UpstreamError,
}

/// An error with what caused it, which hyper leaves out.
#[derive(Debug)]
pub struct Why<'e>(pub &'e hyper::Error);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

/// A request, ready to be sent.
struct Outgoing {
    /// Until it is sent.
    request: Option<Request<Upload>>,
    /// How its body gets on, if it has one.
    upload: Option<Rc<Progress>>,
    need: Need,
    pin: Option<Box<Pin>>,
}

/// A request that is being sent, and what its answer will need.
struct Exchange {
    outgoing: Outgoing,
    /// The version by which it came.
    from: Version,
    /// The client's end of a tunnel, when it asks for one.
    switch: Option<OnUpgrade>,
    /// The connection it came on.
    connection: Rc<ClientConnection>,
    /// Scheme and authority as people type them, where the application's own addresses are replaced.
    typed: Option<(&'static str, HeaderValue)>,
    standing: Standing,
}

/// One thread's way to all upstreams.
#[derive(Debug)]
pub struct Proxy {
    applications: Applications,
    /// One for each of them.
    pools: Vec<Rc<Pools>>,
    cookies: Names,
    clock: Rc<Arc<dyn Clock>>,
}

impl Proxy {
    /// A way to these applications. Opens no connection.
    pub fn new(applications: &Applications, cookies: Names, clock: Arc<dyn Clock>) -> Self {
        let pools = applications.0.iter().map(|application| Rc::new(Pools::new(application))).collect();
        Self { pools, applications: applications.clone(), cookies, clock: Rc::new(clock) }
    }

    /// The way to these from now on. Connections to those that stay as they were are kept.
    pub fn next(&self, applications: &Applications, cookies: Names) -> Self {
        let kept = |application| {
            let place = self.applications.0.iter().position(|known| Arc::ptr_eq(known, application))?;
            Some(self.pools[place].clone())
        };
        let pools = applications.0.iter().map(|one| kept(one).unwrap_or_else(|| Rc::new(Pools::new(one))));
        Self {
            pools: pools.collect(),
            applications: applications.clone(),
            cookies,
            clock: self.clock.clone(),
        }
    }

    /// Closes connections that nobody has used for a while.
    pub fn tidy(&self) {
        self.pools.iter().for_each(|pools| pools.tidy());
    }

    /// Sends a permitted request on and gives its answer, its body still streaming, and who gave it.
    pub async fn forward(
        &self,
        permit: Permit<Proved>,
        request: Box<Request<Incoming>>,
        arrival: Arrival,
    ) -> Result<(Response<ReplyBody>, AnsweredBy), UpstreamError> {
        let number = permit.route().0;
        let (application, pools) = (&self.applications.0[number], &self.pools[number]);
        let mut exchange = self.begin(application, &permit, request, arrival)?;
        let (answer, answered) = send::send(pools, &mut exchange.outgoing).await?;
        let upstream = AnsweredBy(answered.pool.clone());
        Ok((self.finish(&application.route, exchange, answer, answered)?, upstream))
    }

    /// Why no answer came, and on which route.
    pub fn no_answer(&self, route: RouteId, error: UpstreamError) -> NoAnswer {
        NoAnswer { route: self.applications.0[route.0].name().to_string(), error }
    }

    /// Makes a request ready to be sent. What is kept until its answer comes is small: each stream of a client carries
    /// it along.
    fn begin(
        &self,
        application: &Arc<Application>,
        permit: &Permit<Proved>,
        mut request: Box<Request<Incoming>>,
        arrival: Arrival,
    ) -> Result<Exchange, UpstreamError> {
        let route = &application.route;
        let from = request.version();
        let switch = upgrade::wanted(&mut request);
        let connection = arrival.connection.clone();
        let typed = (!route.own_addresses.is_empty()).then(|| (arrival.scheme, arrival.authority.clone()));
        let standing =
            Standing::new(permit.session().map(Proved::session), &self.clock, permit.outage_grace());
        let mut gate = None;
        if !request.body().is_end_stream() {
            gate = admit(&mut request, &route.upstreams)?;
        }
        let pin = pin(route, permit, &arrival);
        let need = if switch.is_some() || pin.is_some() { Need::Http1 } else { Need::Any };
        self.prepare(&mut request, route, permit.session(), arrival);
        if switch.is_some() {
            upgrade::ask(request.headers_mut());
        }
        let (request, upload) = with_upload(*request, gate, &standing, application);
        let outgoing = Outgoing { request: Some(request), upload, need, pin };
        Ok(Exchange { outgoing, from, switch, connection, typed, standing })
    }

    /// Makes an answer ready to be passed on.
    fn finish(
        &self,
        route: &Route,
        exchange: Exchange,
        mut answer: Response<Incoming>,
        answered: Answered,
    ) -> Result<Response<ReplyBody>, UpstreamError> {
        let Exchange { from, switch, connection, typed, standing, .. } = exchange;
        self.readdress(&mut answer, route, typed);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let unsolicited = || {
                let error = UpstreamError::Unsolicited(answered.pool.upstream().to_string());
                answered.pool.failures().note_error(&error);
                error
            };
            let client = switch.ok_or_else(unsolicited)?;
            return Ok(upgrade::relay(client, answer, standing, (connection, answered.under_way)));
        }
        Ok(streaming(answer, answered, standing, from))
    }

    /// Makes an answer ours: no cookie under a name of ours, and addresses as people typed them.
    fn readdress(
        &self,
        answer: &mut Response<Incoming>,
        route: &Route,
        typed: Option<(&'static str, HeaderValue)>,
    ) {
        *answer.version_mut() = Version::HTTP_11;
        self.cookies.guard_answer(answer.headers_mut());
        if let Some((scheme, authority)) = typed {
            let typed = Typed { scheme, authority: authority.to_str().unwrap_or_default() };
            rewrite::locations(answer.headers_mut(), &route.own_addresses, typed);
        }
        if route.rewrite_cookies {
            rewrite::cookies(answer.headers_mut(), self.cookies.is_secure());
        }
    }

    /// Takes out what may not go on, then puts in what the upstream is to know. In this order: nothing a client
    /// sends survives under a name of ours.
    fn prepare(
        &self,
        request: &mut Request<Incoming>,
        route: &Route,
        proved: Option<&Proved>,
        arrival: Arrival,
    ) {
        let version = request.version();
        let is_absolute = to_origin_form(request, route.upstreams.version);
        let framing = framing_of(request, route);
        let takes_trailers = trailers::are_taken(request.headers());
        let headers = request.headers_mut();
        hop_by_hop::remove_from_request(headers);
        self.cookies.strip(headers);
        identity::replace(headers, &route.identity_headers, proved.map(|proved| &proved.user));
        if let Some(request_id) = arrival.request_id {
            headers.insert(X_REQUEST_ID, request_id);
        }
        if let Some(framing) = framing {
            headers.extend(framing);
        }
        if takes_trailers {
            trailers::ask(headers);
        }
        if let Some(host) = &route.host_header {
            headers.insert(header::HOST, host.clone());
        } else if is_absolute {
            headers.insert(header::HOST, arrival.authority.clone());
        }
        if route.judges_methods() {
            method_override::remove(headers);
        }
        if route.forwarded {
            forwarded::set_forwarded(headers, &arrival.chain, arrival.scheme, &arrival.authority);
        }
        forwarded::set(headers, arrival.chain, arrival.scheme, arrival.authority, version);
    }
}

/// Whose the upstream connection is, where it is one client's.
fn pin(route: &Route, permit: &Permit<Proved>, arrival: &Arrival) -> Option<Box<Pin>> {
    route.upstreams.are_pinned().then(|| {
        let session = permit.session().map(Proved::session);
        Box::new(Pin::new(arrival.connection.clone(), arrival.chain.clone(), session.cloned()))
    })
}

/// Whether the upstream closes its connection after this answer.
fn ends_connection(answer: &Response<Incoming>, answered: &Answered) -> bool {
    answered.connection.is_none() || list::has(answer.headers(), &header::CONNECTION, "close")
}

/// Whether a request may have its body; the gate it comes through when its sender waits.
fn admit(request: &mut Request<Incoming>, upstreams: &Upstreams) -> Result<Option<Gate>, UpstreamError> {
    let length = request.body().size_hint().exact();
    if length.is_none() && upstreams.version == Http1::Old {
        return Err(UpstreamError::NoLength);
    }
    if upstreams.max_body.zip(length).is_some_and(|(most, length)| length > most) {
        return Err(UpstreamError::TooLarge);
    }
    if upstreams.version == Http1::Old {
        // It would never say that it wants the body.
        request.headers_mut().remove(header::EXPECT);
    }
    let gate = Gate::new(request);
    if let Some(gate) = &gate {
        gate.listen(request);
    }
    Ok(gate)
}

/// The target as HTTP/1.1 sends it to an origin server: path and query, to the letter (RFC 9112 section 3.2.1).
/// Whether it had the host in it.
fn to_origin_form(request: &mut Request<Incoming>, version: Http1) -> bool {
    *request.version_mut() = match version {
        Http1::Old => Version::HTTP_10,
        Http1::Usual => Version::HTTP_11,
    };
    if request.uri().authority().is_none() {
        return false;
    }
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    true
}

/// What says of a body of unknown length that it is there. hyper says it itself of most methods; a GET would lose its
/// body.
fn framing_of(request: &Request<Incoming>, route: &Route) -> Option<HeaderMap> {
    if request.body().size_hint().exact().is_some() || request.body().is_end_stream() {
        return None;
    }
    let mut framing = HeaderMap::new();
    framing.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    if let Some(trailers) = trailers::announced(request.headers(), &route.identity_headers) {
        framing.insert(header::TRAILER, trailers);
    }
    Some(framing)
}

/// The request with a body that tells how it gets on, if it has one.
fn with_upload(
    request: Request<Incoming>,
    gate: Option<Gate>,
    standing: &Standing,
    application: &Arc<Application>,
) -> (Request<Upload>, Option<Rc<Progress>>) {
    let mut progress = None;
    let request = request.map(|body| {
        if body.is_end_stream() {
            return Upload::NONE;
        }
        let terms = Terms { standing: standing.clone(), application: application.clone() };
        let (upload, noted) = Upload::new(body, gate, terms);
        progress = Some(noted);
        upload
    });
    (request, progress)
}

/// An answer whose body comes as the upstream sends it.
fn streaming(
    mut answer: Response<Incoming>,
    answered: Answered,
    standing: Standing,
    from: Version,
) -> Response<ReplyBody> {
    end_hop(&mut answer, &answered, from);
    let names_length = from < Version::HTTP_2
        && answer.status() == StatusCode::NOT_MODIFIED
        && answer.headers().contains_key(header::CONTENT_LENGTH);
    answer.map(|body| {
        let body = Streamed::new(body, answered, standing);
        Either::Left(Box::new(if names_length { body.keeping_length() } else { body }))
    })
}

/// Takes out of an answer what ends at this hop, and puts in what begins here.
fn end_hop(answer: &mut Response<Incoming>, answered: &Answered, from: Version) {
    // Only a body of unknown length has trailers.
    let trailers = match answer.body().size_hint().exact() {
        None => trailers::announced(answer.headers(), answered.pool.identity_headers()),
        Some(_) => None,
    };
    // What belongs together ends together.
    let ends = answered.pin.is_some() && from < Version::HTTP_2 && ends_connection(answer, answered);
    hop_by_hop::remove_from_answer(answer.headers_mut());
    if ends {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(trailers) = trailers {
        answer.headers_mut().insert(header::TRAILER, trailers);
    }
}

/// A pool shared by the requests of one thread.
type SharedPool = Rc<Pool>;
