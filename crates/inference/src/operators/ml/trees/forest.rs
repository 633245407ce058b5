//! A forest that is fast to walk: all splits in one array, and each asks `x <= threshold`.
//!
//! Owns the layout and the walk, and knows nothing of ONNX. Eight walks go side by side, of one row through eight trees
//! or of eight rows through one tree: what takes time is waiting for memory and for branches that were guessed wrong,
//! and a step here has neither. A leaf leads to itself, so that the walks of a group can end at different depths.
//!
//! The other tests are made into `<=` when a forest is built: `x < t` is `x <= t'` for the next smaller `t'`, the
//! opposites change sides, and an equality is two splits.

use super::description::{Contribution, Description, Split, Test, Vertex};
use crate::operators::ml::numbers;
use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::{AddAssign, Div};
use tract_onnx::prelude::{Tensor, TractResult};
use tract_onnx::tract_core::internal::{ensure, format_err};

/// Walks that go side by side. With fewer there is less to do while one waits, with more they don't fit the registers.
const LANES: usize = 8;
/// Rows that go through a tree before the next tree's turn: their values and a tree's nodes fit the fastest cache.
const BLOCK: usize = 64;
/// The bit of a node's feature that says that NaN counts as at most its threshold.
const NAN_BIT: u32 = 1 << 31;
/// Nodes and weights of all trees. Ten thousand trees of a thousand nodes each.
const MAX_NODES: usize = 10_000_000;
/// A feature's number is below this.
const MAX_FEATURE: usize = 1 << 24;

/// The numbers that a forest computes in.
pub(crate) trait Real:
    Copy + Debug + PartialOrd + Default + AddAssign + Div<Output = Self> + Send + Sync + 'static
{
    fn of(value: f64) -> Self;
    /// The largest number below.
    fn below(self) -> Self;
    fn to_f64(self) -> f64;
    /// The elements of a tensor of numbers.
    fn elements(tensor: &Tensor) -> TractResult<Cow<'_, [Self]>>;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }

    fn below(self) -> Self {
        self.next_down()
    }

    fn to_f64(self) -> f64 {
        self.into()
    }

    fn elements(tensor: &Tensor) -> TractResult<Cow<'_, [Self]>> {
        numbers::floats(tensor)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn below(self) -> Self {
        self.next_down()
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn elements(tensor: &Tensor) -> TractResult<Cow<'_, [Self]>> {
        Ok(Cow::Borrowed(numbers::slice(tensor)?))
    }
}

#[derive(Debug, Clone, Copy)]
struct Node<T> {
    threshold: T,
    /// The feature, and [`NAN_BIT`].
    feature: u32,
    /// Where it goes on if the feature is above the threshold, and if it isn't. A leaf's are its own.
    next: [u32; 2],
}

/// A leaf's weights in [`Forest::weights`].
#[derive(Debug, Clone, Copy)]
struct Leaf {
    from: u32,
    count: u32,
}

/// What becomes of the weights of the leaves that a row comes to.
pub(crate) trait Sink<T> {
    /// A row (of the block) has come to a leaf that gives so much to a target.
    fn give(&mut self, row: usize, target: usize, weight: T);
}

/// A forest.
#[derive(Debug)]
pub(crate) struct Forest<T> {
    nodes: Vec<Node<T>>,
    /// Nodes from this one on are leaves, in the order of `leaves`.
    first_leaf: u32,
    leaves: Vec<Leaf>,
    weights: Vec<(u32, T)>,
    roots: Vec<u32>,
    /// One more than the largest feature's number.
    features: usize,
}

impl<T: Real> Forest<T> {
    /// Lays a checked description out.
    pub(crate) fn new(description: &Description) -> TractResult<Self> {
        description.check()?;
        let mut builder = Builder::default();
        let roots = description.roots.iter();
        let roots = roots
            .map(|&root| builder.tree(description, root))
            .collect::<TractResult<Vec<Place>>>()?;
        builder.finish(&roots)
    }

    /// The rows of a block, of which a sink has to have room for so many.
    pub(crate) fn block(rows: usize) -> usize {
        rows.min(BLOCK)
    }

    /// How many values a row has to have.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// Walks rows of so many values through all trees. The weights that a row comes to are given in the order of the
    /// trees; `finish` is called after each block of rows, with the number of its first and of its rows.
    pub(crate) fn walk<S: Sink<T>>(
        &self,
        rows: &[T],
        columns: usize,
        sink: &mut S,
        mut finish: impl FnMut(&mut S, usize, usize),
    ) {
        let columns = columns.max(1);
        for (block, rows) in rows.chunks(BLOCK * columns).enumerate() {
            let count = rows.len() / columns;
            if count < LANES {
                for (place, row) in rows.chunks_exact(columns).enumerate() {
                    self.walk_row(place, row, sink);
                }
            } else {
                self.walk_block(rows, columns, sink);
            }
            finish(sink, block * BLOCK, count);
        }
    }

    /// One row through eight trees at a time.
    fn walk_row(&self, place: usize, row: &[T], sink: &mut impl Sink<T>) {
        let (groups, rest) = self.roots.as_chunks::<LANES>();
        for roots in groups {
            let mut at = *roots;
            while self.any_split(&at) {
                for lane in &mut at {
                    *lane = self.step(*lane, row);
                }
            }
            for lane in at {
                self.give(place, lane, sink);
            }
        }
        for &root in rest {
            self.give(place, self.descend(root, row), sink);
        }
    }

    /// Eight rows at a time through one tree after the other.
    fn walk_block(&self, rows: &[T], columns: usize, sink: &mut impl Sink<T>) {
        for &root in &self.roots {
            let mut rest = rows;
            let mut place = 0;
            while let Some((eight, behind)) = rest.split_at_checked(LANES * columns) {
                let mut lanes = [(root, eight); LANES];
                for (lane, row) in lanes.iter_mut().zip(eight.chunks_exact(columns)) {
                    lane.1 = row;
                }
                while lanes.iter().fold(false, |any, &(at, _)| any | (at < self.first_leaf)) {
                    for (at, row) in &mut lanes {
                        *at = self.step(*at, row);
                    }
                }
                for (lane, (at, _)) in lanes.into_iter().enumerate() {
                    self.give(place + lane, at, sink);
                }
                (rest, place) = (behind, place + LANES);
            }
            for (lane, row) in rest.chunks_exact(columns).enumerate() {
                self.give(place + lane, self.descend(root, row), sink);
            }
        }
    }

    fn any_split(&self, at: &[u32; LANES]) -> bool {
        at.iter().fold(false, |any, &at| any | (at < self.first_leaf))
    }

    fn descend(&self, root: u32, row: &[T]) -> u32 {
        let mut at = root;
        while at < self.first_leaf {
            at = self.step(at, row);
        }
        at
    }

    #[inline(always)]
    fn step(&self, at: u32, row: &[T]) -> u32 {
        let Some(node) = self.nodes.get(at as usize) else {
            return self.first_leaf;
        };
        let Some(&value) = row.get((node.feature & !NAN_BIT) as usize) else {
            return self.first_leaf;
        };
        #[expect(clippy::eq_op, reason = "NaN is what isn't equal to itself")]
        let missing = (value != value) & (node.feature & NAN_BIT != 0);
        let [above, at_most] = node.next;
        if (value <= node.threshold) | missing {
            at_most
        } else {
            above
        }
    }

    #[inline(always)]
    fn give(&self, row: usize, at: u32, sink: &mut impl Sink<T>) {
        let leaf = self.leaves.get(at.wrapping_sub(self.first_leaf) as usize);
        let range = leaf.map_or(0..0, |leaf| leaf.from as usize..(leaf.from + leaf.count) as usize);
        for &(target, weight) in self.weights.get(range).unwrap_or_default() {
            sink.give(row, target as usize, weight);
        }
    }
}

/// A node that is laid out, before it is known how many splits there are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Split(u32),
    Leaf(u32),
}

struct Builder<T> {
    splits: Vec<(T, u32, [Place; 2])>,
    leaves: Vec<Leaf>,
    weights: Vec<(u32, T)>,
    features: usize,
}

impl<T> Default for Builder<T> {
    fn default() -> Self {
        Self {
            splits: Vec::new(),
            leaves: Vec::new(),
            weights: Vec::new(),
            features: 0,
        }
    }
}

impl<T: Real> Builder<T> {
    /// Lays a tree out, a split before what is behind it. With a stack of its own: a tree may be as deep as it has
    /// vertices.
    fn tree(&mut self, description: &Description, root: usize) -> TractResult<Place> {
        let mut found = Place::Leaf(0);
        // What is to be laid out, and the sides of splits that lead there.
        let mut open: Vec<(usize, Vec<(usize, usize)>)> = vec![(root, Vec::new())];
        while let Some((vertex, sides)) = open.pop() {
            let place = match description.vertices.get(vertex) {
                Some(Vertex::Leaf(given)) => self.leaf(given)?,
                Some(Vertex::Split(split)) => {
                    let (place, if_true, if_false) = self.split(split)?;
                    open.extend([(split.if_true, if_true), (split.if_false, if_false)]);
                    place
                }
                None => return Err(format_err!("vertex {vertex} is not there")),
            };
            if sides.is_empty() {
                found = place;
            }
            for (split, side) in sides {
                let next = self.splits.get_mut(split).and_then(|(.., next)| next.get_mut(side));
                if let Some(next) = next {
                    *next = place;
                }
            }
        }
        Ok(found)
    }

    fn leaf(&mut self, given: &[Contribution]) -> TractResult<Place> {
        let place = self.leaves.len();
        self.leaves.push(Leaf {
            from: u32::try_from(self.weights.len())?,
            count: u32::try_from(given.len())?,
        });
        for given in given {
            self.weights.push((u32::try_from(given.target)?, T::of(given.weight)));
        }
        self.bounded()?;
        Ok(Place::Leaf(u32::try_from(place)?))
    }

    /// A split as one or more that ask `<=`: the first of them, and the sides that lead on where the test holds and where
    /// it doesn't.
    #[expect(
        clippy::type_complexity,
        reason = "sides are pairs of a split and 0 or 1, named in the text above"
    )]
    fn split(&mut self, split: &Split) -> TractResult<(Place, Vec<(usize, usize)>, Vec<(usize, usize)>)> {
        ensure!(
            split.feature < MAX_FEATURE,
            "a split asks for feature {}, and at most {MAX_FEATURE} are supported",
            split.feature
        );
        self.features = self.features.max(split.feature + 1);
        let value = T::of(split.value);
        let first = self.splits.len();
        let (if_true, if_false) = match &split.test {
            Test::AtMost => self.one(split, value, split.nan_is_true, false),
            // Nothing is below the least number: a threshold that nothing is at most.
            Test::Below if split.value == f64::NEG_INFINITY => {
                self.one(split, T::of(f64::NAN), split.nan_is_true, false)
            }
            Test::Below => self.one(split, value.below(), split.nan_is_true, false),
            Test::AtLeast | Test::Above if split.value.is_nan() => self.one(split, value, split.nan_is_true, false),
            Test::AtLeast if split.value == f64::NEG_INFINITY => {
                self.one(split, T::of(f64::NAN), !split.nan_is_true, true)
            }
            Test::AtLeast => self.one(split, value.below(), !split.nan_is_true, true),
            Test::Above => self.one(split, value, !split.nan_is_true, true),
            Test::Equal => self.among(split, &[value], split.nan_is_true),
            // NaN differs from everything, so that it is true with or without being told.
            Test::NotEqual => {
                let (equal, other) = self.among(split, &[value], false);
                (other, equal)
            }
            Test::Member(members) => {
                let members: Vec<T> = members.iter().map(|&member| T::of(member)).collect();
                self.among(split, &members, split.nan_is_true)
            }
        };
        self.bounded()?;
        Ok((Place::Split(u32::try_from(first)?), if_true, if_false))
    }

    /// One split; `swapped` if the test holds above the threshold.
    #[expect(clippy::type_complexity, reason = "see `split`")]
    fn one(
        &mut self,
        split: &Split,
        threshold: T,
        nan_at_most: bool,
        swapped: bool,
    ) -> (Vec<(usize, usize)>, Vec<(usize, usize)>) {
        let at = self.push(split, threshold, nan_at_most);
        let (above, at_most) = (vec![(at, 0)], vec![(at, 1)]);
        if swapped { (above, at_most) } else { (at_most, above) }
    }

    /// Whether the feature is one of these: for each, is it at most that, and if so, is it below? NaN, where it counts as
    /// one, is above all at first, and is asked for in a split of its own.
    #[expect(clippy::type_complexity, reason = "see `split`")]
    fn among(&mut self, split: &Split, members: &[T], nan_is_true: bool) -> (Vec<(usize, usize)>, Vec<(usize, usize)>) {
        let (mut within, mut without) = (Vec::new(), Vec::new());
        // The side on which the search goes on.
        let mut open: Option<(usize, usize)> = None;
        let mut members: Vec<T> = members
            .iter()
            .copied()
            .filter(|member| !member.to_f64().is_nan())
            .collect();
        members.sort_by(|a, b| a.to_f64().total_cmp(&b.to_f64()));
        for member in members {
            let at_most = self.push(split, member, false);
            self.lead(open, at_most);
            if member.to_f64() == f64::NEG_INFINITY {
                within.push((at_most, 1));
            } else {
                let below = self.push(split, member.below(), false);
                self.lead(Some((at_most, 1)), below);
                without.push((below, 1));
                within.push((below, 0));
            }
            open = Some((at_most, 0));
        }
        if nan_is_true || open.is_none() {
            let last = self.push(split, T::of(f64::NAN), nan_is_true);
            self.lead(open, last);
            within.push((last, 1));
            open = Some((last, 0));
        }
        without.extend(open);
        (within, without)
    }

    fn push(&mut self, split: &Split, threshold: T, nan_at_most: bool) -> usize {
        // Below `MAX_FEATURE`, which is less than the bit.
        let feature = split.feature as u32 | if nan_at_most { NAN_BIT } else { 0 };
        self.splits.push((threshold, feature, [Place::Leaf(0); 2]));
        self.splits.len() - 1
    }

    fn lead(&mut self, from: Option<(usize, usize)>, to: usize) {
        let side = from.and_then(|(split, side)| self.splits.get_mut(split)?.2.get_mut(side));
        if let (Some(side), Ok(to)) = (side, u32::try_from(to)) {
            *side = Place::Split(to);
        }
    }

    fn bounded(&self) -> TractResult<()> {
        let largest = self.splits.len().max(self.leaves.len()).max(self.weights.len());
        ensure!(
            largest <= MAX_NODES,
            "it has more than {MAX_NODES} nodes or weights; train fewer or smaller trees"
        );
        Ok(())
    }

    fn finish(self, roots: &[Place]) -> TractResult<Forest<T>> {
        let first_leaf = u32::try_from(self.splits.len())?;
        let number = |place: Place| match place {
            Place::Split(split) => split,
            Place::Leaf(leaf) => first_leaf + leaf,
        };
        let splits = self.splits.into_iter().map(|(threshold, feature, next)| Node {
            threshold,
            feature,
            next: next.map(number),
        });
        let leaves = (first_leaf..).take(self.leaves.len()).map(|own| Node {
            threshold: T::default(),
            feature: 0,
            next: [own; 2],
        });
        Ok(Forest {
            nodes: splits.chain(leaves).collect(),
            first_leaf,
            leaves: self.leaves,
            weights: self.weights,
            roots: roots.iter().copied().map(number).collect(),
            // A leaf asks for the first value.
            features: self.features.max(1),
        })
    }
}
