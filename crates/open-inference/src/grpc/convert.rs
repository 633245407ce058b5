//! Messages to and from what HTTP has too.

use super::messages::{
    InferParameter, InferTensor, ModelInferRequest, ModelInferResponse, ModelMetadataResponse, ParameterChoice,
    RequestedOutputTensor, TensorMetadata,
};
use super::{contents, scan};
use crate::infer::{checked_shape, checked_truths};
use crate::{
    Error, InferRequest, InferResponse, Limits, MAX_PARAMETERS, ModelMetadata, ModelRef, Parameter, Parameters,
    RequestedOutput,
};
use floorhand_tensor::{Datatype, Tensor, TensorSpec};
use prost::Message as _;
use std::collections::BTreeMap;

pub(super) fn infer_request(message: &[u8], limits: &Limits) -> Result<InferRequest, Error> {
    scan::check(message, limits)?;
    let request = ModelInferRequest::decode(message).map_err(Error::body)?;
    let raw = request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        let (raw, inputs) = (raw.len(), request.inputs.len());
        return Err(Error::body(format!("{raw} raw_input_contents for {inputs} inputs")));
    }
    let mut raw = raw.into_iter();
    let inputs = request.inputs.into_iter().map(|input| tensor(input, raw.next()));
    let inputs = inputs.collect::<Result<_, _>>()?;
    let outputs = request.outputs.into_iter().map(requested);
    let request = InferRequest {
        model: model_ref(request.model_name, request.model_version)?,
        id: Some(request.id).filter(|id| !id.is_empty()),
        parameters: parameters(request.parameters)?,
        inputs,
        outputs: outputs.collect::<Result<_, _>>()?,
    };
    request.checked(limits)
}

pub(super) fn infer_response(response: InferResponse) -> ModelInferResponse {
    let mut message = ModelInferResponse {
        model_name: response.model.name,
        model_version: response.model.version.unwrap_or_default(),
        id: response.id.unwrap_or_default(),
        parameters: response.parameters.iter().map(parameter_message).collect(),
        ..ModelInferResponse::default()
    };
    for output in response.outputs {
        let (name, datatype, shape, data) = output.into_parts();
        message.outputs.push(InferTensor {
            name,
            datatype: datatype.name().to_owned(),
            shape: shape
                .into_iter()
                .map(|size| i64::try_from(size).unwrap_or(i64::MAX))
                .collect(),
            ..InferTensor::default()
        });
        message.raw_output_contents.push(data);
    }
    message
}

pub(super) fn model_metadata(model: &ModelMetadata) -> ModelMetadataResponse {
    let tensors = |specs: &[TensorSpec]| {
        let tensor = |spec: &TensorSpec| TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.datatype.name().to_owned(),
            shape: spec.shape.iter().copied().map(i64::from).collect(),
        };
        specs.iter().map(tensor).collect()
    };
    ModelMetadataResponse {
        name: model.name.clone(),
        versions: model.versions.clone(),
        platform: model.platform.clone(),
        inputs: tensors(&model.inputs),
        outputs: tensors(&model.outputs),
    }
}

/// A model's name and version; the version is empty where the server is to choose.
pub(super) fn model_ref(name: String, version: String) -> Result<ModelRef, Error> {
    if name.is_empty() {
        return Err(Error::body("no model is named"));
    }
    Ok(ModelRef {
        name,
        version: Some(version).filter(|version| !version.is_empty()),
    })
}

fn tensor(input: InferTensor, raw: Option<Vec<u8>>) -> Result<Tensor, Error> {
    let refused = |problem: String| Error::input(&input.name, problem);
    let shape = checked_shape(&input.name, &input.shape)?;
    let parsed = input.datatype.parse::<Datatype>();
    let datatype = parsed.map_err(|error| refused(format!("has a datatype that isn't known: {error}")))?;
    if input.parameters.contains_key("shared_memory_region") {
        return Err(Error::Unsupported {
            subject: "an input in shared memory".to_owned(),
            instead: "send it in raw_input_contents",
        });
    }
    let data = match (raw, &input.contents) {
        (Some(_), Some(_)) => {
            return Err(refused(
                "has contents and raw_input_contents: only one of them".to_owned(),
            ));
        }
        (Some(raw), None) => raw,
        (None, Some(contents)) => contents::bytes(contents, datatype).map_err(refused)?,
        (None, None) if shape.contains(&0) => Vec::new(),
        (None, None) => return Err(refused("has neither contents nor raw_input_contents".to_owned())),
    };
    let tensor = Tensor::new(input.name, datatype, shape, data)?;
    checked_truths(&tensor)?;
    Ok(tensor)
}

fn requested(output: RequestedOutputTensor) -> Result<RequestedOutput, Error> {
    RequestedOutput::with_parameters(output.name, parameters(output.parameters)?)
}

fn parameters(messages: BTreeMap<String, InferParameter>) -> Result<Parameters, Error> {
    if messages.len() > MAX_PARAMETERS {
        return Err(Error::TooMany {
            subject: "parameters",
            count: messages.len(),
            most: MAX_PARAMETERS,
        });
    }
    let value = |(name, message): (String, InferParameter)| {
        let value = match message.choice {
            Some(ParameterChoice::Bool(value)) => Parameter::Bool(value),
            Some(ParameterChoice::Int64(value)) => Parameter::Int(value),
            Some(ParameterChoice::Text(value)) => Parameter::Text(value),
            Some(ParameterChoice::Double(value)) => Parameter::Double(value),
            Some(ParameterChoice::Uint64(value)) => Parameter::Uint(value),
            None => return Err(Error::parameter(&name, "has no value")),
        };
        Ok((name, value))
    };
    messages.into_iter().map(value).collect()
}

fn parameter_message((name, value): (&str, &Parameter)) -> (String, InferParameter) {
    let choice = Some(match value {
        Parameter::Bool(value) => ParameterChoice::Bool(*value),
        Parameter::Int(value) => ParameterChoice::Int64(*value),
        Parameter::Uint(value) => ParameterChoice::Uint64(*value),
        Parameter::Double(value) => ParameterChoice::Double(*value),
        Parameter::Text(value) => ParameterChoice::Text(value.clone()),
    });
    (name.to_owned(), InferParameter { choice })
}
