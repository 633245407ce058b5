//! `FeatureVectorizer`: several inputs side by side, each cut or filled with zeros to its width.

use super::attributes::Attributes;
use super::numbers::{self, NUMBERS};
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_core::internal::{TDim, ensure};

#[derive(Debug)]
pub(crate) struct FeatureVectorizer {
    widths: Vec<usize>,
}

impl FeatureVectorizer {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let widths = attributes.ints("inputdimensions")?;
        let parsed: Option<Vec<usize>> = widths.iter().map(|&width| usize::try_from(width).ok()).collect();
        match parsed {
            // Wider than any tensor may be: a claim, and not one to add up.
            Some(widths) if widths.iter().all(|&width| width <= 1 << 24) => Ok(Self { widths }),
            _ => {
                let problem = format!("is {widths:?}; give each input's width, at least 0 and at most 2^24");
                Err(attributes.refuse("inputdimensions", problem))
            }
        }
    }

    fn total(&self) -> usize {
        self.widths.iter().sum()
    }
}

impl Kernel for FeatureVectorizer {
    fn name(&self) -> &'static str {
        "FeatureVectorizer"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        ensure!(
            !inputs.is_empty() && inputs.len() == self.widths.len(),
            "attribute \"inputdimensions\" has {} widths for {} inputs; give each input its width",
            self.widths.len(),
            inputs.len()
        );
        let mut rows: Option<TDim> = None;
        for input in inputs {
            numbers::only(std::slice::from_ref(input), &NUMBERS)?;
            ensure!(!input.shape.is_empty(), "an input has no dimensions; reshape it");
            let own = batch(&input.shape);
            let first = rows.get_or_insert_with(|| own.clone());
            ensure!(
                *first == own,
                "its inputs have {first} and {own} samples; give as many of each"
            );
        }
        let shape = [rows.unwrap_or_else(|| 1.into()), self.total().into()];
        Ok(numbers::one(Fact::new(DatumType::F32, shape)))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let first = numbers::tensor(inputs)?;
        let rows = if let [_] = first.shape() {
            1
        } else {
            first.shape().first().copied().unwrap_or(1)
        };
        let values: TVec<_> = inputs
            .iter()
            .map(|input| numbers::floats(input))
            .collect::<TractResult<_>>()?;
        let total = self.total();
        let output = numbers::filled(&[rows, total], |outputs| {
            let mut begin = 0;
            for (values, &width) in values.iter().zip(&self.widths) {
                let sources = values.chunks_exact((values.len() / rows.max(1)).max(1));
                for (row, source) in outputs.chunks_exact_mut(total.max(1)).zip(sources) {
                    let slots = row.iter_mut().skip(begin).take(width);
                    for (slot, &value) in slots.zip(source) {
                        *slot = value;
                    }
                }
                begin += width;
            }
        })?;
        Ok(tvec![output])
    }
}

/// The samples of an input: a tensor of one dimension is one.
fn batch(shape: &[TDim]) -> TDim {
    match shape {
        [rows, _, ..] => rows.clone(),
        _ => 1.into(),
    }
}
