//! A sensor that gives the same value again and again.

/// Counts how often a value repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StuckDetector {
    after: u64,
    last: f64,
    run: u64,
}

impl StuckDetector {
    /// Stuck from the `after`-th equal value in a row; 0 and 1 would make every sample stuck, and are taken as 2.
    #[must_use]
    pub const fn new(after: u64) -> Self {
        Self {
            after: if after < 2 { 2 } else { after },
            last: f64::NAN,
            run: 0,
        }
    }

    /// Takes one sample in, and says whether the sensor is stuck. Values are equal as numbers (0 is -0); a NaN is equal to
    /// nothing and ends a run.
    pub fn push(&mut self, value: f64) -> bool {
        self.run = if value == self.last {
            self.run.saturating_add(1)
        } else {
            u64::from(!value.is_nan())
        };
        self.last = value;
        self.run >= self.after
    }

    /// Equal values in a row, up to now.
    #[must_use]
    pub const fn run(&self) -> u64 {
        self.run
    }

    /// From how many equal values on the sensor is stuck.
    #[must_use]
    pub const fn after(&self) -> u64 {
        self.after
    }

    /// The last value and the run: all that the next answer depends on.
    #[must_use]
    pub const fn state(&self) -> (f64, u64) {
        (self.last, self.run)
    }

    /// Goes on from what [`state`](Self::state) gave.
    pub const fn restore(&mut self, last: f64, run: u64) {
        self.last = last;
        self.run = run;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_to_be_long_enough_and_unbroken() {
        let mut stuck = StuckDetector::new(3);
        let answers = [1.0, 1.0, 1.0, 1.0, 2.0, 0.0, -0.0, 0.0, f64::NAN, 0.0].map(|value| stuck.push(value));
        assert_eq!(
            answers,
            [false, false, true, true, false, false, false, true, false, false]
        );
    }

    #[test]
    fn nan_after_nan_is_missing_and_not_stuck() {
        let mut stuck = StuckDetector::new(0);
        assert!((0..10).all(|_| !stuck.push(f64::NAN)));
        assert!(!stuck.push(1.0));
        assert!(stuck.push(1.0));
    }
}
