//! Getting a generation's parts: its model, and stages that follow each other and fit.

use crate::error::LoadError;
use crate::held::Held;
use crate::stage::{Read, Stage};
use crate::state::State;
use floorhand_bundle::{InputSpec, ModelSpec, StageSpec};
use floorhand_inference::{Engine, LoadOptions, Model, Session};
use floorhand_plugin_host::{Field, Given, Host, Origin, Processor};
use floorhand_tensor::{Signature, TensorSpec};

/// Reads a model's signature, every open dimension taken as 1.
pub fn model_signature(onnx: &[u8]) -> Result<Signature, String> {
    Model::load(onnx, &LoadOptions::default())
        .map(|model| model.signature().clone())
        .map_err(|error| error.to_string())
}

/// Each stage takes what the one before gives. Returns what the last one gives, and its name.
pub(crate) fn check_chain(
    stages: &[Stage<Processor>],
    mut given: Vec<TensorSpec>,
    producer: &str,
) -> Result<(Vec<TensorSpec>, String), LoadError> {
    let mut producer = producer.to_owned();
    for stage in stages {
        stage.plugin.signature().check_fed_by(stage.name(), &given, &producer)?;
        stage.check_bypass()?;
        given.clone_from(&stage.plugin.signature().outputs);
        stage.name().clone_into(&mut producer);
    }
    Ok((given, producer))
}

/// Loads stages that follow each other, each of which is told what the one before gives. Also gives what the last one gives.
pub(crate) fn load_stages(
    specs: &[StageSpec],
    read: &mut Read<'_>,
    host: &Host,
    mut given: Vec<Given>,
) -> Result<(Vec<Stage<Processor>>, Vec<Given>), LoadError> {
    let mut stages = Vec::with_capacity(specs.len());
    for spec in specs {
        let stage = Stage::<Processor>::load(spec, read, host, &given)?;
        given = stage.gives();
        stages.push(stage);
    }
    Ok((stages, given))
}

/// A sample's input, with names for its columns where its fields are that.
pub(crate) fn given_input(input: &InputSpec) -> Given {
    let plain = given_plain(input.tensor.clone());
    let width = plain.spec.shape.last().map(|&last| i64::from(last));
    if width != i64::try_from(input.fields.len()).ok() {
        return plain;
    }
    let field = |name: &String| Field {
        name: name.clone(),
        unit: String::new(),
    };
    Given {
        fields: input.fields.iter().map(field).collect(),
        ..plain
    }
}

pub(crate) const fn given_plain(spec: TensorSpec) -> Given {
    Given {
        origin: Origin::Input,
        spec,
        fields: Vec::new(),
    }
}

pub(crate) fn load_model(
    spec: &ModelSpec,
    read: &mut Read<'_>,
    engine: &dyn Engine,
) -> Result<Box<dyn Session>, LoadError> {
    let component = spec.component.to_string();
    let onnx = read(&spec.component).map_err(|problem| LoadError::Component {
        stage: "model".to_owned(),
        component: component.clone(),
        problem,
    })?;
    let model = engine
        .load(&onnx, &LoadOptions::of(&spec.signature))
        .map_err(|error| LoadError::Model {
            component: component.clone(),
            source: Box::new(error),
        })?;
    if *model.signature() == spec.signature {
        return Ok(model);
    }
    Held::to(spec.signature.clone(), model).map_err(|model| {
        let (expected, actual) = (signature_text(&spec.signature), signature_text(model.signature()));
        LoadError::Signature {
            component,
            expected,
            actual,
        }
    })
}

/// What a model takes of a sample and gives for it, and its state where it has one.
pub(crate) fn load_state(spec: &ModelSpec) -> Result<(Signature, Option<State>), LoadError> {
    spec.check_state().map_err(|problem| LoadError::State {
        component: spec.component.to_string(),
        problem,
    })?;
    Ok((spec.signature_of_a_sample(), State::of(spec)?))
}

fn signature_text(signature: &Signature) -> String {
    let list = |specs: &[TensorSpec]| {
        specs
            .iter()
            .map(|spec| format!("{} {spec}", spec.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!("({}) -> ({})", list(&signature.inputs), list(&signature.outputs))
}
