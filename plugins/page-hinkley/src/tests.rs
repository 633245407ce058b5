//! Tests of the plugin as the component runs it: JSON in, observations in, findings out. That alarms come where River's
//! come is shown by `tests/river.rs`.

use super::*;
use floorhand_plugin_sdk::{monitor::Instance, testing};
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

#[test]
fn samples_in_one_call_are_one_after_another() {
    let (mut one, mut at_once, mut called) = (configured(&config()), configured(&config()), configured(&config()));
    let rows = rows(400, 1.0);
    let single: Vec<Finding> = rows.iter().flat_map(|&[a, b]| see(&mut one, a, b)).collect();
    let flat: Vec<f32> = rows.iter().flatten().copied().collect();
    let batch = Tensor::from_f32("x", vec![400, 2], &flat);
    assert_eq!(at_once.observe(testing::context(0), vec![batch]).unwrap(), single);
    let contexts: Vec<Context> = (0..400).map(testing::context).collect();
    let report = called
        .call(contexts, vec![Tensor::from_f32("x", vec![400, 1, 2], &flat)])
        .unwrap();
    assert!(!single.is_empty());
    assert_eq!(report.findings.len(), single.len());
    assert!(
        report
            .findings
            .iter()
            .zip(&single)
            .all(|((_, called), single)| called == single)
    );
    assert_eq!(
        (at_once.snapshot(), called.snapshot()),
        (one.snapshot(), one.snapshot())
    );
}

#[test]
fn a_restored_instance_finds_the_same() {
    let mut blocks = config();
    blocks["block"] = json!(2);
    let (mut whole, mut parts) = (configured(&blocks), configured(&blocks));
    for (row, [a, b]) in rows(700, 1.0).into_iter().enumerate() {
        if row % 3 == 0 {
            let snapshot = parts.snapshot();
            assert_eq!(
                snapshot.len(),
                parts.plugin().unwrap().subscription().state_bytes as usize
            );
            parts = configured(&blocks);
            parts.restore(&snapshot).unwrap();
        }
        assert_eq!(see(&mut parts, a, b), see(&mut whole, a, b));
    }
    assert_eq!(parts.snapshot(), whole.snapshot());
}

#[test]
fn broken_snapshots_change_nothing() {
    let mut plugin = configured(&config());
    rows(100, 0.0)
        .into_iter()
        .for_each(|[a, b]| drop(see(&mut plugin, a, b)));
    let snapshot = plugin.snapshot();
    for broken in testing::damaged(&snapshot, 3) {
        let before = plugin.snapshot();
        if plugin.restore(&broken).is_err() {
            assert_eq!(plugin.snapshot(), before);
        }
        see(&mut plugin, 0.5, 0.5);
    }
    for broken in [&[][..], &snapshot[..20], &[&snapshot[..], &[0]].concat()] {
        assert!(matches!(plugin.restore(broken), Err(Error::BadConfig(_))));
    }
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
        ("fields", json!(["a", "a"]), "fields has \"a\" twice"),
        ("shape", json!([-1, 3]), "shape has to end in 2"),
    ] {
        let mut config = config();
        config[key] = value;
        let message = testing::message(Plugin::new().configure(&config.to_string(), vec![]));
        assert!(message.starts_with(expected), "{key}: {message}");
    }
}

#[test]
fn hostile_inputs_change_nothing() {
    let mut plugin = configured(&config());
    let spec = plugin.plugin().unwrap().columns.watch().spec;
    for tensor in testing::hostile(&spec) {
        let (fits, before) = (tensor.check(&spec).is_ok(), plugin.snapshot());
        assert_eq!(plugin.observe(testing::context(0), vec![tensor]).is_ok(), fits);
        assert!(fits || plugin.snapshot() == before);
    }
    assert!(plugin.observe(testing::context(0), vec![]).is_err());
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
