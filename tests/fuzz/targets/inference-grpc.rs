//! Messages of the Open Inference Protocol over gRPC. What is taken is a request whose tensors are no longer than what came,
//! and can be given back.
//!
//! The first byte is the method.

#![no_main]

use floorhand_open_inference::grpc::{Incoming, SERVICE, decode, encode_infer};
use floorhand_open_inference::{InferResponse, Labels, Limits};
use libfuzzer_sys::fuzz_target;

const METHODS: [&str; 6] = [
    "ModelInfer",
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((method, message)) = bytes.split_first() else {
        return;
    };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let request = match decode(&format!("/{SERVICE}/{method}"), message, &Limits::default()) {
        Ok(Incoming::Infer(request)) => request,
        Ok(Incoming::Call(_)) => return,
        Err(error) => {
            assert!(error.grpc_code().number() > 0 && error.to_string().len() < 16 * 1024);
            return;
        }
    };
    let held: usize = request.inputs.iter().map(|tensor| tensor.data().len()).sum();
    // A typed element takes one byte at least, and eight at most once it is read; a text has four in front.
    assert!(held <= 8 * message.len(), "{held} bytes of {}", message.len());
    let response = InferResponse {
        model: request.model.clone(),
        id: request.id.clone(),
        parameters: request.parameters.clone(),
        outputs: request.inputs.clone(),
    };
    assert!(encode_infer(response).len() >= held);
    drop(request.clone().respond(None, request.inputs, &Labels::new()));
});
