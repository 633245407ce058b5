//! How long an acknowledgement is waited for: the retransmission timeout of
//! [RFC 6298](https://www.rfc-editor.org/rfc/rfc6298), in milliseconds.
//!
//! It follows the round trips that were measured, so that what a good link loses is sent again soon, and a slow link or a
//! busy hub isn't given everything twice.

/// Before anything was measured: above a hub's restart.
const FIRST_MS: u64 = 15_000;
/// Never less: a hub writes in groups, and may be busy for a moment.
const LEAST_MS: u64 = 2_000;
/// Never more.
const MOST_MS: u64 = 120_000;

/// The timeout of one lane.
#[derive(Debug)]
pub(super) struct Timeout {
    /// The smoothed round trip and its variation (`SRTT`, `RTTVAR`), once there is one.
    measured: Option<(u64, u64)>,
    timeout_ms: u64,
    /// So many of the next messages repeat some that were sent before: which of the two is acknowledged can't be told, and so
    /// neither how long that took (Karn's algorithm).
    repeats: usize,
}

impl Default for Timeout {
    fn default() -> Self {
        Self {
            measured: None,
            timeout_ms: FIRST_MS,
            repeats: 0,
        }
    }
}

impl Timeout {
    pub(super) fn ms(&self) -> u64 {
        self.timeout_ms
    }

    /// A message is sent. Whether the time to its acknowledgement is a measurement.
    pub(super) fn sent(&mut self) -> bool {
        let measures = self.repeats == 0;
        self.repeats = self.repeats.saturating_sub(1);
        measures
    }

    /// A message that measures was acknowledged after this time.
    pub(super) fn measured(&mut self, round_trip_ms: u64) {
        let (smoothed, variation) = match self.measured {
            None => (round_trip_ms, round_trip_ms / 2),
            Some((smoothed, variation)) => (
                (7 * smoothed + round_trip_ms) / 8,
                (3 * variation + smoothed.abs_diff(round_trip_ms)) / 4,
            ),
        };
        self.measured = Some((smoothed, variation));
        self.timeout_ms = (smoothed + 4 * variation).clamp(LEAST_MS, MOST_MS);
    }

    /// It has passed: so many messages are sent again. It is longer from now on, until something is measured.
    pub(super) fn passed(&mut self, messages: usize) {
        self.timeout_ms = (self.timeout_ms * 2).min(MOST_MS);
        self.repeats = messages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_is_measured() {
        let mut timeout = Timeout::default();
        assert_eq!(timeout.ms(), 15_000);
        // RFC 6298, (2.2): SRTT = R, RTTVAR = R / 2, RTO = SRTT + 4 RTTVAR.
        timeout.measured(1000);
        assert_eq!(timeout.ms(), 3000);
        // (2.3): RTTVAR = 3/4 500 + 1/4 600 = 525, SRTT = 7/8 1000 + 1/8 1600 = 1075.
        timeout.measured(1600);
        assert_eq!(timeout.ms(), 1075 + 4 * 525);
        for _ in 0..100 {
            timeout.measured(50);
        }
        assert_eq!(timeout.ms(), LEAST_MS);
        timeout.measured(3_600_000);
        assert_eq!(timeout.ms(), MOST_MS);
    }

    #[test]
    fn what_was_sent_twice_measures_nothing() {
        let mut timeout = Timeout::default();
        timeout.measured(1000);
        timeout.passed(2);
        assert_eq!(timeout.ms(), 6000);
        assert_eq!([timeout.sent(), timeout.sent(), timeout.sent()], [false, false, true]);
        assert_eq!(timeout.ms(), 6000, "until something is measured");
        timeout.measured(1000);
        assert_eq!(timeout.ms(), 1000 + 4 * 375);
    }
}
