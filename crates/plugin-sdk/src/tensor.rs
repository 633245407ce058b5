//! Typed views of tensors: reading and writing elements in place, whatever their alignment.
//!
//! Data arrives as bytes. Elements are read through fixed-size chunks, which compiles to plain (vector) loads and needs no
//! copy and no aligned pointer.

use crate::{Datatype, Error, Tensor, TensorSpec};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Serialize, Serializer,
    de::{Deserialize, Deserializer, Error as _},
};
use std::borrow::Cow;

/// The tensor of that name, or [`Error::BadInput`] that says which there are.
pub fn take(tensors: Vec<Tensor>, name: &str) -> Result<Tensor, Error> {
    let position = tensors.iter().position(|tensor| tensor.name == name);
    position
        .and_then(|position| tensors.into_iter().nth(position))
        .ok_or_else(|| Error::BadInput(format!("tensor {name:?} is missing")))
}

impl Tensor {
    /// An FP32 tensor. The shape has to fit the values; the host checks it.
    #[must_use]
    pub fn from_f32(name: impl Into<String>, shape: Vec<u64>, values: &[f32]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self {
            name: name.into(),
            datatype: Datatype::Fp32,
            shape,
            data,
        }
    }

    /// Whether this is what `spec` asks for, and the data as long as shape and type say.
    pub fn check(&self, spec: &TensorSpec) -> Result<(), Error> {
        if self.datatype != spec.datatype {
            return Err(self.bad(format!(
                "is {}, expected {}",
                self.datatype.name(),
                spec.datatype.name()
            )));
        }
        let fits = self.shape.len() == spec.shape.len()
            && self
                .shape
                .iter()
                .zip(&spec.shape)
                .all(|(&size, &dim)| dim < 0 || u64::try_from(dim) == Ok(size));
        if !fits {
            return Err(self.bad(format!("has shape {:?}, expected {:?}", self.shape, spec.shape)));
        }
        self.check_length()
    }

    /// The elements of an FP32 tensor, without a copy.
    pub fn f32s(&self) -> Result<impl ExactSizeIterator<Item = f32> + Clone + '_, Error> {
        self.check_f32()?;
        Ok(self.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)))
    }

    /// The elements of an FP32 tensor as a vector.
    pub fn to_f32(&self) -> Result<Vec<f32>, Error> {
        self.f32s().map(Iterator::collect)
    }

    /// The elements' bytes of an FP32 tensor, to be replaced in place.
    pub fn f32_bytes_mut(&mut self) -> Result<&mut [[u8; 4]], Error> {
        self.check_f32()?;
        Ok(self.data.as_chunks_mut().0)
    }

    /// Replaces every element of an FP32 tensor in place.
    pub fn map_f32(&mut self, mut change: impl FnMut(f32) -> f32) -> Result<(), Error> {
        for bytes in self.f32_bytes_mut()? {
            *bytes = change(f32::from_le_bytes(*bytes)).to_le_bytes();
        }
        Ok(())
    }

    /// The elements' bytes of a tensor of one-byte elements (UINT8, INT8, BOOL), to be read or replaced in place.
    pub fn u8s_mut(&mut self) -> Result<&mut [u8], Error> {
        if self.datatype.size() != 1 {
            return Err(self.bad(format!("is {}, expected a type of one byte", self.datatype.name())));
        }
        self.check_length()?;
        Ok(&mut self.data)
    }

    /// The elements of a tensor of any type as numbers, without a copy. 64-bit integers beyond 2^53 are rounded.
    pub fn numbers(&self) -> Result<impl ExactSizeIterator<Item = f64> + '_, Error> {
        self.check_length()?;
        if self.datatype == Datatype::Bytes {
            return Err(self.bad("is BYTES, expected numbers".to_owned()));
        }
        let datatype = self.datatype;
        Ok(self
            .data
            .chunks_exact(datatype.size())
            .map(move |bytes| number(datatype, bytes)))
    }

    /// The element at `index` in row-major order as a number, in constant time; `None` beyond the data's end.
    #[must_use]
    pub fn number(&self, index: usize) -> Option<f64> {
        let size = self.datatype.size();
        let start = index.checked_mul(size)?;
        self.data
            .get(start..start.checked_add(size)?)
            .map(|bytes| number(self.datatype, bytes))
    }

    /// The elements of a BYTES tensor, without a copy.
    pub fn byte_strings(&self) -> Result<impl Iterator<Item = &[u8]> + '_, Error> {
        if self.datatype != Datatype::Bytes {
            return Err(self.bad(format!("is {}, expected BYTES", self.datatype.name())));
        }
        self.check_length()?;
        Ok(strings(&self.data).into_iter().flatten())
    }

    fn check_f32(&self) -> Result<(), Error> {
        if self.datatype != Datatype::Fp32 {
            return Err(self.bad(format!("is {}, expected FP32", self.datatype.name())));
        }
        self.check_length()
    }

    /// The host checks this, too; a plugin that runs under another host must not go wrong either.
    pub(crate) fn check_length(&self) -> Result<(), Error> {
        let elements = self
            .shape
            .iter()
            .try_fold(1_u64, |product, &size| product.checked_mul(size));
        if self.datatype == Datatype::Bytes {
            return match elements == strings(&self.data).map(|strings| strings.count() as u64) {
                true => Ok(()),
                false => Err(self.bad(format!("of shape {:?} has other elements than that", self.shape))),
            };
        }
        let bytes = elements.and_then(|elements| elements.checked_mul(self.datatype.size() as u64));
        if bytes != Some(self.data.len() as u64) {
            return Err(self.bad(format!("of shape {:?} has {} bytes", self.shape, self.data.len())));
        }
        Ok(())
    }

    fn bad(&self, what: String) -> Error {
        Error::BadInput(format!("tensor {:?} {what}", self.name))
    }
}

impl Datatype {
    /// Every type, in the order of the WIT.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Fp32,
        Self::Fp64,
        Self::Bf16,
        Self::Bytes,
    ];

    /// Bytes of one element; 0 for BYTES, whose elements differ.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => 2,
            Self::Uint32 | Self::Int32 | Self::Fp32 => 4,
            Self::Uint64 | Self::Int64 | Self::Fp64 => 8,
            Self::Bytes => 0,
        }
    }

    /// The name in the Open Inference Protocol v2, e.g. `FP32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bf16 => "BF16",
            Self::Bytes => "BYTES",
        }
    }
}

/// In a configuration a type is written by its name, e.g. `"FP32"`.
impl<'de> Deserialize<'de> for Datatype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Self::ALL.into_iter().find(|datatype| datatype.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("{name:?} is no datatype, such as FP32")))
    }
}

impl Serialize for Datatype {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl JsonSchema for Datatype {
    fn schema_name() -> Cow<'static, str> {
        "Datatype".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The type of a tensor's elements.",
            "enum": Self::ALL.map(Self::name),
        })
    }
}

/// The byte strings that fill `data`: each its length as a `u32`, then its bytes. None if they don't fill it exactly.
fn strings(data: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    fn next(rest: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, behind) = rest.split_first_chunk()?;
        behind.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
    }
    let mut rest = data;
    while !rest.is_empty() {
        rest = next(rest)?.1;
    }
    let mut rest = data;
    Some(std::iter::from_fn(move || {
        let (string, behind) = next(rest)?;
        rest = behind;
        Some(string)
    }))
}

macro_rules! read {
    ($type:ty, $bytes:expr) => {
        $bytes
            .try_into()
            .map_or(f64::NAN, |bytes| <$type>::from_le_bytes(bytes) as f64)
    };
}

/// One element's bytes, of the type's size, as a number.
fn number(datatype: Datatype, bytes: &[u8]) -> f64 {
    match datatype {
        Datatype::Bool | Datatype::Uint8 => read!(u8, bytes),
        Datatype::Uint16 => read!(u16, bytes),
        Datatype::Uint32 => read!(u32, bytes),
        Datatype::Uint64 => read!(u64, bytes),
        Datatype::Int8 => read!(i8, bytes),
        Datatype::Int16 => read!(i16, bytes),
        Datatype::Int32 => read!(i32, bytes),
        Datatype::Int64 => read!(i64, bytes),
        Datatype::Fp16 => bytes
            .try_into()
            .map_or(f64::NAN, |bytes| half(u16::from_le_bytes(bytes))),
        Datatype::Fp32 => read!(f32, bytes),
        Datatype::Fp64 => read!(f64, bytes),
        // The upper half of a binary32.
        Datatype::Bf16 => bytes.try_into().map_or(f64::NAN, |bytes| {
            f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
        }),
        Datatype::Bytes => f64::NAN,
    }
}

/// IEEE 754 binary16 to binary64, exact.
pub(crate) fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f64::from(bits & 0x3ff);
    match (bits >> 10) & 0x1f {
        0 => sign * fraction / f64::from(1 << 24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        // 2^(exponent - 15) as 2^exponent / 2^15: both are integers here.
        exponent => sign * (1.0 + fraction / 1024.0) * f64::from(1_u32 << exponent) / f64::from(1 << 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_and_replaced_in_place() {
        let mut tensor = Tensor::from_f32("x", vec![1, 3], &[1.0, -2.0, f32::NAN]);
        let place = tensor.data.as_ptr();
        tensor.map_f32(|value| value * 2.0).unwrap();
        assert_eq!(tensor.to_f32().unwrap()[..2], [2.0, -4.0]);
        assert!(tensor.f32s().unwrap().last().unwrap().is_nan());
        assert_eq!(tensor.data.as_ptr(), place);
    }

    #[test]
    fn numbers_of_every_type() {
        let cases: [(Datatype, &[u8], f64); 8] = [
            (Datatype::Bf16, &[0x20, 0xc0], -2.5),
            (Datatype::Bool, &[1], 1.0),
            (Datatype::Uint16, &[1, 2], 513.0),
            (Datatype::Int8, &[255], -1.0),
            (Datatype::Int64, &[254, 255, 255, 255, 255, 255, 255, 255], -2.0),
            (Datatype::Fp16, &[0x00, 0xc1], -2.5),
            (Datatype::Fp16, &[0x01, 0x00], 5.960_464_477_539_063e-8),
            (Datatype::Fp64, &0.1_f64.to_le_bytes(), 0.1),
        ];
        for (datatype, data, expected) in cases {
            let tensor = Tensor {
                name: "x".into(),
                datatype,
                shape: vec![1],
                data: data.to_vec(),
            };
            assert_eq!(
                tensor.numbers().unwrap().collect::<Vec<_>>(),
                [expected],
                "{}",
                datatype.name()
            );
        }
    }

    #[test]
    fn byte_strings_have_their_lengths_in_front() {
        let tensor = |shape: u64, data: &[u8]| Tensor {
            name: "x".into(),
            datatype: Datatype::Bytes,
            shape: vec![shape],
            data: data.to_vec(),
        };
        let two = tensor(2, b"\x02\0\0\0ok\0\0\0\0");
        assert_eq!(two.byte_strings().unwrap().collect::<Vec<_>>(), [&b"ok"[..], b""]);
        assert!(two.numbers().is_err());
        for (shape, data) in [
            (1, &two.data[..]),
            (2, b"\x02\0\0\0ok"),
            (1, b"\x03\0\0\0ok"),
            (1, b"\x01\0"),
        ] {
            assert!(tensor(shape, data).byte_strings().is_err(), "{data:?}");
        }
    }

    #[test]
    fn tensors_that_lie_are_refused() {
        let spec = TensorSpec::new("x", Datatype::Fp32, vec![-1, 2]);
        assert!(Tensor::from_f32("x", vec![2, 2], &[0.0; 4]).check(&spec).is_ok());
        for (tensor, expected) in [
            (
                Tensor::from_f32("x", vec![4], &[0.0; 4]),
                r#"tensor "x" has shape [4], expected [-1, 2]"#,
            ),
            (
                Tensor::from_f32("x", vec![2, 3], &[0.0; 6]),
                r#"tensor "x" has shape [2, 3], expected [-1, 2]"#,
            ),
            (
                Tensor::from_f32("x", vec![2, 2], &[0.0; 3]),
                r#"tensor "x" of shape [2, 2] has 12 bytes"#,
            ),
            (
                Tensor {
                    datatype: Datatype::Int8,
                    ..Tensor::from_f32("x", vec![2, 2], &[0.0])
                },
                r#"tensor "x" is INT8, expected FP32"#,
            ),
        ] {
            assert_eq!(tensor.check(&spec).unwrap_err().message(), expected);
        }
        let huge = Tensor::from_f32("x", vec![u64::MAX, 2], &[]);
        assert!(huge.f32s().is_err() && huge.numbers().is_err());
        assert_eq!(take(vec![huge], "y").unwrap_err().message(), r#"tensor "y" is missing"#);
    }
}
