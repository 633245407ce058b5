//! A well-behaved pipeline, and what is asked of it while something else misbehaves.

use crate::guests;
use floorhand_bundle::{InputSpec, ModelSpec, OnBreak, PipelineSpec, StageLimits, StageSpec};
use floorhand_pipeline::{Host, HostConfig, Outcome, Pipeline, Sample, model_signature};
use floorhand_plugin_host::{Limits, PluginError, Processor, Telemetry};
use floorhand_tensor::{Tensor, TensorSpec};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What the process may grow by while a hostile plugin runs, in bytes: its memory (16 MiB), what a call may bring back
/// (8 MiB of tensors, and up to 32 MiB besides for a thousand messages), each held twice while one form becomes another.
const BUDGET: u64 = (16 + 2 * (8 + 32)) << 20;

/// Samples that the neighbour has answered at least: a short misdeed is waited out, too.
const SAMPLES: u64 = 5;

/// Time between two of the neighbour's samples.
const PACE: Duration = Duration::from_millis(2);

/// A host that is the only one, from before a hostile plugin is compiled until it is done with.
pub(crate) struct Alone {
    host: Host,
    _guard: MutexGuard<'static, ()>,
}

impl Deref for Alone {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

/// Does `work` while a neighbour on the same host goes on, and holds both against what is promised.
pub(crate) fn beside<T>(host: &Host, work: impl FnOnce() -> T) -> T {
    let mut neighbour = pipeline(host, &guests::Processor::default(), OnBreak::Fail, 1_000);
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    forget_peak();
    let before = peak_bytes();
    let done = thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let sequence = answered.load(Ordering::SeqCst);
                let value = sequence as f32;
                let processed = neighbour.process(&sample(&[value; 4]), sequence);
                assert_eq!(
                    (processed.sequence, processed.outcome),
                    (sequence, Outcome::Result(vec![negative(value)])),
                    "{:?}",
                    processed.events
                );
                answered.store(sequence + 1, Ordering::SeqCst);
                thread::sleep(PACE);
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        while answered.load(Ordering::SeqCst) < SAMPLES && !feeding.is_finished() {
            thread::sleep(PACE);
        }
        stop.store(true, Ordering::SeqCst);
        feeding.join().unwrap();
        done
    });
    let grown = peak_bytes().saturating_sub(before);
    let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert!(grown < BUDGET, "the process has grown by {grown} bytes");
    done
}

/// Forgets the largest resident set so far. A kernel that can't goes on with the old one, and less is noticed.
fn forget_peak() {
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

/// The largest resident set, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

pub(crate) fn host() -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Alone {
        host: Host::new(HostConfig::default()).unwrap(),
        _guard: guard,
    }
}

/// Starts a processor, gives it one sample, and says what came of both.
pub(crate) fn run(guest: guests::Processor<'_>, limits: Limits) -> (Result<Vec<Tensor>, PluginError>, Telemetry) {
    let host = host();
    let plugin = host.component(&guest.component()).unwrap();
    beside(&host, || {
        let mut telemetry = Telemetry::default();
        let result = Processor::start(&plugin, guests::setup(limits)).and_then(|mut processor| {
            let result = processor.process(&guests::CONTEXT, &[guests::x(&[1.0])]);
            telemetry = processor.take_telemetry();
            assert_eq!(
                processor.is_running(),
                !result.as_ref().is_err_and(PluginError::is_trap)
            );
            result
        });
        (result, telemetry)
    })
}

/// The same with a plugin of which only `process` is hostile, in twelve mebibytes of memory.
pub(crate) fn processing(process: &str) -> Result<Vec<Tensor>, PluginError> {
    let guest = guests::Processor {
        process,
        pages: 200,
        ..Default::default()
    };
    run(guest, Limits::default()).0
}

/// A pipeline of a processor in front of a model that negates four numbers.
pub(crate) fn pipeline(host: &Host, guest: &guests::Processor<'_>, on_break: OnBreak, deadline_ms: u64) -> Pipeline {
    // Both its specs have the model's shape.
    let configure = format!("(i32.store (i32.const 32) (i32.const 4)) {}", guest.configure);
    let guest = guests::Processor {
        configure: &configure,
        ..*guest
    };
    let signature = model_signature(&onnx()).unwrap();
    let x = TensorSpec {
        name: "x".to_owned(),
        ..signature.inputs.first().unwrap().clone()
    };
    let spec = PipelineSpec {
        explain: None,
        decoder: None,
        inputs: vec![InputSpec {
            tensor: x,
            fields: Vec::new(),
        }],
        preprocess: vec![StageSpec {
            name: "guest".parse().unwrap(),
            plugin: "guest.wasm".parse().unwrap(),
            config: "{}".to_owned(),
            assets: Vec::new(),
            limits: StageLimits {
                deadline_ms: Some(deadline_ms),
                ..StageLimits::default()
            },
            on_break,
        }],
        model: ModelSpec {
            component: "model.onnx".parse().unwrap(),
            signature,
            allow_nan: false,
            engines: Vec::new(),
            state: Vec::new(),
        },
        postprocess: Vec::new(),
        monitors: Vec::new(),
    };
    let mut read = |name: &floorhand_bundle::ComponentName| match name.as_str() {
        "model.onnx" => Ok(onnx()),
        _ => Ok(guest.component()),
    };
    Pipeline::load(&spec, &mut read, host).unwrap()
}

pub(crate) fn sample(values: &[f32]) -> Sample {
    Sample {
        id: String::new(),
        time_ns: 1,
        key: None,
        tensors: vec![guests::x(values)],
    }
}

/// What the model makes of four times the same.
pub(crate) fn negative(value: f32) -> Tensor {
    Tensor::from_f32("z", vec![4], &[-value; 4]).unwrap()
}

/// The smallest model: `z = -y`, four numbers each, as ONNX's protobuf has it.
fn onnx() -> Vec<u8> {
    fn number(field: u8, value: u8) -> Vec<u8> {
        vec![field << 3, value]
    }
    fn bytes(field: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [vec![field << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }
    let value = |field: u8, name: &str| {
        let shape = bytes(2, &[&bytes(1, &[&number(1, 4)])]);
        let kind = bytes(2, &[&bytes(1, &[&number(1, 1), &shape])]);
        bytes(field, &[&bytes(1, &[name.as_bytes()]), &kind])
    };
    let node = [
        bytes(1, &[b"y"]),
        bytes(2, &[b"z"]),
        bytes(3, &[b"n"]),
        bytes(4, &[b"Neg"]),
    ]
    .concat();
    let graph = [bytes(1, &[&node]), bytes(2, &[b"g"]), value(11, "y"), value(12, "z")].concat();
    [number(1, 8), bytes(7, &[&graph]), bytes(8, &[&number(2, 13)])].concat()
}
