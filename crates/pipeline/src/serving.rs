//! What serves, and what is tried beside it.

use crate::Sample;
use crate::decode::DecodeError;
use crate::decoding::Decoded;
use crate::pipeline::{Outcome, Pipeline, Processed};
use crate::stage::StageEvent;
use floorhand_bundle::{BundleName, Digest, Gates, Version};
use floorhand_plugin_host::Severity;
use floorhand_tensor::Tensor;
use std::collections::{BTreeMap, VecDeque};

mod together;

/// A generation that is loaded.
pub struct Loaded {
    /// The device's number for it.
    pub generation: u64,
    /// The bundle's name.
    pub name: BundleName,
    /// Its version.
    pub version: Version,
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

/// A message that is under way: its samples as each generation reads them, until [`Serving::next`] has taken them all.
#[derive(Debug, Default)]
pub struct Underway {
    active: Option<Read>,
    candidate: Option<Read>,
    /// Where the two found samples in different numbers: how often which of the active generation's is still to come.
    to_come: Option<BTreeMap<Identity, usize>>,
    /// Whether something of it couldn't be read by the active generation.
    active_unreadable: bool,
    answered: bool,
}

#[derive(Debug)]
struct Read {
    samples: VecDeque<Result<Sample, DecodeError>>,
    count: usize,
    events: Vec<StageEvent>,
}

/// By what two generations' samples of a message are told to be the same: id, key and time. None for what can't be read.
type Identity = Option<(String, Option<String>, u64)>;

fn identity(sample: &Result<Sample, DecodeError>) -> Identity {
    let sample = sample.as_ref().ok()?;
    Some((sample.id.clone(), sample.key.clone(), sample.time_ns))
}

/// A sample of a message as each of the two has it.
type Pair = (Option<Result<Sample, DecodeError>>, Option<Result<Sample, DecodeError>>);

impl Read {
    fn of(Decoded { samples, events }: Decoded) -> Self {
        Self {
            count: samples.len(),
            samples: samples.into(),
            events,
        }
    }
}

impl Underway {
    /// How many samples the generation that serves finds in it, what can't be read included; none if nothing serves.
    #[must_use]
    pub fn samples(&self) -> Option<usize> {
        self.active.as_ref().map(|read| read.count)
    }

    /// Whether there is a generation that takes it: the one that serves, or a candidate.
    #[must_use]
    pub const fn is_taken(&self) -> bool {
        self.active.is_some() || self.candidate.is_some()
    }

    /// Faults of the decoder of the generation that serves.
    pub fn take_events(&mut self) -> Vec<StageEvent> {
        self.active
            .as_mut()
            .map(|read| std::mem::take(&mut read.events))
            .unwrap_or_default()
    }

    /// Faults of the candidate's decoder.
    pub fn take_candidate_events(&mut self) -> Vec<StageEvent> {
        self.candidate
            .as_mut()
            .map(|read| std::mem::take(&mut read.events))
            .unwrap_or_default()
    }

    /// The next sample as both have it, or as one of them has it that the other hasn't.
    fn next_pair(&mut self) -> Pair {
        let next = |read: &mut Option<Read>| read.as_mut()?.samples.pop_front();
        let Some(to_come) = &mut self.to_come else {
            return (next(&mut self.active), next(&mut self.candidate));
        };
        let front = |read: &Option<Read>| read.as_ref()?.samples.front().map(identity);
        let (own, tried) = (front(&self.active), front(&self.candidate));
        let alike = own == tried;
        // The candidate's waits if the active generation has its like further behind.
        let alone = tried
            .as_ref()
            .is_none_or(|tried| to_come.get(tried).is_some_and(|&count| count > 0));
        let take_own = own.is_some() && (alike || alone);
        if let (true, Some(count)) = (take_own, own.and_then(|own| to_come.get_mut(&own))) {
            *count -= 1;
        }
        let own = if take_own { next(&mut self.active) } else { None };
        let tried = if alike || !take_own {
            next(&mut self.candidate)
        } else {
            None
        };
        (own, tried)
    }
}

/// What came of a sample: in the generation that serves, and in the candidate.
pub type Step = (Option<Served>, Option<Trial>);

/// Readies a generation that has run here to be dropped on another thread.
fn leaving(mut loaded: Loaded) -> Loaded {
    loaded.pipeline.leave_thread();
    loaded
}

/// The active generation and perhaps a candidate. What it gives back may be dropped on any thread, if it was asked where it ran.
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

    /// The candidate.
    #[must_use]
    pub fn candidate(&self) -> Option<&Loaded> {
        self.candidate.as_ref()
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
        self.active.replace(loaded).map(leaving)
    }

    /// Begins a trial.
    pub fn try_candidate(&mut self, candidate: Loaded) -> Option<Loaded> {
        self.candidate_runs = self.active.is_none();
        self.candidate.replace(candidate).map(leaving)
    }

    /// Makes the candidate the active generation, as it is: warm, its windows full. The one before is given back.
    pub fn promote(&mut self) -> Option<Loaded> {
        let candidate = self.candidate.take()?;
        self.active.replace(candidate).map(leaving)
    }

    /// Ends a trial.
    pub fn drop_candidate(&mut self) -> Option<Loaded> {
        self.candidate.take().map(leaving)
    }

    /// Reads a message. `decode` reads it as the generation that it is given takes it: two generations may take different
    /// fields of the same bytes, or one of them none at all, and each may have a decoder of its own.
    pub fn begin(&mut self, mut decode: impl FnMut(&mut Loaded) -> Decoded) -> Underway {
        let active = self.active.as_mut().map(|active| Read::of(decode(active)));
        let unreadable = |read: &Read| read.samples.iter().any(Result::is_err);
        let mut underway = Underway {
            active_unreadable: active.as_ref().is_some_and(unreadable),
            ..Underway::default()
        };
        if self.candidate_runs
            && let Some(candidate) = &mut self.candidate
        {
            let read = match (&active, &self.active) {
                (Some(read), Some(active)) if reads_alike(active, candidate) => Read {
                    samples: read.samples.clone(),
                    count: read.count,
                    events: Vec::new(),
                },
                _ => Read::of(decode(candidate)),
            };
            // Samples of two decoders are those of each other if there are as many.
            if let Some(active) = active.as_ref().filter(|active| active.count != read.count) {
                let mut to_come = BTreeMap::new();
                for sample in &active.samples {
                    *to_come.entry(identity(sample)).or_default() += 1;
                }
                underway.to_come = Some(to_come);
            }
            underway.candidate = Some(read);
        }
        underway.active = active;
        underway
    }

    /// Takes the next sample of a message through the active generation, and through the candidate. None when there is no
    /// more. `now_ms` is on a clock that only goes forward.
    ///
    /// A sample that only the active generation finds is one that the candidate failed on; one that only the candidate finds
    /// disagrees with what serves.
    pub fn next(&mut self, underway: &mut Underway, now_ms: u64) -> Option<Step> {
        let (own, tried) = underway.next_pair();
        if own.is_none() && tried.is_none() {
            self.begin_behind(underway);
            return None;
        }
        let served = self.active.as_mut().zip(own).map(|(active, sample)| {
            let processed = active.pipeline.process_decoded(&sample, now_ms);
            Served { sample, processed }
        });
        let answered = |served: &Served| !matches!(served.processed.outcome, Outcome::NotYet);
        underway.answered |= served.as_ref().is_some_and(answered);
        let trial = match (&mut self.candidate, tried) {
            (Some(candidate), Some(sample)) => {
                let processed = candidate.pipeline.process_decoded(&sample, now_ms);
                // Of what the active generation couldn't read nobody knows which samples they would have been.
                let knows = self.active.is_some() && !(served.is_none() && underway.active_unreadable);
                let beside = knows.then(|| served.as_ref().map(|served| &served.processed));
                let trial = judge(candidate, processed, beside);
                // What neither can read says nothing of the candidate, also where they find different numbers of samples.
                let neither = served.is_none() && sample.is_err() && underway.active_unreadable;
                Some(Trial {
                    counts: trial.counts && !neither,
                    ..trial
                })
            }
            (Some(candidate), None) if underway.candidate.is_some() => {
                let processed = candidate.pipeline.process_decoded(&Err(DecodeError::NotFound), now_ms);
                let trial = judge(
                    candidate,
                    processed,
                    Some(served.as_ref().map(|served| &served.processed)),
                );
                Some(trial)
            }
            _ => None,
        };
        Some((served, trial))
    }

    /// Notes that samples went by that no generation saw.
    pub fn miss(&mut self) {
        for loaded in self.active.iter_mut().chain(&mut self.candidate) {
            loaded.pipeline.miss();
        }
    }

    /// Lets the candidate run from the next message on, if the active generation has answered.
    fn begin_behind(&mut self, underway: &Underway) {
        self.begin_after(underway.answered);
    }

    fn begin_after(&mut self, answered: bool) {
        if self.candidate_runs || !answered {
            return;
        }
        self.candidate_runs = true;
        if let (Some(candidate), Some(active)) = (&mut self.candidate, &mut self.active) {
            candidate.pipeline.decode_on_from(&mut active.pipeline);
        }
    }
}

/// Whether two generations read the same samples of the same bytes. A decoder has a state of its own, which has to see every
/// message.
fn reads_alike(active: &Loaded, candidate: &Loaded) -> bool {
    let (active, candidate) = (&active.pipeline, &candidate.pipeline);
    active.inputs() == candidate.inputs() && !active.has_decoder() && !candidate.has_decoder()
}

/// `beside` is what the generation that serves made of the same sample: none if nothing serves, and nothing if it has no such
/// sample.
fn judge(candidate: &Loaded, processed: Processed, beside: Option<Option<&Processed>>) -> Trial {
    let failed = |processed: &Processed| matches!(processed.outcome, Outcome::Failed(_));
    let counts = !(failed(&processed) && beside.flatten().is_some_and(failed));
    let alarms = processed
        .findings
        .iter()
        .filter(|found| found.finding.severity == Severity::Alarm)
        .count() as u64;
    let disagreement = candidate.gates.disagreement.as_ref().and_then(|gate| {
        let Outcome::Result(ours) = &processed.outcome else {
            return None;
        };
        match beside?.map(|served| &served.outcome) {
            Some(Outcome::Result(theirs)) => Some(mean_difference(&gate.output, ours, theirs)),
            Some(_) => None,
            None => Some(f64::INFINITY),
        }
    });
    Trial {
        bundle: candidate.bundle,
        processed,
        counts,
        disagreement,
        alarms,
    }
}

/// The mean absolute difference of one output, texts that differ counting 1; infinite when one of the two doesn't have it or
/// they differ in kind or size.
fn mean_difference(output: &str, ours: &[Tensor], theirs: &[Tensor]) -> f64 {
    fn find<'t>(tensors: &'t [Tensor], output: &str) -> Option<&'t Tensor> {
        tensors.iter().find(|tensor| tensor.name() == output)
    }
    let (Some(ours), Some(theirs)) = (find(ours, output), find(theirs, output)) else {
        return f64::INFINITY;
    };
    if ours.len() != theirs.len() || ours.is_empty() {
        return f64::INFINITY;
    }
    let count = ours.len() as f64;
    if let (Ok(ours), Ok(theirs)) = (ours.elements(), theirs.elements()) {
        let differ = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs);
        return differ.count() as f64 / count;
    }
    match (ours.to_f64(), theirs.to_f64()) {
        (Ok(ours), Ok(theirs)) => {
            let differences = ours.iter().zip(&theirs).map(|(ours, theirs)| (ours - theirs).abs());
            differences.sum::<f64>() / count
        }
        _ => f64::INFINITY,
    }
}
