//! Memory is given back: a model is replaced a thousand times, and the process stays as large as it was.
//!
//! The model is MLPerf Tiny's anomaly autoencoder, in `FLOORHAND_SHARED_DATA`, else `../shared/data` beside the workspace.
//! With `--nocapture` it tells the anonymous part of the process's proportional set size (PSS) on the way: without files, of which as
//! much counts as happens to be mapped by nobody else.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use floorhand_bundle::{Digest, Gates, InputSpec, ModelSpec, PipelineSpec};
use floorhand_pipeline::{Host, HostConfig, Loaded, Pipeline, Sample, Serving, model_signature};
use floorhand_tensor::Tensor;
use std::path::{Path, PathBuf};
use std::thread;

const SWAPS: u64 = 1000;

/// Swaps after which the process has been as large as it gets. Its size goes up and down by 2 MiB: the allocator gives back the end of
/// an arena now and then.
const SETTLED: u64 = 100;

/// How much larger the process may be after the last swap than it ever was until then, in bytes. The model's weights have 1 MiB, so
/// that a nine-hundredth of what was unloaded would be seen.
const GROWTH: u64 = 1 << 20;

fn shared_data() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    std::env::var_os("FLOORHAND_SHARED_DATA").map_or_else(beside, PathBuf::from)
}

/// The anonymous part of the process's proportional set size, in bytes.
fn pss() -> Option<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

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
    let path = shared_data().join("models/mlperf-tiny-ad01-fp32.onnx");
    let (Ok(onnx), Some(_)) = (std::fs::read(&path), pss()) else {
        println!("SKIPPED: needs {} (FLOORHAND_SHARED_DATA) and Linux", path.display());
        return;
    };
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
    let host = Host::new(HostConfig::default()).unwrap();
    let mut serving = Serving::default();
    println!("start: {:.1} MiB", pss().unwrap() as f64 / f64::from(1 << 20));
    let mut largest = 0;
    for swap in 1..=SWAPS {
        // Loaded on a thread, served on another, and dropped on a third, as the agent does.
        let loaded = thread::scope(|scope| scope.spawn(|| load(&spec, &onnx, &host, swap)).join().unwrap());
        let replaced = serving.activate(loaded);
        for _ in 0..3 {
            serving.active_mut().unwrap().pipeline.process(&sample, 0);
        }
        thread::spawn(move || drop(replaced)).join().unwrap();
        if [10, SETTLED, SWAPS].contains(&swap) {
            println!("after {swap}: {:.1} MiB", pss().unwrap() as f64 / f64::from(1 << 20));
        }
        if swap <= SETTLED {
            largest = largest.max(pss().unwrap());
        }
    }
    let grown = pss().unwrap().saturating_sub(largest);
    println!("{grown} bytes more than at most until swap {SETTLED}");
    assert!(grown <= GROWTH, "{grown} bytes more than at most until swap {SETTLED}");
}
