//! Whether a value is a number, and within limits.

use crate::StatisticsError;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// A number within the limits.
    Within,
    /// A number below the lower limit.
    Below,
    /// A number above the upper limit.
    Above,
    /// NaN, which stands for a value that isn't there.
    Missing,
    /// Plus or minus infinity.
    Infinite,
}

/// Limits in the value's own unit, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    min: f64,
    max: f64,
}

impl Limits {
    /// Infinite limits stand for none.
    pub fn new(min: f64, max: f64) -> Result<Self, StatisticsError> {
        if min <= max {
            Ok(Self { min, max })
        } else {
            Err(StatisticsError::Limits { min, max })
        }
    }

    /// The lower limit.
    #[must_use]
    pub const fn min(&self) -> f64 {
        self.min
    }

    /// The upper limit.
    #[must_use]
    pub const fn max(&self) -> f64 {
        self.max
    }

    /// What `value` is. An infinity is [`Check::Infinite`] even without limits.
    #[must_use]
    pub fn check(&self, value: f64) -> Check {
        if value.is_nan() {
            Check::Missing
        } else if value.is_infinite() {
            Check::Infinite
        } else if value < self.min {
            Check::Below
        } else if value > self.max {
            Check::Above
        } else {
            Check::Within
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_inclusive() {
        let limits = Limits::new(-1.0, 2.0).unwrap();
        for (value, expected) in [
            (-1.0, Check::Within),
            (2.0, Check::Within),
            (-1.0000001, Check::Below),
            (2.0000001, Check::Above),
            (f64::NAN, Check::Missing),
            (f64::NEG_INFINITY, Check::Infinite),
        ] {
            assert_eq!(limits.check(value), expected, "{value}");
        }
    }

    #[test]
    fn limits_in_the_wrong_order_are_refused() {
        for (min, max) in [(1.0, 0.0), (f64::NAN, 0.0), (0.0, f64::NAN)] {
            assert!(Limits::new(min, max).is_err());
        }
    }
}
