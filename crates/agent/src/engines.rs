//! The engines that this device offers to bundles: tract, and what the configuration names.

use crate::config::EngineSettings;
use crate::telemetry::Telemetry;
use floorhand_bundle::EngineName;
use floorhand_pipeline::{Engine, Engines};
use floorhand_protocol::Severity;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Opens what the configuration names. What can't be had is kept with its reason, for the bundles that ask for it.
pub(crate) fn open(settings: &EngineSettings) -> Engines {
    let engines = Engines::default();
    match &settings.onnxruntime {
        Some(library) => engines.with(EngineName::onnxruntime(), onnxruntime(library)),
        None => engines,
    }
}

#[cfg(feature = "onnxruntime")]
fn onnxruntime(library: &Path) -> Result<Arc<dyn Engine>, String> {
    let absolute = std::path::absolute(library).map_err(|error| error.to_string())?;
    match floorhand_onnxruntime::OnnxRuntime::open(&absolute) {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(not(feature = "onnxruntime"))]
fn onnxruntime(_: &Path) -> Result<Arc<dyn Engine>, String> {
    Err("this agent was built without it".to_owned())
}

/// What this program does as the worker that loads a model first.
pub(crate) fn probe_worker() -> ExitCode {
    floorhand_pipeline::probe_worker(onnxruntime)
}

/// Says which there are, and which can't be had.
pub(crate) fn tell(engines: &Engines, telemetry: &Telemetry) {
    for (name, engine) in engines.list() {
        match engine {
            Ok(_) if *name == EngineName::tract() => {}
            Ok(engine) => tracing::info!(engine, "an engine for bundles that ask for it"),
            Err(reason) => {
                tracing::warn!(engine = %name, reason, "the engine that the configuration names can't be had");
                telemetry.event("engine-missing", Severity::Warning, name.as_str(), reason.to_owned());
            }
        }
    }
}

/// Each engine for the status: how it calls itself, or why it isn't there.
pub(crate) fn status(engines: &Engines) -> Vec<String> {
    let text = |(name, engine): (&EngineName, Result<&str, &str>)| match engine {
        Ok(engine) => engine.to_owned(),
        Err(reason) => format!("no {name}: {reason}"),
    };
    engines.list().map(text).collect()
}
