//! `[store]`: where what must not be forgotten lies, and under which key its secrets rest.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::config::{Host, SslMode};

use super::reader::{Section, integer};
use super::secret::{self, Later};
use super::upstream::Trust;
use super::values::duration;
use crate::crypto::MasterKey;

/// `[store]`
#[derive(Clone, Debug)]
pub struct Store {
    /// Where it is.
    pub place: Place,
    /// The key its secrets rest under; none means the key file of the state directory.
    pub master_key: Later<Option<Arc<MasterKey>>>,
    /// How long a line of the audit trail is kept.
    pub keep_audit: Duration,
}

/// Where the store is.
#[derive(Clone, Debug)]
pub enum Place {
    /// The SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(Box<Postgres>),
}

/// A PostgreSQL server and how to reach it.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// What the URL says.
    pub server: tokio_postgres::Config,
    /// Whether TLS is spoken. The server's certificate is always verified.
    pub encrypted: bool,
    /// Whom TLS trusts, and who we are there.
    pub trust: Trust,
    /// Our password there.
    pub password: Later<Option<SecretString>>,
    /// How many commands it works on at once.
    pub connections: usize,
}

/// A host of the URL as text: a name, an address or the directory of a socket.
pub fn host_name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

const CONNECTIONS: usize = 8;

/// How a server that the configuration does not know is reached.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Our password there.
    pub password: Option<SecretString>,
    /// PEM with the authorities to trust instead of the system's.
    pub authorities: Option<PathBuf>,
}

impl Store {
    /// The store that somebody names by its URL: as the configuration has it where that is the one.
    pub fn named(&self, url: &str, reach: &Reach) -> Result<Place, String> {
        let server = match place(url)? {
            Url::Sqlite(file) => return Ok(Place::Sqlite(file)),
            Url::Postgres(server) => server,
        };
        if let Place::Postgres(known) = &self.place
            && known.server == *server
        {
            return Ok(self.place.clone());
        }
        let trust = Trust { authorities: reach.authorities.clone(), identity: None };
        Ok(Place::Postgres(Box::new(Postgres {
            encrypted: is_encrypted(&server, &trust),
            server: *server,
            trust,
            password: Ok(reach.password.clone()),
            connections: CONNECTIONS,
        })))
    }
}

pub(super) fn store(section: &Section<'_>, state_directory: &Path) -> Option<Store> {
    let url = section.value("url", |value| place(value.as_str().unwrap_or_default()));
    let trust = super::upstream::trust(section, ["ca", "certificate", "private_key"]);
    let password = secret::later(section, "password");
    let master_key =
        secret::later(section, "master_key").map(|key| key.and_then(|key| master(section, &key)));
    let most = integer(100);
    let connections = section.value("connections", |value| match most(value)? {
        0 => Err("none is too few; write a number from 1".to_owned()),
        some => Ok(usize::try_from(some).unwrap_or(CONNECTIONS)),
    });
    let place = match url {
        Some(Url::Postgres(server)) => {
            if !section.has("master_key") {
                section.problem("master_key", SHARED);
            }
            Place::Postgres(Box::new(Postgres {
                encrypted: is_encrypted(&server, &trust),
                server: *server,
                trust,
                password,
                connections: connections.unwrap_or(CONNECTIONS),
            }))
        }
        other => {
            for key in ["password", "ca", "certificate", "private_key", "connections"] {
                if section.has(key) {
                    section
                        .problem(key, "for PostgreSQL only; set url = \"postgres://…\", or remove this key");
                }
            }
            Place::Sqlite(match other {
                Some(Url::Sqlite(file)) => file,
                Some(Url::Postgres(_)) | None => state_directory.join("vestibule.db"),
            })
        }
    };
    let keep_audit = duration(section, "keep_audit", Duration::from_secs(400 * 86_400));
    section.finish();
    Some(Store { place, master_key, keep_audit })
}

enum Url {
    Sqlite(PathBuf),
    Postgres(Box<tokio_postgres::Config>),
}

fn place(text: &str) -> Result<Url, String> {
    if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
        return Ok(Url::Sqlite(PathBuf::from(path)));
    }
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err("no store; write \"sqlite:/var/lib/vestibule/vestibule.db\", or \"postgres://USER@HOST/DATABASE\"".to_owned());
    }
    let server: tokio_postgres::Config = text.parse().map_err(|error| {
        format!("not a URL of PostgreSQL: {error}; write \"postgres://USER@HOST/DATABASE\"")
    })?;
    if server.get_password().is_some() {
        return Err("a password is named, never written here; take it out and set store.password".to_owned());
    }
    if server.get_user().is_none() || server.get_dbname().is_none() || server.get_hosts().is_empty() {
        return Err(
            "says not all of user, host and database; write \"postgres://USER@HOST/DATABASE\"".to_owned()
        );
    }
    Ok(Url::Postgres(Box::new(server)))
}

/// Off this machine nothing goes in the clear unless the URL says `sslmode=disable`; on it, TLS is spoken when somebody
/// wrote down whom to trust, or `sslmode=require`.
fn is_encrypted(server: &tokio_postgres::Config, trust: &Trust) -> bool {
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    };
    match server.get_ssl_mode() {
        SslMode::Disable => false,
        SslMode::Require => true,
        SslMode::Prefer | _ => {
            trust.authorities.is_some()
                || !server.get_hosts().iter().all(local)
                || !server.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
        }
    }
}

fn master(section: &Section<'_>, text: &SecretString) -> Option<Arc<MasterKey>> {
    let key = MasterKey::from_text(text.expose_secret()).map(Arc::new);
    if key.is_none() {
        section.problem(
            "master_key",
            "no 32 bytes in base64; make a key with: openssl rand -base64 32 (for a store that is in use, restore its own)",
        );
    }
    key
}

const SHARED: &str = "missing; gateways that share a store share the key of its secrets: make one with \
                      `openssl rand -base64 32` and name where it is kept, { credential = \"…\" } or { file = \"…\" }";
