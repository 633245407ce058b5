//! What is configured: which values of a message are whose.

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
    /// The path of an array whose elements are the samples. Without it a message is one sample.
    #[serde(default)]
    pub samples: Option<String>,
    /// Where a sample's id is: text or an integer. A sample without one has none.
    #[serde(default)]
    pub id: Option<Place>,
    /// Where a sample's key is, which says what it is of, e.g. a machine: text or an integer. A sample without one has none.
    #[serde(default)]
    pub key: Option<Place>,
    /// Where a sample's time is. A sample without one has that of its message's arrival.
    #[serde(default)]
    pub time: Option<Time>,
    /// What becomes of a sample in which a value is missing or null: `"error"` or `"nan"`. `"error"` by default.
    #[serde(default)]
    pub missing: Missing,
    /// Whether `true` and `false` are 1 and 0 for tensors other than BOOL, too. Not by default.
    #[serde(default)]
    pub booleans: bool,
    /// Whether text such as `"12.5"` is a number, and text that is empty is a missing one. Not by default.
    #[serde(default)]
    pub numeric_strings: bool,
    /// The longest message that is read, in bytes: 1 to 8388608. 131072 by default. Reading takes up to 70 times as much
    /// memory.
    #[serde(default = "default_max_bytes")]
    #[schemars(range(min = 1, max = 8_388_608))]
    pub max_bytes: usize,
}

/// A tensor: of `fields`, or of the numbers in the array at `path`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The tensor's name.
    pub name: String,
    /// Its type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The shape of one sample. `[1, n]` by default for n fields; `[-1]` by default for an array, and one dimension may be -1
    /// for any size.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// The columns, in order.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// The path of an array of numbers, maybe nested as the shape is.
    #[serde(default)]
    pub path: Option<String>,
}

/// A column.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// What the column is called.
    pub name: String,
    /// The number's path: a JSON Pointer where it begins with `/`, else keys with dots between them. The key `name` by default.
    #[serde(default)]
    pub path: Option<String>,
    /// Where the path begins: at the `"sample"` or at the whole `"message"`. `"sample"` by default.
    #[serde(default)]
    pub from: From,
}

/// A value by its path.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// As a field's.
    pub path: String,
    /// As a field's.
    #[serde(default)]
    pub from: From,
}

/// A time by its path.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// As a field's.
    pub path: String,
    /// As a field's.
    #[serde(default)]
    pub from: From,
    /// How it is written: `"s"`, `"ms"`, `"us"` or `"ns"` since 1970, as number or text, or `"rfc3339"`.
    pub unit: TimeFormat,
}

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// At the element of the array `samples`.
    #[default]
    Sample,
    /// At the whole message.
    Message,
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

/// A list such as `[{"":0},{"":0}]` takes some 65 bytes of memory for each of its own: this many leave half of the host's
/// default of 16 MiB.
const fn default_max_bytes() -> usize {
    128 << 10
}
