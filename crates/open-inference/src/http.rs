//! The protocol over HTTP: JSON, and the extension that puts tensors behind it as they are.
//!
//! Knows no client, no server and no socket: a request is its head and its body, an answer is [`HttpAnswer`].

mod data;
mod listed;
mod request;
mod response;

pub use request::{Head, decode_infer};
pub use response::encode_infer;

use crate::Call;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// The header that says how many bytes of a body are JSON, when tensors follow behind it.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// An answer, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Headers, their names in small letters. The one of the body's length is left to who sends it.
    pub headers: Vec<(&'static str, String)>,
    /// The body; not to be sent in answer to `HEAD`.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// An answer of JSON: metadata, statistics, an index.
    #[must_use]
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        // What this crate's types and JSON values are made of can't fail to be written.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self {
            status,
            headers: vec![("content-type", JSON.to_owned())],
            body,
        }
    }

    /// Whether it is as `call` asked ([`Call::Live`], [`Call::Ready`], [`Call::ModelReady`]): 200, or 503 if it isn't.
    #[must_use]
    pub fn readiness(call: &Call, is: bool) -> Self {
        let status = if is { 200 } else { 503 };
        let body = match call {
            Call::Live => json!({ "live": is }),
            Call::ModelReady(model) => json!({ "name": model.name, "ready": is }),
            _ => json!({ "ready": is }),
        };
        Self::json(status, &body)
    }
}

/// How a tensor is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Within the JSON.
    #[default]
    Json,
    /// Behind the JSON, as it is.
    Binary,
}

/// In which form each output is to be sent, as the request asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forms {
    /// That of outputs about which nothing is said.
    pub default: Form,
    /// That of others.
    pub outputs: BTreeMap<String, Form>,
}

impl Forms {
    /// That of one output.
    #[must_use]
    pub fn of(&self, output: &str) -> Form {
        self.outputs.get(output).copied().unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelRef;

    #[test]
    fn readiness_is_in_status_and_body() {
        let model = Call::ModelReady(ModelRef {
            name: "m".to_owned(),
            version: None,
        });
        for (call, is, status, body) in [
            (Call::Live, true, 200, r#"{"live":true}"#),
            (Call::Ready, false, 503, r#"{"ready":false}"#),
            (model, true, 200, r#"{"name":"m","ready":true}"#),
        ] {
            let answer = HttpAnswer::readiness(&call, is);
            assert_eq!((answer.status, answer.body.as_slice()), (status, body.as_bytes()));
        }
    }
}
