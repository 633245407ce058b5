//! The world `monitor` of track 0.1.

use super::*;
use monitor_bindings::Monitor as Bindings;
use monitor_types as types;

conversions!(types);

/// An instance's exports.
pub(crate) struct Monitor(Bindings);

impl Monitor {
    pub(crate) fn observe<'t>(
        &self,
        store: &mut Store<Sandbox>,
        at: Context,
        tensors: impl Iterator<Item = (&'t str, &'t Tensor)>,
    ) -> Answer<Vec<Finding>> {
        let tensors: Vec<types::Tensor<'_>> = tensors.map(|(name, tensor)| tensor_in(name, tensor)).collect();
        let observation = monitor_bindings::Observation {
            context: context(at),
            tensors: &tensors,
        };
        let answer = self.0.call_observe(store, observation)?;
        Ok(answer
            .map_err(error)
            .map(|findings| findings.into_iter().map(finding).collect()))
    }
}

impl Exports for Monitor {
    const NAME: &'static str = World::Monitor.name();
    type Promise = Vec<Watch>;

    fn instantiate(plugin: &CompiledPlugin, store: &mut Store<Sandbox>) -> Option<wasmtime::Result<Self>> {
        match &plugin.linked {
            Linked::Monitor(pre) => Some(pre.instantiate(store).map(Self)),
            Linked::Processor(_) => None,
        }
    }

    fn configure(&self, store: &mut Store<Sandbox>, setup: &Setup) -> Answer<(Vec<Watch>, u32)> {
        let answer = self.0.call_configure(store, &setup.config, &assets(&setup.assets))?;
        Ok(answer.map_err(error).map(|subscription| {
            (
                subscription.watches.into_iter().map(watch).collect(),
                subscription.state_bytes,
            )
        }))
    }

    fn snapshot(&self, store: &mut Store<Sandbox>) -> wasmtime::Result<Vec<u8>> {
        self.0.call_snapshot(store)
    }

    fn restore(&self, store: &mut Store<Sandbox>, state: &[u8]) -> Answer<()> {
        Ok(self.0.call_restore(store, state)?.map_err(error))
    }
}

fn tensor_in<'t>(name: &'t str, tensor: &'t Tensor) -> types::Tensor<'t> {
    types::Tensor {
        name,
        datatype: datatype_in(tensor.datatype()),
        shape: tensor.shape(),
        data: tensor.data(),
    }
}

fn watch(watch: monitor_bindings::Watch) -> Watch {
    let origin = match watch.origin {
        monitor_bindings::Origin::Input => Origin::Input,
        monitor_bindings::Origin::Features => Origin::Features,
        monitor_bindings::Origin::Output => Origin::Output,
    };
    Watch {
        origin,
        spec: spec(watch.spec),
    }
}

fn finding(finding: monitor_bindings::Finding) -> Finding {
    let severity = match finding.severity {
        monitor_bindings::Severity::Info => Severity::Info,
        monitor_bindings::Severity::Warning => Severity::Warning,
        monitor_bindings::Severity::Alarm => Severity::Alarm,
    };
    Finding {
        kind: finding.kind,
        severity,
        subject: finding.subject,
        value: finding.value,
        threshold: finding.threshold,
        message: finding.message,
    }
}
