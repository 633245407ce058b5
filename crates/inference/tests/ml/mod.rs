//! Models of one operator of `ai.onnx.ml`, for tests of what is refused.

use crate::onnx::{self, Size};
use floorhand_inference::{InferenceError, LoadOptions, Model};
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, OperatorSetIdProto};

/// An attribute, by what it holds.
pub(crate) enum Held<'a> {
    Int(i64),
    Float(f32),
    String(&'a str),
    Ints(&'a [i64]),
    Floats(&'a [f32]),
    Strings(&'a [&'a str]),
}

fn attribute(name: &str, held: &Held) -> AttributeProto {
    let mut attribute = AttributeProto {
        name: name.to_owned(),
        ..Default::default()
    };
    attribute.r#type = match held {
        Held::Int(value) => {
            attribute.i = *value;
            AttributeType::Int
        }
        Held::Float(value) => {
            attribute.f = *value;
            AttributeType::Float
        }
        Held::String(value) => {
            attribute.s = value.as_bytes().to_vec();
            AttributeType::String
        }
        Held::Ints(values) => {
            attribute.ints = values.to_vec();
            AttributeType::Ints
        }
        Held::Floats(values) => {
            attribute.floats = values.to_vec();
            AttributeType::Floats
        }
        Held::Strings(values) => {
            attribute.strings = values.iter().map(|value| value.as_bytes().to_vec()).collect();
            AttributeType::Strings
        }
    } as i32;
    attribute
}

/// A model of one operator, from x of shape [2, 3] to the outputs, with version 5 of the operator set.
pub(crate) fn model(operator: &str, x: DataType, attributes: &[(&str, Held)]) -> Vec<u8> {
    let two = matches!(
        operator,
        "LinearClassifier" | "SVMClassifier" | "TreeEnsembleClassifier"
    );
    let outputs: &[&str] = if two { &["y", "z"] } else { &["y"] };
    let node = NodeProto {
        domain: "ai.onnx.ml".to_owned(),
        output: outputs.iter().map(|&output| output.to_owned()).collect(),
        attribute: attributes.iter().map(|(name, held)| attribute(name, held)).collect(),
        ..onnx::node("here", operator, &["x"], "y")
    };
    let output = |name: &&str| onnx::value(name, DataType::Float, &[]);
    let graph = GraphProto {
        node: vec![node],
        input: vec![onnx::value("x", x, &[Size::Is(2), Size::Is(3)])],
        output: outputs.iter().map(output).collect(),
        ..Default::default()
    };
    let mut model = onnx::model(graph);
    model.opset_import.push(OperatorSetIdProto {
        domain: "ai.onnx.ml".to_owned(),
        version: 5,
    });
    model.encode_to_vec()
}

/// Loading has to fail with the node, the operator and `expected`.
#[track_caller]
pub(crate) fn refused(operator: &str, x: DataType, attributes: &[(&str, Held)], expected: &str) {
    let error = Model::load(&model(operator, x, attributes), &LoadOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, InferenceError::Refused { .. }), "{text}");
    let site = format!("node \"here\", operator ai.onnx.ml.{operator}");
    assert!(text.contains(&site) && text.contains(expected), "{text}");
}
