//! Explanations through a pipeline and its engine: exact where they can be, additive always, and what is refused.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "these are tests"
)]

use floorhand_bundle::{ExplainSpec, InputSpec, ModelSpec, PipelineSpec, StageSpec};
use floorhand_pipeline::{
    ExplainError, Explanation, Host, HostConfig, Outcome, Pipeline, Sample, decode, model_signature,
};
use floorhand_tensor::{Datatype, Dim, TensorSpec};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const FIELDS: [&str; 4] = ["flow_l_min", "pressure_bar", "current_a", "temperature_c"];
const BACKGROUND: &str = "flow_l_min,pressure_bar,current_a,temperature_c\n90,2.5,9,50\n80,2.0,8,55\n85,3.0,7.5,60\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The quickstart's pump: four numbers, scaled, to a probability.
fn spec(explain: &Value) -> PipelineSpec {
    let onnx = std::fs::read(root().join("tests/quickstart/bundle/model.onnx")).unwrap();
    PipelineSpec {
        decoder: None,
        inputs: vec![InputSpec {
            tensor: TensorSpec::new("sensors", Datatype::Fp32, vec![Dim::Fixed(1), Dim::Fixed(4)]),
            fields: FIELDS.map(str::to_owned).to_vec(),
        }],
        preprocess: vec![stage(
            "scale",
            "standardize",
            json!({"input": "sensors", "output": "x", "asset": "scaler.json"}),
        )],
        model: ModelSpec {
            state: Vec::new(),
            engines: Vec::new(),
            component: "model.onnx".parse().unwrap(),
            signature: model_signature(&onnx).unwrap(),
            allow_nan: false,
        },
        postprocess: Vec::new(),
        monitors: Vec::new(),
        explain: Some(declared(explain)),
    }
}

fn declared(explain: &Value) -> ExplainSpec {
    let mut whole = json!({"background": "background.csv", "budget_ms": 600_000});
    whole
        .as_object_mut()
        .unwrap()
        .extend(explain.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

fn stage(name: &str, plugin: &str, config: Value) -> StageSpec {
    StageSpec {
        name: name.parse().unwrap(),
        plugin: format!("{plugin}.wasm").parse().unwrap(),
        config: config.to_string(),
        assets: config
            .get("asset")
            .into_iter()
            .map(|asset| asset.as_str().unwrap().parse().unwrap())
            .collect(),
        limits: floorhand_bundle::StageLimits::default(),
        on_break: floorhand_bundle::OnBreak::Fail,
    }
}

fn load(spec: &PipelineSpec, background: &str) -> Result<Pipeline, String> {
    let host = Host::new(HostConfig::default()).unwrap();
    let mut read = |name: &floorhand_bundle::ComponentName| {
        let bundle = root().join("tests/quickstart/bundle");
        match name.as_str() {
            "background.csv" => Ok(background.as_bytes().to_vec()),
            name if name.ends_with(".wasm") => {
                std::fs::read(root().join("plugins/prebuilt").join(name)).map_err(|error| error.to_string())
            }
            name => std::fs::read(bundle.join(name)).map_err(|error| error.to_string()),
        }
    };
    Pipeline::load(spec, &mut read, &host).map_err(|error| error.to_string())
}

fn pump(explain: &Value) -> Pipeline {
    load(&spec(explain), BACKGROUND).unwrap()
}

fn sample(pipeline: &Pipeline, values: [f64; 4]) -> Sample {
    let object: serde_json::Map<_, _> = FIELDS
        .map(str::to_owned)
        .into_iter()
        .zip(values.map(Value::from))
        .collect();
    decode::json_value(&Value::Object(object), pipeline.inputs()).unwrap()
}

fn probability(pipeline: &mut Pipeline, values: [f64; 4]) -> f64 {
    let sample = sample(pipeline, values);
    match pipeline.process(&sample, 0).outcome {
        Outcome::Result(outputs) => outputs[0].to_f64().unwrap()[0],
        outcome => panic!("{outcome:?}"),
    }
}

/// What was served is explained, from the features that the model was given for it.
fn served(
    pipeline: &mut Pipeline,
    values: [f64; 4],
    time_left: &mut dyn FnMut() -> bool,
) -> Result<Explanation, ExplainError> {
    let sample = sample(pipeline, values);
    let sequence = pipeline.process(&sample, 0).sequence;
    let features = pipeline.features_of(&sample, sequence).unwrap();
    let explainer = pipeline.explainer().unwrap();
    explainer.lock().explain_features(&features, &sample.tensors, time_left)
}

fn contributions(explanation: &Explanation) -> Vec<f64> {
    let of = |field: &str| {
        let found = explanation.contributions.iter().find(|one| one.feature == field);
        found.unwrap().contribution
    };
    FIELDS.map(of).to_vec()
}

/// Shapley values by their definition, over the pipeline itself.
fn by_definition(pipeline: &mut Pipeline, row: [f64; 4]) -> (f64, Vec<f64>) {
    let rows: Vec<[f64; 4]> = BACKGROUND
        .lines()
        .skip(1)
        .map(|line| {
            let values: Vec<f64> = line.split(',').map(|value| value.parse().unwrap()).collect();
            values.try_into().unwrap()
        })
        .collect();
    let values: Vec<f64> = (0..16_usize)
        .map(|set| {
            let shown = rows.iter().map(|hidden| {
                let mixed = std::array::from_fn(|at| if set >> at & 1 == 1 { row[at] } else { hidden[at] });
                probability(pipeline, mixed)
            });
            shown.sum::<f64>() / rows.len() as f64
        })
        .collect();
    let factorial = |n: usize| (1..=n).product::<usize>() as f64;
    let of = |at: usize| {
        let without = (0..16_usize).filter(|set| set >> at & 1 == 0);
        let terms = without.map(|set| {
            let size = set.count_ones() as usize;
            factorial(size) * factorial(3 - size) / factorial(4) * (values[set | 1 << at] - values[set])
        });
        terms.sum()
    };
    (values[0], (0..4).map(of).collect())
}

const ROW: [f64; 4] = [71.3, 2.2, 8.8, 57.25];

#[test]
fn shapley_values_are_those_of_the_definition_over_the_pipeline() {
    let mut pipeline = pump(&json!({}));
    let explanation = served(&mut pipeline, ROW, &mut || true).unwrap();
    assert!(explanation.exact && explanation.complete && explanation.is_additive());
    let (base, expected) = by_definition(&mut pipeline, ROW);
    let close = |actual: f64, expected: f64| assert!((actual - expected).abs() < 1e-7, "{actual} and not {expected}");
    close(explanation.base, base);
    close(explanation.prediction, probability(&mut pipeline, ROW));
    for (actual, expected) in contributions(&explanation).into_iter().zip(expected) {
        close(actual, expected);
    }
    // By the sample's own fields and values, though a plugin stands before the model.
    let first = &explanation.contributions[0];
    assert_eq!(
        (first.feature.as_str(), first.given.clone()),
        ("flow_l_min", Some(json!(71.3)))
    );
    assert!(
        first
            .value
            .as_ref()
            .and_then(Value::as_f64)
            .is_some_and(|value| value < 0.0)
    );
    assert_eq!(explanation.runs, 2 + 3 * (1 + 14));
    assert_eq!(explanation.runs, pipeline.explainer().unwrap().lock().max_runs());
}

#[test]
fn every_explanation_is_additive_wherever_it_is_cut_short() {
    let mut pipeline = pump(&json!({"groups": {"labels": ["a", "b", "a", "c"]}, "top": 2, "budget_ms": 1}));
    let mut random = 7_u64;
    let mut number = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 40) as f64 / f64::from(1 << 24)
    };
    for round in 0..60 {
        let values = [
            50.0 + 60.0 * number(),
            1.0 + 3.0 * number(),
            5.0 + 5.0 * number(),
            45.0 + 20.0 * number(),
        ];
        let mut batches = 0;
        let explained = served(&mut pipeline, values, &mut || {
            batches += 1;
            batches <= round % 30
        });
        let explanation = match explained {
            Err(ExplainError::TooEarly { runs, needed }) => {
                assert!(runs < needed && needed == 5, "{runs} of {needed}");
                continue;
            }
            explained => explained.unwrap(),
        };
        let listed: f64 = explanation.contributions.iter().map(|one| one.contribution).sum();
        let sum = explanation.base + listed + explanation.others.1;
        assert!(
            explanation.is_additive() && (sum - explanation.prediction).abs() < 1e-12,
            "{explanation:?}"
        );
        assert_eq!((explanation.contributions.len(), explanation.others.0), (2, 1));
        assert_eq!(explanation.complete, explanation.evaluations == explanation.planned);
    }
}

#[test]
fn samples_that_run_together_are_explained_each_by_its_own_features() {
    let mut pipeline = pump(&json!({}));
    let rows = [ROW, [90.0, 2.5, 9.0, 50.0], [60.0, 3.0, 7.0, 60.0]];
    let alone = rows.map(|row| served(&mut pipeline, row, &mut || true).unwrap());
    let samples = rows.map(|row| sample(&pipeline, row));
    let processed = pipeline.process_many(&samples, 0);
    for ((sample, processed), alone) in samples.iter().zip(&processed).zip(alone) {
        let features = pipeline.features_of(sample, processed.sequence).unwrap();
        let explainer = pipeline.explainer().unwrap();
        let mut time_left = || true;
        let mut together = explainer
            .lock()
            .explain_features(&features, &sample.tensors, &mut time_left)
            .unwrap();
        together.took = alone.took;
        assert_eq!(together, alone);
    }
    // Those of the call before are gone.
    let before = processed[0].sequence;
    pipeline.process(&samples[0], 0);
    assert!(pipeline.features_of(&samples[0], before).is_none());
}

#[test]
fn the_seed_and_no_more_decides() {
    let mut pipeline = pump(&json!({}));
    let mut twice = || served(&mut pipeline, ROW, &mut || true).unwrap();
    let (mut first, second) = (twice(), twice());
    first.took = second.took;
    assert_eq!(first, second);
}

#[test]
fn occlusion_says_what_is_lost_without_a_feature() {
    let mut pipeline = pump(&json!({"method": "occlusion"}));
    let explanation = served(&mut pipeline, ROW, &mut || true).unwrap();
    let mean = [85.0, 2.5, 24.5 / 3.0, 55.0];
    let full = probability(&mut pipeline, ROW);
    for (at, actual) in contributions(&explanation).into_iter().enumerate() {
        let mut hidden = ROW;
        hidden[at] = mean[at];
        let expected = full - probability(&mut pipeline, hidden);
        assert!((actual - expected).abs() < 1e-6, "{at}: {actual} and not {expected}");
    }
    assert!((explanation.base - probability(&mut pipeline, mean)).abs() < 1e-6);
    let sum: f64 = contributions(&explanation).iter().sum();
    assert!((explanation.base + sum + explanation.residual - explanation.prediction).abs() < 1e-12);
    assert_eq!(explanation.runs, pipeline.explainer().unwrap().lock().max_runs());
}

#[test]
fn a_window_is_explained_by_its_sensors_and_asks_for_as_many_samples() {
    let mut spec = spec(&json!({"groups": {"interleaved": 2}, "measure": "value"}));
    // The pump's four numbers are two lines of two.
    let mut input = spec.inputs[0].clone();
    input.tensor.shape = vec![Dim::Fixed(1), Dim::Fixed(2)];
    input.fields = vec!["flow".to_owned(), "power".to_owned()];
    spec.inputs = vec![input];
    let config = json!({
        "input": "sensors", "output": "x", "shape": [1, 2], "columns": 2, "length": 2, "hop": 1, "output_shape": [1, 4],
    });
    spec.preprocess = vec![stage("window", "window", config)];
    let pipeline = load(&spec, "flow,power\n1,2\n3,4\n5,6\n").unwrap();
    let explainer = pipeline.explainer().unwrap();
    assert_eq!(explainer.lock().background_rows(), 2, "three samples fill two windows");
    let explain = |samples: &[Value]| explainer.lock().explain_json(samples, &mut || true);
    let one = json!({"flow": 9, "power": 1});
    assert_eq!(explain(std::slice::from_ref(&one)).unwrap_err(), ExplainError::NotYet);
    // Nothing is left of the question before.
    assert_eq!(explain(std::slice::from_ref(&one)).unwrap_err(), ExplainError::NotYet);
    let (sample, explanation) = explain(&[one, json!({"flow": 8, "power": 0, "id": "last"})]).unwrap();
    assert_eq!((sample.id.as_str(), explanation.contributions.len()), ("last", 2));
    assert!(explanation.is_additive());
    assert_eq!(explain(&[]).unwrap_err(), ExplainError::Nothing);
    assert!(
        explain(&[json!({"flow": 1})])
            .unwrap_err()
            .to_string()
            .contains("no field")
    );
}

#[test]
fn what_does_not_fit_is_refused_where_it_is_loaded() {
    let refused = |explain: Value, background: &str, part: &str| {
        let error = load(&spec(&explain), background).err().unwrap();
        assert!(error.contains(part), "{error}");
    };
    refused(
        json!({}),
        "flow_l_min,pressure_bar\n1,2\n",
        "background background.csv: ",
    );
    refused(
        json!({}),
        &format!("{BACKGROUND},2,3,4\n"),
        "row 4 of x holds NaN or infinity",
    );
    refused(
        json!({"output": "label"}),
        BACKGROUND,
        "explain.output is \"label\", and an output of numbers",
    );
    refused(
        json!({"element": 1}),
        BACKGROUND,
        "explain.element is 1, and probability is FP32[1, 1]",
    );
    refused(
        json!({"groups": {"consecutive": 3}}),
        BACKGROUND,
        "4 features can't be shared out by 3",
    );
    refused(
        json!({"measure": "reconstruction-error"}),
        BACKGROUND,
        "no input has as many numbers",
    );
}

#[test]
fn a_bundle_that_declares_none_keeps_nothing() {
    let mut spec = spec(&json!({}));
    spec.explain = None;
    let mut pipeline = load(&spec, "").unwrap();
    let sample = sample(&pipeline, ROW);
    let sequence = pipeline.process(&sample, 0).sequence;
    assert!(pipeline.explainer().is_none() && pipeline.features_of(&sample, sequence).is_none());
}
