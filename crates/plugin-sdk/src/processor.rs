//! The world `processor`: tensors in, tensors out.

use crate::bindings::processor::exports::floorhand::plugin::processing as wire;
use crate::bindings::processor::floorhand::plugin::types;
use crate::{
    Assets, Context, Error, Outcome, Refusal, Signature, Tensor, TensorSpec, batch, instance::instance, state,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// A plugin that turns tensors into tensors.
pub trait Processor: Sized {
    /// The configuration's JSON object. `()` takes `null` only: use a struct without fields for "nothing to configure".
    type Config: DeserializeOwned + JsonSchema;

    /// Makes the plugin ready, or says with [`Error::BadConfig`] what is wrong with which key.
    fn configure(config: Self::Config, assets: &Assets) -> Result<Self, Error>;

    /// The same, knowing what the stage before gives. Override it where that makes keys of the configuration superfluous.
    fn configure_given(config: Self::Config, assets: &Assets, _given: &[TensorSpec]) -> Result<Self, Error> {
        Self::configure(config, assets)
    }

    /// The tensors it takes and gives under this configuration, and the most bytes that a snapshot can have.
    fn signature(&self) -> Signature;

    /// The most samples that a call may hold. By default so many that their tensors have room, as far as their sizes are known.
    fn max_samples(&self) -> u32 {
        let signature = self.signature();
        batch::most(0, 1, signature.inputs.iter().chain(&signature.outputs))
    }

    /// Works on one sample. Inputs are those of the signature; find them by name ([`take`](crate::take)). No outputs
    /// mean "not yet".
    fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error>;

    /// Works on all samples of a call, whose tensors have the number of samples as first dimension. By default each goes
    /// through [`process`](Self::process). Override it where several at once are quicker; what comes out has to be the
    /// same.
    fn process_batch(&mut self, samples: Vec<Context>, inputs: Vec<Tensor>) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        let inputs = batch::split(samples.len(), inputs)?;
        for ((index, context), inputs) in (0..).zip(samples).zip(inputs) {
            match self.process(context, inputs) {
                Ok(outputs) if outputs.is_empty() => {}
                Ok(outputs) => batch::join(&mut outcome.answers, index, outputs),
                Err(error) => outcome.refusals.push(Refusal { index, error }),
            }
        }
        Ok(outcome)
    }

    /// All that later answers depend on besides the configuration. Empty by default.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Goes on from a snapshot that was taken under the same configuration. By default only an empty one is taken.
    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        state::none(state)
    }
}

instance!(Processor, Signature, signature, TensorSpec);

impl<P: Processor> Instance<P> {
    /// Hands over one sample; [`Error::NotReady`] before `configure`.
    pub fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        self.configured()?.0.process(context, inputs)
    }

    /// A call as the host makes it: all samples at once, their number as first dimension of each tensor.
    pub fn call(&mut self, samples: Vec<Context>, inputs: Vec<Tensor>) -> Result<Outcome, Error> {
        self.configured()?.0.process_batch(samples, inputs)
    }

    #[doc(hidden)]
    pub fn exported_configure(
        &mut self,
        text: &str,
        assets: Vec<crate::Asset>,
        given: Vec<types::TensorSpec>,
    ) -> Result<wire::Signature, Error> {
        let given = given.into_iter().map(TensorSpec::from_wire).collect();
        let signature = self.configure_given(text, assets, given)?;
        let specs = |specs: Vec<TensorSpec>| specs.into_iter().map(TensorSpec::into_wire).collect();
        Ok(wire::Signature {
            max_samples: self.configured()?.0.max_samples(),
            inputs: specs(signature.inputs),
            outputs: specs(signature.outputs),
            state_bytes: signature.state_bytes,
        })
    }

    #[doc(hidden)]
    pub fn exported_process(
        &mut self,
        samples: Vec<Context>,
        inputs: Vec<types::Tensor>,
    ) -> Result<wire::Outcome, Error> {
        let (plugin, signature) = self.configured()?;
        let inputs = Tensor::named(signature.inputs.iter().map(|spec| spec.name.as_str()), inputs);
        let outcome = plugin.process_batch(samples, inputs)?;
        let mut answers = Vec::with_capacity(outcome.answers.len());
        for answer in outcome.answers {
            let names = signature.outputs.iter().map(|spec| spec.name.as_str());
            answers.push(wire::Answer {
                indices: answer.indices,
                tensors: Tensor::ordered(names, answer.tensors)?,
            });
        }
        Ok(wire::Outcome {
            answers,
            refusals: outcome.refusals,
        })
    }
}
