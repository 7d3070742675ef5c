//! From a file to [`Settings`] that cannot be wrong, or to every problem of the file at once.

mod audit;
mod forward_auth;
mod lookup;
mod outline;
mod provider;
mod reader;
mod route;
mod rule;
mod secret;
mod sections;
mod spend;
mod store;
mod tls;
mod traces;
mod upstream;
mod values;

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use audit::{Audit, Webhook};
pub use forward_auth::{Dialect, ForwardAuth};
pub use lookup::{Lookup, OnFailure};
pub use outline::{Difference, Outline};
pub use provider::{Account, Credentials, Provider, Twilio, Vonage, VonageCredentials, VonageV1};
pub use reader::Problem;
pub use route::Route;
pub use secret::{Later, abstract_notify_socket, credentials_directory, passed_names};
pub use sections::{
    AccessFormat, Challenge, IdentifyBy, Limits, Listen, Log, LogFormat, Observe, PublicUrl, Server, Session,
};
pub use spend::Spend;
pub use store::{Place, Postgres, Reach, Store, host_name};
pub use tls::{Acme, AcmeChallenge, Tls, TlsFiles, TlsVersion};
pub use traces::Traces;
pub use upstream::{Balance, HealthCheck, Http1, ProxyProtocol, Trust, Upstream, Upstreams};

use reader::Document;

/// What the whole configuration says. A value of this type has been checked: nothing in it needs checking again.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen and as what.
    pub server: Server,
    /// What lies behind, at least one.
    pub routes: Vec<Route>,
    /// Which other proxies may ask whether a request may pass.
    pub forward_auth: Option<ForwardAuth>,
    /// Who sends codes, the first choice first; at least one.
    pub providers: Vec<Provider>,
    /// Who is asked what kind of line a number is.
    pub lookup: Option<Lookup>,
    /// What messages may cost.
    pub spend: Spend,
    /// How people are challenged.
    pub challenge: Challenge,
    /// How long they stay.
    pub session: Session,
    /// How often they may try.
    pub limits: Limits,
    /// Where state is kept.
    pub store: Store,
    /// Who is told of what happens.
    pub audit: Audit,
    /// Where health is told.
    pub observe: Observe,
    /// What is written down.
    pub log: Log,
    /// Who is told how requests go.
    pub traces: Option<Traces>,
}

/// A configuration, and the file it was read from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// Its keys and values.
    pub outline: Outline,
}

/// Every problem of one file.
#[derive(Debug)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, in the order of its lines; never empty.
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.list.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{problem}", self.file.display())?;
        }
        Ok(())
    }
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run the gateway: every secret and file it names must be there.
    Serve,
    /// To work on the store beside a gateway: its secrets are not looked at. A credential of the service manager's
    /// is only there inside the unit.
    Administer,
}

impl Settings {
    /// Reads a file.
    pub fn load(file: &Path, purpose: Purpose) -> Result<Self, Problems> {
        Loaded::load(file, purpose).map(|loaded| loaded.settings)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str, purpose: Purpose) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(text, purpose)?;
        let settings = read(&document);
        document.into_result(settings)
    }
}

impl Loaded {
    /// Reads a file.
    pub fn load(file: &Path, purpose: Purpose) -> Result<Self, Problems> {
        let text = std::fs::read_to_string(file).map_err(|error| Problems {
            file: file.to_owned(),
            list: vec![Problem::of_file(&format!("cannot be read: {error}; {}", remedy(file, error.kind())))],
        })?;
        let settings = Settings::parse(&text, purpose);
        let settings = settings.map_err(|list| Problems { file: file.to_owned(), list })?;
        Ok(Self { settings, outline: Outline::of(&text) })
    }
}

/// What to do about a file that cannot be read.
fn remedy(file: &Path, error: ErrorKind) -> String {
    if error == ErrorKind::IsADirectory {
        return format!("name the file in it: --config {}", file.join("config.toml").display());
    }
    let remedy = if error == ErrorKind::NotFound {
        "name another with --config, or write one with: vestibule init"
    } else if error == ErrorKind::InvalidData {
        "save it as UTF-8"
    } else {
        "give this user the right to read it, or name another file with --config"
    };
    remedy.to_owned()
}

fn read(document: &Document<'_>) -> Option<Settings> {
    let top = document.top();
    let server = sections::server(&top.section("server"));
    let host = server.as_ref().map(|server| server.public_url.host.clone());
    let state_directory = server.as_ref().map(|server| server.state_directory.clone()).unwrap_or_default();
    let providers = provider::providers(&top);
    let session = sections::session(&top.section("session"));
    let settings = (
        route::routes(&top, server.as_ref(), session.as_ref()),
        forward_auth::forward_auth(&top.section("forward_auth")),
        lookup::lookup(&top.section("lookup")),
        spend::spend(&top.section("spend")),
        sections::challenge(&top.section("challenge"), host.as_deref(), providers.as_deref()),
        sections::limits(&top.section("limits")),
        store::store(&top.section("store"), &state_directory),
        audit::audit(&top.section("audit")),
        sections::observe(&top.section("observe")),
        sections::log(&top.section("log")),
        traces::traces(&top.section("traces")),
    );
    top.finish();
    let (routes, forward_auth, lookup, spend, challenge, limits, store, audit, observe, log, traces) =
        settings;
    Some(Settings {
        server: server?,
        routes: routes?,
        providers: providers?,
        forward_auth,
        lookup,
        spend,
        challenge: challenge?,
        session: session?,
        limits: limits?,
        store: store?,
        audit,
        observe: observe?,
        log: log?,
        traces,
    })
}

#[cfg(test)]
mod tests;
