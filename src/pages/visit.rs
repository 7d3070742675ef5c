//! A request to one of our own addresses, whole.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::{HeaderMap, Method};

use crate::access::sessions::LiveSession;
use crate::domain::id::SessionId;
use crate::domain::policy::Cause;
use crate::message::kind::Kind;
use crate::message::origin;

/// The longest body of ours: a form with a number and a path.
pub const LONGEST_BODY: usize = 16 * 1_024;

/// A request to one of our own addresses.
#[derive(Debug)]
pub struct Visit {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// What follows the question mark.
    pub query: Option<String>,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body, at most [`LONGEST_BODY`].
    pub body: Bytes,
    /// Who sends it.
    pub client: IpAddr,
    /// `http` or `https`, as people type it.
    pub scheme: &'static str,
    /// Host and port as the client wrote them.
    pub authority: String,
    /// Who waits for the answer.
    pub kind: Kind,
    /// Their session, or why they have none.
    pub session: Result<Arc<LiveSession>, Cause>,
}

impl Visit {
    /// The session that came with it.
    pub fn carried(&self) -> Option<SessionId> {
        self.session.as_ref().ok().map(|session| session.id())
    }

    /// Whether a page of this site sent it.
    pub fn is_same_site(&self) -> bool {
        origin::is_same(&self.headers, self.scheme, &self.authority)
    }
}
