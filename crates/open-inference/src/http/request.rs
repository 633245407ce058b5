//! The body of an inference: JSON, and behind it the bytes of those inputs that say so.

use super::listed::Listed;
use super::{Form, Forms, HEADER_LENGTH, data};
use crate::error::shortened;
use crate::infer::{checked_shape, checked_truths};
use crate::{Error, InferRequest, Limits, ModelRef, Parameters, RequestedOutput};
use floorhand_tensor::{Datatype, Tensor};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What of an inference's headers matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head<'a> {
    /// The header [`HEADER_LENGTH`].
    pub header_length: Option<&'a str>,
    /// The header `content-encoding`. Compressed bodies aren't taken.
    pub content_encoding: Option<&'a str>,
}

/// Reads an inference: what to do, and in which form to answer. The version that the path has is the one that counts.
pub fn decode_infer(
    model: ModelRef,
    head: Head<'_>,
    body: &[u8],
    limits: &Limits,
) -> Result<(InferRequest, Forms), Error> {
    limits.check_body(body.len())?;
    if let Some(encoding) = head.content_encoding.filter(|encoding| *encoding != "identity") {
        let encoding = shortened(encoding);
        return Err(Error::Encoding { encoding });
    }
    let (json, mut binary) = split(body, head.header_length)?;
    let parsed: RequestJson = serde_json::from_slice(json).map_err(|error| no_json(json, &error))?;
    let inputs = parsed.inputs.0;
    limits.check_count("inputs", inputs.len())?;
    let outputs = parsed.outputs.map(|outputs| outputs.0).unwrap_or_default();
    limits.check_count("outputs", outputs.len())?;
    let inputs = inputs.into_iter().map(|input| input.read(&mut binary));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    if let Some(rest) = binary.filter(|rest| !rest.is_empty()) {
        let problem = format!("{} bytes are behind the last input", rest.len());
        return Err(Error::body(problem));
    }
    let (outputs, forms) = requested(outputs, &parsed.parameters)?;
    let mut parameters = parsed.parameters;
    parameters.remove("binary_data_output");
    let request = InferRequest {
        model,
        id: parsed.id,
        parameters,
        inputs,
        outputs,
    };
    Ok((request.checked(limits)?, forms))
}

#[derive(Deserialize)]
struct RequestJson<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Listed<InputJson<'a>>,
    outputs: Option<Listed<OutputJson>>,
}

#[derive(Deserialize)]
struct InputJson<'a> {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    /// Text until it is known what it should be.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OutputJson {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

impl InputJson<'_> {
    /// The tensor; `binary` is what is left behind the JSON, if anything was ever said to be there.
    fn read(self, binary: &mut Option<&[u8]>) -> Result<Tensor, Error> {
        let refused = |problem: String| Error::input(&self.name, problem);
        let shape = checked_shape(&self.name, &self.shape)?;
        let datatype: Datatype = self.datatype.parse().map_err(|_| {
            refused(format!(
                "has datatype {:?}: there are BOOL, UINT8 to UINT64, INT8 to INT64, FP16, FP32, FP64, BYTES",
                self.datatype
            ))
        })?;
        if self.parameters.get("shared_memory_region").is_some() {
            return Err(Error::Unsupported {
                subject: format!("input {:?} in shared memory", self.name),
                instead: "send it as binary data",
            });
        }
        let bytes = match (self.parameters.unsigned("binary_data_size")?, self.data) {
            (Some(_), Some(_)) => return Err(refused("has data and binary_data_size: only one of them".to_owned())),
            (Some(size), None) => taken(size, binary).map_err(refused)?.to_vec(),
            (None, Some(_)) if datatype == Datatype::Fp16 => {
                return Err(refused(
                    "is FP16, which the protocol has no JSON for: send it as binary data".to_owned(),
                ));
            }
            (None, Some(text)) => data::read(text.get(), datatype, &shape).map_err(refused)?,
            (None, None) if shape.contains(&0) => Vec::new(),
            (None, None) => return Err(refused("has neither data nor binary_data_size".to_owned())),
        };
        let tensor = Tensor::new(self.name, datatype, shape, bytes)?;
        checked_truths(&tensor)?;
        Ok(tensor)
    }
}

/// The JSON and what is behind it; nothing can be behind it without the header.
fn split<'a>(body: &'a [u8], header_length: Option<&str>) -> Result<(&'a [u8], Option<&'a [u8]>), Error> {
    let Some(text) = header_length else {
        return Ok((body, None));
    };
    let refused = |problem: String| Error::Header {
        header: HEADER_LENGTH,
        value: shortened(text),
        problem,
    };
    let length: usize = text.parse().map_err(|_| refused("no number of bytes".to_owned()))?;
    if length == 0 {
        return Err(refused("a request without JSON is not taken".to_owned()));
    }
    let parts = body.split_at_checked(length);
    let (json, binary) = parts.ok_or_else(|| refused(format!("the body has {} bytes", body.len())))?;
    Ok((json, Some(binary)))
}

/// The next bytes behind the JSON.
fn taken<'a>(size: u64, binary: &mut Option<&'a [u8]>) -> Result<&'a [u8], String> {
    if size == 0 {
        return Ok(&[]);
    }
    let Some(rest) = binary else {
        return Err(format!("has binary_data_size, and there is no header {HEADER_LENGTH}"));
    };
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    let Some((bytes, behind)) = rest.split_at_checked(length) else {
        return Err(format!(
            "has binary_data_size {size}, and {} bytes are left",
            rest.len()
        ));
    };
    *binary = Some(behind);
    Ok(bytes)
}

fn requested(outputs: Vec<OutputJson>, parameters: &Parameters) -> Result<(Vec<RequestedOutput>, Forms), Error> {
    let form = |binary| if binary { Form::Binary } else { Form::Json };
    let mut forms = Forms {
        default: form(parameters.bool("binary_data_output")?.unwrap_or(false)),
        ..Forms::default()
    };
    let mut requested = Vec::with_capacity(outputs.len());
    for OutputJson { name, mut parameters } in outputs {
        if let Some(binary) = parameters.bool("binary_data")? {
            forms.outputs.insert(name.clone(), form(binary));
        }
        parameters.remove("binary_data");
        requested.push(RequestedOutput::with_parameters(name, parameters)?);
    }
    Ok((requested, forms))
}

/// What serde_json says, and what people don't know who wrote their JSON with Python or JavaScript.
fn no_json(json: &[u8], error: &serde_json::Error) -> Error {
    let before = json
        .split_inclusive(|&byte| byte == b'\n')
        .take(error.line().saturating_sub(1));
    let at = before.map(<[u8]>::len).sum::<usize>() + error.column();
    let around = json.get(at.saturating_sub(2)..).unwrap_or_default();
    let around = around.get(..4).unwrap_or(around);
    let is = |name: &[u8]| around.windows(name.len()).any(|window| window == name);
    if error.is_syntax() && (is(b"NaN") || is(b"In") || is(b"nan") || is(b"in")) {
        return Error::body(format!(
            "JSON has no NaN and no Infinity (line {}, column {}): send the input as binary data",
            error.line(),
            error.column()
        ));
    }
    Error::body(error)
}

#[cfg(test)]
mod tests;
