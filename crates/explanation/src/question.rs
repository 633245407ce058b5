//! What is to be explained: a row, against which background, in which groups, for how many outputs.
//!
//! Owns these values once they are known to fit each other. A player is a group whose values differ from the background's
//! somewhere: the others can't have changed anything, and neither cost evaluations nor get an attribution but 0.

use crate::{Error, Groups, MAX_BACKGROUND_ROWS, MAX_OUTPUTS};

/// A row of a model's input, what to compare it with, and how many outputs the model gives for a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    groups: Groups,
    /// `features` values.
    instance: Vec<f32>,
    /// Row by row, `features` values each.
    background: Vec<f32>,
    outputs: usize,
}

impl Question {
    /// Asks for the row `instance` of `groups.features()` values against the `background`, 1 to [`MAX_BACKGROUND_ROWS`] such
    /// rows one after the other. The model gives `outputs` values for a row, 1 to [`MAX_OUTPUTS`], and all of them are
    /// explained. Inputs may be NaN where a model takes that for missing.
    pub fn new(groups: Groups, instance: &[f32], background: &[f32], outputs: usize) -> Result<Self, Error> {
        let features = groups.features();
        if instance.len() != features {
            return Err(Error::GroupedFeatures {
                grouped: features,
                features: instance.len(),
            });
        }
        let rows = background.len() / features;
        if !background.len().is_multiple_of(features) || !(1..=MAX_BACKGROUND_ROWS).contains(&rows) {
            return Err(Error::Background {
                values: background.len(),
                features,
            });
        }
        if !(1..=MAX_OUTPUTS).contains(&outputs) {
            return Err(Error::Outputs(outputs));
        }
        Ok(Self {
            groups,
            instance: instance.to_vec(),
            background: background.to_vec(),
            outputs,
        })
    }

    /// The same against one row alone: the mean of the background's values in each column, NaNs left out, rounded to f32.
    /// NaN where there are only NaNs.
    pub(crate) fn against_the_mean(self) -> Self {
        let mean = (0..self.features()).map(|column| self.mean(column)).collect();
        Self {
            background: mean,
            ..self
        }
    }

    fn mean(&self, column: usize) -> f32 {
        let rows = self.background_rows();
        let known = rows.filter_map(|row| row.get(column)).filter(|value| !value.is_nan());
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), &value| (sum + f64::from(value), count + 1.0));
        (sum / count) as f32
    }

    /// Values of a row.
    #[must_use]
    pub fn features(&self) -> usize {
        self.groups.features()
    }

    /// How features are grouped: attributions are in this order.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Values that the model gives for a row.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The row to explain.
    #[must_use]
    pub fn instance(&self) -> &[f32] {
        &self.instance
    }

    /// The rows to compare with.
    pub fn background_rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.background.chunks_exact(self.features())
    }

    /// Groups in which the row differs from the background.
    #[must_use]
    pub fn players(&self) -> Vec<usize> {
        let columns = self.groups.columns().iter().enumerate();
        columns
            .filter(|(_, columns)| columns.iter().any(|&column| self.varies(column)))
            .map(|(group, _)| group)
            .collect()
    }

    fn varies(&self, column: usize) -> bool {
        let own = self.instance.get(column).map(|value| value.to_bits());
        let mut rows = self.background_rows();
        rows.any(|row| row.get(column).map(|value| value.to_bits()) != own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(instance: &[f32], background: &[f32], outputs: usize) -> Result<Question, Error> {
        Question::new(Groups::single(2).unwrap(), instance, background, outputs)
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let background = |values| Error::Background { values, features: 2 };
        let cases = [
            (
                ask(&[1.0], &[1.0, 2.0], 1),
                Error::GroupedFeatures {
                    grouped: 2,
                    features: 1,
                },
            ),
            (ask(&[1.0, 2.0], &[], 1), background(0)),
            (ask(&[1.0, 2.0], &[1.0; 3], 1), background(3)),
            (ask(&[1.0, 2.0], &[1.0; 202], 1), background(202)),
            (ask(&[1.0, 2.0], &[1.0; 2], 0), Error::Outputs(0)),
            (
                ask(&[1.0, 2.0], &[1.0; 2], MAX_OUTPUTS + 1),
                Error::Outputs(MAX_OUTPUTS + 1),
            ),
        ];
        for (asked, expected) in cases {
            assert_eq!(asked, Err(expected));
        }
    }

    #[test]
    fn only_what_differs_plays() {
        let players = |background: &[f32]| ask(&[1.0, f32::NAN], background, 1).unwrap().players();
        assert_eq!(players(&[1.0, f32::NAN, 1.0, f32::NAN]), Vec::<usize>::new());
        assert_eq!(players(&[1.0, f32::NAN, 2.0, f32::NAN]), [0]);
        assert_eq!(players(&[1.0, 0.0]), [1]);
    }

    #[test]
    fn the_mean_is_of_what_is_known() {
        let asked = ask(&[0.0; 2], &[1.0, f32::NAN, 2.0, f32::NAN, f32::NAN, f32::NAN], 1).unwrap();
        let mean = asked.against_the_mean();
        let rows: Vec<&[f32]> = mean.background_rows().collect();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0][0], 1.5);
        assert!(rows[0][1].is_nan());
    }
}
