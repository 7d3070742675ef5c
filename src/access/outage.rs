//! The store is away: until when sessions in memory are believed all the same.
//!
//! What others change (a session revoked, a user disabled) is read from the store. While it cannot be, a session in
//! memory may have been ended elsewhere; it is believed for a grace, counted from the last moment up to which
//! everything had been heard. After that nothing is forwarded that needs a session, until the changes are read again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::domain::time::{Short, Timestamp};

/// A moment on both clocks: one is set back by people, the other stands still while the machine sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    at: Timestamp,
    instant: Instant,
}

/// Whether the store answers, and how long sessions in memory may still be believed.
#[derive(Debug)]
pub struct Outage {
    grace: Duration,
    clock: Arc<dyn Clock>,
    /// Each request with a session looks here, and nowhere else of this.
    cut_off: AtomicBool,
    away: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    /// Everything up to here has been heard of.
    up_to: Moment,
    /// The store has not answered since.
    missed_since: Option<Timestamp>,
}

/// What is known of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// When the store first gave no answer.
    pub since: Timestamp,
    /// How long sessions in memory go on; none when that is over.
    pub grace_left: Option<Duration>,
}

impl Outage {
    /// None: everything has been heard of up to now.
    pub fn new(grace: Duration, clock: Arc<dyn Clock>) -> Self {
        let up_to = Moment { at: clock.now(), instant: Instant::now() };
        let heard = Mutex::new(Heard { up_to, missed_since: None });
        Self { grace, clock, cut_off: AtomicBool::new(false), away: AtomicBool::new(false), heard }
    }

    /// What the clock says.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Now, to be remembered before changes are asked for: what is read tells of no earlier moment.
    pub fn moment(&self) -> Moment {
        Moment { at: self.clock.now(), instant: Instant::now() }
    }

    /// Whether the grace is over. The one look that each request takes: a relaxed load.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Whether the store gives no answers; nobody need wait for one more.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Whether nothing was heard for longer than this: what a route of its own grace looks at. One load while the store
    /// answers.
    pub fn is_beyond(&self, grace: Duration) -> bool {
        self.is_away() && self.unheard_for() >= grace
    }

    /// What is known of it, while it lasts.
    pub fn status(&self) -> Option<Away> {
        let since = self.lock().missed_since?;
        let left = self.grace.saturating_sub(self.unheard_for());
        Some(Away { since, grace_left: (!self.is_cut_off()).then_some(left) })
    }

    /// How long nothing has been heard: by whichever clock says longer.
    pub fn unheard_for(&self) -> Duration {
        let up_to = self.lock().up_to;
        self.since(up_to)
    }

    fn since(&self, up_to: Moment) -> Duration {
        self.clock.now().since(up_to.at).max(up_to.instant.elapsed())
    }

    /// The store gave no answer. The log hears of it once.
    pub fn begin(&self, why: &dyn std::fmt::Display) {
        let mut heard = self.lock();
        heard.missed_since.get_or_insert_with(|| self.clock.now());
        if !self.away.swap(true, Ordering::Relaxed) {
            let grace = Short(self.grace);
            tracing::error!(error = %why, %grace, "the store is away: nobody can sign in, who is in stays for the grace");
        }
    }

    /// Whether the grace ends now; true once.
    pub(super) fn ends_grace(&self) -> bool {
        // Judged and done under one lock: what is heard meanwhile is not followed by a cut.
        let heard = self.lock();
        let over = self.is_away() && self.since(heard.up_to) >= self.grace;
        let ends = over && !self.cut_off.swap(true, Ordering::Relaxed);
        if ends {
            tracing::error!(
                "the store is still away and the grace is over: nothing is forwarded that needs a session"
            );
        }
        ends
    }

    /// Everything up to a moment has been heard of.
    pub(super) fn end(&self, up_to: Moment) {
        let mut heard = self.lock();
        heard.up_to = up_to;
        if let Some(since) = heard.missed_since.take() {
            let lasted = Short(self.clock.now().since(since));
            tracing::warn!(%lasted, "the store is back: people can sign in");
        }
        self.away.store(false, Ordering::Relaxed);
        self.cut_off.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("nobody panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const GRACE: Duration = Duration::from_secs(900);

    fn outage() -> (Arc<ManualClock>, Outage) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_000_000)));
        (clock.clone(), Outage::new(GRACE, clock))
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_is_counted_from_what_was_last_heard_and_not_from_the_first_miss() {
        let (clock, outage) = outage();
        clock.advance(Duration::from_secs(600));
        assert_eq!(outage.status(), None);
        assert!(!outage.ends_grace(), "a store that was asked and answered is not away");
        outage.begin(&"gone");
        let since = clock.now();
        clock.advance(Duration::from_secs(299));
        assert!(!outage.ends_grace());
        let left = Some(Duration::from_secs(1));
        assert_eq!(outage.status(), Some(Away { since, grace_left: left }));
        clock.advance(Duration::from_secs(1));
        assert!(!outage.is_cut_off());
        assert!(outage.ends_grace() && outage.is_cut_off());
        assert!(!outage.ends_grace(), "once");
        assert_eq!(outage.status(), Some(Away { since, grace_left: None }));
        outage.end(outage.moment());
        assert!(!outage.is_cut_off() && !outage.is_away());
        assert_eq!(outage.status(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_lengthens_nothing() {
        let (_clock, outage) = outage();
        outage.begin(&"gone");
        tokio::time::advance(GRACE).await;
        assert!(outage.ends_grace());
    }

    #[test]
    fn what_is_heard_is_not_followed_by_a_cut() {
        let outage = Outage::new(Duration::ZERO, Arc::new(ManualClock::at(Timestamp::from_unix(0))));
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    outage.ends_grace();
                }
            });
            let believed = (0..500_000).all(|_| {
                outage.begin(&"gone");
                outage.end(outage.moment());
                !outage.is_cut_off()
            });
            done.store(true, Ordering::Relaxed);
            assert!(believed);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn no_grace_ends_with_the_first_miss() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix(1_000_000)));
        let outage = Outage::new(Duration::ZERO, clock);
        assert!(!outage.ends_grace());
        outage.begin(&"gone");
        assert!(outage.ends_grace());
    }
}
