//! The store is away: until when sessions in memory are believed all the same.
//!
//! What others change (a session revoked, a user disabled) is read from the store. While it cannot be, a session in
//! memory may have been ended elsewhere; it is believed for a grace, counted from the last moment up to which
//! everything had been heard. After that nothing is forwarded that needs a session, until the changes are read again.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
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
    /// The same for whoever waits for it to change.
    told: watch::Sender<bool>,
    heard: Heard,
    /// The store has not answered since. Whoever changes anything here holds it.
    missed_since: Mutex<Option<Timestamp>>,
}

/// Everything up to here has been heard of: a [`Moment`] that all threads read without a lock. One that is being
/// written is read half old, and then denies.
#[derive(Debug)]
struct Heard {
    at: AtomicI64,
    /// In milliseconds after the beginning.
    instant: AtomicU64,
    begun: Instant,
}

impl Heard {
    fn new(up_to: Moment) -> Self {
        let (at, instant) = (AtomicI64::new(up_to.at.unix()), AtomicU64::new(0));
        Self { at, instant, begun: up_to.instant }
    }

    fn set(&self, up_to: Moment) {
        // Rounded down: nothing is believed for longer by that.
        let passed = up_to.instant.saturating_duration_since(self.begun).as_millis();
        self.instant.store(u64::try_from(passed).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.at.store(up_to.at.unix(), Ordering::Relaxed);
    }

    fn up_to(&self) -> Moment {
        let passed = Duration::from_millis(self.instant.load(Ordering::Relaxed));
        let at = Timestamp::from_unix(self.at.load(Ordering::Relaxed));
        Moment { at, instant: self.begun + passed }
    }
}

/// Whether a grace is over is looked at this often while the store is away.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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
        Self {
            grace,
            clock,
            cut_off: AtomicBool::new(false),
            away: AtomicBool::new(false),
            told: watch::Sender::new(false),
            heard: Heard::new(up_to),
            missed_since: Mutex::default(),
        }
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
        // Whoever sees it go sees what was heard before.
        self.away.load(Ordering::Acquire)
    }

    /// Whether nothing was heard for longer than this: what a route of its own grace looks at. One load while the store
    /// answers, and no lock while it does not.
    pub fn is_beyond(&self, grace: Duration) -> bool {
        self.is_away() && self.unheard_for() >= grace
    }

    /// Returns when nothing was heard for longer than this. While the store answers nobody is woken for it.
    pub async fn beyond(&self, grace: Duration) {
        let mut away = self.told.subscribe();
        while !self.is_beyond(grace) {
            if self.is_away() {
                let left = grace.saturating_sub(self.unheard_for());
                // Sooner than that where the clock is set forward.
                tokio::time::sleep(left.min(LOOK_EVERY)).await;
            } else if away.wait_for(|away| *away).await.is_err() {
                return;
            }
        }
    }

    /// What is known of it, while it lasts.
    pub fn status(&self) -> Option<Away> {
        let since = (*self.lock())?;
        let left = self.grace.saturating_sub(self.unheard_for());
        Some(Away { since, grace_left: (!self.is_cut_off()).then_some(left) })
    }

    /// How long nothing has been heard: by whichever clock says longer.
    pub fn unheard_for(&self) -> Duration {
        let up_to = self.heard.up_to();
        self.clock.now().since(up_to.at).max(up_to.instant.elapsed())
    }

    /// The store gave no answer. The log hears of it once.
    pub fn begin(&self, why: &dyn std::fmt::Display) {
        let mut missed_since = self.lock();
        missed_since.get_or_insert_with(|| self.clock.now());
        if !self.away.swap(true, Ordering::AcqRel) {
            self.told.send_replace(true);
            let grace = Short(self.grace);
            tracing::error!(error = %why, %grace, "the store is away: nobody can sign in, who is in stays for the grace");
        }
    }

    /// Whether the grace ends now; true once.
    pub(super) fn cut_off_if_due(&self) -> bool {
        // Judged and done under one lock: what is heard meanwhile is not followed by a cut.
        let _heard = self.lock();
        let over = self.is_beyond(self.grace);
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
        let mut missed_since = self.lock();
        self.heard.set(up_to);
        if let Some(since) = missed_since.take() {
            let lasted = Short(self.clock.now().since(since));
            tracing::warn!(%lasted, "the store is back: people can sign in");
        }
        if self.away.swap(false, Ordering::AcqRel) {
            self.told.send_replace(false);
        }
        self.cut_off.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.missed_since.lock().expect("nobody panics while holding it")
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
        assert!(!outage.cut_off_if_due(), "a store that was asked and answered is not away");
        outage.begin(&"gone");
        let since = clock.now();
        clock.advance(Duration::from_secs(299));
        assert!(!outage.cut_off_if_due());
        let left = Some(Duration::from_secs(1));
        assert_eq!(outage.status(), Some(Away { since, grace_left: left }));
        clock.advance(Duration::from_secs(1));
        assert!(!outage.is_cut_off());
        assert!(outage.cut_off_if_due() && outage.is_cut_off());
        assert!(!outage.cut_off_if_due(), "once");
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
        assert!(outage.cut_off_if_due());
    }

    /// Polls something and counts how often.
    async fn polls(waiting: impl Future<Output = ()>, polls: &AtomicU64) {
        let mut waiting = std::pin::pin!(waiting);
        std::future::poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            waiting.as_mut().poll(cx)
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_wakes_for_a_grace_while_the_store_answers() {
        let (clock, outage) = outage();
        let (outage, count) = (Arc::new(outage), Arc::new(AtomicU64::new(0)));
        let waiting = tokio::spawn({
            let (outage, count) = (outage.clone(), count.clone());
            async move { polls(outage.beyond(Duration::from_secs(2)), &count).await }
        });
        // Time goes on by itself where everybody sleeps.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        outage.end(outage.moment());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(count.load(Ordering::Relaxed), 1);
        outage.begin(&"gone");
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert!(!waiting.is_finished());
        // It came back in between.
        outage.end(outage.moment());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!waiting.is_finished());
        outage.end(outage.moment());
        outage.begin(&"gone");
        clock.advance(Duration::from_secs(2));
        waiting.await.unwrap();
    }

    #[test]
    fn each_request_looks_without_a_lock() {
        let (clock, outage) = outage();
        outage.begin(&"gone");
        let held = outage.lock();
        assert!(!outage.is_beyond(Duration::from_secs(60)), "whoever waits here waits for ever");
        clock.advance(Duration::from_secs(60));
        assert!(outage.is_beyond(Duration::from_secs(60)));
        drop(held);
    }

    #[test]
    fn what_is_heard_is_not_followed_by_a_cut() {
        let outage = Outage::new(Duration::ZERO, Arc::new(ManualClock::at(Timestamp::from_unix(0))));
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    outage.cut_off_if_due();
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
        assert!(!outage.cut_off_if_due());
        outage.begin(&"gone");
        assert!(outage.cut_off_if_due());
    }
}
