//! The population stability index (PSI): how far a window's distribution has moved from a reference's.
//!
//! PSI = sum over the bins of (q - p) ln(q / p), p and q being the bin's shares in reference and window, each with half a
//! sample added to every bin so that an empty one doesn't make it infinite.
//!
//! # Threshold
//!
//! While both come from one distribution, PSI over (1/n + 1/m) is chi-square distributed with bins - 1 degrees of
//! freedom for large counts, n being the reference's samples and m the window's (Yurdakul and Naranjo 2020, Journal of
//! Risk Model Validation 14(4)). The usual rule "0.1 is drift" is therefore no rule for small windows: with 10 bins it
//! raises a false alarm in 87 % of windows of 50 samples and 40 % of 100. [`threshold`] takes the larger of the two, so that
//! a stable field passes it in about one of a thousand windows: 0.05 to 0.18 % in simulation, and hardly any where 0.1 is
//! the larger (from 500 samples on). With empty bins clipped at 1e-4 instead of the half sample it would be 5 % at 50 samples.
//! `README.md` of this crate has the tables and the commands.
//!
//! Beyond 0.999 the chi-square limit takes larger windows: at 0.9999 and 0.99999 about 10 samples in a bin raise three and
//! eight times the stated alarms, from 20 in a bin on twice at most. [`crate::jensen_shannon`] keeps its rate there.

use crate::{StatisticsError, chi_square, drift::Criterion, tumbling::TumblingCounts};
use alloc::{sync::Arc, vec, vec::Vec};

/// More bins than samples in a usual window tell nothing; bounds memory, too.
pub const MAX_BINS: usize = 256;

/// The least PSI that counts as drift however large the samples are.
pub const LEAST_DRIFT: f64 = 0.1;

/// The share of windows without drift that stay below the threshold.
pub const CONFIDENCE: f64 = crate::drift::CONFIDENCE;

/// Added to every bin of both sides.
pub(crate) const HALF_COUNT: f64 = 0.5;

/// What a field looked like in training: bins and how many samples fell into each.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Edges between neighbouring bins, strictly rising; the outer bins are open.
    edges: Vec<f64>,
    /// One more than edges.
    counts: Vec<f64>,
}

impl Reference {
    /// From inner edges and the counts of the `edges.len() + 1` bins.
    pub fn new(edges: Vec<f64>, counts: Vec<f64>) -> Result<Self, StatisticsError> {
        if !(2..=MAX_BINS).contains(&counts.len()) {
            return Err(StatisticsError::Bins(counts.len()));
        }
        if edges.len() + 1 != counts.len() {
            return Err(StatisticsError::Length {
                expected: counts.len() - 1,
                actual: edges.len(),
            });
        }
        if !edges.iter().all(|edge| edge.is_finite()) || !edges.is_sorted_by(|low, high| low < high) {
            return Err(StatisticsError::Edges);
        }
        let total: f64 = counts.iter().sum();
        if counts.iter().any(|&count| count.is_nan() || count < 0.0) || !(total.is_finite() && total > 0.0) {
            return Err(StatisticsError::Counts);
        }
        Ok(Self { edges, counts })
    }

    /// With edges at the sample's quantiles, so that every bin holds about the same share. Values that repeat can make
    /// quantiles fall together: those edges are merged, which gives fewer bins. Not-a-numbers are left out.
    pub fn from_samples(samples: &[f64], bins: usize) -> Result<Self, StatisticsError> {
        if !(2..=MAX_BINS).contains(&bins) {
            return Err(StatisticsError::Bins(bins));
        }
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let mut edges: Vec<f64> = (1..bins)
            .filter_map(|k| quantile_of_sorted(&sorted, k as f64 / bins as f64))
            .collect();
        edges.dedup();
        let mut counts = vec![0.0; edges.len() + 1];
        for &value in &sorted {
            if let Some(count) = counts.get_mut(bin(&edges, value)) {
                *count += 1.0;
            }
        }
        Self::new(edges, counts)
    }

    /// Edges between neighbouring bins.
    #[must_use]
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Samples in each bin.
    #[must_use]
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// How many bins there are.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.counts.len()
    }

    /// The bin that a value falls into; none for a NaN.
    #[must_use]
    pub fn bin(&self, value: f64) -> Option<usize> {
        (!value.is_nan()).then(|| bin(&self.edges, value))
    }

    /// How many samples the reference was made of.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.counts.iter().sum()
    }
}

/// What one full window showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PsiReport {
    /// The index.
    pub psi: f64,
    /// What it is held against.
    pub threshold: f64,
    /// Numbers in the window, without the NaN.
    pub samples: u64,
}

impl PsiReport {
    /// Whether the index is above its threshold.
    #[must_use]
    pub fn drifted(&self) -> bool {
        self.psi > self.threshold
    }
}

/// PSI of consecutive windows that don't overlap: memory is the bins, whatever the window's length.
#[derive(Debug, Clone, PartialEq)]
pub struct TumblingPsi {
    reference: Arc<Reference>,
    criterion: Criterion,
    counts: TumblingCounts,
}

impl TumblingPsi {
    /// For windows of `window` samples, with the threshold of [`threshold`].
    pub fn new(reference: Reference, window: u64) -> Result<Self, StatisticsError> {
        let counts = TumblingCounts::new(reference.bins(), window)?;
        Ok(Self {
            reference: Arc::new(reference),
            criterion: Criterion::standard(LEAST_DRIFT),
            counts,
        })
    }

    /// The same with another criterion; its least drift is a PSI.
    #[must_use]
    pub fn with_criterion(self, criterion: Criterion) -> Self {
        Self { criterion, ..self }
    }

    /// Takes one sample in and reports when it fills the window. A NaN fills the window and falls into no bin; infinities
    /// fall into the outer bins. A window that is less than half numbers gives no report.
    pub fn push(&mut self, value: f64) -> Option<PsiReport> {
        let counts = self.counts.push(self.reference.bin(value))?;
        let samples: u64 = counts.iter().sum();
        let current: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
        let (bins, total) = (self.reference.bins(), self.reference.total());
        let noise = |confidence| noise(confidence, bins, total, samples as f64);
        Some(PsiReport {
            psi: psi(&self.reference.counts, &current),
            threshold: self.criterion.threshold(noise),
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

/// The index of two histograms over the same bins, with half a count added to each bin.
#[must_use]
pub fn psi(reference: &[f64], current: &[f64]) -> f64 {
    let added = HALF_COUNT * reference.len() as f64;
    let (n, m) = (
        reference.iter().sum::<f64>() + added,
        current.iter().sum::<f64>() + added,
    );
    let share = |count: f64, total: f64| (count + HALF_COUNT) / total;
    reference
        .iter()
        .zip(current)
        .map(|(&before, &now)| (share(before, n), share(now, m)))
        .map(|(p, q)| (q - p) * libm::log(q / p))
        .sum()
}

/// The index above which a window has drifted: the larger of [`LEAST_DRIFT`] and the chi-square quantile at
/// [`CONFIDENCE`] with bins - 1 degrees of freedom times 1/n + 1/m, for n reference and m window samples.
#[must_use]
pub fn threshold(bins: usize, reference_samples: f64, window_samples: f64) -> f64 {
    Criterion::standard(LEAST_DRIFT).threshold(|confidence| noise(confidence, bins, reference_samples, window_samples))
}

/// The index that noise reaches with a probability of 1 - `confidence`, a number between 0 and 1.
#[must_use]
pub fn noise(confidence: f64, bins: usize, reference_samples: f64, window_samples: f64) -> f64 {
    let degrees = u32::try_from(bins.saturating_sub(1)).unwrap_or(u32::MAX);
    let quantile = chi_square::quantile(confidence, degrees).unwrap_or(0.0);
    quantile * (1.0 / reference_samples + 1.0 / window_samples)
}

/// The bin of a number: as many as there are edges at or below it (`numpy.searchsorted(edges, x, side="right")`).
fn bin(edges: &[f64], value: f64) -> usize {
    edges.partition_point(|&edge| edge <= value)
}

/// The quantile of sorted values, linear between neighbours (`numpy.quantile`'s default).
fn quantile_of_sorted(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share * sorted.len().checked_sub(1)? as f64;
    let below = libm::floor(position);
    let low = *sorted.get(below as usize)?;
    let high = sorted.get(below as usize + 1).copied().unwrap_or(low);
    Some(low + (high - low) * (position - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Reference {
        Reference::new(vec![0.0, 1.0], vec![10.0, 20.0, 10.0]).unwrap()
    }

    #[test]
    fn references_are_checked() {
        let new = |edges: &[f64], counts: &[f64]| Reference::new(edges.to_vec(), counts.to_vec()).unwrap_err();
        assert_eq!(new(&[], &[1.0]), StatisticsError::Bins(1));
        assert_eq!(
            new(&[1.0, 2.0], &[1.0, 1.0]),
            StatisticsError::Length { expected: 1, actual: 2 }
        );
        assert_eq!(new(&[1.0, 1.0], &[1.0; 3]), StatisticsError::Edges);
        assert_eq!(new(&[1.0, f64::NAN], &[1.0; 3]), StatisticsError::Edges);
        assert_eq!(new(&[f64::INFINITY], &[1.0; 2]), StatisticsError::Edges);
        assert_eq!(new(&[1.0], &[0.0; 2]), StatisticsError::Counts);
        assert_eq!(new(&[1.0], &[f64::NAN, 1.0]), StatisticsError::Counts);
        assert_eq!(new(&[1.0], &[-1.0, 5.0]), StatisticsError::Counts);
        assert_eq!(
            Reference::from_samples(&[3.0; 50], 10).unwrap().bins(),
            2,
            "all edges fall together"
        );
        assert!(Reference::from_samples(&[], 10).is_err());
    }

    #[test]
    fn windows_tumble_and_leave_out_nan() {
        let mut drift = TumblingPsi::new(reference(), 4).unwrap();
        let mut reports = [-1.0, 0.0, 0.5, f64::NAN].map(|value| drift.push(value));
        assert_eq!(reports[3].take().map(|report| report.samples), Some(3));
        assert_eq!(reports, [None; 4]);
        assert_eq!(drift.state(), (0, &[0, 0, 0][..]));
        for value in [f64::INFINITY, f64::NAN, f64::NAN, f64::NAN] {
            assert_eq!(drift.push(value), None, "less than half are numbers");
        }
    }

    #[test]
    fn state_that_does_not_fit_is_refused() {
        let mut drift = TumblingPsi::new(reference(), 4).unwrap();
        for (seen, counts) in [
            (4, &[1_u64, 1, 1][..]),
            (1, &[1, 1, 0]),
            (1, &[1]),
            (3, &[u64::MAX, 1, 1]),
        ] {
            assert!(matches!(drift.restore(seen, counts), Err(StatisticsError::State(_))));
        }
        drift.restore(3, &[1, 1, 0]).unwrap();
        assert!(drift.push(0.5).is_some());
    }

    #[test]
    fn noise_alarms_in_about_one_of_a_thousand_windows() {
        // A fixed linear congruential generator (Knuth's MMIX constants) makes uniform numbers.
        let mut state = 1_u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let alarms: usize = (0..40)
            .map(|_| {
                let samples: Vec<f64> = (0..500).map(|_| uniform()).collect();
                let mut drift = TumblingPsi::new(Reference::from_samples(&samples, 10).unwrap(), 100).unwrap();
                (0..10_000)
                    .filter_map(|_| drift.push(uniform()))
                    .filter(PsiReport::drifted)
                    .count()
            })
            .sum();
        assert!((1..=12).contains(&alarms), "{alarms} of 4000 windows, expected about 4");
    }
}
