//! Tests of the plugin as the component runs it: JSON in, chunks in and spectra out.

use super::*;
use floorhand_plugin_sdk::{
    processor::Instance,
    testing::{
        self, cases,
        streams::{self, Sample},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<Spectral>;

fn config(changes: Value) -> String {
    let mut config = json!({"input": "a", "output": "s", "window": 16, "hop": 6});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string()
}

/// A signal with some shape to it, in chunks.
fn stream(chunks: &[usize]) -> Vec<Sample> {
    let mut first = 0;
    let samples = (0..).zip(chunks).map(|(sequence, &length)| {
        let values: Vec<f32> = (first..first + length)
            .map(|n| (n % 7) as f32 - (n % 11) as f32 * 0.5)
            .collect();
        first += length;
        let tensor = Tensor::from_f32("a", vec![1, length as u64], &values);
        (testing::context(sequence), vec![tensor])
    });
    samples.collect()
}

/// The spectra of a stream.
fn spectra(config: &str, stream: &[Sample]) -> Vec<Vec<f32>> {
    let mut plugin = Plugin::new();
    plugin.configure(config, vec![]).unwrap();
    let outputs = stream
        .iter()
        .flat_map(|(context, inputs)| plugin.process(context.clone(), inputs.clone()).unwrap());
    outputs.map(|output| output.to_f32().unwrap()).collect()
}

#[test]
fn recorded_cases_of_scipy_and_librosas_definitions() {
    assert!(cases::check_processor::<Spectral>(env!("CARGO_MANIFEST_DIR")) > 50);
}

/// Computed in FP64 within 1e-9 of the oracle, then rounded to FP32 once.
#[test]
fn spectra_agree_with_scipy_to_the_last_bits() {
    let oracle: Value = serde_json::from_str(include_str!("../tests/oracle.json")).unwrap();
    let signal: Vec<f32> = serde_json::from_value(oracle["signal"].clone()).unwrap();
    let chunk = Tensor::from_f32("a", vec![1, signal.len() as u64], &signal);
    for case in oracle["cases"].as_array().unwrap() {
        let found = spectra(
            &case["config"].to_string(),
            &[(testing::context(0), vec![chunk.clone()])],
        );
        let expected: Vec<f64> = serde_json::from_value(case["bands"].clone()).unwrap();
        assert_eq!((found.len(), found[0].len()), (1, expected.len()));
        // Bins of no power are what is left of the others.
        let largest = expected.iter().fold(0.0_f64, |largest, band| largest.max(band.abs()));
        for (&found, expected) in found[0].iter().zip(expected) {
            let allowed = 6e-8 * expected.abs() + 1e-9 * expected.abs().max(1e-6 * largest);
            assert!(
                (f64::from(found) - expected).abs() <= allowed,
                "{}: {found} {expected}",
                case["config"]
            );
        }
    }
}

#[test]
fn cut_anywhere_it_gives_the_same_bits() {
    let chunks = stream(&[6, 5, 4, 3, 2, 1, 0, 6, 6, 6, 1, 1, 1, 6]);
    for changes in [
        json!({}),
        json!({"hop": 16, "level": {"decibel": {}}}),
        json!({"mel": {"bands": 2, "sample_rate_hz": 100, "scale": "htk"}, "values": "magnitude"}),
    ] {
        let answers = streams::check::<Spectral>(&config(changes.clone()), &[], &streams::of_keys(&chunks, 1));
        assert!(answers.iter().flatten().any(|outputs| !outputs.is_empty()));
        // Two machines at once are each like one.
        let mut changes = changes;
        changes["max_keys"] = json!(2);
        let two = streams::check::<Spectral>(&config(changes), &[], &streams::of_keys(&chunks, 2));
        assert!(
            two.chunks(2)
                .zip(answers)
                .all(|(two, one)| two.iter().all(|answer| *answer == one))
        );
    }
}

#[test]
fn a_chunk_with_several_frames_is_answered_in_rows() {
    let one_by_one = spectra(&config(json!({})), &stream(&[1; 60])).concat();
    let chunks = stream(&[3, 25, 0, 2, 30]);
    let answers = streams::check::<Spectral>(&config(json!({"several": true})), &[], &streams::of_keys(&chunks, 1));
    let outputs: Vec<Tensor> = answers.into_iter().flat_map(Result::unwrap).collect();
    let rows: Vec<u64> = outputs.iter().map(|output| output.shape[0]).collect();
    // Frames end with samples 16, 22, 28; 34 and so on to 58.
    assert_eq!(rows, [3, 5]);
    let values: Vec<f32> = outputs.iter().flat_map(|output| output.to_f32().unwrap()).collect();
    assert_eq!(values, one_by_one);
    let mut plugin = Plugin::new();
    let signature = plugin
        .configure(&config(json!({"several": true, "hop": 1})), vec![])
        .unwrap();
    assert_eq!(signature.outputs[0].shape, [-1, 9]);
    let (context, inputs) = stream(&[233_017]).remove(0);
    assert!(testing::message(plugin.process(context, inputs)).ends_with("take shorter ones"));
}

#[test]
fn where_samples_are_missing_the_frame_begins_anew() {
    let mut chunks = stream(&[6; 12]);
    let whole = spectra(&config(json!({})), &chunks).len();
    chunks[2].0.gap = true;
    chunks[4].0.gap = true;
    // From the fifth chunk on 48 samples: frames end with the 16th, 22nd, 28th, ...
    assert_eq!((whole, spectra(&config(json!({})), &chunks).len()), (10, 6));
}

#[test]
fn frames_begin_a_hop_apart() {
    let whole = stream(&[1; 40]);
    let sliding = spectra(&config(json!({"hop": 4})), &whole);
    assert_eq!(sliding.len(), 7);
    let tumbling = spectra(&config(json!({"hop": null})), &whole);
    assert_eq!((tumbling.len(), tumbling[0].len()), (2, 9));
    assert_eq!((&tumbling[0], &tumbling[1]), (&sliding[0], &sliding[4]));
}

#[test]
fn integers_with_a_gain_are_the_same_as_floats() {
    let wave: Vec<i16> = (0..16).map(|n: i16| 1000 * (n % 5) - 2000).collect();
    let mut plugin = Plugin::new();
    let config_of_integers = config(json!({"datatype": "INT16", "gain": 1.0 / 32768.0, "hop": 16}));
    plugin.configure(&config_of_integers, vec![]).unwrap();
    let tensor = Tensor {
        name: "a".into(),
        datatype: Datatype::Int16,
        shape: vec![1, 16],
        data: wave.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
    };
    let found = plugin.process(testing::context(0), vec![tensor]).unwrap().remove(0);
    let floats: Vec<f32> = wave.iter().map(|&sample| f32::from(sample) / 32768.0).collect();
    let chunk = Tensor::from_f32("a", vec![1, 16], &floats);
    let expected = spectra(&config(json!({"hop": 16})), &[(testing::context(0), vec![chunk])]);
    assert_eq!(found.to_f32().unwrap(), expected[0]);
}

#[test]
fn silence_has_a_floor() {
    let silent = [(
        testing::context(0),
        vec![Tensor::from_f32("a", vec![1, 16], &[0.0; 16])],
    )];
    let level = |level: Value| spectra(&config(json!({"hop": 16, "level": level})), &silent).remove(0);
    assert_eq!(level(json!({"decibel": {}})), [-100.0; 9]);
    assert_eq!(
        level(json!({"decibel": {"reference": 1e-10, "range_db": 80}})),
        [0.0; 9]
    );
    assert_eq!(level(json!({"logarithm": {"floor": 1}})), [0.0; 9]);
}

#[test]
fn a_broken_sample_restarts_the_frame() {
    let mut plugin = Plugin::new();
    plugin.configure(&config(json!({"hop": 16})), vec![]).unwrap();
    let mut feed = |values: &[f32]| {
        let chunk = Tensor::from_f32("a", vec![1, values.len() as u64], values);
        plugin.process(testing::context(0), vec![chunk])
    };
    assert!(feed(&[1.0; 15]).unwrap().is_empty());
    for broken in [f32::NAN, f32::INFINITY] {
        let message = testing::message(feed(&[1.0, broken]));
        assert_eq!(message, "sample 1 of the chunk is no finite number: frame restarted");
    }
    assert!(feed(&[1.0; 15]).unwrap().is_empty(), "no frame spans the gap");
    assert_eq!(feed(&[1.0]).unwrap().len(), 1);
    assert_eq!(testing::take_recorded().counters["spectral-gaps"], 2);
}

#[test]
fn hostile_inputs_change_nothing_but_broken_samples_the_frame() {
    for met in streams::meet_hostile::<Spectral>(&config(json!({})), &[], &stream(&[6, 6, 3])) {
        let restarted = met.fits && testing::message(met.answer.clone()).ends_with("frame restarted");
        assert!(
            met.answer.is_ok() || restarted || !met.changed,
            "{:?}",
            met.tensor.shape
        );
    }
}

#[test]
fn mel_bands_have_names() {
    let changes = json!({"mel": {"bands": 2, "sample_rate_hz": 100}});
    let signature = Plugin::new().configure(&config(changes), vec![]).unwrap();
    assert_eq!(signature.outputs[0].shape, [1, 2]);
    let names: Vec<&str> = signature.outputs[0]
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(names, ["mel_0", "mel_1"]);
}

#[test]
fn configurations_that_are_refused() {
    for (changes, expected) in [
        (json!({"windw": 1}), "configuration, key windw: unknown field `windw`"),
        (
            json!({"window": 100}),
            "window: a window of 100 samples: it has to be a power of two",
        ),
        (json!({"window": 1_u64 << 40, "hop": 1}), "window: "),
        (json!({"hop": 0}), "hop: hop is 0"),
        (json!({"hop": 17}), "hop: hop is 17"),
        (json!({"datatype": "BYTES"}), "datatype is BYTES"),
        (json!({"max_keys": 0}), "max_keys is 0"),
        (
            json!({"window": 4096, "max_keys": 17}),
            "max_keys is 17 and window 4096: at most 65536 samples have room",
        ),
        (json!({"shape": []}), "shape needs a dimension"),
        (json!({"shape": [2, 8]}), "shape is [2, 8]: all dimensions but the last"),
        (json!({"shape": [1, 7]}), "shape has chunks of 7 samples and hop is 6"),
        (json!({"gain": 0}), "gain is 0, and has to be finite and not 0"),
        (
            json!({"function": "hanning"}),
            "configuration, key function: unknown variant `hanning`",
        ),
        (
            json!({"function_length": 17}),
            "function_length has to be 1 to window (16)",
        ),
        (
            json!({"values": "magnitude", "level": {"decibel": {}}}),
            "level.decibel is of powers",
        ),
        (json!({"level": {"decibel": {"floor": 0}}}), "level.decibel: floor is 0"),
        (
            json!({"level": {"decibel": {"range_db": -1}}}),
            "level.decibel: range_db is -1",
        ),
        (
            json!({"level": {"logarithm": {"floor": -1}}}),
            "level.logarithm: floor is -1",
        ),
        (
            json!({"level": {"bel": {}}}),
            "configuration, key level: unknown variant `bel`",
        ),
        (json!({"mel": {"bands": 0, "sample_rate_hz": 100}}), "mel: filters is 0"),
        (
            json!({"mel": {"bands": 30, "sample_rate_hz": 100}}),
            "mel: filters is 30: it has to be fewer",
        ),
        (
            json!({"mel": {"bands": 2, "sample_rate_hz": 0}}),
            "mel: sample_rate_hz is 0",
        ),
        (
            json!({"mel": {"bands": 2, "sample_rate_hz": 100, "high_hz": 51}}),
            "mel: high_hz is 51",
        ),
        (
            json!({"mel": {"bands": 2, "sample_rate_hz": 100, "low": 1}}),
            "configuration, key mel.low: unknown field",
        ),
    ] {
        let message = testing::message(Plugin::new().configure(&config(changes), vec![]));
        assert!(message.starts_with(expected), "{message}");
    }
}
