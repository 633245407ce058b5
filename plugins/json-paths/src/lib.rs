//! `json-paths`: JSON messages to tensors, each field by its path.
//!
//! A message is one sample or holds an array of them. Values are picked by JSON Pointer or a path of keys and go into the
//! tensors that are configured; nothing else of the message is looked at. README.md has the configuration and what becomes
//! of values that are missing or of another type.

mod config;
mod path;

pub use config::{Config, Field, From, Output, Place, Time};

use crate::path::Path;
use floorhand_plugin_sdk::{
    Assets, Datatype, Decoder, Error, Failure, Layout, MAX_SAMPLES, Message, Missing, Number, Production, Sample,
    Tensor, TensorSpec, TimeFormat, decoder::checked_name,
};
use serde_json::Value;

floorhand_plugin_sdk::export!(JsonPaths as decoder);

/// Tensors of a sample: more than any model takes.
const MAX_OUTPUTS: usize = 64;

/// The most `max_bytes` may be: the host's default limit of what a plugin may be given.
const MAX_BYTES: usize = 8 << 20;

/// The configured plugin. Has no state.
#[derive(Debug)]
pub struct JsonPaths {
    outputs: Vec<Source>,
    samples: Option<Path>,
    id: Option<Lookup>,
    key: Option<Lookup>,
    time: Option<(Lookup, TimeFormat)>,
    rules: Rules,
    max_bytes: usize,
}

/// Where a tensor's numbers come from.
#[derive(Debug)]
struct Source {
    layout: Layout,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// One for each column.
    Fields(Vec<Lookup>),
    /// An array's elements.
    Array(Path),
}

#[derive(Debug)]
struct Lookup {
    path: Path,
    from: From,
}

/// What is a number.
#[derive(Debug, Clone, Copy)]
struct Rules {
    missing: Missing,
    booleans: bool,
    numeric_strings: bool,
}

/// A message and the part of it that is a sample.
#[derive(Clone, Copy)]
struct Document<'a> {
    message: &'a Value,
    sample: &'a Value,
}

impl Decoder for JsonPaths {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        if config.outputs.is_empty() || config.outputs.len() > MAX_OUTPUTS {
            return Err(bad(format!(
                "outputs has {} tensors: 1 to {MAX_OUTPUTS}",
                config.outputs.len()
            )));
        }
        if !(1..=MAX_BYTES).contains(&config.max_bytes) {
            return Err(bad(format!(
                "max_bytes is {}, and has to be 1 to {MAX_BYTES}",
                config.max_bytes
            )));
        }
        for (index, output) in config.outputs.iter().enumerate() {
            if config
                .outputs
                .iter()
                .take(index)
                .any(|earlier| earlier.name == output.name)
            {
                return Err(bad(format!("outputs has {:?} twice", output.name)));
            }
            if config.missing == Missing::Nan && !output.datatype.is_float() {
                let datatype = output.datatype.name();
                return Err(bad(format!(
                    "missing is \"nan\", which {datatype} of output {:?} doesn't have",
                    output.name
                )));
            }
        }
        let lookup = |path: &str, from| {
            Ok(Lookup {
                path: Path::new(path)?,
                from,
            })
        };
        Ok(Self {
            outputs: config.outputs.iter().map(Source::new).collect::<Result<_, _>>()?,
            samples: config.samples.as_deref().map(Path::new).transpose()?,
            id: config.id.map(|id| lookup(&id.path, id.from)).transpose()?,
            key: config.key.map(|key| lookup(&key.path, key.from)).transpose()?,
            time: config
                .time
                .map(|time| Ok::<_, Error>((lookup(&time.path, time.from)?, time.unit)))
                .transpose()?,
            rules: Rules {
                missing: config.missing,
                booleans: config.booleans,
                numeric_strings: config.numeric_strings,
            },
            max_bytes: config.max_bytes,
        })
    }

    fn production(&self) -> Production {
        Production {
            outputs: self.outputs.iter().map(|output| output.layout.spec().clone()).collect(),
            state_bytes: 0,
        }
    }

    fn decode(&mut self, message: Message) -> Result<Vec<Result<Sample, Failure>>, Error> {
        let length = message.payload.len();
        if length > self.max_bytes {
            return Err(Error::BadInput(format!(
                "message of {length} bytes, more than max_bytes, {}",
                self.max_bytes
            )));
        }
        let message: Value =
            serde_json::from_slice(&message.payload).map_err(|error| Error::BadInput(format!("no JSON: {error}")))?;
        let sample = |sample| {
            self.sample(Document {
                message: &message,
                sample,
            })
        };
        let Some(path) = &self.samples else {
            return Ok(vec![sample(&message)]);
        };
        match path.find(&message) {
            Some(Value::Array(samples)) if samples.len() > MAX_SAMPLES => Err(Error::BadInput(format!(
                "{} samples, and {MAX_SAMPLES} are the most",
                samples.len()
            ))),
            Some(Value::Array(samples)) => Ok(samples.iter().map(sample).collect()),
            _ => Err(Error::BadInput(format!(
                "there is no array at samples, {:?}",
                path.text()
            ))),
        }
    }
}

impl JsonPaths {
    fn sample(&self, document: Document<'_>) -> Result<Sample, Failure> {
        let key = name("key", self.key.as_ref(), document)?;
        let read = self.sample_of(document, key.clone());
        read.map_err(|error| Failure::of(key, error))
    }

    fn sample_of(&self, document: Document<'_>, key: Option<String>) -> Result<Sample, Error> {
        let tensors = self.outputs.iter().map(|output| output.tensor(document, self.rules));
        let time = self
            .time
            .as_ref()
            .and_then(|(time, unit)| Some((time, unit, time.find(document)?)));
        Ok(Sample {
            tensors: tensors.collect::<Result<_, _>>()?,
            id: name("id", self.id.as_ref(), document)?,
            key,
            time_ns: time
                .map(|(lookup, unit, value)| read_time(lookup, *unit, value))
                .transpose()?,
        })
    }
}

/// A sample's id or key, where there is one.
fn name(what: &str, lookup: Option<&Lookup>, document: Document<'_>) -> Result<Option<String>, Error> {
    let found = lookup.and_then(|lookup| Some((lookup, lookup.find(document)?)));
    found.map(|(lookup, value)| read_name(what, lookup, value)).transpose()
}

impl Source {
    fn new(output: &Output) -> Result<Self, Error> {
        if let Some(path) = &output.path {
            if !output.fields.is_empty() {
                return Err(bad(format!("output {:?} has both path and fields", output.name)));
            }
            let shape = output.shape.clone().unwrap_or_else(|| vec![-1]);
            return Ok(Self {
                layout: Layout::new(TensorSpec::new(&output.name, output.datatype, shape))?,
                values: Values::Array(Path::new(path)?),
            });
        }
        let names: Vec<&str> = output.fields.iter().map(|field| field.name.as_str()).collect();
        let lookup = |field: &Field| {
            let path = field
                .path
                .as_deref()
                .map_or_else(|| Ok(Path::of_key(&field.name)), Path::new)?;
            Ok(Lookup { path, from: field.from })
        };
        Ok(Self {
            layout: Layout::of_fields(&output.name, output.datatype, output.shape.clone(), &names)?,
            values: Values::Fields(output.fields.iter().map(lookup).collect::<Result<_, Error>>()?),
        })
    }

    fn tensor(&self, document: Document<'_>, rules: Rules) -> Result<Tensor, Error> {
        let booleans = rules.booleans || self.layout.spec().datatype == Datatype::Bool;
        let rules = Rules { booleans, ..rules };
        match &self.values {
            Values::Fields(lookups) => {
                let number = |lookup: &Lookup| rules.number(&lookup.path, lookup.find(document));
                self.layout
                    .tensor(&lookups.iter().map(number).collect::<Result<Vec<_>, _>>()?)
            }
            Values::Array(path) => {
                let mut array = Array::default();
                let value = path.find(document.sample);
                let value = value.ok_or_else(|| Error::BadInput(format!("there is no array at {:?}", path.text())))?;
                array.take(path, value, 0, rules)?;
                let tensor = self.layout.tensor(&array.numbers)?;
                // A flat list may have any shape, a nested one only its own.
                if array.shape.len() > 1 && array.shape != tensor.shape {
                    let (shape, expected) = (array.shape, &tensor.shape);
                    return Err(Error::BadInput(format!(
                        "{:?} has shape {shape:?}, expected {expected:?}",
                        path.text()
                    )));
                }
                Ok(tensor)
            }
        }
    }
}

impl Lookup {
    fn find<'a>(&self, document: Document<'a>) -> Option<&'a Value> {
        self.path.find(match self.from {
            From::Sample => document.sample,
            From::Message => document.message,
        })
    }
}

/// Nested lists, as far as they have been read.
#[derive(Default)]
struct Array {
    shape: Vec<u64>,
    numbers: Vec<Number>,
    /// The level at which the numbers stand, once there is one.
    level: Option<usize>,
}

impl Array {
    fn take(&mut self, path: &Path, value: &Value, level: usize, rules: Rules) -> Result<(), Error> {
        let uneven = || Error::BadInput(format!("the lists at {:?} aren't equally long or deep", path.text()));
        let Value::Array(elements) = value else {
            if *self.level.get_or_insert(level) != level || level == 0 {
                return Err(uneven());
            }
            self.numbers
                .push(rules.number(path, Some(value).filter(|value| !value.is_null()))?);
            return Ok(());
        };
        match self.shape.get(level) {
            None if self.level.is_none() => self.shape.push(elements.len() as u64),
            Some(&length) if length == elements.len() as u64 => {}
            _ => return Err(uneven()),
        }
        elements
            .iter()
            .try_for_each(|element| self.take(path, element, level + 1, rules))
    }
}

impl Rules {
    fn number(self, path: &Path, value: Option<&Value>) -> Result<Number, Error> {
        let found = match value {
            None => None,
            Some(Value::String(text)) if self.numeric_strings && text.trim().is_empty() => None,
            Some(value) => match self.read(value) {
                Some(number) => Some(number),
                None => {
                    return Err(Error::BadInput(format!(
                        "{:?} is {}, no number",
                        path.text(),
                        said(value)
                    )));
                }
            },
        };
        match (found, self.missing) {
            (Some(number), _) => Ok(number),
            (None, Missing::Nan) => Ok(Number::MISSING),
            (None, Missing::Error) => Err(Error::BadInput(format!("{:?} is missing", path.text()))),
        }
    }

    fn read(self, value: &Value) -> Option<Number> {
        match value {
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Some(Number::Signed(value)),
                (None, Some(value)) => Some(Number::Unsigned(value)),
                (None, None) => number.as_f64().map(Number::Float),
            },
            Value::Bool(value) if self.booleans => Some(Number::Signed((*value).into())),
            Value::String(text) if self.numeric_strings => of_text(text.trim()),
            _ => None,
        }
    }
}

/// A decimal number; words such as `inf`, which Rust would read, are none.
fn of_text(text: &str) -> Option<Number> {
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
    {
        return None;
    }
    let integer = text.parse().map(Number::Signed);
    integer
        .or_else(|_| text.parse().map(Number::Unsigned))
        .or_else(|_| text.parse().map(Number::Float))
        .ok()
}

fn read_name(what: &str, lookup: &Lookup, value: &Value) -> Result<String, Error> {
    let what = format!("{what}, {:?},", lookup.path.text());
    match value {
        Value::String(text) => checked_name(&what, text),
        Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
        _ => Err(Error::BadInput(format!(
            "{what} is {}, neither text nor an integer",
            said(value)
        ))),
    }
}

fn read_time(lookup: &Lookup, unit: TimeFormat, value: &Value) -> Result<u64, Error> {
    let time = match value {
        Value::String(text) => unit.parse(text),
        Value::Number(number) => unit.parse(&number.to_string()),
        _ => Err(Error::BadInput(format!("it is {}", said(value)))),
    };
    time.map_err(|error| Error::BadInput(format!("time, {:?}: {}", lookup.path.text(), error.message())))
}

const fn said(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

#[cfg(test)]
mod tests;
