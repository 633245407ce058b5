//! A tensor that was written is read as the same bytes, in every form, whatever is in it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]

use floorhand_open_inference::http::{Form, Forms, HEADER_LENGTH, Head, decode_infer, encode_infer};
use floorhand_open_inference::{InferResponse, Limits, ModelRef, Parameters, grpc};
use floorhand_tensor::{Datatype, Tensor};
use proptest::prelude::*;

fn model() -> ModelRef {
    ModelRef {
        name: "m".to_owned(),
        version: None,
    }
}

fn response(tensor: &Tensor) -> InferResponse {
    InferResponse {
        model: model(),
        id: None,
        parameters: Parameters::default(),
        outputs: vec![tensor.clone()],
    }
}

/// An answer and a request differ in one word: what they call their tensors.
fn over_http(tensor: &Tensor, default: Form) -> Option<Tensor> {
    let forms = Forms {
        default,
        ..Forms::default()
    };
    let answer = encode_infer(&response(tensor), &forms).ok()?;
    let length = answer.headers.iter().find(|(name, _)| *name == HEADER_LENGTH);
    let length: usize = length.map_or(answer.body.len(), |(_, length)| length.parse().unwrap());
    let (json, binary) = answer.body.split_at(length);
    let json = std::str::from_utf8(json)
        .unwrap()
        .replacen("\"outputs\"", "\"inputs\"", 1);
    let length = json.len().to_string();
    let head = Head {
        header_length: Some(&length),
        content_encoding: None,
    };
    let body = [json.as_bytes(), binary].concat();
    let (mut request, _) = decode_infer(model(), head, &body, &Limits::default()).unwrap();
    request.inputs.pop()
}

fn over_grpc(tensor: &Tensor) -> Tensor {
    // The same again: raw contents have number 6 in an answer and 7 in a request.
    let message: grpc::messages::ModelInferResponse =
        prost::Message::decode(grpc::encode_infer(response(tensor)).as_slice()).unwrap();
    let request = grpc::messages::ModelInferRequest {
        model_name: message.model_name,
        inputs: message.outputs,
        raw_input_contents: message.raw_output_contents,
        ..Default::default()
    };
    let path = format!("/{}/ModelInfer", grpc::SERVICE);
    match grpc::decode(&path, &prost::Message::encode_to_vec(&request), &Limits::default()) {
        Ok(grpc::Incoming::Infer(mut request)) => request.inputs.pop().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn check(tensor: &Tensor) {
    assert_eq!(over_http(tensor, Form::Binary).as_ref(), Some(tensor));
    assert_eq!(&over_grpc(tensor), tensor);
    let in_json = over_http(tensor, Form::Json);
    let has_json = tensor.datatype() != Datatype::Fp16 && tensor.first_non_finite().is_none();
    let is_text = |element: &&[u8]| std::str::from_utf8(element).is_ok();
    let has_json = has_json
        && tensor.elements().is_ok_and(|all| all.iter().all(is_text)) == (tensor.datatype() == Datatype::Bytes);
    assert_eq!(in_json.as_ref(), has_json.then_some(tensor));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bits: subnormal, NaN, the largest of each.
    #[test]
    fn numbers(datatype in prop::sample::select(Datatype::numbers().collect::<Vec<_>>()), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let size = datatype.size().unwrap();
        let count = bytes.len() / size;
        let mut bytes = bytes[..count * size].to_vec();
        if datatype == Datatype::Bool {
            bytes.iter_mut().for_each(|byte| *byte &= 1);
        }
        check(&Tensor::new("x", datatype, vec![1, count as u64], bytes).unwrap());
    }

    #[test]
    fn texts(texts in prop::collection::vec(any::<String>(), 0..8), bytes in prop::collection::vec(any::<Vec<u8>>(), 0..3)) {
        check(&Tensor::from_elements("x", vec![texts.len() as u64], &texts).unwrap());
        check(&Tensor::from_elements("x", vec![bytes.len() as u64], &bytes).unwrap());
    }
}
