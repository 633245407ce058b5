//! Tests of the plugin as the component runs it: JSON in, observations in, findings out. That alarms come where River's
//! come is shown by `tests/river.rs`.

use super::*;
use floorhand_plugin_sdk::{
    monitor::Instance,
    testing::{
        self,
        monitors::{Sample, check_gaps_are_passed_over, check_hostile, check_keys, check_stream},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<PageHinkleyMonitor>;

fn config() -> Value {
    json!({"tensor": "x", "fields": ["a", "b"], "delta": 0.1, "threshold": 20})
}

fn configured(config: &Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config.to_string(), vec![]).unwrap();
    plugin
}

fn see(plugin: &mut Plugin, a: f32, b: f32) -> Vec<Finding> {
    plugin
        .observe(testing::context(0), vec![Tensor::from_f32("x", vec![1, 2], &[a, b])])
        .unwrap()
}

/// Uniform from 0 to 1; `a` moves by `step` at row 300.
fn rows(length: usize, step: f32) -> Vec<[f32; 2]> {
    let mut random = testing::random(1).map(|bits| (bits >> 40) as f32 / (1 << 24) as f32);
    let mut next = || random.next().unwrap();
    (0..length)
        .map(|row| [next() + if row < 300 { 0.0 } else { step }, next()])
        .collect()
}

#[test]
fn a_risen_mean_and_a_fallen_one_are_alarms() {
    for (step, mode, message) in [
        (1.0, "both", Some("the mean has risen; the test begins anew")),
        (1.0, "up", Some("the mean has risen; the test begins anew")),
        (1.0, "down", None),
        (-1.0, "both", Some("the mean has fallen; the test begins anew")),
        (-1.0, "up", None),
    ] {
        let mut config = config();
        config["mode"] = json!(mode);
        let mut plugin = configured(&config);
        let found: Vec<Finding> = rows(400, step)
            .into_iter()
            .flat_map(|[a, b]| see(&mut plugin, a, b))
            .collect();
        assert_eq!(
            found.first().map(|finding| finding.message.as_str()),
            message,
            "{mode} by {step}"
        );
        for finding in &found {
            assert_eq!((finding.kind.as_str(), finding.subject.as_str()), ("drift", "a"));
            assert_eq!((finding.severity, finding.threshold), (Severity::Alarm, Some(20.0)));
            assert_eq!((finding.phase, finding.watch), (Phase::Once, Some(0)));
            assert!((20.0..22.0).contains(&finding.value.unwrap()), "{finding:?}");
        }
        assert!(testing::take_recorded().gauges.contains_key("page-hinkley/b"));
    }
}

#[test]
fn a_block_is_one_value() {
    let mut blocks = config();
    blocks["block"] = json!(4);
    let (mut single, mut block) = (configured(&config()), configured(&blocks));
    for [a, b] in rows(600, 1.0) {
        let found = see(&mut single, a, b);
        let found_in_blocks: Vec<Finding> = (0..4).flat_map(|_| see(&mut block, a, b)).collect();
        assert_eq!(found, found_in_blocks);
    }
}

#[test]
fn missing_values_are_left_out() {
    let (mut with, mut without) = (configured(&config()), configured(&config()));
    for [a, b] in rows(400, 1.0) {
        assert!(see(&mut with, f32::NAN, f32::INFINITY).is_empty());
        assert_eq!(see(&mut with, a, b), see(&mut without, a, b));
    }
    assert_eq!(with.snapshot(), without.snapshot());
}

/// A sample of each row.
fn stream(rows: &[[f32; 2]]) -> Vec<Sample> {
    let sample = |(sequence, row): (u64, &[f32; 2])| {
        let tensor = Tensor::from_f32("x", vec![1, 2], row);
        (testing::context(sequence), vec![tensor])
    };
    (0..).zip(rows).map(sample).collect()
}

#[test]
fn rows_of_a_sample_are_one_after_another() {
    let config = config();
    let (mut one, mut at_once) = (configured(&config), configured(&config));
    let rows = rows(400, 1.0);
    let single: Vec<Finding> = rows.iter().flat_map(|&[a, b]| see(&mut one, a, b)).collect();
    let batch = Tensor::from_f32("x", vec![rows.len() as u64, 2], rows.as_flattened());
    assert!(!single.is_empty());
    assert_eq!(at_once.observe(testing::context(0), vec![batch]).unwrap(), single);
    assert_eq!(at_once.snapshot(), one.snapshot());
}

#[test]
fn machines_at_once_are_each_like_one_alone() {
    let config = config();
    let rows = rows(400, 1.0);
    // The other one's `b` is the field that changes.
    let swapped: Vec<[f32; 2]> = rows.iter().map(|&[a, b]| [b, a]).collect();
    let [first, second] =
        check_keys::<PageHinkleyMonitor>(&config.to_string(), &[], [&stream(&rows), &stream(&swapped[5..])]);
    assert_ne!(first, second);
}

/// A missing sample says nothing of the mean of the others.
#[test]
fn gaps_are_passed_over() {
    let config = config();
    check_gaps_are_passed_over::<PageHinkleyMonitor>(&config.to_string(), &[], &stream(&rows(400, 1.0)));
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let config = config();
    let stream = stream(&rows(400, 1.0));
    let answers = check_stream::<PageHinkleyMonitor>(&config.to_string(), &[], &stream);
    assert!(answers.iter().flatten().flatten().count() > 0);
    check_hostile::<PageHinkleyMonitor>(&config.to_string(), &[], &stream);
}

#[test]
fn configurations_that_are_refused() {
    for (key, value, expected) in [
        ("detla", json!(1), "configuration, key detla: unknown field `detla`"),
        ("delta", json!(-1), "delta is -1: it has to be a number of at least 0"),
        ("threshold", json!(0), "threshold is 0"),
        ("alpha", json!(0), "alpha is 0"),
        ("alpha", json!(1.5), "alpha is 1.5"),
        (
            "mode",
            json!("sideways"),
            "configuration, key mode: unknown variant `sideways`",
        ),
        (
            "min_instances",
            json!(-1),
            "configuration, key min_instances: invalid value",
        ),
        ("block", json!(0), "block is 0"),
        ("fields", json!([]), "fields has 0 names"),
        ("max_keys", json!(0), "max_keys is 0, and has to be 1 to 1024"),
        ("fields", json!(["a", "a"]), "fields has \"a\" twice"),
        ("shape", json!([-1, 3]), "shape has to end in 2"),
    ] {
        let mut config = config();
        config[key] = value;
        let message = testing::message(Plugin::new().configure(&config.to_string(), vec![]));
        assert!(message.starts_with(expected), "{key}: {message}");
    }
}

/// README.md states 0.015 in 10,000 values at the defaults, uniform from 0 to 1: a hundred times those, 1.5 expected.
#[test]
fn a_steady_stream_alarms_as_rarely_as_stated() {
    let fields: Vec<String> = (0..100).map(|n| format!("f{n}")).collect();
    let mut plugin = configured(&json!({"tensor": "x", "fields": fields}));
    let uniform: Vec<f32> = testing::random(7)
        .take(1_000_000)
        .map(|bits| (bits >> 40) as f32 / (1 << 24) as f32)
        .collect();
    let tensor = Tensor::from_f32("x", vec![10_000, 100], &uniform);
    let found = plugin.observe(testing::context(0), vec![tensor]).unwrap().len();
    assert!(found <= 8, "{found} alarms");
}
