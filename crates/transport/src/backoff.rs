//! How long to wait before the next try: exponential with full jitter, so that a fleet whose broker comes back doesn't
//! come back all at once. Seeded and without a clock: a test knows every value.

use std::time::Duration;

/// Doublings after which the ceiling is reached in any case; bounds the shift.
const MAX_DOUBLINGS: u32 = 20;

/// Waiting times of one client.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
    state: u64,
}

impl Backoff {
    pub(crate) fn new(least: Duration, most: Duration, seed: u64) -> Self {
        Self {
            least,
            most: most.max(least),
            failures: 0,
            state: seed,
        }
    }

    /// The next wait: evenly between the least and a ceiling that doubles with each failure.
    pub(crate) fn next(&mut self) -> Duration {
        let doublings = self.failures.min(MAX_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        let ceiling = self.least.saturating_mul(1 << (doublings + 1)).min(self.most);
        let span = u64::try_from((ceiling.saturating_sub(self.least)).as_micros()).unwrap_or(u64::MAX - 1);
        self.least + Duration::from_micros(self.random() % (span + 1))
    }

    /// A connection proved stable: the next failure begins anew.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"): spread, not secrecy.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(500);
    const MOST: Duration = Duration::from_secs(60);

    #[test]
    fn grows_to_its_ceiling_and_begins_anew() {
        let mut backoff = Backoff::new(LEAST, MOST, 1);
        for failures in 0..100 {
            let ceiling = LEAST.saturating_mul(1 << (failures.min(20) + 1)).min(MOST);
            let wait = backoff.next();
            assert!(wait >= LEAST && wait <= ceiling, "{failures}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= 2 * LEAST);
    }

    #[test]
    fn the_same_seed_waits_the_same_and_another_doesnt() {
        let waits = |seed| {
            let mut backoff = Backoff::new(LEAST, MOST, seed);
            (0..10).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }

    #[test]
    fn waits_spread_over_the_whole_span() {
        let mut backoff = Backoff::new(LEAST, MOST, 3);
        let waits: Vec<_> = (0..1000).map(|_| backoff.next()).collect();
        let (low, high) = (MOST / 4, MOST * 3 / 4);
        assert!(waits.iter().filter(|wait| **wait < low).count() > 150);
        assert!(waits.iter().filter(|wait| **wait > high).count() > 150);
    }
}
