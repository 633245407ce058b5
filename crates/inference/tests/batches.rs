//! Several samples in one run: the answers of one by one, whatever the model.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod onnx;

use base64::Engine as _;
use floorhand_inference::{InferenceError, LoadOptions, Model};
use floorhand_tensor::{Tensor, compare};
use onnx::Size;
use prost::Message;
use std::collections::BTreeMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, type_proto};

type Answers = Vec<Result<Vec<Tensor>, InferenceError>>;

/// y = relu(x w + b) with three inputs and two outputs.
fn dense(batch: Size) -> GraphProto {
    onnx::dense(batch, 3, 2, |i, j| (i as f32 - j as f32) * 0.7, |j| j as f32)
}

fn load(graph: GraphProto) -> Model {
    Model::load(&onnx::bytes(graph), &LoadOptions::default()).unwrap()
}

/// Rows of three numbers, none like another.
fn rows(count: usize) -> Vec<Vec<Tensor>> {
    let row = |at: usize| {
        let at = at as f32;
        Tensor::from_f32("x", vec![1, 3], &[at.sin(), 3.0 - at * 0.1, (at * 1.7).cos()]).unwrap()
    };
    (0..count).map(|at| vec![row(at)]).collect()
}

fn one_by_one(model: &mut Model, samples: &[Vec<Tensor>]) -> Answers {
    samples.iter().map(|sample| model.run(sample)).collect()
}

fn together(model: &mut Model, samples: &[Vec<Tensor>]) -> Answers {
    let samples: Vec<&[Tensor]> = samples.iter().map(Vec::as_slice).collect();
    model.run_batch(&samples)
}

fn alike(one: &Answers, other: &Answers) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        let (Ok(one), Ok(other)) = (one, other) else {
            assert_eq!(one, other);
            continue;
        };
        assert_eq!(one.len(), other.len());
        for (one, other) in one.iter().zip(other) {
            let difference = compare::largest_difference(one, other).unwrap();
            // NaN where the other has it too is none.
            assert!(one == other || difference <= 1e-5, "{one:?} {other:?}");
        }
    }
}

/// Several numbers of samples, more than once: while a batch is compared, and later.
fn answers_alike(model: &mut Model, samples: &[Vec<Tensor>]) {
    for count in [samples.len(), 1, 2, 5, samples.len(), samples.len()] {
        let samples = &samples[..count];
        alike(&one_by_one(model, samples), &together(model, samples));
    }
}

#[test]
fn several_samples_get_the_answers_of_each() {
    for batch in [Size::Open("N"), Size::Is(-1), Size::Is(1)] {
        let is_open = !matches!(batch, Size::Is(1));
        let mut model = load(dense(batch));
        answers_alike(&mut model, &rows(150));
        assert_eq!(model.runs_together(), is_open);
    }
    assert!(load(dense(Size::Open("N"))).run_batch::<Tensor>(&[]).is_empty());
}

#[test]
fn the_signature_is_that_of_one_sample() {
    let mut model = load(dense(Size::Open("N")));
    let before = model.signature().clone();
    together(&mut model, &rows(40));
    assert_eq!(*model.signature(), before);
    assert_eq!(
        before.inputs[0].to_string(),
        load(dense(Size::Is(1))).signature().inputs[0].to_string()
    );
}

#[test]
fn one_that_does_not_fit_fails_alone() {
    let mut model = load(dense(Size::Open("N")));
    let mut samples = rows(60);
    samples[3] = vec![Tensor::from_f32("x", vec![1, 2], &[0.0, 1.0]).unwrap()];
    samples[41] = vec![];
    for _ in 0..3 {
        let answers = together(&mut model, &samples);
        alike(&one_by_one(&mut model, &samples), &answers);
        let failed: Vec<usize> = (0..60).filter(|&at| answers[at].is_err()).collect();
        assert_eq!(failed, [3, 41]);
        assert!(answers[41].as_ref().unwrap_err().to_string().contains("is missing"));
    }
}

#[test]
fn what_is_no_number_stays_in_its_row() {
    let mut model = load(dense(Size::Open("N")));
    let mut samples = rows(90);
    together(&mut model, &samples);
    samples[7] = vec![Tensor::from_f32("x", vec![1, 3], &[f32::NAN, 0.0, f32::INFINITY]).unwrap()];
    let answers = together(&mut model, &samples);
    let finite = |at: usize| answers[at].as_ref().unwrap()[0].first_non_finite().is_none();
    assert!((0..90).all(|at| at == 7 || finite(at)));
    samples.remove(7);
    let mut rest = answers;
    drop(rest.remove(7));
    alike(&one_by_one(&mut model, &samples), &rest);
}

/// A graph of `nodes` from x to y, both [N, 3].
fn graph(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> GraphProto {
    let value = |name| onnx::value(name, DataType::Float, &[Size::Open("N"), Size::Is(3)]);
    GraphProto {
        node: nodes,
        initializer,
        input: vec![value("x")],
        output: vec![value("y")],
        ..Default::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..Default::default()
    }
}

/// Each has one answer for a sample alone and another for it among others, or none.
#[test]
fn samples_that_act_on_each_other_are_run_one_by_one() {
    let with_axis = |node, axis| onnx::with_int(node, "axis", axis);
    let mean = vec![
        {
            let mut node = onnx::node("mean", "ReduceMean", &["x"], "m");
            node.attribute.push(tract_onnx::pb::AttributeProto {
                name: "axes".to_owned(),
                r#type: tract_onnx::pb::attribute_proto::AttributeType::Ints as i32,
                ints: vec![0],
                ..Default::default()
            });
            node
        },
        onnx::node("sub", "Sub", &["x", "m"], "y"),
    ];
    let cases = [
        ("mean of all", graph(mean, vec![])),
        (
            "softmax over samples",
            graph(
                vec![with_axis(onnx::node("softmax", "Softmax", &["x"], "y"), 0)],
                vec![],
            ),
        ),
        (
            "running sum",
            graph(
                vec![onnx::node("sum", "CumSum", &["x", "axis"], "y")],
                vec![TensorProto {
                    dims: vec![],
                    ..integers("axis", &[0])
                }],
            ),
        ),
        (
            "one row",
            graph(
                vec![onnx::node("reshape", "Reshape", &["x", "shape"], "y")],
                vec![integers("shape", &[1, 3])],
            ),
        ),
        (
            "one row of all",
            graph(
                vec![onnx::node("reshape", "Reshape", &["x", "shape"], "y")],
                vec![integers("shape", &[1, -1])],
            ),
        ),
        (
            "the first sample for all",
            graph(
                vec![
                    onnx::with_int(onnx::node("first", "Gather", &["x", "zero"], "f"), "axis", 0),
                    onnx::node("add", "Add", &["x", "f"], "y"),
                ],
                vec![integers("zero", &[0])],
            ),
        ),
    ];
    for (name, graph) in cases {
        let mut model = load(graph);
        answers_alike(&mut model, &rows(70));
        assert!(!model.runs_together(), "{name}");
    }
}

/// Random rows don't show it: only where numbers are large do samples act on each other.
#[test]
fn what_only_real_samples_show_is_found_out() {
    let mut largest = onnx::with_int(onnx::node("largest", "ReduceMax", &["x"], "m"), "keepdims", 1);
    largest.attribute.push(tract_onnx::pb::AttributeProto {
        name: "axes".to_owned(),
        r#type: tract_onnx::pb::attribute_proto::AttributeType::Ints as i32,
        ints: vec![0],
        ..Default::default()
    });
    let nodes = vec![
        largest,
        onnx::node("bounded", "Max", &["m", "bound"], "b"),
        onnx::node("add", "Add", &["x", "b"], "y"),
    ];
    let mut model = load(graph(nodes, vec![onnx::weights("bound", &[], &[1e4])]));
    let sample = |at: usize| vec![Tensor::from_f32("x", vec![1, 3], &[at as f32 * 1e6, 0.5, 1.0]).unwrap()];
    let samples: Vec<_> = (0..10).map(sample).collect();
    answers_alike(&mut model, &samples);
    assert!(!model.runs_together());
}

/// Convolutions are slower for several: they are run one by one.
#[test]
fn what_gains_nothing_is_run_one_by_one() {
    let graph = GraphProto {
        node: vec![onnx::node("conv", "Conv", &["x", "w"], "y")],
        initializer: vec![onnx::weights("w", &[2, 1, 3], &[0.5; 6])],
        input: vec![onnx::value(
            "x",
            DataType::Float,
            &[Size::Open("N"), Size::Is(1), Size::Is(3)],
        )],
        output: vec![onnx::value(
            "y",
            DataType::Float,
            &[Size::Open("N"), Size::Is(2), Size::Is(1)],
        )],
        ..Default::default()
    };
    let sample = |at: usize| vec![Tensor::from_f32("x", vec![1, 1, 3], &[at as f32, 1.0, 2.0]).unwrap()];
    let mut model = load(graph);
    answers_alike(&mut model, &(0..20).map(sample).collect::<Vec<_>>());
    assert!(!model.runs_together());
}

#[test]
fn two_inputs_and_two_outputs_go_together() {
    let value = |name, datatype| onnx::value(name, datatype, &[Size::Open("N"), Size::Is(3)]);
    let graph = GraphProto {
        node: vec![
            onnx::node("sub", "Sub", &["a", "x"], "d"),
            onnx::node("greater", "Greater", &["a", "x"], "g"),
        ],
        input: vec![value("x", DataType::Float), value("a", DataType::Float)],
        output: vec![value("d", DataType::Float), value("g", DataType::Bool)],
        ..Default::default()
    };
    let samples: Vec<Vec<Tensor>> = rows(80)
        .into_iter()
        .zip(rows(81).into_iter().skip(1))
        // In another order than the model has them.
        .map(|(x, a)| vec![a[0].clone().renamed("a"), x[0].clone()])
        .collect();
    let mut model = load(graph);
    answers_alike(&mut model, &samples);
    assert!(model.runs_together());
}

/// Recorded models of the operators of `ai.onnx.ml`: their rows are samples here.
#[test]
fn tree_ensembles_and_texts_answer_alike() {
    let mut models = 0;
    let mut texts = 0;
    for cases in [include_str!("ml_operators.json"), include_str!("tree_ensembles.json")] {
        let cases: Vec<serde_json::Value> = serde_json::from_str(cases).unwrap();
        for case in &cases {
            let bytes = base64::engine::general_purpose::STANDARD.decode(case["model"].as_str().unwrap());
            let Ok(mut model) = Model::load(&opened(&bytes.unwrap()), &LoadOptions::default()) else {
                continue;
            };
            let Some(samples) = split(case, &model) else {
                continue;
            };
            answers_alike(&mut model, &samples);
            models += usize::from(model.runs_together());
            texts += usize::from(model.runs_together() && samples[0].iter().any(|tensor| tensor.elements().is_ok()));
        }
    }
    assert!(models >= 60 && texts >= 3, "{models} models, {texts} of texts");
}

/// A model with its inputs' first dimensions open.
fn opened(bytes: &[u8]) -> Vec<u8> {
    let mut model = ModelProto::decode(bytes).unwrap();
    for input in &mut model.graph.as_mut().unwrap().input {
        let Some(type_proto::Value::TensorType(tensor)) = &mut input.r#type.as_mut().unwrap().value else {
            continue;
        };
        if let Some(first) = tensor.shape.as_mut().and_then(|shape| shape.dim.first_mut()) {
            first.value = Some(dimension::Value::DimParam("N".to_owned()));
        }
    }
    model.encode_to_vec()
}

/// A recorded case's rows, repeated, as samples of their own.
fn split(case: &serde_json::Value, model: &Model) -> Option<Vec<Vec<Tensor>>> {
    let mut samples: Vec<BTreeMap<String, Tensor>> = vec![BTreeMap::new(); 70];
    for spec in &model.signature().inputs {
        let inputs = case["inputs"].as_array().unwrap();
        let input = inputs.iter().find(|input| input["name"] == spec.name.as_str())?;
        let count = usize::try_from(spec.fixed_len()?).unwrap();
        let data = input["data"].as_array().unwrap();
        if count == 0 || data.len() < count {
            return None;
        }
        let rows: Vec<&[serde_json::Value]> = data.chunks_exact(count).collect();
        let shape: Vec<u64> = std::iter::once(1)
            .chain(
                input["shape"]
                    .as_array()?
                    .iter()
                    .skip(1)
                    .map(|size| size.as_u64().unwrap()),
            )
            .collect();
        for (at, sample) in samples.iter_mut().enumerate() {
            let row = rows[at % rows.len()];
            let tensor = if spec.datatype.size().is_none() {
                let texts: Vec<&str> = row.iter().map(|text| text.as_str().unwrap()).collect();
                Tensor::from_elements(&spec.name, shape.clone(), &texts)
            } else {
                let number = |value: &serde_json::Value| {
                    value
                        .as_f64()
                        .unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
                };
                let values: Vec<f64> = row.iter().map(number).collect();
                Tensor::from_f64(&spec.name, spec.datatype, shape.clone(), &values)
            };
            sample.insert(spec.name.clone(), tensor.ok()?);
        }
    }
    Some(
        samples
            .into_iter()
            .map(|sample| sample.into_values().collect())
            .collect(),
    )
}
