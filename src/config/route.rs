//! `[[route]]`: what lies behind.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hyper::header::HeaderName;

use super::reader::{Section, boolean};
use super::rule;
use super::values::{duration, one_of};
use crate::domain::policy::{EncodedSlashes, Rule};
use crate::message::rewrite::Origin;

/// One application.
#[derive(Clone, Debug)]
pub struct Route {
    /// The host people type, lower case, without port.
    pub host: String,
    /// Where it starts on that host.
    pub path: String,
    /// Where it runs; taken in turn. None where another proxy sends requests on and asks us whether they may pass.
    pub upstreams: Vec<Upstream>,
    /// What is asked where; the first rule that matches decides.
    pub rules: Vec<Rule>,
    /// What `%2F` in a path is to the application.
    pub encoded_slashes: EncodedSlashes,
    /// Fields that carry the user's name, beside `X-Forwarded-User`.
    pub identity_headers: Vec<HeaderName>,
    /// Whether it is told `Forwarded` too.
    pub forwarded: bool,
    /// Addresses the application calls itself by; in its answers they become the one people typed.
    pub own_addresses: Vec<Origin>,
    /// Whether its cookies are made to belong to the host people typed.
    pub rewrite_cookies: bool,
    /// For a connection to it.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the answer.
    pub response_timeout: Duration,
}

/// An upstream: `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Host and port as the resolver takes them, `127.0.0.1:8080`.
    pub authority: String,
}

impl FromStr for Upstream {
    type Err = NotAnUpstream;

    fn from_str(text: &str) -> Result<Self, NotAnUpstream> {
        let url = url::Url::parse(text).map_err(|_| NotAnUpstream::Url)?;
        match url.scheme() {
            "http" => {}
            "https" => return Err(NotAnUpstream::Https),
            _ => return Err(NotAnUpstream::Url),
        }
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty();
        if !bare || url.password().is_some() {
            return Err(NotAnUpstream::Path);
        }
        let host = url.host_str().ok_or(NotAnUpstream::Url)?;
        Ok(Self { authority: format!("{host}:{}", url.port_or_known_default().unwrap_or(80)) })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// The text is no upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnUpstream {
    /// Not a URL of ours.
    #[error("not an upstream; write its address like \"http://127.0.0.1:8080\"")]
    Url,
    /// TLS to the upstream.
    #[error("this version speaks plain http to upstreams; use http:// on this machine or a trusted network")]
    Https,
    /// A path or user in it.
    #[error("an upstream is scheme, host and port only; the request's own path is sent on unchanged")]
    Path,
}

/// A field that carries a name.
struct Field(HeaderName);

impl FromStr for Field {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "not the name of a header; write it like \"X-Remote-User\"";
        text.parse().map(Self).map_err(|_| wrong)
    }
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
        if text == "/.vestibule" || text.starts_with("/.vestibule/") {
            return Err("the gateway's own pages live there; choose another path");
        }
        Ok(Self(text.to_owned()))
    }
}

pub(super) fn routes(top: &Section<'_>, default_host: Option<&str>) -> Option<Vec<Route>> {
    let sections = top.sections("route");
    if sections.is_empty() {
        top.problem("route", "nothing to protect; add a [[route]] section with an upstream");
        return None;
    }
    // Another proxy may know where the application is.
    let forwards_all = !top.has("forward_auth");
    let mut routes: Vec<Route> = Vec::new();
    for section in &sections {
        let route = route(section, default_host, forwards_all);
        section.finish();
        let Some(route) = route else { continue };
        if routes.iter().any(|other| other.host == route.host && other.path == route.path) {
            section.problem("path", "another route has this host and path; make them differ or remove one");
        }
        routes.push(route);
    }
    (routes.len() == sections.len()).then_some(routes)
}

fn route(section: &Section<'_>, default_host: Option<&str>, forwards: bool) -> Option<Route> {
    let host = section.value("host", |value| {
        let text = value.as_str().unwrap_or_default();
        let host = url::Host::parse(text)
            .map_err(|_| "not a host; write it like \"wiki.example.com\", without port")?;
        Ok(host.to_string().trim_end_matches('.').to_owned())
    });
    let path: Option<Prefix> = section.text("path");
    let upstreams: Vec<Upstream> = section.list("upstream");
    if section.lists_nothing("upstream") && (forwards || section.has("upstream")) {
        section.problem(
            "upstream",
            "missing; write where the application runs, like [\"http://127.0.0.1:8080\"]",
        );
    }
    let identity_headers: Vec<HeaderName> =
        section.list("identity_headers").into_iter().map(|Field(name)| name).collect();
    if let Some(taken) = identity_headers.iter().find(|name| is_ours(name)) {
        section
            .problem("identity_headers", &format!("{taken} has a meaning of its own; choose another name"));
    }
    Some(Route {
        host: host.or_else(|| default_host.map(str::to_owned))?,
        path: path.map_or_else(|| "/".to_owned(), |prefix| prefix.0),
        upstreams,
        rules: rule::rules(section),
        encoded_slashes: one_of(
            section,
            "encoded_slashes",
            &[("refuse", EncodedSlashes::Unknown), ("data", EncodedSlashes::Data)],
            Some(EncodedSlashes::Unknown),
        )?,
        identity_headers,
        forwarded: section.value("forwarded", boolean).unwrap_or(false),
        own_addresses: section.list("own_addresses"),
        rewrite_cookies: section.value("rewrite_cookies", boolean).unwrap_or(false),
        connect_timeout: duration(section, "connect_timeout", Duration::from_secs(5)),
        response_timeout: duration(section, "response_timeout", Duration::from_secs(60)),
    })
}

/// Fields that carry framing, routing or credentials and can never carry a name.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "host"
            | "cookie"
            | "connection"
            | "content-length"
            | "transfer-encoding"
            | "te"
            | "upgrade"
            | "via"
            | "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-forwarded-user"
    )
}
