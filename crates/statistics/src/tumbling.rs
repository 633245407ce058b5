//! Consecutive windows that don't overlap, kept as how many samples fell into each cell: memory is the cells, whatever the
//! window's length.

use crate::StatisticsError;
use alloc::{vec, vec::Vec};

/// The counts of the window that is filling.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TumblingCounts {
    counts: Vec<u64>,
    window: u64,
    seen: u64,
}

impl TumblingCounts {
    /// For windows of `window` samples.
    pub(crate) fn new(cells: usize, window: u64) -> Result<Self, StatisticsError> {
        if window == 0 {
            return Err(StatisticsError::EmptyWindow);
        }
        Ok(Self {
            counts: vec![0; cells],
            window,
            seen: 0,
        })
    }

    /// Takes in a sample that fell into `cell`, or into none. Gives the window's counts when it is full and at least half
    /// of it fell into cells.
    pub(crate) fn push(&mut self, cell: Option<usize>) -> Option<Vec<u64>> {
        self.seen += 1;
        if let Some(count) = cell.and_then(|cell| self.counts.get_mut(cell)) {
            *count += 1;
        }
        if self.seen < self.window {
            return None;
        }
        let full = self.counts.clone();
        self.counts.fill(0);
        self.seen = 0;
        (full.iter().sum::<u64>() * 2 >= self.window).then_some(full)
    }

    pub(crate) fn state(&self) -> (u64, &[u64]) {
        (self.seen, &self.counts)
    }

    pub(crate) fn restore(&mut self, seen: u64, counts: &[u64]) -> Result<(), StatisticsError> {
        if counts.len() != self.counts.len() {
            return Err(StatisticsError::State("another number of bins"));
        }
        let total = counts.iter().try_fold(0_u64, |total, &count| total.checked_add(count));
        if seen >= self.window || total.is_none_or(|total| total > seen) {
            return Err(StatisticsError::State("more samples than the window holds"));
        }
        self.seen = seen;
        self.counts.copy_from_slice(counts);
        Ok(())
    }
}
