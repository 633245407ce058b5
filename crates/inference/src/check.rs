//! What is refused before tract sees it: unknown operators, external data, sizes that are only claimed.
//!
//! Looks at the decoded protobuf alone. It doesn't judge whether the graph makes sense; tract does.

use crate::{InferenceError, MAX_TENSOR_BYTES};
use tract_onnx::Onnx;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// The domains whose operators tract implements. tract itself looks at an operator's name only, so that somebody's own
/// `Add` would silently be computed as ONNX's.
const DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Checks a graph and all graphs inside it. Their depth is bounded by the protobuf decoder.
pub(crate) fn graph(graph: &GraphProto, onnx: &Onnx) -> Result<(), InferenceError> {
    graph.initializer.iter().try_for_each(tensor)?;
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse
            .values
            .as_ref()
            .map(|values| values.name.clone())
            .unwrap_or_default();
        return Err(InferenceError::Interface {
            tensor: name,
            problem: "is sparse, which is not supported; store it dense".to_owned(),
        });
    }
    graph.node.iter().try_for_each(|node| check_node(node, onnx))
}

fn check_node(node: &NodeProto, onnx: &Onnx) -> Result<(), InferenceError> {
    let known = DOMAINS.contains(&node.domain.as_str()) && onnx.op_register.0.contains_key(&node.op_type);
    if !known {
        let operator = if node.domain.is_empty() {
            node.op_type.clone()
        } else {
            format!("{}.{}", node.domain, node.op_type)
        };
        return Err(InferenceError::Operator {
            node: node_name(node),
            operator,
        });
    }
    node.attribute
        .iter()
        .try_for_each(|attribute| check_attribute(attribute, onnx))
}

fn check_attribute(attribute: &AttributeProto, onnx: &Onnx) -> Result<(), InferenceError> {
    attribute.t.iter().chain(&attribute.tensors).try_for_each(tensor)?;
    attribute
        .g
        .iter()
        .chain(&attribute.graphs)
        .try_for_each(|inner| graph(inner, onnx))
}

/// A node's name; many exporters give none, and then its first output's is the one that people can find.
fn node_name(node: &NodeProto) -> String {
    if node.name.is_empty() {
        node.output.first().cloned().unwrap_or_default()
    } else {
        node.name.clone()
    }
}

fn tensor(tensor: &TensorProto) -> Result<(), InferenceError> {
    if tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty() {
        return Err(InferenceError::ExternalData {
            tensor: tensor.name.clone(),
        });
    }
    let claim = |actual| InferenceError::Claim {
        tensor: tensor.name.clone(),
        dims: tensor.dims.clone(),
        actual,
    };
    let size = element_size(tensor.data_type);
    let claimed = byte_len(&tensor.dims, size).ok_or_else(|| claim(None))?;
    let raw = tensor.raw_data.len() as u64;
    if size.is_some() && raw > 0 && raw != claimed {
        return Err(claim(Some(raw)));
    }
    Ok(())
}

/// The bytes that dimensions ask for, if they are at most [`MAX_TENSOR_BYTES`].
fn byte_len(dims: &[i64], size: Option<u64>) -> Option<u64> {
    dims.iter()
        .try_fold(size.unwrap_or(1), |product, &dim| {
            product.checked_mul(u64::try_from(dim).ok()?)
        })
        .filter(|&bytes| bytes <= MAX_TENSOR_BYTES)
}

/// Bytes of an element; none for strings and for types that tract doesn't have, which it refuses by itself.
fn element_size(data_type: i32) -> Option<u64> {
    match DataType::try_from(data_type).ok()? {
        DataType::Bool | DataType::Uint8 | DataType::Int8 => Some(1),
        DataType::Uint16 | DataType::Int16 | DataType::Float16 => Some(2),
        DataType::Uint32 | DataType::Int32 | DataType::Float => Some(4),
        DataType::Uint64 | DataType::Int64 | DataType::Double => Some(8),
        _ => None,
    }
}
