//! Samples that come together, as the requests of a service do: they are taken through each generation in one go.

use super::{Loaded, Served, Serving, Step, Trial, judge};
use crate::Sample;
use crate::decode::DecodeError;
use crate::pipeline::{Outcome, Processed};

impl Serving {
    /// Takes samples through the active generation and through the candidate, as [`begin`](Self::begin) and
    /// [`next`](Self::next) take them out of messages; decoders have no part in it. Gives what came of each, in their order.
    /// `now_ms` is on a clock that only goes forward.
    ///
    /// The samples are as the active generation takes them, or the candidate if none serves. What a candidate can't take of
    /// them it fails on.
    pub fn process_many(&mut self, samples: Vec<Sample>, now_ms: u64) -> Vec<Step> {
        let answers = self
            .active
            .as_mut()
            .map(|active| active.pipeline.process_many(&samples, now_ms));
        let mut trials = match &mut self.candidate {
            Some(candidate) if self.candidate_runs => tried(candidate, &samples, answers.as_deref(), now_ms),
            _ => Vec::new(),
        }
        .into_iter();
        let answered = |one: &Processed| !matches!(one.outcome, Outcome::NotYet);
        let has_answered = answers.as_ref().is_some_and(|answers| answers.iter().any(answered));
        let mut answers = answers.map(Vec::into_iter);
        let steps = samples.into_iter().map(|sample| {
            let processed = answers.as_mut().and_then(Iterator::next);
            let served = processed.map(|processed| Served {
                sample: Ok(sample),
                processed,
            });
            (served, trials.next())
        });
        let steps = steps.collect();
        self.begin_after(has_answered);
        steps
    }
}

/// What a candidate makes of samples; `beside` is what the generation that serves made of them.
fn tried(candidate: &mut Loaded, samples: &[Sample], beside: Option<&[Processed]>, now_ms: u64) -> Vec<Trial> {
    let read: Vec<Result<Sample, DecodeError>> = samples.iter().map(|sample| as_taken_by(candidate, sample)).collect();
    let taken: Option<Vec<Sample>> = read.iter().map(|sample| sample.as_ref().ok().cloned()).collect();
    let processed = match taken {
        Some(samples) => candidate.pipeline.process_many(&samples, now_ms),
        None => {
            let read = read.iter();
            read.map(|sample| candidate.pipeline.process_decoded(sample, now_ms))
                .collect()
        }
    };
    let processed = processed.into_iter().enumerate();
    processed
        .map(|(at, processed)| judge(candidate, processed, beside.map(|served| served.get(at))))
        .collect()
}

/// A sample as a generation takes it, which may be another than the one that it was made for.
fn as_taken_by(loaded: &Loaded, sample: &Sample) -> Result<Sample, DecodeError> {
    let tensors = loaded.pipeline.inputs().iter().map(|input| {
        let spec = &input.tensor;
        let found = sample.tensors.iter().find(|tensor| tensor.name() == spec.name);
        let tensor = found.ok_or_else(|| {
            let names: Vec<&str> = sample.tensors.iter().map(|tensor| tensor.name()).collect();
            DecodeError::Missing {
                field: spec.name.clone(),
                present: names.join(", "),
            }
        })?;
        spec.check(tensor)?;
        Ok(tensor.clone())
    });
    Ok(Sample {
        tensors: tensors.collect::<Result<_, DecodeError>>()?,
        ..sample.clone()
    })
}
