//! A clock that moves only when a test says so. Clones show the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock in milliseconds that a test moves by hand.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    now_ms: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows `now_ms`.
    #[must_use]
    pub fn at(now_ms: u64) -> Self {
        let clock = Self::default();
        clock.set_ms(now_ms);
        clock
    }

    /// What the clock shows, in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    /// Moves the clock forward by `by_ms` and returns what it shows then.
    pub fn advance_ms(&self, by_ms: u64) -> u64 {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst) + by_ms
    }

    /// Sets the clock, backwards too: a real clock can jump as well.
    pub fn set_ms(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_time() {
        let clock = ManualClock::at(5);
        let other = clock.clone();
        assert_eq!(clock.advance_ms(7), 12);
        assert_eq!(other.now_ms(), 12);
        other.set_ms(1);
        assert_eq!(clock.now_ms(), 1);
    }
}
