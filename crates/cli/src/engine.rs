//! The pipeline as the command line uses it: loading what a person named, and running its golden cases.

use crate::contents::Contents;
use crate::exit::Failure;
use crate::output::Output;
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
    waiting.finish_and_clear();
    report
}

fn component<'a>(contents: &'a Contents, name: &ComponentName) -> Result<&'a [u8], String> {
    contents
        .manifest
        .component(name)
        .and_then(|component| contents.blobs.get(&component.blob.sha256))
        .map(Vec::as_slice)
        .ok_or_else(|| format!("component {name} is not in the bundle"))
}
