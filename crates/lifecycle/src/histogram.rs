//! Percentiles of latencies in bounded memory.

/// Buckets a power of two is split into: a percentile is at most 1/8 above the true value, and never below it.
const SPLIT: u64 = 8;
const SPLIT_BITS: u32 = 3;
/// Enough for every `u64`.
const BUCKETS: usize = (64 - SPLIT_BITS as usize + 1) * SPLIT as usize;

/// Counts latencies in microseconds in buckets that grow with the value.
#[derive(Debug, Clone)]
pub struct LatencyHistogram {
    counts: Vec<u32>,
    total: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl LatencyHistogram {
    /// Counts one latency.
    pub fn add(&mut self, us: u64) {
        if let Some(count) = self.counts.get_mut(bucket(us)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The smallest bucket bound in microseconds that at least `percent` of the latencies don't exceed; 0 when there are none.
    #[must_use]
    pub fn percentile_us(&self, percent: u64) -> u64 {
        let wanted = (self.total * percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted && seen > 0 {
                return upper_bound(bucket);
            }
        }
        0
    }
}

/// Values below [`SPLIT`] have a bucket each; above, the three bits behind the leading one choose among eight.
fn bucket(us: u64) -> usize {
    if us < SPLIT {
        return us as usize;
    }
    let power = us.ilog2();
    let within = (us >> (power - SPLIT_BITS)) - SPLIT;
    ((u64::from(power - SPLIT_BITS) + 1) * SPLIT + within) as usize
}

/// The largest value of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SPLIT {
        return bucket;
    }
    let shift = bucket / SPLIT - 1;
    let next = u128::from(bucket % SPLIT + SPLIT + 1) << shift;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_bounds() {
        for us in (0..10_000).chain([u64::MAX, u64::MAX / 3, 1 << 40]) {
            let bound = upper_bound(bucket(us));
            assert!(bound >= us && bound - us <= us / 8, "{us} in a bucket up to {bound}");
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = LatencyHistogram::default();
        assert_eq!(histogram.percentile_us(99), 0);
        (1..=1000).for_each(|us| histogram.add(us));
        let (p50, p99) = (histogram.percentile_us(50), histogram.percentile_us(99));
        assert!((500..=563).contains(&p50), "{p50}");
        assert!((990..=1114).contains(&p99), "{p99}");
    }
}
