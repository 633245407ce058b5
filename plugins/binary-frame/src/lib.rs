//! `binary-frame`: frames of a fixed layout to tensors.
//!
//! A message is a header, records of numbers at fixed places, and a check; each part but a record is optional. Numbers are
//! integers, floating point or some bits of an integer, in either byte order, scaled. README.md has the configuration.

mod config;
mod frame;

pub use config::{Bits, Check, CheckKind, Config, Endianness, Field, Length, Origin, Output, Place, Time};

use crate::frame::Frame;
use floorhand_plugin_sdk::{
    Assets, Datatype, Decoder, Error, Failure, Layout, MAX_SAMPLES, Message, Missing, Number, Production, Sample,
    Tensor, TensorSpec, TimeFormat,
};

floorhand_plugin_sdk::export!(BinaryFrame as decoder);

/// Tensors of a sample: more than any model takes.
const MAX_OUTPUTS: usize = 64;

/// The most `max_bytes` may be: the host's default limit of what a plugin may be given.
const MAX_BYTES: usize = 8 << 20;

/// The configured plugin. Has no state.
#[derive(Debug)]
pub struct BinaryFrame {
    frame: Frame,
    record_bytes: usize,
    repeat: bool,
    outputs: Vec<(Layout, Vec<Numbers>)>,
    id: Option<Place>,
    key: Option<Place>,
    time: Option<Time>,
    endianness: Endianness,
    missing: Missing,
}

/// A field with everything that is known by default.
#[derive(Debug)]
struct Numbers {
    name: String,
    datatype: Datatype,
    offset: usize,
    count: usize,
    endianness: Endianness,
    bits: Option<Bits>,
    missing_value: Option<i64>,
    /// Multiplied with and added; `None` where integers stay exact.
    scaling: Option<(f64, f64)>,
}

impl Decoder for BinaryFrame {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        check(&config)?;
        let frame = Frame::new(&config)?;
        let mut end = 0;
        let mut outputs = Vec::new();
        let mut last = 0;
        for output in &config.outputs {
            let mut fields = Vec::new();
            for field in &output.fields {
                let field = Numbers::new(field, end, &config)?;
                end = field.end();
                last = last.max(end);
                fields.push(field);
            }
            outputs.push((layout(output)?, fields));
        }
        let of_record = |offset: usize, datatype: Datatype, origin| match origin {
            Origin::Record => offset.saturating_add(datatype.size()),
            Origin::Message => 0,
        };
        let name_end =
            |place: Option<Place>| place.map_or(0, |place| of_record(place.offset, place.datatype, place.origin));
        let time_end = config
            .time
            .map_or(0, |time| of_record(time.offset, time.datatype, time.origin));
        last = last.max(name_end(config.id)).max(name_end(config.key)).max(time_end);
        let record_bytes = config.record_bytes.unwrap_or(last);
        if record_bytes < last || record_bytes > config.max_bytes {
            return Err(bad(format!(
                "record_bytes is {record_bytes}, and fields end at {last}: no less, and max_bytes at most"
            )));
        }
        check_places(&config, frame.header_bytes())?;
        Ok(Self {
            frame,
            record_bytes,
            repeat: config.repeat,
            outputs,
            id: config.id,
            key: config.key,
            time: config.time,
            endianness: config.endianness,
            missing: config.missing,
        })
    }

    fn production(&self) -> Production {
        Production {
            outputs: self.outputs.iter().map(|(layout, _)| layout.spec().clone()).collect(),
            state_bytes: 0,
        }
    }

    fn decode(&mut self, message: Message) -> Result<Vec<Result<Sample, Failure>>, Error> {
        let message = message.payload.as_slice();
        let body = self.frame.body(message)?;
        let (length, record) = (body.len(), self.record_bytes);
        let records = length / record;
        if !length.is_multiple_of(record) || (records != 1 && !self.repeat) {
            return Err(input(format!("{length} bytes of records, and a record has {record}")));
        }
        if records > MAX_SAMPLES {
            return Err(input(format!("{records} records, and {MAX_SAMPLES} are the most")));
        }
        Ok(body
            .chunks_exact(record)
            .map(|record| {
                self.sample(message, record)
                    .map_err(|error| Failure::of(self.name(self.key, message, record).unwrap_or_default(), error))
            })
            .collect())
    }
}

impl BinaryFrame {
    fn place(
        &self,
        offset: usize,
        datatype: Datatype,
        origin: Origin,
        message: &[u8],
        record: &[u8],
    ) -> Result<Number, Error> {
        let bytes = match origin {
            Origin::Record => record,
            Origin::Message => message,
        };
        number(bytes, offset, datatype, self.endianness).ok_or_else(short)
    }

    /// An id or a key, where there is one.
    fn name(&self, at: Option<Place>, message: &[u8], record: &[u8]) -> Result<Option<String>, Error> {
        let Some(at) = at else { return Ok(None) };
        Ok(match self.place(at.offset, at.datatype, at.origin, message, record)? {
            Number::Signed(name) => Some(name.to_string()),
            Number::Unsigned(name) => Some(name.to_string()),
            Number::Float(_) => None,
        })
    }

    fn sample(&self, message: &[u8], record: &[u8]) -> Result<Sample, Error> {
        let time = match self.time {
            None => None,
            Some(time) => {
                let count = self.place(time.offset, time.datatype, time.origin, message, record)?;
                let read = time.unit.of_number(count);
                Some(read.map_err(|error| input(format!("time: {}", error.message())))?)
            }
        };
        let tensors = self
            .outputs
            .iter()
            .map(|(layout, fields)| self.tensor(layout, fields, record));
        Ok(Sample {
            tensors: tensors.collect::<Result<_, _>>()?,
            id: self.name(self.id, message, record)?,
            key: self.name(self.key, message, record)?,
            time_ns: time,
        })
    }

    fn tensor(&self, layout: &Layout, fields: &[Numbers], record: &[u8]) -> Result<Tensor, Error> {
        let mut numbers = Vec::with_capacity(fields.iter().map(|field| field.count).sum());
        for field in fields {
            for index in 0..field.count {
                let found = field.read(record, index).ok_or_else(short)?;
                if found.is_none() && self.missing == Missing::Error {
                    return Err(input(format!("field {:?} is missing", field.name)));
                }
                numbers.push(found.unwrap_or(Number::MISSING));
            }
        }
        layout.tensor(&numbers)
    }
}

impl Numbers {
    /// `next` is where it is if its place isn't given.
    fn new(field: &Field, next: usize, config: &Config) -> Result<Self, Error> {
        let name = &field.name;
        if field.datatype == Datatype::Bytes {
            return Err(bad(format!("field {name:?} is BYTES, and has to be a number")));
        }
        if let Some(bits) = field.bits {
            let width = 8 * field.datatype.size() as u32;
            let end = bits.first.checked_add(bits.count);
            if field.datatype.is_float() || is_signed(field.datatype) {
                return Err(bad(format!("field {name:?} has bits, and is no unsigned integer")));
            }
            if bits.count == 0 || end.is_none_or(|end| end > width) {
                return Err(bad(format!("bits of field {name:?} aren't within its {width}")));
            }
        }
        let (scale, add) = (field.scale.unwrap_or(1.0), field.add.unwrap_or(0.0));
        if !scale.is_finite() || !add.is_finite() {
            return Err(bad(format!("scale or add of field {name:?} isn't finite")));
        }
        let numbers = Self {
            name: name.clone(),
            datatype: field.datatype,
            offset: field.offset.unwrap_or(next),
            count: field.count,
            endianness: field.endianness.unwrap_or(config.endianness),
            bits: field.bits,
            missing_value: field.missing_value,
            scaling: (field.scale.is_some() || field.add.is_some()).then_some((scale, add)),
        };
        if field.count == 0 || numbers.end() > config.max_bytes {
            return Err(bad(format!("field {name:?} has no numbers, or ends beyond max_bytes")));
        }
        Ok(numbers)
    }

    const fn end(&self) -> usize {
        self.offset
            .saturating_add(self.count.saturating_mul(self.datatype.size()))
    }

    /// `None` beyond the record's end, and within it where the number is missing.
    fn read(&self, record: &[u8], index: usize) -> Option<Option<Number>> {
        let offset = self.offset + index * self.datatype.size();
        let mut number = number(record, offset, self.datatype, self.endianness)?;
        if let (Some(bits), Number::Unsigned(value)) = (self.bits, number) {
            number = Number::Unsigned((value >> bits.first) & (u64::MAX >> (64 - bits.count)));
        }
        let is_missing = match (number, self.missing_value) {
            (Number::Signed(value), Some(missing)) => value == missing,
            (Number::Unsigned(value), Some(missing)) => i128::from(value) == i128::from(missing),
            _ => false,
        };
        let scaled = match self.scaling {
            Some((scale, add)) => Number::Float(number.to_f64() * scale + add),
            None => number,
        };
        Some((!is_missing).then_some(scaled))
    }
}

/// The number at an offset; `None` where the bytes end before it does.
fn number(bytes: &[u8], offset: usize, datatype: Datatype, endianness: Endianness) -> Option<Number> {
    let bytes = bytes.get(offset..)?.get(..datatype.size())?;
    if endianness == Endianness::Little {
        return datatype.read(bytes);
    }
    let mut reversed = [0; 8];
    let reversed = reversed.get_mut(..bytes.len())?;
    reversed
        .iter_mut()
        .zip(bytes.iter().rev())
        .for_each(|(to, from)| *to = *from);
    datatype.read(reversed)
}

/// With names for its columns where every field is one.
fn layout(output: &Output) -> Result<Layout, Error> {
    let names: Vec<&str> = output.fields.iter().map(|field| field.name.as_str()).collect();
    if output.fields.iter().all(|field| field.count == 1) && output.shape.as_ref().is_none_or(|shape| is_row(shape)) {
        return Layout::of_fields(&output.name, output.datatype, output.shape.clone(), &names);
    }
    let numbers = output
        .fields
        .iter()
        .map(|field| field.count)
        .fold(0_usize, usize::saturating_add);
    let shape = output.shape.clone().unwrap_or_else(|| vec![1, numbers as i64]);
    let elements = shape
        .iter()
        .try_fold(1_i64, |product, &dim| product.checked_mul(dim.max(0)));
    if elements != i64::try_from(numbers).ok() {
        return Err(bad(format!(
            "shape of output {:?} is {shape:?}, and its fields have {numbers} numbers",
            output.name
        )));
    }
    Layout::new(TensorSpec::new(&output.name, output.datatype, shape))
}

fn is_row(shape: &[i64]) -> bool {
    shape.iter().rev().skip(1).all(|&dim| dim == 1)
}

const fn is_signed(datatype: Datatype) -> bool {
    matches!(
        datatype,
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 | Datatype::Int64
    )
}

fn check(config: &Config) -> Result<(), Error> {
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
        if output.fields.is_empty() {
            return Err(bad(format!("output {:?} has no fields", output.name)));
        }
    }
    Ok(())
}

/// Id and time.
fn check_places(config: &Config, header_bytes: usize) -> Result<(), Error> {
    for (key, place) in [("id", config.id), ("key", config.key)] {
        if place.is_some_and(|place| place.datatype.is_float() || place.datatype == Datatype::Bytes) {
            return Err(bad(format!("{key} has to be an integer")));
        }
    }
    if config.time.is_some_and(|time| time.datatype == Datatype::Bytes) {
        return Err(bad("time has to be a number".into()));
    }
    if config.time.is_some_and(|time| time.unit == TimeFormat::Rfc3339) {
        return Err(bad("time.unit is \"rfc3339\", which is text: s, ms, us or ns".into()));
    }
    let name = |place: Place| (place.origin, place.offset, place.datatype);
    let time = config.time.map(|time| (time.origin, time.offset, time.datatype));
    for (origin, offset, datatype) in [config.id.map(name), config.key.map(name), time].into_iter().flatten() {
        if origin == Origin::Message && offset.saturating_add(datatype.size()) > header_bytes {
            return Err(bad("id, key or time of the message isn't within its header".into()));
        }
    }
    Ok(())
}

fn short() -> Error {
    Error::Internal("a record is shorter than its fields".into())
}

fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

fn input(what: String) -> Error {
    Error::BadInput(what)
}

#[cfg(test)]
mod tests;
