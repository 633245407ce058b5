//! What runs models: tract, or another engine that somebody brings.

use crate::{InferenceError, LoadOptions, Model};
use floorhand_tensor::{Signature, Tensor};
use std::fmt::Debug;
use std::path::Path;

/// Loads models. Shared between threads; what it loads runs on one at a time.
pub trait Engine: Debug + Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// Loads an ONNX model. Keeps nothing of `onnx`.
    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, InferenceError>;

    /// The library that another process has to open to have this engine, by its absolute path; none where it is built in.
    fn library(&self) -> Option<&Path> {
        None
    }
}

/// A model that is ready to run, in whatever engine.
pub trait Session: Debug + Send {
    /// What the model takes and gives, under the names that the ONNX graph has for it.
    fn signature(&self) -> &Signature;

    /// Runs the model once. Inputs are found by name, in any order; others are ignored. Outputs come in the order of the
    /// signature.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, InferenceError>;

    /// Runs the model for several samples, each with the inputs that [`Session::run`] takes, and gives an answer to each in
    /// their order. An engine that can runs them together; the answers are those of one by one, up to rounding.
    fn run_batch(&mut self, samples: &[&[Tensor]]) -> Vec<Result<Vec<Tensor>, InferenceError>> {
        samples.iter().map(|inputs| self.run(inputs)).collect()
    }

    /// Another session of the same model with the same answers, which shares its weights. None if the engine can't: then the model is loaded
    /// again.
    fn share(&self) -> Option<Box<dyn Session>> {
        None
    }

    /// Prepares for the first sample.
    fn warm_up(&mut self) -> Result<(), InferenceError>;

    /// Whether several samples are run together, as far as is known.
    fn runs_together(&self) -> bool {
        false
    }

    /// Prepares for several samples at once, so that the first such call needn't; or, where there won't be any, gives back what is
    /// kept for them. Whatever was said, [`Session::run_batch`] answers.
    fn expect_batches(&mut self, expected: bool) {
        let _ = expected;
    }

    /// Gives back what its runs have left on the thread that calls, before another one drops it, which couldn't. It may run again, on
    /// any thread. What prepares it, [`Session::warm_up`] and [`Session::expect_batches`], leaves nothing.
    fn leave_thread(&mut self) {}
}

/// tract with the operators of our own: the engine that every device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tract;

impl Engine for Tract {
    fn name(&self) -> &str {
        "tract"
    }

    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, InferenceError> {
        Ok(Box::new(Model::load(onnx, options)?))
    }
}

impl Session for Model {
    fn signature(&self) -> &Signature {
        Self::signature(self)
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, InferenceError> {
        Self::run(self, inputs)
    }

    fn run_batch(&mut self, samples: &[&[Tensor]]) -> Vec<Result<Vec<Tensor>, InferenceError>> {
        Self::run_batch(self, samples)
    }

    fn share(&self) -> Option<Box<dyn Session>> {
        Some(Box::new(Self::share(self)))
    }

    fn warm_up(&mut self) -> Result<(), InferenceError> {
        Self::warm_up(self)
    }

    fn runs_together(&self) -> bool {
        Self::runs_together(self)
    }

    fn expect_batches(&mut self, expected: bool) {
        Self::expect_batches(self, expected);
    }

    fn leave_thread(&mut self) {
        Self::leave_thread(self);
    }
}
