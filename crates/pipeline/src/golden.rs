//! Golden cases: does this pipeline, here, give the answers that it gave where it was made?
//!
//! One JSON object a line: `{"input": {...}, "output": {...}}`. The cases go, in order, through one fresh pipeline, so that
//! windows fill as they do in service; `"output": null` says that there is no result yet. At least one case has an output.

use crate::decode;
use crate::pipeline::{Outcome, Pipeline};
use floorhand_bundle::Golden;
use floorhand_tensor::{Tensor, compare};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a run of golden cases came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GoldenReport {
    /// How many cases there were.
    pub cases: u64,
    /// The largest difference in any output of any case, as the tolerance counts it.
    pub largest_difference: f64,
}

/// Why golden cases fail. Each names the case by its number, from 1.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GoldenError {
    /// A line that isn't a case.
    #[error("golden case {case} is no case: {problem}")]
    Malformed {
        /// Its number.
        case: u64,
        /// What is wrong.
        problem: String,
    },
    /// Another number of cases than the manifest says.
    #[error("there are {actual} golden cases, and the manifest says {expected}")]
    Count {
        /// What the manifest says.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
    /// Cases that show nothing.
    #[error("no golden case has an output to compare; give at least one")]
    Nothing,
    /// No result where there should be one, or the other way round.
    #[error("golden case {case}: {problem}")]
    Outcome {
        /// Its number.
        case: u64,
        /// What happened.
        problem: String,
    },
    /// A wrong answer.
    #[error(
        "golden case {case}: output {output:?} is {actual}, expected {expected}; off by {difference:.3e}, tolerance {tolerance:.1e}"
    )]
    Difference {
        /// Its number.
        case: u64,
        /// The output.
        output: String,
        /// What it should be, shortened.
        expected: String,
        /// What it is, shortened.
        actual: String,
        /// How far it is off.
        difference: f64,
        /// How far it may be.
        tolerance: f64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    input: Value,
    /// Has to be there, null or not: a misspelt key would otherwise be a case that compares nothing.
    #[serde(deserialize_with = "Option::deserialize")]
    output: Option<BTreeMap<String, Value>>,
}

/// Runs the cases through a pipeline that has seen no sample yet. The pipeline is used up: load another one to serve.
pub fn run_golden(pipeline: &mut Pipeline, golden: &Golden, cases: &[u8]) -> Result<GoldenReport, GoldenError> {
    let mut report = GoldenReport::default();
    let mut compared = false;
    let lines = cases
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty());
    for (line, number) in lines.zip(1..) {
        let malformed = |problem: String| GoldenError::Malformed { case: number, problem };
        let case: Case = serde_json::from_slice(line).map_err(|error| malformed(error.to_string()))?;
        if case.output.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err(malformed("its output names nothing to compare".to_owned()));
        }
        compared |= case.output.is_some();
        let sample =
            decode::json_value(&case.input, pipeline.inputs()).map_err(|error| malformed(error.to_string()))?;
        let processed = pipeline.process(&sample, number);
        let difference = compare_outcome(number, golden, processed.outcome, case.output.as_ref())?;
        report.largest_difference = report.largest_difference.max(difference);
        report.cases = number;
    }
    if report.cases != golden.cases {
        return Err(GoldenError::Count {
            expected: golden.cases,
            actual: report.cases,
        });
    }
    if !compared {
        return Err(GoldenError::Nothing);
    }
    Ok(report)
}

fn compare_outcome(
    case: u64,
    golden: &Golden,
    outcome: Outcome,
    expected: Option<&BTreeMap<String, Value>>,
) -> Result<f64, GoldenError> {
    let wrong = |problem: String| GoldenError::Outcome { case, problem };
    match (outcome, expected) {
        (Outcome::Failed(error), _) => Err(wrong(error.to_string())),
        (Outcome::NotYet, None) => Ok(0.0),
        (Outcome::NotYet, Some(_)) => Err(wrong(
            "the pipeline gives no result yet, and one is expected".to_owned(),
        )),
        (Outcome::Result(_), None) => Err(wrong(
            "the pipeline gives a result, and none is expected yet".to_owned(),
        )),
        (Outcome::Result(outputs), Some(expected)) => expected
            .iter()
            .map(|(name, value)| compare_output(case, golden, name, value, &outputs))
            .try_fold(0.0, |largest, difference| Ok(f64::max(largest, difference?))),
    }
}

fn compare_output(
    case: u64,
    golden: &Golden,
    name: &str,
    expected: &Value,
    outputs: &[Tensor],
) -> Result<f64, GoldenError> {
    let wrong = |problem: String| GoldenError::Outcome { case, problem };
    let actual = outputs
        .iter()
        .find(|tensor| tensor.name() == name)
        .ok_or_else(|| wrong(format!("there is no output {name:?}")))?;
    let mut numbers = Vec::new();
    decode::flatten(expected, &mut numbers).map_err(|problem| wrong(format!("output {name:?}: {problem}")))?;
    let wanted = Tensor::from_f64(name, actual.datatype(), actual.shape().to_vec(), &numbers)
        .map_err(|error| wrong(format!("expected {error}")))?;
    let difference = compare::largest_difference(&wanted, actual).map_err(|error| wrong(error.to_string()))?;
    let tolerance = golden.tolerance_of(name);
    if difference <= tolerance {
        return Ok(difference);
    }
    Err(GoldenError::Difference {
        case,
        output: name.to_owned(),
        expected: shorten(&wanted),
        actual: shorten(actual),
        difference,
        tolerance,
    })
}

/// The first values of a tensor, for a message.
fn shorten(tensor: &Tensor) -> String {
    let values = tensor.to_f64().unwrap_or_default();
    let first: Vec<String> = values.iter().take(4).map(|value| format!("{value:.6}")).collect();
    let more = if values.len() > first.len() { ", ..." } else { "" };
    format!("[{}{more}]", first.join(", "))
}
