//! What trees give, added up for each row of a block.

use super::forest::{Real, Sink};
use crate::operators::ml::attributes::Attributes;
use tract_onnx::prelude::TractResult;

/// How a target's value follows from what the trees give to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

impl Aggregate {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        match attributes.string("aggregate_function")?.as_deref() {
            None | Some("SUM") => Ok(Self::Sum),
            Some("AVERAGE") => Ok(Self::Average),
            Some("MIN") => Ok(Self::Min),
            Some("MAX") => Ok(Self::Max),
            Some(other) => {
                let problem = format!("is {other:?}; write SUM, AVERAGE, MIN or MAX");
                Err(attributes.refuse("aggregate_function", problem))
            }
        }
    }

    /// The same as numbers, as `TreeEnsemble` has them.
    pub(crate) fn parse_number(attributes: &mut Attributes) -> TractResult<Self> {
        match attributes.int("aggregate_function")? {
            Some(0) => Ok(Self::Average),
            None | Some(1) => Ok(Self::Sum),
            Some(2) => Ok(Self::Min),
            Some(3) => Ok(Self::Max),
            Some(other) => {
                let problem = format!("is {other}; write 0 (AVERAGE), 1 (SUM), 2 (MIN) or 3 (MAX)");
                Err(attributes.refuse("aggregate_function", problem))
            }
        }
    }
}

/// One target, summed: by far the most frequent.
#[derive(Debug)]
pub(crate) struct Sum<T>(Vec<T>);

impl<T: Real> Sum<T> {
    pub(crate) fn new(rows: usize) -> Self {
        Self(vec![T::default(); rows])
    }

    /// Hands over the sums of so many rows, and begins anew.
    pub(crate) fn take(&mut self, rows: usize) -> impl Iterator<Item = T> {
        self.0.iter_mut().take(rows).map(std::mem::take)
    }
}

impl<T: Real> Sink<T> for Sum<T> {
    #[inline(always)]
    fn give(&mut self, row: usize, _target: usize, weight: T) {
        if let Some(sum) = self.0.get_mut(row) {
            *sum += weight;
        }
    }
}

/// Several targets, or one that isn't summed. Remembers which were given anything.
#[derive(Debug)]
pub(crate) struct Scores<T> {
    aggregate: Aggregate,
    targets: usize,
    /// A row of targets for each row of the block.
    values: Vec<T>,
    given: Vec<bool>,
}

impl<T: Real> Scores<T> {
    pub(crate) fn new(aggregate: Aggregate, rows: usize, targets: usize) -> Self {
        Self {
            aggregate,
            targets,
            values: vec![T::default(); rows * targets],
            given: vec![false; rows * targets],
        }
    }

    /// Hands over each of so many rows, as values and whether they were given, and begins anew.
    pub(crate) fn take(&mut self, rows: usize, mut row: impl FnMut(&mut [T], &mut [bool])) {
        let values = self.values.chunks_exact_mut(self.targets);
        let given = self.given.chunks_exact_mut(self.targets);
        for (values, given) in values.zip(given).take(rows) {
            row(values, given);
            values.fill(T::default());
            given.fill(false);
        }
    }
}

impl<T: Real> Sink<T> for Scores<T> {
    #[inline(always)]
    fn give(&mut self, row: usize, target: usize, weight: T) {
        let at = row * self.targets + target;
        let (Some(value), Some(given)) = (self.values.get_mut(at), self.given.get_mut(at)) else {
            return;
        };
        match self.aggregate {
            Aggregate::Sum | Aggregate::Average => *value += weight,
            Aggregate::Min if *given && *value < weight => {}
            Aggregate::Max if *given && *value > weight => {}
            Aggregate::Min | Aggregate::Max => *value = weight,
        }
        *given = true;
    }
}
