//! Attributes that the three operators have in common.

use crate::operators::ml::attributes::Attributes;
use crate::operators::ml::numbers;
use tract_onnx::prelude::{DatumType, Tensor, TractResult};
use tract_onnx::tract_core::internal::bail;

/// Values that are floats, or since the third version doubles in a tensor.
pub(super) struct Reals {
    pub(super) values: Vec<f64>,
    pub(super) double: bool,
}

pub(super) fn reals(attributes: &mut Attributes, floats: &'static str, as_tensor: &'static str) -> TractResult<Reals> {
    let (own, tensor) = (attributes.floats(floats)?, attributes.tensor(as_tensor)?);
    match tensor {
        None => Ok(Reals {
            values: own.iter().copied().map(f64::from).collect(),
            double: false,
        }),
        Some(_) if !own.is_empty() => {
            Err(attributes.refuse(floats, format!("is there beside {as_tensor:?}; leave one out")))
        }
        Some(tensor) => held(attributes, as_tensor, &tensor),
    }
}

pub(super) fn held(attributes: &Attributes, name: &str, tensor: &Tensor) -> TractResult<Reals> {
    let values = doubles(tensor).map_err(|error| attributes.refuse(name, format!("{error:#}")))?;
    let double = tensor.datum_type() == DatumType::F64;
    Ok(Reals { values, double })
}

pub(super) fn doubles(tensor: &Tensor) -> TractResult<Vec<f64>> {
    match tensor.datum_type() {
        DatumType::F64 => Ok(numbers::slice::<f64>(tensor)?.to_vec()),
        DatumType::F32 => Ok(numbers::slice::<f32>(tensor)?.iter().copied().map(f64::from).collect()),
        other => bail!("holds {other:?}; write floats or doubles"),
    }
}

/// Columns of a table: all have to be of one length.
pub(super) fn same_length(attributes: &Attributes, first: (&str, usize), others: &[(&str, usize)]) -> TractResult<()> {
    match others.iter().find(|(_, length)| *length != first.1) {
        Some((name, length)) => {
            let problem = format!(
                "has {length} values, and {:?} has {}; export the model again",
                first.0, first.1
            );
            Err(attributes.refuse(name, problem))
        }
        None => Ok(()),
    }
}

pub(super) fn index(attributes: &Attributes, name: &str, value: i64) -> TractResult<usize> {
    usize::try_from(value).map_err(|_| attributes.refuse(name, format!("holds {value}; export the model again")))
}
