//! The sections that stand once: server, challenge, session, limits, observe, log.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use tracing::Level;

use super::provider::Provider;
use super::reader::{Section, boolean, integer};
use super::secret::environment;
use super::tls::{self, Tls};
use super::values::{Network, duration, duration_or_none, one_of, refuse_everybody};
use crate::domain::channel::Channel;
use crate::domain::limits::Rate;
use crate::domain::phone::Region;

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to accept connections.
    pub listen: Vec<Listen>,
    /// What people type.
    pub public_url: PublicUrl,
    /// Where keys and the embedded store live.
    pub state_directory: PathBuf,
    /// Threads that serve requests; 0 is one for each core.
    pub workers: usize,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long requests under way may take once the gateway is told to stop.
    pub drain_timeout: Duration,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
    /// Connections open at once, over all workers.
    pub max_connections: usize,
    /// The same of one client address.
    pub max_connections_per_address: u32,
    /// Whether trusted proxies name their clients by the PROXY protocol.
    pub proxy_protocol: bool,
    /// Where http is sent on to https.
    pub redirect_listen: Vec<SocketAddr>,
    /// When the gateway speaks TLS itself.
    pub tls: Option<Tls>,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// Whatever the service manager passes under this name.
    Passed(String),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Passed(name) => write!(f, "fd:{name}"),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(name) = text.strip_prefix("fd:") {
            // systemd.socket(5), FileDescriptorName=: printable ASCII without colon.
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            let wrong =
                "not the name of a socket; write FileDescriptorName= of the .socket unit, like \"fd:https\"";
            return if is_name { Ok(Self::Passed(name.to_owned())) } else { Err(wrong.to_owned()) };
        }
        let example = "not an address; write one like \"0.0.0.0:443\", \"[::]:443\", \"unix:/run/vestibule/vestibule.sock\" or \"fd:NAME\"";
        text.parse().map(Self::Tcp).map_err(|_| example.to_owned())
    }
}

/// The URL people type: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Whether it is https.
    pub secure: bool,
    /// Its host, lower case.
    pub host: String,
    /// Its port, unless it is the scheme's own.
    pub port: Option<u16>,
}

impl PublicUrl {
    /// `http` or `https`.
    pub const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Host and port, as browsers write them into `Host`.
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }
}

impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "not the URL of a site; write scheme and host only, like \"https://wiki.example.com\"";
        let url = url::Url::parse(text).map_err(|_| wrong)?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty();
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong),
        };
        let host = url.host_str().filter(|_| bare).ok_or(wrong)?.trim_end_matches('.').to_owned();
        Ok(Self { secure, host, port: url.port() })
    }
}

/// `[challenge]`
#[derive(Clone, Debug)]
pub struct Challenge {
    /// What people type first.
    pub identify_by: IdentifyBy,
    /// The country of numbers typed without one.
    pub default_region: Option<Region>,
    /// The countries whose numbers are looked at; empty is all.
    pub allowed_regions: Vec<Region>,
    /// The ways codes are sent; the first is taken unless the person asks for another.
    pub channels: Vec<Channel>,
    /// The name on the pages and in the message.
    pub brand: String,
    /// A directory whose templates and languages stand before the built-in ones.
    pub templates: Option<PathBuf>,
}

/// What people type first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentifyBy {
    /// Their phone number.
    Phone,
    /// Their user name.
    Name,
}

/// `[session]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// A session unused for so long is over.
    pub idle_timeout: Duration,
    /// A session is over after so long, used or not.
    pub absolute_timeout: Duration,
    /// So long after the last changes were read, a session in memory is believed while the store is away.
    pub outage_grace: Duration,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Codes asked for, by phone number.
    pub starts_per_number: Rate,
    /// Codes asked for, by user.
    pub starts_per_user: Rate,
    /// Codes asked for, by client address.
    pub starts_per_address: Rate,
    /// Codes typed, by challenge.
    pub checks_per_challenge: Rate,
    /// Codes typed, by client address.
    pub checks_per_address: Rate,
}

/// `[observe]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observe {
    /// Where health is told.
    pub listen: SocketAddr,
    /// Whether somebody wrote that address down, so that not getting it is an error.
    pub explicit: bool,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines are written.
    pub level: Level,
    /// How a line for each request looks, if there is one.
    pub access: Option<AccessFormat>,
    /// Where those lines go; standard error unless given.
    pub access_file: Option<PathBuf>,
    /// Whether they have what follows the question mark.
    pub access_query: bool,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// One object a line.
    Json,
    /// As nginx and Apache write it.
    Combined,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
    /// The journal's own way: each value is a field, by which `journalctl` finds it.
    Journald,
}

pub(super) fn server(section: &Section<'_>) -> Option<Server> {
    let listen: Vec<Listen> = section.list("listen");
    if section.lists_nothing("listen") {
        section.problem("listen", "nowhere to listen; write an address like [\"0.0.0.0:443\"]");
    }
    let public_url: Option<PublicUrl> = section.text("public_url");
    if !section.has("public_url") {
        section.problem("public_url", "missing; write what people type, like \"https://wiki.example.com\"");
    }
    let state_directory: Option<PathBuf> = section.text("state_directory");
    let workers = section.value("workers", integer(1_024)).unwrap_or(0);
    let trusted_proxies: Vec<IpNet> =
        section.list("trusted_proxies").into_iter().map(|Network(net)| net).collect();
    refuse_everybody(section, "trusted_proxies", &trusted_proxies);
    let drain_timeout = duration(section, "drain_timeout", Duration::from_secs(30));
    let idle_timeout = duration(section, "idle_timeout", Duration::from_secs(75));
    if idle_timeout < LEAST_IDLE {
        section.problem(
            "idle_timeout",
            "too short for a browser to send its next request; write at least \"1s\"",
        );
    }
    let max_connections = section.value("max_connections", integer(1_000_000)).unwrap_or(10_000);
    if max_connections < LEAST_CONNECTIONS {
        section.problem("max_connections", "too few for the threads to accept any; write at least 64");
    }
    let per_address = section.value("max_connections_per_address", integer(1_000_000)).unwrap_or(1_000);
    if per_address == 0 {
        section.problem("max_connections_per_address", "nobody could connect; write at least 1");
    }
    let proxy_protocol = section.value("proxy_protocol", boolean).unwrap_or(false);
    let from_a_socket = listen.iter().any(|listen| matches!(listen, Listen::Unix(_) | Listen::Passed(_)));
    if proxy_protocol && trusted_proxies.is_empty() && !from_a_socket {
        let text =
            "nobody may speak it; list the load balancers' networks in trusted_proxies, or remove this line";
        section.problem("proxy_protocol", text);
    }
    let redirect_listen: Vec<SocketAddr> = section.list("redirect_listen");
    let tls_section = section.section("tls");
    let tls = tls::tls(&tls_section);
    if !redirect_listen.is_empty() && !public_url.as_ref().is_none_or(|url| url.secure) {
        section.problem(
            "redirect_listen",
            "there is no https to send people to; write public_url with https://, or remove it",
        );
    }
    if tls.is_some() && public_url.as_ref().is_some_and(|url| !url.secure) {
        section
            .problem("public_url", "http, but [server.tls] is set; write https://…, or remove [server.tls]");
    }
    section.finish();
    Some(Server {
        listen,
        public_url: public_url?,
        state_directory: state_directory
            .or_else(given_state_directory)
            .unwrap_or_else(|| STATE_DIRECTORY.into()),
        workers: usize::try_from(workers).unwrap_or(0),
        trusted_proxies,
        drain_timeout,
        idle_timeout,
        max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX).max(1),
        max_connections_per_address: u32::try_from(per_address).unwrap_or(u32::MAX),
        proxy_protocol,
        redirect_listen,
        tls,
    })
}

/// Shorter, and connections would end between two requests of one page.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// Every listener of every thread holds one place while it waits for a connection.
const LEAST_CONNECTIONS: u64 = 64;

const STATE_DIRECTORY: &str = "/var/lib/vestibule";

/// What the service manager gives (systemd.exec(5), `StateDirectory=`): a list, of which the first is ours.
fn given_state_directory() -> Option<PathBuf> {
    environment("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from))
}

pub(super) fn challenge(
    section: &Section<'_>,
    host: Option<&str>,
    providers: Option<&[Provider]>,
) -> Option<Challenge> {
    let names = [("phone", IdentifyBy::Phone), ("name", IdentifyBy::Name)];
    let identify_by = one_of(section, "identify_by", &names, Some(IdentifyBy::Phone));
    one_of(section, "first_factor", &[("none", ())], Some(()));
    let default_region = section.text("default_region");
    let allowed_regions = section.list("allowed_regions");
    let mut channels: Vec<Channel> = section.list("channels");
    if channels.is_empty() {
        channels = vec![Channel::Sms, Channel::Call];
    }
    let somebody_sends = |by: Channel| providers.is_none_or(|all| all.iter().any(|one| one.offers(by)));
    if !channels.iter().all(|channel| somebody_sends(*channel)) {
        let text = "no [[provider]] sends by WhatsApp; give one a whatsapp_from, or take \"whatsapp\" out";
        section.problem("channels", text);
    }
    let brand = brand(section)
        .unwrap_or_else(|| host.filter(|host| fits_a_message(host)).unwrap_or("Vestibule").to_owned());
    let templates: Option<PathBuf> = section.text("templates");
    if templates.as_ref().is_some_and(|directory| !directory.is_dir()) {
        section
            .problem("templates", "not a directory; create it, or leave the key out for the built-in pages");
    }
    section.finish();
    Some(Challenge { identify_by: identify_by?, default_region, allowed_regions, channels, brand, templates })
}

fn brand(section: &Section<'_>) -> Option<String> {
    section.value("brand", |value| {
        let text = value.as_str().unwrap_or_default().trim();
        let wrong = "does not fit into a message; use 1 to 30 characters with at most four digits";
        if fits_a_message(text) { Ok(text.to_owned()) } else { Err(wrong.to_owned()) }
    })
}

/// At most 30 characters with at most four digits, which is what providers take.
fn fits_a_message(brand: &str) -> bool {
    let digits = brand.chars().filter(char::is_ascii_digit).count();
    !brand.is_empty() && brand.chars().count() <= 30 && digits <= 4 && !brand.contains(char::is_control)
}

/// Changes are kept for a day; who reads on after half of one has missed none.
const LONGEST_GRACE: Duration = Duration::from_secs(12 * 3_600);

pub(super) fn session(section: &Section<'_>) -> Option<Session> {
    let session = Session {
        idle_timeout: duration(section, "idle_timeout", Duration::from_secs(3_600)),
        absolute_timeout: duration(section, "absolute_timeout", Duration::from_secs(12 * 3_600)),
        outage_grace: duration_or_none(section, "outage_grace", Duration::from_secs(15 * 60)),
    };
    if session.outage_grace > LONGEST_GRACE {
        section.problem("outage_grace", "who was shut out would stay in for too long; write at most \"12h\"");
    }
    if session.idle_timeout > session.absolute_timeout {
        section.problem("idle_timeout", "longer than absolute_timeout; make it shorter or equal");
    }
    section.finish();
    Some(session)
}

pub(super) fn limits(section: &Section<'_>) -> Option<Limits> {
    let rate = |key, count, seconds| {
        section.text(key).unwrap_or_else(|| Rate::new(count, Duration::from_secs(seconds)))
    };
    let limits = Limits {
        starts_per_number: rate("starts_per_number", 5, 3_600),
        starts_per_user: rate("starts_per_user", 20, 86_400),
        starts_per_address: rate("starts_per_address", 30, 600),
        checks_per_challenge: rate("checks_per_challenge", 10, 300),
        checks_per_address: rate("checks_per_address", 60, 600),
    };
    section.finish();
    Some(limits)
}

pub(super) fn observe(section: &Section<'_>) -> Option<Observe> {
    let listen: Option<SocketAddr> = section.value("listen", |value| {
        let wrong = "not an address; write one like \"127.0.0.1:9464\"";
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| wrong.to_owned())
    });
    section.finish();
    Some(Observe {
        listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9_464))),
        explicit: listen.is_some(),
    })
}

pub(super) fn log(section: &Section<'_>) -> Option<Log> {
    let format = one_of(
        section,
        "format",
        &[("text", LogFormat::Text), ("json", LogFormat::Json), ("journald", LogFormat::Journald)],
        Some(LogFormat::Text),
    );
    let level = one_of(
        section,
        "level",
        &[
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ],
        Some(Level::INFO),
    );
    let formats =
        [("off", None), ("json", Some(AccessFormat::Json)), ("combined", Some(AccessFormat::Combined))];
    let access = one_of(section, "access", &formats, Some(None));
    let access_file = section.text("access_file");
    let access_query = section.value("access_query", boolean).unwrap_or(false);
    section.finish();
    Some(Log { format: format?, level: level?, access: access?, access_file, access_query })
}
