//! `SVMClassifier`: each pair of classes decides by its support vectors, and the pairs vote.
//!
//! Without support vectors each class has a row of weights, as liblinear trains them.

use super::attributes::Attributes;
use super::lookup::Values;
use super::pairs::{Pairs, Sigmoids};
use super::scores::{self, PostTransform};
use super::svm_kernel::{Likeness, Vectors};
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};

#[derive(Debug)]
pub(crate) struct SvmClassifier {
    vectors: Vectors,
    labels: Values,
    machine: Machine,
    post_transform: PostTransform,
}

/// How likeness to vectors becomes scores.
#[derive(Debug)]
enum Machine {
    /// A vector for each class, whose likeness plus `rho` is the class's score.
    Rows { rho: f32, second_above: Option<f32> },
    /// Pairs of classes, and what makes probabilities of their decisions.
    Pairs(Pairs, Option<Sigmoids>),
}

impl SvmClassifier {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let labels = scores::labels(attributes, "classlabels_ints")?;
        let post_transform = PostTransform::parse(attributes)?;
        let likeness = Likeness::parse(attributes)?;
        let per_class = attributes.ints("vectors_per_class")?;
        let values = attributes.floats("support_vectors")?;
        let sigmoids = Sigmoids::parse(attributes, labels.len())?;
        let (vectors, machine) = if per_class.iter().all(|&count| count == 0) {
            Self::rows(attributes, labels.len(), values, sigmoids.is_some())?
        } else {
            let pairs = Pairs::parse(attributes, labels.len())?;
            let vectors = Vectors::new(attributes, "support_vectors", likeness, values, pairs.vectors())?;
            if labels.len() == 2 && sigmoids.is_none() && post_transform == PostTransform::Probit {
                let problem = "is PROBIT for two classes of one score, where ONNX Runtime leaves the second undefined; \
                               export probabilities, or NONE";
                return Err(attributes.refuse("post_transform", problem));
            }
            (vectors, Machine::Pairs(pairs, sigmoids))
        };
        Ok(Self {
            vectors,
            labels,
            machine,
            post_transform,
        })
    }

    fn rows(
        attributes: &mut Attributes,
        classes: usize,
        supports: &[f32],
        probabilities: bool,
    ) -> TractResult<(Vectors, Machine)> {
        if !supports.is_empty() {
            let problem = "is given, and \"vectors_per_class\" says there are none; leave it out, or count them";
            return Err(attributes.refuse("support_vectors", problem));
        }
        let coefficients = attributes.floats("coefficients")?;
        // A value for each class would be the plausible meaning; ONNX Runtime adds the first to all.
        let rho = match attributes.floats("rho")? {
            [rho, others @ ..] if others.iter().all(|other| other == rho) => *rho,
            _ => return Err(attributes.refuse("rho", "is not one value; give what is added to each class")),
        };
        let vectors = Vectors::new(attributes, "coefficients", Likeness::Linear, coefficients, classes)?;
        let positive = coefficients.iter().all(|&weight| weight >= 0.0);
        let second_above = (classes == 2 && !probabilities).then_some(if positive { 0.5 } else { 0.0 });
        Ok((vectors, Machine::Rows { rho, second_above }))
    }

    /// How many scores come out: one for each class or, without probabilities, one for each pair.
    fn width(&self) -> usize {
        match &self.machine {
            Machine::Pairs(pairs, None) if self.labels.len() > 2 => pairs.count(),
            _ => self.labels.len(),
        }
    }

    /// The scores of one sample, as they come out, and the place of its label.
    fn classify(&self, likeness: &[f32], work: &mut Work, scores: &mut [f32]) -> usize {
        match &self.machine {
            Machine::Rows { rho, second_above } => {
                for (score, likeness) in scores.iter_mut().zip(likeness) {
                    *score = likeness + rho;
                }
                let place = row_winner(scores, *second_above);
                self.post_transform.apply(scores);
                place
            }
            Machine::Pairs(pairs, None) => {
                let place = pairs.decide(likeness, &mut work.decisions, &mut work.votes);
                match (scores, work.decisions.as_slice()) {
                    ([first, second], &[only]) => {
                        [*first, *second] = scores::both(only, self.post_transform, [-only, only]);
                    }
                    (scores, decisions) => {
                        scores.copy_from_slice(decisions);
                        self.post_transform.apply(scores);
                    }
                }
                place
            }
            Machine::Pairs(pairs, Some(sigmoids)) => {
                let place = pairs.decide(likeness, &mut work.decisions, &mut work.votes);
                sigmoids.probabilities(&work.decisions, scores);
                self.post_transform.apply(scores);
                place
            }
        }
    }
}

/// What is needed for one sample, kept for the next.
struct Work {
    decisions: Vec<f32>,
    votes: Vec<usize>,
}

/// The largest score's place. Two classes without probabilities have a threshold of their own: ONNX Runtime takes the
/// second class whenever the larger score is above it, whosever that is.
fn row_winner(scores: &[f32], second_above: Option<f32>) -> usize {
    let place = scores::winner(scores);
    let best = scores.get(place).copied().unwrap_or_default();
    match second_above {
        // At 0.5 itself the weights are all positive, and it counts; at 0 they are not, and it doesn't.
        Some(threshold) if best > threshold || (threshold > 0.0 && best == threshold) => 1,
        _ => place,
    }
}

impl Kernel for SvmClassifier {
    fn name(&self) -> &'static str {
        "SVMClassifier"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let rows = self.vectors.batch(inputs)?;
        let scores = [rows.clone(), self.width().into()];
        Ok(tvec![
            Fact::new(self.labels.datum_type(), [rows]),
            Fact::new(DatumType::F32, scores)
        ])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let pairs = if let Machine::Pairs(pairs, _) = &self.machine {
            pairs.count()
        } else {
            0
        };
        let mut work = Work {
            decisions: vec![0.0; pairs],
            votes: vec![0; self.labels.len()],
        };
        let mut places = Vec::new();
        let scores = self.vectors.each(inputs, self.width(), |likeness, scores| {
            places.push(self.classify(likeness, &mut work, scores));
        })?;
        Ok(tvec![self.labels.at(&places, &[places.len()])?, scores])
    }
}
