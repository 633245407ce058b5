//! For tests of plugins outside of WebAssembly: what the plugin said to its host, and inputs that are out to break it.

pub mod bench;
pub mod cases;
pub mod monitors;
pub mod streams;

use crate::{Context, Datatype, Error, Tensor, TensorSpec, host::Level};
use schemars::JsonSchema;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::Path,
};

/// Log lines kept for a test. The host drops lines at a much lower rate.
const MAX_LINES: usize = 10_000;

thread_local! {
    /// Each test has a thread of its own.
    static RECORDED: RefCell<Recorded> = const { RefCell::new(Recorded::new()) };

    /// Whether nothing is recorded.
    static MUTED: Cell<bool> = const { Cell::new(false) };
}

/// What a plugin said to its host on this thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Log lines, in order.
    pub lines: Vec<(Level, String)>,
    /// Sums of the increments.
    pub counters: BTreeMap<String, u64>,
    /// Last values.
    pub gauges: BTreeMap<String, f64>,
}

impl Recorded {
    const fn new() -> Self {
        Self {
            lines: Vec::new(),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
        }
    }
}

/// What was recorded on this thread since the last call.
#[must_use]
pub fn take_recorded() -> Recorded {
    RECORDED.replace(Recorded::new())
}

/// The context of the sample number `sequence` in a stream with one sample a second from 2026-01-01 on.
#[must_use]
pub const fn context(sequence: u64) -> Context {
    Context {
        sequence,
        time_ns: (1_767_225_600 + sequence) * 1_000_000_000,
        gap: false,
        key: None,
        id: None,
    }
}

/// A message of a source, received at the time of [`context`]`(0)`.
#[must_use]
pub fn message_of(topic: &str, payload: &[u8]) -> crate::Message {
    crate::Message {
        topic: topic.to_owned(),
        content_type: String::new(),
        properties: Vec::new(),
        received_ns: context(0).time_ns,
        payload: payload.to_vec(),
    }
}

/// Tensors that a plugin which takes `spec` meets sooner or later: of the right type and shape but with NaN, infinities,
/// the largest and the smallest numbers, or nothing in them; of another type or rank; lying about their length; and much
/// larger than expected. Dimensions of any size are 4 here.
///
/// A plugin may answer each with an error. It may not panic, and its next answer may not be wrong.
#[must_use]
pub fn hostile(spec: &TensorSpec) -> Vec<Tensor> {
    let shape: Vec<u64> = spec.shape.iter().map(|&dim| u64::try_from(dim).unwrap_or(4)).collect();
    let elements = shape.iter().product::<u64>() as usize;
    let empty: Vec<u64> = spec.shape.iter().map(|&dim| u64::try_from(dim).unwrap_or(0)).collect();
    let full = |value: f64| tensor(&spec.name, spec.datatype, shape.clone(), &vec![value; elements]);
    let other = if spec.datatype == Datatype::Int8 {
        Datatype::Fp32
    } else {
        Datatype::Int8
    };
    let extremes = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        5e-324,
        -0.0,
    ];
    let mut tensors: Vec<Tensor> = extremes.into_iter().map(full).collect();
    tensors.extend([
        tensor(&spec.name, spec.datatype, empty, &[]),
        tensor(&spec.name, spec.datatype, vec![], &[1.0]),
        tensor(&spec.name, spec.datatype, vec![0; 64], &[]),
        tensor(&spec.name, other, shape.clone(), &vec![1.0; elements]),
        tensor(&spec.name, spec.datatype, vec![u64::MAX; shape.len()], &[1.0]),
        Tensor {
            data: vec![0; 3],
            ..full(1.0)
        },
        Tensor {
            data: vec![],
            ..full(1.0)
        },
        tensor(&spec.name, spec.datatype, vec![1; shape.len() + 1], &[1.0]),
        tensor(&spec.name, spec.datatype, vec![1 << 20], &vec![1.0; 1 << 20]),
        tensor("", spec.datatype, shape, &vec![1.0; elements]),
    ]);
    tensors
}

/// Numbers without end that look random and are the same in every run with this seed (SplitMix64).
pub fn random(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Payloads that a decoder meets sooner or later: `payload` cut off after every byte, with bytes changed, doubled and left
/// out, and noise. It may answer each with an error; it may not panic, and its next answer may not be wrong.
#[must_use]
pub fn damaged(payload: &[u8], seed: u64) -> Vec<Vec<u8>> {
    let mut random = random(seed);
    let mut below = |end: usize| (random.next().unwrap_or_default() % end.max(1) as u64) as usize;
    let mut damaged: Vec<Vec<u8>> = (0..payload.len().min(1000))
        .map(|end| payload.iter().copied().take(end).collect())
        .collect();
    for round in 0..2000 {
        let mut bytes = payload.to_vec();
        for _ in 0..=round % 4 {
            let at = below(bytes.len());
            match below(4) {
                0 if !bytes.is_empty() => drop(bytes.remove(at)),
                1 => bytes.insert(at, below(256) as u8),
                _ => bytes
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte = below(256) as u8),
            }
        }
        damaged.push(bytes);
    }
    damaged.extend((0..500).map(|length| (0..length % 64).map(|_| below(256) as u8).collect()));
    damaged
}

/// The JSON Schema of a configuration, as `schema.json` has it.
#[must_use]
pub fn schema<C: JsonSchema>() -> String {
    let schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<C>();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// Holds `schema.json` in a plugin's folder against its configuration; with `FLOORHAND_WRITE_SCHEMA` in the environment
/// writes it. [`export!`](crate::export) makes a test of it.
///
/// # Panics
///
/// If the file is missing, can't be written or says something else.
#[expect(clippy::panic, reason = "this is a test's assertion")]
pub fn check_schema<C: JsonSchema>(folder: &str) {
    let path = Path::new(folder).join("schema.json");
    let derived = schema::<C>();
    if std::env::var_os("FLOORHAND_WRITE_SCHEMA").is_some() {
        if let Err(error) = std::fs::write(&path, &derived) {
            panic!("failed to write {}: {error}", path.display());
        }
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    // A checkout may have brought its own line ends.
    if !found.lines().eq(derived.lines()) {
        panic!(
            "{} isn't the schema of the configuration: run `FLOORHAND_WRITE_SCHEMA=1 cargo test` and look at what changed",
            path.display()
        );
    }
}

/// The message of an error that a test expects; empty if there was none.
#[must_use]
pub fn message<T>(result: Result<T, Error>) -> String {
    result.err().map(|error| error.message().to_owned()).unwrap_or_default()
}

/// Takes no notice of what is said on this thread, or does so again: recording takes longer than many a plugin.
pub(crate) fn mute(muted: bool) {
    MUTED.set(muted);
}

/// Changes what was recorded, unless nothing is.
fn record(change: impl FnOnce(&mut Recorded)) {
    if !MUTED.get() {
        RECORDED.with_borrow_mut(change);
    }
}

pub(crate) fn log(level: Level, message: &str) {
    record(|recorded| {
        if recorded.lines.len() < MAX_LINES {
            recorded.lines.push((level, message.to_owned()));
        }
    });
}

pub(crate) fn counter(name: &str, increment: u64) {
    record(|recorded| {
        let counter = recorded.counters.entry(name.to_owned()).or_default();
        *counter = counter.saturating_add(increment);
    });
}

pub(crate) fn gauge(name: &str, value: f64) {
    record(|recorded| {
        recorded.gauges.insert(name.to_owned(), value);
    });
}

/// Floating-point values as they are, everything else clamped into the type.
fn tensor(name: &str, datatype: Datatype, shape: Vec<u64>, values: &[f64]) -> Tensor {
    let mut data = Vec::with_capacity(values.len() * datatype.size());
    for &value in values {
        match datatype {
            Datatype::Fp32 => data.extend((value as f32).to_le_bytes()),
            Datatype::Fp64 => data.extend(value.to_le_bytes()),
            // Any bits are a value of the other types, BOOL too as far as a plugin can tell.
            _ => data.extend(std::iter::repeat_n(value as u8, datatype.size())),
        }
    }
    Tensor {
        name: name.to_owned(),
        datatype,
        shape,
        data,
    }
}
