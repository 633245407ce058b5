//! How far two tensors are apart: what golden cases and disagreement gates are judged by.

use crate::{Datatype, Tensor, TensorError};

/// The largest `|a - b| / max(1, |expected|)` over all elements: absolute below 1, relative above.
///
/// Equal infinities differ by 0. A NaN on either side, or on both, is a difference of infinity: a model that gives NaN
/// has failed. Byte strings differ by 0 or by infinity. Shapes and types have to be equal.
pub fn largest_difference(expected: &Tensor, actual: &Tensor) -> Result<f64, TensorError> {
    if expected.datatype() != actual.datatype() {
        return Err(TensorError::Datatype {
            name: expected.name().to_owned(),
            expected: expected.datatype(),
            actual: actual.datatype(),
        });
    }
    if expected.shape() != actual.shape() {
        return Err(TensorError::Shape {
            name: expected.name().to_owned(),
            expected: format!("{:?}", expected.shape()),
            actual: actual.shape().to_vec(),
        });
    }
    if expected.datatype() == Datatype::Bytes {
        return Ok(if expected.data() == actual.data() {
            0.0
        } else {
            f64::INFINITY
        });
    }
    let pairs = expected.to_f64()?.into_iter().zip(actual.to_f64()?);
    Ok(pairs
        .map(|(expected, actual)| difference(expected, actual))
        .fold(0.0, f64::max))
}

fn difference(expected: f64, actual: f64) -> f64 {
    if expected == actual {
        return 0.0;
    }
    let difference = (expected - actual).abs() / expected.abs().max(1.0);
    if difference.is_nan() { f64::INFINITY } else { difference }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: f32, actual: f32, difference: f64) {
        let expected = Tensor::from_f32("y", vec![1], &[expected]).unwrap();
        let actual = Tensor::from_f32("y", vec![1], &[actual]).unwrap();
        assert_eq!(largest_difference(&expected, &actual).unwrap(), difference);
    }

    #[test]
    fn differences() {
        check(1.0, 1.0, 0.0);
        check(0.0, 0.25, 0.25);
        check(100.0, 150.0, 0.5);
        check(f32::INFINITY, f32::INFINITY, 0.0);
        check(f32::INFINITY, 1.0, f64::INFINITY);
        check(f32::NAN, f32::NAN, f64::INFINITY);
        let text = |text| Tensor::from_elements("y", vec![1], &[text]).unwrap();
        assert_eq!(largest_difference(&text("a"), &text("a")).unwrap(), 0.0);
        assert_eq!(largest_difference(&text("a"), &text("b")).unwrap(), f64::INFINITY);
        check(1.0, f32::NAN, f64::INFINITY);
    }
}
