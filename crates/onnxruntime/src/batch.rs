//! Several samples in one run.

use floorhand_tensor::Tensor;
use floorhand_tensor::compare::largest_difference;

/// How far a batch's answers may be from those of its samples one by one: rounding, in another order of additions.
const TOLERANCE: f64 = 1e-5;
/// The most bytes of one input of a batch: what a single tensor may have.
const MAX_BYTES: usize = 128 << 20;

/// Whether a model takes several samples as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batches {
    /// Its shapes have room for them; whether it keeps them apart isn't known.
    Unproven,
    /// It has answered a batch as it answers the samples.
    Proven,
    /// It takes one at a time.
    Never,
}

impl Batches {
    pub(crate) const fn of(possible: bool) -> Self {
        if possible { Self::Unproven } else { Self::Never }
    }

    pub(crate) const fn possible(self) -> bool {
        !matches!(self, Self::Never)
    }

    pub(crate) const fn unproven(self) -> bool {
        matches!(self, Self::Unproven)
    }

    pub(crate) const fn judge(&mut self, agree: bool) {
        *self = if agree { Self::Proven } else { Self::Never };
    }
}

/// Each input of all samples, one behind the other along the first dimension. None if that would be too large.
pub(crate) fn join(samples: &[Vec<&Tensor>]) -> Option<Vec<Tensor>> {
    let first = samples.first()?;
    let inputs = first.iter().enumerate().map(|(place, like)| {
        let parts = samples.iter().map(|sample| sample.get(place));
        let parts = parts.collect::<Option<Vec<_>>>()?;
        let bytes: usize = parts.iter().map(|part| part.data().len()).sum();
        if bytes > MAX_BYTES {
            return None;
        }
        let mut data = Vec::with_capacity(bytes);
        parts.iter().for_each(|part| data.extend_from_slice(part.data()));
        let mut shape = like.shape().to_vec();
        *shape.first_mut()? *= samples.len() as u64;
        Tensor::new(like.name(), like.datatype(), shape, data).ok()
    });
    inputs.collect()
}

/// The answer to each sample. None where an output has no part for each.
pub(crate) fn split(whole: &[Tensor], count: usize) -> Option<Vec<Vec<Tensor>>> {
    let parts: Vec<_> = whole.iter().map(|output| output.parts(count)).collect();
    let sample = |index: usize| {
        let outputs = whole.iter().zip(&parts).map(|(output, parts)| {
            if *output.shape().first()? != count as u64 {
                return None;
            }
            let (name, datatype, rest, data) = output.part(parts, index).ok()?.into_parts();
            let shape = std::iter::once(1).chain(rest).collect();
            Tensor::new(name, datatype, shape, data).ok()
        });
        outputs.collect::<Option<Vec<_>>>()
    };
    (0..count).map(sample).collect()
}

/// Whether two answers are the same up to rounding.
pub(crate) fn agree(batch: &[Tensor], alone: &[Tensor]) -> bool {
    batch.len() == alone.len()
        && batch.iter().zip(alone).all(|(batch, alone)| {
            let alike = batch.shape() == alone.shape() && batch.datatype() == alone.datatype();
            let numbers = || largest_difference(alone, batch).is_ok_and(|difference| difference <= TOLERANCE);
            alike && (batch.data() == alone.data() || numbers())
        })
}
