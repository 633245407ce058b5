//! Plugins of the world `monitor`: they watch tensors and report what they find.

use crate::guest::{Guest, cut};
use crate::processor::{check_input_bytes, check_promise};
use crate::{CompiledPlugin, Context, PluginError, Setup, Telemetry, track_0_1};
use floorhand_tensor::{Tensor, TensorError, TensorSpec};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;

/// Findings of one sample. A monitor that has more to say about a single sample says the same thing often.
const MAX_FINDINGS: usize = 64;

/// Bytes of all texts of one sample's findings, as they come from the plugin.
const MAX_ANSWER_BYTES: u64 = 256 << 10;

/// Bytes of a finding's kind, subject and message; the rest is cut.
const MAX_TEXT_BYTES: [usize; 3] = [64, 256, 1024];

/// Where in the pipeline a tensor is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// As decoded from the source.
    Input,
    /// As the last preprocessing stage gave it to the model.
    Features,
    /// As the last postprocessing stage gave it.
    Output,
}

/// A tensor that a monitor wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Where.
    pub origin: Origin,
    /// What.
    pub spec: TensorSpec,
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
    /// What it is about, e.g. the feature's name.
    pub subject: String,
    /// The statistic that was computed.
    pub value: f64,
    /// The limit that it was held against.
    pub threshold: f64,
    /// For people.
    pub message: String,
}

/// A monitor at work. Calls block, on the thread that makes them.
pub struct Monitor {
    guest: Guest<track_0_1::Monitor>,
}

impl Monitor {
    /// Instantiates and configures the plugin.
    pub fn start(plugin: &CompiledPlugin, setup: Setup) -> Result<Self, PluginError> {
        let check = |watches: &Vec<Watch>| {
            [Origin::Input, Origin::Features, Origin::Output]
                .into_iter()
                .try_for_each(|origin| {
                    let seen = watches.iter().filter(|watch| watch.origin == origin);
                    check_promise(&seen.map(|watch| watch.spec.clone()).collect::<Vec<_>>())
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
    pub fn observe<T: Borrow<Tensor>>(&mut self, context: Context, tensors: &[T]) -> Result<Vec<Finding>, PluginError> {
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
        let mut findings = self
            .guest
            .sample("observe", MAX_ANSWER_BYTES, |exports, store, watches| {
                let names = watches.iter().map(|watch| watch.spec.name.as_str());
                exports.observe(store, context, names.zip(tensors.iter().map(Borrow::borrow)))
            })?;
        self.guest.outlet().findings_dropped += findings.len().saturating_sub(MAX_FINDINGS) as u64;
        findings.truncate(MAX_FINDINGS);
        Ok(findings.into_iter().map(shorten).collect())
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
        kind: cut(finding.kind, kind),
        subject: cut(finding.subject, subject),
        message: cut(finding.message, message),
        ..finding
    }
}
