//! How far something long is, for whoever sits before it.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// A line on standard error that is written again and again; nothing where no terminal is.
pub(super) struct Bar {
    shown: bool,
    next: Instant,
}

const WIDTH: u64 = 30;
const EVERY: Duration = Duration::from_millis(100);

impl Bar {
    pub(super) fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), next: Instant::now() }
    }

    /// Shows so much of a whole.
    pub(super) fn show(&mut self, label: &str, done: u64, of: u64) {
        let now = Instant::now();
        if self.shown && (now >= self.next || done == of) {
            self.next = now + EVERY;
            // Nobody needs it.
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{}", line(label, done, of));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(label: &str, done: u64, of: u64) -> String {
    let of = of.max(done);
    let parts = |whole: u64| {
        if of == 0 { whole } else { (u128::from(done) * u128::from(whole) / u128::from(of)) as u64 }
    };
    let full = usize::try_from(parts(WIDTH)).unwrap_or_default();
    let (full, rest) = ("#".repeat(full), ".".repeat(WIDTH as usize - full));
    format!("{label:<22} [{full}{rest}] {:>3} %  {done} of {of}", parts(100))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_line_shows_how_far_it_is() {
        assert_eq!(
            line("session", 0, 8),
            "session                [..............................]   0 %  0 of 8"
        );
        assert_eq!(
            line("session", 4, 8),
            "session                [###############...............]  50 %  4 of 8"
        );
        assert_eq!(
            line("session", 9, 8),
            "session                [##############################] 100 %  9 of 9"
        );
        assert_eq!(
            line("session", 0, 0),
            "session                [##############################] 100 %  0 of 0"
        );
    }
}
