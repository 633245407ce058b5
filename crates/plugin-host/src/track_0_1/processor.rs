//! The world `processor` of track 0.1.

use super::*;
use processor_bindings::Processor as Bindings;
use processor_types as types;

conversions!(types);

/// An instance's exports.
pub(crate) struct Processor(Bindings);

impl Processor {
    pub(crate) fn process<'t>(
        &self,
        store: &mut Store<Sandbox>,
        at: Context,
        tensors: impl Iterator<Item = &'t Tensor>,
    ) -> Answer<Vec<Tensor>> {
        let inputs: Vec<types::TensorParam<'_>> = tensors.map(tensor_in).collect();
        let answer = self.0.call_process(store, context(at), &inputs)?;
        Ok(answer
            .map_err(error)
            .and_then(|tensors| tensors.into_iter().map(tensor_out).collect()))
    }
}

impl Exports for Processor {
    const NAME: &'static str = World::Processor.name();
    type Promise = Signature;

    fn instantiate(plugin: &CompiledPlugin, store: &mut Store<Sandbox>) -> Option<wasmtime::Result<Self>> {
        match &plugin.linked {
            Linked::Processor(pre) => Some(pre.instantiate(store).map(Self)),
            Linked::Monitor(_) => None,
        }
    }

    fn configure(&self, store: &mut Store<Sandbox>, setup: &Setup) -> Answer<(Signature, u32)> {
        let answer = self.0.call_configure(store, &setup.config, &assets(&setup.assets))?;
        Ok(answer.map_err(error).map(|signature| {
            let specs = |specs: Vec<types::TensorSpec>| specs.into_iter().map(spec).collect();
            let promise = Signature {
                inputs: specs(signature.inputs),
                outputs: specs(signature.outputs),
            };
            (promise, signature.state_bytes)
        }))
    }

    fn snapshot(&self, store: &mut Store<Sandbox>) -> wasmtime::Result<Vec<u8>> {
        self.0.call_snapshot(store)
    }

    fn restore(&self, store: &mut Store<Sandbox>, state: &[u8]) -> Answer<()> {
        Ok(self.0.call_restore(store, state)?.map_err(error))
    }
}

fn tensor_in(tensor: &Tensor) -> types::TensorParam<'_> {
    types::TensorParam {
        name: tensor.name(),
        datatype: datatype_in(tensor.datatype()),
        shape: tensor.shape(),
        data: tensor.data(),
    }
}

fn tensor_out(tensor: types::TensorResult) -> Result<Tensor, PluginError> {
    Tensor::new(tensor.name, datatype_out(tensor.datatype), tensor.shape, tensor.data).map_err(|error| {
        PluginError::BadOutput {
            function: "process",
            reason: error.to_string(),
        }
    })
}
