//! Plugins of the world `processor`: tensors in, tensors out.

use crate::guest::Guest;
use crate::{CompiledPlugin, Context, PluginError, Setup, Telemetry, track_0_1};
use floorhand_tensor::{Signature, Tensor, TensorError, TensorSpec};
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;

/// Tensors that a plugin may take, or give, or watch: more than any pipeline has.
const MAX_TENSORS: usize = 64;

/// Bytes of a tensor's name.
const MAX_NAME_BYTES: usize = 256;

/// Dimensions of a tensor.
const MAX_RANK: usize = 16;

/// A processor at work. Calls block, on the thread that makes them.
pub struct Processor {
    guest: Guest<track_0_1::Processor>,
}

impl Processor {
    /// Instantiates and configures the plugin.
    pub fn start(plugin: &CompiledPlugin, setup: Setup) -> Result<Self, PluginError> {
        let check = |signature: &Signature| {
            check_promise(&signature.inputs)?;
            check_promise(&signature.outputs)
        };
        Ok(Self {
            guest: Guest::start(plugin, setup, check)?,
        })
    }

    /// The tensors that the plugin takes and gives under its configuration.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        self.guest.promise()
    }

    /// Gives the plugin a sample. Inputs are found by name, in any order; others are ignored. No output at all means
    /// that there is none yet: a window is filling.
    ///
    /// After an error whose [`is_trap`](PluginError::is_trap) is true the plugin is stopped until it is
    /// [restarted](Self::restart).
    pub fn process<T: Borrow<Tensor>>(&mut self, context: Context, inputs: &[T]) -> Result<Vec<Tensor>, PluginError> {
        let signature = self.guest.promise();
        let mut bytes = 0;
        for spec in &signature.inputs {
            let tensor = find(inputs, &spec.name)?;
            spec.check(tensor)?;
            bytes += tensor.data().len() as u64;
        }
        check_input_bytes(bytes, self.guest.limits().input_bytes)?;
        let limit_bytes = self.guest.limits().output_bytes;
        let outputs = self.guest.sample("process", limit_bytes, |exports, store, signature| {
            let given = signature.inputs.iter().filter_map(|spec| find(inputs, &spec.name).ok());
            exports.process(store, context, given)
        })?;
        let checked = check_outputs(&self.guest.promise().outputs, &outputs, limit_bytes);
        if let Err(error) = checked {
            self.guest.stop();
            return Err(error);
        }
        Ok(outputs)
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

/// Holds tensors against the signature. None at all is an answer too.
fn check_outputs(specs: &[TensorSpec], outputs: &[Tensor], limit_bytes: u64) -> Result<(), PluginError> {
    let bytes: u64 = outputs.iter().map(|tensor| tensor.data().len() as u64).sum();
    if bytes > limit_bytes {
        return Err(PluginError::OutputTooLarge {
            function: "process",
            limit_bytes,
        });
    }
    if outputs.is_empty() {
        return Ok(());
    }
    let wrong = |reason: String| PluginError::BadOutput {
        function: "process",
        reason,
    };
    if outputs.len() != specs.len() {
        return Err(wrong(format!(
            "{} tensors, and its signature has {}",
            outputs.len(),
            specs.len()
        )));
    }
    for spec in specs {
        let tensor = find(outputs, &spec.name).map_err(|error| wrong(error.to_string()))?;
        spec.check(tensor).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

/// Whether specs that a plugin promises are ones that can be kept and shown.
pub(crate) fn check_promise(specs: &[TensorSpec]) -> Result<(), PluginError> {
    let wrong = |reason: String| {
        Err(PluginError::BadOutput {
            function: "configure",
            reason,
        })
    };
    if specs.len() > MAX_TENSORS {
        return wrong(format!("{} tensors, at most {MAX_TENSORS} are allowed", specs.len()));
    }
    let mut names = BTreeSet::new();
    for spec in specs {
        if !(1..=MAX_NAME_BYTES).contains(&spec.name.len()) {
            return wrong(format!(
                "a tensor's name has {} bytes, not 1 to {MAX_NAME_BYTES}",
                spec.name.len()
            ));
        }
        if spec.shape.len() > MAX_RANK {
            return wrong(format!(
                "tensor {:?} has {} dimensions, over {MAX_RANK}",
                spec.name,
                spec.shape.len()
            ));
        }
        if !names.insert(spec.name.as_str()) {
            return wrong(format!("two tensors are called {:?}", spec.name));
        }
    }
    Ok(())
}
