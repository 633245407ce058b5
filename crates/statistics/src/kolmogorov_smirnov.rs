//! The two-sample Kolmogorov-Smirnov distance: the largest distance between the distribution functions of a window and a
//! reference, from 0 to 1, of values of any distribution (`scipy.stats.ks_2samp`, two-sided).
//!
//! The reference's distribution function is constant between two neighbouring values of it, and the window's only rises, so
//! that the largest distance is found at the ends of such a gap, whatever the window's values in it are. It is therefore
//! enough to count how many fall onto each value and into each gap: memory is the reference, not the window, and the
//! result is that of the whole window.
//!
//! # Threshold
//!
//! While n reference and m window samples come from one continuous distribution, the distance over sqrt(1/n + 1/m) follows
//! Kolmogorov's distribution, P(K > x) = 2 · sum over j from 1 of (-1)^(j-1) exp(-2 j² x²), for large samples (Smirnov 1939;
//! NIST/SEMATECH e-Handbook 1.3.5.16); small samples and values that repeat stay below it. A window has drifted above the
//! larger of [`LEAST_DRIFT`] and quantile · sqrt(1/n + 1/m) + coarseness, the last being what a reference of quantiles
//! may be off ([`SortedSample::coarseness`]). With the usual p < 0.05 each feature raises a false alarm in every twentieth
//! window; here it is one of a thousand (0.03 to 0.12 % in simulation, a tenth of that where values repeat), and with
//! [`Criterion::shared_by`] one of a thousand at most for all features together. `README.md` of this crate has the
//! tables and the commands.

use crate::{
    StatisticsError,
    drift::{Criterion, DriftReport},
    sample::SortedSample,
    tumbling::TumblingCounts,
};
use alloc::{sync::Arc, vec::Vec};
use core::f64::consts::PI;

/// The least distance that counts as drift however large the samples are: a normal distribution that moved by an eighth of
/// its standard deviation.
pub const LEAST_DRIFT: f64 = 0.05;

/// Below, the sum over exp(-2 j² x²) converges slowly, and that over exp(-(2j-1)² pi² / (8 x²)) quickly; at this x four
/// terms of either are exact.
const SERIES_CROSS_AT: f64 = 1.0;

/// Terms of either series: the fifth is below 1e-21 of the first.
const TERMS: u32 = 5;

/// P(K > x) is 0 in f64 from x = 19.4 on.
const LARGEST: f64 = 20.0;

/// Halvings from [`LARGEST`] to less than a quantile's last bit.
const BISECTIONS: u32 = 70;

/// The distance of consecutive windows that don't overlap: memory is two counts for each distinct value of the reference
/// (16 KB for 1,000), whatever the window's length.
#[derive(Debug, Clone, PartialEq)]
pub struct TumblingKolmogorovSmirnov {
    reference: Arc<SortedSample>,
    /// The reference's distinct values, each with the share of the reference at or below it.
    steps: Arc<[(f64, f64)]>,
    criterion: Criterion,
    /// Gap below the first step, on it, gap above it, on the second, and so on.
    counts: TumblingCounts,
}

impl TumblingKolmogorovSmirnov {
    /// For windows of `window` samples.
    pub fn new(reference: SortedSample, window: u64) -> Result<Self, StatisticsError> {
        let size = reference.points().len() as f64;
        let mut steps: Vec<(f64, f64)> = Vec::new();
        for (at_or_below, &value) in (1_u32..).zip(reference.points()) {
            let share = f64::from(at_or_below) / size;
            match steps.last_mut() {
                Some(last) if last.0 == value => last.1 = share,
                _ => steps.push((value, share)),
            }
        }
        let counts = TumblingCounts::new(2 * steps.len() + 1, window)?;
        Ok(Self {
            reference: Arc::new(reference),
            steps: steps.into(),
            criterion: Criterion::standard(LEAST_DRIFT),
            counts,
        })
    }

    /// The same with another criterion; its least drift is a distance.
    #[must_use]
    pub fn with_criterion(self, criterion: Criterion) -> Self {
        Self { criterion, ..self }
    }

    /// Takes one sample in and reports when it fills the window. A NaN fills the window and counts nowhere; infinities lie
    /// outside of the reference. A window that is less than half numbers gives no report.
    pub fn push(&mut self, value: f64) -> Option<DriftReport> {
        let counts = self.counts.push(self.cell(value))?;
        let samples: u64 = counts.iter().sum();
        let (drawn, coarseness) = (self.reference.drawn(), self.reference.coarseness());
        Some(DriftReport {
            statistic: self.largest_distance(&counts, samples as f64),
            threshold: self
                .criterion
                .threshold(|confidence| noise(confidence, drawn, samples as f64) + coarseness),
            samples,
        })
    }

    /// What the reference is.
    #[must_use]
    pub fn reference(&self) -> &SortedSample {
        &self.reference
    }

    /// Samples since the window began, and the numbers among them below, on, and between the reference's distinct values:
    /// all that the next report depends on.
    #[must_use]
    pub fn state(&self) -> (u64, &[u64]) {
        self.counts.state()
    }

    /// Goes on from what [`state`](Self::state) gave under the same reference and window.
    pub fn restore(&mut self, seen: u64, counts: &[u64]) -> Result<(), StatisticsError> {
        self.counts.restore(seen, counts)
    }

    fn cell(&self, value: f64) -> Option<usize> {
        if value.is_nan() {
            return None;
        }
        let below = self.steps.partition_point(|step| step.0 < value);
        let on = self.steps.get(below).is_some_and(|step| step.0 == value);
        Some(2 * below + usize::from(on))
    }

    fn largest_distance(&self, counts: &[u64], samples: f64) -> f64 {
        let (mut largest, mut seen, mut reference_share) = (0.0, 0_u64, 0.0);
        let mut pairs = counts.chunks(2);
        for (&(_, share), pair) in self.steps.iter().zip(&mut pairs) {
            let [gap, on] = pair else { break };
            seen += gap;
            largest = larger(largest, (seen as f64 / samples - reference_share).abs());
            seen += on;
            reference_share = share;
            largest = larger(largest, (seen as f64 / samples - reference_share).abs());
        }
        largest
    }
}

/// The distance that noise reaches with a probability of 1 - `confidence` at most, a number between 0 and 1.
#[must_use]
pub fn noise(confidence: f64, reference_samples: f64, window_samples: f64) -> f64 {
    let quantile = quantile(confidence).unwrap_or(0.0);
    quantile * libm::sqrt(1.0 / reference_samples + 1.0 / window_samples)
}

/// P(K > x) for Kolmogorov's distribution: the p-value of a distance over sqrt(1/n + 1/m) in large samples. 1 for x <= 0,
/// NaN for NaN.
#[must_use]
pub fn survival(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x <= 0.0 {
        return 1.0;
    }
    if x < SERIES_CROSS_AT {
        let terms = (1..=TERMS).map(|j| {
            let odd = f64::from(2 * j - 1);
            libm::exp(-odd * odd * PI * PI / (8.0 * x * x))
        });
        return 1.0 - libm::sqrt(2.0 * PI) / x * terms.sum::<f64>();
    }
    let terms = (1..=TERMS).map(|j| {
        let sign = if j % 2 == 1 { 2.0 } else { -2.0 };
        sign * libm::exp(-2.0 * f64::from(j) * f64::from(j) * x * x)
    });
    terms.sum()
}

/// The x with P(K <= x) = `probability`. `None` for a probability outside of (0, 1).
#[must_use]
pub fn quantile(probability: f64) -> Option<f64> {
    if !(probability > 0.0 && probability < 1.0) {
        return None;
    }
    let (mut low, mut high) = (0.0, LARGEST);
    for _ in 0..BISECTIONS {
        let middle = low + (high - low) / 2.0;
        if survival(middle) > 1.0 - probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

fn larger(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(reference: &[f64], window: u64) -> TumblingKolmogorovSmirnov {
        TumblingKolmogorovSmirnov::new(SortedSample::from_samples(reference, 1000).unwrap(), window).unwrap()
    }

    fn distance(reference: &[f64], window: &[f64]) -> f64 {
        let mut drift = watch(reference, window.len() as u64);
        let report = window.iter().filter_map(|&value| drift.push(value)).next();
        report.unwrap().statistic
    }

    #[test]
    fn distances_by_hand() {
        assert_eq!(distance(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 4.0]), 0.0);
        assert_eq!(
            distance(&[1.0, 2.0, 3.0, 4.0], &[1.5, 1.6, 1.7, 1.8]),
            0.75,
            "all in one gap"
        );
        assert_eq!(distance(&[1.0, 2.0], &[f64::INFINITY, f64::NEG_INFINITY]), 0.5);
        assert_eq!(distance(&[1.0, 2.0], &[9.0, 9.0]), 1.0);
        assert_eq!(
            distance(&[0.0, 0.0, 0.0, 1.0], &[-0.0, 1.0]),
            0.25,
            "values that repeat"
        );
    }

    #[test]
    fn windows_tumble_and_leave_out_nan() {
        let mut drift = watch(&[0.0, 1.0], 4);
        let reports = [0.0, f64::NAN, 1.0, 2.0].map(|value| drift.push(value));
        assert_eq!(reports[3].map(|report| report.samples), Some(3));
        assert_eq!(drift.state(), (0, &[0; 5][..]));
        assert!(
            [f64::NAN, 1.0, f64::NAN, f64::NAN]
                .iter()
                .all(|&value| drift.push(value).is_none())
        );
        drift.push(0.5);
        let (seen, counts) = drift.state();
        assert_eq!((seen, counts), (1, &[0, 0, 1, 0, 0][..]));
        let mut other = watch(&[0.0, 1.0], 4);
        other.restore(seen, counts).unwrap();
        assert_eq!(other, drift);
        assert!(other.restore(4, &[4, 0, 0, 0, 0]).is_err());
        assert!(other.restore(1, &[1]).is_err());
    }

    #[test]
    fn both_series_meet_and_the_quantile_inverts_them() {
        let (below, above) = (survival(SERIES_CROSS_AT - 1e-12), survival(SERIES_CROSS_AT));
        assert!((below - above).abs() < 1e-11, "{below} {above}");
        for probability in [1e-6, 0.5, 0.95, 0.999] {
            let back = 1.0 - survival(quantile(probability).unwrap());
            assert!((back - probability).abs() < 1e-12, "{probability}: {back}");
        }
        assert_eq!((quantile(0.0), quantile(1.0), quantile(f64::NAN)), (None, None, None));
        assert_eq!((survival(-1.0), survival(30.0)), (1.0, 0.0));
        assert!(survival(f64::NAN).is_nan());
    }

    #[test]
    fn a_coarse_reference_needs_more() {
        let samples: Vec<f64> = (0..100).map(f64::from).collect();
        let whole = SortedSample::from_samples(&samples, 100).unwrap();
        let coarse = SortedSample::from_samples(&samples, 10).unwrap();
        let threshold = |reference| {
            let mut drift = TumblingKolmogorovSmirnov::new(reference, 50).unwrap();
            (0..50).find_map(|n| drift.push(f64::from(2 * n))).unwrap().threshold
        };
        let more = threshold(coarse.clone()) - threshold(whole);
        assert!((more - coarse.coarseness()).abs() < 1e-12);
    }
}
