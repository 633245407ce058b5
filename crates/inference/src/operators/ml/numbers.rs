//! Numbers out of and into tract's tensors, as the operators of `ai.onnx.ml` see them.
//!
//! All of them take `float`, `double`, `int64` and `int32`, and nearly all compute in `float`.

use crate::operators::kernel::Fact;
use std::borrow::Cow;
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult};
use tract_onnx::tract_core::internal::{Datum, TDim, bail, ensure, format_err};

/// The types that nearly every operator takes.
pub(crate) const NUMBERS: [DatumType; 4] = [DatumType::F32, DatumType::F64, DatumType::I64, DatumType::I32];

/// The only input, of one of these types.
pub(crate) fn only<'f>(inputs: &'f [Fact], types: &[DatumType]) -> TractResult<&'f Fact> {
    let [input] = inputs else {
        bail!("takes one input, has {}", inputs.len());
    };
    ensure!(
        types.contains(&input.datum_type),
        "takes {types:?}, is given {:?}; cast the input",
        input.datum_type
    );
    Ok(input)
}

/// The only input's tensor.
pub(crate) fn tensor<'t>(inputs: &[&'t Tensor]) -> TractResult<&'t Tensor> {
    inputs.first().copied().ok_or_else(|| format_err!("has no input"))
}

/// The elements of a tensor whose type is known.
pub(crate) fn slice<T: Datum>(tensor: &Tensor) -> TractResult<&[T]> {
    tensor.try_as_plain_ram()?.as_slice()
}

/// The elements of a tensor as `float`, rounded where need be.
pub(crate) fn floats(tensor: &Tensor) -> TractResult<Cow<'_, [f32]>> {
    Ok(match tensor.datum_type() {
        DatumType::F32 => Cow::Borrowed(slice(tensor)?),
        DatumType::F64 => slice::<f64>(tensor)?.iter().map(|&x| x as f32).collect(),
        DatumType::I64 => slice::<i64>(tensor)?.iter().map(|&x| x as f32).collect(),
        DatumType::I32 => slice::<i32>(tensor)?.iter().map(|&x| x as f32).collect(),
        other => bail!("{other:?} is no number type here"),
    })
}

/// A tensor of floats that `fill` writes; it begins as zeros.
pub(crate) fn filled(shape: &[usize], fill: impl FnOnce(&mut [f32])) -> TractResult<Tensor> {
    let mut tensor = Tensor::zero::<f32>(shape)?;
    fill(tensor.try_as_plain_ram_mut()?.as_slice_mut()?);
    Ok(tensor)
}

/// The rows of an input, each a sample: a tensor without a batch dimension is one.
pub(crate) fn batch(shape: &[TDim]) -> TractResult<TDim> {
    match shape {
        [_] => Ok(1.into()),
        [rows, _] => Ok(rows.clone()),
        _ => bail!("takes 1 or 2 dimensions, is given {}; reshape the input", shape.len()),
    }
}

/// How many values a sample has, if that is known by now.
pub(crate) fn features(shape: &[TDim]) -> Option<usize> {
    shape.last()?.to_i64().ok()?.try_into().ok()
}

/// Rows and columns of a tensor of one or two dimensions.
pub(crate) fn rows(tensor: &Tensor) -> TractResult<(usize, usize)> {
    match tensor.shape() {
        [columns] => Ok((1, *columns)),
        [rows, columns] => Ok((*rows, *columns)),
        shape => bail!("takes 1 or 2 dimensions, is given {}; reshape the input", shape.len()),
    }
}

/// One fact, as the outputs of an operator that has one.
pub(crate) fn one(fact: Fact) -> TVec<Fact> {
    std::iter::once(fact).collect()
}

/// The sum of products. Eight sums side by side, which the processor adds at once, and whose errors are smaller than
/// those of a single one.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
