//! Models in one run and on one thread, in Floorhand, in bare tract, in ONNX Runtime and in rten: time to load, the first
//! answer, steady answers, memory.
//!
//! `cargo bench --workspace --bench models`. `tests/python/models/bench.py` makes the models and takes the times of ONNX
//! Runtime in Python; it needs the Python in `FLOORHAND_PYTHON`, in which the library for ONNX Runtime in C is found, too.
//! Published models are taken from `FLOORHAND_SHARED_DATA`, where there are any. All are asked about the same rows, in turns,
//! and ratios are medians over the turns. `FLOORHAND_BENCH_ONLY` names a part of the models' names.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench may panic and tell"
)]

use floorhand_inference::{Engine, LoadOptions, Tract};
use floorhand_onnxruntime::OnnxRuntime;
use floorhand_tensor::{Datatype, Tensor};
use serde::Deserialize;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tract_onnx::prelude::{Framework as _, InferenceModelExt as _, IntoRunnable as _};

/// As in `bench.py`.
const ROWS: usize = 1_000;
/// Each of other rows, as far as there are any: of what it has seen before a processor guesses the branches.
const SINGLE: usize = 288;
const BATCHES: usize = 18;
/// Runs of one turn take no longer: a median of fewer does for what is so slow.
const WITHIN: Duration = Duration::from_secs(4);
/// Turns of all.
const TURNS: usize = 3;

#[derive(Deserialize)]
struct Entry {
    name: String,
    input: String,
    tail: Vec<u64>,
    datatype: Datatype,
    batches: Vec<usize>,
}

#[derive(Debug, Clone, Deserialize)]
struct Times {
    load_ms: f64,
    first_us: f64,
    steady_us: f64,
    pss_kib: i64,
}

/// The others are asked for one row at a time alone: bare tract takes 0.1 s for a row of a forest of 100 trees.
const TAKE_BATCHES: [&str; 2] = ["Floorhand", "ONNX Runtime, C"];

/// What answers one input.
type Run = Box<dyn FnMut(&Tensor)>;

/// Loads a model for inputs like this one.
type Load<'a> = &'a dyn Fn(&[u8], &Tensor) -> Result<Run, String>;

/// ONNX Runtime, in a Python of its own.
struct Python {
    child: Child,
    asked: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Python {
    fn start(python: &Path, script: &Path, out: &Path) -> Self {
        let mut command = Command::new(python);
        command.arg(script).arg("time").arg(out);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asked, told) = (
            child.stdin.take().unwrap(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        Self { child, asked, told }
    }

    fn measure(&mut self, entry: &Entry, batch: usize) -> Times {
        writeln!(self.asked, "{} {batch}", entry.name).unwrap();
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Any of our engines, with what our tensors cost.
fn in_engine(engine: &dyn Engine, onnx: &[u8], input: &Tensor) -> Result<Run, String> {
    let options = LoadOptions {
        shapes: [(input.name().to_owned(), input.shape().to_vec())].into(),
    };
    let mut session = engine.load(onnx, &options).map_err(|error| error.to_string())?;
    Ok(Box::new(move |input| {
        black_box(session.run(std::slice::from_ref(input)).unwrap());
    }))
}

/// tract as it comes, with one state for all runs.
fn in_tract(onnx: &[u8], input: &Tensor) -> Result<Run, String> {
    let shape: Vec<usize> = input.shape().iter().map(|&size| size as usize).collect();
    let datatype = match input.datatype() {
        Datatype::Int8 => tract_onnx::prelude::DatumType::I8,
        _ => tract_onnx::prelude::DatumType::F32,
    };
    let fact = tract_onnx::prelude::InferenceFact::dt_shape(datatype, shape.clone());
    let planned = || {
        let model = tract_onnx::onnx().model_for_read(&mut &onnx[..])?;
        model
            .with_input_fact(0, fact)?
            .into_optimized()?
            .into_runnable()?
            .spawn()
    };
    let mut state = planned().map_err(|error| format!("{error:#}"))?;
    Ok(Box::new(move |input| {
        let mut value = tract_onnx::prelude::Tensor::zero_dt(datatype, &shape).unwrap();
        value.as_bytes_mut().copy_from_slice(input.data());
        black_box(state.run([value.into()].into_iter().collect()).unwrap());
    }))
}

fn in_rten(onnx: &[u8], input: &Tensor) -> Result<Run, String> {
    let model = rten::Model::load(onnx.to_vec()).map_err(|error| error.to_string())?;
    let (id, outputs) = (model.input_ids()[0], model.output_ids().to_vec());
    let shape: Vec<usize> = input.shape().iter().map(|&size| size as usize).collect();
    let run = move |input: &Tensor| {
        let value = match input.datatype() {
            Datatype::Int8 => {
                let values = input.data().iter().map(|&byte| byte as i8).collect();
                rten::Value::from_shape(shape.as_slice(), values).map_err(|error| error.to_string())
            }
            _ => rten::Value::from_shape(shape.as_slice(), input.to_f32().unwrap()).map_err(|error| error.to_string()),
        };
        let answer = model.run(vec![(id, value?.into())], &outputs, None);
        answer
            .map(|answer| drop(black_box(answer)))
            .map_err(|error| error.to_string())
    };
    // What it can't run it may load.
    run(input)?;
    Ok(Box::new(move |input| run(input).unwrap()))
}

fn measure(load: Load<'_>, onnx: &[u8], inputs: &[Tensor]) -> Result<Times, String> {
    let (before, begun) = (pss_kib(), Instant::now());
    let mut run = load(onnx, &inputs[0])?;
    let loaded = Instant::now();
    run(&inputs[0]);
    let first_us = loaded.elapsed().as_secs_f64() * 1e6;
    // Each run by itself: what else the machine does hits few of them, and a round of many always.
    let mut runs = Vec::with_capacity(inputs.len());
    for input in inputs {
        let start = Instant::now();
        run(input);
        runs.push(start.elapsed().as_secs_f64() * 1e6);
        if loaded.elapsed() > WITHIN {
            break;
        }
    }
    Ok(Times {
        load_ms: (loaded - begun).as_secs_f64() * 1e3,
        first_us,
        steady_us: median(runs),
        pss_kib: pss_kib() - before,
    })
}

fn pss_kib() -> i64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    let field = line.and_then(|line| line.split_whitespace().nth(1));
    field.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The library that a Python's package has.
fn library(python: &Path) -> PathBuf {
    let ask = "import glob, os, onnxruntime; \
               print(glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), 'capi', 'libonnxruntime.so.*'))[0])";
    let asked = Command::new(python).args(["-c", ask]).output().unwrap();
    String::from_utf8(asked.stdout).unwrap().trim().into()
}

/// rten takes its number of threads from the environment, once.
const RTEN_THREADS: &str = "RTEN_NUM_THREADS";

fn main() {
    // As the agent does.
    floorhand_inference::keep_memory();
    if std::env::var_os(RTEN_THREADS).is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let ended = again.args(std::env::args_os().skip(1)).env(RTEN_THREADS, "1").status();
        assert!(ended.unwrap().success());
        return;
    }
    let Some(python) = std::env::var_os("FLOORHAND_PYTHON").map(PathBuf::from) else {
        println!("skipped: FLOORHAND_PYTHON names no Python with tests/python/requirements.txt");
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let script = root.join("tests/python/models/bench.py");
    let shared = std::env::var_os("FLOORHAND_SHARED_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let made = tempfile::tempdir().unwrap();
    let mut make = Command::new(&python);
    make.arg(&script).arg("make").arg(made.path());
    if shared.join("models").is_dir() {
        make.arg(shared.join("models"));
    }
    assert!(make.status().unwrap().success());
    let index = std::fs::read(made.path().join("index.json")).unwrap();
    let entries: Vec<Entry> = serde_json::from_slice(&index).unwrap();
    let mut other = Python::start(&python, &script, made.path());
    let runtime = OnnxRuntime::open(&library(&python)).unwrap();
    println!(
        "| model | rows a call | engine | load ms | first us | steady us | PSS KiB | Floorhand's steady time of this one's |"
    );
    println!("|---|--:|---|--:|--:|--:|--:|--:|");
    let only = std::env::var("FLOORHAND_BENCH_ONLY").unwrap_or_default();
    for entry in entries.iter().filter(|entry| entry.name.contains(&only)) {
        for &batch in &entry.batches {
            compare(made.path(), entry, batch, &runtime, &mut other);
        }
    }
}

fn compare(out: &Path, entry: &Entry, batch: usize, runtime: &OnnxRuntime, other: &mut Python) {
    let onnx = std::fs::read(out.join(format!("{}.onnx", entry.name))).unwrap();
    let inputs = inputs(out, entry, batch);
    let ours = |onnx: &[u8], input: &Tensor| in_engine(&Tract, onnx, input);
    let c = |onnx: &[u8], input: &Tensor| in_engine(runtime, onnx, input);
    let sides: [(&str, Load<'_>); 4] = [
        ("Floorhand", &ours),
        ("bare tract", &in_tract),
        ("ONNX Runtime, C", &c),
        ("rten", &in_rten),
    ];
    let mut times: [Vec<Times>; 4] = Default::default();
    let mut refused: [Option<String>; 4] = Default::default();
    let mut in_python = Vec::new();
    for _ in 0..TURNS {
        for (side, (engine, load)) in sides.iter().enumerate() {
            let asked = batch == 1 || TAKE_BATCHES.contains(engine);
            if asked && refused[side].is_none() {
                match measure(*load, &onnx, &inputs) {
                    Ok(measured) => times[side].push(measured),
                    Err(error) => refused[side] = Some(error),
                }
            }
        }
        in_python.push(other.measure(entry, batch));
    }
    let row = |engine: &str, all: &[Times]| {
        let of = |pick: fn(&Times) -> f64| median(all.iter().map(pick).collect());
        let ratios = times[0]
            .iter()
            .zip(all)
            .map(|(ours, theirs)| ours.steady_us / theirs.steady_us);
        let ratio = if times[0].is_empty() {
            f64::NAN
        } else {
            median(ratios.collect())
        };
        println!(
            "| {} | {batch} | {engine} | {:.1} | {:.0} | {:.1} | {} | {ratio:.2}x |",
            entry.name,
            of(|times| times.load_ms),
            of(|times| times.first_us),
            of(|times| times.steady_us),
            // Only the first loading takes memory that wasn't there.
            all[0].pss_kib
        );
    };
    for ((engine, _), (all, refused)) in sides.iter().zip(times.iter().zip(&refused)) {
        match refused {
            None if all.is_empty() => {}
            None => row(engine, all),
            Some(error) => {
                let error: String = error.lines().next().unwrap_or_default().chars().take(60).collect();
                println!("| {} | {batch} | {engine} | refused: {error} | | | | |", entry.name);
            }
        }
    }
    row("ONNX Runtime, Python", &in_python);
}

fn inputs(out: &Path, entry: &Entry, batch: usize) -> Vec<Tensor> {
    let data = std::fs::read(out.join(format!("{}.bin", entry.name))).unwrap();
    let row = data.len() / ROWS;
    let tensor = |bytes: &[u8]| {
        let shape = [batch as u64].into_iter().chain(entry.tail.iter().copied()).collect();
        Tensor::new(&entry.input, entry.datatype, shape, bytes.to_vec()).unwrap()
    };
    match batch {
        1 => data.chunks_exact(row).take(SINGLE).map(tensor).collect(),
        batch => data
            .chunks_exact(row * batch)
            .cycle()
            .take(BATCHES)
            .map(tensor)
            .collect(),
    }
}
