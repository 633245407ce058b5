//! What a case expects against what the plugin answered.

use super::super::cases::{CaseFile, ExpectedFinding, ExpectedSample, Line, Named, value};
use super::super::guest::{Answer, Found, error_name};
use anyhow::Result;
use floorhand_plugin_host::{DecodedSample, Lost};
use floorhand_tensor::Tensor;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// What is wrong with an answer; `None` if it is what the line expects.
pub(super) fn difference(file: &CaseFile, line: &Line, answer: &Answer) -> Result<Option<String>> {
    match (&line.error, answer) {
        (Some(expected), Answer::Error(error)) if error_name(error) == expected => Ok(None),
        // A decoder's message has its error among what it came to.
        (Some(expected), Answer::Samples(found)) if is_error(found, expected) => Ok(None),
        (Some(expected), answer) => Ok(Some(format!("answers {} and not {expected}", shown(answer)))),
        (None, Answer::Error(error)) => Ok(Some(error.to_string())),
        (None, Answer::Tensors(tensors)) => outputs(file, line, tensors),
        (None, Answer::Findings(found)) => findings(file, &line.findings, found),
        (None, Answer::Samples(found)) => samples(file, line.samples.as_deref().unwrap_or_default(), found),
    }
}

fn is_error(found: &[Result<DecodedSample, Lost>], expected: &str) -> bool {
    matches!(found, [Err(lost)] if error_name(&lost.error) == expected)
}

/// An answer in a few words.
pub(super) fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Tensors(tensors) if tensors.is_empty() => "not yet".to_owned(),
        Answer::Tensors(tensors) => format!("{} tensors", tensors.len()),
        Answer::Findings(findings) => format!("{} findings", findings.len()),
        Answer::Samples(samples) => format!("{} samples", samples.len()),
        Answer::Error(error) => format!("{} ({error})", error_name(error)),
    }
}

fn outputs(file: &CaseFile, line: &Line, actual: &[Tensor]) -> Result<Option<String>> {
    match line.output.as_ref() {
        None => Ok(Some(
            "the line has neither output nor error: write what is right".to_owned(),
        )),
        Some(None) if actual.is_empty() => Ok(None),
        Some(None) => Ok(Some("answers, where null says not yet".to_owned())),
        Some(Some(_)) if actual.is_empty() => Ok(Some("answers not yet".to_owned())),
        Some(Some(expected)) => tensors(file, expected, actual),
    }
}

fn tensors(file: &CaseFile, expected: &Named, actual: &[Tensor]) -> Result<Option<String>> {
    for (name, values) in expected {
        let Some(tensor) = actual.iter().find(|tensor| tensor.name() == name) else {
            let names: Vec<&str> = actual.iter().map(Tensor::name).collect();
            return Ok(Some(format!("gives {names:?} and no {name:?}")));
        };
        if let Some(difference) = value::difference(values, tensor, file.tolerance)? {
            return Ok(Some(difference));
        }
    }
    if expected.len() != actual.len() {
        return Ok(Some(format!(
            "gives {} tensors and not {}",
            actual.len(),
            expected.len()
        )));
    }
    Ok(None)
}

fn findings(file: &CaseFile, expected: &[ExpectedFinding], actual: &[Found]) -> Result<Option<String>> {
    for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
        let texts = [
            ("kind", &expected.kind, actual.kind.as_str()),
            ("severity", &expected.severity, actual.severity),
            ("phase", &expected.phase, actual.phase),
            ("subject", &expected.subject, &actual.subject),
            ("message", &expected.message, &actual.message),
        ];
        for (key, expected, actual) in texts {
            if expected.as_ref().is_some_and(|expected| expected != actual) {
                let expected = expected.as_deref().unwrap_or_default();
                return Ok(Some(format!(
                    "finding {index}: {key} is {actual:?} and not {expected:?}"
                )));
            }
        }
        let numbers = [
            ("value", &expected.value, actual.value),
            ("threshold", &expected.threshold, actual.threshold),
        ];
        for (key, expected, actual) in numbers {
            let Some(expected) = expected else { continue };
            let Some(actual) = actual.map(f64::from_bits) else {
                return Ok(Some(format!(
                    "finding {index}: it has no {key}, and should have {expected}"
                )));
            };
            let expected = value::number(expected)?;
            if !value::near(expected, actual, file.tolerance) {
                return Ok(Some(format!("finding {index}: {key} is {actual} and not {expected}")));
            }
        }
    }
    if expected.len() == actual.len() {
        return Ok(None);
    }
    let kinds: Vec<String> = actual
        .iter()
        .map(|found| format!("{} of {}", found.kind, found.subject))
        .collect();
    let expected = expected.len();
    Ok(Some(format!("finds {} and not {expected}: {kinds:?}", actual.len())))
}

fn samples(
    file: &CaseFile,
    expected: &[ExpectedSample],
    actual: &[Result<DecodedSample, Lost>],
) -> Result<Option<String>> {
    if expected.len() != actual.len() {
        let first = actual.iter().find_map(|sample| sample.as_ref().err());
        let first = first
            .map(|lost| format!(" (first error: {})", lost.error))
            .unwrap_or_default();
        let (actual, expected) = (actual.len(), expected.len());
        return Ok(Some(format!(
            "finds {actual} samples and errors{first}, and not {expected}"
        )));
    }
    for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
        let difference = match actual {
            Ok(actual) => sample(file, expected, actual)?,
            Err(actual) => failure(expected, actual),
        };
        if let Some(difference) = difference {
            return Ok(Some(format!("sample {index}: {difference}")));
        }
    }
    Ok(None)
}

fn failure(expected: &ExpectedSample, actual: &Lost) -> Option<String> {
    let name = error_name(&actual.error);
    let Some(error) = &expected.error else {
        return Some(format!("answers {name}: {}", actual.error));
    };
    if error != name {
        return Some(format!("answers {name} ({}) and not {error}", actual.error));
    }
    if expected.key.is_some() && expected.key != actual.key {
        return Some(format!("key is {:?} and not {:?}", actual.key, expected.key));
    }
    None
}

fn sample(file: &CaseFile, expected: &ExpectedSample, actual: &DecodedSample) -> Result<Option<String>> {
    if let Some(error) = &expected.error {
        return Ok(Some(format!("answers a sample and not {error}")));
    }
    if expected.id.is_some() && expected.id != actual.id {
        return Ok(Some(format!("id is {:?} and not {:?}", actual.id, expected.id)));
    }
    if expected.key.is_some() && expected.key != actual.key {
        return Ok(Some(format!("key is {:?} and not {:?}", actual.key, expected.key)));
    }
    if let Some(time_ms) = expected.time_ms
        && actual.time_ns.map(|time_ns| time_ns / MS) != Some(time_ms)
    {
        return Ok(Some(format!("time is {:?} ns and not {time_ms} ms", actual.time_ns)));
    }
    match &expected.tensors {
        Some(expected) => tensors(file, expected, &actual.tensors),
        None => Ok(None),
    }
}
