//! Loading a generation from the disk: verify, compile, golden cases, warm up.

use super::{CoreSender, Message, Purpose};
use crate::trust::Trust;
use floorhand_bundle::{ComponentName, Manifest, Verified};
use floorhand_pipeline::{Engines, Host, Loaded, Pipeline, Probe, run_golden};
use floorhand_store::Store;
use std::sync::Arc;

/// The name of a manifest in its generation's folder.
const MANIFEST: &str = "manifest.cose";

/// What loads a task and then says [`Message::Loaded`] to the core. A test has one that needs no thread.
pub(crate) type Load = dyn Fn(Task, Purpose, CoreSender) + Send + Sync;

/// Loads on a thread of its own.
pub(crate) fn on_a_thread(task: Task, purpose: Purpose, sender: CoreSender) {
    let spawned = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        let result = Box::new(task.run());
        sender.send_blocking(Message::Loaded {
            generation: task.generation,
            purpose,
            result,
        });
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "failed to start a thread; the generation is not loaded");
    }
}

/// What is to be loaded, and with what.
pub(crate) struct Task {
    pub(super) generation: u64,
    pub(super) store: Arc<Store>,
    pub(super) host: Arc<Host>,
    pub(super) engines: Engines,
    /// Whether requests will come that hold several samples.
    pub(super) batches: bool,
    pub(super) probe: Option<Arc<Probe>>,
    pub(super) trust: Arc<Trust>,
    pub(super) purpose: Purpose,
}

impl Task {
    /// Loads the generation. It has given its golden answers here, with the engine and the CPU that it will serve with,
    /// whether it is new or has served for years: either may have been changed by an update of this agent.
    pub(super) fn run(&self) -> Result<Loaded, String> {
        let manifest = manifest(&self.store, &self.trust, self.generation, self.purpose)?;
        let mut read = |name: &ComponentName| self.component(&manifest, name);
        let cases = read(&manifest.golden.component)?;
        let engines = match &self.probe {
            // What was committed has been loaded before. Another agent may need more for it, but without it nothing serves,
            // and if it ends this process again and again the generation before takes over.
            Some(probe) if self.purpose == Purpose::Stage => self.engines.clone().apart(probe),
            _ => self.engines.clone(),
        };
        // What serves is in the engine that has given the golden answers.
        let mut tried = self.pipeline(&manifest, &mut read, &engines)?;
        tried
            .check_named_outputs(&manifest.golden, &manifest.gates)
            .map_err(|error| error.to_string())?;
        let report = run_golden(&mut tried, &manifest.golden, &cases).map_err(|error| error.to_string())?;
        let pipeline_engine = tried.engine().to_owned();
        drop(tried);
        tracing::info!(
            generation = self.generation,
            engine = pipeline_engine,
            cases = report.cases,
            largest_difference = report.largest_difference,
            "golden cases passed"
        );
        let mut pipeline = self.pipeline(&manifest, &mut read, &engines)?;
        if pipeline.engine() != pipeline_engine {
            return Err(format!(
                "its golden cases passed in {pipeline_engine}, which doesn't load it a second time; deploy it again"
            ));
        }
        pipeline.warm_up().map_err(|error| error.to_string())?;
        pipeline.expect_batches(self.batches);
        Ok(Loaded {
            generation: self.generation,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            bundle: manifest.digest(),
            gates: manifest.gates.clone(),
            pipeline,
        })
    }

    fn pipeline(
        &self,
        manifest: &Manifest,
        read: &mut dyn FnMut(&ComponentName) -> Result<Vec<u8>, String>,
        engines: &Engines,
    ) -> Result<Pipeline, String> {
        Pipeline::load_among(&manifest.pipeline, read, &self.host, engines).map_err(|error| error.to_string())
    }

    /// A component's bytes, hashed again: a disk forgets.
    fn component(&self, manifest: &Manifest, name: &ComponentName) -> Result<Vec<u8>, String> {
        let component = manifest
            .component(name)
            .ok_or_else(|| format!("{name} is not in the bundle"))?;
        let blob = &component.blob;
        let bytes = self
            .store
            .blobs()
            .read(blob.sha256, blob.length)
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(bytes)
    }
}

/// The manifest of a generation, verified again: for a trial under the newest trust root, and for what was committed under
/// the one that it was accepted under.
pub(super) fn manifest(
    store: &Store,
    trust: &Trust,
    generation: u64,
    purpose: Purpose,
) -> Result<Verified<Manifest>, String> {
    let bytes = store
        .generations()
        .read(generation, MANIFEST)
        .map_err(|error| error.to_string())?;
    let opened = match purpose {
        Purpose::Stage => Manifest::open(&bytes, trust.root()?, 0),
        Purpose::Activate => trust.open_accepted(&bytes),
    };
    opened.map_err(|error| error.to_string())
}
