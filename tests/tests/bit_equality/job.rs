//! What all engines are given.

use crate::cases::{self, Cases};
use crate::device::Described;
use floorhand_plugin_host::{Context, Origin, World};
use floorhand_tensor::{Datatype, Tensor, TensorSpec};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How many samples come at once, in turn.
const BATCHES: [usize; 5] = [1, 2, 1, 3, 7];

/// Calls between two snapshots, and between two restarts.
const SNAPSHOT_EVERY: usize = 5;
const RESTART_EVERY: usize = 20;

/// What keyed samples are of.
pub(crate) const KEYS: [Option<&str>; 3] = [None, Some("press 1"), Some("prüfstand")];

/// Samples of a job: enough for the windows of the cases, and a Python that takes its time over each byte.
const MAX_SAMPLES: usize = 400;

/// What the tensors hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filling {
    /// What the cases have.
    Recorded,
    /// What the cases have, as samples of three keys in turn.
    Keyed,
    /// Random numbers, a tenth of them denormal.
    Finite,
    /// A twentieth of them NaN besides: what JSON can say with `null`.
    Missing,
    /// A twentieth of them NaN or infinite besides. States may then hold a NaN whose bits are open, and aren't compared.
    Any,
}

pub(crate) enum Call {
    Samples(Vec<Context>, Vec<Tensor>),
    Messages(Vec<Message>),
    Snapshot,
    Restart,
}

pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) content_type: String,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) received_ns: u64,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    pub(crate) fn properties(&self) -> Vec<(&str, &str)> {
        self.properties
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }
}

pub(crate) struct Job {
    pub(crate) described: Described,
    setup: Value,
    pub(crate) calls: Vec<Call>,
}

impl Job {
    /// None where there is no place for numbers at random: a decoder's messages, and tensors of integers.
    pub(crate) fn new(cases: &Cases, described: &Described, filling: Filling) -> Option<Self> {
        if !fills(described, filling) {
            return None;
        }
        let calls = if described.world == World::Decoder {
            messages(cases, described.max_batch)
        } else {
            batches(&samples(cases, &described.inputs, filling), described.max_batch)
        };
        Some(Self::of(cases, described, with_states(calls, filling != Filling::Any)))
    }

    /// The same samples in a call each, as a pipeline gives them: numbered from 0, all of the first one's shapes, and none
    /// with an infinite number.
    pub(crate) fn one_by_one(cases: &Cases, described: &Described, filling: Filling) -> Option<Self> {
        if !fills(described, filling) {
            return None;
        }
        let mut samples = samples(cases, &described.inputs, filling);
        let first = samples.first().map(|(_, tensors)| shapes(tensors)).unwrap_or_default();
        samples.retain(|(_, tensors)| shapes(tensors) == first && !tensors.iter().any(has_infinity));
        for (place, (context, _)) in samples.iter_mut().enumerate() {
            context.sequence = place as u64;
            context.gap = place == 0;
        }
        let calls = samples.iter().map(|sample| together(std::slice::from_ref(sample)));
        Some(Self::of(cases, described, calls.collect()))
    }

    fn of(cases: &Cases, described: &Described, calls: Vec<Call>) -> Self {
        let assets: Vec<Value> = cases
            .assets
            .iter()
            .map(|asset| json!({"name": asset.name, "data": hex::encode(&asset.data)}))
            .collect();
        let world = described.world.name();
        Self {
            described: described.clone(),
            setup: json!({"world": world, "config": cases.config, "assets": assets, "given": []}),
            calls,
        }
    }

    /// As the other engines read it.
    pub(crate) fn to_lines(&self) -> String {
        let mut lines = format!("{}\n", self.setup);
        for call in &self.calls {
            let _ = writeln!(lines, "{}", self.line(call));
        }
        lines
    }

    fn line(&self, call: &Call) -> Value {
        match call {
            Call::Samples(contexts, tensors) => {
                let samples: Vec<Value> = contexts.iter().map(context).collect();
                let tensors: Vec<Value> = tensors.iter().map(tensor).collect();
                let name = if self.described.world == World::Monitor {
                    "observe"
                } else {
                    "process"
                };
                json!({name: {"samples": samples, "tensors": tensors}})
            }
            Call::Messages(messages) => json!({"decode": messages.iter().map(message).collect::<Vec<_>>()}),
            Call::Snapshot => json!({"snapshot": {}}),
            Call::Restart => json!({"restart": {}}),
        }
    }
}

fn context(context: &Context) -> Value {
    json!({
        "sequence": context.sequence.to_string(),
        "time_ns": context.time_ns.to_string(),
        "gap": context.gap,
        "key": context.key,
        "id": context.id,
    })
}

fn tensor(tensor: &Tensor) -> Value {
    json!({
        "datatype": tensor.datatype().name().to_lowercase(),
        "shape": tensor.shape(),
        "data": hex::encode(tensor.data()),
    })
}

fn message(message: &Message) -> Value {
    json!({
        "topic": message.topic,
        "content_type": message.content_type,
        "properties": message.properties.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
        "received_ns": message.received_ns.to_string(),
        "payload": hex::encode(&message.payload),
    })
}

/// A sample and its tensors.
type Sample = (Context, Vec<Tensor>);

/// The cases' samples that this host would let through to the plugin.
fn samples(cases: &Cases, specs: &[(Origin, TensorSpec)], filling: Filling) -> Vec<Sample> {
    let mut random = Random(1);
    let mut ready = Vec::new();
    for (case, sequence) in cases.calls.iter().take(MAX_SAMPLES).zip(0..) {
        if let Some(tensors) = cases::tensors(case, specs) {
            let filled = tensors
                .into_iter()
                .map(|tensor| random.fill(tensor, filling))
                .collect::<Vec<_>>();
            let context = Context {
                sequence,
                time_ns: cases::time_ns(case, sequence),
                gap: case["gap"].as_bool().unwrap_or(sequence == 0),
                key: text(case, "key"),
                id: text(case, "id"),
            };
            ready.push((of_key(context, filling), filled));
        }
    }
    ready
}

/// Each of three series has a gap now and then.
fn of_key(context: Context, filling: Filling) -> Context {
    if filling != Filling::Keyed {
        return context;
    }
    let turn = usize::try_from(context.sequence).unwrap();
    Context {
        gap: turn < KEYS.len() || turn % 17 == 0,
        key: KEYS[turn % KEYS.len()].map(str::to_owned),
        id: Some(format!("part {turn}")),
        ..context
    }
}

fn text(case: &Value, key: &str) -> Option<String> {
    case[key].as_str().map(str::to_owned)
}

fn shapes(tensors: &[Tensor]) -> Vec<Vec<u64>> {
    tensors.iter().map(|tensor| tensor.shape().to_vec()).collect()
}

fn has_infinity(tensor: &Tensor) -> bool {
    tensor.to_f64().unwrap().into_iter().any(f64::is_infinite)
}

/// Samples that follow each other and have the same shapes, in calls of several.
fn batches(samples: &[Sample], most: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut sizes = BATCHES.iter().cycle();
    for group in samples.chunk_by(|a, b| shapes(&a.1) == shapes(&b.1)) {
        let mut rest = group;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(most).min(*sizes.next().unwrap()));
            calls.push(together(now));
            rest = later;
        }
    }
    calls
}

/// One call of several samples: their tensors behind each other.
fn together(samples: &[Sample]) -> Call {
    let contexts = samples.iter().map(|(context, _)| context.clone()).collect();
    let first = &samples.first().unwrap().1;
    let tensors = first.iter().enumerate().map(|(place, tensor)| {
        let mut shape = vec![samples.len() as u64];
        shape.extend(tensor.shape());
        let data = samples
            .iter()
            .flat_map(|(_, tensors)| tensors.get(place).unwrap().data().to_vec());
        Tensor::new(tensor.name(), tensor.datatype(), shape, data.collect()).unwrap()
    });
    Call::Samples(contexts, tensors.collect())
}

fn messages(cases: &Cases, most: usize) -> Vec<Call> {
    let message = |(case, received_ns): (&Value, u64)| {
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        Some(Message {
            topic: text("topic"),
            content_type: text("content_type"),
            properties: serde_json::from_value(case["properties"].clone()).unwrap_or_default(),
            received_ns: cases::time_ns(case, received_ns),
            payload: cases::payload(case)?,
        })
    };
    let mut rest = cases.calls.iter().zip(0..).filter_map(message).peekable();
    let mut sizes = BATCHES.iter().cycle();
    let mut calls = Vec::new();
    while rest.peek().is_some() {
        let count = most.min(*sizes.next().unwrap());
        calls.push(Call::Messages(rest.by_ref().take(count).collect()));
    }
    calls
}

fn with_states(calls: Vec<Call>, compared: bool) -> Vec<Call> {
    let mut all = Vec::new();
    for (call, number) in calls.into_iter().zip(1..) {
        all.push(call);
        if compared && number % SNAPSHOT_EVERY == 0 {
            all.push(Call::Snapshot);
        }
        if compared && number % RESTART_EVERY == 0 {
            all.push(Call::Restart);
        }
    }
    all
}

fn is_float(datatype: Datatype) -> bool {
    matches!(datatype, Datatype::Fp32 | Datatype::Fp64)
}

/// Whether the job is another one than with the recorded numbers.
fn fills(described: &Described, filling: Filling) -> bool {
    let mut inputs = described.inputs.iter();
    matches!(filling, Filling::Recorded | Filling::Keyed) || inputs.any(|(_, spec)| is_float(spec.datatype))
}

/// Marsaglia's xorshift64*, from Vigna's paper.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`.
    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 32) % end
    }

    /// The tensor with other numbers in it, if its type is FP32 or FP64: around those that it has, so that they mean
    /// something to the plugin.
    fn fill(&mut self, tensor: Tensor, filling: Filling) -> Tensor {
        if matches!(filling, Filling::Recorded | Filling::Keyed) || !is_float(tensor.datatype()) {
            return tensor;
        }
        let values = tensor.to_f64().unwrap();
        let values: Vec<f64> = values
            .into_iter()
            .map(|value| self.number(value as f32, filling).into())
            .collect();
        Tensor::from_f64(tensor.name(), tensor.datatype(), tensor.shape().to_vec(), &values).unwrap()
    }

    #[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
    fn number(&mut self, near: f32, filling: Filling) -> f32 {
        let dice = self.below(20);
        match dice {
            0 | 1 => f32::from_bits(u32::try_from(self.below(1 << 23) | self.below(2) << 31).unwrap()),
            2 if filling == Filling::Missing => f32::NAN,
            2 if filling == Filling::Any => {
                let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
                *special.get(usize::try_from(self.below(3)).unwrap()).unwrap()
            }
            _ => {
                let near = if near.is_finite() { near } else { 1.0 };
                near * (self.below(1 << 24) as f32 / 8_388_608.0)
            }
        }
    }
}
