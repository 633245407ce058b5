//! The engines that a machine has, and which of them runs a bundle's model.
//!
//! tract is always there. Others are offered by whoever runs the machine; what a bundle asks for only chooses among them.

use crate::error::LoadError;
use crate::loading::load_model;
use crate::probe::{Probe, Probed};
use crate::stage::Read;
use floorhand_bundle::{EngineName, ModelSpec};
use floorhand_inference::{Engine, Session, Tract};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why an engine that nobody has offered isn't there.
const NOT_OFFERED: &str = "this machine doesn't offer it";

/// An engine that a bundle would rather have run its model, and why it doesn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The engine.
    pub engine: EngineName,
    /// Why it isn't there, or what it says of the model.
    pub reason: String,
}

/// The engines of a machine.
#[derive(Debug, Clone)]
pub struct Engines {
    offered: BTreeMap<EngineName, Result<Arc<dyn Engine>, String>>,
}

/// A model that is loaded, and in what.
pub(crate) struct Chosen<'e> {
    pub(crate) session: Box<dyn Session>,
    pub(crate) engine: &'e dyn Engine,
    pub(crate) passed_over: Vec<PassedOver>,
}

impl Default for Engines {
    /// tract alone.
    fn default() -> Self {
        let tract: Arc<dyn Engine> = Arc::new(Tract);
        Self {
            offered: [(EngineName::tract(), Ok(tract))].into(),
        }
    }
}

impl Engines {
    /// These, and another one; or why it can't be had.
    #[must_use]
    pub fn with(mut self, name: EngineName, engine: Result<Arc<dyn Engine>, String>) -> Self {
        self.offered.insert(name, engine);
        self
    }

    /// The same engines, each of which a model has to have been loaded in by a process of its own before it is loaded in this one.
    /// One that another process can't have stays as it is.
    #[must_use]
    pub fn apart(self, probe: &Arc<Probe>) -> Self {
        let apart = |(name, engine): (EngineName, Result<Arc<dyn Engine>, String>)| {
            let engine = engine.map(|engine| {
                if name != EngineName::tract() && engine.library().is_none() {
                    return engine;
                }
                let probe = Arc::clone(probe);
                Arc::new(Probed { probe, engine }) as Arc<dyn Engine>
            });
            (name, engine)
        };
        Self {
            offered: self.offered.into_iter().map(apart).collect(),
        }
    }

    /// An engine by its name, or why it isn't there.
    pub fn find(&self, name: &EngineName) -> Result<&Arc<dyn Engine>, String> {
        match self.offered.get(name) {
            Some(Ok(engine)) => Ok(engine),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err(NOT_OFFERED.to_owned()),
        }
    }

    /// Each engine that is there as it calls itself, and each that was offered and can't be had with the reason.
    pub fn list(&self) -> impl Iterator<Item = (&EngineName, Result<&str, &str>)> {
        self.offered.iter().map(|(name, engine)| {
            let engine = engine.as_ref().map(|engine| engine.name());
            (name, engine.map_err(String::as_str))
        })
    }

    /// Loads the model in the first of the engines that the bundle names which is there and takes it.
    pub(crate) fn load(&self, spec: &ModelSpec, read: &mut Read<'_>) -> Result<Chosen<'_>, LoadError> {
        let mut passed_over = Vec::new();
        let wanted = spec.engines();
        for (place, name) in wanted.iter().enumerate() {
            let reason = match self.find(name) {
                Ok(engine) => match load_model(spec, read, engine.as_ref()) {
                    Ok(session) => {
                        return Ok(Chosen {
                            session,
                            engine: engine.as_ref(),
                            passed_over,
                        });
                    }
                    Err(error) if wanted.len() == 1 => return Err(error),
                    Err(error) => error.to_string(),
                },
                Err(reason) => reason,
            };
            tracing::debug!(engine = %name, reason, place, "an engine is passed over");
            passed_over.push(PassedOver {
                engine: name.clone(),
                reason,
            });
        }
        let wanted: Vec<&str> = wanted.iter().map(EngineName::as_str).collect();
        let reasons = passed_over
            .iter()
            .map(|PassedOver { engine, reason }| format!("{engine}: {reason}"));
        Err(LoadError::NoEngine {
            component: spec.component.to_string(),
            wanted: wanted.join(", "),
            reasons: reasons.collect::<Vec<_>>().join("; "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Elsewhere;

    impl Engine for Elsewhere {
        fn name(&self) -> &'static str {
            "elsewhere 1.0"
        }

        fn load(
            &self,
            onnx: &[u8],
            options: &floorhand_inference::LoadOptions,
        ) -> Result<Box<dyn Session>, floorhand_inference::InferenceError> {
            Tract.load(onnx, options)
        }
    }

    fn names(list: &[&str]) -> Vec<EngineName> {
        list.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn load<'e>(engines: &'e Engines, wanted: &[&str], onnx: &[u8]) -> Result<Chosen<'e>, LoadError> {
        let spec = ModelSpec {
            component: "m.onnx".parse().unwrap(),
            signature: floorhand_inference::Model::load(ADD, &floorhand_inference::LoadOptions::default())
                .unwrap()
                .signature()
                .clone(),
            allow_nan: false,
            engines: names(wanted),
            state: Vec::new(),
        };
        engines.load(&spec, &mut |_| Ok(onnx.to_vec()))
    }

    /// y = x + x, of one FP32.
    const ADD: &[u8] = &[
        0x08, 0x08, 0x3a, 0x35, 0x0a, 0x0e, 0x0a, 0x01, b'x', 0x0a, 0x01, b'x', 0x12, 0x01, b'y', 0x22, 0x03, b'A',
        b'd', b'd', 0x12, 0x01, b'g', 0x5a, 0x0f, 0x0a, 0x01, b'x', 0x12, 0x0a, 0x0a, 0x08, 0x08, 0x01, 0x12, 0x04,
        0x0a, 0x02, 0x08, 0x01, 0x62, 0x0f, 0x0a, 0x01, b'y', 0x12, 0x0a, 0x0a, 0x08, 0x08, 0x01, 0x12, 0x04, 0x0a,
        0x02, 0x08, 0x01, 0x42, 0x04, 0x0a, 0x00, 0x10, 0x0d,
    ];

    #[test]
    fn a_bundle_that_names_none_runs_in_tract_whatever_is_offered() {
        let engines = Engines::default().with(EngineName::onnxruntime(), Ok(Arc::new(Elsewhere)));
        let chosen = load(&engines, &[], ADD).unwrap();
        assert_eq!((chosen.engine.name(), chosen.passed_over.len()), ("tract", 0));
    }

    #[test]
    fn the_first_that_is_there_and_takes_the_model_runs_it() {
        let offered = Engines::default().with(EngineName::onnxruntime(), Ok(Arc::new(Elsewhere)));
        let chosen = load(&offered, &["onnxruntime", "tract"], ADD).unwrap();
        assert_eq!((chosen.engine.name(), chosen.passed_over.len()), ("elsewhere 1.0", 0));
        let broken = Engines::default().with(EngineName::onnxruntime(), Err("no such file".to_owned()));
        for (engines, reason) in [(&broken, "no such file"), (&Engines::default(), NOT_OFFERED)] {
            let chosen = load(engines, &["onnxruntime", "tract"], ADD).unwrap();
            assert_eq!(chosen.engine.name(), "tract");
            assert_eq!(chosen.passed_over[0].reason, reason);
        }
    }

    #[test]
    fn where_none_is_there_each_is_named_with_its_reason() {
        let broken = Engines::default().with(EngineName::onnxruntime(), Err("no such file".to_owned()));
        let error = load(&broken, &["onnxruntime"], ADD).err().unwrap().to_string();
        assert!(error.contains("onnxruntime: no such file"), "{error}");
        let error = load(&broken, &["of-tomorrow", "onnxruntime"], ADD)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("of-tomorrow: this machine doesn't offer it; onnxruntime: no such file"),
            "{error}"
        );
        // What its only engine says of a model is said as it is.
        let error = load(&broken, &[], b"\x08\x08").err().unwrap().to_string();
        assert!(error.contains("there is no graph in it"), "{error}");
    }
}
