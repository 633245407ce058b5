//! Page-Hinkley: how far the sum of distances to the mean has risen above its lowest point, or fallen below its highest.
//!
//! Page 1954 (Continuous inspection schemes, Biometrika 41), as applied to a running mean. For a value x and the mean m of
//! all values up to it, the sums of x - m - delta and of x - m + delta, each faded by alpha at every sample, are followed;
//! it alarms when the first lies more than `threshold` above its minimum (the stream has risen) or the second more than
//! `threshold` below its maximum (it has fallen). A steady stream makes the first fall and the second rise by delta a
//! sample, so delta is the change that is let pass.
//!
//! Memory is six numbers. `delta` and `threshold` are in the values' own unit: with the defaults a shift of 1 takes
//! about 50 samples to be seen, one of 0.1 about 500.
//!
//! # False alarms
//!
//! Alarms per 10,000 samples of a stream without drift, at the defaults (`tests/detectors/false_alarms.rs`, 1,000 streams):
//!
//! | stream | alarms |
//! |---|---|
//! | zeros and ones with a rate of 0.05 | 0.002 or fewer |
//! | with a rate of 0.2 | 0.26 |
//! | with a rate of 0.5 | 0.80 |
//! | uniform from 0 to 1 | 0.015 |
//! | normal with a standard deviation of 1 | 6.1 |
//! | the same, at a `delta` of 0.1 | 0.31 |
//! | the same, neighbours correlated by 0.9 (at the defaults) | 61.9 |
//!
//! The time between them grows with exp(2 delta threshold / variance): the defaults are for values from 0 to 1. For others,
//! bring them to a standard deviation of 1 and take a `delta` of 0.1. Where neighbours are correlated, push means of
//! blocks, as for [`adwin`](crate::adwin).
//!
//! # Differences
//!
//! Values that are no numbers or beyond [`MAX_MAGNITUDE`](crate::detection::MAX_MAGNITUDE) are left out, where in River
//! they end all detection.

use crate::{
    StatisticsError,
    detection::{self, Level, Mean},
};

/// Which changes alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// A mean that rises.
    Up,
    /// A mean that falls.
    Down,
    /// Both.
    #[default]
    Both,
}

/// When Page-Hinkley alarms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// No alarm comes before this many samples. 30 by default.
    pub min_instances: u64,
    /// The distance to the mean that is let pass, at least 0, in the values' unit. 0.005 by default.
    pub delta: f64,
    /// How far a sum has to turn back, above 0, in the values' unit. 50 by default.
    pub threshold: f64,
    /// What is left of a sum from one sample to the next, above 0 and at most 1. 0.9999 by default.
    pub alpha: f64,
    /// Which changes alarm. Both by default.
    pub direction: Direction,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_instances: 30,
            delta: 0.005,
            threshold: 50.0,
            alpha: 1.0 - 0.0001,
            direction: Direction::Both,
        }
    }
}

/// A faded sum and how far it has been in the direction that a steady stream takes it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sum {
    /// The sum now.
    pub value: f64,
    /// The lowest it has been where a rise is looked for, the highest where a fall is.
    pub turn: f64,
}

/// Everything the next answers depend on, besides the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct State {
    /// The values since the start or the last alarm.
    pub values: Mean,
    /// Looks for a rise.
    pub rise: Sum,
    /// Looks for a fall.
    pub fall: Sum,
    /// Whether the last answer was a drift.
    pub drifted: bool,
}

/// The detector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PageHinkley {
    config: Config,
    state: State,
}

impl PageHinkley {
    /// No samples yet.
    pub fn new(config: Config) -> Result<Self, StatisticsError> {
        let refuse = |name, value, expected| Err(StatisticsError::Parameter { name, value, expected });
        if !(config.delta >= 0.0 && config.delta.is_finite()) {
            return refuse("delta", config.delta, "a number of at least 0");
        }
        if !(config.threshold > 0.0 && config.threshold.is_finite()) {
            return refuse("threshold", config.threshold, "a number above 0");
        }
        if !(config.alpha > 0.0 && config.alpha <= 1.0) {
            return refuse("alpha", config.alpha, "above 0 and at most 1");
        }
        Ok(Self {
            config,
            state: State::default(),
        })
    }

    /// Takes a value in and says whether the mean has changed. A NaN, or a value beyond
    /// [`MAX_MAGNITUDE`](detection::MAX_MAGNITUDE), is left out.
    pub fn push(&mut self, value: f64) -> Level {
        if !detection::is_usable(value) {
            return Level::Stable;
        }
        if self.state.drifted {
            self.state = State::default();
        }
        let State { values, rise, fall, .. } = &mut self.state;
        values.push(value);
        let distance = value - values.mean;
        rise.value = self.config.alpha * rise.value + distance - self.config.delta;
        fall.value = self.config.alpha * fall.value + distance + self.config.delta;
        // The turning points are sums that have been, so the first sample's are its own.
        if values.count == 1 || rise.value < rise.turn {
            rise.turn = rise.value;
        }
        if values.count == 1 || fall.value > fall.turn {
            fall.turn = fall.value;
        }
        self.state.drifted = values.count >= self.config.min_instances && self.is_beyond();
        if self.state.drifted {
            Level::Drift
        } else {
            Level::Stable
        }
    }

    /// The mean since the start or the last alarm; 0 before the first value.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        self.state.values.mean
    }

    /// How far the stream has risen: what is held against the threshold.
    #[must_use]
    pub fn rise(&self) -> f64 {
        self.state.rise.value - self.state.rise.turn
    }

    /// How far the stream has fallen: what is held against the threshold.
    #[must_use]
    pub fn fall(&self) -> f64 {
        self.state.fall.turn - self.state.fall.value
    }

    /// What [`restore`](Self::restore) goes on from.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Goes on from what [`state`](Self::state) gave under the same configuration. What can't come from there is refused
    /// and changes nothing.
    pub fn restore(&mut self, state: State) -> Result<(), StatisticsError> {
        let sums = [state.rise.value, state.rise.turn, state.fall.value, state.fall.turn];
        if !state.values.fits(-detection::MAX_MAGNITUDE, detection::MAX_MAGNITUDE)
            || !sums.iter().all(|sum| sum.is_finite())
        {
            return Err(StatisticsError::State("sums that aren't finite"));
        }
        if state.rise.turn > state.rise.value || state.fall.turn < state.fall.value {
            return Err(StatisticsError::State("a sum beyond its turning point"));
        }
        self.state = state;
        Ok(())
    }

    fn is_beyond(&self) -> bool {
        let (rise, fall) = (self.rise() > self.config.threshold, self.fall() > self.config.threshold);
        match self.config.direction {
            Direction::Up => rise,
            Direction::Down => fall,
            Direction::Both => rise || fall,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(config: Config, after: f64) -> Option<usize> {
        let mut detector = PageHinkley::new(config).unwrap();
        assert!((0..500).all(|n| detector.push(f64::from(n % 2)) == Level::Stable));
        (0..2_000).position(|n| detector.push(f64::from(n % 2) + after) == Level::Drift)
    }

    #[test]
    fn only_the_direction_that_was_asked_for_alarms() {
        for (direction, rise, fall) in [
            (Direction::Up, true, false),
            (Direction::Down, false, true),
            (Direction::Both, true, true),
        ] {
            let config = Config {
                direction,
                ..Config::default()
            };
            assert_eq!(alarm(config, 1.0).is_some(), rise, "{direction:?}");
            assert_eq!(alarm(config, -1.0).is_some(), fall, "{direction:?}");
        }
    }

    #[test]
    fn a_shift_of_one_takes_about_the_threshold_in_samples() {
        let delay = alarm(Config::default(), 1.0).unwrap();
        assert!((50..60).contains(&delay), "{delay}");
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let mut detector = PageHinkley::new(Config::default()).unwrap();
        detector.push(1.0);
        let before = detector.state();
        for value in [f64::NAN, f64::INFINITY, -1e300] {
            assert_eq!(detector.push(value), Level::Stable);
        }
        assert_eq!(detector.state(), before);
    }

    #[test]
    fn parameters_are_checked() {
        let default = Config::default();
        for (config, name) in [
            (Config { delta: -0.1, ..default }, "delta"),
            (
                Config {
                    threshold: 0.0,
                    ..default
                },
                "threshold",
            ),
            (
                Config {
                    threshold: f64::INFINITY,
                    ..default
                },
                "threshold",
            ),
            (Config { alpha: 1.1, ..default }, "alpha"),
            (
                Config {
                    alpha: f64::NAN,
                    ..default
                },
                "alpha",
            ),
        ] {
            let error = PageHinkley::new(config).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn state_that_lies_is_refused() {
        let mut detector = PageHinkley::new(Config::default()).unwrap();
        for n in 0..50 {
            detector.push(f64::from(n));
        }
        let good = detector.state();
        let mut broken = [good; 4];
        broken[0].values.mean = f64::NAN;
        broken[1].rise.value = f64::INFINITY;
        broken[2].rise.turn = good.rise.value + 1.0;
        broken[3].fall.turn = good.fall.value - 1.0;
        for state in broken {
            assert!(matches!(detector.restore(state), Err(StatisticsError::State(_))));
        }
        assert_eq!(detector.state(), good);
        detector.restore(good).unwrap();
    }
}
