//! For tests of plugins outside of WebAssembly: what the plugin said to its host, and inputs that are out to break it.

use crate::{Context, Datatype, Error, Observation, Tensor, TensorSpec, host::Level};
use std::{cell::RefCell, collections::BTreeMap};

/// Log lines kept for a test. The host drops lines at a much lower rate.
const MAX_LINES: usize = 10_000;

thread_local! {
    /// Each test has a thread of its own.
    static RECORDED: RefCell<Recorded> = const { RefCell::new(Recorded::new()) };
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
        time_ms: 1_767_225_600_000 + sequence * 1_000,
    }
}

/// An observation of the given tensors.
#[must_use]
pub const fn observation(sequence: u64, tensors: Vec<Tensor>) -> Observation {
    Observation {
        context: context(sequence),
        tensors,
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

/// The message of an error that a test expects; empty if there was none.
#[must_use]
pub fn message<T>(result: Result<T, Error>) -> String {
    result.err().map(|error| error.message().to_owned()).unwrap_or_default()
}

pub(crate) fn log(level: Level, message: &str) {
    RECORDED.with_borrow_mut(|recorded| {
        if recorded.lines.len() < MAX_LINES {
            recorded.lines.push((level, message.to_owned()));
        }
    });
}

pub(crate) fn counter(name: &str, increment: u64) {
    RECORDED.with_borrow_mut(|recorded| {
        let counter = recorded.counters.entry(name.to_owned()).or_default();
        *counter = counter.saturating_add(increment);
    });
}

pub(crate) fn gauge(name: &str, value: f64) {
    RECORDED.with_borrow_mut(|recorded| recorded.gauges.insert(name.to_owned(), value));
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
