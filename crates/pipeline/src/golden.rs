//! Golden cases: does this pipeline, here, give the answers that it gave where it was made?
//!
//! One JSON object a line: `{"input": {...}, "output": {...}}`. The cases go, in order, through one fresh pipeline, so that
//! windows fill as they do in service; `"output": null` says that there is no result yet. At least one case has an output.
//!
//! Where the bundle has a decoder a case may be a message as a source sends it, `{"message": "...", "output": {...}}`, or
//! with `"outputs": [...]` where it holds any other number of samples than one. At least one case has to be.

use crate::explain::Explanation;
use crate::pipeline::{Outcome, Pipeline};
use crate::recorded::RecordedMessage;
use crate::{MS, Sample, decode};
use floorhand_bundle::Golden;
use floorhand_tensor::{Datatype, Tensor, compare};
use serde::{Deserialize, Deserializer};
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
    /// A decoder that no case shows anything of.
    #[error("no golden case goes through the decoder; give at least one with `message` in place of `input`")]
    NoMessage,
    /// No result where there should be one, or the other way round.
    #[error("golden case {case}: {problem}")]
    Outcome {
        /// Its number.
        case: u64,
        /// What happened.
        problem: String,
    },
    /// An answer that can't be explained as the bundle declares.
    #[error("golden case {case}: failed to explain: {problem}")]
    Explanation {
        /// Its number.
        case: u64,
        /// Why.
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

/// The outputs of one sample by name; none while there is no result yet.
type Expected = Option<BTreeMap<String, Value>>;

/// A line as it is written. What of it goes together is found by [`Case::read`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    input: Option<Value>,
    #[serde(flatten)]
    message: RecordedMessage,
    /// Has to be there, null or not: a misspelt key would otherwise be a case that compares nothing.
    #[serde(default, deserialize_with = "given")]
    output: Option<Expected>,
    outputs: Option<Vec<Expected>>,
}

/// Tells a key that is null from one that isn't there.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Expected>, D::Error> {
    Expected::deserialize(deserializer).map(Some)
}

/// What is put into the pipeline.
enum Given {
    Sample(Value),
    Message(RecordedMessage),
}

struct Case {
    given: Given,
    expected: Vec<Expected>,
}

impl Case {
    fn read(line: &[u8]) -> Result<Self, String> {
        let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let expected = match (line.output, line.outputs) {
            (Some(output), None) => vec![output],
            (None, Some(outputs)) if line.input.is_none() => outputs,
            (None, Some(_)) => return Err("`outputs` is for a message; an `input` has one `output`".to_owned()),
            (None, None) => return Err("missing field `output`".to_owned()),
            (Some(_), Some(_)) => return Err("it has `output` and `outputs`; one of them is to be there".to_owned()),
        };
        if expected.iter().flatten().any(BTreeMap::is_empty) {
            return Err("its output names nothing to compare".to_owned());
        }
        let given = match line.input {
            Some(input) if line.message.is_empty() => Given::Sample(input),
            Some(_) => return Err("it has `input` and a message; one of them is to be there".to_owned()),
            None if line.message.is_empty() => return Err("missing field `input`".to_owned()),
            None => Given::Message(line.message),
        };
        Ok(Self { given, expected })
    }

    /// The samples that it holds, with what they have to come to.
    fn samples(&self, pipeline: &mut Pipeline, number: u64) -> Result<Vec<Sample>, GoldenError> {
        let malformed = |problem: String| GoldenError::Malformed { case: number, problem };
        let message = match &self.given {
            Given::Sample(input) => {
                let sample = decode::json_value(input, pipeline.inputs());
                return Ok(vec![sample.map_err(|error| malformed(error.to_string()))?]);
            }
            Given::Message(message) => message,
        };
        let payload = message.payload().map_err(malformed)?;
        let properties = message.properties();
        let decoded = pipeline.decode(message.message(&payload, &properties, number * MS), number);
        let decoded = decoded.ok_or_else(|| malformed("it is a message, and the bundle has no decoder".to_owned()))?;
        let wrong = |problem: String| GoldenError::Outcome { case: number, problem };
        let samples = decoded.samples.into_iter().collect::<Result<Vec<_>, _>>();
        let samples = samples.map_err(|error| wrong(error.to_string()))?;
        if samples.len() == self.expected.len() {
            return Ok(samples);
        }
        Err(wrong(format!(
            "the message holds {} samples, and {} are expected",
            samples.len(),
            self.expected.len()
        )))
    }
}

/// Runs the cases through a pipeline that has seen no sample yet. The pipeline is used up: load another one to serve.
pub fn run_golden(pipeline: &mut Pipeline, golden: &Golden, cases: &[u8]) -> Result<GoldenReport, GoldenError> {
    let mut report = GoldenReport::default();
    let (mut compared, mut decoded) = (false, !pipeline.has_decoder());
    let lines = cases
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty());
    for (line, number) in lines.zip(1..) {
        let case = Case::read(line).map_err(|problem| GoldenError::Malformed { case: number, problem })?;
        decoded |= matches!(case.given, Given::Message(_));
        for (sample, expected) in case.samples(pipeline, number)?.iter().zip(&case.expected) {
            compared |= expected.is_some();
            let processed = pipeline.process(sample, number);
            let difference = compare_outcome(number, golden, processed.outcome, expected.as_ref())?;
            report.largest_difference = report.largest_difference.max(difference);
        }
        report.cases = number;
    }
    if report.cases != golden.cases {
        return Err(GoldenError::Count {
            expected: golden.cases,
            actual: report.cases,
        });
    }
    match (compared, decoded) {
        (false, _) => Err(GoldenError::Nothing),
        (true, false) => Err(GoldenError::NoMessage),
        (true, true) => Ok(report),
    }
}

/// Explains the first `most` results of the cases, as the bundle declares and within its time. Each has to be additive. Nothing where it
/// doesn't declare explanations. The pipeline is used up, too.
pub fn explain_golden(pipeline: &mut Pipeline, cases: &[u8], most: usize) -> Result<Vec<Explanation>, GoldenError> {
    let mut explanations = Vec::new();
    let Some(explainer) = pipeline.explainer().cloned() else {
        return Ok(explanations);
    };
    let lines = cases
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty());
    for (line, number) in lines.zip(1..) {
        let case = Case::read(line).map_err(|problem| GoldenError::Malformed { case: number, problem })?;
        for sample in case.samples(pipeline, number)? {
            if explanations.len() == most {
                return Ok(explanations);
            }
            let processed = pipeline.process(&sample, number);
            let features = pipeline.features_of(&sample, processed.sequence);
            let (Some(features), Outcome::Result(_)) = (features, processed.outcome) else {
                continue;
            };
            let failed = |problem: String| GoldenError::Explanation { case: number, problem };
            let mut explainer = explainer.lock();
            let mut time_left = explainer.within_budget();
            let explanation = explainer
                .explain_features(&features, &sample.tensors, &mut time_left)
                .map_err(|error| failed(error.to_string()))?;
            if !explanation.is_additive() {
                return Err(failed(format!(
                    "contributions add up to {} more than the output; the model doesn't give the same answer twice",
                    -explanation.residual
                )));
            }
            explanations.push(explanation);
        }
    }
    Ok(explanations)
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
    let unlike = |problem: String| wrong(format!("output {name:?}: {problem}"));
    let shape = actual.shape().to_vec();
    let wanted = if actual.datatype() == Datatype::Bytes {
        Tensor::from_elements(name, shape, &decode::texts(expected).map_err(unlike)?)
    } else {
        Tensor::from_f64(
            name,
            actual.datatype(),
            shape,
            &decode::numbers(expected).map_err(unlike)?,
        )
    };
    let wanted = wanted.map_err(|error| wrong(format!("expected {error}")))?;
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
    let first: Vec<String> = match tensor.elements() {
        Ok(texts) => texts
            .iter()
            .take(4)
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect(),
        Err(_) => {
            let values = tensor.to_f64().unwrap_or_default();
            values.iter().take(4).map(|value| format!("{value:.6}")).collect()
        }
    };
    let more = if tensor.len() > first.len() { ", ..." } else { "" };
    format!("[{}{more}]", first.join(", "))
}
