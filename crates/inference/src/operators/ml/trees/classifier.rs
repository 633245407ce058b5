//! `TreeEnsembleClassifier`: a class's score is the sum of what the trees give to it.
//!
//! Two classes often have one score between them, that of the second, written as the first's. What the other's score and
//! the label follow from is ONNX Runtime's; what it answers against the operator's own words is refused.

use super::forest::{Forest, Real};
use super::parse;
use super::scores::{Aggregate, Scores, Sum};
use super::tables::{self, Given};
use super::{Trees, Typed, walk};
use crate::operators::kernel::{Fact, Kernel};
use crate::operators::ml::attributes::Attributes;
use crate::operators::ml::lookup::Values;
use crate::operators::ml::numbers;
use crate::operators::ml::scores::{self, PostTransform};
use std::collections::BTreeSet;
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};

const GIVEN: Given = Given {
    trees: "class_treeids",
    nodes: "class_nodeids",
    targets: "class_ids",
    weights: "class_weights",
    weights_as_tensor: "class_weights_as_tensor",
};

/// Where scores come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// One score for two classes, whose weights are all written as the first class's. With weights that are all positive
    /// the second class is the answer above 0.5, else above 0.
    One { positive: bool },
    /// The same with weights that are all of the second class.
    Second { positive: bool },
    /// A score for each class.
    Each,
}

/// A classifier.
#[derive(Debug)]
pub(crate) struct TreeEnsembleClassifier {
    trees: Trees,
    labels: Values,
    layout: Layout,
    /// What is added to scores at the end: nothing, one value for one score, or one for each class.
    base: Vec<f64>,
    post_transform: PostTransform,
}

impl TreeEnsembleClassifier {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let labels = scores::labels(attributes, "classlabels_int64s")?;
        let base = parse::reals(attributes, "base_values", "base_values_as_tensor")?.values;
        let description = tables::parse(attributes, &GIVEN, labels.len())?;
        let layout = layout(attributes, labels.len())?;
        let wanted = match layout {
            Layout::One { .. } => 1,
            Layout::Second { .. } => 0,
            Layout::Each => labels.len(),
        };
        if !base.is_empty() && base.len() != wanted {
            let problem = format!(
                "has {} values, and {wanted} are supported here; export the model again",
                base.len()
            );
            return Err(attributes.refuse("base_values", problem));
        }
        let post_transform = PostTransform::parse(attributes)?;
        if matches!(layout, Layout::One { .. }) && post_transform == PostTransform::Probit {
            let problem = "is PROBIT for two classes of one score, where ONNX Runtime leaves the second undefined; give \
                           each class a score";
            return Err(attributes.refuse("post_transform", problem));
        }
        Ok(Self {
            trees: Trees::new(description),
            labels,
            layout,
            base,
            post_transform,
        })
    }

    /// Writes a row of scores for each sample, and each one's place among the labels.
    fn classify<T: Real>(
        &self,
        forest: &Forest<T>,
        input: &Tensor,
        written: &mut [f32],
        places: &mut Vec<usize>,
    ) -> TractResult<()> {
        let rows = self.trees.rows(input)?;
        let block = Forest::<T>::block(rows);
        let mut written = written.chunks_exact_mut(self.labels.len());
        if self.layout == Layout::Each {
            let mut scores = Scores::new(Aggregate::Sum, block, self.labels.len());
            return walk(forest, input, &mut scores, |scores, _, rows| {
                scores.take(rows, |values, given| {
                    let Some(written) = written.next() else { return };
                    places.push(self.each(values, given, written));
                });
            });
        }
        let mut sums = Sum::new(block);
        walk(forest, input, &mut sums, |sums, _, rows| {
            for (sum, written) in sums.take(rows).zip(&mut written) {
                let mut sum = sum;
                sum += T::of(self.base.first().copied().unwrap_or_default());
                places.push(self.two(sum, written));
            }
        })
    }

    /// The scores of several classes, and the place of the largest of those that a tree or a base value gave anything to.
    fn each<T: Real>(&self, values: &mut [T], given: &mut [bool], written: &mut [f32]) -> usize {
        for ((value, given), &base) in values.iter_mut().zip(given.iter_mut()).zip(&self.base) {
            *value += T::of(base);
            *given = true;
        }
        let mut best: Option<(usize, T)> = None;
        for (place, (&value, given)) in values.iter().zip(given.iter()).enumerate() {
            if *given && best.is_none_or(|(_, largest)| value > largest) {
                best = Some((place, value));
            }
        }
        for (written, value) in written.iter_mut().zip(values) {
            *written = value.to_f64() as f32;
        }
        self.post_transform.apply(written);
        best.map_or(0, |(place, _)| place)
    }

    /// The scores of two classes from one sum, and the place of the label.
    fn two<T: Real>(&self, sum: T, written: &mut [f32]) -> usize {
        let score = sum.to_f64() as f32;
        let (positive, pair) = match self.layout {
            Layout::One { positive: true } => (true, self.both(score, 1.0 - score)),
            Layout::One { positive: false } => (false, self.both(score, -score)),
            Layout::Second { positive } => {
                let mut pair = [0.0, score];
                self.post_transform.apply(&mut pair);
                (positive, pair)
            }
            Layout::Each => (false, [score, score]),
        };
        written
            .iter_mut()
            .zip(pair)
            .for_each(|(written, score)| *written = score);
        let from = if positive { T::of(0.5) } else { T::default() };
        usize::from(sum > from)
    }

    fn both(&self, score: f32, other: f32) -> [f32; 2] {
        if self.post_transform == PostTransform::Logistic {
            [scores::logistic(-score), scores::logistic(score)]
        } else {
            [other, score]
        }
    }
}

/// The layout that the weights' classes ask for.
fn layout(attributes: &mut Attributes, classes: usize) -> TractResult<Layout> {
    let ids: BTreeSet<i64> = attributes.ints(GIVEN.targets)?.iter().copied().collect();
    let weights = parse::reals(attributes, GIVEN.weights, GIVEN.weights_as_tensor)?.values;
    let positive = weights.iter().all(|&weight| weight >= 0.0);
    match (classes, ids.first(), ids.len()) {
        (0 | 1, ..) => Err(attributes.refuse("classlabels_int64s", "names fewer than two classes; name all")),
        (2, Some(0), 1) => Ok(Layout::One { positive }),
        (2, Some(1), 1) => Ok(Layout::Second { positive }),
        (2, Some(_), _) => {
            let problem = "gives weights to both of two classes, where ONNX Runtime's label doesn't follow from the \
                           scores; give the second class's alone, as those of class 0";
            Err(attributes.refuse(GIVEN.targets, problem))
        }
        (_, None, _) => Err(attributes.refuse(GIVEN.targets, "is missing; export the model again")),
        _ => Ok(Layout::Each),
    }
}

impl Kernel for TreeEnsembleClassifier {
    fn name(&self) -> &'static str {
        "TreeEnsembleClassifier"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let rows = self.trees.prepare(inputs)?;
        let scores = [rows.clone(), self.labels.len().into()];
        Ok(tvec![
            Fact::new(self.labels.datum_type(), [rows]),
            Fact::new(DatumType::F32, scores)
        ])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        let rows = self.trees.rows(input)?;
        let mut places = Vec::with_capacity(rows);
        let mut scores = Tensor::zero::<f32>(&[rows, self.labels.len()])?;
        let mut plain = scores.try_as_plain_ram_mut()?;
        let written = plain.as_slice_mut()?;
        match self.trees.built()? {
            Typed::Single(forest) => self.classify(forest, input, written, &mut places)?,
            Typed::Double(forest) => self.classify(forest, input, written, &mut places)?,
        }
        Ok(tvec![self.labels.at(&places, &[rows])?, scores])
    }
}
