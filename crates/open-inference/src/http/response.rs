//! The answer to an inference: JSON, and behind it the bytes of those outputs that were asked for like that.

use super::{BINARY, Form, Forms, HEADER_LENGTH, HttpAnswer};
use crate::{Error, InferResponse};
use floorhand_tensor::{Datatype, Tensor};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

/// Writes the answer. An error when an output was asked for in JSON and can't be written in it: FP16, NaN and infinities,
/// byte strings that are no text. Each says to ask for binary data.
pub fn encode_infer(response: &InferResponse, forms: &Forms) -> Result<HttpAnswer, Error> {
    let outputs: Vec<Output<'_>> = response
        .outputs
        .iter()
        .map(|tensor| Output(tensor, forms.of(tensor.name())))
        .collect();
    for Output(tensor, form) in &outputs {
        if *form == Form::Json {
            check_json(tensor)?;
        }
    }
    let mut answer = HttpAnswer::json(
        200,
        &Response {
            response,
            outputs: &outputs,
        },
    );
    let binary = outputs.iter().filter(|output| output.1 == Form::Binary);
    let binary: Vec<&[u8]> = binary.map(|output| output.0.data()).collect();
    if binary.is_empty() {
        return Ok(answer);
    }
    answer.headers = vec![
        ("content-type", BINARY.to_owned()),
        (HEADER_LENGTH, answer.body.len().to_string()),
    ];
    answer.body.reserve_exact(binary.iter().map(|bytes| bytes.len()).sum());
    for bytes in binary {
        answer.body.extend(bytes);
    }
    Ok(answer)
}

/// What JSON can't say is refused: a wrong number, or none where there was one, is found by nobody.
fn check_json(tensor: &Tensor) -> Result<(), Error> {
    let problem = match tensor.datatype() {
        Datatype::Fp16 => Some("is FP16, which the protocol has no JSON for".to_owned()),
        Datatype::Bytes => {
            let texts = tensor.elements()?;
            let odd = texts.iter().position(|text| std::str::from_utf8(text).is_err());
            odd.map(|at| format!("has bytes that are no UTF-8 in element {at}, which JSON has no strings for"))
        }
        _ => tensor
            .first_non_finite()
            .map(|(at, value)| format!("is {value} in element {at}, which JSON has no number for")),
    };
    match problem {
        None => Ok(()),
        Some(problem) => Err(Error::output(
            tensor.name(),
            format!("{problem}: ask for it with binary_data"),
        )),
    }
}

struct Response<'a> {
    response: &'a InferResponse,
    outputs: &'a [Output<'a>],
}

impl Serialize for Response<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { response, outputs } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model_name", &response.model.name)?;
        if let Some(version) = &response.model.version {
            map.serialize_entry("model_version", version)?;
        }
        if let Some(id) = &response.id {
            map.serialize_entry("id", id)?;
        }
        if !response.parameters.is_empty() {
            map.serialize_entry("parameters", &response.parameters)?;
        }
        map.serialize_entry("outputs", outputs)?;
        map.end()
    }
}

struct Output<'a>(&'a Tensor, Form);

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(tensor, form) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", tensor.name())?;
        map.serialize_entry("datatype", &tensor.datatype())?;
        map.serialize_entry("shape", tensor.shape())?;
        match form {
            Form::Json => map.serialize_entry("data", &Data(tensor))?,
            Form::Binary => {
                let size = serde_json::json!({ "binary_data_size": tensor.data().len() });
                map.serialize_entry("parameters", &size)?;
            }
        }
        map.end()
    }
}

/// All elements in one array.
struct Data<'a>(&'a Tensor);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        macro_rules! each {
            ($type:ty) => {
                for bytes in self.0.data().as_chunks().0 {
                    seq.serialize_element(&<$type>::from_le_bytes(*bytes))?;
                }
            };
        }
        match self.0.datatype() {
            Datatype::Bool => {
                for byte in self.0.data() {
                    seq.serialize_element(&(*byte != 0))?;
                }
            }
            Datatype::Uint8 => each!(u8),
            Datatype::Uint16 => each!(u16),
            Datatype::Uint32 => each!(u32),
            Datatype::Uint64 => each!(u64),
            Datatype::Int8 => each!(i8),
            Datatype::Int16 => each!(i16),
            Datatype::Int32 => each!(i32),
            Datatype::Int64 => each!(i64),
            Datatype::Fp32 => each!(f32),
            Datatype::Fp64 => each!(f64),
            Datatype::Bytes => {
                for element in self.0.elements().map_err(S::Error::custom)? {
                    seq.serialize_element(std::str::from_utf8(element).map_err(S::Error::custom)?)?;
                }
            }
            Datatype::Fp16 => return Err(S::Error::custom("FP16 has no JSON")),
        }
        seq.end()
    }
}

#[cfg(test)]
mod tests;
