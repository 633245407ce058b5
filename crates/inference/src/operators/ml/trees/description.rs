//! An ensemble as a node of ONNX describes it: splits, leaves and what each leaf gives to which target.
//!
//! Owns what all versions of the operators have in common, and that it is a forest: every index leads somewhere, and no
//! way leads back.

use tract_onnx::prelude::TractResult;
use tract_onnx::tract_core::internal::{ensure, format_err};

/// How a feature is held against a split's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    NotEqual,
    /// One of these, in any order.
    Member(Vec<f64>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Split {
    pub(crate) feature: usize,
    pub(crate) test: Test,
    pub(crate) value: f64,
    /// Where a feature that is NaN leads; the test itself is false for it, but for `NotEqual`.
    pub(crate) nan_is_true: bool,
    pub(crate) if_true: usize,
    pub(crate) if_false: usize,
}

/// What a leaf gives to a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Contribution {
    pub(crate) target: usize,
    pub(crate) weight: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Vertex {
    Split(Split),
    Leaf(Vec<Contribution>),
}

/// The trees, each by the vertex that it begins with.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Description {
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) roots: Vec<usize>,
    pub(crate) targets: usize,
    /// Whether values were given in double, so that floats would be others.
    pub(crate) double: bool,
}

impl Description {
    /// Refuses what is no forest, or gives to targets that there aren't.
    ///
    /// A vertex may be reached in one way only: with two, trees of a thousand vertices could have more leaves than fit
    /// into any memory.
    pub(crate) fn check(&self) -> TractResult<()> {
        let mut reached = vec![false; self.vertices.len()];
        let mut open: Vec<usize> = self.roots.clone();
        while let Some(place) = open.pop() {
            let seen = reached.get_mut(place);
            let seen = seen.ok_or_else(|| format_err!("vertex {place} is not there; export the model again"))?;
            ensure!(
                !std::mem::replace(seen, true),
                "vertex {place} is reached in two ways, so that this is no tree; export the model again"
            );
            match self.vertices.get(place) {
                Some(Vertex::Split(split)) => open.extend([split.if_true, split.if_false]),
                Some(Vertex::Leaf(given)) => self.check_leaf(given)?,
                None => {}
            }
        }
        Ok(())
    }

    fn check_leaf(&self, given: &[Contribution]) -> TractResult<()> {
        let stray = given.iter().find(|given| given.target >= self.targets);
        match stray {
            Some(stray) => Err(format_err!(
                "a leaf gives to target {}, and there are {}; export the model again",
                stray.target,
                self.targets
            )),
            None => Ok(()),
        }
    }
}
