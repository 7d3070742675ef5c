//! The access log: one line for each request, written by a thread of its own. Whoever serves does not wait for it: when
//! it cannot follow, lines are lost, and counted.

mod file;
mod line;

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

pub use line::Line;

use crate::config::{AccessFormat, Log};
use file::Reopened;

/// So many lines wait to be written.
const WAITING: usize = 8_192;

/// Where lines go.
#[derive(Clone)]
pub struct AccessLog {
    writer: NonBlocking,
    format: AccessFormat,
    lost: ErrorCounter,
    /// Whether what follows the question mark is written, too.
    query: bool,
    /// Writes what waits when the last one is dropped.
    _guard: Arc<WorkerGuard>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("format", &self.format).finish_non_exhaustive()
    }
}

impl AccessLog {
    /// The log of these settings, if there is one.
    pub fn open(settings: &Log) -> io::Result<Option<Self>> {
        let Some(format) = settings.access else { return Ok(None) };
        let builder =
            NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).thread_name("access-log");
        let (writer, guard) = match &settings.access_file {
            None => builder.finish(io::stderr()),
            Some(file) => builder.finish(Reopened::open(Path::new(file))?),
        };
        let lost = writer.error_counter();
        Ok(Some(Self { writer, format, lost, query: settings.access_query, _guard: Arc::new(guard) }))
    }

    /// Whether what follows the question mark is written, too.
    pub const fn has_query(&self) -> bool {
        self.query
    }

    /// Has a line written, if the writer follows.
    pub fn write(&self, line: &Line<'_>) {
        let text = match self.format {
            AccessFormat::Json => line.json(),
            AccessFormat::Combined => line.combined(),
        };
        // What it cannot take is counted as lost.
        let _ = self.writer.clone().write_all(text.as_bytes());
    }

    /// How many lines were lost.
    pub fn lost(&self) -> usize {
        self.lost.dropped_lines()
    }
}
