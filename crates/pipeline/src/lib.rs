//! From bytes to results: decode -> preprocess -> infer -> postprocess -> monitors.
//!
//! One [`Pipeline`] is one generation of a bundle; [`Serving`] owns the active one and perhaps a candidate, whose
//! results reach nobody. No network, no files: whoever loads a pipeline gives it its components' bytes, and time comes in
//! with every sample. The very same code runs on the device and in `floorhand run`.
//!
//! A sample's way, and what it gives at each turn, is [`Processed`]. Where a bundle has a decoder, what a source sends is a
//! message, which [`Pipeline::decode`] makes samples of.
//!
//! ```no_run
//! use floorhand_pipeline::{Host, HostConfig, Pipeline, Outcome, decode};
//! # fn manifest() -> floorhand_bundle::Manifest { unimplemented!() }
//! # fn read(name: &floorhand_bundle::ComponentName) -> Result<Vec<u8>, String> { unimplemented!() }
//!
//! let manifest = manifest();
//! let host = Host::new(HostConfig::default())?;
//! let mut pipeline = Pipeline::load(&manifest.pipeline, &mut |name| read(name), &host)?;
//! let sample = decode::json(br#"{"pressure": 1.5, "flow": 32.0}"#, pipeline.inputs())?;
//! if let Outcome::Result(outputs) = pipeline.process(&sample, 0).outcome {
//!     assert_eq!(outputs[0].name(), "score");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing
//!
//! Decoding needs nothing but [`floorhand_bundle::InputSpec`]s. What needs plugins and models is tested with the
//! first-party plugins in the workspace's `tests/`.

mod breaker;
pub mod decode;
mod decoding;
mod encode;
mod engines;
mod error;
mod explain;
mod gaps;
mod golden;
mod held;
mod loading;
mod pipeline;
mod probe;
mod recorded;
mod serving;
mod stage;
mod state;

pub use breaker::Breaker;
pub use decoding::Decoded;
pub use encode::{ResultHead, finding_json, result_json};
pub use engines::{Engines, PassedOver};
pub use error::{LoadError, SampleError};
pub use explain::{
    Contribution, ExplainError, Explainer, Explanation, SharedExplainer, explanation_json, explanation_text,
};
pub use floorhand_inference::{
    Engine, InferenceError, LoadOptions, Session, Tract, float_twin, give_back_memory, inline_external_data,
    keep_memory,
};
pub use floorhand_plugin_host::{
    CacheConfig, CompileLimits, Compiler, Finding, Host, HostConfig, HostError, Message, Phase, Severity,
    Stats as HostStats, compile_worker,
};
pub use floorhand_worker::Program;
pub use golden::{GoldenError, GoldenReport, explain_golden, run_golden};
pub use loading::model_signature;
pub use pipeline::{Outcome, Pipeline, Processed, StageFinding};
pub use probe::{ModelLimits, Probe, Verdict, probe_worker};
pub use recorded::RecordedMessage;
pub use serving::{Loaded, Served, Serving, Step, Trial, Underway};
pub use stage::{StageEvent, StageEventKind, StageTelemetry};

use floorhand_plugin_host::Context;
use floorhand_tensor::Tensor;

/// Nanoseconds of a millisecond: samples and plugins have the first, sources and records the second.
const MS: u64 = 1_000_000;

/// One sample, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The id that its source gave it; empty where it gave none.
    pub id: String,
    /// Its own time in nanoseconds since 1970 UTC; that of its arrival where its source gave none.
    pub time_ns: u64,
    /// What it is of, e.g. a machine, where a decoder says so.
    pub key: Option<String>,
    /// Its tensors, as the bundle's inputs say.
    pub tensors: Vec<Tensor>,
}

impl Sample {
    /// Its own time in whole milliseconds since 1970 UTC.
    #[must_use]
    pub const fn time_ms(&self) -> u64 {
        self.time_ns / MS
    }

    /// What plugins are told of it, the `sequence`-th of a pipeline.
    fn context(&self, sequence: u64) -> Context {
        Context {
            sequence,
            time_ns: self.time_ns,
            gap: false,
            key: self.key.clone(),
            id: Some(&self.id).filter(|id| !id.is_empty()).cloned(),
        }
    }

    /// Gives a sample without a time of its own that of its arrival, in milliseconds since 1970 UTC.
    pub const fn arrived(&mut self, time_ms: u64) {
        if self.time_ns == 0 {
            self.time_ns = time_ms.saturating_mul(MS);
        }
    }
}
