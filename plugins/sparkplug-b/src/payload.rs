//! A payload of Sparkplug B: time, sequence number and metrics (Sparkplug 3.0.0, chapter 6).

use crate::wire::{Fields, Value, malformed};
use floorhand_plugin_sdk::{Error, Number};
use std::collections::BTreeMap;

/// What a payload says in `uuid` when its metrics are packed into `body`.
const COMPRESSED: &[u8] = b"SPBV1.0_COMPRESSED";

/// The metric that counts a node's births and deaths.
const BIRTH_SEQUENCE: &str = "bdSeq";

/// A payload, with those of its metrics that may be of use.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub(crate) timestamp_ms: Option<u64>,
    pub(crate) sequence: Option<u8>,
    /// The number of the birth that it is or ends.
    pub(crate) birth: Option<u64>,
    pub(crate) metrics: Vec<Metric>,
}

/// A metric: one that is configured, or whose alias alone is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Metric {
    /// Which of the configured ones, if it came with its name.
    pub(crate) index: Option<usize>,
    pub(crate) alias: Option<u64>,
    pub(crate) timestamp_ms: Option<u64>,
    pub(crate) datatype: Option<u32>,
    pub(crate) is_historical: bool,
    is_null: bool,
    value: Option<Raw>,
}

/// A value as it was written.
#[derive(Debug, Clone, Copy)]
enum Raw {
    Bits(u64),
    Float(f64),
    Boolean(bool),
    /// Text, bytes, data sets, templates.
    NoNumber,
}

impl Payload {
    /// Reads all of it; `names` has the configured metrics.
    pub(crate) fn read(bytes: &[u8], names: &BTreeMap<String, usize>) -> Result<Self, Error> {
        let mut payload = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Varint(time)) => payload.timestamp_ms = Some(time),
                (2, Value::Bytes(bytes)) => payload.take(bytes, names)?,
                (3, Value::Varint(sequence)) => {
                    payload.sequence = Some(u8::try_from(sequence).map_err(|_| malformed())?)
                }
                (4, Value::Bytes(COMPRESSED)) => {
                    return Err(Error::BadInput(
                        "the payload is compressed: have it sent as it is".into(),
                    ));
                }
                (1..=3, _) => return Err(malformed()),
                _ => {}
            }
        }
        Ok(payload)
    }

    fn take(&mut self, bytes: &[u8], names: &BTreeMap<String, usize>) -> Result<(), Error> {
        let (metric, name) = Metric::read(bytes, names)?;
        if name == Some(BIRTH_SEQUENCE)
            && let Some(Raw::Bits(birth)) = metric.value
        {
            self.birth = Some(birth);
        }
        if metric.index.is_some() || (name.is_none() && metric.alias.is_some()) {
            self.metrics.push(metric);
        }
        Ok(())
    }
}

impl Metric {
    fn read<'a>(bytes: &'a [u8], names: &BTreeMap<String, usize>) -> Result<(Self, Option<&'a str>), Error> {
        let (mut metric, mut name) = (Self::default(), None);
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(text)) => name = Some(std::str::from_utf8(text).map_err(|_| malformed())?),
                (2, Value::Varint(alias)) => metric.alias = Some(alias),
                (3, Value::Varint(time)) => metric.timestamp_ms = Some(time),
                (4, Value::Varint(datatype)) => {
                    metric.datatype = Some(u32::try_from(datatype).map_err(|_| malformed())?)
                }
                (5, Value::Varint(flag)) => metric.is_historical = flag != 0,
                (7, Value::Varint(flag)) => metric.is_null = flag != 0,
                (10 | 11, Value::Varint(bits)) => metric.value = Some(Raw::Bits(bits)),
                (12, Value::Fixed32(bits)) => metric.value = Some(Raw::Float(f32::from_bits(bits).into())),
                (13, Value::Fixed64(bits)) => metric.value = Some(Raw::Float(f64::from_bits(bits))),
                (14, Value::Varint(flag)) => metric.value = Some(Raw::Boolean(flag != 0)),
                (15..=19, Value::Bytes(_)) => metric.value = Some(Raw::NoNumber),
                (1..=5 | 7 | 10..=19, _) => return Err(malformed()),
                _ => {}
            }
        }
        // An empty name is how some encoders leave it out.
        let name = name.filter(|name| !name.is_empty());
        metric.index = name.and_then(|name| names.get(name).copied());
        Ok((metric, name))
    }

    /// The value under a datatype of the specification: `None` where it is null, an error where it is no number.
    pub(crate) fn number(&self, datatype: Option<u32>) -> Result<Option<Number>, NoNumber> {
        if self.is_null {
            return Ok(None);
        }
        // Integers are two's complement in as many bits as the type has, whatever stands above them.
        Ok(Some(match (datatype, self.value.ok_or(NoNumber)?) {
            (Some(1), Raw::Bits(bits)) => Number::Signed((bits as u8 as i8).into()),
            (Some(2), Raw::Bits(bits)) => Number::Signed((bits as u16 as i16).into()),
            (Some(3), Raw::Bits(bits)) => Number::Signed((bits as u32 as i32).into()),
            (Some(4), Raw::Bits(bits)) => Number::Signed(bits as i64),
            (Some(5), Raw::Bits(bits)) => Number::Unsigned((bits as u8).into()),
            (Some(6), Raw::Bits(bits)) => Number::Unsigned((bits as u16).into()),
            (Some(7), Raw::Bits(bits)) => Number::Unsigned((bits as u32).into()),
            // UInt64, DateTime; and a type that nobody has told.
            (Some(8 | 13) | None, Raw::Bits(bits)) => Number::Unsigned(bits),
            (Some(9 | 10) | None, Raw::Float(value)) => Number::Float(value),
            (Some(11) | None, Raw::Boolean(value)) => Number::Unsigned(value.into()),
            _ => return Err(NoNumber),
        }))
    }
}

/// A value of a type without numbers, or none where one has to be.
#[derive(Debug, PartialEq)]
pub(crate) struct NoNumber;
