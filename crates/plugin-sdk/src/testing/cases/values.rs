//! Values of a case file: nested arrays that are tensors, numbers that JSON has no way to write, and base64.

use crate::{Number, Tensor, TensorSpec};
use serde_json::Value;

/// A tensor from nested arrays, which give the shape.
pub(super) fn tensor(spec: &TensorSpec, value: &Value) -> Result<Tensor, String> {
    let (mut shape, mut elements) = (Vec::new(), Vec::new());
    flatten(value, 0, &mut shape, &mut elements)?;
    let mut data = Vec::new();
    for element in elements {
        if !spec.datatype.encode(number(element)?, &mut data) {
            return Err(format!(
                "{:?} has {element}, which {} doesn't hold",
                spec.name,
                spec.datatype.name()
            ));
        }
    }
    Ok(Tensor {
        name: spec.name.clone(),
        datatype: spec.datatype,
        shape,
        data,
    })
}

/// Holds a tensor against nested arrays.
pub(super) fn compare(tensor: &Tensor, expected: &Value, tolerance: f64) -> Result<(), String> {
    let (mut shape, mut elements) = (Vec::new(), Vec::new());
    flatten(expected, 0, &mut shape, &mut elements)?;
    let name = &tensor.name;
    if shape != tensor.shape {
        return Err(format!("{name:?} has shape {:?} and not {shape:?}", tensor.shape));
    }
    let numbers = tensor.numbers().map_err(|error| error.message().to_owned())?;
    for (index, (actual, expected)) in numbers.zip(elements).enumerate() {
        if !close(actual, expected, tolerance) {
            return Err(format!("{name:?} has {actual} at {index} and not {expected}"));
        }
    }
    Ok(())
}

/// Whether a number is the expected one: the same bits for a tolerance of 0.
pub(super) fn close(actual: f64, expected: &Value, tolerance: f64) -> bool {
    let Ok(expected) = number(expected).map(Number::to_f64) else {
        return false;
    };
    let near = tolerance > 0.0 && (actual - expected).abs() <= tolerance * expected.abs().max(1.0);
    let same = actual.to_bits() == expected.to_bits() || (actual.is_nan() && expected.is_nan());
    same || (expected.is_finite() && near)
}

/// RFC 4648 with its padding; what is no digit ends it.
pub(super) fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text
        .bytes()
        .map_while(|byte| DIGITS.iter().position(|&digit| digit == byte));
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for digit in digits {
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

fn flatten<'v>(
    value: &'v Value,
    depth: usize,
    shape: &mut Vec<u64>,
    elements: &mut Vec<&'v Value>,
) -> Result<(), String> {
    let Value::Array(rows) = value else {
        elements.push(value);
        return if depth == shape.len() { Ok(()) } else { Err(uneven()) };
    };
    if depth == shape.len() && elements.is_empty() {
        shape.push(rows.len() as u64);
    }
    if shape.get(depth) != Some(&(rows.len() as u64)) {
        return Err(uneven());
    }
    rows.iter().try_for_each(|row| flatten(row, depth + 1, shape, elements))
}

fn uneven() -> String {
    "lists that aren't equally long or deep".into()
}

fn number(value: &Value) -> Result<Number, String> {
    let number = match value {
        Value::Bool(is) => Some(Number::Unsigned((*is).into())),
        Value::Number(number) => number
            .as_i64()
            .map(Number::Signed)
            .or_else(|| number.as_u64().map(Number::Unsigned))
            .or_else(|| number.as_f64().map(Number::Float)),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(Number::Float(f64::NAN)),
            "Infinity" => Some(Number::Float(f64::INFINITY)),
            "-Infinity" => Some(Number::Float(f64::NEG_INFINITY)),
            _ => None,
        },
        _ => None,
    };
    number.ok_or_else(|| format!("{value} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Datatype;
    use serde_json::json;

    #[test]
    fn base64_is_read() {
        assert_eq!(base64("Zm9vYmE="), b"fooba");
        assert_eq!(base64("/+8A"), [255, 239, 0]);
    }

    #[test]
    fn numbers_are_compared_as_the_format_says() {
        for (actual, expected) in [
            (f64::NAN, json!("NaN")),
            (1e9 + 1.0, json!(1e9)),
            (f64::INFINITY, json!("Infinity")),
            (1.0, json!(true)),
        ] {
            assert!(close(actual, &expected, 1e-6), "{actual}");
        }
        for (actual, expected) in [
            (1.1, json!(1)),
            (f64::NAN, json!(1)),
            (1.0, json!("NaN")),
            (1.0, json!("Infinity")),
            (f64::NAN, json!(null)),
        ] {
            assert!(!close(actual, &expected, 1e-6), "{actual}");
        }
        assert!(close(0.0, &json!(0.0), 0.0) && !close(-0.0, &json!(0.0), 0.0));
    }

    #[test]
    fn nested_lists_are_tensors_of_their_shape() {
        let fp64 = TensorSpec::new("x", Datatype::Fp64, vec![-1, 2]);
        let found = tensor(&fp64, &json!([[1, "NaN"], ["-Infinity", 4]])).unwrap();
        assert_eq!(found.shape, [2, 2]);
        assert_eq!(found.number(2), Some(f64::NEG_INFINITY));
        assert!(found.number(1).unwrap().is_nan());
        assert_eq!(tensor(&fp64, &json!([[], []])).unwrap().shape, [2, 0]);
        for wrong in [
            json!([[1, 2], [3]]),
            json!([1, [2]]),
            json!([[1], 2]),
            json!(["1"]),
            json!(null),
        ] {
            assert!(tensor(&fp64, &wrong).is_err(), "{wrong}");
        }
        let uint64 = TensorSpec::new("x", Datatype::Uint64, vec![-1]);
        assert_eq!(tensor(&uint64, &json!([u64::MAX])).unwrap().data, [255; 8]);
        assert!(tensor(&uint64, &json!([-1])).is_err());
    }

    #[test]
    fn tensors_are_compared_by_shape_and_elements() {
        let tensor = Tensor::from_f32("x", vec![1, 2], &[1.0, f32::NAN]);
        assert_eq!(compare(&tensor, &json!([[1, "NaN"]]), 0.0), Ok(()));
        for wrong in [json!([1, "NaN"]), json!([[1, 2]]), json!([[1.5, "NaN"]]), json!([])] {
            assert!(compare(&tensor, &wrong, 1e-6).is_err(), "{wrong}");
        }
    }
}
