//! What serves, and what is tried beside it.

use crate::Sample;
use crate::decode::DecodeError;
use crate::decoding::Decoded;
use crate::pipeline::{Outcome, Pipeline, Processed};
use crate::stage::StageEvent;
use floorhand_bundle::{Digest, Gates};
use floorhand_plugin_host::Severity;
use floorhand_tensor::Tensor;

/// A generation that is loaded.
pub struct Loaded {
    /// The device's number for it.
    pub generation: u64,
    /// The bundle's digest.
    pub bundle: Digest,
    /// Its gates.
    pub gates: Gates,
    /// Its stages.
    pub pipeline: Pipeline,
}

/// What the active generation made of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// The sample as it reads it.
    pub sample: Result<Sample, DecodeError>,
    /// All that came of it.
    pub processed: Processed,
}

/// What a candidate made of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The candidate's bundle.
    pub bundle: Digest,
    /// All that came of the sample. Its outcome goes to nobody.
    pub processed: Processed,
    /// Whether the sample says anything about the candidate. One on which both failed doesn't: it is neither for nor
    /// against it.
    pub counts: bool,
    /// The mean absolute difference of the output that its disagreement gate names.
    pub disagreement: Option<f64>,
    /// Findings of severity alarm.
    pub alarms: u64,
}

/// What a generation made of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Passed<T> {
    /// Of each of its samples, in their order, and of what couldn't be read.
    pub samples: Vec<T>,
    /// Faults of the decoder.
    pub events: Vec<StageEvent>,
}

/// The active generation and perhaps a candidate.
#[derive(Default)]
pub struct Serving {
    active: Option<Loaded>,
    candidate: Option<Loaded>,
    /// Whether the candidate gets samples. It begins behind an answer of the active one, so that windows of the two begin
    /// with the same sample; a failure is an answer too, or what fails always could never be replaced.
    candidate_runs: bool,
}

impl Serving {
    /// The generation that serves.
    #[must_use]
    pub fn active(&self) -> Option<&Loaded> {
        self.active.as_ref()
    }

    /// The generation that serves, to take its telemetry.
    pub fn active_mut(&mut self) -> Option<&mut Loaded> {
        self.active.as_mut()
    }

    /// The candidate, to take its telemetry.
    pub fn candidate_mut(&mut self) -> Option<&mut Loaded> {
        self.candidate.as_mut()
    }

    /// Puts a generation in the place of the active one, which is given back to be dropped where that may take time.
    pub fn activate(&mut self, mut loaded: Loaded) -> Option<Loaded> {
        if let Some(active) = &mut self.active {
            loaded.pipeline.decode_on_from(&mut active.pipeline);
        }
        self.active.replace(loaded)
    }

    /// Begins a trial.
    pub fn try_candidate(&mut self, candidate: Loaded) -> Option<Loaded> {
        self.candidate_runs = self.active.is_none();
        self.candidate.replace(candidate)
    }

    /// Makes the candidate the active generation, as it is: warm, its windows full. The one before is given back.
    pub fn promote(&mut self) -> Option<Loaded> {
        let candidate = self.candidate.take()?;
        self.active.replace(candidate)
    }

    /// Ends a trial.
    pub fn drop_candidate(&mut self) -> Option<Loaded> {
        self.candidate.take()
    }

    /// Takes a message through the active generation, and through the candidate. `decode` reads it as the one that it is
    /// given takes it: two generations may take different fields of the same bytes, or one of them none at all, and each may
    /// have a decoder of its own.
    pub fn process(
        &mut self,
        mut decode: impl FnMut(&mut Loaded) -> Decoded,
        now_ms: u64,
    ) -> (Option<Passed<Served>>, Option<Passed<Trial>>) {
        let served = self.active.as_mut().map(|active| {
            let Decoded { samples, events } = decode(active);
            let serve = |sample| {
                let processed = active.pipeline.process_decoded(&sample, now_ms);
                Served { sample, processed }
            };
            let samples = samples.into_iter().map(serve).collect();
            Passed { samples, events }
        });
        let trial = if self.candidate_runs {
            self.try_on(served.as_ref(), decode, now_ms)
        } else {
            self.begin_behind(served.as_ref());
            None
        };
        (served, trial)
    }

    /// Lets the candidate run from the next message on, if the active generation has answered.
    fn begin_behind(&mut self, served: Option<&Passed<Served>>) {
        let answered = |served: &Served| !matches!(served.processed.outcome, Outcome::NotYet);
        self.candidate_runs = served.is_some_and(|served| served.samples.iter().any(answered));
        if let (true, Some(candidate), Some(active)) = (self.candidate_runs, &mut self.candidate, &mut self.active) {
            candidate.pipeline.decode_on_from(&mut active.pipeline);
        }
    }

    fn try_on(
        &mut self,
        served: Option<&Passed<Served>>,
        mut decode: impl FnMut(&mut Loaded) -> Decoded,
        now_ms: u64,
    ) -> Option<Passed<Trial>> {
        let candidate = self.candidate.as_mut()?;
        let alike = |active: &Loaded| {
            let (active, candidate) = (&active.pipeline, &candidate.pipeline);
            // A decoder has a state of its own, which has to see every message.
            active.inputs() == candidate.inputs() && !active.has_decoder() && !candidate.has_decoder()
        };
        let Decoded { samples, events } = match served {
            Some(served) if self.active.as_ref().is_some_and(alike) => Decoded {
                samples: served.samples.iter().map(|served| served.sample.clone()).collect(),
                events: Vec::new(),
            },
            _ => decode(candidate),
        };
        // Samples of two decoders are those of each other if there are as many.
        let partners = served.map(|served| served.samples.as_slice());
        let partners = partners
            .filter(|partners| partners.len() == samples.len())
            .unwrap_or_default();
        let samples = samples.into_iter().enumerate().map(|(index, sample)| {
            let processed = candidate.pipeline.process_decoded(&sample, now_ms);
            judge(
                candidate,
                processed,
                partners.get(index).map(|partner| &partner.processed),
            )
        });
        let samples = samples.collect();
        Some(Passed { samples, events })
    }
}

fn judge(candidate: &Loaded, processed: Processed, served: Option<&Processed>) -> Trial {
    let failed = |processed: &Processed| matches!(processed.outcome, Outcome::Failed(_));
    let counts = !(failed(&processed) && served.is_some_and(failed));
    let alarms = processed
        .findings
        .iter()
        .filter(|found| found.finding.severity == Severity::Alarm)
        .count() as u64;
    let disagreement = candidate.gates.disagreement.as_ref().and_then(|gate| {
        let Outcome::Result(ours) = &processed.outcome else {
            return None;
        };
        let Some(Outcome::Result(theirs)) = served.map(|served| &served.outcome) else {
            return None;
        };
        Some(mean_difference(&gate.output, ours, theirs))
    });
    Trial {
        bundle: candidate.bundle,
        processed,
        counts,
        disagreement,
        alarms,
    }
}

/// The mean absolute difference of one output; infinite when one of the two doesn't have it or they differ in size.
fn mean_difference(output: &str, ours: &[Tensor], theirs: &[Tensor]) -> f64 {
    let values = |tensors: &[Tensor]| tensors.iter().find(|tensor| tensor.name() == output)?.to_f64().ok();
    match (values(ours), values(theirs)) {
        (Some(ours), Some(theirs)) if ours.len() == theirs.len() && !ours.is_empty() => {
            let sum: f64 = ours
                .iter()
                .zip(&theirs)
                .map(|(ours, theirs)| (ours - theirs).abs())
                .sum();
            sum / ours.len() as f64
        }
        _ => f64::INFINITY,
    }
}
