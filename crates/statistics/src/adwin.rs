//! ADWIN: a window that grows while the stream's mean is steady, and drops its oldest part when it isn't.
//!
//! Bifet and Gavaldà 2007 (Learning from time-changing data with adaptive windowing, SIAM International Conference on
//! Data Mining), the version ADWIN2, which keeps the window as buckets of 1, 2, 4, ... samples: at most
//! [`Config::max_buckets`] of a size, so that a window of W samples takes about max_buckets · log2(W / max_buckets)
//! buckets of 24 bytes.
//!
//! Every gap between two buckets cuts the window into an older part of n0 samples and a newer one of n1. The means of
//! the two differ if their distance is above
//!
//! sqrt(2 m v d) + 2/3 m d, for d = ln(2 ln(W) / delta) and m = 1 / (n0 - l + 1) + 1 / (n1 - l + 1),
//!
//! v being the window's variance and l [`Config::min_window_length`], which is 1 in the paper. Then the oldest bucket
//! goes, until no cut is left.
//!
//! # Scale
//!
//! The bound's second term is for values from 0 to 1: it doesn't shrink with the variance. Changes on a much smaller scale
//! are seen late or never; on a much larger one that term is lost and the first stands alone, which is right for values
//! near a normal distribution. Bring values to a range of about 1.
//!
//! # False alarms
//!
//! Alarms per 10,000 samples of a stream without drift, at the defaults (`tests/detectors/false_alarms.rs`, 1,000 streams):
//!
//! | stream | alarms |
//! |---|---|
//! | zeros and ones with a rate of 0.05 to 0.5, uniform from 0 to 1, normal with a standard deviation of 0.1 or 1 | 0.002 or fewer |
//! | normal with a standard deviation of 1, neighbours correlated by 0.9 | 62.5 |
//! | means of 50 neighbours of that | 0.02 |
//!
//! The bound is for values that don't depend on each other. Where neighbours are correlated, as in most sensors' signals,
//! push means of blocks that are several times as long as the correlation lasts.
//!
//! # Differences
//!
//! As in River, the whole window is given up after an alarm, where the paper keeps the newer part: [`Adwin::mean`] and
//! [`Adwin::width`] speak of that part until the next value comes. A `max_buckets` of 1, with which River can panic as
//! its window shrinks, is refused. Values that are no numbers, or beyond
//! [`MAX_MAGNITUDE`](crate::detection::MAX_MAGNITUDE), are left out, where in River they end all detection.

use crate::{StatisticsError, detection, detection::Level};
use alloc::vec::Vec;

/// The most [`Config::max_buckets`] may be: above it, cuts are tried at nearly every sample and memory is no longer small.
pub const MAX_BUCKETS: u32 = 64;

/// Sizes of buckets: a window of 2^53 samples, the most that a f64 counts.
const MAX_SIZES: usize = 53;

/// How ADWIN looks at a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// How sure an alarm is: the bound on a false cut each time cuts are tried, above 0 and below 1. 0.002 by default.
    pub delta: f64,
    /// Cuts are tried at every clock-th sample since the start or the last alarm. 32 by default.
    pub clock: u32,
    /// The most buckets of one size, 2 to [`MAX_BUCKETS`]: more make finer cuts and a larger state. 5 by default.
    pub max_buckets: u32,
    /// Parts of fewer samples aren't compared; at least 1. 5 by default.
    pub min_window_length: u32,
    /// No cut is tried in a window of this many samples or fewer. 10 by default.
    pub grace_period: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            delta: 0.002,
            clock: 32,
            max_buckets: 5,
            min_window_length: 5,
            grace_period: 10,
        }
    }
}

/// Neighbouring samples as three numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// How many samples: a power of two.
    pub size: u64,
    /// Their sum.
    pub total: f64,
    /// The sum of their squared distances to their mean.
    pub squares: f64,
}

/// Everything the next answers depend on, besides the configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Samples since cuts were last tried.
    pub tick: u32,
    /// Whether the last answer was a drift.
    pub drifted: bool,
    /// The sum of the window's values.
    pub total: f64,
    /// The sum of their squared distances to their mean.
    pub squares: f64,
    /// The window, oldest first: sizes never rise.
    pub buckets: Vec<Bucket>,
}

/// The detector.
#[derive(Debug, Clone, PartialEq)]
pub struct Adwin {
    config: Config,
    width: u64,
    state: State,
}

impl Adwin {
    /// An empty window.
    pub fn new(config: Config) -> Result<Self, StatisticsError> {
        let refuse = |name, value, expected| Err(StatisticsError::Parameter { name, value, expected });
        if !(config.delta > 0.0 && config.delta < 1.0) {
            return refuse("delta", config.delta, "above 0 and below 1");
        }
        if config.clock == 0 {
            return refuse("clock", 0.0, "at least 1");
        }
        if !(2..=MAX_BUCKETS).contains(&config.max_buckets) {
            return refuse("max_buckets", f64::from(config.max_buckets), "2 to 64");
        }
        if config.min_window_length == 0 {
            return refuse("min_window_length", 0.0, "at least 1");
        }
        Ok(Self {
            config,
            width: 0,
            state: State::default(),
        })
    }

    /// Takes a value in and says whether the mean has changed. A NaN, or a value beyond
    /// [`MAX_MAGNITUDE`](crate::detection::MAX_MAGNITUDE), is left out.
    pub fn push(&mut self, value: f64) -> Level {
        if !detection::is_usable(value) {
            return Level::Stable;
        }
        if self.state.drifted {
            self.state = State::default();
            self.width = 0;
        }
        self.insert(value);
        self.state.tick += 1;
        if self.state.tick < self.config.clock {
            return Level::Stable;
        }
        self.state.tick = 0;
        if self.width > u64::from(self.config.grace_period) {
            while self.has_cut() {
                self.drop_oldest();
                self.state.drifted = true;
            }
        }
        if self.state.drifted {
            Level::Drift
        } else {
            Level::Stable
        }
    }

    /// How many samples the window holds.
    #[must_use]
    pub const fn width(&self) -> u64 {
        self.width
    }

    /// The window's mean; 0 when it is empty. After an alarm, that of the part that is left.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.width == 0 {
            0.0
        } else {
            self.state.total / self.width as f64
        }
    }

    /// The window's variance, with divisor n; 0 when it is empty.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.width == 0 {
            0.0
        } else {
            self.state.squares / self.width as f64
        }
    }

    /// What [`restore`](Self::restore) goes on from.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The most buckets that a state can have, for a bound on its size.
    #[must_use]
    pub const fn most_buckets(&self) -> usize {
        self.config.max_buckets as usize * MAX_SIZES
    }

    /// Goes on from what [`state`](Self::state) gave under the same configuration. What can't come from there is refused
    /// and changes nothing.
    pub fn restore(&mut self, state: State) -> Result<(), StatisticsError> {
        let refuse = |what| Err(StatisticsError::State(what));
        if state.tick >= self.config.clock {
            return refuse("a tick beyond the clock");
        }
        let numbers = |total: f64, squares: f64| total.is_finite() && squares.is_finite() && squares >= 0.0;
        let whole = state.buckets.iter().all(|bucket| {
            bucket.size.is_power_of_two() && bucket.size < 1 << MAX_SIZES && numbers(bucket.total, bucket.squares)
        });
        if !whole || !numbers(state.total, state.squares) {
            return refuse("sums that aren't finite, or sizes that are no power of two");
        }
        let runs = state.buckets.chunk_by(|older, newer| older.size == newer.size);
        let sorted = state.buckets.is_sorted_by(|older, newer| older.size >= newer.size);
        if !sorted || runs.into_iter().any(|run| run.len() > self.config.max_buckets as usize) {
            return refuse("buckets out of order, or too many of a size");
        }
        self.width = state.buckets.iter().map(|bucket| bucket.size).sum();
        self.state = state;
        Ok(())
    }

    fn insert(&mut self, value: f64) {
        let before = self.width as f64;
        self.width += 1;
        if before > 0.0 {
            let distance = value - self.state.total / before;
            self.state.squares += before * distance * distance / (before + 1.0);
        }
        self.state.total += value;
        self.state.buckets.push(Bucket {
            size: 1,
            total: value,
            squares: 0.0,
        });
        self.merge();
    }

    /// Where there is one bucket of a size too many, its two oldest become one of the next size.
    fn merge(&mut self) {
        let buckets = &mut self.state.buckets;
        let mut end = buckets.len();
        while let Some([.., newest]) = buckets.get(..end) {
            let size = newest.size;
            let older = buckets.iter().take(end).rev();
            let run = older.take_while(|bucket| bucket.size == size).count();
            let first = end - run;
            if run <= self.config.max_buckets as usize {
                return;
            }
            let second = buckets.remove(first + 1);
            if let Some(bucket) = buckets.get_mut(first) {
                bucket.absorb(second);
            }
            end = first + 1;
        }
    }

    /// Whether the means differ on the two sides of some gap between buckets.
    fn has_cut(&self) -> bool {
        let width = self.width as f64;
        let variance = self.state.squares / width;
        let log_term = libm::log(2.0 * libm::log(width) / self.config.delta);
        let least = f64::from(self.config.min_window_length);
        let (mut old_count, mut new_count) = (0.0, width);
        let (mut old_total, mut new_total) = (0.0, self.state.total);
        let gaps = self.state.buckets.len().saturating_sub(1);
        for bucket in self.state.buckets.iter().take(gaps) {
            let size = bucket.size as f64;
            old_count += size;
            new_count -= size;
            old_total += bucket.total;
            new_total -= bucket.total;
            if old_count < least || new_count < least {
                continue;
            }
            let recip = 1.0 / (old_count - least + 1.0) + 1.0 / (new_count - least + 1.0);
            let bound = libm::sqrt(2.0 * recip * variance * log_term) + 2.0 / 3.0 * log_term * recip;
            if libm::fabs(old_total / old_count - new_total / new_count) > bound {
                return true;
            }
        }
        false
    }

    /// Takes the oldest bucket out of the window's sums: the reverse of joining it with the rest.
    fn drop_oldest(&mut self) {
        if self.state.buckets.is_empty() {
            return;
        }
        let oldest = self.state.buckets.remove(0);
        self.width -= oldest.size;
        self.state.total -= oldest.total;
        let (size, width) = (oldest.size as f64, self.width as f64);
        let distance = oldest.total / size - self.state.total / width;
        let squares = self.state.squares - (oldest.squares + size * width * distance * distance / (size + width));
        // What is left of a window of equal values is rounding, of either sign.
        self.state.squares = if squares > 0.0 { squares } else { 0.0 };
    }
}

impl Bucket {
    /// Joins a bucket of the same size.
    fn absorb(&mut self, other: Self) {
        let size = self.size as f64;
        let distance = self.total / size - other.total / size;
        self.squares = self.squares + other.squares + size * 0.5 * distance * distance;
        self.total += other.total;
        self.size *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(period: u64, length: u64) -> impl Iterator<Item = f64> {
        (0..length).map(move |n| if n % period == 0 { 1.0 } else { 0.0 })
    }

    #[test]
    fn buckets_add_up_to_the_window_and_grow_with_its_logarithm() {
        let mut adwin = Adwin::new(Config::default()).unwrap();
        for (n, value) in bits(2, 100_000).enumerate() {
            assert_eq!(adwin.push(value), Level::Stable);
            let buckets = &adwin.state().buckets;
            assert_eq!(adwin.width(), n as u64 + 1);
            assert_eq!(buckets.iter().map(|bucket| bucket.size).sum::<u64>(), adwin.width());
            let sizes = libm::log2(adwin.width() as f64 / 5.0 + 1.0) + 1.0;
            assert!(buckets.len() as f64 <= 5.0 * sizes, "{} at {n}", buckets.len());
            assert!(buckets.len() <= adwin.most_buckets());
        }
        assert_eq!((adwin.mean(), adwin.state().total), (0.5, 50_000.0));
        assert!((adwin.variance() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn after_an_alarm_the_newer_part_can_be_asked_for_and_the_next_value_begins_anew() {
        let mut adwin = Adwin::new(Config::default()).unwrap();
        assert!(bits(10, 2_000).all(|value| adwin.push(value) == Level::Stable));
        let delay = bits(2, 2_000)
            .take_while(|&value| adwin.push(value) == Level::Stable)
            .count();
        assert!(delay < 200, "{delay}");
        // Cutting stops where the rest could be of one piece: some of the old rate is left.
        assert!(adwin.width() < 500 && adwin.mean() > 0.15, "{adwin:?}");
        adwin.push(1.0);
        assert_eq!((adwin.width(), adwin.mean(), adwin.variance()), (1, 1.0, 0.0));
    }

    #[test]
    fn equal_values_never_alarm() {
        let mut adwin = Adwin::new(Config::default()).unwrap();
        assert!((0..20_000).all(|_| adwin.push(0.1) == Level::Stable));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let mut adwin = Adwin::new(Config::default()).unwrap();
        adwin.push(0.5);
        let before = adwin.clone();
        for value in [f64::NAN, f64::INFINITY, -1e300] {
            assert_eq!(adwin.push(value), Level::Stable);
        }
        assert_eq!(adwin, before);
    }

    #[test]
    fn parameters_are_checked() {
        let check = |change: fn(&mut Config), expected: &str| {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(Adwin::new(config).unwrap_err().to_string(), expected);
        };
        check(
            |config| config.delta = 1.0,
            "delta is 1: it has to be above 0 and below 1",
        );
        check(
            |config| config.delta = f64::NAN,
            "delta is NaN: it has to be above 0 and below 1",
        );
        check(|config| config.clock = 0, "clock is 0: it has to be at least 1");
        check(
            |config| config.max_buckets = 1,
            "max_buckets is 1: it has to be 2 to 64",
        );
        check(
            |config| config.max_buckets = 65,
            "max_buckets is 65: it has to be 2 to 64",
        );
        check(
            |config| config.min_window_length = 0,
            "min_window_length is 0: it has to be at least 1",
        );
    }

    #[test]
    fn state_that_lies_is_refused() {
        let mut adwin = Adwin::new(Config::default()).unwrap();
        for value in bits(3, 100) {
            adwin.push(value);
        }
        let good = adwin.state().clone();
        let changes: [fn(&mut State); 8] = [
            |state| state.tick = 32,
            |state| state.total = f64::NAN,
            |state| state.squares = -1.0,
            |state| state.buckets[0].size = 3,
            |state| state.buckets[0].size = 1 << 60,
            |state| state.buckets[1].total = f64::INFINITY,
            |state| state.buckets.reverse(),
            |state| state.buckets.extend([state.buckets[state.buckets.len() - 1]; 5]),
        ];
        for change in changes {
            let mut state = good.clone();
            change(&mut state);
            assert!(matches!(adwin.restore(state), Err(StatisticsError::State(_))));
        }
        assert_eq!(adwin.state(), &good);
        adwin.restore(good).unwrap();
        assert_eq!(adwin.width(), 100);
    }
}
