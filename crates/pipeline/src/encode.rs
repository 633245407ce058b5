//! Results and findings as JSON, the way sinks write them.

use crate::pipeline::StageFinding;
use floorhand_bundle::Digest;
use floorhand_tensor::Tensor;
use serde_json::{Map, Number, Value, json};
use std::collections::BTreeMap;

/// What stands above the outputs of a result: enough to trace it to everything it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultHead<'a> {
    /// The sample's own id; left out where it has none.
    pub id: &'a str,
    /// What the sample is of, e.g. a machine; left out where nothing says so.
    pub key: Option<&'a str>,
    /// The sample's time in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// The sample's number in its pipeline.
    pub sequence: u64,
    /// The bundle, whose manifest names model, plugins and configuration by digest.
    pub bundle: Digest,
    /// The engine that ran the model, with its version; left out where the bundle names none, and tract runs it.
    pub engine: Option<&'a str>,
}

/// A result as one JSON object: the head, and under `outputs` each tensor by name, flattened. NaN and infinities, which
/// JSON has not, are `null`. Byte strings are texts; what of them is no UTF-8 is replaced by U+FFFD.
#[must_use]
pub fn result_json(head: &ResultHead<'_>, outputs: &[Tensor]) -> Value {
    let mut object = Map::new();
    if !head.id.is_empty() {
        object.insert("id".to_owned(), Value::from(head.id));
    }
    if let Some(key) = head.key {
        object.insert("key".to_owned(), Value::from(key));
    }
    object.insert("time_ms".to_owned(), Value::from(head.time_ms));
    object.insert("sample".to_owned(), Value::from(head.sequence));
    object.insert("bundle".to_owned(), Value::from(head.bundle.to_string()));
    if let Some(engine) = head.engine {
        object.insert("engine".to_owned(), Value::from(engine));
    }
    let outputs = outputs
        .iter()
        .map(|tensor| (tensor.name().to_owned(), values(tensor)))
        .collect::<Map<_, _>>();
    object.insert("outputs".to_owned(), Value::Object(outputs));
    Value::Object(object)
}

/// A finding as one JSON object.
#[must_use]
pub fn finding_json(head: &ResultHead<'_>, found: &StageFinding) -> Value {
    let finding = &found.finding;
    json!({
        "time_ms": head.time_ms,
        "sample": head.sequence,
        "bundle": head.bundle.to_string(),
        "stage": found.stage,
        "kind": finding.kind,
        "severity": finding.severity,
        "phase": finding.phase,
        "subject": finding.subject,
        "value": finding.value,
        "threshold": finding.threshold,
        "unit": finding.unit,
        "message": finding.message,
        "details": finding.details.iter().cloned().collect::<BTreeMap<_, _>>(),
    })
}

fn values(tensor: &Tensor) -> Value {
    // A 32-bit float is written with as many digits as it has, not with those of the double it becomes.
    if let Ok(values) = tensor.to_f32() {
        return values
            .into_iter()
            .map(|value| Number::from_f64(shortest(value)).map_or(Value::Null, Value::Number))
            .collect();
    }
    if let Ok(texts) = tensor.elements() {
        return texts.into_iter().map(String::from_utf8_lossy).collect();
    }
    let values = tensor.to_f64().unwrap_or_default();
    values
        .into_iter()
        .map(|value| Number::from_f64(value).map_or(Value::Null, Value::Number))
        .collect()
}

/// The double that prints as the float does.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_one_line_that_can_be_traced() {
        let head = ResultHead {
            id: "",
            key: None,
            time_ms: 5,
            sequence: 7,
            bundle: Digest::of(b"b"),
            engine: None,
        };
        let outputs = [
            Tensor::from_elements("label", vec![1], &["worn"]).unwrap(),
            Tensor::from_f32("score", vec![1, 2], &[0.1, f32::NAN]).unwrap(),
        ];
        let text = result_json(&head, &outputs).to_string();
        let expected = format!(
            r#"{{"bundle":"{}","outputs":{{"label":["worn"],"score":[0.1,null]}},"sample":7,"time_ms":5}}"#,
            Digest::of(b"b")
        );
        assert_eq!(text, expected);
        let head = ResultHead {
            engine: Some("onnxruntime 1.31.1"),
            ..head
        };
        let traced = result_json(&head, &outputs);
        assert_eq!(traced["engine"], "onnxruntime 1.31.1");
    }
}
