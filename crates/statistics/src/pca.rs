//! Whether a row of correlated values is like those of training: Hotelling's T² and the squared prediction error Q.
//!
//! A principal component analysis splits a row, standardised to z, into scores t = P z and what they don't explain,
//! e = z - Pᵀ t. T² = sum of t_i² / v_i, v_i being the component's variance in training, says how far the row is from
//! the middle in the directions that rows usually differ in; Q = |e|², also called SPE, how far it is out of them: a
//! correlation that is broken. Neither has a unit. [`PrincipalComponents::residuals`] says which value is to blame for
//! a large Q.
//!
//! The parameters are those of scikit-learn: `StandardScaler`'s `mean_` and `scale_` (or `PCA`'s `mean_`, and 1), and
//! `PCA`'s `components_` and `explained_variance_`. Fit a `PCA` with all components and keep the first: the variances
//! of the others are what Q's limit is made of.
//!
//! # Limits
//!
//! For a row that was not in training, T² is a (n² - 1) / (n (n - a)) times F distributed with a over n - a degrees of
//! freedom, a being the components and n the rows of training (Tracy, Young and Mason 1992, Journal of Quality
//! Technology 24(2)). Q's limit is Jackson and Mudholkar's (1979, Technometrics 21(3)): with θ_k the sum of the k-th
//! powers of the other components' variances, h = 1 - 2 θ₁ θ₃ / (3 θ₂²) and c the normal distribution's quantile, it is
//! θ₁ (1 + h x)^(1/h), where x = c sqrt(2 θ₂) / θ₁ + θ₂ (h - 1) / θ₁².
//!
//! That takes the variances to be known. They are estimated, of a sample that the components were fitted to, and of 20
//! rows 3.5% of new ones are above the limit of 99%. So it is multiplied with what that costs: (1 + 1/n) for the mean,
//! (n - 1) / (n - 1 - a) for the directions that were fitted away, and for the variances the quotient of the quantiles
//! of F with d over d (n - 1 - a) and chi-square over d with d degrees of freedom, d = θ₁² / θ₂ rounded. The last is
//! this crate's own; what it is worth is shown below. It goes to 1 with n.
//!
//! # False alarms
//!
//! Shares of new rows above the limits of 99% and 99.9%, and above that of 99.9% with one sensor off by so many
//! standard deviations of its noise: normal rows of 6 sensors that see 2 things, and of 20 that see 4, over thousands
//! of analyses (`tests/monitoring_limits.rs`).
//!
//! | sensors | rows | T² 99% | T² 99.9% | Q 99% | Q 99.9% | Q, off by 2 | by 4 | by 6 |
//! |---|---|---|---|---|---|---|---|---|
//! | 6 | 20 | 0.88% | 0.08% | 0.96% | 0.06% | 1% | 14% | 62% |
//! | 6 | 50 | 0.96% | 0.09% | 0.91% | 0.07% | 1% | 25% | 83% |
//! | 6 | 100 | 1.00% | 0.10% | 0.93% | 0.07% | 2% | 31% | 88% |
//! | 6 | 200 | 1.00% | 0.10% | 0.97% | 0.08% | 2% | 34% | 90% |
//! | 6 | 500 | 1.02% | 0.10% | 0.97% | 0.09% | 2% | 35% | 91% |
//! | 6 | 2000 | 1.00% | 0.10% | 0.99% | 0.08% | 2% | 36% | 91% |
//! | 20 | 50 | 0.82% | 0.07% | 0.86% | 0.05% | 0% | 5% | 41% |
//! | 20 | 100 | 0.88% | 0.11% | 0.86% | 0.05% | 0% | 8% | 54% |
//! | 20 | 200 | 0.99% | 0.11% | 0.89% | 0.07% | 1% | 11% | 61% |
//! | 20 | 500 | 1.02% | 0.11% | 0.94% | 0.08% | 1% | 12% | 64% |
//! | 20 | 2000 | 0.99% | 0.12% | 0.98% | 0.11% | 1% | 13% | 66% |
//!
//! For a rate a day, take 1 - alarms / rows a day: one a day at one row a second is 0.999988. Rows that aren't normal
//! have more; rows that depend on those before have them in bunches, and an analysis of them knows fewer than it has
//! rows.

use crate::{StatisticsError, chi_square, f_distribution};
use alloc::{vec, vec::Vec};

/// A machine's sensors, or a spectrum's bands. With [`MAX_COMPONENTS`] the parameters take 1 MiB.
pub const MAX_VARIABLES: usize = 1_024;

/// More than anyone keeps of so many variables; bounds memory and a row's cost.
pub const MAX_COMPONENTS: usize = 128;

/// What the distributions take, of variables that are 1024 at most.
const MAX_DEGREES: u32 = 1_000;

/// How far the products of two components may be from 0 and 1: parameters written with five digits pass.
const ORTHOGONALITY: f64 = 1e-4;

/// What one row showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distances {
    /// Hotelling's T², within the components.
    pub t2: f64,
    /// Q or SPE, the squared prediction error, out of them.
    pub q: f64,
}

/// A fitted principal component analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalComponents {
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// One row for each component.
    components: Vec<f64>,
    /// Of the components, in training.
    variances: Vec<f64>,
    /// Of those that were not kept.
    residual_variances: Vec<f64>,
    /// z, and e when a row was taken in.
    residuals: Vec<f64>,
}

impl PrincipalComponents {
    /// From `mean` and `scale` of each variable, `components` row by row, and the variances that they explain: of the
    /// components alone, or of all there are, which gives Q a [limit](Self::q_limit).
    pub fn new(
        mean: Vec<f64>,
        scale: Vec<f64>,
        components: Vec<f64>,
        mut explained_variances: Vec<f64>,
    ) -> Result<Self, StatisticsError> {
        let variables = mean.len();
        check_count("variables", variables, 1, MAX_VARIABLES, "1 to 1024")?;
        check_length(variables, scale.len())?;
        let count = components.len() / variables;
        check_count(
            "components",
            count,
            1,
            MAX_COMPONENTS.min(variables),
            "1 to 128, at most one for each variable",
        )?;
        check_length(count * variables, components.len())?;
        if explained_variances.len() < count || explained_variances.len() > variables {
            return Err(StatisticsError::Length {
                expected: variables,
                actual: explained_variances.len(),
            });
        }
        check_all("mean", &mean, |value| value.is_finite(), "finite")?;
        check_all(
            "scale",
            &scale,
            |value| value.is_finite() && value > 0.0,
            "finite and above 0",
        )?;
        let residual_variances = explained_variances.split_off(count);
        let is_variance = |value: f64| value.is_finite() && value > 0.0;
        check_all(
            "explained variance of a component",
            &explained_variances,
            is_variance,
            "finite and above 0",
        )?;
        let is_residual = |value: f64| value.is_finite() && value >= 0.0;
        check_all(
            "explained variance",
            &residual_variances,
            is_residual,
            "finite and at least 0",
        )?;
        check_orthogonal(&components, variables)?;
        Ok(Self {
            residuals: vec![0.0; variables],
            mean,
            scale,
            components,
            variances: explained_variances,
            residual_variances,
        })
    }

    /// How many values a row has.
    #[must_use]
    pub fn variables(&self) -> usize {
        self.mean.len()
    }

    /// How many components were kept.
    #[must_use]
    pub fn components(&self) -> usize {
        self.variances.len()
    }

    /// T² and Q of one row. A NaN or an infinity makes both NaN or infinite.
    pub fn distances(&mut self, row: &[f64]) -> Result<Distances, StatisticsError> {
        check_length(self.variables(), row.len())?;
        let parameters = self.mean.iter().zip(&self.scale);
        for ((residual, value), (mean, scale)) in self.residuals.iter_mut().zip(row).zip(parameters) {
            *residual = (value - mean) / scale;
        }
        let mut t2 = 0.0;
        // Taken off one after the other: the components stand at right angles, and what is left has less to cancel.
        for (component, variance) in self.components.chunks_exact(self.mean.len()).zip(&self.variances) {
            let score = dot(component, &self.residuals);
            t2 += score * score / variance;
            for (residual, weight) in self.residuals.iter_mut().zip(component) {
                *residual -= score * weight;
            }
        }
        let q = dot(&self.residuals, &self.residuals);
        Ok(Distances { t2, q })
    }

    /// What the components didn't explain of the last row, for each variable in its own standard deviations. Their
    /// squares add up to Q.
    #[must_use]
    pub fn residuals(&self) -> &[f64] {
        &self.residuals
    }

    /// The T² that a share of `probability` of new rows stays below, after `training_rows` in training. `None` for a
    /// probability outside of (0, 1), and for no more rows than components.
    #[must_use]
    pub fn t2_limit(&self, probability: f64, training_rows: u32) -> Option<f64> {
        let count = u32::try_from(self.components()).ok()?;
        // Of more rows than the distribution takes, the limit differs by less than one in a million.
        let rows = training_rows.min(f_distribution::MAX_DENOMINATOR_DEGREES);
        let degrees = rows.checked_sub(count)?;
        let quantile = f_distribution::quantile(probability, count, degrees)?;
        let (a, n) = (f64::from(count), f64::from(rows));
        Some(a * (n * n - 1.0) / (n * f64::from(degrees)) * quantile)
    }

    /// The Q that a share of `probability` of new rows stays below, after `training_rows` in training. `None` for a
    /// probability outside of \[0.5, 1), for no more rows than components and one, where the variances of the other
    /// components were not given or are all 0, and where the formula has no answer.
    #[must_use]
    pub fn q_limit(&self, probability: f64, training_rows: u32) -> Option<f64> {
        Some(self.jackson_mudholkar(probability)? * self.q_allowance(probability, training_rows)?)
    }

    /// How much larger a limit has to be because variances were estimated from so many rows.
    fn q_allowance(&self, probability: f64, training_rows: u32) -> Option<f64> {
        let (theta1, theta2) = (self.sum_of_powers(1), self.sum_of_powers(2));
        let degrees = libm::round(theta1 * theta1 / theta2) as u32;
        let degrees = degrees.clamp(1, MAX_DEGREES);
        let left = training_rows.checked_sub(u32::try_from(self.components()).ok()? + 1)?;
        let below = degrees
            .saturating_mul(left)
            .min(f_distribution::MAX_DENOMINATOR_DEGREES);
        let ratio = f64::from(degrees) * f_distribution::quantile(probability, degrees, below)?
            / chi_square::quantile(probability, degrees)?;
        let n = f64::from(training_rows);
        Some((1.0 + 1.0 / n) * ((n - 1.0) / f64::from(left)) * ratio)
    }

    /// Sum of the k-th powers of the other components' variances.
    fn sum_of_powers(&self, k: u32) -> f64 {
        let power = |variance: &f64| (1..k).fold(*variance, |product, _| product * variance);
        self.residual_variances.iter().map(power).sum()
    }

    /// Jackson and Mudholkar's limit of Q, that of variances that are known: [`q_limit`](Self::q_limit) after any
    /// number of rows.
    #[must_use]
    pub fn jackson_mudholkar(&self, probability: f64) -> Option<f64> {
        let (theta1, theta2, theta3) = (self.sum_of_powers(1), self.sum_of_powers(2), self.sum_of_powers(3));
        if theta2 <= 0.0 {
            return None;
        }
        let h = 1.0 - 2.0 * theta1 * theta3 / (3.0 * theta2 * theta2);
        let deviate = normal_quantile(probability)?;
        let exponent = deviate * libm::sqrt(2.0 * theta2) / theta1 + theta2 * (h - 1.0) / (theta1 * theta1);
        // (1 + h x)^(1/h), which is e^x for h = 0.
        let power = if h == 0.0 {
            exponent
        } else {
            libm::log1p(h * exponent) / h
        };
        let limit = theta1 * libm::exp(power);
        limit.is_finite().then_some(limit)
    }
}

/// The normal distribution's quantile from the median up: the square of a normal variable is chi-square distributed.
fn normal_quantile(probability: f64) -> Option<f64> {
    if probability == 0.5 {
        return Some(0.0);
    }
    // Exact, and negative below the median.
    chi_square::quantile(2.0 * probability - 1.0, 1).map(libm::sqrt)
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn check_length(expected: usize, actual: usize) -> Result<(), StatisticsError> {
    if expected == actual {
        return Ok(());
    }
    Err(StatisticsError::Length { expected, actual })
}

fn check_count(
    name: &'static str,
    count: usize,
    least: usize,
    most: usize,
    expected: &'static str,
) -> Result<(), StatisticsError> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(StatisticsError::Parameter {
        name,
        value: count as f64,
        expected,
    })
}

fn check_all(
    name: &'static str,
    values: &[f64],
    holds: impl Fn(f64) -> bool,
    expected: &'static str,
) -> Result<(), StatisticsError> {
    match values.iter().find(|&&value| !holds(value)) {
        None => Ok(()),
        Some(&value) => Err(StatisticsError::Parameter { name, value, expected }),
    }
}

/// Components that aren't at right angles, or not of length 1, are no result of a principal component analysis.
fn check_orthogonal(components: &[f64], variables: usize) -> Result<(), StatisticsError> {
    for (index, left) in components.chunks_exact(variables).enumerate() {
        for (other, right) in components.chunks_exact(variables).enumerate().skip(index) {
            let (product, expected) = (dot(left, right), if index == other { 1.0 } else { 0.0 });
            let is_fine = (product - expected).abs() <= ORTHOGONALITY;
            if !is_fine {
                return Err(StatisticsError::Parameter {
                    name: "product of two components",
                    value: product,
                    expected: "0, and that of one with itself 1",
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two variables that usually rise together.
    fn diagonal() -> PrincipalComponents {
        let side = libm::sqrt(0.5);
        PrincipalComponents::new(vec![1.0, 10.0], vec![2.0, 5.0], vec![side, side], vec![1.8, 0.2]).unwrap()
    }

    #[test]
    fn together_is_t2_and_apart_is_q() {
        let mut pca = diagonal();
        let middle = pca.distances(&[1.0, 10.0]).unwrap();
        assert_eq!(middle, Distances { t2: 0.0, q: 0.0 });
        let together = pca.distances(&[5.0, 20.0]).unwrap();
        assert!(
            (together.t2 - 8.0 / 1.8).abs() < 1e-12 && together.q < 1e-24,
            "{together:?}"
        );
        let apart = pca.distances(&[5.0, 0.0]).unwrap();
        assert!(apart.t2 < 1e-24 && (apart.q - 8.0).abs() < 1e-12, "{apart:?}");
        assert!((pca.residuals()[0] - 2.0).abs() < 1e-12 && (pca.residuals()[1] + 2.0).abs() < 1e-12);
        assert!(pca.distances(&[f64::NAN, 0.0]).unwrap().t2.is_nan());
        assert_eq!(
            pca.distances(&[0.0]),
            Err(StatisticsError::Length { expected: 2, actual: 1 })
        );
    }

    #[test]
    fn limits_where_there_are_none() {
        let pca = diagonal();
        assert!(pca.t2_limit(0.99, 2).is_some() && pca.q_limit(0.99, 3).is_some());
        assert_eq!(
            (pca.t2_limit(0.99, 1), pca.t2_limit(0.99, 0), pca.t2_limit(1.0, 50)),
            (None, None, None)
        );
        assert_eq!(
            (pca.q_limit(0.49, 50), pca.q_limit(1.0, 50), pca.q_limit(f64::NAN, 50)),
            (None, None, None)
        );
        assert_eq!(pca.q_limit(0.99, 2), None);
        let allowance = pca.q_allowance(0.99, u32::MAX).unwrap();
        assert!((allowance - 1.0).abs() < 1e-6, "{allowance}");
        let huge = pca.t2_limit(0.99, u32::MAX).unwrap();
        let known = chi_square::quantile(0.99, 1).unwrap();
        assert!((huge / known - 1.0).abs() < 1e-6, "{huge} {known}");
        let kept_alone = PrincipalComponents::new(vec![0.0; 2], vec![1.0; 2], vec![1.0, 0.0], vec![1.0]).unwrap();
        assert_eq!(kept_alone.q_limit(0.99, 50), None);
    }

    #[test]
    fn a_single_residual_variance_is_chi_square_nearly() {
        // Of one variance, h is 1/3: Wilson and Hilferty's approximation of chi-square.
        let limit = diagonal().jackson_mudholkar(0.99).unwrap();
        let exact = 0.2 * chi_square::quantile(0.99, 1).unwrap();
        assert!((limit / exact - 1.0).abs() < 0.02, "{limit} {exact}");
    }

    #[test]
    fn parameters_are_checked() {
        let new = |mean: &[f64], scale: &[f64], components: &[f64], variances: &[f64]| {
            PrincipalComponents::new(mean.to_vec(), scale.to_vec(), components.to_vec(), variances.to_vec())
        };
        let (zero, one) = ([0.0, 0.0], [1.0, 1.0]);
        assert!(new(&zero, &one, &[0.6, 0.8], &[1.0]).is_ok());
        assert!(new(&zero, &one, &[0.60001, 0.8], &[1.0]).is_ok(), "rounded");
        for (mean, scale, components, variances) in [
            (&[][..], &[][..], &[][..], &[][..]),
            (&zero, &[1.0], &[0.6, 0.8], &[1.0]),
            (&zero, &one, &[], &[]),
            (&zero, &one, &[0.6, 0.8, 0.0], &[1.0]),
            (&zero, &one, &[0.6, 0.8, -0.8, 0.6, 0.0, 0.0], &[1.0; 3]),
            (&zero, &one, &[0.6, 0.8], &[]),
            (&zero, &one, &[0.6, 0.8], &[1.0; 3]),
            (&zero, &[1.0, 0.0], &[0.6, 0.8], &[1.0]),
            (&[0.0, f64::NAN], &one, &[0.6, 0.8], &[1.0]),
            (&zero, &one, &[0.6, 0.8], &[0.0]),
            (&zero, &one, &[0.6, 0.8], &[1.0, -0.1]),
            (&zero, &one, &[0.6, 0.7], &[1.0]),
            (&zero, &one, &[f64::NAN, 0.8], &[1.0]),
            (&zero, &one, &[0.6, 0.8, 0.6, 0.8], &[1.0, 1.0]),
        ] {
            assert!(
                new(mean, scale, components, variances).is_err(),
                "{mean:?} {scale:?} {components:?}"
            );
        }
    }
}
