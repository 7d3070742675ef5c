//! A stranger waits as long as a known person does.
//!
//! A known person's answer takes as long as the provider takes. A stranger's takes as long as one of the provider's
//! recent answers did, drawn by lot; and every answer is held until a full step has passed, which hides what is left.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::crypto;

/// How long one kind of provider call took lately.
#[derive(Debug, Default)]
pub struct Pace {
    recent: Mutex<VecDeque<Duration>>,
}

const REMEMBERED: usize = 64;
const STEP: Duration = Duration::from_millis(200);

impl Pace {
    /// Something like a real call took so long; taken until there is a real one.
    pub fn note_first(&self, took: Duration) {
        let mut recent = self.recent.lock().expect("nobody panics while holding it");
        if recent.is_empty() {
            recent.push_back(took);
        }
    }

    /// A real call took so long.
    pub fn note(&self, took: Duration) {
        let mut recent = self.recent.lock().expect("nobody panics while holding it");
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(took);
    }

    /// Whether there was any.
    pub fn knows(&self) -> bool {
        !self.recent.lock().expect("nobody panics while holding it").is_empty()
    }

    /// Waits as if a real call had begun at `since`.
    pub async fn imitate(&self, since: Instant) {
        let took = {
            let recent = self.recent.lock().expect("nobody panics while holding it");
            if recent.is_empty() { Duration::ZERO } else { recent[draw(recent.len())] }
        };
        tokio::time::sleep_until(since + took).await;
    }
}

/// Holds an answer to something that began at `since` until the next full step.
pub async fn hold(since: Instant) {
    let steps = since.elapsed().as_nanos() / STEP.as_nanos() + 1;
    tokio::time::sleep_until(since + STEP * u32::try_from(steps).unwrap_or(u32::MAX)).await;
}

fn draw(of: usize) -> usize {
    usize::from(u16::from_ne_bytes(crypto::random())) % of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stranger_waits_as_long_as_somebody_did() {
        let pace = Pace::default();
        pace.note(Duration::from_millis(730));
        let since = Instant::now();
        pace.imitate(since).await;
        assert_eq!(since.elapsed(), Duration::from_millis(730));
        hold(since).await;
        assert_eq!(since.elapsed(), Duration::from_millis(800));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_long_ago_is_forgotten() {
        let pace = Pace::default();
        for seconds in [9, 1] {
            for _ in 0..REMEMBERED {
                pace.note(Duration::from_secs(seconds));
            }
        }
        for _ in 0..REMEMBERED {
            let since = Instant::now();
            pace.imitate(since).await;
            assert_eq!(since.elapsed(), Duration::from_secs(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_takes_a_full_step() {
        let since = Instant::now();
        hold(since).await;
        assert_eq!(since.elapsed(), STEP);
    }
}
