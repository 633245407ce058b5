//! Mean, variance, skewness and kurtosis of a stream, in five numbers.
//!
//! The update is the one-pass form of Welford as extended to fourth moments by Pébay (2008, SAND2008-6212, equations
//! 2.1 to 2.3 with one new sample), which doesn't cancel the way sums of powers do.

/// Running central moments. NaN and infinity spread into the results: leave them out before.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    count: u64,
    mean: f64,
    /// Sums of the second, third and fourth power of the distance to the mean.
    m2: f64,
    m3: f64,
    m4: f64,
}

impl Moments {
    /// No samples yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            count: 0,
            mean: 0.0,
            m2: 0.0,
            m3: 0.0,
            m4: 0.0,
        }
    }

    /// Takes one sample in.
    pub fn push(&mut self, value: f64) {
        let before = self.count as f64;
        self.count += 1;
        let n = self.count as f64;
        let delta = value - self.mean;
        let step = delta / n;
        let step2 = step * step;
        let term = delta * step * before;
        self.mean += step;
        self.m4 += term * step2 * (n * n - 3.0 * n + 3.0) + 6.0 * step2 * self.m2 - 4.0 * step * self.m3;
        self.m3 += term * step * (n - 2.0) - 3.0 * step * self.m2;
        self.m2 += term;
    }

    /// How many samples were taken in.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The arithmetic mean; 0 without samples.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// The variance with divisor n (`numpy.var`); `None` without samples.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.m2 / self.count as f64)
    }

    /// The variance with divisor n - 1 (`numpy.var(ddof=1)`); `None` below two samples.
    #[must_use]
    pub fn sample_variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.m2 / (self.count - 1) as f64)
    }

    /// The biased skewness m3 / m2^1.5 (`scipy.stats.skew`); `None` where the variance is 0.
    #[must_use]
    pub fn skewness(&self) -> Option<f64> {
        let n = self.count as f64;
        let variance = self.variance().filter(|&variance| variance > 0.0)?;
        Some(self.m3 / n / (variance * libm::sqrt(variance)))
    }

    /// Pearson's biased kurtosis m4 / m2², 3 for a normal distribution (`scipy.stats.kurtosis(fisher=False)`); `None`
    /// where the variance is 0.
    #[must_use]
    pub fn kurtosis(&self) -> Option<f64> {
        let n = self.count as f64;
        let variance = self.variance().filter(|&variance| variance > 0.0)?;
        Some(self.m4 / n / (variance * variance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_constants_have_no_shape() {
        let mut moments = Moments::new();
        assert_eq!(
            (moments.variance(), moments.sample_variance(), moments.kurtosis()),
            (None, None, None)
        );
        for _ in 0..3 {
            moments.push(4.0);
        }
        assert_eq!(
            (moments.mean(), moments.variance(), moments.skewness()),
            (4.0, Some(0.0), None)
        );
    }

    #[test]
    fn a_large_offset_does_not_cancel() {
        let mut moments = Moments::new();
        for value in [4.0, 7.0, 13.0, 16.0] {
            moments.push(1e9 + value);
        }
        assert_eq!(moments.sample_variance(), Some(30.0));
    }
}
