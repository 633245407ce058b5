use super::*;
use serde_json::json;

fn model() -> ModelRef {
    ModelRef {
        name: "m".to_owned(),
        version: None,
    }
}

fn decode(json: &str, binary: Option<&[u8]>) -> Result<(InferRequest, Forms), Error> {
    let length = json.len().to_string();
    let head = Head {
        header_length: binary.map(|_| length.as_str()),
        content_encoding: None,
    };
    let body = [json.as_bytes(), binary.unwrap_or_default()].concat();
    decode_infer(model(), head, &body, &Limits::default())
}

fn input(datatype: &str, shape: &str, data: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}"#)
}

/// The one tensor of a request in JSON.
fn tensor(datatype: &str, shape: &str, data: &str) -> Result<Tensor, Error> {
    let (mut request, _) = decode(&input(datatype, shape, data), None)?;
    Ok(request.inputs.remove(0))
}

fn values(datatype: &str, shape: &str, data: &str, expected: &[f64]) {
    let tensor = tensor(datatype, shape, data).unwrap();
    assert_eq!(tensor.to_f64().unwrap(), expected, "{datatype} {data}");
}

fn refused(error: Result<impl std::fmt::Debug, Error>, problem: &str) {
    let error = error.unwrap_err();
    assert_eq!(error.http_status(), 400, "{error}");
    assert!(error.to_string().contains(problem), "{error}");
}

#[test]
fn data_is_flat_or_as_the_shape_says() {
    let six = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    values("FP32", "[2,3]", "[1,2,3,4,5,6]", &six);
    values("FP32", "[2,3]", "[ [1,2,3] , [4,5,6] ]", &six);
    values("INT8", "[1,2,3]", "[[[1,2,3],[4,5,6]]]", &six);
    values("FP64", "[]", "[0.5]", &[0.5]);
    values("FP64", "[0,3]", "[]", &[]);
    values("FP64", "[2,0]", "[[],[]]", &[]);
    values("BOOL", "[2]", "[true,false]", &[1.0, 0.0]);
    for (shape, data, problem) in [
        ("[2,3]", "[1,2,3,4,5]", "an array ends after 5, expected 6"),
        ("[2,3]", "[1,2,3,4,5,6,7]", "an array goes on after 6"),
        ("[2,3]", "[[1,2],[3,4],[5,6]]", "an array ends after 2, expected 3"),
        ("[2,3]", "[[1,2,3],[4,5,6],[7,8,9]]", "an array goes on after 2"),
        ("[2,3]", "[[1,2,3],4,5,6]", "expected an array"),
        ("[3]", "[[1,2,3]]", "invalid type: sequence, expected FP32 as element 0"),
        ("[3]", "1", "expected an array"),
        ("[3]", "{}", "expected an array"),
        ("[3]", "null", "neither data nor binary_data_size"),
        ("[-1,3]", "[1,2,3]", "no size is below 0"),
        ("[9223372036854775807,9]", "[1]", "too many elements"),
        ("[4294967296,2]", "[1]", "an array ends after 1"),
        ("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[1]", "17 dimensions"),
    ] {
        refused(tensor("FP32", shape, data), problem);
    }
}

#[test]
fn elements_are_what_the_type_says() {
    for (datatype, data, problem) in [
        ("INT32", "[1,2.0]", "element 1 is a number with a fraction"),
        ("INT32", "[1e3]", "element 0 is a number with a fraction"),
        ("UINT8", "[256]", "element 0 is 256, expected UINT8"),
        ("UINT8", "[-1]", "element 0 is -1, expected UINT8"),
        ("UINT64", "[18446744073709551616]", "more than 64 bits"),
        ("INT64", "[9223372036854775808]", "expected INT64"),
        ("BOOL", "[1]", "element 0 is 1, expected BOOL"),
        ("FP32", "[true]", "invalid type: boolean"),
        ("FP32", "[null]", "invalid type: null"),
        ("FP64", "[null]", "element 0 is null, expected FP64"),
        ("FP64", r#"["1"]"#, "element 0 is a string"),
        ("FP32", "[1e39]", "out of range"),
        ("FP64", "[1e400]", "out of range"),
        ("BYTES", "[1]", "element 0 is 1, expected BYTES"),
        ("INT8", "[{}]", "element 0 is an object"),
        ("INT8", "[[1]]", "element 0 is an array, nested deeper than the shape"),
        (
            "FP16",
            "[1.0]",
            "is FP16, which the protocol has no JSON for: send it as binary data",
        ),
        ("BF16", "[1.0]", "has datatype \"BF16\""),
        ("fp32", "[1.0]", "has datatype \"fp32\""),
    ] {
        let shape = format!("[{}]", data.split(',').count());
        refused(tensor(datatype, &shape, data), problem);
    }
}

#[test]
fn no_digit_is_lost() {
    let bytes = |datatype, data| tensor(datatype, "[1]", data).unwrap().data().to_vec();
    assert_eq!(
        bytes("INT64", "[9007199254740993]"),
        9_007_199_254_740_993_i64.to_le_bytes()
    );
    assert_eq!(bytes("INT64", "[-9223372036854775808]"), i64::MIN.to_le_bytes());
    assert_eq!(bytes("UINT64", "[18446744073709551615]"), u64::MAX.to_le_bytes());
    assert_eq!(bytes("FP32", "[16777217]"), 16_777_217_f32.to_le_bytes());
    // Just above half way between two FP32: an FP64 in between would round it to half way, and then down.
    assert_eq!(
        bytes("FP32", "[1.00000005960464477540]"),
        (1.0 + f32::EPSILON).to_le_bytes()
    );
    assert_eq!(bytes("FP64", "[5e-324]"), 5e-324_f64.to_le_bytes());
    assert_eq!(bytes("FP32", "[-0.0]"), (-0.0_f32).to_le_bytes());
}

#[test]
fn texts_are_strings() {
    let tensor = tensor("BYTES", "[2,2]", r#"[["a",""],["\u00e4\n","\ud83d\ude00"]]"#).unwrap();
    let texts = tensor.elements().unwrap();
    assert_eq!(
        texts,
        [b"a".as_slice(), b"", "\u{e4}\n".as_bytes(), "\u{1f600}".as_bytes()]
    );
    refused(super::tests::tensor("BYTES", "[1]", r#"["\ud800"]"#), "hex escape");
}

#[test]
fn binary_and_json_mix() {
    let json = json!({ "id": "7", "inputs": [
        { "name": "a", "shape": [2], "datatype": "FP16", "parameters": { "binary_data_size": 4 } },
        { "name": "b", "shape": [1], "datatype": "INT8", "data": [5] },
        { "name": "c", "shape": [2], "datatype": "BYTES", "parameters": { "binary_data_size": 9 } },
        { "name": "d", "shape": [0], "datatype": "FP32", "parameters": { "binary_data_size": 0 } },
        { "name": "e", "shape": [0, 2], "datatype": "FP32" },
    ]});
    let binary = b"\x00\x3c\x00\xc0\x01\x00\x00\x00z\x00\x00\x00\x00";
    let (request, _) = decode(&json.to_string(), Some(binary)).unwrap();
    assert_eq!(request.id.as_deref(), Some("7"));
    let names: Vec<_> = request.inputs.iter().map(Tensor::name).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert_eq!(request.inputs[0].to_f64().unwrap(), [1.0, -2.0]);
    assert_eq!(request.inputs[1].to_f64().unwrap(), [5.0]);
    assert_eq!(request.inputs[2].elements().unwrap(), [b"z".as_slice(), b""]);
}

#[test]
fn binary_that_does_not_add_up_is_refused() {
    let input = |size: u64, more: &str| {
        format!(
            r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"BOOL","parameters":{{"binary_data_size":{size}}}{more}}}]}}"#
        )
    };
    refused(
        decode(&input(2, ""), Some(b"\x00")),
        "has binary_data_size 2, and 1 bytes are left",
    );
    refused(decode(&input(u64::MAX, ""), Some(b"\x00")), "bytes are left");
    refused(
        decode(&input(2, ""), Some(b"\x00\x01\x00")),
        "1 bytes are behind the last input",
    );
    refused(decode(&input(3, ""), Some(b"\x00\x01\x00")), "needs 2 bytes, and has 3");
    refused(
        decode(&input(2, ""), Some(b"\x00\x02")),
        "its byte 1 is neither 0 nor 1",
    );
    refused(
        decode(&input(2, ""), None),
        "there is no header inference-header-content-length",
    );
    refused(
        decode(&input(2, r#","data":[true,false]"#), Some(b"\x00\x01")),
        "only one of them",
    );
    let text = input(2, "");
    for (length, problem) in [
        ("x", "no number of bytes"),
        ("-1", "no number"),
        ("0", "without JSON"),
        ("9999", "the body has"),
    ] {
        let head = Head {
            header_length: Some(length),
            content_encoding: None,
        };
        refused(
            decode_infer(model(), head, text.as_bytes(), &Limits::default()),
            problem,
        );
    }
}

#[test]
fn what_is_asked_for_and_in_which_form() {
    let json = json!({
        "inputs": [],
        "parameters": { "binary_data_output": true, "timeout": 5, "mine": "x" },
        "outputs": [
            { "name": "a" },
            { "name": "b", "parameters": { "binary_data": false, "classification": 3, "theirs": 1.5 } },
        ],
    });
    let (request, forms) = decode(&json.to_string(), None).unwrap();
    assert_eq!((forms.of("a"), forms.of("b")), (Form::Binary, Form::Json));
    let classes: Vec<_> = request.outputs.iter().map(|output| output.classes).collect();
    assert_eq!(classes, [None, Some(3)]);
    let left: Vec<_> = request.parameters.iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["mine", "timeout"]);
    assert_eq!(request.outputs[1].parameters.len(), 1);
    let (_, forms) = decode(r#"{"inputs":[]}"#, None).unwrap();
    assert_eq!(forms, Forms::default());
}

#[test]
fn what_is_no_request_is_refused() {
    for (text, problem) in [
        ("", "EOF"),
        ("[]", "invalid"),
        ("{}", "missing field `inputs`"),
        (r#"{"inputs":[]} x"#, "trailing"),
        (r#"{"inputs":[{"name":"x"}]}"#, "missing field"),
        (
            r#"{"inputs":[],"parameters":{"a":[1]}}"#,
            "a parameter: a string, a number, true or false",
        ),
        (
            r#"{"inputs":[],"parameters":{"binary_data_output":1}}"#,
            "has to be true or false",
        ),
        (
            r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"classification":-1}}]}"#,
            "at least 0",
        ),
    ] {
        refused(decode(text, None), problem);
    }
    let nan = "JSON has no NaN and no Infinity (line 1, column";
    for data in ["[NaN]", "[1.0,Infinity]", "[1.0,-Infinity]", "[nan]"] {
        refused(tensor("FP32", "[1]", data), nan);
    }
    let two_lines = "{\"inputs\":[],\n\"parameters\":{\"a\":NaN}}";
    refused(decode(two_lines, None), "(line 2, column");
}

#[test]
fn what_is_not_here_says_so() {
    let shared = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}}]}"#;
    assert_eq!(decode(shared, None).unwrap_err().http_status(), 501);
    let shared = r#"{"inputs":[],"outputs":[{"name":"x","parameters":{"shared_memory_region":"r"}}]}"#;
    assert_eq!(decode(shared, None).unwrap_err().http_status(), 501);
    let head = Head {
        header_length: None,
        content_encoding: Some("gzip"),
    };
    let error = decode_infer(model(), head, b"", &Limits::default()).unwrap_err();
    assert_eq!(error.http_status(), 415);
    let limits = Limits {
        body_bytes: 3,
        ..Limits::default()
    };
    let error = decode_infer(model(), Head::default(), b"{  }", &limits).unwrap_err();
    assert_eq!(error.http_status(), 413);
}

#[test]
fn there_is_an_end_to_tensors() {
    let request = |outputs: usize| {
        let outputs: Vec<_> = (0..outputs).map(|n| json!({ "name": n.to_string() })).collect();
        decode(&json!({ "inputs": [], "outputs": outputs }).to_string(), None)
    };
    assert_eq!(request(64).unwrap().0.outputs.len(), 64);
    refused(request(65), "the request has 65 outputs, more than 64");
    refused(request(1025), "an array of more than 1024");
}
