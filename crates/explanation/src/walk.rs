//! The evaluations, row by row: batches out, outputs in, the mean output of each coalition.
//!
//! Owns where the caller stands. The row to explain is evaluated first, alone; then each coalition of the plan with every
//! background row: the coalition's columns are the row's own, the others the background's. Outputs are summed in that order
//! in f64, so batches of any size give the same bits.

use crate::{Error, MAX_BATCH_VALUES, Question, coalition::Coalition};

/// Rows to evaluate, one after the other, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batch<'a> {
    /// `count` times the features of a row.
    pub rows: &'a [f32],
    /// How many rows there are, at least 1.
    pub count: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Walk {
    question: Question,
    /// Groups that take part: a coalition's player is an index of this.
    players: Vec<usize>,
    plan: Vec<Coalition>,
    batch_rows: usize,
    /// Rows whose outputs were taken.
    taken: usize,
    /// Rows that were given out and not taken yet.
    pending: usize,
    buffer: Vec<f32>,
    /// For each output the sum over the rows of the coalition that is being evaluated.
    sums: Vec<f64>,
    /// The mean outputs of the row itself, then of each coalition evaluated: `outputs` values each.
    means: Vec<f64>,
}

impl Walk {
    pub(crate) fn new(question: Question, plan: Vec<Coalition>, batch_rows: usize) -> Self {
        let most = (MAX_BATCH_VALUES / question.features()).max(1);
        Self {
            players: question.players(),
            sums: vec![0.0; question.outputs()],
            batch_rows: batch_rows.min(most),
            question,
            plan,
            taken: 0,
            pending: 0,
            buffer: Vec::new(),
            means: Vec::new(),
        }
    }

    pub(crate) fn question(&self) -> &Question {
        &self.question
    }

    pub(crate) fn players(&self) -> &[usize] {
        &self.players
    }

    /// Rows of all batches together.
    pub(crate) fn evaluations(&self) -> usize {
        1 + self.plan.len() * self.background_rows()
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Rows that have to be evaluated until the row itself and so many coalitions are known.
    pub(crate) fn needed_for(&self, coalitions: usize) -> usize {
        1 + coalitions.min(self.plan.len()) * self.background_rows()
    }

    fn background_rows(&self) -> usize {
        self.question.background_rows().len()
    }

    /// The next rows; the same ones again until their outputs are taken. `None` when all is evaluated.
    pub(crate) fn next_batch(&mut self) -> Option<Batch<'_>> {
        let count = (self.evaluations() - self.taken).min(self.batch_rows);
        if count == 0 {
            return None;
        }
        if self.pending == 0 {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            for evaluation in self.taken..self.taken + count {
                self.append_row(evaluation, &mut buffer);
            }
            self.buffer = buffer;
            self.pending = count;
        }
        Some(Batch {
            rows: &self.buffer,
            count,
        })
    }

    fn append_row(&self, evaluation: usize, buffer: &mut Vec<f32>) {
        let start = buffer.len();
        buffer.extend_from_slice(self.question.instance());
        let Some(place) = evaluation.checked_sub(1) else {
            return;
        };
        let rows = self.background_rows();
        let background = self.question.background_rows().nth(place % rows);
        let (Some(coalition), Some(background)) = (self.plan.get(place / rows), background) else {
            return;
        };
        let row = buffer.get_mut(start..).unwrap_or_default();
        for (player, &group) in self.players.iter().enumerate() {
            if !coalition.contains(player) {
                let columns = self.question.groups().columns().get(group);
                replace(row, background, columns.map_or(&[], Vec::as_slice));
            }
        }
    }

    /// Takes the outputs of the batch that was given out: row by row, each row's outputs in their order. After an error
    /// the batch is still to be done.
    pub(crate) fn take<T: Copy + Into<f64>>(&mut self, outputs: &[T]) -> Result<(), Error> {
        if self.pending == 0 {
            return Err(Error::NoBatch);
        }
        let expected = self.pending * self.question.outputs();
        if outputs.len() != expected {
            let actual = outputs.len();
            return Err(Error::OutputCount { expected, actual });
        }
        self.check_finite(outputs)?;
        for row in outputs.chunks_exact(self.question.outputs()) {
            self.add(row);
        }
        self.pending = 0;
        Ok(())
    }

    fn check_finite<T: Copy + Into<f64>>(&self, outputs: &[T]) -> Result<(), Error> {
        let mut values = outputs.iter().map(|&value| value.into());
        let Some(place) = values.position(|value: f64| !value.is_finite()) else {
            return Ok(());
        };
        Err(Error::NotFinite {
            output: place % self.question.outputs(),
            evaluation: self.taken + place / self.question.outputs(),
            value: outputs.get(place).map_or("NaN", |&value| Error::name_of(value.into())),
        })
    }

    fn add<T: Copy + Into<f64>>(&mut self, row: &[T]) {
        for (sum, &value) in self.sums.iter_mut().zip(row) {
            *sum += value.into();
        }
        let rows = if self.taken == 0 { 1 } else { self.background_rows() };
        if self.taken.is_multiple_of(rows) {
            self.means.extend(self.sums.iter().map(|sum| sum / rows as f64));
            self.sums.fill(0.0);
        }
        self.taken += 1;
    }

    /// The outputs for the row itself, once they are there.
    pub(crate) fn prediction(&self) -> Option<&[f64]> {
        self.means.get(..self.question.outputs())
    }

    /// Coalitions of which all is known, with their mean outputs, in the plan's order.
    pub(crate) fn known(&self) -> impl Iterator<Item = (Coalition, &[f64])> {
        let means = self.means.chunks_exact(self.question.outputs()).skip(1);
        self.plan.iter().copied().zip(means)
    }
}

fn replace(row: &mut [f32], background: &[f32], columns: &[usize]) {
    for &column in columns {
        if let (Some(value), Some(hidden)) = (row.get_mut(column), background.get(column)) {
            *value = *hidden;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Groups;

    fn walk(batch_rows: usize) -> Walk {
        let groups = Groups::from_labels(&[0, 1, 0]).unwrap();
        let background = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
        let question = Question::new(groups, &[1.0, 2.0, 3.0], &background, 1).unwrap();
        Walk::new(question, vec![Coalition::EMPTY, Coalition::of([0])], batch_rows)
    }

    #[test]
    fn rows_are_the_instance_with_the_background_in_what_is_hidden() {
        let mut walk = walk(100);
        let batch = walk.next_batch().unwrap();
        assert_eq!(batch.count, 5);
        let expected = [
            [1.0, 2.0, 3.0],
            [10.0, 20.0, 30.0],
            [40.0, 50.0, 60.0],
            [1.0, 20.0, 3.0],
            [1.0, 50.0, 3.0],
        ];
        assert_eq!(batch.rows, expected.as_flattened());
    }

    #[test]
    fn outputs_become_means_whatever_the_batches() {
        for batch_rows in 1..7 {
            let mut walk = walk(batch_rows);
            let mut evaluations = 0;
            while let Some(batch) = walk.next_batch() {
                let sums: Vec<f32> = batch.rows.chunks(3).map(|row| row.iter().sum()).collect();
                evaluations += batch.count;
                walk.take(&sums).unwrap();
            }
            assert_eq!(evaluations, walk.evaluations());
            assert_eq!(walk.prediction(), Some([6.0].as_slice()));
            let known: Vec<(Coalition, f64)> = walk.known().map(|(coalition, mean)| (coalition, mean[0])).collect();
            assert_eq!(known, [(Coalition::EMPTY, 105.0), (Coalition::of([0]), 39.0)]);
        }
    }

    #[test]
    fn a_batch_stays_until_its_outputs_are_right() {
        let mut walk = walk(3);
        assert_eq!(walk.take(&[1.0_f32]), Err(Error::NoBatch));
        let first = walk.next_batch().unwrap().rows.to_vec();
        assert_eq!(
            walk.take(&[1.0_f32; 2]),
            Err(Error::OutputCount { expected: 3, actual: 2 })
        );
        let refused = walk.take(&[1.0, 2.0, f64::NAN]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "output 0 of evaluation 2 is NaN: only finite outputs can be explained"
        );
        assert!(walk.take(&[f32::INFINITY, 0.0, 0.0]).is_err());
        assert_eq!(walk.taken(), 0);
        assert_eq!(walk.next_batch().unwrap().rows, first);
        walk.take(&[1.0_f32; 3]).unwrap();
        assert_eq!(walk.taken(), 3);
    }
}
