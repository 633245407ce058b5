//! A dense array and its typed views.

use crate::number::{number, push};
use crate::{Datatype, TensorError, elements};

/// A dense, named array: little-endian, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    name: String,
    datatype: Datatype,
    shape: Vec<u64>,
    data: Vec<u8>,
}

/// Where the parts of a tensor lie; see [`Tensor::parts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Where each part begins, and the last one ends.
    ends: Vec<usize>,
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
        let actual = data.len() as u64;
        match datatype.size().map(|size| elements * size as u64) {
            Some(expected) if expected != actual => {
                return Err(TensorError::Length {
                    name,
                    shape,
                    datatype,
                    expected,
                    actual,
                });
            }
            Some(_) => {}
            None => {
                if let Err(problem) = elements::check(&data, elements) {
                    return Err(TensorError::Elements { name, shape, problem });
                }
            }
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
    /// integer). An error for byte strings.
    pub fn from_f64(
        name: impl Into<String>,
        datatype: Datatype,
        shape: Vec<u64>,
        values: &[f64],
    ) -> Result<Self, TensorError> {
        let name = name.into();
        let Some(size) = datatype.size() else {
            return Err(TensorError::Kind {
                name,
                expected: "numbers",
                actual: datatype,
            });
        };
        let mut data = Vec::with_capacity(values.len() * size);
        for &value in values {
            push(&mut data, datatype, value);
        }
        Self::new(name, datatype, shape, data)
    }

    /// A BYTES tensor of the given byte strings, or texts.
    pub fn from_elements<T: AsRef<[u8]>>(
        name: impl Into<String>,
        shape: Vec<u64>,
        elements: &[T],
    ) -> Result<Self, TensorError> {
        let name = name.into();
        match elements::pack(elements) {
            Ok(data) => Self::new(name, Datatype::Bytes, shape, data),
            Err(problem) => Err(TensorError::Elements { name, shape, problem }),
        }
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
        match self.datatype.size() {
            Some(size) => self.data.len() / size,
            // It was checked to have as many, so that the product fits.
            None => usize::try_from(self.shape.iter().product::<u64>()).unwrap_or(usize::MAX),
        }
    }

    /// True when some dimension is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The first element that is NaN or infinite, and which of the two it is. Integers and byte strings are
    /// neither.
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
        let bytes = self.data.chunks_exact(self.datatype.size()?).nth(at)?;
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

    /// The values of a tensor of any type as numbers; an error for byte strings. 64-bit integers beyond 2^53 are rounded.
    pub fn to_f64(&self) -> Result<Vec<f64>, TensorError> {
        let size = self.datatype.size().ok_or_else(|| self.is_no("numbers"))?;
        let elements = self.data.chunks_exact(size);
        Ok(elements.map(|bytes| number(self.datatype, bytes)).collect())
    }

    /// The byte strings of a BYTES tensor.
    pub fn elements(&self) -> Result<Vec<&[u8]>, TensorError> {
        if self.datatype != Datatype::Bytes {
            return Err(self.is_no("byte strings"));
        }
        Ok(elements::unpack(&self.data).collect())
    }

    /// Where `count` equal parts along the first dimension lie, the samples of a batch: found once, since byte strings have to
    /// be counted.
    #[must_use]
    pub fn parts(&self, count: usize) -> Parts {
        let each = |whole: usize| whole.checked_div(count).unwrap_or_default();
        let ends = match self.datatype.size() {
            Some(_) => (0..=count).map(|part| part * each(self.data.len())).collect(),
            None => elements::ends(&self.data, each(self.len()), count),
        };
        Parts { ends }
    }

    /// One of a tensor's own parts, as a tensor without the first dimension. An error when there is no such part.
    pub fn part(&self, parts: &Parts, index: usize) -> Result<Self, TensorError> {
        let shape = self.shape.iter().skip(1).copied().collect();
        let range = parts.ends.get(index).zip(parts.ends.get(index + 1));
        let data = range.and_then(|(&begin, &end)| self.data.get(begin..end));
        Self::new(&self.name, self.datatype, shape, data.unwrap_or_default().to_vec())
    }

    fn is_no(&self, expected: &'static str) -> TensorError {
        TensorError::Kind {
            name: self.name.clone(),
            expected,
            actual: self.datatype,
        }
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
        for datatype in Datatype::numbers() {
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
    fn texts_go_in_and_out() {
        let texts = ["ok", "", "w\u{e4}rm"];
        let tensor = Tensor::from_elements("label", vec![3], &texts).unwrap();
        assert_eq!(tensor.len(), 3);
        assert_eq!(tensor.elements().unwrap(), texts.map(str::as_bytes));
        let again = Tensor::new("label", Datatype::Bytes, vec![3], tensor.data().to_vec()).unwrap();
        assert_eq!(again, tensor);
        let error = tensor.to_f64().unwrap_err().to_string();
        assert_eq!(error, r#"tensor "label" is BYTES, expected numbers"#);
        assert!(Tensor::from_f64("x", Datatype::Bytes, vec![1], &[1.0]).is_err());
        assert!(Tensor::from_f32("x", vec![1], &[1.0]).unwrap().elements().is_err());
    }

    #[test]
    fn texts_that_do_not_add_up_are_refused() {
        let check = |shape: &[u64], data: &[u8], problem: &str| {
            let error = Tensor::new("t", Datatype::Bytes, shape.to_vec(), data.to_vec()).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
        };
        check(&[2], &[1, 0, 0, 0, b'a'], "1 byte strings, expected 2");
        check(&[0], &[1, 0, 0, 0, b'a'], "5 bytes behind its last byte string");
        check(&[1], &[2, 0, 0, 0, b'a'], "cut short");
        check(&[1], &[0xff, 0xff, 0xff, 0xff], "cut short");
        check(&[1], &[1, 0], "cut short");
    }

    #[test]
    fn parts_of_a_batch() {
        let part = |tensor: &Tensor, index, count| tensor.part(&tensor.parts(count), index);
        let numbers = Tensor::from_f32("x", vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let second = Tensor::from_f32("x", vec![3], &[4.0, 5.0, 6.0]).unwrap();
        assert_eq!(part(&numbers, 1, 2).unwrap(), second);
        let texts = Tensor::from_elements("t", vec![3, 2], &["a", "", "bcd", "e", "", "f"]).unwrap();
        for (index, expected) in [["a", ""], ["bcd", "e"], ["", "f"]].iter().enumerate() {
            let expected = Tensor::from_elements("t", vec![2], expected).unwrap();
            assert_eq!(part(&texts, index, 3).unwrap(), expected);
        }
        for (index, count) in [(2, 2), (0, 0), (0, 4)] {
            assert!(part(&numbers, index, count).is_err());
        }
        assert!(part(&texts, 3, 3).is_err());
    }
}
