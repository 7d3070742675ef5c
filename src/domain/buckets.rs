//! How often something took how long, as monitors add it up.

use std::time::Duration;

/// The upper bounds, in microseconds.
const BOUNDS: [u64; 13] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// One for each bound, and one for what takes longer than all of them.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// In which bucket so many microseconds are.
pub fn bucket(microseconds: u64) -> usize {
    BOUNDS.iter().position(|bound| microseconds <= *bound).unwrap_or(BOUNDS.len())
}

/// The microseconds that something took.
pub fn microseconds(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// How often something took longer than the bound before and not longer than this one, in seconds.
pub fn bounded(times: impl Iterator<Item = u64>) -> Vec<(f64, u64)> {
    let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
    bounds.zip(times).collect()
}
