//! The Jensen-Shannon distance: how far a window's distribution has moved from a reference's, from 0 to 1.
//!
//! With p and q the shares of the bins in reference and window and m their mean, the divergence is
//! (sum of p log2(p / m) + sum of q log2(q / m)) / 2 bits (Lin 1991, IEEE Transactions on Information Theory 37(1)), and
//! the distance its square root, which is a metric (Endres and Schindelin 2003, same journal 49(7)):
//! `scipy.spatial.distance.jensenshannon(p, q, base=2)`. Bins and reference are those of [`crate::psi`], and as there half
//! a sample is added to each bin: the distance is finite without, but empty bins then give five times the false alarms
//! that are stated, at 50 samples in 10 bins.
//!
//! # Threshold
//!
//! To second order the divergence is the sum of (q - p)² / m over 8 ln 2, which is (1/n + 1/m) / (8 ln 2) times a chi-square
//! variable with bins - 1 degrees of freedom while n reference and m window samples come from one distribution. So a
//! window has drifted above the larger of [`LEAST_DRIFT`] and sqrt(quantile · (1/n + 1/m) / (8 ln 2)). The usual rule
//! "0.1 is drift" raises a false alarm in 98 % of windows of 50 samples and 81 % of 100 (10 bins, 10,000 reference samples);
//! with this threshold it is 0.01 to 0.13 % of any length, and no more than stated at 0.9999 and 0.99999, too. `README.md` of
//! this crate has the tables and the commands.

use crate::{
    StatisticsError, chi_square,
    drift::{Criterion, DriftReport},
    psi::{HALF_COUNT, Reference},
    tumbling::TumblingCounts,
};
use alloc::{sync::Arc, vec::Vec};
use core::f64::consts::LN_2;

/// The least distance that counts as drift however large the samples are: a normal distribution that moved by a quarter
/// of its standard deviation.
pub const LEAST_DRIFT: f64 = 0.1;

/// The distance of consecutive windows that don't overlap: memory is the bins, whatever the window's length.
#[derive(Debug, Clone, PartialEq)]
pub struct TumblingJensenShannon {
    reference: Arc<Reference>,
    criterion: Criterion,
    counts: TumblingCounts,
}

impl TumblingJensenShannon {
    /// For windows of `window` samples.
    pub fn new(reference: Reference, window: u64) -> Result<Self, StatisticsError> {
        let counts = TumblingCounts::new(reference.bins(), window)?;
        Ok(Self {
            reference: Arc::new(reference),
            criterion: Criterion::standard(LEAST_DRIFT),
            counts,
        })
    }

    /// The same with another criterion; its least drift is a distance.
    #[must_use]
    pub fn with_criterion(self, criterion: Criterion) -> Self {
        Self { criterion, ..self }
    }

    /// Takes one sample in and reports when it fills the window. A NaN fills the window and falls into no bin; infinities
    /// fall into the outer bins. A window that is less than half numbers gives no report.
    pub fn push(&mut self, value: f64) -> Option<DriftReport> {
        let counts = self.counts.push(self.reference.bin(value))?;
        let samples: u64 = counts.iter().sum();
        let current: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
        let (bins, total) = (self.reference.bins(), self.reference.total());
        Some(DriftReport {
            statistic: distance(self.reference.counts(), &current),
            threshold: self
                .criterion
                .threshold(|confidence| noise(confidence, bins, total, samples as f64)),
            samples,
        })
    }

    /// What the reference is.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Samples since the window began, and the numbers among them in each bin: all that the next report depends on.
    #[must_use]
    pub fn state(&self) -> (u64, &[u64]) {
        self.counts.state()
    }

    /// Goes on from what [`state`](Self::state) gave under the same reference and window.
    pub fn restore(&mut self, seen: u64, counts: &[u64]) -> Result<(), StatisticsError> {
        self.counts.restore(seen, counts)
    }
}

/// The distance of two histograms over the same bins, with half a count added to each bin.
#[must_use]
pub fn distance(reference: &[f64], current: &[f64]) -> f64 {
    let added = HALF_COUNT * reference.len() as f64;
    let (n, m) = (
        reference.iter().sum::<f64>() + added,
        current.iter().sum::<f64>() + added,
    );
    let divergence: f64 = reference
        .iter()
        .zip(current)
        .map(|(&before, &now)| divergence_of((before + HALF_COUNT) / n, (now + HALF_COUNT) / m))
        .sum();
    // Rounding can leave equal histograms a hair below 0.
    libm::sqrt(if divergence > 0.0 { divergence } else { 0.0 })
}

/// The distance that noise reaches with a probability of 1 - `confidence`, a number between 0 and 1.
#[must_use]
pub fn noise(confidence: f64, bins: usize, reference_samples: f64, window_samples: f64) -> f64 {
    let degrees = u32::try_from(bins.saturating_sub(1)).unwrap_or(u32::MAX);
    let quantile = chi_square::quantile(confidence, degrees).unwrap_or(0.0);
    libm::sqrt(quantile * (1.0 / reference_samples + 1.0 / window_samples) / (8.0 * LN_2))
}

/// What a bin with shares `p` and `q`, neither of them 0, adds to the divergence, in bits.
fn divergence_of(p: f64, q: f64) -> f64 {
    let mean = (p + q) / 2.0;
    (p * libm::log(p / mean) + q * libm::log(q / mean)) / (2.0 * LN_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_histograms_are_at_0_and_disjoint_ones_near_1() {
        assert_eq!(distance(&[10.0, 20.0, 30.0], &[10.0, 20.0, 30.0]), 0.0);
        let far = distance(&[1e9, 0.0], &[0.0, 1e9]);
        assert!((0.9999..1.0).contains(&far), "{far}");
    }

    #[test]
    fn windows_tumble_and_leave_out_nan() {
        let reference = Reference::new(vec![0.0], vec![500.0, 500.0]).unwrap();
        let mut drift = TumblingJensenShannon::new(reference.clone(), 100).unwrap();
        let mut feed = |value: f64| (0..50).filter_map(|_| drift.push(value)).next();
        assert_eq!(
            (feed(1.0), feed(-1.0).map(|report| report.drifted())),
            (None, Some(false))
        );
        assert_eq!(feed(f64::NAN), None);
        let report = feed(f64::INFINITY).unwrap();
        assert_eq!((report.samples, report.drifted()), (50, true));

        let criterion = Criterion::fixed(0.9).unwrap();
        let mut lax = TumblingJensenShannon::new(reference, 4)
            .unwrap()
            .with_criterion(criterion);
        lax.restore(3, &[0, 3]).unwrap();
        assert_eq!(lax.state(), (3, &[0, 3][..]));
        assert_eq!(lax.push(1.0).map(|report| report.drifted()), Some(false));
    }
}
