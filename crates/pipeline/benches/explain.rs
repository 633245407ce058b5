//! What explaining takes, and what it takes from the samples that are served meanwhile.
//!
//!     cargo bench -p floorhand-pipeline --bench explain
//!
//! MLPerf Tiny's anomaly autoencoder (`FLOORHAND_BENCH_MODEL`, else `../shared/data/models` beside the workspace), 20 groups of 32 values against 8
//! rows of background. Samples come one every two milliseconds. Rounds without and with an explanation under way all the time take
//! turns, so that what else the machine does falls on all of them; ratios are the median of the rounds'. A device explains a few samples a
//! minute: this is the worst that it can be. `taskset -c 1` in front shows a device of one core.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and tell")]

use floorhand_bundle::{InputSpec, ModelSpec, PipelineSpec};
use floorhand_pipeline::{Host, HostConfig, Pipeline, Sample, model_signature};
use floorhand_tensor::Tensor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The latencies of samples in nanoseconds: alone, beside explaining at the lowest priority, and at the same one, each with
/// explanations a second.
type Round = (Vec<u64>, (Vec<u64>, f64), (Vec<u64>, f64));

const VALUES: u64 = 640;
const ROUNDS: usize = 7;
const SAMPLES: usize = 400;
const PACE: Duration = Duration::from_millis(2);

fn model() -> PathBuf {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/models/mlperf-tiny-ad01-fp32.onnx");
    std::env::var_os("FLOORHAND_BENCH_MODEL").map_or(shared, PathBuf::from)
}

fn row(number: u64) -> Vec<f32> {
    let value = |place: u64| (place * 37 + number * 101 + (place * place * number) % 53) % 97;
    (0..VALUES).map(|place| value(place) as f32 / 4.0 - 50.0).collect()
}

fn load() -> Pipeline {
    let onnx = std::fs::read(model()).unwrap();
    let signature = model_signature(&onnx).unwrap();
    let tensor = signature.inputs.first().unwrap().clone();
    let lines = (0..8).map(|number| format!("{}\n", serde_json::json!({ tensor.name.clone(): row(number) })));
    let background: String = lines.collect();
    let explain =
        r#"{"background": "background.jsonl", "measure": "reconstruction-error", "groups": {"consecutive": 32}}"#;
    let spec = PipelineSpec {
        decoder: None,
        inputs: vec![InputSpec {
            tensor,
            fields: Vec::new(),
        }],
        preprocess: Vec::new(),
        model: ModelSpec {
            state: Vec::new(),
            engines: Vec::new(),
            component: "model.onnx".parse().unwrap(),
            signature,
            allow_nan: false,
        },
        postprocess: Vec::new(),
        monitors: Vec::new(),
        explain: Some(serde_json::from_str(explain).unwrap()),
    };
    let mut read = |name: &floorhand_bundle::ComponentName| {
        Ok(if name.as_str() == "model.onnx" {
            onnx.clone()
        } else {
            background.as_bytes().to_vec()
        })
    };
    let mut pipeline = Pipeline::load(&spec, &mut read, &Host::new(HostConfig::default()).unwrap()).unwrap();
    pipeline.warm_up().unwrap();
    pipeline
}

/// Latencies of samples that come at their pace, in microseconds, rising.
fn serve(pipeline: &mut Pipeline, sample: &Sample) -> Vec<u64> {
    let started = Instant::now();
    let mut latencies: Vec<u64> = (0..SAMPLES as u32)
        .map(|number| {
            let due = PACE * number;
            if let Some(early) = due.checked_sub(started.elapsed()) {
                std::thread::sleep(early);
            }
            pipeline.process(sample, 0).latency_us
        })
        .collect();
    latencies.sort_unstable();
    latencies
}

fn percentile(latencies: &[u64], percent: usize) -> f64 {
    *latencies.get(latencies.len() * percent / 100).unwrap() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    *values.get(values.len() / 2).unwrap()
}

/// Serves while another thread explains all the time; how many were explained in a second, too.
fn beside(pipeline: &mut Pipeline, sample: &Sample, priority: i32) -> (Vec<u64>, f64) {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let explainer = pipeline.explainer().unwrap().clone();
    let (stopped, counted, features) = (Arc::clone(&stop), Arc::clone(&count), sample.tensors.clone());
    let started = Instant::now();
    let thread = std::thread::spawn(move || {
        rustix::process::setpriority_process(None, priority).unwrap();
        while !stopped.load(Ordering::Relaxed) {
            explainer.lock().explain_features(&features, &[], &mut || true).unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let latencies = serve(pipeline, sample);
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    (
        latencies,
        count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64(),
    )
}

fn main() {
    if !model().is_file() {
        println!("there is no {}; FLOORHAND_BENCH_MODEL names another", model().display());
        return;
    }
    let mut pipeline = load();
    let name = pipeline.inputs().first().unwrap().tensor.name.clone();
    let sample = Sample {
        id: String::new(),
        time_ns: 0,
        key: None,
        tensors: vec![Tensor::from_f32(name, vec![1, VALUES], &row(100)).unwrap()],
    };
    let explained = pipeline
        .explainer()
        .unwrap()
        .lock()
        .explain_features(&sample.tensors, &[], &mut || true)
        .unwrap();
    let took = explained.took.as_secs_f64();
    println!(
        "one explanation: {} runs of the model in {:.0} ms, {:.1} us a run",
        explained.runs,
        took * 1e3,
        took * 1e6 / explained.runs as f64
    );
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let alone = serve(&mut pipeline, &sample);
        let low = beside(&mut pipeline, &sample, 19);
        // The last: an unprivileged process can't raise a thread's priority again, but each round has a thread of its own.
        let same = beside(&mut pipeline, &sample, 0);
        rounds.push((alone, low, same));
    }
    let of = |percent: usize| median(rounds.iter().map(|(alone, ..)| percentile(alone, percent)).collect());
    println!("alone: p50 {:.0} us, p99 {:.0} us", of(50), of(99));
    for (what, at_low) in [("lowest priority", true), ("same priority", false)] {
        let round = |(alone, low, same): &Round, percent: usize| {
            let beside = if at_low { &low.0 } else { &same.0 };
            percentile(beside, percent) / percentile(alone, percent).max(1.0)
        };
        let ratio = |percent: usize| median(rounds.iter().map(|one| round(one, percent)).collect());
        let rate = median(
            rounds
                .iter()
                .map(|(_, low, same)| if at_low { low.1 } else { same.1 })
                .collect(),
        );
        println!(
            "beside explanations at the {what}: p50 x{:.2}, p99 x{:.2}; {rate:.2} explanations a second",
            ratio(50),
            ratio(99)
        );
    }
}
