//! `[[route]]`: what lies behind.

use std::str::FromStr;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};

use super::reader::{Section, boolean};
use super::rule;
use super::sections::{Server, Session};
use super::upstream::{self, Upstreams};
use super::values::{duration_or_none, one_of};
use crate::domain::policy::{EncodedSlashes, Rule};
use crate::message::rewrite::Origin;
use crate::message::{authority, identity, trailers};

/// One application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host people type, lower case, without port.
    pub host: String,
    /// Where it starts on that host.
    pub path: String,
    /// Where it runs. Nowhere where another proxy sends requests on and asks us whether they may pass.
    pub upstreams: Upstreams,
    /// What is asked where; the first rule that matches decides.
    pub rules: Vec<Rule>,
    /// How long sessions are believed here while the store is away, where that is shorter than elsewhere.
    pub outage_grace: Option<Duration>,
    /// What `%2F` in a path is to the application.
    pub encoded_slashes: EncodedSlashes,
    /// Fields that carry the user's name, beside `X-Forwarded-User`.
    pub identity_headers: Vec<HeaderName>,
    /// Whether it is told `Forwarded` too.
    pub forwarded: bool,
    /// What it is told as `Host`, if not what people typed.
    pub host_header: Option<HeaderValue>,
    /// Addresses the application calls itself by; in its answers they become the one people typed.
    pub own_addresses: Vec<Origin>,
    /// Whether its cookies are made to belong to the host people typed.
    pub rewrite_cookies: bool,
}

impl Route {
    /// Whether a rule tells methods apart.
    pub fn judges_methods(&self) -> bool {
        self.rules.iter().any(|rule| !rule.methods.is_empty())
    }
}

/// A value of `Host`.
struct Host(HeaderValue);

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "not a host; write it like \"wiki.internal\" or \"wiki.internal:8080\"";
        authority::host(text).map_err(|_| wrong)?;
        text.parse().map(Self).map_err(|_| wrong)
    }
}

/// A field that carries a name.
struct Field(HeaderName);

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = "not the name of a header; write it like \"X-Remote-User\"";
        let name: HeaderName = text.parse().map_err(|_| wrong.to_owned())?;
        if trailers::steers(&name) || identity::is_taken(&name) {
            return Err(format!("{name} has a meaning of its own; choose another name"));
        }
        Ok(Self(name))
    }
}

/// Whether a path is one of the gateway's own.
pub(super) fn is_own_page(path: &str) -> bool {
    path.strip_prefix("/.vestibule").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path where a route starts.
struct Prefix(String);

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let plain =
            text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\' | b'%' | b'*'));
        let dots = text.split('/').any(|segment| matches!(segment, "." | ".."));
        if !text.starts_with('/') || text.contains("//") || !plain || dots {
            return Err("not a path; write it like \"/wiki\", without dots, wildcards and percent signs");
        }
        if is_own_page(text) {
            return Err("the gateway's own pages live there; choose another path");
        }
        Ok(Self(text.to_owned()))
    }
}

pub(super) fn routes(
    top: &Section<'_>,
    server: Option<&Server>,
    session: Option<&Session>,
) -> Option<Vec<Route>> {
    let sections = top.sections("route");
    if sections.is_empty() {
        top.problem("route", "nothing to protect; add a [[route]] section with an upstream");
        return None;
    }
    // Another proxy may know where the application is.
    let forwards_all = !top.has("forward_auth");
    let mut routes: Vec<Route> = Vec::new();
    for section in &sections {
        let route = route(section, server, forwards_all);
        if let (Some(route), Some(session)) = (&route, session)
            && route.outage_grace.is_some_and(|grace| grace > session.outage_grace)
        {
            section.problem(
                "outage_grace",
                "longer than session.outage_grace, after which no session is believed anywhere",
            );
        }
        section.finish();
        let Some(route) = route else { continue };
        if routes.iter().any(|other| other.host == route.host && other.path == route.path) {
            section.problem("path", "another route has this host and path; make them differ or remove one");
        }
        routes.push(route);
    }
    (routes.len() == sections.len()).then_some(routes)
}

fn route(section: &Section<'_>, server: Option<&Server>, forwards: bool) -> Option<Route> {
    let host = section.value("host", |value| {
        let text = value.as_str().unwrap_or_default();
        if text.contains('*') {
            return Err("not one host; write a [[route]] for each".to_owned());
        }
        let host = url::Host::parse(text)
            .map_err(|_| "not a host; write it like \"wiki.example.com\", without port")?;
        Ok(host.to_string().trim_end_matches('.').to_owned())
    });
    let path = section.text("path").map_or_else(|| "/".to_owned(), |Prefix(path)| path);
    let listen = server.map(|server| server.listen.as_slice()).unwrap_or_default();
    let upstreams = upstream::upstreams(section, forwards, listen);
    if !forwards && !section.has("upstream") {
        no_use_without_upstream(section);
    }
    let identity_headers: Vec<HeaderName> =
        section.list("identity_headers").into_iter().map(|Field(name)| name).collect();
    Some(Route {
        host: host.or_else(|| server.map(|server| server.public_url.host.clone()))?,
        upstreams: upstreams?,
        rules: rule::rules(section, &path),
        path,
        outage_grace: section
            .has("outage_grace")
            .then(|| duration_or_none(section, "outage_grace", Duration::ZERO)),
        encoded_slashes: one_of(
            section,
            "encoded_slashes",
            &[("refuse", EncodedSlashes::Unknown), ("data", EncodedSlashes::Data)],
            Some(EncodedSlashes::Unknown),
        )?,
        identity_headers,
        forwarded: section.value("forwarded", boolean).unwrap_or(false),
        host_header: section.text("host_header").map(|Host(value)| value),
        own_addresses: section.list("own_addresses"),
        rewrite_cookies: section.value("rewrite_cookies", boolean).unwrap_or(false),
    })
}

/// What is about sending on, where only another proxy sends on.
fn no_use_without_upstream(section: &Section<'_>) {
    let ours = ["host_header", "forwarded", "own_addresses", "rewrite_cookies"];
    for key in ours.into_iter().chain(upstream::KEYS).filter(|key| section.has(key)) {
        section.problem(key, "this route sends nothing on; write its upstream, or remove this key");
    }
}
