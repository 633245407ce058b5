//! `Model::run` beside bare tract, on the same model, in the same run.
//!
//! The model is that in `FLOORHAND_BENCH_MODEL`, else MLPerf Tiny's anomaly detector if it is there; and always a small
//! synthetic one, on which the cost of getting in and out shows most.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and tell")]

#[path = "../tests/onnx/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod onnx;

use criterion::{Criterion, criterion_group, criterion_main};
use floorhand_inference::{LoadOptions, Model};
use floorhand_tensor::{Dim, Tensor};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use tract_onnx::prelude::{DatumExt, Framework, InferenceModelExt, IntoRunnable, tvec};

fn compare(criterion: &mut Criterion, name: &str, bytes: &[u8]) {
    let mut model = Model::load(bytes, &LoadOptions::default()).unwrap();
    let spec = model.signature().inputs.first().unwrap().clone();
    let shape: Vec<u64> = spec
        .shape
        .iter()
        .map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 })
        .collect();
    let values: Vec<f32> = (0..spec.fixed_len().unwrap()).map(|k| (k % 17) as f32 / 17.0).collect();
    let input = Tensor::from_f32(&spec.name, shape.clone(), &values).unwrap();
    let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
    let mut bare = tract_onnx::onnx().model_for_read(&mut &*bytes).unwrap();
    bare = bare.with_input_fact(0, f32::fact(&shape).into()).unwrap();
    let plan = bare.into_optimized().unwrap().into_runnable().unwrap();
    let mut group = criterion.benchmark_group(name);
    group.bench_function("Model::run", |bencher| {
        bencher.iter(|| black_box(model.run(&[&input]).unwrap()))
    });
    let tensor = || tract_onnx::prelude::Tensor::from_shape(&shape, &values).unwrap();
    group.bench_function("bare tract, new state", |bencher| {
        bencher.iter(|| black_box(plan.run(tvec!(tensor().into())).unwrap()));
    });
    let mut state = plan.spawn().unwrap();
    group.bench_function("bare tract, kept state", |bencher| {
        bencher.iter(|| black_box(state.run(tvec!(tensor().into())).unwrap()));
    });
    group.finish();
}

fn inference(criterion: &mut Criterion) {
    let small = onnx::dense(onnx::Size::Is(1), 8, 2, |i, j| (i + j) as f32, |j| j as f32);
    compare(criterion, "dense 8x2", &onnx::bytes(small));
    let default =
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/models/mlperf-tiny-ad01-fp32.onnx");
    let path = std::env::var_os("FLOORHAND_BENCH_MODEL").map_or_else(default, PathBuf::from);
    match std::fs::read(&path) {
        Ok(bytes) => compare(criterion, &path.file_stem().unwrap().to_string_lossy(), &bytes),
        Err(error) => println!("skipped {}: {error}", path.display()),
    }
}

criterion_group!(benches, inference);
criterion_main!(benches);
