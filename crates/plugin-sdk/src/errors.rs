//! A model's errors: what monitors of an error stream have in common.
//!
//! Labels reach a device in two ways: somebody has computed the error or the loss already, and it is a column of a tensor;
//! or the truth is a tensor of its own, e.g. an input that comes with the sample, and is held against the prediction.

use crate::{Columns, Datatype, Error, Origin, Tensor, TensorSpec, Watch};
use schemars::JsonSchema;
use serde::Deserialize;

/// The tensor that predictions are held against: a configuration's key `truth`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// The tensor with the true values: as many elements as the prediction, in the same order.
    pub tensor: String,
    /// Where it is seen: `"input"`, `"features"`, `"prediction"`, `"output"`, or `"label"` where the agent has a source of labels.
    /// `"input"` by default.
    #[serde(default = "input")]
    pub origin: Origin,
    /// Its type. `"FP32"` by default.
    #[serde(default = "fp32")]
    pub datatype: Datatype,
    /// Its shape; -1 for any size. `[-1, n]` by default for n fields.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
}

/// Columns that hold errors or losses, or predictions with the truth beside them.
///
/// ```
/// use floorhand_plugin_sdk::{Columns, Datatype, ErrorColumns, Origin, Tensor, Truth};
///
/// let columns = Columns::new("label", Origin::Output, Datatype::Fp32, None, vec!["label".to_owned()])?;
/// let truth = Truth { tensor: "truth".into(), origin: Origin::Input, datatype: Datatype::Fp32, shape: Some(vec![-1]) };
/// let errors = ErrorColumns::new(columns, Some(truth));
/// let prediction = Tensor::from_f32("label", vec![2, 1], &[1.0, 2.0]);
/// let tensors = [prediction, Tensor::from_f32("truth", vec![2], &[1.0, 5.0])];
/// let distances: Vec<f64> = errors.values(&tensors)?.map(|(_, distance)| distance).collect();
/// assert_eq!(distances, [0.0, 3.0]);
/// # Ok::<(), floorhand_plugin_sdk::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ErrorColumns {
    columns: Columns,
    truth: Option<Watch>,
}

impl ErrorColumns {
    /// `columns` are the errors themselves, or the predictions where there is a `truth`.
    #[must_use]
    pub fn new(columns: Columns, truth: Option<Truth>) -> Self {
        let width = columns.names().len() as i64;
        let truth = truth.map(|truth| Watch {
            origin: truth.origin,
            spec: TensorSpec::new(
                truth.tensor,
                truth.datatype,
                truth.shape.unwrap_or_else(|| vec![-1, width]),
            ),
        });
        Self { columns, truth }
    }

    /// What a subscription needs to see: one tensor or two.
    #[must_use]
    pub fn watches(&self) -> Vec<Watch> {
        std::iter::once(self.columns.watch())
            .chain(self.truth.clone())
            .collect()
    }

    /// Column and value of every element, row by row: the error as the tensor has it, or the distance between prediction
    /// and truth, which is NaN where one of them is. [`Error::BadInput`] if the tensors aren't what was asked for. 64-bit
    /// integers beyond 2^53 are rounded before they are compared.
    pub fn values<'a>(&self, tensors: &'a [Tensor]) -> Result<impl Iterator<Item = (usize, f64)> + use<'a>, Error> {
        let (predictions, mut truths) = match &self.truth {
            Some(watch) => {
                let (predictions, truths) = with_truth(watch, tensors)?;
                (predictions, Some(truths))
            }
            None => (tensors, None),
        };
        let values = self.columns.values(predictions)?;
        Ok(values.map(move |(column, value)| match &mut truths {
            Some(truths) => (column, (value - truths.next().unwrap_or(f64::NAN)).abs()),
            None => (column, value),
        }))
    }
}

/// The prediction, and the numbers of the truth, which are as many.
fn with_truth<'a>(
    watch: &Watch,
    tensors: &'a [Tensor],
) -> Result<(&'a [Tensor], impl Iterator<Item = f64> + use<'a>), Error> {
    let [prediction, truth] = tensors else {
        return Err(Error::BadInput(format!(
            "{} tensors where a prediction and its truth are watched",
            tensors.len()
        )));
    };
    truth.check(&watch.spec)?;
    let truths = truth.numbers()?;
    let elements = prediction.numbers()?.len();
    if truths.len() != elements {
        return Err(Error::BadInput(format!(
            "tensor {:?} has {} elements, and the prediction {elements}",
            truth.name,
            truths.len()
        )));
    }
    Ok((std::slice::from_ref(prediction), truths))
}

const fn input() -> Origin {
    Origin::Input
}

const fn fp32() -> Datatype {
    Datatype::Fp32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(truth: bool) -> ErrorColumns {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let columns = Columns::new("y", Origin::Output, Datatype::Fp32, None, names).unwrap();
        let truth = truth.then(|| Truth {
            tensor: "t".into(),
            origin: Origin::Input,
            datatype: Datatype::Int8,
            shape: None,
        });
        ErrorColumns::new(columns, truth)
    }

    fn truth(values: &[u8]) -> Tensor {
        Tensor {
            name: "t".into(),
            datatype: Datatype::Int8,
            shape: vec![values.len() as u64 / 2, 2],
            data: values.to_vec(),
        }
    }

    #[test]
    fn a_column_is_taken_as_it_is_and_a_prediction_by_its_distance() {
        let tensor = Tensor::from_f32("y", vec![2, 2], &[1.0, -2.0, f32::NAN, 4.0]);
        let seen: Vec<_> = errors(false).values(std::slice::from_ref(&tensor)).unwrap().collect();
        assert_eq!(seen[..2], [(0, 1.0), (1, -2.0)]);
        let tensors = [tensor, truth(&[255, 0, 0, 4])];
        let seen: Vec<_> = errors(true).values(&tensors).unwrap().collect();
        assert_eq!((seen[0], seen[1], seen[3]), ((0, 2.0), (1, 2.0), (1, 0.0)));
        assert!(seen[2].1.is_nan());
        assert_eq!(errors(true).watches().len(), 2);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let tensor = Tensor::from_f32("y", vec![1, 2], &[0.0; 2]);
        for tensors in [
            vec![],
            vec![tensor.clone()],
            vec![tensor.clone(), truth(&[1, 2, 3, 4])],
            vec![tensor.clone(), tensor.clone()],
            vec![truth(&[1, 2]), truth(&[1, 2])],
        ] {
            assert!(errors(true).values(&tensors).is_err());
        }
    }
}
