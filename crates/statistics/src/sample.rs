//! A reference as a sorted sample: what a field looked like in training, for distances between distributions.
//!
//! A sample of at most [`MAX_POINTS`] values is kept as it is, and a distance to it is the two-sample distance of the
//! textbooks. Of a larger one so many of its quantiles are kept that have the same share of it each: [`SortedSample`] then
//! knows how many values it stands for, and its distribution function is at most [`SortedSample::coarseness`] from theirs.

use crate::{StatisticsError, drift::in_range, moments::Moments};
use alloc::vec::Vec;

/// 32 KiB a field, or 80 KB in a JSON asset; its quantiles are within 0.013 % of the distribution.
pub const MAX_POINTS: usize = 4096;

/// What a reference is thinned to unless told otherwise: quantiles within 0.05 %.
pub const DEFAULT_POINTS: usize = 1000;

/// Values in rising order, and how many samples they stand for.
#[derive(Debug, Clone, PartialEq)]
pub struct SortedSample {
    /// Finite, in rising order; values may repeat.
    points: Vec<f64>,
    /// At least as many as there are points.
    drawn: f64,
    deviation: f64,
    skewness: f64,
}

impl SortedSample {
    /// From 2 to [`MAX_POINTS`] finite values in rising order that stand for `drawn` samples: as many as there are values,
    /// or more when they are quantiles.
    pub fn new(points: Vec<f64>, drawn: f64) -> Result<Self, StatisticsError> {
        in_range("reference values", points.len() as f64, 2.0, MAX_POINTS as f64)?;
        in_range("reference samples", drawn, points.len() as f64, f64::MAX)?;
        if !points.iter().all(|point| point.is_finite()) || !points.is_sorted() {
            return Err(StatisticsError::Order);
        }
        let mut moments = Moments::new();
        points.iter().for_each(|&point| moments.push(point));
        Ok(Self {
            points,
            drawn,
            deviation: moments.variance().map_or(0.0, libm::sqrt),
            skewness: moments.skewness().unwrap_or(0.0),
        })
    }

    /// From samples in any order, thinned to `points` quantiles where there are more: of each of so many equal shares of
    /// the sorted samples the one in the middle. Values that aren't finite are left out.
    pub fn from_samples(samples: &[f64], points: usize) -> Result<Self, StatisticsError> {
        in_range("reference values", points as f64, 2.0, MAX_POINTS as f64)?;
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let drawn = sorted.len();
        if drawn > points {
            let middle = |k: usize| ((2 * k as u128 + 1) * drawn as u128 / (2 * points as u128)) as usize;
            sorted = (0..points).filter_map(|k| sorted.get(middle(k)).copied()).collect();
        }
        Self::new(sorted, drawn as f64)
    }

    /// The values, rising.
    #[must_use]
    pub fn points(&self) -> &[f64] {
        &self.points
    }

    /// How many samples the values stand for.
    #[must_use]
    pub const fn drawn(&self) -> f64 {
        self.drawn
    }

    /// The standard deviation of the values, with divisor n.
    #[must_use]
    pub const fn deviation(&self) -> f64 {
        self.deviation
    }

    /// The biased skewness of the values; 0 where they are all the same.
    #[must_use]
    pub const fn skewness(&self) -> f64 {
        self.skewness
    }

    /// How far the distribution function of the values can be from that of the samples they stand for: 0 for a sample that
    /// was kept whole, else half a value's share and half a sample's.
    #[must_use]
    pub fn coarseness(&self) -> f64 {
        let points = self.points.len() as f64;
        if self.drawn > points {
            0.5 / points + 0.5 / self.drawn
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_checked() {
        for (points, drawn) in [
            (vec![1.0], 1.0),
            (vec![1.0, 2.0], 1.0),
            (vec![0.0; MAX_POINTS + 1], 1e9),
        ] {
            let error = SortedSample::new(points, drawn).unwrap_err();
            assert!(matches!(error, StatisticsError::OutOfRange { .. }), "{error}");
        }
        for points in [[2.0, 1.0], [0.0, f64::NAN], [0.0, f64::INFINITY]] {
            assert_eq!(SortedSample::new(points.to_vec(), 2.0), Err(StatisticsError::Order));
        }
        assert!(SortedSample::from_samples(&[1.0, f64::NAN], 10).is_err());
        assert!(SortedSample::from_samples(&[1.0, 2.0], MAX_POINTS + 1).is_err());
    }

    #[test]
    fn small_samples_are_kept_whole() {
        let sample = SortedSample::from_samples(&[3.0, f64::NAN, 1.0, f64::INFINITY, 2.0], 3).unwrap();
        assert_eq!((sample.points(), sample.drawn()), (&[1.0, 2.0, 3.0][..], 3.0));
        assert_eq!((sample.coarseness(), sample.skewness()), (0.0, 0.0));
        assert_eq!(sample.deviation(), (2.0_f64 / 3.0).sqrt());
    }

    #[test]
    fn thinned_samples_are_as_close_as_stated() {
        for (drawn, points) in [(1000_usize, 10_usize), (1001, 10), (999, 17), (11, 10), (4097, 4096)] {
            let samples: Vec<f64> = (0..drawn).map(|n| n as f64).collect();
            let sample = SortedSample::from_samples(&samples, points).unwrap();
            assert_eq!((sample.points().len(), sample.drawn()), (points, drawn as f64));
            let distance = |below: f64, at: f64| (below / drawn as f64 - at / points as f64).abs();
            let farthest = (0..drawn).map(|n| {
                let kept = sample.points().partition_point(|&point| point <= n as f64) as f64;
                distance(n as f64 + 1.0, kept)
            });
            let farthest = farthest.fold(0.0_f64, f64::max);
            assert!(
                farthest <= sample.coarseness() + 1e-12,
                "{drawn} to {points}: {farthest}"
            );
        }
    }
}
