//! One provider's circuit breaker: after failures in a row it rests, and comes back by one trial.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Whether a provider is asked.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug)]
enum State {
    /// It is asked, and has failed so often in a row.
    Closed { failures: u32 },
    /// It rests, having rested for `period` this time.
    Open { until: Instant, period: Duration },
    /// One trial is out, whose outcome is everybody's; a trial that was lost counts as none.
    HalfOpen { since: Instant, period: Duration },
}

/// What a noted call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    None,
    /// It rests from now on, for so long.
    Opened(Duration),
    /// It is asked again.
    Closed,
}

/// So many failures in a row open it.
const FAILURES: u32 = 3;
const FIRST_REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(120);
/// No call of a provider takes longer; a trial out for so long will not come back.
const TRIAL: Duration = Duration::from_secs(60);

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Asks to make a call; `Err` is how long it rests. After a rest the first one gets through, as the trial.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        rest(&state, now)?;
        match *state {
            State::Closed { .. } => {}
            State::Open { period, .. } | State::HalfOpen { period, .. } => {
                *state = State::HalfOpen { since: now, period };
            }
        }
        Ok(())
    }

    /// How long it rests, if it does; nobody's trial is taken.
    pub(super) fn rests(&self, now: Instant) -> Result<(), Duration> {
        rest(&self.state(), now)
    }

    /// A call was answered, with the provider in good health or not.
    pub(super) fn note(&self, now: Instant, healthy: bool) -> Turn {
        let mut state = self.state();
        let (next, turn) = match (*state, healthy) {
            (State::Closed { .. }, true) => (State::default(), Turn::None),
            (State::Open { .. } | State::HalfOpen { .. }, true) => (State::default(), Turn::Closed),
            (State::Closed { failures }, false) if failures + 1 < FAILURES => {
                (State::Closed { failures: failures + 1 }, Turn::None)
            }
            (State::Closed { .. }, false) => opened(now, FIRST_REST),
            (State::HalfOpen { period, .. }, false) => opened(now, (period * 2).min(LONGEST_REST)),
            // One that was under way when it opened.
            (open @ State::Open { .. }, false) => (open, Turn::None),
        };
        *state = next;
        turn
    }

    /// Whether it is closed, as a figure for the metrics: 1 while the provider is asked.
    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.state(), State::Closed { .. })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

fn opened(now: Instant, period: Duration) -> (State, Turn) {
    (State::Open { until: now + period, period }, Turn::Opened(period))
}

fn rest(state: &State, now: Instant) -> Result<(), Duration> {
    let until = match *state {
        State::Closed { .. } => return Ok(()),
        State::Open { until, .. } => until,
        State::HalfOpen { since, .. } => since + TRIAL,
    };
    let left = until.saturating_duration_since(now);
    if left.is_zero() { Ok(()) } else { Err(left.max(Duration::from_secs(1))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_failures_in_a_row_open_it_and_one_success_forgets_them() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for healthy in [false, false, true, false, false] {
            assert_eq!(breaker.note(now, healthy), Turn::None);
        }
        assert_eq!(breaker.admit(now), Ok(()));
        assert_eq!(breaker.note(now, false), Turn::Opened(FIRST_REST));
        assert_eq!(breaker.admit(now + SECOND * 4), Err(SECOND * 6));
        assert!(!breaker.is_closed());
    }

    #[test]
    fn one_trial_gets_through_and_decides() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            breaker.note(now, false);
        }
        let later = now + FIRST_REST;
        assert_eq!(breaker.rests(later), Ok(()), "looking takes no trial");
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.admit(later).is_err(), "one trial at a time");
        assert_eq!(breaker.note(later, false), Turn::Opened(FIRST_REST * 2), "each rest is longer");
        assert!(breaker.admit(later + FIRST_REST).is_err());
        let later = later + FIRST_REST * 2;
        assert_eq!(breaker.admit(later), Ok(()));
        assert_eq!(breaker.note(later, true), Turn::Closed);
        assert_eq!(breaker.admit(later), Ok(()));
        assert_eq!(breaker.note(later, false), Turn::None, "and counts from nothing");
    }

    #[test]
    fn a_lost_trial_does_not_close_it_for_good_and_rests_have_an_end() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            breaker.note(now, false);
        }
        now += FIRST_REST;
        assert_eq!(breaker.admit(now), Ok(()));
        assert!(breaker.admit(now + TRIAL - SECOND).is_err());
        now += TRIAL;
        assert_eq!(breaker.admit(now), Ok(()), "the trial was lost: another");
        for _ in 0..10 {
            breaker.note(now, false);
            now += LONGEST_REST;
            assert_eq!(breaker.admit(now), Ok(()));
        }
    }
}
