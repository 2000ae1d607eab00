//! Latencies, counted in buckets that grow with the value.

/// Buckets per doubling: the relative error of a value is at most 1/64.
const STEPS: u64 = 64;
const STEPS_LOG2: u32 = STEPS.ilog2();

/// Counts of values in nanoseconds; exact below `STEPS`, log-linear above.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { counts: vec![0; bucket(u64::MAX) + 1], total: 0 }
    }

    pub fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The lower end of the bucket in which `fraction` of all values is reached; 0 without values.
    pub fn quantile(&self, fraction: f64) -> u64 {
        let wanted = (self.total as f64 * fraction).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return lower_end(bucket);
            }
        }
        0
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - STEPS_LOG2;
    // The leading bit of `value >> shift` is `STEPS`, so doublings are contiguous.
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

fn lower_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    (bucket - shift * STEPS) << shift
}
