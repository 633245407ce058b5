//! What the streaming drift detectors have in common: their answer, and the running mean most of them keep.
//!
//! The detectors are [`adwin`](crate::adwin), [`hddm`](crate::hddm), [`ddm`](crate::ddm) and
//! [`page_hinkley`](crate::page_hinkley). Each takes one value at a time and answers with a [`Level`]. After
//! [`Level::Drift`] what led to it can still be asked for; the next value begins anew, as if the detector were fresh.
//!
//! Semantics and defaults are those of River 0.26.1, so that a detector chosen and tuned there does the same here: alarms
//! and warnings come at the same samples (`tests/detectors`). Differences are named where they are.
//!
//! # Which one
//!
//! DDM and HDDM are for errors of a model whose labels arrive, and HDDM for anything from 0 to 1; ADWIN and Page-Hinkley
//! are for any value. The share of drifts that each finds within 2,000 samples at its defaults, and after how many of them
//! on average, where the drift comes 2,000 samples after the detector began (`tests/detectors/false_alarms.rs`, 1,000
//! streams):
//!
//! | error rate from 0.1 to | ADWIN | HDDM-A | HDDM-W | DDM | Page-Hinkley |
//! |---|---|---|---|---|---|
//! | 0.15 | 58% in 1,113 | 28% in 1,273 | 3% in 786 | 76% in 713 | 87% in 1,184 |
//! | 0.2 | 100% in 373 | 100% in 455 | 37% in 925 | 93% in 411 | 100% in 530 |
//! | 0.4 | 100% in 72 | 100% in 63 | 100% in 55 | 100% in 134 | 100% in 154 |
//!
//! | mean of a normal distribution up by | ADWIN | Page-Hinkley | Page-Hinkley, `delta` 0.1 |
//! |---|---|---|---|
//! | 0.25 standard deviations | 100% in 433 | 99% in 198 | 100% in 302 |
//! | 0.5 | 100% in 121 | 100% in 93 | 100% in 113 |
//! | 1 | 100% in 49 | 100% in 43 | 100% in 49 |
//!
//! What DDM and Page-Hinkley are quicker in, they pay for with false alarms: each module states its own.

/// Values beyond this are left out by detectors of unbounded values: squares of them, summed over any stream, stay finite.
pub const MAX_MAGNITUDE: f64 = 1e100;

/// What a detector says after a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Nothing to say.
    #[default]
    Stable,
    /// The stream may be about to change. Only HDDM and DDM warn. Where River reports a warning and a drift at once,
    /// it is a drift.
    Warning,
    /// The stream has changed.
    Drift,
}

/// A running mean. The mean of no values is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mean {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
}

impl Mean {
    /// Takes a value in. Kept as mean and step and not as a sum, which would round differently.
    pub(crate) fn push(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.mean += (1.0 / self.count()) * (value - self.mean);
    }

    /// The count as a number to compute with.
    pub(crate) const fn count(&self) -> f64 {
        self.count as f64
    }

    /// Whether it can be a mean of values from `low` to `high`.
    pub(crate) fn fits(&self, low: f64, high: f64) -> bool {
        self.mean >= low && self.mean <= high && (self.count > 0 || self.mean == 0.0)
    }
}

/// Whether a detector of unbounded values takes a value in.
pub(crate) fn is_usable(value: f64) -> bool {
    (-MAX_MAGNITUDE..=MAX_MAGNITUDE).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_by_gravity() {
        assert!(Level::Stable < Level::Warning && Level::Warning < Level::Drift);
        assert_eq!(Level::default(), Level::Stable);
    }

    #[test]
    fn a_mean_of_equal_values_is_that_value() {
        let mut mean = Mean::default();
        for _ in 0..1_000 {
            mean.push(0.1);
        }
        assert_eq!((mean.count, mean.mean), (1_000, 0.1));
        assert!(mean.fits(0.0, 1.0) && !mean.fits(0.2, 1.0));
        assert!(!Mean { count: 0, mean: 0.5 }.fits(0.0, 1.0));
        assert!(
            !Mean {
                count: 1,
                mean: f64::NAN
            }
            .fits(0.0, 1.0)
        );
    }

    #[test]
    fn what_would_spoil_every_later_answer_is_not_usable() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e101] {
            assert!(!is_usable(value), "{value}");
        }
        assert!(is_usable(-1e100) && is_usable(0.0));
    }
}
