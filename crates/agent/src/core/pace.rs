//! Whether a fetch gets on: a minimum rate, and a deadline for the whole. Only time with a connection counts: nobody can be
//! slow who isn't there.

use super::FetchLimits;

/// A source is told to be slow after this part of the time after which the fetch is given up, so that there is time for
/// other ways.
const SLOW_PARTS: u64 = 4;

/// What a look at the time led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Enough has come, or it is too early to tell.
    Enough,
    /// Too little has come for a while: another way is to be tried. What is wrong, for people.
    Slow(String),
    /// The fetch is to be given up. Why, for people.
    TimedOut(String),
}

/// A stretch of time and the bytes that came in it.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    since_ms: u64,
    bytes: u64,
}

/// The pace of one fetch.
#[derive(Debug)]
pub(super) struct Pace {
    seen_ms: u64,
    connected_ms: u64,
    long: Stretch,
    short: Stretch,
}

impl Pace {
    pub(super) fn new(now_ms: u64) -> Self {
        let stretch = Stretch {
            since_ms: now_ms,
            bytes: 0,
        };
        Self {
            seen_ms: now_ms,
            connected_ms: 0,
            long: stretch,
            short: stretch,
        }
    }

    /// Begins the stretches anew; the deadline stays.
    pub(super) fn restart(&mut self, now_ms: u64) {
        let fresh = Self::new(now_ms);
        (self.long, self.short) = (fresh.long, fresh.short);
    }

    /// Bytes that were missing have come.
    pub(super) fn came(&mut self, bytes: u64) {
        self.long.bytes += bytes;
        self.short.bytes += bytes;
    }

    /// Looks at the time.
    pub(super) fn check(&mut self, now_ms: u64, connected: bool, limits: FetchLimits) -> Verdict {
        let since_ms = now_ms.saturating_sub(self.seen_ms);
        self.seen_ms = now_ms;
        if !connected {
            self.restart(now_ms);
            return Verdict::Enough;
        }
        self.connected_ms += since_ms;
        if self.connected_ms >= limits.deadline_ms {
            return Verdict::TimedOut(format!(
                "not all of it came in {} s of connection, which is all the time there is for a bundle",
                limits.deadline_ms / 1000
            ));
        }
        if let Some(problem) = self.long.end(now_ms, limits.timeout_ms, limits.min_rate) {
            return Verdict::TimedOut(problem);
        }
        match self.short.end(now_ms, limits.timeout_ms / SLOW_PARTS, limits.min_rate) {
            Some(problem) => Verdict::Slow(problem),
            None => Verdict::Enough,
        }
    }
}

impl Stretch {
    /// Begins anew when it has lasted long enough; what is wrong, if too little came in it.
    fn end(&mut self, now_ms: u64, lasts_ms: u64, min_rate: u64) -> Option<String> {
        if now_ms.saturating_sub(self.since_ms) < lasts_ms {
            return None;
        }
        let bytes = self.bytes;
        *self = Self {
            since_ms: now_ms,
            bytes: 0,
        };
        let needed = (min_rate.saturating_mul(lasts_ms) / 1000).max(1);
        (bytes < needed).then(|| {
            let seconds = lasts_ms as f64 / 1000.0;
            format!("{bytes} bytes came in {seconds} s, at least {needed} have to")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FetchLimits = FetchLimits {
        timeout_ms: 40_000,
        min_rate: 256,
        deadline_ms: 300_000,
    };

    #[test]
    fn a_slow_source_is_told_first_and_given_up_then() {
        let mut pace = Pace::new(0);
        let mut told = Vec::new();
        for second in 1..=40 {
            pace.came(100);
            match pace.check(second * 1000, true, LIMITS) {
                Verdict::Enough => {}
                verdict => told.push((second, verdict)),
            }
        }
        let seconds: Vec<u64> = told.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [10, 20, 30, 40]);
        assert!(matches!(told[0].1, Verdict::Slow(_)));
        assert_eq!(
            told[3].1,
            Verdict::TimedOut("4000 bytes came in 40 s, at least 10240 have to".to_owned())
        );
    }

    #[test]
    fn a_source_that_trickles_fast_enough_has_a_deadline() {
        let mut pace = Pace::new(0);
        for second in 1..300 {
            pace.came(256);
            assert_eq!(pace.check(second * 1000, true, LIMITS), Verdict::Enough, "{second}");
        }
        assert!(matches!(pace.check(300_000, true, LIMITS), Verdict::TimedOut(_)));
    }

    #[test]
    fn time_without_a_connection_does_not_count() {
        let mut pace = Pace::new(0);
        for hour in 1..100 {
            assert_eq!(pace.check(hour * 3_600_000, false, LIMITS), Verdict::Enough);
        }
        let now = 100 * 3_600_000;
        pace.check(now, false, LIMITS);
        assert_eq!(pace.check(now + 9_999, true, LIMITS), Verdict::Enough);
        assert!(matches!(pace.check(now + 10_000, true, LIMITS), Verdict::Slow(_)));
    }

    #[test]
    fn without_a_minimum_a_byte_is_enough() {
        let limits = FetchLimits { min_rate: 0, ..LIMITS };
        let mut pace = Pace::new(0);
        pace.came(1);
        assert_eq!(pace.check(10_000, true, limits), Verdict::Enough);
        assert!(matches!(pace.check(20_000, true, limits), Verdict::Slow(_)));
    }
}
