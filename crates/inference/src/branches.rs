//! Puts in place of an `If` whose condition is always the same the branch that is then always taken.
//!
//! Exporters write such conditions where a program asks for a shape or a setting. What a condition is made of, constants
//! and the shapes of what is fed, is handed to tract by itself: what it finds to be constant is. A condition that depends
//! on data stays, and the check behind this refuses it. Works on the protobuf, and leaves what a model computes as it is.

use crate::check::{self, node_name};
use crate::guard::guarded;
use crate::{InferenceError, LoadOptions, rewrite, shapes};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tract_onnx::Onnx;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use tract_onnx::prelude::{Framework, InferenceModelExt};

/// Conditions of one model that are looked at. Each has what stands before it analysed once more; a program that was
/// exported with all its branches has some dozens.
const MAX_CONDITIONS: usize = 256;

/// What a condition is called while it is looked at.
const CONDITION: &str = "floorhand/condition";

/// Takes the branches that are always taken, in a graph and in all graphs inside it.
pub(crate) fn take(proto: &mut ModelProto, onnx: &Onnx, options: &LoadOptions) -> Result<(), InferenceError> {
    let Some(graph) = proto.graph.as_mut().filter(|graph| has_if(graph)) else {
        return Ok(());
    };
    let mut branches = Branches {
        onnx,
        options,
        ir_version: proto.ir_version,
        imports: &proto.opset_import,
        looked_at: 0,
    };
    branches.graph(graph, None)
}

fn has_if(graph: &GraphProto) -> bool {
    let inside = |node: &NodeProto| graphs(node).any(has_if);
    graph.node.iter().any(|node| is_if(node) || inside(node))
}

/// The graphs inside a node.
fn graphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    let attributes = node.attribute.iter();
    attributes.flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

fn graphs_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    let attributes = node.attribute.iter_mut();
    attributes.flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
}

fn is_if(node: &NodeProto) -> bool {
    node.op_type == "If" && matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// What can be seen from inside a graph, from the graph outwards.
struct Scope<'a> {
    inputs: &'a [ValueInfoProto],
    initializers: &'a [TensorProto],
    /// The nodes before the one that is looked at.
    nodes: &'a [NodeProto],
    outer: Option<&'a Scope<'a>>,
}

struct Branches<'a> {
    onnx: &'a Onnx,
    options: &'a LoadOptions,
    ir_version: i64,
    imports: &'a [OperatorSetIdProto],
    looked_at: usize,
}

impl Branches<'_> {
    fn graph(&mut self, graph: &mut GraphProto, outer: Option<&Scope<'_>>) -> Result<(), InferenceError> {
        let mut taken = names(graph);
        let mut scope = outer;
        while let Some(around) = scope {
            taken.extend(visible(around));
            scope = around.outer;
        }
        let mut waiting: VecDeque<NodeProto> = std::mem::take(&mut graph.node).into();
        let mut done = Vec::with_capacity(waiting.len());
        while let Some(mut node) = waiting.pop_front() {
            let scope = Scope {
                inputs: &graph.input,
                initializers: &graph.initializer,
                nodes: &done,
                outer,
            };
            if !is_if(&node) {
                graphs_mut(&mut node).try_for_each(|inner| self.graph(inner, Some(&scope)))?;
                done.push(node);
                continue;
            }
            let Some(condition) = self.condition(&node, &scope)? else {
                done.push(node);
                continue;
            };
            let branch = branch(&node, condition)?;
            let nodes = inlined(&node, branch, &mut taken, graph);
            nodes.into_iter().rev().for_each(|node| waiting.push_front(node));
        }
        graph.node = done;
        Ok(())
    }

    /// What a condition always is; none if it depends on data.
    fn condition(&mut self, node: &NodeProto, scope: &Scope<'_>) -> Result<Option<bool>, InferenceError> {
        let Some(name) = node.input.first() else {
            return Ok(None);
        };
        let Some(graph) = made_of(name, scope) else {
            return Ok(None);
        };
        self.looked_at += 1;
        if self.looked_at > MAX_CONDITIONS {
            return Err(InferenceError::Operator {
                node: node_name(node),
                operator: "If".to_owned(),
                advice: "the model has more than 256 of them; export what is run, not the program around it",
            });
        }
        let mut graph = graph;
        check::graph(&graph, self.onnx)?;
        rewrite::graph(&mut graph)?;
        shapes::fix(&mut graph, self.options)?;
        let proto = ModelProto {
            ir_version: self.ir_version,
            opset_import: self.imports.to_vec(),
            graph: Some(graph),
            ..Default::default()
        };
        guarded("translate", || {
            let model = self
                .onnx
                .model_for_proto_model(&proto)?
                .into_typed()?
                .into_decluttered()?;
            let Some(value) = &model.output_fact(0)?.konst else {
                return Ok(None);
            };
            let value = value.cast_to::<bool>()?;
            let value = value.try_as_plain_ram()?;
            Ok(match value.as_slice::<bool>()? {
                [value] => Some(*value),
                _ => None,
            })
        })
    }
}

/// Names that a graph itself gives.
fn names(graph: &GraphProto) -> BTreeSet<String> {
    let inputs = graph.input.iter().map(|input| &input.name);
    let weights = graph.initializer.iter().map(|tensor| &tensor.name);
    let nodes = graph.node.iter().flat_map(|node| &node.output);
    inputs.chain(weights).chain(nodes).cloned().collect()
}

fn visible<'s>(scope: &'s Scope<'_>) -> impl Iterator<Item = String> + 's {
    let inputs = scope.inputs.iter().map(|input| &input.name);
    let weights = scope.initializers.iter().map(|tensor| &tensor.name);
    let nodes = scope.nodes.iter().flat_map(|node| &node.output);
    inputs.chain(weights).chain(nodes).cloned()
}

/// The part of the model that a value is computed with, as a graph whose one output it is. None if it is fed, or if it is
/// computed with what a graph inside the model is fed, whose shape nobody has said.
fn made_of(name: &str, scope: &Scope<'_>) -> Option<GraphProto> {
    let mut scopes = vec![scope];
    while let Some(outer) = scopes.last().and_then(|scope| scope.outer) {
        scopes.push(outer);
    }
    let outermost = scopes.len() - 1;
    let mut needed: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); scopes.len()];
    let mut weights: BTreeMap<&str, &TensorProto> = BTreeMap::new();
    let made: Vec<Made<'_>> = scopes.iter().map(|scope| Made::of(scope)).collect();
    let mut seen = BTreeSet::new();
    let mut wanted = vec![name.to_owned()];
    while let Some(name) = wanted.pop() {
        if name.is_empty() || !seen.insert(name.clone()) {
            continue;
        }
        // What isn't found is a name that a graph inside a node gives itself.
        let Some((depth, made)) = made.iter().enumerate().find(|(_, made)| made.has(&name)) else {
            continue;
        };
        if let Some(tensor) = made.weights.get(name.as_str()) {
            weights.insert(tensor.name.as_str(), tensor);
        } else if let Some(&at) = made.nodes.get(name.as_str()) {
            needed.get_mut(depth)?.insert(at);
            wanted.extend(scopes.get(depth)?.nodes.get(at).into_iter().flat_map(used));
        } else if depth != outermost || seen.len() == 1 {
            return None;
        }
    }
    let nodes = scopes.iter().zip(&needed).rev();
    let mut node: Vec<NodeProto> = nodes
        .flat_map(|(scope, needed)| needed.iter().filter_map(|&at| scope.nodes.get(at).cloned()))
        .collect();
    node.push(identity(name, CONDITION));
    // All that are fed: a dimension's name may get its size from another input.
    let stored = made.last().map(|made| &made.weights)?;
    let is_fed = |input: &&ValueInfoProto| {
        let name = input.name.as_str();
        weights.contains_key(name) || !stored.contains_key(name)
    };
    let input = scopes.last()?.inputs.iter().filter(is_fed).cloned().collect();
    Some(GraphProto {
        node,
        initializer: weights.into_values().cloned().collect(),
        input,
        output: vec![ValueInfoProto {
            name: CONDITION.to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// Where the names of one scope come from.
struct Made<'a> {
    fed: BTreeSet<&'a str>,
    weights: BTreeMap<&'a str, &'a TensorProto>,
    nodes: BTreeMap<&'a str, usize>,
}

impl<'a> Made<'a> {
    fn of(scope: &Scope<'a>) -> Self {
        let outputs = scope.nodes.iter().enumerate();
        let outputs = outputs.flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at)));
        let weights = scope.initializers.iter().map(|tensor| (tensor.name.as_str(), tensor));
        Self {
            fed: scope.inputs.iter().map(|input| input.name.as_str()).collect(),
            weights: weights.collect(),
            nodes: outputs.collect(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.fed.contains(name) || self.weights.contains_key(name) || self.nodes.contains_key(name)
    }
}

/// The names that a node is computed with, those that graphs inside it take from around them included.
fn used(node: &NodeProto) -> Vec<String> {
    let mut names = node.input.clone();
    for graph in graphs(node) {
        names.extend(graph.node.iter().flat_map(used));
        names.extend(graph.output.iter().map(|output| output.name.clone()));
    }
    names
}

fn branch(node: &NodeProto, condition: bool) -> Result<&GraphProto, InferenceError> {
    let name = if condition { "then_branch" } else { "else_branch" };
    let attribute = node.attribute.iter().find(|attribute| attribute.name == name);
    let graph = attribute.and_then(|attribute| attribute.g.as_ref());
    let refused = |problem: &str| InferenceError::Attribute {
        node: node_name(node),
        operator: node.op_type.clone(),
        attribute: name.to_owned(),
        problem: problem.to_owned(),
    };
    let graph = graph.ok_or_else(|| refused("is missing; export the model again"))?;
    if graph.output.len() < node.output.len() {
        return Err(refused("gives less than the node; export the model again"));
    }
    Ok(graph)
}

/// A branch's nodes as the graph around it has them. Names that there are already are given anew.
fn inlined(
    node: &NodeProto,
    branch: &GraphProto,
    taken: &mut BTreeSet<String>,
    into: &mut GraphProto,
) -> Vec<NodeProto> {
    let site = node_name(node);
    let mut renamed = BTreeMap::new();
    for name in names(branch).into_iter().filter(|name| !name.is_empty()) {
        let mut free = name.clone();
        let mut count = 0_u64;
        while !taken.insert(free.clone()) {
            count += 1;
            free = format!("{site}/{count}/{name}");
        }
        if free != name {
            renamed.insert(name, free);
        }
    }
    for tensor in &branch.initializer {
        let mut tensor = tensor.clone();
        rename_one(&mut tensor.name, &renamed);
        into.initializer.push(tensor);
    }
    into.sparse_initializer
        .extend(branch.sparse_initializer.iter().cloned());
    let mut nodes = branch.node.clone();
    for inner in &mut nodes {
        if !inner.name.is_empty() {
            inner.name = format!("{site}/{}", inner.name);
        }
        inner.output.iter_mut().for_each(|name| rename_one(name, &renamed));
        rename(inner, &renamed);
    }
    for (given, wanted) in branch.output.iter().zip(&node.output) {
        if !wanted.is_empty() {
            let mut from = given.name.clone();
            rename_one(&mut from, &renamed);
            nodes.push(identity(&from, wanted));
        }
    }
    nodes
}

/// Renames what a node takes, and what graphs inside it take from around them.
fn rename(node: &mut NodeProto, renamed: &BTreeMap<String, String>) {
    if renamed.is_empty() {
        return;
    }
    node.input.iter_mut().for_each(|name| rename_one(name, renamed));
    for graph in graphs_mut(node) {
        let mut renamed = renamed.clone();
        names(graph).iter().for_each(|own| drop(renamed.remove(own)));
        graph.node.iter_mut().for_each(|node| rename(node, &renamed));
        graph
            .output
            .iter_mut()
            .for_each(|output| rename_one(&mut output.name, &renamed));
    }
}

fn rename_one(name: &mut String, renamed: &BTreeMap<String, String>) {
    if let Some(other) = renamed.get(name) {
        name.clone_from(other);
    }
}

fn identity(from: &str, to: &str) -> NodeProto {
    NodeProto {
        name: to.to_owned(),
        op_type: "Identity".to_owned(),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        ..Default::default()
    }
}
