//! How long the store takes to answer, counted for monitors. Nobody waits for anybody to count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::engine::{Dialect, Kind};
use crate::domain::buckets::{BUCKETS, bounded, bucket, microseconds};

/// How long a store took, whoever asked, by what it was asked for.
#[derive(Debug)]
pub struct Times {
    dialect: Dialect,
    reads: Took,
    news: Took,
    writes: Took,
}

/// How long it took to do one kind of work. What was waited for in vain is counted, too.
#[derive(Debug, Default)]
pub struct Took {
    /// How many took so long.
    places: [AtomicU64; BUCKETS],
    microseconds: AtomicU64,
    failed: AtomicU64,
}

impl Times {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, reads: Took::default(), news: Took::default(), writes: Took::default() }
    }

    pub(super) fn note(&self, kind: Kind, took: Duration, worked: bool) {
        let of = match kind {
            Kind::Read => &self.reads,
            Kind::News => &self.news,
            Kind::Write | Kind::Casual => &self.writes,
        };
        of.note(took, worked);
    }

    /// `sqlite` or `postgres`.
    pub const fn engine(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => "sqlite",
            Dialect::Postgres => "postgres",
        }
    }

    /// `read`; `news`, the look for what others changed; `write`.
    pub const fn by_work(&self) -> [(&'static str, &Took); 3] {
        [("read", &self.reads), ("news", &self.news), ("write", &self.writes)]
    }
}

impl Took {
    fn note(&self, took: Duration, worked: bool) {
        let took = microseconds(took);
        self.places[bucket(took)].fetch_add(1, Relaxed);
        self.microseconds.fetch_add(took, Relaxed);
        self.failed.fetch_add(u64::from(!worked), Relaxed);
    }

    /// How many took longer than the bound before and not longer than this one, in seconds; and all seconds together.
    pub fn buckets(&self) -> (Vec<(f64, u64)>, f64) {
        let buckets = bounded(self.places.iter().map(|times| times.load(Relaxed)));
        (buckets, self.microseconds.load(Relaxed) as f64 / 1e6)
    }

    /// How often it could not do its work.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_for_is_counted_where_it_belongs() {
        let times = Times::new(Dialect::Sqlite);
        times.note(Kind::Read, Duration::from_micros(500), true);
        times.note(Kind::Read, Duration::from_micros(501), true);
        times.note(Kind::Casual, Duration::from_secs(11), false);
        let [(_, reads), (_, news), (_, writes)] = times.by_work();
        let (buckets, seconds) = reads.buckets();
        assert_eq!((&buckets[..3], seconds), (&[(0.0005, 1), (0.001, 1), (0.0025, 0)][..], 0.001_001));
        assert_eq!((reads.failed(), news.failed(), writes.failed()), (0, 0, 1));
        assert_eq!(writes.buckets().0.last(), Some(&(f64::INFINITY, 1)));
    }
}
