//! HDDM-W: means that forget, by McDiarmid's inequality.

use super::{Shift, check_confidences, is_usable};
use crate::{StatisticsError, detection::Level};

/// When HDDM-W warns and alarms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightedConfig {
    /// The bound on a false alarm in one test, above 0 and below 1. 0.001 by default.
    pub drift_confidence: f64,
    /// The bound on a false warning, at least that of an alarm. 0.005 by default.
    pub warning_confidence: f64,
    /// The newest value's weight in a mean, above 0 and at most 1: the larger, the sooner the past is forgotten. 0.05 by
    /// default.
    pub lambda: f64,
    /// Whether a mean that falls alarms, too. Not by default: fewer errors are good news.
    pub two_sided: bool,
}

impl Default for WeightedConfig {
    fn default() -> Self {
        Self {
            drift_confidence: 0.001,
            warning_confidence: 0.005,
            lambda: 0.05,
            two_sided: false,
        }
    }
}

/// An exponentially weighted mean, with what McDiarmid's bound needs of the weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightedMean {
    /// The mean: the first value's weight is 1 at first.
    pub mean: f64,
    /// The sum of the squared weights; 1 before the first value.
    pub squared_weights: f64,
    /// Whether there was a value.
    pub started: bool,
}

/// One direction of change: the mean up to the cut, and the mean since.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Side {
    /// What mean plus bound was at the cut; none before the first value.
    pub cut: Option<f64>,
    /// The mean of all values up to the cut.
    pub before: WeightedMean,
    /// The mean of the values after it.
    pub after: WeightedMean,
}

/// Everything HDDM-W's next answers depend on, besides the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WeightedState {
    /// All values since the start or the last alarm.
    pub all: WeightedMean,
    /// Looks for a rise.
    pub rise: Side,
    /// Looks for a fall: a rise of the values with their sign turned. Unused in a one-sided test.
    pub fall: Side,
    /// Whether the last answer was a drift.
    pub drifted: bool,
}

/// The detector. The mean since the cut is held against the mean up to it: it has risen if the difference is above
/// sqrt(v ln(1 / confidence) / 2), v being the sum of both means' squared weights. The cut moves to the newest value
/// whenever the mean of all values plus its own such bound, at the drift's confidence, is lower than at the cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HddmW {
    config: WeightedConfig,
    /// ln(1 / confidence), of the two tests.
    log_drift: f64,
    log_warning: f64,
    state: WeightedState,
}

impl HddmW {
    /// No values yet.
    pub fn new(config: WeightedConfig) -> Result<Self, StatisticsError> {
        check_confidences(config.drift_confidence, config.warning_confidence)?;
        if !(config.lambda > 0.0 && config.lambda <= 1.0) {
            return Err(StatisticsError::Parameter {
                name: "lambda",
                value: config.lambda,
                expected: "above 0 and at most 1",
            });
        }
        Ok(Self {
            config,
            log_drift: libm::log(1.0 / config.drift_confidence),
            log_warning: libm::log(1.0 / config.warning_confidence),
            state: WeightedState::default(),
        })
    }

    /// Takes a value in: 1 for an error and 0 for none, or anything between. What is not from 0 to 1 is left out.
    pub fn push(&mut self, value: f64) -> Level {
        if !is_usable(value) {
            return Level::Stable;
        }
        if self.state.drifted {
            self.state = WeightedState::default();
        }
        let (lambda, log_drift) = (self.config.lambda, self.log_drift);
        let WeightedState { all, rise, fall, .. } = &mut self.state;
        all.push(value, lambda);
        rise.push(value, *all, lambda, log_drift);
        if self.config.two_sided {
            fall.push(-value, all.negated(), lambda, log_drift);
        }
        let (rise, fall) = (*rise, *fall);
        let changed = |log| rise.has_risen(log) || (self.config.two_sided && fall.has_risen(log));
        if changed(log_drift) {
            self.state.drifted = true;
            Level::Drift
        } else if changed(self.log_warning) {
            Level::Warning
        } else {
            Level::Stable
        }
    }

    /// The weighted mean since the start or the last alarm; 0 before the first value.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        self.state.all.mean
    }

    /// The weighted means up to the cut and since: what the mean has risen from, and to, when it has.
    #[must_use]
    pub const fn rise(&self) -> (f64, f64) {
        (self.state.rise.before.mean, self.state.rise.after.mean)
    }

    /// The same for a fall; zeros in a one-sided test.
    #[must_use]
    pub const fn fall(&self) -> (f64, f64) {
        (-self.state.fall.before.mean, -self.state.fall.after.mean)
    }

    /// The rise that is held against the bound of a drift, or of a warning where `level` is one; in a two-sided test the
    /// fall, if that is further beyond its own. `None` while there is nothing to compare.
    #[must_use]
    pub fn shift(&self, level: Level) -> Option<Shift> {
        let log_confidence = if level == Level::Warning {
            self.log_warning
        } else {
            self.log_drift
        };
        let WeightedState { rise, fall, .. } = self.state;
        let fall = fall.shift(log_confidence).map(|fall| Shift {
            before: -fall.before,
            after: -fall.after,
            ..fall
        });
        match (rise.shift(log_confidence), fall) {
            (Some(rise), Some(fall)) => Some(rise.larger(fall)),
            (rise, fall) => rise.or(fall),
        }
    }

    /// What [`restore`](Self::restore) goes on from.
    #[must_use]
    pub const fn state(&self) -> WeightedState {
        self.state
    }

    /// Goes on from what [`state`](Self::state) gave under the same configuration. What can't come from there is refused
    /// and changes nothing.
    pub fn restore(&mut self, state: WeightedState) -> Result<(), StatisticsError> {
        let WeightedState { all, rise, fall, .. } = state;
        if ![all, rise.before, rise.after].iter().all(|mean| mean.fits(0.0, 1.0))
            || ![fall.before, fall.after].iter().all(|mean| mean.fits(-1.0, 0.0))
        {
            return Err(StatisticsError::State("means or weights outside of 0 to 1"));
        }
        if !rise.fits(all.started) || !fall.fits(all.started && self.config.two_sided) {
            return Err(StatisticsError::State(
                "a cut without the values before it, or one too many",
            ));
        }
        self.state = state;
        Ok(())
    }
}

impl Default for WeightedMean {
    fn default() -> Self {
        Self {
            mean: 0.0,
            squared_weights: 1.0,
            started: false,
        }
    }
}

impl WeightedMean {
    fn push(&mut self, value: f64, lambda: f64) {
        let kept = 1.0 - lambda;
        self.mean = if self.started {
            lambda * value + kept * self.mean
        } else {
            value
        };
        self.squared_weights = lambda * lambda + kept * kept * self.squared_weights;
        self.started = true;
    }

    const fn negated(self) -> Self {
        Self {
            mean: -self.mean,
            ..self
        }
    }

    fn fits(&self, low: f64, high: f64) -> bool {
        let share = |value: f64| value > 0.0 && value <= 1.0;
        self.mean >= low
            && self.mean <= high
            && share(self.squared_weights)
            && (self.started || *self == Self::default())
    }
}

impl Side {
    fn push(&mut self, value: f64, all: WeightedMean, lambda: f64, log_drift: f64) {
        let here = all.mean + bound(all.squared_weights, log_drift);
        if self.cut.is_none_or(|cut| here < cut) {
            *self = Self {
                cut: Some(here),
                before: all,
                after: WeightedMean::default(),
            };
        } else {
            self.after.push(value, lambda);
        }
    }

    fn has_risen(&self, log_confidence: f64) -> bool {
        self.shift(log_confidence)
            .is_some_and(|shift| shift.distance() > shift.bound)
    }

    /// `None` where the mean hasn't risen at all.
    fn shift(&self, log_confidence: f64) -> Option<Shift> {
        let weights = self.before.squared_weights + self.after.squared_weights;
        let both = self.before.started && self.after.started && self.after.mean > self.before.mean;
        both.then(|| Shift {
            before: self.before.mean,
            after: self.after.mean,
            bound: bound(weights, log_confidence),
        })
    }

    fn fits(&self, used: bool) -> bool {
        let cut = self.cut.is_some_and(f64::is_finite) && self.before.started;
        if used { cut } else { *self == Self::default() }
    }
}

/// How far a mean with these squared weights strays from its expectation, at a confidence given by its logarithm.
fn bound(squared_weights: f64, log_confidence: f64) -> f64 {
    libm::sqrt(squared_weights * log_confidence / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(period: u32, length: u32) -> impl Iterator<Item = f64> {
        (0..length).map(move |n| if n % period == 0 { 1.0 } else { 0.0 })
    }

    fn alarms(config: WeightedConfig, values: impl Iterator<Item = f64>) -> usize {
        let mut detector = HddmW::new(config).unwrap();
        values.filter(|&value| detector.push(value) == Level::Drift).count()
    }

    #[test]
    fn falls_alarm_only_when_asked_for() {
        let one_sided = WeightedConfig::default();
        let two_sided = WeightedConfig {
            two_sided: true,
            ..one_sided
        };
        let fall = || every(1, 500).chain(every(20, 500));
        let rise = || every(20, 500).chain(every(1, 500));
        assert_eq!((alarms(one_sided, fall()), alarms(one_sided, rise())), (0, 1));
        assert_eq!((alarms(two_sided, fall()), alarms(two_sided, rise())), (1, 1));
    }

    #[test]
    fn a_fall_is_a_rise_seen_in_a_mirror() {
        let config = WeightedConfig {
            two_sided: true,
            ..WeightedConfig::default()
        };
        let (mut plain, mut mirrored) = (HddmW::new(config).unwrap(), HddmW::new(config).unwrap());
        for value in every(3, 300).chain(every(1, 300)) {
            assert_eq!(plain.push(value), mirrored.push(1.0 - value));
        }
    }

    #[test]
    fn what_is_not_from_0_to_1_is_left_out() {
        let mut detector = HddmW::new(WeightedConfig::default()).unwrap();
        detector.push(0.5);
        let before = detector.state();
        for value in [f64::NAN, 1.1, -0.1, f64::INFINITY] {
            assert_eq!(detector.push(value), Level::Stable);
        }
        assert_eq!(detector.state(), before);
    }

    #[test]
    fn parameters_are_checked() {
        for lambda in [0.0, 1.1, f64::NAN] {
            let error = HddmW::new(WeightedConfig {
                lambda,
                ..WeightedConfig::default()
            })
            .unwrap_err();
            assert!(error.to_string().starts_with("lambda"), "{error}");
        }
        let reversed = WeightedConfig {
            warning_confidence: 1e-4,
            ..WeightedConfig::default()
        };
        assert!(HddmW::new(reversed).is_err());
    }

    #[test]
    fn state_that_lies_is_refused() {
        let mut detector = HddmW::new(WeightedConfig::default()).unwrap();
        for value in every(3, 50) {
            detector.push(value);
        }
        let good = detector.state();
        let mut broken = [good; 5];
        broken[0].all.mean = f64::NAN;
        broken[1].all.squared_weights = 0.0;
        broken[2].rise.cut = None;
        broken[3].rise.before = WeightedMean::default();
        broken[4].fall = good.rise;
        for state in broken {
            assert!(matches!(detector.restore(state), Err(StatisticsError::State(_))));
        }
        assert_eq!(detector.state(), good);
        detector.restore(WeightedState::default()).unwrap();
    }
}
