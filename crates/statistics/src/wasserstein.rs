//! The first Wasserstein distance over the reference's standard deviation: how far, in those, a value has to be moved on
//! average to make the window's distribution the reference's (`scipy.stats.wasserstein_distance(r, w) / numpy.std(r)`).
//!
//! It is the area between the two distribution functions, computed exactly from both sorted samples.
//!
//! # Threshold
//!
//! While n reference and m window samples come from one distribution F with standard deviation s, the distance over
//! sqrt(1/n + 1/m) tends to W = integral of |B(F(x))| dx, B being a Brownian bridge (del Barrio, Giné and Matrán 1999,
//! Annals of Probability 27(2)). The integral without the bars is normal with mean 0 and variance s², so that
//! P(W > z s) is at least 2 (1 - Phi(z)); and since s² is the largest variance that any choice of signs gives the integral,
//! W exceeds its median by more than z s with a probability of 1 - Phi(z) at most (Borell's inequality for Gaussian
//! processes). Far out the tail is therefore that of a normal distribution with the deviation s whatever F is. Simulation
//! puts the quantiles just above the lower bound: at 0.99 2.5 to 2.8 (z is 2.58), at 0.999 3.2 to 3.5 (z is 3.29) for
//! normal, uniform, exponential, Poisson, two-peaked and Student's t (5 degrees) distributions. So
//!
//! threshold = max([`LEAST_DRIFT`], (z + 0.1) sqrt(1/n + 1/m) + |g| (z² - 1) |1/m - 1/n| / 6),
//!
//! z being the two-sided normal quantile at the confidence, 0.1 what the simulation adds, and the term with the
//! reference's skewness g the first correction of Cornish and Fisher (1938) for a mean of few skewed values; without it a
//! log-normal distribution raises seven times the stated alarms at 50 samples and twice at 500. The usual rule "0.1 is
//! drift" raises a false alarm in 95 % of windows of 50 samples, 70 % of 100 and 5 % of 500. `README.md` of this crate has
//! the tables and the commands.
//!
//! Stated are 0.3 % of windows without drift at most; simulation gives 0.02 to 0.16 % against 10,000 reference samples,
//! and up to 0.26 % against 1,000 log-normal ones, whose deviation so few don't tell well. Of distributions without a fourth
//! moment none does (Student's t with 3 degrees: 0.8 %); calibrate those ([`crate::calibration`]).
//!
//! The monitor takes windows of [`MIN_WINDOW`] samples and more. In shorter ones its threshold is beyond 0.15 deviations,
//! half of one at 50 samples, and a skewed field can change a lot within that: log-normal samples that moved by a quarter of
//! their deviation are found in 2 % of windows of 50, and by [`crate::kolmogorov_smirnov`] in all.

use crate::{
    StatisticsError, chi_square,
    drift::{Criterion, DriftReport, in_range},
    sample::SortedSample,
};
use alloc::{sync::Arc, vec::Vec};

/// The least distance that counts as drift however large the samples are: a tenth of the reference's standard deviation.
pub const LEAST_DRIFT: f64 = 0.1;

/// The shortest window. The threshold of one is 0.15.
pub const MIN_WINDOW: usize = 500;

/// The longest window, 256 KiB: the values have to be kept, and from 1,200 on the threshold is [`LEAST_DRIFT`].
pub const MAX_WINDOW: usize = 1 << 15;

/// What the quantile of W / s is above the two-sided normal one, by simulation.
const ABOVE_NORMAL: f64 = 0.1;

/// The distance of consecutive windows that don't overlap: memory is the window and the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct TumblingWasserstein {
    reference: Arc<SortedSample>,
    criterion: Criterion,
    window: usize,
    seen: usize,
    values: Vec<f64>,
}

impl TumblingWasserstein {
    /// For windows of `window` samples, [`MIN_WINDOW`] to [`MAX_WINDOW`]. A reference whose values are all the same has no
    /// deviation to measure in, and is refused.
    pub fn new(reference: SortedSample, window: usize) -> Result<Self, StatisticsError> {
        in_range("window", window as f64, MIN_WINDOW as f64, MAX_WINDOW as f64)?;
        in_range(
            "the reference's standard deviation",
            reference.deviation(),
            f64::MIN_POSITIVE,
            f64::MAX,
        )?;
        Ok(Self {
            reference: Arc::new(reference),
            criterion: Criterion::standard(LEAST_DRIFT),
            window,
            seen: 0,
            values: Vec::with_capacity(window),
        })
    }

    /// The same with another criterion; its least drift is a distance in standard deviations.
    #[must_use]
    pub fn with_criterion(self, criterion: Criterion) -> Self {
        Self { criterion, ..self }
    }

    /// Takes one sample in and reports when it fills the window. NaN and infinities, which are infinitely far from
    /// everything, fill the window and count nowhere. A window that is less than half finite numbers gives no report.
    pub fn push(&mut self, value: f64) -> Option<DriftReport> {
        self.seen += 1;
        if value.is_finite() {
            self.values.push(value);
        }
        if self.seen < self.window {
            return None;
        }
        let report = self.report();
        self.seen = 0;
        self.values.clear();
        report
    }

    /// What the reference is.
    #[must_use]
    pub fn reference(&self) -> &SortedSample {
        &self.reference
    }

    /// Samples in a window.
    #[must_use]
    pub const fn window(&self) -> usize {
        self.window
    }

    /// Samples since the window began, and the finite ones among them: all that the next report depends on.
    #[must_use]
    pub fn state(&self) -> (u64, &[f64]) {
        (self.seen as u64, &self.values)
    }

    /// Goes on from what [`state`](Self::state) gave under the same reference and window.
    pub fn restore(&mut self, seen: u64, values: &[f64]) -> Result<(), StatisticsError> {
        if seen >= self.window as u64 || values.len() as u64 > seen {
            return Err(StatisticsError::State("more samples than the window holds"));
        }
        if !values.iter().all(|value| value.is_finite()) {
            return Err(StatisticsError::State("values that aren't finite"));
        }
        self.seen = seen as usize;
        self.values.clear();
        self.values.extend_from_slice(values);
        Ok(())
    }

    fn report(&mut self) -> Option<DriftReport> {
        let samples = self.values.len();
        if samples * 2 < self.window {
            return None;
        }
        self.values.sort_unstable_by(f64::total_cmp);
        let (drawn, skewness) = (self.reference.drawn(), self.reference.skewness());
        let noise = |confidence| noise(confidence, skewness, drawn, samples as f64);
        Some(DriftReport {
            statistic: distance(self.reference.points(), &self.values) / self.reference.deviation(),
            threshold: self.criterion.threshold(noise),
            samples: samples as u64,
        })
    }
}

/// The distance of two samples in rising order, in their own unit; 0 when one is empty.
#[must_use]
pub fn distance(reference: &[f64], current: &[f64]) -> f64 {
    let (n, m) = (reference.len() as f64, current.len() as f64);
    let (mut left, mut right) = (reference.iter().peekable(), current.iter().peekable());
    let (mut left_below, mut right_below) = (0_u64, 0_u64);
    let mut before: Option<f64> = None;
    let mut area = 0.0;
    // While both have values left, or one: the step to the next value at which either function rises.
    loop {
        let value = match (left.peek(), right.peek()) {
            (Some(&&a), Some(&&b)) => {
                if a <= b {
                    a
                } else {
                    b
                }
            }
            (Some(&&a), None) => a,
            (None, Some(&&b)) => b,
            (None, None) => break,
        };
        if let Some(before) = before {
            area += (left_below as f64 / n - right_below as f64 / m).abs() * (value - before);
        }
        left_below += run(&mut left, value);
        right_below += run(&mut right, value);
        before = Some(value);
    }
    if reference.is_empty() || current.is_empty() {
        0.0
    } else {
        area
    }
}

/// Takes the values that are equal to `value` off the front, and counts them.
fn run<'a>(values: &mut core::iter::Peekable<impl Iterator<Item = &'a f64>>, value: f64) -> u64 {
    let mut count = 0;
    while values.next_if(|&&next| next == value).is_some() {
        count += 1;
    }
    count
}

/// The distance in standard deviations that noise reaches with a probability of 1 - `confidence`, a number between 0 and 1,
/// for a distribution with this skewness.
#[must_use]
pub fn noise(confidence: f64, skewness: f64, reference_samples: f64, window_samples: f64) -> f64 {
    // The square of a normal variable is chi-square distributed with one degree of freedom.
    let squared = chi_square::quantile(confidence, 1).unwrap_or(0.0);
    let (one_by_n, one_by_m) = (1.0 / reference_samples, 1.0 / window_samples);
    let skewed = skewness.abs() * (squared - 1.0) * (one_by_m - one_by_n).abs() / 6.0;
    let skewed = if skewed > 0.0 { skewed } else { 0.0 };
    (libm::sqrt(squared) + ABOVE_NORMAL) * libm::sqrt(one_by_n + one_by_m) + skewed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> TumblingWasserstein {
        let reference: Vec<f64> = (0..1000).map(|n| f64::from(n) / 1000.0).collect();
        TumblingWasserstein::new(SortedSample::new(reference, 1000.0).unwrap(), 500).unwrap()
    }

    #[test]
    fn distances_by_hand() {
        assert_eq!(distance(&[0.0, 1.0], &[0.0, 1.0]), 0.0);
        assert_eq!(distance(&[0.0, 1.0], &[2.0, 3.0]), 2.0);
        assert_eq!(distance(&[0.0, 0.0, 4.0, 4.0], &[-0.0, 4.0]), 0.0, "values that repeat");
        assert_eq!(distance(&[0.0, 4.0], &[1.0]), 2.0, "half moves by 1, half by 3");
        assert_eq!(distance(&[], &[1.0]), 0.0);
    }

    #[test]
    fn windows_tumble_and_leave_out_what_is_not_finite() {
        let mut drift = watch();
        let mut feed = |of: fn(u32) -> f64| (0..500).find_map(|n| drift.push(of(n)));
        let report = feed(|n| f64::from(n) / 500.0).unwrap();
        assert_eq!((report.samples, report.drifted()), (500, false));
        let report = feed(|n| {
            if n % 2 == 0 {
                f64::NAN
            } else {
                1.0 + f64::from(n) / 500.0
            }
        })
        .unwrap();
        assert_eq!((report.samples, report.drifted()), (250, true));
        let deviation = (1.0_f64 / 12.0).sqrt();
        assert!((report.statistic - 1.0 / deviation).abs() < 0.01, "{report:?}");
        assert_eq!(feed(|n| if n < 249 { 1.0 } else { f64::INFINITY }), None);
    }

    #[test]
    fn a_restored_window_goes_on_alike() {
        let (mut whole, mut after) = (watch(), watch());
        (0..100).for_each(|n| assert!(whole.push(f64::from(n % 7)).is_none()));
        let (seen, values) = whole.state();
        after.restore(seen, values).unwrap();
        let go_on = |drift: &mut TumblingWasserstein| (0..400).find_map(|n| drift.push(f64::from(n % 5)));
        assert_eq!(go_on(&mut after), go_on(&mut whole));
        for (seen, values) in [(500, vec![]), (1, vec![1.0; 2]), (1, vec![f64::NAN])] {
            assert!(matches!(after.restore(seen, &values), Err(StatisticsError::State(_))));
        }
    }

    #[test]
    fn what_can_not_be_measured_is_refused() {
        let reference = |points: [f64; 2]| SortedSample::new(points.to_vec(), 2.0).unwrap();
        for (points, window) in [
            ([1.0, 1.0], 500),
            ([0.0, 1.0], MIN_WINDOW - 1),
            ([0.0, 1.0], MAX_WINDOW + 1),
        ] {
            let error = TumblingWasserstein::new(reference(points), window).unwrap_err();
            assert!(matches!(error, StatisticsError::OutOfRange { .. }), "{error}");
        }
    }

    #[test]
    fn skewed_and_small_samples_need_more() {
        let symmetric = noise(0.999, 0.0, 10_000.0, 500.0);
        assert!(
            (symmetric - (3.290_526_7 + 0.1) * (0.0021_f64).sqrt()).abs() < 1e-6,
            "{symmetric}"
        );
        assert!(noise(0.999, -2.0, 10_000.0, 500.0) > symmetric);
        assert!(noise(0.999, 0.0, 500.0, 500.0) > symmetric);
        assert!(noise(0.5, 5.0, 10_000.0, 500.0) > 0.0);
    }
}
