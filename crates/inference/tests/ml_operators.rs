//! The operators of `ai.onnx.ml`: every recorded case through a loaded model, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod ml;
#[expect(dead_code, reason = "other tests need more of it")]
mod onnx;
#[expect(dead_code, reason = "other tests need more of it")]
mod recorded;

use floorhand_inference::{LoadOptions, Model, Tract};
use floorhand_tensor::Tensor;
use ml::{Held, model, refused};
use onnx::Size;
use tract_onnx::pb::GraphProto;
use tract_onnx::pb::tensor_proto::DataType;

/// What ONNX Runtime answers, recorded by `oracle_ml_operators.py`.
const CASES: &str = include_str!("ml_operators.json");

/// Why these differ more in some cases: `src/ml/tests.rs`.
fn tolerance(name: &str) -> f64 {
    if name.contains("PROBIT") {
        1e-4
    } else if name.contains("POLY") {
        1e-5
    } else {
        1e-6
    }
}

#[test]
fn answers_are_those_of_onnx_runtime() {
    recorded::check(&Tract, CASES, 400, tolerance);
}

use ml::Held::{Float, Floats, Int, Ints, String as Text, Strings};

#[test]
fn attributes_that_do_not_fit_are_refused() {
    let float = DataType::Float;
    let check = |operator, attributes: &[(&str, Held)], expected| refused(operator, float, attributes, expected);
    check("Scaler", &[], r#"attribute "scale": has 0 values beside 0 of "offset""#);
    let scale = || ("scale", Floats(&[1.0, 2.0]));
    check("Scaler", &[scale()], "has 2 values beside 0");
    check(
        "Scaler",
        &[scale(), ("offset", Floats(&[0.0; 2]))],
        "has 2 values, the input 3 columns",
    );
    check(
        "Scaler",
        &[scale(), ("offset", Ints(&[0, 0]))],
        r#"attribute "offset": is INTS, not FLOATS"#,
    );
    check("Scaler", &[scale(), scale()], r#"attribute "scale": is there twice"#);
    let one = |name| (name, Floats(&[1.0]));
    check(
        "Scaler",
        &[one("scale"), one("offset"), one("bias")],
        r#"attribute "bias": is not one that version 5"#,
    );
    check(
        "Normalizer",
        &[("norm", Text("L3"))],
        r#"attribute "norm": is "L3"; write MAX, L1 or L2"#,
    );
    check("Binarizer", &[("threshold", Int(1))], "is INT, not FLOAT");
    check("Imputer", &[], "give values in either");
    check("Imputer", &[("imputed_value_int64s", Ints(&[1]))], "cast the input");
    check(
        "Imputer",
        &[("imputed_value_floats", Floats(&[1.0, 2.0]))],
        "has 2 values, the input 3 columns",
    );
    check(
        "OneHotEncoder",
        &[("cats_strings", Strings(&["a"]))],
        "takes [String], is given F32",
    );
    check(
        "OneHotEncoder",
        &[("cats_strings", Strings(&["a"])), ("cats_int64s", Ints(&[1]))],
        "not in both",
    );
    check(
        "FeatureVectorizer",
        &[("inputdimensions", Ints(&[1, 2]))],
        "has 2 widths for 1 inputs",
    );
    check("FeatureVectorizer", &[("inputdimensions", Ints(&[-1]))], "at least 0");
    check(
        "FeatureVectorizer",
        &[("inputdimensions", Ints(&[i64::MAX]))],
        "at most 2^24",
    );
    check(
        "ZipMap",
        &[("classlabels_int64s", Ints(&[1, 2]))],
        "has 2 class labels for 3 columns",
    );
    check(
        "CategoryMapper",
        &[("cats_strings", Strings(&["a"]))],
        r#"has 1 names for 0 of "cats_int64s""#,
    );
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let check = |attributes: &[(&str, Held)], expected| refused("LabelEncoder", DataType::Float, attributes, expected);
    let keys = || ("keys_floats", Floats(&[1.0, 2.0]));
    check(&[], r#"attribute "keys_int64s": is missing"#);
    check(&[keys()], r#"attribute "values_int64s": is missing"#);
    check(
        &[keys(), ("values_int64s", Ints(&[1]))],
        r#"attribute "keys_floats": has 2 keys for 1 of "values_int64s""#,
    );
    check(
        &[keys(), ("keys_strings", Strings(&["a"])), ("values_int64s", Ints(&[1]))],
        "leave one out",
    );
    check(
        &[("keys_int64s", Ints(&[1])), ("values_floats", Floats(&[1.0]))],
        "takes [I64], is given F32",
    );
    check(
        &[keys(), ("values_int64s", Ints(&[1, 2])), ("default_float", Int(1))],
        "is INT, not FLOAT",
    );
}

#[test]
fn models_that_do_not_fit_are_refused() {
    let linear =
        |attributes: &[(&str, Held)], expected| refused("LinearClassifier", DataType::Float, attributes, expected);
    let labels = || ("classlabels_ints", Ints(&[1, 2]));
    let row = || ("coefficients", Floats(&[1.0; 3]));
    let single = || ("intercepts", Floats(&[0.5]));
    linear(&[row(), single()], r#"attribute "classlabels_ints": give labels"#);
    linear(&[row(), labels()], r#"attribute "intercepts": is missing"#);
    linear(
        &[labels(), single()],
        r#"attribute "coefficients": has 0 values for 1 scores"#,
    );
    linear(
        &[labels(), single(), ("coefficients", Floats(&[1.0; 4]))],
        "rows of 4 values, the input 3 columns",
    );
    linear(
        &[labels(), row(), ("intercepts", Floats(&[0.0; 3]))],
        "has 3 values for 2 class labels",
    );
    linear(
        &[labels(), row(), single(), ("post_transform", Text("PROBIT"))],
        r#"attribute "post_transform": is PROBIT"#,
    );
    linear(
        &[labels(), row(), single(), ("post_transform", Text("TANH"))],
        r#"is "TANH"; write NONE"#,
    );
    linear(&[("classlabels_ints", Ints(&[1])), row(), single()], "has one class");
    let regressor =
        |attributes: &[(&str, Held)], expected| refused("LinearRegressor", DataType::Float, attributes, expected);
    regressor(&[], r#"attribute "targets": is 1, with 0 coefficients"#);
    regressor(&[row(), ("targets", Int(i64::MAX))], "give at least one target");
    regressor(
        &[row(), ("intercepts", Floats(&[0.0; 2]))],
        "has 2 values for 1 targets",
    );
    refused(
        "LinearRegressor",
        DataType::Bool,
        &[row()],
        "is given Bool; cast the input",
    );
}

#[test]
fn support_vectors_that_do_not_fit_are_refused() {
    let labels = || ("classlabels_ints", Ints(&[1, 2]));
    let vectors = || ("support_vectors", Floats(&[1.0; 6]));
    let counts = || ("vectors_per_class", Ints(&[1, 1]));
    let weights = || ("coefficients", Floats(&[1.0, -1.0]));
    let rho = || ("rho", Floats(&[0.5]));
    let check = |attributes: &[(&str, Held)], expected| refused("SVMClassifier", DataType::Float, attributes, expected);
    check(
        &[labels(), vectors(), weights(), rho()],
        r#""vectors_per_class" says there are none"#,
    );
    check(
        &[labels(), vectors(), counts(), rho()],
        r#"attribute "coefficients": has 0 values for 2 classes"#,
    );
    check(
        &[labels(), vectors(), counts(), weights()],
        r#"attribute "rho": has 0 values for 1 pairs"#,
    );
    check(
        &[labels(), counts(), weights(), rho()],
        r#"attribute "support_vectors": has 0 values for 2 vectors"#,
    );
    let many = ("vectors_per_class", Ints(&[i64::MAX, i64::MAX]));
    check(
        &[labels(), vectors(), many, weights(), rho()],
        r#"attribute "vectors_per_class": is"#,
    );
    let probability = ("prob_a", Floats(&[1.0]));
    check(
        &[labels(), vectors(), counts(), weights(), rho(), probability],
        r#"has 1 values beside 0 of "prob_b""#,
    );
    let kernel = ("kernel_type", Text("RBF"));
    check(
        &[labels(), vectors(), counts(), weights(), rho(), kernel],
        r#"attribute "kernel_params": has 0 values"#,
    );
    let probit = ("post_transform", Text("PROBIT"));
    check(
        &[labels(), vectors(), counts(), weights(), rho(), probit],
        "leaves the second undefined",
    );
    let check = |attributes: &[(&str, Held)], expected| refused("SVMRegressor", DataType::Float, attributes, expected);
    check(&[vectors(), weights(), rho()], r#""n_supports" says there are none"#);
    check(
        &[("n_supports", Int(3)), vectors(), weights(), rho()],
        "has 2 values for 3 vectors",
    );
    check(
        &[("post_transform", Text("LOGISTIC")), weights(), rho()],
        "ONNX Runtime ignores it",
    );
    check(
        &[("n_supports", Int(2)), vectors(), weights()],
        r#"attribute "rho": is not one value"#,
    );
}

#[test]
fn samples_that_have_no_answer_are_refused_by_themselves() {
    let input = |values: &[f32]| Tensor::from_f32("x", vec![2, 3], values).unwrap();
    let check = |operator, attributes: &[(&str, Held)], bad: f32, expected: &str| {
        let mut model = Model::load(&model(operator, DataType::Float, attributes), &LoadOptions::default()).unwrap();
        let error = model
            .run(&[input(&[1.0, 2.0, bad, 1.0, 1.0, 1.0])])
            .unwrap_err()
            .to_string();
        assert!(error.contains("node \"here\"") && error.contains(expected), "{error}");
        assert!(model.run(&[input(&[1.0; 6])]).is_ok(), "the next one is answered");
    };
    check("Binarizer", &[("threshold", Float(0.5))], f32::NAN, "value 2 is NaN");
    let cats = ("cats_int64s", Ints(&[1, 2]));
    check(
        "OneHotEncoder",
        &[cats, ("zeros", Int(0))],
        3.0,
        "value 2 is no category",
    );
}

#[test]
fn an_operator_of_another_domain_is_not_taken_for_ours() {
    let node = onnx::node("here", "Scaler", &["x"], "y");
    let graph = GraphProto {
        node: vec![node],
        input: vec![onnx::value("x", DataType::Float, &[Size::Is(2), Size::Is(3)])],
        output: vec![onnx::value("y", DataType::Float, &[])],
        ..Default::default()
    };
    let error = Model::load(&onnx::bytes(graph), &LoadOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("operator Scaler: is not supported"),
        "{error}"
    );
}
