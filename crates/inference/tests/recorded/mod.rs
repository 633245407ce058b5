//! Cases that were recorded from ONNX Runtime: a model, its inputs, its outputs.

use base64::Engine as _;
use floorhand_inference::{Engine, LoadOptions};
use floorhand_tensor::{Datatype, Tensor};
use serde_json::Value;

/// Runs each case's model on its inputs, in this engine. Floats may differ by `tolerance` (of a case's name) of the largest of a tensor,
/// anything else not at all.
pub(crate) fn check(engine: &dyn Engine, cases: &str, at_least: usize, tolerance: impl Fn(&str) -> f64) {
    let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        if let Err(problem) = run(engine, case, tolerance(name)) {
            wrong.push(format!("{name}: {problem}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert!(cases.len() >= at_least, "only {} cases were compared", cases.len());
}

/// A case's model and its inputs.
pub(crate) fn model(cases: &str, name: &str) -> (Vec<u8>, Vec<Tensor>) {
    let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
    let case = cases.iter().find(|case| case["name"] == name).unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(case["model"].as_str().unwrap());
    (bytes.unwrap(), tensors(case, "inputs"))
}

fn run(engine: &dyn Engine, case: &Value, tolerance: f64) -> Result<(), String> {
    let (inputs, expected) = (tensors(case, "inputs"), tensors(case, "outputs"));
    let bytes = base64::engine::general_purpose::STANDARD.decode(case["model"].as_str().unwrap());
    let shape = |input: &Tensor| (input.name().to_owned(), input.shape().to_vec());
    let shapes = inputs.iter().map(shape).collect();
    let options = LoadOptions { shapes };
    let mut model = engine
        .load(&bytes.unwrap(), &options)
        .map_err(|error| error.to_string())?;
    let answers = model.run(&inputs).map_err(|error| error.to_string())?;
    if model.run(&inputs).as_ref() != Ok(&answers) && !answers.iter().any(has_nan) {
        return Err("the second answer is another than the first".to_owned());
    }
    assert_eq!(answers.len(), expected.len());
    match answers
        .iter()
        .zip(&expected)
        .find(|(answer, expected)| !same(answer, expected, tolerance))
    {
        Some((answer, expected)) => Err(format!("{} is not {}", text(answer), text(expected))),
        None => Ok(()),
    }
}

fn text(tensor: &Tensor) -> String {
    let values = match tensor.elements() {
        Ok(texts) => format!(
            "{:?}",
            texts
                .iter()
                .map(|text| String::from_utf8_lossy(text))
                .collect::<Vec<_>>()
        ),
        Err(_) => format!("{:?}", tensor.to_f64().unwrap()),
    };
    format!("{} {:?} {values}", tensor.datatype(), tensor.shape())
}

fn tensors(case: &Value, key: &str) -> Vec<Tensor> {
    case[key].as_array().unwrap().iter().map(tensor).collect()
}

fn tensor(recorded: &Value) -> Tensor {
    let name = recorded["name"].as_str().unwrap();
    let shape = recorded["shape"].as_array().unwrap();
    let shape = shape.iter().map(|size| size.as_u64().unwrap()).collect();
    let data = recorded["data"].as_array().unwrap();
    let datatype = match recorded["type"].as_str().unwrap() {
        "string" => {
            let texts: Vec<&str> = data.iter().map(|text| text.as_str().unwrap()).collect();
            return Tensor::from_elements(name, shape, &texts).unwrap();
        }
        "float32" => Datatype::Fp32,
        "float64" => Datatype::Fp64,
        "float16" => Datatype::Fp16,
        other => other.to_uppercase().parse().unwrap(),
    };
    if is_float(datatype) {
        let values: Vec<f64> = data.iter().map(number).collect();
        return Tensor::from_f64(name, datatype, shape, &values).unwrap();
    }
    // Not by way of doubles, in which large integers are rounded.
    let bytes = data.iter().flat_map(|value| {
        let bytes = value.as_i64().unwrap().to_le_bytes();
        bytes.into_iter().take(datatype.size().unwrap())
    });
    Tensor::new(name, datatype, shape, bytes.collect()).unwrap()
}

fn number(value: &Value) -> f64 {
    let named = || value.as_str().unwrap().parse().unwrap();
    value.as_f64().unwrap_or_else(named)
}

fn has_nan(tensor: &Tensor) -> bool {
    tensor
        .to_f64()
        .is_ok_and(|values| values.iter().any(|value| value.is_nan()))
}

fn is_float(datatype: Datatype) -> bool {
    matches!(datatype, Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64)
}

fn same(got: &Tensor, expected: &Tensor, tolerance: f64) -> bool {
    if !is_float(expected.datatype()) {
        return got == expected;
    }
    let values = expected.to_f64().unwrap();
    let finite = values.iter().map(|x| x.abs()).filter(|x| x.is_finite());
    let allowed = tolerance * finite.fold(1.0, f64::max);
    let close = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed;
    (got.datatype(), got.shape()) == (expected.datatype(), expected.shape())
        && got.to_f64().unwrap().iter().zip(&values).all(close)
}
