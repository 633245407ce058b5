//! A hundred plugins in one agent, or nearly: a bundle takes 32 stages in front of its model, 32 behind it and 32 monitors.
//!
//! The same agent with the same model and no plugin stands beside it. Both replay the same samples at the same rate; what a
//! sample costs is the process's CPU time.

use crate::memory::memory_kib;
use crate::table;
use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Agent, Site, floorhand, run_ok, workspace};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Stages of each kind: as many as a bundle may have.
const STAGES: usize = 32;

/// Values of a sample: what the model takes.
const VALUES: usize = 8;

/// Samples a second: few enough for a slow machine to keep up with.
const RATE_HZ: u64 = 500;

/// How long samples are counted.
const WATCH: Duration = Duration::from_secs(8);

/// What the pipeline without stages answers, a file of the site.
const ANSWERS: &str = "answers.jsonl";

/// A start is given up after so long.
const LOST: Duration = Duration::from_secs(60);

/// What an agent costs.
struct Costs {
    /// From starting the process to the first result, with compiled plugins in its cache.
    first_result_ms: f64,
    pss_kib: f64,
    private_kib: f64,
    /// CPU time of a sample.
    sample_ns: f64,
}

/// Prints the section.
pub(crate) fn print() -> Result<()> {
    table::heading("A hundred plugins in one agent");
    if let Err(error) = floorhand() {
        println!("Skipped: {error}");
        return Ok(());
    }
    let site = Site::new()?;
    let recording = recording(&site)?;
    let (without, with) = (costs(&site, 0, &recording)?, costs(&site, STAGES, &recording)?);
    let plugins = 3 * STAGES;
    println!(
        "{RATE_HZ} samples of {VALUES} f32 a second; {STAGES} `standardize` before the model, as many behind it, and"
    );
    println!("{STAGES} `data-validation` with a field each.\n");
    table::head(&["", "no plugin", &format!("{plugins} plugins"), "each plugin adds"]);
    let line = |name: &str, of: fn(&Costs) -> f64, show: &dyn Fn(f64) -> String| {
        let each = (of(&with) - of(&without)) / plugins as f64;
        table::row(&[name.to_owned(), show(of(&without)), show(of(&with)), show(each)]);
    };
    let kib = |kib: f64| format!("{} KiB", table::digits(kib));
    line(
        "start to first result",
        |costs| costs.first_result_ms * 1e6,
        &table::time,
    );
    line("PSS", |costs| costs.pss_kib, &kib);
    line("of that private", |costs| costs.private_kib, &kib);
    line("CPU time of a sample", |costs| costs.sample_ns, &table::time);
    Ok(())
}

/// Samples to replay.
fn recording(site: &Site) -> Result<PathBuf> {
    let path = site.path("recording.jsonl");
    let lines: Vec<String> = (0..50_usize)
        .map(|row| {
            let values: Vec<f64> = (0..VALUES).map(|at| ((at + row) * 37 % 61) as f64 / 61.0).collect();
            json!({ "t0": [values] }).to_string()
        })
        .collect();
    fs::write(&path, lines.join("\n") + "\n")?;
    Ok(path)
}

/// Commits a bundle with so many stages of each kind, starts the agent anew, and watches it.
fn costs(site: &Site, stages: usize, recording: &Path) -> Result<Costs> {
    let name = format!("hundred-{stages}");
    let sink = site.path(&format!("{name}-sink.jsonl"));
    let recording = renamed(site, stages, recording)?;
    let mut agent = site.device(
        &name,
        &json!({
            "source": [{ "type": "file", "path": recording, "rate_hz": RATE_HZ, "repeat": true }],
            "sink": [{ "type": "jsonl", "path": sink }],
        }),
    )?;
    let packed = site.pack(&bundle(site, &name, stages, &recording)?, &format!("{name}.fhb"))?;
    agent.start()?;
    agent.wait_until("agent that answers", |status| !status.is_null())?;
    let stick = site.export(&packed, &agent.device, 1)?;
    let imported = agent.import(&stick)?;
    ensure!(imported.code == Some(0), "import: {}", imported.stderr);
    agent.wait_until("committed bundle", |status| status.pointer("/active/version").is_some())?;
    agent.stop()?;
    let before = fs::metadata(&sink)?.len();
    let started = Instant::now();
    agent.start()?;
    while fs::metadata(&sink)?.len() <= before {
        ensure!(started.elapsed() < LOST, "no result: {}", agent.tail());
        thread::sleep(Duration::from_millis(1));
    }
    let first_result_ms = started.elapsed().as_secs_f64() * 1e3;
    let sample_ns = watch(&mut agent)?;
    let (pss_kib, private_kib) = memory_kib(&agent.process()?.id().to_string())?;
    agent.stop()?;
    Ok(Costs {
        first_result_ms,
        pss_kib,
        private_kib,
        sample_ns,
    })
}

/// CPU time of a sample, in nanoseconds.
fn watch(agent: &mut Agent) -> Result<f64> {
    agent.wait_until("samples served", |status| results(status) >= RATE_HZ)?;
    let count = |agent: &mut Agent| -> Result<(u64, f64)> {
        let status = agent.status()?.context("no status")?;
        Ok((results(&status), cpu_ns(agent.process()?.id())?))
    };
    let (first, begun_ns) = count(agent)?;
    thread::sleep(WATCH);
    let (last, ended_ns) = count(agent)?;
    ensure!(last > first, "no sample was answered: {}", agent.tail());
    Ok((ended_ns - begun_ns) / (last - first) as f64)
}

fn results(status: &Value) -> u64 {
    status.pointer("/results").and_then(Value::as_u64).unwrap_or_default()
}

/// The CPU time of all of a process's threads so far, those that have ended aside.
fn cpu_ns(process: u32) -> Result<f64> {
    let mut total = 0.0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_cpu = schedstat.split_whitespace().next();
        total += on_cpu.context("empty schedstat")?.parse::<f64>()?;
    }
    Ok(total)
}

/// The first tensor's name: without a stage it is the model's own.
fn first(stages: usize) -> &'static str {
    if stages == 0 { "x" } else { "t0" }
}

/// The recording, with the name that the bundle has for its input.
fn renamed(site: &Site, stages: usize, recording: &Path) -> Result<PathBuf> {
    let path = site.path(&format!("recording-{stages}.jsonl"));
    let name = format!("\"{}\"", first(stages));
    fs::write(&path, fs::read_to_string(recording)?.replace("\"t0\"", &name))?;
    Ok(path)
}

/// The bundle's folder. Its golden case is what the pipeline without stages answers, since these leave every value as it is;
/// asking the one with stages would compile each of them once more.
fn bundle(site: &Site, name: &str, stages: usize, recording: &Path) -> Result<PathBuf> {
    let folder = site.path(name);
    fs::create_dir(&folder)?;
    let model = workspace().join("tests/skab/fixture/bundle/model.onnx");
    fs::copy(model, folder.join("model.onnx"))?;
    fs::write(folder.join("bundle.toml"), toml::to_string(&recipe(name, stages))?)?;
    let input = first_line(recording)?;
    let output = if stages == 0 {
        // A placeholder until the pipeline's own answer is known.
        fs::write(folder.join("golden.jsonl"), "{\"input\": {}, \"output\": null}\n")?;
        let (folder, input) = (folder.to_string_lossy(), recording.to_string_lossy());
        run_ok(&["run", &folder, "--input", &input, "--output", &site.text(ANSWERS)])?;
        first_line(&site.path(ANSWERS))?.get("outputs").cloned()
    } else {
        let answer = first_line(&site.path(ANSWERS))?;
        Some(json!({ "result": answer.pointer("/outputs/score") }))
    };
    let golden = json!({ "input": input, "output": output });
    fs::write(folder.join("golden.jsonl"), format!("{golden}\n"))?;
    Ok(folder)
}

fn first_line(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path)?;
    Ok(serde_json::from_str(text.lines().next().unwrap_or_default())?)
}

/// Stages that leave every value as it is, one behind the other.
fn recipe(name: &str, stages: usize) -> Value {
    let chain = |prefix: &str, from: &str, to: &str, columns: usize| -> Vec<Value> {
        let names: Vec<String> = (0..=stages)
            .map(|at| match at {
                0 => from.to_owned(),
                at if at == stages => to.to_owned(),
                at => format!("{prefix}{at}"),
            })
            .collect();
        let stage = |(at, pair): (usize, &[String])| {
            json!({
                "name": format!("{prefix}-{at}"),
                "plugin": "builtin:standardize",
                "config": { "input": pair.first(), "output": pair.last(), "shape": [1, columns], "mean": [0.0], "scale": [1.0] },
            })
        };
        names.windows(2).enumerate().map(stage).collect()
    };
    let monitor = |at: usize| {
        let field = json!({ "name": "value", "index": at % VALUES, "min": -1, "max": 2 });
        json!({
            "name": format!("validation-{at}"),
            "plugin": "builtin:data-validation",
            "config": { "input": first(stages), "fields": [field] },
        })
    };
    json!({
        "bundle": { "name": name, "version": "1.0.0", "release_counter": 1, "floor": 1, "hardware": ["*"], "min_agent": "0.1.0" },
        "input": [{ "name": first(stages), "datatype": "FP32", "shape": [1, VALUES] }],
        "preprocess": chain("t", first(stages), "x", VALUES),
        "model": { "file": "model.onnx" },
        "postprocess": chain("p", "score", "result", 1),
        "monitor": (0..stages).map(monitor).collect::<Vec<_>>(),
        "golden": { "file": "golden.jsonl", "tolerance": 1e-3 },
        "gates": { "samples": 200, "max_error_rate": 0.01, "latency_p99_ms": 1000 },
    })
}
