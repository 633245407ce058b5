//! How far a window's mean is from a reference's, in the reference's standard deviations.
//!
//! # Threshold
//!
//! While n reference and m window samples come from one distribution with finite variance, the difference of the means over
//! s sqrt(1/n + 1/m) is normal with variance 1 for large samples, s being the standard deviation. A mean of few skewed values
//! isn't yet: its quantile is off by g (z² - 1) / (6 sqrt(m)) deviations, the first correction of Cornish and Fisher (1938)
//! with the skewness g, which is taken on both sides. So a window has moved above the larger of [`LEAST_DRIFT`] and
//! z sqrt(1/n + 1/m) + |g| (z² - 1) |1/m - 1/n| / 6, z being the two-sided normal quantile at the confidence.

use crate::{
    StatisticsError, chi_square,
    drift::{Criterion, DriftReport, in_range},
};

/// The least difference that counts as drift however large the samples are: a tenth of the reference's deviation.
pub const LEAST_DRIFT: f64 = 0.1;

/// What a number looked like in training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanReference {
    mean: f64,
    deviation: f64,
    skewness: f64,
    drawn: f64,
}

impl MeanReference {
    /// Mean, standard deviation (above 0) and skewness of `drawn` samples, 2 or more.
    pub fn new(mean: f64, deviation: f64, skewness: f64, drawn: f64) -> Result<Self, StatisticsError> {
        in_range("reference mean", mean, f64::MIN, f64::MAX)?;
        in_range("reference deviation", deviation, f64::MIN_POSITIVE, f64::MAX)?;
        in_range("reference skewness", skewness, f64::MIN, f64::MAX)?;
        in_range("reference samples", drawn, 2.0, f64::MAX)?;
        Ok(Self {
            mean,
            deviation,
            skewness,
            drawn,
        })
    }
}

/// The difference of consecutive windows that don't overlap: memory is three numbers, whatever the window's length.
#[derive(Debug, Clone, PartialEq)]
pub struct TumblingMean {
    reference: MeanReference,
    criterion: Criterion,
    window: u64,
    seen: u64,
    samples: u64,
    sum: f64,
    /// Of the last window that gave a report; nothing depends on it.
    last_mean: Option<f64>,
}

impl TumblingMean {
    /// For windows of `window` samples.
    pub fn new(reference: MeanReference, window: u64) -> Result<Self, StatisticsError> {
        if window == 0 {
            return Err(StatisticsError::EmptyWindow);
        }
        Ok(Self {
            reference,
            criterion: Criterion::standard(LEAST_DRIFT),
            window,
            seen: 0,
            samples: 0,
            sum: 0.0,
            last_mean: None,
        })
    }

    /// The same with another criterion; its least drift is in standard deviations.
    #[must_use]
    pub fn with_criterion(self, criterion: Criterion) -> Self {
        Self { criterion, ..self }
    }

    /// Takes one sample in and reports when it fills the window. What isn't finite fills the window and counts nowhere; a
    /// window that is less than half finite numbers gives no report.
    pub fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.seen += 1;
        if value.is_finite() {
            self.samples += 1;
            // Around the reference's mean, so that little is lost.
            self.sum += (value - self.reference.mean) / self.reference.deviation;
        }
        if self.seen < self.window {
            return None;
        }
        let (samples, sum) = (self.samples, self.sum);
        (self.seen, self.samples, self.sum) = (0, 0, 0.0);
        if samples * 2 < self.window {
            return None;
        }
        let (drawn, skewness) = (self.reference.drawn, self.reference.skewness);
        let noise = |confidence| noise(confidence, skewness, drawn, samples as f64);
        let difference = sum / samples as f64;
        self.last_mean = Some(self.reference.mean + difference * self.reference.deviation);
        Some(DriftReport {
            statistic: difference.abs(),
            threshold: self.criterion.threshold(noise),
            samples,
        })
    }

    /// The mean of the last window that gave a report. It isn't part of the state.
    #[must_use]
    pub const fn last_mean(&self) -> Option<f64> {
        self.last_mean
    }

    /// Samples the reference was made of.
    #[must_use]
    pub const fn drawn(&self) -> f64 {
        self.reference.drawn
    }

    /// Samples since the window began, the finite ones among them, and their sum: all that the next report depends on.
    #[must_use]
    pub const fn state(&self) -> (u64, u64, f64) {
        (self.seen, self.samples, self.sum)
    }

    /// Goes on from what [`state`](Self::state) gave under the same reference and window.
    pub fn restore(&mut self, seen: u64, samples: u64, sum: f64) -> Result<(), StatisticsError> {
        if seen >= self.window || samples > seen {
            return Err(StatisticsError::State("more samples than the window holds"));
        }
        (self.seen, self.samples, self.sum) = (seen, samples, sum);
        Ok(())
    }
}

/// The difference in standard deviations that noise reaches with a probability of 1 - `confidence`, a number between 0 and 1.
#[must_use]
pub fn noise(confidence: f64, skewness: f64, reference_samples: f64, window_samples: f64) -> f64 {
    let squared = chi_square::quantile(confidence, 1).unwrap_or(0.0);
    let (one_by_n, one_by_m) = (1.0 / reference_samples, 1.0 / window_samples);
    let skewed = skewness.abs() * (squared - 1.0) * (one_by_m - one_by_n).abs() / 6.0;
    libm::sqrt(squared * (one_by_n + one_by_m)) + if skewed > 0.0 { skewed } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(window: u64) -> TumblingMean {
        TumblingMean::new(MeanReference::new(10.0, 2.0, 0.0, 1000.0).unwrap(), window).unwrap()
    }

    #[test]
    fn windows_tumble_and_leave_out_what_is_not_finite() {
        let mut drift = watch(4);
        let reports = [12.0, f64::NAN, 14.0, 10.0].map(|value| drift.push(value));
        let report = reports[3].unwrap();
        assert_eq!((report.samples, report.statistic), (3, 1.0));
        assert_eq!(drift.last_mean(), Some(12.0));
        // scipy.stats.norm.isf(0.0005) is 3.2905267.
        assert!((report.threshold - 3.290_526_7 * (0.001_f64 + 1.0 / 3.0).sqrt()).abs() < 1e-6);
        let silent = [f64::INFINITY, 9.0, f64::NAN, f64::NAN].map(|value| drift.push(value));
        assert_eq!((silent, drift.state()), ([None; 4], (0, 0, 0.0)));
        drift.push(11.0);
        let mut other = watch(4);
        let (seen, samples, sum) = drift.state();
        other.restore(seen, samples, sum).unwrap();
        assert_eq!(other.state(), drift.state());
        assert!(other.restore(4, 0, 0.0).is_err() && other.restore(1, 2, 0.0).is_err());
    }

    #[test]
    fn references_are_checked() {
        for (mean, deviation, skewness, drawn) in [
            (f64::NAN, 1.0, 0.0, 10.0),
            (0.0, 0.0, 0.0, 10.0),
            (0.0, 1.0, f64::INFINITY, 10.0),
            (0.0, 1.0, 0.0, 1.0),
        ] {
            assert!(MeanReference::new(mean, deviation, skewness, drawn).is_err());
        }
        assert!(TumblingMean::new(MeanReference::new(0.0, 1.0, 0.0, 2.0).unwrap(), 0).is_err());
    }
}
