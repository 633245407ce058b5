//! Alarms where River 0.26.1 has them: on the streams and answers that `crates/statistics/tests/oracle_detectors.py`
//! recorded, on the Harvard streams where they are, and in `cases`, written by `oracle.py`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a malformed case file should stop the test where it is, and figures are for people to read"
)]

use floorhand_plugin_page_hinkley::PageHinkleyMonitor;
use floorhand_plugin_sdk::{Finding, Severity, Tensor, monitor::Instance, testing};
use serde_json::{Value, json};

#[path = "../../../crates/statistics/tests/detectors/harvard.rs"]
mod harvard;
#[expect(dead_code, reason = "the statistics' own tests use the rest of it")]
#[path = "../../../crates/statistics/tests/detectors/river.rs"]
mod river;

/// Values go in as FP64: River computes in it.
fn configured(parameters: &Value) -> Instance<PageHinkleyMonitor> {
    let mut config = json!({"tensor": "x", "datatype": "FP64", "fields": ["value"]});
    for (key, value) in parameters.as_object().unwrap() {
        config[key] = value.clone();
    }
    let mut plugin = Instance::new();
    plugin.configure(&config.to_string(), vec![]).unwrap();
    plugin
}

fn see(plugin: &mut Instance<PageHinkleyMonitor>, value: f64) -> Vec<Finding> {
    let tensor = Tensor {
        name: "x".into(),
        datatype: floorhand_plugin_sdk::Datatype::Fp64,
        shape: vec![1, 1],
        data: value.to_le_bytes().to_vec(),
    };
    plugin.observe(testing::context(0), vec![tensor]).unwrap()
}

#[test]
fn alarms_come_where_rivers_come() {
    for recorded in river::recorded("page_hinkley") {
        let mut plugin = configured(&recorded.parameters);
        let mut alarms = Vec::new();
        for (index, &value) in (0..).zip(&recorded.values) {
            for finding in see(&mut plugin, value) {
                assert_eq!(finding.severity, Severity::Alarm);
                alarms.push(index);
            }
        }
        assert_eq!(alarms, recorded.alarms, "{}", recorded.what);
    }
}

#[test]
fn the_harvard_streams_drifts_are_found_as_river_finds_them() {
    harvard::check(Some("page_hinkley"), |_, parameters| {
        let mut plugin = configured(parameters);
        move |wrong| !see(&mut plugin, f64::from(u8::from(wrong))).is_empty()
    });
}

#[test]
fn recorded_cases() {
    testing::cases::check_monitor::<PageHinkleyMonitor>(env!("CARGO_MANIFEST_DIR"));
}
