//! A sample's whole way beside the sum of its parts: bare tract, and the same pre- and postprocessing in native Rust.
//!
//! MLPerf Tiny's anomaly autoencoder (`FLOORHAND_BENCH_MODEL`, else `../shared/data/models` beside the workspace) on 640
//! spectrogram values; the `standardize` plugin in front of it; and the `drift-psi` plugin on the 128 bands of the newest
//! frame, which are a second input. `native` does the same arithmetic with the same crate that the plugins are built
//! from, and a plan that tract keeps the state of.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and tell")]

use criterion::{Criterion, criterion_group, criterion_main};
use floorhand_bundle::{InputSpec, ModelSpec, OnBreak, PipelineSpec, StageLimits, StageSpec};
use floorhand_pipeline::{Host, HostConfig, Outcome, Pipeline, Sample, model_signature};
use floorhand_statistics::psi::{Reference, TumblingPsi};
use floorhand_statistics::scaling;
use floorhand_tensor::{Datatype, Tensor, TensorSpec};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use tract_onnx::prelude::{DatumExt, Framework, InferenceModelExt, IntoRunnable, TypedRunnableModel, tvec};

const VALUES: usize = 640;
const BANDS: usize = 128;
const BINS: usize = 10;
const WINDOW: u64 = 200;
const MEAN: f64 = -30.0;
const SCALE: f64 = 12.5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where each band's values fell in training: ten bins of ten samples over decibels.
fn edges() -> Vec<f64> {
    (1..BINS).map(|bin| bin as f64 * 6.0 - 60.0).collect()
}

fn band(at: usize) -> String {
    format!("band-{at}")
}

fn stage(name: &str, plugin: &str, config: String, assets: &[&str]) -> StageSpec {
    StageSpec {
        name: name.parse().unwrap(),
        plugin: plugin.parse().unwrap(),
        config,
        assets: assets.iter().map(|asset| asset.parse().unwrap()).collect(),
        limits: StageLimits::default(),
        on_break: OnBreak::Fail,
    }
}

fn input(name: &str, size: usize) -> InputSpec {
    InputSpec {
        tensor: TensorSpec {
            name: name.to_owned(),
            datatype: Datatype::Fp32,
            shape: vec![
                floorhand_tensor::Dim::Fixed(1),
                floorhand_tensor::Dim::Fixed(size as u64),
            ],
        },
        fields: Vec::new(),
    }
}

fn spec(onnx: &[u8]) -> PipelineSpec {
    let signature = model_signature(onnx).unwrap();
    let features = &signature.inputs.first().unwrap().name;
    let standardize = format!(
        r#"{{"input": "mel", "output": "{features}", "shape": [1, {VALUES}], "mean": [{MEAN}], "scale": [{SCALE}]}}"#
    );
    let fields: Vec<String> = (0..BANDS).map(|at| format!("{:?}", band(at))).collect();
    let drift = format!(
        r#"{{"origin": "input", "tensor": "newest", "shape": [1, {BANDS}], "fields": [{}], "window": {WINDOW}, "bins": {BINS}, "reference": "reference.json"}}"#,
        fields.join(", ")
    );
    PipelineSpec {
        decoder: None,
        inputs: vec![input("mel", VALUES), input("newest", BANDS)],
        preprocess: vec![stage("standardize", "standardize.wasm", standardize, &[])],
        model: ModelSpec {
            component: "model.onnx".parse().unwrap(),
            signature,
            allow_nan: false,
            engines: Vec::new(),
            state: Vec::new(),
        },
        postprocess: Vec::new(),
        monitors: vec![stage("drift", "drift-psi.wasm", drift, &["reference.json"])],
        explain: None,
    }
}

fn reference() -> Vec<u8> {
    let fields: Vec<String> = (0..BANDS)
        .map(|at| {
            let counts = ["10"; BINS].join(", ");
            let edges: Vec<String> = edges().iter().map(f64::to_string).collect();
            format!(
                r#"{:?}: {{"edges": [{}], "counts": [{counts}]}}"#,
                band(at),
                edges.join(", ")
            )
        })
        .collect();
    format!(r#"{{"fields": {{{}}}}}"#, fields.join(", ")).into_bytes()
}

fn load(onnx: &[u8], host: &Host) -> Pipeline {
    let mut read = |name: &floorhand_bundle::ComponentName| match name.as_str() {
        "model.onnx" => Ok(onnx.to_vec()),
        "reference.json" => Ok(reference()),
        plugin => std::fs::read(root().join("plugins/prebuilt").join(plugin)).map_err(|error| error.to_string()),
    };
    Pipeline::load(&spec(onnx), &mut read, host).unwrap()
}

/// What a programmer would write who has neither plugins nor a sandbox.
struct Native {
    state: tract_onnx::prelude::TypedSimpleState,
    drift: Vec<TumblingPsi>,
}

impl Native {
    fn new(plan: &std::sync::Arc<TypedRunnableModel>) -> Self {
        let reference = Reference::new(edges(), vec![10.0; BINS]).unwrap();
        let drift = TumblingPsi::new(reference, WINDOW).unwrap();
        Self {
            state: plan.spawn().unwrap(),
            drift: vec![drift; BANDS],
        }
    }

    fn standardize(mel: &[u8]) -> Vec<u8> {
        let mut features = mel.to_vec();
        scaling::standardize(features.as_chunks_mut::<4>().0, MEAN as f32, SCALE as f32);
        features
    }

    fn infer(&mut self, features: &[u8]) -> Vec<f32> {
        let values: Vec<f32> = features
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes))
            .collect();
        let tensor = tract_onnx::prelude::Tensor::from_shape(&[1, VALUES], &values).unwrap();
        let outputs = self.state.run(tvec!(tensor.into())).unwrap();
        outputs
            .first()
            .unwrap()
            .to_plain_array_view::<f32>()
            .unwrap()
            .iter()
            .copied()
            .collect()
    }

    fn observe(&mut self, newest: &[u8]) -> usize {
        let values = newest
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&bytes| f64::from(f32::from_le_bytes(bytes)));
        let reports = self
            .drift
            .iter_mut()
            .zip(values)
            .filter_map(|(drift, value)| drift.push(value));
        reports.filter(|report| report.drifted()).count()
    }
}

fn sample() -> Sample {
    let values: Vec<f32> = (0..VALUES).map(|at| -60.0 + (at * 37 % 61) as f32).collect();
    let newest = values.get(VALUES - BANDS..).unwrap();
    Sample {
        id: String::new(),
        time_ns: 0,
        key: None,
        tensors: vec![
            Tensor::from_f32("mel", vec![1, VALUES as u64], &values).unwrap(),
            Tensor::from_f32("newest", vec![1, BANDS as u64], newest).unwrap(),
        ],
    }
}

fn whole(criterion: &mut Criterion) {
    let default = || root().join("../shared/data/models/mlperf-tiny-ad01-fp32.onnx");
    let path = std::env::var_os("FLOORHAND_BENCH_MODEL").map_or_else(default, PathBuf::from);
    let onnx = match std::fs::read(&path) {
        Ok(onnx) => onnx,
        Err(error) => return println!("skipped {}: {error}", path.display()),
    };
    let host = Host::new(HostConfig::default()).unwrap();
    let mut pipeline = load(&onnx, &host);
    let bare = tract_onnx::onnx().model_for_read(&mut onnx.as_slice()).unwrap();
    let bare = bare.with_input_fact(0, f32::fact([1, VALUES]).into()).unwrap();
    let mut native = Native::new(&bare.into_optimized().unwrap().into_runnable().unwrap());
    let sample = sample();
    let [mel, newest] = sample.tensors.as_slice() else {
        return;
    };

    // The same bits, or the comparison is of different things.
    let expected = native.infer(&Native::standardize(mel.data()));
    let Outcome::Result(outputs) = pipeline.process(&sample, 0).outcome else {
        return println!("the pipeline gives no result");
    };
    assert_eq!(outputs.first().unwrap().to_f32().unwrap(), expected);

    let mut group = criterion.benchmark_group("ad01");
    group.bench_function("Pipeline::process", |bencher| {
        bencher.iter(|| black_box(pipeline.process(&sample, 0)))
    });
    group.bench_function("native, all", |bencher| {
        bencher.iter(|| {
            let outputs = native.infer(&Native::standardize(black_box(mel.data())));
            black_box((outputs, native.observe(newest.data())))
        });
    });
    let features = Native::standardize(mel.data());
    group.bench_function("native, tract alone", |bencher| {
        bencher.iter(|| black_box(native.infer(&features)))
    });
    group.bench_function("native, drift alone", |bencher| {
        bencher.iter(|| black_box(native.observe(newest.data())))
    });
    group.finish();
}

criterion_group!(benches, whole);
criterion_main!(benches);
