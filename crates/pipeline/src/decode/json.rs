//! JSON samples: `{"pressure": 1.5, "flow": 32.0}` where the input names its fields, `{"acceleration": [...]}` where it
//! doesn't, and with either, if the source has them, `"id"` and `"time_ms"`.

use super::{DecodeError, MAX_SAMPLE_BYTES, id, tensor, time_ns};
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

/// Appends the numbers of a number, or of an array of any depth.
pub fn flatten(value: &Value, into: &mut Vec<f64>) -> Result<(), String> {
    flatten_within(value, into, MAX_DEPTH)
}

fn flatten_within(value: &Value, into: &mut Vec<f64>, depth: usize) -> Result<(), String> {
    match value {
        Value::Array(items) if depth > 0 => items.iter().try_for_each(|item| flatten_within(item, into, depth - 1)),
        Value::Array(_) => Err(format!("is nested more than {MAX_DEPTH} deep")),
        _ => {
            into.push(number(value)?);
            Ok(())
        }
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
    let name = &input.tensor.name;
    let mut numbers = Vec::with_capacity(input.fields.len());
    if let Some(value) = object.get(name) {
        flatten(value, &mut numbers).map_err(|problem| DecodeError::Field {
            field: name.clone(),
            problem,
        })?;
        return tensor(input, &numbers);
    }
    if input.fields.is_empty() {
        return Err(missing(name, object));
    }
    for field in &input.fields {
        let value = object.get(field).ok_or_else(|| missing(field, object))?;
        let value = number(value).map_err(|problem| DecodeError::Field {
            field: field.clone(),
            problem,
        })?;
        numbers.push(value);
    }
    tensor(input, &numbers)
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
