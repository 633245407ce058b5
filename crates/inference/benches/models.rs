//! Models beside ONNX Runtime, in one run and on one thread: time to load, the first answer, steady answers, memory.
//!
//! `cargo bench --workspace --bench models`. `tests/python/models/bench.py` makes the models and takes ONNX Runtime's
//! times; it needs the Python in `FLOORHAND_PYTHON`. Published models are taken from `FLOORHAND_SHARED_DATA`, where there
//! are any. Both sides are asked about the same rows, in turns, and the ratio is the median over the turns.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench may panic and tell"
)]

use floorhand_inference::{LoadOptions, Model};
use floorhand_tensor::{Datatype, Tensor};
use serde::Deserialize;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// As in `bench.py`.
const ROWS: usize = 1_000;
const SINGLE: usize = 64;
const BATCHES: usize = 2;
const ROUNDS: usize = 15;
/// Turns of both sides.
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

/// ONNX Runtime, in a Python of its own.
struct OnnxRuntime {
    child: Child,
    asked: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl OnnxRuntime {
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

impl Drop for OnnxRuntime {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn measure(out: &Path, entry: &Entry, batch: usize) -> Result<Times, String> {
    let onnx = std::fs::read(out.join(format!("{}.onnx", entry.name))).unwrap();
    let data = std::fs::read(out.join(format!("{}.bin", entry.name))).unwrap();
    let row = data.len() / ROWS;
    let tensor = |bytes: &[u8]| {
        let shape = [batch as u64].into_iter().chain(entry.tail.iter().copied()).collect();
        Tensor::new(&entry.input, entry.datatype, shape, bytes.to_vec()).unwrap()
    };
    let inputs: Vec<Tensor> = if batch == 1 {
        data.chunks_exact(row).take(SINGLE).map(tensor).collect()
    } else {
        (0..BATCHES).map(|_| tensor(&data)).collect()
    };
    let options = LoadOptions {
        shapes: [(entry.input.clone(), inputs[0].shape().to_vec())].into(),
    };
    let (before, begun) = (pss_kib(), Instant::now());
    let mut model = Model::load(&onnx, &options).map_err(|error| error.to_string())?;
    let loaded = Instant::now();
    black_box(model.run(&inputs[..1]).unwrap());
    let first_us = loaded.elapsed().as_secs_f64() * 1e6;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for input in &inputs {
            black_box(model.run(&[input]).unwrap());
        }
        rounds.push(start.elapsed().as_secs_f64() * 1e6 / inputs.len() as f64);
    }
    Ok(Times {
        load_ms: (loaded - begun).as_secs_f64() * 1e3,
        first_us,
        steady_us: median(rounds),
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

fn main() {
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
    let mut other = OnnxRuntime::start(&python, &script, made.path());
    println!(
        "| model | rows a call | load ms | first us | steady us | PSS KiB | ONNX Runtime: load | first | steady | PSS | steady, ours of theirs |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for entry in &entries {
        for &batch in &entry.batches {
            compare(made.path(), entry, batch, &mut other);
        }
    }
}

fn compare(out: &Path, entry: &Entry, batch: usize, other: &mut OnnxRuntime) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        match measure(out, entry, batch) {
            Ok(times) => ours.push(times),
            Err(error) => return println!("| {} | {batch} | refused: {error} |", entry.name),
        }
        theirs.push(other.measure(entry, batch));
    }
    let ratios = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| ours.steady_us / theirs.steady_us);
    let ratio = median(ratios.collect());
    let of = |all: &[Times], pick: fn(&Times) -> f64| median(all.iter().map(pick).collect());
    let row = |all: &[Times]| {
        format!(
            "{:.1} | {:.0} | {:.1} | {}",
            of(all, |times| times.load_ms),
            of(all, |times| times.first_us),
            of(all, |times| times.steady_us),
            // Only the first loading takes memory that wasn't there.
            all[0].pss_kib
        )
    };
    println!(
        "| {} | {batch} | {} | {} | {ratio:.2}x |",
        entry.name,
        row(&ours),
        row(&theirs)
    );
}
