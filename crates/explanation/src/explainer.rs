//! How an explainer is driven.
//!
//! Owns the steps that all explainers share, and the loop over them for who has the model at hand. Neither calls a clock:
//! whoever drives says whether there is time.

use crate::Error;

pub use crate::walk::Batch;

/// An explanation in the making: rows to evaluate come out, outputs go in, and it may be ended after any of them.
///
/// Between two batches it is plain data; an agent can keep it while it serves samples.
pub trait Explainer {
    /// What it gives in the end.
    type Explanation;

    /// The next rows to evaluate; the same ones until their outputs are taken. `None` when there are none left.
    fn next_batch(&mut self) -> Option<Batch<'_>>;

    /// Takes the outputs of that batch, f32 or f64: row by row, each row's outputs in their order. After an error (no batch,
    /// another number of outputs, an output that isn't finite) the batch is still to be done.
    fn take<T: Copy + Into<f64>>(&mut self, outputs: &[T]) -> Result<(), Error>;

    /// Rows of all batches together, known in advance: it ends after so many.
    fn evaluations(&self) -> usize;

    /// Rows without whose outputs there is no estimate at all.
    fn needed(&self) -> usize;

    /// Rows whose outputs were taken.
    fn taken(&self) -> usize;

    /// What is known up to now. May be asked at any time, and again later; [`Error::TooEarly`] before
    /// [`needed`](Explainer::needed) rows.
    fn finish(&self) -> Result<Self::Explanation, Error>;
}

/// Why [`explain`] gave up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError<E> {
    /// The model failed on a batch.
    #[error("failed to run the model: {0}")]
    Model(E),
    /// Its outputs can't be explained, or time was up too early.
    #[error(transparent)]
    Explanation(#[from] Error),
}

/// Evaluates batch after batch as long as `time_left` says so, and gives what is known then.
///
/// `model` is called with rows and their number, and gives the outputs, row by row. `time_left` is asked before each batch;
/// batches that are needed for any estimate aren't begun without time either, so ask for more than that or handle
/// [`Error::TooEarly`].
pub fn explain<X, T, E>(
    explainer: &mut X,
    mut model: impl FnMut(&[f32], usize) -> Result<Vec<T>, E>,
    mut time_left: impl FnMut() -> bool,
) -> Result<X::Explanation, ExplainError<E>>
where
    X: Explainer,
    T: Copy + Into<f64>,
{
    while time_left() {
        let Some(batch) = explainer.next_batch() else {
            break;
        };
        let outputs = model(batch.rows, batch.count).map_err(ExplainError::Model)?;
        explainer.take(&outputs)?;
    }
    Ok(explainer.finish()?)
}
