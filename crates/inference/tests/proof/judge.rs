//! What a model's answer is worth.

use crate::cases::{Case, Entry};
use floorhand_inference::{LoadOptions, Model};
use floorhand_tensor::{Datatype, Tensor, compare};
use serde::{Deserialize, Serialize};

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// All outputs are what was expected.
    Equal,
    /// The model wasn't loaded, or gave no answer; why.
    Refused(String),
    /// It gave another answer; how it differs.
    Different(String),
    /// The process ended, or never came back.
    Crashed(String),
}

/// Loads a model at the shapes of the case's inputs and compares all that it answers, each of so many `times`.
pub(crate) fn whole(
    case: &Case,
    model: &[u8],
    data: &[u8],
    times: usize,
    agree: impl Fn(&Tensor, &Tensor) -> Option<String>,
) -> Verdict {
    let shapes = case.inputs.iter();
    let shapes = shapes.filter_map(|input| Some((input.name.clone(), input.shape.clone()?)));
    let options = LoadOptions {
        shapes: shapes.collect(),
    };
    let mut model = match Model::load(model, &options) {
        Ok(model) => model,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    for time in 1..=times {
        match answer(&mut model, case, |entry| entry.tensor(data), &agree) {
            Verdict::Equal => {}
            Verdict::Different(difference) if time > 1 => {
                return Verdict::Different(format!("run {time}: {difference}"));
            }
            other => return other,
        }
    }
    Verdict::Equal
}

/// Loads a model at one row, and compares what it answers to some of the case's rows, one after the other.
pub(crate) fn row_by_row(
    case: &Case,
    model: &[u8],
    data: &[u8],
    rows: impl IntoIterator<Item = usize>,
    agree: impl Fn(&Tensor, &Tensor) -> Option<String>,
) -> Verdict {
    let mut model = match Model::load(model, &LoadOptions::default()) {
        Ok(model) => model,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    for row in rows {
        match answer(&mut model, case, |entry| entry.row(data, row), &agree) {
            Verdict::Equal => {}
            Verdict::Different(difference) => return Verdict::Different(format!("row {row} alone: {difference}")),
            other => return other,
        }
    }
    Verdict::Equal
}

/// Runs a model once. `tensor` gives inputs and expected outputs; `agree` says how an answer differs from the expected
/// one.
fn answer(
    model: &mut Model,
    case: &Case,
    tensor: impl Fn(&Entry) -> Result<Tensor, String>,
    agree: impl Fn(&Tensor, &Tensor) -> Option<String>,
) -> Verdict {
    let inputs: Vec<Tensor> = match case.inputs.iter().map(&tensor).collect() {
        Ok(inputs) => inputs,
        Err(problem) => return Verdict::Different(format!("the model loads, and input {problem}")),
    };
    let answers = match model.run(&inputs) {
        Ok(answers) => answers,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    if answers.len() != case.outputs.len() {
        return Verdict::Different(format!("{} outputs of {}", answers.len(), case.outputs.len()));
    }
    let differences = case.outputs.iter().zip(&answers).filter_map(|(entry, answer)| {
        let difference = match tensor(entry) {
            Ok(expected) => alike(&expected, answer).or_else(|| agree(&expected, answer)),
            Err(problem) => Some(format!("the model answers, and expected is that {problem}")),
        };
        difference.map(|difference| format!("{}: {difference}", entry.name))
    });
    let differences: Vec<String> = differences.collect();
    if differences.is_empty() {
        Verdict::Equal
    } else {
        Verdict::Different(differences.join("; "))
    }
}

/// Name, type and shape.
fn alike(expected: &Tensor, answer: &Tensor) -> Option<String> {
    let of = |tensor: &Tensor| format!("{} {} {:?}", tensor.name(), tensor.datatype(), tensor.shape());
    (of(expected) != of(answer)).then(|| format!("{} instead of {}", of(answer), of(expected)))
}

pub(crate) fn is_float(tensor: &Tensor) -> bool {
    matches!(tensor.datatype(), Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64)
}

/// Floats within `tolerance`, relative above 1 and absolute below; all others equal. NaN is a difference.
pub(crate) fn within(expected: &Tensor, answer: &Tensor, tolerance: f64) -> Option<String> {
    if !is_float(expected) {
        return bytes(expected, answer);
    }
    let largest = compare::largest_difference(expected, answer).unwrap();
    (largest > tolerance).then(|| {
        let pairs: Vec<_> = expected
            .to_f64()
            .unwrap()
            .into_iter()
            .zip(answer.to_f64().unwrap())
            .collect();
        let beyond = |(expected, answer): &&(f64, f64)| {
            let difference = (expected - answer).abs() / expected.abs().max(1.0);
            expected != answer && (difference.is_nan() || difference > tolerance)
        };
        let first = pairs.iter().find(beyond);
        let (count, all) = (pairs.iter().filter(beyond).count(), pairs.len());
        let (expected, answer) = first.copied().unwrap_or_default();
        format!("{count} of {all} differ, by {largest:.1e} at most; first {answer} instead of {expected}")
    })
}

/// Integers, truth values and strings.
pub(crate) fn bytes(expected: &Tensor, answer: &Tensor) -> Option<String> {
    if expected.data() == answer.data() {
        return None;
    }
    let (Ok(wanted), Ok(given)) = (expected.to_f64(), answer.to_f64()) else {
        return Some("strings differ".to_owned());
    };
    let pairs: Vec<_> = wanted.iter().zip(&given).collect();
    let differ = |(wanted, given): &&(&f64, &f64)| wanted != given;
    let count = pairs.iter().filter(differ).count();
    let Some((wanted, given)) = pairs.iter().find(differ) else {
        return Some("integers beyond 2^53 differ".to_owned());
    };
    Some(format!(
        "{count} of {} differ; first {given} instead of {wanted}",
        pairs.len()
    ))
}
