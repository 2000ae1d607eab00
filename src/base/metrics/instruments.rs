//! Counters, gauges and histograms: one relaxed atomic addition per observation, or two for a histogram, without locks or
//! allocation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only increases.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that increases and decreases.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// A gauge at 0.
    pub const fn new() -> Gauge {
        Gauge(AtomicU64::new(0))
    }

    /// Replaces the value.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `n`.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Subtracts `n`, which was added before.
    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// The current value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The number of observations per bucket, and their sum. All zeroes until first used, so a static one takes no memory
/// before.
#[derive(Debug)]
pub struct Histogram<const BUCKETS: usize> {
    /// Observations up to each bound and above the one before.
    buckets: [AtomicU64; BUCKETS],
    above: AtomicU64,
    sum: AtomicU64,
}

/// A histogram of durations with the bounds `DURATION_BOUNDS`.
pub type Durations = Histogram<{ DURATION_BOUNDS.len() }>;

/// Bucket bounds of durations, in microseconds: from a commit in memory to a request that hits its time limit.
pub static DURATION_BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
impl<const BUCKETS: usize> Histogram<BUCKETS> {
    /// A histogram without observations.
    pub const fn new() -> Histogram<BUCKETS> {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Records an observation. `bounds` must be the same at every call.
    pub fn observe(&self, bounds: &[u64; BUCKETS], value: u64) {
        let bucket = bounds.iter().position(|bound| value <= *bound);
        bucket.map_or(&self.above, |bucket| &self.buckets[bucket]).fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// The number of observations per bucket, and above the last bound.
    pub fn counts(&self) -> ([u64; BUCKETS], u64) {
        (self.buckets.each_ref().map(|bucket| bucket.load(Relaxed)), self.above.load(Relaxed))
    }

    /// The sum of all observations.
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }
}

impl<const BUCKETS: usize> Default for Histogram<BUCKETS> {
    fn default() -> Histogram<BUCKETS> {
        Histogram::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_in_the_first_bucket_whose_bound_is_not_below_it() {
        let histogram: Histogram<3> = Histogram::new();
        let bounds = [1, 10, 100];
        for value in [0, 1, 2, 10, 11, 100, 101, 5000] {
            histogram.observe(&bounds, value);
        }
        assert_eq!(histogram.counts(), ([2, 2, 2], 2));
        assert_eq!(histogram.sum(), 5225);
    }
}
