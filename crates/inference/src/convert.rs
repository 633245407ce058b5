//! Tensors to and from tract: one copy each way.

use crate::InferenceError;
use floorhand_tensor::{Datatype, Tensor};
use tract_onnx::prelude::{DatumType, TValue, TractResult};
use tract_onnx::tract_core::internal::{TractErrorContext as _, ensure};

/// What tract wants for one input.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) datum_type: DatumType,
    pub(crate) shape: Vec<usize>,
}

/// The type that a tract tensor has outside. A symbolic integer counts as the 64-bit one that it is in ONNX, a
/// quantised one as the integer that stores it.
pub(crate) fn datatype(datum_type: DatumType) -> Option<Datatype> {
    match datum_type.unquantized() {
        DatumType::Bool => Some(Datatype::Bool),
        DatumType::U8 => Some(Datatype::Uint8),
        DatumType::U16 => Some(Datatype::Uint16),
        DatumType::U32 => Some(Datatype::Uint32),
        DatumType::U64 => Some(Datatype::Uint64),
        DatumType::I8 => Some(Datatype::Int8),
        DatumType::I16 => Some(Datatype::Int16),
        DatumType::I32 => Some(Datatype::Int32),
        DatumType::I64 | DatumType::TDim => Some(Datatype::Int64),
        DatumType::F16 => Some(Datatype::Fp16),
        DatumType::F32 => Some(Datatype::Fp32),
        DatumType::F64 => Some(Datatype::Fp64),
        DatumType::String => Some(Datatype::Bytes),
        _ => None,
    }
}

/// A tensor that already fits the input, as tract's.
pub(crate) fn to_tract(tensor: &Tensor, datum_type: DatumType, shape: &[usize]) -> TractResult<TValue> {
    if datum_type == DatumType::String {
        return Ok(texts(tensor, shape)?.into());
    }
    let mut value = tract_onnx::prelude::Tensor::zero_dt(datum_type, shape)?;
    let bytes = value.as_bytes_mut();
    ensure!(
        bytes.len() == tensor.data().len(),
        "input {:?} has {} bytes",
        tensor.name(),
        tensor.data().len()
    );
    if datum_type == DatumType::Bool {
        // A byte of another value would be no `bool` of Rust's.
        for (to, from) in bytes.iter_mut().zip(tensor.data()) {
            *to = u8::from(*from != 0);
        }
    } else {
        bytes.copy_from_slice(tensor.data());
    }
    Ok(value.into())
}

/// Byte strings as tract's texts, which are UTF-8.
fn texts(tensor: &Tensor, shape: &[usize]) -> TractResult<tract_onnx::prelude::Tensor> {
    let elements = tensor.elements()?.into_iter();
    let texts = elements.map(|element| Ok(std::str::from_utf8(element)?.to_owned()));
    let texts = texts.collect::<TractResult<Vec<String>>>();
    let texts = texts.with_context(|| format!("input {:?} is no UTF-8", tensor.name()))?;
    tract_onnx::prelude::tensor1(&texts).into_shape(shape)
}

/// One of tract's answers, under its name in the model.
pub(crate) fn from_tract(name: &str, value: &TValue) -> Result<Tensor, InferenceError> {
    let refused = |reason: String| InferenceError::Refused { step: "run", reason };
    let shape = value.shape().iter().map(|&size| size as u64).collect();
    let datatype = datatype(value.datum_type()).ok_or_else(|| {
        refused(format!(
            "output {name:?} is {:?}, which no tensor is",
            value.datum_type()
        ))
    })?;
    if value.datum_type() == DatumType::TDim {
        let numbers = value.cast_to::<i64>().map_err(|error| refused(format!("{error:#}")))?;
        return Ok(Tensor::new(name, datatype, shape, numbers.as_bytes().to_vec())?);
    }
    if value.datum_type() == DatumType::String {
        let plain = value
            .try_as_plain_ram()
            .map_err(|error| refused(format!("{error:#}")))?;
        let texts = plain
            .as_slice::<String>()
            .map_err(|error| refused(format!("{error:#}")))?;
        return Ok(Tensor::from_elements(name, shape, texts)?);
    }
    value
        .try_as_plain_ram()
        .map_err(|error| refused(format!("output {name:?}: {error:#}")))?;
    Ok(Tensor::new(name, datatype, shape, value.as_bytes().to_vec())?)
}
