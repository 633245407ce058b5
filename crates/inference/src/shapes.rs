//! Fixes the open dimensions of a model's inputs, so that tract plans for one size.
//!
//! Works on the protobuf, before tract: a dimension's name there is the only thing that ties two inputs together.

use crate::{InferenceError, LoadOptions, MAX_TENSOR_BYTES};
use std::collections::{BTreeMap, BTreeSet};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimensionValue;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, TensorShapeProto, ValueInfoProto};
use tract_onnx::prelude::DatumType;

/// Whether a tensor of this shape takes more than so many bytes.
pub(crate) fn too_large(datum_type: DatumType, shape: &[usize], most: u64) -> bool {
    let size = datum_type.size_of() as u64;
    let product = |product: u64, &dim: &usize| product.saturating_mul(dim as u64);
    shape.iter().fold(size, product) > most
}

/// The size of an open dimension that nobody has fixed. Nearly always it is the batch, and a device serves one sample
/// at a time.
const OPEN: i64 = 1;

/// Gives every input of the graph a concrete shape: the one in `options`, else its own, with each open dimension taken
/// from an input that `options` names and that shares its name, else 1.
pub(crate) fn fix(graph: &mut GraphProto, options: &LoadOptions) -> Result<(), InferenceError> {
    let initializers: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let fed: BTreeSet<String> = graph
        .input
        .iter()
        .map(|input| input.name.clone())
        .filter(|name| !initializers.contains(name.as_str()))
        .collect();
    if let Some(unknown) = options.shapes.keys().find(|name| !fed.contains(*name)) {
        let problem = format!("is given a shape, and is no input; the inputs are {fed:?}");
        return Err(InferenceError::Interface {
            tensor: unknown.clone(),
            problem,
        });
    }
    let mut named = BTreeMap::new();
    for input in graph.input.iter_mut().filter(|input| fed.contains(&input.name)) {
        if let Some(shape) = options.shapes.get(&input.name) {
            give(input, shape, &mut named)?;
        }
    }
    for input in graph.input.iter_mut().filter(|input| fed.contains(&input.name)) {
        close(input, &named)?;
    }
    Ok(())
}

/// Gives an input the shape that was asked for, and notes what that says about named dimensions.
fn give(input: &mut ValueInfoProto, wanted: &[u64], named: &mut BTreeMap<String, i64>) -> Result<(), InferenceError> {
    let name = input.name.clone();
    let sizes: Vec<i64> = wanted
        .iter()
        .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
        .collect();
    let shape = shape_mut(input)?;
    if let Some(own) = shape {
        let fits = own.dim.len() == sizes.len()
            && own.dim.iter().zip(&sizes).all(|(dim, size)| match &dim.value {
                Some(DimensionValue::DimValue(fixed)) if *fixed >= 0 => fixed == size,
                _ => true,
            });
        if !fits {
            let problem = format!("cannot have shape {wanted:?}: the model says {}", text(own));
            return Err(InferenceError::Interface { tensor: name, problem });
        }
        for (dim, &size) in own.dim.iter().zip(&sizes) {
            if let Some(DimensionValue::DimParam(param)) = &dim.value {
                named.insert(param.clone(), size);
            }
        }
    }
    let mut fixed = TensorShapeProto {
        dim: vec![Default::default(); sizes.len()],
    };
    for (dim, size) in fixed.dim.iter_mut().zip(sizes) {
        dim.value = Some(DimensionValue::DimValue(size));
    }
    *shape = Some(fixed);
    Ok(())
}

/// Replaces what is still open, and refuses what is too large to be fed.
fn close(input: &mut ValueInfoProto, named: &BTreeMap<String, i64>) -> Result<(), InferenceError> {
    let name = input.name.clone();
    let Some(shape) = shape_mut(input)? else {
        let problem = "has no shape; give it one in the load options".to_owned();
        return Err(InferenceError::Interface { tensor: name, problem });
    };
    let mut elements = 1_u64;
    for dim in &mut shape.dim {
        let size = match &dim.value {
            Some(DimensionValue::DimValue(fixed)) if *fixed >= 0 => *fixed,
            Some(DimensionValue::DimParam(param)) => named.get(param).copied().unwrap_or(OPEN),
            _ => OPEN,
        };
        dim.value = Some(DimensionValue::DimValue(size));
        elements = elements.saturating_mul(size.unsigned_abs());
    }
    if elements > MAX_TENSOR_BYTES {
        let dims = shape.dim.iter().map(|dim| {
            if let Some(DimensionValue::DimValue(size)) = dim.value {
                size
            } else {
                0
            }
        });
        return Err(InferenceError::Claim {
            tensor: name,
            dims: dims.collect(),
            actual: None,
        });
    }
    Ok(())
}

fn shape_mut(input: &mut ValueInfoProto) -> Result<&mut Option<TensorShapeProto>, InferenceError> {
    match input.r#type.as_mut().and_then(|tensor_type| tensor_type.value.as_mut()) {
        Some(TypeValue::TensorType(tensor)) => Ok(&mut tensor.shape),
        None => Err(InferenceError::Interface {
            tensor: input.name.clone(),
            problem: "is no tensor; sequences, maps and optionals are not supported".to_owned(),
        }),
    }
}

fn text(shape: &TensorShapeProto) -> String {
    let dims = shape.dim.iter().map(|dim| match &dim.value {
        Some(DimensionValue::DimValue(size)) => size.to_string(),
        Some(DimensionValue::DimParam(param)) => param.clone(),
        None => "?".to_owned(),
    });
    format!("[{}]", dims.collect::<Vec<_>>().join(", "))
}
