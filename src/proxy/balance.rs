//! Which upstream is asked, and which one after it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::SharedPool;
use super::application::Application;
use super::pool::Pool;
use crate::config::Balance;

/// The upstreams of one route, as one thread goes to them.
#[derive(Debug)]
pub(super) struct Pools {
    pools: Vec<SharedPool>,
    next: Cell<usize>,
    balance: Balance,
}

impl Pools {
    pub(super) fn new(application: &Arc<Application>) -> Self {
        let pool = |place| Rc::new(Pool::new(application.clone(), place));
        let upstreams = &application.route.upstreams;
        let pools = (0..upstreams.list.len()).map(pool).collect();
        Self { pools, next: Cell::new(0), balance: upstreams.balance }
    }

    /// Those that are up, each once, beginning with the one whose turn it is. When all are left alone for a while,
    /// the one whose rest ends first: it may be back, and nobody else is there.
    pub(super) fn in_turn(&self) -> Candidates<'_> {
        let turn = self.next.get() % self.pools.len().max(1);
        self.next.set(turn + 1);
        let first = match self.balance {
            Balance::RoundRobin => turn,
            Balance::LeastOutstanding => self.least(turn),
        };
        Candidates { pools: &self.pools, first, step: 0, offered: false }
    }

    /// The one with the fewest requests under way; of several the one whose turn it is.
    fn least(&self, turn: usize) -> usize {
        let places = (0..self.pools.len()).map(|step| (turn + step) % self.pools.len());
        let up = places.filter(|place| self.pools[*place].health().is_up());
        up.min_by_key(|place| self.pools[*place].health().under_way()).unwrap_or(turn)
    }

    /// Whether a pool is one of these.
    pub(super) fn has(&self, pool: &SharedPool) -> bool {
        self.pools.iter().any(|known| Rc::ptr_eq(known, pool))
    }

    /// How long until somebody may be asked again, when nobody may be asked now.
    pub(super) fn rest(&self) -> Duration {
        let next = |pool: &SharedPool| {
            pool.terms().health.as_ref().map(|check| pool.health().next_check(check.interval))
        };
        self.pools.iter().filter_map(next).min().unwrap_or_default()
    }

    /// A request that is under way at this upstream for as long as this is held.
    pub(super) fn count(&self, pool: &SharedPool) -> UnderWay {
        match self.balance {
            Balance::RoundRobin => UnderWay(None),
            Balance::LeastOutstanding => {
                pool.health().begin();
                UnderWay(Some(pool.clone()))
            }
        }
    }

    pub(super) fn tidy(&self) {
        self.pools.iter().for_each(|pool| pool.tidy());
    }
}

/// Upstreams to ask, one after the other.
pub(super) struct Candidates<'p> {
    pools: &'p [SharedPool],
    first: usize,
    step: usize,
    offered: bool,
}

impl<'p> Iterator for Candidates<'p> {
    type Item = &'p SharedPool;

    fn next(&mut self) -> Option<&'p SharedPool> {
        while self.step < self.pools.len() {
            let pool = &self.pools[(self.first + self.step) % self.pools.len()];
            self.step += 1;
            if pool.health().is_up() {
                self.offered = true;
                return Some(pool);
            }
        }
        if std::mem::replace(&mut self.offered, true) {
            return None;
        }
        let resting = self.pools.iter().filter(|pool| !pool.health().is_unwell());
        resting.min_by_key(|pool| pool.health().rest())
    }
}

/// Counts a request for as long as it is held, where requests are counted.
pub(super) struct UnderWay(Option<SharedPool>);

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnderWay").field(&self.0.is_some()).finish()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.health().end();
        }
    }
}
