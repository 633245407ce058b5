//! New models are loaded in a process of their own first: what is too much for it is refused, and what serves goes on.

mod bombs;
mod budget;

use anyhow::{Context as _, Result, ensure};
use floorhand_pipeline::{InferenceError, LoadOptions, ModelLimits, Probe, Program};
use floorhand_tests::{Agent, PATIENCE, Site, floorhand, onnxruntime_library, run, run_with, wait_for, workspace};
use serde_json::{Value, json};
use std::path::Path;

const DEVICE: &str = "press-1";

/// Some of it is the program itself.
const MEMORY: u64 = 512 << 20;

fn probe(limits: ModelLimits) -> Result<Probe> {
    let program = Program {
        exe: floorhand()?,
        args: vec!["__probe-model".into()],
    };
    Ok(Probe::new(program, limits))
}

fn little() -> ModelLimits {
    ModelLimits {
        memory_bytes: MEMORY,
        ..ModelLimits::default()
    }
}

fn is_too_large(error: &InferenceError) -> Result<()> {
    let expected = "needs more memory than the 512 MiB that loading a model may take (memory_bytes)";
    ensure!(error.to_string().contains(expected), "{error}");
    Ok(())
}

#[test]
fn a_model_says_what_it_takes() -> Result<()> {
    let probe = probe(little())?;
    let verdict = probe.model(&bombs::harmless(), &LoadOptions::default())?;
    ensure!(verdict.signature.inputs.first().is_some_and(|input| input.name == "x"));
    ensure!((1 << 20..MEMORY).contains(&verdict.peak_bytes), "{verdict:?}");
    ensure!(
        probe.model(&bombs::harmless(), &LoadOptions::default())? == verdict,
        "it is remembered"
    );
    Ok(())
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_engine() -> Result<()> {
    let error = probe(little())?
        .model(b"no model", &LoadOptions::default())
        .unwrap_err();
    ensure!(
        error.to_string().starts_with("read the model: it is not ONNX"),
        "{error}"
    );
    let shapes = [("z".to_owned(), vec![1])].into();
    let error = probe(little())?
        .model(&bombs::harmless(), &LoadOptions { shapes })
        .unwrap_err();
    ensure!(
        error.to_string().contains("is given a shape, and is no input"),
        "{error}"
    );
    Ok(())
}

#[test]
fn a_model_that_grows_is_refused() -> Result<()> {
    let error = probe(little())?
        .model(&bombs::grows(), &LoadOptions::default())
        .unwrap_err();
    is_too_large(&error)
}

#[test]
fn a_model_that_takes_long_is_refused() -> Result<()> {
    let short = ModelLimits {
        load_ms: 500,
        ..ModelLimits::default()
    };
    let error = probe(short)?
        .model(&bombs::takes_long(), &LoadOptions::default())
        .unwrap_err();
    ensure!(
        error
            .to_string()
            .contains("isn't done after 1 s, which loading a model may take (load_timeout_s)"),
        "{error}"
    );
    Ok(())
}

#[test]
fn onnxruntime_is_tried_apart_too() -> Result<()> {
    let Some(library) = onnxruntime_library()? else {
        return Ok(());
    };
    let library = Path::new(&library);
    let apart = probe(little())?;
    let options = LoadOptions::default();
    let verdict = apart.model_in(Some(library), &bombs::harmless(), &options)?;
    ensure!(verdict.signature.inputs.first().is_some_and(|input| input.name == "x"));
    ensure!(verdict.peak_bytes < MEMORY, "{verdict:?}");
    ensure!(
        apart.model_in(Some(library), &bombs::harmless(), &options)? == verdict,
        "it is remembered"
    );
    // What has been loaded in one engine is tried in another all the same.
    let elsewhere = Path::new("/nowhere/libonnxruntime.so");
    let error = apart
        .model_in(Some(elsewhere), &bombs::harmless(), &options)
        .unwrap_err();
    ensure!(error.to_string().contains("/nowhere/libonnxruntime.so"), "{error}");
    let error = apart
        .model_in(Some(library), &bombs::needs_all(), &options)
        .unwrap_err();
    is_too_large(&error)
}

/// The command line, and so `pack`, asks that process in the engine that a bundle is for.
#[test]
fn packing_for_onnxruntime_refuses_it_too() -> Result<()> {
    let Some(library) = onnxruntime_library()? else {
        return Ok(());
    };
    let site = Site::new()?;
    site.pack_fixture(1)?;
    let folder = site.path("bundle-1");
    std::fs::write(folder.join("model.onnx"), bombs::needs_all())?;
    let recipe = std::fs::read_to_string(folder.join("bundle.toml"))?;
    let model = "file = \"model.onnx\"\n";
    ensure!(recipe.contains(model), "{recipe}");
    let recipe = recipe.replacen(model, &format!("{model}engines = [\"onnxruntime\"]\n"), 1);
    std::fs::write(folder.join("bundle.toml"), recipe)?;
    let (folder, key, file) = (site.text("bundle-1"), site.text("release.key"), site.text("bomb.fhb"));
    let settings = [("FLOORHAND_ONNXRUNTIME", library.as_str())];
    let ended = run_with(&["bundle", "pack", &folder, "-o", &file, "--key", &key], &settings)?;
    ensure!(
        ended.code == Some(1)
            && ended
                .stderr
                .contains("load the model: it needs more memory than the 1024 MiB"),
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn packing_refuses_it_too() -> Result<()> {
    let site = Site::new()?;
    site.pack_fixture(1)?;
    let folder = site.path("bundle-1");
    std::fs::write(folder.join("model.onnx"), bombs::grows())?;
    let (folder, key, file) = (site.text("bundle-1"), site.text("release.key"), site.text("bomb.fhb"));
    let ended = run(&["bundle", "pack", &folder, "-o", &file, "--key", &key])?;
    ensure!(
        ended.code == Some(1)
            && ended
                .stderr
                .contains("model model.onnx: load the model: it needs more memory"),
        "{ended:?}"
    );
    // Nor is a bundle run that somebody else has packed.
    let packed = site.with_model(&site.path("skab-1.fhb"), &bombs::grows())?;
    let rows = workspace().join("tests/skab/fixture/anomaly-free.csv");
    let (packed, rows) = (
        packed.to_string_lossy().into_owned(),
        rows.to_string_lossy().into_owned(),
    );
    let ended = run(&["run", &packed, "--input", &rows])?;
    ensure!(
        ended.code == Some(1) && ended.stderr.contains("load the model: it needs more memory"),
        "{ended:?}"
    );
    Ok(())
}

fn runs(status: &Value, version: &str) -> bool {
    status.pointer("/active/version").and_then(Value::as_str) == Some(version)
}

fn results(status: &Value) -> Option<u64> {
    status.get("results").and_then(Value::as_u64)
}

/// What was committed serves on.
fn serves(agent: &mut Agent) -> Result<()> {
    let now = agent.wait_until("status", |status| !status.is_null())?;
    ensure!(runs(&now, "1.0.0"), "{now:#}");
    let more = agent.wait_until("more results", |status| results(status) > results(&now));
    more.map(drop)
}

/// What the agent logged but findings, of which there are many.
fn without_findings(log: &str) -> String {
    let lines = log.lines().filter(|line| !line.contains("a monitor found something"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_agent_lives_on_with_what_it_had() -> Result<()> {
    let site = Site::new()?;
    let config = json!({
        "models": { "memory_bytes": MEMORY, "load_timeout_s": 60 },
        "source": [{
            "type": "file",
            "path": workspace().join("tests/skab/fixture/anomaly-free.csv"),
            "rate_hz": 200.0,
            "repeat": true,
        }],
    });
    let mut agent = site.device(DEVICE, &config)?;
    agent.start()?;
    let stick = site.export(&site.pack_fixture(1)?, &agent.device, 1)?;
    ensure!(agent.import(&stick)?.code == Some(0));
    agent.wait_until("commit", |status| runs(status, "1.0.0"))?;
    let next = site.pack_fixture(2)?;
    let bombs = [
        ("grows", bombs::grows(), "needs more memory than the 512 MiB"),
        ("claims", bombs::claims(), "needs more than 134217728 bytes"),
    ];
    for (seq, (name, onnx, problem)) in (2..).zip(bombs) {
        let stick = site.export(&site.with_model(&next, &onnx)?, &agent.device, seq)?;
        let imported = agent.import(&stick)?;
        ensure!(imported.code == Some(0), "{name}: {imported:?}");
        wait_for(name, PATIENCE, || {
            let log = agent.log();
            let told = |line: &&str| {
                line.contains("status=\"FAILED\" step=\"staged\"")
                    && line.contains("model model.onnx: load the model")
                    && line.contains(problem)
            };
            Ok(log.lines().find(told).map(drop))
        })
        .with_context(|| without_findings(&agent.log()))?;
        serves(&mut agent)?;
    }
    // A model that is none of these is tried as ever.
    let stick = site.export(&site.pack_fixture(3)?, &agent.device, 9)?;
    ensure!(agent.import(&stick)?.code == Some(0));
    agent.wait_until("commit of another", |status| runs(status, "3.0.0"))?;
    agent.stop()
}
