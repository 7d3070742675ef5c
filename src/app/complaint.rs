//! Trouble that comes again with every tick is told once, and once that it is over.

use std::fmt::Display;

/// What the log is told of one thing that is done again and again.
pub(super) struct Complaint {
    what: &'static str,
    lasts: bool,
}

impl Complaint {
    pub(super) const fn about(what: &'static str) -> Self {
        Self { what, lasts: false }
    }

    /// Tells what is new about it.
    pub(super) fn tell<T, E: Display>(&mut self, result: &Result<T, E>) {
        match result {
            Ok(_) if self.lasts => tracing::info!("over: {}", self.what),
            Err(error) if !self.lasts => tracing::warn!(%error, "{}", self.what),
            Ok(_) | Err(_) => {}
        }
        self.lasts = result.is_err();
    }
}
