//! The same answers as River on recorded streams: `cases/detectors.json`, written by `oracle_detectors.py`.

use crate::{
    any::Any,
    river::{cases, list, numbers, values},
};
use floorhand_statistics::detection::Level;
use serde_json::Value;

/// Relative, as every oracle comparison of this project.
const TOLERANCE: f64 = 1e-9;

/// What a detector said, as the script records it.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    alarms: Vec<u64>,
    /// First index and length of each run of warnings.
    warnings: Vec<(u64, u64)>,
    first: Option<Vec<f64>>,
}

impl Answers {
    fn recorded(answer: &Value) -> Self {
        let pair = |run: &Value| (run[0].as_u64().unwrap(), run[1].as_u64().unwrap());
        Self {
            alarms: list(&answer["alarms"], |index| index.as_u64().unwrap()),
            warnings: list(&answer["warnings"], pair),
            first: answer["first"].get(0).map(numbers),
        }
    }

    fn take(&mut self, index: u64, level: Level, detector: &Any) {
        match (level, self.warnings.last_mut()) {
            (Level::Stable, _) => {}
            (Level::Drift, _) => {
                self.alarms.push(index);
                self.first.get_or_insert_with(|| detector.numbers());
            }
            (Level::Warning, Some((begin, length))) if *begin + *length == index => *length += 1,
            (Level::Warning, _) => self.warnings.push((index, 1)),
        }
    }
}

/// Calls `check` with every detector on every stream that it was recorded on.
fn for_each_case(mut check: impl FnMut(&str, Any, &[f64], &Value)) {
    let cases = cases();
    assert_eq!(cases["river"], "0.26.1");
    for stream in cases["streams"].as_array().unwrap() {
        let values = values(stream);
        for answer in stream["answers"].as_array().unwrap() {
            let (name, parameters) = (answer["detector"].as_str().unwrap(), &answer["parameters"]);
            let what = format!("{name} {parameters} on {}", stream["name"]);
            check(&what, Any::recorded(name, parameters), &values, answer);
        }
    }
}

fn close(actual: &[f64], expected: &[f64], scale: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (actual, expected) in actual.iter().zip(expected) {
        let allowed = TOLERANCE * expected.abs().max(scale);
        assert!(
            (actual - expected).abs() <= allowed,
            "{what}: {actual} and not {expected}"
        );
    }
}

#[test]
fn alarms_and_warnings_come_where_rivers_come() {
    let (mut detectors, mut alarms) = (0, 0);
    for_each_case(|what, mut detector, values, answer| {
        let mut answers = Answers::default();
        for (index, &value) in (0..).zip(values) {
            let level = detector.push(value);
            answers.take(index, level, &detector);
        }
        let expected = Answers::recorded(answer);
        assert_eq!(answers.alarms, expected.alarms, "{what}");
        assert_eq!(answers.warnings, expected.warnings, "{what}");
        // A difference of sums is as exact as the sums' own scale.
        let scale = values.iter().fold(1e-3, |scale: f64, value| scale.max(value.abs()));
        if let (Some(actual), Some(expected)) = (&answers.first, &expected.first) {
            close(actual, expected, scale, &format!("{what} at the first alarm"));
        }
        close(
            &detector.numbers(),
            &numbers(&answer["end"]),
            scale,
            &format!("{what} at the end"),
        );
        detectors += 1;
        alarms += answers.alarms.len();
    });
    println!("{detectors} detectors with {alarms} alarms");
    assert!(detectors > 200 && alarms > 500, "the cases hold too little");
}

#[test]
fn a_detector_restored_at_any_sample_goes_on_the_same() {
    // Whatever the interval, some snapshots fall on an alarm and on the sample after it.
    const INTERVALS: [usize; 2] = [1, 61];
    for_each_case(|what, fresh, values, answer| {
        let mut whole = fresh.clone();
        let levels: Vec<Level> = values.iter().map(|&value| whole.push(value)).collect();
        let drifts = levels.iter().filter(|&&level| level == Level::Drift).count();
        assert_eq!(drifts, answer["alarms"].as_array().unwrap().len(), "{what}");
        for interval in INTERVALS {
            let mut detector = fresh.clone();
            for (index, (&value, &level)) in values.iter().zip(&levels).enumerate() {
                if index % interval == 0 {
                    detector = detector.restored();
                }
                assert_eq!(detector.push(value), level, "{what} at {index}");
            }
            assert_eq!(detector, whole, "{what}: not the same bits");
        }
    });
}
