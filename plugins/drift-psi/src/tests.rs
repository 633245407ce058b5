//! Tests of the plugin as the component runs it: JSON in, observations in, findings out. The index itself is compared with
//! NumPy and SciPy in floorhand-statistics, and here by `tests/cases`.

use super::*;
use floorhand_plugin_sdk::{
    Asset, Datatype, Finding, Phase, Severity, Tensor,
    drift::simulation,
    monitor::Instance,
    testing::{
        self,
        cases::check_monitor,
        monitors::{check_gaps_are_passed_over, check_hostile, check_keys, check_stream},
    },
};
use floorhand_statistics::psi::Reference;
use random::Random;
use serde_json::{Value, json};

#[path = "../../../crates/statistics/tests/simulation/mod.rs"]
mod random;

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

fn configured(config: &Value) -> Instance<Plugin> {
    let mut plugin = Instance::new();
    plugin.configure(&config.to_string(), asset(&reference())).unwrap();
    plugin
}

fn with(key: &str, value: Value) -> Value {
    let mut config = config();
    config[key] = value;
    config
}

fn see(plugin: &mut Instance<Plugin>, a: f32, b: f32) -> Vec<Finding> {
    plugin
        .observe(testing::context(0), vec![Tensor::from_f32("x", vec![1, 2], &[a, b])])
        .unwrap()
}

/// One window: `a` spread evenly from 0 to `reach`, `b` on both sides of 0.
fn window(plugin: &mut Instance<Plugin>, reach: f32) -> Vec<Finding> {
    let value = |n: u64| reach * n as f32 / WINDOW as f32;
    (0..WINDOW)
        .flat_map(|n| see(plugin, value(n), if n % 2 == 0 { -1.0 } else { 1.0 }))
        .collect()
}

/// Samples of two rows each: more than three windows of 20, the second of which is drift, with missing values between.
fn stream() -> Vec<(floorhand_plugin_sdk::Context, Vec<Tensor>)> {
    let value = |n: u16| match n % 97 {
        96 => f32::NAN,
        _ if (40..80).contains(&n) => 5.0 + f32::from(n),
        _ if n % 4 == 1 => -1.0,
        _ => f32::from(n / 2 * 7 % 20) / 20.0,
    };
    (0..35)
        .map(|n| {
            let rows: Vec<f32> = (4 * n..4 * n + 4).map(value).collect();
            (
                testing::context(n.into()),
                vec![Tensor::from_f32("x", vec![2, 2], &rows)],
            )
        })
        .collect()
}

#[test]
fn drift_is_an_alarm_once_and_an_information_at_its_end() {
    let mut plugin = configured(&with("sample_rate_hz", json!(0.01)));
    assert!(window(&mut plugin, 1.0).is_empty());
    assert!(testing::take_recorded().gauges["psi/a"] < 0.001);

    let findings = window(&mut plugin, 0.5);
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!(
        (finding.kind.as_str(), finding.subject.as_str(), finding.severity),
        ("drift", "a", Severity::Alarm)
    );
    assert_eq!((finding.phase, finding.watch), (Phase::Raised, Some(0)));
    // Two of four bins are empty: by hand from (q - p) ln(q / p) with half a count added.
    let (p, full, empty) = (250.5_f64 / 1002.0, 100.5_f64 / 202.0, 0.5_f64 / 202.0);
    let expected = 2.0 * ((full - p) * (full / p).ln() + (empty - p) * (empty / p).ln());
    assert!((finding.value.unwrap() - expected).abs() < 1e-12);
    // Two fields share one alarm in a thousand: scipy.stats.chi2.ppf(0.9995, 3) is 17.730.
    assert!(
        (finding.threshold.unwrap() - 17.73 * (0.001 + 0.005)).abs() < 1e-4,
        "{:?}",
        finding.threshold
    );
    assert_eq!(testing::take_recorded().gauges["psi/a"], finding.value.unwrap());
    let details: Vec<&str> = finding.details.iter().map(|detail| detail.name.as_str()).collect();
    assert_eq!(details, ["window-samples", "p-value", "false-alarms-per-day"]);
    assert_eq!(finding.details[0].value, "200");
    // 4.32 windows a day of each of two fields, each at 0.0005.
    assert_eq!(finding.details[2].value, "4.320e-3");

    assert!(window(&mut plugin, 0.5).is_empty(), "an episode that goes on");
    let findings = window(&mut plugin, 1.0);
    assert_eq!((findings.len(), findings[0].severity), (1, Severity::Info));
    assert_eq!((findings[0].phase, findings[0].watch), (Phase::Cleared, Some(0)));
    assert_eq!(findings[0].message, "distributed as in training again, after 2 windows");
}

#[test]
fn a_small_window_needs_more_than_noise() {
    let mut plugin = configured(&with("window", json!(10)));
    // Seven of ten above the middle: a PSI above 0.1, and nothing that ten coins wouldn't do.
    let found: Vec<Finding> = (0..10)
        .flat_map(|n| see(&mut plugin, 0.1 * n as f32, if n < 7 { 1.0 } else { -1.0 }))
        .collect();
    assert!(testing::take_recorded().gauges["psi/b"] > 0.1);
    assert!(found.is_empty());
}

#[test]
fn missing_values_leave_the_verdict_to_the_others() {
    let mut plugin = configured(&config());
    (0..WINDOW).for_each(|n| assert!(see(&mut plugin, f32::NAN, if n % 2 == 0 { -1.0 } else { 1.0 }).is_empty()));
    let gauges = testing::take_recorded().gauges;
    assert!(
        gauges.contains_key("psi/b") && !gauges.contains_key("psi/a"),
        "no verdict without values"
    );
}

#[test]
fn the_first_windows_say_what_noise_is() {
    let mut plugin = configured(&with("calibration_windows", json!(10)));
    // A slow process: each window sees a part of the distribution only.
    let mut findings: Vec<Finding> = (0..9)
        .flat_map(|n| window(&mut plugin, if n % 2 == 0 { 0.75 } else { 0.72 }))
        .collect();
    assert!(findings.is_empty(), "nothing is judged yet");
    findings.extend(window(&mut plugin, 0.72));
    let kinds: Vec<(&str, &str)> = findings.iter().map(|f| (f.kind.as_str(), f.subject.as_str())).collect();
    // `b` has only an infinitely good fit to show, and its usual threshold.
    assert_eq!(kinds, [("calibrated", "a"), ("calibrated", "b")]);
    assert!(findings.iter().all(|finding| finding.phase == Phase::Once));
    assert!(
        findings[0].threshold > Some(0.8) && findings[1].threshold < Some(0.2),
        "{findings:?}"
    );
    assert!(window(&mut plugin, 0.75).is_empty());
    let drift = window(&mut plugin, 0.5);
    assert_eq!((drift.len(), drift[0].severity), (1, Severity::Alarm));
    assert_eq!(drift[0].threshold, findings[0].threshold);
}

#[test]
fn blocks_of_training_data_say_what_noise_is() {
    let mut file = reference();
    // 1999 blocks support the confidence of a field, 0.9995, by rank: the second largest is exceeded too often.
    file["blocks"] = json!({"a": (0..1999).map(|n| f64::from(n) / 500.0).collect::<Vec<f64>>()});
    let mut plugin = Instance::<Plugin>::new();
    plugin.configure(&config().to_string(), asset(&file)).unwrap();
    assert!(window(&mut plugin, 0.5).is_empty(), "below the largest block");
    let drift = window(&mut plugin, 0.1);
    assert_eq!((drift.len(), drift[0].threshold), (1, Some(3.996)));
    let both = with("calibration_windows", json!(10));
    assert_eq!(
        testing::message(Instance::<Plugin>::new().configure(&both.to_string(), asset(&file))),
        "calibration_windows, and the reference has blocks of \"a\": give one of them"
    );
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    for config in [with("window", json!(20)), {
        let mut config = with("window", json!(5));
        config["calibration_windows"] = json!(10);
        config
    }] {
        let answers = check_stream::<Plugin>(&config.to_string(), &asset(&reference()), &stream());
        assert!(answers.iter().flatten().flatten().count() >= 2, "{answers:?}");
    }
}

#[test]
fn hostile_inputs_change_nothing() {
    let config = with("window", json!(20));
    check_hostile::<Plugin>(&config.to_string(), &asset(&reference()), &stream());
}

/// Each has windows of its own; the reference is the same for both.
#[test]
fn machines_at_once_are_each_like_one_alone() {
    let (config, stream) = (with("window", json!(20)).to_string(), stream());
    // The other one's windows end elsewhere in the stream.
    let other = &stream[3..];
    let [first, second] = check_keys::<Plugin>(&config, &asset(&reference()), [&stream, other]);
    assert_ne!(first, second);
}

/// A window is so many samples, whichever they are.
#[test]
fn gaps_are_passed_over() {
    check_gaps_are_passed_over::<Plugin>(&with("window", json!(20)).to_string(), &asset(&reference()), &stream());
}

#[test]
fn recorded_cases() {
    assert!(check_monitor::<Plugin>(env!("CARGO_MANIFEST_DIR")) > 0);
}

#[test]
fn alarms_are_as_rare_as_stated_and_drift_is_seen() {
    let mut random = Random::new(1);
    let powers = [
        (50, [0.01, 0.12, 0.97]),
        (100, [0.03, 0.55, 1.0]),
        (200, [0.16, 0.98, 1.0]),
        (500, [0.17, 1.0, 1.0]),
        (2000, [0.01, 1.0, 1.0]),
    ];
    simulation::check::<Plugin>(
        0.002,
        &powers,
        || random.normal(),
        |window, samples| {
            let sample = Reference::from_samples(samples, 10).unwrap();
            let file = json!({"fields": {"a": {"edges": sample.edges(), "counts": sample.counts()}}});
            let config = json!({"tensor": "x", "fields": ["a"], "window": window, "reference": "reference.json"});
            let mut plugin = Instance::new();
            plugin.configure(&config.to_string(), asset(&file)).unwrap();
            plugin
        },
    );
}

/// Windows of a slow process, each sample 0.9 of the one before, that a monitor takes for drift: 150, after 50 that may
/// calibrate.
fn taken_for_drift(config: &Value) -> usize {
    let mut random = Random::new(11);
    let mut last = 0.0;
    let mut samples = |count: usize| -> Vec<f64> {
        let mut next = || {
            last = 0.9 * last + 0.19_f64.sqrt() * random.normal();
            last
        };
        (0..count).map(|_| next()).collect()
    };
    let sample = Reference::from_samples(&samples(20_000), 10).unwrap();
    let file = json!({"fields": {"a": {"edges": sample.edges(), "counts": sample.counts()}}});
    let mut plugin = Instance::<Plugin>::new();
    plugin.configure(&config.to_string(), asset(&file)).unwrap();
    let (mut drifted, mut lasts) = (0, false);
    for window in 0..200 {
        let values: Vec<f32> = samples(WINDOW as usize).into_iter().map(|value| value as f32).collect();
        let tensor = simulation::column(&values);
        for finding in plugin.observe(testing::context(window), vec![tensor]).unwrap() {
            lasts = finding.severity == Severity::Alarm;
        }
        drifted += usize::from(lasts && window >= 50);
    }
    drifted
}

#[test]
fn samples_that_depend_on_each_other_need_calibration() {
    let mut config = with("fields", json!(["a"]));
    assert!(taken_for_drift(&config) > 30, "a fifth and more without calibration");
    config["calibration_windows"] = json!(50);
    assert!(
        taken_for_drift(&config) <= 3,
        "0.1 to 0.3 % are stated: three of 150 are once in a hundred"
    );
}

#[test]
fn configurations_that_are_refused() {
    for (key, value, expected) in [
        ("windw", json!(1), "configuration, key windw: unknown field `windw`"),
        ("window", json!(0), "window has to be at least 1"),
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
            "asset \"reference.json\", field \"a\": bins is 4: it has to be from 2 to 3",
        ),
        ("bins", json!(1), "bins is 1, and has to be 2 to 256"),
        ("shape", json!([-1, 3]), "shape has to end in 2"),
        (
            "confidence",
            json!(0.4),
            "confidence is 0.4, and has to be 0.5 to 0.999999999",
        ),
        (
            "confidence",
            json!(1),
            "confidence is 1, and has to be 0.5 to 0.999999999",
        ),
        (
            "confidence",
            json!(0.999_999_999),
            "confidence, shared by the fields, and least_drift: confidence is 0.9999999995",
        ),
        (
            "least_drift",
            json!(-1),
            "confidence, shared by the fields, and least_drift: least drift is -1",
        ),
        (
            "false_alarms_per_day",
            json!(1),
            "false_alarms_per_day needs sample_rate_hz",
        ),
        (
            "sample_rate_hz",
            json!(0),
            "window and sample_rate_hz: sample rate in Hz is 0",
        ),
        (
            "calibration_windows",
            json!(9),
            "calibration_windows is 9, and has to be 10 to 1000",
        ),
        (
            "reference",
            json!("other"),
            "asset \"other\" isn't among those of this plugin: [\"reference.json\"]",
        ),
    ] {
        let config = with(key, value);
        let message = testing::message(Instance::<Plugin>::new().configure(&config.to_string(), asset(&reference())));
        assert!(message.starts_with(expected), "{key}: {message}");
    }
    let mut both = with("false_alarms_per_day", json!(1));
    both["sample_rate_hz"] = json!(1);
    configured(&both);
    both["confidence"] = json!(0.99);
    assert_eq!(
        testing::message(Instance::<Plugin>::new().configure(&both.to_string(), asset(&reference()))),
        "confidence and false_alarms_per_day: give one of them"
    );
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
        let message = testing::message(Instance::<Plugin>::new().configure(&config().to_string(), asset(&reference)));
        assert!(message.starts_with(expected), "{message}");
    }
    let mut few = reference();
    few["blocks"] = json!({"a": vec![1.0; 9]});
    let message = testing::message(Instance::<Plugin>::new().configure(&config().to_string(), asset(&few)));
    assert!(message.starts_with("asset \"reference.json\", blocks of \"a\": blocks of training data is 9"));
}

#[test]
fn alarms_a_day_set_the_confidence() {
    let mut config = with("sample_rate_hz", json!(1));
    config["false_alarms_per_day"] = json!(0.1);
    let mut plugin = configured(&config);
    let finding = window(&mut plugin, 0.5).remove(0);
    assert_eq!(finding.details[2].value, "1.000e-1");
    assert!(
        finding.threshold > Some(0.12),
        "864 windows a day need more than one in a thousand"
    );
    let integers = with("datatype", json!("INT32"));
    let tensor = Tensor {
        datatype: Datatype::Int32,
        ..Tensor::from_f32("x", vec![1, 2], &[0.0; 2])
    };
    assert!(configured(&integers).observe(testing::context(0), vec![tensor]).is_ok());
}
