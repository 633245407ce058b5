//! `ArrayFeatureExtractor`: columns picked by their index.

use super::numbers;
use crate::operators::kernel::{Fact, Kernel};
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tract_ndarray, tvec};
use tract_onnx::tract_core::internal::{Datum, TDim, bail, ensure, format_err};

/// What columns may hold.
const TYPES: [DatumType; 5] = [
    DatumType::F32,
    DatumType::F64,
    DatumType::I64,
    DatumType::I32,
    DatumType::String,
];

#[derive(Debug)]
pub(crate) struct ArrayFeatureExtractor;

impl Kernel for ArrayFeatureExtractor {
    fn name(&self) -> &'static str {
        "ArrayFeatureExtractor"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let [data, indices] = inputs else {
            bail!("takes two inputs, has {}", inputs.len());
        };
        numbers::only(std::slice::from_ref(data), &TYPES)?;
        ensure!(
            indices.datum_type == DatumType::I64,
            "takes indices of int64, is given {:?}; cast them",
            indices.datum_type
        );
        let picked: TDim = indices.shape.iter().product();
        let shape: TVec<TDim> = match data.shape.as_slice() {
            [] => bail!("its input has no dimensions; reshape it"),
            // A list becomes a table of one row.
            [_] => tvec![1.into(), picked],
            [outer @ .., _] => outer.iter().cloned().chain([picked]).collect(),
        };
        Ok(numbers::one(Fact::new(data.datum_type, shape)))
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let [data, indices] = inputs else {
            bail!("takes two inputs, has {}", inputs.len());
        };
        let indices = numbers::slice::<i64>(indices)?;
        let output = match data.datum_type() {
            DatumType::F32 => pick::<f32>(data, indices)?,
            DatumType::F64 => pick::<f64>(data, indices)?,
            DatumType::I64 => pick::<i64>(data, indices)?,
            DatumType::I32 => pick::<i32>(data, indices)?,
            DatumType::String => pick::<String>(data, indices)?,
            other => bail!("takes no {other:?}"),
        };
        Ok(tvec![output])
    }
}

fn pick<T: Datum + Clone>(data: &Tensor, indices: &[i64]) -> TractResult<Tensor> {
    let Some((&columns, outer)) = data.shape().split_last() else {
        bail!("its input has no dimensions; reshape it");
    };
    ensure!(!indices.is_empty(), "has no indices; give one at least");
    let values = numbers::slice::<T>(data)?;
    let mut picked = Vec::with_capacity(outer.iter().product::<usize>() * indices.len());
    for row in values.chunks_exact(columns.max(1)) {
        for &index in indices {
            let value = usize::try_from(index).ok().and_then(|index| row.get(index));
            picked.push(value.ok_or_else(|| outside(index, columns))?.clone());
        }
    }
    let shape: TVec<usize> = if outer.is_empty() {
        tvec![1, indices.len()]
    } else {
        outer.iter().copied().chain([indices.len()]).collect()
    };
    Ok(tract_ndarray::ArrayD::from_shape_vec(shape.as_slice(), picked)?.into())
}

fn outside(index: i64, columns: usize) -> tract_onnx::prelude::TractError {
    format_err!("asks for column {index}, the input has {columns}; count from 0")
}
