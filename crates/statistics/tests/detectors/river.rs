//! What River said on recorded streams: `cases/detectors.json`, written by `oracle_detectors.py`. The detectors' plugins
//! are held against the same, by their own tests that take this file in.

use serde_json::Value;

/// A detector on a stream, as River has it.
pub(crate) struct Recorded {
    /// For people.
    pub(crate) what: String,
    /// River's, by its names.
    pub(crate) parameters: Value,
    pub(crate) values: Vec<f64>,
    /// At which values it alarmed.
    pub(crate) alarms: Vec<u64>,
    /// At which it warned, and didn't alarm.
    pub(crate) warnings: Vec<u64>,
}

/// All that is recorded of one detector.
pub(crate) fn recorded(detector: &str) -> Vec<Recorded> {
    let cases = cases();
    let mut found = Vec::new();
    for stream in list(&cases["streams"], Value::clone) {
        for answer in list(&stream["answers"], Value::clone) {
            if answer["detector"] == detector {
                let run = |run: &Value| run[0].as_u64().unwrap()..run[0].as_u64().unwrap() + run[1].as_u64().unwrap();
                found.push(Recorded {
                    what: format!("{detector} {} on {}", answer["parameters"], stream["name"]),
                    parameters: answer["parameters"].clone(),
                    values: values(&stream),
                    alarms: list(&answer["alarms"], |index| index.as_u64().unwrap()),
                    warnings: list(&answer["warnings"], run).into_iter().flatten().collect(),
                });
            }
        }
    }
    assert!(found.len() > 10, "too little is recorded of {detector}");
    found
}

pub(crate) fn cases() -> Value {
    serde_json::from_str(include_str!("../cases/detectors.json")).unwrap()
}

pub(crate) fn list<T>(value: &Value, element: impl FnMut(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap().iter().map(element).collect()
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    list(value, |number| number.as_f64().unwrap())
}

pub(crate) fn values(stream: &Value) -> Vec<f64> {
    if let Some(digits) = stream["values"].as_str() {
        return digits.bytes().map(|digit| f64::from(digit - b'0')).collect();
    }
    let divisor = stream["divisor"].as_f64().unwrap();
    list(&stream["values"], |value| value.as_f64().unwrap() / divisor)
}
