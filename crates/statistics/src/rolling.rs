//! Mean, standard deviation, minimum, maximum and slope of the last samples: the online half of a feature store.
//!
//! A window is the last n samples, or the samples of the last milliseconds: those with t - width < time <= t, t being
//! the time of the newest. Both are what pandas' `rolling(n, min_periods=1)` and `rolling("250ms")` see at each row, so
//! that features computed in training and on the device are the same.
//!
//! **Cost.** A sample is taken in in constant time on average, whatever the window's length; one sample in a window's
//! length costs as much as the window has samples. Memory is [`BYTES_PER_SAMPLE`] bytes for each sample in the window,
//! and a window over time never holds more than a number that is given.
//!
//! **Stability.** Nothing is ever subtracted from a sum, which is what lets usual rolling sums drift and what a single
//! huge sample spoils for good. The window is a queue of two parts: the older samples keep, each, the [`Summary`] of
//! themselves and what followed them; the newer ones have one in common; when the older part is used up, the newer one
//! takes its place. Summaries are merged by the formulas of Chan, Golub and LeVeque (1983, The American Statistician
//! 37(3)), the products of value and time like the squares. An error is at most one of the samples that are in the
//! window, and leaves with them. A summary keeps its mean time as whole milliseconds and a fraction, so that a slope
//! over a few milliseconds is as exact in the year 2026 as in 1970.
//!
//! **Time.** Times may repeat. A window of n samples takes them as they come, in any order. In a window over time a
//! sample that is older than the newest one is [left out](Push::Late), as it would be in no sorted table, unless it is
//! a window's width older: then the clock was set back, and the window [starts anew](Push::Restarted) with it. So one
//! sample with a time in the future costs a window's width of samples at most, and a clock that was set back doesn't
//! stop features.
//!
//! **Missing values.** A NaN or an infinity takes a place in the window, as a row of a table does, and counts for
//! nothing.

use crate::StatisticsError;
use alloc::{collections::VecDeque, vec::Vec};

/// Half a MiB of saved state, half of what a plugin has, and 3 MiB of its 16 MiB of memory.
pub const MAX_SAMPLES: usize = 1 << 15;

/// What a sample in the window takes: itself and a summary.
pub const BYTES_PER_SAMPLE: usize = size_of::<Sample>() + size_of::<Summary>();

/// A value and when it was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since some fixed moment, for instance 1970.
    pub time_ms: i64,
    /// Any unit. NaN and infinities stand for a value that isn't there.
    pub value: f64,
}

/// How far back a window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The last samples, 1 to [`MAX_SAMPLES`].
    Samples(usize),
    /// The samples of the last milliseconds.
    Time {
        /// From the newest sample back, above 0. A sample that is exactly as old is out.
        width_ms: u64,
        /// When the window holds this many, 1 to [`MAX_SAMPLES`], the oldest one leaves before its time.
        max_samples: usize,
    },
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It is in the window.
    Taken,
    /// It is in the window, and the oldest one had to leave before its time: the window covers less than its width.
    Full,
    /// It is older than the newest one by less than the window's width, and was left out.
    Late,
    /// It is older by at least the width: the clock was set back, and the window now holds this sample alone.
    Restarted,
}

/// The last samples and what they amount to.
#[derive(Debug, Clone, PartialEq)]
pub struct RollingWindow {
    extent: Extent,
    /// Oldest first.
    samples: VecDeque<Sample>,
    /// For each sample of the older part, from the newest to the oldest of them: its summary with what followed in that
    /// part. So the last one is the whole part's, and leaves with the oldest sample.
    older: Vec<Summary>,
    /// Of all other samples.
    newer: Summary,
}

impl RollingWindow {
    /// An empty window.
    pub fn new(extent: Extent) -> Result<Self, StatisticsError> {
        let (name, samples) = match extent {
            Extent::Samples(samples) => ("samples", samples),
            Extent::Time { max_samples, .. } => ("max_samples", max_samples),
        };
        if !(1..=MAX_SAMPLES).contains(&samples) {
            return Err(StatisticsError::Parameter {
                name,
                value: samples as f64,
                expected: "1 to 32768",
            });
        }
        if let Extent::Time { width_ms: 0, .. } = extent {
            return Err(StatisticsError::Parameter {
                name: "width_ms",
                value: 0.0,
                expected: "1 or more",
            });
        }
        Ok(Self {
            extent,
            samples: VecDeque::new(),
            older: Vec::new(),
            newer: Summary::EMPTY,
        })
    }

    /// Takes one sample in and lets those out that are too old then.
    pub fn push(&mut self, sample: Sample) -> Push {
        let push = match self.extent {
            Extent::Samples(samples) => {
                self.leave_but(samples - 1);
                Push::Taken
            }
            Extent::Time { width_ms, max_samples } => self.make_room(sample.time_ms, width_ms, max_samples),
        };
        if push != Push::Late {
            self.samples.push_back(sample);
            self.newer = self.newer.merge(&Summary::of(sample));
        }
        push
    }

    /// What the samples in the window amount to.
    #[must_use]
    pub fn summary(&self) -> Summary {
        match self.older.last() {
            Some(older) => older.merge(&self.newer),
            None => self.newer,
        }
    }

    /// How far back the window reaches.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// Forgets the samples.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.older.clear();
        self.newer = Summary::EMPTY;
    }

    /// The samples, oldest first, and how many of them are in the older part: all that the next answer depends on, to
    /// the last bit.
    #[must_use]
    pub fn state(&self) -> (impl ExactSizeIterator<Item = Sample> + '_, usize) {
        (self.samples.iter().copied(), self.older.len())
    }

    /// Goes on from what [`state`](Self::state) gave under the same extent.
    pub fn restore(&mut self, samples: &[Sample], older: usize) -> Result<(), StatisticsError> {
        let most = match self.extent {
            Extent::Samples(samples) => samples,
            Extent::Time { width_ms, max_samples } => {
                if !samples.is_sorted_by_key(|sample| sample.time_ms) {
                    return Err(StatisticsError::State(
                        "samples that aren't in the order of their times",
                    ));
                }
                if let (Some(oldest), Some(newest)) = (samples.first(), samples.last())
                    && newest.time_ms.abs_diff(oldest.time_ms) >= width_ms
                {
                    return Err(StatisticsError::State(
                        "samples that are further apart than the window is wide",
                    ));
                }
                max_samples
            }
        };
        if samples.len() > most {
            return Err(StatisticsError::State("more samples than the window holds"));
        }
        let Some((before, after)) = samples.split_at_checked(older) else {
            return Err(StatisticsError::State("an older part of more samples than there are"));
        };
        self.clear();
        self.samples.extend(before);
        self.grow_old();
        for &sample in after {
            self.samples.push_back(sample);
            self.newer = self.newer.merge(&Summary::of(sample));
        }
        Ok(())
    }

    /// Lets out what is too old, or too much, for a sample of this time to come.
    fn make_room(&mut self, time_ms: i64, width_ms: u64, max_samples: usize) -> Push {
        let is_out = |sample: &Sample| time_ms.abs_diff(sample.time_ms) >= width_ms;
        if let Some(newest) = self.samples.back()
            && time_ms < newest.time_ms
        {
            if !is_out(newest) {
                return Push::Late;
            }
            self.clear();
            return Push::Restarted;
        }
        while self.samples.front().is_some_and(is_out) {
            self.leave();
        }
        if self.samples.len() < max_samples {
            return Push::Taken;
        }
        self.leave_but(max_samples - 1);
        Push::Full
    }

    /// Lets the oldest samples out until there are at most `samples`.
    fn leave_but(&mut self, samples: usize) {
        while self.samples.len() > samples {
            self.leave();
        }
    }

    /// Lets the oldest sample out.
    fn leave(&mut self) {
        if self.older.is_empty() {
            self.grow_old();
        }
        self.older.pop();
        self.samples.pop_front();
    }

    /// Makes all samples the older part.
    fn grow_old(&mut self) {
        let mut following = Summary::EMPTY;
        self.older.clear();
        for &sample in self.samples.iter().rev() {
            following = Summary::of(sample).merge(&following);
            self.older.push(following);
        }
        self.newer = Summary::EMPTY;
    }
}

/// Moments, extremes and trend of some samples; missing values are in none of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    count: u64,
    mean: f64,
    /// Sum of (value - mean)².
    squares: f64,
    min: f64,
    max: f64,
    /// The mean time: whole milliseconds and what is left.
    mean_ms: i64,
    rest_ms: f64,
    /// Sum of (time - mean time)², in ms².
    time_squares: f64,
    /// Sum of (value - mean)(time - mean time).
    products: f64,
}

impl Summary {
    /// Of no samples.
    const EMPTY: Self = Self {
        count: 0,
        mean: 0.0,
        squares: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        mean_ms: 0,
        rest_ms: 0.0,
        time_squares: 0.0,
        products: 0.0,
    };

    /// Of one sample.
    const fn of(sample: Sample) -> Self {
        if !sample.value.is_finite() {
            return Self::EMPTY;
        }
        Self {
            count: 1,
            mean: sample.value,
            min: sample.value,
            max: sample.value,
            mean_ms: sample.time_ms,
            ..Self::EMPTY
        }
    }

    /// Of both's samples.
    fn merge(&self, other: &Self) -> Self {
        if self.count == 0 {
            return *other;
        }
        if other.count == 0 {
            return *self;
        }
        let count = self.count + other.count;
        let share = other.count as f64 / count as f64;
        let delta = other.mean - self.mean;
        // Saturates for times that are 292 million years apart.
        let delta_ms = other.mean_ms.saturating_sub(self.mean_ms) as f64 + (other.rest_ms - self.rest_ms);
        let weight = self.count as f64 * share;
        let rest_ms = self.rest_ms + delta_ms * share;
        // Towards 0, exact in both ways.
        let whole_ms = rest_ms as i64;
        Self {
            count,
            mean: self.mean + delta * share,
            squares: self.squares + other.squares + delta * delta * weight,
            min: if other.min < self.min { other.min } else { self.min },
            max: if other.max > self.max { other.max } else { self.max },
            mean_ms: self.mean_ms.saturating_add(whole_ms),
            rest_ms: rest_ms - whole_ms as f64,
            time_squares: self.time_squares + other.time_squares + delta_ms * delta_ms * weight,
            products: self.products + other.products + delta * delta_ms * weight,
        }
    }

    /// Values that aren't missing.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The arithmetic mean; `None` without values, as all the others.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The standard deviation with divisor n (`numpy.std`).
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        (self.count > 0).then(|| libm::sqrt(self.squares / self.count as f64))
    }

    /// The standard deviation with divisor n - 1 (`std` of pandas); `None` below two values.
    #[must_use]
    pub fn sample_deviation(&self) -> Option<f64> {
        (self.count > 1).then(|| libm::sqrt(self.squares / (self.count - 1) as f64))
    }

    /// The least value.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The greatest value.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The slope of the least-squares line through values over time, in the value's unit per second; `None` below two
    /// values, or when all were taken at one time.
    #[must_use]
    pub fn slope_per_second(&self) -> Option<f64> {
        (self.time_squares > 0.0).then(|| 1000.0 * (self.products / self.time_squares))
    }
}

#[cfg(test)]
mod tests;
