//! Tests of the plugin as the component runs it: JSON in, observations in, findings out. The index itself is compared with
//! NumPy and SciPy in floorhand-statistics.

use super::*;
use floorhand_plugin_sdk::{Asset, Tensor, monitor::Instance, testing};
use serde_json::{Value, json};

type Plugin = Instance<DriftPsi>;

const WINDOW: u64 = 200;

fn config() -> Value {
    json!({"tensor": "x", "fields": ["a", "b"], "window": WINDOW, "reference": "reference.json"})
}

fn reference() -> Value {
    json!({"fields": {
        "a": {"edges": [0.25, 0.5, 0.75], "counts": [250, 250, 250, 250]},
        "b": {"edges": [0.0], "counts": [500, 500]},
        "unused": {"edges": [1], "counts": [1, 1]},
    }})
}

fn asset(value: &Value) -> Vec<Asset> {
    vec![Asset {
        name: "reference.json".into(),
        data: value.to_string().into_bytes(),
    }]
}

fn configured() -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config().to_string(), asset(&reference())).unwrap();
    plugin
}

fn see(plugin: &mut Plugin, a: f32, b: f32) -> Vec<Finding> {
    plugin
        .observe(testing::observation(
            0,
            vec![Tensor::from_f32("x", vec![1, 2], &[a, b])],
        ))
        .unwrap()
}

/// One window: `a` spread evenly from 0 to `reach`, `b` on both sides of 0.
fn window(plugin: &mut Plugin, reach: f32) -> Vec<Finding> {
    let value = |n: u64| reach * n as f32 / WINDOW as f32;
    (0..WINDOW)
        .flat_map(|n| see(plugin, value(n), if n % 2 == 0 { -1.0 } else { 1.0 }))
        .collect()
}

#[test]
fn drift_is_an_alarm_once_and_an_information_at_its_end() {
    let mut plugin = configured();
    assert!(window(&mut plugin, 1.0).is_empty());
    assert!(testing::take_recorded().gauges["psi/a"] < 0.001);

    let findings = window(&mut plugin, 0.5);
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!(
        (finding.kind.as_str(), finding.subject.as_str(), finding.severity),
        ("drift", "a", Severity::Alarm)
    );
    // Two of four bins are empty: by hand from (q - p) ln(q / p) with half a count added.
    let (p, full, empty) = (250.5_f64 / 1002.0, 100.5_f64 / 202.0, 0.5_f64 / 202.0);
    let expected = 2.0 * ((full - p) * (full / p).ln() + (empty - p) * (empty / p).ln());
    assert!((finding.value - expected).abs() < 1e-12);
    assert_eq!(finding.threshold, 0.1);
    assert_eq!(testing::take_recorded().gauges["psi/a"], finding.value);

    assert!(window(&mut plugin, 0.5).is_empty(), "an episode that goes on");
    let findings = window(&mut plugin, 1.0);
    assert_eq!((findings.len(), findings[0].severity), (1, Severity::Info));
    assert_eq!(findings[0].message, "distributed as in training again, after 2 windows");
}

#[test]
fn a_small_window_needs_more_than_noise() {
    let mut small = config();
    small["window"] = json!(10);
    let mut plugin = Plugin::new();
    plugin.configure(&small.to_string(), asset(&reference())).unwrap();
    // Seven of ten above the middle: a PSI above 0.1, and nothing that ten coins wouldn't do.
    let found: Vec<Finding> = (0..10)
        .flat_map(|n| see(&mut plugin, 0.1 * n as f32, if n < 7 { 1.0 } else { -1.0 }))
        .collect();
    assert!(testing::take_recorded().gauges["psi/b"] > 0.1);
    assert!(found.is_empty());
}

#[test]
fn missing_values_leave_the_verdict_to_the_others() {
    let mut plugin = configured();
    (0..WINDOW).for_each(|n| assert!(see(&mut plugin, f32::NAN, if n % 2 == 0 { -1.0 } else { 1.0 }).is_empty()));
    let gauges = testing::take_recorded().gauges;
    assert!(
        gauges.contains_key("psi/b") && !gauges.contains_key("psi/a"),
        "no verdict without values"
    );
}

#[test]
fn a_batch_is_its_rows() {
    let (mut one, mut many) = (configured(), configured());
    let rows: Vec<f32> = (0..600).map(|n| n as f32 / 600.0).collect();
    let single: Vec<Finding> = rows.chunks(2).flat_map(|row| see(&mut one, row[0], row[1])).collect();
    let batch = Tensor::from_f32("x", vec![300, 2], &rows);
    assert_eq!(many.observe(testing::observation(0, vec![batch])).unwrap(), single);
    assert_eq!(
        single.len(),
        2,
        "the first 200 of 300 rows: a is below 2/3, b never below 0"
    );
    assert_eq!(one.snapshot(), many.snapshot());
}

#[test]
fn a_restored_instance_finds_the_same() {
    let (mut whole, mut before, mut after) = (configured(), configured(), configured());
    window(&mut whole, 0.5);
    window(&mut before, 0.5);
    for n in 0..50 {
        see(&mut whole, n as f32, 0.0);
        see(&mut before, n as f32, 0.0);
    }
    let snapshot = before.snapshot();
    assert_eq!(
        snapshot.len(),
        before.plugin().unwrap().subscription().state_bytes as usize
    );
    after.restore(&snapshot).unwrap();
    assert_eq!(window(&mut after, 1.0), window(&mut whole, 1.0));
    assert_eq!(after.snapshot(), whole.snapshot());
    for broken in [&[][..], &snapshot[..20], &[&snapshot[..], &[0]].concat()] {
        let kept = after.snapshot();
        assert!(matches!(after.restore(broken), Err(Error::BadConfig(_))));
        assert_eq!(after.snapshot(), kept);
    }
}

#[test]
fn configurations_that_are_refused() {
    for (key, value, expected) in [
        ("windw", json!(1), "configuration, key windw: unknown field `windw`"),
        ("window", json!(0), "window: a window has to hold at least one sample"),
        ("fields", json!([]), "fields has 0 names"),
        ("fields", json!(["a", "a"]), "fields has \"a\" twice"),
        (
            "fields",
            json!(["a", "c"]),
            "asset \"reference.json\" has no field \"c\"",
        ),
        (
            "bins",
            json!(3),
            "asset \"reference.json\", field \"a\": 4 bins, at most 3",
        ),
        ("bins", json!(1), "bins is 1, and has to be 2 to 256"),
        ("shape", json!([-1, 3]), "shape has to end in 2"),
        (
            "reference",
            json!("other"),
            "asset \"other\" isn't among those of this plugin: [\"reference.json\"]",
        ),
    ] {
        let mut config = config();
        config[key] = value;
        let message = testing::message(Plugin::new().configure(&config.to_string(), asset(&reference())));
        assert!(message.starts_with(expected), "{key}: {message}");
    }
}

#[test]
fn references_that_are_refused() {
    for (field, expected) in [
        (
            json!({"edges": [2, 1], "counts": [1, 1, 1]}),
            "asset \"reference.json\", field \"a\": bin edges have to be",
        ),
        (
            json!({"edges": [1], "counts": [0, 0]}),
            "asset \"reference.json\", field \"a\": reference counts have to be",
        ),
        (
            json!({"edges": [1], "counts": [1]}),
            "asset \"reference.json\", field \"a\": 1 bins",
        ),
        (
            json!({"edge": []}),
            "asset \"reference.json\", key fields.a.edge: unknown field `edge`",
        ),
    ] {
        let mut reference = reference();
        reference["fields"]["a"] = field;
        let message = testing::message(Plugin::new().configure(&config().to_string(), asset(&reference)));
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn hostile_inputs_change_nothing() {
    let mut plugin = configured();
    let spec = plugin.plugin().unwrap().watch.spec.clone();
    for tensor in testing::hostile(&spec) {
        let fits = tensor.check(&spec).is_ok();
        assert_eq!(plugin.observe(testing::observation(0, vec![tensor])).is_ok(), fits);
    }
    assert!(plugin.observe(testing::observation(0, vec![])).is_err());
}
