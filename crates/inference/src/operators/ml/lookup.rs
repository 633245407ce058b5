//! Tables from keys to values, as `LabelEncoder`, `CategoryMapper` and `OneHotEncoder` have them.
//!
//! [`Keys`] finds the place of each element of a tensor; [`Values`] makes a tensor of places.

use super::numbers;
use std::collections::BTreeMap;
use tract_onnx::prelude::{DatumType, Tensor, TractResult, tract_ndarray};
use tract_onnx::tract_core::internal::{Datum, bail};

/// The places of keys, each type in an order of its own.
#[derive(Debug)]
pub(crate) enum Keys {
    I64(BTreeMap<i64, usize>),
    I32(BTreeMap<i32, usize>),
    I16(BTreeMap<i16, usize>),
    /// By their bits; see [`float_key`].
    F32(BTreeMap<u32, usize>),
    F64(BTreeMap<u64, usize>),
    String(BTreeMap<String, usize>),
}

/// Whether the first or the last of several equal keys counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twins {
    First,
    Last,
}

impl Keys {
    /// The elements of a tensor, each at its index.
    pub(crate) fn of(keys: &Tensor, twins: Twins) -> TractResult<Self> {
        Ok(match keys.datum_type() {
            DatumType::I64 => Self::I64(places(keys, twins, i64::clone)?),
            DatumType::I32 => Self::I32(places(keys, twins, i32::clone)?),
            DatumType::I16 => Self::I16(places(keys, twins, i16::clone)?),
            DatumType::F32 => Self::F32(places(keys, twins, float_key)?),
            DatumType::F64 => Self::F64(places(keys, twins, double_key)?),
            DatumType::String => Self::String(places(keys, twins, String::clone)?),
            other => bail!("no key can be {other:?}"),
        })
    }

    /// The place of each element of `input`; `absent` where there is none.
    pub(crate) fn find(&self, input: &Tensor, absent: usize) -> TractResult<Vec<usize>> {
        Ok(match self {
            Self::I64(keys) => each(input, |x| keys.get(x), absent)?,
            Self::I32(keys) => each(input, |x| keys.get(x), absent)?,
            Self::I16(keys) => each(input, |x| keys.get(x), absent)?,
            Self::F32(keys) => each(input, |x| keys.get(&float_key(x)), absent)?,
            Self::F64(keys) => each(input, |x| keys.get(&double_key(x)), absent)?,
            Self::String(keys) => each::<String>(input, |x| keys.get(x), absent)?,
        })
    }

    /// Takes NaN out of the keys: where it is nothing's equal, not even its own.
    pub(crate) fn without_nan(mut self) -> Self {
        match &mut self {
            Self::F32(keys) => drop(keys.remove(&float_key(&f32::NAN))),
            Self::F64(keys) => drop(keys.remove(&double_key(&f64::NAN))),
            _ => {}
        }
        self
    }

    pub(crate) fn datum_type(&self) -> DatumType {
        match self {
            Self::I64(_) => DatumType::I64,
            Self::I32(_) => DatumType::I32,
            Self::I16(_) => DatumType::I16,
            Self::F32(_) => DatumType::F32,
            Self::F64(_) => DatumType::F64,
            Self::String(_) => DatumType::String,
        }
    }
}

/// A float's bits, the same for both zeros and for all NaN.
fn float_key(value: &f32) -> u32 {
    if value.is_nan() {
        f32::NAN.to_bits()
    } else {
        (value + 0.0).to_bits()
    }
}

/// [`float_key`] for doubles.
fn double_key(value: &f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        (value + 0.0).to_bits()
    }
}

fn places<T: Datum, K: Ord>(keys: &Tensor, twins: Twins, key: impl Fn(&T) -> K) -> TractResult<BTreeMap<K, usize>> {
    let mut places = BTreeMap::new();
    for (place, value) in numbers::slice::<T>(keys)?.iter().enumerate() {
        match twins {
            Twins::First => drop(places.entry(key(value)).or_insert(place)),
            Twins::Last => drop(places.insert(key(value), place)),
        }
    }
    Ok(places)
}

fn each<'k, T: Datum>(
    input: &Tensor,
    find: impl Fn(&T) -> Option<&'k usize>,
    absent: usize,
) -> TractResult<Vec<usize>> {
    let found = numbers::slice::<T>(input)?.iter();
    Ok(found.map(|value| find(value).copied().unwrap_or(absent)).collect())
}

/// What stands at each place.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    I64(Vec<i64>),
    I32(Vec<i32>),
    I16(Vec<i16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    String(Vec<String>),
}

impl Values {
    pub(crate) fn of(values: &Tensor) -> TractResult<Self> {
        Ok(match values.datum_type() {
            DatumType::I64 => Self::I64(numbers::slice(values)?.to_vec()),
            DatumType::I32 => Self::I32(numbers::slice(values)?.to_vec()),
            DatumType::I16 => Self::I16(numbers::slice(values)?.to_vec()),
            DatumType::F32 => Self::F32(numbers::slice(values)?.to_vec()),
            DatumType::F64 => Self::F64(numbers::slice(values)?.to_vec()),
            DatumType::String => Self::String(numbers::slice(values)?.to_vec()),
            other => bail!("no value can be {other:?}"),
        })
    }

    pub(crate) fn datum_type(&self) -> DatumType {
        match self {
            Self::I64(_) => DatumType::I64,
            Self::I32(_) => DatumType::I32,
            Self::I16(_) => DatumType::I16,
            Self::F32(_) => DatumType::F32,
            Self::F64(_) => DatumType::F64,
            Self::String(_) => DatumType::String,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::I64(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::String(values) => values.len(),
        }
    }

    /// The values at these places. What is outside takes the last: tables end with their default.
    pub(crate) fn at(&self, places: &[usize], shape: &[usize]) -> TractResult<Tensor> {
        match self {
            Self::I64(values) => gather(values, places, shape),
            Self::I32(values) => gather(values, places, shape),
            Self::I16(values) => gather(values, places, shape),
            Self::F32(values) => gather(values, places, shape),
            Self::F64(values) => gather(values, places, shape),
            Self::String(values) => gather(values, places, shape),
        }
    }
}

fn gather<T: Datum + Clone + Default>(values: &[T], places: &[usize], shape: &[usize]) -> TractResult<Tensor> {
    let value = |&place: &usize| values.get(place).or(values.last()).cloned().unwrap_or_default();
    let gathered = places.iter().map(value).collect();
    Ok(tract_ndarray::ArrayD::from_shape_vec(shape, gathered)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::prelude::tensor1;

    #[test]
    fn zeros_are_one_key_and_so_are_all_nan() {
        let keys = Keys::of(&tensor1(&[0.0_f32, f32::NAN, 2.0, 2.0]), Twins::First).unwrap();
        let other_nan = f32::from_bits(f32::NAN.to_bits() ^ 1);
        let input = tensor1(&[-0.0_f32, other_nan, 2.0, 3.0]);
        assert_eq!(keys.find(&input, 9).unwrap(), [0, 1, 2, 9]);
        assert_eq!(keys.without_nan().find(&input, 9).unwrap(), [0, 9, 2, 9]);
        let last = Keys::of(&tensor1(&[5_i64, 5]), Twins::Last).unwrap();
        assert_eq!(last.find(&tensor1(&[5_i64]), 9).unwrap(), [1]);
    }
}
