//! The Open Inference Protocol v2, as KServe describes it and NVIDIA's Triton and its clients speak it: everything about
//! it but the moving of bytes.
//!
//! No sockets, no runtime, no clock. A server hands over what came (a method and a path, headers, a body) and gets typed
//! requests; it hands over tensors and gets bytes to send. What a request asks for is the same over HTTP and over gRPC:
//! [`Call`], [`InferRequest`], [`InferResponse`]. `docs/open-inference.md` says what of the protocol there is, and what
//! isn't and why.
//!
//! An inference over HTTP, from its request to its answer:
//!
//! ```
//! use floorhand_open_inference::http::{Head, decode_infer, encode_infer};
//! use floorhand_open_inference::{Call, Labels, Limits};
//! use floorhand_tensor::{Datatype, Dim, Signature, Tensor, TensorSpec};
//!
//! let Call::Infer(model) = Call::route("POST", "/v2/models/pump/infer")? else { unreachable!() };
//!
//! let body = br#"{"id": "42", "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 0.25]}]}"#;
//! let (request, forms) = decode_infer(model, Head::default(), body, &Limits::default())?;
//!
//! // Before the model runs: is this what it takes?
//! let spec = |name| TensorSpec::new(name, Datatype::Fp32, vec![Dim::Any, Dim::Any]);
//! request.check(&Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] })?;
//!
//! // What the model gives goes into the answer as it was asked for.
//! let given = Tensor::from_f32("y", vec![1, 1], &[0.1])?;
//! let response = request.respond(Some("3".to_owned()), vec![given], &Labels::new())?;
//! let answer = encode_infer(&response, &forms)?;
//! assert_eq!(answer.status, 200);
//! assert_eq!(
//!     answer.body,
//!     br#"{"model_name":"pump","model_version":"3","id":"42","outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"data":[0.1]}]}"#
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Whatever goes wrong is an [`Error`], which knows its answer:
//!
//! ```
//! use floorhand_open_inference::Call;
//!
//! let error = Call::route("GET", "/v2/models/pump/infer").unwrap_err();
//! let answer = error.answer();
//! assert_eq!((answer.status, error.grpc_code().number()), (405, 12));
//! assert_eq!(answer.headers[1], ("allow", "POST".to_owned()));
//! ```
//!
//! # Testing
//!
//! All of it is functions of bytes, so a test needs no server: build a body as above and look at what comes out. What
//! clients really send is in `tests/python/open_inference/cases.json`, recorded from `tritonclient`; `tests/tritonclient.rs`
//! reads it, and gives `tritonclient` this crate's answers to read where a Python has it (`FLOORHAND_PYTHON`).
//! `tests/client.rs` is a server of one page, with the real client in front of it.
//! `tests/round_trip.rs` writes tensors of any bits and reads them back in every form.
//! `tests/hostile.rs` feeds changed requests to every reader: none may panic, and none may take what isn't a tensor.

mod call;
mod classes;
mod error;
pub mod grpc;
pub mod http;
mod infer;
mod metadata;
mod parameters;

pub use call::{Call, ModelRef};
pub use classes::Labels;
pub use error::{Error, GrpcCode};
pub use infer::{
    InferRequest, InferResponse, Limits, MAX_BODY_BYTES, MAX_DIMENSIONS, MAX_NAME_BYTES, MAX_TENSORS, RequestedOutput,
};
pub use metadata::{
    ConfigTensor, Duration, EXTENSIONS, IndexEntry, IndexRequest, InferenceStatistics, ModelConfig, ModelMetadata,
    ModelState, ModelStatistics, ServerMetadata, Statistics,
};
pub use parameters::{MAX_PARAMETERS, Parameter, Parameters};
