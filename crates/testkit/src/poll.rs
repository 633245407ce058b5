//! Waiting for what another process does. Nothing in our own code needs it: there, time is a value.

use std::time::{Duration, Instant};

/// Between two looks: short beside the start of a process (tens of milliseconds), long beside the look itself.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks `condition` until it holds; `false` when it didn't within `deadline`. For other processes only.
#[must_use]
pub fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// [`eventually`] for a condition that has to be awaited. For other processes only.
pub async fn eventually_async<F: Future<Output = bool>>(deadline: Duration, mut condition: impl FnMut() -> F) -> bool {
    let start = Instant::now();
    loop {
        if condition().await {
            return true;
        }
        if start.elapsed() >= deadline {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn looks_once_even_without_time() {
        assert!(eventually(Duration::ZERO, || true));
        assert!(!eventually(Duration::ZERO, || false));
        assert!(eventually_async(Duration::ZERO, || async { true }).await);
        assert!(!eventually_async(Duration::ZERO, || async { false }).await);
    }
}
