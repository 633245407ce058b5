use super::*;
use floorhand_tensor::{Datatype, Tensor};
use messages::{InferTensor, InferTensorContents, ModelInferRequest, ModelInferResponse};

fn path(method: &str) -> String {
    format!("/{SERVICE}/{method}")
}

fn infer(request: &ModelInferRequest) -> Result<InferRequest, Error> {
    match decode(&path("ModelInfer"), &request.encode_to_vec(), &Limits::default())? {
        Incoming::Infer(request) => Ok(request),
        Incoming::Call(call) => panic!("{call:?}"),
    }
}

fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "m".to_owned(),
        inputs: vec![InferTensor {
            name: "x".to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.to_vec(),
            contents,
            ..InferTensor::default()
        }],
        ..ModelInferRequest::default()
    }
}

fn refused(request: &ModelInferRequest, problem: &str) {
    let error = infer(request).unwrap_err();
    assert_eq!(error.grpc_code().number(), 3, "{error}");
    assert!(error.to_string().contains(problem), "{error}");
}

#[test]
fn methods_are_calls() {
    let message = messages::ModelRequest {
        name: "m".to_owned(),
        version: "2".to_owned(),
    };
    let model = ModelRef {
        name: "m".to_owned(),
        version: Some("2".to_owned()),
    };
    for (method, call) in [
        ("ServerLive", Call::Live),
        ("ServerReady", Call::Ready),
        ("ServerMetadata", Call::ServerMetadata),
        ("ModelReady", Call::ModelReady(model.clone())),
        ("ModelMetadata", Call::ModelMetadata(model)),
    ] {
        let found = decode(&path(method), &message.encode_to_vec(), &Limits::default());
        assert_eq!(found, Ok(Incoming::Call(call)));
    }
    for path in [
        "",
        "/",
        "/x/ServerLive",
        "inference.GRPCInferenceService/ServerLive",
        &path("ModelStreamInfer"),
    ] {
        let error = decode(path, b"", &Limits::default()).unwrap_err();
        assert_eq!(error.grpc_code(), crate::GrpcCode::Unimplemented, "{path}");
    }
    let unnamed = decode(&path("ModelReady"), b"", &Limits::default());
    assert_eq!(unnamed.unwrap_err().http_status(), 400);
}

#[test]
fn typed_contents_are_tensors() {
    let contents = || InferTensorContents::default();
    for datatype in Datatype::numbers().filter(|datatype| *datatype != Datatype::Fp16) {
        let mut contents = contents();
        match datatype {
            Datatype::Bool => contents.bool_contents = vec![false, true],
            Datatype::Int64 => contents.int64_contents = vec![0, 1],
            Datatype::Uint64 => contents.uint64_contents = vec![0, 1],
            Datatype::Fp32 => contents.fp32_contents = vec![0.0, 1.0],
            Datatype::Fp64 => contents.fp64_contents = vec![0.0, 1.0],
            Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => contents.uint_contents = vec![0, 1],
            _ => contents.int_contents = vec![0, 1],
        }
        let request = infer(&input(datatype.name(), &[2], Some(contents))).unwrap();
        assert_eq!(request.inputs[0].to_f64().unwrap(), [0.0, 1.0], "{datatype}");
    }
    let texts = InferTensorContents {
        bytes_contents: vec![b"a".to_vec(), vec![]],
        ..contents()
    };
    let request = infer(&input("BYTES", &[2], Some(texts))).unwrap();
    assert_eq!(request.inputs[0].elements().unwrap(), [b"a".as_slice(), b""]);
    let int_contents = vec![128];
    let wide = InferTensorContents {
        int_contents,
        ..contents()
    };
    refused(&input("INT8", &[1], Some(wide.clone())), "has 128 as element 0");
    refused(
        &input("FP32", &[1], Some(wide.clone())),
        "has int_contents, expected fp32_contents",
    );
    refused(&input("FP16", &[1], Some(wide)), "has no typed contents");
}

#[test]
fn contents_are_there_once() {
    refused(&input("FP32", &[1], None), "neither contents nor raw_input_contents");
    refused(&input("FP99", &[1], None), "FP99");
    refused(&input("FP32", &[-1], None), "no size is below 0");
    let mut both = input("FP32", &[1], Some(InferTensorContents::default()));
    both.raw_input_contents = vec![vec![0; 4]];
    refused(&both, "only one of them");
    let mut request = input("FP32", &[1], None);
    request.raw_input_contents = vec![vec![0; 4], vec![]];
    refused(&request, "2 raw_input_contents for 1 inputs");
    request.raw_input_contents = vec![vec![0; 3]];
    refused(&request, "needs 4 bytes, and has 3");
    request.raw_input_contents = vec![1.0_f32.to_le_bytes().to_vec()];
    assert_eq!(infer(&request).unwrap().inputs[0].to_f32().unwrap(), [1.0]);
    let empty = infer(&input("FP32", &[0, 3], None)).unwrap();
    assert!(empty.inputs[0].is_empty());
}

#[test]
fn an_answer_is_raw() {
    let response = InferResponse {
        model: ModelRef {
            name: "m".to_owned(),
            version: Some("2".to_owned()),
        },
        id: Some("7".to_owned()),
        parameters: crate::Parameters::default(),
        outputs: vec![
            Tensor::from_f32("y", vec![1, 1], &[f32::NAN]).unwrap(),
            Tensor::from_elements("label", vec![1], &["ok"]).unwrap(),
        ],
    };
    let message = ModelInferResponse::decode(encode_infer(response).as_slice()).unwrap();
    assert_eq!((message.model_version.as_str(), message.id.as_str()), ("2", "7"));
    assert_eq!(message.outputs[0].shape, [1, 1]);
    assert_eq!(message.outputs[1].datatype, "BYTES");
    assert_eq!(message.raw_output_contents[0], f32::NAN.to_le_bytes());
    assert_eq!(message.raw_output_contents[1], b"\x02\0\0\0ok");
}
