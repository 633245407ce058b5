//! When a plugin has failed too often to be called.

/// Faults within [`WINDOW_MS`] that open a breaker.
const FAULTS: usize = 3;
/// A minute: a plugin that traps on one odd sample an hour goes on.
const WINDOW_MS: u64 = 60_000;
/// How long an open breaker keeps a plugin at rest before it is tried again.
const REST_MS: u64 = 60_000;

/// Counts a plugin's faults. Time comes in with every call.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    faults_ms: Vec<u64>,
    opened_ms: Option<u64>,
}

impl Breaker {
    /// Whether the plugin may be called. An open breaker closes by itself after a minute, and its count begins anew.
    pub fn admits(&mut self, now_ms: u64) -> bool {
        if self
            .opened_ms
            .is_some_and(|opened_ms| now_ms.saturating_sub(opened_ms) < REST_MS)
        {
            return false;
        }
        self.opened_ms = None;
        true
    }

    /// Counts a fault. True when it is the one that opens the breaker.
    pub fn fault(&mut self, now_ms: u64) -> bool {
        self.faults_ms
            .retain(|&fault_ms| now_ms.saturating_sub(fault_ms) < WINDOW_MS);
        self.faults_ms.push(now_ms);
        if self.faults_ms.len() < FAULTS {
            return false;
        }
        self.faults_ms.clear();
        self.opened_ms = Some(now_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_faults_within_a_minute_open_it_for_a_minute() {
        let mut breaker = Breaker::default();
        assert!(
            !breaker.fault(0) && !breaker.fault(30_000) && !breaker.fault(60_000),
            "the first is forgotten"
        );
        assert!(breaker.fault(61_000));
        assert!(!breaker.admits(61_000) && !breaker.admits(120_999));
        assert!(breaker.admits(121_000));
        assert!(!breaker.fault(121_001), "and its count begins anew");
    }
}
