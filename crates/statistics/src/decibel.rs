//! Powers as levels: decibels or natural logarithms, with a floor for what is silent.
//!
//! A level is 10 log10(max(power, floor)) - 10 log10(max(reference, floor)), and where a range is given at most that
//! far below the loudest (librosa's `power_to_db` with `amin`, `ref` and `top_db`). The level of a magnitude is that of
//! its square.

use crate::StatisticsError;

/// How powers become levels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decibel {
    /// The power of 0 dB, above 0. 1 by default.
    pub reference: f64,
    /// Powers below it are taken for it, so that silence isn't minus infinity; above 0. 1e-10 by default.
    pub floor: f64,
    /// How far below the loudest of the powers given together a level may be, at least 0; infinite, the default, for
    /// any.
    ///
    /// A level then depends on its neighbours: a model sees the same sound otherwise when another one is beside it.
    pub range_db: f64,
}

impl Default for Decibel {
    fn default() -> Self {
        Self {
            reference: 1.0,
            floor: 1e-10,
            range_db: f64::INFINITY,
        }
    }
}

impl Decibel {
    /// Whether the parameters can be used.
    pub fn check(&self) -> Result<(), StatisticsError> {
        let Self {
            reference,
            floor,
            range_db,
        } = *self;
        let is_power = |value: f64| value > 0.0 && value.is_finite();
        for (name, value, holds, expected) in [
            ("reference", reference, is_power(reference), "finite and above 0"),
            ("floor", floor, is_power(floor), "finite and above 0"),
            ("range_db", range_db, range_db >= 0.0, "0 or more"),
        ] {
            if !holds {
                return Err(StatisticsError::Parameter { name, value, expected });
            }
        }
        Ok(())
    }

    /// Replaces powers by their levels in dB. A NaN stays one, and is not the loudest.
    pub fn levels(&self, powers: &mut [f64]) {
        let level = |power: f64| 10.0 * libm::log10(at_least(power, self.floor));
        let zero = level(self.reference);
        powers.iter_mut().for_each(|power| *power = level(*power) - zero);
        if self.range_db.is_finite() {
            let loudest = powers.iter().fold(
                f64::NEG_INFINITY,
                |loudest, &level| if level > loudest { level } else { loudest },
            );
            let lowest = loudest - self.range_db;
            powers.iter_mut().for_each(|level| *level = at_least(*level, lowest));
        }
    }
}

/// Replaces powers by ln(max(power, floor)), the other usual input of acoustic models. A NaN stays one.
pub fn natural_logarithms(powers: &mut [f64], floor: f64) {
    powers
        .iter_mut()
        .for_each(|power| *power = libm::log(at_least(*power, floor)));
}

/// Replaces powers by magnitudes, their square roots.
pub fn magnitudes(powers: &mut [f64]) {
    powers.iter_mut().for_each(|power| *power = libm::sqrt(*power));
}

/// The larger one; NaN for a NaN.
fn at_least(value: f64, least: f64) -> f64 {
    if value < least { least } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_a_floor_and_a_range() {
        let mut powers = [100.0, 1.0, 1e-5, 0.0, f64::NAN];
        Decibel {
            floor: 1e-3,
            ..Decibel::default()
        }
        .levels(&mut powers);
        assert_eq!(powers[..4], [20.0, 0.0, -30.0, -30.0]);
        assert!(powers[4].is_nan());
        let mut powers = [100.0, f64::NAN, 1e-5];
        Decibel {
            reference: 10.0,
            range_db: 15.0,
            ..Decibel::default()
        }
        .levels(&mut powers);
        assert_eq!((powers[0], powers[2]), (10.0, -5.0));
    }

    #[test]
    fn logarithms_and_roots() {
        let mut powers = [core::f64::consts::E, 0.0];
        natural_logarithms(&mut powers, 1.0);
        assert_eq!(powers, [1.0, 0.0]);
        let mut powers = [9.0, 0.0];
        magnitudes(&mut powers);
        assert_eq!(powers, [3.0, 0.0]);
    }

    #[test]
    fn parameters_are_checked() {
        let base = Decibel::default();
        assert!(base.check().is_ok());
        for decibel in [
            Decibel { reference: 0.0, ..base },
            Decibel { floor: 0.0, ..base },
            Decibel {
                floor: f64::NAN,
                ..base
            },
            Decibel { range_db: -1.0, ..base },
            Decibel {
                range_db: f64::NAN,
                ..base
            },
        ] {
            assert!(decibel.check().is_err(), "{decibel:?}");
        }
    }
}
