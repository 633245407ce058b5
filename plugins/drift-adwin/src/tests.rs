//! Tests of the plugin as the component runs it: JSON in, observations in, findings out. That alarms come where River's
//! come is shown by `tests/river.rs`.

use super::*;
use floorhand_plugin_sdk::{
    monitor::Instance,
    testing::{
        self,
        monitors::{Sample, check_gaps_are_passed_over, check_keys},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<DriftAdwin>;

fn config() -> Value {
    json!({"tensor": "x", "fields": ["a", "b"]})
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

/// Uniform from 0 to 1; `a` moves up by 0.5 at row 500.
fn rows(length: usize) -> Vec<[f32; 2]> {
    let mut random = testing::random(1).map(|bits| (bits >> 40) as f32 / (1 << 24) as f32);
    let mut next = || random.next().unwrap();
    (0..length)
        .map(|row| [next() + if row < 500 { 0.0 } else { 0.5 }, next()])
        .collect()
}

#[test]
fn a_changed_mean_is_an_alarm_with_both_means() {
    let mut plugin = configured(&config());
    let found: Vec<(usize, Finding)> = rows(1_000)
        .into_iter()
        .enumerate()
        .flat_map(|(row, [a, b])| see(&mut plugin, a, b).into_iter().map(move |finding| (row, finding)))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let (row, finding) = &found[0];
    assert!((500..600).contains(row), "{row}");
    assert_eq!((finding.kind.as_str(), finding.subject.as_str()), ("drift", "a"));
    assert_eq!((finding.severity, finding.phase), (Severity::Alarm, Phase::Once));
    assert_eq!((finding.watch, finding.threshold), (Some(0), None));
    let value = finding.value.unwrap();
    // The window's newer part still holds some of what was before.
    assert!((0.1..0.5).contains(&value), "{value}");
    let detail = |name: &str| -> f64 {
        let detail = finding.details.iter().find(|detail| detail.name == name).unwrap();
        detail.value.parse().unwrap()
    };
    assert_eq!(detail("mean-after") - detail("mean-before"), value);
    assert_eq!(detail("samples-before") + detail("samples-after"), (row + 1) as f64);
    let gauges = testing::take_recorded().gauges;
    assert!(gauges["adwin-width/b"] > 900.0 && (0.4..0.6).contains(&gauges["adwin-mean/b"]));
}

#[test]
fn a_block_is_one_value() {
    let mut blocks = config();
    blocks["block"] = json!(4);
    let (mut single, mut block) = (configured(&config()), configured(&blocks));
    for [a, b] in rows(1_000) {
        let found = see(&mut single, a, b);
        let found_in_blocks: Vec<Finding> = (0..4).flat_map(|_| see(&mut block, a, b)).collect();
        assert_eq!(found, found_in_blocks);
    }
}

#[test]
fn missing_values_are_left_out() {
    let (mut with, mut without) = (configured(&config()), configured(&config()));
    for [a, b] in rows(700) {
        assert!(see(&mut with, f32::NAN, f32::INFINITY).is_empty());
        assert_eq!(see(&mut with, a, b), see(&mut without, a, b));
    }
    assert_eq!(with.snapshot(), without.snapshot());
}

#[test]
fn a_restored_instance_finds_the_same() {
    let mut blocks = config();
    blocks["block"] = json!(2);
    let (mut whole, mut parts) = (configured(&blocks), configured(&blocks));
    let most = whole.plugin().unwrap().subscription().state_bytes as usize;
    for (row, [a, b]) in rows(1_400).into_iter().enumerate() {
        if row % 37 == 0 {
            let snapshot = parts.snapshot();
            assert!(snapshot.len() <= most);
            parts = configured(&blocks);
            parts.restore(&snapshot).unwrap();
        }
        assert_eq!(see(&mut parts, a, b), see(&mut whole, a, b));
    }
    assert_eq!(parts.snapshot(), whole.snapshot());
}

#[test]
fn the_declared_state_is_that_of_the_fullest_window() {
    let mut plugin = configured(&json!({"tensor": "x", "fields": ["a"]}));
    let mut writer = state::Writer::new(STATE_VERSION);
    // One key, as long as it may be, and one field.
    writer.u32(1);
    writer.flag(true);
    writer.bytes(&[b'k'; 256]);
    writer.u32(1);
    writer.u64(0);
    writer.f64(0.0);
    writer.u32(31);
    writer.u32(0);
    writer.f64(0.0);
    writer.f64(0.0);
    writer.u32(5 * 53);
    for size in (0..53).rev().flat_map(|power| [1_u64 << power; 5]) {
        writer.u64(size);
        writer.f64(0.0);
        writer.f64(0.0);
    }
    let fullest = writer.finish();
    plugin.restore(&fullest).unwrap();
    assert_eq!(
        fullest.len(),
        plugin.plugin().unwrap().subscription().state_bytes as usize
    );
    assert_eq!(plugin.snapshot(), fullest);
}

#[test]
fn broken_snapshots_change_nothing() {
    let mut plugin = configured(&config());
    rows(100).into_iter().for_each(|[a, b]| drop(see(&mut plugin, a, b)));
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
    let rows = rows(1_000);
    let single: Vec<Finding> = rows.iter().flat_map(|&[a, b]| see(&mut one, a, b)).collect();
    let batch = Tensor::from_f32("x", vec![rows.len() as u64, 2], rows.as_flattened());
    assert!(!single.is_empty());
    assert_eq!(at_once.observe(testing::context(0), vec![batch]).unwrap(), single);
    assert_eq!(at_once.snapshot(), one.snapshot());
}

#[test]
fn machines_at_once_are_each_like_one_alone() {
    let config = config();
    let rows = rows(1_000);
    // The other one's `b` is the field that changes.
    let swapped: Vec<[f32; 2]> = rows.iter().map(|&[a, b]| [b, a]).collect();
    let [first, second] = check_keys::<DriftAdwin>(&config.to_string(), &[], [&stream(&rows), &stream(&swapped[5..])]);
    assert_ne!(first, second);
}

/// A missing sample says nothing of the mean of the others.
#[test]
fn gaps_are_passed_over() {
    let config = config();
    check_gaps_are_passed_over::<DriftAdwin>(&config.to_string(), &[], &stream(&rows(1_000)));
}

#[test]
fn configurations_that_are_refused() {
    for (key, value, expected) in [
        ("detla", json!(1), "configuration, key detla: unknown field `detla`"),
        ("delta", json!(0), "delta is 0: it has to be above 0 and below 1"),
        ("delta", json!(1), "delta is 1"),
        ("clock", json!(0), "clock is 0"),
        ("max_buckets", json!(1), "max_buckets is 1"),
        ("max_buckets", json!(65), "max_buckets is 65"),
        ("min_window_length", json!(0), "min_window_length is 0"),
        ("block", json!(0), "block is 0"),
        ("fields", json!([]), "fields has 0 names"),
        ("max_keys", json!(0), "max_keys is 0, and has to be 1 to 1024"),
        ("fields", json!(["a", "a"]), "fields has \"a\" twice"),
        ("shape", json!([-1, 3]), "shape has to end in 2"),
        (
            "grace_period",
            json!(-1),
            "configuration, key grace_period: invalid value",
        ),
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
        let fits = tensor.check(&spec).is_ok();
        assert_eq!(plugin.observe(testing::context(0), vec![tensor]).is_ok(), fits);
    }
    assert!(plugin.observe(testing::context(0), vec![]).is_err());

    assert!(plugin.snapshot().len() <= plugin.plugin().unwrap().subscription().state_bytes as usize);
}

/// README.md states at most 0.14 a day for eight fields at one sample a second: a tenth of that day.
#[test]
fn a_steady_stream_raises_no_alarm() {
    let mut plugin = configured(&json!({"tensor": "x", "fields": ["a", "b", "c", "d", "e", "f", "g", "h"]}));
    let uniform: Vec<f32> = testing::random(7)
        .take(8 * 8_640)
        .map(|bits| (bits >> 40) as f32 / (1 << 24) as f32)
        .collect();
    let tensor = Tensor::from_f32("x", vec![8_640, 8], &uniform);
    assert_eq!(plugin.observe(testing::context(0), vec![tensor]).unwrap(), []);
}
