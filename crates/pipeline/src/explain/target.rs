//! What is explained: one number of a model's answer.

use floorhand_bundle::{ExplainSpec, Measure};
use floorhand_tensor::{Datatype, Signature, Tensor, TensorSpec};

/// Where the number stands in an answer, or how it is made of it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) output: String,
    place: usize,
    of: Of,
}

#[derive(Debug, Clone)]
enum Of {
    /// This element; the largest one of the sample's answer if none.
    Element(Option<usize>),
    /// The mean squared difference from the input in this place.
    Error(usize),
}

/// A number of an answer, found for one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Element(usize),
    Error(usize),
}

impl Target {
    /// As the bundle wants it, of a model with this signature.
    pub(super) fn new(spec: &ExplainSpec, signature: &Signature) -> Result<Self, String> {
        let outputs = &signature.outputs;
        let is_number = |output: &&TensorSpec| output.datatype != Datatype::Bytes;
        let is_float =
            |output: &&TensorSpec| matches!(output.datatype, Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64);
        let known = || {
            let named = outputs.iter().map(|output| format!("{} {output}", output.name));
            named.collect::<Vec<_>>().join(", ")
        };
        let output = match &spec.output {
            Some(name) => outputs.iter().find(|output| output.name == *name),
            None => outputs.iter().find(is_float).or_else(|| outputs.iter().find(is_number)),
        };
        let output = output.filter(is_number).ok_or_else(|| match &spec.output {
            Some(name) => format!(
                "explain.output is {name:?}, and an output of numbers is needed; the model has {}",
                known()
            ),
            None => format!("numbers can be explained, and the model's outputs are {}", known()),
        })?;
        let place = outputs
            .iter()
            .position(|one| one.name == output.name)
            .unwrap_or_default();
        let len = output.fixed_len();
        let of = match spec.measure {
            Measure::Value => {
                if let Some(element) = spec.element
                    && len.is_some_and(|len| element >= len)
                {
                    return Err(format!("explain.element is {element}, and {} is {output}", output.name));
                }
                Of::Element(
                    spec.element
                        .map(|element| usize::try_from(element).unwrap_or(usize::MAX)),
                )
            }
            Measure::ReconstructionError => {
                let alike = |input: &TensorSpec| is_number(&input) && len.is_some() && input.fixed_len() == len;
                let input = signature.inputs.iter().position(alike).ok_or_else(|| {
                    format!(
                        "explain.measure is \"reconstruction-error\", and no input has as many numbers as the output {} {output}",
                        output.name
                    )
                })?;
                Of::Error(input)
            }
        };
        Ok(Self {
            output: output.name.clone(),
            place,
            of,
        })
    }

    /// Which number it is of the answer to the sample that is explained.
    pub(super) fn find(&self, answer: &[Tensor]) -> Result<Found, String> {
        match self.of {
            Of::Error(input) => Ok(Found::Error(input)),
            Of::Element(Some(element)) => Ok(Found::Element(element)),
            Of::Element(None) => {
                let values = self.values(answer)?;
                let placed = values.iter().enumerate().filter(|(_, value)| !value.is_nan()).rev();
                let largest = placed.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(place, _)| place);
                largest
                    .map(Found::Element)
                    .ok_or_else(|| format!("the model's output {} has no number for this sample", self.output))
            }
        }
    }

    /// The number, of the answer that a model gave to `inputs`.
    pub(super) fn value(&self, found: Found, inputs: &[Tensor], answer: &[Tensor]) -> Result<f64, String> {
        let values = self.values(answer)?;
        match found {
            Found::Element(element) => values.get(element).copied().ok_or_else(|| {
                format!(
                    "the model's output {} has {} elements, and no {element}",
                    self.output,
                    values.len()
                )
            }),
            Found::Error(input) => {
                let given = inputs.get(input).map(Tensor::to_f64);
                let given = given.and_then(Result::ok).unwrap_or_default();
                if given.len() != values.len() || given.is_empty() {
                    return Err(format!(
                        "the model's output {} isn't as large as its input",
                        self.output
                    ));
                }
                let squares = given
                    .iter()
                    .zip(&values)
                    .map(|(given, value)| (given - value) * (given - value));
                Ok(squares.sum::<f64>() / given.len() as f64)
            }
        }
    }

    fn values(&self, answer: &[Tensor]) -> Result<Vec<f64>, String> {
        let output = answer
            .get(self.place)
            .ok_or_else(|| format!("the model gave no {}", self.output))?;
        output.to_f64().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_tensor::Dim;

    fn signature() -> Signature {
        let spec = |name: &str, datatype, size| TensorSpec::new(name, datatype, vec![Dim::Fixed(size)]);
        Signature {
            inputs: vec![spec("kind", Datatype::Bytes, 3), spec("x", Datatype::Fp32, 3)],
            outputs: vec![
                spec("name", Datatype::Bytes, 1),
                spec("label", Datatype::Int64, 1),
                spec("scores", Datatype::Fp32, 3),
            ],
        }
    }

    fn spec(change: impl FnOnce(&mut ExplainSpec)) -> ExplainSpec {
        let mut spec = super::super::tests::spec();
        change(&mut spec);
        spec
    }

    fn answer(scores: &[f32]) -> Vec<Tensor> {
        vec![
            Tensor::from_elements("name", vec![1], &["a"]).unwrap(),
            Tensor::from_f64("label", Datatype::Int64, vec![1], &[7.0]).unwrap(),
            Tensor::from_f32("scores", vec![3], scores).unwrap(),
        ]
    }

    #[test]
    fn a_classifiers_largest_score_is_explained_unless_another_is_named() {
        let target = Target::new(&spec(|_| ()), &signature()).unwrap();
        assert_eq!(target.output, "scores");
        let answer = answer(&[0.1, f32::NAN, 0.6]);
        assert_eq!(target.find(&answer), Ok(Found::Element(2)));
        assert_eq!(target.value(Found::Element(0), &[], &answer), Ok(f64::from(0.1_f32)));
        let named = spec(|spec| (spec.output, spec.element) = (Some("label".to_owned()), Some(0)));
        let label = Target::new(&named, &signature()).unwrap();
        assert_eq!(label.value(label.find(&answer).unwrap(), &[], &answer), Ok(7.0));
    }

    #[test]
    fn a_reconstruction_error_is_of_input_and_output() {
        let wanted = spec(|spec| spec.measure = Measure::ReconstructionError);
        let target = Target::new(&wanted, &signature()).unwrap();
        let inputs = [
            Tensor::from_elements("kind", vec![3], &["", "", ""]).unwrap(),
            Tensor::from_f32("x", vec![3], &[1.0, 2.0, 3.0]).unwrap(),
        ];
        let answer = answer(&[1.0, 0.0, 4.0]);
        assert_eq!(
            target.value(target.find(&answer).unwrap(), &inputs, &answer),
            Ok(5.0 / 3.0)
        );
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is() {
        let refused = |change: fn(&mut ExplainSpec), part: &str| {
            let error = Target::new(&spec(change), &signature()).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        refused(
            |spec| spec.output = Some("name".to_owned()),
            "label INT64[1], scores FP32[3]",
        );
        refused(|spec| spec.element = Some(3), "scores is FP32[3]");
        refused(
            |spec| (spec.output, spec.measure) = (Some("label".to_owned()), Measure::ReconstructionError),
            "no input has as many numbers",
        );
    }
}
