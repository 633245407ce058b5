//! DDM: an error rate that has risen well above the lowest it has been.
//!
//! Gama, Medas, Castillo and Rodrigues 2004 (Learning with drift detection, Brazilian Symposium on Artificial
//! Intelligence). p is the share of errors since the start, s = sqrt(p (1 - p) / n) its standard deviation, and
//! p', s' are what they were when p + s was lowest. It warns while p + s > p' + 2 s' and alarms at p + s > p' + 3 s'.
//!
//! Memory is five numbers. p runs over everything since the last alarm, so a change after a long quiet time is seen
//! late: [`hddm`](crate::hddm) and [`adwin`](crate::adwin) are made for that.
//!
//! # False alarms
//!
//! Alarms per 10,000 samples of a stream without drift, at the defaults (`tests/detectors/false_alarms.rs`, 1,000 streams):
//!
//! | error rate | alarms | with a `warm_start` of 500 |
//! |---|---|---|
//! | 0.01 | 6.1 | 0.59 |
//! | 0.05 | 1.5 | |
//! | 0.2 | 0.44 | 0.10 |
//! | 0.5 | 0.14 | |
//!
//! The lowest point is the lowest of many and so lies below the true rate: 3 standard deviations above it are not as rare
//! as the normal distribution says. And while no error has come by the end of the warm start, p' and s' are 0 and the
//! first error alarms: where fewer than a few errors come in `warm_start` samples, it has to be longer.

use crate::{
    StatisticsError,
    detection::{Level, Mean},
};

/// When DDM warns and alarms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Samples that are only counted, at least 1. 30 by default.
    pub warm_start: u64,
    /// Standard deviations above the lowest rate from which on it warns, above 0. 2 by default.
    pub warning_threshold: f64,
    /// Standard deviations from which on it alarms, at least the warning's. 3 by default.
    pub drift_threshold: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            warm_start: 30,
            warning_threshold: 2.0,
            drift_threshold: 3.0,
        }
    }
}

/// A rate with its standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// The share of errors, 0 to 1.
    pub rate: f64,
    /// Its standard deviation, 0 to 1.
    pub deviation: f64,
}

/// Everything the next answers depend on, besides the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct State {
    /// The error rate since the start or the last alarm.
    pub errors: Mean,
    /// The rate when it was lowest; none until the warm start is over.
    pub lowest: Option<Rate>,
    /// Whether the last answer was a drift.
    pub drifted: bool,
}

/// The detector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ddm {
    config: Config,
    state: State,
}

impl Ddm {
    /// No samples yet.
    pub fn new(config: Config) -> Result<Self, StatisticsError> {
        let refuse = |name, value, expected| Err(StatisticsError::Parameter { name, value, expected });
        if config.warm_start == 0 {
            return refuse("warm_start", 0.0, "at least 1");
        }
        if !(config.warning_threshold > 0.0 && config.warning_threshold.is_finite()) {
            return refuse("warning_threshold", config.warning_threshold, "a number above 0");
        }
        if !(config.drift_threshold >= config.warning_threshold && config.drift_threshold.is_finite()) {
            return refuse(
                "drift_threshold",
                config.drift_threshold,
                "a number of at least warning_threshold",
            );
        }
        Ok(Self {
            config,
            state: State::default(),
        })
    }

    /// Takes in whether a prediction was wrong.
    pub fn push(&mut self, error: bool) -> Level {
        if self.state.drifted {
            self.state = State::default();
        }
        self.state.errors.push(if error { 1.0 } else { 0.0 });
        if self.state.errors.count <= self.config.warm_start {
            return Level::Stable;
        }
        let now = Rate::of(self.state.errors);
        let height = now.at(1.0);
        let lowest = match self.state.lowest {
            Some(lowest) if lowest.at(1.0) < height => lowest,
            _ => now,
        };
        self.state.lowest = Some(lowest);
        if height > lowest.at(self.config.drift_threshold) {
            self.state.drifted = true;
            Level::Drift
        } else if height > lowest.at(self.config.warning_threshold) {
            Level::Warning
        } else {
            Level::Stable
        }
    }

    /// The error rate since the start or the last alarm; 0 before the first sample.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.state.errors.mean
    }

    /// The error rate with its standard deviation.
    #[must_use]
    pub fn now(&self) -> Rate {
        Rate::of(self.state.errors)
    }

    /// The rate when it was lowest; `None` until the warm start is over.
    #[must_use]
    pub const fn lowest(&self) -> Option<Rate> {
        self.state.lowest
    }

    /// What [`restore`](Self::restore) goes on from.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Goes on from what [`state`](Self::state) gave under the same configuration. What can't come from there is refused
    /// and changes nothing.
    pub fn restore(&mut self, state: State) -> Result<(), StatisticsError> {
        let share = 0.0..=1.0;
        let lowest = state.lowest.unwrap_or(Rate::of(Mean::default()));
        if !state.errors.fits(0.0, 1.0) || !share.contains(&lowest.rate) || !share.contains(&lowest.deviation) {
            return Err(StatisticsError::State("rates outside of 0 to 1"));
        }
        if state.lowest.is_some() != (state.errors.count > self.config.warm_start) {
            return Err(StatisticsError::State("another warm start"));
        }
        self.state = state;
        Ok(())
    }
}

impl Rate {
    fn of(errors: Mean) -> Self {
        let rate = errors.mean;
        let variance = if errors.count == 0 {
            0.0
        } else {
            rate * (1.0 - rate) / errors.count()
        };
        Self {
            rate,
            deviation: libm::sqrt(variance),
        }
    }

    /// So many standard deviations above the rate.
    fn at(self, deviations: f64) -> f64 {
        self.rate + deviations * self.deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(ddm: &mut Ddm, errors: impl IntoIterator<Item = bool>) -> Vec<Level> {
        errors.into_iter().map(|error| ddm.push(error)).collect()
    }

    #[test]
    fn a_rising_rate_warns_and_then_alarms_once() {
        let mut ddm = Ddm::new(Config::default()).unwrap();
        let before = levels(&mut ddm, (0..1_000).map(|n| n % 10 == 0));
        assert!(before.iter().all(|&level| level == Level::Stable));
        let after = levels(&mut ddm, (0..100).map(|n| n % 2 == 0));
        let alarm = after.iter().position(|&level| level == Level::Drift).unwrap();
        let warning = after.iter().position(|&level| level == Level::Warning).unwrap();
        assert!(warning < alarm, "{after:?}");
        assert!(after[alarm + 1..].iter().all(|&level| level == Level::Stable), "anew");
        assert_eq!(ddm.state().errors.count as usize, 100 - alarm - 1);
        assert_eq!(ddm.now().rate, ddm.rate());
        let variance = ddm.rate() * (1.0 - ddm.rate()) / ddm.state().errors.count();
        assert_eq!(ddm.now().deviation, libm::sqrt(variance));
    }

    #[test]
    fn the_first_error_after_a_perfect_start_alarms() {
        let mut ddm = Ddm::new(Config::default()).unwrap();
        assert!(
            levels(&mut ddm, [false; 500])
                .iter()
                .all(|&level| level == Level::Stable)
        );
        assert_eq!(ddm.push(true), Level::Drift);
    }

    #[test]
    fn parameters_are_checked() {
        for (config, name) in [
            (
                Config {
                    warm_start: 0,
                    ..Config::default()
                },
                "warm_start",
            ),
            (
                Config {
                    warning_threshold: 0.0,
                    ..Config::default()
                },
                "warning_threshold",
            ),
            (
                Config {
                    drift_threshold: 1.9,
                    ..Config::default()
                },
                "drift_threshold",
            ),
            (
                Config {
                    drift_threshold: f64::NAN,
                    ..Config::default()
                },
                "drift_threshold",
            ),
        ] {
            let error = Ddm::new(config).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn state_that_lies_is_refused() {
        let mut ddm = Ddm::new(Config::default()).unwrap();
        levels(&mut ddm, (0..50).map(|n| n % 5 == 0));
        let good = ddm.state();
        let mut broken = [good; 4];
        broken[0].errors.mean = 1.5;
        broken[1].errors.count = 30;
        broken[2].lowest = None;
        broken[3].lowest = Some(Rate {
            rate: 0.1,
            deviation: f64::NAN,
        });
        for state in broken {
            assert!(matches!(ddm.restore(state), Err(StatisticsError::State(_))));
        }
        assert_eq!(ddm.state(), good);
        ddm.restore(good).unwrap();
    }
}
