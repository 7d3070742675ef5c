//! Sending a permitted request on, and its answer back. Only what the policy permitted comes in here.

mod application;
mod body;
mod connection;
mod http2;
mod pool;
mod send;
mod standing;
mod tls;
mod upgrade;

use std::error::Error as _;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri, Version};

pub use application::Applications;
pub use body::ReplyBody;
pub use tls::TlsError;

use crate::access::sessions::LiveSession;
use crate::clock::Clock;
use crate::config::Route;
use crate::domain::policy::{Permit, Proof};
use crate::domain::time::Timestamp;
use crate::message::rewrite::{self, Typed};
use crate::message::session_cookie::Names;
use crate::message::{forwarded, hop_by_hop, identity};
use connection::Need;
use pool::{Pool, Pools};
use standing::Standing;

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
    /// The connection's place among those that may be open.
    pub place: Place,
}

/// A place among the connections that may be open, given back when the last who holds it lets go.
pub type Place = Rc<dyn std::fmt::Debug>;

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be had.
    #[error("no connection to {0}: {1}")]
    Unreachable(String, std::io::Error),
    /// No connection, or no answer, in time.
    #[error("{0} did not answer in time")]
    Timeout(String),
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
    /// It switched protocols unasked.
    #[error("{0} switched protocols unasked")]
    Unsolicited(String),
}

/// An error with what caused it, which hyper leaves out.
struct Why<'e>(&'e hyper::Error);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}

/// One thread's way to all upstreams.
#[derive(Debug)]
pub struct Proxy {
    applications: Applications,
    /// One for each of them.
    pools: Vec<Pools>,
    cookies: Names,
    clock: Arc<dyn Clock>,
}

impl Proxy {
    /// A way to these applications. Opens no connection.
    pub fn new(applications: &Applications, cookies: Names, clock: Arc<dyn Clock>) -> Self {
        let pools = (0..applications.0.len()).map(|route| Pools::new(applications, route));
        Self { pools: pools.collect(), applications: applications.clone(), cookies, clock }
    }

    /// Closes connections that nobody has used for a while.
    pub fn tidy(&self) {
        self.pools.iter().for_each(Pools::tidy);
    }

    /// Sends a permitted request on and gives its answer, its body still streaming.
    pub async fn forward(
        &self,
        permit: Permit<Proved>,
        mut request: Request<Incoming>,
        arrival: Arrival,
    ) -> Result<Response<ReplyBody>, UpstreamError> {
        let (route, pools) = (&self.applications.0[permit.route().0].route, &self.pools[permit.route().0]);
        let switch = upgrade::wanted(&mut request);
        let place = arrival.place.clone();
        let typed = (!route.own_addresses.is_empty()).then(|| (arrival.scheme, arrival.authority.clone()));
        let standing = Standing::new(permit.session().map(Proved::session), &self.clock);
        self.prepare(&mut request, route, permit.session(), arrival);
        let mut need = Need::Any;
        if switch.is_some() {
            upgrade::ask(request.headers_mut());
            need = Need::Http1;
        }
        let patience = route.upstreams.response_timeout;
        let (mut answer, connection, pool) =
            send::send(pools, request, need, patience, standing.clone()).await?;
        *answer.version_mut() = Version::HTTP_11;
        self.cookies.guard_answer(answer.headers_mut());
        if let Some((scheme, authority)) = typed {
            let typed = Typed { scheme, authority: authority.to_str().unwrap_or_default() };
            rewrite::locations(answer.headers_mut(), &route.own_addresses, typed);
        }
        if route.rewrite_cookies {
            rewrite::cookies(answer.headers_mut(), self.cookies.is_secure());
        }
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let client = switch.ok_or_else(|| UpstreamError::Unsolicited(pool.upstream().to_string()))?;
            return Ok(upgrade::relay(client, answer, standing, place));
        }
        hop_by_hop::remove_from_answer(answer.headers_mut());
        Ok(answer.map(|body| body::streamed(body, connection, pool, standing)))
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
        to_origin_form(request);
        let headers = request.headers_mut();
        hop_by_hop::remove_from_request(headers);
        self.cookies.strip(headers);
        identity::replace(headers, &route.identity_headers, proved.map(|proved| &proved.user));
        headers.insert(header::HOST, arrival.authority.clone());
        if route.forwarded {
            forwarded::set_forwarded(headers, &arrival.chain, arrival.scheme, &arrival.authority);
        }
        forwarded::set(headers, arrival.chain, arrival.scheme, arrival.authority, version);
    }
}

/// The target as HTTP/1.1 sends it to an origin server: path and query, to the letter (RFC 9112 section 3.2.1).
fn to_origin_form(request: &mut Request<Incoming>) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
    }
}

/// So many idle connections are kept to one upstream by one thread, for so long.
const MOST_IDLE: usize = 64;
const LONGEST_IDLE: Duration = Duration::from_secs(30);

/// A pool shared by the requests of one thread.
type SharedPool = Rc<Pool>;
