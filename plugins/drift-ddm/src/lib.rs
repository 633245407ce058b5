//! `drift-ddm`: whether a model's error rate has risen above the lowest it has been.
//!
//! Errors are a column of a tensor, or come from holding predictions against the truth. A rate in the warning zone is a
//! warning, one above it an alarm, and the detector begins anew. README.md has the configuration and what to expect of
//! false alarms, [`floorhand_statistics::ddm`] the formula.

use floorhand_plugin_sdk::{
    Assets, Columns, Context, Datatype, Detail, Error, ErrorColumns, Finding, KeyState, Keyed, MaxKeys, Monitor,
    Origin, Phase, Severity, Subscription, Tensor, Truth, host, name_key, state,
};
use floorhand_statistics::{
    ddm::{self, Ddm, Rate},
    detection::{Level, Mean},
    episode::{Change, Episode},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

floorhand_plugin_sdk::export!(DriftDdm as monitor);

/// The format of the snapshot.
const STATE_VERSION: u32 = 2;

/// A field's bytes in the snapshot: the warning's length, the errors, the lowest rate, whether it has alarmed.
const FIELD_BYTES: usize = 8 + 16 + 20 + 4;

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
    /// A distance or a loss above this is an error, in the field's unit; at least 0. 0 by default.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub tolerance: f64,
    /// Values since the start or the last alarm that are only counted: at least 1. 30 by default.
    #[serde(default = "default_warm_start")]
    #[schemars(range(min = 1))]
    pub warm_start: u64,
    /// Standard deviations above the lowest rate from which on it warns: above 0. 2 by default.
    #[serde(default = "default_warning_threshold")]
    #[schemars(range(min = 0))]
    pub warning_threshold: f64,
    /// Standard deviations from which on it alarms: at least `warning_threshold`. 3 by default.
    #[serde(default = "default_drift_threshold")]
    #[schemars(range(min = 0))]
    pub drift_threshold: f64,
    /// How many keys (machines) may come, each with error rates of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// The configured plugin and its error rates.
#[derive(Debug)]
pub struct DriftDdm {
    columns: ErrorColumns,
    config: ddm::Config,
    tolerance: f64,
    fields: Keyed<Vec<Field>>,
}

#[derive(Debug, Clone)]
struct Field {
    name: Arc<str>,
    gauge: Arc<str>,
    warning: Episode,
    ddm: Ddm,
}

impl Monitor for DriftDdm {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        let tolerance = config.tolerance;
        if !(tolerance >= 0.0 && tolerance.is_finite()) {
            return Err(Error::BadConfig(format!(
                "tolerance is {tolerance}, and has to be at least 0"
            )));
        }
        let thresholds = ddm::Config {
            warm_start: config.warm_start,
            warning_threshold: config.warning_threshold,
            drift_threshold: config.drift_threshold,
        };
        let ddm = Ddm::new(thresholds).map_err(|error| Error::BadConfig(error.to_string()))?;
        let columns = Columns::new(
            config.tensor,
            config.origin,
            config.datatype,
            config.shape,
            config.fields,
        )?;
        let field = |name: &String| Field {
            name: name.as_str().into(),
            gauge: format!("ddm/{name}").into(),
            warning: Episode::new(),
            ddm,
        };
        let fields = columns.names().iter().map(field).collect();
        Ok(Self {
            fields: Keyed::new(STATE_VERSION, fields, config.max_keys)?,
            columns: ErrorColumns::new(columns, config.truth),
            config: thresholds,
            tolerance,
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
        for (column, value) in values.filter(|(_, value)| !value.is_nan()) {
            if let Some(field) = fields.get_mut(column) {
                findings.extend(field.observe(value > self.tolerance, &self.config));
            }
        }
        for field in fields {
            host::gauge(&field.gauge, field.ddm.rate());
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
    fn observe(&mut self, error: bool, config: &ddm::Config) -> Vec<Finding> {
        let level = self.ddm.push(error);
        let warning = match self.warning.push(level == Level::Warning) {
            Change::None => None,
            Change::Began => Some((Phase::Raised, "the error rate may be about to rise".to_owned())),
            Change::Ended(_) if level == Level::Drift => {
                Some((Phase::Cleared, "the warning has become an alarm".to_owned()))
            }
            Change::Ended(samples) => Some((
                Phase::Cleared,
                format!("the error rate is out of the warning zone again, after {samples} values"),
            )),
        };
        let warning = warning.map(|(phase, message)| self.finding(config.warning_threshold, phase, message));
        let alarm = (level == Level::Drift).then(|| {
            let message = "the error rate has risen; the detector begins anew".to_owned();
            self.finding(config.drift_threshold, Phase::Once, message)
        });
        warning.into_iter().chain(alarm).collect()
    }

    /// The rate with its standard deviation, held against the lowest rate with so many of its own. An alarm is of its sample
    /// alone; a warning is raised and cleared.
    fn finding(&self, deviations: f64, phase: Phase, message: String) -> Finding {
        let (now, lowest) = (self.ddm.now(), self.ddm.lowest().unwrap_or(self.ddm.now()));
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
            value: Some(now.rate + now.deviation),
            threshold: Some(lowest.rate + deviations * lowest.deviation),
            unit: "1".to_owned(),
            message,
            details: vec![
                Detail::new("error-rate", now.rate),
                Detail::new("lowest-error-rate", lowest.rate),
                Detail::new("samples", self.ddm.state().errors.count),
            ],
        }
    }
}

impl KeyState for Field {
    fn state_bytes(&self) -> usize {
        FIELD_BYTES
    }

    fn write(&self, writer: &mut state::Writer) {
        let ddm::State {
            errors,
            lowest,
            drifted,
        } = self.ddm.state();
        writer.u64(self.warning.length());
        writer.u64(errors.count);
        writer.f64(errors.mean);
        writer.flag(lowest.is_some());
        writer.f64(lowest.map_or(0.0, |lowest| lowest.rate));
        writer.f64(lowest.map_or(0.0, |lowest| lowest.deviation));
        writer.flag(drifted);
    }

    fn read(&mut self, reader: &mut state::Reader<'_>) -> Result<(), Error> {
        self.warning.restore(reader.u64()?);
        let errors = Mean {
            count: reader.u64()?,
            mean: reader.f64()?,
        };
        let is_lowest = reader.flag()?;
        let lowest = Rate {
            rate: reader.f64()?,
            deviation: reader.f64()?,
        };
        let state = ddm::State {
            errors,
            lowest: is_lowest.then_some(lowest),
            drifted: reader.flag()?,
        };
        let restored = self.ddm.restore(state);
        restored.map_err(|error| Error::BadConfig(format!("field {:?}: {error}", self.name)))
    }
}

const fn default_origin() -> Origin {
    Origin::Output
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn default_warm_start() -> u64 {
    30
}

const fn default_warning_threshold() -> f64 {
    2.0
}

const fn default_drift_threshold() -> f64 {
    3.0
}

#[cfg(test)]
mod tests;
