//! Plugins are told of samples that they didn't see: a window never spans a gap.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use floorhand_bundle::{Digest, Gates, InputSpec, ModelSpec, PipelineSpec, StageSpec};
use floorhand_pipeline::{Host, HostConfig, Loaded, Outcome, Pipeline, Serving, decode, model_signature};
use floorhand_tensor::{Datatype, Dim, TensorSpec};
use std::path::Path;

/// Windows of eight samples of a signal, in chunks of four, in front of a model that takes eight features.
const CONFIG: &str = r#"{"input": "signal", "output": "x", "shape": [1, 4], "sample_rate_hz": 8, "window": 8,
    "bands_hz": [[0, 1], [1, 2], [2, 3], [3, 4]]}"#;

fn file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

fn serving() -> Serving {
    let onnx = file("tests/skab/fixture/bundle/model.onnx");
    let spec = PipelineSpec {
        explain: None,
        decoder: None,
        inputs: vec![InputSpec {
            tensor: TensorSpec::new("signal", Datatype::Fp32, vec![Dim::Fixed(1), Dim::Fixed(4)]),
            fields: Vec::new(),
        }],
        preprocess: vec![StageSpec {
            name: "features".parse().unwrap(),
            plugin: "vibration-features.wasm".parse().unwrap(),
            config: CONFIG.to_owned(),
            assets: Vec::new(),
            limits: Default::default(),
            on_break: Default::default(),
        }],
        model: ModelSpec {
            component: "model.onnx".parse().unwrap(),
            signature: model_signature(&onnx).unwrap(),
            allow_nan: false,
            engines: Vec::new(),
            state: Vec::new(),
        },
        postprocess: Vec::new(),
        monitors: Vec::new(),
    };
    let host = Host::new(HostConfig::default()).unwrap();
    let mut read = |name: &floorhand_bundle::ComponentName| match name.as_str() {
        "model.onnx" => Ok(onnx.clone()),
        other => Ok(file(&format!("plugins/prebuilt/{other}"))),
    };
    let mut serving = Serving::default();
    serving.activate(Loaded {
        generation: 1,
        name: "tested".parse().unwrap(),
        version: floorhand_bundle::Version::new(1, 0, 0),
        bundle: Digest::of(b"gaps"),
        gates: Gates::default(),
        pipeline: Pipeline::load(&spec, &mut read, &host).unwrap(),
    });
    serving
}

/// Whether the message gave a result, nothing yet, or a failure.
fn answer(serving: &mut Serving, message: &str) -> &'static str {
    let mut underway = serving.begin(|taker| decode::json(message.as_bytes(), taker.pipeline.inputs()).into());
    let (served, _) = serving.next(&mut underway, 0).unwrap();
    match served.unwrap().processed.outcome {
        Outcome::Result(_) => "result",
        Outcome::NotYet => "not yet",
        Outcome::Failed(_) => "failed",
    }
}

#[test]
fn a_message_that_cannot_be_read_begins_windows_anew() {
    let chunk = r#"{"signal": [[1, 2, 3, 1]]}"#;
    let mut serving = serving();
    let mut answers =
        |messages: &[&str]| -> Vec<&str> { messages.iter().map(|text| answer(&mut serving, text)).collect() };
    assert_eq!(answers(&[chunk, chunk, chunk]), ["not yet", "result", "not yet"]);
    assert_eq!(
        answers(&["{}", chunk, chunk]),
        ["failed", "not yet", "result"],
        "half a window before the gap, and half of one behind it, make no window"
    );
}

#[test]
fn samples_that_go_by_while_a_device_is_paused_are_a_gap() {
    let chunk = r#"{"signal": [[1, 2, 3, 1]]}"#;
    let mut serving = serving();
    assert_eq!(answer(&mut serving, chunk), "not yet");
    serving.miss();
    assert_eq!(
        [answer(&mut serving, chunk), answer(&mut serving, chunk)],
        ["not yet", "result"]
    );
}
