//! What is counted in: counters, gauges, and histograms of plain atomics, cheap enough for the way of a cached
//! `stat`. Made by `Metrics`; clones are the same cell. They know no name.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Only rises.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Rises and falls.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value as i64, Ordering::Relaxed);
    }

    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of times, nanoseconds: from an answer out of memory to the longest patience.
pub(super) const TIMES: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];
/// Of counts and sizes: powers of four.
pub(super) const SIZES: &[u64] = &[
    1,
    4,
    16,
    64,
    256,
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
    1 << 24,
];

#[derive(Debug)]
struct Cells {
    bounds: &'static [u64],
    /// How many units of `bounds` make one that is shown.
    scale: f64,
    /// One for each bound and one for what is above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// How often values fell into which range.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Cells>);

impl Histogram {
    pub(super) fn times() -> Histogram {
        Histogram::with(TIMES, 1e9)
    }

    pub(super) fn sizes() -> Histogram {
        Histogram::with(SIZES, 1.0)
    }

    fn with(bounds: &'static [u64], scale: f64) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Cells {
            bounds,
            scale,
            counts,
            sum: AtomicU64::new(0),
        }))
    }

    /// Notes a count or a size.
    pub fn note(&self, value: u64) {
        let at = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[at].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Notes a time that something took.
    pub fn took(&self, time: Duration) {
        self.note(time.as_nanos() as u64);
    }

    /// Notes the time since `begun`.
    pub fn since(&self, begun: Instant) {
        self.took(begun.elapsed());
    }

    /// How many values were noted.
    pub fn count(&self) -> u64 {
        self.0
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Sum in the unit of the bounds, and the count in each bucket, the last above all bounds.
    pub fn counts(&self) -> (u64, Vec<u64>) {
        let cells = &self.0;
        let counts = cells.counts.iter().map(|count| count.load(Ordering::Relaxed));
        (cells.sum.load(Ordering::Relaxed), counts.collect())
    }

    /// Upper bounds of the buckets; of times in nanoseconds.
    pub fn bounds(&self) -> &'static [u64] {
        self.0.bounds
    }

    /// Sum, count, and the count in each bucket with its upper bound, not cumulative.
    pub(super) fn shown(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let cells = &self.0;
        let bounds = cells
            .bounds
            .iter()
            .map(|bound| *bound as f64 / cells.scale)
            .chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(cells.counts.iter().map(|count| count.load(Ordering::Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = cells.sum.load(Ordering::Relaxed) as f64 / cells.scale;
        (sum, count, buckets)
    }
}
