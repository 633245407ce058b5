//! How many standard deviations a sample is from those before it, and an alarm on that.
//!
//! z = (x - m) / s, m and s being mean and standard deviation of the samples before x: the last n of them, or all with
//! weights that halve every h samples (West 1979, Communications of the ACM 22(9), with weights 2^(-i/h) for the i-th
//! sample back). The latter are those of pandas' `ewm(halflife=h)`, with its mean and its unbiased `std`.
//!
//! **The limit accounts for the baseline's size.** m and s are estimates: of normal samples without drift, z above 3 is
//! 0.27% of the time only if both are known; after 10 samples it is 2%. So `raise` and `clear` are what they would be
//! if they were known, and are multiplied by sqrt(1 + 1/n) t / raise, t being the quantile of Student's distribution
//! with n - 1 degrees of freedom at the probability that a normal variable has at `raise`. For the last n samples that
//! is exact; for weights that halve, n is the number of samples of equal weight that would estimate the mean as well,
//! (sum w)² / sum w², rounded down for the degrees of freedom.
//!
//! # False alarms
//!
//! Samples beyond `raise` of 2, 3 and 4, of two million independent normal samples (`tests/monitoring_limits.rs`):
//!
//! | baseline | 2 | 3 | 4 |
//! |---|---|---|---|
//! | a normal variable | 4.55% | 0.270% | 0.0063% |
//! | the last 8 | 4.55% | 0.270% | 0.0059% |
//! | the last 20 | 4.55% | 0.268% | 0.0065% |
//! | the last 100 | 4.53% | 0.269% | 0.0064% |
//! | the last 1000 | 4.53% | 0.269% | 0.0067% |
//! | half-life of 3 | 3.54% | 0.080% | 0.0002% |
//! | half-life of 10 | 4.43% | 0.240% | 0.0037% |
//! | half-life of 50 | 4.52% | 0.268% | 0.0064% |
//! | half-life of 500 | 4.53% | 0.269% | 0.0066% |
//!
//! So at one sample a second a field has 233 alarms a day at 3, 5.5 at 4 and 0.05 at 5, the default; of two samples in
//! a row (`raise_after`) fewer.
//!
//! Samples that depend on those before have other rates: of a first-order autoregression with a coefficient of 0.5, 0.9
//! and 0.99 at `raise` 3, the last 20 have 0.38%, 0.74% and 0.91%, the last 100 have 0.31%, 0.56% and 1.14%, and a
//! half-life of 50 has 0.25%, 0.15% and 0.04%. Weights that halve follow such a signal, and are the better choice for
//! one.
//!
//! # Shifts
//!
//! The share of shifts by so many standard deviations that raise the alarm within ten samples; without one it is 2.7%
//! at `raise` 3:
//!
//! | baseline | `raise` | 0.25 | 0.5 | 1 | 3 | 5 | 8 |
//! |---|---|---|---|---|---|---|---|
//! | the last 20 | 3 | 3% | 4% | 7% | 48% | 96% | 100% |
//! | the last 20 | 5 | 0% | 0% | 0% | 0% | 6% | 65% |
//! | the last 100 | 3 | 4% | 6% | 16% | 97% | 100% | 100% |
//! | the last 100 | 5 | 0% | 0% | 0% | 3% | 54% | 100% |
//! | half-life of 50 | 3 | 4% | 6% | 15% | 96% | 100% | 100% |
//! | half-life of 50 | 5 | 0% | 0% | 0% | 3% | 54% | 100% |
//!
//! It sees what is sudden and large. What is small and lasts is for a detector of drift.

use crate::{
    StatisticsError, f_distribution,
    hysteresis::{self, Hysteresis},
    rolling::{Extent, MAX_SAMPLES, RollingWindow, Sample},
};
use alloc::{vec, vec::Vec};
use core::f64::consts::FRAC_1_SQRT_2;

/// A standard deviation of fewer samples says next to nothing.
pub const MIN_SAMPLES: usize = 8;

/// Weights that fall faster make a baseline of fewer than [`MIN_SAMPLES`] samples of equal weight.
pub const MIN_HALF_LIFE: f64 = 3.0;

/// 12 days at 1 Hz. Beyond it a sample's weight comes near the last bits of what it is added to.
pub const MAX_HALF_LIFE: f64 = 1_000_000.0;

/// A normal variable is beyond it less than once in 10^196 times: the limit of what a probability can be.
pub const MAX_RAISE: f64 = 30.0;

/// Values beyond it are as good as infinite: a square of one would stay in the weighted variance for ever.
pub const MAX_MAGNITUDE: f64 = 1e100;

/// Half-lives until weights that halve are judged by: 95% of all the weight there can be is there then.
const WARM_UP_HALF_LIVES: f64 = 4.33;

/// What a sample is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Baseline {
    /// The last samples, [`MIN_SAMPLES`] to [`MAX_SAMPLES`]. Takes
    /// [`BYTES_PER_SAMPLE`](crate::rolling::BYTES_PER_SAMPLE) for each.
    Rolling(usize),
    /// All samples, with weights that halve every so many samples, [`MIN_HALF_LIFE`] to [`MAX_HALF_LIFE`]. Takes five
    /// numbers.
    HalfLife(f64),
}

/// On which side a sample is too far away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// On either.
    #[default]
    Both,
    /// Above the mean.
    Above,
    /// Below the mean.
    Below,
}

/// What is compared, and when that is an alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// What a sample is compared with. The last 100 samples by default.
    pub baseline: Baseline,
    /// On which side. Both by default.
    pub side: Side,
    /// Standard deviations above which a sample is too far, above 0 to [`MAX_RAISE`]. 5 by default.
    pub raise: f64,
    /// Standard deviations up to which it is near again, 0 to `raise`. 3 by default.
    pub clear: f64,
    /// Samples in a row that are too far before the alarm is raised, at least 1. 1 by default.
    pub raise_after: u64,
    /// Samples in a row that are near again before it is cleared, at least 1. 3 by default.
    pub clear_after: u64,
    /// The least standard deviation, in the signal's unit: the resolution of a sensor whose value may stand still. 0 by
    /// default, with which any change of a value that stood still is infinitely far.
    pub least_deviation: f64,
    /// Whether samples that are too far, and all while the alarm is raised, become part of the baseline. With `true`,
    /// the default, a new level is the new normal in time and the alarm ends; with `false` it lasts until the old one
    /// is back.
    ///
    /// Weights that halve have forgotten a sample that was n standard deviations away after 2 log2(n) half-lives: where
    /// a sensor's faults are huge numbers, check the range first, or take `false`.
    pub learn_outliers: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            baseline: Baseline::Rolling(100),
            side: Side::Both,
            raise: 5.0,
            clear: 3.0,
            raise_after: 1,
            clear_after: 3,
            least_deviation: 0.0,
            learn_outliers: true,
        }
    }
}

/// What one sample showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZReport {
    /// Standard deviations from the mean, negative below it; infinite where the baseline has none.
    pub z: f64,
    /// What its magnitude is held against: `raise`, enlarged for the baseline's size.
    pub limit: f64,
    /// Whether the alarm is raised.
    pub raised: bool,
}

/// All that the next answer depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The last samples, or the five numbers.
    pub baseline: Vec<f64>,
    /// How many of the last samples are in the older part of their window; else 0.
    pub older: usize,
    /// Whether the alarm is raised, and its run.
    pub alarm: (bool, u64),
}

/// The baseline and the alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct ZScore {
    config: Config,
    past: Past,
    limit: f64,
    alarm: Hysteresis,
}

impl ZScore {
    /// Without a baseline yet.
    pub fn new(config: Config) -> Result<Self, StatisticsError> {
        check(
            "raise",
            config.raise,
            config.raise > 0.0 && config.raise <= MAX_RAISE,
            "above 0 to 30",
        )?;
        let is_least = config.least_deviation >= 0.0 && config.least_deviation.is_finite();
        check("least_deviation", config.least_deviation, is_least, "0 or more")?;
        check(
            "clear",
            config.clear,
            config.clear >= 0.0 && config.clear <= config.raise,
            "0 to raise",
        )?;
        let past = Past::new(config.baseline)?;
        let limit = limit(config.raise, past.equal_samples());
        let alarm = Hysteresis::new(hysteresis::Config {
            raise: limit,
            // In this order it is never above `limit`.
            clear: limit * (config.clear / config.raise),
            raise_after: config.raise_after,
            clear_after: config.clear_after,
        })?;
        Ok(Self {
            config,
            past,
            limit,
            alarm,
        })
    }

    /// Takes one sample in, and compares it with those before it once they make a baseline. A NaN is no sample; what is
    /// beyond [`MAX_MAGNITUDE`] never becomes part of the baseline.
    pub fn push(&mut self, value: f64) -> Option<ZReport> {
        if value.is_nan() {
            return None;
        }
        let report = self.past.moments().map(|(mean, deviation)| {
            let z = z(value - mean, deviation, self.config.least_deviation);
            let raised = self.alarm.push(self.distance(z));
            let limit = self.limit;
            ZReport { z, limit, raised }
        });
        let is_outlier = report.is_some_and(|report| report.raised || self.distance(report.z) > self.limit);
        if value.abs() <= MAX_MAGNITUDE && (self.config.learn_outliers || !is_outlier) {
            self.past.learn(value);
        }
        report
    }

    /// What is compared, and when that is an alarm.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// All that the next answer depends on.
    #[must_use]
    pub fn state(&self) -> State {
        let (baseline, older) = self.past.state();
        State {
            baseline,
            older,
            alarm: self.alarm.state(),
        }
    }

    /// Goes on from what [`state`](Self::state) gave under the same configuration.
    pub fn restore(&mut self, state: &State) -> Result<(), StatisticsError> {
        let (mut past, mut alarm) = (Past::new(self.config.baseline)?, self.alarm);
        past.restore(&state.baseline, state.older)?;
        alarm.restore(state.alarm.0, state.alarm.1)?;
        (self.past, self.alarm) = (past, alarm);
        Ok(())
    }

    /// How far on the side that counts.
    fn distance(&self, z: f64) -> f64 {
        match self.config.side {
            Side::Both => z.abs(),
            Side::Above => z,
            Side::Below => -z,
        }
    }
}

/// The limit that stands for `raise` when mean and deviation are estimates of `samples` of equal weight.
fn limit(raise: f64, samples: f64) -> f64 {
    let tail = libm::erfc(raise * FRAC_1_SQRT_2);
    let degrees = (samples - 1.0) as u32;
    let quantile = f_distribution::two_sided_t(tail, degrees.clamp(1, f_distribution::MAX_DENOMINATOR_DEGREES));
    quantile.unwrap_or(raise) * libm::sqrt(1.0 + 1.0 / samples)
}

fn z(difference: f64, deviation: f64, least_deviation: f64) -> f64 {
    let deviation = if deviation > least_deviation {
        deviation
    } else {
        least_deviation
    };
    if difference == 0.0 {
        0.0
    } else {
        difference / deviation.abs()
    }
}

fn check(name: &'static str, value: f64, holds: bool, expected: &'static str) -> Result<(), StatisticsError> {
    if holds {
        return Ok(());
    }
    Err(StatisticsError::Parameter { name, value, expected })
}

/// The samples before.
#[derive(Debug, Clone, PartialEq)]
enum Past {
    Rolling { window: RollingWindow, length: usize },
    Halving(Halving),
}

impl Past {
    fn new(baseline: Baseline) -> Result<Self, StatisticsError> {
        match baseline {
            Baseline::Rolling(length) => {
                let holds = (MIN_SAMPLES..=MAX_SAMPLES).contains(&length);
                check("baseline samples", length as f64, holds, "8 to 32768")?;
                let window = RollingWindow::new(Extent::Samples(length))?;
                Ok(Self::Rolling { window, length })
            }
            Baseline::HalfLife(samples) => {
                let holds = (MIN_HALF_LIFE..=MAX_HALF_LIFE).contains(&samples);
                check("baseline half-life", samples, holds, "3 to 1000000 samples")?;
                Ok(Self::Halving(Halving::new(samples)))
            }
        }
    }

    /// How many samples of equal weight would estimate the mean as well as all there can be.
    fn equal_samples(&self) -> f64 {
        match self {
            Self::Rolling { length, .. } => *length as f64,
            Self::Halving(halving) => (1.0 + halving.decay) / (1.0 - halving.decay),
        }
    }

    /// Mean and standard deviation, once there are enough samples.
    fn moments(&self) -> Option<(f64, f64)> {
        match self {
            Self::Rolling { window, length } => {
                let summary = window.summary();
                (summary.count() == *length as u64).then_some(())?;
                Some((summary.mean()?, summary.sample_deviation()?))
            }
            Self::Halving(halving) => (halving.count >= halving.warm_up).then(|| halving.moments()),
        }
    }

    fn learn(&mut self, value: f64) {
        match self {
            Self::Rolling { window, .. } => {
                window.push(Sample { time_ms: 0, value });
            }
            Self::Halving(halving) => halving.push(value),
        }
    }

    fn state(&self) -> (Vec<f64>, usize) {
        match self {
            Self::Rolling { window, .. } => {
                let (samples, older) = window.state();
                (samples.map(|sample| sample.value).collect(), older)
            }
            Self::Halving(halving) => {
                let numbers = [
                    halving.count,
                    halving.mean,
                    halving.variance,
                    halving.weight,
                    halving.squares,
                ];
                (numbers.to_vec(), 0)
            }
        }
    }

    fn restore(&mut self, numbers: &[f64], older: usize) -> Result<(), StatisticsError> {
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(StatisticsError::State("a number that isn't finite"));
        }
        match self {
            Self::Rolling { window, .. } => {
                let mut samples = vec![Sample { time_ms: 0, value: 0.0 }; numbers.len()];
                for (sample, &value) in samples.iter_mut().zip(numbers) {
                    sample.value = value;
                }
                window.restore(&samples, older)
            }
            Self::Halving(halving) => halving.restore(numbers),
        }
    }
}

/// Mean and variance with weights that halve.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Halving {
    /// What a weight is multiplied by with each sample.
    decay: f64,
    /// Samples before it is judged by.
    warm_up: f64,
    count: f64,
    mean: f64,
    /// With divisor sum w.
    variance: f64,
    /// sum w and sum w²; the newest sample's is 1.
    weight: f64,
    squares: f64,
}

impl Halving {
    fn new(half_life: f64) -> Self {
        Self {
            decay: libm::exp2(-1.0 / half_life),
            warm_up: libm::ceil(WARM_UP_HALF_LIVES * half_life),
            count: 0.0,
            mean: 0.0,
            variance: 0.0,
            weight: 0.0,
            squares: 0.0,
        }
    }

    fn push(&mut self, value: f64) {
        self.count += 1.0;
        self.weight = self.weight * self.decay + 1.0;
        self.squares = self.squares * self.decay * self.decay + 1.0;
        let share = 1.0 / self.weight;
        let difference = value - self.mean;
        self.mean += share * difference;
        self.variance = (1.0 - share) * (self.variance + share * difference * difference);
    }

    /// Mean, and the square root of the variance with divisor sum w - sum w² / sum w.
    fn moments(&self) -> (f64, f64) {
        let all = self.weight * self.weight;
        (self.mean, libm::sqrt(self.variance * (all / (all - self.squares))))
    }

    fn restore(&mut self, numbers: &[f64]) -> Result<(), StatisticsError> {
        let &[count, mean, variance, weight, squares] = numbers else {
            return Err(StatisticsError::State("another baseline than weights that halve"));
        };
        if count < 0.0 || variance < 0.0 || squares < 0.0 || weight < squares {
            return Err(StatisticsError::State("weights that no samples have"));
        }
        *self = Self {
            count,
            mean,
            variance,
            weight,
            squares,
            ..*self
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
