//! Why a pipeline can't be loaded, and why a sample gave no result.

use crate::decode::DecodeError;
use floorhand_inference::InferenceError;
use floorhand_plugin_host::{HostError, PluginError};
use floorhand_tensor::TensorError;

/// Why a pipeline can't be loaded. Each names the stage.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A component's bytes can't be had.
    #[error("{stage}: component {component} can't be read: {problem}")]
    Component {
        /// The stage that needs it.
        stage: String,
        /// The component.
        component: String,
        /// What is wrong.
        problem: String,
    },
    /// The model.
    #[error("model {component}: {source}")]
    Model {
        /// The component.
        component: String,
        /// The engine's reason.
        source: Box<InferenceError>,
    },
    /// None of the engines that the bundle names runs the model.
    #[error(
        "model {component}: none of the engines that the bundle names can run it ({wanted}): {reasons}; offer one on this \
         machine, or let \"tract\" stand in in [model] engines"
    )]
    NoEngine {
        /// The component.
        component: String,
        /// The engines.
        wanted: String,
        /// Why not, each.
        reasons: String,
    },
    /// A plugin that isn't a component, or imports what it may not.
    #[error("stage {stage}: {source}")]
    Host {
        /// The stage.
        stage: String,
        /// The host's reason.
        source: Box<HostError>,
    },
    /// A plugin that can't be started with its configuration.
    #[error("stage {stage}: {source}")]
    Plugin {
        /// The stage.
        stage: String,
        /// The plugin's or the host's reason.
        source: Box<PluginError>,
    },
    /// A model's state that isn't of its inputs and outputs.
    #[error("model {component}: {problem}")]
    State {
        /// The component.
        component: String,
        /// What is wrong.
        problem: String,
    },
    /// Stages that don't fit together.
    #[error("stages don't fit: {0}")]
    Fit(#[from] TensorError),
    /// A stage that may not be passed by.
    #[error(
        "stage {stage} has on_break = \"bypass\", and can't be passed by: it has to take one tensor and give one of the \
         same type and shape; use \"fail\" or \"rollback\""
    )]
    Bypass {
        /// The stage.
        stage: String,
    },
    /// A gate or a tolerance for an output that there isn't.
    #[error("{key} names the output {name:?}, and the pipeline's outputs are {known}")]
    UnknownOutput {
        /// The key in the recipe.
        key: &'static str,
        /// What it names.
        name: String,
        /// The outputs there are.
        known: String,
    },
    /// What `[explain]` says doesn't fit the model, or its background isn't one.
    #[error("{problem}")]
    Explain {
        /// What is wrong.
        problem: String,
    },
    /// The model is not what the manifest says.
    #[error("model {component} has the signature {actual}, and the manifest says {expected}; pack the bundle again")]
    Signature {
        /// The component.
        component: String,
        /// What the manifest says.
        expected: String,
        /// What the engine found.
        actual: String,
    },
}

/// Why a sample gave no result. The next one may.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A plugin.
    #[error("stage {stage}: {source}")]
    Plugin {
        /// The stage.
        stage: String,
        /// Its reason.
        source: Box<PluginError>,
    },
    /// A plugin that is at rest after too many faults.
    #[error("stage {stage} is at rest after three faults within a minute")]
    Resting {
        /// The stage.
        stage: String,
    },
    /// The model.
    #[error("model: {0}")]
    Model(String),
    /// A model that isn't made for missing values was to be given, or gave, one that is none.
    #[error("the model's {side} {tensor} holds {value} at element {index}{field}; {advice}")]
    NonFinite {
        /// `input` or `output`.
        side: &'static str,
        /// The tensor.
        tensor: String,
        /// NaN or an infinity.
        value: f64,
        /// The element, from 0.
        index: usize,
        /// The sample's own field that is no number, in brackets, if there is one.
        field: String,
        /// What to do.
        advice: &'static str,
    },
    /// The bytes are no sample of this bundle.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}
