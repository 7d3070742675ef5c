//! What outlives a command: the store and the key that belongs to it, opened as a configuration says.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use super::StartError;
use crate::access::keys::KeysError;
use crate::config::{Place, Settings, host_name};
use crate::crypto::{ChainKey, MasterKey};
use crate::store::{OpenError, Store, Use};

/// What outlives a command: the store and the key that belongs to it.
#[derive(Debug)]
pub struct State {
    /// The store.
    pub store: Store,
    /// The key its secrets rest under.
    pub master: Arc<MasterKey>,
}

impl State {
    /// Opens, or makes, the state of a gateway, to work on it beside the gateway.
    pub fn open(settings: &Settings) -> Result<Self, StartError> {
        Self::open_for(settings, Use::Beside)
    }

    /// Opens it, or makes it.
    pub fn open_for(settings: &Settings, use_: Use) -> Result<Self, StartError> {
        let place = &settings.store.place;
        let new = matches!(place, Place::Sqlite(file) if !file.exists());
        let had_key = settings.server.state_directory.join("master.key").exists();
        let master = master(settings, new)?;
        let store = open(place, use_, Some(master.chain()))?;
        if new && had_key {
            tracing::warn!(
                "made a new, empty store at {}, although there is a master key already; \
                 if there was one, restore it",
                name(place)
            );
        }
        Ok(Self { store, master })
    }
}

/// Opens a store, wherever it is; without the key of the chain only one that is there, to look at.
pub fn open(place: &Place, use_: Use, chain: Option<ChainKey>) -> Result<Store, StartError> {
    let opened = match place {
        Place::Sqlite(file) => Store::sqlite(file, use_, chain).map_err(OpenError::Store),
        Place::Postgres(server) => {
            server.password.as_ref().map_err(|text| StartError::Secret(text.clone()))?;
            Store::postgres(server, use_, chain)
        }
    };
    opened.map_err(|error| StartError::Store(name(place), error))
}

/// The key under which the secrets of a store rest; made with a SQLite store that is `new`.
pub fn master(settings: &Settings, new: bool) -> Result<Arc<MasterKey>, StartError> {
    let shared = settings.store.master_key.clone().map_err(StartError::Secret)?;
    let directory = &settings.server.state_directory;
    if let Place::Sqlite(_) = settings.store.place {
        make_directory(directory)
            .map_err(|error| StartError::StateDirectory(directory.display().to_string(), error))?;
    }
    match (shared, &settings.store.place) {
        (Some(master), _) => Ok(master),
        // The configuration does not read without one.
        (None, Place::Postgres(_)) => Err(StartError::Keys(KeysError::Sealed)),
        (None, Place::Sqlite(_)) => Ok(Arc::new(MasterKey::open(directory, new)?)),
    }
}

/// Where the master key of a configuration is kept.
pub fn master_key(settings: &Settings) -> String {
    match &settings.store.master_key {
        Ok(None) => settings.server.state_directory.join("master.key").display().to_string(),
        Ok(Some(_)) | Err(_) => "the key that store.master_key names".to_owned(),
    }
}

/// An error of the signing keys, which names the master key as it is configured.
pub fn of_the_keys(settings: &Settings, error: KeysError) -> StartError {
    match error {
        KeysError::Sealed => StartError::Sealed(master_key(settings)),
        KeysError::Store(_) => StartError::Keys(error),
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// A store as errors name it.
pub fn name(place: &Place) -> String {
    match place {
        Place::Sqlite(file) => file.display().to_string(),
        Place::Postgres(server) => server_name(&server.server),
    }
}

/// `postgres://USER@HOST:PORT,…/DATABASE`.
fn server_name(server: &tokio_postgres::Config) -> String {
    let ports = server.get_ports();
    let host = |(place, host): (usize, &tokio_postgres::config::Host)| {
        // One port is that of all hosts.
        let port = ports.get(place).or_else(|| ports.first()).copied().unwrap_or(5432);
        format!("{}:{port}", host_name(host))
    };
    let hosts: Vec<_> = server.get_hosts().iter().enumerate().map(host).collect();
    let (user, database) = (server.get_user().unwrap_or_default(), server.get_dbname().unwrap_or_default());
    format!("postgres://{user}@{}/{database}", hosts.join(","))
}
