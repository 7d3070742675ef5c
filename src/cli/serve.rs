//! `vestibule serve`

use sd_notify::NotifyState;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Config, Failure};
use crate::app::Gateway;
use crate::config::{Log, LogFormat, Purpose, Settings};

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let settings = Settings::load(&config.config, Purpose::Serve)?;
    start_log(&settings.log)?;
    let gateway = Gateway::start(&settings)?;
    for address in &gateway.addresses {
        tracing::info!(address, "listening");
    }
    tell(&[NotifyState::Ready]);
    gateway.wait().map_err(|error| Failure::Runtime(error.to_string()))?;
    tracing::info!("stopping: finishing what is under way");
    tell(&[NotifyState::Stopping]);
    gateway.stop();
    Ok(())
}

/// The service manager, when there is one.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "no service manager to tell");
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
