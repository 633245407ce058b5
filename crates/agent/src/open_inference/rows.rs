//! A request's samples: one, or several in a batch, and their answers put together again.
//!
//! Pure: tensors in, tensors out. What a batch is follows from the bundle's inputs. A tensor whose first dimension is 1 has
//! its samples along that dimension, `[N, ...]`; any other has one more dimension in front of its own. That is what the
//! metadata shows, -1 where the samples are. A request may also have the tensors exactly as the bundle says: then it is one
//! sample, and its answer has the tensors as the pipeline gives them.

use floorhand_bundle::InputSpec;
use floorhand_open_inference::{Error, InferRequest};
use floorhand_tensor::{Dim, Signature, Tensor, TensorSpec};

/// Samples of one request, at most: what other sources wait behind, a few at a time.
pub(crate) const MAX_ROWS: usize = 4096;

/// How a request's samples lie in its tensors, and their answers in those that come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One sample as it is.
    Single,
    /// As the metadata shows it.
    Batch,
    /// A dimension more in front, also of tensors whose first is 1.
    InFront,
}

/// How a request's tensors are taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// How many samples there are.
    pub(crate) rows: usize,
    /// How they lie.
    pub(crate) layout: Layout,
}

/// Where a tensor has its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Along {
    /// Nowhere: it is one.
    Nothing,
    /// Its own first dimension, which is 1 in a sample.
    First,
    /// A dimension in front of its own.
    Front,
}

/// A tensor as metadata shows it.
pub(crate) fn shown(spec: &TensorSpec) -> TensorSpec {
    let own = if is_one(spec) { 1 } else { 0 };
    let rest = spec.shape.iter().skip(own).copied();
    let shape = std::iter::once(Dim::Any).chain(rest).collect();
    TensorSpec::new(&spec.name, spec.datatype, shape)
}

/// Whether a sample's tensor has 1 as its first dimension.
fn is_one(spec: &TensorSpec) -> bool {
    spec.shape.first() == Some(&Dim::Fixed(1))
}

/// Holds a request against what the pipeline takes and gives, and says how its samples lie.
pub(crate) fn plan(request: &InferRequest, inputs: &[InputSpec], outputs: &[TensorSpec]) -> Result<Plan, Error> {
    request.check_names(&Signature {
        inputs: inputs.iter().map(|input| shown(&input.tensor)).collect(),
        outputs: outputs.to_vec(),
    })?;
    let mut rows = None;
    let (mut exact, mut in_front) = (true, false);
    for InputSpec { tensor: spec, .. } in inputs {
        let Some(tensor) = request.inputs.iter().find(|tensor| tensor.name() == spec.name) else {
            continue;
        };
        let (along, count) = samples_of(tensor, spec)?;
        exact &= along == Along::Nothing;
        in_front |= along == Along::Front && is_one(spec);
        match rows {
            Some((_, before)) if before == count => {}
            Some((name, before)) => {
                let problem = format!("has {count} samples, and {name:?} has {before}");
                return Err(Error::input(tensor.name(), problem));
            }
            None => rows = Some((tensor.name(), count)),
        }
    }
    let rows = rows.map_or(1, |(_, count)| count);
    if rows > MAX_ROWS as u64 {
        let problem = format!("{rows} samples are more than {MAX_ROWS}: send them in several requests");
        return Err(Error::body(problem));
    }
    let layout = match (exact, in_front) {
        (true, _) => Layout::Single,
        (false, true) => Layout::InFront,
        (false, false) => Layout::Batch,
    };
    let rows = usize::try_from(rows).unwrap_or(MAX_ROWS);
    Ok(Plan { rows, layout })
}

/// Where a tensor has its samples, and how many.
fn samples_of(tensor: &Tensor, spec: &TensorSpec) -> Result<(Along, u64), Error> {
    let given = tensor.shape();
    let along = if given.len() == spec.shape.len() + 1 {
        Along::Front
    } else if is_one(spec) && given.len() == spec.shape.len() {
        Along::First
    } else {
        Along::Nothing
    };
    let Some(&count) = given.first().filter(|_| along != Along::Nothing) else {
        spec.check(tensor)?;
        return Ok((Along::Nothing, 1));
    };
    let own = if along == Along::First { 1 } else { 0 };
    let rest = spec.shape.iter().skip(own).copied();
    let wanted = TensorSpec::new(
        &spec.name,
        spec.datatype,
        std::iter::once(Dim::Any).chain(rest).collect(),
    );
    wanted.check(tensor)?;
    if count == 0 {
        return Err(Error::input(tensor.name(), "has no samples"));
    }
    Ok((along, count))
}

/// The tensors of each sample, in the order of the bundle's inputs. `plan` is the request's own.
pub(crate) fn split(request: &InferRequest, inputs: &[InputSpec], plan: Plan) -> Result<Vec<Vec<Tensor>>, Error> {
    let mut samples: Vec<Vec<Tensor>> = (0..plan.rows).map(|_| Vec::with_capacity(inputs.len())).collect();
    for InputSpec { tensor: spec, .. } in inputs {
        let Some(tensor) = request.inputs.iter().find(|tensor| tensor.name() == spec.name) else {
            continue;
        };
        let (along, _) = samples_of(tensor, spec)?;
        let parts = tensor.parts(plan.rows);
        for (row, sample) in samples.iter_mut().enumerate() {
            sample.push(match along {
                Along::Nothing => tensor.clone(),
                Along::First if plan.rows == 1 => tensor.clone(),
                Along::Front => tensor.part(&parts, row)?,
                Along::First => with_one_in_front(tensor.part(&parts, row)?)?,
            });
        }
    }
    Ok(samples)
}

fn with_one_in_front(tensor: Tensor) -> Result<Tensor, Error> {
    let (name, datatype, mut shape, data) = tensor.into_parts();
    shape.insert(0, 1);
    Ok(Tensor::new(name, datatype, shape, data)?)
}

/// The answers of all samples as one, in the layout of the request. `outputs` is what the pipeline gives.
pub(crate) fn join(answers: Vec<Vec<Tensor>>, outputs: &[TensorSpec], layout: Layout) -> Result<Vec<Tensor>, Error> {
    if layout == Layout::Single {
        return Ok(answers.into_iter().next().unwrap_or_default());
    }
    let count = answers.len() as u64;
    let mut joined: Vec<(Tensor, Vec<u8>)> = Vec::new();
    for (row, answer) in answers.into_iter().enumerate() {
        for (at, tensor) in answer.into_iter().enumerate() {
            match joined.get_mut(at) {
                None => joined.push((tensor, Vec::new())),
                Some((first, rest)) => {
                    if (first.name(), first.datatype(), first.shape())
                        != (tensor.name(), tensor.datatype(), tensor.shape())
                    {
                        let problem = format!(
                            "output {:?} has shape {:?}, and that of row 0 {:?}: send samples like these one by one",
                            tensor.name(),
                            tensor.shape(),
                            first.shape()
                        );
                        return Err(Error::Sample {
                            row: Some(row),
                            problem,
                            refused: true,
                        });
                    }
                    rest.extend_from_slice(tensor.data());
                }
            }
        }
    }
    let whole = |(first, rest): (Tensor, Vec<u8>)| {
        let spec = outputs.iter().find(|spec| spec.name == first.name());
        let (name, datatype, mut shape, mut data) = first.into_parts();
        data.extend(rest);
        match shape.first_mut() {
            Some(size) if layout == Layout::Batch && spec.is_some_and(is_one) => *size = count,
            _ => shape.insert(0, count),
        }
        Ok(Tensor::new(name, datatype, shape, data)?)
    };
    joined.into_iter().map(whole).collect()
}

#[cfg(test)]
mod tests;
