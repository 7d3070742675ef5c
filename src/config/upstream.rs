//! The keys of a `[[route]]` that say where the application runs and how it is spoken to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyper::Uri;
use rustls::pki_types::ServerName;

use super::reader::{Section, boolean, integer};
use super::sections::Listen;
use super::tls::TlsFiles;
use super::values::{duration, one_of, size};

/// Where an application runs, and how it is spoken to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstreams {
    /// The addresses; taken in turn. None where nothing is sent on.
    pub list: Vec<Upstream>,
    /// Whom TLS to them trusts.
    pub trust: Trust,
    /// For a connection to it, with its TLS handshake.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the answer.
    pub response_timeout: Duration,
    /// For a body that stands still, either way.
    pub idle_timeout: Duration,
    /// For a connection that nobody uses.
    pub keep_alive: Duration,
    /// Connections that nobody uses, of one thread to one upstream.
    pub most_idle: usize,
    /// All of a request's body, in bytes.
    pub max_body: Option<u64>,
    /// The version of HTTP/1 that is spoken where HTTP/2 is not.
    pub version: Http1,
    /// Which one is asked.
    pub balance: Balance,
    /// How they are checked.
    pub health: Option<HealthCheck>,
    /// Whether each client has connections of its own to them.
    pub pin_connections: bool,
    /// How they are told the client's address when a connection begins.
    pub proxy_protocol: Option<ProxyProtocol>,
}

impl Upstreams {
    /// Whether files that they name say how they are spoken to: the same words may mean something else later.
    pub const fn name_files(&self) -> bool {
        self.trust.authorities.is_some() || self.trust.identity.is_some()
    }

    /// Whether a connection is for one client only.
    pub const fn are_pinned(&self) -> bool {
        self.pin_connections || self.proxy_protocol.is_some()
    }
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Which of several upstreams is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in its turn.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastOutstanding,
}

/// How an upstream is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for.
    pub path: Uri,
    /// How often.
    pub interval: Duration,
    /// For the connection and the head of the answer.
    pub timeout: Duration,
}

/// A version of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http1 {
    /// HTTP/1.0: no chunks, one request a connection.
    Old,
    /// HTTP/1.1.
    Usual,
}

/// Whom TLS to the upstreams trusts, and who we are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM with the authorities to trust instead of the system's.
    pub authorities: Option<PathBuf>,
    /// What we show to an upstream that asks who we are.
    pub identity: Option<TlsFiles>,
}

/// One address of an application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// `http://HOST:PORT`: HTTP/1.1 over TCP. Host and port as the resolver takes them.
    Http(String),
    /// `h2c://HOST:PORT`: HTTP/2 over TCP, known beforehand (RFC 9113 section 3.3).
    H2c(String),
    /// `https://HOST:PORT`: over TLS, HTTP/2 or HTTP/1.1 as the upstream chooses (RFC 7301).
    Https {
        /// Host and port as the resolver takes them.
        authority: String,
        /// The name that is asked for, and that its certificate must have.
        name: ServerName<'static>,
    },
    /// `unix:PATH`: HTTP/1.1 over a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Upstream {
    type Err = NotAnUpstream;

    fn from_str(text: &str) -> Result<Self, NotAnUpstream> {
        if let Some(path) = text.strip_prefix("unix:") {
            let absolute = path.starts_with('/') && !path.starts_with("//");
            return if absolute { Ok(Self::Unix(path.into())) } else { Err(NotAnUpstream::Socket) };
        }
        let url = url::Url::parse(text).map_err(|_| NotAnUpstream::Url)?;
        let default_port = match url.scheme() {
            "http" => Some(80),
            "https" => Some(443),
            "h2c" => None,
            _ => return Err(NotAnUpstream::Url),
        };
        let bare = matches!(url.path(), "/" | "")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty();
        if !bare || url.password().is_some() {
            return Err(NotAnUpstream::Path);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(NotAnUpstream::Url)?;
        let authority = format!("{host}:{}", url.port().or(default_port).ok_or(NotAnUpstream::Port)?);
        match url.scheme() {
            "http" => Ok(Self::Http(authority)),
            "h2c" => Ok(Self::H2c(authority)),
            _ => Ok(Self::Https { authority, name: server_name(host).ok_or(NotAnUpstream::Url)? }),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::H2c(authority) => write!(f, "h2c://{authority}"),
            Self::Https { authority, .. } => write!(f, "https://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Upstream {
    /// Whether a connection to it would arrive where somebody on this machine listens.
    fn is_at(&self, listen: &Listen) -> bool {
        match (self, listen) {
            (Self::Unix(path), Listen::Unix(place)) => path == place,
            (
                Self::Http(authority) | Self::H2c(authority) | Self::Https { authority, .. },
                Listen::Tcp(place),
            ) => {
                let Some((host, port)) = authority.rsplit_once(':') else { return false };
                port.parse() == Ok(place.port()) && arrives_at(host, place.ip().to_canonical())
            }
            _ => false,
        }
    }
}

/// What is sent to no address at all arrives at this machine, as does everything of its loopback; who listens at no
/// address in particular listens at all of them.
fn arrives_at(host: &str, place: IpAddr) -> bool {
    let is_here = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    if host == "localhost" {
        return place.is_unspecified() || place == Ipv4Addr::LOCALHOST || place == Ipv6Addr::LOCALHOST;
    }
    let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return false };
    let address = address.to_canonical();
    address == place
        || place.is_unspecified() && is_here(address)
        || address.is_unspecified() && is_here(place)
}

/// The text is no upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnUpstream {
    /// Not an address of ours.
    #[error(
        "not an upstream; write its address like \"http://127.0.0.1:8080\", \"https://HOST\", \"h2c://HOST:PORT\" \
         or \"unix:/PATH\""
    )]
    Url,
    /// No port, and none that is usual.
    #[error("no port; write it like \"h2c://127.0.0.1:8080\"")]
    Port,
    /// A path or user in it.
    #[error("an upstream is scheme, host and port only; the request's own path is sent on unchanged")]
    Path,
    /// Not the path of a socket.
    #[error("not a socket; write its whole path like \"unix:/run/application.sock\"")]
    Socket,
}

/// A name that a certificate may have.
struct CertificateName(ServerName<'static>);

impl FromStr for CertificateName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        server_name(text)
            .map(Self)
            .ok_or("not a name; write the one in the certificate, like \"app.internal\"")
    }
}

fn server_name(host: &str) -> Option<ServerName<'static>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).ok()
}

/// All keys that say how the addresses are spoken to.
pub(super) const KEYS: [&str; 17] = [
    "upstream_name",
    "upstream_ca",
    "upstream_certificate",
    "upstream_key",
    "connect_timeout",
    "response_timeout",
    "idle_timeout",
    "upstream_keep_alive",
    "upstream_idle_connections",
    "max_body",
    "upstream_http",
    "balance",
    "health_path",
    "health_interval",
    "health_timeout",
    "pin_connections",
    "proxy_protocol",
];

/// Reads them. There must be one, unless nothing is sent on; none may be where we `listen` ourselves.
pub(super) fn upstreams(section: &Section<'_>, forwards: bool, listen: &[Listen]) -> Option<Upstreams> {
    let mut list: Vec<Upstream> = section.list("upstream");
    if section.lists_nothing("upstream") && (forwards || section.has("upstream")) {
        section.problem(
            "upstream",
            "missing; write where the application runs, like [\"http://127.0.0.1:8080\"]",
        );
    }
    if list.iter().any(|upstream| listen.iter().any(|place| upstream.is_at(place))) {
        let text = "this is where the gateway itself listens; write the application's address";
        section.problem("upstream", text);
    }
    if let Some(twice) = (1..list.len()).find(|place| list[..*place].contains(&list[*place])) {
        section.problem("upstream", &format!("{} is there twice; remove one of them", list[twice]));
    }
    if let Some(CertificateName(given)) = section.text("upstream_name") {
        for upstream in &mut list {
            if let Upstream::Https { name, .. } = upstream {
                *name = given.clone();
            }
        }
    }
    let trust = trust(section, ["upstream_ca", "upstream_certificate", "upstream_key"]);
    let connect_timeout = duration(section, "connect_timeout", Duration::from_secs(5));
    let response_timeout = duration(section, "response_timeout", Duration::from_secs(60));
    let idle_timeout = duration(section, "idle_timeout", Duration::from_secs(300));
    let keep_alive = duration(section, "upstream_keep_alive", Duration::from_secs(30));
    let most_idle = section.value("upstream_idle_connections", integer(10_000)).unwrap_or(64);
    let max_body = size(section, "max_body");
    let versions = [("1.1", Http1::Usual), ("1.0", Http1::Old)];
    let version = one_of(section, "upstream_http", &versions, Some(Http1::Usual));
    if version == Some(Http1::Old) && list.iter().any(|upstream| matches!(upstream, Upstream::H2c(_))) {
        section
            .problem("upstream_http", "h2c is HTTP/2; write http://… for this upstream, or remove this key");
    }
    if !list.iter().any(|upstream| matches!(upstream, Upstream::Https { .. })) {
        no_use_without_tls(section, &list);
    }
    let words = [("round-robin", Balance::RoundRobin), ("least-outstanding", Balance::LeastOutstanding)];
    let balance = one_of(section, "balance", &words, Some(Balance::RoundRobin));
    let health = health(section);
    let pin_connections = section.value("pin_connections", boolean).unwrap_or(false);
    let words = [("off", None), ("v1", Some(ProxyProtocol::V1)), ("v2", Some(ProxyProtocol::V2))];
    let proxy_protocol = one_of(section, "proxy_protocol", &words, Some(None));
    if (pin_connections || proxy_protocol.flatten().is_some())
        && list.iter().any(|upstream| matches!(upstream, Upstream::H2c(_)))
    {
        let text = "an h2c connection has many clients; write http://… or https://…, which are then HTTP/1.1";
        section.problem(if pin_connections { "pin_connections" } else { "proxy_protocol" }, text);
    }
    Some(Upstreams {
        list,
        trust,
        connect_timeout,
        response_timeout,
        idle_timeout,
        keep_alive,
        most_idle: usize::try_from(most_idle).unwrap_or(usize::MAX),
        max_body,
        version: version?,
        balance: balance?,
        health,
        pin_connections,
        proxy_protocol: proxy_protocol?,
    })
}

fn health(section: &Section<'_>) -> Option<HealthCheck> {
    let path = section.value("health_path", |value| {
        let text = value.as_str().unwrap_or_default();
        let wrong = "not a path; write it like \"/health\"";
        text.parse().ok().filter(|_| text.starts_with('/')).ok_or_else(|| wrong.to_owned())
    });
    let interval = duration(section, "health_interval", Duration::from_secs(10));
    let timeout = duration(section, "health_timeout", Duration::from_secs(5));
    if !section.has("health_path") {
        if let Some(key) = ["health_interval", "health_timeout"].into_iter().find(|key| section.has(key)) {
            section.problem(key, "nothing is checked; write a health_path too, or remove this key");
        }
        return None;
    }
    if section.has("health_timeout") && timeout > interval {
        section
            .problem("health_timeout", "longer than health_interval; a check must end before the next one");
    }
    Some(HealthCheck { path: path?, interval, timeout })
}

/// Whom to trust and who we are, by the keys that stand for authorities, our certificate and its key.
pub(super) fn trust(section: &Section<'_>, [ca, certificate_key, key_key]: [&'static str; 3]) -> Trust {
    let authorities = section.readable(ca);
    let identity = match (section.readable(certificate_key), section.readable(key_key)) {
        (Some(certificate), Some(private_key)) => Some(TlsFiles { certificate, private_key }),
        (None, None) => None,
        (Some(_), None) => {
            section.problem(key_key, "missing; write the path of the certificate's key, PEM");
            None
        }
        (None, Some(_)) => {
            section.problem(certificate_key, "missing; write the path of the key's certificate, PEM");
            None
        }
    };
    Trust { authorities, identity }
}

/// Somebody who writes down whom to trust believes that TLS is spoken.
fn no_use_without_tls(section: &Section<'_>, list: &[Upstream]) {
    let keys = ["upstream_ca", "upstream_certificate", "upstream_key", "upstream_name"];
    if let Some(key) = keys.into_iter().find(|key| section.has(key) && !list.is_empty()) {
        section.problem(key, "no upstream of this route speaks TLS; write https://…, or remove this key");
    }
}
