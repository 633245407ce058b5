//! Tests of the plugin as the component runs it: JSON in, rows in and windows out.

use super::*;
use floorhand_plugin_sdk::{
    processor::Instance,
    testing::{
        self, cases,
        streams::{self, Sample},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<Window>;

fn config(changes: Value) -> String {
    let mut config = json!({"input": "x", "output": "w", "columns": 2, "length": 4, "hop": 3});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string()
}

/// Samples of so many rows of two numbers that say which row and column they are.
fn stream(rows: &[usize]) -> Vec<Sample> {
    let mut first = 0;
    let samples = (0..).zip(rows).map(|(sequence, &rows)| {
        let values: Vec<f32> = (first..first + rows)
            .flat_map(|row| [row as f32, 0.5 + row as f32])
            .collect();
        first += rows;
        let tensor = Tensor::from_f32("x", vec![rows as u64, 2], &values);
        (testing::context(sequence), vec![tensor])
    });
    samples.collect()
}

/// What the windows of a stream begin with, and with which sample they came.
fn starts(config: &str, stream: &[Sample]) -> Vec<(usize, f32)> {
    let mut plugin = Plugin::new();
    plugin.configure(config, vec![]).unwrap();
    let windows = stream.iter().enumerate().filter_map(|(index, (context, inputs))| {
        let outputs = plugin.process(context.clone(), inputs.clone()).unwrap();
        let values = outputs.first()?.to_f32().unwrap();
        assert_eq!(values.len(), 8);
        Some((index, values[0]))
    });
    windows.collect()
}

#[test]
fn windows_begin_a_hop_apart() {
    let rows = stream(&[1; 12]);
    for (hop, expected) in [
        (
            1,
            &[
                (3, 0.0),
                (4, 1.0),
                (5, 2.0),
                (6, 3.0),
                (7, 4.0),
                (8, 5.0),
                (9, 6.0),
                (10, 7.0),
                (11, 8.0),
            ][..],
        ),
        (2, &[(3, 0.0), (5, 2.0), (7, 4.0), (9, 6.0), (11, 8.0)]),
        (3, &[(3, 0.0), (6, 3.0), (9, 6.0)]),
        (4, &[(3, 0.0), (7, 4.0), (11, 8.0)]),
    ] {
        assert_eq!(starts(&config(json!({"hop": hop})), &rows), expected, "{hop}");
    }
    assert_eq!(
        starts(&config(json!({"hop": null})), &rows).len(),
        3,
        "tumbling by default"
    );
    // Rows 0 to 2, 3 to 5, 6, none, 7 to 9.
    assert_eq!(
        starts(&config(json!({})), &stream(&[3, 3, 1, 0, 3])),
        [(1, 0.0), (2, 3.0), (4, 6.0)]
    );
}

#[test]
fn recorded_cases() {
    assert!(cases::check_processor::<Window>(env!("CARGO_MANIFEST_DIR")) > 20);
}

#[test]
fn cut_anywhere_it_gives_the_same_bits() {
    for changes in [
        json!({}),
        json!({"hop": 4, "columns_first": true}),
        json!({"max_gap_ms": 1000}),
    ] {
        let stream = stream(&[1, 2, 3, 3, 0, 1, 1, 1, 1, 1, 2, 2]);
        let answers = streams::check::<Window>(&config(changes.clone()), &[], &streams::of_keys(&stream, 1));
        assert!(answers.iter().all(Result::is_ok));
        // Three machines at once are each like one.
        let mut changes = changes;
        changes["max_keys"] = json!(3);
        let three = streams::check::<Window>(&config(changes), &[], &streams::of_keys(&stream, 3));
        assert!(
            three
                .chunks(3)
                .zip(answers)
                .all(|(three, one)| three.iter().all(|answer| *answer == one))
        );
    }
}

#[test]
fn a_row_of_any_type_is_given_as_it_is() {
    for datatype in Datatype::ALL
        .into_iter()
        .filter(|datatype| *datatype != Datatype::Bytes)
    {
        let size = datatype.size();
        let mut plugin = Plugin::new();
        let config = config(json!({"datatype": datatype, "length": 2, "hop": 1}));
        let signature = plugin.configure(&config, vec![]).unwrap();
        let row = |seed: u8| -> Vec<u8> { (0..2 * size as u8).map(|byte| byte.wrapping_mul(97) ^ seed).collect() };
        let mut feed = |seed: u8| {
            let input = Tensor {
                name: "x".into(),
                datatype,
                shape: vec![1, 2],
                data: row(seed),
            };
            plugin.process(testing::context(0), vec![input]).unwrap()
        };
        assert!(feed(1).is_empty());
        let window = feed(0xff).remove(0);
        assert_eq!(window.check(&signature.outputs[0]), Ok(()));
        assert_eq!(window.shape, [2, 2]);
        assert_eq!(window.data, [row(1), row(0xff)].concat(), "{}", datatype.name());
    }
}

#[test]
fn shapes_and_names_of_the_window() {
    let signature = |changes: Value| Plugin::new().configure(&config(changes), vec![]).unwrap();
    let names = ["a", "b"];
    let usual = signature(json!({"fields": names}));
    assert_eq!(
        (usual.inputs[0].shape.as_slice(), usual.outputs[0].shape.as_slice()),
        (&[-1, 2][..], &[4, 2][..])
    );
    for spec in [&usual.inputs[0], &usual.outputs[0]] {
        assert_eq!(
            spec.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(),
            names
        );
    }
    let batch = signature(json!({"fields": names, "output_shape": [1, 4, 2], "output": null}));
    assert_eq!(
        (batch.outputs[0].shape.as_slice(), batch.outputs[0].name.as_str()),
        (&[1, 4, 2][..], "x")
    );
    assert_eq!(batch.outputs[0].fields, usual.inputs[0].fields);
    let flat = signature(json!({"fields": names, "output_shape": [1, 8]}));
    assert!(flat.outputs[0].fields.is_empty());
    let channels = signature(json!({"fields": names, "columns_first": true}));
    assert_eq!(channels.outputs[0].shape, [2, 4]);
    assert!(channels.outputs[0].fields.is_empty());
}

#[test]
fn a_gap_in_time_begins_a_new_window() {
    let config = config(json!({"hop": 1, "max_gap_ms": 1500}));
    let mut samples = stream(&[1; 12]);
    // A second apart, but two seconds before sample 5 and back again before sample 6.
    samples[5].0.time_ns += 1_000_000_000;
    assert_eq!(
        starts(&config, &samples),
        [(3, 0.0), (4, 1.0), (8, 5.0), (9, 6.0), (10, 7.0), (11, 8.0)]
    );
    samples[6].0.time_ns -= 1_000_000_000;
    assert_eq!(
        starts(&config, &samples)[2],
        (10, 7.0),
        "once more before 7, two seconds after 6"
    );
    assert_eq!(testing::take_recorded().counters["window-gaps"], 4);
}

#[test]
fn where_samples_are_missing_the_window_begins_anew() {
    let mut samples = stream(&[1; 12]);
    samples[6].0.gap = true;
    // Also where the sample itself is refused.
    let mut plugin = Plugin::new();
    plugin.configure(&config(json!({"hop": 1})), vec![]).unwrap();
    let mut taken = samples[..4].to_vec();
    taken[3].1.clear();
    taken[3].0.gap = true;
    taken.extend_from_slice(&samples[7..11]);
    let answers: Vec<Option<usize>> = taken
        .into_iter()
        .map(|(context, inputs)| Some(plugin.process(context, inputs).ok()?.len()))
        .collect();
    assert_eq!(
        answers,
        [Some(0), Some(0), Some(0), None, Some(0), Some(0), Some(0), Some(1)]
    );
    assert_eq!(
        starts(&config(json!({"hop": 1})), &samples)[3..],
        [(9, 6.0), (10, 7.0), (11, 8.0)]
    );
}

#[test]
fn a_key_too_many_is_refused() {
    let mut plugin = Plugin::new();
    plugin.configure(&config(json!({})), vec![]).unwrap();
    let samples = streams::of_keys(&stream(&[1]), 2);
    let mut answers = samples
        .into_iter()
        .map(|(context, inputs)| plugin.process(context, inputs));
    assert!(answers.next().unwrap().is_ok());
    assert!(testing::message(answers.next().unwrap()).ends_with("raise max_keys"));
}

#[test]
fn hostile_inputs_change_nothing() {
    let met = streams::meet_hostile::<Window>(&config(json!({"hop": 4})), &[], &stream(&[1, 1, 1]));
    assert!(met.iter().any(|met| met.answer.is_ok()));
    for met in met {
        assert!(met.answer.is_ok() || !met.changed, "{:?}", met.tensor.shape);
        assert!(
            met.answer.is_ok() || !met.fits || met.tensor.data.len() > 4 * 8,
            "{:?}",
            met.answer
        );
    }
}

#[test]
fn configurations_that_are_refused() {
    for (changes, expected) in [
        (
            json!({"lenght": 1}),
            "configuration, key lenght: unknown field `lenght`",
        ),
        (
            json!({"length": 0, "hop": null}),
            "hop is 0, and has to be 1 to length (0)",
        ),
        (json!({"hop": 5}), "hop is 5, and has to be 1 to length (4)"),
        (
            json!({"columns": 0}),
            "length is 4 and columns 0: a window has to have 1 to 4194304 bytes",
        ),
        (
            json!({"length": 1_u64 << 62}),
            "length is 4611686018427387904 and columns 2",
        ),
        (json!({"length": 524_289}), "length is 524289 and columns 2"),
        (
            json!({"datatype": "FP31"}),
            "configuration, key datatype: \"FP31\" is no datatype",
        ),
        (json!({"fields": ["a"]}), "fields has 1 names for 2 columns"),
        (json!({"fields": ["a", "a"]}), "fields has \"a\" twice"),
        (json!({"shape": []}), "shape is [], and has to end in 2"),
        (json!({"shape": [1, 3]}), "shape is [1, 3], and has to end in 2"),
        (
            json!({"shape": [4, 2]}),
            "shape is [4, 2] and hop 3: a sample's rows could fill two",
        ),
        (json!({"shape": vec![1; 17]}), "shape is [1, 1"),
        (
            json!({"output_shape": [4, 3]}),
            "output_shape is [4, 3], and has to have 8 elements",
        ),
        (
            json!({"output_shape": []}),
            "output_shape is [], and has to have 8 elements",
        ),
    ] {
        let message = testing::message(Plugin::new().configure(&config(changes), vec![]));
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_sample_with_several_windows_is_answered_with_all() {
    for columns_first in [false, true] {
        let changes = json!({"several": true, "columns_first": columns_first});
        let rows = stream(&[2, 9, 0, 1, 7]);
        let answers = streams::check::<Window>(&config(changes.clone()), &[], &streams::of_keys(&rows, 1));
        let outputs: Vec<Tensor> = answers.into_iter().flat_map(Result::unwrap).collect();
        let counts: Vec<u64> = outputs.iter().map(|output| output.shape[0]).collect();
        // Windows end with rows 4, 7, 10; 13, 16, 19.
        assert_eq!(counts, [3, 3]);
        let one_by_one = config(json!({"columns_first": columns_first}));
        let mut plugin = Plugin::new();
        plugin.configure(&one_by_one, vec![]).unwrap();
        let single = stream(&[1; 19])
            .into_iter()
            .flat_map(|(context, inputs)| plugin.process(context, inputs).unwrap());
        let single: Vec<u8> = single.flat_map(|output| output.data).collect();
        assert_eq!(
            outputs.into_iter().flat_map(|output| output.data).collect::<Vec<u8>>(),
            single
        );
        let signature = Plugin::new().configure(&config(changes), vec![]).unwrap();
        assert_eq!(signature.outputs[0].shape[0], -1);
    }
    let mut plugin = Plugin::new();
    let large = config(json!({"several": true, "length": 1000, "hop": 1}));
    plugin.configure(&large, vec![]).unwrap();
    let (context, inputs) = stream(&[525]).remove(0);
    assert!(testing::message(plugin.process(context, inputs)).ends_with("give fewer"));
}

#[test]
fn more_rows_than_the_hop_are_refused() {
    let mut plugin = Plugin::new();
    plugin.configure(&config(json!({})), vec![]).unwrap();
    let (context, inputs) = stream(&[4]).remove(0);
    assert_eq!(
        testing::message(plugin.process(context, inputs)),
        "tensor \"x\" has 4 rows, more than the hop of 3: they could fill two windows"
    );
}
