//! The messages, with the names and numbers that the public definition of `inference.GRPCInferenceService` gives their fields.
//!
//! A field that isn't here is skipped when it comes. Messages of the same fields are one type.

use std::collections::BTreeMap;

/// `ServerLiveResponse` (whose field is called `live`), `ServerReadyResponse` and `ModelReadyResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadyResponse {
    /// Yes or no.
    #[prost(bool, tag = "1")]
    pub ready: bool,
}

/// `ModelReadyRequest` and `ModelMetadataRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ModelRequest {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version, or nothing.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `ServerMetadataResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerMetadataResponse {
    /// The server's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// The extensions it speaks.
    #[prost(string, repeated, tag = "3")]
    pub extensions: Vec<String>,
}

/// `ModelMetadataResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ModelMetadataResponse {
    /// The model's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The versions that can be asked for.
    #[prost(string, repeated, tag = "2")]
    pub versions: Vec<String>,
    /// Format and engine.
    #[prost(string, tag = "3")]
    pub platform: String,
    /// What it takes.
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<TensorMetadata>,
}

/// `ModelMetadataResponse.TensorMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorMetadata {
    /// The tensor's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its datatype.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Its sizes, -1 for open ones.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

/// `InferParameter`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InferParameter {
    /// Its value, of one type or another.
    #[prost(oneof = "ParameterChoice", tags = "1, 2, 3, 4, 5")]
    pub choice: Option<ParameterChoice>,
}

/// The types of a parameter's value.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ParameterChoice {
    /// True or false.
    #[prost(bool, tag = "1")]
    Bool(bool),
    /// An integer.
    #[prost(int64, tag = "2")]
    Int64(i64),
    /// A text.
    #[prost(string, tag = "3")]
    Text(String),
    /// A number.
    #[prost(double, tag = "4")]
    Double(f64),
    /// An unsigned integer.
    #[prost(uint64, tag = "5")]
    Uint64(u64),
}

/// `ModelInferRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ModelInferRequest {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// The version, or nothing.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// The client's name for the request, or nothing.
    #[prost(string, tag = "3")]
    pub id: String,
    /// The request's parameters.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// The inputs, their data within them or in `raw_input_contents`.
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<InferTensor>,
    /// The outputs that are asked for, or none for all.
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<RequestedOutputTensor>,
    /// The bytes of each input, in their order; of all or of none.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub raw_input_contents: Vec<Vec<u8>>,
}

/// `ModelInferRequest.InferRequestedOutputTensor`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestedOutputTensor {
    /// The output's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How it is asked for.
    #[prost(btree_map = "string, message", tag = "2")]
    pub parameters: BTreeMap<String, InferParameter>,
}

/// `ModelInferRequest.InferInputTensor` and `ModelInferResponse.InferOutputTensor`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InferTensor {
    /// The tensor's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its datatype.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Its sizes.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    /// Its parameters.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// Its elements, unless they are in the raw contents.
    #[prost(message, optional, tag = "5")]
    pub contents: Option<InferTensorContents>,
}

/// `InferTensorContents`: elements in the one field that their datatype says. FP16 has none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InferTensorContents {
    /// BOOL.
    #[prost(bool, repeated, tag = "1")]
    pub bool_contents: Vec<bool>,
    /// INT8, INT16, INT32.
    #[prost(int32, repeated, tag = "2")]
    pub int_contents: Vec<i32>,
    /// INT64.
    #[prost(int64, repeated, tag = "3")]
    pub int64_contents: Vec<i64>,
    /// UINT8, UINT16, UINT32.
    #[prost(uint32, repeated, tag = "4")]
    pub uint_contents: Vec<u32>,
    /// UINT64.
    #[prost(uint64, repeated, tag = "5")]
    pub uint64_contents: Vec<u64>,
    /// FP32.
    #[prost(float, repeated, tag = "6")]
    pub fp32_contents: Vec<f32>,
    /// FP64.
    #[prost(double, repeated, tag = "7")]
    pub fp64_contents: Vec<f64>,
    /// BYTES.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub bytes_contents: Vec<Vec<u8>>,
}

/// `ModelInferResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ModelInferResponse {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// The version that answered.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// The request's, or nothing.
    #[prost(string, tag = "3")]
    pub id: String,
    /// What the server says beside the outputs.
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    /// The outputs, their data in `raw_output_contents`.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<InferTensor>,
    /// The bytes of each output, in their order.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub raw_output_contents: Vec<Vec<u8>>,
}
