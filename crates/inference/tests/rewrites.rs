//! What tract alone answers wrongly: recorded cases through the loader, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests need more of it")]
mod onnx;
mod recorded;

use floorhand_inference::{LoadOptions, Model, Tract};
use floorhand_tensor::Tensor;
use onnx::Size;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// What ONNX Runtime answers, recorded by `oracle_rewrites.py`.
const CASES: &str = include_str!("rewrites.json");

#[test]
fn answers_are_those_of_onnx_runtime() {
    recorded::check(&Tract, CASES, 40, |_| 1e-6);
}

/// However the model of one of our larger operators is bent, it is loaded or refused, and the process goes on: it runs, too,
/// where it still loads.
#[test]
fn no_damaged_model_brings_the_process_down() {
    let names = [
        "between integers 3 int8 to int8",
        "between integers 6 uint8 to uint8",
        "between integers 8 uint8 to int8",
        "product of integers MatMul int8 to int8",
        "LSTM bidirectional of lengths [5, 2, 3]",
        "GRU forward HardSigmoid",
    ];
    let (mut loaded, mut refused) = (0, 0);
    for name in names {
        let (whole, inputs) = recorded::model(CASES, name);
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= [0x55, 0x01, 0x80, 0xff][at % 4];
            match Model::load(&bent, &LoadOptions::default()) {
                Ok(mut model) => {
                    loaded += 1;
                    drop(model.run(&inputs));
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(
        loaded > 1000 && refused > 1000,
        "{loaded} are loaded, {refused} refused"
    );
}

/// Held against what follows from the definition: ONNX Runtime itself loses NaN in some of them.
#[test]
fn what_is_no_number_stays_none_in_recurrent_layers() {
    const ROWS: usize = 2;
    const WIDTH: usize = 3;
    const HIDDEN: usize = 5;
    let layers = [("LSTM", 4, 0), ("GRU", 3, 0), ("GRU", 3, 1), ("RNN", 1, 0)];
    for ((operator, gates, before_reset), length) in layers.into_iter().flat_map(|layer| [(layer, 2), (layer, 5)]) {
        let sizes = [
            ("x", vec![length, ROWS, WIDTH]),
            ("w", vec![1, gates * HIDDEN, WIDTH]),
            ("r", vec![1, gates * HIDDEN, HIDDEN]),
        ];
        let value = |(name, sizes): &(&str, Vec<usize>)| {
            let sizes: Vec<Size> = sizes.iter().map(|&size| Size::Is(size as i64)).collect();
            onnx::value(name, DataType::Float, &sizes)
        };
        let mut node = onnx::node("cell", operator, &["x", "w", "r"], "y");
        if before_reset != 0 {
            node.attribute = vec![AttributeProto {
                name: "linear_before_reset".to_owned(),
                r#type: AttributeType::Int as i32,
                i: before_reset,
                ..Default::default()
            }];
        }
        let graph = GraphProto {
            node: vec![node],
            input: sizes.iter().map(value).collect(),
            output: vec![value(&("y", vec![length, 1, ROWS, HIDDEN]))],
            ..Default::default()
        };
        let mut model = Model::load(&onnx::bytes(graph), &LoadOptions::default()).unwrap();
        let (step, row) = (1, 1);
        let inputs = sizes.map(|(name, sizes)| {
            let mut numbers: Vec<f32> = (0..sizes.iter().product::<usize>())
                .map(|number| (number as f32).sin())
                .collect();
            if name == "x" {
                numbers[(step * ROWS + row) * WIDTH] = f32::NAN;
            }
            let shape = sizes.iter().map(|&size| size as u64).collect();
            Tensor::from_f32(name, shape, &numbers).unwrap()
        });
        let answers = model.run(&inputs).unwrap()[0].to_f64().unwrap();
        for (place, answers) in answers.chunks(HIDDEN).enumerate() {
            let expected = place / ROWS >= step && place % ROWS == row;
            assert!(
                answers.iter().all(|answer| answer.is_nan() == expected),
                "{operator} {place}: {answers:?}"
            );
        }
    }
}

/// Padding of less than nothing cuts off; tract takes it for a number near the largest, wherever it comes from.
#[test]
fn padding_of_less_than_nothing_is_refused() {
    let refused = |nodes: Vec<NodeProto>, pads: Option<TensorProto>| {
        let graph = GraphProto {
            node: nodes,
            initializer: pads.into_iter().collect(),
            input: vec![onnx::value("x", DataType::Float, &[Size::Is(4)])],
            output: vec![onnx::value("y", DataType::Float, &[Size::Is(4)])],
            ..Default::default()
        };
        let error = Model::load(&onnx::bytes(graph), &LoadOptions::default()).unwrap_err();
        let expected = r#"node "cut": its padding is negative; cut off with Slice"#;
        assert!(error.to_string().contains(expected), "{error}");
    };
    let pads = |numbers: [i64; 2]| TensorProto {
        name: "p".to_owned(),
        dims: vec![2],
        data_type: DataType::Int64 as i32,
        int64_data: numbers.to_vec(),
        ..Default::default()
    };
    let cut = |by: &str| onnx::node("cut", "Pad", &["x", by], "y");
    refused(vec![cut("p")], Some(pads([1, -1])));
    // As exporters write it, which compute it.
    let negative = onnx::node("negative", "Neg", &["p"], "n");
    refused(vec![negative, cut("n")], Some(pads([-1, 1])));
    let mut stored = onnx::node("stored", "Constant", &[], "c");
    stored.attribute.push(AttributeProto {
        name: "value_ints".to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: vec![-1, 1],
        ..Default::default()
    });
    refused(vec![stored, cut("c")], None);
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
        let expected = format!(r#"node "cell", operator LSTM, attribute {message}"#);
        assert!(error.to_string().contains(&expected), "{error}");
    };
    let attribute = |name: &str| AttributeProto {
        name: name.to_owned(),
        ..Default::default()
    };
    let activations = ["Sigmoid", "Elu", "Tanh"].map(|name| name.as_bytes().to_vec());
    check(
        AttributeProto {
            r#type: AttributeType::Strings as i32,
            strings: activations.to_vec(),
            ..attribute("activations")
        },
        r#""activations": "Elu" is not supported; train with Sigmoid, Tanh, Relu"#,
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
