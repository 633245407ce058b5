//! Samples that are, and samples that aren't.

use super::*;
use ::csv::StringRecord;
use floorhand_tensor::{Datatype, TensorSpec};

fn sensors() -> Vec<InputSpec> {
    vec![InputSpec {
        tensor: TensorSpec::new("x", Datatype::Fp32, vec![2_i64.into()]),
        fields: vec!["pressure".to_owned(), "flow".to_owned()],
    }]
}

fn waves(size: i64) -> Vec<InputSpec> {
    vec![InputSpec {
        tensor: TensorSpec::new("a", Datatype::Int16, vec![1_i64.into(), size.into()]),
        fields: vec![],
    }]
}

fn check_json(text: &str, inputs: &[InputSpec], expected: Result<&[f64], &str>) {
    match (json(text.as_bytes(), inputs), expected) {
        (Ok(sample), Ok(values)) => {
            let actual = sample.tensors[0].to_f64().unwrap();
            assert_eq!(format!("{actual:?}"), format!("{values:?}"), "{text}");
        }
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
        (result, _) => panic!("{text}: {result:?}"),
    }
}

#[test]
fn json_samples() {
    check_json(
        r#"{"flow": 2, "pressure": 1.5, "other": "x"}"#,
        &sensors(),
        Ok(&[1.5, 2.0]),
    );
    check_json(r#"{"x": [1.5, 2]}"#, &sensors(), Ok(&[1.5, 2.0]));
    check_json(r#"{"flow": null, "pressure": true}"#, &sensors(), Ok(&[1.0, f64::NAN]));
    check_json(r#"{"a": [[1], [2, 3]]}"#, &waves(3), Ok(&[1.0, 2.0, 3.0]));
    check_json(r#"{"a": [1, 2, 3, 4]}"#, &waves(-1), Ok(&[1.0, 2.0, 3.0, 4.0]));
    check_json(r#"{"flow": 2}"#, &sensors(), Err(r#"no field "pressure"; it has flow"#));
    check_json(
        r#"{"flow": "2", "pressure": 1}"#,
        &sensors(),
        Err(r#"field "flow" is the text "2", and no number"#),
    );
    check_json(
        r#"{"flow": [2], "pressure": 1}"#,
        &sensors(),
        Err(r#"field "flow" is neither"#),
    );
    check_json(
        r#"{"a": [1, 2]}"#,
        &waves(3),
        Err(r#"field "a" has 2 numbers, expected 3"#),
    );
    check_json("[1, 2]", &sensors(), Err("no object"));
    check_json(r#"{"flow": NaN}"#, &sensors(), Err("sample is not JSON"));
    check_json("", &sensors(), Err("sample is not JSON"));
    check_json(
        &format!(r#"{{"a": {}1{}}}"#, "[".repeat(20), "]".repeat(20)),
        &waves(1),
        Err("more than 16 deep"),
    );
}

#[test]
fn a_sample_keeps_its_id_and_time() {
    let sample = json(br#"{"id": 17, "time_ms": 5, "x": [1, 2]}"#, &sensors()).unwrap();
    assert_eq!((sample.id.as_str(), sample.time_ms()), ("17", 5));
}

#[test]
fn raw_samples() {
    let sample = raw(&[1, 0, 0xff, 0xff], &waves(2)).unwrap();
    assert_eq!(sample.tensors[0].to_f64().unwrap(), [1.0, -1.0]);
    let error = raw(&[1, 0, 2], &waves(2)).unwrap_err().to_string();
    assert_eq!(error, "raw sample has 3 bytes, expected 4: a INT16[1, 2]");
    assert!(matches!(raw(&[], &waves(-1)), Err(DecodeError::RawShape(_))));
}

#[test]
fn csv_rows() {
    let header = StringRecord::from(vec!["time_ms", "flow", "pressure", "label"]);
    let decoder = CsvDecoder::new(&header, &sensors()).unwrap();
    let sample = decoder
        .decode(&StringRecord::from(vec!["9", "2.5", " 1 ", "ok"]))
        .unwrap();
    assert_eq!(
        (sample.time_ms(), sample.tensors[0].to_f64().unwrap()),
        (9, vec![1.0, 2.5])
    );
    let sample = decoder.decode(&StringRecord::from(vec!["9", "", "NA", ""])).unwrap();
    assert!(sample.tensors[0].to_f64().unwrap().iter().all(|value| value.is_nan()));
    let error = decoder
        .decode(&StringRecord::from(vec!["9", "wet", "1", "ok"]))
        .unwrap_err()
        .to_string();
    assert_eq!(error, r#"field "flow" is "wet", and no number"#);
    let error = decoder.decode(&StringRecord::from(vec!["9"])).unwrap_err().to_string();
    assert_eq!(error, r#"field "pressure" is not there: the row has 1 columns"#);
    let error = CsvDecoder::new(&StringRecord::from(vec!["flow"]), &sensors())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "the table has no column pressure; it has flow");
}

#[test]
fn ids_and_times_have_bounds() {
    let text = |id: &str, time: &str| format!(r#"{{"pressure": 1, "flow": 2, "id": "{id}", "time_ms": {time}}}"#);
    let long = "i".repeat(257);
    check_json(&text(&long[1..], "9223372036854"), &sensors(), Ok(&[1.0, 2.0]));
    check_json(&text(&long, "1"), &sensors(), Err("field \"id\" has 257 bytes"));
    check_json(
        &text("a", "9223372036855"),
        &sensors(),
        Err("field \"time_ms\" is 9223372036855, which is no time"),
    );
    let header = StringRecord::from(vec!["pressure", "flow", "id", "time_ms"]);
    let decoder = CsvDecoder::new(&header, &sensors()).unwrap();
    let row = |id: &str, time: &str| decoder.decode(&StringRecord::from(vec!["1", "2", id, time]));
    assert_eq!(row("a", "7").unwrap().time_ns, 7_000_000);
    assert!(row(&long, "7").unwrap_err().to_string().contains("257 bytes"));
    assert!(row("a", "99999999999999").unwrap_err().to_string().contains("no time"));
}

#[test]
fn texts_come_from_json_and_csv() {
    let inputs = [InputSpec {
        tensor: TensorSpec::new("kind", Datatype::Bytes, vec![1_i64.into(), 2_i64.into()]),
        fields: vec!["press".to_owned(), "tool".to_owned()],
    }];
    let expected = Tensor::from_elements("kind", vec![1, 2], &["P 7", ""]).unwrap();
    for text in [r#"{"press": "P 7", "tool": null}"#, r#"{"kind": [["P 7", ""]]}"#] {
        assert_eq!(
            json(text.as_bytes(), &inputs).unwrap().tensors,
            std::slice::from_ref(&expected)
        );
    }
    let header = StringRecord::from(vec!["tool", "press"]);
    let decoder = CsvDecoder::new(&header, &inputs).unwrap();
    let row = StringRecord::from(vec!["", " P 7 "]);
    assert_eq!(decoder.decode(&row).unwrap().tensors, [expected]);
    check_json(
        r#"{"press": 7, "tool": ""}"#,
        &inputs,
        Err(r#"field "press" is neither a text nor an array of texts"#),
    );
    check_json(r#"{"kind": ["a"]}"#, &inputs, Err("has 1 texts, expected 2"));
    let error = raw(&[0; 8], &inputs).unwrap_err().to_string();
    assert!(error.contains("send such samples as JSON or CSV"), "{error}");
}
