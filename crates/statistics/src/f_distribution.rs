//! The F distribution's quantile, and with it Student's t: the limits of squared distances whose scale was estimated.
//!
//! The probability is a regularised incomplete beta function, I_x(a, b) with a = d1 / 2, b = d2 / 2 and
//! x = d1 f / (d1 f + d2) (NIST Digital Library of Mathematical Functions 8.17), evaluated as the continued fraction
//! 8.17.22 on the side where it converges quickly. The quantile is found by bisection, so that it can't run away; it is
//! within 1e-10 relative of SciPy's `f.ppf` for 1 to 1000 over 1 to 10 million degrees of freedom.

/// The most degrees of freedom of the numerator.
pub const MAX_NUMERATOR_DEGREES: u32 = 1_000;

/// The most degrees of freedom of the denominator. Quantiles of more differ by less than one in a million.
pub const MAX_DENOMINATOR_DEGREES: u32 = 10_000_000;

/// Terms of the fraction. It needs about the square root of the larger parameter; this covers 5 million tenfold.
const MAX_TERMS: u32 = 20_000;

/// Doublings from 1 to beyond what a f64 holds.
const DOUBLINGS: u32 = 1_024;

/// Halvings from an interval of an octave to one that is narrower than its last bit.
const BISECTIONS: u32 = 60;

/// From here on Stirling's series with six terms is exact to the last bit.
const STIRLING_FROM: f64 = 16.0;

/// The f with P(F <= f) = `probability` for `numerator` over `denominator` degrees of freedom. `None` for a probability
/// outside of (0, 1) and degrees outside of 1 to [`MAX_NUMERATOR_DEGREES`] and [`MAX_DENOMINATOR_DEGREES`].
#[must_use]
pub fn quantile(probability: f64, numerator: u32, denominator: u32) -> Option<f64> {
    solve(probability, 1.0 - probability, numerator, denominator)
}

/// The f with P(F > f) = `tail`, for tails that are too small to be told from 1 by what is left of them.
#[must_use]
pub fn upper_quantile(tail: f64, numerator: u32, denominator: u32) -> Option<f64> {
    solve(1.0 - tail, tail, numerator, denominator)
}

/// The t with P(|T| > t) = `tail` for Student's distribution: T² is F distributed with 1 over `degrees`.
#[must_use]
pub fn two_sided_t(tail: f64, degrees: u32) -> Option<f64> {
    upper_quantile(tail, 1, degrees).map(libm::sqrt)
}

/// The f with the probability `lower` below and `upper` above it, which add up to 1.
fn solve(lower: f64, upper: f64, numerator: u32, denominator: u32) -> Option<f64> {
    let answerable = lower > 0.0
        && upper > 0.0
        && (1..=MAX_NUMERATOR_DEGREES).contains(&numerator)
        && (1..=MAX_DENOMINATOR_DEGREES).contains(&denominator);
    if !answerable {
        return None;
    }
    let (d1, d2) = (f64::from(numerator), f64::from(denominator));
    // The smaller tail is the one that isn't rounded away.
    let is_below = |f: f64| {
        let (x, rest) = (d1 * f / (d1 * f + d2), d2 / (d1 * f + d2));
        if lower < upper {
            incomplete_beta(d1 / 2.0, d2 / 2.0, x, rest) < lower
        } else {
            incomplete_beta(d2 / 2.0, d1 / 2.0, rest, x) > upper
        }
    };
    let (mut low, mut high) = bracket(is_below)?;
    for _ in 0..BISECTIONS {
        let middle = low + (high - low) / 2.0;
        if is_below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// An octave with the quantile in it.
fn bracket(is_below: impl Fn(f64) -> bool) -> Option<(f64, f64)> {
    let mut high = 1.0;
    let factor = if is_below(high) { 2.0 } else { 0.5 };
    for _ in 0..DOUBLINGS {
        let next = high * factor;
        if factor > 1.0 && !is_below(next) {
            return Some((high, next));
        }
        if factor < 1.0 && is_below(next) {
            return Some((next, high));
        }
        high = next;
    }
    None
}

/// I_x(a, b) for x in \[0, 1\] and `rest` = 1 - x, given apart because the difference would lose digits.
fn incomplete_beta(a: f64, b: f64, x: f64, rest: f64) -> f64 {
    if x <= 0.0 || rest <= 0.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    let factor = libm::exp(a * logarithm(x, rest) + b * logarithm(rest, x) - log_beta(a, b));
    if x < (a + 1.0) / (a + b + 2.0) {
        factor * fraction(a, b, x) / a
    } else {
        1.0 - factor * fraction(b, a, rest) / b
    }
}

/// ln x, from x or 1 - x, whichever has more digits of it.
fn logarithm(x: f64, rest: f64) -> f64 {
    if x < 0.5 { libm::log(x) } else { libm::log1p(-rest) }
}

/// The continued fraction of DLMF 8.17.22, evaluated forwards by Lentz's method.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    /// Stands in for a denominator of 0.
    const TINY: f64 = 1e-300;
    let apart_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / apart_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..MAX_TERMS {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / apart_from_zero(1.0 + even * d);
        c = apart_from_zero(1.0 + even / c);
        fraction *= c * d;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / apart_from_zero(1.0 + odd * d);
        c = apart_from_zero(1.0 + odd / c);
        fraction *= c * d;
        if (c * d - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    fraction
}

/// ln B(a, b) = ln gamma(a) + ln gamma(b) - ln gamma(a + b).
///
/// The last two are nearly equal when b is large, millions that differ by little. Stirling's formula (DLMF 5.11.1) for
/// both leaves (a + b - 1/2) ln(1 + a/b) + a (ln b - 1), which has all its digits.
fn log_beta(a: f64, b: f64) -> f64 {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    if b < STIRLING_FROM {
        return libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    }
    let quotient = (a + b - 0.5) * libm::log1p(a / b) + a * (libm::log(b) - 1.0) + stirling(a + b) - stirling(b);
    libm::lgamma(a) - quotient
}

/// What Stirling's formula leaves out of ln gamma(z), the sum of B(2k) / (2k (2k - 1) z^(2k - 1)).
fn stirling(z: f64) -> f64 {
    let inverse = 1.0 / z;
    let square = inverse * inverse;
    let terms = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
    ];
    inverse * terms.iter().rev().fold(0.0, |sum, term| sum * square + term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms() {
        for probability in [1e-9, 0.001, 0.5, 0.999, 1.0 - 1e-9] {
            // With 2 over 2 degrees P(F <= f) = f / (1 + f); with one, T is Cauchy distributed.
            let odds = probability / (1.0 - probability);
            let found = quantile(probability, 2, 2).unwrap();
            assert!((found / odds - 1.0).abs() < 1e-12, "{probability}: {found} {odds}");
        }
        for tail in [1e-150, 1e-30, 1e-9, 0.001, 0.5, 0.999] {
            let exact = 1.0 / libm::tan(core::f64::consts::FRAC_PI_2 * tail);
            let found = two_sided_t(tail, 1).unwrap();
            assert!((found / exact - 1.0).abs() < 1e-12, "{tail}: {found} {exact}");
        }
    }

    #[test]
    fn many_degrees_below_are_chi_square() {
        for degrees in [1, 2, 10, 1000] {
            let limit = crate::chi_square::quantile(0.999, degrees).unwrap() / f64::from(degrees);
            let found = quantile(0.999, degrees, MAX_DENOMINATOR_DEGREES).unwrap();
            assert!(
                (found / limit - 1.0).abs() < 1e-3 * f64::from(degrees) / 1e3 + 1e-5,
                "{degrees}: {found} {limit}"
            );
        }
    }

    #[test]
    fn arguments_outside_have_no_quantile() {
        for probability in [0.0, 1.0, -1.0, 2.0, f64::NAN] {
            assert_eq!(
                (quantile(probability, 3, 3), upper_quantile(probability, 3, 3)),
                (None, None)
            );
        }
        assert_eq!((quantile(0.5, 0, 3), quantile(0.5, 3, 0)), (None, None));
        assert_eq!(quantile(0.5, MAX_NUMERATOR_DEGREES + 1, 3), None);
        assert_eq!(quantile(0.5, 3, MAX_DENOMINATOR_DEGREES + 1), None);
    }
}
