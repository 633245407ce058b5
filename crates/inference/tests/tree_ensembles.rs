//! Tree ensembles: every recorded case through a loaded model, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests need more of it")]
mod ml;
#[expect(dead_code, reason = "other tests need more of it")]
mod onnx;
#[expect(dead_code, reason = "other tests need more of it")]
mod recorded;

use floorhand_inference::Tract;
use ml::Held::{Floats, Int, Ints, String as Text, Strings};
use ml::{Held, refused};
use tract_onnx::pb::tensor_proto::DataType;

/// What ONNX Runtime answers, recorded by `oracle_tree_ensembles.py`.
const CASES: &str = include_str!("tree_ensembles.json");

#[test]
fn answers_are_those_of_onnx_runtime() {
    recorded::check(
        &Tract,
        CASES,
        140,
        |name| if name.contains("PROBIT") { 1e-4 } else { 1e-6 },
    );
}

type Attribute = (&'static str, Held<'static>);

/// One tree of a split and two leaves, that asks for feature 2.
fn nodes() -> Vec<Attribute> {
    vec![
        ("nodes_treeids", Ints(&[0, 0, 0])),
        ("nodes_nodeids", Ints(&[0, 1, 2])),
        ("nodes_featureids", Ints(&[2, 0, 0])),
        ("nodes_modes", Strings(&["BRANCH_LEQ", "LEAF", "LEAF"])),
        ("nodes_values", Floats(&[0.5, 0.0, 0.0])),
        ("nodes_truenodeids", Ints(&[1, 0, 0])),
        ("nodes_falsenodeids", Ints(&[2, 0, 0])),
    ]
}

fn regressor() -> Vec<Attribute> {
    let mut all = nodes();
    all.extend([
        ("target_treeids", Ints(&[0, 0])),
        ("target_nodeids", Ints(&[1, 2])),
        ("target_ids", Ints(&[0, 0])),
        ("target_weights", Floats(&[1.0, 2.0])),
    ]);
    all
}

fn classifier() -> Vec<Attribute> {
    let mut all = nodes();
    all.extend([
        ("class_treeids", Ints(&[0, 0])),
        ("class_nodeids", Ints(&[1, 2])),
        ("class_ids", Ints(&[0, 0])),
        ("class_weights", Floats(&[1.0, 2.0])),
        ("classlabels_int64s", Ints(&[0, 1])),
    ]);
    all
}

/// The attributes with one in the place of another of its name, or beside them.
fn with(mut all: Vec<Attribute>, other: Attribute) -> Vec<Attribute> {
    all.retain(|(name, _)| *name != other.0);
    all.push(other);
    all
}

#[test]
fn trees_that_are_none_are_refused() {
    let check = |other: Attribute, expected: &str| {
        refused(
            "TreeEnsembleRegressor",
            DataType::Float,
            &with(regressor(), other),
            expected,
        );
    };
    check(
        ("nodes_modes", Strings(&["BRANCH_ODD", "LEAF", "LEAF"])),
        r#"holds "BRANCH_ODD", which is not supported"#,
    );
    check(
        ("nodes_values", Floats(&[0.5])),
        r#"attribute "nodes_values": has 1 values, and "nodes_treeids" has 3"#,
    );
    check(
        ("nodes_truenodeids", Ints(&[7, 0, 0])),
        "names node 7 of tree 0, which isn't there",
    );
    check(
        ("nodes_truenodeids", Ints(&[0, 0, 0])),
        "vertex 0 is reached in two ways",
    );
    check(
        ("nodes_truenodeids", Ints(&[2, 0, 0])),
        "vertex 2 is reached in two ways",
    );
    check(("nodes_nodeids", Ints(&[0, 1, 1])), "has node 1 of tree 0 twice");
    check(("nodes_treeids", Ints(&[0, 1, 0])), "has tree 0 in two places");
    check(
        ("nodes_featureids", Ints(&[-1, 0, 0])),
        "holds -1; export the model again",
    );
    check(
        ("nodes_featureids", Ints(&[1 << 40, 0, 0])),
        "asks for feature 1099511627776",
    );
    check(
        ("nodes_featureids", Ints(&[3, 0, 0])),
        "asks for 4 features, and its input has 3",
    );
    check(("target_ids", Ints(&[0, 1])), "gives to target 1, and there are 1");
    check(("target_nodeids", Ints(&[1, 5])), "names node 5 of tree 0");
    check(("n_targets", Int(0)), "is 0; give 1 to 65536");
    check(("n_targets", Int(i64::MAX)), "give 1 to 65536");
    check(("base_values", Floats(&[1.0, 2.0])), "has 2 values for 1 targets");
    check(("aggregate_function", Text("MEDIAN")), r#"is "MEDIAN"; write SUM"#);
    check(("nodes_missing_value_tracks_true", Ints(&[1])), "has 1 values");
}

#[test]
fn classifiers_without_a_clear_answer_are_refused() {
    let check = |other: Attribute, expected: &str| {
        refused(
            "TreeEnsembleClassifier",
            DataType::Float,
            &with(classifier(), other),
            expected,
        );
    };
    check(("class_ids", Ints(&[0, 1])), "gives weights to both of two classes");
    check(("classlabels_int64s", Ints(&[0])), "names fewer than two classes");
    check(("classlabels_strings", Strings(&["a", "b"])), "not in both");
    check(
        ("base_values", Floats(&[0.5, 0.5])),
        "has 2 values, and 1 are supported here",
    );
    check(("post_transform", Text("PROBIT")), "leaves the second undefined");
    refused(
        "TreeEnsembleClassifier",
        DataType::String,
        &classifier(),
        "is given String; cast the input",
    );
}
