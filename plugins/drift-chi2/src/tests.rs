//! Tests of the plugin as the component runs it: JSON in, observations in, findings out. The statistic itself is compared with
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
use floorhand_statistics::categorical::CategoryReference;
use random::Random;
use serde_json::{Value, json};

#[path = "../../../crates/statistics/tests/simulation/mod.rs"]
mod random;

const WINDOW: u64 = 40;

fn config() -> Value {
    json!({"tensor": "x", "fields": ["a", "b"], "window": WINDOW, "reference": "reference.json"})
}

fn reference() -> Value {
    let categories = json!({"categories": [0, 1, 2, 3], "counts": [250, 250, 250, 250]});
    json!({"fields": {"a": categories, "b": categories}})
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
            (n * 7 % 4) as f32 + drift
        };
        (
            testing::context(n),
            vec![Tensor::from_f32("x", vec![1, 2], &[a, (n * 3 % 4) as f32])],
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
    let (value, threshold, details) = shown(&reference(), &[3.0; 100]);
    // Three categories 250 to 0 and one 250 to 100: nm / (n + m) times the sum of (q - p)² over the common share.
    let expected = 1e5 * (3.0 * 0.25 * 0.25 / 250.0 + 0.75 * 0.75 / 350.0);
    assert!((value - expected).abs() < 1e-9, "{value}");
    // Two samples of a category that training never saw are what noise gives (scipy.stats.betabinom.ppf(0.999, 100, 0.5,
    // 1000.5)); their statistic is above scipy.stats.chi2.ppf(0.999, 3), 16.27.
    let rare = 1e5 * (0.02 * 0.02 / 2.0 + 0.02 * 0.02 / 1098.0);
    assert!((threshold - rare).abs() < 1e-6, "{threshold}");
    assert_eq!(details[0], ("window-samples".to_owned(), "100".to_owned()));
    assert_eq!(details[1].0, "p-value");
    assert_eq!(testing::take_recorded().gauges["chi2/a"], value);
}

#[test]
fn a_category_that_training_never_saw_is_drift() {
    let values: Vec<f32> = (0_u8..100)
        .map(|n| if n < 10 { 7.0 } else { f32::from(n % 4) })
        .collect();
    let (value, threshold, _) = shown(&reference(), &values);
    assert!(value > 2.0 * threshold, "{value} {threshold}");
}

#[test]
fn few_categories_that_are_all_known_say_more() {
    let thresholds = [false, true].map(|closed| {
        let mut config = with("closed", json!(closed));
        config["fields"] = json!(["a"]);
        let mut plugin = configured(&config, &reference());
        let values: Vec<f32> = (0_u8..40)
            .map(|n| if n < 30 { 0.0 } else { f32::from(n % 4) })
            .collect();
        let tensor = Tensor::from_f32("x", vec![40, 1], &values);
        plugin.observe(testing::context(0), vec![tensor]).unwrap()[0]
            .threshold
            .unwrap()
    });
    // One sample of a category that training never saw: n / m is 25, and a hair for the others.
    assert!((thresholds[0] - 25.0).abs() < 0.1, "{thresholds:?}");
    // scipy.stats.chi2.ppf(0.999, 3)
    assert!((thresholds[1] - 16.266_236).abs() < 1e-6, "{thresholds:?}");
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
        (50, [0.0, 0.01, 0.41]),
        (100, [0.02, 0.24, 1.0]),
        (200, [0.11, 0.94, 1.0]),
        (500, [0.68, 1.0, 1.0]),
        (2000, [0.91, 1.0, 1.0]),
    ];
    // Twelve categories and more, from one in five to one in thousands: the halves of a deviation that a value lies in.
    let mut category = move |shift: f64| (2.0 * (random.normal() + shift)).floor();
    simulation::check_shifted::<Plugin>(0.002, &powers, &mut category, |window, samples| {
        let sample = CategoryReference::from_samples(samples, 64).unwrap();
        let field = json!({"categories": sample.categories(), "counts": sample.counts(), "other": sample.other()});
        let file = json!({"fields": {"a": field}});
        let config = json!({"tensor": "x", "fields": ["a"], "window": window, "reference": "reference.json"});
        configured(&config, &file)
    });
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
            json!({"categories": [1, 1], "counts": [1, 1]}),
            "asset \"reference.json\", field \"a\": a reference's values have to be",
        ),
        (
            json!({"categories": [1], "counts": [0]}),
            "asset \"reference.json\", field \"a\": reference counts have to be",
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
