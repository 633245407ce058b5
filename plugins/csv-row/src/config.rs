//! What is configured: how rows are written, and which columns are whose.

use floorhand_plugin_sdk::{Datatype, Missing, TimeFormat};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensors of every sample.
    #[schemars(length(min = 1, max = 64))]
    pub outputs: Vec<Output>,
    /// The columns' names in order, where messages have no header. Either this or `header`.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub columns: Vec<String>,
    /// Whether the first row of every message names its columns. Not by default.
    #[serde(default)]
    pub header: bool,
    /// Lines at a message's beginning, before the header, that are skipped. 0 by default.
    #[serde(default)]
    pub skip_lines: usize,
    /// Whether rows are `"samples"`, one each, or `"one-sample"` together. `"samples"` by default.
    #[serde(default)]
    pub rows: Rows,
    /// What stands between columns: one ASCII character. `","` by default.
    #[serde(default = "default_separator")]
    #[schemars(length(min = 1, max = 1))]
    pub separator: String,
    /// What may stand around a value, doubled within one: one ASCII character, or empty for none. `"\""` by default.
    #[serde(default = "default_quote")]
    #[schemars(length(max = 1))]
    pub quote: String,
    /// What stands before a number's fraction: `"."` or `","`. `"."` by default.
    #[serde(default = "default_decimal")]
    #[schemars(length(min = 1, max = 1))]
    pub decimal: String,
    /// The column with a sample's id. A sample whose column is blank has none.
    #[serde(default)]
    pub id: Option<String>,
    /// The column with a sample's key, which says what it is of, e.g. a machine. A sample whose column is blank has none.
    #[serde(default)]
    pub key: Option<String>,
    /// The column with a sample's time. A sample whose column is blank has that of its message's arrival.
    #[serde(default)]
    pub time: Option<Time>,
    /// What becomes of a sample in which a value is missing: `"error"` or `"nan"`. `"error"` by default.
    #[serde(default)]
    pub missing: Missing,
    /// Texts that stand for a missing value, besides blank ones: `["NA", "null"]`. None by default.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub missing_values: Vec<String>,
    /// The longest message that is read, in bytes: 1 to 8388608. 262144 by default.
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
    /// The shape of one sample. For n fields `[1, n]` by default, `[-1, n]` where rows are one sample.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// The columns, in order.
    #[schemars(length(min = 1, max = 4096))]
    pub fields: Vec<Field>,
}

/// A column of a tensor.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// What the field is called.
    pub name: String,
    /// The name of the message's column. As the field by default.
    #[serde(default)]
    pub column: Option<String>,
}

/// A column with times.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// The name of the message's column.
    pub column: String,
    /// How it is written: `"s"`, `"ms"`, `"us"` or `"ns"` since 1970, or `"rfc3339"`.
    pub unit: TimeFormat,
}

/// What rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// Each is a sample.
    #[default]
    Samples,
    /// All of a message are one, whose id, key and time are those of the first.
    OneSample,
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

fn default_separator() -> String {
    ",".into()
}

fn default_quote() -> String {
    "\"".into()
}

fn default_decimal() -> String {
    ".".into()
}

/// Where all rows are one sample a number takes 16 bytes and more of memory, and two in the message.
const fn default_max_bytes() -> usize {
    256 << 10
}
