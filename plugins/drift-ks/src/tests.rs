//! Tests of the plugin as the component runs it: JSON in, observations in, findings out. The distance itself is compared with
//! SciPy in floorhand-statistics, and here by `tests/cases`.

use super::*;
use floorhand_plugin_sdk::{
    Asset, Context, Severity, Tensor,
    drift::simulation,
    monitor::Instance,
    testing::{
        self,
        cases::check_monitor,
        monitors::{check_gaps_are_passed_over, check_hostile, check_keys, check_stream},
    },
};
use floorhand_statistics::sample::SortedSample;
use random::Random;
use serde_json::{Value, json};

#[path = "../../../crates/statistics/tests/simulation/mod.rs"]
mod random;

const WINDOW: u64 = 40;

fn config() -> Value {
    json!({"tensor": "x", "fields": ["a", "b"], "window": WINDOW, "reference": "reference.json"})
}

fn reference() -> Value {
    let values: Vec<f64> = (0..400).map(|n| f64::from(n) / 400.0).collect();
    json!({"fields": {"a": {"values": values}, "b": {"values": values}}})
}

fn asset(value: &Value) -> Vec<Asset> {
    vec![Asset {
        name: "reference.json".into(),
        data: value.to_string().into_bytes(),
    }]
}

fn configured(config: &Value, reference: &Value) -> Instance<Plugin> {
    let mut plugin = Instance::new();
    plugin.configure(&config.to_string(), asset(reference)).unwrap();
    plugin
}

fn with(key: &str, value: Value) -> Value {
    let mut config = config();
    config[key] = value;
    config
}

/// Single rows: three windows and a half, of which the second is drift in `a`, with missing values between.
fn stream() -> Vec<(Context, Vec<Tensor>)> {
    let sample = |n: u64| {
        let drift = if n / WINDOW == 1 { 5.0 } else { 0.0 };
        let a = if n % 11 == 10 {
            f32::NAN
        } else {
            (n * 7 % 20) as f32 / 20.0 + drift
        };
        (
            testing::context(n),
            vec![Tensor::from_f32("x", vec![1, 2], &[a, (n * 3 % 20) as f32 / 20.0])],
        )
    };
    (0..3 * WINDOW + WINDOW / 2).map(sample).collect()
}

/// Shows a batch of one column whose field is called `a`, and gives value, threshold and details of its first finding.
fn shown(reference: &Value, values: &[f32]) -> (f64, f64, Vec<(String, String)>) {
    let mut config = with("fields", json!(["a"]));
    config["window"] = json!(values.len());
    let mut plugin = configured(&config, reference);
    let tensor = Tensor::from_f32("x", vec![values.len() as u64, 1], values);
    let finding = plugin.observe(testing::context(0), vec![tensor]).unwrap().remove(0);
    let details = finding.details.into_iter().map(|detail| (detail.name, detail.value));
    (finding.value.unwrap(), finding.threshold.unwrap(), details.collect())
}

#[test]
fn a_window_far_away_by_hand() {
    let (value, threshold, details) = shown(&reference(), &[0.9; 100]);
    // 360 of 400 are below 0.9, and none of the window is.
    assert!((value - 0.9).abs() < 1e-12, "{value}");
    // scipy.stats.kstwobign.ppf(0.999) is 1.9494746.
    assert!(
        (threshold - 1.949_474_6 * (1.0_f64 / 400.0 + 1.0 / 100.0).sqrt()).abs() < 1e-6,
        "{threshold}"
    );
    assert_eq!(details[0], ("window-samples".to_owned(), "100".to_owned()));
    // 2 exp(-2 · 0.81 · 80)
    let p: f64 = details[1].1.parse().unwrap();
    assert!((p / (2.0 * (-129.6_f64).exp()) - 1.0).abs() < 0.01, "{details:?}");
    assert_eq!(testing::take_recorded().gauges["ks/a"], value);
}

#[test]
fn quantiles_may_stand_for_more_samples() {
    let values: Vec<f64> = (0..100).map(|n| (f64::from(n) + 0.5) / 100.0).rev().collect();
    let few = json!({"fields": {"a": {"values": values}}});
    let many = json!({"fields": {"a": {"values": values, "samples": 100_000}}});
    let window = [0.9; 200];
    let (few, many) = (shown(&few, &window), shown(&many, &window));
    assert_eq!(few.0, many.0, "in any order");
    // What it is better by in noise, less half a value's share and half a sample's.
    let noise = |n: f64| 1.949_474_6 * (1.0 / n + 1.0_f64 / 200.0).sqrt();
    let expected = noise(100.0) - (noise(1e5) + 0.005 + 0.000_005);
    assert!((few.1 - many.1 - expected).abs() < 1e-6, "{} {}", few.1, many.1);
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let answers = check_stream::<Plugin>(&config().to_string(), &asset(&reference()), &stream());
    let found: Vec<_> = answers.iter().flatten().flatten().collect();
    let severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Alarm, Severity::Info], "{found:?}");
    assert!(
        found
            .iter()
            .all(|finding| finding.subject == "a" && finding.kind == "drift")
    );
}

#[test]
fn hostile_inputs_change_nothing() {
    check_hostile::<Plugin>(&config().to_string(), &asset(&reference()), &stream());
}

/// Each has windows of its own; the reference is the same for both.
#[test]
fn machines_at_once_are_each_like_one_alone() {
    let (config, stream) = (config().to_string(), stream());
    // The other one's windows end elsewhere in the stream.
    let other = &stream[WINDOW as usize / 2 + 3..];
    let [first, second] = check_keys::<Plugin>(&config, &asset(&reference()), [&stream, other]);
    assert_ne!(first, second);
}

/// A window is so many samples, whichever they are.
#[test]
fn gaps_are_passed_over() {
    check_gaps_are_passed_over::<Plugin>(&config().to_string(), &asset(&reference()), &stream());
}

#[test]
fn recorded_cases() {
    assert!(check_monitor::<Plugin>(env!("CARGO_MANIFEST_DIR")) > 0);
}

#[test]
fn alarms_are_as_rare_as_stated_and_drift_is_seen() {
    let mut random = Random::new(1);
    let powers = [
        (50, [0.04, 0.34, 1.0]),
        (100, [0.10, 0.79, 1.0]),
        (200, [0.35, 1.0, 1.0]),
        (500, [0.89, 1.0, 1.0]),
        (2000, [1.0, 1.0, 1.0]),
    ];
    simulation::check::<Plugin>(
        0.002,
        &powers,
        || random.normal(),
        |window, samples| {
            let sample = SortedSample::from_samples(samples, 1000).unwrap();
            let file = json!({"fields": {"a": {"values": sample.points(), "samples": sample.drawn()}}});
            let config = json!({"tensor": "x", "fields": ["a"], "window": window, "reference": "reference.json"});
            configured(&config, &file)
        },
    );
}

#[test]
fn what_is_refused() {
    let refused = |config: Value, reference: &Value, expected: &str| {
        let message = testing::message(Instance::<Plugin>::new().configure(&config.to_string(), asset(reference)));
        assert!(message.starts_with(expected), "{message}");
    };
    let keys = [
        ("windw", json!(1), "configuration, key windw: unknown field `windw`"),
        ("window", json!(0), "window has to be at least 1"),
        (
            "fields",
            json!(["a", "c"]),
            "asset \"reference.json\" has no field \"c\"",
        ),
        (
            "least_drift",
            json!(-1),
            "confidence, shared by the fields, and least_drift: least drift is -1",
        ),
        (
            "calibration_windows",
            json!(1001),
            "calibration_windows is 1001, and has to be 10 to 1000",
        ),
    ];
    for (key, value, expected) in keys {
        refused(with(key, value), &reference(), expected);
    }
    for (field, expected) in [
        (
            json!({"values": [1]}),
            "asset \"reference.json\", field \"a\": reference values is 1",
        ),
        (
            json!({"values": [1, 2], "samples": 1}),
            "asset \"reference.json\", field \"a\": reference samples is 1",
        ),
        (
            json!({"values": vec![0.0; 4097]}),
            "asset \"reference.json\", field \"a\": reference values is 4097: it has to be from 2 to 4096",
        ),
        (
            json!({"edges": [1]}),
            "asset \"reference.json\", key fields.a.edges: unknown field `edges`",
        ),
    ] {
        let mut file = reference();
        file["fields"]["a"] = field;
        refused(config(), &file, expected);
    }
}
