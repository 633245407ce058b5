//! The attributes of `TreeEnsemble`: splits and leaves in tables of their own.

use super::description::{Contribution, Description, Split, Test, Vertex};
use super::parse::{Reals, doubles, held, index, same_length};
use crate::operators::ml::attributes::Attributes;
use tract_onnx::prelude::{Tensor, TractResult};

/// The table of splits, whose columns are of one length.
struct Splits<'n> {
    features: &'n [i64],
    values: Reals,
    modes: Vec<u8>,
    /// Where the test holds: an index, and whether it is one of a leaf.
    if_true: (&'n [i64], &'n [i64]),
    if_false: (&'n [i64], &'n [i64]),
    /// As long as the others, or empty.
    nan_is_true: &'n [i64],
}

impl<'n> Splits<'n> {
    fn parse(attributes: &mut Attributes<'n>) -> TractResult<Self> {
        let (values, modes) = (
            required(attributes, "nodes_splits")?,
            required(attributes, "nodes_modes")?,
        );
        let modes = modes
            .try_as_plain_ram()
            .and_then(|modes| Ok(modes.as_slice::<u8>()?.to_vec()));
        let splits = Self {
            features: attributes.ints("nodes_featureids")?,
            values: held(attributes, "nodes_splits", &values)?,
            modes: modes.map_err(|error| attributes.refuse("nodes_modes", format!("{error:#}; write uint8")))?,
            if_true: (
                attributes.ints("nodes_truenodeids")?,
                attributes.ints("nodes_trueleafs")?,
            ),
            if_false: (
                attributes.ints("nodes_falsenodeids")?,
                attributes.ints("nodes_falseleafs")?,
            ),
            nan_is_true: attributes.ints("nodes_missing_value_tracks_true")?,
        };
        // How often training came by: a hint, of which nothing depends.
        attributes.tensor("nodes_hitrates")?;
        let columns = [
            ("nodes_truenodeids", splits.if_true.0.len()),
            ("nodes_trueleafs", splits.if_true.1.len()),
            ("nodes_falsenodeids", splits.if_false.0.len()),
            ("nodes_falseleafs", splits.if_false.1.len()),
            ("nodes_splits", splits.values.values.len()),
            ("nodes_modes", splits.modes.len()),
        ];
        same_length(attributes, ("nodes_featureids", splits.features.len()), &columns)?;
        let tracks = ("nodes_missing_value_tracks_true", splits.nan_is_true.len());
        if tracks.1 > 0 {
            same_length(attributes, ("nodes_featureids", splits.features.len()), &[tracks])?;
        }
        Ok(splits)
    }
}

/// The leaves, and a copy of one for each side that leads to it: two sides of a split may be one leaf, which is how a tree
/// without splits is written.
struct Leaves {
    leaves: Vec<Contribution>,
    copies: Vec<Vertex>,
    /// How many splits stand before the copies.
    before: usize,
}

impl Leaves {
    fn side(&mut self, attributes: &Attributes, name: &str, to: i64, is_leaf: i64) -> TractResult<usize> {
        let to = index(attributes, name, to)?;
        if is_leaf == 0 {
            return Ok(to);
        }
        let leaf = self.leaves.get(to).copied();
        let leaf = leaf.ok_or_else(|| attributes.refuse(name, format!("names leaf {to} of {}", self.leaves.len())))?;
        self.copies.push(Vertex::Leaf(vec![leaf]));
        Ok(self.before + self.copies.len() - 1)
    }
}

/// The trees of a node, with so many targets: the splits first, and the leaves behind them.
pub(super) fn parse(attributes: &mut Attributes, targets: usize) -> TractResult<Description> {
    let splits = Splits::parse(attributes)?;
    let mut members = members(attributes)?;
    let mut leaves = Leaves {
        leaves: self::leaves(attributes)?,
        copies: Vec::new(),
        before: splits.features.len(),
    };
    let mut vertices = Vec::with_capacity(splits.features.len());
    let if_true = splits.if_true.0.iter().zip(splits.if_true.1);
    let if_false = splits.if_false.0.iter().zip(splits.if_false.1);
    let rows = splits.features.iter().zip(&splits.values.values).zip(&splits.modes);
    for (row, (((&feature, &value), &mode), (if_true, if_false))) in rows.zip(if_true.zip(if_false)).enumerate() {
        vertices.push(Vertex::Split(Split {
            feature: index(attributes, "nodes_featureids", feature)?,
            test: test(attributes, mode, &mut members)?,
            value,
            nan_is_true: splits.nan_is_true.get(row).is_some_and(|&tracks| tracks != 0),
            if_true: leaves.side(attributes, "nodes_truenodeids", *if_true.0, *if_true.1)?,
            if_false: leaves.side(attributes, "nodes_falsenodeids", *if_false.0, *if_false.1)?,
        }));
    }
    if members.next().is_some() {
        return Err(attributes.refuse(
            "membership_values",
            "has more sets than there are nodes that ask for one",
        ));
    }
    vertices.append(&mut leaves.copies);
    let roots = attributes.ints("tree_roots")?.iter();
    let roots = roots.map(|&root| index(attributes, "tree_roots", root));
    Ok(Description {
        vertices,
        roots: roots.collect::<TractResult<_>>()?,
        targets,
        double: splits.values.double,
    })
}

fn required(attributes: &mut Attributes, name: &'static str) -> TractResult<Tensor> {
    let found = attributes.tensor(name)?;
    found.ok_or_else(|| attributes.refuse(name, "is missing; export the model again"))
}

fn leaves(attributes: &mut Attributes) -> TractResult<Vec<Contribution>> {
    let (targets, weights) = (
        attributes.ints("leaf_targetids")?,
        required(attributes, "leaf_weights")?,
    );
    let weights = doubles(&weights).map_err(|error| attributes.refuse("leaf_weights", format!("{error:#}")))?;
    same_length(
        attributes,
        ("leaf_targetids", targets.len()),
        &[("leaf_weights", weights.len())],
    )?;
    let leaf = |(&target, weight): (&i64, f64)| {
        let target = index(attributes, "leaf_targetids", target)?;
        Ok(Contribution { target, weight })
    };
    targets.iter().zip(weights).map(leaf).collect()
}

/// The sets of `BRANCH_MEMBER`, in the order of the nodes that ask for them.
fn members(attributes: &mut Attributes) -> TractResult<std::vec::IntoIter<Vec<f64>>> {
    let Some(tensor) = attributes.tensor("membership_values")? else {
        return Ok(Vec::new().into_iter());
    };
    let all = doubles(&tensor).map_err(|error| attributes.refuse("membership_values", format!("{error:#}")))?;
    let mut sets: Vec<Vec<f64>> = all.split(|value| value.is_nan()).map(<[f64]>::to_vec).collect();
    // A NaN ends each set, the last one too.
    if sets.last().is_some_and(Vec::is_empty) {
        sets.pop();
    }
    Ok(sets.into_iter())
}

fn test(attributes: &Attributes, mode: u8, members: &mut impl Iterator<Item = Vec<f64>>) -> TractResult<Test> {
    Ok(match mode {
        0 => Test::AtMost,
        1 => Test::Below,
        2 => Test::AtLeast,
        3 => Test::Above,
        4 => Test::Equal,
        5 => Test::NotEqual,
        6 => Test::Member(
            members
                .next()
                .ok_or_else(|| attributes.refuse("membership_values", "has fewer sets than nodes ask for"))?,
        ),
        _ => {
            let problem = format!("holds {mode}; there are 0 (BRANCH_LEQ) to 6 (BRANCH_MEMBER)");
            return Err(attributes.refuse("nodes_modes", problem));
        }
    })
}
