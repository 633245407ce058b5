//! What a bundle has to answer before it may serve, and what it has to show before it is committed.

use crate::names::ComponentName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Golden cases: inputs whose answers are known. `pack` runs them, and every device runs them again with the engine,
/// target and CPU features it will serve with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// The component that holds them, one JSON object a line.
    pub component: ComponentName,
    /// How many there are; a device that counts others refuses the bundle.
    pub cases: u64,
    /// How far an answer may be off: `|expected - actual| / max(1, |expected|)`. NaN is always too far.
    pub tolerance: f64,
    /// Tolerances of outputs that differ from `tolerance`.
    #[serde(default)]
    pub tolerances: BTreeMap<String, f64>,
}

impl Golden {
    /// The tolerance of an output.
    #[must_use]
    pub fn tolerance_of(&self, output: &str) -> f64 {
        self.tolerances.get(output).copied().unwrap_or(self.tolerance)
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.cases == 0 {
            return Err("it has no golden cases");
        }
        // Written so that NaN is refused too.
        let fine = |tolerance: &f64| *tolerance >= 0.0 && *tolerance < 1.0;
        if !fine(&self.tolerance) || !self.tolerances.values().all(fine) {
            return Err("a golden tolerance is not between 0 and 1");
        }
        Ok(())
    }
}

/// What a bundle has to show in its trial. A trial commits only after `samples` samples went through every gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    /// Samples to be seen before a trial is over. Silence never passes.
    pub samples: u64,
    /// The share of samples that may fail, 0 to 1.
    pub max_error_rate: f64,
    /// The 99th percentile of a sample's way through the pipeline, in milliseconds.
    pub latency_p99_ms: u64,
    /// How long a trial may last in seconds, whatever it has seen by then. Over it, it has failed.
    pub timeout_s: u64,
    /// How often a trial may be started before the bundle has failed; a power cut in a trial is a failed try.
    pub tries: u32,
    /// A bound on how far its answers may be from those of the running generation, on the same samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<Disagreement>,
    /// A bound on what its monitors may find.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<FindingsGate>,
}

/// A bound on the mean absolute difference of one output between the candidate and the running generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disagreement {
    /// The output.
    pub output: String,
    /// The most that the mean over all samples and elements may be, in the output's unit.
    pub max_mean: f64,
}

/// A bound on what a candidate's monitors may find during its trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingsGate {
    /// The most findings of severity alarm.
    pub max_alarms: u64,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            samples: 200,
            max_error_rate: 0.01,
            latency_p99_ms: 50,
            timeout_s: 3600,
            tries: 2,
            disagreement: None,
            findings: None,
        }
    }
}

impl Gates {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.samples == 0 {
            return Err("gates.samples is 0: a trial that sees nothing shows nothing");
        }
        if !(0.0..=1.0).contains(&self.max_error_rate) {
            return Err("gates.max_error_rate is not between 0 and 1");
        }
        if self.tries == 0 || self.timeout_s == 0 || self.latency_p99_ms == 0 {
            return Err("gates.tries, gates.timeout_s and gates.latency_p99_ms have to be above 0");
        }
        if self
            .disagreement
            .as_ref()
            .is_some_and(|gate| gate.max_mean.is_nan() || gate.max_mean < 0.0)
        {
            return Err("gates.disagreement.max_mean is not a number from 0 up");
        }
        Ok(())
    }
}
