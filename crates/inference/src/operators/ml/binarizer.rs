//! `Binarizer`: 1 above a threshold, else 0.

use super::attributes::Attributes;
use super::numbers::{self, NUMBERS};
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_core::internal::{Datum, bail};

#[derive(Debug)]
pub(crate) struct Binarizer {
    threshold: f32,
}

impl Binarizer {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let threshold = attributes.float("threshold")?.unwrap_or(0.0);
        Ok(Self { threshold })
    }
}

impl Kernel for Binarizer {
    fn name(&self) -> &'static str {
        "Binarizer"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        Ok(numbers::one(numbers::only(inputs, &NUMBERS)?.clone()))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        // Integers keep their value in a double wherever a float's threshold can tell two of them apart.
        let output = match input.datum_type() {
            DatumType::F32 => self.binarise::<f32>(input, f64::from, [0.0, 1.0])?,
            DatumType::F64 => self.binarise::<f64>(input, |x| x, [0.0, 1.0])?,
            DatumType::I64 => self.binarise::<i64>(input, |x| x as f64, [0, 1])?,
            DatumType::I32 => self.binarise::<i32>(input, f64::from, [0, 1])?,
            other => bail!("takes no {other:?}"),
        };
        Ok(tvec![output])
    }
}

impl Binarizer {
    fn binarise<T: Datum + Copy>(
        &self,
        input: &Tensor,
        number: impl Fn(T) -> f64,
        [no, yes]: [T; 2],
    ) -> TractResult<Tensor> {
        let mut output = input.clone();
        let threshold = f64::from(self.threshold);
        let mut view = output.try_as_plain_ram_mut()?;
        for (index, value) in view.as_slice_mut::<T>()?.iter_mut().enumerate() {
            let x = number(*value);
            // ONNX Runtime refuses it, too: neither answer would be true.
            if x.is_nan() {
                bail!("value {index} is NaN, which is neither above nor below a threshold; impute it before");
            }
            *value = if x > threshold { yes } else { no };
        }
        Ok(output)
    }
}
