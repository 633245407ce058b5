//! One generation's stages, put together, and a sample's way through them.

use crate::Sample;
use crate::decode::DecodeError;
use crate::error::{LoadError, SampleError};
use crate::stage::{Read, Stage, StageEvent, StageTelemetry};
use floorhand_bundle::{Gates, Golden, InputSpec, ModelSpec, PipelineSpec, StageSpec};
use floorhand_inference::{LoadOptions, Model};
use floorhand_plugin_host::{Context, Field, Finding, Given, Host, Monitor, Origin, Processor};
use floorhand_tensor::{Dim, Signature, Tensor, TensorError, TensorSpec};
use std::time::Instant;

/// What came of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The outputs of the last stage.
    Result(Vec<Tensor>),
    /// A stage is filling a window: there is no result for this sample, and nothing is wrong.
    NotYet,
    /// No result.
    Failed(SampleError),
}

/// A finding and the monitor that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct StageFinding {
    /// The monitor's stage.
    pub stage: String,
    /// What it found.
    pub finding: Finding,
}

/// All that came of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Processed {
    /// The sample's number in this pipeline.
    pub sequence: u64,
    /// The result.
    pub outcome: Outcome,
    /// What the monitors found.
    pub findings: Vec<StageFinding>,
    /// Faults of plugins.
    pub events: Vec<StageEvent>,
    /// The time from the decoded sample to here, in microseconds.
    pub latency_us: u64,
}

/// What to do about a model's input that isn't finite.
const MISSING: &str = "send the value, fill it in before the model, or set allow_nan in [model] if it was trained with \
                       missing values";
/// What to do about a model's output that isn't finite.
const OVERFLOW: &str = "the model has no answer to this sample; check that its inputs lie where it was trained";

/// One generation of a bundle, loaded. It may move between threads; a sample's way blocks the one it is on.
pub struct Pipeline {
    inputs: Vec<InputSpec>,
    preprocess: Vec<Stage<Processor>>,
    model: Model,
    allow_nan: bool,
    postprocess: Vec<Stage<Processor>>,
    monitors: Vec<Stage<Monitor>>,
    /// Whether the model's outputs have to be kept beside those of postprocessing.
    predictions_seen: bool,
    sequence: u64,
}

/// The tensors of a sample as far as it got.
#[derive(Default)]
struct Seen {
    features: Option<Vec<Tensor>>,
    /// What the model gave, where something comes behind it and a monitor wants to see it.
    prediction: Option<Vec<Tensor>>,
    outputs: Option<Vec<Tensor>>,
}

impl Pipeline {
    /// Loads every stage and checks that they fit. `read` gives components by name.
    pub fn load(
        spec: &PipelineSpec,
        read: &mut dyn FnMut(&floorhand_bundle::ComponentName) -> Result<Vec<u8>, String>,
        host: &Host,
    ) -> Result<Self, LoadError> {
        let model = load_model(&spec.model, read)?;
        let inputs: Vec<Given> = spec.inputs.iter().map(given_input).collect();
        let (preprocess, features) = load_stages(&spec.preprocess, read, host, inputs.clone())?;
        let prediction = model.signature().outputs.iter().cloned().map(given_plain).collect();
        let (postprocess, output) = load_stages(&spec.postprocess, read, host, Vec::clone(&prediction))?;
        let watchable = [
            (Origin::Input, inputs),
            (Origin::Features, features),
            (Origin::Prediction, prediction),
            (Origin::Output, output),
        ];
        let watchable = watchable.into_iter().flat_map(|(origin, given)| {
            let seen = move |given| Given { origin, ..given };
            given.into_iter().map(seen)
        });
        let watchable: Vec<Given> = watchable.collect();
        let monitors = spec
            .monitors
            .iter()
            .map(|spec| Stage::<Monitor>::load(spec, read, host, &watchable))
            .collect::<Result<Vec<_>, _>>()?;
        let watches = monitors.iter().flat_map(|stage| stage.plugin.watches());
        let predictions_seen =
            !postprocess.is_empty() && watches.into_iter().any(|watch| watch.origin == Origin::Prediction);
        let pipeline = Self {
            inputs: spec.inputs.clone(),
            preprocess,
            model,
            allow_nan: spec.model.allow_nan,
            postprocess,
            monitors,
            predictions_seen,
            sequence: 0,
        };
        pipeline.check_fit()?;
        Ok(pipeline)
    }

    /// What a sample has to be.
    #[must_use]
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// The tensors that a result is made of.
    #[must_use]
    pub fn outputs(&self) -> &[TensorSpec] {
        self.postprocess
            .last()
            .map_or(&self.model.signature().outputs, |stage| {
                &stage.plugin.signature().outputs
            })
    }

    /// Checks that tolerances and gates name outputs that there are: what names none would pass, or fail on the device.
    pub fn check_named_outputs(&self, golden: &Golden, gates: &Gates) -> Result<(), LoadError> {
        let tolerances = golden.tolerances.keys().map(|name| ("golden.tolerances", name));
        let gate = gates.disagreement.iter();
        let gate = gate.map(|gate| ("gates.disagreement.output", &gate.output));
        for (key, name) in tolerances.chain(gate) {
            if !self.outputs().iter().any(|output| output.name == *name) {
                let known: Vec<&str> = self.outputs().iter().map(|output| output.name.as_str()).collect();
                return Err(LoadError::UnknownOutput {
                    key,
                    name: name.clone(),
                    known: known.join(", "),
                });
            }
        }
        Ok(())
    }

    /// Takes a sample through every stage. `now_ms` is on a clock that only goes forward; breakers go by it.
    pub fn process(&mut self, sample: &Sample, now_ms: u64) -> Processed {
        let started = Instant::now();
        let sequence = self.sequence;
        self.sequence += 1;
        let mut context = Context {
            sequence,
            time_ns: sample.time_ns,
            gap: false,
            key: sample.key.clone(),
            id: Some(&sample.id).filter(|id| !id.is_empty()).cloned(),
        };
        let mut events = Vec::new();
        let mut seen = Seen::default();
        let ended = self.run(sample, &mut context, now_ms, &mut events, &mut seen);
        let findings = self.observe(sample, &seen, &mut context, now_ms, ended.is_err(), &mut events);
        let outcome = match ended {
            Ok(()) => seen.outputs.map_or(Outcome::NotYet, Outcome::Result),
            Err(error) => Outcome::Failed(error),
        };
        let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Processed {
            sequence,
            outcome,
            findings,
            events,
            latency_us,
        }
    }

    /// The same with what came of decoding it. What is no sample reaches no stage and has no number of its own.
    pub(crate) fn process_decoded(&mut self, sample: &Result<Sample, DecodeError>, now_ms: u64) -> Processed {
        match sample {
            Ok(sample) => self.process(sample, now_ms),
            Err(error) => {
                self.preprocess
                    .iter_mut()
                    .chain(&mut self.postprocess)
                    .for_each(Stage::miss);
                self.monitors.iter_mut().for_each(Stage::miss);
                Processed {
                    sequence: self.sequence,
                    outcome: Outcome::Failed(error.clone().into()),
                    findings: Vec::new(),
                    events: Vec::new(),
                    latency_us: 0,
                }
            }
        }
    }

    /// Runs the model once on zeros.
    pub fn warm_up(&mut self) -> Result<(), SampleError> {
        self.model
            .warm_up()
            .map_err(|error| SampleError::Model(error.to_string()))
    }

    /// What the plugins counted and measured since the last time.
    pub fn take_telemetry(&mut self) -> StageTelemetry {
        let mut telemetry = StageTelemetry::default();
        for stage in self.preprocess.iter_mut().chain(&mut self.postprocess) {
            stage.collect_telemetry(&mut telemetry);
        }
        for stage in &mut self.monitors {
            stage.collect_telemetry(&mut telemetry);
        }
        telemetry
    }

    fn run(
        &mut self,
        sample: &Sample,
        context: &mut Context,
        now_ms: u64,
        events: &mut Vec<StageEvent>,
        seen: &mut Seen,
    ) -> Result<(), SampleError> {
        let mut made = None;
        for at in 0..self.preprocess.len() {
            let given: &[Tensor] = made.as_deref().unwrap_or(&sample.tensors);
            let Some(stage) = self.preprocess.get_mut(at) else {
                break;
            };
            let answer = stage.process(context, given, now_ms, events);
            let Some(outputs) = answer.inspect_err(|_| self.miss_behind(at + 1))? else {
                return Ok(());
            };
            made = Some(outputs);
        }
        let features: &[Tensor] = made.as_deref().unwrap_or(&sample.tensors);
        let answers = self.infer(sample, features);
        seen.features = made;
        let front = self.preprocess.len();
        let mut outputs = answers.inspect_err(|_| self.miss_behind(front))?;
        seen.prediction = self.predictions_seen.then(|| outputs.clone());
        for at in 0..self.postprocess.len() {
            let Some(stage) = self.postprocess.get_mut(at) else {
                break;
            };
            let answer = stage.process(context, &outputs, now_ms, events);
            let Some(next) = answer.inspect_err(|_| self.miss_behind(front + at + 1))? else {
                return Ok(());
            };
            outputs = next;
        }
        seen.outputs = Some(outputs);
        Ok(())
    }

    /// A sample failed: the stages from this one on, counted through preprocessing and postprocessing, don't see it.
    fn miss_behind(&mut self, stage: usize) {
        let stages = self.preprocess.iter_mut().chain(&mut self.postprocess);
        stages.skip(stage).for_each(Stage::miss);
    }

    fn infer(&mut self, sample: &Sample, features: &[Tensor]) -> Result<Vec<Tensor>, SampleError> {
        if !self.allow_nan {
            finite("input", features, MISSING).map_err(|error| error.with_field_of(sample, &self.inputs))?;
        }
        let outputs = self
            .model
            .run(features)
            .map_err(|error| SampleError::Model(error.to_string()))?;
        if !self.allow_nan {
            finite("output", &outputs, OVERFLOW)?;
        }
        Ok(outputs)
    }

    fn observe(
        &mut self,
        sample: &Sample,
        seen: &Seen,
        context: &mut Context,
        now_ms: u64,
        failed: bool,
        events: &mut Vec<StageEvent>,
    ) -> Vec<StageFinding> {
        // Without preprocessing the model's features are the sample's own tensors.
        let features = if self.preprocess.is_empty() {
            Some(&sample.tensors)
        } else {
            seen.features.as_ref()
        };
        let mut findings = Vec::new();
        for stage in &mut self.monitors {
            let watched = stage.plugin.watches().iter().map(|watch| {
                let among = match watch.origin {
                    Origin::Input => Some(&sample.tensors),
                    Origin::Features => features,
                    Origin::Prediction => seen.prediction.as_ref().or(seen.outputs.as_ref()),
                    Origin::Output => seen.outputs.as_ref(),
                };
                among?.iter().find(|tensor| tensor.name() == watch.spec.name)
            });
            // A sample that didn't get as far as the tensors a monitor watches isn't shown to it.
            let Some(watched) = watched.collect::<Option<Vec<&Tensor>>>() else {
                if failed {
                    stage.miss();
                }
                continue;
            };
            let found = stage.observe(context, &watched, now_ms, events);
            let name = stage.name();
            findings.extend(found.into_iter().map(|finding| StageFinding {
                stage: name.to_owned(),
                finding,
            }));
        }
        findings
    }

    fn check_fit(&self) -> Result<(), LoadError> {
        let inputs: Vec<TensorSpec> = self.inputs.iter().map(|input| input.tensor.clone()).collect();
        let (features, producer) = check_chain(&self.preprocess, inputs.clone(), "the sample")?;
        let model = self.model.signature();
        model.check_fed_by("the model", &features, &producer)?;
        let (outputs, _) = check_chain(&self.postprocess, model.outputs.clone(), "the model")?;
        for stage in &self.monitors {
            for watch in stage.plugin.watches() {
                let (given, producer) = match watch.origin {
                    Origin::Input => (&inputs, "the sample"),
                    Origin::Features => (&features, "preprocessing"),
                    Origin::Prediction => (&model.outputs, "the model"),
                    Origin::Output => (&outputs, "the pipeline"),
                };
                let wanted = Signature {
                    inputs: vec![watch.spec.clone()],
                    outputs: Vec::new(),
                };
                wanted.check_fed_by(stage.name(), given, producer)?;
            }
        }
        Ok(())
    }
}

/// Refuses tensors that hold NaN or infinity.
fn finite(side: &'static str, tensors: &[Tensor], advice: &'static str) -> Result<(), SampleError> {
    let found = tensors.iter().find_map(|tensor| {
        let (index, value) = tensor.first_non_finite()?;
        Some(SampleError::NonFinite {
            side,
            tensor: tensor.name().to_owned(),
            value,
            index,
            field: String::new(),
            advice,
        })
    });
    found.map_or(Ok(()), Err)
}

impl SampleError {
    /// Names the first of the sample's own fields that is no finite number.
    fn with_field_of(mut self, sample: &Sample, inputs: &[InputSpec]) -> Self {
        let named = sample.tensors.iter().zip(inputs).find_map(|(tensor, input)| {
            let (index, value) = tensor.first_non_finite()?;
            Some(format!(
                " (the sample's field {:?} is {value})",
                input.fields.get(index)?
            ))
        });
        if let (Self::NonFinite { field, .. }, Some(named)) = (&mut self, named) {
            *field = named;
        }
        self
    }
}

/// Reads a model's signature, every open dimension taken as 1.
pub fn model_signature(onnx: &[u8]) -> Result<Signature, String> {
    Model::load(onnx, &LoadOptions::default())
        .map(|model| model.signature().clone())
        .map_err(|error| error.to_string())
}

/// Each stage takes what the one before gives. Returns what the last one gives, and its name.
fn check_chain(
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
fn load_stages(
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
fn given_input(input: &InputSpec) -> Given {
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

const fn given_plain(spec: TensorSpec) -> Given {
    Given {
        origin: Origin::Input,
        spec,
        fields: Vec::new(),
    }
}

fn load_model(spec: &ModelSpec, read: &mut Read<'_>) -> Result<Model, LoadError> {
    let component = spec.component.to_string();
    let onnx = read(&spec.component).map_err(|problem| LoadError::Component {
        stage: "model".to_owned(),
        component: component.clone(),
        problem,
    })?;
    let shapes = spec
        .signature
        .inputs
        .iter()
        .filter_map(|input| Some((input.name.clone(), sizes(input)?)))
        .collect();
    let model = Model::load(&onnx, &LoadOptions { shapes }).map_err(|error| LoadError::Model {
        component: component.clone(),
        source: Box::new(error),
    })?;
    if *model.signature() != spec.signature {
        let (expected, actual) = (signature_text(&spec.signature), signature_text(model.signature()));
        return Err(LoadError::Signature {
            component,
            expected,
            actual,
        });
    }
    Ok(model)
}

/// The sizes of a shape that is fixed throughout.
fn sizes(spec: &TensorSpec) -> Option<Vec<u64>> {
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None };
    spec.shape.iter().map(size).collect()
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

impl From<TensorError> for SampleError {
    fn from(error: TensorError) -> Self {
        Self::Model(error.to_string())
    }
}
