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

/// What cannot be changed while the gateway runs: sockets, threads, counted places, the store and what is read from it,
/// and the log. Keys, or sections of them.
const FIXED: [&str; 14] = [
    "audit",
    "log",
    "observe",
    "server.drain_timeout",
    "server.listen",
    "server.max_connections",
    "server.max_connections_per_address",
    "server.proxy_protocol",
    "server.redirect_listen",
    "server.state_directory",
    "server.workers",
    "session",
    "store",
    "traces",
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
    let belongs = |fixed: &&str| {
        difference.key.strip_prefix(*fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    FIXED.iter().any(belongs)
}

fn with_what_is_fixed(mut settings: Settings, running: &Settings) -> Settings {
    let (server, kept) = (&mut settings.server, &running.server);
    server.drain_timeout = kept.drain_timeout;
    server.listen.clone_from(&kept.listen);
    server.max_connections = kept.max_connections;
    server.max_connections_per_address = kept.max_connections_per_address;
    server.proxy_protocol = kept.proxy_protocol;
    server.redirect_listen.clone_from(&kept.redirect_listen);
    server.state_directory.clone_from(&kept.state_directory);
    server.workers = kept.workers;
    settings.log = running.log.clone();
    settings.audit = running.audit.clone();
    settings.observe = running.observe;
    settings.session = running.session;
    settings.store = running.store.clone();
    settings.traces = running.traces.clone();
    settings
}
