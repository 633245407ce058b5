//! The world `monitor` of track 0.1.

use super::*;
use crate::guest::{Bounds, Exports, Promised};
use crate::monitor::{Finding, Origin, Phase, Report, Severity, Watch};
use exports::monitoring as wire;

/// An instance's exports.
pub(crate) struct Monitor(wire::Guest);

impl Monitor {
    /// Shows the plugin tensors that have the number of samples in front.
    pub(crate) fn observe<'t>(
        &self,
        store: &mut Store<Sandbox>,
        at: &[Context],
        tensors: impl Iterator<Item = &'t Tensor> + Clone,
    ) -> Answer<Report> {
        let inputs = Inputs::of_batch(tensors.clone());
        self.call(store, at, &inputs.lower(tensors, 0))
    }

    /// Shows the plugin the tensors of one sample, in the shape of one sample.
    pub(crate) fn observe_one<'t>(
        &self,
        store: &mut Store<Sandbox>,
        at: &Context,
        tensors: impl Iterator<Item = &'t Tensor> + Clone,
    ) -> Answer<Report> {
        let inputs = Inputs::of_one(tensors.clone());
        self.call(store, std::slice::from_ref(at), &inputs.lower(tensors, 1))
    }

    fn call(&self, store: &mut Store<Sandbox>, at: &[Context], tensors: &[types::TensorParam<'_>]) -> Answer<Report> {
        let answer = self.0.call_observe(store, &contexts(at), tensors)?;
        Ok(answer.map_err(error).map(|report| Report {
            findings: report.findings.into_iter().map(finding).collect(),
            refusals: refusals(report.refusals),
        }))
    }
}

impl Exports for Monitor {
    const NAME: &'static str = World::Monitor.name();
    type Promise = Vec<Watch>;

    fn instantiate(plugin: &CompiledPlugin, store: &mut Store<Sandbox>) -> Option<wasmtime::Result<Self>> {
        let Linked::Monitor(ready) = &*plugin.linked else {
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
        let specs = known.specs(&setup.given, &fields);
        let given = setup.given.iter().zip(specs).map(|(given, spec)| wire::WatchParam {
            origin: origin_in(given.origin),
            spec,
        });
        let (given, assets) = (given.collect::<Vec<_>>(), assets(&setup.assets));
        let answer = self.0.call_configure(store, &setup.config, &assets, &given)?;
        Ok(answer.map_err(setup_error).and_then(|subscription| {
            let watches = subscription.watches.into_iter().map(watch);
            let bounds = Bounds {
                state_bytes: subscription.state_bytes,
                max_batch: subscription.max_samples,
            };
            Ok((watches.collect::<Result<_, _>>()?, bounds))
        }))
    }

    fn snapshot(&self, store: &mut Store<Sandbox>) -> Answer<Vec<u8>> {
        Ok(self.0.call_snapshot(store)?.map_err(error))
    }

    fn restore(&self, store: &mut Store<Sandbox>, state: &[u8]) -> Answer<()> {
        Ok(self.0.call_restore(store, state)?.map_err(setup_error))
    }
}

fn origin_in(origin: Origin) -> wire::Origin {
    match origin {
        Origin::Input => wire::Origin::Input,
        Origin::Features => wire::Origin::Features,
        Origin::Prediction => wire::Origin::Prediction,
        Origin::Output => wire::Origin::Output,
    }
}

fn watch(watch: wire::WatchResult) -> Result<Watch, PluginError> {
    let (spec, fields) = spec(watch.spec)?;
    let origin = match watch.origin {
        wire::Origin::Input => Origin::Input,
        wire::Origin::Features => Origin::Features,
        wire::Origin::Prediction => Origin::Prediction,
        wire::Origin::Output => Origin::Output,
        wire::Origin::Label => {
            let text = format!(
                "it watches the label {:?}, and this agent has no source of labels",
                spec.name
            );
            return Err(PluginError::BadConfig(reason(text)));
        }
    };
    Ok(Watch { origin, spec, fields })
}

fn finding(finding: wire::Finding) -> (u32, Finding) {
    let severity = match finding.severity {
        wire::Severity::Info => Severity::Info,
        wire::Severity::Warning => Severity::Warning,
        wire::Severity::Alarm => Severity::Alarm,
    };
    let phase = match finding.phase {
        wire::Phase::Once => Phase::Once,
        wire::Phase::Raised => Phase::Raised,
        wire::Phase::Cleared => Phase::Cleared,
    };
    let details = finding.details.into_iter().map(|detail| (detail.name, detail.value));
    let found = Finding {
        kind: finding.kind,
        severity,
        phase,
        watch: finding.watch,
        subject: finding.subject,
        value: finding.value,
        threshold: finding.threshold,
        unit: finding.unit,
        message: finding.message,
        details: details.collect(),
    };
    (finding.index, found)
}
