//! Operators of our own, in the place of tract's or beside them.
//!
//! Each is here for a reason that stands with it: tract has none, or its answer is another than ONNX's. What is in the
//! place of one of tract's names the version of tract that it was held against, so that it can go when tract's is right.

mod activation;
mod apart;
mod convolution;
mod downsample;
mod extreme;
mod kernel;
mod log_softmax;
pub(crate) mod ml;
mod nan;
pub(crate) mod quantised;
mod quantize;
mod recurrent;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod wide;
pub(crate) mod window;

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::prelude::{TractResult, TypedModel};

/// Chooses, in a model whose types are known, how our operators compute, before it is simplified.
pub(crate) fn plan(model: &mut TypedModel) -> TractResult<()> {
    kernel::plan(model)?;
    apart::hold(model)
}

/// Puts our operators in the place of tract's in a model that has been simplified, before it is planned.
pub(crate) fn replace(model: &mut TypedModel) -> TractResult<()> {
    apart::release(model)?;
    kernel::settle(model)?;
    nan::replace(model)?;
    extreme::replace(model)?;
    convolution::replace(model)?;
    downsample::replace(model)
}

/// Puts our operators into tract's register, in the place of its own of the same name.
pub(crate) fn register(operators: &mut OnnxOpRegister) {
    ml::register(operators);
    operators.insert("ReduceMax", extreme::most);
    operators.insert("ReduceMin", extreme::least);
    operators.insert("Celu", activation::celu);
    operators.insert("Swish", activation::swish);
    operators.insert("Softplus", activation::softplus);
    operators.insert("LogSoftmax", log_softmax::build);
    operators.insert("RNN", recurrent::rnn);
    operators.insert("GRU", recurrent::gru);
    operators.insert("LSTM", recurrent::lstm);
    operators.insert(quantised::NAME, quantised::build);
    operators.insert("QuantizeLinear", quantize::quantize);
    operators.insert("DequantizeLinear", quantize::dequantize);
}
