//! Occlusion: what an output loses when one group is hidden.
//!
//! Owns the explainer and what it gives. A group's columns are replaced by the background's mean in each of them (NaNs left
//! out, rounded to f32), and its attribution is f(x) - f(x with the group replaced) (Zeiler and Fergus 2014, "Visualizing and
//! understanding convolutional networks", ECCV, there with a grey square). One evaluation for each group; not additive: what
//! two groups do only together is in both of their attributions, and what either does alone as well is in none.

use crate::{Batch, Error, Explainer, Question, coalition::Coalition, kernel_shap::check_batch_rows, walk::Walk};

/// What each group's hiding took from the outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Occlusions {
    /// For each output of the model, in order.
    pub outputs: Vec<OutputOcclusions>,
    /// Whether all groups were evaluated.
    pub complete: bool,
}

/// What each group's hiding took from one output.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputOcclusions {
    /// The output for the row that was explained.
    pub prediction: f64,
    /// `prediction` less the output with the group hidden, in the output's unit and the groups' order; `None` for a group
    /// that time didn't suffice for. 0 for a group that is equal to the background's mean.
    pub attributions: Vec<Option<f64>>,
}

/// Explains a row: gives out batches of rows to evaluate and takes the outputs. See [`Explainer`].
#[derive(Debug, Clone)]
pub struct Occlusion {
    walk: Walk,
}

impl Occlusion {
    /// Plans 1 + groups evaluations at most, in batches of `batch_rows` rows (1 to
    /// [`MAX_BATCH_ROWS`](crate::MAX_BATCH_ROWS)).
    pub fn new(question: Question, batch_rows: usize) -> Result<Self, Error> {
        check_batch_rows(batch_rows)?;
        let question = question.against_the_mean();
        let players = question.players().len();
        let all_but_one = (0..players).map(|player| Coalition::of([player]).complement(players));
        let plan = all_but_one.collect();
        Ok(Self {
            walk: Walk::new(question, plan, batch_rows),
        })
    }

    fn of_output(&self, output: usize) -> Option<OutputOcclusions> {
        let prediction = *self.walk.prediction()?.get(output)?;
        let mut attributions = vec![Some(0.0); self.walk.question().groups().count()];
        let mut hidden = self.walk.known().map(|(_, outputs)| outputs.get(output));
        for &group in self.walk.players() {
            if let Some(place) = attributions.get_mut(group) {
                *place = hidden.next().flatten().map(|hidden| prediction - hidden);
            }
        }
        Some(OutputOcclusions {
            prediction,
            attributions,
        })
    }
}

impl Explainer for Occlusion {
    type Explanation = Occlusions;

    fn next_batch(&mut self) -> Option<Batch<'_>> {
        self.walk.next_batch()
    }

    fn take<T: Copy + Into<f64>>(&mut self, outputs: &[T]) -> Result<(), Error> {
        self.walk.take(outputs)
    }

    fn evaluations(&self) -> usize {
        self.walk.evaluations()
    }

    fn needed(&self) -> usize {
        self.walk.needed_for(0)
    }

    fn taken(&self) -> usize {
        self.walk.taken()
    }

    fn finish(&self) -> Result<Occlusions, Error> {
        let outputs = 0..self.walk.question().outputs();
        let outputs: Option<Vec<OutputOcclusions>> = outputs.map(|output| self.of_output(output)).collect();
        let outputs = outputs.ok_or(Error::TooEarly {
            needed: self.needed(),
            taken: self.taken(),
        })?;
        if let Some(output) = outputs.iter().position(|output| !output.is_finite()) {
            return Err(Error::Overflow(output));
        }
        Ok(Occlusions {
            outputs,
            complete: self.taken() == self.evaluations(),
        })
    }
}

impl OutputOcclusions {
    fn is_finite(&self) -> bool {
        self.attributions.iter().flatten().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Groups;

    /// x0 + 10 x1 x2, of three features in two groups; the background's mean is (2, 3, 4).
    fn occlusion() -> Occlusion {
        let groups = Groups::from_labels(&[0, 1, 1]).unwrap();
        let background = [1.0, 2.0, 3.0, 3.0, 4.0, 5.0];
        let question = Question::new(groups, &[5.0, 6.0, 7.0], &background, 1).unwrap();
        Occlusion::new(question, 1).unwrap()
    }

    fn step(occlusion: &mut Occlusion) -> bool {
        let Some(batch) = occlusion.next_batch() else {
            return false;
        };
        let outputs: Vec<f32> = batch
            .rows
            .chunks(3)
            .map(|row| row[0] + 10.0 * row[1] * row[2])
            .collect();
        occlusion.take(&outputs).unwrap();
        true
    }

    #[test]
    fn a_group_is_worth_what_is_lost_without_it() {
        let mut occlusion = occlusion();
        assert_eq!(occlusion.evaluations(), 3);
        while step(&mut occlusion) {}
        let found = occlusion.finish().unwrap();
        assert!(found.complete);
        assert_eq!(found.outputs[0].prediction, 425.0);
        assert_eq!(found.outputs[0].attributions, [Some(3.0), Some(300.0)]);
    }

    #[test]
    fn what_was_not_evaluated_is_left_open() {
        let mut occlusion = occlusion();
        assert_eq!(occlusion.finish(), Err(Error::TooEarly { needed: 1, taken: 0 }));
        step(&mut occlusion);
        step(&mut occlusion);
        let found = occlusion.finish().unwrap();
        assert!(!found.complete);
        assert_eq!(found.outputs[0].attributions, [Some(3.0), None]);
    }

    #[test]
    fn differences_that_are_too_large_are_an_error() {
        let mut occlusion = occlusion();
        for output in [f64::MAX, -f64::MAX, 0.0] {
            occlusion.next_batch().unwrap();
            occlusion.take(&[output]).unwrap();
        }
        assert_eq!(occlusion.finish(), Err(Error::Overflow(0)));
    }
}
