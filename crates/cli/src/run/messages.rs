//! Messages from a file, for bundles that have a decoder: what a source would send, line by line or as a whole.

use super::input::{Counted, Format, opened};
use anyhow::{Context, Result, anyhow};
use floorhand_pipeline::decode::{Line, Lines, MAX_SAMPLE_BYTES};
use floorhand_pipeline::{Decoded, Pipeline, RecordedMessage};
use serde::Deserialize;
use std::cell::Cell;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// An input that messages are taken from.
pub(super) struct Messages {
    from: From,
    /// The file's name, which is the topic of what has none of its own.
    name: String,
    read: Rc<Cell<u64>>,
    length: Option<u64>,
}

enum From {
    /// A message a line; recorded ones with what came with them.
    Lines {
        lines: Lines<BufReader<Counted>>,
        recorded: bool,
    },
    /// One message, until it was taken.
    Whole(Option<Counted>),
}

/// A line of a recording.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    #[serde(flatten)]
    message: RecordedMessage,
    time_ms: Option<u64>,
}

impl Messages {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path, format: Option<Format>, delimiter: Option<char>) -> Result<Self> {
        let (counted, read, length) = opened(path)?;
        let lines = |counted, recorded| From::Lines {
            lines: Lines::new(BufReader::new(counted), MAX_SAMPLE_BYTES, Arc::default()),
            recorded,
        };
        let none = || anyhow!("the bundle has a decoder, which takes messages: --format is lines, messages or file");
        let from = match format {
            _ if delimiter.is_some() => return Err(none()),
            None | Some(Format::Lines) => lines(counted, false),
            Some(Format::Messages) => lines(counted, true),
            Some(Format::File) => From::Whole(Some(counted)),
            Some(Format::Csv | Format::Jsonl) => return Err(none()),
        };
        Ok(Self {
            from,
            name: super::file_name(path),
            read,
            length,
        })
    }

    /// The file's length in bytes, where it has one.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> u64 {
        self.read.get()
    }

    /// What the next message comes to, and its line; `None` at the end. The inner error is of the message, which was none;
    /// behind the outer one nothing can be read.
    pub(super) fn next_decoded(
        &mut self,
        pipeline: &mut Pipeline,
        time_ms: u64,
        now_ms: u64,
    ) -> Result<Option<(String, Result<Decoded>)>> {
        let (lines, recorded) = match &mut self.from {
            From::Lines { lines, recorded } => (lines, *recorded),
            From::Whole(file) => {
                let Some(file) = file.take() else { return Ok(None) };
                let bytes = whole(file)?;
                return Ok(Some((
                    "the file".to_owned(),
                    self.decode(pipeline, &bytes, time_ms, now_ms),
                )));
            }
        };
        let mut text = Vec::new();
        loop {
            let found = lines.read(&mut text);
            let at = format!("line {}", lines.number());
            let decoded = match found.with_context(|| at.clone())? {
                None => return Ok(None),
                Some(Line::TooLong) => Err(anyhow!("it is longer than {MAX_SAMPLE_BYTES} bytes and is no message")),
                Some(Line::Whole) if text.trim_ascii().is_empty() => continue,
                Some(Line::Whole) if recorded => self.decode_recorded(pipeline, &text, time_ms, now_ms),
                Some(Line::Whole) => self.decode(pipeline, &text, time_ms, now_ms),
            };
            return Ok(Some((at, decoded)));
        }
    }

    fn decode(&self, pipeline: &mut Pipeline, payload: &[u8], time_ms: u64, now_ms: u64) -> Result<Decoded> {
        let message = floorhand_pipeline::Message {
            topic: &self.name,
            received_ns: time_ms.saturating_mul(MS),
            payload,
            ..Default::default()
        };
        pipeline.decode(message, now_ms).context("the bundle has no decoder")
    }

    fn decode_recorded(&self, pipeline: &mut Pipeline, line: &[u8], time_ms: u64, now_ms: u64) -> Result<Decoded> {
        let Recorded {
            message,
            time_ms: own_ms,
        } = serde_json::from_slice(line).context("expected a message as a JSON object")?;
        let payload = message.payload().map_err(anyhow::Error::msg)?;
        let properties = message.properties();
        let mut message = message.message(&payload, &properties, own_ms.unwrap_or(time_ms).saturating_mul(MS));
        if message.topic.is_empty() {
            message.topic = &self.name;
        }
        pipeline.decode(message, now_ms).context("the bundle has no decoder")
    }
}

fn whole(file: Counted) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_SAMPLE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .context("can't be read")?;
    if bytes.len() > MAX_SAMPLE_BYTES {
        return Err(anyhow!("is longer than {MAX_SAMPLE_BYTES} bytes and is no message"));
    }
    Ok(bytes)
}
