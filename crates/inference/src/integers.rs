//! Finds convolutions and products between integers in a decoded model.
//!
//! Owns what they look like in ONNX: floats that `DequantizeLinear` made go into a `Conv`, a `Gemm`, or a `MatMul` and perhaps
//! an `Add`, then perhaps into a `Relu`, and become integers again; or a `QLinearConv` or `QLinearMatMul`. Each gets an operator of our own beside it, which takes the integers. Whether it can
//! compute them is seen when shapes are known; what is in the file stays, and answers where it can't.

use crate::operators::quantised::{BY_OUTPUT, CUT_OFF, LINEAR, NAME, OUTPUT_AXIS};
use std::collections::{BTreeMap, BTreeSet};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

/// Adds the operators to a graph.
pub(crate) fn find(graph: &mut GraphProto) {
    let found = Graph::of(graph).found();
    let mut nodes = Vec::with_capacity(graph.node.len() + found.len());
    for (place, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        let mut added = None;
        if let (Some(convolution), Some(output)) = (found.get(&place), node.output.first_mut()) {
            let in_floats = format!("{output}/in floats");
            let own = std::mem::replace(output, in_floats.clone());
            let mut input = vec![in_floats];
            input.extend(convolution.inputs.iter().cloned());
            let mut attribute = convolution.attributes.clone();
            attribute.push(integer(BY_OUTPUT, i64::from(convolution.is_by_output)));
            added = Some(NodeProto {
                // Nodes may go without a name, outputs not.
                name: format!("{} ({own} in integers)", convolution.name),
                op_type: NAME.to_owned(),
                input,
                output: vec![own],
                attribute,
                ..Default::default()
            });
        }
        nodes.push(node);
        nodes.extend(added);
    }
    graph.node = nodes;
}

/// One that was found: its inputs as `QLinearConv` has them, behind a bias its scale and zero point.
struct Found {
    name: String,
    inputs: Vec<String>,
    attributes: Vec<AttributeProto>,
    /// Whether several scales of weights would be those of the outputs, one each.
    is_by_output: bool,
}

/// An attribute.
pub(crate) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..Default::default()
    }
}

/// The integers, the scale and the zero point that floats were made of, and along which axis there may be several of them.
struct Origin {
    inputs: [String; 3],
    axis: i64,
}

/// What is asked of a graph again and again.
struct Graph<'g> {
    nodes: &'g [NodeProto],
    /// The node that makes a value.
    makers: BTreeMap<&'g str, &'g NodeProto>,
    /// How often a value is used.
    uses: BTreeMap<&'g str, usize>,
    constants: BTreeSet<&'g str>,
}

impl<'g> Graph<'g> {
    fn of(graph: &'g GraphProto) -> Self {
        let made = graph.node.iter().flat_map(|node| {
            let outputs = node.output.iter().map(String::as_str);
            outputs.map(move |output| (output, node))
        });
        let mut uses = BTreeMap::new();
        count(graph, &mut uses);
        let of_nodes = graph.node.iter().filter(|node| node.op_type == "Constant");
        let constants = graph.initializer.iter().map(|tensor| tensor.name.as_str());
        Self {
            nodes: &graph.node,
            makers: made.collect(),
            uses,
            constants: constants
                .chain(of_nodes.flat_map(|node| node.output.iter().map(String::as_str)))
                .collect(),
        }
    }

    /// By the place of the node whose output each gives.
    fn found(&self) -> BTreeMap<usize, Found> {
        let each = self.nodes.iter().enumerate();
        each.filter_map(|(place, node)| {
            let found = match node.op_type.as_str() {
                _ if !is_onnx(node) => None,
                "QuantizeLinear" => self.in_steps(node),
                "QLinearConv" => Some(Found {
                    name: node.name.clone(),
                    inputs: node.input.clone(),
                    attributes: node.attribute.iter().cloned().chain([integer(LINEAR, 1)]).collect(),
                    is_by_output: true,
                }),
                "QLinearMatMul" => Some(Found {
                    name: node.name.clone(),
                    inputs: node.input.clone(),
                    attributes: vec![integer(OUTPUT_AXIS, 1), integer(LINEAR, 1)],
                    is_by_output: true,
                }),
                _ => None,
            };
            let found = found.filter(|found| found.inputs.iter().skip(1).all(|input| self.is_constant(input)));
            Some((place, found?))
        })
        .collect()
    }

    fn is_constant(&self, name: &str) -> bool {
        self.constants.contains(name)
    }

    /// The node that makes a value, if of this operator and nobody else uses the value.
    fn maker(&self, name: &str, operator: &str) -> Option<&'g NodeProto> {
        let maker = self
            .makers
            .get(name)
            .filter(|maker| is_onnx(maker) && maker.op_type == operator)?;
        (self.uses.get(name) == Some(&1)).then_some(maker)
    }

    /// What floats were made of.
    fn origin(&self, name: &str) -> Option<Origin> {
        let maker = self.makers.get(name).filter(|maker| is_onnx(maker))?;
        let inputs: &[String; 3] = maker.input.as_slice().try_into().ok()?;
        let is_read = maker.op_type == "DequantizeLinear" && maker.attribute.iter().all(|given| given.name == "axis");
        is_read.then(|| Origin {
            inputs: inputs.clone(),
            axis: maker.attribute.first().map_or(1, |axis| axis.i),
        })
    }

    /// What a `QuantizeLinear` ends.
    fn in_steps(&self, last: &NodeProto) -> Option<Found> {
        let ends: &[String; 3] = last.input.as_slice().try_into().ok()?;
        let [mut floats, scale, zero_point] = ends.each_ref();
        if last.attribute.iter().any(|attribute| attribute.name != "axis") {
            return None;
        }
        let relu = self.maker(floats, "Relu");
        if let Some(relu) = relu {
            floats = relu.input.first()?;
        }
        let Middle {
            node,
            bias,
            mut attributes,
            output_axis,
        } = self.convolution(floats).or_else(|| self.product(floats))?;
        let [x, weights] = [0, 1].map(|place| self.origin(node.input.get(place)?));
        let (x, weights) = (x?, weights?);
        let mut inputs: Vec<String> = x.inputs.into_iter().chain(weights.inputs).collect();
        inputs.extend([scale.clone(), zero_point.clone()]);
        if let Some(bias) = bias {
            inputs.extend(self.origin(bias)?.inputs);
        }
        attributes.extend(relu.map(|_| integer(CUT_OFF, 1)));
        Some(Found {
            name: node.name.clone(),
            inputs,
            attributes,
            is_by_output: weights.axis == output_axis,
        })
    }

    fn convolution(&self, floats: &str) -> Option<Middle<'g>> {
        let node = self.maker(floats, "Conv")?;
        Some(Middle {
            node,
            bias: node.input.get(2),
            attributes: node.attribute.clone(),
            output_axis: 0,
        })
    }

    /// A `Gemm` that neither scales nor turns its input over, or a `MatMul`, with a bias behind it perhaps.
    fn product(&self, floats: &str) -> Option<Middle<'g>> {
        if let Some(node) = self.maker(floats, "Gemm") {
            let is_plain = |given: &AttributeProto| match given.name.as_str() {
                "alpha" | "beta" => given.f == 1.0,
                "transA" => given.i == 0,
                name => name == "transB",
            };
            let turned = node.attribute.iter().find(|given| given.name == "transB");
            let output_axis = i64::from(turned.is_none_or(|turned| turned.i == 0));
            return node.attribute.iter().all(is_plain).then(|| Middle {
                node,
                bias: node.input.get(2),
                attributes: vec![integer(OUTPUT_AXIS, output_axis)],
                output_axis,
            });
        }
        let add = self.maker(floats, "Add");
        let inputs = add.map(|add| add.input.as_slice());
        let (product, bias) = match inputs {
            // Either may stand first.
            Some([one, other])
                if self
                    .makers
                    .get(one.as_str())
                    .is_some_and(|maker| maker.op_type == "MatMul") =>
            {
                (one.as_str(), Some(other))
            }
            Some([one, other]) => (other.as_str(), Some(one)),
            _ => (floats, None),
        };
        Some(Middle {
            node: self.maker(product, "MatMul")?,
            bias,
            attributes: vec![integer(OUTPUT_AXIS, 1)],
            output_axis: 1,
        })
    }
}

/// What stands between the steps, and the axis of its weights that is the outputs'.
struct Middle<'g> {
    node: &'g NodeProto,
    bias: Option<&'g String>,
    attributes: Vec<AttributeProto>,
    output_axis: i64,
}

/// Whether a node's operator is one of ONNX's own.
pub(crate) fn is_onnx(node: &NodeProto) -> bool {
    matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// Counts the uses of values, also those in the graphs inside a graph.
fn count<'g>(graph: &'g GraphProto, uses: &mut BTreeMap<&'g str, usize>) {
    let outputs = graph.output.iter().map(|output| &output.name);
    for name in graph.node.iter().flat_map(|node| &node.input).chain(outputs) {
        *uses.entry(name).or_default() += 1;
    }
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        for inner in attribute.g.iter().chain(&attribute.graphs) {
            count(inner, uses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::{TensorProto, ValueInfoProto};

    fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            name: format!("the {operator}"),
            op_type: operator.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            ..Default::default()
        }
    }

    fn graph(nodes: Vec<NodeProto>) -> GraphProto {
        let stored = ["xs", "xz", "w", "ws", "wz", "b", "bs", "bz", "ys", "yz"];
        let initializer = stored.map(|name| TensorProto {
            name: name.to_owned(),
            ..Default::default()
        });
        let output = ValueInfoProto {
            name: "y".to_owned(),
            ..Default::default()
        };
        GraphProto {
            node: nodes,
            initializer: initializer.to_vec(),
            output: vec![output],
            ..Default::default()
        }
    }

    /// A convolution between integers, with a `Relu`.
    fn in_steps() -> Vec<NodeProto> {
        vec![
            node("DequantizeLinear", &["x", "xs", "xz"], "xf"),
            node("DequantizeLinear", &["w", "ws", "wz"], "wf"),
            node("DequantizeLinear", &["b", "bs", "bz"], "bf"),
            node("Conv", &["xf", "wf", "bf"], "c"),
            node("Relu", &["c"], "r"),
            node("QuantizeLinear", &["r", "ys", "yz"], "y"),
        ]
    }

    /// The inputs of the operator that is found, and whether it cuts off.
    fn found(nodes: Vec<NodeProto>) -> Option<(Vec<String>, bool)> {
        let of = nodes
            .iter()
            .find(|node| node.op_type.contains("Conv"))
            .map(|node| node.name.as_str());
        let expected = format!("{} (y in integers)", of.unwrap_or_default());
        let mut graph = graph(nodes);
        let before = graph.node.len();
        find(&mut graph);
        let own = graph.node.iter().find(|node| node.op_type == NAME);
        assert_eq!(graph.node.len(), before + usize::from(own.is_some()));
        let own = own?;
        assert_eq!(
            (own.name.as_str(), own.output.as_slice()),
            (expected.as_str(), ["y".to_owned()].as_slice())
        );
        let is_cut_off = own.attribute.iter().any(|attribute| attribute.name == CUT_OFF);
        Some((own.input.clone(), is_cut_off))
    }

    #[test]
    fn one_between_integers_is_found() {
        let all = [
            "y/in floats",
            "x",
            "xs",
            "xz",
            "w",
            "ws",
            "wz",
            "ys",
            "yz",
            "b",
            "bs",
            "bz",
        ];
        let (inputs, is_cut_off) = found(in_steps()).expect("with everything");
        assert_eq!(inputs, all);
        assert!(is_cut_off);
        let mut nodes = in_steps();
        nodes.remove(4);
        nodes[4].input[0] = "c".to_owned();
        nodes[3].input.pop();
        let (inputs, is_cut_off) = found(nodes).expect("without Relu and bias");
        assert_eq!(inputs, all[..9]);
        assert!(!is_cut_off);
    }

    #[test]
    fn one_of_integers_is_found() {
        let inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"];
        let (given, _) = found(vec![node("QLinearConv", &inputs, "y")]).expect("it is one");
        assert_eq!(given[1..], inputs);
        let fed = ["x", "fed", "xz", "w", "ws", "wz", "ys", "yz"];
        assert!(found(vec![node("QLinearConv", &fed, "y")]).is_none());
    }

    #[test]
    fn others_are_left_alone() {
        let without = |change: &dyn Fn(&mut Vec<NodeProto>)| {
            let mut nodes = in_steps();
            change(&mut nodes);
            assert!(found(nodes).is_none());
        };
        without(&|nodes| nodes.push(node("Abs", &["r"], "also")));
        without(&|nodes| nodes.push(node("Abs", &["c"], "also")));
        without(&|nodes| nodes[0].input[1] = "fed".to_owned());
        without(&|nodes| nodes[1].input[0] = "fed".to_owned());
        without(&|nodes| nodes[3].op_type = "ConvTranspose".to_owned());
        without(&|nodes| nodes[3].domain = "other".to_owned());
        without(&|nodes| nodes[4].op_type = "Sigmoid".to_owned());
        without(&|nodes| {
            nodes[1].attribute = vec![integer("block_size", 16)];
        });
    }

    /// Whether the weights' scales, if they are several, are found to be those of the outputs.
    fn is_by_output(nodes: Vec<NodeProto>) -> bool {
        let mut graph = graph(nodes);
        find(&mut graph);
        let own = graph.node.iter().find(|node| node.op_type == NAME);
        let attributes = own.into_iter().flat_map(|node| &node.attribute);
        attributes
            .filter(|given| given.name == BY_OUTPUT)
            .any(|given| given.i == 1)
    }

    #[test]
    fn scales_have_to_be_those_of_the_outputs() {
        // The axis of DequantizeLinear is 1 if none is given.
        assert!(!is_by_output(in_steps()));
        let mut nodes = in_steps();
        nodes[1].attribute = vec![integer("axis", 0)];
        assert!(is_by_output(nodes));
        let mut nodes = in_steps();
        nodes[3].op_type = "Gemm".to_owned();
        assert!(is_by_output(nodes.clone()));
        nodes[3].attribute = vec![integer("transB", 1)];
        assert!(!is_by_output(nodes.clone()));
        nodes[1].attribute = vec![integer("axis", 0)];
        assert!(is_by_output(nodes));
    }

    #[test]
    fn a_product_between_integers_is_found() {
        let all = [
            "y/in floats",
            "x",
            "xs",
            "xz",
            "w",
            "ws",
            "wz",
            "ys",
            "yz",
            "b",
            "bs",
            "bz",
        ];
        for bias_first in [false, true] {
            let mut nodes = in_steps();
            nodes[3] = node("MatMul", &["xf", "wf"], "p");
            let sum = if bias_first { ["bf", "p"] } else { ["p", "bf"] };
            nodes.insert(4, node("Add", &sum, "c"));
            let mut graph = graph(nodes);
            find(&mut graph);
            let own = graph
                .node
                .iter()
                .find(|node| node.op_type == NAME)
                .expect("a MatMul and an Add");
            assert_eq!(own.input, all);
            let axis = own.attribute.iter().find(|given| given.name == OUTPUT_AXIS);
            assert_eq!(axis.expect("it has one").i, 1);
        }
        let mut nodes = in_steps();
        nodes[3].op_type = "Gemm".to_owned();
        let mut scaled = nodes.clone();
        scaled[3].attribute = vec![AttributeProto {
            name: "alpha".to_owned(),
            f: 2.0,
            ..Default::default()
        }];
        let finds = |nodes: Vec<NodeProto>| {
            let mut graph = graph(nodes);
            find(&mut graph);
            graph.node.iter().any(|node| node.op_type == NAME)
        };
        assert!(finds(nodes));
        assert!(!finds(scaled));
        let inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"];
        assert!(finds(vec![node("QLinearMatMul", &inputs, "y")]));
    }
}
