//! Tests of the plugin as the component runs it: JSON in, outputs of a classifier in and classes out.

use super::*;
use floorhand_plugin_sdk::{
    processor::Instance,
    testing::{
        self, cases,
        streams::{self, Sample},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<SoftmaxLabel>;

fn config(changes: Value) -> String {
    let mut config = json!({"input": "logits", "labels": ["ok", "scratch", "dent"]});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string()
}

fn logits(shape: &[u64], values: &[f32]) -> Tensor {
    Tensor::from_f32("logits", shape.to_vec(), values)
}

/// Probabilities, classes, confidences.
type Answer = (Vec<f32>, Vec<f64>, Vec<f32>);

fn answer(changes: Value, values: &[f32]) -> Result<Answer, Error> {
    let mut plugin = Plugin::new();
    plugin.configure(&config(changes), vec![])?;
    let outputs = plugin.process(testing::context(0), vec![logits(&[values.len() as u64 / 3, 3], values)])?;
    let [probabilities, class, confidence] = outputs.as_slice() else {
        panic!("{} outputs", outputs.len());
    };
    Ok((
        probabilities.to_f32()?,
        class.numbers()?.collect(),
        confidence.to_f32()?,
    ))
}

#[test]
fn recorded_cases_of_scipy() {
    assert_eq!(cases::check_processor::<SoftmaxLabel>(env!("CARGO_MANIFEST_DIR")), 32);
}

#[test]
fn a_class_that_is_not_likely_enough_is_unknown() {
    let changes = |threshold: f64| json!({"softmax": false, "top": 3, "threshold": threshold});
    let values = [0.25, 0.5, 0.25];
    assert_eq!(
        answer(changes(0.0), &values).unwrap(),
        (values.to_vec(), vec![1.0, 0.0, 2.0], vec![0.5, 0.25, 0.25])
    );
    assert_eq!(answer(changes(0.25), &values).unwrap().1, [1.0, 0.0, 2.0]);
    assert_eq!(answer(changes(0.3), &values).unwrap().1, [1.0, -1.0, -1.0]);
    assert_eq!(answer(changes(1.0), &values).unwrap().1, [-1.0; 3]);
}

#[test]
fn a_temperature_takes_sureness_away_and_leaves_the_order() {
    let at = |temperature: f64| answer(json!({"temperature": temperature, "top": 2}), &[1.0, 3.0, 2.0]).unwrap();
    let (cold, usual, warm) = (at(0.1), at(1.0), at(10.0));
    assert!(cold.2[0] > 0.9999 && warm.2[0] < 0.4 && usual.2[0] > 0.6);
    assert!([cold, usual, warm].iter().all(|answer| answer.1 == [1.0, 2.0]));
}

#[test]
fn rows_of_any_shape() {
    let mut plugin = Plugin::new();
    plugin
        .configure(&config(json!({"shape": [2, -1, 3], "top": 2, "class": "kind"})), vec![])
        .unwrap();
    let values: Vec<f32> = (0..12).map(|n| (n * 5 % 7) as f32).collect();
    let outputs = plugin
        .process(testing::context(0), vec![logits(&[2, 2, 3], &values)])
        .unwrap();
    let shapes: Vec<_> = outputs.iter().map(|output| output.shape.as_slice()).collect();
    assert_eq!(shapes, [&[2, 2, 3], &[2, 2, 2], &[2, 2, 2]]);
    assert_eq!(outputs[1].name, "kind");
    let mut plain = Plugin::new();
    let signature = plain.configure(&config(json!({"shape": [3]})), vec![]).unwrap();
    assert_eq!(signature.outputs[1].shape, [1]);
    let names: Vec<&str> = signature.outputs[0]
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(names, ["ok", "scratch", "dent"]);
    let outputs = plain
        .process(testing::context(0), vec![logits(&[3], &[0.0, 2.0, 1.0])])
        .unwrap();
    assert_eq!(outputs[1].number(0), Some(1.0));
}

#[test]
fn what_has_no_class_is_refused() {
    for (softmax, row) in [
        (true, [1.0, f32::NAN, 2.0]),
        (true, [1.0, f32::INFINITY, 2.0]),
        (true, [f32::NEG_INFINITY; 3]),
        (false, [0.5, 0.5, f32::NAN]),
    ] {
        let values = [[1.0, 2.0, 3.0], row].concat();
        let message = testing::message(answer(json!({"softmax": softmax}), &values));
        assert!(
            message.starts_with("row 1 of tensor \"logits\" has no class"),
            "{message}"
        );
    }
    assert_eq!(
        answer(json!({}), &[1.0, f32::NEG_INFINITY, 1.0]).unwrap().0,
        [0.5, 0.0, 0.5]
    );
}

fn stream() -> Vec<Sample> {
    let row = |n: u64| [(n % 5) as f32, (n % 3) as f32, if n == 6 { f32::NAN } else { 1.0 }];
    (0..10)
        .map(|n| (testing::context(n), vec![logits(&[1, 3], &row(n))]))
        .collect()
}

#[test]
fn several_samples_in_a_call_are_one_after_the_other() {
    let answers = streams::check::<SoftmaxLabel>(&config(json!({"top": 2})), &[], &stream());
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
}

#[test]
fn hostile_inputs_are_refused_where_they_do_not_fit() {
    for met in streams::meet_hostile::<SoftmaxLabel>(&config(json!({})), &[], &stream()) {
        if let Ok(outputs) = met.answer {
            assert!(
                outputs[0]
                    .to_f32()
                    .unwrap()
                    .iter()
                    .all(|probability| (0.0..=1.0).contains(probability))
            );
        }
    }
}

#[test]
fn configurations_that_are_refused() {
    for (changes, expected) in [
        (
            json!({"lables": []}),
            "configuration, key lables: unknown field `lables`",
        ),
        (json!({"datatype": "BYTES"}), "datatype is BYTES"),
        (json!({"labels": []}), "labels has 0 names"),
        (json!({"labels": ["a", "b", "a"]}), "labels has \"a\" twice"),
        (json!({"shape": [-1, 2]}), "shape is [-1, 2], and has to end in 3"),
        (json!({"shape": [3, -1]}), "shape is [3, -1], and has to end in 3"),
        (json!({"shape": []}), "shape is [], and has to end in 3"),
        (json!({"top": 0}), "top is 0, and has to be 1 to 3"),
        (json!({"top": 4}), "top is 4"),
        (json!({"threshold": 1.5}), "threshold is 1.5, and has to be 0 to 1"),
        (json!({"threshold": -0.1}), "threshold is -0.1"),
        (json!({"temperature": 0}), "temperature is 0, and has to be above 0"),
        (
            json!({"temperature": 2, "softmax": false}),
            "temperature is given, and softmax is false",
        ),
        (
            json!({"class": "confidence"}),
            "probabilities, class and confidence have to have different names",
        ),
    ] {
        let message = testing::message(Plugin::new().configure(&config(changes), vec![]));
        assert!(message.starts_with(expected), "{message}");
    }
}
