//! A dense array and its typed views.

use crate::{Datatype, TensorError};

/// A dense, named array: little-endian, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    name: String,
    datatype: Datatype,
    shape: Vec<u64>,
    data: Vec<u8>,
}

impl Tensor {
    /// More elements than any sample has; keeps a shape's product from overflowing before its bytes are counted.
    pub const MAX_ELEMENTS: u64 = 1 << 32;

    /// A tensor of raw little-endian bytes, whose length has to follow from shape and type.
    pub fn new(
        name: impl Into<String>,
        datatype: Datatype,
        shape: Vec<u64>,
        data: Vec<u8>,
    ) -> Result<Self, TensorError> {
        let name = name.into();
        let Some(elements) = element_count(&shape) else {
            return Err(TensorError::TooLarge { name, shape });
        };
        let expected = elements * datatype.size() as u64;
        let actual = data.len() as u64;
        if expected != actual {
            return Err(TensorError::Length {
                name,
                shape,
                datatype,
                expected,
                actual,
            });
        }
        Ok(Self {
            name,
            datatype,
            shape,
            data,
        })
    }

    /// An FP32 tensor of the given values.
    pub fn from_f32(name: impl Into<String>, shape: Vec<u64>, values: &[f32]) -> Result<Self, TensorError> {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::new(name, Datatype::Fp32, shape, data)
    }

    /// A tensor of any type from numbers, each rounded and clamped into the type (`as` semantics; NaN becomes 0 in an
    /// integer).
    pub fn from_f64(
        name: impl Into<String>,
        datatype: Datatype,
        shape: Vec<u64>,
        values: &[f64],
    ) -> Result<Self, TensorError> {
        let mut data = Vec::with_capacity(values.len() * datatype.size());
        for &value in values {
            push_number(&mut data, datatype, value);
        }
        Self::new(name, datatype, shape, data)
    }

    /// The name by which stages refer to it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of an element.
    #[must_use]
    pub fn datatype(&self) -> Datatype {
        self.datatype
    }

    /// The size of each dimension; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len() / self.datatype.size()
    }

    /// True when some dimension is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The first element that is NaN or infinite, and which of the two it is. Integers are neither.
    #[must_use]
    pub fn first_non_finite(&self) -> Option<(usize, f64)> {
        // All bits of the exponent set.
        let at = match self.datatype {
            Datatype::Fp16 => {
                let mut values = self.data.as_chunks::<2>().0.iter();
                values.position(|bytes| u16::from_le_bytes(*bytes) & 0x7c00 == 0x7c00)
            }
            Datatype::Fp32 => {
                let mut values = self.data.as_chunks::<4>().0.iter();
                values.position(|bytes| !f32::from_le_bytes(*bytes).is_finite())
            }
            Datatype::Fp64 => {
                let mut values = self.data.as_chunks::<8>().0.iter();
                values.position(|bytes| !f64::from_le_bytes(*bytes).is_finite())
            }
            _ => None,
        }?;
        let bytes = self.data.chunks_exact(self.datatype.size()).nth(at)?;
        Some((at, number(self.datatype, bytes)))
    }

    /// The same tensor under another name.
    #[must_use]
    pub fn renamed(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Takes the tensor apart: name, type, shape, bytes.
    #[must_use]
    pub fn into_parts(self) -> (String, Datatype, Vec<u64>, Vec<u8>) {
        (self.name, self.datatype, self.shape, self.data)
    }

    /// The values of an FP32 tensor.
    pub fn to_f32(&self) -> Result<Vec<f32>, TensorError> {
        if self.datatype != Datatype::Fp32 {
            return Err(TensorError::Datatype {
                name: self.name.clone(),
                expected: Datatype::Fp32,
                actual: self.datatype,
            });
        }
        Ok(self
            .data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect())
    }

    /// The values of a tensor of any type as numbers. 64-bit integers beyond 2^53 are rounded.
    pub fn to_f64(&self) -> Result<Vec<f64>, TensorError> {
        Ok(self
            .data
            .chunks_exact(self.datatype.size())
            .map(|bytes| number(self.datatype, bytes))
            .collect())
    }
}

/// The product of the dimensions, if it is at most [`Tensor::MAX_ELEMENTS`].
fn element_count(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(1_u64, |product, &dim| product.checked_mul(dim))
        .filter(|&product| product <= Tensor::MAX_ELEMENTS)
}

macro_rules! read {
    ($type:ty, $bytes:expr) => {
        $bytes
            .try_into()
            .map_or(f64::NAN, |bytes| <$type>::from_le_bytes(bytes) as f64)
    };
}

/// One element's little-endian bytes as a number.
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
            .map_or(f64::NAN, |bytes| half_to_f64(u16::from_le_bytes(bytes))),
        Datatype::Fp32 => read!(f32, bytes),
        Datatype::Fp64 => read!(f64, bytes),
    }
}

/// Appends one number in a type's own representation.
fn push_number(data: &mut Vec<u8>, datatype: Datatype, value: f64) {
    match datatype {
        Datatype::Bool => data.push(u8::from(value != 0.0)),
        Datatype::Uint8 => data.push(value.round() as u8),
        Datatype::Uint16 => data.extend((value.round() as u16).to_le_bytes()),
        Datatype::Uint32 => data.extend((value.round() as u32).to_le_bytes()),
        Datatype::Uint64 => data.extend((value.round() as u64).to_le_bytes()),
        Datatype::Int8 => data.extend((value.round() as i8).to_le_bytes()),
        Datatype::Int16 => data.extend((value.round() as i16).to_le_bytes()),
        Datatype::Int32 => data.extend((value.round() as i32).to_le_bytes()),
        Datatype::Int64 => data.extend((value.round() as i64).to_le_bytes()),
        Datatype::Fp16 => data.extend(f64_to_half(value).to_le_bytes()),
        Datatype::Fp32 => data.extend((value as f32).to_le_bytes()),
        Datatype::Fp64 => data.extend(value.to_le_bytes()),
    }
}

/// IEEE 754 binary16 to binary64, exact.
fn half_to_f64(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

/// IEEE 754 binary64 to the nearest binary16, ties to even.
fn f64_to_half(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return 0x7e00 | sign;
    }
    // Half way between the largest finite binary16, 65504, and 65536, which there is not: from here on it is infinity.
    if magnitude >= 65520.0 {
        return 0x7c00 | sign;
    }
    // The distance between neighbours at this magnitude; 2^-24 is the smallest there is.
    let exponent = if magnitude < 2_f64.powi(-14) {
        -14
    } else {
        magnitude.log2().floor() as i32
    };
    let steps = (magnitude / 2_f64.powi(exponent - 10)).round_ties_even() as u16;
    // `steps` carries the implicit leading one (1024) of a normal number, which then raises the exponent by one.
    sign | (((exponent + 14) as u16) << 10).wrapping_add(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_follows_from_shape_and_type() {
        assert!(Tensor::new("x", Datatype::Fp32, vec![2, 3], vec![0; 24]).is_ok());
        let error = Tensor::new("x", Datatype::Fp32, vec![2, 3], vec![0; 23]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"tensor "x" of shape [2, 3] and type FP32 needs 24 bytes, and has 23"#
        );
    }

    #[test]
    fn shapes_that_overflow_are_refused() {
        for shape in [
            vec![u64::MAX, 2],
            vec![1 << 33],
            vec![1 << 20, 1 << 20, 1 << 20, 1 << 20],
        ] {
            assert!(matches!(
                Tensor::new("x", Datatype::Uint8, shape, vec![]),
                Err(TensorError::TooLarge { .. })
            ));
        }
        assert!(
            Tensor::new("x", Datatype::Uint8, vec![u64::MAX, 0], vec![])
                .unwrap()
                .is_empty()
        );
        assert_eq!(Tensor::new("x", Datatype::Int64, vec![], vec![0; 8]).unwrap().len(), 1);
    }

    #[test]
    fn numbers_round_trip_through_every_type() {
        for datatype in Datatype::ALL {
            let values = if datatype == Datatype::Bool {
                vec![0.0, 1.0]
            } else {
                vec![0.0, 1.0, 100.0]
            };
            let tensor = Tensor::from_f64("x", datatype, vec![values.len() as u64], &values).unwrap();
            assert_eq!(tensor.to_f64().unwrap(), values, "{datatype}");
        }
        let clamped = Tensor::from_f64("x", Datatype::Int8, vec![3], &[1e9, -1e9, f64::NAN]).unwrap();
        assert_eq!(clamped.to_f64().unwrap(), [127.0, -128.0, 0.0]);
    }

    #[test]
    fn every_half_round_trips() {
        for bits in 0..=u16::MAX {
            let value = half_to_f64(bits);
            if value.is_nan() {
                assert!(half_to_f64(f64_to_half(value)).is_nan());
            } else {
                assert_eq!(f64_to_half(value), bits, "{value}");
            }
        }
        assert_eq!(f64_to_half(65519.9), 0x7bff);
        assert_eq!(f64_to_half(1.0 + 2_f64.powi(-11)), 0x3c00, "ties go to even");
        assert_eq!(f64_to_half(2_f64.powi(-26)), 0);
    }
}
