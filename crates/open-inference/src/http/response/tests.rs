use super::*;
use crate::{ModelRef, Parameters};

fn response(outputs: Vec<Tensor>) -> InferResponse {
    InferResponse {
        model: ModelRef {
            name: "m".to_owned(),
            version: Some("2".to_owned()),
        },
        id: Some("7".to_owned()),
        parameters: Parameters::default(),
        outputs,
    }
}

fn json_of(tensor: Tensor) -> Result<String, Error> {
    let answer = encode_infer(&response(vec![tensor]), &Forms::default())?;
    let text = String::from_utf8(answer.body).unwrap();
    let (_, data) = text.split_once(r#""data":"#).unwrap();
    Ok(data.trim_end_matches("}]}").to_owned())
}

#[test]
fn json_has_all_in_it() {
    let tensor = Tensor::from_f32("y", vec![1, 2], &[0.1, -2.0]).unwrap();
    let answer = encode_infer(&response(vec![tensor]), &Forms::default()).unwrap();
    assert_eq!(answer.headers, [("content-type", "application/json".to_owned())]);
    assert_eq!(
        String::from_utf8(answer.body).unwrap(),
        concat!(
            r#"{"model_name":"m","model_version":"2","id":"7","#,
            r#""outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[0.1,-2.0]}]}"#
        )
    );
}

#[test]
fn every_type_has_its_digits() {
    for (datatype, values, expected) in [
        (Datatype::Bool, [0.0, 1.0], "[false,true]"),
        (Datatype::Uint8, [0.0, 255.0], "[0,255]"),
        (Datatype::Int16, [-1.0, 7.0], "[-1,7]"),
        (Datatype::Fp32, [0.5, 1e30], "[0.5,1e+30]"),
        (Datatype::Fp64, [0.1, -0.0], "[0.1,-0.0]"),
    ] {
        let tensor = Tensor::from_f64("y", datatype, vec![2], &values).unwrap();
        assert_eq!(json_of(tensor).unwrap(), expected, "{datatype}");
    }
    let data = u64::MAX.to_le_bytes().to_vec();
    let tensor = Tensor::new("y", Datatype::Uint64, vec![1], data).unwrap();
    assert_eq!(json_of(tensor).unwrap(), "[18446744073709551615]");
    let texts = Tensor::from_elements("y", vec![2], &["\"", "\u{e4}"]).unwrap();
    assert_eq!(json_of(texts).unwrap(), "[\"\\\"\",\"\u{e4}\"]");
}

#[test]
fn what_json_cannot_say_is_refused() {
    let check = |tensor: Tensor, problem: &str| {
        let error = json_of(tensor).unwrap_err();
        assert_eq!(error.http_status(), 400);
        assert_eq!(
            error.to_string(),
            format!(r#"output "y" {problem}: ask for it with binary_data"#)
        );
    };
    let nan = Tensor::from_f32("y", vec![2], &[1.0, f32::NAN]).unwrap();
    check(nan, "is NaN in element 1, which JSON has no number for");
    let infinite = Tensor::from_f64("y", Datatype::Fp64, vec![1], &[f64::NEG_INFINITY]).unwrap();
    check(infinite, "is -inf in element 0, which JSON has no number for");
    let half = Tensor::from_f64("y", Datatype::Fp16, vec![1], &[1.0]).unwrap();
    check(half, "is FP16, which the protocol has no JSON for");
    let odd = Tensor::from_elements("y", vec![1], &[[0xff_u8]]).unwrap();
    check(
        odd,
        "has bytes that are no UTF-8 in element 0, which JSON has no strings for",
    );
}

#[test]
fn binary_is_behind_the_json() {
    let outputs = vec![
        Tensor::from_f32("a", vec![1], &[f32::NAN]).unwrap(),
        Tensor::from_f32("b", vec![1], &[1.0]).unwrap(),
        Tensor::from_elements("c", vec![1], &["xy"]).unwrap(),
    ];
    let mut forms = Forms::default();
    forms.outputs.insert("a".to_owned(), Form::Binary);
    forms.outputs.insert("c".to_owned(), Form::Binary);
    let answer = encode_infer(&response(outputs), &forms).unwrap();
    assert_eq!(answer.headers[0].1, "application/octet-stream");
    assert_eq!(answer.headers[1].0, HEADER_LENGTH);
    let (json, binary) = answer.body.split_at(answer.headers[1].1.parse().unwrap());
    assert_eq!(binary, [f32::NAN.to_le_bytes().as_slice(), b"\x02\0\0\0xy"].concat());
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 4);
    assert_eq!(json["outputs"][1]["data"][0], 1.0);
    assert_eq!(json["outputs"][2]["parameters"]["binary_data_size"], 6);
}
