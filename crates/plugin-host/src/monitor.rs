//! Plugins of the world `monitor`: they watch tensors and report what they find.

use crate::guest::{Guest, shown, unanswered};
use crate::processor::check_input_bytes;
use crate::promise::{Field, check_batch, check_specs};
use crate::{CompiledPlugin, Context, PluginError, Setup, Telemetry, track_0_1};
use floorhand_tensor::{Tensor, TensorError, TensorSpec};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;

/// Tensors that a monitor may watch, at all origins together.
const MAX_WATCHES: usize = 64;

/// Findings of one sample. A monitor that has more to say about a single sample says the same thing often.
const MAX_FINDINGS: usize = 64;

/// Bytes of a sample's findings and of a call's, as they come from the plugin.
const MAX_ANSWER_BYTES: [u64; 2] = [256 << 10, 32 << 20];

/// Details of a finding; the rest is dropped.
const MAX_DETAILS: usize = 16;

/// Bytes of a detail's name and value; the rest is cut.
const MAX_DETAIL_BYTES: [usize; 2] = [64, 256];

/// Bytes of a finding's kind, subject and message; the rest is cut.
const MAX_TEXT_BYTES: [usize; 3] = [64, 256, 1024];

/// What a report on so many samples may take.
fn answer_bytes(samples: usize) -> u64 {
    let [sample, call] = MAX_ANSWER_BYTES;
    sample.saturating_mul(samples as u64).min(call)
}

/// Where in the pipeline a tensor is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// As decoded from the source.
    Input,
    /// As the last preprocessing stage gave it to the model.
    Features,
    /// As the model gave it.
    Prediction,
    /// As the last postprocessing stage gave it.
    Output,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 4] = [Self::Input, Self::Features, Self::Prediction, Self::Output];
}

/// Whether a finding lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is of one sample alone.
    Once,
    /// It begins, and lasts until one of the same kind, watch and subject is cleared.
    Raised,
    /// What was raised is over.
    Cleared,
}

/// A tensor that a monitor wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Where.
    pub origin: Origin,
    /// What.
    pub spec: TensorSpec,
    /// What the columns of its last dimension are called; empty if they have no names.
    pub fields: Vec<Field>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look.
    Warning,
    /// The results can't be relied on.
    Alarm,
}

/// Something a monitor has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What kind of thing, in kebab-case, e.g. `drift`.
    pub kind: String,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it lasts.
    pub phase: Phase,
    /// The watch that it is about; none if it is about the whole sample.
    pub watch: Option<u32>,
    /// What of the tensor, e.g. the field's name.
    pub subject: String,
    /// The statistic that was computed.
    pub value: Option<f64>,
    /// The limit that it was held against.
    pub threshold: Option<f64>,
    /// The unit of both in UCUM; empty if it isn't known.
    pub unit: String,
    /// For people.
    pub message: String,
    /// Further facts, by name.
    pub details: Vec<(String, String)>,
}

/// What became of a call, as the plugin says: findings and refusals by the sample's place in it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) findings: Vec<(u32, Finding)>,
    pub(crate) refusals: Vec<(u32, PluginError)>,
}

/// A monitor at work. Calls block, on the thread that makes them.
pub struct Monitor {
    guest: Guest<track_0_1::Monitor>,
}

impl Monitor {
    /// Instantiates and configures the plugin.
    pub fn start(plugin: &CompiledPlugin, setup: Setup) -> Result<Self, PluginError> {
        let check = |watches: &Vec<Watch>| {
            if !(1..=MAX_WATCHES).contains(&watches.len()) {
                return Err(PluginError::BadOutput {
                    function: "configure",
                    reason: format!("{} watches, not 1 to {MAX_WATCHES}", watches.len()),
                });
            }
            Origin::ALL.into_iter().try_for_each(|origin| {
                let seen = watches.iter().filter(|watch| watch.origin == origin);
                check_specs(seen.map(|watch| (&watch.spec, &watch.fields)))
            })
        };
        Ok(Self {
            guest: Guest::start(plugin, setup, check)?,
        })
    }

    /// The tensors that the plugin wants to see, in the order in which it wants them.
    #[must_use]
    pub fn watches(&self) -> &[Watch] {
        self.guest.promise()
    }

    /// Shows the plugin a sample: one tensor for each of its [watches](Self::watches), in their order, under the watch's
    /// name whatever its own is.
    ///
    /// Of the findings the first 64 are kept, and their texts are cut at 64 (kind), 256 (subject) and 1024 bytes
    /// (message). After an error whose [`is_trap`](PluginError::is_trap) is true the plugin is stopped until it is
    /// [restarted](Self::restart).
    pub fn observe<T: Borrow<Tensor>>(
        &mut self,
        context: &Context,
        tensors: &[T],
    ) -> Result<Vec<Finding>, PluginError> {
        let watches = self.guest.promise();
        let mut bytes = 0;
        for (k, watch) in watches.iter().enumerate() {
            let tensor = tensors
                .get(k)
                .map(Borrow::borrow)
                .ok_or_else(|| missing(watch, tensors))?;
            watch.spec.check(tensor)?;
            bytes += tensor.data().len() as u64;
        }
        check_input_bytes(bytes, self.guest.limits().input_bytes)?;
        let report = self
            .guest
            .sample("observe", 1, answer_bytes(1), |exports, store, watches| {
                exports.observe_one(store, context, tensors.iter().map(Borrow::borrow).take(watches.len()))
            })?;
        let mut samples = self.settle(1, report)?;
        samples.pop().unwrap_or(Ok(Vec::new()))
    }

    /// The most samples that the plugin takes in a call.
    #[must_use]
    pub const fn max_samples(&self) -> usize {
        self.guest.max_batch()
    }

    /// Shows the plugin several samples in one call, at most [`max_samples`](Self::max_samples). Each tensor has their number as first dimension, in
    /// front of the shape that is watched. The answer has an entry for each sample, as [`observe`](Self::observe) would
    /// give it.
    pub fn observe_batch<T: Borrow<Tensor>>(
        &mut self,
        contexts: &[Context],
        tensors: &[T],
    ) -> Result<Vec<Result<Vec<Finding>, PluginError>>, PluginError> {
        let samples = contexts.len();
        self.guest.check_samples(samples)?;
        let mut bytes = 0;
        for (k, watch) in self.guest.promise().iter().enumerate() {
            let tensor = tensors
                .get(k)
                .map(Borrow::borrow)
                .ok_or_else(|| missing(watch, tensors))?;
            check_batch(&watch.spec, samples, tensor)?;
            bytes += tensor.data().len() as u64;
        }
        check_input_bytes(bytes, self.guest.limits().input_bytes)?;
        let report = self
            .guest
            .sample("observe", samples, answer_bytes(samples), |exports, store, watches| {
                exports.observe(store, contexts, tensors.iter().map(Borrow::borrow).take(watches.len()))
            })?;
        self.settle(samples, report)
    }

    /// Gives each sample its findings. A report on samples that the call didn't have ends the instance.
    fn settle(
        &mut self,
        samples: usize,
        report: Report,
    ) -> Result<Vec<Result<Vec<Finding>, PluginError>>, PluginError> {
        let watches = self.watches().len();
        let mut places = unanswered::<Vec<Finding>>(samples);
        let mut dropped = 0;
        let settled = (|| {
            for (sample, error) in report.refusals {
                let place = place(&mut places, sample)?;
                if place.is_some() {
                    return Err(wrong(format!("it refuses sample {sample} of a call twice")));
                }
                *place = Some(Err(error));
            }
            let mut last = 0;
            for (sample, finding) in report.findings {
                if sample < last {
                    return Err(wrong("findings that aren't in the samples' order".to_owned()));
                }
                last = sample;
                check_watch(finding.watch, watches)?;
                match place(&mut places, sample)?.get_or_insert_with(|| Ok(Vec::new())) {
                    Ok(findings) if findings.len() < MAX_FINDINGS => findings.push(shorten(finding)),
                    // A sample that couldn't be looked at has none.
                    Ok(_) | Err(_) => dropped += 1,
                }
            }
            Ok(())
        })();
        self.guest.outlet().findings_dropped += dropped;
        if let Err(error) = settled {
            self.guest.stop();
            return Err(error);
        }
        Ok(places
            .into_iter()
            .map(|place| place.unwrap_or(Ok(Vec::new())))
            .collect())
    }

    /// The plugin's state, at most `state_bytes` of its limits. It is what a restart goes on from.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, PluginError> {
        self.guest.snapshot()
    }

    /// Puts the plugin into an earlier state, on a fresh instance if this one has seen a sample.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), PluginError> {
        self.guest.restore(state)
    }

    /// A fresh instance under the same configuration, in the state of the last snapshot if there is one.
    pub fn restart(&mut self) -> Result<(), PluginError> {
        self.guest.restart()
    }

    /// Whether the plugin can be called. False after a fault, until it is restarted.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.guest.is_running()
    }

    /// What the plugin reported since the last time this was asked, restarts included.
    pub fn take_telemetry(&mut self) -> Telemetry {
        self.guest.take_telemetry()
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("watches", &self.watches())
            .finish_non_exhaustive()
    }
}

const fn wrong(reason: String) -> PluginError {
    PluginError::BadOutput {
        function: "observe",
        reason,
    }
}

fn place<T>(places: &mut [Option<T>], sample: u32) -> Result<&mut Option<T>, PluginError> {
    let count = places.len();
    let found = usize::try_from(sample).ok().and_then(|sample| places.get_mut(sample));
    found.ok_or_else(|| wrong(format!("it reports on sample {sample} of a call with {count}")))
}

fn check_watch(watch: Option<u32>, watches: usize) -> Result<(), PluginError> {
    match watch.map(usize::try_from) {
        None => Ok(()),
        Some(Ok(watch)) if watch < watches => Ok(()),
        Some(_) => Err(wrong(format!(
            "a finding is about watch {}, and there are {watches}",
            watch.unwrap_or(0)
        ))),
    }
}

fn missing<T: Borrow<Tensor>>(watch: &Watch, tensors: &[T]) -> TensorError {
    let present = tensors.iter().map(|tensor| tensor.borrow().name().to_owned()).collect();
    TensorError::Missing {
        name: watch.spec.name.clone(),
        present,
    }
}

fn shorten(finding: Finding) -> Finding {
    let [kind, subject, message] = MAX_TEXT_BYTES;
    Finding {
        kind: shown(finding.kind, kind),
        subject: shown(finding.subject, subject),
        unit: shown(finding.unit, kind),
        message: shown(finding.message, message),
        details: finding
            .details
            .into_iter()
            .take(MAX_DETAILS)
            .map(shorten_detail)
            .collect(),
        ..finding
    }
}

fn shorten_detail((name, value): (String, String)) -> (String, String) {
    let [name_bytes, value_bytes] = MAX_DETAIL_BYTES;
    (shown(name, name_bytes), shown(value, value_bytes))
}
