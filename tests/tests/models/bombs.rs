//! Models that are small, well formed, and too much: for memory, or for the time that one has.

use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

fn value(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension {
        value: Some(dimension::Value::DimValue(size)),
        ..Default::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto {
            dim: shape.iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: output.to_owned(),
        op_type: operator.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![i64::try_from(values.len()).unwrap_or(0)],
        data_type: DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..Default::default()
    }
}

/// A model of x and y, both of eight numbers as the fixture's model has them.
fn model(mut nodes: Vec<NodeProto>, last: &str, initializer: Vec<TensorProto>) -> Vec<u8> {
    nodes.push(node("Identity", &[last], "y"));
    let graph = GraphProto {
        name: "bomb".to_owned(),
        node: nodes,
        initializer,
        input: vec![value("x", &[1, 8])],
        output: vec![value("y", &[1, 8])],
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 13,
        }],
        graph: Some(graph),
        ..Default::default()
    };
    model.encode_to_vec()
}

/// A constant of 120 MiB made of a few bytes, all of them this number.
fn filled(name: &str, number: u8) -> NodeProto {
    let mut fill = node("ConstantOfShape", &["shape"], name);
    fill.attribute.push(AttributeProto {
        name: "value".to_owned(),
        r#type: AttributeType::Tensor as i32,
        t: Some(TensorProto {
            dims: vec![1],
            data_type: DataType::Float as i32,
            raw_data: f32::from(number).to_le_bytes().to_vec(),
            ..Default::default()
        }),
        ..Default::default()
    });
    fill
}

/// The shape of such a constant, and what is taken of it in the end: the first row.
fn sizes() -> Vec<TensorProto> {
    let rows = 120 * (1 << 20) / 32;
    vec![
        integers("shape", &[rows, 8]),
        integers("from", &[0]),
        integers("to", &[1]),
    ]
}

/// 32 constants of 120 MiB that are needed at the same time, in an engine that gives each back when it isn't.
pub(crate) fn needs_all() -> Vec<u8> {
    let names: Vec<String> = (0..32).map(|at| format!("filled{at}")).collect();
    let mut nodes: Vec<NodeProto> = names
        .iter()
        .zip(0..)
        .map(|(name, number)| filled(name, number))
        .collect();
    let all: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).collect();
    nodes.push(node("Max", &all, "most"));
    nodes.push(node("Slice", &["most", "from", "to"], "first"));
    model(nodes, "first", sizes())
}

/// Constants of 120 MiB each, none too large by itself, made of a few bytes: each is stretched while the model is read, for
/// what is made of constants is computed then.
pub(crate) fn grows() -> Vec<u8> {
    let (mut nodes, mut last) = (Vec::new(), "x".to_owned());
    for at in 0..64 {
        let (constant, most, next) = (format!("filled{at}"), format!("most{at}"), format!("next{at}"));
        nodes.push(filled(&constant, at));
        nodes.push(node("Add", &[&constant, &last], &most));
        let mut slice = node("Slice", &[&most, "from", "to"], &next);
        slice.name.clone_from(&next);
        nodes.push(slice);
        last = next;
    }
    model(nodes, &last, sizes())
}

/// Tens of thousands of nodes that are looked at again and again while the model is optimised.
pub(crate) fn takes_long() -> Vec<u8> {
    let (mut nodes, mut last) = (Vec::new(), "x".to_owned());
    for at in 0..60_000 {
        let next = format!("n{at}");
        nodes.push(node(if at % 2 == 0 { "Sin" } else { "Sigmoid" }, &[&last], &next));
        last = next;
    }
    model(nodes, &last, vec![])
}

/// Two gigabytes of weights in sixteen bytes.
pub(crate) fn claims() -> Vec<u8> {
    let claim = TensorProto {
        name: "claim".to_owned(),
        dims: vec![1 << 29],
        data_type: DataType::Float as i32,
        raw_data: vec![0; 16],
        ..Default::default()
    };
    model(vec![], "x", vec![claim])
}

/// A model of nothing.
pub(crate) fn harmless() -> Vec<u8> {
    model(vec![], "x", vec![])
}
