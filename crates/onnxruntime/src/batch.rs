//! Several samples in one run.

use floorhand_inference::together::COMPARED;
use floorhand_tensor::Tensor;

/// The most bytes of one input of a batch: what a single tensor may have.
const MAX_BYTES: usize = 128 << 20;

/// Whether a model takes several samples as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batches {
    /// Its shapes have room for them; nobody has asked yet.
    Possible,
    /// It has answered some as it answers each; so many rows are still to be compared.
    Unproven(usize),
    /// It answers several as it answers each.
    Proven,
    /// It takes one at a time.
    Never,
}

impl Batches {
    pub(crate) const fn of(possible: bool) -> Self {
        if possible { Self::Possible } else { Self::Never }
    }

    pub(crate) const fn unproven() -> Self {
        Self::Unproven(COMPARED)
    }

    pub(crate) const fn possible(self) -> bool {
        !matches!(self, Self::Never)
    }

    /// Notes that so many rows were answered as one by one, or weren't.
    pub(crate) const fn compared(&mut self, rows: usize, agree: bool) {
        *self = match *self {
            Self::Unproven(left) if agree && rows < left => Self::Unproven(left - rows),
            Self::Never => Self::Never,
            _ if agree => Self::Proven,
            _ => Self::Never,
        };
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
