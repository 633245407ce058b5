//! ONNX Runtime as an engine: what it answers, what is refused, and libraries that are none.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod library;
#[path = "../../inference/tests/onnx/mod.rs"]
mod onnx;
#[path = "../../inference/tests/recorded/mod.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod recorded;

use floorhand_inference::{Engine, InferenceError, LoadOptions, Session, Tract};
use floorhand_onnxruntime::{OnnxRuntime, OpenError};
use floorhand_tensor::{Dim, Tensor, compare};
use library::{engine, library};
use onnx::Size;
use prost::Message as _;
use std::path::Path;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, OperatorSetIdProto, StringStringEntryProto, TensorProto};

/// Recorded for tract, with ONNX Runtime of the version that Python's requirements name.
const OPERATORS: &str = include_str!("../../inference/tests/ml_operators.json");
const TREES: &str = include_str!("../../inference/tests/tree_ensembles.json");
const REWRITES: &str = include_str!("../../inference/tests/rewrites.json");

#[test]
fn it_is_opened_once_and_tells_its_version() {
    let Some((path, version)) = library() else { return };
    let engine = OnnxRuntime::open(&path).unwrap();
    assert_eq!(engine.name(), format!("onnxruntime {version}"));
    assert_eq!(OnnxRuntime::open(&path).unwrap().name(), engine.name());
}

#[test]
fn a_library_that_is_none_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| OnnxRuntime::open(path).unwrap_err();
    let missing = folder.path().join("libonnxruntime.so");
    let text = refused(&missing).to_string();
    assert!(
        text.contains("libonnxruntime.so") && text.contains("No such file"),
        "{text}"
    );
    assert!(matches!(
        refused(Path::new("libonnxruntime.so")),
        OpenError::Relative { .. }
    ));
    // The rest isn't reached once this process has one: see `libraries.rs`.
}

#[test]
fn recorded_answers_are_its_own() {
    let Some(engine) = engine() else { return };
    recorded::check(&engine, OPERATORS, 400, |name| {
        if name.contains("PROBIT") { 1e-4 } else { 1e-6 }
    });
    recorded::check(&engine, TREES, 100, |_| 1e-6);
    recorded::check(&engine, REWRITES, 40, |_| 1e-6);
}

fn dense(batch: Size) -> Vec<u8> {
    let weight = |i: usize, j: usize| (i * 3 + j) as f32 * 0.25 - 1.0;
    onnx::bytes(onnx::dense(batch, 3, 2, weight, |j| j as f32 * 0.5))
}

fn load(engine: &OnnxRuntime, onnx: &[u8]) -> Box<dyn Session> {
    engine.load(onnx, &LoadOptions::default()).unwrap()
}

fn row(k: usize) -> Tensor {
    let values: Vec<f32> = (0..3).map(|i| (k * 3 + i) as f32 * 0.1 - 0.5).collect();
    Tensor::from_f32("x", vec![1, 3], &values).unwrap()
}

fn answers(batch: &[Result<Vec<Tensor>, InferenceError>]) -> Vec<&Vec<Tensor>> {
    batch.iter().map(|answer| answer.as_ref().unwrap()).collect()
}

#[test]
fn a_signature_is_that_of_tract() {
    let Some(engine) = engine() else { return };
    let onnx = dense(Size::Open("N"));
    let (ours, theirs) = (
        Tract.load(&onnx, &LoadOptions::default()).unwrap(),
        load(&engine, &onnx),
    );
    assert_eq!(ours.signature(), theirs.signature());
    // A dimension that has no name stays open, which the pipeline holds against the manifest.
    let mut graph = onnx::dense(Size::Open("N"), 3, 2, |_, _| 1.0, |_| 0.0);
    graph.output = vec![onnx::value("y", DataType::Float, &[Size::Is(-1), Size::Is(2)])];
    graph.input = vec![onnx::value("x", DataType::Float, &[Size::Is(-1), Size::Is(3)])];
    let session = load(&engine, &onnx::bytes(graph));
    assert_eq!(session.signature().inputs[0].shape, [Dim::Fixed(1), Dim::Fixed(3)]);
    assert_eq!(session.signature().outputs[0].shape, [Dim::Any, Dim::Fixed(2)]);
}

#[test]
fn samples_are_run_together_where_the_batch_is_open() {
    let Some(engine) = engine() else { return };
    for batch in [Size::Open("N"), Size::Is(1)] {
        let is_open = matches!(batch, Size::Open(_));
        let mut session = load(&engine, &dense(batch));
        session.expect_batches(true);
        assert_eq!(session.runs_together(), is_open);
        let alone: Vec<Vec<Tensor>> = (0..5).map(|k| session.run(&[row(k)]).unwrap()).collect();
        let rows: Vec<[Tensor; 1]> = (0..5).map(|k| [row(k)]).collect();
        let samples: Vec<&[Tensor]> = rows.iter().map(<[Tensor; 1]>::as_slice).collect();
        // The first times are held against single samples.
        for _ in 0..4 {
            for (batch, alone) in answers(&session.run_batch(&samples)).iter().zip(&alone) {
                assert!(compare::largest_difference(&alone[0], &batch[0]).unwrap() < 1e-6);
            }
        }
        let proven = format!("{session:?}").contains("batches: Proven");
        assert_eq!(proven, is_open, "{session:?}");
        // One that doesn't fit has its own error, and the others their answers.
        let other = [Tensor::from_f32("x", vec![1, 2], &[0.0; 2]).unwrap()];
        let mixed = session.run_batch(&[&rows[0], &other, &rows[1]]);
        assert!(mixed[1].as_ref().unwrap_err().to_string().contains("[1, 2]"));
        assert_eq!(mixed[2].as_ref().unwrap()[0].shape(), [1, 2]);
        session.expect_batches(false);
        assert!(!session.runs_together() && session.run_batch(&samples).iter().all(Result::is_ok));
    }
}

/// y = x - mean of x over the first dimension, which isn't a batch.
fn centred() -> Vec<u8> {
    let mut mean = onnx::node("mean", "ReduceMean", &["x"], "m");
    mean = onnx::with_int(mean, "keepdims", 1);
    mean.attribute.push(tract_onnx::pb::AttributeProto {
        name: "axes".to_owned(),
        r#type: tract_onnx::pb::attribute_proto::AttributeType::Ints as i32,
        ints: vec![0],
        ..Default::default()
    });
    let open = |name| onnx::value(name, DataType::Float, &[Size::Open("N"), Size::Is(3)]);
    onnx::bytes(GraphProto {
        name: "centred".to_owned(),
        node: vec![mean, onnx::node("sub", "Sub", &["x", "m"], "y")],
        input: vec![open("x")],
        output: vec![open("y")],
        ..Default::default()
    })
}

#[test]
fn an_open_dimension_that_is_no_batch_is_found_out() {
    let Some(engine) = engine() else { return };
    let mut session = load(&engine, &centred());
    let rows: Vec<[Tensor; 1]> = (0..3).map(|k| [row(k)]).collect();
    let samples: Vec<&[Tensor]> = rows.iter().map(<[Tensor; 1]>::as_slice).collect();
    // Of equal rows, more than are compared, each answer is right in a batch, too.
    for samples in [&[samples[1]; 70][..], &samples, &samples] {
        for answer in answers(&session.run_batch(samples)) {
            assert_eq!(answer[0].to_f32().unwrap(), [0.0; 3]);
        }
    }
    assert!(format!("{session:?}").contains("batches: Never"), "{session:?}");
}

#[test]
fn texts_go_in_and_out() {
    let Some(engine) = engine() else { return };
    let texts = |name| onnx::value(name, DataType::String, &[Size::Is(1), Size::Is(2)]);
    let graph = GraphProto {
        name: "texts".to_owned(),
        node: vec![onnx::node("same", "Identity", &["x"], "y")],
        input: vec![texts("x")],
        output: vec![texts("y")],
        ..Default::default()
    };
    let mut session = load(&engine, &onnx::bytes(graph));
    let given = Tensor::from_elements("x", vec![1, 2], &["Ventil öffnet", ""]).unwrap();
    let answer = session.run(std::slice::from_ref(&given)).unwrap();
    assert_eq!(answer[0].elements().unwrap(), given.elements().unwrap());
    let wrong = Tensor::from_elements("x", vec![1, 2], &[&[0xff_u8][..], &[]]).unwrap();
    let error = session.run(&[wrong]).unwrap_err().to_string();
    assert!(error.contains(r#"input "x": is no UTF-8"#), "{error}");
    session.warm_up().unwrap();
}

#[test]
fn what_a_model_may_not_ask_for_never_reaches_it() {
    let Some(engine) = engine() else { return };
    let refused = |onnx: &[u8], expected: &str| {
        let error = engine.load(onnx, &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(b"not a model", "it is not ONNX");
    let with = |weights: TensorProto| {
        let mut graph = onnx::dense(Size::Is(1), 3, 2, |_, _| 1.0, |_| 0.0);
        graph.initializer[0] = weights;
        onnx::bytes(graph)
    };
    // A file that is there: it would be read.
    let outside = TensorProto {
        name: "w".to_owned(),
        dims: vec![3, 2],
        data_type: DataType::Float as i32,
        data_location: Some(DataLocation::External as i32),
        external_data: vec![StringStringEntryProto {
            key: "location".to_owned(),
            value: "/etc/hostname".to_owned(),
        }],
        ..Default::default()
    };
    refused(&with(outside), "nothing beside the model is read");
    let huge = TensorProto {
        raw_data: Vec::new(),
        ..onnx::weights("w", &[1 << 20, 1 << 20], &[])
    };
    refused(&with(huge), "needs more than");
    // An operator of somebody's own, for which a library would have to be loaded.
    let mut graph = onnx::dense(Size::Is(1), 3, 2, |_, _| 1.0, |_| 0.0);
    graph.node[1].domain = "example.custom".to_owned();
    let mut model = onnx::model(graph);
    model.opset_import.push(OperatorSetIdProto {
        domain: "example.custom".to_owned(),
        version: 1,
    });
    refused(&model.encode_to_vec(), "onnxruntime");
    let missing = load(&engine, &dense(Size::Is(1))).run(&[]).unwrap_err().to_string();
    assert!(missing.contains('x'), "{missing}");
}

#[test]
fn maps_are_the_tensor_that_they_are_made_of() {
    let Some(engine) = engine() else { return };
    let mut zip = onnx::node("zip", "ZipMap", &["h"], "y");
    zip.domain = "ai.onnx.ml".to_owned();
    zip.attribute.push(tract_onnx::pb::AttributeProto {
        name: "classlabels_int64s".to_owned(),
        r#type: tract_onnx::pb::attribute_proto::AttributeType::Ints as i32,
        ints: vec![0, 1],
        ..Default::default()
    });
    let mut graph = onnx::dense(Size::Open("N"), 3, 2, |_, _| 1.0, |_| 0.0);
    graph.node.truncate(1);
    graph.node.push(zip);
    let mut model = onnx::model(graph);
    model.opset_import.push(OperatorSetIdProto {
        domain: "ai.onnx.ml".to_owned(),
        version: 3,
    });
    let onnx = model.encode_to_vec();
    let mut session = load(&engine, &onnx);
    let expected = Tract
        .load(&onnx, &LoadOptions::default())
        .unwrap()
        .run(&[row(1)])
        .unwrap();
    let answer = session.run(&[row(1)]).unwrap();
    assert_eq!(answer[0].shape(), [1, 2]);
    assert!(compare::largest_difference(&expected[0], &answer[0]).unwrap() < 1e-6);
}
