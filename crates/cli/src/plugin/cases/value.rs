//! Tensors as they are written in JSON: nested arrays, with `"NaN"`, `"Infinity"` and `"-Infinity"` where JSON has no number, and texts
//! where the tensor's elements are byte strings.

use anyhow::{Context as _, Result, anyhow};
use floorhand_tensor::{Datatype, Tensor};
use serde_json::Value;

/// Dimensions that are read: more than a tensor may have.
const MAX_RANK: usize = 16;

/// A tensor of a type from nested arrays, whose nesting gives the shape. Whole numbers are taken as they are.
pub(in crate::plugin) fn tensor(name: &str, datatype: Datatype, value: &Value) -> Result<Tensor> {
    let about = || format!("tensor {name:?}");
    let mut shape = Vec::new();
    let mut level = value;
    while let Value::Array(items) = level {
        if shape.len() == MAX_RANK {
            return Err(anyhow!("tensor {name:?} is nested more than {MAX_RANK} deep"));
        }
        shape.push(items.len() as u64);
        match items.first() {
            Some(first) => level = first,
            None => break,
        }
    }
    let mut data = Vec::new();
    push(value, &shape, datatype, &mut data).with_context(about)?;
    // Written as [], a dimension of nothing; the others are the specification's business.
    Tensor::new(name, datatype, shape, data).with_context(about)
}

fn push(value: &Value, shape: &[u64], datatype: Datatype, data: &mut Vec<u8>) -> Result<()> {
    let Some((&length, rest)) = shape.split_first() else {
        return push_element(value, datatype, data);
    };
    let items = value.as_array().filter(|items| items.len() as u64 == length);
    let items = items.ok_or_else(|| anyhow!("its rows differ in length"))?;
    items.iter().try_for_each(|item| push(item, rest, datatype, data))
}

fn push_element(value: &Value, datatype: Datatype, data: &mut Vec<u8>) -> Result<()> {
    match (datatype, value) {
        (Datatype::Int64, Value::Number(number)) if number.is_i64() => {
            data.extend(number.as_i64().unwrap_or_default().to_le_bytes());
        }
        (Datatype::Uint64, Value::Number(number)) if number.is_u64() => {
            data.extend(number.as_u64().unwrap_or_default().to_le_bytes());
        }
        (Datatype::Bytes, _) => {
            let text = value.as_str().ok_or_else(|| anyhow!("{value} is no text"))?;
            data.extend(Tensor::from_elements("", vec![1], &[text])?.data());
        }
        _ => {
            let one = Tensor::from_f64("", datatype, vec![1], &[number(value)?])?;
            data.extend(one.data());
        }
    }
    Ok(())
}

/// A number, as it may be written.
pub(in crate::plugin) fn number(value: &Value) -> Result<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
    .ok_or_else(|| anyhow!("{value} is no number, nor \"NaN\", \"Infinity\" or \"-Infinity\""))
}

/// Whether a number is what is expected: the same bits for a tolerance of 0, else near relative to the larger of it and 1.
pub(in crate::plugin) fn near(expected: f64, actual: f64, tolerance: f64) -> bool {
    if expected.is_nan() || actual.is_nan() {
        return expected.is_nan() && actual.is_nan();
    }
    if expected.to_bits() == actual.to_bits() {
        return true;
    }
    let finite = expected.is_finite() && actual.is_finite();
    finite && tolerance > 0.0 && (expected - actual).abs() <= tolerance * expected.abs().max(1.0)
}

/// What differs between a tensor that is expected and one that was given; `None` if nothing does.
pub(in crate::plugin) fn difference(expected: &Value, actual: &Tensor, tolerance: f64) -> Result<Option<String>> {
    let expected = tensor(actual.name(), actual.datatype(), expected)?;
    if expected.shape() != actual.shape() {
        return Ok(Some(format!(
            "{:?} has shape {:?} and not {:?}",
            actual.name(),
            actual.shape(),
            expected.shape()
        )));
    }
    if let (Ok(expected), Ok(texts)) = (expected.elements(), actual.elements()) {
        let differs = expected
            .iter()
            .zip(&texts)
            .position(|(expected, text)| expected != text);
        return Ok(differs.map(|index| {
            format!(
                "{:?} at {} is another text",
                actual.name(),
                place(index, actual.shape())
            )
        }));
    }
    let pairs = expected.to_f64()?.into_iter().zip(actual.to_f64()?);
    for (index, (expected, actual_value)) in pairs.enumerate() {
        if !near(expected, actual_value, tolerance) {
            return Ok(Some(format!(
                "{:?} at {} is {actual_value} and not {expected}",
                actual.name(),
                place(index, actual.shape())
            )));
        }
    }
    Ok(None)
}

/// `[1, 2]` of an element's number.
fn place(index: usize, shape: &[u64]) -> String {
    let mut rest = index as u64;
    let mut place: Vec<u64> = shape
        .iter()
        .rev()
        .map(|&length| {
            let at = rest % length.max(1);
            rest /= length.max(1);
            at
        })
        .collect();
    place.reverse();
    format!("{place:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nesting_gives_the_shape() {
        let check = |value: Value, shape: &[u64], values: &[f64]| {
            let tensor = tensor("x", Datatype::Fp32, &value).unwrap();
            assert_eq!((tensor.shape(), tensor.to_f64().unwrap().as_slice()), (shape, values));
        };
        check(json!(1.5), &[], &[1.5]);
        check(json!([1, 2, 3]), &[3], &[1.0, 2.0, 3.0]);
        check(
            json!([[1, 2], [3, "-Infinity"]]),
            &[2, 2],
            &[1.0, 2.0, 3.0, f64::NEG_INFINITY],
        );
        check(json!([]), &[0], &[]);
        let exact = tensor("x", Datatype::Int64, &json!([i64::MAX])).unwrap();
        assert_eq!(exact.data(), i64::MAX.to_le_bytes());
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        for (value, part) in [
            (json!([[1, 2], [3]]), "its rows differ in length"),
            (json!([[1], 2]), "its rows differ in length"),
            (json!(["nan"]), "\"nan\" is no number"),
            (json!([null]), "null is no number"),
            (json!([[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]), "nested more than 16 deep"),
        ] {
            let error = tensor("x", Datatype::Fp32, &value).unwrap_err();
            let error = crate::exit::flatten(&error);
            assert!(error.contains("tensor \"x\"") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn near_is_relative_and_a_tolerance_of_0_means_the_same_bits() {
        for (expected, actual, tolerance, is_near) in [
            (1e9, 1e9 + 10.0, 1e-6, true),
            (1e9, 1e9 + 10_000.0, 1e-6, false),
            (0.0, 1e-7, 1e-6, true),
            (0.0, -0.0, 0.0, false),
            (f64::NAN, f64::NAN, 0.0, true),
            (f64::NAN, 1.0, 1.0, false),
            (f64::INFINITY, f64::INFINITY, 1e-6, true),
            (f64::INFINITY, f64::NEG_INFINITY, 1e-6, false),
            (f64::INFINITY, 1.0, 1e-6, false),
        ] {
            assert_eq!(near(expected, actual, tolerance), is_near, "{expected} {actual}");
        }
        let actual = Tensor::from_f32("y", vec![2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let differs = difference(&json!([[1, 2], [3, 5]]), &actual, 1e-6).unwrap();
        assert_eq!(differs.unwrap(), "\"y\" at [1, 1] is 4 and not 5");
    }
}
