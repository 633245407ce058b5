//! What is configured: which metrics are whose.

use floorhand_plugin_sdk::{Datatype, Missing};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensors of every sample.
    #[schemars(length(min = 1, max = 64))]
    pub outputs: Vec<Output>,
    /// Whether a sample is given for every `"message"`, or for every `"timestamp"` of the configured metrics in one.
    /// `"message"` by default.
    #[serde(default)]
    pub samples: Samples,
    /// What becomes of a sample in which a metric has no value yet, or is null: `"error"` or `"nan"`. `"error"` by default.
    #[serde(default)]
    pub missing: Missing,
    /// Whether values that are marked as historical are taken in like others. By default they are left out and counted.
    #[serde(default)]
    pub historical: bool,
    /// Edge nodes and devices whose state is kept at a time: 1 to 256. 16 by default.
    #[serde(default = "default_max_sources")]
    #[schemars(range(min = 1, max = 256))]
    pub max_sources: usize,
    /// The longest message that is read, in bytes: 1 to 8388608. 131072 by default.
    #[serde(default = "default_max_bytes")]
    #[schemars(range(min = 1, max = 8_388_608))]
    pub max_bytes: usize,
}

/// A tensor.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The tensor's name.
    pub name: String,
    /// Its type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The shape of one sample. `[1, n]` by default for n fields.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// The columns, in order.
    #[schemars(length(min = 1, max = 4096))]
    pub fields: Vec<Field>,
}

/// A column.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// What the column is called.
    pub name: String,
    /// The metric's name as births have it. As the column by default.
    #[serde(default)]
    pub metric: Option<String>,
}

/// What a sample is given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Samples {
    /// A message in which a configured metric has a value.
    #[default]
    Message,
    /// Every point in time at which one has; for a birth as for `message`.
    Timestamp,
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn default_max_sources() -> usize {
    16
}

/// A metric of four bytes takes some 80 bytes of memory.
const fn default_max_bytes() -> usize {
    128 << 10
}
