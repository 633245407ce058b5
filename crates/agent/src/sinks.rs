//! Where results go: topics of the plant's broker, and files.

use crate::config::{JsonlSink, MqttSink, Sink};
use floorhand_transport::{Client, PublishError};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a result waits for a plant broker that is slow before it is dropped, and counted.
const PUBLISH_WAIT: Duration = Duration::from_secs(1);

/// A result, a finding or an explanation, on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Result,
    Finding,
    /// Goes where findings go.
    Explanation,
}

/// One sink at work.
pub(crate) struct SinkWriter {
    name: String,
    findings: bool,
    to: To,
    /// Lines that went out.
    pub(crate) written: u64,
    /// Lines that couldn't go out.
    pub(crate) dropped: u64,
}

enum To {
    Mqtt {
        sink: MqttSink,
        client: Client,
        runtime: tokio::runtime::Handle,
    },
    File(JsonlFile),
}

impl SinkWriter {
    /// Opens a sink. An MQTT sink takes the plant connection that the configuration promises.
    pub(crate) fn open(sink: &Sink, plant: Option<&Client>, runtime: &tokio::runtime::Handle) -> Result<Self, String> {
        let name = sink.to_string();
        let to = match (sink, plant) {
            (Sink::Mqtt(sink), Some(client)) => To::Mqtt {
                sink: sink.clone(),
                client: client.clone(),
                runtime: runtime.clone(),
            },
            (Sink::Mqtt(_), None) => return Err(format!("sink {name} needs [plant_connection]")),
            (Sink::Jsonl(sink), _) => {
                To::File(JsonlFile::open(sink).map_err(|error| format!("sink {name} can't be opened: {error}"))?)
            }
        };
        Ok(Self {
            name,
            findings: sink.findings(),
            to,
            written: 0,
            dropped: 0,
        })
    }

    /// The sink as status and log name it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Writes one object. The error is for people; the object is counted as dropped.
    pub(crate) fn write(&mut self, kind: Kind, object: &Value) -> Result<(), String> {
        if kind != Kind::Result && !self.findings {
            return Ok(());
        }
        let written = match &mut self.to {
            To::Mqtt { sink, client, runtime } => publish(sink, client, runtime, object),
            To::File(file) => file.write(object).map_err(|error| error.to_string()),
        };
        match written {
            Ok(()) => self.written += 1,
            Err(_) => self.dropped += 1,
        }
        written.map_err(|problem| format!("sink {}: {problem}", self.name))
    }

    /// Hands buffered lines to the system.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        match &mut self.to {
            To::Mqtt { .. } => Ok(()),
            To::File(file) => file.out.flush().map_err(|error| format!("sink {}: {error}", self.name)),
        }
    }
}

fn publish(sink: &MqttSink, client: &Client, runtime: &tokio::runtime::Handle, object: &Value) -> Result<(), String> {
    let payload = object.to_string().into_bytes();
    match client.try_publish(&sink.topic, payload, sink.qos, sink.retain) {
        Ok(()) => Ok(()),
        Err(PublishError::Full) if client.is_connected() => {
            // Results come faster than the broker takes them: wait, which holds back the source.
            let payload = object.to_string().into_bytes();
            let publish = client.publish(&sink.topic, payload, sink.qos, sink.retain);
            match runtime.block_on(async { tokio::time::timeout(PUBLISH_WAIT, publish).await }) {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("the plant's broker takes nothing".to_owned()),
            }
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A file that becomes `.1` when it is full.
struct JsonlFile {
    path: PathBuf,
    max_bytes: u64,
    bytes: u64,
    out: BufWriter<File>,
}

impl JsonlFile {
    fn open(sink: &JsonlSink) -> io::Result<Self> {
        let file = append(&sink.path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            path: sink.path.clone(),
            max_bytes: sink.max_bytes,
            bytes,
            out: BufWriter::new(file),
        })
    }

    fn write(&mut self, object: &Value) -> io::Result<()> {
        let line = format!("{object}\n");
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes {
            self.rotate()?;
        }
        self.out.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.out.flush()?;
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        std::fs::rename(&self.path, old)?;
        self.out = BufWriter::new(append(&self.path)?);
        self.bytes = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_full_file_makes_room_and_keeps_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        let sink = JsonlSink {
            path: path.clone(),
            max_bytes: 30,
            findings: false,
        };
        let mut file = JsonlFile::open(&sink).unwrap();
        for k in 0..5 {
            file.write(&json!({"k": k, "pad": "xx"})).unwrap();
        }
        file.out.flush().unwrap();
        let now = std::fs::read_to_string(&path).unwrap();
        let before = std::fs::read_to_string(dir.path().join("results.jsonl.1")).unwrap();
        assert!(
            now.contains(r#""k":4"#) && before.contains(r#""k":3"#),
            "{now} {before}"
        );
    }
}
