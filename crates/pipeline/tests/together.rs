//! Samples that go through a pipeline together have the answers that they have one by one.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use floorhand_bundle::{Digest, Disagreement, Gates, InputSpec, ModelSpec, PipelineSpec, StageSpec};
use floorhand_pipeline::{
    Engine, Host, HostConfig, InferenceError, LoadOptions, Loaded, Outcome, Pipeline, Processed, Sample, Serving,
    Session, Step, Tract, model_signature,
};
use floorhand_tensor::{Datatype, Dim, Signature, Tensor, TensorSpec, compare};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What engines may differ by when they run a batch.
const TOLERANCE: f64 = 1e-5;

fn file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// tract, and how it was asked.
#[derive(Debug, Default, Clone)]
struct Counting {
    alone: Arc<AtomicUsize>,
    together: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Counted(Box<dyn Session>, Counting);

impl Engine for Counting {
    fn name(&self) -> &str {
        Tract.name()
    }

    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, InferenceError> {
        Ok(Box::new(Counted(Tract.load(onnx, options)?, self.clone())))
    }
}

impl Session for Counted {
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, InferenceError> {
        self.1.alone.fetch_add(1, Ordering::Relaxed);
        self.0.run(inputs)
    }

    fn run_batch(&mut self, samples: &[&[Tensor]]) -> Vec<Result<Vec<Tensor>, InferenceError>> {
        self.1.together.fetch_add(1, Ordering::Relaxed);
        self.0.run_batch(samples)
    }

    fn warm_up(&mut self) -> Result<(), InferenceError> {
        self.0.warm_up()
    }
}

fn stage(name: &str, plugin: &str, config: &Value) -> StageSpec {
    StageSpec {
        name: name.parse().unwrap(),
        plugin: format!("{plugin}.wasm").parse().unwrap(),
        config: config.to_string(),
        assets: Vec::new(),
        limits: Default::default(),
        on_break: Default::default(),
    }
}

fn row(size: u64) -> Vec<Dim> {
    vec![Dim::Fixed(1), Dim::Fixed(size)]
}

/// Windows of two rows in front of the model, windows of two answers behind it, and a monitor of each side: for three keys.
fn spec() -> PipelineSpec {
    let signature = model_signature(&file("tests/skab/fixture/bundle/model.onnx")).unwrap();
    let features = signature.inputs.first().unwrap().name.clone();
    let fields: Vec<String> = (0..8).map(|at| format!("f{at}")).collect();
    PipelineSpec {
        explain: None,
        decoder: None,
        inputs: vec![InputSpec {
            tensor: TensorSpec::new("signal", Datatype::Fp32, row(4)),
            fields: Vec::new(),
        }],
        preprocess: vec![stage(
            "rows",
            "window",
            &json!({"input": "signal", "output": features, "shape": [1, 4], "columns": 4, "length": 2, "hop": 1,
                    "output_shape": [1, 8], "max_keys": 3}),
        )],
        model: ModelSpec {
            state: Vec::new(),
            engines: Vec::new(),
            component: "model.onnx".parse().unwrap(),
            signature,
            allow_nan: false,
        },
        postprocess: vec![stage(
            "answers",
            "window",
            &json!({"input": "score", "output": "scores", "shape": [1, 1], "columns": 1, "length": 2, "max_keys": 3}),
        )],
        monitors: vec![
            stage(
                "features-drift",
                "page-hinkley",
                &json!({"tensor": features, "shape": [1, 8], "fields": fields, "min_instances": 2, "threshold": 1, "max_keys": 3}),
            ),
            stage(
                "output-drift",
                "page-hinkley",
                &json!({"tensor": "scores", "origin": "output", "shape": [2, 1], "fields": ["score"], "min_instances": 2,
                        "threshold": 1, "max_keys": 3}),
            ),
        ],
    }
}

fn pipeline(engine: &Counting) -> Pipeline {
    let host = Host::new(HostConfig::default()).unwrap();
    let mut read = |name: &floorhand_bundle::ComponentName| match name.as_str() {
        "model.onnx" => Ok(file("tests/skab/fixture/bundle/model.onnx")),
        other => Ok(file(&format!("plugins/prebuilt/{other}"))),
    };
    Pipeline::load_with(&spec(), &mut read, &host, engine).unwrap()
}

/// Samples of four keys, which is one too many, some of them without a number. By a seed.
fn samples(count: u64) -> Vec<Sample> {
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let sample = |at: u64| {
        let key = ["a", "a", "a", "b", "b", "c", "d"][draw(7) as usize];
        let mut values: Vec<f32> = (0..4).map(|_| draw(1000) as f32 / 100.0 + at as f32 / 10.0).collect();
        if draw(9) == 0 {
            values[1] = f32::NAN;
        }
        Sample {
            id: format!("s{at}"),
            time_ns: at * 1_000_000_000,
            key: Some(key.to_owned()),
            tensors: vec![Tensor::from_f32("signal", vec![1, 4], &values).unwrap()],
        }
    };
    (0..count).map(sample).collect()
}

fn assert_alike(one: &Processed, other: &Processed) {
    assert_eq!(one.sequence, other.sequence);
    match (&one.outcome, &other.outcome) {
        (Outcome::Result(ours), Outcome::Result(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert!(compare::largest_difference(ours, theirs).unwrap() <= TOLERANCE);
            }
        }
        // By what is said: NaN, which an error may name, is no other.
        (Outcome::Failed(ours), Outcome::Failed(theirs)) => assert_eq!(ours.to_string(), theirs.to_string()),
        (ours, theirs) => assert_eq!(ours, theirs, "sample {}", one.sequence),
    }
    let told = |processed: &Processed| -> Vec<(String, String, String)> {
        let findings = processed.findings.iter();
        let found = findings.map(|found| {
            let finding = &found.finding;
            (
                found.stage.clone(),
                finding.subject.clone(),
                format!("{:?}", finding.details.last()),
            )
        });
        found.collect()
    };
    assert_eq!(told(one), told(other), "sample {}", one.sequence);
    assert_eq!(one.events, other.events);
}

#[test]
fn together_is_as_one_by_one() {
    let samples = samples(300);
    let mut alone = pipeline(&Counting::default());
    let expected: Vec<Processed> = samples.iter().map(|sample| alone.process(sample, 5)).collect();
    let count = |which: fn(&Outcome) -> bool| expected.iter().filter(|one| which(&one.outcome)).count();
    assert!(count(|outcome| matches!(outcome, Outcome::Result(_))) > 30);
    assert!(count(|outcome| matches!(outcome, Outcome::NotYet)) > 30);
    assert!(count(|outcome| matches!(outcome, Outcome::Failed(_))) > 30);
    assert!(expected.iter().flat_map(|one| &one.findings).count() > 10);
    let counted = alone.take_telemetry().counters;
    for size in [1, 2, 3, 7, 64, 300] {
        let engine = Counting::default();
        let mut together = pipeline(&engine);
        let found: Vec<Processed> = samples
            .chunks(size)
            .flat_map(|samples| together.process_many(samples, 5))
            .collect();
        assert_eq!(found.len(), expected.len());
        for (one, other) in expected.iter().zip(&found) {
            assert_alike(one, other);
        }
        assert_eq!(together.take_telemetry().counters, counted, "in batches of {size}");
        let (runs, batches) = (
            engine.alone.load(Ordering::Relaxed),
            engine.together.load(Ordering::Relaxed),
        );
        assert!(
            runs + batches <= samples.len().div_ceil(size),
            "{runs} and {batches} in batches of {size}"
        );
        assert_eq!(batches > 0, size > 1);
    }
}

/// A generation whose disagreement with what serves is measured.
fn loaded(generation: u64) -> Loaded {
    Loaded {
        generation,
        name: "tested".parse().unwrap(),
        version: floorhand_bundle::Version::new(generation, 0, 0),
        bundle: Digest::of(&generation.to_le_bytes()),
        gates: Gates {
            disagreement: Some(Disagreement {
                output: "scores".to_owned(),
                max_mean: 0.0,
            }),
            ..Gates::default()
        },
        pipeline: pipeline(&Counting::default()),
    }
}

#[test]
fn a_candidate_sees_what_comes_together_from_the_first_answer_on() {
    let samples = samples(60);
    let mut serving = Serving::default();
    serving.activate(loaded(1));
    serving.try_candidate(loaded(2));
    let steps = |serving: &mut Serving, range: std::ops::Range<usize>| -> Vec<Step> {
        serving.process_many(samples.get(range).unwrap().to_vec(), 5)
    };
    let first = steps(&mut serving, 0..20);
    assert!(first.iter().all(|(served, trial)| served.is_some() && trial.is_none()));
    let second = steps(&mut serving, 20..60);
    assert_eq!(second.len(), 40);
    for (at, (served, trial)) in second.iter().enumerate() {
        let (served, trial) = (served.as_ref().unwrap(), trial.as_ref().unwrap());
        assert_eq!(served.sample.as_ref().unwrap(), &samples[at + 20], "in their order");
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
        if failed(&served.processed.outcome) && failed(&trial.processed.outcome) {
            assert!(!trial.counts);
        }
        if let (Outcome::Result(_), Outcome::Result(_)) = (&served.processed.outcome, &trial.processed.outcome) {
            assert!(trial.disagreement.is_some());
        }
    }
    assert!(
        second
            .iter()
            .any(|(_, trial)| trial.as_ref().unwrap().disagreement.is_some())
    );
    // With nothing beside it, a candidate has them to itself.
    let mut alone = Serving::default();
    alone.try_candidate(loaded(2));
    assert!(
        steps(&mut alone, 0..20)
            .iter()
            .all(|(served, trial)| served.is_none() && trial.is_some())
    );
}
