//! `calibration`: whether a classifier is as sure of its answers as it was in validation, and with labels, whether it is right
//! as often as it is sure.
//!
//! README.md says what can be known without labels, and has the configuration, the formulas and what to expect of false alarms;
//! windows, episodes and findings are [`floorhand_plugin_sdk::drift`]'s.

mod answers;
mod reference;

use floorhand_plugin_sdk::{
    Assets, Context, Datatype, Error, Finding, MaxKeys, Monitor, Origin, Subscription, Tensor, TensorSpec, Watch,
    drift::{Fields, Limits, Settings, defaults},
};
use floorhand_statistics::{
    mean_shift::{self, TumblingMean},
    reliability::{self, TumblingReliability},
};
use schemars::JsonSchema;
use serde::Deserialize;

pub use reference::{Moments, ReferenceFile};

floorhand_plugin_sdk::export!(Calibration as monitor);

/// What is watched of every answer, in the order of the fields.
const MEASURES: [&str; 3] = ["confidence", "entropy", "low-confidence"];

/// What is watched of answers whose label is known.
const ERROR: &str = "calibration-error";

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor to watch. Its last dimension holds the classes' probabilities; each row along the others is an answer.
    pub tensor: String,
    /// Where the tensor is seen: `"input"`, `"features"`, `"prediction"` or `"output"`. `"prediction"` by default.
    #[serde(default = "defaults::prediction")]
    pub origin: Origin,
    /// The tensor's type. `"FP32"` by default.
    #[serde(default = "defaults::datatype")]
    pub datatype: Datatype,
    /// The tensor's shape; -1 for any size. `[-1, -1]` by default.
    #[serde(default = "default_shape")]
    pub shape: Vec<i64>,
    /// Whether the tensor holds logits, of which the probabilities are the softmax. `false` by default.
    #[serde(default)]
    pub logits: bool,
    /// Answers in a window. Windows don't overlap.
    #[schemars(range(min = 1))]
    pub window: u64,
    /// The JSON asset with the reference.
    pub reference: String,
    /// Below it an answer counts as one of low confidence, above 0 and below 1. 0.5 by default.
    #[serde(default = "default_low")]
    #[schemars(range(min = 0, max = 1))]
    pub low_confidence: f64,
    /// The share of rounds of windows without drift in which nothing alarms. 0.999 by default.
    #[serde(default)]
    #[schemars(range(min = 0.5, max = 0.999999999))]
    pub confidence: Option<f64>,
    /// Instead of `confidence`: the false alarms of the device in a day without drift. Needs `sample_rate_hz`.
    #[serde(default)]
    pub false_alarms_per_day: Option<f64>,
    /// Answers a second, those of all keys together. Findings then say how many false alarms a day there are.
    #[serde(default)]
    pub sample_rate_hz: Option<f64>,
    /// The least difference of a mean that alarms, in the reference's standard deviations. 0.1 by default.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub least_drift: Option<f64>,
    /// How many first windows calibrate the thresholds, for answers that depend on each other: 10 to 1000. Without it none does.
    #[serde(default)]
    #[schemars(range(min = 10, max = 1000))]
    pub calibration_windows: Option<u32>,
    /// Where the truth stands, if the device gets to know it with the sample. Without it nothing is said of right and wrong.
    #[serde(default)]
    pub labels: Option<Labels>,
    /// How many keys (machines) may come, each with windows of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// The truth of each answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// The tensor with the true class of each row, from 0; a negative one or a NaN is not known.
    pub tensor: String,
    /// Where it is seen. `"input"` by default.
    #[serde(default = "default_label_origin")]
    pub origin: Origin,
    /// Its type. `"INT64"` by default.
    #[serde(default = "default_label_datatype")]
    pub datatype: Datatype,
    /// Its shape; -1 for any size. `[-1]` by default.
    #[serde(default = "default_label_shape")]
    pub shape: Vec<i64>,
    /// Bins of equal width that confidences fall into, 2 to 100. 10 by default.
    #[serde(default = "defaults::bins")]
    #[schemars(range(min = 2, max = 100))]
    pub bins: usize,
    /// The least calibration error above that in validation that alarms, 0 to 1. 0.05 by default.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub least_error: Option<f64>,
}

floorhand_plugin_sdk::one_statistic_of! {
    /// What is computed of a window.
    Measure {
        /// Of a mean.
        Mean(TumblingMean),
        /// Of confidences and what was right.
        Error(TumblingReliability),
    }
}

/// The configured plugin and the windows that are filling.
#[derive(Debug)]
pub struct Calibration {
    watches: Vec<Watch>,
    logits: bool,
    low_confidence: f64,
    fields: Fields<Measure>,
}

impl Monitor for Calibration {
    type Config = Config;

    fn configure(config: Config, assets: &Assets) -> Result<Self, Error> {
        check(&config)?;
        let settings = settings(&config);
        let measures = MEASURES.len() + usize::from(config.labels.is_some());
        let limits = Limits::new(&settings, measures, mean_shift::LEAST_DRIFT)?;
        let mut file: ReferenceFile = assets.json(&config.reference)?;
        let asset = &config.reference;
        let bad = |what: &str, error| Error::BadConfig(format!("asset {asset:?}, {what}: {error}"));
        let mut fields = Fields::new("calibration", config.max_keys)?;
        for name in MEASURES {
            let mean = file
                .mean(name)
                .and_then(|mean| TumblingMean::new(mean, config.window))
                .map_err(|error| bad(name, error))?;
            fields.add(name, Measure::Mean(mean), &limits, file.blocks(asset, name)?)?;
        }
        let mut watches = vec![Watch {
            origin: config.origin,
            spec: TensorSpec::new(config.tensor, config.datatype, config.shape),
        }];
        if let Some(labels) = config.labels {
            let least = Settings {
                least_drift: labels.least_error,
                ..settings
            };
            let limits = Limits::new(&least, measures, reliability::LEAST_DRIFT)?;
            let error = TumblingReliability::new(labels.bins, file.calibration_error, config.window)
                .map_err(|error| bad("calibration_error, or labels.bins", error))?;
            fields.add(ERROR, Measure::Error(error), &limits, file.blocks(asset, ERROR)?)?;
            watches.push(Watch {
                origin: labels.origin,
                spec: TensorSpec::new(labels.tensor, labels.datatype, labels.shape),
            });
        }
        Ok(Self {
            watches,
            logits: config.logits,
            low_confidence: config.low_confidence,
            fields,
        })
    }

    fn subscription(&self) -> Subscription {
        Subscription {
            watches: self.watches.clone(),
            state_bytes: self.fields.state_bytes(),
        }
    }

    fn observe(&mut self, context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error> {
        let answers = answers::read(&self.watches, &tensors, self.logits)?;
        let low_confidence = self.low_confidence;
        let values = answers.iter().flat_map(|answer| answer.values(low_confidence));
        self.fields.observe(context.key.as_deref(), values)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.fields.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.fields.restore(bytes)
    }
}

fn check(config: &Config) -> Result<(), Error> {
    let labels = config.labels.as_ref().map(|labels| labels.datatype);
    for (key, datatype) in [("datatype", Some(config.datatype)), ("labels.datatype", labels)] {
        if datatype == Some(Datatype::Bytes) {
            return Err(Error::BadConfig(format!(
                "{key} is BYTES, and has to be one of numbers"
            )));
        }
    }
    if !(config.low_confidence > 0.0 && config.low_confidence < 1.0) {
        return Err(Error::BadConfig(format!(
            "low_confidence is {}, and has to be above 0 and below 1",
            config.low_confidence
        )));
    }
    if config.shape.last().is_none_or(|classes| (0..=1).contains(classes)) {
        return Err(Error::BadConfig(
            "shape has to end in the number of classes, 2 or more, or -1".into(),
        ));
    }
    Ok(())
}

/// The keys as all drift monitors have them.
fn settings(config: &Config) -> Settings {
    Settings {
        tensor: config.tensor.clone(),
        origin: config.origin,
        datatype: config.datatype,
        shape: Some(config.shape.clone()),
        fields: Vec::new(),
        window: config.window,
        reference: config.reference.clone(),
        confidence: config.confidence,
        false_alarms_per_day: config.false_alarms_per_day,
        sample_rate_hz: config.sample_rate_hz,
        least_drift: config.least_drift,
        calibration_windows: config.calibration_windows,
        max_keys: config.max_keys,
    }
}

fn default_shape() -> Vec<i64> {
    vec![-1, -1]
}

const fn default_low() -> f64 {
    0.5
}

const fn default_label_origin() -> Origin {
    Origin::Input
}

const fn default_label_datatype() -> Datatype {
    Datatype::Int64
}

fn default_label_shape() -> Vec<i64> {
    vec![-1]
}

#[cfg(test)]
mod tests;
