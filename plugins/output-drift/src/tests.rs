//! Tests of the plugin as the component runs it: JSON in, observations in, findings out. The statistics are compared with
//! SciPy in floorhand-statistics, and here by `tests/cases`.

use super::*;
use floorhand_plugin_sdk::{
    Asset, Severity,
    drift::simulation,
    monitor::Instance,
    testing::{
        self,
        cases::check_monitor,
        monitors::{check_gaps_are_passed_over, check_hostile, check_keys, check_stream},
    },
};
use floorhand_statistics::{categorical::CategoryReference, psi::Reference, sample::SortedSample};
use random::Random;
use serde_json::{Value, json};

#[path = "../../../crates/statistics/tests/simulation/mod.rs"]
mod random;

type Plugin = Instance<OutputDrift>;

const WINDOW: u64 = 40;

fn config(holds: &str) -> Value {
    json!({"tensor": "x", "fields": ["answer"], "window": WINDOW, "reference": "reference.json", "holds": holds})
}

fn categories() -> Value {
    json!({"fields": {"answer": {"categories": [0, 1, 2], "counts": [300, 300, 300]}}})
}

fn asset(value: &Value) -> Vec<Asset> {
    vec![Asset {
        name: "reference.json".into(),
        data: value.to_string().into_bytes(),
    }]
}

fn configured(config: &Value, reference: &Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config.to_string(), asset(reference)).unwrap();
    plugin
}

/// A row of probabilities or logits whose largest is `class`.
fn row(class: u64) -> Vec<f32> {
    (0..3).map(|n| if n == class { 2.5 } else { -1.0 + n as f32 }).collect()
}

/// Three windows and a half, a row each, of which the second has one class alone; rows without an answer between.
fn stream() -> Vec<(Context, Vec<Tensor>)> {
    let sample = |n: u64| {
        let mut row = row(if n / WINDOW == 1 { 2 } else { n % 3 });
        if n % 13 == 12 {
            row[1] = f32::NAN;
        }
        (testing::context(n), vec![Tensor::from_f32("x", vec![1, 3], &row)])
    };
    (0..3 * WINDOW + WINDOW / 2).map(sample).collect()
}

#[test]
fn the_class_is_the_place_of_the_largest() {
    for statistic in ["chi2", "psi"] {
        let mut config = config("classes");
        config["statistic"] = json!(statistic);
        let answers = check_stream::<OutputDrift>(&config.to_string(), &asset(&categories()), &stream());
        let found: Vec<_> = answers.iter().flatten().flatten().collect();
        let severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Alarm, Severity::Info], "{statistic}: {found:?}");
        assert_eq!((found[0].kind.as_str(), found[0].subject.as_str()), ("drift", "answer"));
        assert_eq!(
            found[0].details[0].value, "37",
            "three rows of the window had no answer"
        );
        check_hostile::<OutputDrift>(&config.to_string(), &asset(&categories()), &stream());
    }
}

#[test]
fn labels_may_be_others_than_in_training() {
    let mut labels = configured(&config("labels"), &categories());
    let found: Vec<Finding> = (0..2 * WINDOW)
        .flat_map(|n| {
            let label = if n >= WINDOW && n % 4 == 0 { 7.0 } else { (n % 3) as f32 };
            let tensor = Tensor::from_f32("x", vec![1, 1], &[label]);
            labels.observe(testing::context(n), vec![tensor]).unwrap()
        })
        .collect();
    assert_eq!((found.len(), found[0].severity), (1, Severity::Alarm));
}

#[test]
fn scores_have_a_distribution() {
    let values: Vec<f64> = (0..100).map(|n| f64::from(n) / 100.0).collect();
    let sample = json!({"fields": {"answer": {"values": values}}});
    let bins = json!({"fields": {"answer": {"edges": [0.25, 0.5, 0.75], "counts": [250, 250, 250, 250]}}});
    for (statistic, reference) in [("ks", sample), ("psi", bins)] {
        let mut config = config("scores");
        config["statistic"] = json!(statistic);
        let stream: Vec<_> = (0..100_u64)
            .map(|n| {
                let score = if n / WINDOW == 1 {
                    0.9
                } else {
                    (n * 7 % 40) as f32 / 40.0
                };
                (testing::context(n), vec![Tensor::from_f32("x", vec![1, 1], &[score])])
            })
            .collect();
        let answers = check_stream::<OutputDrift>(&config.to_string(), &asset(&reference), &stream);
        let found: Vec<_> = answers.iter().flatten().flatten().collect();
        assert_eq!(found.len(), 1, "{statistic}: {found:?}");
        assert_eq!(
            testing::take_recorded().gauges["output/answer"],
            found[0].value.unwrap()
        );
        check_hostile::<OutputDrift>(&config.to_string(), &asset(&reference), &stream);
    }
}

/// Each has windows of its own; the reference is the same for both.
#[test]
fn machines_at_once_are_each_like_one_alone() {
    let (config, stream) = (config("classes").to_string(), stream());
    // The other one's windows end elsewhere in the stream.
    let other = &stream[WINDOW as usize / 2 + 3..];
    let [first, second] = check_keys::<OutputDrift>(&config, &asset(&categories()), [&stream, other]);
    assert_ne!(first, second);
}

/// A window is so many samples, whichever they are.
#[test]
fn gaps_are_passed_over() {
    check_gaps_are_passed_over::<OutputDrift>(&config("classes").to_string(), &asset(&categories()), &stream());
}

#[test]
fn recorded_cases() {
    assert!(check_monitor::<OutputDrift>(env!("CARGO_MANIFEST_DIR")) > 0);
}

fn simulated(window: u64, holds: &str, statistic: &str, field: &Value) -> Plugin {
    let mut config = config(holds);
    config["window"] = json!(window);
    config["statistic"] = json!(statistic);
    configured(&config, &json!({"fields": {"answer": field}}))
}

#[test]
fn classes_alarm_as_rarely_as_stated() {
    let mut random = Random::new(4);
    // Three classes, one in six, two in three, one in six: a normal score cut at both sides.
    let mut class = move |shift: f64| {
        let score = random.normal() + shift;
        f64::from(u8::from(score > -1.0) + u8::from(score > 1.0))
    };
    // The powers are those of the same limits in NumPy and SciPy, 4,000 windows each.
    let of_classes = [
        (50, [0.03, 0.33, 0.99]),
        (100, [0.10, 0.76, 1.0]),
        (200, [0.30, 0.99, 1.0]),
        (500, [0.48, 1.0, 1.0]),
        (2000, [0.38, 1.0, 1.0]),
    ];
    let of_labels = [
        (100, [0.0, 0.0, 0.34]),
        (200, [0.0, 0.23, 1.0]),
        (500, [0.48, 1.0, 1.0]),
    ];
    for (holds, powers) in [("classes", &of_classes[..]), ("labels", &of_labels)] {
        let tensor = |values: &[f32]| match holds {
            "classes" => Tensor::from_f32(
                "x",
                vec![values.len() as u64, 3],
                &values.iter().flat_map(|&class| row(class as u64)).collect::<Vec<_>>(),
            ),
            _ => simulation::column(values),
        };
        simulation::check_tensors::<OutputDrift>(0.002, powers, &mut class, tensor, |window, samples| {
            let sample = CategoryReference::from_samples(samples, 64).unwrap();
            let field = json!({"categories": sample.categories(), "counts": sample.counts()});
            simulated(window, holds, "chi2", &field)
        });
    }
}

#[test]
fn scores_alarm_as_rarely_as_stated() {
    let mut random = Random::new(5);
    let powers = [
        (50, [0.04, 0.34, 1.0]),
        (100, [0.10, 0.79, 1.0]),
        (200, [0.35, 1.0, 1.0]),
        (500, [0.89, 1.0, 1.0]),
        (2000, [1.0, 1.0, 1.0]),
    ];
    simulation::check::<OutputDrift>(
        0.002,
        &powers,
        || random.normal(),
        |window, samples| {
            let sample = SortedSample::from_samples(samples, 1000).unwrap();
            let field = json!({"values": sample.points(), "samples": sample.drawn()});
            simulated(window, "scores", "ks", &field)
        },
    );
    let powers = [
        (50, [0.01, 0.12, 0.97]),
        (200, [0.16, 0.98, 1.0]),
        (500, [0.17, 1.0, 1.0]),
    ];
    simulation::check::<OutputDrift>(
        0.002,
        &powers,
        || random.normal(),
        |window, samples| {
            let sample = Reference::from_samples(samples, 10).unwrap();
            let field = json!({"edges": sample.edges(), "counts": sample.counts()});
            simulated(window, "scores", "psi", &field)
        },
    );
}

/// What holds, a key with a value, and what is said of it.
fn mistakes() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        (
            "classes",
            "hold",
            json!(1),
            "configuration, key hold: unknown field `hold`",
        ),
        (
            "rows",
            "window",
            json!(1),
            "configuration, key holds: unknown variant `rows`",
        ),
        (
            "classes",
            "statistic",
            json!("js"),
            "configuration, key statistic: unknown variant `js`",
        ),
        (
            "classes",
            "statistic",
            json!("ks"),
            "statistic is ks: classes and labels take chi2 or psi",
        ),
        (
            "scores",
            "statistic",
            json!("chi2"),
            "statistic is chi2: scores take ks or psi",
        ),
        (
            "classes",
            "fields",
            json!(["a", "b"]),
            "fields has 2 names: classes are one",
        ),
        (
            "classes",
            "shape",
            json!([1]),
            "shape has to end in 3, the reference's classes",
        ),
        (
            "classes",
            "fields",
            json!(["a"]),
            "asset \"reference.json\", field \"a\": categories have to be all classes, 0, 1 and so on",
        ),
        ("labels", "shape", json!([-1, 2]), "shape has to end in 1"),
        (
            "scores",
            "window",
            json!(5),
            "asset \"reference.json\", key fields.answer.categories: unknown field `categories`",
        ),
        (
            "labels",
            "window",
            json!(0),
            "asset \"reference.json\", field \"answer\": a window has to hold at least one sample",
        ),
    ]
}

#[test]
fn what_is_refused() {
    for (holds, key, value, expected) in mistakes() {
        let mut config = config(holds);
        config[key] = value;
        let message = testing::message(Plugin::new().configure(&config.to_string(), asset(&categories())));
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn classes_are_as_many_as_in_the_reference() {
    let mut plugin = configured(&config("classes"), &categories());
    let two = Tensor::from_f32("x", vec![3, 2], &[0.0; 6]);
    let message = testing::message(plugin.observe(testing::context(0), vec![two]));
    assert_eq!(message, "tensor \"x\" has shape [3, 2], expected [-1, 3]");
    let empty = Tensor::from_f32("x", vec![0, 3], &[]);
    assert_eq!(plugin.observe(testing::context(0), vec![empty]), Ok(vec![]));
}

#[test]
fn texts_are_refused() {
    for holds in ["classes", "labels"] {
        let mut config = config(holds);
        config["datatype"] = json!("BYTES");
        let message = testing::message(Plugin::new().configure(&config.to_string(), asset(&categories())));
        assert_eq!(message, "datatype is BYTES, and has to be one of numbers", "{holds}");
    }
}
