//! Means of blocks: so many values in a row become one.
//!
//! What a drift detector of single values needs where neighbours are correlated: means of blocks that are several times as
//! long as the correlation lasts hardly depend on each other. Memory is two numbers.

use crate::{StatisticsError, detection};

/// A block that is filling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockMean {
    size: u64,
    count: u64,
    sum: f64,
}

impl BlockMean {
    /// An empty block of `size` values, at least 1. With 1 every value is its own mean, bit by bit.
    pub fn new(size: u64) -> Result<Self, StatisticsError> {
        if size == 0 {
            return Err(StatisticsError::Parameter {
                name: "block",
                value: 0.0,
                expected: "at least 1",
            });
        }
        Ok(Self {
            size,
            count: 0,
            sum: 0.0,
        })
    }

    /// Takes a value in and gives the mean when the block is full. A NaN, or a value beyond
    /// [`MAX_MAGNITUDE`](detection::MAX_MAGNITUDE), is left out.
    pub fn push(&mut self, value: f64) -> Option<f64> {
        if !detection::is_usable(value) {
            return None;
        }
        self.sum += value;
        self.count += 1;
        if self.count < self.size {
            return None;
        }
        let mean = self.sum / self.size as f64;
        (self.count, self.sum) = (0, 0.0);
        Some(mean)
    }

    /// Values in the block, and their sum: what [`restore`](Self::restore) goes on from.
    #[must_use]
    pub const fn state(&self) -> (u64, f64) {
        (self.count, self.sum)
    }

    /// Goes on from a saved [`state`](Self::state). What can't come from there is refused and changes nothing.
    pub fn restore(&mut self, count: u64, sum: f64) -> Result<(), StatisticsError> {
        if count >= self.size || !sum.is_finite() || (count == 0 && sum != 0.0) {
            return Err(StatisticsError::State(
                "a block with too many values, or a sum that isn't finite",
            ));
        }
        (self.count, self.sum) = (count, sum);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_block_gives_its_mean() {
        let mut block = BlockMean::new(3).unwrap();
        let means: Vec<Option<f64>> = [1.0, f64::NAN, 2.0, 6.0, f64::INFINITY, 1e101, 1.0]
            .map(|value| block.push(value))
            .into();
        assert_eq!(means, [None, None, None, Some(3.0), None, None, None]);
        assert_eq!(block.state(), (1, 1.0));
        let mut one = BlockMean::new(1).unwrap();
        assert_eq!(one.push(0.1), Some(0.1));
        assert!(BlockMean::new(0).is_err());
    }

    #[test]
    fn state_that_lies_is_refused() {
        let mut block = BlockMean::new(3).unwrap();
        block.push(2.0);
        for (count, sum) in [(3, 1.0), (0, 1.0), (1, f64::NAN)] {
            assert!(block.restore(count, sum).is_err());
        }
        assert_eq!(block.state(), (1, 2.0));
        block.restore(2, 5.0).unwrap();
        assert_eq!(block.push(1.0), Some(2.0));
    }
}
