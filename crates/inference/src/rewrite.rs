//! Puts right, before tract sees it, what tract 0.23.9 answers wrongly without a word.
//!
//! Owns rewrites of the decoded protobuf that leave what a model computes as it is. What can't be put right is refused.
//! Each says what is wrong, so that it can go when tract's answer is right.

use crate::InferenceError;
use crate::check::node_name;
use crate::operators::{nan_rows, reverse};
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
            "LSTM" | "GRU" | "RNN" if is_onnx(&node) => recurrent(node, &mut rewritten)?,
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
            layer(node, rewritten);
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
    layer(node, rewritten);
    rewritten.extend(behind);
    Ok(())
}

/// A GRU of which tract computes all steps at once loses NaN, which is added behind it.
fn layer(mut node: NodeProto, rewritten: &mut Vec<NodeProto>) {
    let flag = |name: &str| attribute(&node, name).map_or(0, |attribute| attribute.i);
    if node.op_type != "GRU" || flag("linear_before_reset") == 0 {
        return rewritten.push(node);
    }
    let directions = if text(&node, "direction").as_deref() == Some("bidirectional") {
        2
    } else {
        1
    };
    let layout = flag("layout");
    let begun = node.input.get(5).filter(|name| !name.is_empty());
    let inputs = node.input.iter().take(1).chain(begun).cloned().collect();
    let mut added = Vec::new();
    let mut sums = Vec::new();
    for (slot, output) in node.output.iter_mut().enumerate() {
        // Nobody may ask for one, and then its NaN has a name all the same.
        let nan = format!("{output}/NaN of {slot} of {}", rewritten.len());
        added.push(nan.clone());
        if output.is_empty() {
            continue;
        }
        let numbers = format!("{output}/numbers");
        sums.push(NodeProto {
            name: format!("{output} with NaN"),
            op_type: "Add".to_owned(),
            input: vec![numbers.clone(), nan],
            output: vec![std::mem::replace(output, numbers)],
            ..Default::default()
        });
    }
    let nan = NodeProto {
        name: format!("{} (NaN)", node_name(&node)),
        op_type: nan_rows::NAME.to_owned(),
        input: inputs,
        output: added,
        attribute: vec![integer("directions", directions), integer("layout", layout)],
        ..Default::default()
    };
    rewritten.push(node);
    rewritten.push(nan);
    rewritten.extend(sums);
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

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..Default::default()
    }
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

fn reversal(site: &str, from: String, to: String, axis: i64) -> NodeProto {
    NodeProto {
        name: format!("{site} ({to})"),
        op_type: reverse::NAME.to_owned(),
        input: vec![from],
        output: vec![to],
        attribute: vec![integer("axis", axis)],
        ..Default::default()
    }
}
