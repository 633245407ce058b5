//! What an explainer found, and the same as JSON.

use crate::encode::ResultHead;
use floorhand_bundle::ExplainMethod;
use serde_json::{Map, Number, Value};
use std::time::Duration;

/// One feature's part, or a group's.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// What it is called.
    pub feature: String,
    /// Its value as the model was given it, a number or a text; null for what is no finite number. None for a group of several columns.
    pub value: Option<Value>,
    /// What the sample itself has there, where preprocessing makes one value of one, e.g. scales it.
    pub given: Option<Value>,
    /// What it adds to the output, in the output's unit.
    pub contribution: f64,
}

/// Why a model gave what it gave. `base`, all contributions, those of the others and `residual` add up to `prediction`.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// How it was found.
    pub method: ExplainMethod,
    /// Which coalitions were drawn.
    pub seed: u64,
    /// The model's output.
    pub output: String,
    /// Which of its elements; none where its reconstruction error is explained.
    pub element: Option<usize>,
    /// KernelSHAP: the mean of the output over the background. Occlusion: the output at the background's mean.
    pub base: f64,
    /// The output for the sample.
    pub prediction: f64,
    /// The largest contributions, the largest first.
    pub contributions: Vec<Contribution>,
    /// How many further features there are, and what they add together.
    pub others: (usize, f64),
    /// What is left. KernelSHAP: rounding. Occlusion: what features do only together, and what those do that weren't evaluated
    /// when time was up.
    pub residual: f64,
    /// Coalitions that were evaluated, beside the one of nobody and that of all; of occlusion the groups.
    pub evaluations: usize,
    /// How many of these were planned.
    pub planned: usize,
    /// Rows of the background that were compared with.
    pub background_rows: usize,
    /// How often the model was run.
    pub runs: usize,
    /// Whether contributions are the Shapley values, up to rounding.
    pub exact: bool,
    /// False when time was up before all was evaluated: then it is what was known.
    pub complete: bool,
    /// How long it took.
    pub took: Duration,
}

/// What a method gives, group by group.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    pub(super) base: f64,
    pub(super) prediction: f64,
    /// None for a group that time didn't suffice for.
    pub(super) contributions: Vec<Option<f64>>,
    pub(super) evaluations: usize,
    pub(super) planned: usize,
    pub(super) runs: usize,
    pub(super) exact: bool,
    pub(super) complete: bool,
}

/// A group's name, and its values where it is one column.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) feature: String,
    pub(super) value: Option<Value>,
    pub(super) given: Option<Value>,
}

impl Explanation {
    /// With names and values in the groups' order, of which `most` are listed.
    pub(super) fn of(shares: Shares, named: Vec<Named>, most: usize) -> Self {
        let known: f64 = shares.contributions.iter().flatten().sum();
        let mut contributions: Vec<Contribution> = named
            .into_iter()
            .zip(&shares.contributions)
            .filter_map(|(Named { feature, value, given }, contribution)| {
                let contribution = (*contribution)?;
                Some(Contribution {
                    feature,
                    value,
                    given,
                    contribution,
                })
            })
            .collect();
        // Those alike stay in their order.
        contributions.sort_by(|a, b| b.contribution.abs().total_cmp(&a.contribution.abs()));
        let rest = contributions.split_off(most.min(contributions.len()));
        Self {
            method: ExplainMethod::default(),
            seed: 0,
            output: String::new(),
            element: None,
            base: shares.base,
            prediction: shares.prediction,
            contributions,
            // A sum of nothing is -0.
            others: (
                rest.len(),
                rest.iter().map(|other| other.contribution).sum::<f64>() + 0.0,
            ),
            residual: shares.prediction - shares.base - known,
            evaluations: shares.evaluations,
            planned: shares.planned,
            background_rows: 0,
            runs: shares.runs,
            exact: shares.exact,
            complete: shares.complete,
            took: Duration::ZERO,
        }
    }

    /// Whether all parts add up to the output, as far as numbers of 64 bits can: those of KernelSHAP always do.
    #[must_use]
    pub fn is_additive(&self) -> bool {
        let largest = self.contributions.first().map_or(0.0, |first| first.contribution.abs());
        let scale = [self.base.abs(), self.prediction.abs(), largest]
            .into_iter()
            .fold(1.0, f64::max);
        self.method == ExplainMethod::Occlusion || self.residual.abs() <= 1e-9 * scale
    }
}

/// An explanation as one JSON object, `"kind": "explanation"`. `why` says who wanted it: a finding's stage and kind, or nobody.
#[must_use]
pub fn explanation_json(head: &ResultHead<'_>, why: &str, explanation: &Explanation) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        object.insert(name.to_owned(), value);
    };
    put("kind", "explanation".into());
    if !head.id.is_empty() {
        put("id", head.id.into());
    }
    if let Some(key) = head.key {
        put("key", key.into());
    }
    put("time_ms", head.time_ms.into());
    put("sample", head.sequence.into());
    put("bundle", head.bundle.to_string().into());
    put("why", why.into());
    put("method", explanation.method.name().into());
    put("seed", explanation.seed.into());
    put("output", explanation.output.clone().into());
    if let Some(element) = explanation.element {
        put("element", element.into());
    }
    put("base", number(explanation.base));
    put("prediction", number(explanation.prediction));
    put("features", explanation.contributions.iter().map(feature).collect());
    put("other_features", explanation.others.0.into());
    put("others", number(explanation.others.1));
    put("residual", number(explanation.residual));
    put("evaluations", explanation.evaluations.into());
    put("planned", explanation.planned.into());
    put("background_rows", explanation.background_rows.into());
    put("runs", explanation.runs.into());
    put("exact", explanation.exact.into());
    put("complete", explanation.complete.into());
    put("took_ms", number(explanation.took.as_micros() as f64 / 1000.0));
    Value::Object(object)
}

fn feature(contribution: &Contribution) -> Value {
    let mut object = Map::new();
    object.insert("feature".to_owned(), contribution.feature.clone().into());
    if let Some(value) = &contribution.value {
        object.insert("value".to_owned(), value.clone());
    }
    if let Some(given) = &contribution.given {
        object.insert("given".to_owned(), given.clone());
    }
    object.insert("contribution".to_owned(), number(contribution.contribution));
    Value::Object(object)
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::Digest;

    fn explanation(most: usize) -> Explanation {
        let shares = Shares {
            base: 1.0,
            prediction: 2.0,
            contributions: vec![Some(0.25), Some(-1.5), None, Some(2.25)],
            evaluations: 3,
            planned: 4,
            runs: 9,
            exact: false,
            complete: false,
        };
        let named = ["a", "b", "c", "d"].map(|name| Named {
            feature: name.to_owned(),
            value: (name != "b").then(|| Value::from(7)),
            given: (name == "d").then(|| Value::from(70)),
        });
        Explanation::of(shares, named.to_vec(), most)
    }

    #[test]
    fn the_largest_are_listed_and_the_others_added_up() {
        let all = explanation(9);
        let listed = |explanation: &Explanation| {
            let names = explanation.contributions.iter().map(|one| one.feature.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(
            (listed(&all), all.others, all.residual),
            (vec!["d".into(), "b".into(), "a".into()], (0, 0.0), 0.0)
        );
        let two = explanation(1);
        assert_eq!((listed(&two), two.others), (vec!["d".to_owned()], (2, -1.25)));
        assert!(two.is_additive());
    }

    #[test]
    fn an_explanation_is_one_line_that_can_be_traced() {
        let head = ResultHead {
            id: "s1",
            key: None,
            time_ms: 5,
            sequence: 7,
            bundle: Digest::of(b"b"),
            engine: None,
        };
        let text = explanation_json(&head, "drift/psi", &explanation(2)).to_string();
        let expected = format!(
            concat!(
                r#"{{"background_rows":0,"base":1.0,"bundle":"{}","complete":false,"element":0,"evaluations":3,"exact":false,"#,
                r#""features":[{{"contribution":2.25,"feature":"d","given":70,"value":7}},{{"contribution":-1.5,"feature":"b"}}],"id":"s1","#,
                r#""kind":"explanation","method":"kernel-shap","other_features":1,"others":0.25,"output":"","planned":4,"#,
                r#""prediction":2.0,"residual":0.0,"runs":9,"sample":7,"seed":0,"time_ms":5,"took_ms":0.0,"why":"drift/psi"}}"#
            ),
            Digest::of(b"b")
        );
        assert_eq!(text, expected.replace(r#""element":0,"#, ""));
    }
}
