//! `Scaler`: (x - offset) * scale, for each column or for all.

use super::attributes::Attributes;
use super::numbers::{self, NUMBERS};
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_core::internal::{bail, ensure};

#[derive(Debug)]
pub(crate) struct Scaler {
    /// As many as offsets, and at least one.
    scales: Vec<f32>,
    offsets: Vec<f32>,
}

impl Scaler {
    pub(crate) fn parse(attributes: &mut Attributes) -> TractResult<Self> {
        let (scales, offsets) = (attributes.floats("scale")?, attributes.floats("offset")?);
        if scales.is_empty() || scales.len() != offsets.len() {
            let problem = format!(
                "has {} values beside {} of \"offset\"; give both, as many of the one as of the other",
                scales.len(),
                offsets.len()
            );
            return Err(attributes.refuse("scale", problem));
        }
        let (scales, offsets) = (scales.to_vec(), offsets.to_vec());
        Ok(Self { scales, offsets })
    }
}

impl Kernel for Scaler {
    fn name(&self) -> &'static str {
        "Scaler"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let input = numbers::only(inputs, &NUMBERS)?;
        numbers::batch(&input.shape)?;
        if let Some(columns) = numbers::features(&input.shape) {
            fits(self.scales.len(), columns)?;
        }
        Ok(numbers::one(Fact::new(DatumType::F32, input.shape.iter().cloned())))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = numbers::tensor(inputs)?;
        let (_, columns) = numbers::rows(input)?;
        fits(self.scales.len(), columns)?;
        let scaled = match input.datum_type() {
            DatumType::F64 => self.doubles(input)?,
            DatumType::F32 | DatumType::I64 | DatumType::I32 => self.floats(input)?,
            other => bail!("takes no {other:?}"),
        };
        Ok(tvec![scaled])
    }
}

impl Scaler {
    fn floats(&self, input: &Tensor) -> TractResult<Tensor> {
        let values = numbers::floats(input)?;
        numbers::filled(input.shape(), |outputs| {
            let columns = self.offsets.iter().zip(&self.scales).cycle();
            for ((output, value), (offset, scale)) in outputs.iter_mut().zip(values.iter()).zip(columns) {
                *output = (value - offset) * scale;
            }
        })
    }

    /// Doubles are rounded at the end, not before.
    fn doubles(&self, input: &Tensor) -> TractResult<Tensor> {
        let values = numbers::slice::<f64>(input)?;
        numbers::filled(input.shape(), |outputs| {
            let columns = self.offsets.iter().zip(&self.scales).cycle();
            for ((output, value), (&offset, &scale)) in outputs.iter_mut().zip(values).zip(columns) {
                *output = ((value - f64::from(offset)) * f64::from(scale)) as f32;
            }
        })
    }
}

fn fits(scales: usize, columns: usize) -> TractResult<()> {
    ensure!(
        scales == 1 || scales == columns,
        "attribute \"scale\" has {scales} values, the input {columns} columns; give one value, or one for each column"
    );
    Ok(())
}
