//! Tests of the plugin as the component runs it: JSON in, rows in, scores and alarms out.

use super::*;
use floorhand_plugin_sdk::{
    Asset,
    processor::Instance,
    testing::{
        self, cases,
        streams::{self, Sample},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<Threshold>;

fn config(changes: Value) -> String {
    let mut config = json!({"input": "x", "fields": ["a", "b"]});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string()
}

fn both() -> Value {
    json!({
        "pca": {"asset": "pca.json", "t2_limit": 9, "q_limit": 4, "raise_after": 2},
        "zscore": {"samples": 8, "raise": 3, "clear": 2},
    })
}

fn assets(changes: &Value) -> Vec<Asset> {
    // Two variables that usually rise together.
    let side = 0.5_f64.sqrt();
    let mut file = json!({
        "mean": [1, 10], "scale": [2, 5], "components": [[side, side]], "explained_variance": [1.8, 0.2], "rows": 100,
    });
    for (key, value) in changes.as_object().unwrap() {
        file[key] = value.clone();
    }
    vec![Asset {
        name: "pca.json".into(),
        data: file.to_string().into_bytes(),
    }]
}

fn configured(changes: Value) -> Plugin {
    let mut plugin = Plugin::new();
    plugin.configure(&config(changes), assets(&json!({}))).unwrap();
    plugin
}

fn rows(values: &[[f32; 2]]) -> Vec<Tensor> {
    vec![Tensor::from_f32(
        "x",
        vec![values.len() as u64, 2],
        values.as_flattened(),
    )]
}

/// Scores and alarms.
fn judge(plugin: &mut Plugin, values: &[[f32; 2]]) -> (Vec<f32>, Vec<u8>) {
    let mut outputs = plugin.process(testing::context(0), rows(values)).unwrap();
    let alarms = outputs.remove(1);
    assert_eq!((alarms.name.as_str(), alarms.datatype), ("alarms", Datatype::Bool));
    (outputs[0].to_f32().unwrap(), alarms.data)
}

#[test]
fn recorded_cases_of_scikit_learn_scipy_and_pandas() {
    assert_eq!(cases::check_processor::<Threshold>(env!("CARGO_MANIFEST_DIR")), 240);
}

#[test]
fn together_is_t2_and_apart_is_q() {
    let mut plugin = configured(json!({"pca": {"asset": "pca.json", "t2_limit": 4, "q_limit": 7, "clear_after": 1}}));
    let (scores, alarms) = judge(&mut plugin, &[[1.0, 10.0], [5.0, 20.0], [5.0, 0.0], [1.0, 10.0]]);
    // In steps of (2, 2), then (2, -2) standard deviations.
    let expected = [0.0, 0.0, 8.0 / 1.8, 0.0, 0.0, 8.0, 0.0, 0.0];
    assert!(
        scores
            .iter()
            .zip(expected)
            .all(|(score, expected)| (score - expected).abs() < 1e-5),
        "{scores:?}"
    );
    assert_eq!(alarms, [0, 0, 1, 0, 0, 1, 0, 0]);
}

#[test]
fn limits_are_computed_where_none_are_given() {
    let logged = |pca: Value| {
        configured(json!({"pca": pca}));
        testing::take_recorded().lines.remove(0).1
    };
    let known = |text: String| -> Vec<f64> {
        let numbers = text.split([' ', ',']).filter_map(|word| word.parse().ok());
        numbers.collect()
    };
    let usual = known(logged(json!({"asset": "pca.json"})));
    let lower = known(logged(json!({"asset": "pca.json", "probability": 0.99})));
    let given = known(logged(json!({"asset": "pca.json", "q_limit": 3})));
    // SciPy: (100² - 1) / (100 · 99) f.ppf(p, 1, 99).
    assert!((usual[0] - 21.902_137).abs() < 1e-4, "{usual:?}");
    assert!((lower[0] - 6.966_986).abs() < 1e-4, "{lower:?}");
    assert!(usual[1] > lower[1] && lower[1] > 1.0);
    assert_eq!(given, [usual[0], 3.0]);
}

#[test]
fn an_analysis_that_keeps_all_has_no_q() {
    let side = 0.5_f64.sqrt();
    let all = json!({"components": [[side, side], [side, -side]], "explained_variance": [1.8, 0.2]});
    let mut plugin = Plugin::new();
    let only = config(json!({"pca": {"asset": "pca.json"}}));
    plugin.configure(&only, assets(&all)).unwrap();
    let (scores, alarms) = judge(&mut plugin, &[[5.0, 0.0], [500.0, -2000.0]]);
    assert!(
        scores[0] > 20.0 && scores[1] < 1e-10 && alarms[2..] == [1, 0],
        "{scores:?} {alarms:?}"
    );
}

#[test]
fn what_is_no_number_has_no_score_and_leaves_alarms_as_they_are() {
    let mut plugin = configured(both());
    for n in 0..12 {
        judge(&mut plugin, &[[(n % 3) as f32, 10.0 + (n % 4) as f32]]);
    }
    assert_eq!(
        judge(&mut plugin, &[[41.0, 110.0], [41.0, 110.0]]).1,
        [0, 0, 1, 1, 1, 0, 1, 1]
    );
    let (scores, alarms) = judge(&mut plugin, &[[f32::NAN, 10.0]]);
    assert!(scores[..3].iter().all(|score| score.is_nan()) && scores[3].is_finite());
    assert_eq!(alarms, [1, 0, 1, 1]);
    let (scores, alarms) = judge(&mut plugin, &[[f32::INFINITY, 10.0]]);
    assert!(scores[..2].iter().all(|score| score.is_nan()) && scores[2] == f32::INFINITY);
    assert_eq!(alarms[..3], [1, 0, 1]);
}

#[test]
fn before_there_is_a_baseline_there_is_no_z() {
    let mut plugin = configured(json!({"zscore": {"samples": 8}}));
    let silent = (0..20)
        .take_while(|n| judge(&mut plugin, &[[(n % 2) as f32, 1.0]]).0[0].is_nan())
        .count();
    assert_eq!(silent, 8);
}

/// Alarms that begin and end, values that are missing, several rows in a sample.
fn stream() -> Vec<Sample> {
    let value = |n: u64| match n % 23 {
        7 | 17 => f32::NAN,
        15..=18 => 60.0,
        other => ((other * other) % 7) as f32,
    };
    let row = |n: u64| [value(n), 10.0 - value(n + 9)];
    (0..45)
        .map(|n| {
            let values: Vec<[f32; 2]> = (0..1 + n % 2).map(|more| row(2 * n + more)).collect();
            (testing::context(n), rows(&values))
        })
        .collect()
}

#[test]
fn cut_anywhere_it_gives_the_same_bits() {
    for changes in [
        both(),
        json!({"pca": {"asset": "pca.json"}}),
        json!({"zscore": {"half_life": 3.5, "raise": 3, "learn_outliers": false}}),
    ] {
        let assets = assets(&json!({}));
        let answers = streams::check::<Threshold>(&config(changes.clone()), &assets, &streams::of_keys(&stream(), 1));
        let raised = |answer: &Result<Vec<Tensor>, Error>| answer.as_ref().unwrap()[1].data.contains(&1);
        assert!(answers.iter().any(raised) && !answers.iter().all(raised));
        // Two machines at once are each like one.
        let mut changes = changes;
        changes["max_keys"] = json!(2);
        let two = streams::check::<Threshold>(&config(changes), &assets, &streams::of_keys(&stream(), 2));
        assert!(
            two.chunks(2)
                .zip(answers)
                .all(|(two, one)| two.iter().all(|answer| *answer == one))
        );
    }
}

#[test]
fn hostile_inputs_change_nothing_where_they_do_not_fit() {
    for met in streams::meet_hostile::<Threshold>(&config(both()), &assets(&json!({})), &stream()) {
        assert_eq!(met.answer.is_ok(), met.fits, "{:?}", met.tensor.shape);
        assert!(met.fits || !met.changed);
    }
}

#[test]
fn scores_and_alarms_have_names() {
    let mut changes = both();
    changes["alarms"] = json!("bad");
    let signature = Plugin::new().configure(&config(changes), assets(&json!({}))).unwrap();
    for (output, name) in signature.outputs.iter().zip(["scores", "bad"]) {
        assert_eq!((output.name.as_str(), output.shape.as_slice()), (name, &[-1, 4][..]));
        let names: Vec<&str> = output.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["t2", "q", "a_z", "b_z"]);
    }
    let plain = Plugin::new()
        .configure(&config(json!({"shape": [-1], "zscore": {}})), vec![])
        .unwrap();
    assert_eq!(
        (plain.inputs[0].shape.as_slice(), plain.outputs[0].shape.as_slice()),
        (&[2][..], &[2][..])
    );
}

#[test]
fn configurations_that_are_refused() {
    let pca = |key: &str, value: Value| {
        let mut pca = json!({"asset": "pca.json"});
        pca[key] = value;
        json!({"pca": pca})
    };
    let z = |key: &str, value: Value| json!({"zscore": {key: value}});
    for (changes, expected) in [
        (json!({}), "neither pca nor zscore is given"),
        (json!({"pcs": {}}), "configuration, key pcs: unknown field `pcs`"),
        (
            json!({"zscore": {}, "scores": "alarms"}),
            "scores and alarms have to have different names",
        ),
        (json!({"zscore": {}, "fields": []}), "fields has 0 names"),
        (json!({"zscore": {}, "shape": [-1, 3]}), "shape has to end in 2"),
        (
            json!({"pca": {"asset": "other"}}),
            "asset \"other\" isn't among those of this plugin",
        ),
        (
            pca("probabilty", json!(1)),
            "configuration, key pca.probabilty: unknown field",
        ),
        (
            pca("probability", json!(0.4)),
            "pca.probability is 0.4, and has to be 0.5 to below 1",
        ),
        (pca("probability", json!(1)), "pca.probability is 1"),
        (pca("t2_limit", json!(0)), "pca.t2_limit has to be above 0"),
        (pca("q_limit", json!(-1)), "pca.q_limit has to be above 0"),
        (pca("clear", json!(1.5)), "pca.clear is 1.5, and has to be 0 to 1"),
        (pca("raise_after", json!(0)), "pca: raise_after is 0"),
        (
            json!({"pca": {"asset": "pca.json", "probability": 0.9, "t2_limit": 1, "q_limit": 1}}),
            "pca.probability is given, and so are both limits",
        ),
        (z("sample", json!(1)), "configuration, key zscore.sample: unknown field"),
        (z("samples", json!(7)), "zscore: baseline samples is 7"),
        (
            z("samples", json!(40_000)),
            "zscore.samples, times 2 fields and 1 keys, make 80000",
        ),
        (z("half_life", json!(2)), "zscore: baseline half-life is 2"),
        (
            json!({"zscore": {"samples": 9, "half_life": 9}}),
            "zscore.samples stands beside half_life",
        ),
        (z("raise", json!(31)), "zscore: raise is 31"),
        (z("clear", json!(6)), "zscore: clear is 6"),
        (z("clear_after", json!(0)), "zscore: clear_after is 0"),
        (
            z("side", json!("left")),
            "configuration, key zscore.side: unknown variant `left`",
        ),
        (
            z("least_deviation", json!([1, 2, 3])),
            "zscore.least_deviation has 3 values for 2 fields",
        ),
        (z("least_deviation", json!([])), "zscore.least_deviation has 0 values"),
        (z("least_deviation", json!([-1])), "zscore: least_deviation is -1"),
    ] {
        let message = testing::message(Plugin::new().configure(&config(changes), assets(&json!({}))));
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn analyses_that_are_refused() {
    for (changes, expected) in [
        (json!({"means": []}), "asset \"pca.json\", key means: unknown field"),
        (
            json!({"mean": [1]}),
            "asset \"pca.json\": mean has 1 values for 2 fields",
        ),
        (json!({"components": []}), "asset \"pca.json\": components has 0 rows"),
        (
            json!({"components": [[1]]}),
            "asset \"pca.json\": components[0] hasn't 2 values",
        ),
        (
            json!({"components": [[1, 1]]}),
            "asset \"pca.json\": product of two components is 2",
        ),
        (json!({"scale": [1, 0]}), "asset \"pca.json\": scale is 0"),
        (
            json!({"explained_variance": []}),
            "asset \"pca.json\": 0 values where 2 were expected",
        ),
        (
            json!({"explained_variance": [1.8]}),
            "asset \"pca.json\": there is no limit of Q",
        ),
        (json!({"rows": null}), "asset \"pca.json\": there is no limit of T2"),
        (json!({"rows": 1}), "asset \"pca.json\": there is no limit of T2"),
    ] {
        let only = config(json!({"pca": {"asset": "pca.json"}}));
        let message = testing::message(Plugin::new().configure(&only, assets(&changes)));
        assert!(message.starts_with(expected), "{message}");
    }
}
