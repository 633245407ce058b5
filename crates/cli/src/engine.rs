//! The pipeline as the command line uses it: loading what a person named, and running its golden cases.

use crate::contents::Contents;
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::schema;
use anyhow::{Context, Result};
use floorhand_bundle::{ComponentName, EngineName};
use floorhand_pipeline::{
    Engine, Engines, GoldenReport, Host, HostConfig, LoadOptions, ModelLimits, Pipeline, Probe, Program,
};
use floorhand_tensor::Signature;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

pub use floorhand_pipeline::{compile_worker, inline_external_data};

/// Names the library of ONNX Runtime, for bundles that ask for it.
pub const ONNXRUNTIME: &str = "FLOORHAND_ONNXRUNTIME";

/// What loads models in a process of its own, once it is known that this process is the program that can.
static APART: OnceLock<Arc<Probe>> = OnceLock::new();

/// From now on a model is loaded in a process of its own before it is loaded here, within the limits that devices have unless
/// they are configured otherwise: what would be too much for them is told when it is packed.
pub fn load_models_apart() {
    let exe = std::env::current_exe().ok().filter(|exe| exe.is_file());
    let program = Program {
        exe: exe.unwrap_or_else(|| PathBuf::from("/proc/self/exe")),
        args: vec!["__probe-model".into()],
    };
    APART.get_or_init(|| Arc::new(Probe::new(program, ModelLimits::default())));
}

/// The engines of this machine: tract, and ONNX Runtime where its library is named.
pub fn engines() -> Engines {
    let engines = Engines::default();
    let engines = match std::env::var_os(ONNXRUNTIME).filter(|path| !path.is_empty()) {
        Some(path) => engines.with(EngineName::onnxruntime(), onnxruntime(path.as_ref())),
        None => engines.with(
            EngineName::onnxruntime(),
            Err(format!(
                "name its library in {ONNXRUNTIME}, as /usr/lib/libonnxruntime.so"
            )),
        ),
    };
    match APART.get() {
        Some(probe) => engines.apart(probe),
        None => engines,
    }
}

/// What this program does as the worker that loads a model first.
pub fn probe_worker() -> ExitCode {
    floorhand_pipeline::probe_worker(onnxruntime)
}

#[cfg(feature = "onnxruntime")]
fn onnxruntime(library: &std::path::Path) -> Result<Arc<dyn Engine>, String> {
    match floorhand_onnxruntime::OnnxRuntime::open(library) {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(not(feature = "onnxruntime"))]
fn onnxruntime(_: &std::path::Path) -> Result<Arc<dyn Engine>, String> {
    Err("this program was built without it".to_owned())
}

/// Reads a model's signature in the engine that the bundle prefers of those that are here, tract before any other: it knows
/// every shape. Open dimensions are taken as 1.
pub fn model_signature(onnx: &[u8], wanted: &[EngineName]) -> Result<Signature, String> {
    if wanted.is_empty() || wanted.contains(&EngineName::tract()) {
        let Some(probe) = APART.get() else {
            return floorhand_pipeline::model_signature(onnx);
        };
        let verdict = probe.model(onnx, &LoadOptions::default());
        return verdict
            .map(|verdict| verdict.signature)
            .map_err(|error| error.to_string());
    }
    let engines = engines();
    let mut reasons = Vec::new();
    for name in wanted {
        let session = engines.find(name).and_then(|engine| {
            let loaded = engine.load(onnx, &LoadOptions::default());
            loaded.map_err(|error| error.to_string())
        });
        match session {
            Ok(session) => return Ok(session.signature().clone()),
            Err(reason) => reasons.push(format!("{name}: {reason}")),
        }
    }
    Err(reasons.join("; "))
}

/// A host for plugins, which compiles in this process: the person who named the bundle sits by.
pub fn host() -> Result<Host> {
    Host::new(HostConfig::default()).context("plugins can't be run on this machine")
}

/// Holds every configuration against its plugin's schema, loads every stage of a bundle, and checks that they fit. The model
/// runs in the first engine that the bundle names which is here.
pub fn load(contents: &Contents, host: &Host) -> Result<Pipeline> {
    schema::check_stages(contents)?;
    let mut read = |name: &ComponentName| component(contents, name).map(<[u8]>::to_vec);
    let spec = &contents.manifest.pipeline;
    Ok(Pipeline::load_among(spec, &mut read, host, &engines())?)
}

/// The same with the model in the engine of this name.
pub fn load_in(contents: &Contents, host: &Host, engine: &EngineName) -> Result<Pipeline> {
    let engines = engines();
    let found = engines.find(engine);
    let found = found.map_err(|reason| Failure::refused(format!("there is no engine {engine}: {reason}")))?;
    load_with(contents, host, found.as_ref())
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

/// Does what a device does before a bundle may serve: loads every stage, checks that they fit, runs the golden cases, with
/// each engine that the bundle names and that is here. A case that fails is named with its output, both values and the
/// tolerance. Gives the report of the engine that the bundle would rather have.
pub fn check(contents: &Contents, out: &Output) -> Result<GoldenReport> {
    let engines = engines();
    let wanted = contents.manifest.pipeline.model.engines();
    let mut reports = Vec::new();
    let mut missing = Vec::new();
    for name in &wanted {
        match engines.find(name) {
            Ok(engine) => reports.push(check_in(contents, engine.as_ref(), out)?),
            Err(reason) => missing.push(format!("{name}: {reason}")),
        }
    }
    if reports.is_empty() {
        let reasons = missing.join("; ");
        return Err(Failure::refused(format!("none of the bundle's engines is here: {reasons}")).into());
    }
    for reason in missing {
        out.note(&format!("its golden cases were not run in {reason}"));
    }
    let waiting = out.spinner(format!("explaining golden cases of {}", contents.manifest.name));
    let explained = explained(contents);
    waiting.finish_and_clear();
    if let Some((tone, told)) = explained? {
        out.note_in(tone, &told);
    }
    Ok(reports.swap_remove(0))
}

/// Checks a bundle in one engine.
fn check_in(contents: &Contents, engine: &dyn Engine, out: &Output) -> Result<GoldenReport> {
    let golden = &contents.manifest.golden;
    let waiting = out.spinner(format!(
        "loading {} and running {} golden cases in {}",
        contents.manifest.name,
        golden.cases,
        engine.name()
    ));
    let checked = || -> Result<GoldenReport> {
        let cases = component(contents, &golden.component).map_err(Failure::refused)?;
        let mut pipeline = load_with(contents, &host()?, engine)?;
        pipeline.check_named_outputs(golden, &contents.manifest.gates)?;
        pipeline.warm_up().context("model can't be run")?;
        floorhand_pipeline::run_golden(&mut pipeline, golden, cases).map_err(|error| {
            let (name, version) = (&contents.manifest.name, &contents.manifest.version);
            let engine = engine.name();
            Failure::refused(format!("{name} {version} is refused in {engine}: {error}")).into()
        })
    };
    let report = checked();
    waiting.finish_and_clear();
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
