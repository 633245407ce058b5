//! The configuration: what its keys mean.

use floorhand_plugin_sdk::{Datatype, MAX_FIELDS, MaxKeys};
use floorhand_statistics::{
    rolling::MAX_SAMPLES,
    zscore::{MAX_RAISE, MIN_SAMPLES},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin's configuration. At least one of `pca` and `zscore` has to be there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor with the fields along its last dimension; each row along the others is judged.
    pub input: String,
    /// The input's type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The input's shape; -1 for any size. `[-1, n]` by default for n fields.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// The names of the input's columns, in order, none twice.
    #[schemars(length(min = 1, max = MAX_FIELDS))]
    pub fields: Vec<String>,
    /// T² and Q of all fields together.
    #[serde(default)]
    pub pca: Option<PcaConfig>,
    /// The z-score of each field.
    #[serde(default)]
    pub zscore: Option<ZScoreConfig>,
    /// What the tensor with the scores is called. `"scores"` by default.
    #[serde(default = "default_scores")]
    pub scores: String,
    /// What the tensor with the alarms is called. `"alarms"` by default.
    #[serde(default = "default_alarms")]
    pub alarms: String,
    /// How many keys may come, each with baselines and alarms of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// How T² and Q are judged.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PcaConfig {
    /// The JSON asset with the analysis.
    pub asset: String,
    /// The share of usual rows that is below each limit, where none is given: 0.5 to below 1. 0.99999 by default.
    #[serde(default)]
    #[schemars(range(min = 0.5, max = 1))]
    pub probability: Option<f64>,
    /// The limit of T². From `probability` by default.
    #[serde(default)]
    pub t2_limit: Option<f64>,
    /// The limit of Q. From `probability` by default.
    #[serde(default)]
    pub q_limit: Option<f64>,
    /// The share of the limit that a value has to come down to for the alarm to end: 0 to 1. 0.8 by default.
    #[serde(default = "default_clear")]
    #[schemars(range(min = 0, max = 1))]
    pub clear: f64,
    /// Rows in a row that are above the limit before the alarm is raised. 1 by default.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub raise_after: u64,
    /// Rows in a row that have come down before it is cleared. 3 by default.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub clear_after: u64,
}

/// What each field is compared with, and when that is an alarm.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZScoreConfig {
    /// The baseline is the last so many rows. 100 by default, without `half_life`.
    #[serde(default)]
    #[schemars(range(min = MIN_SAMPLES, max = MAX_SAMPLES))]
    pub samples: Option<usize>,
    /// Instead: all rows, with weights that halve every so many. 3 to 1,000,000.
    #[serde(default)]
    #[schemars(range(min = 3, max = 1_000_000))]
    pub half_life: Option<f64>,
    /// On which side a value is too far away: `"both"`, `"above"` or `"below"`. `"both"` by default.
    #[serde(default)]
    pub side: Side,
    /// Standard deviations above which it is too far. 5 by default.
    #[serde(default = "default_raise")]
    #[schemars(range(max = MAX_RAISE))]
    pub raise: f64,
    /// Standard deviations up to which it is near again, 0 to `raise`. 3 by default.
    #[serde(default = "default_z_clear")]
    #[schemars(range(min = 0, max = MAX_RAISE))]
    pub clear: f64,
    /// Rows in a row that are too far before the alarm is raised. 1 by default.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub raise_after: u64,
    /// Rows in a row that are near again before it is cleared. 3 by default.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub clear_after: u64,
    /// The least standard deviation, in the field's unit: one for all fields, or one each. 0 by default.
    #[serde(default)]
    #[schemars(length(min = 1, max = MAX_FIELDS))]
    pub least_deviation: Option<Vec<f64>>,
    /// Whether what is too far becomes part of the baseline. `true` by default.
    #[serde(default = "default_learn_outliers")]
    pub learn_outliers: bool,
}

/// On which side a value is too far away.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// On either.
    #[default]
    Both,
    /// Above the baseline.
    Above,
    /// Below the baseline.
    Below,
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

fn default_scores() -> String {
    "scores".into()
}

fn default_alarms() -> String {
    "alarms".into()
}

const fn default_clear() -> f64 {
    0.8
}

const fn default_raise() -> f64 {
    5.0
}

const fn default_z_clear() -> f64 {
    3.0
}

const fn default_learn_outliers() -> bool {
    true
}

const fn one() -> u64 {
    1
}

const fn three() -> u64 {
    3
}
