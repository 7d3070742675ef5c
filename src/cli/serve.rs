//! `vestibule serve`

use std::path::Path;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Config, Failure};
use crate::app::{Gateway, Signal, reload};
use crate::config::{Loaded, Log, LogFormat, Purpose};
use crate::service_manager;

/// What the service manager shows until there is more to tell.
const SERVING: &str = "serving";

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let mut running = Loaded::load(&config.config, Purpose::Serve)?;
    start_log(&running.settings.log)?;
    let mut gateway = Gateway::start(&running.settings)?;
    for address in &gateway.addresses {
        tracing::info!(address, "listening");
    }
    service_manager::ready(SERVING);
    while gateway.wait() == Signal::Reload {
        service_manager::reloading();
        reload_from(&config.config, &mut gateway, &mut running);
        service_manager::ready(SERVING);
    }
    tracing::info!("stopping: finishing what is under way");
    service_manager::stopping();
    gateway.stop();
    Ok(())
}

/// Reads the configuration again, and tells the log what came of it.
fn reload_from(file: &Path, gateway: &mut Gateway, running: &mut Loaded) {
    match reload(gateway, running, file) {
        Ok(reloaded) => {
            for difference in &reloaded.changed {
                tracing::info!(%difference, "changed");
            }
            for difference in &reloaded.waiting {
                tracing::warn!(%difference, "changes with the next start only: systemctl restart vestibule");
            }
            let (changed, waiting) = (reloaded.changed.len(), reloaded.waiting.len());
            tracing::info!(
                configuration = running.outline.hash(),
                changed,
                waiting,
                "the configuration was reloaded"
            );
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was not reloaded; the gateway goes on with the one it has");
        }
    }
}

/// The log goes to standard error: standard output is for data.
pub(super) fn start_log(log: &Log) -> Result<(), Failure> {
    // Our own lines at the level that was asked for, everybody else's when something is wrong.
    let filter = Targets::new().with_default(Level::WARN).with_target("vestibule", log.level);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(log.level.max(Level::WARN))
        .with_writer(std::io::stderr)
        .with_target(false);
    let started = match log.format {
        LogFormat::Text => subscriber.with_ansi(false).finish().with(filter).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).finish().with(filter).try_init(),
    };
    started.map_err(|error| Failure::Runtime(error.to_string()))
}
