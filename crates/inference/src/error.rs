//! Why a model can't be loaded or run.

use crate::{MAX_MODEL_BYTES, MAX_TENSOR_BYTES};
use floorhand_tensor::TensorError;

/// Why a model can't be loaded or run. Each names the node, tensor or step at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferenceError {
    /// More bytes than [`MAX_MODEL_BYTES`].
    #[error("load the model: it has {bytes} bytes, at most {max} are loaded", max = MAX_MODEL_BYTES)]
    ModelTooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// The bytes are no ONNX protobuf, or end too early.
    #[error("read the model: it is not ONNX, or it is cut short: {0}")]
    Malformed(String),
    /// The model keeps tensors in files of their own.
    #[error(
        "load the model: tensor {tensor:?} is kept in an external file, and nothing beside the model is read; save the \
         model with its data inside"
    )]
    ExternalData {
        /// The tensor's name.
        tensor: String,
    },
    /// A file with weights beside the model isn't as the model says.
    #[error("pack the model: tensor {tensor:?} is kept in {location:?}: {problem}")]
    External {
        /// The tensor's name.
        tensor: String,
        /// The file that the model names.
        location: String,
        /// What is wrong.
        problem: String,
    },
    /// The model is written for versions of ONNX that aren't known here.
    #[error(
        "load the model: it is for version {version} of {what}, and {least} to {most} are supported; convert or export it"
    )]
    Version {
        /// Of what: an operator set, or the format itself.
        what: String,
        /// The model's.
        version: i64,
        /// The oldest that is loaded.
        least: i64,
        /// The newest.
        most: i64,
    },
    /// A node's operator isn't implemented.
    #[error("load the model: node {node:?} needs operator {operator}, which is not supported; {advice}")]
    Operator {
        /// The node's name, or that of its first output if it has none.
        node: String,
        /// The operator, with its domain if that isn't ONNX's own.
        operator: String,
        /// What to do.
        advice: &'static str,
    },
    /// An attribute asks for what isn't done.
    #[error("load the model: node {node:?}, operator {operator}, attribute {attribute:?}: {problem}")]
    Attribute {
        /// The node's name, or that of its first output if it has none.
        node: String,
        /// The operator.
        operator: String,
        /// The attribute.
        attribute: String,
        /// What it asks for, and what to do.
        problem: String,
    },
    /// A tensor claims more bytes than [`MAX_TENSOR_BYTES`], or others than it has.
    #[error("load the model: tensor {tensor:?} of dimensions {dims:?} {problem}", problem = claim(*.actual))]
    Claim {
        /// The tensor's name.
        tensor: String,
        /// The dimensions it claims.
        dims: Vec<i64>,
        /// The bytes it has, where they are not those it claims.
        actual: Option<u64>,
    },
    /// An input or output is of a kind that no tensor here has.
    #[error("load the model: {tensor:?} {problem}")]
    Interface {
        /// The input's or output's name.
        tensor: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// tract refused the model; its text names the node.
    #[error("{step} the model: {reason}")]
    Refused {
        /// What was being done: translate, analyse, optimise, plan.
        step: &'static str,
        /// tract's account, outermost first.
        reason: String,
    },
    /// tract panicked, which is a fault of its own; the model isn't usable.
    #[error("{step} the model: the engine panicked: {reason}")]
    Panicked {
        /// What was being done.
        step: &'static str,
        /// The panic's message.
        reason: String,
    },
    /// A process of its own that loaded the model first has refused it, in its words, or came to its limits.
    #[error("{0}")]
    Probe(String),
    /// Another engine than tract has no answer.
    #[error("{engine}: {reason}")]
    Engine {
        /// The engine's name.
        engine: String,
        /// What it says.
        reason: String,
    },
    /// An input is missing or doesn't fit, or a tensor of the answer is too large.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

fn claim(actual: Option<u64>) -> String {
    match actual {
        Some(bytes) => format!("has {bytes} bytes, which do not fit them"),
        None => format!("needs more than {MAX_TENSOR_BYTES} bytes"),
    }
}
