//! Alarms where River 0.26.1 has them: on the streams and answers that `crates/statistics/tests/oracle_detectors.py`
//! recorded, on the Harvard streams where they are, and in `cases`, written by `oracle.py`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a malformed case file should stop the test where it is, and figures are for people to read"
)]

use floorhand_plugin_drift_hddm::DriftHddm;
use floorhand_plugin_sdk::{Finding, Severity, Tensor, monitor::Instance, testing};
use serde_json::{Value, json};

#[path = "../../../crates/statistics/tests/detectors/harvard.rs"]
mod harvard;
#[expect(dead_code, reason = "the statistics' own tests use the rest of it")]
#[path = "../../../crates/statistics/tests/detectors/river.rs"]
mod river;

/// By the name that River's answers are recorded under. Values go in as FP64: River computes in it.
fn configured(detector: &str, parameters: &Value) -> Instance<DriftHddm> {
    let mut config = json!({"tensor": "x", "datatype": "FP64", "fields": ["value"]});
    config["variant"] = json!(if detector.starts_with("hddm_w") { "w" } else { "a" });
    for (key, value) in parameters.as_object().unwrap() {
        let key = match key.as_str() {
            "two_sided_test" => "two_sided",
            "lambda_val" => "lambda",
            other => other,
        };
        config[key] = value.clone();
    }
    let mut plugin = Instance::new();
    plugin.configure(&config.to_string(), vec![]).unwrap();
    plugin
}

fn see(plugin: &mut Instance<DriftHddm>, value: f64) -> Vec<Finding> {
    let tensor = Tensor {
        name: "x".into(),
        datatype: floorhand_plugin_sdk::Datatype::Fp64,
        shape: vec![1, 1],
        data: value.to_le_bytes().to_vec(),
    };
    plugin.observe(testing::context(0), vec![tensor]).unwrap()
}

#[test]
fn alarms_and_warnings_come_where_rivers_come() {
    for recorded in ["hddm_a", "hddm_w"].into_iter().flat_map(river::recorded) {
        let mut plugin = configured(&recorded.what, &recorded.parameters);
        let (mut alarms, mut warnings, mut warns) = (Vec::new(), Vec::new(), false);
        for (index, &value) in (0..).zip(&recorded.values) {
            for finding in see(&mut plugin, value) {
                warns = finding.severity == Severity::Warning;
                if finding.severity == Severity::Alarm {
                    alarms.push(index);
                }
            }
            // From its finding on, up to the one that ends it, every value is in the warning zone.
            warnings.extend(warns.then_some(index));
        }
        assert_eq!(alarms, recorded.alarms, "{}", recorded.what);
        assert_eq!(warnings, recorded.warnings, "{}", recorded.what);
    }
}

#[test]
fn the_harvard_streams_drifts_are_found_as_river_finds_them() {
    for detector in ["hddm_a", "hddm_w"] {
        harvard::check(Some(detector), |name, parameters| {
            let mut plugin = configured(name, parameters);
            let is_alarm = |finding: &Finding| finding.severity == Severity::Alarm;
            move |wrong| see(&mut plugin, f64::from(u8::from(wrong))).iter().any(is_alarm)
        });
    }
}

#[test]
fn recorded_cases() {
    testing::cases::check_monitor::<DriftHddm>(env!("CARGO_MANIFEST_DIR"));
}
