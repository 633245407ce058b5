//! Compares with what the `shap` package gave for the same models: `cases/oracle.json`, written by `oracle.py`.
//!
//! An error is the length of the difference between attributions over the length of those recorded, the mean over rows and
//! seeds.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a malformed case file should stop the test where it is"
)]

mod models;

use floorhand_explanation::{Explanation, Groups, KernelShap, Options, Question, explain};
use models::{Model, array, numbers};
use serde_json::Value;
use std::convert::Infallible;

/// Of exact values, relative to the largest attribution of the row.
const TOLERANCE: f64 = 1e-6;

/// Seeds of each sampled case.
const SEEDS: u64 = 3;

/// Errors of a case's estimates with 256 coalitions: the case, the most that the mean over rows and seeds may be, and the
/// most for one row and seed. Measured over 100 seeds (README.md); half more is allowed.
const BOUNDS: &[(&str, f64, f64)] = &[
    ("boosted trees, 30", 0.022, 0.033),
    ("boosted trees, 31", 0.024, 0.052),
    ("boosted trees, 64", 0.073, 0.12),
    ("linear, 30", 1e-12, 1e-12),
    ("autoencoder, 30", 0.13, 0.41),
    ("autoencoder, 31", 0.062, 0.14),
    ("autoencoder, 64", 0.16, 0.36),
];

/// A mean over this few rows and seeds is by chance up to a tenth larger than over many.
const CHANCE: f64 = 1.1;

struct Case {
    name: String,
    model: Model,
    background: Vec<f32>,
    groups: Groups,
    base: Vec<f64>,
    rows: Vec<Row>,
    recorded: Value,
}

struct Row {
    row: Vec<f32>,
    output: Vec<f64>,
    /// For each output.
    attributions: Vec<Vec<f64>>,
}

fn cases(of: &str) -> Vec<Case> {
    let cases: Value = serde_json::from_str(include_str!("cases/oracle.json")).unwrap();
    array(&cases[of]).iter().map(Case::read).collect()
}

/// Multiples of 1/256: exact.
fn inputs(value: &Value) -> Vec<f32> {
    numbers(value).iter().map(|&number| number as f32).collect()
}

impl Case {
    fn read(value: &Value) -> Self {
        let background = array(&value["background"]);
        let features = array(&background[0]).len();
        let groups = match value.get("labels") {
            Some(labels) => {
                let labels: Vec<usize> = numbers(labels).iter().map(|&label| label as usize).collect();
                Groups::from_labels(&labels).unwrap()
            }
            None => Groups::single(features).unwrap(),
        };
        Self {
            name: value["name"].as_str().unwrap().to_owned(),
            model: Model::read(&value["model"]),
            background: background.iter().flat_map(inputs).collect(),
            groups,
            base: numbers(&value["base"]),
            rows: array(&value["rows"]).iter().map(Row::read).collect(),
            recorded: value.clone(),
        }
    }

    fn explain(&self, row: &Row, options: &Options) -> Explanation {
        let question = Question::new(self.groups.clone(), &row.row, &self.background, self.base.len()).unwrap();
        let mut explainer = KernelShap::new(question, options).unwrap();
        let model = |rows: &[f32], count: usize| Ok::<Vec<f64>, Infallible>(self.model.outputs(rows, count));
        explain(&mut explainer, model, || true).unwrap()
    }

    /// Of single-output models, for every row and seed.
    fn errors(&self, coalitions: usize, seeds: u64) -> Vec<f64> {
        let mut errors = Vec::new();
        for seed in 0..seeds {
            for row in &self.rows {
                let options = Options {
                    coalitions,
                    seed,
                    ..Options::default()
                };
                let explanation = self.explain(row, &options);
                errors.push(error(&explanation.outputs[0].attributions, &row.attributions[0]));
            }
        }
        errors
    }
}

impl Row {
    fn read(value: &Value) -> Self {
        Self {
            row: inputs(&value["row"]),
            output: numbers(&value["output"]),
            attributions: array(&value["attributions"]).iter().map(numbers).collect(),
        }
    }
}

fn error(actual: &[f64], expected: &[f64]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = length(&mut actual.iter().zip(expected).map(|(actual, expected)| actual - expected));
    difference / length(&mut expected.iter().copied())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn largest(values: &[f64]) -> f64 {
    values.iter().map(|value| value.abs()).fold(0.0, f64::max)
}

fn close(actual: f64, expected: f64, scale: f64, what: &str) {
    assert!(
        (actual - expected).abs() <= TOLERANCE * scale,
        "{what}: {actual} and not {expected}"
    );
}

#[test]
fn exact_values_are_those_of_shap() {
    for case in cases("exact") {
        let mut worst = 0.0_f64;
        for row in &case.rows {
            let explanation = case.explain(row, &Options::default());
            assert!(explanation.exact);
            for (output, found) in explanation.outputs.iter().enumerate() {
                let expected = &row.attributions[output];
                let scale = largest(expected);
                close(found.base, case.base[output], scale, &case.name);
                close(found.prediction, row.output[output], scale, &case.name);
                for (actual, expected) in found.attributions.iter().zip(expected) {
                    close(*actual, *expected, scale, &case.name);
                    worst = worst.max((actual - expected).abs() / scale);
                }
            }
        }
        println!("{}: {worst:.1e}", case.name);
    }
}

/// Run with `FLOORHAND_EXPLANATION_SEEDS=100` for README.md's figures.
#[test]
fn estimates_are_within_their_bounds_and_no_worse_than_those_of_shap() {
    let seeds = std::env::var("FLOORHAND_EXPLANATION_SEEDS");
    let seeds = seeds.ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let cases = cases("sampled");
    assert_eq!(cases.len(), BOUNDS.len());
    for case in cases {
        let errors = case.errors(256, seeds);
        let (_, mean_bound, bound) = BOUNDS.iter().find(|(name, ..)| *name == case.name).unwrap();
        let kernel = |kind: &str| case.recorded["kernel"][kind].as_f64().unwrap();
        let (ours, worst) = (mean(&errors), largest(&errors));
        println!(
            "{}: mean {ours:.2e}, worst {worst:.2e}; KernelExplainer's mean {:.2e}, by default {:.2e}",
            case.name,
            kernel("plain"),
            kernel("default")
        );
        assert!(ours <= *mean_bound && worst <= *bound, "{}: {ours}, {worst}", case.name);
        assert!(ours <= (CHANCE * kernel("plain")).max(1e-12), "{}", case.name);
        assert!(ours <= kernel("default"), "{}", case.name);
    }
}

#[test]
fn errors_fall_as_the_budget_rises() {
    for case in cases("sampled") {
        let mean_of = |coalitions| mean(&case.errors(coalitions, 1));
        let (few, more) = (mean_of(256), mean_of(1024));
        println!("{}: {few:.2e}, {more:.2e}", case.name);
        if few > 1e-12 {
            // With the square root of the budget or faster; the reference of an autoencoder is an estimate, too.
            let uncertainty = case.recorded.get("uncertainty").and_then(Value::as_f64).unwrap_or(0.0);
            assert!(more < 0.7 * few + uncertainty, "{}", case.name);
        }
    }
}
