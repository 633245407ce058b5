//! HDDM: a mean that differs from what it was, beyond what chance allows for values from 0 to 1.
//!
//! Frías-Blanco, del Campo-Ávila, Ramos-Jiménez, Morales-Bueno, Ortiz-Díaz and Caballero-Mota 2015 (Online and
//! non-parametric drift detection methods based on Hoeffding's bounds, IEEE Transactions on Knowledge and Data
//! Engineering 27(3)). Nothing is assumed of the distribution but its bounds. [`HddmA`] compares plain means and is the
//! better one for abrupt changes; [`HddmW`] compares means that forget and is the better one for gradual changes.
//!
//! Both find the point up to which the mean was lowest (highest for a fall), with the bound's width taken into account,
//! and test whether the mean since is higher (lower). They warn at one confidence and alarm at a smaller one. Memory is
//! some twenty numbers at most.
//!
//! # False alarms
//!
//! Alarms per 10,000 samples of a stream without drift, at the defaults (`tests/detectors/false_alarms.rs`, 1,000 streams):
//!
//! | stream | HDDM-A | HDDM-W |
//! |---|---|---|
//! | zeros and ones with a rate of 0.01 | 0.002 or fewer | 0.002 or fewer |
//! | with a rate of 0.05 | 0.003 | 0.002 or fewer |
//! | with a rate of 0.2 | 0.10 | 0.63 |
//! | with a rate of 0.5 | 0.20 | 7.9 |
//! | uniform from 0 to 1 | 0.002 or fewer | 0.002 or fewer |
//!
//! The confidence bounds one test, and one is made at every sample, with a cut that is chosen for being extreme.
//!
//! # Differences
//!
//! Values outside of 0 to 1, for which the bounds don't hold, are left out, where River takes them; so are those that are
//! no numbers.

mod average;
mod weighted;

pub use average::{AverageConfig, AverageState, HddmA};
pub use weighted::{HddmW, Side, WeightedConfig, WeightedMean, WeightedState};

use crate::StatisticsError;

/// What a warning or an alarm is about: a mean that has moved, and how far it may.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// The mean up to the cut.
    pub before: f64,
    /// The mean that it is held against: that of all values in HDDM-A, of those since the cut in HDDM-W.
    pub after: f64,
    /// The distance between the two that chance allows.
    pub bound: f64,
}

impl Shift {
    /// The distance between the two means.
    #[must_use]
    pub const fn distance(&self) -> f64 {
        (self.after - self.before).abs()
    }

    /// The one that is further beyond its bound.
    fn larger(self, other: Self) -> Self {
        if other.distance() - other.bound > self.distance() - self.bound {
            other
        } else {
            self
        }
    }
}

/// Checks the two confidences, which both detectors have.
fn check_confidences(drift: f64, warning: f64) -> Result<(), StatisticsError> {
    let refuse = |name, value, expected| Err(StatisticsError::Parameter { name, value, expected });
    if !(drift > 0.0 && drift < 1.0) {
        return refuse("drift_confidence", drift, "above 0 and below 1");
    }
    if !(warning >= drift && warning < 1.0) {
        return refuse("warning_confidence", warning, "at least drift_confidence and below 1");
    }
    Ok(())
}

/// What the bounds hold for. Not for NaN.
fn is_usable(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}
