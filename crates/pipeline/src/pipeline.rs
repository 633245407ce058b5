//! One generation's stages, put together, and a sample's way through them.

use crate::Sample;
use crate::decode::DecodeError;
use crate::decoding::{Decoded, Decoding};
use crate::engines::{Chosen, Engines, PassedOver};
use crate::error::{LoadError, SampleError};
use crate::explain::{Explainer, SharedExplainer};
use crate::gaps::Missing;
use crate::loading::{check_chain, given_input, given_plain, load_model, load_stages, load_state};
use crate::stage::{Stage, StageEvent, StageTelemetry};
use crate::state::State;
use floorhand_bundle::{Gates, Golden, InputSpec, PipelineSpec};
use floorhand_inference::{Engine, Session};
use floorhand_plugin_host::{Context, Finding, Given, Host, Message, Monitor, Origin, Processor};
use floorhand_tensor::{Signature, Tensor, TensorError, TensorSpec};
use std::time::Instant;

mod batch;

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

/// The detail of a finding that says what its sample is of.
const KEY: &str = "key";

/// One generation of a bundle, loaded. It may move between threads; a sample's way blocks the one it is on.
pub struct Pipeline {
    decoder: Option<Decoding>,
    inputs: Vec<InputSpec>,
    preprocess: Vec<Stage<Processor>>,
    model: Box<dyn Session>,
    engine: String,
    /// Whether the bundle says which engines may run its model.
    names_engine: bool,
    passed_over: Vec<PassedOver>,
    /// What the model takes of a sample and gives for it: all but its state.
    interface: Signature,
    state: Option<State>,
    allow_nan: bool,
    postprocess: Vec<Stage<Processor>>,
    monitors: Vec<Stage<Monitor>>,
    /// Whether the model's outputs have to be kept beside those of postprocessing.
    predictions_seen: bool,
    sequence: u64,
    /// Where the bundle declares explanations.
    explainer: Option<SharedExplainer>,
    /// What the model was given in the last call, by the samples' numbers; kept where there are an explainer and preprocessing.
    features: Vec<(u64, Vec<Tensor>)>,
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
    /// Loads every stage and checks that they fit. `read` gives components by name. The model runs in tract, which the bundle
    /// has to allow.
    pub fn load(
        spec: &PipelineSpec,
        read: &mut dyn FnMut(&floorhand_bundle::ComponentName) -> Result<Vec<u8>, String>,
        host: &Host,
    ) -> Result<Self, LoadError> {
        Self::load_among(spec, read, host, &Engines::default())
    }

    /// The same with the model in the first of the engines that the bundle names which this machine has.
    pub fn load_among(
        spec: &PipelineSpec,
        read: &mut dyn FnMut(&floorhand_bundle::ComponentName) -> Result<Vec<u8>, String>,
        host: &Host,
        engines: &Engines,
    ) -> Result<Self, LoadError> {
        let chosen = engines.load(&spec.model, read)?;
        Self::around(chosen, spec, read, host)
    }

    /// The same with the model in this engine, whatever the bundle says.
    pub fn load_with(
        spec: &PipelineSpec,
        read: &mut dyn FnMut(&floorhand_bundle::ComponentName) -> Result<Vec<u8>, String>,
        host: &Host,
        engine: &dyn Engine,
    ) -> Result<Self, LoadError> {
        let chosen = Chosen {
            session: load_model(&spec.model, read, engine)?,
            engine,
            passed_over: Vec::new(),
        };
        Self::around(chosen, spec, read, host)
    }

    /// The other stages around a model.
    fn around(
        chosen: Chosen<'_>,
        spec: &PipelineSpec,
        read: &mut dyn FnMut(&floorhand_bundle::ComponentName) -> Result<Vec<u8>, String>,
        host: &Host,
    ) -> Result<Self, LoadError> {
        let Chosen {
            session: model,
            engine,
            passed_over,
        } = chosen;
        let (interface, state) = load_state(&spec.model)?;
        let inputs: Vec<Given> = spec.inputs.iter().map(given_input).collect();
        let decoder = spec
            .decoder
            .as_ref()
            .map(|stage| Decoding::load(stage, read, host, &inputs, &spec.inputs))
            .transpose()?;
        let (preprocess, features) = load_stages(&spec.preprocess, read, host, inputs.clone())?;
        let prediction = interface.outputs.iter().cloned().map(given_plain).collect();
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
        let explainer = match &spec.explain {
            Some(explain) => {
                let session = model
                    .share()
                    .map_or_else(|| load_model(&spec.model, read, engine), Ok)?;
                Some(SharedExplainer::new(Explainer::load(
                    explain, spec, read, host, session,
                )?))
            }
            None => None,
        };
        let pipeline = Self {
            decoder,
            inputs: spec.inputs.clone(),
            preprocess,
            model,
            engine: engine.name().to_owned(),
            names_engine: !spec.model.engines.is_empty(),
            passed_over,
            interface,
            state,
            allow_nan: spec.model.allow_nan,
            postprocess,
            monitors,
            predictions_seen,
            sequence: 0,
            explainer,
            features: Vec::new(),
        };
        pipeline.check_fit()?;
        Ok(pipeline)
    }

    /// The engine that runs the model, as it calls itself.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// The engine, where the bundle leaves a choice of it: what a result then has to say to be traced.
    #[must_use]
    pub fn chosen_engine(&self) -> Option<&str> {
        self.names_engine.then_some(self.engine.as_str())
    }

    /// Engines that the bundle would rather have, and why they don't run it.
    #[must_use]
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
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
            .map_or(&self.interface.outputs, |stage| &stage.plugin.signature().outputs)
    }

    /// What explains its answers, where the bundle declares that.
    #[must_use]
    pub const fn explainer(&self) -> Option<&SharedExplainer> {
        self.explainer.as_ref()
    }

    /// What the model was given for a sample of the last call, by its number, for [`Explainer::explain_features`]. None without an
    /// explainer, and of any other sample.
    #[must_use]
    pub fn features_of(&self, sample: &Sample, sequence: u64) -> Option<Vec<Tensor>> {
        self.explainer.as_ref()?;
        if self.preprocess.is_empty() {
            return Some(sample.tensors.clone());
        }
        let (_, features) = self.features.iter().find(|(of, _)| *of == sequence)?;
        Some(features.clone())
    }

    /// Keeps what the model was given, where it may be asked for.
    fn keep_features(&mut self, sequence: u64, seen: &mut Seen) {
        if let (Some(_), Some(features)) = (&self.explainer, seen.features.take()) {
            self.features.push((sequence, features));
        }
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

    /// Whether the bundle has a decoder, so that samples come from [`decode`](Self::decode) alone.
    #[must_use]
    pub const fn has_decoder(&self) -> bool {
        self.decoder.is_some()
    }

    /// Reads a message by the bundle's decoder; none if it has none. `now_ms` as for [`process`](Self::process). What comes out
    /// goes through the pipeline in its order, also what couldn't be read: stages are told that something is missing.
    pub fn decode(&mut self, message: Message<'_>, now_ms: u64) -> Option<Decoded> {
        Some(self.decoder.as_mut()?.decode(message, now_ms))
    }

    /// Lets this pipeline's decoder go on where that of another generation is, if both are configured in the same way.
    pub(crate) fn decode_on_from(&mut self, other: &mut Self) {
        if let (Some(own), Some(other)) = (&mut self.decoder, &mut other.decoder) {
            own.go_on_from(other);
        }
    }

    /// Takes a sample through every stage. `now_ms` is on a clock that only goes forward; breakers go by it.
    pub fn process(&mut self, sample: &Sample, now_ms: u64) -> Processed {
        self.features.clear();
        self.process_one(sample, now_ms)
    }

    fn process_one(&mut self, sample: &Sample, now_ms: u64) -> Processed {
        let started = Instant::now();
        let sequence = self.sequence;
        self.sequence += 1;
        let mut context = sample.context(sequence);
        let mut events = Vec::new();
        let mut seen = Seen::default();
        let ended = self.run(sample, &mut context, now_ms, &mut events, &mut seen);
        let findings = self.observe(sample, &seen, &mut context, now_ms, ended.is_err(), &mut events);
        self.keep_features(sequence, &mut seen);
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
    pub fn process_decoded(&mut self, sample: &Result<Sample, DecodeError>, now_ms: u64) -> Processed {
        match sample {
            Ok(sample) => self.process(sample, now_ms),
            Err(error) => {
                match error {
                    DecodeError::Decoder { key: Some(key), .. } => self.lose(Missing::Of(Some(key))),
                    // Another generation's sample.
                    DecodeError::NotFound => {}
                    _ => self.lose(Missing::Any),
                }
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

    /// Notes that messages or samples went by that this pipeline doesn't see: what is built of neighbouring ones begins anew.
    pub fn miss(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            decoder.miss();
        }
        self.lose(Missing::Any);
    }

    /// Tells all stages behind the decoder that samples are missing.
    fn lose(&mut self, missing: Missing<'_>) {
        self.miss_behind(0, missing);
        self.monitors.iter_mut().for_each(|stage| stage.miss(missing));
    }

    /// Prepares the model for several samples at once, or, where only one comes at a time, gives back what it keeps for that.
    pub fn expect_batches(&mut self, expected: bool) {
        self.model.expect_batches(expected && !self.runs_one_by_one());
    }

    /// Gives back what the model's runs have left on the thread that calls: before the pipeline is dropped on another one, which couldn't.
    pub fn leave_thread(&mut self) {
        self.model.leave_thread();
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
        let dropped = self.state.as_mut().map_or(0, State::take_dropped);
        if dropped > 0 {
            telemetry.counters.push(("model/dropped-states".to_owned(), dropped));
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.collect_telemetry(&mut telemetry);
        }
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
        let missing = Missing::Of(sample.key.as_deref());
        let mut made = None;
        for at in 0..self.preprocess.len() {
            let given: &[Tensor] = made.as_deref().unwrap_or(&sample.tensors);
            let Some(stage) = self.preprocess.get_mut(at) else {
                break;
            };
            let answer = stage.process(context, given, now_ms, events);
            self.pass_gap_on(at, context.gap, missing);
            let Some(outputs) = answer.inspect_err(|_| self.miss_behind(at + 1, missing))? else {
                return Ok(());
            };
            made = Some(outputs);
        }
        let features: &[Tensor] = made.as_deref().unwrap_or(&sample.tensors);
        let answers = self.infer(sample, features);
        seen.features = made;
        let front = self.preprocess.len();
        let mut outputs = answers.inspect_err(|_| self.miss_behind(front, missing))?;
        seen.prediction = self.predictions_seen.then(|| outputs.clone());
        for at in 0..self.postprocess.len() {
            let Some(stage) = self.postprocess.get_mut(at) else {
                break;
            };
            let answer = stage.process(context, &outputs, now_ms, events);
            self.pass_gap_on(front + at, context.gap, missing);
            let Some(next) = answer.inspect_err(|_| self.miss_behind(front + at + 1, missing))? else {
                return Ok(());
            };
            outputs = next;
        }
        seen.outputs = Some(outputs);
        Ok(())
    }

    /// A sample failed: the stages from this one on, counted through preprocessing and postprocessing, don't see it. Nor does
    /// the model between the two, where that isn't behind it.
    fn miss_behind(&mut self, stage: usize, missing: Missing<'_>) {
        if stage <= self.preprocess.len()
            && let Some(state) = &mut self.state
        {
            state.miss(missing);
        }
        let stages = self.preprocess.iter_mut().chain(&mut self.postprocess);
        stages.skip(stage).for_each(|stage| stage.miss(missing));
    }

    /// A stage that begins anew may leave out what those behind it would have seen.
    fn pass_gap_on(&mut self, stage: usize, gap: bool, missing: Missing<'_>) {
        if !gap {
            return;
        }
        self.miss_behind(stage + 1, missing);
        self.pass_gap_on_to_monitors(stage, missing);
    }

    fn pass_gap_on_to_monitors(&mut self, stage: usize, missing: Missing<'_>) {
        let is_behind_model = stage >= self.preprocess.len();
        for monitor in &mut self.monitors {
            let watches = monitor.plugin.watches();
            let is_behind = |origin| match origin {
                Origin::Input => false,
                Origin::Features | Origin::Prediction => !is_behind_model,
                Origin::Output => true,
            };
            if watches.iter().any(|watch| is_behind(watch.origin)) {
                monitor.miss(missing);
            }
        }
    }

    fn infer(&mut self, sample: &Sample, features: &[Tensor]) -> Result<Vec<Tensor>, SampleError> {
        if !self.allow_nan {
            finite("input", features, MISSING).map_err(|error| error.with_field_of(sample, &self.inputs))?;
        }
        let (key, mut with_state) = (sample.key.as_deref(), None);
        if let Some(state) = &mut self.state {
            with_state = Some(state.before(key, features));
        }
        let given = with_state.as_deref().unwrap_or(features);
        let outputs = self
            .model
            .run(given)
            .map_err(|error| SampleError::Model(error.to_string()))?;
        if !self.allow_nan {
            finite("output", &outputs, OVERFLOW)?;
        }
        Ok(match &mut self.state {
            Some(state) => state.keep(key, outputs),
            None => outputs,
        })
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
                    stage.miss(Missing::Of(sample.key.as_deref()));
                }
                continue;
            };
            let found = stage.observe(context, &watched, now_ms, events);
            let name = stage.name();
            findings.extend(found.into_iter().map(|finding| StageFinding {
                stage: name.to_owned(),
                finding: with_key(finding, context.key.as_deref()),
            }));
        }
        findings
    }

    fn check_fit(&self) -> Result<(), LoadError> {
        let inputs: Vec<TensorSpec> = self.inputs.iter().map(|input| input.tensor.clone()).collect();
        let (features, producer) = check_chain(&self.preprocess, inputs.clone(), "the sample")?;
        let model = &self.interface;
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

/// A finding says what its sample is of, where that is known: of which machine something was found is what matters first.
fn with_key(mut finding: Finding, key: Option<&str>) -> Finding {
    let said = finding.details.iter().any(|(name, _)| name == KEY);
    if let (Some(key), false) = (key, said) {
        finding.details.push((KEY.to_owned(), key.to_owned()));
    }
    finding
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

impl From<TensorError> for SampleError {
    fn from(error: TensorError) -> Self {
        Self::Model(error.to_string())
    }
}
