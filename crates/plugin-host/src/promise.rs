//! What a plugin promises when it is configured: specs that can be kept, shown and held against tensors.

use crate::PluginError;
use floorhand_tensor::{Tensor, TensorError, TensorSpec};
use std::collections::BTreeSet;

/// Tensors that a plugin may take, or give, or watch: more than any pipeline has.
const MAX_TENSORS: usize = 64;

/// Bytes of a tensor's name, and of a field's.
const MAX_NAME_BYTES: usize = 256;

/// Dimensions of a tensor of one sample; the number of samples is one more.
const MAX_RANK: usize = 15;

/// Fields of a tensor that have names: the widest feature vector that people look at by name.
const MAX_FIELDS: usize = 4096;

/// Bytes of a unit.
const MAX_UNIT_BYTES: usize = 64;

/// A column of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// What it is called.
    pub name: String,
    /// The unit of its values, in UCUM; empty if it isn't known.
    pub unit: String,
}

/// Whether specs that a plugin promises, and the names of their fields, are ones that can be kept and shown.
pub(crate) fn check_specs<'s>(
    specs: impl IntoIterator<Item = (&'s TensorSpec, &'s Vec<Field>)>,
) -> Result<(), PluginError> {
    let mut names = BTreeSet::new();
    for (spec, fields) in specs {
        if names.len() == MAX_TENSORS {
            return Err(wrong(format!("over {MAX_TENSORS} tensors")));
        }
        check_name("a tensor's name", &spec.name)?;
        if spec.shape.len() > MAX_RANK {
            let rank = spec.shape.len();
            return Err(wrong(format!(
                "tensor {:?} has {rank} dimensions, over {MAX_RANK}",
                spec.name
            )));
        }
        if !names.insert(spec.name.as_str()) {
            return Err(wrong(format!("two tensors are called {:?}", spec.name)));
        }
        check_fields(spec, fields)?;
    }
    Ok(())
}

fn check_fields(spec: &TensorSpec, fields: &[Field]) -> Result<(), PluginError> {
    if fields.is_empty() {
        return Ok(());
    }
    if fields.len() > MAX_FIELDS {
        let count = fields.len();
        return Err(wrong(format!(
            "tensor {:?} names {count} fields, over {MAX_FIELDS}",
            spec.name
        )));
    }
    let width = spec.shape.last().map_or(0, |&last| i64::from(last));
    if width >= 0 && usize::try_from(width) != Ok(fields.len()) {
        let count = fields.len();
        return Err(wrong(format!(
            "tensor {:?} names {count} fields, and its last dimension is {width}",
            spec.name
        )));
    }
    let mut names = BTreeSet::new();
    for field in fields {
        check_name("a field's name", &field.name)?;
        if field.unit.len() > MAX_UNIT_BYTES {
            return Err(wrong(format!(
                "field {:?} has a unit of {} bytes",
                field.name,
                field.unit.len()
            )));
        }
        if !names.insert(field.name.as_str()) {
            return Err(wrong(format!(
                "two fields of tensor {:?} are called {:?}",
                spec.name, field.name
            )));
        }
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), PluginError> {
    if (1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    Err(wrong(format!(
        "{what} has {} bytes, not 1 to {MAX_NAME_BYTES}",
        name.len()
    )))
}

fn wrong(reason: String) -> PluginError {
    PluginError::BadOutput {
        function: "configure",
        reason,
    }
}

/// Whether a tensor with the number of samples in front has that many of what `spec` asks for.
pub(crate) fn check_batch(spec: &TensorSpec, samples: usize, tensor: &Tensor) -> Result<(), TensorError> {
    let mut shape = vec![floorhand_tensor::Dim::Fixed(samples as u64)];
    shape.extend_from_slice(&spec.shape);
    TensorSpec::new(&spec.name, spec.datatype, shape).check(tensor)
}
