//! Tests of the plugin as the component runs it: JSON in, tensors in and out.

use super::*;
use floorhand_plugin_sdk::{
    processor::Instance,
    testing::{
        self,
        streams::{self, Sample},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<VibrationFeatures>;

fn config() -> Value {
    json!({"input": "a", "output": "f", "sample_rate_hz": 64, "window": 16, "hop": 8, "bands_hz": [[4, 16], [16, 32]]})
}

fn configured(config: &Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config.to_string(), vec![]).unwrap();
    plugin
}

fn feed(plugin: &mut Plugin, chunk: &[f32]) -> Result<Vec<Vec<f32>>, Error> {
    let name = plugin.plugin().unwrap().input.name.clone();
    let tensor = Tensor::from_f32(name, vec![1, chunk.len() as u64], chunk);
    let output = plugin.process(testing::context(0), vec![tensor])?;
    Ok(output.iter().map(|tensor| tensor.to_f32().unwrap()).collect())
}

#[test]
fn a_window_spans_no_gap() {
    let mut plugin = configured(&json!({"input": "a", "output": "f", "sample_rate_hz": 8, "window": 8}));
    let chunk = |value: f32| vec![Tensor::from_f32("a", vec![1, 4], &[value; 4])];
    let gap = Context {
        gap: true,
        ..testing::context(1)
    };
    assert!(plugin.process(testing::context(0), chunk(1.0)).unwrap().is_empty());
    assert!(
        plugin.process(gap, chunk(2.0)).unwrap().is_empty(),
        "the window begins anew"
    );
    let output = plugin.process(testing::context(2), chunk(2.0)).unwrap();
    assert_eq!(
        output[0].to_f32().unwrap()[..2],
        [0.0, 0.0],
        "a constant without its mean"
    );
}

#[test]
fn windows_of_a_stream_agree_with_numpy_and_scipy() {
    let cases: Value = serde_json::from_str(include_str!("../tests/oracle.json")).unwrap();
    let stream: Vec<f32> = serde_json::from_value(cases["stream"].clone()).unwrap();
    let expected: Vec<Vec<f64>> = serde_json::from_value(cases["features"].clone()).unwrap();
    let mut plugin = configured(&cases["config"]);
    let chunk = cases["chunk"].as_u64().unwrap() as usize;
    let found: Vec<Vec<f32>> = stream
        .chunks(chunk)
        .flat_map(|chunk| feed(&mut plugin, chunk).unwrap())
        .collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len());
        for (&found, &expected) in found.iter().zip(expected) {
            // Computed in FP64 within 1e-9 of the oracle, then rounded to FP32.
            assert!(
                (f64::from(found) - expected).abs() <= expected.abs() * f64::from(f32::EPSILON),
                "{found} {expected}"
            );
        }
    }
}

/// Chunks of these lengths of a machine's signal, as samples of its key, which is as long as keys may be.
fn machine(key: char, lengths: &[usize], signal: impl Fn(u32) -> f32) -> Vec<Sample> {
    let mut signal = (0..).map(signal);
    let samples = (0..).zip(lengths).map(|(sequence, &length)| {
        let values: Vec<f32> = signal.by_ref().take(length).collect();
        let context = Context {
            key: Some(key.to_string().repeat(256)),
            ..testing::context(sequence)
        };
        (context, vec![Tensor::from_f32("a", vec![1, length as u64], &values)])
    });
    samples.collect()
}

/// Two machines whose windows get full at different chunks.
fn two_machines() -> [Vec<Sample>; 2] {
    [
        machine('a', &[8, 5, 0, 8, 3, 8, 8, 1, 8, 8, 2, 8], wave),
        machine('b', &[3, 8, 8, 1, 8, 2, 8, 8, 8, 0, 8, 8], |n| 100.0 - wave(3 * n)),
    ]
}

fn interleaved([first, second]: &[Vec<Sample>; 2]) -> Vec<Sample> {
    let pairs = first.iter().zip(second);
    pairs
        .flat_map(|(first, second)| [first.clone(), second.clone()])
        .collect()
}

#[test]
fn a_restored_instance_goes_on_with_the_same_bits() {
    let single = machine('a', &[1; 60], wave);
    for hop in [8, 16] {
        let mut config = config();
        config["hop"] = json!(hop);
        let answers = streams::check::<VibrationFeatures>(&config.to_string(), &[], &single);
        let windows = answers.iter().filter(|answer| !answer.as_ref().unwrap().is_empty());
        assert_eq!(windows.count(), 1 + (60 - 16) / hop);
    }
}

#[test]
fn two_machines_at_once_are_each_like_one() {
    let machines = two_machines();
    let alone = machines
        .each_ref()
        .map(|stream| streams::check::<VibrationFeatures>(&config().to_string(), &[], stream));
    assert!(
        alone
            .iter()
            .all(|answers| { answers.iter().flatten().filter(|outputs| !outputs.is_empty()).count() > 4 })
    );
    let mut config = config();
    config["max_keys"] = json!(2);
    let together = streams::check::<VibrationFeatures>(&config.to_string(), &[], &interleaved(&machines));
    for (machine, alone) in alone.iter().enumerate() {
        assert_eq!(
            &together.iter().skip(machine).step_by(2).cloned().collect::<Vec<_>>(),
            alone
        );
    }
}

#[test]
fn a_key_too_many_changes_nothing() {
    let [first, second] = two_machines();
    let mut plugin = configured(&config());
    for (context, inputs) in &first[..6] {
        plugin.process(context.clone(), inputs.clone()).unwrap();
        let before = plugin.snapshot();
        let (context, inputs) = second[0].clone();
        assert!(testing::message(plugin.process(context, inputs)).ends_with("raise max_keys"));
        assert_eq!(plugin.snapshot(), before);
    }
}

#[test]
fn where_samples_are_missing_their_machines_window_begins_anew() {
    let mut config = config();
    config["max_keys"] = json!(2);
    let mut plugin = configured(&config);
    let machines = ['a', 'b'].map(|key| machine(key, &[8; 4], wave));
    let mut answers = Vec::new();
    for (index, (mut context, inputs)) in interleaved(&machines).into_iter().enumerate() {
        // Both windows are half full; the chunk with the gap is the first machine's, and the other goes on.
        context.gap = index == 2;
        answers.push(plugin.process(context, inputs).unwrap().len());
    }
    assert_eq!(answers, [0, 0, 0, 1, 1, 1, 1, 1]);
}

#[test]
fn a_broken_sample_restarts_its_machines_window_alone() {
    let mut config = config();
    config["max_keys"] = json!(2);
    let mut plugin = configured(&config);
    let broken = |n| if n == 8 { f32::NAN } else { wave(n) };
    let machines = [machine('a', &[8; 4], broken), machine('b', &[8; 4], wave)];
    let answers = interleaved(&machines).into_iter().map(|(context, inputs)| {
        let answer = plugin.process(context, inputs);
        answer.map(|outputs| outputs.len()).ok()
    });
    let answers: Vec<Option<usize>> = answers.collect();
    assert_eq!(
        answers,
        [Some(0), Some(0), None, Some(1), Some(0), Some(1), Some(1), Some(1)]
    );
}

#[test]
fn snapshots_of_another_configuration_are_refused() {
    let mut plugin = configured(&config());
    (0..3).for_each(|_| drop(feed(&mut plugin, &[1.0; 8]).unwrap()));
    let snapshot = plugin.snapshot();
    let mut larger = config();
    larger["window"] = json!(32);
    assert_eq!(
        testing::message(configured(&larger).restore(&snapshot)),
        "saved state belongs to another window or hop"
    );
    assert_eq!(
        testing::message(configured(&config()).restore(&snapshot[..20])),
        "saved state ends early"
    );
    assert_eq!(
        testing::message(configured(&config()).restore(&[])),
        "saved state ends early"
    );
}

#[test]
fn a_broken_sample_restarts_the_window() {
    let mut plugin = configured(&config());
    assert!(feed(&mut plugin, &[1.0; 8]).unwrap().is_empty());
    for broken in [f32::NAN, f32::INFINITY] {
        let message = testing::message(feed(&mut plugin, &[1.0, broken]));
        assert_eq!(message, "sample 1 of the chunk is no finite number: window restarted");
    }
    assert!(
        feed(&mut plugin, &[1.0; 8]).unwrap().is_empty(),
        "no window spans the gap"
    );
    assert_eq!(feed(&mut plugin, &[1.0; 8]).unwrap().len(), 1);
    assert_eq!(testing::take_recorded().counters["vibration-gaps"], 2);
}

#[test]
fn a_dead_sensor_has_no_crest_and_no_kurtosis() {
    let mut plugin = configured(&config());
    assert!(feed(&mut plugin, &[9.81; 8]).unwrap().is_empty());
    assert_eq!(feed(&mut plugin, &[9.81; 8]).unwrap(), [[0.0; 6]]);
}

#[test]
fn chunks_that_could_fill_two_windows_are_refused() {
    let mut plugin = configured(&config());
    assert!(
        testing::message(feed(&mut plugin, &[0.0; 9])).starts_with("chunk of 9 samples is longer than the hop of 8")
    );
    let mut fixed = config();
    fixed["shape"] = json!([1, 9]);
    let message = testing::message(Plugin::new().configure(&fixed.to_string(), vec![]));
    assert!(
        message.starts_with("shape has chunks of 9 samples and hop is 8"),
        "{message}"
    );
}

#[test]
fn configurations_that_are_refused() {
    for (key, value, expected) in [
        ("windw", json!(1), "configuration, key windw: unknown field `windw`"),
        (
            "window",
            json!(100),
            "window: a window of 100 samples: it has to be a power of two",
        ),
        ("window", json!(1_u64 << 40), "window: a window of"),
        (
            "window",
            json!(-8),
            "configuration, key window: invalid value: integer `-8`",
        ),
        ("hop", json!(0), "hop is 0, and has to be 1 to window (16)"),
        ("hop", json!(17), "hop is 17"),
        ("sample_rate_hz", json!(0), "sample_rate_hz is 0, and has to be above 0"),
        ("bands_hz", json!([[0, 33]]), "bands_hz[0] is 0 to 33: it has to rise"),
        ("bands_hz", json!([[4, 8], [8, 4]]), "bands_hz[1] is 8 to 4"),
        (
            "bands_hz",
            json!([[4.1, 4.2]]),
            "bands_hz[0] is 4.1 to 4.2: no bin falls into it, they stand 4 Hz apart",
        ),
        ("bands_hz", json!(vec![[0, 8]; 65]), "bands_hz has 65 bands"),
        ("shape", json!([]), "shape needs a dimension"),
        ("max_keys", json!(0), "max_keys is 0, and has to be 1 to 1024"),
        ("max_keys", json!(1025), "max_keys is 1025"),
        (
            "shape",
            json!([-1, 8]),
            "shape is [-1, 8]: all dimensions but the last have to be 1",
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
    let spec = plugin.plugin().unwrap().input.clone();
    for tensor in testing::hostile(&spec) {
        if let Ok(output) = plugin.process(testing::context(0), vec![tensor]) {
            assert!(output.iter().all(|tensor| tensor.to_f32().is_ok()));
        }
    }
    assert!(matches!(
        plugin.process(testing::context(0), vec![]),
        Err(Error::BadInput(_))
    ));
    assert!(feed(&mut plugin, &[f32::NAN]).is_err());
    let _ = feed(&mut plugin, &[1.0; 8]).unwrap();
    assert_eq!(feed(&mut plugin, &[2.0; 8]).unwrap()[0][..2], [0.5, 0.5]);
}

#[test]
fn windows_of_all_keys_have_room() {
    let mut config = config();
    config["window"] = json!(4096);
    config["max_keys"] = json!(32);
    configured(&config);
    config["max_keys"] = json!(33);
    assert_eq!(
        testing::message(Plugin::new().configure(&config.to_string(), vec![])),
        "max_keys is 33 and window 4096: at most 131072 samples have room"
    );
}

/// A signal with some shape to it: a triangle wave with a kink.
fn wave(n: u32) -> f32 {
    (n % 7) as f32 - (n % 11) as f32 * 0.5
}
