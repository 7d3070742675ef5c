//! The log: who gets its lines, and how they look.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Failure;
use crate::config::{Log, LogFormat};

/// The log goes to standard error, since standard output is for data, or to the journal.
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
        LogFormat::Journald => {
            let journal = tracing_journald::layer().map_err(|error| no_journal(&error))?;
            let journal = journal.with_field_prefix(Some("VESTIBULE".to_owned()));
            let journal = journal.with_syslog_identifier("vestibule".to_owned());
            tracing_subscriber::registry().with(journal).with(filter).try_init()
        }
    };
    started.map_err(|error| Failure::Runtime(error.to_string()))
}

fn no_journal(error: &std::io::Error) -> Failure {
    Failure::Runtime(format!(
        "log.format: the journal takes no lines ({error}); \"journald\" is for machines with systemd, write \"text\" or \
         \"json\""
    ))
}
