//! Small ONNX models, built from protobuf types.

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// A dimension: a size, or a name for one that is open.
pub(crate) enum Size {
    Is(i64),
    Open(&'static str),
}

pub(crate) fn value(name: &str, datatype: DataType, shape: &[Size]) -> ValueInfoProto {
    let dim = |size: &Size| Dimension {
        value: Some(match size {
            Size::Is(size) => dimension::Value::DimValue(*size),
            Size::Open(name) => dimension::Value::DimParam((*name).to_owned()),
        }),
        ..Default::default()
    };
    let shape = TensorShapeProto {
        dim: shape.iter().map(dim).collect(),
    };
    let tensor = type_proto::Tensor {
        elem_type: datatype as i32,
        shape: Some(shape),
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

pub(crate) fn node(name: &str, operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: name.to_owned(),
        op_type: operator.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

pub(crate) fn with_int(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..Default::default()
    });
    node
}

pub(crate) fn weights(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..Default::default()
    }
}

pub(crate) fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 13,
        }],
        graph: Some(graph),
        ..Default::default()
    }
}

pub(crate) fn bytes(graph: GraphProto) -> Vec<u8> {
    model(graph).encode_to_vec()
}

/// `y = relu(x * w + b)` with x [batch, inputs], w [inputs, outputs] filled by `weight(i, j)`, b filled by `bias(j)`.
pub(crate) fn dense(
    batch: Size,
    inputs: usize,
    outputs: usize,
    weight: impl Fn(usize, usize) -> f32,
    bias: impl Fn(usize) -> f32,
) -> GraphProto {
    let w: Vec<f32> = (0..inputs * outputs)
        .map(|k| weight(k / outputs, k % outputs))
        .collect();
    let b: Vec<f32> = (0..outputs).map(bias).collect();
    let (n, m) = (inputs as i64, outputs as i64);
    GraphProto {
        name: "dense".to_owned(),
        node: vec![
            node("gemm", "Gemm", &["x", "w", "b"], "h"),
            node("relu", "Relu", &["h"], "y"),
        ],
        initializer: vec![weights("w", &[n, m], &w), weights("b", &[m], &b)],
        input: vec![value("x", DataType::Float, &[batch, Size::Is(n)])],
        output: vec![value("y", DataType::Float, &[Size::Open("N"), Size::Is(m)])],
        ..Default::default()
    }
}
