//! Runs a plugin's recorded cases, `tests/cases/*.jsonl`, natively: the files that `floorhand plugin test` runs through the
//! component.
//!
//! Each file is run through one fresh instance. Its first line is `{"config": {..}, "assets": ["file"], "tolerance": 1e-6}`;
//! assets lie beside it. Then a line for each call: a processor's `input` with its `output`; a monitor's tensors by origin
//! and name with the `findings`, of which only the keys that are given are compared; or a decoder's `message` with its
//! `samples`. Where an `error` stands in place of an answer, its kind is compared.

#![expect(clippy::indexing_slicing, reason = "a key that JSON hasn't is null, and no panic")]

mod values;

use super::{context, message_of};
use crate::{
    Asset, Context, Decoder, Error, Failure, Finding, Message, Monitor, Phase, Processor, Property, Sample, Severity,
    Signature, Subscription, Tensor, decoder, monitor, processor,
};
use serde_json::Value;
use std::{fs, path::Path};

/// A file's tolerance where it names none: relative to the larger of 1 and the expected value.
const TOLERANCE: f64 = 1e-6;

/// What is wrong with a case.
pub(super) type Wrong = String;

/// Runs a processor's cases and gives their number.
///
/// # Panics
///
/// If there are none, or one comes out otherwise.
pub fn check_processor<P: Processor>(folder: &str) -> usize {
    for_each_file(folder, |file| {
        let mut plugin = processor::Instance::<P>::new();
        let signature = plugin.configure(&file.config, file.assets.clone());
        let Ok(signature) = signature else {
            return file.fail(0, &format!("{signature:?}"));
        };
        file.for_each_case(|sequence, case| {
            let answer = plugin.process(context_of(sequence, case), inputs_of(&signature, case)?);
            compare_outputs(answer, case, &signature, file.tolerance)
        });
    })
}

/// Runs a monitor's cases and gives their number.
///
/// # Panics
///
/// If there are none, or one comes out otherwise.
pub fn check_monitor<P: Monitor>(folder: &str) -> usize {
    for_each_file(folder, |file| {
        let mut plugin = monitor::Instance::<P>::new();
        let subscription = plugin.configure(&file.config, file.assets.clone());
        let Ok(subscription) = subscription else {
            return file.fail(0, &format!("{subscription:?}"));
        };
        file.for_each_case(|sequence, case| {
            let answer = plugin.observe(context_of(sequence, case), tensors_of(&subscription, case)?);
            compare_findings(answer, case, file.tolerance)
        });
    })
}

/// Runs a decoder's cases and gives their number.
///
/// # Panics
///
/// If there are none, or one comes out otherwise.
pub fn check_decoder<P: Decoder>(folder: &str) -> usize {
    for_each_file(folder, |file| {
        let mut plugin = decoder::Instance::<P>::new();
        if let Err(error) = plugin.configure(&file.config, file.assets.clone()) {
            return file.fail(0, error.message());
        }
        file.for_each_case(|_, case| compare_samples(plugin.decode(message_of_case(case)), case, file.tolerance));
    })
}

/// A file of cases.
pub(super) struct File {
    name: String,
    pub(super) config: String,
    pub(super) assets: Vec<Asset>,
    tolerance: f64,
    pub(super) cases: Vec<Value>,
}

impl File {
    fn for_each_case(&self, mut check: impl FnMut(u64, &Value) -> Result<(), Wrong>) {
        for (sequence, case) in (0..).zip(&self.cases) {
            if let Err(wrong) = check(sequence, case) {
                self.fail(sequence as usize + 1, &wrong);
            }
        }
    }

    /// `line` counts from 0.
    #[expect(clippy::panic, reason = "this is a test's assertion")]
    fn fail(&self, line: usize, what: &str) {
        panic!("{}, line {}: {what}", self.name, line + 1)
    }
}

/// Gives the number of cases in all files.
#[expect(
    clippy::unwrap_used,
    reason = "a folder that can't be read should stop the test where it is"
)]
fn for_each_file(folder: &str, mut check: impl FnMut(&File)) -> usize {
    let folder = Path::new(folder).join("tests/cases");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    assert!(!paths.is_empty(), "no cases in {}", folder.display());
    let mut cases = 0;
    for path in paths {
        let file = read(&path);
        check(&file);
        cases += file.cases.len();
    }
    cases
}

/// A file of cases with the assets beside it.
#[expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a malformed case file should stop the test where it is"
)]
pub(super) fn read(path: &Path) -> File {
    let folder = path.parent().unwrap();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()))
    });
    let head = lines.next().unwrap();
    let names = head["assets"].as_array().cloned().unwrap_or_default();
    let asset = |name: &Value| Asset {
        name: name.as_str().unwrap().to_owned(),
        data: fs::read(folder.join(name.as_str().unwrap())).unwrap(),
    };
    let file = File {
        name: path.display().to_string(),
        config: head["config"].to_string(),
        assets: names.iter().map(asset).collect(),
        tolerance: head["tolerance"].as_f64().unwrap_or(TOLERANCE),
        cases: lines.collect(),
    };
    assert!(!file.cases.is_empty(), "no cases in {}", file.name);
    file
}

/// The tensors of a processor's case.
pub(super) fn inputs_of(signature: &Signature, case: &Value) -> Result<Vec<Tensor>, Wrong> {
    let inputs = signature.inputs.iter();
    inputs
        .map(|spec| values::tensor(spec, &case["input"][&spec.name]))
        .collect()
}

/// The tensors of a monitor's case.
pub(super) fn tensors_of(subscription: &Subscription, case: &Value) -> Result<Vec<Tensor>, Wrong> {
    let watches = subscription.watches.iter();
    watches
        .map(|watch| values::tensor(&watch.spec, &case[watch.origin.name()][&watch.spec.name]))
        .collect()
}

/// The message of a decoder's case.
pub(super) fn message_of_case(case: &Value) -> Message {
    let payload = match &case["message_base64"] {
        Value::String(text) => values::base64(text),
        _ => text(case, "message").as_bytes().to_vec(),
    };
    let pairs = case["properties"].as_array().into_iter().flatten();
    let pair = |pair: &Value| Property {
        name: pair[0].as_str().unwrap_or_default().to_owned(),
        value: pair[1].as_str().unwrap_or_default().to_owned(),
    };
    Message {
        content_type: text(case, "content_type").to_owned(),
        properties: pairs.map(pair).collect(),
        ..message_of(text(case, "topic"), &payload)
    }
}

/// The sample's context: one a second unless the case has a time of its own.
pub(super) fn context_of(sequence: u64, case: &Value) -> Context {
    let usual = context(sequence);
    let time_ms = case["time_ms"].as_u64();
    let text = |key: &str| case[key].as_str().map(str::to_owned);
    Context {
        time_ns: time_ms.map_or(usual.time_ns, |time_ms| time_ms * 1_000_000),
        gap: case["gap"].as_bool().unwrap_or(usual.gap),
        key: text("key"),
        id: text("id"),
        ..usual
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

const fn kind(error: &Error) -> &'static str {
    match error {
        Error::BadInput(_) => "bad-input",
        Error::BadConfig(_) => "bad-config",
        Error::Exhausted(_) => "exhausted",
        Error::NotReady(_) => "not-ready",
        Error::Internal(_) => "internal",
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> Wrong) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(what()) }
}

/// What was answered, unless it is the error that the case expects.
fn answered<A>(answer: Result<A, Error>, case: &Value) -> Result<Option<A>, Wrong> {
    match (answer, case["error"].as_str()) {
        (Ok(answer), None) => Ok(Some(answer)),
        (Err(error), Some(expected)) if kind(&error) == expected => Ok(None),
        (Err(error), _) => Err(format!("{error:?}")),
        (Ok(_), Some(expected)) => Err(format!("an answer and not {expected}")),
    }
}

fn compare_outputs(
    answer: Result<Vec<Tensor>, Error>,
    case: &Value,
    signature: &Signature,
    tolerance: f64,
) -> Result<(), Wrong> {
    let Some(outputs) = answered(answer, case)? else {
        return Ok(());
    };
    ensure(case.get("output").is_some(), || {
        "neither output nor error in the case".into()
    })?;
    let Some(expected) = case["output"].as_object() else {
        return ensure(outputs.is_empty(), || "an answer and not \"not yet\"".into());
    };
    ensure(outputs.len() == signature.outputs.len(), || {
        format!("{} outputs", outputs.len())
    })?;
    for (name, expected) in expected {
        let output = outputs.iter().find(|output| output.name == *name);
        let output = output.ok_or_else(|| format!("no output {name:?}"))?;
        values::compare(output, expected, tolerance)?;
    }
    Ok(())
}

fn compare_findings(answer: Result<Vec<Finding>, Error>, case: &Value, tolerance: f64) -> Result<(), Wrong> {
    let Some(findings) = answered(answer, case)? else {
        return Ok(());
    };
    let expected = case["findings"].as_array().cloned().unwrap_or_default();
    ensure(findings.len() == expected.len(), || {
        format!("{findings:?} and not {expected:?}")
    })?;
    for (finding, expected) in findings.iter().zip(&expected) {
        let same_text = |key: &str, actual: &str| expected.get(key).is_none_or(|value| value == actual);
        let same_number = |key: &str, actual: Option<f64>| match (expected.get(key), actual) {
            (None, _) => true,
            (Some(Value::Null), actual) => actual.is_none(),
            (Some(value), actual) => actual.is_some_and(|actual| values::close(actual, value, tolerance)),
        };
        let same = same_text("kind", &finding.kind)
            && same_text("subject", &finding.subject)
            && same_text("severity", severity(finding.severity))
            && same_text("phase", phase(finding.phase))
            && same_text("message", &finding.message)
            && same_number("value", finding.value)
            && same_number("threshold", finding.threshold);
        ensure(same, || format!("{finding:?} and not {expected}"))?;
    }
    Ok(())
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Alarm => "alarm",
    }
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Once => "once",
        Phase::Raised => "raised",
        Phase::Cleared => "cleared",
    }
}

fn compare_samples(
    answer: Result<Vec<Result<Sample, Failure>>, Error>,
    case: &Value,
    tolerance: f64,
) -> Result<(), Wrong> {
    // The error of a message that comes to nothing else may name its key.
    let answer = match answer {
        Ok(mut samples) if case.get("error").is_some() && samples.len() == 1 => match samples.remove(0) {
            Err(failed) => Err(failed.error),
            Ok(sample) => Ok(vec![Ok(sample)]),
        },
        answer => answer,
    };
    let Some(samples) = answered(answer, case)? else {
        return Ok(());
    };
    let expected = case["samples"].as_array().cloned().unwrap_or_default();
    ensure(samples.len() == expected.len(), || {
        format!("{} samples and not {}", samples.len(), expected.len())
    })?;
    for (index, (sample, expected)) in samples.into_iter().zip(&expected).enumerate() {
        let compared = match sample {
            Err(Failure { key, .. })
                if expected
                    .get("key")
                    .is_some_and(|named| named.as_str() != key.as_deref()) =>
            {
                Err(format!("it failed with the key {key:?}"))
            }
            sample => answered(sample.map_err(|failed| failed.error), expected)
                .and_then(|sample| sample.map_or(Ok(()), |sample| compare_sample(&sample, expected, tolerance))),
        };
        compared.map_err(|wrong| format!("sample {index}: {wrong}"))?;
    }
    Ok(())
}

fn compare_sample(sample: &Sample, expected: &Value, tolerance: f64) -> Result<(), Wrong> {
    ensure(expected["id"].as_str() == sample.id.as_deref(), || {
        format!("id {:?}", sample.id)
    })?;
    ensure(expected["key"].as_str() == sample.key.as_deref(), || {
        format!("key {:?}", sample.key)
    })?;
    let time_ms = sample.time_ns.map(|time| time / 1_000_000);
    ensure(expected["time_ms"].as_u64() == time_ms, || {
        format!("time {:?} ns", sample.time_ns)
    })?;
    let tensors = expected["tensors"].as_object().cloned().unwrap_or_default();
    ensure(tensors.len() == sample.tensors.len(), || {
        format!("{} tensors", sample.tensors.len())
    })?;
    sample
        .tensors
        .iter()
        .try_for_each(|tensor| values::compare(tensor, &expected["tensors"][&tensor.name], tolerance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn finding() -> Finding {
        Finding {
            kind: "drift".into(),
            severity: Severity::Alarm,
            phase: Phase::Raised,
            watch: Some(0),
            subject: "a".into(),
            value: Some(0.5),
            threshold: None,
            unit: String::new(),
            message: "the mean has changed".into(),
            details: vec![],
        }
    }

    #[test]
    fn findings_are_compared_by_the_keys_that_are_given() {
        let compare = |expected: Value| compare_findings(Ok(vec![finding()]), &json!({"findings": [expected]}), 0.0);
        for expected in [
            json!({}),
            json!({"kind": "drift", "phase": "raised", "threshold": null}),
            json!({"value": 0.5, "subject": "a", "severity": "alarm"}),
        ] {
            assert_eq!(compare(expected), Ok(()));
        }
        for expected in [
            json!({"phase": "once"}),
            json!({"threshold": 0.5}),
            json!({"value": null}),
            json!({"value": 0.6}),
            json!({"subject": "b"}),
            json!({"kind": "stuck"}),
            json!({"severity": "info"}),
        ] {
            assert!(compare(expected.clone()).is_err(), "{expected}");
        }
        assert!(compare_findings(Ok(vec![finding()]), &json!({}), 0.0).is_err());
    }

    #[test]
    fn an_error_is_compared_by_its_kind() {
        let bad = || Err::<Vec<Finding>, _>(Error::BadInput("x".into()));
        assert_eq!(compare_findings(bad(), &json!({"error": "bad-input"}), 0.0), Ok(()));
        assert!(compare_findings(bad(), &json!({"error": "internal"}), 0.0).is_err());
        assert!(compare_findings(bad(), &json!({}), 0.0).is_err());
        assert!(compare_findings(Ok(vec![]), &json!({"error": "bad-input"}), 0.0).is_err());
    }

    #[test]
    fn a_sample_has_the_key_and_the_id_that_stand_there_and_no_other() {
        let sample = Sample {
            id: Some("7".into()),
            key: Some("press 1".into()),
            time_ns: None,
            tensors: vec![],
        };
        let compare = |expected: Value| compare_sample(&sample, &expected, 0.0);
        assert_eq!(compare(json!({"id": "7", "key": "press 1"})), Ok(()));
        for expected in [
            json!({"id": "7"}),
            json!({"key": "press 1"}),
            json!({"id": "7", "key": "press 2"}),
        ] {
            assert!(compare(expected.clone()).is_err(), "{expected}");
        }
    }
}
