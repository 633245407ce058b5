//! The twin in floats of a model that computes with quantised numbers answers within a step of it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests need more of it")]
mod onnx;

use floorhand_inference::{LoadOptions, Model, float_twin};
use floorhand_tensor::{Datatype, Tensor};
use onnx::Size;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

const STEP: f32 = 0.5;
const ZERO: u8 = 110;

fn stored(name: &str, datatype: DataType, dims: &[i64], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: datatype as i32,
        dims: dims.to_vec(),
        raw_data: bytes,
        ..Default::default()
    }
}

fn floats(name: &str, numbers: &[f32]) -> TensorProto {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let dims = if numbers.len() == 1 {
        vec![]
    } else {
        vec![numbers.len() as i64]
    };
    stored(name, DataType::Float, &dims, bytes)
}

/// Integers between -60 and 60, always the same.
fn integers(count: usize) -> Vec<i8> {
    (0..count).map(|number| ((number * 37 + 11) % 121) as i8 - 60).collect()
}

/// Holds the twin of a model of one node against the model itself.
fn check(mut node: NodeProto, weights: &[i64], per_channel: usize, x: &[i64], y: &[i64], bias: bool) {
    let count = weights.iter().product::<i64>() as usize;
    let steps: Vec<f32> = (0..per_channel).map(|channel| 0.01 * (channel + 1) as f32).collect();
    let zeros: Vec<u8> = vec![2; per_channel];
    let zero_dims: Vec<i64> = if per_channel == 1 {
        vec![]
    } else {
        vec![per_channel as i64]
    };
    let mut initializer = vec![
        floats("x step", &[0.1]),
        stored("x zero", DataType::Uint8, &[], vec![100]),
        stored(
            "w",
            DataType::Int8,
            weights,
            integers(count).iter().map(|&w| w as u8).collect(),
        ),
        floats("w step", &steps),
        stored("w zero", DataType::Int8, &zero_dims, zeros),
        floats("y step", &[STEP]),
        stored("y zero", DataType::Uint8, &[], vec![ZERO]),
    ];
    let names = ["x", "x step", "x zero", "w", "w step", "w zero", "y step", "y zero"];
    node.input = names.iter().map(|&name| name.to_owned()).collect();
    if bias {
        let numbers = [300_i32, -150, 77];
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        initializer.push(stored("bias", DataType::Int32, &[3], bytes));
        node.input.push("bias".to_owned());
    }
    let sizes = |dims: &[i64]| dims.iter().map(|&size| Size::Is(size)).collect::<Vec<_>>();
    let graph = GraphProto {
        node: vec![node],
        initializer,
        input: vec![onnx::value("x", DataType::Uint8, &sizes(x))],
        output: vec![onnx::value("y", DataType::Uint8, &sizes(y))],
        ..Default::default()
    };
    let bytes = onnx::bytes(graph);
    let shape: Vec<u64> = x.iter().map(|&size| size as u64).collect();
    let stored: Vec<f64> = (0..x.iter().product::<i64>())
        .map(|number| (number * 53 % 200) as f64)
        .collect();
    let given: Vec<f32> = stored.iter().map(|&x| 0.1 * (x as f32 - 100.0)).collect();
    let quantised = Tensor::from_f64("x", Datatype::Uint8, shape.clone(), &stored).unwrap();
    let run = |bytes: &[u8], input: Tensor| {
        let mut model = Model::load(bytes, &LoadOptions::default()).unwrap();
        model.run(&[input]).unwrap()[0].to_f64().unwrap()
    };
    let answers = run(&bytes, quantised);
    let twin = float_twin(&bytes).unwrap().unwrap();
    let in_floats = run(&twin, Tensor::from_f32("x", shape, &given).unwrap());
    assert_eq!(answers.len(), in_floats.len());
    assert!(answers.iter().any(|&y| y > f64::from(ZERO)) && answers.iter().any(|&y| y < f64::from(ZERO)));
    for (answer, float) in answers.iter().zip(&in_floats) {
        let meant = (answer - f64::from(ZERO)) * f64::from(STEP);
        let is_clamped = *answer == 0.0 || *answer == 255.0;
        assert!(
            is_clamped || (meant - float).abs() < 0.51 * f64::from(STEP),
            "{meant} {float}"
        );
    }
}

#[test]
fn convolutions_in_integers_become_convolutions_in_floats() {
    for (per_channel, bias) in [(1, false), (1, true), (3, true)] {
        let node = onnx::node("convolution", "QLinearConv", &[], "y");
        check(node, &[3, 2, 3, 3], per_channel, &[1, 2, 6, 5], &[1, 3, 4, 3], bias);
    }
}

#[test]
fn products_in_integers_become_products_in_floats() {
    check(
        onnx::node("product", "QLinearMatMul", &[], "y"),
        &[4, 3],
        1,
        &[2, 4],
        &[2, 3],
        false,
    );
}

#[test]
fn a_model_in_floats_has_none() {
    let graph = GraphProto {
        node: vec![onnx::node("relu", "Relu", &["x"], "y")],
        input: vec![onnx::value("x", DataType::Float, &[Size::Is(2)])],
        output: vec![onnx::value("y", DataType::Float, &[Size::Is(2)])],
        ..Default::default()
    };
    assert_eq!(float_twin(&onnx::bytes(graph)).unwrap(), None);
}
