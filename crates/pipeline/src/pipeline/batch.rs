//! Several samples in one go: the model runs once for all of them.
//!
//! What comes of each is what [`Pipeline::process`] gives one by one, up to the rounding of an engine that runs a batch in
//! another way. Every stage sees the samples in their order: first all go through preprocessing, then through the model,
//! then each through postprocessing and past the monitors. What a stage behind the model misses is therefore told to it when
//! its turn comes, and not when it happened.

use super::{MISSING, OVERFLOW, finite};
use super::{Outcome, Pipeline, Processed, Seen};
use crate::Sample;
use crate::error::SampleError;
use crate::gaps::Missing;
use crate::stage::StageEvent;
use floorhand_plugin_host::Context;
use floorhand_tensor::Tensor;
use std::time::{Duration, Instant};

/// A sample on its way, beside others.
struct Row<'s> {
    sample: &'s Sample,
    sequence: u64,
    context: Context,
    events: Vec<StageEvent>,
    /// What it has cost so far.
    spent: Duration,
    seen: Seen,
    /// Preprocessing's stages that began anew with it.
    gaps: Vec<usize>,
    at: At,
}

/// How far a sample got.
enum At {
    /// Through preprocessing.
    Model,
    /// Through the model, with this answer.
    Behind(Vec<Tensor>),
    /// No further: a stage has no answer yet, or it failed.
    Ended(Result<(), SampleError>),
}

impl Row<'_> {
    fn features(&self) -> &[Tensor] {
        self.seen.features.as_deref().unwrap_or(&self.sample.tensors)
    }

    fn missing(&self) -> Missing<'_> {
        Missing::Of(self.sample.key.as_deref())
    }

    /// Counts the time of something towards what the sample costs.
    fn spends(&mut self, since: Instant) {
        self.spent += since.elapsed();
    }
}

impl Pipeline {
    /// Takes samples through every stage, in their order, and through the model together. What comes of each is what it
    /// would be one by one; its time is its own in the stages and its share in the model. `now_ms` as for
    /// [`process`](Self::process).
    pub fn process_many(&mut self, samples: &[Sample], now_ms: u64) -> Vec<Processed> {
        self.features.clear();
        if samples.len() < 2 || self.runs_one_by_one() {
            return samples.iter().map(|sample| self.process_one(sample, now_ms)).collect();
        }
        let mut rows: Vec<Row<'_>> = samples.iter().map(|sample| self.begin(sample)).collect();
        for row in &mut rows {
            self.go_to_model(row, now_ms);
        }
        self.infer_together(&mut rows);
        rows.into_iter().map(|row| self.go_on(row, now_ms)).collect()
    }

    /// Whether what one sample leaves in the model is what the next one finds there, so that it can't run for several at
    /// once.
    pub(super) const fn runs_one_by_one(&self) -> bool {
        self.state.is_some()
    }

    fn begin<'s>(&mut self, sample: &'s Sample) -> Row<'s> {
        let sequence = self.sequence;
        self.sequence += 1;
        Row {
            sample,
            sequence,
            context: sample.context(sequence),
            events: Vec::new(),
            spent: Duration::ZERO,
            seen: Seen::default(),
            gaps: Vec::new(),
            at: At::Model,
        }
    }

    /// Preprocessing. Its own stages learn at once what they miss.
    fn go_to_model(&mut self, row: &mut Row<'_>, now_ms: u64) {
        let started = Instant::now();
        for at in 0..self.preprocess.len() {
            let Some(stage) = self.preprocess.get_mut(at) else {
                break;
            };
            let given = row.seen.features.as_deref().unwrap_or(&row.sample.tensors);
            let answer = stage.process(&mut row.context, given, now_ms, &mut row.events);
            if row.context.gap {
                row.gaps.push(at);
            }
            if row.context.gap || answer.is_err() {
                let missing = row.missing();
                let behind = self.preprocess.iter_mut().skip(at + 1);
                behind.for_each(|stage| stage.miss(missing));
            }
            match answer {
                Ok(Some(outputs)) => row.seen.features = Some(outputs),
                Ok(None) => row.at = At::Ended(Ok(())),
                Err(error) => row.at = At::Ended(Err(error)),
            }
            if matches!(row.at, At::Ended(_)) {
                // What didn't get to the model isn't what it is given.
                row.seen.features = None;
                break;
            }
        }
        row.spends(started);
    }

    /// The model: once for all neighbours whose features have the same shapes, which are all unless a stage gives ever
    /// different ones.
    fn infer_together(&mut self, rows: &mut [Row<'_>]) {
        if !self.allow_nan {
            for row in rows.iter_mut().filter(|row| matches!(row.at, At::Model)) {
                if let Err(error) = finite("input", row.features(), MISSING) {
                    row.at = At::Ended(Err(error.with_field_of(row.sample, &self.inputs)));
                }
            }
        }
        let mut ready: Vec<&mut Row<'_>> = rows.iter_mut().filter(|row| matches!(row.at, At::Model)).collect();
        for group in ready.chunk_by_mut(|one, other| alike(one.features(), other.features())) {
            let started = Instant::now();
            let features: Vec<&[Tensor]> = group.iter().map(|row| row.features()).collect();
            let answers = match features.as_slice() {
                [alone] => vec![self.model.run(alone)],
                several => self.model.run_batch(several),
            };
            let share = started.elapsed() / u32::try_from(group.len()).unwrap_or(u32::MAX);
            let mut answers = answers.into_iter();
            for row in group {
                row.spent += share;
                row.at = match answers.next() {
                    Some(Ok(outputs)) => match self.checked(&outputs) {
                        Ok(()) => At::Behind(outputs),
                        Err(error) => At::Ended(Err(error)),
                    },
                    Some(Err(error)) => At::Ended(Err(SampleError::Model(error.to_string()))),
                    None => At::Ended(Err(SampleError::Model("the engine gave no answer".to_owned()))),
                };
            }
        }
    }

    fn checked(&self, outputs: &[Tensor]) -> Result<(), SampleError> {
        if self.allow_nan {
            return Ok(());
        }
        finite("output", outputs, OVERFLOW)
    }

    /// Postprocessing and monitors, which first learn what they miss.
    fn go_on(&mut self, mut row: Row<'_>, now_ms: u64) -> Processed {
        let started = Instant::now();
        let front = self.preprocess.len();
        for &at in &row.gaps {
            self.miss_behind(front, row.missing());
            self.pass_gap_on_to_monitors(at, row.missing());
        }
        let ended = match std::mem::replace(&mut row.at, At::Ended(Ok(()))) {
            At::Behind(outputs) => self.postprocess_row(&mut row, outputs, now_ms),
            // Not reached: a row that is ready has been to the model.
            At::Model => Ok(()),
            At::Ended(ended) => ended.inspect_err(|_| self.miss_behind(front, row.missing())),
        };
        let Row {
            sample,
            sequence,
            context,
            events,
            seen,
            ..
        } = &mut row;
        let findings = self.observe(sample, seen, context, now_ms, ended.is_err(), events);
        self.keep_features(*sequence, seen);
        let outputs = seen.outputs.take();
        let (sequence, events) = (*sequence, std::mem::take(events));
        row.spends(started);
        Processed {
            sequence,
            outcome: match ended {
                Ok(()) => outputs.map_or(Outcome::NotYet, Outcome::Result),
                Err(error) => Outcome::Failed(error),
            },
            findings,
            events,
            latency_us: u64::try_from(row.spent.as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn postprocess_row(&mut self, row: &mut Row<'_>, mut outputs: Vec<Tensor>, now_ms: u64) -> Result<(), SampleError> {
        let front = self.preprocess.len();
        let missing = Missing::Of(row.sample.key.as_deref());
        row.seen.prediction = self.predictions_seen.then(|| outputs.clone());
        for at in 0..self.postprocess.len() {
            let Some(stage) = self.postprocess.get_mut(at) else {
                break;
            };
            let answer = stage.process(&mut row.context, &outputs, now_ms, &mut row.events);
            if row.context.gap {
                self.miss_behind(front + at + 1, missing);
                self.pass_gap_on_to_monitors(front + at, missing);
            }
            let Some(next) = answer.inspect_err(|_| self.miss_behind(front + at + 1, missing))? else {
                return Ok(());
            };
            outputs = next;
        }
        row.seen.outputs = Some(outputs);
        Ok(())
    }
}

/// Whether two samples' tensors have the same shapes.
fn alike(one: &[Tensor], other: &[Tensor]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.shape() == other.shape())
}
