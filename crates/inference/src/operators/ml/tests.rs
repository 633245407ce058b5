//! Every recorded case against the operators alone, on tract's tensors, before and after its optimisations. Here run
//! those with strings, too.

use crate::operators;
use base64::Engine;
use serde_json::Value;
use tract_onnx::prelude::*;

/// What ONNX Runtime answers, recorded by `oracle_ml_operators.py`.
const CASES: &str = include_str!("../../../tests/ml_operators.json");

fn cases() -> Vec<Value> {
    serde_json::from_str(CASES).unwrap()
}

fn onnx() -> tract_onnx::Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    operators::register(&mut onnx.op_register);
    onnx
}

fn typed(case: &Value) -> TractResult<TypedModel> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(case["model"].as_str().unwrap())
        .unwrap();
    onnx().model_for_read(&mut bytes.as_slice())?.into_typed()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn tensor(recorded: &Value) -> Tensor {
    let shape: Vec<usize> = recorded["shape"]
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_u64().unwrap() as usize)
        .collect();
    let data = recorded["data"].as_array().unwrap();
    let ints = || data.iter().map(|x| x.as_i64().unwrap());
    let floats = || data.iter().map(number);
    let flat = match recorded["type"].as_str().unwrap() {
        "string" => tensor1(&data.iter().map(|x| x.as_str().unwrap().to_owned()).collect::<Vec<_>>()),
        "float32" => tensor1(&floats().map(|x| x as f32).collect::<Vec<_>>()),
        "float64" => tensor1(&floats().collect::<Vec<_>>()),
        "float16" => tensor1(&floats().map(f16::from_f64).collect::<Vec<_>>()),
        "int64" => tensor1(&ints().collect::<Vec<_>>()),
        "int32" => tensor1(&ints().map(|x| x as i32).collect::<Vec<_>>()),
        "int16" => tensor1(&ints().map(|x| x as i16).collect::<Vec<_>>()),
        "int8" => tensor1(&ints().map(|x| x as i8).collect::<Vec<_>>()),
        "uint8" => tensor1(&ints().map(|x| x as u8).collect::<Vec<_>>()),
        "bool" => tensor1(&ints().map(|x| x != 0).collect::<Vec<_>>()),
        other => panic!("{other}"),
    };
    flat.into_shape(&shape).unwrap()
}

/// Why two tensors differ: floats by more than `tolerance` of the tensor's largest number, or of 1. Sums are added up in
/// another order than ONNX Runtime's, and what is left after large numbers cancel has their errors.
fn difference(got: &Tensor, expected: &Tensor, tolerance: f64) -> Option<String> {
    if (got.datum_type(), got.shape()) != (expected.datum_type(), expected.shape()) {
        return Some(format!("{got:?} is not {expected:?}"));
    }
    if !expected.datum_type().is_float() {
        return (got != expected).then(|| format!("{got:?} is not {expected:?}"));
    }
    let [got, expected] = [got, expected].map(|tensor| {
        let doubles = tensor.cast_to::<f64>().unwrap().into_owned();
        doubles.try_as_plain_ram().unwrap().as_slice::<f64>().unwrap().to_vec()
    });
    let finite = expected.iter().map(|x| x.abs()).filter(|x| x.is_finite());
    let allowed = tolerance * finite.fold(1.0, f64::max);
    let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed;
    let worst = got
        .iter()
        .zip(&expected)
        .filter(|pair| !same(*pair))
        .map(|(a, b)| (a - b).abs());
    let worst = worst.reduce(f64::max)?;
    Some(format!("{got:?} is not {expected:?}, by {worst}"))
}

fn run(model: TypedModel, case: &Value) -> TractResult<Option<String>> {
    let inputs = case["inputs"].as_array().unwrap();
    let model = model.into_runnable()?;
    let answers = model.run(inputs.iter().map(|input| tensor(input).into_tvalue()).collect())?;
    let expected = case["outputs"].as_array().unwrap();
    assert_eq!(answers.len(), expected.len());
    let mut pairs = answers.iter().zip(expected);
    Ok(pairs.find_map(|(got, expected)| difference(got, &tensor(expected), tolerance(case))))
}

/// The probit's approximation subtracts nearly equal numbers around a half, where a digit in a score becomes a hundred in
/// its probit. A polynomial kernel gives thousands, of which the sum leaves ones.
fn tolerance(case: &Value) -> f64 {
    let name = case["name"].as_str().unwrap();
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
    let mut wrong = Vec::new();
    for case in cases() {
        let plain = typed(&case).and_then(|model| run(model, &case));
        let optimised = typed(&case)
            .and_then(|model| model.into_optimized())
            .and_then(|model| run(model, &case));
        for (kind, outcome) in [("plain", plain), ("optimised", optimised)] {
            match outcome {
                Ok(None) => {}
                Ok(Some(difference)) => wrong.push(format!("{} ({kind}): {difference}", case["name"])),
                Err(error) => wrong.push(format!("{} ({kind}): {error:#}", case["name"])),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_symbolic_batch_stays_one() {
    let all = cases();
    let batches = all
        .iter()
        .filter(|case| case["name"].as_str().unwrap().ends_with(" batch"));
    for case in batches {
        let model = typed(case).unwrap();
        for output in model.output_outlets().unwrap() {
            let fact = model.outlet_fact(*output).unwrap();
            assert_eq!(fact.shape[0].to_string(), "N", "{}: {fact:?}", case["name"]);
        }
    }
}
