//! The pace of a replay, and sleeping in a way that a stop ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A thread that sleeps looks this often whether the agent is to end.
const STEP: Duration = Duration::from_millis(100);
/// The longest wait for a sample, however low its rate is.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Sleeps, until `stop` is set at most. False when it is.
pub(super) fn rest(wait: Duration, stop: &AtomicBool) -> bool {
    let end = Instant::now() + wait.min(LONGEST);
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        sleep(left.min(STEP));
    }
}

/// Keeps a rate without drifting: each sample has its own time, counted from the first.
#[derive(Debug)]
pub(super) struct Pace {
    every: Option<Duration>,
    next: Instant,
}

impl Pace {
    /// So many samples a second; as many as can be taken where nothing is said.
    pub(super) fn new(rate_hz: Option<f64>) -> Self {
        let every = |rate: f64| Duration::try_from_secs_f64(1.0 / rate).map_or(LONGEST, |every| every.min(LONGEST));
        Self {
            every: rate_hz.map(every),
            next: Instant::now(),
        }
    }

    /// Waits for the next sample's time. False when `stop` was set before.
    pub(super) fn wait(&mut self, stop: &AtomicBool) -> bool {
        let Some(every) = self.every else {
            return !stop.load(Ordering::Relaxed);
        };
        let now = Instant::now();
        if now.saturating_duration_since(self.next) > Duration::from_secs(1) {
            // The pipeline was busy for long: go on from here, without a rush to catch up.
            self.next = now;
        }
        let waited = rest(self.next.saturating_duration_since(now), stop);
        self.next += every;
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_the_longest_wait() {
        let stop = AtomicBool::new(false);
        // One in thirty years.
        let mut pace = Pace::new(Some(1e-9));
        assert!(pace.wait(&stop), "the first sample has no time to wait for");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pace.wait(&stop));
            stop.store(true, Ordering::Relaxed);
            assert!(!waiting.join().unwrap());
        });
        assert!(!rest(Duration::MAX, &stop));
        assert!(!Pace::new(None).wait(&stop));
    }

    #[test]
    fn any_rate_is_a_pace() {
        for rate_hz in [f64::MIN_POSITIVE, 1.0, 1e6] {
            let every = Pace::new(Some(rate_hz)).every.unwrap();
            assert!(every <= LONGEST && every >= Duration::from_micros(1), "{rate_hz}");
        }
    }
}
