//! The same bytes as NVIDIA's `tritonclient`: requests as its builders make them, and our answers as it reads them.
//!
//! `tests/python/open_inference/record.py` recorded the cases, which say each tensor's bytes as numpy has them. Where a
//! Python has `tritonclient` (`FLOORHAND_PYTHON`), they are recorded again and compared, and it reads answers of ours.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests may panic"
)]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use floorhand_open_inference::http::{Form, Forms, HEADER_LENGTH, Head, decode_infer, encode_infer};
use floorhand_open_inference::{
    Call, InferRequest, InferResponse, Labels, Limits, ModelMetadata, ModelRef, Parameter, Parameters, ServerMetadata,
    grpc,
};
use floorhand_tensor::{Datatype, Dim, Signature, Tensor, TensorSpec};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/open_inference")
}

fn cases(kind: &str) -> Value {
    let text = std::fs::read_to_string(folder().join("cases.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[kind].clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn model() -> ModelRef {
    ModelRef {
        name: "m".to_owned(),
        version: None,
    }
}

fn tensor_of(value: &Value) -> Tensor {
    let shape = value["shape"]
        .as_array()
        .unwrap()
        .iter()
        .map(|size| size.as_u64().unwrap());
    let datatype = value["datatype"].as_str().unwrap().parse().unwrap();
    Tensor::new(
        value["name"].as_str().unwrap(),
        datatype,
        shape.collect(),
        bytes(&value["data"]),
    )
    .unwrap()
}

fn tensors_of(values: &Value) -> Vec<Tensor> {
    values.as_array().unwrap().iter().map(tensor_of).collect()
}

fn http(case: &Value) -> (InferRequest, Forms) {
    let length = case["header_length"].as_u64().map(|length| length.to_string());
    let head = Head {
        header_length: length.as_deref(),
        content_encoding: None,
    };
    decode_infer(model(), head, &bytes(&case["body"]), &Limits::default())
        .unwrap_or_else(|error| panic!("{}: {error}", case["name"]))
}

fn over_grpc(case: &Value) -> InferRequest {
    let path = format!("/{}/ModelInfer", grpc::SERVICE);
    match grpc::decode(&path, &bytes(&case["body"]), &Limits::default()) {
        Ok(grpc::Incoming::Infer(request)) => request,
        other => panic!("{}: {other:?}", case["name"]),
    }
}

fn check_mixed(request: &InferRequest) {
    assert_eq!(request.id.as_deref(), Some("42"));
    let outputs: Vec<_> = request
        .outputs
        .iter()
        .map(|output| (output.name.as_str(), output.classes))
        .collect();
    assert_eq!(outputs, [("y", None), ("z", Some(2))]);
    let parameters = &request.parameters;
    assert_eq!(parameters.unsigned("timeout"), Ok(Some(1000)));
    assert_eq!(parameters.unsigned("priority"), Ok(Some(1)));
    assert_eq!(parameters.bool("sequence_start"), Ok(Some(true)));
    assert_eq!(parameters.get("sequence_id"), Some(&Parameter::Text("s".to_owned())));
    assert_eq!(parameters.get("mine"), Some(&Parameter::Double(1.5)));
}

#[test]
fn its_http_requests_are_the_tensors_that_went_in() {
    let cases = cases("http");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 50);
    for case in cases {
        let (request, forms) = http(case);
        assert_eq!(request.inputs, tensors_of(&case["inputs"]), "{}", case["name"]);
        if case["name"] == "mixed" {
            check_mixed(&request);
            assert_eq!((forms.of("y"), forms.of("z")), (Form::Binary, Form::Json));
        } else {
            assert_eq!(forms.of("y"), Form::Binary, "it asks for that unless told");
        }
    }
}

#[test]
fn its_grpc_requests_are_the_tensors_that_went_in() {
    let cases = cases("grpc");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 35);
    for case in cases {
        let request = over_grpc(case);
        assert_eq!(request.inputs, tensors_of(&case["inputs"]), "{}", case["name"]);
        assert_eq!(request.model.name, "m");
        if case["name"] == "mixed" {
            check_mixed(&request);
            assert_eq!(request.model.version.as_deref(), Some("3"));
        }
    }
}

#[test]
fn our_messages_are_the_bytes_that_protobuf_writes() {
    let messages = cases("messages");
    let expected = |name: &str| bytes(&messages[name]);
    for name in ["live", "ready", "model_ready"] {
        assert_eq!(grpc::encode_readiness(true), expected(name), "{name}");
    }
    assert_eq!(grpc::encode_readiness(false), expected("not_ready"));
    let mut server = ServerMetadata::new("floorhand", "0.1.0");
    server.extensions = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(grpc::encode_server_metadata(&server), expected("server_metadata"));
    let signature = Signature {
        inputs: vec![TensorSpec::new("x", Datatype::Fp32, vec![Dim::Any, Dim::Fixed(4)])],
        outputs: vec![TensorSpec::new("label", Datatype::Bytes, vec![Dim::Any])],
    };
    let versions = vec!["1".to_owned(), "2".to_owned()];
    let model = ModelMetadata::new("pump", versions, "onnx_tract", &signature);
    assert_eq!(grpc::encode_model_metadata(&model), expected("model_metadata"));
    let outputs = vec![
        Tensor::from_f32("y", vec![1, 2], &[0.5, -2.0]).unwrap(),
        Tensor::from_elements("label", vec![1], &["ok"]).unwrap(),
    ];
    assert_eq!(grpc::encode_infer(response("pump", outputs)), expected("model_infer"));
    let path = format!("/{}/ModelMetadata", grpc::SERVICE);
    let asked = grpc::decode(&path, &expected("model_request"), &Limits::default()).unwrap();
    let model = ModelRef {
        name: "pump".to_owned(),
        version: Some("2".to_owned()),
    };
    assert_eq!(asked, grpc::Incoming::Call(Call::ModelMetadata(model)));
}

fn response(name: &str, outputs: Vec<Tensor>) -> InferResponse {
    InferResponse {
        model: ModelRef {
            name: name.to_owned(),
            version: Some("2".to_owned()),
        },
        id: Some("42".to_owned()),
        parameters: Parameters::default(),
        outputs,
    }
}

/// Answers with every recorded tensor, alone in each form, all of them in one, and as classes.
fn answers() -> Vec<(Value, Vec<Tensor>)> {
    let mut all: Vec<Vec<Tensor>> = Vec::new();
    for case in cases("grpc").as_array().unwrap() {
        all.push(tensors_of(&case["inputs"]));
    }
    all.push(vec![
        Tensor::from_f32("y", vec![3], &[f32::NAN, f32::INFINITY, 0.1]).unwrap(),
    ]);
    let classes = json!({ "inputs": [], "outputs": [{ "name": "y", "parameters": { "classification": 2 } }] });
    let body = classes.to_string();
    let (request, _) = decode_infer(model(), Head::default(), body.as_bytes(), &Limits::default()).unwrap();
    let given = Tensor::from_f32("y", vec![2, 3], &[0.1, 0.7, 0.2, 3.0, 2.0, 1.0]).unwrap();
    let labels = Labels::from([("y".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    all.push(request.respond(None, vec![given], &labels).unwrap().outputs);
    let mut answers = Vec::new();
    for outputs in all {
        for default in [Form::Json, Form::Binary] {
            let forms = Forms {
                default,
                ..Forms::default()
            };
            let Ok(answer) = encode_infer(&response("m", outputs.clone()), &forms) else {
                assert_eq!(default, Form::Json, "binary carries everything");
                continue;
            };
            let length = answer.headers.iter().find(|(name, _)| *name == HEADER_LENGTH);
            let length = length.map(|(_, length)| length.parse::<usize>().unwrap());
            let line = json!({ "grpc": false, "header_length": length, "body": STANDARD.encode(&answer.body) });
            answers.push((line, outputs.clone()));
        }
        let body = STANDARD.encode(grpc::encode_infer(response("m", outputs.clone())));
        answers.push((json!({ "grpc": true, "body": body }), outputs));
    }
    answers
}

/// A Python with tritonclient, as `floorhand_tests::python` finds one.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("FLOORHAND_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let imports = "import tritonclient.http, tritonclient.grpc";
    let tried = Command::new(&python).args(["-P", "-c", imports]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let required = std::env::var_os("FLOORHAND_REQUIRE_PYTHON").is_some();
    assert!(!required, "{} can't do {imports:?}", python.display());
    println!("SKIPPED: needs a Python with what tests/python/requirements.txt names (FLOORHAND_PYTHON)");
    None
}

fn record(python: &Path) -> Command {
    let mut command = Command::new(python);
    command
        .arg("-P")
        .arg(folder().join("record.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[test]
fn it_still_sends_what_was_recorded() {
    let Some(python) = python() else { return };
    let output = record(&python).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn it_reads_our_answers_as_the_tensors_that_went_in() {
    let Some(python) = python() else { return };
    let answers = answers();
    let mut lines = String::new();
    for (line, _) in &answers {
        lines.push_str(&format!("{line}\n"));
    }
    let mut child = record(&python)
        .arg("--read")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), answers.len());
    for (found, (line, outputs)) in found.iter().zip(&answers) {
        assert_eq!(
            (&found["model_name"], &found["model_version"], &found["id"]),
            (&json!("m"), &json!("2"), &json!("42"))
        );
        assert_eq!(&tensors_of(&found["outputs"]), outputs, "{line}");
    }
}
