//! Tensors to and from ONNX Runtime: one copy each way.

use floorhand_tensor::{Datatype, Tensor};
use half::f16;
use ort::value::{DynValue, TensorElementType, ValueType};

/// The type that one of ONNX Runtime's has outside.
pub(crate) const fn datatype(element: TensorElementType) -> Option<Datatype> {
    Some(match element {
        TensorElementType::Bool => Datatype::Bool,
        TensorElementType::Uint8 => Datatype::Uint8,
        TensorElementType::Uint16 => Datatype::Uint16,
        TensorElementType::Uint32 => Datatype::Uint32,
        TensorElementType::Uint64 => Datatype::Uint64,
        TensorElementType::Int8 => Datatype::Int8,
        TensorElementType::Int16 => Datatype::Int16,
        TensorElementType::Int32 => Datatype::Int32,
        TensorElementType::Int64 => Datatype::Int64,
        TensorElementType::Float16 => Datatype::Fp16,
        TensorElementType::Float32 => Datatype::Fp32,
        TensorElementType::Float64 => Datatype::Fp64,
        TensorElementType::String => Datatype::Bytes,
        _ => return None,
    })
}

/// A tensor of numbers, read from little-endian bytes.
macro_rules! numbers {
    ($shape:expr, $tensor:expr, $type:ty) => {{
        let (elements, _) = $tensor.data().as_chunks::<{ size_of::<$type>() }>();
        let values: Vec<$type> = elements.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).collect();
        ort::value::Tensor::from_array(($shape, values))?.into_dyn()
    }};
}

/// A tensor as ONNX Runtime's.
pub(crate) fn to_value(tensor: &Tensor) -> Result<DynValue, String> {
    let shape = tensor
        .shape()
        .iter()
        .map(|&size| i64::try_from(size).unwrap_or(i64::MAX));
    let shape: Vec<i64> = shape.collect();
    let value = || -> ort::Result<DynValue> {
        Ok(match tensor.datatype() {
            Datatype::Bool => {
                let values: Vec<bool> = tensor.data().iter().map(|&byte| byte != 0).collect();
                ort::value::Tensor::from_array((shape, values))?.into_dyn()
            }
            Datatype::Uint8 => numbers!(shape, tensor, u8),
            Datatype::Uint16 => numbers!(shape, tensor, u16),
            Datatype::Uint32 => numbers!(shape, tensor, u32),
            Datatype::Uint64 => numbers!(shape, tensor, u64),
            Datatype::Int8 => numbers!(shape, tensor, i8),
            Datatype::Int16 => numbers!(shape, tensor, i16),
            Datatype::Int32 => numbers!(shape, tensor, i32),
            Datatype::Int64 => numbers!(shape, tensor, i64),
            Datatype::Fp16 => numbers!(shape, tensor, f16),
            Datatype::Fp32 => numbers!(shape, tensor, f32),
            Datatype::Fp64 => numbers!(shape, tensor, f64),
            Datatype::Bytes => {
                let elements = tensor.elements().map_err(|error| ort::Error::new(error.to_string()))?;
                let texts = elements.into_iter().map(|element| String::from_utf8(element.to_vec()));
                let texts = texts.collect::<Result<Vec<String>, _>>();
                let texts = texts.map_err(|_| ort::Error::new("is no UTF-8"))?;
                ort::value::Tensor::from_string_array((shape, texts.as_slice()))?.into_dyn()
            }
        })
    };
    value().map_err(|error| format!("input {:?}: {error}", tensor.name()))
}

/// A tensor of numbers, written as little-endian bytes.
macro_rules! bytes {
    ($value:expr, $type:ty) => {{
        let (_, values) = $value.try_extract_tensor::<$type>()?;
        let mut data = Vec::with_capacity(size_of_val(values));
        values
            .iter()
            .for_each(|value| data.extend_from_slice(&value.to_le_bytes()));
        data
    }};
}

/// One of ONNX Runtime's answers, under its name in the model.
pub(crate) fn from_value(name: &str, value: &DynValue) -> Result<Tensor, String> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(format!("output {name:?} is {}, which no tensor is", value.dtype()));
    };
    let known = datatype(*ty).ok_or_else(|| format!("output {name:?} is {ty}, which no tensor is"))?;
    let shape: Vec<u64> = shape.iter().map(|&size| size.unsigned_abs()).collect();
    if known == Datatype::Bytes {
        let texts = value
            .try_extract_strings()
            .map_err(|error| format!("output {name:?}: {error}"))?;
        return Tensor::from_elements(name, shape, &texts.1).map_err(|error| error.to_string());
    }
    let data = || -> ort::Result<Vec<u8>> {
        Ok(match known {
            Datatype::Bool => {
                let (_, values) = value.try_extract_tensor::<bool>()?;
                values.iter().map(|&value| u8::from(value)).collect()
            }
            Datatype::Uint8 => bytes!(value, u8),
            Datatype::Uint16 => bytes!(value, u16),
            Datatype::Uint32 => bytes!(value, u32),
            Datatype::Uint64 => bytes!(value, u64),
            Datatype::Int8 => bytes!(value, i8),
            Datatype::Int16 => bytes!(value, i16),
            Datatype::Int32 => bytes!(value, i32),
            Datatype::Int64 => bytes!(value, i64),
            Datatype::Fp16 => bytes!(value, f16),
            Datatype::Fp32 => bytes!(value, f32),
            Datatype::Fp64 | Datatype::Bytes => bytes!(value, f64),
        })
    };
    let data = data().map_err(|error| format!("output {name:?}: {error}"))?;
    Tensor::new(name, known, shape, data).map_err(|error| error.to_string())
}
