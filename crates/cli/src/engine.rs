//! The pipeline as the command line uses it: loading what a person named, and running its golden cases.

use crate::contents::Contents;
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::schema;
use anyhow::{Context, Result};
use floorhand_bundle::ComponentName;
use floorhand_pipeline::{Engine, GoldenReport, Host, HostConfig, Pipeline, Tract};

pub use floorhand_pipeline::{compile_worker, inline_external_data, model_signature};

/// A host for plugins, which compiles in this process: the person who named the bundle sits by.
pub fn host() -> Result<Host> {
    Host::new(HostConfig::default()).context("plugins can't be run on this machine")
}

/// Holds every configuration against its plugin's schema, loads every stage of a bundle, and checks that they fit.
pub fn load(contents: &Contents, host: &Host) -> Result<Pipeline> {
    load_with(contents, host, &Tract)
}

/// The same with the model in another engine.
pub fn load_with(contents: &Contents, host: &Host, engine: &dyn Engine) -> Result<Pipeline> {
    schema::check_stages(contents)?;
    let mut read = |name: &ComponentName| component(contents, name).map(<[u8]>::to_vec);
    Ok(Pipeline::load_with(
        &contents.manifest.pipeline,
        &mut read,
        host,
        engine,
    )?)
}

/// Golden cases that are explained to see that they can be, and how long it takes.
const EXPLAINED: usize = 3;

/// Does what a device does before a bundle may serve: loads every stage, checks that they fit, runs the golden cases. A
/// case that fails is named with its output, both values and the tolerance.
pub fn check(contents: &Contents, out: &Output) -> Result<GoldenReport> {
    let golden = &contents.manifest.golden;
    let waiting = out.spinner(format!(
        "loading {} and running {} golden cases",
        contents.manifest.name, golden.cases
    ));
    let checked = || -> Result<GoldenReport> {
        let cases = component(contents, &golden.component).map_err(Failure::refused)?;
        let mut pipeline = load(contents, &host()?)?;
        pipeline.check_named_outputs(golden, &contents.manifest.gates)?;
        pipeline.warm_up().context("model can't be run")?;
        floorhand_pipeline::run_golden(&mut pipeline, golden, cases).map_err(|error| {
            let (name, version) = (&contents.manifest.name, &contents.manifest.version);
            Failure::refused(format!("{name} {version} is refused: {error}")).into()
        })
    };
    let report = checked();
    let explained = report.as_ref().map_or(Ok(None), |_| explained(contents));
    waiting.finish_and_clear();
    if let Some((tone, told)) = explained? {
        out.note_in(tone, &told);
    }
    report
}

/// Explains some golden cases as the bundle declares, and tells what one costs. Nothing where it doesn't.
fn explained(contents: &Contents) -> Result<Option<(Tone, String)>> {
    let Some(declared) = &contents.manifest.pipeline.explain else {
        return Ok(None);
    };
    let cases = component(contents, &contents.manifest.golden.component).map_err(Failure::refused)?;
    let mut pipeline = load(contents, &host()?)?;
    let explanations = floorhand_pipeline::explain_golden(&mut pipeline, cases, EXPLAINED).map_err(|error| {
        let (name, version) = (&contents.manifest.name, &contents.manifest.version);
        Failure::refused(format!("{name} {version} is refused: {error}"))
    })?;
    let Some(explainer) = pipeline.explainer() else {
        return Ok(None);
    };
    let runs: usize = explanations.iter().map(|explanation| explanation.runs).sum();
    let took: f64 = explanations
        .iter()
        .map(|explanation| explanation.took.as_secs_f64())
        .sum();
    let most = explainer.lock().max_runs();
    let ms = took / runs.max(1) as f64 * most as f64 * 1000.0;
    let told = format!(
        "explaining a sample takes up to {most} runs of the model: {ms:.0} ms on this machine, of {} ms that budget_ms allows",
        declared.budget_ms
    );
    if ms <= declared.budget_ms as f64 {
        return Ok(Some((Tone::Plain, told)));
    }
    let advice =
        "it will be cut short; lower rows or evaluations in [explain], put features into groups, or raise budget_ms";
    Ok(Some((Tone::Warn, format!("{told}; {advice}"))))
}

fn component<'a>(contents: &'a Contents, name: &ComponentName) -> Result<&'a [u8], String> {
    contents
        .manifest
        .component(name)
        .and_then(|component| contents.blobs.get(&component.blob.sha256))
        .map(Vec::as_slice)
        .ok_or_else(|| format!("component {name} is not in the bundle"))
}
