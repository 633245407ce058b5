//! What is refused before tract sees it: unknown operators, external data, sizes that are only claimed.
//!
//! Looks at the decoded protobuf alone. It doesn't judge whether the graph makes sense; tract does.

use crate::{IR_VERSIONS, InferenceError, MAX_TENSOR_BYTES, ML_OPSETS, OPSETS};
use std::ops::RangeInclusive;
use tract_onnx::Onnx;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, SparseTensorProto, TensorProto};

/// The domains whose operators tract implements. tract itself looks at an operator's name only, so that somebody's own
/// `Add` would silently be computed as ONNX's.
const DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Operators that tract 0.23.9 answers wrongly. `BitShift`'s answer depends on how tract was built: a shift by the width of the
/// type or more ends a debug build, and gives anything in a release build. `GlobalLpPool` is a mean where ONNX has a sum.
const UNSAFE: [&str; 2] = ["BitShift", "GlobalLpPool"];

/// How the names of operators begin that are put into a model behind this check.
pub(crate) const OWN: &str = "floorhand.";

/// What stays where a condition depends on data (`branches.rs`). tract would run it, and plan the branch for each sample
/// again, within no bound on what flows inside.
const IF: &str = "If";

/// Checks which versions of ONNX a model is written for.
pub(crate) fn versions(ir_version: i64, imports: &[OperatorSetIdProto]) -> Result<(), InferenceError> {
    let check = |what: &str, version: i64, known: &RangeInclusive<i64>| {
        if known.contains(&version) {
            return Ok(());
        }
        Err(InferenceError::Version {
            what: what.to_owned(),
            version,
            least: *known.start(),
            most: *known.end(),
        })
    };
    check("the format (IR)", ir_version, &IR_VERSIONS)?;
    for import in imports {
        match import.domain.as_str() {
            "" | "ai.onnx" => check("ONNX's operators", import.version, &OPSETS)?,
            "ai.onnx.ml" => check("the operators of ai.onnx.ml", import.version, &ML_OPSETS)?,
            _ => {}
        }
    }
    Ok(())
}

/// Checks a graph and all graphs inside it. Their depth is bounded by the protobuf decoder.
pub(crate) fn graph(graph: &GraphProto, onnx: &Onnx) -> Result<(), InferenceError> {
    graph.initializer.iter().try_for_each(tensor)?;
    graph.sparse_initializer.first().map_or(Ok(()), is_sparse)?;
    graph.node.iter().try_for_each(|node| check_node(node, onnx))
}

/// Refuses a tensor whose dimensions say nothing of the bytes that it has.
fn is_sparse(sparse: &SparseTensorProto) -> Result<(), InferenceError> {
    let name = sparse.values.as_ref().map(|values| values.name.clone());
    Err(InferenceError::Interface {
        tensor: name.unwrap_or_default(),
        problem: "is sparse, which is not supported; store it dense".to_owned(),
    })
}

/// Attributes with the sizes of a window, and the most that they may ask for. No picture is as large; beyond, tract's sums of sizes
/// wrap around, and it plans without end or asks for all memory.
const SIZES: [&str; 4] = ["kernel_shape", "pads", "strides", "dilations"];
const MOST: i64 = 1 << 24;

fn check_node(node: &NodeProto, onnx: &Onnx) -> Result<(), InferenceError> {
    let known = !node.op_type.starts_with(OWN)
        && DOMAINS.contains(&node.domain.as_str())
        && onnx.op_register.0.contains_key(&node.op_type)
        && !UNSAFE.contains(&node.op_type.as_str())
        && node.op_type != IF;
    if !known {
        let operator = if node.domain.is_empty() {
            node.op_type.clone()
        } else {
            format!("{}.{}", node.domain, node.op_type)
        };
        return Err(InferenceError::Operator {
            node: node_name(node),
            operator,
            advice: advice(node),
        });
    }
    permutation(node)?;
    sampling(node)?;
    sizes(node)?;
    node.attribute
        .iter()
        .try_for_each(|attribute| check_attribute(attribute, onnx))
}

/// Checks the tensors of a graph and of all graphs inside it, whatever its operators are.
pub(crate) fn data(graph: &GraphProto) -> Result<(), InferenceError> {
    graph.initializer.iter().try_for_each(tensor)?;
    graph.sparse_initializer.first().map_or(Ok(()), is_sparse)?;
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    attributes.into_iter().try_for_each(attribute_data)
}

/// The same for an attribute.
pub(crate) fn attribute_data(attribute: &AttributeProto) -> Result<(), InferenceError> {
    attribute.t.iter().chain(&attribute.tensors).try_for_each(tensor)?;
    let mut sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
    sparse.next().map_or(Ok(()), is_sparse)?;
    attribute.g.iter().chain(&attribute.graphs).try_for_each(data)
}

/// What to do about an operator that there isn't.
fn advice(node: &NodeProto) -> &'static str {
    let operator = node.op_type.as_str();
    if !DOMAINS.contains(&node.domain.as_str()) {
        return "only the program that it was made for knows it: export with ONNX's own operators, or inline it if it is a function in the \
                model (onnx.inliner.inline_local_functions)";
    }
    match operator {
        IF => {
            "its condition depends on data: export with both sides computed and one selected by Where, or only the side \
             that is taken"
        }
        "Loop" => "export with a fixed number of steps, so that the loop is unrolled, or as an LSTM, GRU, RNN or Scan",
        "GlobalLpPool" => "export it as ReduceL1 or ReduceL2 over the axes of the picture",
        "BitShift" => "multiply or divide by a power of two instead",
        "DictVectorizer" | "CastMap" => {
            "maps are no tensors: encode categories in a column each, as OneHotEncoder does"
        }
        _ if operator.contains("Sequence") || operator.contains("Optional") => {
            "sequences and optionals are no tensors: export a tensor for each"
        }
        _ => "export with other operators, or for another version of the operator set",
    }
}

/// Axes of a transposition have to be there once each: tract 0.23.9 fills all memory over one that is there twice.
fn permutation(node: &NodeProto) -> Result<(), InferenceError> {
    let permutes = |attribute: &&AttributeProto| node.op_type == "Transpose" && attribute.name == "perm";
    let Some(attribute) = node.attribute.iter().find(permutes) else {
        return Ok(());
    };
    let mut axes = attribute.ints.clone();
    axes.sort_unstable();
    if (0..).zip(&axes).all(|(axis, &given)| axis == given) {
        return Ok(());
    }
    Err(InferenceError::Attribute {
        node: node_name(node),
        operator: node.op_type.clone(),
        attribute: attribute.name.clone(),
        problem: format!(
            "is {:?}, which is no permutation; export the model again",
            attribute.ints
        ),
    })
}

/// Ways to take numbers from between others that tract 0.23.9 computes otherwise than ONNX has them.
fn sampling(node: &NodeProto) -> Result<(), InferenceError> {
    let text = |name: &str, default: &'static str| {
        let given = node.attribute.iter().find(|attribute| attribute.name == name);
        given.map_or(default.into(), |attribute| String::from_utf8_lossy(&attribute.s))
    };
    let refused = |attribute: &str, problem: &str| {
        Err(InferenceError::Attribute {
            node: node_name(node),
            operator: node.op_type.clone(),
            attribute: attribute.to_owned(),
            problem: problem.to_owned(),
        })
    };
    let transformation = "coordinate_transformation_mode";
    match node.op_type.as_str() {
        "Resize"
            if text(transformation, "half_pixel") == "half_pixel_symmetric" && text("mode", "nearest") == "nearest" =>
        {
            refused(
                transformation,
                "is not supported with the nearest number; export with half_pixel",
            )
        }
        "GridSample" if text("padding_mode", "zeros") == "border" && text("mode", "linear").ends_with("cubic") => {
            refused(
                "padding_mode",
                "is not supported with cubic curves; export with zeros or reflection, or linear",
            )
        }
        _ => Ok(()),
    }
}

fn sizes(node: &NodeProto) -> Result<(), InferenceError> {
    let sized = |attribute: &&AttributeProto| SIZES.contains(&attribute.name.as_str());
    for attribute in node.attribute.iter().filter(sized) {
        if let Some(size) = attribute.ints.iter().find(|size| !(-MOST..=MOST).contains(*size)) {
            return Err(InferenceError::Attribute {
                node: node_name(node),
                operator: node.op_type.clone(),
                attribute: attribute.name.clone(),
                problem: format!("asks for {size}, and may for {MOST} at most"),
            });
        }
    }
    Ok(())
}

fn check_attribute(attribute: &AttributeProto, onnx: &Onnx) -> Result<(), InferenceError> {
    let sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
    sparse.take(1).try_for_each(is_sparse)?;
    attribute.t.iter().chain(&attribute.tensors).try_for_each(tensor)?;
    attribute
        .g
        .iter()
        .chain(&attribute.graphs)
        .try_for_each(|inner| graph(inner, onnx))
}

/// A node's name; many exporters give none, and then its first output's is the one that people can find.
pub(crate) fn node_name(node: &NodeProto) -> String {
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
