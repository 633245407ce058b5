//! What a tensor has to look like, and whether two stages fit together.

use crate::{Datatype, Tensor, TensorError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// One dimension of a [`TensorSpec`]. Stored as an integer, `-1` for any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dim {
    /// Exactly this size.
    Fixed(u64),
    /// Any size.
    Any,
}

impl Dim {
    fn accepts(self, size: u64) -> bool {
        match self {
            Self::Fixed(fixed) => fixed == size,
            Self::Any => true,
        }
    }

    /// Whether a size that `given` allows can ever be one that `self` takes.
    fn meets(self, given: Self) -> bool {
        match (self, given) {
            (Self::Fixed(wanted), Self::Fixed(given)) => wanted == given,
            _ => true,
        }
    }
}

impl From<Dim> for i64 {
    fn from(dim: Dim) -> Self {
        match dim {
            Dim::Fixed(size) => Self::try_from(size).unwrap_or(Self::MAX),
            Dim::Any => -1,
        }
    }
}

impl From<i64> for Dim {
    /// Any negative number stands for any size.
    fn from(size: i64) -> Self {
        u64::try_from(size).map_or(Self::Any, Self::Fixed)
    }
}

impl Serialize for Dim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(i64::from(*self))
    }
}

impl<'de> Deserialize<'de> for Dim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self::from)
    }
}

/// What a tensor has to look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// The name by which stages refer to it.
    pub name: String,
    /// The type of an element.
    pub datatype: Datatype,
    /// The size of each dimension; empty for a scalar.
    pub shape: Vec<Dim>,
}

impl TensorSpec {
    /// A spec from its three parts.
    #[must_use]
    pub fn new(name: impl Into<String>, datatype: Datatype, shape: Vec<Dim>) -> Self {
        Self {
            name: name.into(),
            datatype,
            shape,
        }
    }

    /// Whether this very tensor is one.
    pub fn check(&self, tensor: &Tensor) -> Result<(), TensorError> {
        if tensor.datatype() != self.datatype {
            return Err(TensorError::Datatype {
                name: self.name.clone(),
                expected: self.datatype,
                actual: tensor.datatype(),
            });
        }
        let fits = self.shape.len() == tensor.shape().len()
            && self
                .shape
                .iter()
                .zip(tensor.shape())
                .all(|(dim, &size)| dim.accepts(size));
        if fits {
            return Ok(());
        }
        Err(TensorError::Shape {
            name: self.name.clone(),
            expected: self.shape_text(),
            actual: tensor.shape().to_vec(),
        })
    }

    /// Whether something that gives `given` can feed something that takes `self`: same type, same rank, and no
    /// dimension in which both are fixed and differ.
    #[must_use]
    pub fn meets(&self, given: &Self) -> bool {
        self.datatype == given.datatype
            && self.shape.len() == given.shape.len()
            && self
                .shape
                .iter()
                .zip(&given.shape)
                .all(|(wanted, given)| wanted.meets(*given))
    }

    /// The number of elements, if every dimension is fixed.
    #[must_use]
    pub fn fixed_len(&self) -> Option<u64> {
        self.shape.iter().try_fold(1_u64, |product, dim| match dim {
            Dim::Fixed(size) => product.checked_mul(*size),
            Dim::Any => None,
        })
    }

    /// The sizes of the shape, if every dimension is fixed.
    #[must_use]
    pub fn fixed_shape(&self) -> Option<Vec<u64>> {
        let size = |dim: &Dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None };
        self.shape.iter().map(size).collect()
    }

    /// A tensor of zeros, or of empty texts, that fits; an open dimension is 0. Fails where the shape is too large for any.
    pub fn zeros(&self) -> Result<Tensor, TensorError> {
        let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 0 };
        let shape: Vec<u64> = self.shape.iter().map(size).collect();
        let len = self.fixed_len().unwrap_or(0);
        if len > Tensor::MAX_ELEMENTS {
            let name = self.name.clone();
            return Err(TensorError::TooLarge { name, shape });
        }
        // An empty text is its length alone.
        let each = self.datatype.size().unwrap_or(size_of::<u32>());
        let bytes = usize::try_from(len).unwrap_or(usize::MAX).saturating_mul(each);
        Tensor::new(&self.name, self.datatype, shape, vec![0; bytes])
    }

    fn shape_text(&self) -> String {
        let sizes: Vec<i64> = self.shape.iter().copied().map(i64::from).collect();
        format!("{sizes:?}")
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.datatype, self.shape_text())
    }
}

/// The tensors that a stage takes and gives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<TensorSpec>,
    /// What it gives.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// Whether `given`, the tensors that `producer` gives, feed `consumer`, which has this signature. Tensors meet by
    /// name; a producer may give more than is taken.
    pub fn check_fed_by(&self, consumer: &str, given: &[TensorSpec], producer: &str) -> Result<(), TensorError> {
        for wanted in &self.inputs {
            let found = given.iter().find(|spec| spec.name == wanted.name);
            if !found.is_some_and(|spec| wanted.meets(spec)) {
                return Err(TensorError::Misfit {
                    consumer: consumer.to_owned(),
                    producer: producer.to_owned(),
                    name: wanted.name.clone(),
                    wanted: wanted.to_string(),
                    given: found.map_or_else(|| "no such tensor".to_owned(), ToString::to_string),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &[i64]) -> TensorSpec {
        TensorSpec::new("x", Datatype::Fp32, shape.iter().map(|&size| Dim::from(size)).collect())
    }

    #[test]
    fn a_tensor_is_held_against_its_spec() {
        let tensor = Tensor::from_f32("x", vec![1, 2], &[1.0, 2.0]).unwrap();
        for (shape, fits) in [
            (&[1, 2][..], true),
            (&[-1, 2], true),
            (&[2, 1], false),
            (&[2], false),
            (&[], false),
        ] {
            assert_eq!(spec(shape).check(&tensor).is_ok(), fits, "{shape:?}");
        }
    }

    #[test]
    fn zeros_fit_their_spec() {
        for shape in [&[2, 3][..], &[], &[0], &[1, -1]] {
            let zeros = spec(shape).zeros().unwrap();
            assert!(spec(shape).check(&zeros).is_ok(), "{shape:?}");
            assert!(zeros.to_f64().unwrap().iter().all(|&value| value == 0.0));
        }
        let texts = TensorSpec::new("t", Datatype::Bytes, vec![Dim::Fixed(2)])
            .zeros()
            .unwrap();
        assert_eq!(texts.elements().unwrap(), [b"", b""]);
        let largest = TensorSpec::new("x", Datatype::Fp64, vec![Dim::Fixed(u64::MAX)]);
        assert!(matches!(largest.zeros(), Err(TensorError::TooLarge { .. })));
        assert_eq!(spec(&[2, 3]).fixed_shape(), Some(vec![2, 3]));
        assert_eq!(spec(&[2, -1]).fixed_shape(), None);
    }

    #[test]
    fn signatures_meet_by_name_type_and_shape() {
        let consumer = Signature {
            inputs: vec![spec(&[-1, 8])],
            outputs: vec![],
        };
        assert!(consumer.check_fed_by("model", &[spec(&[1, 8])], "scaler").is_ok());
        let error = consumer.check_fed_by("model", &[spec(&[1, 7])], "scaler").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"model takes "x" as FP32[-1, 8], and scaler gives FP32[1, 7]"#
        );
        let error = consumer.check_fed_by("model", &[], "scaler").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"model takes "x" as FP32[-1, 8], and scaler gives no such tensor"#
        );
    }
}
