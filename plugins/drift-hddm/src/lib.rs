//! `drift-hddm`: whether a share has changed, by the bounds of Hoeffding (variant `a`) or McDiarmid (variant `w`).
//!
//! What is watched is a model's errors, as a column of a tensor or by holding predictions against the truth, or any value
//! from 0 to 1. A field that is about to change is a warning, one that has is an alarm, and the detector begins anew.
//! README.md has the configuration and what to expect of false alarms, [`floorhand_statistics::hddm`] the formulas.

mod detector;

use crate::detector::Detector;
use floorhand_plugin_sdk::{
    Assets, Columns, Context, Datatype, Detail, Error, ErrorColumns, Finding, KeyState, Keyed, MaxKeys, Monitor,
    Origin, Phase, Severity, Subscription, Tensor, Truth, host, name_key, state,
};
use floorhand_statistics::{
    detection::Level,
    episode::{Change, Episode},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

floorhand_plugin_sdk::export!(DriftHddm as monitor);

/// The format of the snapshot.
const STATE_VERSION: u32 = 2;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor with the errors, or with the predictions where there is a `truth`. Its last dimension holds the fields;
    /// each row along the others is a value of each.
    pub tensor: String,
    /// Where the tensor is seen: `"input"`, `"features"`, `"prediction"` or `"output"`. `"output"` by default.
    #[serde(default = "default_origin")]
    pub origin: Origin,
    /// The tensor's type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The tensor's shape; -1 for any size. `[-1, n]` by default for n fields.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// The names of the tensor's columns, in order; one for every column.
    #[schemars(length(min = 1, max = 256))]
    pub fields: Vec<String>,
    /// The tensor that the predictions are held against. Without it `tensor` holds the errors.
    #[serde(default)]
    pub truth: Option<Truth>,
    /// From a distance above this on a prediction, or from a loss above it on a sample, is an error, in the field's unit; at
    /// least 0. 0 by default where there is a `truth`; else values from 0 to 1 are taken as they are.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub tolerance: Option<f64>,
    /// `"a"` compares plain means, and is the better one for abrupt changes; `"w"` compares means that forget, and is the
    /// better one for gradual changes. `"a"` by default.
    #[serde(default)]
    pub variant: Variant,
    /// The bound on a false alarm in one test: above 0 and below 1. 0.001 by default.
    #[serde(default = "default_drift_confidence")]
    #[schemars(range(min = 0, max = 1))]
    pub drift_confidence: f64,
    /// The bound on a false warning in one test: at least that of an alarm, and below 1. 0.005 by default.
    #[serde(default = "default_warning_confidence")]
    #[schemars(range(min = 0, max = 1))]
    pub warning_confidence: f64,
    /// The newest value's weight in a mean of variant `w`: above 0 and at most 1. 0.05 by default.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub lambda: Option<f64>,
    /// Whether a mean that falls warns and alarms, too. Not by default: fewer errors are good news.
    #[serde(default)]
    pub two_sided: bool,
    /// How many keys (machines) may come, each with detectors of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// Which means are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Plain ones.
    #[default]
    A,
    /// Exponentially weighted ones.
    W,
}

/// The configured plugin and its detectors.
#[derive(Debug)]
pub struct DriftHddm {
    columns: ErrorColumns,
    /// What is above it is an error; `None` where values are taken as they are.
    tolerance: Option<f64>,
    fields: Keyed<Vec<Field>>,
}

#[derive(Debug, Clone)]
struct Field {
    name: Arc<str>,
    gauge: Arc<str>,
    warning: Episode,
    detector: Detector,
}

impl Monitor for DriftHddm {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        if let Some(tolerance) = config.tolerance
            && !(tolerance >= 0.0 && tolerance.is_finite())
        {
            return Err(Error::BadConfig(format!(
                "tolerance is {tolerance}, and has to be at least 0"
            )));
        }
        let detector = Detector::new(&config)?;
        let columns = Columns::new(
            config.tensor,
            config.origin,
            config.datatype,
            config.shape,
            config.fields,
        )?;
        let field = |name: &String| Field {
            name: name.as_str().into(),
            gauge: format!("hddm/{name}").into(),
            warning: Episode::new(),
            detector,
        };
        let fields = columns.names().iter().map(field).collect();
        Ok(Self {
            fields: Keyed::new(STATE_VERSION, fields, config.max_keys)?,
            tolerance: config.tolerance.or(config.truth.is_some().then_some(0.0)),
            columns: ErrorColumns::new(columns, config.truth),
        })
    }

    fn subscription(&self) -> Subscription {
        Subscription {
            watches: self.columns.watches(),
            state_bytes: self.fields.state_bytes(),
        }
    }

    fn observe(&mut self, context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error> {
        let values = self.columns.values(&tensors)?;
        let key = context.key.as_deref();
        let fields = self.fields.of(key)?;
        let mut findings = Vec::new();
        for (column, value) in values {
            let value = match self.tolerance {
                Some(tolerance) if !value.is_nan() => f64::from(value > tolerance),
                _ => value,
            };
            if let Some(field) = fields.get_mut(column) {
                findings.extend(field.observe(value));
            }
        }
        for field in fields {
            host::gauge(&field.gauge, field.detector.mean());
        }
        name_key(&mut findings, key);
        Ok(findings)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.fields.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.fields.restore(bytes)
    }
}

impl Field {
    fn observe(&mut self, value: f64) -> Vec<Finding> {
        // What the bounds don't hold for neither begins nor ends a warning.
        if !(0.0..=1.0).contains(&value) {
            return Vec::new();
        }
        let level = self.detector.push(value);
        let warning = match self.warning.push(level == Level::Warning) {
            Change::None => None,
            Change::Began => {
                let message = "the mean may be about to change".to_owned();
                Some(self.finding(Level::Warning, Phase::Raised, message))
            }
            Change::Ended(_) if level == Level::Drift => {
                let message = "the warning has become an alarm".to_owned();
                Some(self.finding(Level::Warning, Phase::Cleared, message))
            }
            Change::Ended(samples) => {
                let message = format!("the mean hasn't changed after all, after {samples} values");
                Some(self.finding(Level::Warning, Phase::Cleared, message))
            }
        };
        let alarm = (level == Level::Drift).then(|| {
            let message = "the mean has changed; the detector begins anew".to_owned();
            self.finding(Level::Drift, Phase::Once, message)
        });
        warning.into_iter().chain(alarm).collect()
    }

    /// An alarm is of its sample alone; a warning is raised and cleared.
    fn finding(&self, level: Level, phase: Phase, message: String) -> Finding {
        let shift = self.detector.shift(level);
        let mut details = vec![Detail::new("mean", self.detector.mean())];
        if let Some(shift) = shift {
            details.push(Detail::new("mean-before", shift.before));
            details.push(Detail::new("mean-after", shift.after));
        }
        Finding {
            kind: "drift".into(),
            severity: match phase {
                Phase::Once => Severity::Alarm,
                Phase::Raised => Severity::Warning,
                Phase::Cleared => Severity::Info,
            },
            phase,
            watch: Some(0),
            subject: self.name.to_string(),
            value: shift.map(|shift| shift.distance()),
            threshold: shift.map(|shift| shift.bound),
            unit: "1".to_owned(),
            message,
            details,
        }
    }
}

impl KeyState for Field {
    fn state_bytes(&self) -> usize {
        8 + self.detector.state_bytes()
    }

    fn write(&self, writer: &mut state::Writer) {
        writer.u64(self.warning.length());
        self.detector.write(writer);
    }

    fn read(&mut self, reader: &mut state::Reader<'_>) -> Result<(), Error> {
        self.warning.restore(reader.u64()?);
        self.detector.read(reader, &self.name)
    }
}

const fn default_origin() -> Origin {
    Origin::Output
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn default_drift_confidence() -> f64 {
    0.001
}

const fn default_warning_confidence() -> f64 {
    0.005
}

#[cfg(test)]
mod tests;
