//! HDDM-A: plain means, by Hoeffding's inequality.

use super::{Shift, check_confidences, is_usable};
use crate::{
    StatisticsError,
    detection::{Level, Mean},
};

/// When HDDM-A warns and alarms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AverageConfig {
    /// The bound on a false alarm in one test, above 0 and below 1. 0.001 by default.
    pub drift_confidence: f64,
    /// The bound on a false warning, at least that of an alarm. 0.005 by default.
    pub warning_confidence: f64,
    /// Whether a mean that falls alarms, too. Not by default: fewer errors are good news.
    pub two_sided: bool,
}

impl Default for AverageConfig {
    fn default() -> Self {
        Self {
            drift_confidence: 0.001,
            warning_confidence: 0.005,
            two_sided: false,
        }
    }
}

/// Everything HDDM-A's next answers depend on, besides the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AverageState {
    /// All values since the start or the last alarm.
    pub all: Mean,
    /// The first of them, up to where their mean was lowest.
    pub lowest: Mean,
    /// The first of them, up to where their mean was highest.
    pub highest: Mean,
    /// Whether the last answer was a drift.
    pub drifted: bool,
}

/// The detector. All values' mean, of n, is held against that of the first k, up to the cut: it has risen if the difference
/// is at least sqrt((n - k) / (k n) · ln(2 / confidence) / 2). The cut moves to the newest value whenever mean plus bound
/// sqrt(ln(1 / drift confidence) / (2 n)) are no higher there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HddmA {
    config: AverageConfig,
    /// ln(1 / drift confidence): the cut's bound.
    log_cut: f64,
    /// ln(2 / confidence), of the two tests.
    log_drift: f64,
    log_warning: f64,
    state: AverageState,
}

impl HddmA {
    /// No values yet.
    pub fn new(config: AverageConfig) -> Result<Self, StatisticsError> {
        check_confidences(config.drift_confidence, config.warning_confidence)?;
        Ok(Self {
            config,
            log_cut: libm::log(1.0 / config.drift_confidence),
            log_drift: libm::log(2.0 / config.drift_confidence),
            log_warning: libm::log(2.0 / config.warning_confidence),
            state: AverageState::default(),
        })
    }

    /// Takes a value in: 1 for an error and 0 for none, or anything between. What is not from 0 to 1 is left out.
    pub fn push(&mut self, value: f64) -> Level {
        if !is_usable(value) {
            return Level::Stable;
        }
        if self.state.drifted {
            self.state = AverageState::default();
        }
        self.state.all.push(value);
        self.move_cuts();
        if self.has_changed(self.log_drift) {
            self.state.drifted = true;
            Level::Drift
        } else if self.has_changed(self.log_warning) {
            Level::Warning
        } else {
            Level::Stable
        }
    }

    /// The mean since the start or the last alarm; 0 before the first value.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        self.state.all.mean
    }

    /// The mean up to where it was lowest: what it has risen from, when it has.
    #[must_use]
    pub const fn lowest_mean(&self) -> f64 {
        self.state.lowest.mean
    }

    /// The mean up to where it was highest: what it has fallen from, when it has.
    #[must_use]
    pub const fn highest_mean(&self) -> f64 {
        self.state.highest.mean
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
        let all = self.state.all;
        let shift = |cut: Mean| {
            let weight = (all.count() - cut.count()) / cut.count() * (1.0 / all.count());
            (cut.count < all.count).then(|| Shift {
                before: cut.mean,
                after: all.mean,
                bound: libm::sqrt(weight / 2.0 * log_confidence),
            })
        };
        let fall = || shift(self.state.highest).filter(|fall| self.config.two_sided && fall.after < fall.before);
        match (shift(self.state.lowest).filter(|rise| rise.after > rise.before), fall()) {
            (Some(rise), Some(fall)) => Some(rise.larger(fall)),
            (rise, fall) => rise.or(fall),
        }
    }

    /// What [`restore`](Self::restore) goes on from.
    #[must_use]
    pub const fn state(&self) -> AverageState {
        self.state
    }

    /// Goes on from what [`state`](Self::state) gave under the same configuration. What can't come from there is refused
    /// and changes nothing.
    pub fn restore(&mut self, state: AverageState) -> Result<(), StatisticsError> {
        let parts = [state.lowest, state.highest];
        if ![state.all, state.lowest, state.highest]
            .iter()
            .all(|mean| mean.fits(0.0, 1.0))
        {
            return Err(StatisticsError::State("means outside of 0 to 1"));
        }
        let fits = |part: &Mean| part.count <= state.all.count && (part.count > 0) == (state.all.count > 0);
        if !parts.iter().all(fits) {
            return Err(StatisticsError::State("a cut that is beyond the values"));
        }
        self.state = state;
        Ok(())
    }

    fn move_cuts(&mut self) {
        let AverageState {
            all, lowest, highest, ..
        } = self.state;
        let here = self.cut_bound(all);
        if lowest.count == 0 || lowest.mean + self.cut_bound(lowest) >= all.mean + here {
            self.state.lowest = all;
        }
        if highest.count == 0 || highest.mean - self.cut_bound(highest) <= all.mean - here {
            self.state.highest = all;
        }
    }

    fn cut_bound(&self, mean: Mean) -> f64 {
        libm::sqrt(1.0 / (2.0 * mean.count()) * self.log_cut)
    }

    fn has_changed(&self, log_confidence: f64) -> bool {
        let AverageState {
            all, lowest, highest, ..
        } = self.state;
        let beyond = |cut: Mean, difference: f64| {
            let weight = (all.count() - cut.count()) / cut.count() * (1.0 / all.count());
            cut.count < all.count && difference >= libm::sqrt(weight / 2.0 * log_confidence)
        };
        beyond(lowest, all.mean - lowest.mean) || (self.config.two_sided && beyond(highest, highest.mean - all.mean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(period: u32, length: u32) -> impl Iterator<Item = f64> {
        (0..length).map(move |n| if n % period == 0 { 1.0 } else { 0.0 })
    }

    fn alarms(config: AverageConfig, values: impl Iterator<Item = f64>) -> Vec<usize> {
        let mut detector = HddmA::new(config).unwrap();
        let levels = values.map(|value| detector.push(value)).enumerate();
        levels
            .filter(|(_, level)| *level == Level::Drift)
            .map(|(n, _)| n)
            .collect()
    }

    #[test]
    fn falls_alarm_only_when_asked_for() {
        let one_sided = AverageConfig::default();
        let two_sided = AverageConfig {
            two_sided: true,
            ..one_sided
        };
        let fall = || every(2, 500).chain(every(20, 500));
        assert_eq!(alarms(one_sided, fall()), [0_usize; 0]);
        assert_eq!(alarms(two_sided, fall()).len(), 1);
        let rise = || every(20, 500).chain(every(2, 500));
        assert_eq!(alarms(one_sided, rise()).len(), 1);
        assert_eq!(alarms(two_sided, rise()).len(), 1);
    }

    #[test]
    fn a_shift_is_beyond_its_bound_where_it_alarms_and_only_there() {
        let config = AverageConfig {
            two_sided: true,
            ..AverageConfig::default()
        };
        for (values, sign) in [
            (every(20, 500).chain(every(2, 500)), 1.0),
            (every(2, 500).chain(every(20, 500)), -1.0),
        ] {
            let (mut detector, mut alarms) = (HddmA::new(config).unwrap(), 0);
            for value in values {
                let level = detector.push(value);
                let beyond = |level| {
                    detector
                        .shift(level)
                        .is_some_and(|shift| shift.distance() >= shift.bound)
                };
                assert_eq!(beyond(Level::Drift), level == Level::Drift);
                assert_eq!(beyond(Level::Warning), level >= Level::Warning);
                if level == Level::Drift {
                    let shift = detector.shift(level).unwrap();
                    assert!((shift.after - shift.before) * sign > 0.0);
                    alarms += 1;
                }
            }
            assert_eq!(alarms, 1);
        }
    }

    #[test]
    fn what_is_not_from_0_to_1_is_left_out() {
        let mut detector = HddmA::new(AverageConfig::default()).unwrap();
        detector.push(0.5);
        let before = detector.state();
        for value in [f64::NAN, 1.1, -0.1, f64::INFINITY] {
            assert_eq!(detector.push(value), Level::Stable);
        }
        assert_eq!(detector.state(), before);
    }

    #[test]
    fn parameters_are_checked() {
        for (drift_confidence, warning_confidence, name) in [
            (0.0, 0.005, "drift_confidence"),
            (1.0, 1.0, "drift_confidence"),
            (f64::NAN, 0.005, "drift_confidence"),
            (0.001, 0.0005, "warning_confidence"),
            (0.001, 1.0, "warning_confidence"),
        ] {
            let error = HddmA::new(AverageConfig {
                drift_confidence,
                warning_confidence,
                two_sided: false,
            })
            .unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn state_that_lies_is_refused() {
        let mut detector = HddmA::new(AverageConfig::default()).unwrap();
        for value in every(3, 50) {
            detector.push(value);
        }
        let good = detector.state();
        let mut broken = [good; 4];
        broken[0].all.mean = f64::NAN;
        broken[1].lowest.count = 51;
        broken[2].highest = Mean::default();
        broken[3].all = Mean::default();
        for state in broken {
            assert!(matches!(detector.restore(state), Err(StatisticsError::State(_))));
        }
        assert_eq!(detector.state(), good);
        detector.restore(AverageState::default()).unwrap();
    }
}
