//! What tract alone answers wrongly: recorded cases through the loader, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests need more of it")]
mod onnx;
mod recorded;

use floorhand_inference::{LoadOptions, Model, Tract};
use onnx::Size;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto};

/// What ONNX Runtime answers, recorded by `oracle_rewrites.py`.
const CASES: &str = include_str!("rewrites.json");

#[test]
fn answers_are_those_of_onnx_runtime() {
    recorded::check(&Tract, CASES, 40, |_| 1e-6);
}

#[test]
fn recurrent_layers_that_would_be_computed_otherwise_are_refused() {
    let check = |attribute: AttributeProto, message: &str| {
        let mut node = onnx::node("cell", "LSTM", &["x", "w", "r"], "y");
        node.attribute = vec![attribute];
        let value = |name, sizes: &[u64]| {
            let sizes: Vec<Size> = sizes.iter().map(|&size| Size::Is(size as i64)).collect();
            onnx::value(name, DataType::Float, &sizes)
        };
        let graph = GraphProto {
            node: vec![node],
            input: vec![value("x", &[4, 1, 2]), value("w", &[1, 12, 2]), value("r", &[1, 12, 3])],
            output: vec![value("y", &[4, 1, 1, 3])],
            ..Default::default()
        };
        let error = Model::load(&onnx::bytes(graph), &LoadOptions::default()).unwrap_err();
        let expected = format!(r#"load the model: node "cell", operator LSTM, attribute {message}"#);
        assert!(error.to_string().starts_with(&expected), "{error}");
    };
    let attribute = |name: &str| AttributeProto {
        name: name.to_owned(),
        ..Default::default()
    };
    let activations = ["Sigmoid", "Relu", "Tanh"].map(|name| name.as_bytes().to_vec());
    check(
        AttributeProto {
            r#type: AttributeType::Strings as i32,
            strings: activations.to_vec(),
            ..attribute("activations")
        },
        r#""activations": are others than the operator's own"#,
    );
    check(
        AttributeProto {
            r#type: AttributeType::Float as i32,
            f: 3.0,
            ..attribute("clip")
        },
        r#""clip": is not supported"#,
    );
    check(
        AttributeProto {
            r#type: AttributeType::Int as i32,
            i: 1,
            ..attribute("input_forget")
        },
        r#""input_forget": is not supported"#,
    );
    check(
        AttributeProto {
            r#type: AttributeType::String as i32,
            s: b"sideways".to_vec(),
            ..attribute("direction")
        },
        r#""direction": is "sideways", which ONNX doesn't have"#,
    );
}
