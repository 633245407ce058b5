//! Tree ensembles: `TreeEnsembleClassifier`, `TreeEnsembleRegressor` and `TreeEnsemble`.
//!
//! Owns what they have in common: attributes become a description, a description a forest in the type of the input, and
//! rows are walked through it. A `double` input is held against thresholds as it is; integers become floats.

mod classifier;
mod description;
mod ensemble;
mod forest;
mod parse;
mod regressor;
mod scores;
mod tables;

#[cfg(test)]
mod tests;

pub(crate) use classifier::TreeEnsembleClassifier;
pub(crate) use regressor::Regressor;

use super::numbers::{self, NUMBERS};
use crate::operators::kernel::Fact;
use description::Description;
use forest::{Forest, Real, Sink};
use std::sync::{Mutex, OnceLock, PoisonError};
use tract_onnx::prelude::{DatumType, Tensor, TractResult};
use tract_onnx::tract_core::internal::{TDim, bail, ensure};

/// The trees of a node: a description until the type of the input is known, then a forest.
#[derive(Debug)]
struct Trees {
    description: Mutex<Option<Description>>,
    forest: OnceLock<Typed>,
}

#[derive(Debug)]
enum Typed {
    Single(Forest<f32>),
    Double(Forest<f64>),
}

impl Trees {
    fn new(description: Description) -> Self {
        Self {
            description: Mutex::new(Some(description)),
            forest: OnceLock::new(),
        }
    }

    /// The batch of the only input, for whose type the forest is built if that hasn't been done yet.
    fn prepare(&self, inputs: &[Fact]) -> TractResult<TDim> {
        let input = numbers::only(inputs, &NUMBERS)?;
        let batch = numbers::batch(&input.shape)?;
        let mut description = self.description.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(description) = description.take() {
            let built = build(&description, input.datum_type)?;
            self.forest.get_or_init(|| built);
        }
        if let Some(given) = numbers::features(&input.shape) {
            self.fits(given)?;
        }
        Ok(batch)
    }

    fn built(&self) -> TractResult<&Typed> {
        match self.forest.get() {
            Some(forest) => Ok(forest),
            None => bail!("its trees can't be used"),
        }
    }

    fn fits(&self, columns: usize) -> TractResult<()> {
        let wanted = match self.built()? {
            Typed::Single(forest) => forest.features(),
            Typed::Double(forest) => forest.features(),
        };
        ensure!(
            columns >= wanted,
            "asks for {wanted} features, and its input has {columns}; feed what it was trained on"
        );
        Ok(())
    }

    /// The number of rows of the only input's tensor, which fits.
    fn rows(&self, input: &Tensor) -> TractResult<usize> {
        let (rows, columns) = numbers::rows(input)?;
        self.fits(columns)?;
        Ok(rows)
    }
}

fn build(description: &Description, datum_type: DatumType) -> TractResult<Typed> {
    if datum_type == DatumType::F64 {
        return Ok(Typed::Double(Forest::new(description)?));
    }
    ensure!(
        !description.double,
        "has thresholds or weights in double, and its input is {datum_type:?}; cast the input to double"
    );
    Ok(Typed::Single(Forest::new(description)?))
}

/// Walks an input through a forest of its type.
fn walk<T: Real, S: Sink<T>>(
    forest: &Forest<T>,
    input: &Tensor,
    sink: &mut S,
    finish: impl FnMut(&mut S, usize, usize),
) -> TractResult<()> {
    let (_, columns) = numbers::rows(input)?;
    forest.walk(&T::elements(input)?, columns, sink, finish);
    Ok(())
}
