//! Several samples in one call: tensors with the number of samples as first dimension, taken apart and put together.
//!
//! One sample, which is what a device's pipeline gives, is never copied for it.

use crate::{Answer, Error, Tensor, TensorSpec};

/// What all that belongs to a call may have together: half of what there is by default, in a memory of 16 MiB in which some stands
/// twice.
const MAX_BYTES: u64 = 4 << 20;

/// Elements that dimensions of any size are taken to have together.
const ANY_SIZE: u64 = 1024;

/// The most samples that the host may put into a call.
const MAX_SAMPLES: u64 = 1024;

/// How often tensors of these specs, and so many bytes beside them, have room in a call.
pub(crate) fn most<'s>(bytes: u64, times: u64, specs: impl IntoIterator<Item = &'s TensorSpec>) -> u32 {
    let size = |spec: &TensorSpec| {
        let sizes = spec.shape.iter().filter_map(|&size| u64::try_from(size).ok());
        let known = sizes.fold(spec.datatype.size().max(1) as u64, u64::saturating_mul);
        let is_known = spec.shape.iter().all(|&size| size >= 0);
        known.saturating_mul(if is_known { 1 } else { ANY_SIZE })
    };
    let tensors = specs.into_iter().map(size).fold(bytes, u64::saturating_add);
    let most = MAX_BYTES / tensors.saturating_mul(times).max(1);
    u32::try_from(most.clamp(1, MAX_SAMPLES)).unwrap_or(1)
}

/// The tensors of each sample of a call, in order. `samples` is their number.
pub(crate) fn split(samples: usize, tensors: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>, Error> {
    for tensor in &tensors {
        if tensor.shape.first() != Some(&(samples as u64)) {
            return Err(Error::BadInput(format!(
                "tensor {:?} has shape {:?}, and its first dimension has to be the number of samples, {samples}",
                tensor.name, tensor.shape
            )));
        }
        tensor.check_length()?;
    }
    if samples == 1 {
        return Ok(vec![tensors.into_iter().map(without_first).collect()]);
    }
    let sample = |index: usize| tensors.iter().map(|tensor| slice(tensor, index, samples)).collect();
    Ok((0..samples).map(sample).collect())
}

/// Adds the outputs of a sample to the answers of a call: to the last one where they look the same.
pub(crate) fn join(answers: &mut Vec<Answer>, index: u32, outputs: Vec<Tensor>) {
    if let Some(last) = answers.last_mut()
        && fits(last, &outputs)
    {
        last.indices.push(index);
        for (tensor, output) in last.tensors.iter_mut().zip(outputs) {
            if let Some(first) = tensor.shape.first_mut() {
                *first += 1;
            }
            tensor.data.extend(output.data);
        }
        return;
    }
    answers.push(Answer {
        indices: vec![index],
        tensors: outputs.into_iter().map(with_first).collect(),
    });
}

fn without_first(mut tensor: Tensor) -> Tensor {
    tensor.shape.remove(0);
    tensor
}

fn with_first(mut tensor: Tensor) -> Tensor {
    tensor.shape.insert(0, 1);
    tensor
}

fn slice(tensor: &Tensor, index: usize, samples: usize) -> Tensor {
    let bytes = tensor.data.len() / samples;
    let data = tensor.data.get(index * bytes..(index + 1) * bytes).unwrap_or_default();
    Tensor {
        name: tensor.name.clone(),
        datatype: tensor.datatype,
        shape: tensor.shape.iter().skip(1).copied().collect(),
        data: data.to_vec(),
    }
}

fn fits(answer: &Answer, outputs: &[Tensor]) -> bool {
    answer.tensors.len() == outputs.len()
        && answer.tensors.iter().zip(outputs).all(|(tensor, output)| {
            tensor.name == output.name
                && tensor.datatype == output.datatype
                && tensor.shape.get(1..) == Some(output.shape.as_slice())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Datatype;

    #[test]
    fn a_call_holds_as_many_samples_as_have_room() {
        let spec = |shape: &[i64]| TensorSpec::new("x", Datatype::Fp32, shape.to_vec());
        assert_eq!(most(0, 1, &[spec(&[1, 8])]), 1024);
        assert_eq!(most(0, 1, &[spec(&[3, 224, 224]), spec(&[3, 224, 224])]), 3);
        assert_eq!(most(0, 1, &[spec(&[-1, -1])]), 1024);
        assert_eq!(most(0, 1, &[spec(&[-1, 64])]), 16);
        assert_eq!(most(600, 4096, &[spec(&[1, 8])]), 1);
        assert_eq!(most(0, 1, &[spec(&[i64::MAX])]), 1);
    }

    fn tensor(shape: &[u64], values: &[f32]) -> Tensor {
        Tensor::from_f32("x", shape.to_vec(), values)
    }

    #[test]
    fn samples_are_taken_apart_and_put_together() {
        let batch = tensor(&[3, 1, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let samples = split(3, vec![batch.clone()]).unwrap();
        assert_eq!(samples[1], [tensor(&[1, 2], &[3.0, 4.0])]);
        let mut answers = Vec::new();
        for (index, outputs) in (0..).zip(samples) {
            join(&mut answers, index, outputs);
        }
        assert_eq!(
            answers,
            [Answer {
                indices: vec![0, 1, 2],
                tensors: vec![batch]
            }]
        );
    }

    #[test]
    fn outputs_of_another_shape_stand_in_another_answer() {
        let mut answers = Vec::new();
        join(&mut answers, 0, vec![tensor(&[1], &[1.0])]);
        join(&mut answers, 2, vec![tensor(&[2], &[2.0, 3.0])]);
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[1].indices, [2]);
        assert_eq!(answers[1].tensors[0].shape, [1, 2]);
    }

    #[test]
    fn one_sample_is_not_copied() {
        let batch = tensor(&[1, 2], &[1.0, 2.0]);
        let place = batch.data.as_ptr();
        let samples = split(1, vec![batch]).unwrap();
        assert_eq!(samples[0][0].data.as_ptr(), place);
        assert_eq!(samples[0][0].shape, [2]);
    }

    #[test]
    fn tensors_without_the_samples_are_refused() {
        for (shape, values) in [(&[][..], &[1.0][..]), (&[3], &[1.0; 3]), (&[2, 2], &[1.0; 3])] {
            assert!(split(2, vec![tensor(shape, values)]).is_err(), "{shape:?}");
        }
    }
}
