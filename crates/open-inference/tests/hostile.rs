//! Whatever bytes come: nothing panics, and what is taken is a request within the limits.

#![expect(clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

use floorhand_open_inference::http::{Head, decode_infer, encode_infer};
use floorhand_open_inference::{Call, IndexRequest, InferRequest, Labels, Limits, ModelRef, grpc};
use proptest::prelude::*;
use proptest::sample::Index;

/// A request with every part in it, as JSON and what follows it.
const JSON: &str = r#"{"id":"42","parameters":{"binary_data_output":true,"timeout":5},"inputs":[
{"name":"a","shape":[1,2],"datatype":"FP32","data":[[0.5,-1e3]]},
{"name":"b","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}},
{"name":"c","shape":[2],"datatype":"UINT64","data":[0,18446744073709551615]},
{"name":"d","shape":[2],"datatype":"BOOL","data":[true,false]},
{"name":"e","shape":[1],"datatype":"FP16","parameters":{"binary_data_size":2}}],
"outputs":[{"name":"a","parameters":{"binary_data":false,"classification":3}},{"name":"b"}]}"#;
const BINARY: &[u8] = b"\x03\0\0\0abc\0\0\0\0\x00\x3c";

/// The same in protobuf: a typed input, an output's name, a parameter.
const MESSAGE: &[u8] =
    b"\x0a\x01m\x1a\x0242\x22\x0a\x0a\x04time\x12\x02\x10\x05\x2a\x14\x0a\x01a\x12\x04FP32\x1a\x01\x01\x2a\x06\x32\x04\0\0\x80\x3f\x32\x03\x0a\x01y";

#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Cut(Index),
    Remove(Index, Index),
    Repeat(Index, Index),
    Insert(Index, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let tokens = prop::sample::select(vec![
        "NaN",
        "null",
        "-1",
        "1e999",
        "[",
        "]",
        "{",
        "}",
        "\"",
        ",",
        "18446744073709551616",
        "\\ud800",
        "\u{0}",
        "[[[[[[[[",
        "\"BYTES\"",
        "9223372036854775807",
        "\"binary_data_size\":99,",
    ]);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Remove(from, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (any::<Index>(), tokens).prop_map(|(at, token)| Change::Insert(at, token)),
    ]
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        let place = |index: &Index| index.index(bytes.len() + 1);
        match change {
            Change::Set(at, byte) => {
                let at = place(at);
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Change::Cut(at) => bytes.truncate(place(at)),
            Change::Remove(from, to) => {
                let (from, to) = (place(from), place(to));
                bytes.drain(from.min(to)..from.max(to));
            }
            Change::Repeat(from, to) => {
                let (from, to) = (place(from), place(to));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, part);
            }
            Change::Insert(at, token) => {
                let at = place(at);
                bytes.splice(at..at, token.bytes());
            }
        }
    }
    bytes
}

/// What was taken is what it has to be, and can be answered.
fn check(request: InferRequest) {
    let limits = Limits::default();
    assert!(request.inputs.len() <= limits.tensors && request.outputs.len() <= limits.tensors);
    let given = request.inputs.clone();
    if let Ok(response) = request.respond(None, given, &Labels::new()) {
        let _ = encode_infer(&response, &floorhand_open_inference::http::Forms::default());
        let message = grpc::encode_infer(response);
        assert!(!message.is_empty());
    }
}

fn over_http(body: &[u8], header_length: Option<&str>) {
    let model = ModelRef {
        name: "m".to_owned(),
        version: None,
    };
    let head = Head {
        header_length,
        content_encoding: None,
    };
    match decode_infer(model, head, body, &Limits::default()) {
        Ok((request, _)) => check(request),
        Err(error) => {
            assert!(error.to_string().len() < 4_000 && error.http_status() < 500 || error.http_status() == 501)
        }
    }
}

fn over_grpc(message: &[u8]) {
    let path = format!("/{}/ModelInfer", grpc::SERVICE);
    match grpc::decode(&path, message, &Limits::default()) {
        Ok(grpc::Incoming::Infer(request)) => check(request),
        Ok(other) => panic!("{other:?}"),
        Err(error) => assert!(error.to_string().len() < 4_000),
    }
}

#[test]
fn unchanged_they_are_taken() {
    let body = [JSON.as_bytes(), BINARY].concat();
    let model = ModelRef {
        name: "m".to_owned(),
        version: None,
    };
    let length = JSON.len().to_string();
    let head = Head {
        header_length: Some(&length),
        content_encoding: None,
    };
    assert_eq!(
        decode_infer(model, head, &body, &Limits::default())
            .unwrap()
            .0
            .inputs
            .len(),
        5
    );
    let path = format!("/{}/ModelInfer", grpc::SERVICE);
    let Ok(grpc::Incoming::Infer(request)) = grpc::decode(&path, MESSAGE, &Limits::default()) else {
        panic!("it is a request");
    };
    assert_eq!(request.inputs[0].to_f32().unwrap(), [1.0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_json(changes in prop::collection::vec(change(), 1..6)) {
        let json = changed(JSON.as_bytes(), &changes);
        over_http(&json, None);
        over_http(&[json.as_slice(), BINARY].concat(), Some(&json.len().to_string()));
    }

    #[test]
    fn changed_bodies(changes in prop::collection::vec(change(), 1..4), length in prop::option::of(0_usize..900)) {
        let body = changed(&[JSON.as_bytes(), BINARY].concat(), &changes);
        over_http(&body, Some(&length.unwrap_or(JSON.len()).to_string()));
    }

    #[test]
    fn changed_messages(changes in prop::collection::vec(change(), 0..4), raw in prop::collection::vec(any::<u8>(), 0..40)) {
        over_grpc(&changed(MESSAGE, &changes));
        over_grpc(&raw);
    }

    #[test]
    fn any_path(path in "(/v2/models/)?[/a-z0-9%?.\u{e4}]{0,40}(/infer|/versions/[0-9]{0,3})?", body in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = Call::route("POST", &path).map_err(|error| error.answer());
        let _ = Call::route("GET", &path).map_err(|error| error.answer());
        let _ = IndexRequest::decode(&body);
    }
}
