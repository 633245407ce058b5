//! Tests of the plugin as the component runs it: JSON in, rows in and features out.

use super::*;
use floorhand_plugin_sdk::{
    processor::Instance,
    testing::{
        self, cases,
        streams::{self, Sample as StreamSample},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<Aggregate>;

fn config(changes: Value) -> String {
    let mut config = json!({
        "input": "x", "output": "f", "fields": ["a", "b"],
        "windows": [{"width": "3s", "max_samples": 4}, {"width": "10s", "max_samples": 6}], "min_samples": 1,
    });
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string()
}

fn at(time_ms: u64, rows: &[[f32; 2]]) -> StreamSample {
    let context = Context {
        time_ns: 1_000_000 * time_ms + 999_999,
        ..testing::context(0)
    };
    let tensor = Tensor::from_f32("x", vec![rows.len() as u64, 2], rows.as_flattened());
    (context, vec![tensor])
}

/// A stream at these times, with values that rise and fall and are missing here and there.
fn stream(times_ms: &[u64]) -> Vec<StreamSample> {
    let value = |n: usize| if n % 6 == 5 { f32::NAN } else { (n * n % 17) as f32 };
    let row = |n: usize| [value(n), 100.0 - value(n + 2)];
    times_ms
        .iter()
        .enumerate()
        .map(|(n, &time_ms)| at(time_ms, &[row(n)]))
        .collect()
}

fn feed(plugin: &mut Plugin, (context, inputs): StreamSample) -> Vec<f32> {
    plugin.process(context, inputs).unwrap().remove(0).to_f32().unwrap()
}

fn configured(changes: Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config(changes), vec![]).unwrap();
    plugin
}

#[test]
fn recorded_cases_of_pandas() {
    assert_eq!(cases::check_processor::<Aggregate>(env!("CARGO_MANIFEST_DIR")), 100);
}

/// Computed in FP64 within 1e-9 of the oracle, then rounded to FP32 once.
#[test]
fn features_agree_with_pandas_to_the_last_bits() {
    let oracle: Value = serde_json::from_str(include_str!("../tests/oracle.json")).unwrap();
    let times: Vec<u64> = serde_json::from_value(oracle["times_ms"].clone()).unwrap();
    let mut plugin = Plugin::new();
    let config = json!({
        "input": "x", "fields": ["pressure", "flow"], "windows": [{"width": "750ms"}, {"width": "30s"}, {"width": "5m"}],
        "min_samples": 1,
    });
    let signature = plugin.configure(&config.to_string(), vec![]).unwrap();
    let names: Vec<&str> = signature.outputs[0]
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(json!(names), oracle["names"]);
    let mut rows = oracle["rows"]
        .as_array()
        .unwrap()
        .iter()
        .zip(oracle["features"].as_array().unwrap());
    let mut next = rows.next();
    let mut compared = 0;
    for (row, &time_ms) in times.iter().enumerate() {
        let value = |field: usize| {
            oracle["values"][row][field]
                .as_f64()
                .map_or(f32::NAN, |value| value as f32)
        };
        let found = feed(&mut plugin, at(time_ms, &[[value(0), value(1)]]));
        let Some((_, expected)) = next.filter(|(index, _)| **index == json!(row)) else {
            continue;
        };
        next = rows.next();
        for (place, &found) in found.iter().enumerate() {
            compared += 1;
            let Some(expected) = expected[place].as_f64() else {
                assert!(found.is_nan(), "{row} {place}: {found}");
                continue;
            };
            let allowed = 6e-8 * expected.abs() + 1e-9 * expected.abs().max(1.0);
            assert!(
                (f64::from(found) - expected).abs() <= allowed,
                "{row} {place}: {found} {expected}"
            );
        }
    }
    assert_eq!(compared, 45 * 30);
}

#[test]
fn cut_anywhere_it_gives_the_same_bits() {
    // Repeated times, a gap, late samples, a clock that was set back, and windows that get full.
    let times = [
        10_000, 10_000, 11_000, 11_500, 11_500, 12_000, 12_100, 12_200, 12_300, 12_400, 12_350, 13_000, 30_000, 31_000,
        28_500, 32_000, 33_000, 5_000, 5_100, 5_200, 5_300, 5_400, 5_500, 5_600, 6_000,
    ];
    for changes in [
        json!({}),
        json!({"statistics": ["count", "slope"], "min_values": 2, "missing": 0}),
    ] {
        let answers = streams::check::<Aggregate>(&config(changes.clone()), &[], &streams::of_keys(&stream(&times), 1));
        assert!(answers.iter().all(Result::is_ok));
        // Two machines at once are each like one.
        let mut changes = changes;
        changes["max_keys"] = json!(2);
        let two = streams::check::<Aggregate>(&config(changes), &[], &streams::of_keys(&stream(&times), 2));
        assert!(
            two.chunks(2)
                .zip(answers)
                .all(|(two, one)| two.iter().all(|answer| *answer == one))
        );
    }
}

#[test]
fn late_samples_are_left_out_and_a_clock_set_back_starts_anew() {
    let statistics = json!({"statistics": ["count", "max"]});
    let mut plugin = configured(statistics);
    feed(&mut plugin, at(20_000, &[[1.0, 1.0]]));
    // Each column has the windows of 3 and of 10 seconds.
    assert_eq!(feed(&mut plugin, at(21_000, &[[2.0, 0.0]]))[..4], [2.0, 2.0, 2.0, 2.0]);
    assert_eq!(
        feed(&mut plugin, at(19_000, &[[9.0, 0.0]]))[..4],
        [2.0, 2.0, 2.0, 2.0],
        "late for both"
    );
    assert_eq!(
        feed(&mut plugin, at(18_000, &[[9.0, 0.0]]))[..4],
        [1.0, 9.0, 2.0, 2.0],
        "back by the shorter's width"
    );
    assert_eq!(
        feed(&mut plugin, at(11_000, &[[8.0, 0.0]]))[..4],
        [1.0, 8.0, 1.0, 8.0],
        "back by both's"
    );
    let counters = testing::take_recorded().counters;
    assert_eq!((counters["aggregate-late"], counters["aggregate-restarts"]), (2, 2));
}

#[test]
fn a_window_that_is_full_covers_less() {
    let mut plugin = configured(json!({"statistics": ["count"]}));
    let counts: Vec<Vec<f32>> = (0..8)
        .map(|n| feed(&mut plugin, at(50_000 + n, &[[1.0, f32::NAN]])))
        .collect();
    assert_eq!(counts[3], [4.0, 4.0, 0.0, 0.0]);
    assert_eq!(counts[7], [4.0, 6.0, 0.0, 0.0]);
    assert_eq!(testing::take_recorded().counters["aggregate-full"], 4);
}

#[test]
fn rows_of_a_sample_have_its_time() {
    let mut plugin = configured(json!({"statistics": ["mean", "slope"]}));
    let found = feed(&mut plugin, at(1_000, &[[1.0, 10.0], [3.0, 20.0]]));
    assert_eq!((found[0], found[4]), (2.0, 15.0));
    assert!(found[1].is_nan(), "no slope at one time");
    let found = feed(&mut plugin, at(2_000, &[[4.0, 25.0]]));
    assert_eq!((found[1], found[5]), (2.0, 10.0));
    // No rows: what there is.
    assert_eq!(feed(&mut plugin, at(90_000, &[]))[1], 2.0);
}

#[test]
fn there_is_no_answer_before_there_can_be_all_of_it() {
    let empty = |plugin: &mut Plugin, time_ms: u64| {
        let (context, inputs) = at(time_ms, &[[1.0, 2.0]]);
        plugin.process(context, inputs).unwrap().is_empty()
    };
    let mut pairs = configured(json!({"min_samples": null}));
    assert!(empty(&mut pairs, 1_000) && !empty(&mut pairs, 2_000));
    assert!(empty(&mut pairs, 60_000), "after a hole as long as the widest window");
    assert!(!empty(&mut pairs, 64_000), "though the narrower one holds one alone");
    let mut means = configured(json!({"min_samples": null, "statistics": ["mean", "max"]}));
    assert!(!empty(&mut means, 1_000));
    let mut many = configured(json!({"min_samples": 4}));
    assert_eq!((0..9).take_while(|n| empty(&mut many, 1_000 + n)).count(), 3);
}

#[test]
fn what_is_missing_is_told_by_a_number_of_choice() {
    let mut plugin = configured(json!({"min_values": 2, "missing": -7}));
    assert_eq!(feed(&mut plugin, at(0, &[[1.0, 1.0]])), [-7.0; 20]);
    let two = feed(&mut plugin, at(1_000, &[[3.0, f32::INFINITY]]));
    assert_eq!(two[..5], [2.0, 2.0_f32.sqrt(), 1.0, 3.0, 2.0]);
    assert_eq!(two[10..], [-7.0; 10], "infinities count for nothing");
}

#[test]
fn columns_say_field_statistic_and_window() {
    let signature = Plugin::new()
        .configure(&config(json!({"statistics": ["mean", "max"]})), vec![])
        .unwrap();
    assert_eq!(signature.outputs[0].shape, [1, 8]);
    let names = |spec: &TensorSpec| -> Vec<String> { spec.fields.iter().map(|field| field.name.clone()).collect() };
    assert_eq!(
        names(&signature.outputs[0]),
        [
            "a_mean_3s",
            "a_max_3s",
            "a_mean_10s",
            "a_max_10s",
            "b_mean_3s",
            "b_max_3s",
            "b_mean_10s",
            "b_max_10s"
        ]
    );
    assert_eq!(names(&signature.inputs[0]), ["a", "b"]);
    let open = Plugin::new()
        .configure(&config(json!({"shape": [-1, -1]})), vec![])
        .unwrap();
    assert_eq!(open.inputs[0].shape, [-1, 2]);
}

#[test]
fn hostile_inputs_change_nothing_where_they_do_not_fit() {
    for met in streams::meet_hostile::<Aggregate>(&config(json!({})), &[], &stream(&[1_000, 2_000, 3_000])) {
        assert_eq!(met.answer.is_ok(), met.fits, "{:?}", met.tensor.shape);
        assert!(met.fits || !met.changed);
    }
    // The largest numbers that there are leave with their window.
    let mut plugin = configured(json!({}));
    feed(&mut plugin, at(0, &[[f32::MAX, f32::MIN], [f32::MIN, f32::MAX]]));
    let mut fresh = configured(json!({}));
    for plugin in [&mut plugin, &mut fresh] {
        feed(plugin, at(10_000, &[[1.0, 2.0]]));
    }
    let last = at(11_000, &[[2.0, 2.0]]);
    assert_eq!(feed(&mut plugin, last.clone()), feed(&mut fresh, last));
}

#[test]
fn configurations_that_are_refused() {
    let windows = |width: &str| json!({"windows": [{"width": width}]});
    for (changes, expected) in [
        (
            json!({"window": 1}),
            "configuration, key window: unknown field `window`",
        ),
        (json!({"fields": []}), "fields has 0 elements"),
        (json!({"fields": ["a", "a"]}), "fields has \"a\" twice"),
        (json!({"shape": [-1, 3]}), "shape has to end in 2"),
        (json!({"windows": []}), "windows has 0 elements"),
        (
            windows("5"),
            "windows[0]: width is \"5\", and has to be a whole number above 0 and ms, s, m, h or d",
        ),
        (windows("0s"), "windows[0]: width is \"0s\""),
        (windows("-5s"), "windows[0]: width is \"-5s\""),
        (windows("5min"), "windows[0]: width is \"5min\""),
        (windows("99999999999999999999s"), "windows[0]: width is"),
        (windows("999999999999999999d"), "windows[0]: width is"),
        (
            json!({"windows": [{"width": "60s"}, {"width": "1m"}]}),
            "windows[1]: \"1m\" is as wide as one before",
        ),
        (
            json!({"windows": [{"width": "1m", "max_samples": 0}]}),
            "windows[0]: max_samples is 0",
        ),
        (
            json!({"windows": [{"width": "1m", "max_samples": 30000}]}),
            "max_samples of all windows, times the fields",
        ),
        (
            json!({"fields": ["a"], "windows": [{"width": "1m", "max_samples": 32769}]}),
            "max_samples of all windows",
        ),
        (json!({"statistics": []}), "statistics has 0 elements"),
        (json!({"statistics": ["mean", "mean"]}), "statistics has \"mean\" twice"),
        (
            json!({"statistics": ["median"]}),
            "configuration, key statistics[0]: unknown variant `median`",
        ),
        (json!({"min_samples": 7}), "min_samples is 7, and has to be 1 to 6"),
        (json!({"min_samples": 0}), "min_samples is 0"),
        (json!({"max_keys": 0}), "max_keys is 0"),
        (
            json!({"max_keys": 1000, "windows": [{"width": "1m"}]}),
            "max_samples of all windows",
        ),
        (json!({"datatype": "BYTES"}), "datatype is BYTES"),
        (windows("05s"), "windows[0]: width is \"05s\""),
        (json!({"min_values": 0}), "min_values is 0"),
        (
            json!({"missing": 1e60}),
            "configuration, key missing: number out of range",
        ),
    ] {
        let message = testing::message(Plugin::new().configure(&config(changes), vec![]));
        assert!(message.starts_with(expected), "{message}");
    }
}
