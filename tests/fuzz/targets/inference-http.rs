//! Requests of the Open Inference Protocol over HTTP: paths, and bodies of JSON with tensors behind it. What is taken is a
//! request whose tensors are no longer than what came, and can be given back.
//!
//! The first two bytes are the header of JSON's length, plus one; 0 is no header.

#![no_main]

use floorhand_open_inference::http::{Form, Forms, Head, decode_infer, encode_infer};
use floorhand_open_inference::{Call, IndexRequest, InferResponse, Labels, Limits, ModelRef};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        for method in ["GET", "POST"] {
            if let Err(error) = Call::route(method, text) {
                assert!((400..600).contains(&error.http_status()));
            }
        }
    }
    drop(IndexRequest::decode(bytes));
    let Some((front, body)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let length = u16::from_be_bytes(*front)
        .checked_sub(1)
        .map(|length| length.to_string());
    let head = Head {
        header_length: length.as_deref(),
        content_encoding: None,
    };
    let model = ModelRef {
        name: "m".to_owned(),
        version: None,
    };
    let (request, forms) = match decode_infer(model, head, body, &Limits::default()) {
        Ok(read) => read,
        Err(error) => {
            let answer = error.answer();
            assert!((400..600).contains(&answer.status) && answer.body.len() < 16 * 1024);
            return;
        }
    };
    let held: usize = request.inputs.iter().map(|tensor| tensor.data().len()).sum();
    // An element of JSON, with its comma, takes two bytes at least, and eight at most once it is read.
    assert!(held <= 8 * body.len(), "{held} bytes of {}", body.len());
    // What came is what goes: as binary data always.
    let response = InferResponse {
        model: request.model.clone(),
        id: request.id.clone(),
        parameters: request.parameters.clone(),
        outputs: request.inputs.clone(),
    };
    let binary = Forms {
        default: Form::Binary,
        ..Forms::default()
    };
    let answer = encode_infer(&response, &binary).expect("binary data takes everything");
    assert!(answer.body.len() >= held);
    drop(encode_infer(&response, &forms));
    drop(request.clone().respond(None, request.inputs, &Labels::new()));
});
