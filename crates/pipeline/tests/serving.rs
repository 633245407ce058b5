//! Two generations beside each other on the same bytes.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use floorhand_bundle::{Digest, Gates, InputSpec, ModelSpec, PipelineSpec};
use floorhand_pipeline::{Host, HostConfig, Loaded, Outcome, Pipeline, Serving, decode, model_signature};
use floorhand_tensor::TensorSpec;
use serde_json::{Value, json};
use std::path::Path;

/// The model of tests/skab's fixture: eight numbers.
fn onnx() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read(root.join("tests/skab/fixture/bundle/model.onnx")).unwrap()
}

/// A generation that takes the model's eight numbers from fields that begin with `prefix`.
fn loaded(generation: u64, prefix: &str) -> Loaded {
    let signature = model_signature(&onnx()).unwrap();
    let input: &TensorSpec = signature.inputs.first().unwrap();
    let spec = PipelineSpec {
        decoder: None,
        inputs: vec![InputSpec {
            tensor: input.clone(),
            fields: (0..8).map(|at| format!("{prefix}{at}")).collect(),
        }],
        preprocess: Vec::new(),
        model: ModelSpec {
            component: "model.onnx".parse().unwrap(),
            signature,
            allow_nan: false,
            engines: Vec::new(),
            state: Vec::new(),
        },
        postprocess: Vec::new(),
        monitors: Vec::new(),
        explain: None,
    };
    let host = Host::new(HostConfig::default()).unwrap();
    Loaded {
        generation,
        name: "tested".parse().unwrap(),
        version: floorhand_bundle::Version::new(1, 0, 0),
        bundle: Digest::of(prefix.as_bytes()),
        gates: Gates::default(),
        pipeline: Pipeline::load(&spec, &mut |_| Ok(onnx()), &host).unwrap(),
    }
}

fn sample(prefixes: &[&str]) -> Vec<u8> {
    let fields = prefixes
        .iter()
        .flat_map(|prefix| (0..8).map(move |at| (format!("{prefix}{at}"), json!(f64::from(at)))));
    Value::Object(fields.collect()).to_string().into_bytes()
}

/// Whether the active generation and the candidate gave a result, and whether that counts in the trial.
fn outcome(serving: &mut Serving, bytes: &[u8]) -> (bool, Option<(bool, bool)>) {
    let mut underway = serving.begin(|taker| decode::json(bytes, taker.pipeline.inputs()).into());
    let (served, trial) = serving.next(&mut underway, 0).unwrap();
    assert!(serving.next(&mut underway, 0).is_none());
    let gave = |outcome: &Outcome| matches!(outcome, Outcome::Result(_));
    (
        served.is_some_and(|served| gave(&served.processed.outcome)),
        trial.map(|trial| (gave(&trial.processed.outcome), trial.counts)),
    )
}

#[test]
fn a_candidate_reads_the_fields_that_it_takes() {
    let mut serving = Serving::default();
    serving.activate(loaded(1, "old-"));
    serving.try_candidate(loaded(2, "new-"));
    let (both, old, new, neither) = (
        sample(&["old-", "new-"]),
        sample(&["old-"]),
        sample(&["new-"]),
        sample(&["other-"]),
    );
    assert_eq!(outcome(&mut serving, &both), (true, None), "it begins behind an answer");
    assert_eq!(outcome(&mut serving, &both), (true, Some((true, true))));
    assert_eq!(outcome(&mut serving, &old), (true, Some((false, true))));
    assert_eq!(outcome(&mut serving, &new), (false, Some((true, true))));
    assert_eq!(
        outcome(&mut serving, &neither),
        (false, Some((false, false))),
        "where both fail nothing is shown"
    );
}

#[test]
fn what_reads_nothing_any_more_can_be_replaced() {
    let mut serving = Serving::default();
    serving.activate(loaded(1, "old-"));
    serving.try_candidate(loaded(2, "new-"));
    let new = sample(&["new-"]);
    assert_eq!(outcome(&mut serving, &new), (false, None));
    assert_eq!(outcome(&mut serving, &new), (false, Some((true, true))));
    serving.promote();
    assert_eq!(outcome(&mut serving, &new), (true, None));
}

#[test]
fn what_is_missing_or_infinite_gives_no_answer_and_is_named() {
    let mut active = loaded(1, "f");
    for (value, said) in [(Value::Null, "NaN"), (json!(1e300), "inf"), (json!(-1e300), "-inf")] {
        let fields = (0..8).map(|at| (format!("f{at}"), if at == 3 { value.clone() } else { json!(1.0) }));
        let bytes = Value::Object(fields.collect()).to_string();
        let sample = decode::json(bytes.as_bytes(), active.pipeline.inputs()).unwrap();
        let Outcome::Failed(error) = active.pipeline.process(&sample, 0).outcome else {
            panic!("{value} was answered");
        };
        let message = error.to_string();
        let name = active.pipeline.inputs().first().unwrap().tensor.name.clone();
        assert!(
            message.starts_with(&format!(
                "the model's input {name} holds {said} at element 3 (the sample's field \"f3\" is {said}); send the value"
            )),
            "{message}"
        );
    }
}
