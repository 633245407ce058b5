//! What time it is, as far as documents are concerned.

/// Farther beyond the last signed time than this, a real-time clock isn't believed: more than a year in a stockroom, less than
/// any leap that a reset or a dying battery makes.
const PLAUSIBLE_MS: u64 = 400 * 24 * 3600 * 1000;

/// The time that expiry is held against.
///
/// A real-time clock that says 1970 must not bring expired documents back, and one that says 2040 must not lock updates
/// out. So the time never goes below the last signed `issued` time, the trust root's own with it, and a clock that is
/// implausibly far beyond it is taken for broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedClock {
    /// The highest `issued` time of a verified document, in milliseconds since 1970 UTC. 0: none yet, and the trust root
    /// doesn't say when it was made.
    pub floor_ms: u64,
    /// When the trust root expires: a clock beyond it isn't believed where no signed time is known.
    pub root_expires_ms: u64,
}

impl TrustedClock {
    /// The time to go by, given what the real-time clock says.
    #[must_use]
    pub fn now_ms(&self, real_time_ms: u64) -> u64 {
        let latest = match self.floor_ms {
            0 => self.root_expires_ms,
            floor => floor.saturating_add(PLAUSIBLE_MS),
        };
        if real_time_ms > latest {
            self.floor_ms
        } else {
            real_time_ms.max(self.floor_ms)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

    #[test]
    fn the_clock_lies_in_every_way() {
        let fresh = TrustedClock {
            floor_ms: 0,
            root_expires_ms: 66 * YEAR_MS,
        };
        assert_eq!(fresh.now_ms(56 * YEAR_MS), 56 * YEAR_MS);
        assert_eq!(
            fresh.now_ms(70 * YEAR_MS),
            0,
            "2040 before anything was signed: not believed"
        );
        let clock = TrustedClock {
            floor_ms: 56 * YEAR_MS,
            ..fresh
        };
        assert_eq!(clock.now_ms(0), 56 * YEAR_MS, "1970");
        assert_eq!(clock.now_ms(56 * YEAR_MS + 5), 56 * YEAR_MS + 5);
        assert_eq!(clock.now_ms(70 * YEAR_MS), 56 * YEAR_MS, "2040");
    }
}
