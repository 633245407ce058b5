//! A tensor's `data` in JSON: an array of all elements, or arrays within arrays as the shape says.
//!
//! It is read once its type and shape are known, straight into the tensor's bytes: no tree of JSON values, which would
//! be thirty times as large, and no detour over a type that can't hold every element.

use floorhand_tensor::Datatype;
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use std::fmt;

/// The bytes of a tensor from its data's text, or what is wrong with it. FP16 is none that the protocol has JSON for.
pub(super) fn read(text: &str, datatype: Datatype, shape: &[u64]) -> Result<Vec<u8>, String> {
    let count = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
    let count = if shape.contains(&0) { Some(0) } else { count };
    let count = count.ok_or_else(|| format!("has shape {shape:?}: too many elements"))?;
    let brackets = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let nested = brackets.take_while(|&byte| byte == b'[').count() > 1;
    let flat = [count];
    let sizes = if nested { shape } else { &flat };
    // An element is two characters at least: no shape makes us reserve more than there is text for.
    let most = usize::try_from(count).unwrap_or(usize::MAX).min(text.len() / 2 + 1);
    let mut sink = Sink {
        data: Vec::with_capacity(most * datatype.size().unwrap_or(size_of::<u32>())),
        datatype,
        read: 0,
        problem: None,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    match json.deserialize_seq(Level { sink: &mut sink, sizes }) {
        Ok(()) => Ok(sink.data),
        Err(error) => {
            let problem = sink.problem.unwrap_or_else(|| without_position(&error));
            Err(format!("has data that doesn't fit: {problem}"))
        }
    }
}

/// What serde says, without its position in a text that is only part of the body.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.rsplit_once(" at line ").map(|(problem, _)| problem.to_owned());
    problem.unwrap_or(text)
}

/// Where elements go.
struct Sink {
    data: Vec<u8>,
    datatype: Datatype,
    read: u64,
    /// What is wrong with the element or array at which reading ended.
    problem: Option<String>,
}

impl Sink {
    fn refuse<T, E: de::Error>(&mut self, problem: String) -> Result<T, E> {
        let error = E::custom(&problem);
        self.problem = Some(problem);
        Err(error)
    }

    fn refuse_element<E: de::Error>(&mut self, what: &str) -> Result<(), E> {
        let problem = format!("element {} is {what}, expected {}", self.read, self.datatype);
        self.refuse(problem)
    }

    fn integer<E: de::Error>(&mut self, value: i128) -> Result<(), E> {
        macro_rules! put {
            ($type:ty) => {
                <$type>::try_from(value)
                    .map(|value| self.data.extend(value.to_le_bytes()))
                    .is_ok()
            };
        }
        let fits = match self.datatype {
            Datatype::Uint8 => put!(u8),
            Datatype::Uint16 => put!(u16),
            Datatype::Uint32 => put!(u32),
            Datatype::Uint64 => put!(u64),
            Datatype::Int8 => put!(i8),
            Datatype::Int16 => put!(i16),
            Datatype::Int32 => put!(i32),
            Datatype::Int64 => put!(i64),
            // One rounding, to the nearest.
            Datatype::Fp32 => return self.single(value as f32),
            Datatype::Fp64 => return self.double(value as f64),
            Datatype::Bool | Datatype::Fp16 | Datatype::Bytes => false,
        };
        if fits {
            return Ok(());
        }
        self.refuse_element(&value.to_string())
    }

    fn single<E>(&mut self, value: f32) -> Result<(), E> {
        self.data.extend(value.to_le_bytes());
        Ok(())
    }

    fn double<E>(&mut self, value: f64) -> Result<(), E> {
        self.data.extend(value.to_le_bytes());
        Ok(())
    }
}

/// An array: of arrays while sizes are left, of elements in the last.
struct Level<'a> {
    sink: &'a mut Sink,
    sizes: &'a [u64],
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let Self { sink, sizes } = self;
        let (size, inner) = sizes.split_first().map_or((1, sizes), |(size, inner)| (*size, inner));
        for found in 0..size {
            let next = if inner.is_empty() {
                array.next_element_seed(Element(sink))?
            } else {
                array.next_element_seed(Level { sink, sizes: inner })?
            };
            if next.is_none() {
                return sink.refuse(format!("an array ends after {found}, expected {size}"));
            }
        }
        if array.next_element::<de::IgnoredAny>()?.is_some() {
            return sink.refuse(format!("an array goes on after {size}"));
        }
        Ok(())
    }
}

struct Element<'a>(&'a mut Sink);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Read as what it is to be: over an f64 some FP32 would be rounded twice.
        match self.0.datatype {
            Datatype::Fp32 => deserializer.deserialize_f32(self),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as element {}", self.0.datatype, self.0.read)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.0.integer(value.into())?;
        self.0.read += 1;
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.0.integer(value.into())?;
        self.0.read += 1;
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        match self.0.datatype {
            // It was read as one.
            Datatype::Fp32 => self.0.single(value as f32)?,
            Datatype::Fp64 => self.0.double(value)?,
            _ => {
                return self
                    .0
                    .refuse_element("a number with a fraction, an exponent or more than 64 bits");
            }
        }
        self.0.read += 1;
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        if self.0.datatype != Datatype::Bool {
            return self.0.refuse_element("true or false");
        }
        self.0.data.push(value.into());
        self.0.read += 1;
        Ok(())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        if self.0.datatype != Datatype::Bytes {
            return self.0.refuse_element("a string");
        }
        let Ok(length) = u32::try_from(value.len()) else {
            return self.0.refuse_element("a string of more than 4 GiB");
        };
        self.0.data.extend(length.to_le_bytes());
        self.0.data.extend(value.as_bytes());
        self.0.read += 1;
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.0.refuse_element("null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _array: A) -> Result<(), A::Error> {
        self.0.refuse_element("an array, nested deeper than the shape")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, _object: A) -> Result<(), A::Error> {
        self.0.refuse_element("an object")
    }
}
