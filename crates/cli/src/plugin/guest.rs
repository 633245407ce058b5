//! One plugin of any world, as the tool calls it: a case's lines in, answers out that can be compared bit by bit.

use super::cases::{CaseFile, Line, Named, value};
use anyhow::{Context as _, Result, anyhow};
use base64::Engine as _;
use floorhand_plugin_host::{
    Asset, CompiledPlugin, Context, DecodedMessage, Decoder, Finding, Limits, Message, Monitor, Origin, Phase,
    PluginError, Processor, Setup, Severity, World,
};
use floorhand_tensor::{Tensor, TensorSpec};
use serde_json::Value;

/// The time of a case's first sample if it says none: 2026-01-01 UTC, in milliseconds.
const START_MS: u64 = 1_767_225_600_000;

/// CPU time of a call: what is still running then has no end.
const DEADLINE_MS: u32 = 2_000;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// A plugin at work.
pub(super) enum Guest {
    Processor(Processor),
    Monitor(Monitor),
    Decoder(Decoder),
}

/// What a plugin is given.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// A processor's inputs or a monitor's watches, in the signature's order.
    Sample(Context, Vec<Tensor>),
    /// A decoder's message.
    Message {
        topic: String,
        content_type: String,
        properties: Vec<(String, String)>,
        received_ns: u64,
        payload: Vec<u8>,
    },
}

/// What it answers. Two are equal if they are the same bits.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// A processor's outputs; none for "not yet".
    Tensors(Vec<Tensor>),
    /// A monitor's findings.
    Findings(Vec<Found>),
    /// A decoder's samples.
    Samples(DecodedMessage),
    /// None of these.
    Error(PluginError),
}

/// A finding, with its numbers as bits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) kind: String,
    pub(super) severity: &'static str,
    pub(super) phase: &'static str,
    watch: Option<u32>,
    pub(super) subject: String,
    pub(super) value: Option<u64>,
    pub(super) threshold: Option<u64>,
    pub(super) message: String,
    details: Vec<(String, String)>,
}

impl Call {
    /// A sample; without a time of its own it is a second later than the one before.
    pub(super) fn sample(sequence: u64, time_ns: Option<u64>, tensors: Vec<Tensor>) -> Self {
        let time_ns = time_ns.unwrap_or((START_MS + sequence * 1000).saturating_mul(MS));
        let context = Context {
            sequence,
            time_ns,
            // As for an instance's first sample.
            gap: sequence == 0,
            ..Context::default()
        };
        Self::Sample(context, tensors)
    }

    /// A message without anything beside its bytes.
    pub(super) fn message(topic: &str, sequence: u64, payload: &[u8]) -> Self {
        Self::Message {
            topic: topic.to_owned(),
            content_type: String::new(),
            properties: Vec::new(),
            received_ns: (START_MS + sequence * 1000).saturating_mul(MS),
            payload: payload.to_vec(),
        }
    }
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self {
            kind: finding.kind,
            severity: match finding.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Alarm => "alarm",
            },
            phase: match finding.phase {
                Phase::Once => "once",
                Phase::Raised => "raised",
                Phase::Cleared => "cleared",
            },
            watch: finding.watch,
            subject: finding.subject,
            value: finding.value.map(f64::to_bits),
            threshold: finding.threshold.map(f64::to_bits),
            message: finding.message,
            details: finding.details,
        }
    }
}

/// What a plugin is started with.
#[derive(Debug, Clone)]
pub(super) struct Start<'a> {
    pub(super) config: &'a Value,
    pub(super) assets: &'a [Asset],
    pub(super) limits: Limits,
}

impl<'a> Start<'a> {
    /// As a file of cases says, with a device's limits but for time: how quick this machine is says nothing of a plugin.
    pub(super) fn of(file: &'a CaseFile) -> Self {
        Self {
            config: &file.config,
            assets: &file.assets,
            limits: Limits {
                deadline_ms: DEADLINE_MS,
                memory_bytes: file.memory_bytes.unwrap_or(Limits::default().memory_bytes),
                ..Limits::default()
            },
        }
    }
}

impl Guest {
    /// A fresh instance, configured.
    pub(super) fn start(plugin: &CompiledPlugin, start: &Start<'_>) -> Result<Self, PluginError> {
        let setup = Setup {
            name: "plugin".to_owned(),
            config: start.config.to_string(),
            assets: start.assets.to_vec(),
            given: Vec::new(),
            limits: start.limits.clone(),
        };
        Ok(match plugin.world() {
            World::Processor => Self::Processor(Processor::start(plugin, setup)?),
            World::Monitor => Self::Monitor(Monitor::start(plugin, setup)?),
            World::Decoder => Self::Decoder(Decoder::start(plugin, setup)?),
        })
    }

    /// What it takes: a processor's inputs, what a monitor watches; nothing for a decoder.
    pub(super) fn inputs(&self) -> Vec<TensorSpec> {
        match self {
            Self::Processor(processor) => processor.signature().inputs.clone(),
            Self::Monitor(monitor) => monitor.watches().iter().map(|watch| watch.spec.clone()).collect(),
            Self::Decoder(_) => Vec::new(),
        }
    }

    /// The most samples of a call.
    pub(super) const fn max_samples(&self) -> usize {
        match self {
            Self::Processor(processor) => processor.max_samples(),
            Self::Monitor(monitor) => monitor.max_samples(),
            Self::Decoder(decoder) => decoder.max_messages(),
        }
    }

    /// A line of a case as a call. Its time is its own, else a second later for every sample.
    pub(super) fn call_of(&self, line: &Line, sequence: u64) -> Result<Call> {
        let time_ns = line.time_ms.unwrap_or(START_MS + sequence * 1000).saturating_mul(MS);
        let context = Context {
            sequence,
            time_ns,
            // As for an instance's first sample.
            gap: line.gap.unwrap_or(sequence == 0),
            key: line.key.clone(),
            id: line.id.clone(),
        };
        let sample = |tensors| Call::Sample(context.clone(), tensors);
        match self {
            Self::Processor(processor) => {
                let specs = processor.signature().inputs.iter();
                let tensors = specs.map(|spec| named("input", line.input.as_ref(), spec));
                Ok(sample(tensors.collect::<Result<_>>()?))
            }
            Self::Monitor(monitor) => {
                let tensors = monitor.watches().iter().map(|watch| {
                    let (key, tensors) = match watch.origin {
                        Origin::Input => ("input", line.input.as_ref()),
                        Origin::Features => ("features", line.features.as_ref()),
                        Origin::Prediction => ("prediction", line.prediction.as_ref()),
                        Origin::Output => ("output", line.output.as_ref().and_then(Option::as_ref)),
                    };
                    named(key, tensors, &watch.spec)
                });
                Ok(sample(tensors.collect::<Result<_>>()?))
            }
            Self::Decoder(_) => Ok(Call::Message {
                topic: line.topic.clone(),
                content_type: line.content_type.clone(),
                properties: line.properties.clone(),
                received_ns: time_ns,
                payload: payload(line)?,
            }),
        }
    }

    /// Makes a call.
    pub(super) fn call(&mut self, call: &Call) -> Answer {
        let answer = match (self, call) {
            (Self::Processor(processor), Call::Sample(context, tensors)) => {
                processor.process(context, tensors).map(Answer::Tensors)
            }
            (Self::Monitor(monitor), Call::Sample(context, tensors)) => monitor.observe(context, tensors).map(findings),
            (
                Self::Decoder(decoder),
                Call::Message {
                    topic,
                    content_type,
                    properties,
                    received_ns,
                    payload,
                },
            ) => {
                let properties: Vec<(&str, &str)> = properties
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                let message = Message {
                    topic,
                    content_type,
                    properties: &properties,
                    received_ns: *received_ns,
                    payload,
                };
                decoder.decode(message).map(Answer::Samples)
            }
            (_, Call::Sample(..) | Call::Message { .. }) => {
                Err(PluginError::Internal("the call is of another world".to_owned()))
            }
        };
        answer.unwrap_or_else(Answer::Error)
    }

    /// Makes one call of several samples, whose tensors have the same types and shapes: an answer for each.
    pub(super) fn call_batch(&mut self, calls: &[(Context, &[Tensor])]) -> Result<Vec<Answer>> {
        let contexts: Vec<Context> = calls.iter().map(|(context, _)| context.clone()).collect();
        let stacked = stack(calls)?;
        let answers = match self {
            Self::Processor(processor) => processor.process_batch(&contexts, &stacked).map(|answers| {
                let answers = answers.into_iter();
                answers
                    .map(|answer| answer.map_or_else(Answer::Error, Answer::Tensors))
                    .collect()
            }),
            Self::Monitor(monitor) => monitor.observe_batch(&contexts, &stacked).map(|answers| {
                let answers = answers.into_iter();
                answers
                    .map(|answer| answer.map_or_else(Answer::Error, findings))
                    .collect()
            }),
            Self::Decoder(_) => return Err(anyhow!("a decoder takes one message at a time")),
        };
        // An error of the call is the answer to every sample.
        Ok(answers.unwrap_or_else(|error| vec![Answer::Error(error); calls.len()]))
    }

    pub(super) fn snapshot(&mut self) -> Result<Vec<u8>, PluginError> {
        match self {
            Self::Processor(processor) => processor.snapshot(),
            Self::Monitor(monitor) => monitor.snapshot(),
            Self::Decoder(decoder) => decoder.snapshot(),
        }
    }

    pub(super) fn restore(&mut self, state: &[u8]) -> Result<(), PluginError> {
        match self {
            Self::Processor(processor) => processor.restore(state),
            Self::Monitor(monitor) => monitor.restore(state),
            Self::Decoder(decoder) => decoder.restore(state),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        match self {
            Self::Processor(processor) => processor.is_running(),
            Self::Monitor(monitor) => monitor.is_running(),
            Self::Decoder(decoder) => decoder.is_running(),
        }
    }
}

fn findings(findings: Vec<Finding>) -> Answer {
    Answer::Findings(findings.into_iter().map(Found::from).collect())
}

fn named(key: &str, tensors: Option<&Named>, spec: &TensorSpec) -> Result<Tensor> {
    let found = tensors.and_then(|tensors| tensors.get(&spec.name));
    let found = found.ok_or_else(|| anyhow!("{key} has no {:?}, which the plugin asks for", spec.name))?;
    value::tensor(&spec.name, spec.datatype, found).with_context(|| key.to_owned())
}

fn payload(line: &Line) -> Result<Vec<u8>> {
    match (&line.message, &line.message_base64) {
        (Some(text), None) => Ok(text.clone().into_bytes()),
        (None, Some(text)) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .context("message_base64 is no base64"),
        _ => Err(anyhow!("a decoder's line has either message or message_base64")),
    }
}

/// Samples below each other: their number is the first dimension.
fn stack(calls: &[(Context, &[Tensor])]) -> Result<Vec<Tensor>> {
    let Some((_, first)) = calls.first() else {
        return Ok(Vec::new());
    };
    let stacked = first.iter().enumerate().map(|(place, tensor)| {
        let mut shape = vec![calls.len() as u64];
        shape.extend(tensor.shape());
        let parts = calls.iter().filter_map(|(_, tensors)| tensors.get(place));
        let data = parts.flat_map(|part| part.data().iter().copied()).collect();
        Ok(Tensor::new(tensor.name(), tensor.datatype(), shape, data)?)
    });
    stacked.collect()
}

/// How an error is called in a case, e.g. `bad-input`.
pub(super) fn error_name(error: &PluginError) -> &'static str {
    match error {
        PluginError::BadInput(_) | PluginError::Input(_) | PluginError::InputTooLarge { .. } => "bad-input",
        PluginError::BadConfig(_) => "bad-config",
        PluginError::Exhausted(_) => "exhausted",
        PluginError::NotReady(_) => "not-ready",
        PluginError::Internal(_) => "internal",
        _ => "fault",
    }
}
