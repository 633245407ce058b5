//! How long to wait before the next try.

/// Exponential backoff with full jitter: each wait is drawn evenly between half of the current bound and the bound,
/// which doubles from `first_ms` to `most_ms`. Seeded, so that a thousand devices differ and a test doesn't.
#[derive(Debug, Clone)]
pub struct Backoff {
    first_ms: u64,
    most_ms: u64,
    tries: u32,
    random: u64,
}

impl Backoff {
    /// A backoff between two bounds in milliseconds.
    #[must_use]
    pub fn new(first_ms: u64, most_ms: u64, seed: u64) -> Self {
        Self {
            first_ms: first_ms.max(1),
            most_ms: most_ms.max(first_ms.max(1)),
            tries: 0,
            random: seed,
        }
    }

    /// The next wait in milliseconds.
    pub fn next_ms(&mut self) -> u64 {
        let doubled = 1_u64
            .checked_shl(self.tries)
            .and_then(|factor| self.first_ms.checked_mul(factor));
        let bound = doubled.unwrap_or(self.most_ms).min(self.most_ms);
        self.tries = self.tries.saturating_add(1);
        // splitmix64 (Steele, Lea, Flood 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bound / 2 + (mixed ^ (mixed >> 31)) % (bound - bound / 2 + 1)
    }

    /// Starts anew from the first bound.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound() {
        let mut backoff = Backoff::new(100, 1000, 7);
        for bound in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_ms();
            assert!((bound / 2..=bound).contains(&wait), "{wait} for {bound}");
        }
        backoff.reset();
        assert!(backoff.next_ms() <= 100);
        let mut many = Backoff::new(1, u64::MAX, 7);
        assert!((0..200).all(|_| many.next_ms() > 0));
    }
}
