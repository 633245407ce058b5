//! What holds for every model, row, background, budget and end.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what can't be read should stop the test where it is"
)]

use floorhand_explanation::{EXACT_PLAYERS, Error, Explainer, Explanation, Groups, KernelShap, Options, Question};
use proptest::prelude::*;

/// A model that bends, with interactions of any order; smooth in nothing, the same in everything.
#[derive(Debug, Clone)]
struct Model {
    /// For each output a weight for each feature.
    weights: Vec<Vec<f32>>,
}

impl Model {
    fn outputs(&self, rows: &[f32], count: usize) -> Vec<f32> {
        let rows = rows.chunks_exact(rows.len() / count);
        rows.flat_map(|row| self.weights.iter().map(|weights| value(weights, row)))
            .collect()
    }
}

fn value(weights: &[f32], row: &[f32]) -> f32 {
    let products: Vec<f32> = weights.iter().zip(row).map(|(weight, value)| weight * value).collect();
    let sum: f32 = products.iter().sum();
    let largest = products.iter().copied().fold(f32::MIN, f32::max);
    let neighbours: f32 = products.windows(2).map(|pair| pair[0] * pair[1]).sum();
    100.0 + sum + 3.0 * largest + neighbours
}

/// A question with a model to answer it, and when to stop.
#[derive(Debug, Clone)]
struct Case {
    model: Model,
    labels: Vec<usize>,
    row: Vec<f32>,
    background: Vec<f32>,
    options: Options,
    /// Batches until the end; the batches that any estimate takes are made in any case.
    batches: usize,
}

impl Case {
    fn explainer(&self) -> KernelShap {
        let groups = Groups::from_labels(&self.labels).unwrap();
        let question = Question::new(groups, &self.row, &self.background, self.model.weights.len()).unwrap();
        KernelShap::new(question, &self.options).unwrap()
    }

    fn explain(&self) -> Explanation {
        let mut explainer = self.explainer();
        let mut batches = 0;
        while batches < self.batches || explainer.taken() < explainer.needed() {
            let Some(batch) = explainer.next_batch() else { break };
            let outputs = self.model.outputs(batch.rows, batch.count);
            explainer.take(&outputs).unwrap();
            batches += 1;
        }
        explainer.finish().unwrap()
    }
}

fn number() -> impl Strategy<Value = f32> {
    (-400..400_i32).prop_map(|number| number as f32 / 128.0)
}

fn case() -> impl Strategy<Value = Case> {
    (1..40_usize, 1..4_usize, 1..6_usize).prop_flat_map(|(features, outputs, rows)| {
        let options = (2..300_usize, any::<u64>(), 1..64_usize);
        (
            prop::collection::vec(prop::collection::vec(number(), features), outputs),
            1..=features,
            prop::collection::vec(number(), features),
            prop::collection::vec(number(), features * rows),
            options,
            0..400_usize,
        )
            .prop_map(
                |(weights, groups, row, background, (coalitions, seed, batch_rows), batches)| Case {
                    model: Model { weights },
                    labels: (0..row.len()).map(|column| column % groups).collect(),
                    row,
                    background,
                    options: Options {
                        coalitions,
                        seed,
                        batch_rows,
                    },
                    batches,
                },
            )
    })
}

/// Up to rounding: of a sum of as many terms as there are groups, of the size of the largest.
fn assert_additive(explanation: &Explanation) {
    for output in &explanation.outputs {
        let sum: f64 = output.attributions.iter().sum();
        let values = output.attributions.iter().chain([&output.base, &output.prediction]);
        let scale = values.map(|value| value.abs()).fold(1.0, f64::max);
        let difference = (output.base + sum - output.prediction).abs();
        assert!(difference <= 1e-12 * scale, "{difference} of {scale}");
        assert!(output.attributions.iter().all(|value| value.is_finite()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn base_and_attributions_add_up_wherever_it_ends(case in case()) {
        assert_additive(&case.explain());
    }

    #[test]
    fn the_same_question_has_the_same_answer_to_the_bit(case in case(), batch_rows in 1..300_usize) {
        let case = Case { batches: usize::MAX, ..case };
        let explanation = case.explain();
        prop_assert_eq!(&explanation, &case.explain());
        let options = Options { batch_rows, ..case.options };
        prop_assert_eq!(&explanation, &Case { options, ..case }.explain());
    }

    #[test]
    fn evaluations_are_as_many_as_was_said(case in case()) {
        let mut explainer = case.explainer();
        let stated = explainer.evaluations();
        let groups = case.labels.iter().max().unwrap() + 1;
        let rows = case.background.len() / case.row.len();
        prop_assert!(stated <= case.options.max_evaluations(groups, rows));
        let mut evaluations = 0;
        while let Some(batch) = explainer.next_batch() {
            prop_assert!(batch.count <= case.options.batch_rows);
            evaluations += batch.count;
            let outputs = case.model.outputs(batch.rows, batch.count);
            explainer.take(&outputs).unwrap();
        }
        prop_assert_eq!(evaluations, stated);
        prop_assert_eq!(explainer.finish().unwrap().coalitions, explainer.planned_coalitions());
    }

    #[test]
    fn ten_groups_and_fewer_are_exact_and_a_dummy_has_nothing(case in case()) {
        let features = case.row.len().min(EXACT_PLAYERS);
        let mut case = Case { batches: usize::MAX, ..case };
        let groups = case.labels.iter().map(|label| label % features).collect();
        case.labels = groups;
        // Added at the end, where its weight of 0 isn't a neighbour's business; what the model sees of it is 0 always.
        let dummy = case.labels.iter().max().unwrap().min(&(EXACT_PLAYERS - 2)) + 1;
        for label in &mut case.labels {
            *label = (*label).min(dummy - 1);
        }
        let rows = case.background.chunks(case.row.len());
        case.background = rows.flat_map(|row| row.iter().copied().chain([7.5])).collect();
        case.row.push(-3.25);
        case.labels.push(dummy);
        let explanation = explain_without_last(&case);
        prop_assert!(explanation.exact);
        assert_additive(&explanation);
        for output in &explanation.outputs {
            prop_assert_eq!(output.attributions[dummy], 0.0);
        }
    }

    #[test]
    fn features_that_do_the_same_get_the_same(case in case(), twin in number(), hidden in number()) {
        let mut case = Case { batches: usize::MAX, ..case };
        // Few enough to be exact with two more; their sum is all that the model sees of the twins.
        let features = case.row.len().min(EXACT_PLAYERS - 2);
        let row: Vec<f32> = case.row[..features].iter().copied().chain([twin, twin]).collect();
        let rows = case.background.chunks(case.row.len());
        case.background = rows.flat_map(|row| row[..features].iter().copied().chain([hidden, hidden])).collect();
        case.row = row;
        case.labels = (0..features + 2).collect();
        let weights = case.model.weights.clone();
        let model = |row: &[f32]| -> Vec<f32> {
            let twins = row[features] + row[features + 1];
            let seen: Vec<f32> = row[..features].iter().copied().chain([twins]).collect();
            weights.iter().map(|weights| value(&weights[..features.min(weights.len())], &seen) + twins * twins).collect()
        };
        let explanation = explain_with(&case, model);
        for output in &explanation.outputs {
            let (one, other) = (output.attributions[features], output.attributions[features + 1]);
            prop_assert!((one - other).abs() <= 1e-11 * one.abs().max(100.0), "{} and {}", one, other);
        }
    }
}

fn explain_without_last(case: &Case) -> Explanation {
    explain_with(case, |row| case.model.outputs(&row[..row.len() - 1], 1))
}

fn explain_with(case: &Case, model: impl Fn(&[f32]) -> Vec<f32>) -> Explanation {
    let mut explainer = case.explainer();
    while let Some(batch) = explainer.next_batch() {
        let outputs: Vec<f32> = batch.rows.chunks_exact(case.row.len()).flat_map(&model).collect();
        explainer.take(&outputs).unwrap();
    }
    explainer.finish().unwrap()
}

fn question(features: usize) -> Question {
    Question::new(
        Groups::single(features).unwrap(),
        &vec![1.0; features],
        &vec![0.0; features],
        1,
    )
    .unwrap()
}

#[test]
fn options_outside_of_their_limits_are_refused() {
    for (options, expected) in [
        (
            Options {
                coalitions: 1,
                ..Options::default()
            },
            Error::Coalitions(1),
        ),
        (
            Options {
                coalitions: 4097,
                ..Options::default()
            },
            Error::Coalitions(4097),
        ),
        (
            Options {
                batch_rows: 0,
                ..Options::default()
            },
            Error::BatchRows(0),
        ),
        (
            Options {
                batch_rows: 4097,
                ..Options::default()
            },
            Error::BatchRows(4097),
        ),
    ] {
        assert_eq!(KernelShap::new(question(3), &options).unwrap_err(), expected);
    }
}

#[test]
fn an_end_before_the_base_is_known_is_an_error() {
    let mut explainer = KernelShap::new(
        question(20),
        &Options {
            batch_rows: 1,
            ..Options::default()
        },
    )
    .unwrap();
    for taken in 0..2 {
        assert_eq!(explainer.finish(), Err(Error::TooEarly { needed: 2, taken }));
        explainer.next_batch().unwrap();
        explainer.take(&[10.0_f64 - 5.0 * taken as f64]).unwrap();
    }
    let explanation = explainer.finish().unwrap();
    assert_eq!((explanation.coalitions, explanation.exact), (0, false));
    assert_eq!(explanation.outputs[0].attributions, vec![0.25; 20], "shared evenly");
}

#[test]
fn not_a_number_is_an_error_that_names_it() {
    let mut explainer = KernelShap::new(question(4), &Options::default()).unwrap();
    let count = explainer.next_batch().unwrap().count;
    let mut outputs = vec![1.0_f32; count];
    outputs[5] = f32::NAN;
    let error = explainer.take(&outputs).unwrap_err();
    assert_eq!(
        error,
        Error::NotFinite {
            output: 0,
            evaluation: 5,
            value: "NaN"
        }
    );
    outputs[5] = 1.0;
    explainer.take(&outputs).unwrap();
    assert!(explainer.finish().unwrap().exact);
}

#[test]
fn outputs_too_large_for_differences_are_an_error() {
    let mut explainer = KernelShap::new(
        question(1),
        &Options {
            batch_rows: 1,
            ..Options::default()
        },
    )
    .unwrap();
    for output in [f64::MAX, -f64::MAX] {
        explainer.next_batch().unwrap();
        explainer.take(&[output]).unwrap();
    }
    assert_eq!(explainer.finish(), Err(Error::Overflow(0)));
}

#[test]
fn a_row_like_its_background_needs_no_coalitions() {
    let question = Question::new(Groups::single(2).unwrap(), &[1.0, 2.0], &[1.0, 2.0, 1.0, 2.0], 1).unwrap();
    let mut explainer = KernelShap::new(question, &Options::default()).unwrap();
    assert_eq!(explainer.evaluations(), 3);
    explainer.next_batch().unwrap();
    explainer.take(&[4.0_f32; 3]).unwrap();
    let explanation = explainer.finish().unwrap();
    assert!(explanation.exact);
    assert_eq!(explanation.outputs[0].attributions, [0.0, 0.0]);
}

#[test]
fn the_largest_question_is_answered() {
    let options = Options {
        coalitions: 1024,
        batch_rows: 1024,
        ..Options::default()
    };
    let mut explainer = KernelShap::new(question(256), &options).unwrap();
    while let Some(batch) = explainer.next_batch() {
        let sum = |row: &[f32]| {
            row.iter()
                .zip(1_i16..)
                .map(|(value, weight)| value * f32::from(weight))
                .sum()
        };
        let outputs: Vec<f32> = batch.rows.chunks(256).map(sum).collect();
        explainer.take(&outputs).unwrap();
    }
    let explanation = explainer.finish().unwrap();
    for (value, weight) in explanation.outputs[0].attributions.iter().zip(1_i16..) {
        assert!((value - f64::from(weight)).abs() < 1e-8, "{value} and not {weight}");
    }
}
