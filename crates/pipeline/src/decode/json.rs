//! JSON samples: `{"pressure": 1.5, "flow": 32.0}` where the input names its fields, `{"acceleration": [...]}` where it
//! doesn't, and with either, if the source has them, `"id"` and `"time_ms"`.

use super::{DecodeError, MAX_SAMPLE_BYTES, id, is_text, tensor, text_tensor, time_ns};
use crate::Sample;
use floorhand_bundle::InputSpec;
use floorhand_tensor::Tensor;
use serde_json::{Map, Value};

/// Deeper than any tensor's rank.
const MAX_DEPTH: usize = 16;

/// A sample from JSON text. `null` stands for a missing number and becomes NaN.
pub fn json(bytes: &[u8], inputs: &[InputSpec]) -> Result<Sample, DecodeError> {
    if bytes.len() > MAX_SAMPLE_BYTES {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| DecodeError::NotJson(error.to_string()))?;
    json_value(&value, inputs)
}

/// A sample from a JSON value.
pub fn json_value(value: &Value, inputs: &[InputSpec]) -> Result<Sample, DecodeError> {
    let Value::Object(object) = value else {
        return Err(DecodeError::NotObject);
    };
    let id = match object.get("id") {
        Some(Value::String(text)) => id(text)?,
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let time_ns = object.get("time_ms").and_then(Value::as_u64).map_or(Ok(0), time_ns)?;
    let tensors = inputs
        .iter()
        .map(|input| input_tensor(object, input))
        .collect::<Result<_, _>>()?;
    Ok(Sample {
        id,
        time_ns,
        key: None,
        tensors,
    })
}

/// The numbers of a number, or of an array of any depth.
pub fn numbers(value: &Value) -> Result<Vec<f64>, String> {
    flattened(value, number)
}

/// The texts of a text, or of an array of any depth.
pub fn texts(value: &Value) -> Result<Vec<&str>, String> {
    flattened(value, text)
}

fn flattened<'v, T>(value: &'v Value, one: impl Fn(&'v Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    let mut elements = Vec::new();
    flatten(value, &one, MAX_DEPTH, &mut elements)?;
    Ok(elements)
}

fn flatten<'v, T>(
    value: &'v Value,
    one: &impl Fn(&'v Value) -> Result<T, String>,
    depth: usize,
    into: &mut Vec<T>,
) -> Result<(), String> {
    match value {
        Value::Array(items) if depth > 0 => items.iter().try_for_each(|item| flatten(item, one, depth - 1, into)),
        Value::Array(_) => Err(format!("is nested more than {MAX_DEPTH} deep")),
        _ => {
            into.push(one(value)?);
            Ok(())
        }
    }
}

/// A missing text is an empty one.
fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(""),
        _ => Err("is neither a text nor an array of texts".to_owned()),
    }
}

fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(number) => number
            .as_f64()
            .ok_or_else(|| "is a number that no double can hold".to_owned()),
        Value::Bool(flag) => Ok(f64::from(u8::from(*flag))),
        Value::Null => Ok(f64::NAN),
        Value::String(text) => Err(format!(
            "is the text {:?}, and no number",
            text.chars().take(40).collect::<String>()
        )),
        Value::Array(_) | Value::Object(_) => Err("is neither a number nor an array of numbers".to_owned()),
    }
}

fn input_tensor(object: &Map<String, Value>, input: &InputSpec) -> Result<Tensor, DecodeError> {
    if is_text(input) {
        text_tensor(input, &elements(object, input, text)?)
    } else {
        tensor(input, &elements(object, input, number)?)
    }
}

/// An input's elements: all of them under its own name, else one under each of its fields' names.
fn elements<'v, T>(
    object: &'v Map<String, Value>,
    input: &InputSpec,
    one: impl Fn(&'v Value) -> Result<T, String>,
) -> Result<Vec<T>, DecodeError> {
    let name = &input.tensor.name;
    let wrong = |field: &str, problem| DecodeError::Field {
        field: field.to_owned(),
        problem,
    };
    if let Some(value) = object.get(name) {
        return flattened(value, one).map_err(|problem| wrong(name, problem));
    }
    if input.fields.is_empty() {
        return Err(missing(name, object));
    }
    let element = |field: &String| {
        let value = object.get(field).ok_or_else(|| missing(field, object))?;
        one(value).map_err(|problem| wrong(field, problem))
    };
    input.fields.iter().map(element).collect()
}

fn missing(field: &str, object: &Map<String, Value>) -> DecodeError {
    let present: Vec<&str> = object.keys().take(20).map(String::as_str).collect();
    let present = if present.is_empty() {
        "none".to_owned()
    } else {
        present.join(", ")
    };
    DecodeError::Missing {
        field: field.to_owned(),
        present,
    }
}
