//! Puts right, before tract sees it, what tract 0.23.9 answers wrongly without a word.
//!
//! Owns rewrites of the decoded protobuf that leave what a model computes as it is. What can't be put right is refused.
//! Each says what is wrong, so that it can go when tract's answer is right.

use crate::InferenceError;
use crate::check::node_name;
use crate::operators::reverse;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

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
            "LSTM" | "GRU" | "RNN" if is_onnx(&node) => recurrent(node, &mut rewritten)?,
            _ => rewritten.push(node),
        }
    }
    graph.node = rewritten;
    Ok(())
}

fn is_onnx(node: &NodeProto) -> bool {
    matches!(node.domain.as_str(), "" | "ai.onnx")
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

/// tract reads none of a recurrent layer's attributes but `layout` and `linear_before_reset`: one that runs backwards ran
/// forwards, others had another activation or none of the clipping that they ask for. Backwards is the same layer forwards
/// on the reversed sequence, whose answer is reversed again; the last states are the same.
fn recurrent(mut node: NodeProto, rewritten: &mut Vec<NodeProto>) -> Result<(), InferenceError> {
    let direction = text(&node, "direction").unwrap_or_else(|| "forward".to_owned());
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    check_activations(&node, directions)?;
    if attribute(&node, "clip").is_some() {
        return Err(refused(
            &node,
            "clip",
            "is not supported; train without clipping of the gates",
        ));
    }
    if attribute(&node, "input_forget").is_some_and(|coupled| coupled.i != 0) {
        return Err(refused(
            &node,
            "input_forget",
            "is not supported; train with gates of their own",
        ));
    }
    match direction.as_str() {
        "forward" | "bidirectional" => {
            rewritten.push(node);
            return Ok(());
        }
        "reverse" => {}
        other => {
            return Err(refused(
                &node,
                "direction",
                &format!("is {other:?}, which ONNX doesn't have"),
            ));
        }
    }
    let axis = i64::from(attribute(&node, "layout").is_some_and(|layout| layout.i == 1));
    let unique = node
        .output
        .iter()
        .find(|name| !name.is_empty())
        .cloned()
        .unwrap_or_default();
    let (fed, given) = (format!("{unique}/reversed input"), format!("{unique}/reversed output"));
    let (site, input, output) = (node_name(&node), node.input.first_mut(), node.output.first_mut());
    if let Some(input) = input {
        let x = std::mem::replace(input, fed.clone());
        rewritten.push(reversal(&site, x, fed, axis));
    }
    // The sequence may not be asked for, where the last state is.
    let sequence = output.filter(|name| !name.is_empty());
    let behind = sequence.map(|output| reversal(&site, given.clone(), std::mem::replace(output, given), axis));
    node.attribute.retain(|attribute| attribute.name != "direction");
    rewritten.push(node);
    rewritten.extend(behind);
    Ok(())
}

fn text(node: &NodeProto, name: &str) -> Option<String> {
    attribute(node, name).map(|attribute| String::from_utf8_lossy(&attribute.s).to_lowercase())
}

/// Refuses activations other than those that a layer has by itself, which are all that tract computes.
fn check_activations(node: &NodeProto, directions: usize) -> Result<(), InferenceError> {
    let own: &[&str] = match node.op_type.as_str() {
        "LSTM" => &["sigmoid", "tanh", "tanh"],
        "GRU" => &["sigmoid", "tanh"],
        _ => &["tanh"],
    };
    let Some(given) = attribute(node, "activations").filter(|given| !given.strings.is_empty()) else {
        return Ok(());
    };
    let given = given
        .strings
        .iter()
        .map(|name| String::from_utf8_lossy(name).to_lowercase());
    let own = own.iter().copied().cycle().take(own.len() * directions);
    if given.eq(own) {
        return Ok(());
    }
    Err(refused(
        node,
        "activations",
        "are others than the operator's own, which isn't supported; train with sigmoid for gates and tanh",
    ))
}

fn reversal(site: &str, from: String, to: String, axis: i64) -> NodeProto {
    let axis = AttributeProto {
        name: "axis".to_owned(),
        r#type: AttributeType::Int as i32,
        i: axis,
        ..Default::default()
    };
    NodeProto {
        name: format!("{site} ({to})"),
        op_type: reverse::NAME.to_owned(),
        input: vec![from],
        output: vec![to],
        attribute: vec![axis],
        ..Default::default()
    }
}
