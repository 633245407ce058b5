//! What a quantised model would be in floats, to be timed beside it.

use crate::InferenceError;
use prost::Message as _;
use std::collections::BTreeSet;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};

/// The model without the quantisation of what flows between its nodes: `QuantizeLinear` and `DequantizeLinear` pass through,
/// weights stay the numbers that they stand for, inputs and outputs become floats. It computes nearly the same, in other
/// kernels. None where nothing is quantised in this form, which is that of quantisers for ONNX Runtime and of TensorFlow Lite's.
pub fn float_twin(onnx: &[u8]) -> Result<Option<Vec<u8>>, InferenceError> {
    let mut model = ModelProto::decode(onnx).map_err(|error| InferenceError::Malformed(error.to_string()))?;
    let Some(graph) = model.graph.as_mut() else {
        return Ok(None);
    };
    Ok(pass_through(graph).then(|| model.encode_to_vec()))
}

fn pass_through(graph: &mut GraphProto) -> bool {
    let initializers = graph.initializer.iter().map(|tensor| tensor.name.clone());
    let mut constant: BTreeSet<String> = initializers.collect();
    let made = graph.node.iter().filter(|node| node.op_type == "Constant");
    constant.extend(made.flat_map(|node| node.output.iter().cloned()));
    let mut quantised = false;
    for node in &mut graph.node {
        let is_weight = node.input.first().is_some_and(|input| constant.contains(input));
        match node.op_type.as_str() {
            "QuantizeLinear" if !is_weight => quantised = true,
            "DequantizeLinear" if !is_weight => {}
            _ => continue,
        }
        "Identity".clone_into(&mut node.op_type);
        node.domain.clear();
        node.attribute.clear();
        node.input.truncate(1);
    }
    graph.value_info.clear();
    // Between an end and its quantisation may stand what only moves numbers.
    graph.input.iter_mut().chain(&mut graph.output).for_each(make_float);
    quantised
}

/// An input or output in the type of quantised numbers becomes one of floats.
fn make_float(end: &mut ValueInfoProto) {
    let stored = [DataType::Int8, DataType::Uint8, DataType::Int16, DataType::Uint16];
    if let Some(TypeValue::TensorType(tensor)) = end.r#type.as_mut().and_then(|of| of.value.as_mut())
        && stored.iter().any(|datatype| *datatype as i32 == tensor.elem_type)
    {
        tensor.elem_type = DataType::Float as i32;
    }
}
