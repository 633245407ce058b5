//! What the drift monitors share: when a distance counts as drift, and what a full window showed.
//!
//! A distance between a window and a reference is never 0: both are samples. A [`Criterion`] says where noise ends. By
//! default that is where windows that didn't drift stay with a probability of 0.999 ([`CONFIDENCE`]), which each monitor
//! works out from the numbers in window and reference, and never below the distance from which on a shift matters
//! at all. What comes of it per device and day is [`crate::false_alarms`]'s; where successive samples depend on each
//! other, [`crate::calibration`] finds the threshold in training data instead.

use crate::StatisticsError;

/// The share of windows without drift that stay at or below the threshold.
pub const CONFIDENCE: f64 = 0.999;

/// Below, a monitor would alarm in every other window.
pub const MIN_CONFIDENCE: f64 = 0.5;

/// Above, 1 minus the confidence has less than seven digits, and no simulation has looked there.
pub const MAX_CONFIDENCE: f64 = 1.0 - 1e-9;

/// When a monitor's statistic counts as drift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Criterion {
    rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// Above what noise explains at this confidence, and above the least drift that matters.
    Noise { confidence: f64, least: f64 },
    /// Above a threshold that was found otherwise.
    Fixed(f64),
}

impl Criterion {
    /// Above what noise explains in a share `confidence` of the windows without drift ([`MIN_CONFIDENCE`] to
    /// [`MAX_CONFIDENCE`]), and above `least`, in the monitor's own unit (at least 0).
    pub fn noise(confidence: f64, least: f64) -> Result<Self, StatisticsError> {
        in_range("confidence", confidence, MIN_CONFIDENCE, MAX_CONFIDENCE)?;
        in_range("least drift", least, 0.0, f64::MAX)?;
        Ok(Self {
            rule: Rule::Noise { confidence, least },
        })
    }

    /// Above `threshold`, in the monitor's own unit (at least 0), whatever the number of samples is.
    pub fn fixed(threshold: f64) -> Result<Self, StatisticsError> {
        in_range("threshold", threshold, 0.0, f64::MAX)?;
        Ok(Self {
            rule: Rule::Fixed(threshold),
        })
    }

    /// The default of a monitor: [`CONFIDENCE`], and the monitor's own least drift.
    pub(crate) const fn standard(least: f64) -> Self {
        Self {
            rule: Rule::Noise {
                confidence: CONFIDENCE,
                least,
            },
        }
    }

    /// For each of `features` that are watched at the same time, so that all of them together keep the confidence that
    /// one had (Bonferroni: the false alarms that one may raise are divided among them; it holds however the features
    /// depend on each other). A fixed threshold stays as it is.
    pub fn shared_by(self, features: u32) -> Result<Self, StatisticsError> {
        let Rule::Noise { confidence, least } = self.rule else {
            return Ok(self);
        };
        in_range("features", f64::from(features), 1.0, f64::from(u32::MAX))?;
        Self::noise(1.0 - (1.0 - confidence) / f64::from(features), least)
    }

    /// The threshold, where `noise` gives what noise explains at a confidence.
    pub(crate) fn threshold(self, noise: impl FnOnce(f64) -> f64) -> f64 {
        match self.rule {
            Rule::Noise { confidence, least } => {
                let noise = noise(confidence);
                if noise > least { noise } else { least }
            }
            Rule::Fixed(threshold) => threshold,
        }
    }

    /// The same with the least drift times `factor`, for a statistic that grows with the number of samples.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        match self.rule {
            Rule::Noise { confidence, least } => Self {
                rule: Rule::Noise {
                    confidence,
                    least: least * factor,
                },
            },
            Rule::Fixed(_) => self,
        }
    }
}

/// What one full window showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DriftReport {
    /// How far the window is from the reference, in the monitor's own unit.
    pub statistic: f64,
    /// What it is held against.
    pub threshold: f64,
    /// Numbers in the window, without those that were missing.
    pub samples: u64,
}

impl DriftReport {
    /// Whether the statistic is above its threshold.
    #[must_use]
    pub fn drifted(&self) -> bool {
        self.statistic > self.threshold
    }
}

/// A parameter that has to be a number from `min` to `max`.
pub(crate) fn in_range(name: &'static str, value: f64, min: f64, max: f64) -> Result<(), StatisticsError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(StatisticsError::OutOfRange { name, value, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_noise_and_least_drift_counts() {
        let criterion = Criterion::noise(0.99, 0.1).unwrap();
        assert_eq!(criterion.threshold(|confidence| confidence), 0.99);
        assert_eq!(criterion.threshold(|_| 0.05), 0.1);
        assert_eq!(criterion.scaled(3.0).threshold(|_| 0.05), 0.1 * 3.0);
        let fixed = Criterion::fixed(0.3).unwrap();
        assert_eq!(fixed.shared_by(7).unwrap().scaled(2.0).threshold(|_| 9.0), 0.3);
    }

    #[test]
    fn features_share_the_false_alarms() {
        let shared = Criterion::noise(0.99, 0.0).unwrap().shared_by(10).unwrap();
        let alarms = 1.0 - shared.threshold(|confidence| confidence);
        assert!((alarms - 0.001).abs() < 1e-15, "{alarms}");
    }

    #[test]
    fn parameters_are_checked() {
        for error in [
            Criterion::noise(0.4, 0.1),
            Criterion::noise(1.0, 0.1),
            Criterion::noise(f64::NAN, 0.1),
            Criterion::noise(0.999, -0.1),
            Criterion::noise(0.999, f64::INFINITY),
            Criterion::fixed(f64::NAN),
            Criterion::noise(0.999, 0.1).unwrap().shared_by(0),
            Criterion::noise(0.999, 0.1).unwrap().shared_by(u32::MAX),
        ] {
            assert!(matches!(error, Err(StatisticsError::OutOfRange { .. })), "{error:?}");
        }
        assert_eq!(
            Criterion::noise(2.0, 0.1).unwrap_err().to_string(),
            "confidence is 2: it has to be from 0.5 to 0.999999999"
        );
    }
}
