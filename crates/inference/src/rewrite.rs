//! Puts right, before tract sees it, what tract 0.23.9 answers wrongly without a word.
//!
//! Owns rewrites of the decoded protobuf that leave what a model computes as it is. What can't be put right is refused.
//! Each says what is wrong, so that it can go when tract's answer is right.

use crate::InferenceError;
use crate::check::node_name;
use crate::integers::{self, integer, is_onnx};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Rewrites a graph and all graphs inside it.
pub(crate) fn graph(graph: &mut GraphProto) -> Result<(), InferenceError> {
    let mut rewritten = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        for attribute in &mut node.attribute {
            for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                self::graph(inner)?;
            }
        }
        match node.op_type.as_str() {
            "ReduceLogSumExp" if is_onnx(&node) => log_sum_exp(&node, &mut rewritten),
            // tract takes doubles where ONNX says floats.
            "ConstantOfShape" if is_onnx(&node) && attribute(&node, "value").is_none() => {
                node.attribute.push(constant(vec![1], 0.0));
                rewritten.push(node);
            }
            "SpaceToDepth" if is_onnx(&node) => {
                check_mode(&node)?;
                rewritten.push(node);
            }
            // tract pads with the number whatever the mode.
            "Pad" if is_onnx(&node) && text(&node, "mode").is_some_and(|mode| mode != "constant") => {
                if let Some(number) = node.input.get_mut(2) {
                    number.clear();
                }
                rewritten.push(node);
            }
            _ => rewritten.push(node),
        }
    }
    graph.node = rewritten;
    integers::find(graph);
    Ok(())
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn refused(node: &NodeProto, name: &str, problem: &str) -> InferenceError {
    InferenceError::Attribute {
        node: node_name(node),
        operator: node.op_type.clone(),
        attribute: name.to_owned(),
        problem: problem.to_owned(),
    }
}

fn text(node: &NodeProto, name: &str) -> Option<String> {
    attribute(node, name).map(|attribute| String::from_utf8_lossy(&attribute.s).to_lowercase())
}

/// tract orders a block's columns one way only, whatever the mode.
fn check_mode(node: &NodeProto) -> Result<(), InferenceError> {
    match text(node, "mode").as_deref() {
        None | Some("dcr") => Ok(()),
        Some(_) => Err(refused(
            node,
            "mode",
            "is not supported; export with DCR, or as Reshape and Transpose",
        )),
    }
}

/// tract adds up exponentials as they are, which overflow above 88: naive Bayes and mixtures of Gaussians gave infinity.
/// The largest is taken out before and added again behind. It is kept finite, so that a row of infinities has the answer
/// that the formula has.
fn log_sum_exp(node: &NodeProto, rewritten: &mut Vec<NodeProto>) {
    let (Some(x), Some(y)) = (node.input.first(), node.output.first()) else {
        return rewritten.push(node.clone());
    };
    let name = |part: &str| format!("{y}/{part}");
    let axes = || node.input.iter().skip(1).cloned();
    let mut add = |operator: &str, inputs: Vec<String>, output: String, attribute: Vec<AttributeProto>| {
        rewritten.push(NodeProto {
            name: format!("{} ({output})", node_name(node)),
            op_type: operator.to_owned(),
            input: inputs,
            output: vec![output],
            attribute,
            ..Default::default()
        });
    };
    let reducing = |keep: Option<i64>| {
        let mut attributes = node.attribute.clone();
        if let Some(keep) = keep {
            attributes.retain(|attribute| attribute.name != "keepdims");
            attributes.push(integer("keepdims", keep));
        }
        attributes
    };
    for (bound, part) in [(f32::MIN, "least"), (f32::MAX, "most")] {
        add("Constant", vec![], name(part), vec![constant(vec![], bound)]);
        add(
            "CastLike",
            vec![name(part), x.clone()],
            name(&format!("{part} alike")),
            vec![],
        );
    }
    let with_axes = |input: String| [input].into_iter().chain(axes()).collect::<Vec<_>>();
    add("ReduceMax", with_axes(x.clone()), name("largest"), reducing(Some(1)));
    add("Max", vec![name("largest"), name("least alike")], name("above"), vec![]);
    add("Min", vec![name("above"), name("most alike")], name("finite"), vec![]);
    add("Sub", vec![x.clone(), name("finite")], name("without"), vec![]);
    add("Exp", vec![name("without")], name("powers"), vec![]);
    add("ReduceLogSum", with_axes(name("powers")), name("log"), reducing(None));
    add(
        "ReduceMax",
        with_axes(name("finite")),
        name("taken out"),
        reducing(None),
    );
    add("Add", vec![name("log"), name("taken out")], y.clone(), vec![]);
}

/// An attribute `value` of a float, or of a tensor with one.
fn constant(dims: Vec<i64>, value: f32) -> AttributeProto {
    AttributeProto {
        name: "value".to_owned(),
        r#type: AttributeType::Tensor as i32,
        t: Some(TensorProto {
            dims,
            data_type: DataType::Float as i32,
            raw_data: value.to_le_bytes().to_vec(),
            ..Default::default()
        }),
        ..Default::default()
    }
}
