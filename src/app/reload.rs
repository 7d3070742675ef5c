//! Another configuration for a gateway that runs: all of it, or nothing.

use std::path::Path;

use super::{Gateway, StartError};
use crate::config::{Difference, Loaded, Problems, Purpose, Settings};
use crate::domain::event::What;

/// Why a gateway stays with the configuration it has.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is wrong.
    #[error("{0}")]
    File(Problems),
    /// What it names is.
    #[error(transparent)]
    Contents(#[from] StartError),
}

/// What a reload changed.
#[derive(Debug)]
pub struct Reloaded {
    /// Keys that hold from now on.
    pub changed: Vec<Difference>,
    /// Keys that hold from the next start on.
    pub waiting: Vec<Difference>,
}

/// Leaves something of the settings as it is in those that are in use.
type Keep = fn(&mut Settings, &Settings);

/// What cannot be changed while the gateway runs: sockets, threads, counted places, the store and what is read from it,
/// and the log. Keys, or sections of them.
const FIXED: [(&str, Keep); 14] = [
    ("audit", |next, kept| next.audit = kept.audit.clone()),
    ("log", |next, kept| next.log = kept.log.clone()),
    ("observe", |next, kept| next.observe = kept.observe),
    ("server.drain_timeout", |next, kept| next.server.drain_timeout = kept.server.drain_timeout),
    ("server.listen", |next, kept| next.server.listen.clone_from(&kept.server.listen)),
    ("server.max_connections", |next, kept| next.server.max_connections = kept.server.max_connections),
    ("server.max_connections_per_address", |next, kept| {
        next.server.max_connections_per_address = kept.server.max_connections_per_address;
    }),
    ("server.proxy_protocol", |next, kept| next.server.proxy_protocol = kept.server.proxy_protocol),
    ("server.redirect_listen", |next, kept| {
        next.server.redirect_listen.clone_from(&kept.server.redirect_listen);
    }),
    ("server.state_directory", |next, kept| {
        next.server.state_directory.clone_from(&kept.server.state_directory);
    }),
    ("server.workers", |next, kept| next.server.workers = kept.server.workers),
    ("session", |next, kept| next.session = kept.session),
    ("store", |next, kept| next.store = kept.store.clone()),
    ("traces", |next, kept| next.traces = kept.traces.clone()),
];

/// Reads the file again and goes over to what it says; `running` is what the gateway has, and has then. Certificates,
/// secrets and templates are read again, too. Sessions, limits, connections and tunnels go on.
pub fn reload(gateway: &mut Gateway, running: &mut Loaded, file: &Path) -> Result<Reloaded, ReloadError> {
    let reloaded = try_reload(gateway, running, file);
    gateway.foundation.metrics.count_reload(reloaded.is_ok());
    if reloaded.is_ok() {
        gateway.is_configured(running.outline.hash());
    }
    let (what, detail) = match &reloaded {
        Ok(Reloaded { changed, waiting }) => {
            let (hash, changed, waiting) = (running.outline.hash(), changed.len(), waiting.len());
            let detail = format!("{hash}: {changed} keys changed, {waiting} wait for the next start");
            (What::ConfigurationReloaded, detail)
        }
        Err(error) => (What::ConfigurationRefused, error.to_string().chars().take(500).collect()),
    };
    // Nobody waits for the store here: the call to end is heard by this thread, too.
    gateway.back_office.spawn(gateway.foundation.note(what, detail));
    reloaded
}

fn try_reload(gateway: &mut Gateway, running: &mut Loaded, file: &Path) -> Result<Reloaded, ReloadError> {
    let next = Loaded::load(file, Purpose::Serve).map_err(ReloadError::File)?;
    let settings = with_what_is_fixed(next.settings, &running.settings);
    gateway.take_over(&settings)?;
    let differences = running.outline.differences(&next.outline);
    let (waiting, changed): (Vec<_>, Vec<_>) = differences.into_iter().partition(is_fixed);
    *running = Loaded { settings, outline: next.outline.without(&waiting) };
    Ok(Reloaded { changed, waiting })
}

fn is_fixed(difference: &Difference) -> bool {
    let belongs = |(fixed, _): &(&str, Keep)| {
        difference.key.strip_prefix(*fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    FIXED.iter().any(belongs)
}

fn with_what_is_fixed(mut settings: Settings, running: &Settings) -> Settings {
    for (_, keep) in FIXED {
        keep(&mut settings, running);
    }
    settings
}
