//! What a request is for: framing, host and path, read once. What could be read otherwise elsewhere is refused.

use std::net::IpAddr;

use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request};

use crate::config::{Route, Settings};
use crate::domain::policy::{Asked, HostPolicy, Policy, RouteMatch, Ruling};
use crate::message::{authority, framing, path};
use crate::pages::BASE;
use crate::pages::problem::Refusal;

/// Host and path of a request, agreed upon.
#[derive(Debug)]
pub struct Target<'p> {
    /// The authority as the client wrote it: what the application is told.
    pub written: HeaderValue,
    /// What is asked on this host.
    pub host: &'p HostPolicy,
    /// Whether it is one of our own addresses.
    pub is_ours: bool,
}

impl Target<'_> {
    /// The route and rule that a request for this falls under, by a client at this address.
    pub fn ruling<B>(&self, request: &Request<B>, client: IpAddr) -> Result<Ruling, Refusal> {
        // `OPTIONS *` is about the whole site (RFC 9110 section 9.3.7): who may have that may have its first page.
        let whole_site = *request.method() == Method::OPTIONS && request.uri().path() == "*";
        let path = if whole_site { "/" } else { request.uri().path() };
        let asked = Asked { path, method: request.method(), client };
        self.host.ruling(&asked).map_err(|_| Refusal::AmbiguousPath)
    }

    /// The authority as text.
    pub fn authority(&self) -> &str {
        self.written.to_str().unwrap_or_default()
    }
}

/// The policy of these settings.
pub fn policy(settings: &Settings) -> Policy {
    let parts = |route: &Route| RouteMatch {
        host: route.host.clone(),
        path: route.path.clone(),
        rules: route.rules.clone(),
        encoded_slashes: route.encoded_slashes,
        outage_grace: route.outage_grace,
        forwards: !route.upstreams.list.is_empty(),
    };
    Policy::new(settings.routes.iter().map(parts))
}

/// Reads the target of a request.
pub fn read<'p, B>(policy: &'p Policy, request: &Request<B>) -> Result<Target<'p>, Refusal> {
    if *request.method() == Method::CONNECT {
        return Err(Refusal::MethodRefused);
    }
    if !framing::is_plain(request) {
        return Err(Refusal::Malformed);
    }
    let written = authority::authority(request.uri(), request.headers()).map_err(|_| Refusal::Malformed)?;
    let host = authority::host(written.text).map_err(|_| Refusal::Malformed)?;
    let host = policy.host(&host).ok_or(Refusal::UnknownHost)?;
    let written = written.field().map_err(|_| Refusal::Malformed)?;
    if path_and_query(request).len() > path::LONGEST_TARGET {
        return Err(Refusal::TargetTooLong);
    }
    path::check(request.uri().path()).map_err(|_| Refusal::AmbiguousPath)?;
    let is_ours = is_ours(request.uri().path());
    // It shows a client's fields to whoever reads the answer (RFC 9110 section 9.3.8). Our own addresses refuse it
    // themselves: they know what they take.
    if *request.method() == Method::TRACE && !is_ours {
        return Err(Refusal::MethodRefused);
    }
    Ok(Target { written, host, is_ours })
}

/// Path and query, as they are sent on.
pub fn path_and_query<B>(request: &Request<B>) -> &str {
    request.uri().path_and_query().map_or("/", PathAndQuery::as_str)
}

/// Everything below `/.vestibule` is ours; nothing else is ever taken from the upstream.
fn is_ours(path: &str) -> bool {
    path.strip_prefix(BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
