//! Elements in the typed fields of a message, to a tensor's bytes.

use super::messages::InferTensorContents;
use floorhand_tensor::{Datatype, Tensor};

/// The bytes of a tensor of this type, or what is wrong. Elements lie in the one field their type says.
pub(super) fn bytes(contents: &InferTensorContents, datatype: Datatype) -> Result<Vec<u8>, String> {
    let field = field_of(datatype).ok_or("is FP16, which has no typed contents: send raw_input_contents")?;
    for (name, count) in counts(contents) {
        if count > 0 && name != field {
            return Err(format!("is {datatype}, and has {name}, expected {field}"));
        }
    }
    match datatype {
        Datatype::Bool => Ok(contents.bool_contents.iter().map(|&value| value.into()).collect()),
        Datatype::Uint8 => narrowed(&contents.uint_contents, |value| {
            u8::try_from(value).ok().map(u8::to_le_bytes)
        }),
        Datatype::Uint16 => narrowed(&contents.uint_contents, |value| {
            u16::try_from(value).ok().map(u16::to_le_bytes)
        }),
        Datatype::Uint32 => narrowed(&contents.uint_contents, |value| Some(value.to_le_bytes())),
        Datatype::Uint64 => narrowed(&contents.uint64_contents, |value| Some(value.to_le_bytes())),
        Datatype::Int8 => narrowed(&contents.int_contents, |value| {
            i8::try_from(value).ok().map(i8::to_le_bytes)
        }),
        Datatype::Int16 => narrowed(&contents.int_contents, |value| {
            i16::try_from(value).ok().map(i16::to_le_bytes)
        }),
        Datatype::Int32 => narrowed(&contents.int_contents, |value| Some(value.to_le_bytes())),
        Datatype::Int64 => narrowed(&contents.int64_contents, |value| Some(value.to_le_bytes())),
        Datatype::Fp32 => narrowed(&contents.fp32_contents, |value| Some(value.to_le_bytes())),
        Datatype::Fp64 => narrowed(&contents.fp64_contents, |value| Some(value.to_le_bytes())),
        Datatype::Bytes => {
            let elements = &contents.bytes_contents;
            let tensor = Tensor::from_elements("", vec![elements.len() as u64], elements);
            Ok(tensor.map_err(|error| error.to_string())?.into_parts().3)
        }
        Datatype::Fp16 => Ok(Vec::new()),
    }
}

fn field_of(datatype: Datatype) -> Option<&'static str> {
    Some(match datatype {
        Datatype::Bool => "bool_contents",
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => "int_contents",
        Datatype::Int64 => "int64_contents",
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => "uint_contents",
        Datatype::Uint64 => "uint64_contents",
        Datatype::Fp32 => "fp32_contents",
        Datatype::Fp64 => "fp64_contents",
        Datatype::Bytes => "bytes_contents",
        Datatype::Fp16 => return None,
    })
}

fn counts(contents: &InferTensorContents) -> [(&'static str, usize); 8] {
    [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ]
}

/// Each element in the bytes of a type that may be narrower than the field's.
fn narrowed<T: Copy + ToString, const N: usize>(
    elements: &[T],
    narrow: impl Fn(T) -> Option<[u8; N]>,
) -> Result<Vec<u8>, String> {
    let mut data = Vec::with_capacity(elements.len() * N);
    for (at, &element) in elements.iter().enumerate() {
        let refused = || {
            format!(
                "has {} as element {at}, which its type doesn't hold",
                element.to_string()
            )
        };
        data.extend(narrow(element).ok_or_else(refused)?);
    }
    Ok(data)
}
