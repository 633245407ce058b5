//! `ZipMap`: hands its probabilities through.
//!
//! In ONNX it makes a list of maps from class to probability. There are no maps here, and nobody needs them: the columns
//! are the classes, in the order of the classifier's labels.

use super::attributes::Attributes;
use super::numbers;
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_core::internal::ensure;

#[derive(Debug)]
pub(crate) struct ZipMap {
    classes: usize,
}

impl ZipMap {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let ints = attributes.ints("classlabels_int64s")?;
        let strings = attributes.strings("classlabels_strings")?;
        if ints.is_empty() == strings.is_empty() {
            let problem = "give labels in either this or \"classlabels_int64s\", not in both";
            return Err(attributes.refuse("classlabels_strings", problem));
        }
        let classes = ints.len() + strings.len();
        Ok(Self { classes })
    }

    fn fits(&self, columns: usize) -> TractResult<()> {
        ensure!(
            columns == self.classes,
            "has {} class labels for {columns} columns; give as many of the one as of the other",
            self.classes
        );
        Ok(())
    }
}

impl Kernel for ZipMap {
    fn name(&self) -> &'static str {
        "ZipMap"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let input = numbers::only(inputs, &[DatumType::F32])?;
        numbers::batch(&input.shape)?;
        if let Some(columns) = numbers::features(&input.shape) {
            self.fits(columns)?;
        }
        Ok(numbers::one(input.clone()))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        self.fits(numbers::rows(input)?.1)?;
        Ok(tvec![input.clone()])
    }
}
