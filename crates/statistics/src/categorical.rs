//! The chi-square test of a window's categories (states, codes, classes) against a reference's.
//!
//! Pearson's statistic for two samples: the sum over both and all categories of (observed - expected)² / expected, expected
//! being what the shares of both together give (`scipy.stats.chi2_contingency(correction=False)`; Pearson 1911,
//! Biometrika 8). Against a reference that is large beside the window it is the goodness-of-fit statistic
//! ([`goodness_of_fit`], `scipy.stats.chisquare`), and unlike that it allows for a reference that is a sample, too.
//!
//! # Rare categories
//!
//! A category that is expected less than [`MIN_EXPECTED`] times in a window makes a chi-square statistic jump at its first
//! sample. Such categories are one cell together, which takes in the next rarer one until it is expected that often or
//! only one category stands beside it. Values that the reference doesn't have fall into this cell, too, so that a new
//! category is drift when there are more of it than of rare ones.
//!
//! Where nothing but the reference's categories can come up, as with the classes of a classifier,
//! [`TumblingChiSquare::closed`] has no such cell unless a category is rare. Without a sample in the reference its noise is
//! the largest by far: one sample in it is a statistic of n / m, which few categories that are all known never reach.
//!
//! # Threshold
//!
//! While both are from one distribution, the statistic is chi-square distributed with cells - 1 degrees of freedom for
//! large counts. For small counts the tail is heavier. So a window has drifted above the largest of three: the chi-square
//! quantile; [`LEAST_DRIFT`] · nm / (n + m) for n reference and m window samples; and, for each cell that is expected less
//! than [`LARGE_EXPECTED`] times and is not the larger half, what the statistic is with as many samples in this cell as it has
//! in a share `confidence` of windows: the quantile of the beta-binomial distribution of m samples whose share
//! is known from the reference's count c, Beta(c + 1/2, n - c + 1/2). Without the third, a category with a share of 0.001
//! raises a false alarm in 5 % of windows of 50 samples. With it 0.2 % at most are stated, and simulation gives 0.15 %
//! at most; the usual p < 0.05 raises 10 to 88 %. `README.md` of this crate has the tables and the commands.

use crate::{
    StatisticsError, chi_square,
    drift::{Criterion, DriftReport, in_range},
    tumbling::TumblingCounts,
};
use alloc::{sync::Arc, vec::Vec};

/// The most categories a reference may name; the rest are "other".
pub const MAX_CATEGORIES: usize = 256;

/// The least drift that counts however large the samples are: (q - p)² / p added up over the categories. One of two equally
/// frequent categories that becomes 61 %.
pub const LEAST_DRIFT: f64 = 0.05;

/// A category expected less often in a window is counted together with other rare ones (Cochran 1954, Biometrics 10(4)).
pub const MIN_EXPECTED: f64 = 5.0;

/// From here on a count's distribution is near enough to the normal one that chi-square stands on.
pub const LARGE_EXPECTED: f64 = 50.0;

/// Bounds the search for a rare cell's quantile, which lies near [`LARGE_EXPECTED`] at most unless the window is very long
/// beside the reference.
const MAX_STEPS: u32 = 4096;

/// What a field looked like in training: categories, how often each was, and how often any other.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryReference {
    /// Finite and strictly rising.
    categories: Vec<f64>,
    /// As many as there are categories.
    counts: Vec<f64>,
    other: f64,
}

impl CategoryReference {
    /// From 1 to [`MAX_CATEGORIES`] categories in rising order, the count of each, and that of samples in none of them.
    pub fn new(categories: Vec<f64>, counts: Vec<f64>, other: f64) -> Result<Self, StatisticsError> {
        let number = categories.len() as f64;
        in_range("reference categories", number, 1.0, MAX_CATEGORIES as f64)?;
        if categories.len() != counts.len() {
            return Err(StatisticsError::Length {
                expected: categories.len(),
                actual: counts.len(),
            });
        }
        if !categories.iter().all(|category| category.is_finite()) || !categories.is_sorted_by(|low, high| low < high) {
            return Err(StatisticsError::Order);
        }
        let all = || counts.iter().chain([&other]);
        let named: f64 = counts.iter().sum();
        let total = named + other;
        if all().any(|&count| count.is_nan() || count < 0.0) || !(total.is_finite() && named > 0.0) {
            return Err(StatisticsError::Counts);
        }
        Ok(Self {
            categories,
            counts,
            other,
        })
    }

    /// From samples in any order. Where there are more than `most` categories, the most frequent are named. NaN are left
    /// out.
    pub fn from_samples(samples: &[f64], most: usize) -> Result<Self, StatisticsError> {
        in_range("reference categories", most as f64, 1.0, MAX_CATEGORIES as f64)?;
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let mut runs: Vec<(f64, f64)> = Vec::new();
        for value in sorted.iter().copied() {
            match runs.last_mut() {
                Some(last) if last.0 == value => last.1 += 1.0,
                _ => runs.push((value, 1.0)),
            }
        }
        runs.retain(|run| run.0.is_finite());
        // Stable: of equally frequent ones the smaller values are named.
        runs.sort_by(|a, b| b.1.total_cmp(&a.1));
        runs.truncate(most);
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (categories, counts): (Vec<f64>, Vec<f64>) = runs.into_iter().unzip();
        let other = sorted.len() as f64 - counts.iter().sum::<f64>();
        Self::new(categories, counts, other)
    }

    /// The categories, rising.
    #[must_use]
    pub fn categories(&self) -> &[f64] {
        &self.categories
    }

    /// Samples in each category.
    #[must_use]
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// Samples in none of the categories.
    #[must_use]
    pub const fn other(&self) -> f64 {
        self.other
    }

    /// How many samples the reference was made of.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.counts.iter().sum::<f64>() + self.other
    }

    /// Which categories stand for themselves in windows of `window` samples; the others are one cell.
    fn kept(&self, window: f64) -> Vec<bool> {
        let expected = |count: f64| count * window / self.total();
        let mut by_count: Vec<usize> = (0..self.counts.len()).collect();
        let count_of = |index: &usize| self.counts.get(*index).copied().unwrap_or(0.0);
        by_count.sort_by(|a, b| count_of(b).total_cmp(&count_of(a)));
        let mut rare = self.other;
        while let [_, .., rarest] = by_count.as_slice() {
            let count = count_of(rarest);
            let too_few = rare > 0.0 && expected(rare) < MIN_EXPECTED;
            if expected(count) >= MIN_EXPECTED && !too_few {
                break;
            }
            rare += count;
            by_count.pop();
        }
        (0..self.counts.len()).map(|index| by_count.contains(&index)).collect()
    }
}

/// The test of consecutive windows that don't overlap: memory is the categories, whatever the window's length.
#[derive(Debug, Clone, PartialEq)]
pub struct TumblingChiSquare {
    reference: Arc<CategoryReference>,
    /// For each category its cell; the last cell is that of the rare and the unknown.
    cells: Arc<[usize]>,
    /// The reference's samples in each cell.
    expected: Arc<[f64]>,
    /// Whether there is a cell for values that the reference doesn't name.
    open: bool,
    criterion: Criterion,
    counts: TumblingCounts,
}

impl TumblingChiSquare {
    /// For windows of `window` samples.
    pub fn new(reference: CategoryReference, window: u64) -> Result<Self, StatisticsError> {
        Self::with(reference, window, true)
    }

    /// For windows of `window` samples that can be in nothing but the reference's categories: any other value is left out as a
    /// NaN is. A reference with samples in none of them is refused.
    pub fn closed(reference: CategoryReference, window: u64) -> Result<Self, StatisticsError> {
        in_range("reference samples in no category", reference.other, 0.0, 0.0)?;
        Self::with(reference, window, false)
    }

    fn with(reference: CategoryReference, window: u64, open: bool) -> Result<Self, StatisticsError> {
        let kept = reference.kept(window as f64);
        let rare_cell = kept.iter().filter(|&&kept| kept).count();
        let (mut cells, mut expected) = (Vec::new(), Vec::new());
        let mut rare = reference.other;
        for (&count, &kept) in reference.counts.iter().zip(&kept) {
            if kept {
                cells.push(expected.len());
                expected.push(count);
            } else {
                cells.push(rare_cell);
                rare += count;
            }
        }
        if open || kept.contains(&false) {
            expected.push(rare);
        }
        let counts = TumblingCounts::new(expected.len(), window)?;
        Ok(Self {
            reference: Arc::new(reference),
            cells: cells.into(),
            expected: expected.into(),
            open,
            criterion: Criterion::standard(LEAST_DRIFT),
            counts,
        })
    }

    /// The same with another criterion; its least drift is the sum of (q - p)² / p.
    #[must_use]
    pub fn with_criterion(self, criterion: Criterion) -> Self {
        Self { criterion, ..self }
    }

    /// Takes one sample in and reports when it fills the window; the statistic is Pearson's. A NaN fills the window and
    /// is in no category; any other value that the reference doesn't name is "other". A window that is less than half
    /// numbers gives no report.
    pub fn push(&mut self, value: f64) -> Option<DriftReport> {
        let counts = self.counts.push(self.cell(value))?;
        let samples: u64 = counts.iter().sum();
        let current: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
        let (n, m) = (self.reference.total(), samples as f64);
        let threshold = self
            .criterion
            .scaled(n * m / (n + m))
            .threshold(|confidence| noise(confidence, &self.expected, m));
        Some(DriftReport {
            statistic: homogeneity(&self.expected, &current),
            threshold,
            samples,
        })
    }

    /// What the reference is.
    #[must_use]
    pub fn reference(&self) -> &CategoryReference {
        &self.reference
    }

    /// The degrees of freedom of the statistic: one less than the cells that the reference has samples in, at least 1.
    #[must_use]
    pub fn degrees(&self) -> u32 {
        degrees(&self.expected)
    }

    /// Samples since the window began, and the numbers among them in each cell: all that the next report depends on.
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
        let categories = &self.reference.categories;
        let at = categories.partition_point(|&category| category < value);
        let named = categories.get(at).is_some_and(|&category| category == value);
        let rare_cell = self.expected.len().saturating_sub(1);
        if named {
            return self.cells.get(at).copied();
        }
        self.open.then_some(rare_cell)
    }
}

/// Pearson's goodness-of-fit statistic, the sum of (observed - expected)² / expected; infinite where something is observed
/// that isn't expected at all. [`chi_square::survival`] with cells - 1 degrees of freedom gives its p-value.
#[must_use]
pub fn goodness_of_fit(observed: &[f64], expected: &[f64]) -> f64 {
    let terms = observed.iter().zip(expected).map(|(&observed, &expected)| {
        let difference = observed - expected;
        if difference == 0.0 {
            0.0
        } else {
            difference * difference / expected
        }
    });
    terms.sum()
}

/// Pearson's statistic of two samples in the same cells; cells that are empty in both don't count. 0 when a sample is empty.
#[must_use]
pub fn homogeneity(reference: &[f64], current: &[f64]) -> f64 {
    let (n, m) = (reference.iter().sum::<f64>(), current.iter().sum::<f64>());
    if n == 0.0 || m == 0.0 {
        return 0.0;
    }
    let terms = reference
        .iter()
        .zip(current)
        .filter(|&(&before, &now)| before + now > 0.0);
    terms
        .map(|(&before, &now)| {
            let difference = now / m - before / n;
            n * m * difference * difference / (before + now)
        })
        .sum()
}

/// The [`homogeneity`] that noise reaches with a probability of about 1 - `confidence`, a number between 0 and 1, for a
/// window of `window_samples` against a reference's counts.
#[must_use]
pub fn noise(confidence: f64, reference: &[f64], window_samples: f64) -> f64 {
    let total: f64 = reference.iter().sum();
    let by_chi_square = chi_square::quantile(confidence, degrees(reference)).unwrap_or(0.0);
    reference
        .iter()
        .filter(|&&count| count * window_samples < LARGE_EXPECTED * total && count * 2.0 <= total)
        .map(|&count| by_rare_cell(confidence, count, total, window_samples))
        .fold(by_chi_square, |most, next| if next > most { next } else { most })
}

/// Of a statistic against these counts. A cell that the reference hasn't at all may still be in the window.
fn degrees(reference: &[f64]) -> u32 {
    let cells = reference.iter().filter(|&&count| count > 0.0).count();
    u32::try_from(cells.saturating_sub(1)).unwrap_or(u32::MAX).max(1)
}

/// The statistic of a window of `m` samples, of which a cell holds as many as noise may put there, against a
/// reference of `n`, of which the cell holds `count`: all others taken together.
fn by_rare_cell(confidence: f64, count: f64, n: f64, m: f64) -> f64 {
    let held = most_by_noise(confidence, count, n, m);
    /// Lets a window that holds just this many stay at the threshold whatever the rounding.
    const ROUNDING: f64 = 1.0 + 1e-9;
    homogeneity(&[count, n - count], &[held, m - held]) * ROUNDING
}

/// The smallest number that a cell's count stays at or below with a probability of `confidence`: a quantile of the
/// beta-binomial distribution with m samples and parameters a = count + 1/2, b = n - count + 1/2.
fn most_by_noise(confidence: f64, count: f64, n: f64, m: f64) -> f64 {
    let (a, b) = (count + 0.5, n - count + 0.5);
    let mut probability =
        libm::exp(libm::lgamma(m + b) + libm::lgamma(a + b) - libm::lgamma(m + a + b) - libm::lgamma(b));
    let mut beyond = 1.0 - probability;
    let mut held = 0.0;
    for _ in 0..MAX_STEPS {
        if beyond <= 1.0 - confidence || held >= m {
            break;
        }
        probability *= (m - held) * (held + a) / ((held + 1.0) * (m - held - 1.0 + b));
        beyond -= probability;
        held += 1.0;
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(counts: &[f64], window: u64) -> TumblingChiSquare {
        let categories = (0..counts.len()).map(|n| n as f64).collect();
        TumblingChiSquare::new(
            CategoryReference::new(categories, counts.to_vec(), 0.0).unwrap(),
            window,
        )
        .unwrap()
    }

    fn feed(drift: &mut TumblingChiSquare, counts: &[(f64, usize)]) -> Option<DriftReport> {
        let values = counts
            .iter()
            .flat_map(|&(value, count)| core::iter::repeat_n(value, count));
        values.filter_map(|value| drift.push(value)).next()
    }

    #[test]
    fn references_are_checked() {
        let new = |categories: &[f64], counts: &[f64], other| {
            CategoryReference::new(categories.to_vec(), counts.to_vec(), other).unwrap_err()
        };
        assert!(matches!(new(&[], &[], 1.0), StatisticsError::OutOfRange { .. }));
        assert!(matches!(new(&[1.0], &[1.0; 2], 0.0), StatisticsError::Length { .. }));
        assert_eq!(new(&[1.0, 1.0], &[1.0; 2], 0.0), StatisticsError::Order);
        assert_eq!(new(&[f64::NAN], &[1.0], 0.0), StatisticsError::Order);
        for (count, other) in [
            (-1.0, 5.0),
            (f64::NAN, 0.0),
            (0.0, 1.0),
            (1.0, f64::INFINITY),
            (5.0, -1.0),
        ] {
            assert_eq!(new(&[1.0], &[count], other), StatisticsError::Counts);
        }
    }

    #[test]
    fn samples_are_counted_and_the_rarest_are_other() {
        let samples = [2.0, -0.0, 0.0, f64::NAN, 7.0, 2.0, 2.0, f64::INFINITY];
        let reference = CategoryReference::from_samples(&samples, 2).unwrap();
        assert_eq!(
            (
                reference.categories(),
                reference.counts(),
                reference.other(),
                reference.total()
            ),
            (&[0.0, 2.0][..], &[2.0, 3.0][..], 2.0, 7.0)
        );
        assert!(CategoryReference::from_samples(&[f64::NAN], 2).is_err());
        assert!(CategoryReference::from_samples(&samples, 0).is_err());
    }

    #[test]
    fn rare_categories_are_one_cell() {
        // Expected in 100: 60, 30, 4, 3, 3: the last three together are 10.
        assert_eq!(
            *watch(&[600.0, 300.0, 40.0, 30.0, 30.0], 100).expected,
            [600.0, 300.0, 100.0]
        );
        // 94, 5, 1: the rare one takes in its neighbour.
        assert_eq!(*watch(&[940.0, 50.0, 10.0], 100).expected, [940.0, 60.0]);
        // One category always stands for itself.
        assert_eq!(*watch(&[1.0, 1.0, 1.0], 3).expected, [1.0, 2.0]);
        assert_eq!(*watch(&[500.0, 500.0], 100).expected, [500.0, 500.0, 0.0]);
    }

    #[test]
    fn what_can_not_come_up_has_no_cell() {
        let reference = |counts: [f64; 3]| CategoryReference::new(vec![0.0, 1.0, 2.0], counts.to_vec(), 0.0).unwrap();
        let mut drift = TumblingChiSquare::closed(reference([500.0, 300.0, 200.0]), 50).unwrap();
        assert_eq!(*drift.expected, [500.0, 300.0, 200.0]);
        let report = feed(&mut drift, &[(0.0, 15), (9.0, 2), (1.0, 15), (2.0, 18)]).unwrap();
        assert_eq!((report.samples, report.drifted()), (48, false));
        // scipy.stats.betabinom.ppf(0.999, 48, 200.5, 800.5) is 19: less than scipy.stats.chi2.ppf(0.999, 2).
        assert!((report.threshold - 13.815_510_6).abs() < 1e-6, "{report:?}");
        let rare = TumblingChiSquare::closed(reference([900.0, 99.0, 1.0]), 50).unwrap();
        assert_eq!(
            *rare.expected,
            [900.0, 100.0],
            "the two rarest are expected five times together"
        );
        let other = CategoryReference::new(vec![0.0], vec![5.0], 1.0).unwrap();
        assert!(TumblingChiSquare::closed(other, 50).is_err());
    }

    #[test]
    fn a_new_category_is_drift_even_of_a_constant() {
        let mut drift = watch(&[10_000.0], 50);
        assert_eq!(
            feed(&mut drift, &[(0.0, 50)]).map(|report| report.drifted()),
            Some(false)
        );
        assert_eq!(
            feed(&mut drift, &[(0.0, 49), (5.0, 1)]).map(|report| report.drifted()),
            Some(false)
        );
        assert_eq!(
            feed(&mut drift, &[(0.0, 45), (5.0, 5)]).map(|report| report.drifted()),
            Some(true)
        );
        let mut drift = watch(&[5000.0, 5000.0], 100);
        assert_eq!(
            feed(&mut drift, &[(0.0, 45), (1.0, 45), (0.5, 10)]).map(|report| report.drifted()),
            Some(true)
        );
    }

    #[test]
    fn windows_tumble_and_leave_out_nan() {
        let mut drift = watch(&[500.0, 500.0], 40);
        let report = feed(&mut drift, &[(f64::NAN, 20), (0.0, 10), (1.0, 10)]).unwrap();
        assert_eq!((report.samples, report.statistic, report.drifted()), (20, 0.0, false));
        assert_eq!(feed(&mut drift, &[(f64::NAN, 21), (0.0, 19)]), None);
        drift.push(f64::INFINITY);
        assert_eq!(drift.state(), (1, &[0, 0, 1][..]));
        let mut other = watch(&[500.0, 500.0], 40);
        other.restore(1, &[0, 0, 1]).unwrap();
        assert_eq!(other, drift);
        assert!(other.restore(40, &[40, 0, 0]).is_err());
        assert!(other.restore(1, &[1, 0]).is_err());
    }

    #[test]
    fn a_rare_cells_quantile_is_that_of_its_distribution() {
        // A binomial count when the reference is large: 100 samples at a share of 0.05 stay at or below 13 with a
        // probability of 0.99954, at or below 12 with 0.99854 (scipy.stats.binom.cdf).
        assert_eq!(most_by_noise(0.999, 5e8, 1e10, 100.0), 13.0);
        assert_eq!(most_by_noise(0.998, 5e8, 1e10, 100.0), 12.0);
        assert_eq!(most_by_noise(0.999, 0.0, 1e10, 100.0), 0.0);
        assert_eq!(most_by_noise(0.999, 5.0, 10.0, 2.0), 2.0, "no more than there are");
    }

    #[test]
    fn what_is_not_expected_is_infinitely_far() {
        assert_eq!(goodness_of_fit(&[1.0, 4.0], &[0.0, 5.0]), f64::INFINITY);
        assert_eq!(goodness_of_fit(&[0.0, 5.0], &[0.0, 5.0]), 0.0);
        assert_eq!(homogeneity(&[0.0; 2], &[1.0; 2]), 0.0);
    }
}
