//! What a quantised model would be in floats, to be timed beside it.

use crate::InferenceError;
use prost::Message as _;
use std::collections::BTreeSet;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto};

/// The model without the quantisation of what flows between its nodes: `QuantizeLinear` and `DequantizeLinear` pass through,
/// `QLinearConv` and `QLinearMatMul` become the operators that they stand for, weights stay the numbers that they stand for,
/// inputs and outputs become floats. It computes nearly the same, in other kernels. None where nothing is quantised in one of these
/// forms, which are those of quantisers for ONNX Runtime and of TensorFlow Lite's.
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
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        match node.op_type.as_str() {
            "QLinearConv" => nodes.extend(convolution(node)),
            "QLinearMatMul" => nodes.extend(product(node, &constant)),
            _ => {
                nodes.push(node);
                continue;
            }
        }
        quantised = true;
    }
    graph.node = nodes;
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

/// The inputs of a node that there are, by their places.
fn input(node: &NodeProto, place: usize) -> Option<String> {
    node.input.get(place).filter(|name| !name.is_empty()).cloned()
}

/// What gives the numbers that weights stand for, whose scale and zero point are at the next two places of a node's inputs.
fn weights(node: &NodeProto, place: usize, axis: i64) -> NodeProto {
    let output = node.output.first().cloned().unwrap_or_default();
    NodeProto {
        op_type: "DequantizeLinear".to_owned(),
        input: (place..place + 3).filter_map(|place| input(node, place)).collect(),
        output: vec![format!("{output}/weights")],
        attribute: vec![AttributeProto {
            name: "axis".to_owned(),
            r#type: AttributeType::Int as i32,
            i: axis,
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// `x, x's scale and zero point, w, w's, y's, bias`: of the bias, in steps of the product of both scales, floats are made.
fn convolution(mut node: NodeProto) -> Vec<NodeProto> {
    let mut nodes = vec![weights(&node, 3, 0)];
    let mut inputs = vec![input(&node, 0).unwrap_or_default(), made(&nodes)];
    if let (Some(bias), Some(of_x), Some(of_w)) = (input(&node, 8), input(&node, 1), input(&node, 4)) {
        let part = |part: &str| format!("{bias}/{part}");
        let mut add = |operator: &str, inputs: Vec<String>, output: String, attribute: Vec<AttributeProto>| {
            nodes.push(NodeProto {
                op_type: operator.to_owned(),
                input: inputs,
                output: vec![output],
                attribute,
                ..Default::default()
            });
        };
        let to_floats = AttributeProto {
            name: "to".to_owned(),
            r#type: AttributeType::Int as i32,
            i: DataType::Float as i64,
            ..Default::default()
        };
        add("Cast", vec![bias.clone()], part("floats"), vec![to_floats]);
        add("Mul", vec![of_x, of_w], part("step"), vec![]);
        add("Mul", vec![part("floats"), part("step")], part("of floats"), vec![]);
        inputs.push(made(&nodes));
    }
    "Conv".clone_into(&mut node.op_type);
    node.input = inputs;
    nodes.push(node);
    nodes
}

/// `a, a's scale and zero point, b, b's, y's`: `b` are weights, or numbers that flow like `a`.
fn product(mut node: NodeProto, constant: &BTreeSet<String>) -> Vec<NodeProto> {
    let (a, b) = (input(&node, 0).unwrap_or_default(), input(&node, 3).unwrap_or_default());
    let mut nodes = Vec::new();
    let b = if constant.contains(&b) {
        nodes.push(weights(&node, 3, -1));
        made(&nodes)
    } else {
        b
    };
    "MatMul".clone_into(&mut node.op_type);
    node.input = vec![a, b];
    nodes.push(node);
    nodes
}

/// What the last node gives.
fn made(nodes: &[NodeProto]) -> String {
    let output = nodes.last().and_then(|node| node.output.first());
    output.cloned().unwrap_or_default()
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
