//! Tests of the plugin as the component runs it: JSON in, observations in, findings out.

use super::*;
use floorhand_plugin_sdk::{
    Asset, Severity,
    drift::simulation,
    monitor::Instance,
    testing::{
        self,
        cases::check_monitor,
        monitors::{check_gaps_are_passed_over, check_hostile, check_keys, check_stream},
    },
};
use floorhand_statistics::moments::Moments as Running;
use random::Random;
use serde_json::{Value, json};

#[path = "../../../crates/statistics/tests/simulation/mod.rs"]
mod random;

type Plugin = Instance<Calibration>;

const WINDOW: u64 = 20;

fn config(labels: bool) -> Value {
    let mut config = json!({"tensor": "p", "window": WINDOW, "reference": "reference.json", "low_confidence": 0.6});
    if labels {
        config["labels"] = json!({"tensor": "truth"});
    }
    config
}

fn reference() -> Value {
    json!({
        "samples": 10_000,
        "confidence": {"mean": 0.8, "deviation": 0.1, "skewness": 0.0},
        "entropy": {"mean": 0.5, "deviation": 0.1, "skewness": 0.0},
        "low": 500,
        "calibration_error": 0.02,
    })
}

fn asset(value: &Value) -> Vec<Asset> {
    vec![Asset {
        name: "reference.json".into(),
        data: value.to_string().into_bytes(),
    }]
}

fn configured(config: &Value, reference: &Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config.to_string(), asset(reference)).unwrap();
    plugin
}

fn probabilities(first: &[f32]) -> Tensor {
    let rows: Vec<f32> = first.iter().flat_map(|&p| [p, 1.0 - p]).collect();
    Tensor::from_f32("p", vec![first.len() as u64, 2], &rows)
}

fn truth(labels: &[i64]) -> Tensor {
    Tensor {
        name: "truth".into(),
        datatype: Datatype::Int64,
        shape: vec![labels.len() as u64],
        data: labels.iter().flat_map(|label| label.to_le_bytes()).collect(),
    }
}

/// Three windows and less than a fourth, two answers a sample, of which the second is unsure and wrong; some without a label.
fn stream() -> Vec<(Context, Vec<Tensor>)> {
    let sample = |n: u64| {
        let unsure = n / (WINDOW / 2) == 1;
        let p = if unsure { 0.51 } else { 0.76 + 0.01 * (n % 9) as f32 };
        let label = if n % 7 == 6 {
            -1
        } else {
            i64::from(unsure || n % 5 == 4)
        };
        let odd = if n == 3 { f32::NAN } else { p };
        (
            testing::context(n),
            vec![probabilities(&[p, odd]), truth(&[label, label])],
        )
    };
    (0..3 * WINDOW / 2 + 9).map(sample).collect()
}

#[test]
fn an_unsure_classifier_is_found_and_let_go() {
    let mut plugin = configured(&config(false), &reference());
    let mut see = |p: f32| {
        plugin
            .observe(testing::context(0), vec![probabilities(&[p; 20])])
            .unwrap()
    };
    assert!(see(0.8).is_empty());
    assert!((testing::take_recorded().gauges["calibration/confidence"] - 0.8).abs() < 1e-6);
    let found = see(0.55);
    let subjects: Vec<&str> = found.iter().map(|finding| finding.subject.as_str()).collect();
    assert_eq!(subjects, ["confidence", "entropy", "low-confidence"]);
    assert!(found.iter().all(|f| f.kind == "drift" && f.severity == Severity::Alarm));
    // 0.25 below, in deviations of 0.1, and scipy.stats.norm.isf(0.001 / 6) for three measures that share an alarm.
    assert!((found[0].value.unwrap() - 2.5).abs() < 1e-5, "{found:?}");
    let threshold = 3.587_825 * (1e-4_f64 + 0.05).sqrt();
    assert!((found[0].threshold.unwrap() - threshold).abs() < 1e-4, "{found:?}");
    let gauges = testing::take_recorded().gauges;
    let entropy = -(0.55_f64 * 0.55_f64.ln() + 0.45 * 0.45_f64.ln());
    assert!((gauges["calibration/entropy"] - entropy).abs() < 1e-6);
    assert!((gauges["calibration/low-confidence"] - 1.0).abs() < 1e-12);
    let details: Vec<&str> = found[0].details.iter().map(|detail| detail.name.as_str()).collect();
    assert_eq!(details, ["window-samples", "window-mean", "p-value"]);
    assert!(see(0.55).is_empty() && see(0.8).iter().all(|finding| finding.severity == Severity::Info));
}

#[test]
fn logits_are_softened_and_other_rows_count_nowhere() {
    let mut config = config(false);
    config["logits"] = json!(true);
    let mut plugin = configured(&config, &reference());
    let logit = (0.8_f64 / 0.2).ln() as f32;
    let rows: Vec<f32> = [logit, 0.0].repeat(20);
    plugin
        .observe(testing::context(0), vec![Tensor::from_f32("p", vec![20, 2], &rows)])
        .unwrap();
    assert!((testing::take_recorded().gauges["calibration/confidence"] - 0.8).abs() < 1e-6);

    config["logits"] = json!(false);
    let mut plugin = configured(&config, &reference());
    for row in [[0.7, 0.7], [1.2, -0.2], [f32::NAN, 1.0]] {
        let tensor = Tensor::from_f32("p", vec![1, 2], &row);
        assert_eq!(plugin.observe(testing::context(0), vec![tensor]), Ok(vec![]));
    }
    assert_eq!(testing::take_recorded().counters["calibration/not-probabilities"], 3);
}

#[test]
fn with_labels_wrong_answers_are_found() {
    let mut plugin = configured(&config(true), &reference());
    let mut see = |right: usize| {
        let labels: Vec<i64> = (0..20).map(|n| i64::from(n >= right)).collect();
        plugin
            .observe(testing::context(0), vec![probabilities(&[0.8; 20]), truth(&labels)])
            .unwrap()
    };
    assert!(see(16).is_empty());
    assert!(testing::take_recorded().gauges["calibration/calibration-error"] < 1e-6);
    let found = see(2);
    assert_eq!(found.len(), 1, "the confidence is what it was");
    assert_eq!(
        (found[0].kind.as_str(), found[0].subject.as_str()),
        ("miscalibrated", ERROR)
    );
    assert!((found[0].value.unwrap() - 0.7).abs() < 1e-6, "{found:?}");
    assert_eq!(see(16)[0].severity, Severity::Info);
    let unknown = vec![probabilities(&[0.8; 20]), truth(&[-1; 20])];
    let _ = testing::take_recorded();
    plugin.observe(testing::context(0), unknown).unwrap();
    assert!(
        !testing::take_recorded()
            .gauges
            .contains_key("calibration/calibration-error")
    );
    let few = vec![probabilities(&[0.8; 20]), truth(&[0; 19])];
    assert_eq!(
        testing::message(plugin.observe(testing::context(0), few)),
        "19 labels of 20 answers"
    );
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let mut calibrating = config(true);
    calibrating["window"] = json!(3);
    calibrating["calibration_windows"] = json!(12);
    for config in [config(true), calibrating] {
        let answers = check_stream::<Calibration>(&config.to_string(), &asset(&reference()), &stream());
        assert!(answers.iter().flatten().flatten().count() >= 4, "{answers:?}");
        check_hostile::<Calibration>(&config.to_string(), &asset(&reference()), &stream());
    }
}

/// Each has windows of its own; the reference is the same for both.
#[test]
fn machines_at_once_are_each_like_one_alone() {
    let (config, stream) = (config(true).to_string(), stream());
    // The other one's windows end elsewhere in the stream.
    let other = &stream[5..];
    let [first, second] = check_keys::<Calibration>(&config, &asset(&reference()), [&stream, other]);
    assert_ne!(first, second);
}

/// A window is so many samples, whichever they are.
#[test]
fn gaps_are_passed_over() {
    check_gaps_are_passed_over::<Calibration>(&config(true).to_string(), &asset(&reference()), &stream());
}

#[test]
fn recorded_cases() {
    assert!(check_monitor::<Calibration>(env!("CARGO_MANIFEST_DIR")) > 0);
}

/// The probability of the first of two classes for a logit of 1.5 and this much more.
fn first(more: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-1.5 - more))
}

fn moments(values: impl Iterator<Item = f64>) -> Value {
    let mut moments = Running::new();
    values.for_each(|value| moments.push(value));
    json!({
        "mean": moments.mean(),
        "deviation": moments.variance().unwrap().sqrt(),
        "skewness": moments.skewness().unwrap(),
    })
}

#[test]
fn confidence_alarms_as_rarely_as_stated() {
    let mut random = Random::new(9);
    // The same limits in NumPy, 3,000 windows each.
    let powers = [
        (50, [0.029, 0.42, 1.0]),
        (100, [0.115, 0.905, 1.0]),
        (200, [0.425, 1.0, 1.0]),
        (500, [0.963, 1.0, 1.0]),
        (2000, [1.0, 1.0, 1.0]),
    ];
    let tensor = |logits: &[f32]| {
        let first: Vec<f32> = logits.iter().map(|&more| first(more.into()) as f32).collect();
        probabilities(&first)
    };
    let mut draw = move |shift: f64| random.normal() + shift;
    simulation::check_tensors::<Calibration>(0.002, &powers, &mut draw, tensor, |window, logits| {
        let sure = |logit: &f64| first(*logit).max(1.0 - first(*logit));
        let entropy = |logit: &f64| softmax_entropy(first(*logit));
        let reference = json!({
            "samples": logits.len(),
            "confidence": moments(logits.iter().map(sure)),
            "entropy": moments(logits.iter().map(entropy)),
            "low": logits.iter().filter(|&logit| sure(logit) < 0.6).count(),
        });
        let mut config = config(false);
        config["window"] = json!(window);
        configured(&config, &reference)
    });
}

fn softmax_entropy(p: f64) -> f64 {
    floorhand_statistics::softmax::entropy(&[p, 1.0 - p]).unwrap()
}

/// Windows that alarm for their calibration error, of `windows` of a classifier whose answers are right with the
/// probability `right` of their confidence.
fn wrong(random: &mut Random, window: u64, windows: u32, right: fn(f64) -> f64) -> u32 {
    let mut config = config(true);
    config["window"] = json!(window);
    // The other measures aren't looked at.
    config["least_drift"] = json!(100);
    let mut reference = reference();
    reference["calibration_error"] = json!(0);
    let (mut alarms, mut lasts) = (0, false);
    let mut plugin = configured(&config, &reference);
    for _ in 0..windows {
        let sure: Vec<f64> = (0..window).map(|_| 0.5 + 0.5 * libm::sqrt(random.uniform())).collect();
        let labels: Vec<i64> = sure.iter().map(|&p| i64::from(random.uniform() >= right(p))).collect();
        let first: Vec<f32> = sure.iter().map(|&p| p as f32).collect();
        let found = plugin
            .observe(testing::context(0), vec![probabilities(&first), truth(&labels)])
            .unwrap();
        lasts = found
            .last()
            .map_or(lasts, |finding| finding.severity == Severity::Alarm);
        alarms += u32::from(lasts);
    }
    alarms
}

#[test]
fn the_calibration_error_alarms_as_rarely_as_stated() {
    let mut random = Random::new(10);
    // Right in 30 of 100 answers fewer than the classifier is sure of: the powers are those of the same limit in NumPy, 1,500
    // windows each.
    for (window, power) in [(50, 0.21), (100, 0.84), (200, 0.999), (500, 1.0), (2000, 1.0)] {
        let windows = 50_000 / window as u32;
        let alarms = wrong(&mut random, window, windows, |p| p);
        let found = f64::from(wrong(&mut random, window, windows, |p| p - 0.3)) / f64::from(windows);
        println!("window {window}: {alarms} of {windows} alarm, {found:.3} of an overconfident classifier");
        assert!(
            alarms <= simulation::most(0.002, windows),
            "window {window}: {alarms} of {windows}"
        );
        let chance = 4.0 * (power * (1.0 - power) / f64::from(windows)).sqrt() + 0.03;
        assert!(
            (found - power).abs() <= chance,
            "window {window}: {found} and not {power}"
        );
    }
}

#[test]
fn what_is_refused() {
    let refused = |config: &Value, reference: &Value, expected: &str| {
        let message = testing::message(Plugin::new().configure(&config.to_string(), asset(reference)));
        assert!(message.starts_with(expected), "{message}");
    };
    for (key, value, expected) in [
        ("label", json!({}), "configuration, key label: unknown field `label`"),
        ("labels", json!({}), "configuration, key labels: missing field `tensor`"),
        (
            "low_confidence",
            json!(1),
            "low_confidence is 1, and has to be above 0 and below 1",
        ),
        ("shape", json!([-1, 1]), "shape has to end in the number of classes"),
        (
            "window",
            json!(0),
            "asset \"reference.json\", confidence: a window has to hold",
        ),
        ("calibration_windows", json!(9), "calibration_windows is 9"),
        (
            "labels",
            json!({"tensor": "t", "bins": 1}),
            "asset \"reference.json\", calibration_error, or labels.bins: bins is 1",
        ),
        (
            "labels",
            json!({"tensor": "t", "least_error": -1}),
            "confidence, shared by the fields, and least_drift: least drift is -1",
        ),
    ] {
        let mut config = config(false);
        config[key] = value;
        refused(&config, &reference(), expected);
    }
    for (key, value, expected) in [
        (
            "low",
            json!(10_001),
            "asset \"reference.json\", low-confidence: low is 10001",
        ),
        (
            "samples",
            json!(1),
            "asset \"reference.json\", confidence: reference samples is 1",
        ),
        (
            "calibration_error",
            json!(2),
            "asset \"reference.json\", calibration_error, or labels.bins: calibration error is 2",
        ),
        (
            "margin",
            json!(0),
            "asset \"reference.json\", key margin: unknown field `margin`",
        ),
        (
            "blocks",
            json!({"entropy": [1]}),
            "asset \"reference.json\", blocks of \"entropy\": blocks of training data is 1",
        ),
        (
            "entropy",
            json!({"mean": 0, "deviation": 0, "skewness": 0}),
            "asset \"reference.json\", entropy: reference deviation is 0",
        ),
    ] {
        let mut reference = reference();
        reference[key] = value;
        refused(&config(true), &reference, expected);
    }
}

#[test]
fn texts_are_refused() {
    let mut answers = config(false);
    answers["datatype"] = json!("BYTES");
    let mut labels = config(false);
    labels["labels"] = json!({"tensor": "truth", "datatype": "BYTES"});
    for (config, key) in [(answers, "datatype"), (labels, "labels.datatype")] {
        let message = testing::message(Plugin::new().configure(&config.to_string(), asset(&reference())));
        assert_eq!(message, format!("{key} is BYTES, and has to be one of numbers"));
    }
}
