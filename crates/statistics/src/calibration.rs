//! A threshold from training data, for sensors whose samples depend on each other.
//!
//! The monitors' own thresholds hold for independent samples. A slow process seen often isn't that: 200 samples of it say
//! as much as perhaps ten independent ones, windows differ from the reference far more than 200 samples explain, and a
//! monitor cries wolf (in 24 to 53 % of the windows of the first-order autoregressive process in `tests/calibration.rs`). How much
//! windows differ without drift can be seen in training data: cut into blocks of the window's length, each block gives
//! the statistic that a window of this process gives, dependence and all.
//!
//! [`Calibration::on_blocks`] holds the blocks of each half of the training data against a reference from the other
//! half, since a reference that has seen a block is too near to it. The reference in the field is made of
//! both halves, hence better, and the threshold a little too high rather than too low.
//!
//! # What so few blocks can say
//!
//! The next block is as likely to take any rank among the B of the training data (the windows of a process that doesn't
//! change are exchangeable when they are long beside its memory). So it exceeds the k-th smallest with a probability of
//! (B + 1 - k) / (B + 1): 99 blocks support a false-alarm probability of 0.01 and no less, 0.001 takes 999. That is the
//! mean over training data; for those at hand the probability is Beta(B + 1 - k, k) distributed (Wilks 1941, Annals of
//! Mathematical Statistics 12(1)), and [`Calibrated::at_most`] is its 95 % bound: with 99 blocks and their maximum
//! 0.030. Where blocks are fewer than the confidence takes, [`Calibration::threshold`] gives their maximum and says what
//! that supports.
//!
//! # Beyond the blocks
//!
//! [`Calibration::extrapolated`] assumes a shape instead: under dependence PSI and chi-square are sums of differently
//! weighted squares of normal variables, and so nearly are the squares of the distances. Such a sum is near to a scaled
//! chi-square variable with the same mean and variance (Satterthwaite 1946, Biometrics Bulletin 2(6)), whose quantile is
//! the threshold, if it isn't below the largest block. 100 blocks so give a threshold for 0.999; its false-alarm
//! probability is no longer guaranteed. In the simulation it is 0.001 to 0.003.

//!
//! ```
//! use floorhand_statistics::{
//!     calibration::{Calibration, Growth},
//!     drift::Criterion,
//!     psi::{Reference, TumblingPsi},
//! };
//!
//! // A slow wave that isn't a multiple of the window: 40 blocks of 100.
//! let training: Vec<f64> = (0..4000).map(|n| libm::sin(0.01 * f64::from(n))).collect();
//! let monitor = |samples: &[f64]| TumblingPsi::new(Reference::from_samples(samples, 10)?, 100);
//! let calibration = Calibration::on_blocks(&training, 100, monitor, |monitor, block| {
//!     let mut monitor = monitor.clone();
//!     block.iter().find_map(|&value| monitor.push(value)).map(|report| report.psi)
//! })?;
//! let calibrated = calibration.threshold(0.999)?;
//! assert!(calibrated.threshold > 1.0, "each window holds a part of the wave only");
//! assert_eq!((calibrated.blocks, calibrated.probability), (40, 1.0 / 41.0));
//! let threshold = calibration.extrapolated(0.999, Growth::Quadratic)?;
//! let drift = monitor(&training)?.with_criterion(Criterion::fixed(threshold)?);
//! # Ok::<(), floorhand_statistics::StatisticsError>(())
//! ```

use crate::{StatisticsError, chi_square, drift::in_range};
use alloc::vec::Vec;

/// Fewer blocks say nothing: with 10 the largest is exceeded by every eleventh window.
pub const MIN_BLOCKS: usize = 10;

/// A year of windows of five minutes; 800 KiB.
pub const MAX_BLOCKS: usize = 100_000;

/// The share of training data for which [`Calibrated::at_most`] holds.
pub const ASSURANCE: f64 = 0.95;

/// Halvings from 1 to a probability's last bit.
const BISECTIONS: u32 = 60;

/// How a statistic grows with the distance between distributions, which says what its noise is distributed like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// Like the distance: Kolmogorov-Smirnov, Wasserstein, Jensen-Shannon.
    Linear,
    /// Like its square: PSI and chi-square.
    Quadratic,
}

/// What a monitor's statistic was over blocks of training data.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Rising.
    statistics: Vec<f64>,
}

/// A threshold, and what the blocks say about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibrated {
    /// For [`crate::drift::Criterion::fixed`].
    pub threshold: f64,
    /// The false-alarm probability per window, in the mean over training data. More than was asked for when there are too
    /// few blocks.
    pub probability: f64,
    /// What the probability is at most, for [`ASSURANCE`] of all training data.
    pub at_most: f64,
    /// How many blocks there were.
    pub blocks: usize,
}

impl Calibration {
    /// From the statistic of each block, [`MIN_BLOCKS`] to [`MAX_BLOCKS`] numbers of at least 0. None of the blocks may be
    /// part of the reference that they were held against.
    pub fn new(mut statistics: Vec<f64>) -> Result<Self, StatisticsError> {
        in_range(
            "blocks of training data",
            statistics.len() as f64,
            MIN_BLOCKS as f64,
            MAX_BLOCKS as f64,
        )?;
        for &statistic in &statistics {
            in_range("a block's statistic", statistic, 0.0, f64::MAX)?;
        }
        statistics.sort_unstable_by(f64::total_cmp);
        Ok(Self { statistics })
    }

    /// From training samples in the order of time, in blocks of `window`. `reference` makes a reference of one half of them,
    /// `statistic` holds a block of the other half against it; a block without a statistic (too little of it are numbers)
    /// is left out.
    pub fn on_blocks<R>(
        samples: &[f64],
        window: usize,
        reference: impl Fn(&[f64]) -> Result<R, StatisticsError>,
        mut statistic: impl FnMut(&R, &[f64]) -> Option<f64>,
    ) -> Result<Self, StatisticsError> {
        if window == 0 {
            return Err(StatisticsError::EmptyWindow);
        }
        let halves = samples.split_at(samples.len() / 2);
        let mut statistics = Vec::new();
        for (seen, held_out) in [halves, (halves.1, halves.0)] {
            let reference = reference(seen)?;
            let blocks = held_out.chunks_exact(window);
            statistics.extend(blocks.filter_map(|block| statistic(&reference, block)));
        }
        Self::new(statistics)
    }

    /// How many blocks there are.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.statistics.len()
    }

    /// The smallest of the blocks' statistics that a window without drift stays at or below with a probability of
    /// `confidence`; the largest where there are too few.
    pub fn threshold(&self, confidence: f64) -> Result<Calibrated, StatisticsError> {
        in_range("confidence", confidence, 0.0, 1.0)?;
        let blocks = self.statistics.len();
        // The k-th smallest, k from 1. A hair less, so that 0.99 of 100 is 99 however it was rounded.
        let rank = libm::ceil(confidence * (blocks as f64 + 1.0) - 1e-9) as usize;
        let above = blocks - rank.clamp(1, blocks);
        let threshold = self.statistics.iter().rev().nth(above).copied().unwrap_or(0.0);
        Ok(Calibrated {
            threshold,
            probability: (above as f64 + 1.0) / (blocks as f64 + 1.0),
            at_most: highest_probability(blocks, above),
            blocks,
        })
    }

    /// The threshold at `confidence` for a statistic whose noise has the shape that its `growth` says, and at least the largest
    /// of the blocks' statistics. Nothing guarantees the confidence; see the module's documentation.
    pub fn extrapolated(&self, confidence: f64, growth: Growth) -> Result<f64, StatisticsError> {
        in_range(
            "confidence",
            confidence,
            crate::drift::MIN_CONFIDENCE,
            crate::drift::MAX_CONFIDENCE,
        )?;
        let mut moments = crate::moments::Moments::new();
        for &statistic in &self.statistics {
            moments.push(match growth {
                Growth::Linear => statistic * statistic,
                Growth::Quadratic => statistic,
            });
        }
        let largest = self.statistics.last().copied().unwrap_or(0.0);
        let (mean, variance) = (moments.mean(), moments.sample_variance().unwrap_or(0.0));
        // scale · chi-square with these degrees has this mean, scale · degrees, and this variance, 2 scale² · degrees.
        let degrees = 2.0 * mean * mean / variance;
        let Some(quantile) = chi_square::quantile_of(confidence, degrees) else {
            return Ok(largest);
        };
        let threshold = mean / degrees * quantile;
        let threshold = match growth {
            Growth::Linear => libm::sqrt(threshold),
            Growth::Quadratic => threshold,
        };
        Ok(if threshold > largest { threshold } else { largest })
    }
}

/// The probability u for which `above` or fewer of `blocks` would exceed the threshold with a probability of
/// 1 - [`ASSURANCE`]: the upper limit of Clopper and Pearson.
fn highest_probability(blocks: usize, above: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..BISECTIONS {
        let middle = low + (high - low) / 2.0;
        if binomial_at_most(blocks, above, middle) > 1.0 - ASSURANCE {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// P(X <= `most`) for X of `trials` with a probability of `share` each, 0 < share < 1.
fn binomial_at_most(trials: usize, most: usize, share: f64) -> f64 {
    let n = trials as f64;
    let factorial = |x: f64| libm::lgamma(x + 1.0);
    let (hit, miss) = (libm::log(share), libm::log1p(-share));
    let terms = (0..=most).map(|k| {
        let k = k as f64;
        libm::exp(factorial(n) - factorial(k) - factorial(n - k) + k * hit + (n - k) * miss)
    });
    terms.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(blocks: u32) -> Calibration {
        Calibration::new((1..=blocks).rev().map(f64::from).collect()).unwrap()
    }

    #[test]
    fn the_rank_is_the_confidences() {
        for (blocks, confidence, threshold, probability) in [
            (99, 0.99, 99.0, 0.01),
            (199, 0.99, 198.0, 0.01),
            (99, 0.9, 90.0, 0.1),
            (100, 0.9, 91.0, 10.0 / 101.0),
            (99, 0.999, 99.0, 0.01),
            (10, 0.0, 1.0, 10.0 / 11.0),
            (10, 1.0, 10.0, 1.0 / 11.0),
        ] {
            let calibrated = calibration(blocks).threshold(confidence).unwrap();
            assert_eq!((calibrated.threshold, calibrated.blocks), (threshold, blocks as usize));
            assert!((calibrated.probability - probability).abs() < 1e-12, "{calibrated:?}");
        }
        assert!(calibration(10).threshold(1.1).is_err());
    }

    #[test]
    fn the_bound_on_the_maximum_has_a_closed_form() {
        // P(no block above) = (1 - u)^B.
        for blocks in [10, 99, 1000] {
            let at_most = calibration(blocks).threshold(1.0).unwrap().at_most;
            let exact = 1.0 - 0.05_f64.powf(1.0 / f64::from(blocks));
            assert!((at_most / exact - 1.0).abs() < 1e-9, "{at_most} {exact}");
        }
        // scipy.stats.beta.ppf(0.95, 2, 198)
        let second = calibration(199).threshold(0.99).unwrap().at_most;
        assert!((second - 0.023_615_444).abs() < 1e-8, "{second}");
    }

    #[test]
    fn an_exact_shape_is_extrapolated_exactly() {
        // The 999 quantiles of a chi-square distribution with four degrees, times 3: mean and variance nearly 12 and 72.
        let blocks: Vec<f64> = (1..1000)
            .filter_map(|k| chi_square::quantile(f64::from(k) / 1000.0, 4))
            .map(|x| 3.0 * x)
            .collect();
        let exact = 3.0 * chi_square::quantile(0.9999, 4).unwrap();
        let squares = Calibration::new(blocks.clone()).unwrap();
        let roots = Calibration::new(blocks.iter().map(|x| x.sqrt()).collect()).unwrap();
        let found = squares.extrapolated(0.9999, Growth::Quadratic).unwrap();
        assert!((found / exact - 1.0).abs() < 0.02, "{found} {exact}");
        let root = roots.extrapolated(0.9999, Growth::Linear).unwrap();
        assert!((root * root / found - 1.0).abs() < 1e-9, "{root} {found}");
        let largest = squares.extrapolated(0.5, Growth::Quadratic).unwrap();
        assert_eq!(Some(&largest), blocks.last());
        let constant = Calibration::new(vec![2.0; 20]).unwrap();
        assert_eq!(constant.extrapolated(0.999, Growth::Linear), Ok(2.0));
    }

    #[test]
    fn blocks_are_held_against_the_other_half() {
        let samples: Vec<f64> = (0..205).map(f64::from).collect();
        let first = |half: &[f64]| Ok(half[0]);
        let distance = |first: &f64, block: &[f64]| Some((block[0] - first).abs());
        let calibration = Calibration::on_blocks(&samples, 20, first, distance).unwrap();
        let expected: Vec<f64> = [22, 42, 62, 82, 102, 102, 122, 142, 162, 182].map(f64::from).to_vec();
        assert_eq!(calibration.statistics, expected);
        assert!(
            Calibration::on_blocks(&samples, 21, first, distance).is_err(),
            "too few blocks"
        );
        assert!(Calibration::on_blocks(&samples, 0, first, distance).is_err());
        assert!(Calibration::new(vec![f64::NAN; 20]).is_err());
    }
}
