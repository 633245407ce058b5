//! `Normalizer`: each sample divided by its norm.

use super::attributes::Attributes;
use super::numbers::{self, NUMBERS};
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Normalizer {
    /// The largest value, not the largest magnitude.
    Max,
    L1,
    L2,
}

impl Normalizer {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        match attributes.string("norm")?.as_deref() {
            None | Some("MAX") => Ok(Self::Max),
            Some("L1") => Ok(Self::L1),
            Some("L2") => Ok(Self::L2),
            Some(other) => Err(attributes.refuse("norm", format!("is {other:?}; write MAX, L1 or L2"))),
        }
    }
}

impl Kernel for Normalizer {
    fn name(&self) -> &'static str {
        "Normalizer"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let input = numbers::only(inputs, &NUMBERS)?;
        numbers::batch(&input.shape)?;
        Ok(numbers::one(Fact::new(DatumType::F32, input.shape.iter().cloned())))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        let (_, columns) = numbers::rows(input)?;
        let values = numbers::floats(input)?;
        let output = numbers::filled(input.shape(), |outputs| {
            outputs.copy_from_slice(&values);
            // An empty sample has nothing to divide.
            for row in outputs.chunks_exact_mut(columns.max(1)) {
                normalise(*self, row);
            }
        })?;
        Ok(tvec![output])
    }
}

/// Divides a sample by its norm; one whose norm is 0 stays what it is.
fn normalise(norm: Normalizer, row: &mut [f32]) {
    match norm {
        Normalizer::Max => divide(row, row.iter().copied().fold(f32::MIN, f32::max)),
        Normalizer::L1 => divide(row, row.iter().map(|x| x.abs()).sum()),
        Normalizer::L2 => by_length(row),
    }
}

fn divide(row: &mut [f32], norm: f32) {
    if norm != 0.0 {
        for x in row {
            *x /= norm;
        }
    }
}

/// By the squares, as ONNX Runtime does: so infinity becomes NaN, and what is too small to be squared becomes 0.
fn by_length(row: &mut [f32]) {
    let sum: f32 = row.iter().map(|x| x * x).sum();
    if sum != 0.0 {
        for x in row {
            let length = (*x * *x / sum).sqrt();
            *x = if *x < 0.0 { -length } else { length };
        }
    }
}
