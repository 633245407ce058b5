//! The world `processor` of track 0.1.

use super::*;
use crate::guest::{Bounds, Exports, Promised};
use crate::processor::{Outcome, Part, Promise};
use floorhand_tensor::Signature;

/// An instance's exports.
pub(crate) struct Processor(exports::processing::Guest);

impl Processor {
    /// Gives the plugin tensors that have the number of samples in front.
    pub(crate) fn process<'t>(
        &self,
        store: &mut Store<Sandbox>,
        at: &[Context],
        tensors: impl Iterator<Item = &'t Tensor> + Clone,
        outputs: &[TensorSpec],
    ) -> Answer<Outcome> {
        let inputs = Inputs::of_batch(tensors.clone());
        self.call(store, at, &inputs.lower(tensors, 0), outputs)
    }

    /// Gives the plugin the tensors of one sample, in the shape of one sample.
    pub(crate) fn process_one<'t>(
        &self,
        store: &mut Store<Sandbox>,
        at: &Context,
        tensors: impl Iterator<Item = &'t Tensor> + Clone,
        outputs: &[TensorSpec],
    ) -> Answer<Outcome> {
        let inputs = Inputs::of_one(tensors.clone());
        self.call(store, std::slice::from_ref(at), &inputs.lower(tensors, 1), outputs)
    }

    fn call(
        &self,
        store: &mut Store<Sandbox>,
        at: &[Context],
        inputs: &[types::TensorParam<'_>],
        outputs: &[TensorSpec],
    ) -> Answer<Outcome> {
        let answer = self.0.call_process(store, &contexts(at), inputs)?;
        Ok(answer.map_err(error).and_then(|found| outcome(found, outputs)))
    }
}

impl Exports for Processor {
    const NAME: &'static str = World::Processor.name();
    type Promise = Promise;

    fn instantiate(plugin: &CompiledPlugin, store: &mut Store<Sandbox>) -> Option<wasmtime::Result<Self>> {
        let Linked::Processor(ready) = &*plugin.linked else {
            return None;
        };
        let instance = ready.instance.instantiate(&mut *store);
        Some(
            instance
                .and_then(|instance| ready.indices.load(store, &instance))
                .map(Self),
        )
    }

    fn configure(&self, store: &mut Store<Sandbox>, setup: &Setup) -> Answer<Promised<Self>> {
        let (known, fields) = (Known::new(&setup.given), Known::fields(&setup.given));
        let given = known.specs(&setup.given, &fields);
        let assets = assets(&setup.assets);
        let answer = self.0.call_configure(store, &setup.config, &assets, &given)?;
        Ok(answer.map_err(setup_error).and_then(|signature| {
            let (inputs, input_fields) = specs(signature.inputs)?;
            let (outputs, output_fields) = specs(signature.outputs)?;
            let promise = Promise {
                signature: Signature { inputs, outputs },
                input_fields,
                output_fields,
            };
            let bounds = Bounds {
                state_bytes: signature.state_bytes,
                max_batch: signature.max_samples,
            };
            Ok((promise, bounds))
        }))
    }

    fn snapshot(&self, store: &mut Store<Sandbox>) -> Answer<Vec<u8>> {
        Ok(self.0.call_snapshot(store)?.map_err(error))
    }

    fn restore(&self, store: &mut Store<Sandbox>, state: &[u8]) -> Answer<()> {
        Ok(self.0.call_restore(store, state)?.map_err(setup_error))
    }
}

fn outcome(outcome: exports::processing::Outcome, outputs: &[TensorSpec]) -> Result<Outcome, PluginError> {
    let part = |answer: exports::processing::Answer| -> Result<Part, PluginError> {
        Ok(Part {
            tensors: tensors_out("process", outputs, answer.tensors)?,
            indices: answer.indices,
        })
    };
    Ok(Outcome {
        parts: outcome.answers.into_iter().map(part).collect::<Result<_, _>>()?,
        refusals: refusals(outcome.refusals),
    })
}
