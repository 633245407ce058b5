//! `TreeEnsembleRegressor` and `TreeEnsemble`: what the trees give to each target, summed, averaged, the least or the most.

use super::ensemble;
use super::forest::{Forest, Real};
use super::parse;
use super::scores::{Aggregate, Scores, Sum};
use super::tables::{self, Given};
use super::{Trees, Typed, walk};
use crate::operators::kernel::{Fact, Kernel};
use crate::operators::ml::attributes::Attributes;
use crate::operators::ml::numbers;
use crate::operators::ml::scores::PostTransform;
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_core::internal::ensure;

/// More targets than any model has; keeps what is only claimed from being allocated.
const MAX_TARGETS: i64 = 1 << 16;

const GIVEN: Given = Given {
    trees: "target_treeids",
    nodes: "target_nodeids",
    targets: "target_ids",
    weights: "target_weights",
    weights_as_tensor: "target_weights_as_tensor",
};

/// A regressor of either kind.
#[derive(Debug)]
pub(crate) struct Regressor {
    name: &'static str,
    trees: Trees,
    count: usize,
    targets: usize,
    aggregate: Aggregate,
    /// What is added to each target at the end; zeros where the node has none.
    base: Vec<f64>,
    post_transform: PostTransform,
    /// Whether the output has the type of the thresholds; else it is float.
    typed_output: bool,
}

impl Regressor {
    /// `TreeEnsembleRegressor`, in all its versions.
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let targets = targets(attributes)?;
        let base = parse::reals(attributes, "base_values", "base_values_as_tensor")?.values;
        if !base.is_empty() && base.len() != targets {
            let problem = format!("has {} values for {targets} targets; give one for each", base.len());
            return Err(attributes.refuse("base_values", problem));
        }
        let description = tables::parse(attributes, &GIVEN, targets)?;
        Ok(Self {
            name: "TreeEnsembleRegressor",
            count: description.roots.len(),
            trees: Trees::new(description),
            targets,
            aggregate: Aggregate::parse(attributes)?,
            base: if base.is_empty() { vec![0.0; targets] } else { base },
            post_transform: PostTransform::parse(attributes)?,
            typed_output: false,
        })
    }

    /// `TreeEnsemble`.
    pub(crate) fn parse_ensemble(attributes: &mut Attributes) -> TractResult<Self> {
        let targets = targets(attributes)?;
        let description = ensemble::parse(attributes, targets)?;
        Ok(Self {
            name: "TreeEnsemble",
            count: description.roots.len(),
            trees: Trees::new(description),
            targets,
            aggregate: Aggregate::parse_number(attributes)?,
            base: vec![0.0; targets],
            post_transform: PostTransform::parse_number(attributes)?,
            typed_output: true,
        })
    }

    fn values<T: Real>(&self, forest: &Forest<T>, input: &Tensor, mut write: impl FnMut(T)) -> TractResult<()> {
        let rows = self.trees.rows(input)?;
        let base: Vec<T> = self.base.iter().map(|&base| T::of(base)).collect();
        let divisor = (self.aggregate == Aggregate::Average).then_some(T::of(self.count as f64));
        let finish = |target: usize, value: T| {
            let mut value = divisor.map_or(value, |count| value / count);
            value += base.get(target).copied().unwrap_or_default();
            value
        };
        let summed = matches!(self.aggregate, Aggregate::Sum | Aggregate::Average);
        if self.targets == 1 && summed {
            let mut sums = Sum::new(Forest::<T>::block(rows));
            return walk(forest, input, &mut sums, |sums, _, rows| {
                sums.take(rows).for_each(|sum| write(finish(0, sum)));
            });
        }
        let mut scores = Scores::new(self.aggregate, Forest::<T>::block(rows), self.targets);
        walk(forest, input, &mut scores, |scores, _, rows| {
            scores.take(rows, |values, _| {
                let values = values.iter().enumerate();
                values.for_each(|(target, value)| write(finish(target, *value)));
            });
        })
    }
}

fn targets(attributes: &mut Attributes) -> TractResult<usize> {
    let targets = attributes.int("n_targets")?.unwrap_or(1);
    if !(1..=MAX_TARGETS).contains(&targets) {
        return Err(attributes.refuse("n_targets", format!("is {targets}; give 1 to {MAX_TARGETS}")));
    }
    Ok(usize::try_from(targets)?)
}

impl Kernel for Regressor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let rows = self.trees.prepare(inputs)?;
        let double = matches!(self.trees.built()?, Typed::Double(_));
        let datum_type = if self.typed_output && double {
            DatumType::F64
        } else {
            DatumType::F32
        };
        ensure!(
            datum_type == DatumType::F32 || self.post_transform == PostTransform::None,
            "attribute \"post_transform\" is not supported in double; cast the input to float"
        );
        Ok(numbers::one(Fact::new(datum_type, [rows, self.targets.into()])))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        let shape = [self.trees.rows(input)?, self.targets];
        let mut values: Vec<f32> = Vec::with_capacity(shape.iter().product());
        match self.trees.built()? {
            Typed::Single(forest) => self.values(forest, input, |value| values.push(value))?,
            Typed::Double(forest) if self.typed_output => {
                let mut doubles: Vec<f64> = Vec::with_capacity(shape.iter().product());
                self.values(forest, input, |value| doubles.push(value))?;
                return Ok(tvec![Tensor::from_shape(&shape, &doubles)?]);
            }
            Typed::Double(forest) => self.values(forest, input, |value| values.push(value as f32))?,
        }
        for row in values.chunks_exact_mut(self.targets) {
            self.post_transform.apply(row);
        }
        Ok(tvec![Tensor::from_shape(&shape, &values)?])
    }
}
