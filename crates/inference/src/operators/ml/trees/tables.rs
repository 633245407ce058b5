//! The attributes of `TreeEnsembleClassifier` and `TreeEnsembleRegressor`: one table of nodes, and one of what leaves give.

use super::description::{Contribution, Description, Split, Test, Vertex};
use super::parse::{Reals, index, reals, same_length};
use crate::operators::ml::attributes::Attributes;
use std::collections::BTreeMap;
use tract_onnx::prelude::TractResult;

/// The names of attributes under which the two older operators keep what leaves give.
pub(super) struct Given {
    pub(super) trees: &'static str,
    pub(super) nodes: &'static str,
    pub(super) targets: &'static str,
    pub(super) weights: &'static str,
    pub(super) weights_as_tensor: &'static str,
}

/// The table of nodes, whose columns are of one length.
struct Nodes<'n> {
    trees: &'n [i64],
    numbers: &'n [i64],
    features: &'n [i64],
    modes: Vec<String>,
    if_true: &'n [i64],
    if_false: &'n [i64],
    values: Reals,
    /// As long as the others, or empty.
    nan_is_true: &'n [i64],
}

impl<'n> Nodes<'n> {
    fn parse(attributes: &mut Attributes<'n>) -> TractResult<Self> {
        let nodes = Self {
            trees: attributes.ints("nodes_treeids")?,
            numbers: attributes.ints("nodes_nodeids")?,
            features: attributes.ints("nodes_featureids")?,
            modes: attributes.strings("nodes_modes")?,
            if_true: attributes.ints("nodes_truenodeids")?,
            if_false: attributes.ints("nodes_falsenodeids")?,
            values: reals(attributes, "nodes_values", "nodes_values_as_tensor")?,
            nan_is_true: attributes.ints("nodes_missing_value_tracks_true")?,
        };
        // How often training came by: a hint, of which nothing depends.
        attributes.floats("nodes_hitrates")?;
        attributes.tensor("nodes_hitrates_as_tensor")?;
        let columns = [
            ("nodes_nodeids", nodes.numbers.len()),
            ("nodes_featureids", nodes.features.len()),
            ("nodes_modes", nodes.modes.len()),
            ("nodes_truenodeids", nodes.if_true.len()),
            ("nodes_falsenodeids", nodes.if_false.len()),
            ("nodes_values", nodes.values.values.len()),
        ];
        same_length(attributes, ("nodes_treeids", nodes.trees.len()), &columns)?;
        let tracks = ("nodes_missing_value_tracks_true", nodes.nan_is_true.len());
        if tracks.1 > 0 {
            same_length(attributes, ("nodes_treeids", nodes.trees.len()), &[tracks])?;
        }
        Ok(nodes)
    }

    fn vertices(&self, attributes: &Attributes, places: &Places) -> TractResult<Vec<Vertex>> {
        let sides = self.if_true.iter().zip(self.if_false);
        let rows = self.trees.iter().zip(self.features).zip(&self.modes);
        let rows = rows.zip(sides).zip(&self.values.values).enumerate();
        let vertices = rows.map(|(row, ((((&tree, &feature), mode), (&if_true, &if_false)), &value))| {
            if mode == "LEAF" {
                return Ok(Vertex::Leaf(Vec::new()));
            }
            let unknown = || attributes.refuse("nodes_modes", format!("holds {mode:?}, which is not supported"));
            Ok(Vertex::Split(Split {
                feature: index(attributes, "nodes_featureids", feature)?,
                test: test(mode).ok_or_else(unknown)?,
                value,
                nan_is_true: self.nan_is_true.get(row) == Some(&1),
                if_true: places.find(attributes, "nodes_truenodeids", (tree, if_true))?,
                if_false: places.find(attributes, "nodes_falsenodeids", (tree, if_false))?,
            }))
        });
        vertices.collect()
    }
}

/// The trees of a node, with so many targets or classes.
pub(super) fn parse(attributes: &mut Attributes, given: &Given, targets: usize) -> TractResult<Description> {
    let nodes = Nodes::parse(attributes)?;
    let places = Places::of(attributes, nodes.trees, nodes.numbers)?;
    let mut vertices = nodes.vertices(attributes, &places)?;
    let (trees, numbers) = (attributes.ints(given.trees)?, attributes.ints(given.nodes)?);
    let ids = attributes.ints(given.targets)?;
    let weights = reals(attributes, given.weights, given.weights_as_tensor)?;
    let columns = [
        (given.nodes, numbers.len()),
        (given.targets, ids.len()),
        (given.weights, weights.values.len()),
    ];
    same_length(attributes, (given.trees, trees.len()), &columns)?;
    for ((&tree, &number), (&id, &weight)) in trees.iter().zip(numbers).zip(ids.iter().zip(&weights.values)) {
        let target = index(attributes, given.targets, id)?;
        let place = places.find(attributes, given.nodes, (tree, number))?;
        // What is given by a split is given by nobody.
        if let Some(Vertex::Leaf(leaf)) = vertices.get_mut(place) {
            leaf.push(Contribution { target, weight });
        }
    }
    Ok(Description {
        vertices,
        roots: places.roots,
        targets,
        double: nodes.values.double || weights.double,
    })
}

fn test(mode: &str) -> Option<Test> {
    Some(match mode {
        "BRANCH_LEQ" => Test::AtMost,
        "BRANCH_LT" => Test::Below,
        "BRANCH_GTE" => Test::AtLeast,
        "BRANCH_GT" => Test::Above,
        "BRANCH_EQ" => Test::Equal,
        "BRANCH_NEQ" => Test::NotEqual,
        _ => return None,
    })
}

/// Where each node stands, and where each tree begins: with the first of its nodes.
struct Places {
    /// By tree and number.
    nodes: BTreeMap<(i64, i64), usize>,
    roots: Vec<usize>,
}

impl Places {
    fn of(attributes: &Attributes, trees: &[i64], numbers: &[i64]) -> TractResult<Self> {
        let (mut nodes, mut roots) = (BTreeMap::new(), Vec::new());
        let (mut begun, mut last) = (BTreeMap::new(), None);
        for (place, (&tree, &number)) in trees.iter().zip(numbers).enumerate() {
            if nodes.insert((tree, number), place).is_some() {
                return Err(attributes.refuse("nodes_nodeids", format!("has node {number} of tree {tree} twice")));
            }
            if last != Some(tree) {
                if begun.insert(tree, place).is_some() {
                    let problem = format!("has tree {tree} in two places; export the model again");
                    return Err(attributes.refuse("nodes_treeids", problem));
                }
                roots.push(place);
                last = Some(tree);
            }
        }
        Ok(Self { nodes, roots })
    }

    fn find(&self, attributes: &Attributes, name: &str, (tree, number): (i64, i64)) -> TractResult<usize> {
        let place = self.nodes.get(&(tree, number)).copied();
        place.ok_or_else(|| attributes.refuse(name, format!("names node {number} of tree {tree}, which isn't there")))
    }
}
