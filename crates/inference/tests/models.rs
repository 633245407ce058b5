//! Models that load and answer, and models and inputs that are refused.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod onnx;

use floorhand_inference::{InferenceError, LoadOptions, MAX_MODEL_BYTES, Model, inline_external_data};
use floorhand_tensor::{Datatype, Dim, Tensor, TensorError};
use floorhand_testkit::shared_data;
use onnx::Size;
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, SparseTensorProto, StringStringEntryProto, TensorProto};

/// Two inputs, two outputs: y0 = relu(x0 + 2 x1 + 0.5), y1 = relu(-x0 + 1).
fn small(batch: Size) -> GraphProto {
    let weight = |i: usize, j: usize| [[1.0, -1.0], [2.0, 0.0]][i][j];
    onnx::dense(batch, 2, 2, weight, |j| [0.5, 1.0][j])
}

fn load(graph: GraphProto) -> Result<Model, InferenceError> {
    Model::load(&onnx::bytes(graph), &LoadOptions::default())
}

fn x(values: &[f32]) -> Tensor {
    Tensor::from_f32("x", vec![(values.len() / 2) as u64, 2], values).unwrap()
}

#[test]
fn computes_what_the_graph_says() {
    let mut model = load(small(Size::Is(1))).unwrap();
    let signature = model.signature();
    assert_eq!(
        (signature.inputs[0].name.as_str(), signature.outputs[0].name.as_str()),
        ("x", "y")
    );
    assert_eq!(signature.outputs[0].shape, [Dim::Fixed(1), Dim::Fixed(2)]);
    model.warm_up().unwrap();
    for (input, output) in [
        ([1.0, 2.0], [5.5, 0.0]),
        ([0.0, 0.0], [0.5, 1.0]),
        ([-3.0, 0.0], [0.0, 4.0]),
    ] {
        let outputs = model.run(&[x(&input)]).unwrap();
        assert_eq!(outputs, [Tensor::from_f32("y", vec![1, 2], &output).unwrap()]);
    }
}

#[test]
fn infinity_and_nan_pass_through() {
    let mut model = load(small(Size::Is(1))).unwrap();
    let outputs = model.run(&[x(&[f32::NEG_INFINITY, 0.0])]).unwrap();
    assert_eq!(outputs[0].to_f32().unwrap()[1], f32::INFINITY);
    let nan = |graph| {
        load(graph).unwrap().run(&[x(&[f32::NAN, 0.0])]).unwrap()[0]
            .to_f32()
            .unwrap()
    };
    let mut sum = small(Size::Is(1));
    sum.node.truncate(1);
    sum.output = vec![onnx::value("h", DataType::Float, &[Size::Is(1), Size::Is(2)])];
    assert!(nan(sum)[0].is_nan());
}

#[test]
fn inputs_are_found_by_name_and_held_against_the_signature() {
    let mut model = load(small(Size::Is(1))).unwrap();
    let other = Tensor::from_f32("other", vec![1], &[0.0]).unwrap();
    assert!(model.run(&[&other, &x(&[1.0, 2.0])]).is_ok(), "others are ignored");
    let error = model.run(&[&other]).unwrap_err();
    assert_eq!(error.to_string(), r#"tensor "x" is missing; there are ["other"]"#);
    let error = model.run(&[x(&[1.0, 2.0, 3.0, 4.0])]).unwrap_err();
    assert_eq!(error.to_string(), r#"tensor "x" has shape [2, 2], expected [1, 2]"#);
    let double = Tensor::from_f64("x", Datatype::Fp64, vec![1, 2], &[0.0, 0.0]).unwrap();
    assert!(matches!(
        model.run(&[double]),
        Err(InferenceError::Tensor(TensorError::Datatype { .. }))
    ));
    assert!(
        model.run(&[x(&[1.0, 2.0])]).is_ok(),
        "a refused input leaves the model usable"
    );
}

#[test]
fn an_open_batch_is_one_unless_it_is_given() {
    let bytes = onnx::bytes(small(Size::Open("N")));
    let model = Model::load(&bytes, &LoadOptions::default()).unwrap();
    assert_eq!(model.signature().inputs[0].shape, [Dim::Fixed(1), Dim::Fixed(2)]);
    let shapes = |shape: &[u64]| LoadOptions {
        shapes: [("x".to_owned(), shape.to_vec())].into(),
    };
    let mut model = Model::load(&bytes, &shapes(&[3, 2])).unwrap();
    assert_eq!(model.signature().outputs[0].shape, [Dim::Fixed(3), Dim::Fixed(2)]);
    let outputs = model.run(&[x(&[0.0, 0.0, 1.0, 2.0, 0.0, 0.0])]).unwrap();
    assert_eq!(outputs[0].to_f32().unwrap(), [0.5, 1.0, 5.5, 0.0, 0.5, 1.0]);
    let error = Model::load(&bytes, &shapes(&[3, 5])).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"load the model: "x" cannot have shape [3, 5]: the model says [N, 2]"#
    );
    let wrong = LoadOptions {
        shapes: [("z".to_owned(), vec![1])].into(),
    };
    let error = Model::load(&bytes, &wrong).unwrap_err().to_string();
    assert!(
        error.contains(r#""z" is given a shape, and is no input; the inputs are {"x"}"#),
        "{error}"
    );
}

#[test]
fn a_named_dimension_ties_inputs_together() {
    let graph = GraphProto {
        node: vec![onnx::node("add", "Add", &["a", "b"], "y")],
        input: ["a", "b"]
            .map(|name| onnx::value(name, DataType::Float, &[Size::Open("N"), Size::Is(2)]))
            .to_vec(),
        output: vec![onnx::value("y", DataType::Float, &[Size::Open("N"), Size::Is(2)])],
        ..Default::default()
    };
    let options = LoadOptions {
        shapes: [("b".to_owned(), vec![4, 2])].into(),
    };
    let model = Model::load(&onnx::bytes(graph), &options).unwrap();
    assert!(
        model
            .signature()
            .inputs
            .iter()
            .all(|input| input.shape[0] == Dim::Fixed(4))
    );
}

#[test]
fn every_datatype_goes_in_and_out() {
    for (datatype, onnx_type) in Datatype::ALL.into_iter().zip([
        DataType::Bool,
        DataType::Uint8,
        DataType::Uint16,
        DataType::Uint32,
        DataType::Uint64,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float16,
        DataType::Float,
        DataType::Double,
    ]) {
        let graph = GraphProto {
            node: vec![onnx::with_int(onnx::node("flatten", "Flatten", &["x"], "y"), "axis", 1)],
            input: vec![onnx::value("x", onnx_type, &[Size::Is(1), Size::Is(2)])],
            output: vec![onnx::value("y", onnx_type, &[Size::Is(1), Size::Is(2)])],
            ..Default::default()
        };
        let mut model = load(graph).unwrap_or_else(|error| panic!("{datatype}: {error}"));
        let input = Tensor::from_f64("x", datatype, vec![1, 2], &[1.0, 0.0]).unwrap();
        assert_eq!(model.run(&[&input]).unwrap(), [input.renamed("y")], "{datatype}");
    }
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    let whole = onnx::bytes(small(Size::Is(1)));
    for bytes in [
        &b"not a model"[..],
        &[],
        &[0xff; 64],
        &whole[..whole.len() - 9],
        &whole[..40],
    ] {
        let error = Model::load(bytes, &LoadOptions::default()).unwrap_err();
        assert!(matches!(error, InferenceError::Malformed(_)), "{error}");
    }
    let error = Model::load(&vec![0; MAX_MODEL_BYTES + 1], &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, InferenceError::ModelTooLarge { .. }), "{error}");
}

/// However it is cut or bent, it is loaded or refused, and the process goes on.
#[test]
fn no_damaged_model_brings_the_process_down() {
    let whole = onnx::bytes(small(Size::Is(1)));
    for end in 0..whole.len() {
        drop(Model::load(&whole[..end], &LoadOptions::default()));
        let mut bent = whole.clone();
        bent[end] ^= 0x55;
        drop(Model::load(&bent, &LoadOptions::default()));
    }
}

#[test]
fn huge_claims_are_refused_before_they_are_believed() {
    let check = |dims: &[i64], bytes: usize, message: &str| {
        let mut graph = small(Size::Is(1));
        graph.initializer[0].dims = dims.to_vec();
        graph.initializer[0].raw_data = vec![0; bytes];
        let error = load(graph).unwrap_err().to_string();
        assert!(
            error.contains(r#"tensor "w" of dimensions"#) && error.contains(message),
            "{error}"
        );
    };
    check(&[1 << 40, 1 << 40], 16, "needs more than");
    check(&[i64::MAX, 2], 16, "needs more than");
    check(&[1 << 30, 1], 16, "needs more than");
    check(&[-1, 2], 16, "needs more than");
    check(&[1000, 2], 16, "has 16 bytes, which do not fit them");
    let error = load(small(Size::Is(1 << 50))).unwrap_err();
    assert!(
        matches!(&error, InferenceError::Claim { tensor, .. } if tensor == "x"),
        "{error}"
    );
}

const CLAIMED: i64 = 2 << 30;
const NEEDS: &str = r#"tensor "claim" of dimensions [536870912] needs more than 134217728 bytes"#;

/// A tensor that claims two gigabytes and has 16 bytes.
fn claim() -> TensorProto {
    onnx::weights("claim", &[CLAIMED / 4], &[0.0; 4])
}

/// The same, of which all but one number are zeros that aren't stored.
fn sparse_claim() -> SparseTensorProto {
    SparseTensorProto {
        values: Some(onnx::weights("claim", &[1], &[1.0])),
        indices: None,
        dims: vec![CLAIMED / 4],
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: kind as i32,
        ..Default::default()
    }
}

/// A small model with a change is refused with this message.
fn refused(message: &str, change: impl FnOnce(&mut GraphProto)) {
    let mut graph = small(Size::Is(1));
    change(&mut graph);
    let error = load(graph).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn gigabytes_are_refused_where_they_are_claimed_as_weights() {
    refused(NEEDS, |graph| graph.initializer.push(claim()));
    // Without bytes, in fields of its type.
    refused(NEEDS, |graph| {
        let mut typed = claim();
        typed.float_data = vec![0.0; 4];
        typed.raw_data.clear();
        graph.initializer.push(typed);
    });
    refused(r#"tensor "claim" is kept in an external file"#, |graph| {
        let mut outside = claim();
        outside.data_location = Some(DataLocation::External as i32);
        graph.initializer.push(outside);
    });
    let sparse = r#""claim" is sparse, which is not supported; store it dense"#;
    refused(sparse, |graph| graph.sparse_initializer.push(sparse_claim()));
}

#[test]
fn gigabytes_are_refused_where_they_are_claimed_inside_a_node() {
    let constant = |attribute: AttributeProto| {
        let mut node = onnx::node("constant", "Constant", &[], "k");
        node.attribute = vec![attribute];
        node
    };
    refused(NEEDS, |graph| {
        let value = AttributeProto {
            t: Some(claim()),
            ..attribute("value", AttributeType::Tensor)
        };
        graph.node.insert(0, constant(value));
    });
    let sparse = r#""claim" is sparse, which is not supported; store it dense"#;
    refused(sparse, |graph| {
        let value = AttributeProto {
            sparse_tensor: Some(sparse_claim()),
            ..attribute("sparse_value", AttributeType::SparseTensor)
        };
        graph.node.insert(0, constant(value));
    });
    // In the branch that is taken, and in one that isn't looked at.
    let inside = || GraphProto {
        node: vec![onnx::node("", "Add", &["h", "claim"], "r")],
        initializer: vec![claim()],
        output: vec![onnx::value("r", DataType::Float, &[])],
        ..Default::default()
    };
    refused(NEEDS, |graph| {
        let mut node = onnx::node("choice", "If", &["yes"], "y");
        node.attribute = ["then_branch", "else_branch"]
            .into_iter()
            .map(|name| AttributeProto {
                g: Some(inside()),
                ..attribute(name, AttributeType::Graph)
            })
            .collect();
        graph.node[1] = node;
        graph.initializer.push(TensorProto {
            name: "yes".to_owned(),
            data_type: DataType::Bool as i32,
            raw_data: vec![1],
            ..Default::default()
        });
    });
}

#[test]
fn external_data_is_refused() {
    let mut graph = small(Size::Is(1));
    let weights = &mut graph.initializer[0];
    weights.raw_data.clear();
    weights.data_location = Some(DataLocation::External as i32);
    let location = StringStringEntryProto {
        key: "location".to_owned(),
        value: "/etc/passwd".to_owned(),
    };
    weights.external_data = vec![location];
    let error = load(graph).unwrap_err();
    assert_eq!(error, InferenceError::ExternalData { tensor: "w".to_owned() });
}

#[test]
fn an_unknown_operator_is_named_with_its_node() {
    let mut graph = small(Size::Is(1));
    graph.node[1].op_type = "Frobnicate".to_owned();
    let error = load(graph).unwrap_err().to_string();
    assert_eq!(
        error,
        r#"load the model: node "relu" needs operator Frobnicate, which is not supported; export with other operators, or for another version of the operator set"#
    );
    let mut graph = small(Size::Is(1));
    graph.node[1].domain = "my.own".to_owned();
    graph.node[1].name.clear();
    let error = load(graph).unwrap_err().to_string();
    assert!(error.contains(r#"node "y" needs operator my.own.Relu"#), "{error}");
}

#[test]
fn a_graph_that_does_not_fit_together_is_refused_by_node() {
    let mut graph = small(Size::Is(1));
    graph.input[0] = onnx::value("x", DataType::Float, &[Size::Is(1), Size::Is(3)]);
    let error = load(graph).unwrap_err();
    assert!(matches!(error, InferenceError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("gemm"), "{error}");
    let mut graph = small(Size::Is(1));
    graph.output[0].name = "nowhere".to_owned();
    assert!(load(graph).is_err());
}

#[test]
fn a_published_model_runs() {
    for name in [
        "mlperf-tiny-ad01-fp32",
        "mlperf-tiny-ad01-int8",
        "mlperf-tiny-kws-fp32",
        "mlperf-tiny-resnet8-fp32",
    ] {
        let Some(path) = shared_data(&format!("models/{name}.onnx")) else {
            continue;
        };
        let bytes = std::fs::read(path).unwrap();
        let mut model = Model::load(&bytes, &LoadOptions::default()).unwrap();
        println!("{name}: {:?}", model.signature());
        model.warm_up().unwrap();
        let spec = model.signature().inputs[0].clone();
        let count = spec.fixed_len().unwrap();
        let values: Vec<f64> = (0..count).map(|k| (k % 17) as f64 / 17.0).collect();
        let shape = spec
            .shape
            .iter()
            .map(|&dim| u64::try_from(i64::from(dim)).unwrap())
            .collect();
        let input = Tensor::from_f64(&spec.name, spec.datatype, shape, &values).unwrap();
        let first = model.run(&[&input]).unwrap();
        assert!(first[0].to_f64().unwrap().iter().all(|value| value.is_finite()));
        assert_eq!(
            model.run(&[&input]).unwrap(),
            first,
            "the same sample gives the same bits"
        );
        model.signature().outputs[0].check(&first[0]).unwrap();
    }
}

#[test]
fn versions_that_are_not_known_are_refused() {
    let check = |change: fn(&mut ModelProto), message: &str| {
        let mut model = onnx::model(small(Size::Is(1)));
        change(&mut model);
        let error = Model::load(&model.encode_to_vec(), &LoadOptions::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("load the model: it is for version {message}; convert or export it")
        );
    };
    check(
        |model| model.opset_import[0].version = 6,
        "6 of ONNX's operators, and 7 to 28 are supported",
    );
    check(
        |model| model.opset_import[0].version = 29,
        "29 of ONNX's operators, and 7 to 28 are supported",
    );
    check(
        |model| model.ir_version = 99,
        "99 of the format (IR), and 3 to 14 are supported",
    );
}

/// tract would fill all memory.
#[test]
fn a_transposition_that_is_none_is_refused() {
    let mut node = onnx::node("turn", "Transpose", &["x"], "y");
    node.attribute = vec![AttributeProto {
        name: "perm".to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: vec![1, 1],
        ..Default::default()
    }];
    let graph = GraphProto {
        node: vec![node],
        input: vec![onnx::value("x", DataType::Float, &[Size::Is(2), Size::Is(2)])],
        output: vec![onnx::value("y", DataType::Float, &[Size::Is(2), Size::Is(2)])],
        ..Default::default()
    };
    let error = load(graph).unwrap_err().to_string();
    assert!(error.contains("is [1, 1], which is no permutation"), "{error}");
}

#[test]
fn ways_to_take_numbers_between_others_are_refused_where_they_differ() {
    let check = |operator: &str, attributes: &[(&str, &str)], attribute: &str| {
        let mut graph = small(Size::Is(1));
        let text = |(name, value): &(&str, &str)| AttributeProto {
            name: (*name).to_owned(),
            r#type: AttributeType::String as i32,
            s: value.as_bytes().to_vec(),
            ..Default::default()
        };
        graph.node[1].op_type = operator.to_owned();
        graph.node[1].attribute = attributes.iter().map(text).collect();
        let error = load(graph).unwrap_err().to_string();
        let expected = format!("operator {operator}, attribute {attribute:?}: is not supported with ");
        assert!(attribute.is_empty() || error.contains(&expected), "{error}");
        assert!(
            !attribute.is_empty() || !error.contains("is not supported with "),
            "{error}"
        );
    };
    let transformation = "coordinate_transformation_mode";
    check("Resize", &[(transformation, "half_pixel_symmetric")], transformation);
    check(
        "Resize",
        &[(transformation, "half_pixel_symmetric"), ("mode", "linear")],
        "",
    );
    check(
        "GridSample",
        &[("mode", "bicubic"), ("padding_mode", "border")],
        "padding_mode",
    );
    check(
        "GridSample",
        &[("mode", "cubic"), ("padding_mode", "border")],
        "padding_mode",
    );
    check("GridSample", &[("padding_mode", "border")], "");
}

#[test]
fn a_kernel_larger_than_its_picture_is_refused() {
    let check = |operator: &str, kernel: i64, pads: i64| {
        let ints = |name: &str, ints: &[i64]| AttributeProto {
            name: name.to_owned(),
            r#type: AttributeType::Ints as i32,
            ints: ints.to_vec(),
            ..Default::default()
        };
        let inputs: &[&str] = if operator == "Conv" { &["x", "w"] } else { &["x"] };
        let mut node = onnx::node("window", operator, inputs, "y");
        node.attribute = vec![ints("kernel_shape", &[kernel]), ints("pads", &[pads, pads])];
        let weights = vec![1.0; kernel as usize];
        let graph = GraphProto {
            node: vec![node],
            initializer: vec![onnx::weights("w", &[1, 1, kernel], &weights)],
            input: vec![onnx::value(
                "x",
                DataType::Float,
                &[Size::Is(1), Size::Is(1), Size::Is(2)],
            )],
            output: vec![onnx::value(
                "y",
                DataType::Float,
                &[Size::Is(1), Size::Is(1), Size::Open("n")],
            )],
            ..Default::default()
        };
        load(graph).map(drop).map_err(|error| error.to_string())
    };
    for operator in ["Conv", "MaxPool", "AveragePool"] {
        let error = check(operator, 3, 0).unwrap_err();
        let expected = r#"node "window": its kernel is larger than what it goes over, which has 2 along axis 0"#;
        assert!(error.contains(expected), "{error}");
        assert_eq!(check(operator, 3, 1), Ok(()), "{operator}");
        assert_eq!(check(operator, 2, 0), Ok(()), "{operator}");
    }
}

#[test]
fn a_kernel_smaller_than_its_stride_is_not_padded_by_name() {
    let check = |size: i64, stride: i64, auto_pad: &str| {
        let mut node = onnx::node("window", "Conv", &["x", "w"], "y");
        node.attribute = vec![
            AttributeProto {
                name: "strides".to_owned(),
                r#type: AttributeType::Ints as i32,
                ints: vec![stride],
                ..Default::default()
            },
            AttributeProto {
                name: "auto_pad".to_owned(),
                r#type: AttributeType::String as i32,
                s: auto_pad.as_bytes().to_vec(),
                ..Default::default()
            },
        ];
        let value = |name: &str, size: Size| onnx::value(name, DataType::Float, &[Size::Is(1), Size::Is(1), size]);
        let graph = GraphProto {
            node: vec![node],
            initializer: vec![onnx::weights("w", &[1, 1, 1], &[1.0])],
            input: vec![value("x", Size::Is(size))],
            output: vec![value("y", Size::Open("n"))],
            ..Default::default()
        };
        load(graph).map(drop).map_err(|error| error.to_string())
    };
    for auto_pad in ["SAME_UPPER", "SAME_LOWER"] {
        let error = check(8, 4, auto_pad).unwrap_err();
        assert!(
            error.contains(r#"node "window": its kernel is smaller than its stride"#),
            "{error}"
        );
        assert_eq!(check(6, 4, auto_pad), Ok(()));
        assert_eq!(check(8, 2, auto_pad), Ok(()));
    }
    assert_eq!(check(8, 4, "VALID"), Ok(()));
}

#[test]
fn sizes_that_nothing_has_are_refused() {
    for (attribute, size) in [
        ("pads", i64::MAX),
        ("dilations", 1 << 40),
        ("strides", 1 << 25),
        ("pads", i64::MIN),
    ] {
        let mut node = onnx::node("window", "Conv", &["x", "w"], "y");
        node.attribute = vec![AttributeProto {
            name: attribute.to_owned(),
            r#type: AttributeType::Ints as i32,
            ints: vec![size],
            ..Default::default()
        }];
        let graph = GraphProto {
            node: vec![node],
            ..Default::default()
        };
        let error = load(graph).map(drop).unwrap_err().to_string();
        let expected = format!(
            r#"node "window", operator Conv, attribute "{attribute}": asks for {size}, and may for 16777216 at most"#
        );
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn our_own_operators_are_no_operators_of_a_file() {
    let graph = GraphProto {
        node: vec![onnx::node("own", "floorhand.QuantizedConv", &["x"], "y")],
        ..Default::default()
    };
    let error = load(graph).map(drop).unwrap_err().to_string();
    assert!(
        error.contains(r#"node "own" needs operator floorhand.QuantizedConv"#),
        "{error}"
    );
}

#[test]
fn numbers_that_have_no_order_are_told() {
    let mut node = onnx::node("best", "TopK", &["x", "k"], "y");
    node.output.push("places".to_owned());
    let k = TensorProto {
        name: "k".to_owned(),
        data_type: DataType::Int64 as i32,
        dims: vec![1],
        raw_data: 2_i64.to_le_bytes().to_vec(),
        ..Default::default()
    };
    let graph = GraphProto {
        node: vec![node],
        initializer: vec![k],
        input: vec![onnx::value("x", DataType::Float, &[Size::Is(4)])],
        output: vec![
            onnx::value("y", DataType::Float, &[Size::Is(2)]),
            onnx::value("places", DataType::Int64, &[Size::Is(2)]),
        ],
        ..Default::default()
    };
    let mut model = load(graph).unwrap();
    let mut run = |numbers: &[f32]| model.run(&[Tensor::from_f32("x", vec![4], numbers).unwrap()]);
    let answers = run(&[1.0, 7.0, -2.0, 3.0]).unwrap();
    assert_eq!(answers[0].to_f32().unwrap(), [7.0, 3.0]);
    assert_eq!(answers[1].to_f64().unwrap(), [1.0, 3.0]);
    let error = run(&[1.0, f32::NAN, 3.0, 2.0]).unwrap_err().to_string();
    assert!(
        error.contains(r#"node "best", operator Topk: there is NaN among its numbers"#),
        "{error}"
    );
    assert_eq!(
        run(&[1.0, 7.0, -2.0, 3.0]).unwrap(),
        answers,
        "the next sample is answered"
    );
}

#[test]
fn what_is_no_tensor_is_refused_with_advice() {
    let check = |operator: &str, domain: &str, advice: &str| {
        let mut graph = small(Size::Is(1));
        graph.node[1].op_type = operator.to_owned();
        graph.node[1].domain = domain.to_owned();
        let error = load(graph).unwrap_err().to_string();
        assert!(
            error.contains(r#"node "relu" needs operator "#) && error.contains(advice),
            "{error}"
        );
    };
    check("BitShift", "", "by a power of two");
    check("GlobalLpPool", "", "ReduceL1 or ReduceL2");
    check("Loop", "", "so that the loop is unrolled");
    check("SplitToSequence", "", "sequences and optionals are no tensors");
    check("OptionalGetElement", "", "sequences and optionals are no tensors");
    check("DictVectorizer", "ai.onnx.ml", "encode categories in a column each");
    check("Relu", "com.example", "export with ONNX's own operators");
}

/// The small model with its weights in a file of their own, between other bytes.
fn with_weights_outside(entries: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let mut graph = small(Size::Is(1));
    let weights = &mut graph.initializer[0];
    let file = [b"before".as_slice(), &std::mem::take(&mut weights.raw_data), b"behind"].concat();
    weights.data_location = Some(DataLocation::External as i32);
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    weights.external_data = entries.iter().map(entry).collect();
    (onnx::bytes(graph), file)
}

#[test]
fn weights_in_files_beside_a_model_are_taken_in() {
    let place = [("location", "w.bin"), ("offset", "6"), ("length", "16")];
    let (outside, file) = with_weights_outside(&place);
    let mut asked = Vec::new();
    let inlined = inline_external_data(&outside, &mut |name| {
        asked.push(name.to_owned());
        Ok(file.clone())
    });
    let inlined = inlined.unwrap().unwrap();
    assert_eq!(asked, ["w.bin"]);
    assert_eq!(
        inlined,
        onnx::bytes(small(Size::Is(1))),
        "as if they had never been outside"
    );
    let none = inline_external_data(&inlined, &mut |name| panic!("{name} was asked for"));
    assert_eq!(none.unwrap(), None);
}

#[test]
fn weights_that_are_not_where_the_model_says_are_refused() {
    let check = |entries: &[(&str, &str)], message: &str| {
        let (outside, file) = with_weights_outside(entries);
        let found = inline_external_data(&outside, &mut |name| {
            if name == "w.bin" {
                Ok(file.clone())
            } else {
                Err("there is no such file".to_owned())
            }
        });
        let error = found.unwrap_err().to_string();
        assert!(
            error.starts_with(r#"pack the model: tensor "w" is kept in"#) && error.contains(message),
            "{error}"
        );
    };
    check(&[("location", "other.bin")], "there is no such file");
    for location in ["../w.bin", "/etc/passwd", "a\\w.bin", "..", ""] {
        check(&[("location", location)], "named without a folder");
    }
    check(
        &[("location", "w.bin"), ("offset", "6"), ("length", "99")],
        "which end before it",
    );
    let largest = usize::MAX.to_string();
    check(
        &[("location", "w.bin"), ("offset", "6"), ("length", &largest)],
        "which end before it",
    );
    check(
        &[("location", "w.bin"), ("offset", "-6")],
        r#"its offset is "-6", which is no number"#,
    );
}
