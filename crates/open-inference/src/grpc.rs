//! The protocol over gRPC: the messages of the service `inference.GRPCInferenceService`, to and from what HTTP has too.
//!
//! A message is what lies behind gRPC's five bytes of compression flag and length; those, the streams and the trailers
//! `grpc-status` and `grpc-message` ([`Error::grpc_code`] and the error's text) are the server's.

mod contents;
mod convert;
pub mod messages;
mod scan;

pub use scan::MAX_TYPED_BYTES;

use crate::error::shortened;
use crate::{Call, Error, InferRequest, InferResponse, Limits, ModelMetadata, ModelRef, ServerMetadata};
use messages as proto;
use prost::Message;

/// The service, as paths name it.
pub const SERVICE: &str = "inference.GRPCInferenceService";

/// What a message asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A question about server or model; never [`Call::Infer`].
    Call(Call),
    /// An inference.
    Infer(InferRequest),
}

/// Reads the message of a call to a method, which is the path of the HTTP/2 request: `/inference.GRPCInferenceService/ModelInfer`.
pub fn decode(path: &str, message: &[u8], limits: &Limits) -> Result<Incoming, Error> {
    limits.check_body(message.len())?;
    let method = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let Some((SERVICE, method)) = method else {
        let path = shortened(path);
        return Err(Error::Path { path });
    };
    Ok(Incoming::Call(match method {
        "ServerLive" => Call::Live,
        "ServerReady" => Call::Ready,
        "ServerMetadata" => Call::ServerMetadata,
        "ModelReady" => Call::ModelReady(model(message)?),
        "ModelMetadata" => Call::ModelMetadata(model(message)?),
        "ModelInfer" => return convert::infer_request(message, limits).map(Incoming::Infer),
        _ => {
            let path = shortened(path);
            return Err(Error::Path { path });
        }
    }))
}

/// The answer to [`Call::Live`], [`Call::Ready`] or [`Call::ModelReady`]. No is an answer like yes: gRPC has no status for it.
#[must_use]
pub fn encode_readiness(is: bool) -> Vec<u8> {
    // The three answers are one truth in field 1.
    proto::ReadyResponse { ready: is }.encode_to_vec()
}

/// The answer to [`Call::ServerMetadata`].
#[must_use]
pub fn encode_server_metadata(server: &ServerMetadata) -> Vec<u8> {
    let ServerMetadata {
        name,
        version,
        extensions,
    } = server.clone();
    let message = proto::ServerMetadataResponse {
        name,
        version,
        extensions,
    };
    message.encode_to_vec()
}

/// The answer to [`Call::ModelMetadata`].
#[must_use]
pub fn encode_model_metadata(model: &ModelMetadata) -> Vec<u8> {
    convert::model_metadata(model).encode_to_vec()
}

/// The answer to an inference: all outputs as they are, in `raw_output_contents`, whatever form the inputs had.
#[must_use]
pub fn encode_infer(response: InferResponse) -> Vec<u8> {
    convert::infer_response(response).encode_to_vec()
}

fn model(message: &[u8]) -> Result<ModelRef, Error> {
    let request = proto::ModelRequest::decode(message).map_err(Error::body)?;
    convert::model_ref(request.name, request.version)
}

#[cfg(test)]
mod tests;
