//! An alarm that is raised at one limit and cleared at a lower one, so that a value at the limit doesn't chatter.
//!
//! Any number that is large when something is wrong can be held against it: a z-score, T² or Q, an entropy.
//! [`episode`](crate::episode) makes a message of the beginning and the end.

use crate::StatisticsError;

/// When an alarm is raised and when cleared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// A value above this one is too large.
    pub raise: f64,
    /// A value up to this one is fine again; at most `raise`.
    pub clear: f64,
    /// Values in a row that are too large before the alarm is raised, at least 1.
    pub raise_after: u64,
    /// Values in a row that are fine again before it is cleared, at least 1.
    pub clear_after: u64,
}

/// Whether an alarm is raised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hysteresis {
    config: Config,
    raised: bool,
    /// Values in a row that speak for the other state.
    run: u64,
}

impl Hysteresis {
    /// Not raised. Limits may be infinite, which never raises or always clears.
    pub fn new(config: Config) -> Result<Self, StatisticsError> {
        let Config { raise, clear, .. } = config;
        if raise.is_nan() || clear.is_nan() || clear > raise {
            return Err(StatisticsError::Limits { min: clear, max: raise });
        }
        for (name, count) in [("raise_after", config.raise_after), ("clear_after", config.clear_after)] {
            if count == 0 {
                return Err(StatisticsError::Parameter {
                    name,
                    value: 0.0,
                    expected: "1 or more",
                });
            }
        }
        Ok(Self {
            config,
            raised: false,
            run: 0,
        })
    }

    /// Takes one value in, and says whether the alarm is raised. A NaN changes nothing and ends no run.
    pub fn push(&mut self, value: f64) -> bool {
        let (turns, after) = if self.raised {
            (value <= self.config.clear, self.config.clear_after)
        } else {
            (value > self.config.raise, self.config.raise_after)
        };
        if value.is_nan() {
            return self.raised;
        }
        self.run = if turns { self.run + 1 } else { 0 };
        if self.run >= after {
            self.raised = !self.raised;
            self.run = 0;
        }
        self.raised
    }

    /// When it is raised and cleared.
    #[must_use]
    pub const fn config(&self) -> Config {
        self.config
    }

    /// Whether the alarm is raised.
    #[must_use]
    pub const fn raised(&self) -> bool {
        self.raised
    }

    /// Whether it is raised, and how many values in a row spoke against that: all that the next answer depends on.
    #[must_use]
    pub const fn state(&self) -> (bool, u64) {
        (self.raised, self.run)
    }

    /// Goes on from what [`state`](Self::state) gave under the same configuration.
    pub fn restore(&mut self, raised: bool, run: u64) -> Result<(), StatisticsError> {
        let after = if raised {
            self.config.clear_after
        } else {
            self.config.raise_after
        };
        if run >= after {
            return Err(StatisticsError::State("a longer run than raises or clears the alarm"));
        }
        (self.raised, self.run) = (raised, run);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config = Config {
        raise: 3.0,
        clear: 2.0,
        raise_after: 2,
        clear_after: 3,
    };

    #[test]
    fn a_run_raises_and_a_run_clears() {
        let mut alarm = Hysteresis::new(CONFIG).unwrap();
        let pushes = [
            (3.1, false),
            (3.0, false),
            (3.1, false),
            (f64::NAN, false),
            (f64::INFINITY, true),
            (2.0, true),
            (2.0, true),
            (2.1, true),
            (2.0, true),
            (f64::NAN, true),
            (f64::NEG_INFINITY, true),
            (0.0, false),
            (2.9, false),
        ];
        for (step, (value, expected)) in pushes.into_iter().enumerate() {
            assert_eq!(alarm.push(value), expected, "{step}: {value}");
            let (raised, run) = alarm.state();
            let mut restored = Hysteresis::new(CONFIG).unwrap();
            restored.restore(raised, run).unwrap();
            assert_eq!(restored, alarm);
        }
        assert!(alarm.restore(false, 2).is_err() && alarm.restore(true, 3).is_err());
    }

    #[test]
    fn limits_have_to_stand_in_order() {
        for (raise, clear) in [(1.0, 2.0), (f64::NAN, 0.0), (1.0, f64::NAN)] {
            assert!(Hysteresis::new(Config { raise, clear, ..CONFIG }).is_err());
        }
        assert!(
            Hysteresis::new(Config {
                raise_after: 0,
                ..CONFIG
            })
            .is_err()
        );
        assert!(
            Hysteresis::new(Config {
                clear_after: 0,
                ..CONFIG
            })
            .is_err()
        );
    }
}
