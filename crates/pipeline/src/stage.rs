//! One plugin in a pipeline: how it is started, what its faults lead to, what it reports.

use crate::breaker::Breaker;
use crate::error::{LoadError, SampleError};
use crate::gaps::{Missing, Unbroken};
use floorhand_bundle::{ComponentName, OnBreak, StageSpec};
use floorhand_plugin_host::{
    Asset, CompiledPlugin, Context, Decoder, Fault, Finding, Given, Host, Limits, Monitor, Origin, PluginError,
    Processor, Setup, Telemetry,
};
use floorhand_tensor::{Tensor, TensorSpec};

/// Samples between two snapshots of a plugin's state: what a fault can cost it.
const SNAPSHOT_EVERY: u64 = 256;
/// Messages between two of a decoder's, and the first ones that each have one: a source tells names once, at the beginning.
const SNAPSHOT_EVERY_MESSAGE: u64 = 16;

/// Gives a component's bytes by its name; the error says what is wrong.
pub(crate) type Read<'a> = dyn FnMut(&ComponentName) -> Result<Vec<u8>, String> + 'a;

/// Something that went wrong in a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageEvent {
    /// The stage.
    pub stage: String,
    /// What happened, for people.
    pub reason: String,
    /// What that is.
    pub kind: StageEventKind,
}

/// What an event is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageEventKind {
    /// A fault. It may have opened the stage's breaker: then what the bundle wants done.
    Fault(Option<OnBreak>),
    /// A monitor refused a sample, and hadn't refused the one before. The sample has its result all the same.
    Refused,
}

/// What the plugins of a pipeline counted and measured, under `STAGE/NAME`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StageTelemetry {
    /// What counters rose by.
    pub counters: Vec<(String, u64)>,
    /// Gauges that were set, with their last value.
    pub gauges: Vec<(String, f64)>,
}

/// What all kinds of plugins have in common, to the pipeline.
pub(crate) trait Plugin: Sized {
    /// Calls between two snapshots, once it has been called some times.
    const SNAPSHOT_EVERY: u64;
    /// The first calls, behind each of which there is one.
    const FIRST_SNAPSHOTS: u64;
    /// Whether a sample that it refuses has failed. Nobody would hear of what a monitor refuses otherwise.
    const FAILS_SAMPLES: bool;
    fn start(compiled: &CompiledPlugin, setup: Setup) -> Result<Self, PluginError>;
    fn restart(&mut self) -> Result<(), PluginError>;
    fn snapshot(&mut self) -> Result<Vec<u8>, PluginError>;
    fn is_running(&self) -> bool;
    fn take_telemetry(&mut self) -> Telemetry;
}

macro_rules! plugin {
    ($type:ty, $snapshot_every:expr, $first_snapshots:expr, $fails_samples:expr) => {
        impl Plugin for $type {
            const SNAPSHOT_EVERY: u64 = $snapshot_every;
            const FIRST_SNAPSHOTS: u64 = $first_snapshots;
            const FAILS_SAMPLES: bool = $fails_samples;
            fn start(compiled: &CompiledPlugin, setup: Setup) -> Result<Self, PluginError> {
                <$type>::start(compiled, setup)
            }
            fn restart(&mut self) -> Result<(), PluginError> {
                <$type>::restart(self)
            }
            fn snapshot(&mut self) -> Result<Vec<u8>, PluginError> {
                <$type>::snapshot(self)
            }
            fn is_running(&self) -> bool {
                <$type>::is_running(self)
            }
            fn take_telemetry(&mut self) -> Telemetry {
                <$type>::take_telemetry(self)
            }
        }
    };
}

plugin!(Processor, SNAPSHOT_EVERY, 0, true);
plugin!(Monitor, SNAPSHOT_EVERY, 0, false);
plugin!(Decoder, SNAPSHOT_EVERY_MESSAGE, SNAPSHOT_EVERY_MESSAGE, true);

/// One plugin in a pipeline.
pub(crate) struct Stage<P> {
    name: String,
    on_break: OnBreak,
    pub(crate) plugin: P,
    breaker: Breaker,
    samples: u64,
    /// Of which keys the instance saw all samples up to here.
    pub(crate) unbroken: Unbroken,
    /// Samples that the plugin refused since telemetry was collected.
    refused: u64,
    /// Whether it refused the last one: the first of a row is told.
    refusing: bool,
    /// Snapshots that it refused since telemetry was collected. The last one stays in force.
    unsaved: u64,
}

/// What came of calling a stage.
pub(crate) enum Called<T> {
    /// Its answer.
    Answer(T),
    /// It is at rest, and the bundle says to pass it by.
    Bypassed,
    /// Nothing for this sample.
    Failed(SampleError),
}

impl<P: Plugin> Stage<P> {
    /// Starts the plugin. `given` is what it is told about the pipeline.
    pub(crate) fn load(spec: &StageSpec, read: &mut Read<'_>, host: &Host, given: &[Given]) -> Result<Self, LoadError> {
        let stage = spec.name.to_string();
        let mut component = |name: &ComponentName| {
            let failed = |problem| LoadError::Component {
                stage: stage.clone(),
                component: name.to_string(),
                problem,
            };
            read(name).map_err(failed)
        };
        let wasm = component(&spec.plugin)?;
        let assets = spec
            .assets
            .iter()
            .map(|name| {
                Ok(Asset {
                    name: name.to_string(),
                    data: component(name)?,
                })
            })
            .collect::<Result<_, LoadError>>()?;
        let compiled = host.component(&wasm).map_err(|error| LoadError::Host {
            stage: stage.clone(),
            source: Box::new(error),
        })?;
        let setup = Setup {
            name: stage.clone(),
            config: spec.config.clone(),
            assets,
            given: given.to_vec(),
            limits: limits(spec),
        };
        let plugin = P::start(&compiled, setup).map_err(|error| LoadError::Plugin {
            stage: stage.clone(),
            source: Box::new(error),
        })?;
        Ok(Self {
            name: stage,
            on_break: spec.on_break,
            plugin,
            breaker: Breaker::default(),
            samples: 0,
            unbroken: Unbroken::default(),
            refused: 0,
            refusing: false,
            unsaved: 0,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Notes that samples which the plugin would have seen went by.
    pub(crate) fn miss(&mut self, missing: Missing<'_>) {
        self.unbroken.miss(missing);
    }

    /// Calls the plugin, unless it is at rest. After a fault of its own it comes back in the state of its last snapshot.
    pub(crate) fn call<T>(
        &mut self,
        context: &mut Context,
        now_ms: u64,
        events: &mut Vec<StageEvent>,
        call: impl FnOnce(&mut P, &Context) -> Result<T, PluginError>,
    ) -> Called<T> {
        let whole = self.unbroken.take(context.key.as_deref());
        context.gap = false;
        if !self.breaker.admits(now_ms) {
            return self.at_rest();
        }
        context.gap = !whole || !self.plugin.is_running();
        if !self.plugin.is_running() {
            // Its state, if it has one, may be older than the last sample of any key.
            self.unbroken.miss(Missing::Any);
            if let Err(error) = self.plugin.restart() {
                return self.fault(error, now_ms, events);
            }
        }
        match call(&mut self.plugin, context) {
            Ok(answer) => {
                self.unbroken.saw(context.key.as_deref());
                self.refusing = false;
                self.keep_snapshot(now_ms, events);
                Called::Answer(answer)
            }
            Err(error) if error.is_trap() => self.fault(error, now_ms, events),
            Err(error) => {
                // It has seen this sample, and has the state that it chose to have. A call that wasn't made it hasn't.
                if !matches!(error, PluginError::InputTooLarge { .. } | PluginError::Input(_)) {
                    self.unbroken.saw(context.key.as_deref());
                }
                self.refused += 1;
                if !std::mem::replace(&mut self.refusing, true) && !P::FAILS_SAMPLES {
                    events.push(StageEvent {
                        stage: self.name.clone(),
                        reason: error.to_string(),
                        kind: StageEventKind::Refused,
                    });
                }
                Called::Failed(SampleError::Plugin {
                    stage: self.name.clone(),
                    source: Box::new(error),
                })
            }
        }
    }

    fn keep_snapshot(&mut self, now_ms: u64, events: &mut Vec<StageEvent>) {
        self.samples += 1;
        if !self.samples.is_multiple_of(P::SNAPSHOT_EVERY) && self.samples > P::FIRST_SNAPSHOTS {
            return;
        }
        // The sample has its answer; only what a later fault would cost has grown.
        match self.plugin.snapshot() {
            Err(error) if matches!(error.fault(), Fault::Plugin | Fault::Device) => {
                let _: Called<()> = self.fault(error, now_ms, events);
            }
            Err(_) => self.unsaved += 1,
            Ok(_) => {}
        }
    }

    fn fault<T>(&mut self, source: PluginError, now_ms: u64, events: &mut Vec<StageEvent>) -> Called<T> {
        // That the device was busy says nothing of the plugin.
        let counts = source.fault() != Fault::Device;
        let opened = (counts && self.breaker.fault(now_ms)).then_some(self.on_break);
        events.push(StageEvent {
            stage: self.name.clone(),
            reason: source.to_string(),
            kind: StageEventKind::Fault(opened),
        });
        if self.on_break == OnBreak::Bypass && opened.is_some() {
            return Called::Bypassed;
        }
        Called::Failed(SampleError::Plugin {
            stage: self.name.clone(),
            source: Box::new(source),
        })
    }

    fn at_rest<T>(&self) -> Called<T> {
        match self.on_break {
            OnBreak::Bypass => Called::Bypassed,
            OnBreak::Fail | OnBreak::Rollback => Called::Failed(SampleError::Resting {
                stage: self.name.clone(),
            }),
        }
    }

    /// Adds what the plugin reported since the last time.
    pub(crate) fn collect_telemetry(&mut self, into: &mut StageTelemetry) {
        let Telemetry {
            counters,
            gauges,
            log_lines_dropped,
            metrics_dropped,
            findings_dropped,
            ..
        } = self.plugin.take_telemetry();
        let named = |name: &str| format!("{}/{name}", self.name);
        into.counters
            .extend(counters.iter().map(|(name, &risen)| (named(name), risen)));
        into.gauges
            .extend(gauges.iter().map(|(name, &value)| (named(name), value)));
        let dropped = [
            ("dropped-log-lines", log_lines_dropped),
            ("dropped-metrics", metrics_dropped),
            ("dropped-findings", findings_dropped),
            ("refused", std::mem::take(&mut self.refused)),
            ("refused-snapshots", std::mem::take(&mut self.unsaved)),
        ];
        into.counters.extend(
            dropped
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| (named(name), *count)),
        );
    }
}

impl Stage<Processor> {
    /// What the stage behind this one can be given.
    pub(crate) fn gives(&self) -> Vec<Given> {
        let outputs = self.plugin.signature().outputs.iter();
        let given = |spec: &TensorSpec| Given {
            origin: Origin::Features,
            fields: self.plugin.output_fields(&spec.name).to_vec(),
            spec: spec.clone(),
        };
        outputs.map(given).collect()
    }

    /// Refuses `bypass` where passing the stage by would leave the next one without its tensor.
    pub(crate) fn check_bypass(&self) -> Result<(), LoadError> {
        if self.on_break != OnBreak::Bypass || self.passage().is_some() {
            return Ok(());
        }
        Err(LoadError::Bypass {
            stage: self.name.clone(),
        })
    }

    /// Whether it takes one tensor and gives one of the same type and shape.
    pub(crate) fn keeps_shape(&self) -> bool {
        self.passage().is_some()
    }

    /// The one tensor that comes in and the one that goes out, if they are alike.
    fn passage(&self) -> Option<(&TensorSpec, &TensorSpec)> {
        let signature = self.plugin.signature();
        match (signature.inputs.as_slice(), signature.outputs.as_slice()) {
            ([from], [to]) if from.datatype == to.datatype && from.shape == to.shape => Some((from, to)),
            _ => None,
        }
    }

    /// Gives the plugin a sample. `None`: there is no answer yet.
    pub(crate) fn process(
        &mut self,
        context: &mut Context,
        tensors: &[Tensor],
        now_ms: u64,
        events: &mut Vec<StageEvent>,
    ) -> Result<Option<Vec<Tensor>>, SampleError> {
        match self.call(context, now_ms, events, |plugin, at| plugin.process(at, tensors)) {
            Called::Answer(outputs) if outputs.is_empty() => Ok(None),
            Called::Answer(outputs) => Ok(Some(outputs)),
            Called::Failed(error) => Err(error),
            Called::Bypassed => Ok(self.pass(tensors)),
        }
    }

    fn pass(&self, tensors: &[Tensor]) -> Option<Vec<Tensor>> {
        let (from, to) = self.passage()?;
        let tensor = tensors.iter().find(|tensor| tensor.name() == from.name)?;
        Some(vec![tensor.clone().renamed(&to.name)])
    }
}

impl Stage<Monitor> {
    /// Shows the plugin a sample. A monitor that fails takes nothing from the sample: it is only heard no more.
    pub(crate) fn observe(
        &mut self,
        context: &mut Context,
        tensors: &[&Tensor],
        now_ms: u64,
        events: &mut Vec<StageEvent>,
    ) -> Vec<Finding> {
        match self.call(context, now_ms, events, |plugin, at| plugin.observe(at, tensors)) {
            Called::Answer(findings) => findings,
            Called::Bypassed | Called::Failed(_) => Vec::new(),
        }
    }
}

/// The host's defaults, and what the manifest says differently.
fn limits(spec: &StageSpec) -> Limits {
    let defaults = Limits::default();
    let given = &spec.limits;
    Limits {
        memory_bytes: given.memory_bytes.unwrap_or(defaults.memory_bytes),
        input_bytes: given.input_bytes.unwrap_or(defaults.input_bytes),
        output_bytes: given.output_bytes.unwrap_or(defaults.output_bytes),
        state_bytes: given.state_bytes.unwrap_or(defaults.state_bytes),
        deadline_ms: given
            .deadline_ms
            .map_or(defaults.deadline_ms, |ms| u32::try_from(ms).unwrap_or(u32::MAX)),
        ..defaults
    }
}
