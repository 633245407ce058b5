//! Sources and sinks: where samples come from and where results go.

use std::fmt;
use std::path::PathBuf;

use floorhand_transport::Qos;
use serde::{Serialize, Serializer};

/// Where samples come from: a section `[[source]]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Source {
    /// `type = "mqtt"`: messages on the plant connection.
    Mqtt(MqttSource),
    /// `type = "file"`: a file that is replayed.
    File(FileSource),
}

/// Samples that come as messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MqttSource {
    /// The topic, or a filter with `+` and `#`. Required. Example: `"plant/press-01/vibration"`.
    pub topic: String,
    /// What a message has in it. Default: `"json"`.
    pub format: SampleFormat,
    /// 0 (may get lost) or 1 (may come twice). Default: 1.
    #[serde(serialize_with = "qos_number")]
    pub qos: Qos,
}

/// What a message has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleFormat {
    /// `"json"`: one object with the inputs' fields.
    Json,
    /// `"raw"`: the inputs' tensors one behind the other, little-endian.
    Raw,
}

/// Samples that are in a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileSource {
    /// The file. Required. Example: `"/srv/recordings/press-01.csv"`.
    pub path: PathBuf,
    /// How it is written. Default: by the end of its name, `.csv` or `.jsonl`.
    pub format: FileFormat,
    /// The character between a CSV's columns. Default: `,` or `;`, whichever its first line has more of.
    pub delimiter: Option<char>,
    /// Samples a second, up to 1,000,000. Default: as fast as they can be worked on.
    pub rate_hz: Option<f64>,
    /// Whether to begin again at the end. Default: false.
    pub repeat: bool,
}

/// How a file of samples is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// `"csv"`: a header, then a sample a line.
    Csv,
    /// `"jsonl"`: a JSON object a line.
    Jsonl,
}

/// Where results go: a section `[[sink]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Sink {
    /// `type = "mqtt"`: messages on the plant connection.
    Mqtt(MqttSink),
    /// `type = "jsonl"`: a file.
    Jsonl(JsonlSink),
}

/// Results as messages, one JSON object each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MqttSink {
    /// The topic. Required. Example: `"plant/press-01/condition"`.
    pub topic: String,
    /// 0 (may get lost) or 1 (may come twice). Default: 1.
    #[serde(serialize_with = "qos_number")]
    pub qos: Qos,
    /// Whether the broker keeps the last one for who subscribes later. Default: false.
    pub retain: bool,
    /// Whether monitors' findings and explanations go there too. Default: false.
    pub findings: bool,
}

/// Results in a file, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JsonlSink {
    /// The file; its folder has to be there. Required. Example: `"/var/log/floorhand/results.jsonl"`.
    pub path: PathBuf,
    /// The length in bytes at which the file becomes `.1`, in place of the one before, and a new one is begun. 4 KiB to
    /// 64 GiB. Default: 67,108,864 (64 MiB).
    pub max_bytes: u64,
    /// Whether monitors' findings and explanations go there too. Default: false.
    pub findings: bool,
}

impl MqttSource {
    /// Whether a message on `topic` comes to this source (MQTT 5, 4.7).
    #[must_use]
    pub fn takes_in(&self, topic: &str) -> bool {
        let (mut filter, mut topic) = (self.topic.split('/'), topic.split('/'));
        loop {
            match (filter.next(), topic.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(level), Some(other)) if level == other => {}
                _ => return false,
            }
        }
    }
}

impl Sink {
    /// Whether monitors' findings go there too.
    #[must_use]
    pub fn findings(&self) -> bool {
        match self {
            Self::Mqtt(sink) => sink.findings,
            Self::Jsonl(sink) => sink.findings,
        }
    }
}

/// As the agent's log and status name it: `mqtt:TOPIC` or `file:PATH`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mqtt(source) => write!(f, "mqtt:{}", source.topic),
            Self::File(source) => write!(f, "file:{}", source.path.display()),
        }
    }
}

/// As the agent's log and status name it: `mqtt:TOPIC` or `file:PATH`.
impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mqtt(sink) => write!(f, "mqtt:{}", sink.topic),
            Self::Jsonl(sink) => write!(f, "file:{}", sink.path.display()),
        }
    }
}

fn qos_number<S: Serializer>(qos: &Qos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
    })
}
