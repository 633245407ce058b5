//! What is configured: what frames a message, and what stands where in a record.

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
    /// The order of a number's bytes: `"little"` or `"big"`, the least significant first or the most. `"little"` by default.
    #[serde(default)]
    pub endianness: Endianness,
    /// What every message begins with, in hexadecimal digits. Nothing by default.
    #[serde(default)]
    pub magic: Option<String>,
    /// Bytes before the first record, `magic` included. Those of `magic` by default.
    #[serde(default)]
    pub header_bytes: Option<usize>,
    /// The message's length, where it says so itself.
    #[serde(default)]
    pub length: Option<Length>,
    /// The check that a message ends with.
    #[serde(default)]
    pub check: Option<Check>,
    /// Bytes of a record. Up to the end of the last of its fields by default.
    #[serde(default)]
    pub record_bytes: Option<usize>,
    /// Whether a message holds any number of records, each a sample. By default it holds one.
    #[serde(default)]
    pub repeat: bool,
    /// Where a sample's id is: an integer.
    #[serde(default)]
    pub id: Option<Place>,
    /// Where a sample's key is, which says what it is of, e.g. a machine's number: an integer.
    #[serde(default)]
    pub key: Option<Place>,
    /// Where a sample's time is.
    #[serde(default)]
    pub time: Option<Time>,
    /// What becomes of a sample in which a field has its `missing_value`: `"error"` or `"nan"`. `"error"` by default.
    #[serde(default)]
    pub missing: Missing,
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
    /// The shape of one sample. `[1, n]` by default for n numbers.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// What it is made of, in order.
    #[schemars(length(min = 1, max = 4096))]
    pub fields: Vec<Field>,
}

/// A number of a record, or several in a row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// What it is called.
    pub name: String,
    /// Its type in the message.
    #[serde(rename = "type")]
    pub datatype: Datatype,
    /// Its first byte, from the record's beginning. Behind the field before it by default, in the order of the configuration.
    #[serde(default)]
    pub offset: Option<usize>,
    /// How many numbers one after another: at least 1. 1 by default. With more in any field the tensor's columns have no names.
    #[serde(default = "default_count")]
    #[schemars(range(min = 1))]
    pub count: usize,
    /// The order of its bytes, where it differs from the others'.
    #[serde(default)]
    pub endianness: Option<Endianness>,
    /// The bits of an unsigned integer that are the number. All by default.
    #[serde(default)]
    pub bits: Option<Bits>,
    /// The integer that stands for a missing number, before `scale` and `add`. None by default.
    #[serde(default)]
    pub missing_value: Option<i64>,
    /// What the number is multiplied with. 1 by default.
    #[serde(default)]
    pub scale: Option<f64>,
    /// What is added then. 0 by default.
    #[serde(default)]
    pub add: Option<f64>,
}

/// Some bits of an integer.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bits {
    /// The lowest, from 0 for the least significant.
    #[schemars(range(min = 0, max = 63))]
    pub first: u32,
    /// How many. 1 by default.
    #[serde(default = "default_bits")]
    #[schemars(range(min = 1, max = 64))]
    pub count: u32,
}

/// Where the message's length is.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// Its first byte, from the message's beginning.
    pub offset: usize,
    /// Its type: an unsigned integer.
    #[serde(rename = "type")]
    pub datatype: Datatype,
    /// What has to be added for the bytes of the whole message. 0 by default.
    #[serde(default)]
    pub plus: i64,
}

/// What a message ends with.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// How it is computed.
    pub kind: CheckKind,
    /// The first byte that it covers, from the message's beginning. 0 by default.
    #[serde(default)]
    pub from: usize,
    /// The order of its bytes, where it differs from the others'.
    #[serde(default)]
    pub endianness: Option<Endianness>,
}

/// How a check is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    /// The bytes' sum, modulo 256.
    Sum8,
    /// The bytes' exclusive or.
    Xor8,
    /// CRC-8/SMBUS: polynomial 0x07.
    Crc8,
    /// CRC-16/MODBUS.
    Crc16Modbus,
    /// CRC-16/IBM-3740, also called CCITT-FALSE.
    Crc16CcittFalse,
    /// CRC-16/XMODEM.
    Crc16Xmodem,
    /// CRC-16/IBM-SDLC, also called X-25.
    Crc16X25,
    /// CRC-32/ISO-HDLC: that of Ethernet and zip.
    Crc32,
    /// CRC-32/ISCSI, also called CRC-32C.
    Crc32c,
}

/// An integer by its place.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its first byte.
    pub offset: usize,
    /// Its type.
    #[serde(rename = "type")]
    pub datatype: Datatype,
    /// Whether the offset counts from the `"record"`'s beginning or from the `"message"`'s. `"record"` by default.
    #[serde(default, rename = "in")]
    pub origin: Origin,
}

/// A time by its place.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Its first byte.
    pub offset: usize,
    /// Its type.
    #[serde(rename = "type")]
    pub datatype: Datatype,
    /// Whether the offset counts from the `"record"`'s beginning or from the `"message"`'s. `"record"` by default.
    #[serde(default, rename = "in")]
    pub origin: Origin,
    /// What it counts since 1970: `"s"`, `"ms"`, `"us"` or `"ns"`.
    pub unit: TimeFormat,
}

/// What an offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The record's beginning.
    #[default]
    Record,
    /// The message's beginning: a header that all records share.
    Message,
}

/// The order of a number's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Endianness {
    /// The least significant first.
    #[default]
    Little,
    /// The most significant first, as in Modbus.
    Big,
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn default_count() -> usize {
    1
}

const fn default_bits() -> u32 {
    1
}

/// A number takes 16 bytes of memory, and one or more in the message.
const fn default_max_bytes() -> usize {
    256 << 10
}
