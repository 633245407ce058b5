//! How much of a device the agent takes: its stripped binary on disk, and its proportional set size (PSS) with a model and
//! two plugins loaded, after some thousand samples.
//!
//! The model is MLPerf Tiny's anomaly autoencoder (`FLOORHAND_BENCH_MODEL`, else `../shared/data/models` beside the
//! workspace), the plugins are `standardize` and `data-validation`. `FLOORHAND_AGENT` names the agent's binary, by default
//! the one that devices get: `cargo build --profile dist -p floorhand-agent`. Nothing is timed; two figures are printed,
//! and for comparison that of a Python which has imported onnxruntime and loaded the model.

#![expect(clippy::print_stdout, reason = "a bench tells")]

use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Site, floorhand, run_ok, workspace};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const VALUES: usize = 640;
const SAMPLES: u64 = 5000;

fn main() -> Result<()> {
    let default = || workspace().join("../shared/data/models/mlperf-tiny-ad01-fp32.onnx");
    let model = std::env::var_os("FLOORHAND_BENCH_MODEL").map_or_else(default, PathBuf::from);
    let agent = agent()?;
    if !model.is_file() || !agent.is_file() {
        println!("skipped: needs {} and {}", model.display(), agent.display());
        return Ok(());
    }
    println!("binary: {}", agent.display());
    println!("  stripped: {:.1} MB", stripped_bytes(&agent)? as f64 / 1e6);
    let site = Site::new()?;
    let recording = recording(&site)?;
    let folder = bundle(&site, &model, &recording)?;
    let pss = serve(&site, &agent, &folder, &recording)?;
    println!(
        "agent with {} and two plugins, after {SAMPLES} samples and more:",
        model.display()
    );
    for (name, kib) in pss {
        println!("  {name}: {:.1} MB", kib as f64 * 1024.0 / 1e6);
    }
    python(&model);
    Ok(())
}

/// The binary that devices get: beside this bench's own profile, or as it was named.
fn agent() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("FLOORHAND_AGENT") {
        return Ok(PathBuf::from(named));
    }
    let own = floorhand()?;
    let target = own
        .parent()
        .and_then(Path::parent)
        .context("the program stands in a target directory")?;
    Ok(target.join("dist/floorhand-agent"))
}

fn stripped_bytes(binary: &Path) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("stripped");
    let status = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(binary)
        .status()
        .context("strip (binutils)")?;
    ensure!(status.success(), "strip ended with {status}");
    Ok(fs::metadata(&copy)?.len())
}

/// Samples to replay: one array of numbers each.
fn recording(site: &Site) -> Result<PathBuf> {
    let path = site.path("recording.jsonl");
    let lines: Vec<String> = (0..50_usize)
        .map(|row| {
            let values: Vec<f64> = (0..VALUES).map(|at| -60.0 + ((at + row) * 37 % 61) as f64).collect();
            json!({ "mel": [values] }).to_string()
        })
        .collect();
    fs::write(&path, lines.join("\n") + "\n")?;
    Ok(path)
}

/// The bundle's folder. Its golden case is what the pipeline itself answers: this is about memory.
fn bundle(site: &Site, model: &Path, recording: &Path) -> Result<PathBuf> {
    let folder = site.path("ad01");
    fs::create_dir(&folder)?;
    fs::copy(model, folder.join("model.onnx"))?;
    let recipe = json!({
        "bundle": { "name": "ad01", "version": "1.0.0", "release_counter": 1, "floor": 1, "hardware": ["*"], "min_agent": "0.1.0" },
        "input": [{ "name": "mel", "datatype": "FP32", "shape": [1, VALUES] }],
        "preprocess": [{
            "name": "standardize",
            "plugin": "builtin:standardize",
            "config": { "input": "mel", "output": input_name(model)?, "shape": [1, VALUES], "mean": [-30.0], "scale": [12.5] },
        }],
        "model": { "file": "model.onnx" },
        "monitor": [{
            "name": "validation",
            "plugin": "builtin:data-validation",
            "config": { "input": "mel", "fields": [{ "name": "first", "index": 0, "min": -100, "max": 100 }] },
        }],
        "golden": { "file": "golden.jsonl", "tolerance": 1e-3 },
        "gates": { "samples": 200, "max_error_rate": 0.01, "latency_p99_ms": 1000 },
    });
    fs::write(folder.join("bundle.toml"), toml::to_string(&recipe)?)?;
    // A placeholder until the pipeline's own answer is known.
    fs::write(folder.join("golden.jsonl"), "{\"input\": {}, \"output\": null}\n")?;
    let results = site.text("results.jsonl");
    run_ok(&[
        "run",
        &folder.to_string_lossy(),
        "--input",
        &recording.to_string_lossy(),
        "--output",
        &results,
    ])?;
    let input = fs::read_to_string(recording)?;
    let output = fs::read_to_string(&results)?;
    let input: Value = serde_json::from_str(input.lines().next().unwrap_or_default())?;
    let output: Value = serde_json::from_str(output.lines().next().unwrap_or_default())?;
    let golden = json!({ "input": input, "output": output.get("outputs") });
    fs::write(folder.join("golden.jsonl"), format!("{golden}\n"))?;
    Ok(folder)
}

fn input_name(model: &Path) -> Result<String> {
    let signature = floorhand_pipeline::model_signature(&fs::read(model)?).map_err(anyhow::Error::msg)?;
    Ok(signature.inputs.first().context("the model has an input")?.name.clone())
}

/// Commits the bundle on a device, lets it serve, and reads its memory.
fn serve(site: &Site, program: &Path, folder: &Path, recording: &Path) -> Result<Vec<(String, u64)>> {
    let mut agent = site.device(
        "bench-1",
        &json!({
            "source": [{ "type": "file", "path": recording, "rate_hz": 1000, "repeat": true }],
            "sink": [{ "type": "jsonl", "path": site.path("sink.jsonl") }],
        }),
    )?;
    let packed = site.pack(folder, "ad01.fhb")?;
    agent.start_as(program)?;
    agent.wait_until("agent that answers", |status| !status.is_null())?;
    let stick = site.export(&packed, &agent.device, 1)?;
    let imported = agent.import(&stick)?;
    ensure!(imported.code == Some(0), "import: {}", imported.stderr);
    agent.wait_until("committed bundle", |status| status.pointer("/active/version").is_some())?;
    // As a device has it: started anew, nothing left of the trial.
    agent.stop()?;
    agent.start_as(program)?;
    let served = |status: &Value| status.pointer("/results").and_then(Value::as_u64) >= Some(SAMPLES);
    agent.wait_until("samples served", served)?;
    let pid = agent.process()?.id();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("smaps_rollup")?;
    agent.stop()?;
    let kib = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
    };
    let names = ["Pss:", "Pss_Anon:", "Pss_File:", "Rss:"];
    Ok(names
        .iter()
        .filter_map(|name| Some(((*name).trim_end_matches(':').to_owned(), kib(name)?)))
        .collect())
}

/// What the obvious Python takes before its first sample.
fn python(model: &Path) {
    let python = std::env::var_os("FLOORHAND_PYTHON").unwrap_or_else(|| "python3".into());
    let script = "import sys, onnxruntime\n\
                  session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n\
                  print(next(line for line in open('/proc/self/smaps_rollup') if line.startswith('Pss:')).split()[1])";
    let output = Command::new(python).args(["-c", script]).arg(model).output();
    let kib = output
        .ok()
        .and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().ok());
    match kib {
        Some(kib) => println!(
            "Python with onnxruntime and the model alone:\n  Pss: {:.1} MB",
            kib as f64 * 1024.0 / 1e6
        ),
        None => println!("no Python with onnxruntime to compare with (FLOORHAND_PYTHON)"),
    }
}
