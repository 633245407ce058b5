//! What a plugin is given and gives, as its author sees it: the interface's records, with tensors that know their names.

use crate::bindings::processor::floorhand::plugin::types as wire;
use crate::{Context, Datatype, Error, Severity};

/// A dense array: little-endian, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// As in the signature.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Elements along each dimension, the slowest first; empty for a scalar.
    pub shape: Vec<u64>,
    /// The elements' bytes: the product of `shape` times the size of an element.
    pub data: Vec<u8>,
}

/// What a tensor of one sample has to look like.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Unique among the specs beside it.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Elements along each dimension; -1 for any number.
    pub shape: Vec<i64>,
    /// What the columns along the last dimension are called, and their units. Empty, or as many as it has elements.
    pub fields: Vec<Field>,
}

pub use crate::bindings::processor::floorhand::plugin::types::Field;

/// What a processor takes and gives under its configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// The tensors it takes.
    pub inputs: Vec<TensorSpec>,
    /// The tensors it gives.
    pub outputs: Vec<TensorSpec>,
    /// The largest snapshot that this configuration can ever give, in bytes; 0 without state.
    pub state_bytes: u32,
}

/// What some samples of a call came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Places in the call's list of samples, rising.
    pub indices: Vec<u32>,
    /// One for each output, with the number of samples as first dimension.
    pub tensors: Vec<Tensor>,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Usually one; several where outputs differ in shape.
    pub answers: Vec<Answer>,
    /// Samples that got no answer.
    pub refusals: Vec<Refusal>,
}

pub use crate::bindings::processor::floorhand::plugin::types::Refusal;

/// A tensor that a monitor wants to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Where in the pipeline.
    pub origin: crate::Origin,
    /// What.
    pub spec: TensorSpec,
}

/// What a monitor needs under its configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// The tensors it wants to see.
    pub watches: Vec<Watch>,
    /// The largest snapshot that this configuration can ever give, in bytes; 0 without state.
    pub state_bytes: u32,
}

/// Something a monitor has found at a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What kind of thing, in kebab-case: `drift`, `out-of-range`, `stuck`. One of a fixed few for a plugin.
    pub kind: String,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it lasts.
    pub phase: crate::Phase,
    /// The watch that it is about: its place in the subscription. None if it is about the whole sample.
    pub watch: Option<u32>,
    /// What of the tensor, e.g. the field's name.
    pub subject: String,
    /// The statistic that was computed.
    pub value: Option<f64>,
    /// The limit that it was held against, in the same unit.
    pub threshold: Option<f64>,
    /// The unit of both in UCUM: `bar`, `m/s2`, `1` for a bare number; empty if it isn't known.
    pub unit: String,
    /// For people: a lowercase fragment.
    pub message: String,
    /// Further facts by name.
    pub details: Vec<crate::Detail>,
}

/// What a decoder gives under its configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Production {
    /// The tensors of every sample.
    pub outputs: Vec<TensorSpec>,
    /// The largest snapshot that this configuration can ever give, in bytes; 0 without state.
    pub state_bytes: u32,
}

/// A sample that was found in a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// By what its source knows it, e.g. a part's number.
    pub id: Option<String>,
    /// What it is of, e.g. a machine.
    pub key: Option<String>,
    /// Its own time in nanoseconds since 1970-01-01 UTC; without it, it is when the message came.
    pub time_ns: Option<u64>,
    /// One for each output, in their order.
    pub tensors: Vec<Tensor>,
}

/// A sample that couldn't be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What it is of, where that could be read. Without it all keys have a gap there.
    pub key: Option<String>,
    /// Why.
    pub error: crate::Error,
}

impl Failure {
    /// Of a key, if that could be read.
    #[must_use]
    pub const fn of(key: Option<String>, error: crate::Error) -> Self {
        Self { key, error }
    }

    /// The error's text.
    #[must_use]
    pub fn message(&self) -> &str {
        self.error.message()
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self::of(None, error)
    }
}

impl TensorSpec {
    /// A spec from its three parts; a dimension of -1 may have any size.
    #[must_use]
    pub fn new(name: impl Into<String>, datatype: Datatype, shape: Vec<i64>) -> Self {
        Self {
            name: name.into(),
            datatype,
            shape,
            fields: Vec::new(),
        }
    }

    /// The same with names for the columns along the last dimension: as many as it has elements.
    #[must_use]
    pub fn with_fields(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_units(names.into_iter().map(|name| (name, "")))
    }

    /// The same with names and units (UCUM, e.g. `bar`, `m/s2`; empty if not known) for the columns.
    #[must_use]
    pub fn with_units(self, fields: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        let field = |(name, unit): (_, _)| Field {
            name: Into::into(name),
            unit: Into::into(unit),
        };
        Self {
            fields: fields
                .into_iter()
                .map(|(name, unit)| field((name.into(), unit.into())))
                .collect(),
            ..self
        }
    }

    pub(crate) fn into_wire(self) -> wire::TensorSpec {
        let dim = |&size: &i64| i32::try_from(size).unwrap_or(if size < 0 { -1 } else { i32::MAX });
        wire::TensorSpec {
            shape: self.shape.iter().map(dim).collect(),
            name: self.name,
            datatype: self.datatype,
            fields: self.fields,
        }
    }

    pub(crate) fn from_wire(spec: wire::TensorSpec) -> Self {
        Self {
            shape: spec.shape.into_iter().map(i64::from).collect(),
            name: spec.name,
            datatype: spec.datatype,
            fields: spec.fields,
        }
    }
}

impl Tensor {
    /// The interface's tensors under their names.
    pub(crate) fn named<'n>(names: impl Iterator<Item = &'n str>, tensors: Vec<wire::Tensor>) -> Vec<Self> {
        let named = |(name, tensor): (&str, wire::Tensor)| Self {
            name: name.to_owned(),
            datatype: tensor.datatype,
            shape: tensor.shape.into_iter().map(u64::from).collect(),
            data: tensor.data,
        };
        names.zip(tensors).map(named).collect()
    }

    /// Tensors in the order of these names, which stay behind. One that is missing is a fault of the plugin's own.
    pub(crate) fn ordered<'n>(
        names: impl Iterator<Item = &'n str>,
        mut tensors: Vec<Self>,
    ) -> Result<Vec<wire::Tensor>, Error> {
        let mut ordered = Vec::with_capacity(tensors.len());
        for name in names {
            let position = tensors.iter().position(|tensor| tensor.name == name);
            let Some(position) = position else {
                return Err(Error::Internal(format!(
                    "it gave no tensor {name:?}, which its signature has"
                )));
            };
            ordered.push(tensors.remove(position).into_wire()?);
        }
        match tensors.first() {
            None => Ok(ordered),
            Some(tensor) => Err(Error::Internal(format!(
                "it gave a tensor {:?}, which its signature doesn't have",
                tensor.name
            ))),
        }
    }

    fn into_wire(self) -> Result<wire::Tensor, Error> {
        let shape: Result<Vec<u32>, _> = self.shape.iter().map(|&size| u32::try_from(size)).collect();
        let shape = shape.map_err(|_| Error::Internal(format!("tensor {:?} has shape {:?}", self.name, self.shape)))?;
        Ok(wire::Tensor {
            datatype: self.datatype,
            shape,
            data: self.data,
        })
    }
}

impl Context {
    /// The sample's own time in whole milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn time_ms(&self) -> u64 {
        self.time_ns / 1_000_000
    }
}

impl crate::Detail {
    /// A fact: its name in kebab-case with the unit last, e.g. `p-value`, `window-samples`.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl ToString) -> Self {
        Self {
            name: name.into(),
            value: value.to_string(),
        }
    }
}
