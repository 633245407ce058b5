//! Recurrent models whose state a bundle declares: row by row as one run over all rows, key by key, anew after a gap.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use base64::Engine as _;
use floorhand_bundle::{Golden, InputSpec, ModelSpec, PipelineSpec, StateSpec};
use floorhand_pipeline::{Host, HostConfig, LoadError, Outcome, Pipeline, Sample, model_signature, run_golden};
use floorhand_tensor::Tensor;
use serde_json::{Value, json};

/// What ONNX Runtime answers, recorded by `crates/inference/tests/oracle_state.py`.
const CASES: &str = include_str!("../../inference/tests/state.json");

struct Recorded {
    onnx: Vec<u8>,
    state: Vec<StateSpec>,
    rows: Vec<Vec<f32>>,
    /// The answer to each row after all before it.
    answers: Vec<Vec<f32>>,
}

fn floats(tensor: &Value) -> Vec<f32> {
    let data = tensor["data"].as_array().unwrap();
    data.iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

fn recorded(kind: &str) -> Recorded {
    let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
    let case = |name: String| cases.iter().find(|case| case["name"] == name.as_str()).unwrap().clone();
    let (row, all) = (case(format!("{kind} a row")), case(format!("{kind} all rows")));
    let onnx = base64::engine::general_purpose::STANDARD.decode(row["model"].as_str().unwrap());
    let states = if kind == "LSTM" { vec!["h", "c"] } else { vec!["h"] };
    let state = |name: &str| StateSpec {
        input: name.to_owned(),
        output: format!("{name}n"),
    };
    Recorded {
        onnx: onnx.unwrap(),
        state: states.into_iter().map(state).collect(),
        rows: floats(&all["inputs"][0]).chunks_exact(3).map(<[f32]>::to_vec).collect(),
        answers: floats(&all["outputs"][0])
            .chunks_exact(2)
            .map(<[f32]>::to_vec)
            .collect(),
    }
}

fn load(recorded: &Recorded) -> Result<Pipeline, LoadError> {
    let signature = model_signature(&recorded.onnx).unwrap();
    let spec = PipelineSpec {
        explain: None,
        decoder: None,
        inputs: vec![InputSpec {
            tensor: signature.inputs.iter().find(|input| input.name == "x").unwrap().clone(),
            fields: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
        }],
        preprocess: Vec::new(),
        model: ModelSpec {
            engines: Vec::new(),
            component: "model.onnx".parse().unwrap(),
            signature,
            allow_nan: false,
            state: recorded.state.clone(),
        },
        postprocess: Vec::new(),
        monitors: Vec::new(),
    };
    let host = Host::new(HostConfig::default()).unwrap();
    Pipeline::load(&spec, &mut |_| Ok(recorded.onnx.clone()), &host)
}

fn process(pipeline: &mut Pipeline, row: &[f32], key: Option<&str>) -> Outcome {
    let sample = Sample {
        id: String::new(),
        time_ns: 0,
        key: key.map(str::to_owned),
        tensors: vec![Tensor::from_f32("x", vec![1, 1, 3], row).unwrap()],
    };
    pipeline.process(&sample, 0).outcome
}

/// The answer, which is all there is: the state is no output.
fn answer(pipeline: &mut Pipeline, row: &[f32], key: Option<&str>) -> Vec<f32> {
    let outputs = match process(pipeline, row, key) {
        Outcome::Result(outputs) => outputs,
        Outcome::NotYet | Outcome::Failed(_) => Vec::new(),
    };
    assert_eq!(outputs.iter().map(Tensor::name).collect::<Vec<_>>(), ["y"]);
    outputs[0].to_f32().unwrap()
}

fn close(one: &[f32], other: &[f32]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-5)
}

#[test]
fn row_by_row_is_one_run_over_all() {
    for kind in ["LSTM", "GRU"] {
        let recorded = recorded(kind);
        let mut pipeline = load(&recorded).unwrap();
        assert_eq!(pipeline.outputs().len(), 1);
        pipeline.warm_up().unwrap();
        assert_eq!(recorded.rows.len(), 24);
        for (row, expected) in recorded.rows.iter().zip(&recorded.answers) {
            let given = answer(&mut pipeline, row, None);
            assert!(close(&given, expected), "{kind}: {given:?} {expected:?}");
        }
    }
}

#[test]
fn without_a_declared_state_each_row_is_the_first() {
    let mut recorded = recorded("LSTM");
    recorded.state.clear();
    let error = load(&recorded).err().unwrap().to_string();
    assert!(error.contains('h'), "the state would be asked of samples: {error}");
    recorded.state = vec![StateSpec {
        input: "h".to_owned(),
        output: "y".to_owned(),
    }];
    let error = load(&recorded).err().unwrap().to_string();
    assert!(
        error.starts_with(r#"model model.onnx: model.state feeds "y""#),
        "{error}"
    );
}

#[test]
fn keys_have_a_state_each() {
    let recorded = recorded("LSTM");
    let mut pipeline = load(&recorded).unwrap();
    for (row, expected) in recorded.rows.iter().zip(&recorded.answers) {
        for key in [Some("press-1"), None, Some("press-2")] {
            assert!(close(&answer(&mut pipeline, row, key), expected));
        }
    }
}

#[test]
fn it_begins_anew_after_a_gap_and_after_a_failure() {
    let Recorded { rows, answers, .. } = recorded("LSTM");
    let mut pipeline = load(&recorded("LSTM")).unwrap();
    let whole = |pipeline: &mut Pipeline, key| {
        let mut pairs = rows.iter().zip(&answers).take(5);
        pairs.all(|(row, expected)| close(&answer(pipeline, row, key), expected))
    };
    let (one, other) = (Some("press-1"), Some("press-2"));
    assert!(whole(&mut pipeline, one) && whole(&mut pipeline, other));
    assert!(!close(&answer(&mut pipeline, &rows[0], one), &answers[0]), "it goes on");
    pipeline.miss();
    assert!(whole(&mut pipeline, one) && whole(&mut pipeline, other), "after a gap");
    let failed = process(&mut pipeline, &[f32::NAN, 0.0, 0.0], one);
    assert!(matches!(failed, Outcome::Failed(_)));
    assert!(whole(&mut pipeline, one), "after a failure");
    // Which was that key's alone.
    assert!(close(&answer(&mut pipeline, &rows[5], other), &answers[5]));
    // A message that couldn't be read may have been anybody's.
    let unreadable = floorhand_pipeline::decode::json(b"{}", pipeline.inputs());
    pipeline.process_decoded(&unreadable, 0);
    assert!(whole(&mut pipeline, one) && whole(&mut pipeline, other));
}

#[test]
fn golden_cases_are_one_sequence_from_zeros() {
    let recorded = recorded("GRU");
    let case = |(row, answer): (&Vec<f32>, &Vec<f32>)| {
        json!({ "input": { "a": row[0], "b": row[1], "c": row[2] }, "output": { "y": answer } }).to_string()
    };
    let mut cases: Vec<String> = recorded.rows.iter().zip(&recorded.answers).map(case).collect();
    let golden = Golden {
        component: "golden.jsonl".parse().unwrap(),
        cases: cases.len() as u64,
        tolerance: 1e-4,
        tolerances: Default::default(),
    };
    let run = |cases: &[String]| run_golden(&mut load(&recorded).unwrap(), &golden, cases.join("\n").as_bytes());
    run(&cases).unwrap();
    cases.swap(1, 2);
    assert!(run(&cases).is_err(), "the order is part of them");
}

#[test]
fn states_that_are_dropped_are_counted() {
    let recorded = recorded("GRU");
    let mut pipeline = load(&recorded).unwrap();
    for at in 0..4100 {
        answer(&mut pipeline, &recorded.rows[0], Some(&at.to_string()));
    }
    let counters = pipeline.take_telemetry().counters;
    assert!(
        counters.contains(&("model/dropped-states".to_owned(), 4)),
        "{counters:?}"
    );
}
