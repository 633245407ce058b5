//! Memory is given back: a model is replaced a thousand times, and the process stays as large as it was.
//!
//! The model is MLPerf Tiny's anomaly autoencoder, in `FLOORHAND_SHARED_DATA`, else `../shared/data` beside the workspace.
//! With `--nocapture` it tells the anonymous part of the process's proportional set size (PSS) on the way.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use floorhand_bundle::{Digest, Gates, InputSpec, ModelSpec, PipelineSpec};
use floorhand_pipeline::{
    Host, HostConfig, Loaded, Pipeline, Sample, Serving, give_back_memory, keep_memory, model_signature,
};
use floorhand_tensor::Tensor;
use floorhand_testkit::{anonymous_pss, shared_data};
use std::thread;

const SWAPS: u64 = 1000;

/// Swaps after which the process has been as large as it gets. Its size goes up and down by 2 MiB: the allocator gives back the end of
/// an arena now and then.
const SETTLED: u64 = 100;

/// How much larger the process may be after the last swap than it ever was until then, in bytes. The model's weights have 1 MiB, so
/// that a nine-hundredth of what was unloaded would be seen.
const GROWTH: u64 = 1 << 20;

fn load(spec: &PipelineSpec, onnx: &[u8], host: &Host, generation: u64) -> Loaded {
    let mut pipeline = Pipeline::load(spec, &mut |_| Ok(onnx.to_vec()), host).unwrap();
    pipeline.warm_up().unwrap();
    Loaded {
        version: "1.0.0".parse().unwrap(),
        name: "memory".parse().unwrap(),
        generation,
        bundle: Digest::of(&generation.to_le_bytes()),
        gates: Gates::default(),
        pipeline,
    }
}

#[test]
fn a_thousand_swaps_leave_nothing_behind() {
    let Some(path) = shared_data("models/mlperf-tiny-ad01-fp32.onnx") else {
        return;
    };
    if anonymous_pss().is_none() {
        println!("SKIPPED: needs a kernel that tells proportional set sizes");
        return;
    }
    let onnx = std::fs::read(path).unwrap();
    let signature = model_signature(&onnx).unwrap();
    let tensor = signature.inputs.first().unwrap().clone();
    let sample = Sample {
        id: String::new(),
        time_ns: 0,
        key: None,
        tensors: vec![Tensor::from_f32(&tensor.name, vec![1, 640], &[0.5; 640]).unwrap()],
    };
    let spec = PipelineSpec {
        explain: None,
        decoder: None,
        inputs: vec![InputSpec {
            tensor,
            fields: Vec::new(),
        }],
        preprocess: Vec::new(),
        model: ModelSpec {
            engines: Vec::new(),
            component: "model.onnx".parse().unwrap(),
            signature,
            allow_nan: false,
            state: Vec::new(),
        },
        postprocess: Vec::new(),
        monitors: Vec::new(),
    };
    // As the agent does, as in giving it back.
    keep_memory();
    let host = Host::new(HostConfig::default()).unwrap();
    let mut serving = Serving::default();
    println!("start: {:.1} MiB", anonymous_pss().unwrap() as f64 / f64::from(1 << 20));
    let mut largest = 0;
    for swap in 1..=SWAPS {
        // Loaded on a thread, served on another, and dropped on a third, as the agent does.
        let loaded = thread::scope(|scope| scope.spawn(|| load(&spec, &onnx, &host, swap)).join().unwrap());
        let replaced = serving.activate(loaded);
        for _ in 0..3 {
            serving.active_mut().unwrap().pipeline.process(&sample, 0);
        }
        let unload = move || {
            drop(replaced);
            give_back_memory();
        };
        thread::spawn(unload).join().unwrap();
        if [10, SETTLED, SWAPS].contains(&swap) {
            println!(
                "after {swap}: {:.1} MiB",
                anonymous_pss().unwrap() as f64 / f64::from(1 << 20)
            );
        }
        if swap <= SETTLED {
            largest = largest.max(anonymous_pss().unwrap());
        }
    }
    let grown = anonymous_pss().unwrap().saturating_sub(largest);
    println!("{grown} bytes more than at most until swap {SETTLED}");
    assert!(grown <= GROWTH, "{grown} bytes more than at most until swap {SETTLED}");
}
