//! From a false-alarm probability per window to false alarms per device and day, and back.
//!
//! One alarm in a thousand windows is a rate that nobody meets: what counts is how often a device without drift
//! calls. That depends on how many windows it fills a day, and on how many features are watched.
//!
//! Expected alarms = probability · windows a day · features, windows a day = rate · 86,400 s / window. The expectation adds
//! up however features and windows depend on each other. A monitor that reports an episode once, when it begins
//! ([`crate::episode`]), alarms at most that often. The probability is that of a device whose samples don't depend on each
//! other in time; where they do, it is the calibrated one of [`crate::calibration`].
//!
//! ```
//! use floorhand_statistics::{drift::Criterion, false_alarms::Reporting};
//!
//! // Eight features at one sample a second in windows of 500: 1382 windows a day.
//! let reporting = Reporting::new(500, 1.0, 8)?;
//! assert!((reporting.alarms_per_day(0.001) - 1.3824).abs() < 1e-12);
//! // One false alarm in a month, from all features together:
//! let confidence = reporting.confidence_for(1.0 / 30.0)?;
//! assert!((confidence - 0.999976).abs() < 1e-6);
//! let criterion = Criterion::noise(confidence, 0.1)?;
//! # Ok::<(), floorhand_statistics::StatisticsError>(())
//! ```

use crate::{
    StatisticsError,
    drift::{MAX_CONFIDENCE, MIN_CONFIDENCE, in_range},
};

/// Seconds of a day.
const DAY_S: f64 = 86_400.0;

/// No sensor is read faster than a thousand million times a second.
const MAX_RATE_HZ: f64 = 1e9;

/// What a device watches: how long windows are, how fast they fill, how many at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reporting {
    windows_per_day: f64,
}

impl Reporting {
    /// Windows of `window` samples at `rate_hz` samples a second of each of `features` fields.
    pub fn new(window: u64, rate_hz: f64, features: u32) -> Result<Self, StatisticsError> {
        if window == 0 {
            return Err(StatisticsError::EmptyWindow);
        }
        in_range("sample rate in Hz", rate_hz, f64::MIN_POSITIVE, MAX_RATE_HZ)?;
        in_range("features", f64::from(features), 1.0, f64::from(u32::MAX))?;
        Ok(Self {
            windows_per_day: rate_hz * DAY_S / window as f64 * f64::from(features),
        })
    }

    /// Windows that the device fills a day, those of all features added up.
    #[must_use]
    pub const fn windows_per_day(&self) -> f64 {
        self.windows_per_day
    }

    /// The false alarms that a device without drift is expected to raise a day, where a window raises one with
    /// `probability`.
    #[must_use]
    pub fn alarms_per_day(&self, probability: f64) -> f64 {
        probability * self.windows_per_day
    }

    /// The confidence for each feature's windows at which a device without drift raises `alarms_per_day` false alarms at
    /// most, in all features together: no [`crate::drift::Criterion::shared_by`] is needed then. An error where not even
    /// [`MAX_CONFIDENCE`] does; [`MIN_CONFIDENCE`] where less would do.
    pub fn confidence_for(&self, alarms_per_day: f64) -> Result<f64, StatisticsError> {
        let least = (1.0 - MAX_CONFIDENCE) * self.windows_per_day;
        in_range("false alarms per day", alarms_per_day, least, f64::MAX)?;
        let confidence = 1.0 - alarms_per_day / self.windows_per_day;
        Ok(confidence.clamp(MIN_CONFIDENCE, MAX_CONFIDENCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_the_inverse_of_the_other() {
        for (window, rate_hz, features, alarms) in [(100, 1.0, 8, 0.1), (2000, 25_600.0, 3, 1.0), (50, 1e-3, 1, 0.01)] {
            let reporting = Reporting::new(window, rate_hz, features).unwrap();
            let confidence = reporting.confidence_for(alarms).unwrap();
            let back = reporting.alarms_per_day(1.0 - confidence);
            assert!((back / alarms - 1.0).abs() < 1e-9, "{back} and not {alarms}");
        }
    }

    #[test]
    fn what_no_confidence_gives_is_refused() {
        let fast = Reporting::new(10, 1e6, 100).unwrap();
        assert!(fast.confidence_for(1e-3).is_err());
        assert!(fast.confidence_for(f64::NAN).is_err());
        let slow = Reporting::new(1000, 0.001, 1).unwrap();
        assert_eq!(slow.confidence_for(1.0), Ok(MIN_CONFIDENCE));
        for reporting in [
            Reporting::new(0, 1.0, 1),
            Reporting::new(1, 0.0, 1),
            Reporting::new(1, f64::NAN, 1),
            Reporting::new(1, 1.0, 0),
        ] {
            assert!(reporting.is_err());
        }
    }
}
