//! The log: how its lines look.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Failure;
use crate::config::{Log, LogFormat};

/// The log goes to standard error: standard output is for data.
pub(super) fn start(log: &Log) -> Result<(), Failure> {
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
