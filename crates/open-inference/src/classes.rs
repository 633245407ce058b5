//! The extension `classification`: instead of an output's numbers the largest of them, as texts `value:index[:label]`.

use crate::Error;
use floorhand_tensor::{Datatype, Tensor};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The classes' labels of outputs that have some, by the output's name, in the order of the output's numbers.
pub type Labels = BTreeMap<String, Vec<String>>;

/// The `count` largest numbers, or all if there are fewer, each as `value:index`, with `:label` where there is one.
///
/// Of two dimensions and more the first is the batch, each of which has its own; of one or none the whole is one.
/// Values are written with the digits their type needs; equal ones come in the order of their index, NaN last.
pub(crate) fn largest(tensor: &Tensor, count: u32, labels: Option<&Vec<String>>) -> Result<Tensor, Error> {
    let scores = scores(tensor)?;
    let batch = match tensor.shape() {
        [batch, _, ..] => usize::try_from(*batch).unwrap_or(usize::MAX),
        _ => 1,
    };
    let width = scores.len().checked_div(batch).unwrap_or_default();
    let taken = width.min(usize::try_from(count).unwrap_or(usize::MAX));
    let mut texts = Vec::with_capacity(batch.min(scores.len()) * taken);
    for row in scores.chunks_exact(width.max(1)) {
        texts.extend(largest_of(row, taken, labels));
    }
    let shape = match tensor.shape() {
        [batch, _, ..] => vec![*batch, taken as u64],
        _ => vec![taken as u64],
    };
    Ok(Tensor::from_elements(tensor.name(), shape, &texts)?)
}

fn largest_of(row: &[Score], taken: usize, labels: Option<&Vec<String>>) -> Vec<String> {
    let mut order: Vec<(usize, &Score)> = row.iter().enumerate().collect();
    order.sort_by(|(_, one), (_, other)| one.before(other));
    let text = |(index, score): (usize, &Score)| match labels.and_then(|labels| labels.get(index)) {
        Some(label) => format!("{}:{index}:{label}", score.text()),
        None => format!("{}:{index}", score.text()),
    };
    order.into_iter().take(taken).map(text).collect()
}

/// A number with the digits its type needs.
#[derive(Debug, Clone, Copy)]
enum Score {
    Integer(i128),
    Single(f32),
    Double(f64),
}

impl Score {
    /// The larger first, NaN last.
    fn before(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => other.cmp(one),
            _ => {
                let (one, other) = (self.number(), other.number());
                let order = other.partial_cmp(&one);
                order.unwrap_or_else(|| one.is_nan().cmp(&other.is_nan()))
            }
        }
    }

    fn number(&self) -> f64 {
        match *self {
            Self::Integer(value) => value as f64,
            Self::Single(value) => f64::from(value),
            Self::Double(value) => value,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Integer(value) => value.to_string(),
            Self::Single(value) => format!("{value:?}"),
            Self::Double(value) => format!("{value:?}"),
        }
    }
}

fn scores(tensor: &Tensor) -> Result<Vec<Score>, Error> {
    macro_rules! each {
        ($type:ty, $score:expr) => {
            tensor
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|bytes| $score(<$type>::from_le_bytes(*bytes).into()))
                .collect()
        };
    }
    Ok(match tensor.datatype() {
        Datatype::Uint8 => each!(u8, Score::Integer),
        Datatype::Uint16 => each!(u16, Score::Integer),
        Datatype::Uint32 => each!(u32, Score::Integer),
        Datatype::Uint64 => each!(u64, Score::Integer),
        Datatype::Int8 => each!(i8, Score::Integer),
        Datatype::Int16 => each!(i16, Score::Integer),
        Datatype::Int32 => each!(i32, Score::Integer),
        Datatype::Int64 => each!(i64, Score::Integer),
        Datatype::Fp32 => each!(f32, Score::Single),
        Datatype::Fp64 => each!(f64, Score::Double),
        // Every FP16 is an FP32, and its digits are no more.
        Datatype::Fp16 => tensor
            .to_f64()?
            .iter()
            .map(|&value| Score::Single(value as f32))
            .collect(),
        Datatype::Bool | Datatype::Bytes => {
            let problem = format!("is {}, which has no classes", tensor.datatype());
            return Err(Error::output(tensor.name(), problem));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tensor: &Tensor, count: u32, shape: &[u64], expected: &[&str]) {
        let labels = vec!["cat".to_owned(), "dog".to_owned()];
        let classes = largest(tensor, count, Some(&labels)).unwrap();
        let texts: Vec<_> = classes.elements().unwrap();
        assert_eq!(classes.shape(), shape);
        assert_eq!(texts, expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>());
    }

    fn fp32(shape: &[u64], values: &[f32]) -> Tensor {
        Tensor::from_f32("y", shape.to_vec(), values).unwrap()
    }

    #[test]
    fn the_largest_come_first() {
        check(&fp32(&[3], &[0.1, 0.7, 0.2]), 2, &[2], &["0.7:1:dog", "0.2:2"]);
        check(&fp32(&[1], &[0.1]), 5, &[1], &["0.1:0:cat"]);
        check(
            &fp32(&[2, 2], &[1.0, 2.0, 4.0, 3.0]),
            1,
            &[2, 1],
            &["2.0:1:dog", "4.0:0:cat"],
        );
        check(&fp32(&[2, 1, 1], &[1.0, 2.0]), 9, &[2, 1], &["1.0:0:cat", "2.0:0:cat"]);
        let odd = fp32(&[4], &[f32::NAN, 1.0, f32::INFINITY, 1.0]);
        check(&odd, 4, &[4], &["inf:2", "1.0:1:dog", "1.0:3", "NaN:0:cat"]);
        check(&fp32(&[0], &[]), 3, &[0], &[]);
        check(&fp32(&[2, 0], &[]), 3, &[2, 0], &[]);
        check(&fp32(&[0, 2], &[]), 3, &[0, 0], &[]);
        check(&fp32(&[], &[7.0]), 3, &[1], &["7.0:0:cat"]);
    }

    #[test]
    fn integers_keep_their_digits() {
        let data = [u64::MAX - 1, u64::MAX]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let tensor = Tensor::new("y", Datatype::Uint64, vec![2], data).unwrap();
        check(
            &tensor,
            2,
            &[2],
            &["18446744073709551615:1:dog", "18446744073709551614:0:cat"],
        );
    }

    #[test]
    fn every_type_of_number_has_classes() {
        for datatype in Datatype::ALL {
            let Ok(tensor) = Tensor::from_f64("y", datatype, vec![2], &[0.0, 1.0]) else {
                continue;
            };
            let classes = largest(&tensor, 1, None);
            assert_eq!(classes.is_ok(), datatype != Datatype::Bool, "{datatype}");
            let Ok(classes) = classes else { continue };
            let texts = classes.elements().unwrap();
            let expected = if tensor.first_non_finite().is_none() && datatype.name().starts_with("FP") {
                b"1.0:1".as_slice()
            } else {
                b"1:1"
            };
            assert_eq!(texts, [expected], "{datatype}");
        }
    }
}
