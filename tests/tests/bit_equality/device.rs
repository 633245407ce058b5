//! The jobs in this host.

use crate::cases::Cases;
use crate::job::{Call, Job, Message};
use floorhand_plugin_host::{
    CompiledPlugin, Context, DecodedMessage, Decoder, Finding, Monitor, Origin, Phase, PluginError, Processor,
    Severity, Telemetry, World,
};
use floorhand_tensor::{Datatype, Tensor, TensorSpec};
use serde_json::{Value, json};

enum Plugin {
    Processor(Processor),
    Monitor(Monitor),
    Decoder(Decoder),
}

impl Plugin {
    fn start(plugin: &CompiledPlugin, cases: &Cases) -> Self {
        match plugin.world() {
            World::Processor => Self::Processor(Processor::start(plugin, cases.setup()).unwrap()),
            World::Monitor => Self::Monitor(Monitor::start(plugin, cases.setup()).unwrap()),
            World::Decoder => Self::Decoder(Decoder::start(plugin, cases.setup()).unwrap()),
        }
    }

    fn samples(&mut self, contexts: &[Context], tensors: &[Tensor]) -> Value {
        match self {
            Self::Processor(processor) => told(processor.process_batch(contexts, tensors), contexts.len(), row),
            Self::Monitor(monitor) => told(
                monitor.observe_batch(contexts, tensors),
                contexts.len(),
                |index, findings| findings.into_iter().map(|found| finding(index, found)).collect(),
            ),
            Self::Decoder(_) => Value::Null,
        }
    }

    fn messages(&mut self, messages: &[Message]) -> Value {
        let Self::Decoder(decoder) = self else {
            return Value::Null;
        };
        let properties: Vec<Vec<(&str, &str)>> = messages.iter().map(Message::properties).collect();
        let messages: Vec<_> = messages
            .iter()
            .zip(&properties)
            .map(|(message, properties)| floorhand_plugin_host::Message {
                topic: &message.topic,
                content_type: &message.content_type,
                properties,
                received_ns: message.received_ns,
                payload: &message.payload,
            })
            .collect();
        match decoder.decode_all(&messages) {
            Ok(decoded) => decoded_messages(decoded),
            Err(refused) => error(&refused),
        }
    }

    fn snapshot(&mut self) -> Vec<u8> {
        match self {
            Self::Processor(processor) => processor.snapshot(),
            Self::Monitor(monitor) => monitor.snapshot(),
            Self::Decoder(decoder) => decoder.snapshot(),
        }
        .unwrap()
    }

    /// From its last snapshot.
    fn restart(&mut self) {
        match self {
            Self::Processor(processor) => processor.restart(),
            Self::Monitor(monitor) => monitor.restart(),
            Self::Decoder(decoder) => decoder.restart(),
        }
        .unwrap();
    }

    fn telemetry(&mut self) -> Telemetry {
        match self {
            Self::Processor(processor) => processor.take_telemetry(),
            Self::Monitor(monitor) => monitor.take_telemetry(),
            Self::Decoder(decoder) => decoder.take_telemetry(),
        }
    }
}

/// What a plugin says of itself under the cases' configuration.
#[derive(Clone)]
pub(crate) struct Described {
    pub(crate) world: World,
    /// What it takes or watches.
    pub(crate) inputs: Vec<(Origin, TensorSpec)>,
    /// What a processor gives.
    pub(crate) outputs: Vec<TensorSpec>,
    /// The most samples, or messages, of a call.
    pub(crate) max_batch: usize,
}

pub(crate) fn describe(plugin: &CompiledPlugin, cases: &Cases) -> Described {
    let (inputs, outputs, max_batch) = match Plugin::start(plugin, cases) {
        Plugin::Processor(processor) => {
            let inputs = processor.signature().inputs.iter();
            let inputs = inputs.map(|spec| (Origin::Input, spec.clone())).collect();
            (inputs, processor.signature().outputs.clone(), processor.max_samples())
        }
        Plugin::Monitor(monitor) => {
            let watches = monitor.watches().iter();
            let watched = watches.map(|watch| (watch.origin, watch.spec.clone())).collect();
            (watched, Vec::new(), monitor.max_samples())
        }
        Plugin::Decoder(decoder) => (Vec::new(), Vec::new(), decoder.max_messages()),
    };
    Described {
        world: plugin.world(),
        inputs,
        outputs,
        max_batch,
    }
}

/// What the host gives for each call, and at the end what was counted.
pub(crate) fn run(plugin: &CompiledPlugin, cases: &Cases, job: &Job) -> Vec<Value> {
    let mut plugin = Plugin::start(plugin, cases);
    let mut lines: Vec<Value> = job.calls.iter().map(|call| one(&mut plugin, call)).collect();
    let telemetry = plugin.telemetry();
    let counters = telemetry
        .counters
        .into_iter()
        .map(|(name, count)| (name, json!(count.to_string())));
    let gauges = telemetry
        .gauges
        .into_iter()
        .map(|(name, value)| (name, bits(Some(value))));
    let (counters, gauges): (serde_json::Map<_, _>, serde_json::Map<_, _>) = (counters.collect(), gauges.collect());
    lines.push(json!({"counters": counters, "gauges": gauges}));
    lines
}

fn one(plugin: &mut Plugin, call: &Call) -> Value {
    match call {
        Call::Samples(contexts, tensors) => plugin.samples(contexts, tensors),
        Call::Messages(messages) => plugin.messages(messages),
        Call::Snapshot => json!(hex::encode(plugin.snapshot())),
        Call::Restart => {
            plugin.restart();
            Value::Null
        }
    }
}

type Answers<T> = Result<Vec<Result<Vec<T>, PluginError>>, PluginError>;

fn told<T>(answers: Answers<T>, samples: usize, one: impl Fn(usize, Vec<T>) -> Value) -> Value {
    let answers = answers.unwrap_or_else(|refused| vec![Err(refused)]).into_iter();
    let told = answers.enumerate().map(|(index, answer)| match answer {
        Ok(answer) => one(index, answer),
        Err(refused) => error(&refused),
    });
    let mut told: Vec<Value> = told.collect();
    // An error of the call is every sample's.
    told.resize(samples, told.last().cloned().unwrap_or_default());
    Value::Array(told)
}

/// A sample's tensors; none is "not yet".
fn row(_index: usize, tensors: Vec<Tensor>) -> Value {
    if tensors.is_empty() {
        return Value::Null;
    }
    tensors.iter().map(tensor).collect()
}

fn tensor(tensor: &Tensor) -> Value {
    json!({
        "datatype": tensor.datatype().name().to_lowercase(),
        "shape": tensor.shape(),
        "data": hex::encode(one_nan(tensor)),
    })
}

/// The tensor's bytes with the same bits for every NaN.
fn one_nan(tensor: &Tensor) -> Vec<u8> {
    let nan = match tensor.datatype() {
        Datatype::Fp16 => 0x7e00_u16.to_le_bytes().to_vec(),
        Datatype::Fp32 => 0x7fc0_0000_u32.to_le_bytes().to_vec(),
        Datatype::Fp64 => 0x7ff8_0000_0000_0000_u64.to_le_bytes().to_vec(),
        _ => return tensor.data().to_vec(),
    };
    let values = tensor.to_f64().unwrap();
    let elements = tensor.data().chunks(nan.len()).zip(values);
    elements
        .flat_map(|(bytes, value)| if value.is_nan() { nan.clone() } else { bytes.to_vec() })
        .collect()
}

fn finding(index: usize, found: Finding) -> Value {
    let severity = match found.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Alarm => "alarm",
    };
    let phase = match found.phase {
        Phase::Once => "once",
        Phase::Raised => "raised",
        Phase::Cleared => "cleared",
    };
    let details = found.details.into_iter();
    let details: Vec<Value> = details
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    json!({
        "index": index,
        "kind": found.kind,
        "severity": severity,
        "phase": phase,
        "watch": found.watch,
        "subject": found.subject,
        "value": bits(found.value),
        "threshold": bits(found.threshold),
        "unit": found.unit,
        "message": found.message,
        "details": details,
    })
}

fn bits(value: Option<f64>) -> Value {
    let Some(value) = value else {
        return Value::Null;
    };
    let value = if value.is_nan() { f64::NAN } else { value };
    json!(hex::encode(value.to_be_bytes()))
}

fn decoded_messages(messages: Vec<DecodedMessage>) -> Value {
    let (mut samples, mut failures) = (Vec::new(), Vec::new());
    for (index, message) in messages.into_iter().enumerate() {
        let before = samples.len();
        for entry in message {
            match entry {
                Ok(sample) => samples.push(json!({
                    "message": index,
                    "id": sample.id,
                    "key": sample.key,
                    "time_ns": sample.time_ns.map(|time_ns| time_ns.to_string()),
                    "tensors": sample.tensors.iter().map(tensor).collect::<Vec<_>>(),
                })),
                Err(lost) => failures.push(json!({
                    "message": index,
                    "samples_before": samples.len() - before,
                    "key": lost.key,
                    "error": error(&lost.error)["error"],
                })),
            }
        }
    }
    json!({"samples": samples, "failures": failures})
}

/// Only what plugins say themselves is compared: the host's own words would be no answer of the component's.
fn error(refused: &PluginError) -> Value {
    match refused {
        PluginError::BadInput(text) => json!({"error": {"bad-input": text}}),
        PluginError::BadConfig(text) => json!({"error": {"bad-config": text}}),
        PluginError::Exhausted(text) => json!({"error": {"exhausted": text}}),
        PluginError::NotReady(text) => json!({"error": {"not-ready": text}}),
        PluginError::Internal(text) => json!({"error": {"internal": text}}),
        other => panic!("the host: {other}"),
    }
}
