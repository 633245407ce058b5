//! Plugins of the world `processor`: tensors in, tensors out.

use crate::guest::{Guest, unanswered};
use crate::promise::{Field, check_batch, check_specs};
use crate::split::Split;
use crate::{CompiledPlugin, Context, PluginError, Setup, Telemetry, track_0_1};
use floorhand_tensor::{Signature, Tensor, TensorError, TensorSpec};
use std::borrow::Borrow;
use std::fmt;

/// What a processor promises under its configuration.
#[derive(Debug, PartialEq)]
pub(crate) struct Promise {
    pub(crate) signature: Signature,
    /// The names of each input's columns; none for a tensor without.
    pub(crate) input_fields: Vec<Vec<Field>>,
    /// The names of each output's columns.
    pub(crate) output_fields: Vec<Vec<Field>>,
}

/// What became of a call, as the plugin says.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) parts: Vec<Part>,
    pub(crate) refusals: Vec<(u32, PluginError)>,
}

/// Samples that were answered together; their number is every tensor's first dimension.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) indices: Vec<u32>,
    pub(crate) tensors: Vec<Tensor>,
}

/// A processor at work. Calls block, on the thread that makes them.
pub struct Processor {
    guest: Guest<track_0_1::Processor>,
}

impl Processor {
    /// Instantiates and configures the plugin.
    pub fn start(plugin: &CompiledPlugin, setup: Setup) -> Result<Self, PluginError> {
        let check = |promise: &Promise| {
            check_specs(promise.signature.inputs.iter().zip(&promise.input_fields))?;
            check_specs(promise.signature.outputs.iter().zip(&promise.output_fields))
        };
        Ok(Self {
            guest: Guest::start(plugin, setup, check)?,
        })
    }

    /// The tensors that the plugin takes and gives under its configuration.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.guest.promise().signature
    }

    /// What the columns of an output's last dimension are called; empty if they have no names.
    #[must_use]
    pub fn output_fields(&self, output: &str) -> &[Field] {
        let promise = self.guest.promise();
        let mut outputs = promise.signature.outputs.iter().zip(&promise.output_fields);
        outputs
            .find(|(spec, _)| spec.name == output)
            .map_or(&[], |(_, fields)| fields.as_slice())
    }

    /// Gives the plugin a sample. Inputs are found by name, in any order; others are ignored. No output at all means
    /// that there is none yet: a window is filling.
    ///
    /// After an error whose [`is_trap`](PluginError::is_trap) is true the plugin is stopped until it is
    /// [restarted](Self::restart).
    pub fn process<T: Borrow<Tensor>>(&mut self, context: &Context, inputs: &[T]) -> Result<Vec<Tensor>, PluginError> {
        let signature = &self.guest.promise().signature;
        let mut bytes = 0;
        for spec in &signature.inputs {
            let tensor = find(inputs, &spec.name)?;
            spec.check(tensor)?;
            bytes += tensor.data().len() as u64;
        }
        check_input_bytes(bytes, self.guest.limits().input_bytes)?;
        let limit_bytes = self.guest.limits().output_bytes;
        let outcome = self
            .guest
            .sample("process", 1, limit_bytes, |exports, store, promise| {
                let given = promise.signature.inputs.iter();
                exports.process_one(
                    store,
                    context,
                    given.filter_map(|spec| find(inputs, &spec.name).ok()),
                    &promise.signature.outputs,
                )
            })?;
        let mut samples = self.settle(1, outcome)?;
        samples.pop().unwrap_or(Ok(Vec::new()))
    }

    /// The most samples that the plugin takes in a call.
    #[must_use]
    pub const fn max_samples(&self) -> usize {
        self.guest.max_batch()
    }

    /// Gives the plugin several samples in one call, at most [`max_samples`](Self::max_samples). Each input has their number as first dimension, in
    /// front of the shape that the signature asks for. The answer has an entry for each sample, as
    /// [`process`](Self::process) would give it.
    ///
    /// An error of the whole call is one of the plugin's or of all samples together: none of them has an answer.
    pub fn process_batch<T: Borrow<Tensor>>(
        &mut self,
        contexts: &[Context],
        inputs: &[T],
    ) -> Result<Vec<Result<Vec<Tensor>, PluginError>>, PluginError> {
        let samples = contexts.len();
        self.guest.check_samples(samples)?;
        let mut bytes = 0;
        for spec in &self.guest.promise().signature.inputs {
            let tensor = find(inputs, &spec.name)?;
            check_batch(spec, samples, tensor)?;
            bytes += tensor.data().len() as u64;
        }
        check_input_bytes(bytes, self.guest.limits().input_bytes)?;
        let limit_bytes = self.guest.limits().output_bytes;
        let outcome = self
            .guest
            .sample("process", samples, limit_bytes, |exports, store, promise| {
                let given = promise.signature.inputs.iter();
                exports.process(
                    store,
                    contexts,
                    given.filter_map(|spec| find(inputs, &spec.name).ok()),
                    &promise.signature.outputs,
                )
            })?;
        self.settle(samples, outcome)
    }

    /// Holds an outcome against the signature and gives each sample its own. One that doesn't fit ends the instance.
    fn settle(
        &mut self,
        samples: usize,
        outcome: Outcome,
    ) -> Result<Vec<Result<Vec<Tensor>, PluginError>>, PluginError> {
        let limit_bytes = self.guest.limits().output_bytes;
        let settled = distribute(&self.guest.promise().signature.outputs, samples, outcome, limit_bytes);
        if settled.is_err() {
            self.guest.stop();
        }
        settled
    }

    /// The plugin's state, at most `state_bytes` of its limits. It is what a restart goes on from.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, PluginError> {
        self.guest.snapshot()
    }

    /// Puts the plugin into an earlier state, on a fresh instance if this one has seen a sample.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), PluginError> {
        self.guest.restore(state)
    }

    /// A fresh instance under the same configuration, in the state of the last snapshot if there is one.
    pub fn restart(&mut self) -> Result<(), PluginError> {
        self.guest.restart()
    }

    /// Whether the plugin can be called. False after a fault, until it is restarted.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.guest.is_running()
    }

    /// What the plugin reported since the last time this was asked, restarts included.
    pub fn take_telemetry(&mut self) -> Telemetry {
        self.guest.take_telemetry()
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("signature", self.signature())
            .finish_non_exhaustive()
    }
}

fn find<'t, T: Borrow<Tensor>>(inputs: &'t [T], name: &str) -> Result<&'t Tensor, TensorError> {
    let mut tensors = inputs.iter().map(Borrow::borrow);
    tensors
        .find(|tensor: &&Tensor| tensor.name() == name)
        .ok_or_else(|| TensorError::Missing {
            name: name.to_owned(),
            present: inputs.iter().map(|tensor| tensor.borrow().name().to_owned()).collect(),
        })
}

pub(crate) fn check_input_bytes(bytes: u64, limit_bytes: u64) -> Result<(), PluginError> {
    if bytes > limit_bytes {
        Err(PluginError::InputTooLarge { bytes, limit_bytes })
    } else {
        Ok(())
    }
}

fn distribute(
    specs: &[TensorSpec],
    samples: usize,
    outcome: Outcome,
    limit_bytes: u64,
) -> Result<Vec<Result<Vec<Tensor>, PluginError>>, PluginError> {
    let tensors = outcome.parts.iter().flat_map(|part| &part.tensors);
    let bytes: u64 = tensors.map(|tensor| tensor.data().len() as u64).sum();
    if bytes > limit_bytes {
        return Err(PluginError::OutputTooLarge {
            function: "process",
            limit_bytes,
        });
    }
    let mut places = unanswered(samples);
    for (sample, error) in outcome.refusals {
        *place(&mut places, sample)? = Some(Err(error));
    }
    for part in outcome.parts {
        check_part(specs, &part)?;
        let count = part.indices.len();
        let mut given: Vec<_> = part
            .tensors
            .into_iter()
            .map(|tensor| Split::new(tensor, count))
            .collect();
        for (index, &sample) in part.indices.iter().enumerate() {
            let tensors: Result<Vec<Tensor>, TensorError> = given.iter_mut().map(|split| split.take(index)).collect();
            let tensors = tensors.map_err(|error| wrong(error.to_string()))?;
            *place(&mut places, sample)? = Some(Ok(tensors));
        }
    }
    Ok(places
        .into_iter()
        .map(|place| place.unwrap_or(Ok(Vec::new())))
        .collect())
}

/// A sample's place in the answer, which has to be free.
fn place<T>(places: &mut [Option<T>], sample: u32) -> Result<&mut Option<T>, PluginError> {
    let count = places.len();
    let found = usize::try_from(sample).ok().and_then(|sample| places.get_mut(sample));
    match found {
        None => Err(wrong(format!("it answers to sample {sample} of a call with {count}"))),
        Some(Some(_)) => Err(wrong(format!("it answers twice to sample {sample} of a call"))),
        Some(free) => Ok(free),
    }
}

/// Holds tensors against the signature.
fn check_part(specs: &[TensorSpec], part: &Part) -> Result<(), PluginError> {
    let count = part.indices.len();
    if count == 0 {
        return Err(wrong("an answer to no sample".to_owned()));
    }
    if part.indices.windows(2).any(|pair| matches!(pair, [a, b] if a >= b)) {
        return Err(wrong("an answer whose samples don't rise".to_owned()));
    }
    for (spec, tensor) in specs.iter().zip(&part.tensors) {
        check_batch(spec, count, tensor).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

fn wrong(reason: String) -> PluginError {
    PluginError::BadOutput {
        function: "process",
        reason,
    }
}
