//! `LogSoftmax`: what a row's numbers have of the logarithm of the sum of their exponentials.
//!
//! tract 0.23.9 takes the logarithm of the softmax, of which nothing is left where a number is 87 below the largest: the
//! answer was off by one, by 13, infinite. Here no exponential is divided by another.

use super::kernel::{Built, Fact, Kernel, wrap};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

/// Operator sets before this one take all axes from the given one on for one row.
const BY_AXIS: i64 = 13;

pub(super) fn build(context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    let given = node.attribute.iter().find(|attribute| attribute.name == "axis");
    let is_flat = context.onnx_operator_set_version < BY_AXIS;
    let axis = given.map_or(if is_flat { 1 } else { -1 }, |axis| axis.i);
    Ok(wrap(node, LogSoftmax { axis, is_flat }))
}

#[derive(Debug)]
struct LogSoftmax {
    axis: i64,
    is_flat: bool,
}

impl LogSoftmax {
    /// How many numbers a row has, and how far they are from each other.
    fn row(&self, shape: &[usize]) -> TractResult<[usize; 2]> {
        let rank = shape.len() as i64;
        let axis = if self.axis < 0 { self.axis + rank } else { self.axis };
        let behind = usize::try_from(axis).ok().and_then(|axis| shape.get(axis..));
        let behind = behind.filter(|_| axis <= rank);
        let behind = behind.with_context(|| format!("there is no axis {} of {rank}", self.axis))?;
        Ok(match behind {
            behind if self.is_flat => [behind.iter().product(), 1],
            [size, inner @ ..] => [*size, inner.iter().product()],
            [] => bail!("there is no axis {} of {rank}", self.axis),
        })
    }

    fn of(&self, numbers: &mut [f64], shape: &[usize]) -> TractResult<()> {
        let [size, apart] = self.row(shape)?;
        if numbers.is_empty() {
            return Ok(());
        }
        for rows in numbers.chunks_exact_mut(size * apart) {
            for first in 0..apart {
                let row = || rows.iter().skip(first).step_by(apart);
                // NaN makes its way through the sum.
                let largest = row().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = row().map(|x| (x - largest).exp()).sum();
                let sum = sum.ln();
                for x in rows.iter_mut().skip(first).step_by(apart) {
                    *x = *x - largest - sum;
                }
            }
        }
        Ok(())
    }
}

impl Kernel for LogSoftmax {
    fn name(&self) -> &'static str {
        "LogSoftmax"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let [input] = inputs else {
            bail!("it has {} inputs, and takes one", inputs.len());
        };
        ensure!(
            input.datum_type.is_float(),
            "its input is {:?}, and has to be floats",
            input.datum_type
        );
        Ok(tvec![input.clone()])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = inputs.first().context("no input")?;
        let mut answer = input.cast_to::<f64>()?.into_owned();
        let mut plain = answer.try_as_plain_ram_mut()?;
        self.of(plain.as_slice_mut::<f64>()?, input.shape())?;
        Ok(tvec![answer.cast_to_dt(input.datum_type())?.into_owned()])
    }
}
