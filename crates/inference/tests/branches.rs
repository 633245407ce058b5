//! `If` with a condition that is always the same: recorded cases through the loader, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests need more of it")]
mod onnx;
#[expect(dead_code, reason = "other tests need more of it")]
mod recorded;

use floorhand_inference::{LoadOptions, Model, Tract};
use floorhand_tensor::Tensor;
use onnx::Size;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};

/// What ONNX Runtime answers, recorded by `oracle_branches.py`.
const CASES: &str = include_str!("branches.json");

#[test]
fn answers_are_those_of_onnx_runtime() {
    recorded::check(&Tract, CASES, 25, |_| 1e-6);
}

/// A graph inside a node, whose one output is `output`.
fn branch(nodes: Vec<NodeProto>, output: &str) -> GraphProto {
    GraphProto {
        node: nodes,
        output: vec![ValueInfoProto {
            name: output.to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn with_graph(mut node: NodeProto, name: &str, graph: GraphProto) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Graph as i32,
        g: Some(graph),
        ..Default::default()
    });
    node
}

fn choice(name: &str, condition: &str, then: GraphProto, other: GraphProto, output: &str) -> NodeProto {
    let node = with_graph(onnx::node(name, "If", &[condition], output), "then_branch", then);
    with_graph(node, "else_branch", other)
}

fn either(name: &str, condition: &str, output: &str) -> NodeProto {
    let then = branch(vec![onnx::node("", "Neg", &["x"], "r")], "r");
    let other = branch(vec![onnx::node("", "Abs", &["x"], "r")], "r");
    choice(name, condition, then, other, output)
}

fn truth(name: &str, value: bool) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: DataType::Bool as i32,
        raw_data: vec![u8::from(value)],
        ..Default::default()
    }
}

fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Vec<u8> {
    let value = |name| onnx::value(name, DataType::Float, &[Size::Is(1), Size::Is(2)]);
    onnx::bytes(GraphProto {
        node: nodes,
        initializer,
        input: vec![value("x")],
        output: vec![value("y")],
        ..Default::default()
    })
}

fn answer(onnx: &[u8]) -> Vec<f32> {
    let mut model = Model::load(onnx, &LoadOptions::default()).unwrap();
    let x = Tensor::from_f32("x", vec![1, 2], &[1.0, -2.0]).unwrap();
    model.run(&[x]).unwrap().first().unwrap().to_f32().unwrap()
}

fn refusal(onnx: &[u8]) -> String {
    let error = Model::load(onnx, &LoadOptions::default()).unwrap_err();
    error.to_string()
}

#[test]
fn a_condition_may_be_stored() {
    for (value, expected) in [(true, [-1.0, 2.0]), (false, [1.0, 2.0])] {
        let onnx = model(vec![either("choice", "c", "y")], vec![truth("c", value)]);
        assert_eq!(answer(&onnx), expected);
    }
}

/// ONNX Runtime wants a node between, which not every exporter writes.
#[test]
fn a_branch_may_give_what_is_around_it() {
    let nothing = || branch(vec![], "x");
    let onnx = model(
        vec![choice("choice", "c", nothing(), nothing(), "y")],
        vec![truth("c", true)],
    );
    assert_eq!(answer(&onnx), [1.0, -2.0]);
}

#[test]
fn a_condition_that_depends_on_data_is_refused() {
    let advice = "its condition depends on data: export with both sides computed and one selected by Where, or only the \
                  side that is taken";
    let expected =
        |node: &str| format!("load the model: node {node:?} needs operator If, which is not supported; {advice}");
    let summed = |name: &str| {
        let sum = onnx::with_int(onnx::node("sum", "ReduceMax", &["x"], "m"), "keepdims", 0);
        vec![
            sum,
            onnx::node("", "Greater", &["m", "zero"], "c"),
            either(name, "c", "y"),
        ]
    };
    let zero = || onnx::weights("zero", &[], &[0.0]);
    assert_eq!(refusal(&model(summed("choice"), vec![zero()])), expected("choice"));
    assert_eq!(
        refusal(&model(summed(""), vec![zero()])),
        expected("y"),
        "a node without a name"
    );
    // Inside the branch that is taken of another.
    let mut nodes = summed("inside");
    let inside = nodes.pop().unwrap();
    let mut inner = inside;
    inner.output = vec!["r".to_owned()];
    nodes.push(choice(
        "outside",
        "t",
        branch(vec![inner], "r"),
        branch(vec![], "x"),
        "y",
    ));
    let weights = || vec![zero(), truth("t", true)];
    assert_eq!(refusal(&model(nodes.clone(), weights())), expected("outside/inside"));
    // And of no account inside the one that isn't.
    let weights = vec![zero(), truth("t", false)];
    assert_eq!(answer(&model(nodes, weights)), [1.0, -2.0]);
}

#[test]
fn a_condition_that_is_fed_is_refused() {
    let bytes = onnx::bytes(GraphProto {
        node: vec![either("choice", "c", "y")],
        input: vec![
            onnx::value("x", DataType::Float, &[Size::Is(1), Size::Is(2)]),
            onnx::value("c", DataType::Bool, &[]),
        ],
        output: vec![onnx::value("y", DataType::Float, &[Size::Is(1), Size::Is(2)])],
        ..Default::default()
    });
    assert!(refusal(&bytes).contains("its condition depends on data"));
}

#[test]
fn a_branch_that_is_not_there_is_refused() {
    let mut node = either("choice", "c", "y");
    node.attribute.retain(|attribute| attribute.name == "then_branch");
    let onnx = model(vec![node], vec![truth("c", false)]);
    assert_eq!(
        refusal(&onnx),
        r#"load the model: node "choice", operator If, attribute "else_branch": is missing; export the model again"#
    );
    let mut node = either("choice", "c", "y");
    node.output.push("z".to_owned());
    let onnx = model(vec![node], vec![truth("c", true)]);
    assert_eq!(
        refusal(&onnx),
        r#"load the model: node "choice", operator If, attribute "then_branch": gives less than the node; export the model again"#
    );
}

#[test]
fn more_conditions_than_are_looked_at_are_refused() {
    let many = |count: usize| {
        let name = |at: usize| if at == count { "y".to_owned() } else { format!("y{at}") };
        let nodes = (1..=count).map(|at| either("choice", "c", &name(at))).collect();
        model(nodes, vec![truth("c", true)])
    };
    assert_eq!(answer(&many(256)), [-1.0, 2.0]);
    assert!(refusal(&many(257)).contains("the model has more than 256 of them"));
}
