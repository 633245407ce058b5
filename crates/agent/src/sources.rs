//! Where samples come from: topics of the plant's broker, and files that are replayed.
//!
//! A source hands over bytes; what is in them is the pipeline's to find out. A file waits while the pipeline is busy. The
//! broker is held back in the same way: the transport acknowledges a message when the next one is asked for.

use crate::clock::system_ms;
use crate::config::{FileFormat, FileSource, MqttSource, SampleFormat, Source};
use crate::serving::{Input, Payload, ServeSender};
use csv::{ReaderBuilder, StringRecord};
use floorhand_transport::{Client, Event, Incoming};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The longest line of a JSONL file: a sample.
const MAX_LINE_BYTES: u64 = floorhand_pipeline::decode::MAX_SAMPLE_BYTES as u64;

/// Subscribes to what the MQTT sources name. Subscriptions last over reconnects.
pub(crate) async fn subscribe(client: &Client, sources: &[Source]) {
    for source in sources {
        if let Source::Mqtt(source) = source
            && let Err(error) = client.subscribe(&source.topic, source.qos).await
        {
            tracing::error!(%error, topic = source.topic, "failed to subscribe to a source");
        }
    }
}

/// Hands on what comes from the plant's broker, until its client is shut down.
pub(crate) async fn receive(mut incoming: Incoming, sources: Vec<Source>, serving: ServeSender) {
    let sources: Vec<MqttSource> = sources
        .into_iter()
        .filter_map(|source| {
            if let Source::Mqtt(source) = source {
                Some(source)
            } else {
                None
            }
        })
        .collect();
    while let Some(event) = incoming.recv().await {
        match event {
            Event::Connected { .. } => tracing::info!("connected to the plant's broker"),
            Event::Disconnected { reason } => tracing::warn!(reason, "the connection to the plant's broker ended"),
            Event::Retrying { reason, wait } => {
                tracing::warn!(
                    reason,
                    wait_ms = wait.as_millis() as u64,
                    "failed to reach the plant's broker"
                );
            }
            Event::Refused { topic, reason } => {
                tracing::error!(topic, reason, "the plant's broker refused; check its access list");
            }
            Event::Message(message) => {
                let Some(source) = sources.iter().find(|source| source.takes_in(&message.topic)) else {
                    continue;
                };
                let payload = match source.format {
                    SampleFormat::Json => Payload::Json(message.payload),
                    SampleFormat::Raw => Payload::Raw(message.payload),
                };
                serving
                    .sample(Input {
                        payload,
                        time_ms: system_ms(),
                        source: source.topic.clone(),
                    })
                    .await;
            }
        }
    }
}

/// Replays a file on a thread of its own, until it is at its end or `stop` is set.
pub(crate) fn replay(source: FileSource, serving: ServeSender, stop: Arc<AtomicBool>) -> io::Result<()> {
    let name = format!("file:{}", source.path.display());
    std::thread::Builder::new().name("replay".to_owned()).spawn(move || {
        let mut pace = Pace::new(source.rate_hz);
        loop {
            let replayed = match source.format {
                FileFormat::Csv => replay_csv(&source, &name, &serving, &mut pace, &stop),
                FileFormat::Jsonl => replay_jsonl(&source, &name, &serving, &mut pace, &stop),
            };
            match replayed {
                Ok(samples) => tracing::info!(source = name, samples, "the file was replayed to its end"),
                Err(error) => {
                    serving.source_error(&name, error.to_string());
                    return;
                }
            }
            if !source.repeat || stop.load(Ordering::Relaxed) {
                return;
            }
        }
    })?;
    Ok(())
}

fn replay_csv(
    source: &FileSource,
    name: &str,
    serving: &ServeSender,
    pace: &mut Pace,
    stop: &AtomicBool,
) -> io::Result<u64> {
    let delimiter = match source.delimiter {
        Some(delimiter) => u8::try_from(delimiter).unwrap_or(b','),
        None => sniff(&source.path)?,
    };
    let file = BufReader::new(File::open(&source.path)?);
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_reader(file);
    let mut header = reader.headers().map_err(io::Error::other)?.clone();
    strip_byte_order_mark(&mut header);
    let header = Arc::new(header);
    let mut row = StringRecord::new();
    let mut samples = 0;
    while !stop.load(Ordering::Relaxed) && reader.read_record(&mut row).map_err(io::Error::other)? {
        pace.wait();
        let payload = Payload::Csv {
            header: Arc::clone(&header),
            row: row.clone(),
        };
        if !serving.sample_blocking(Input {
            payload,
            time_ms: system_ms(),
            source: name.to_owned(),
        }) {
            break;
        }
        samples += 1;
    }
    Ok(samples)
}

fn replay_jsonl(
    source: &FileSource,
    name: &str,
    serving: &ServeSender,
    pace: &mut Pace,
    stop: &AtomicBool,
) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(&source.path)?);
    let mut samples = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut line = Vec::new();
        if (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        pace.wait();
        let input = Input {
            payload: Payload::Json(line),
            time_ms: system_ms(),
            source: name.to_owned(),
        };
        if !serving.sample_blocking(input) {
            break;
        }
        samples += 1;
    }
    Ok(samples)
}

/// `,` or `;`, whichever the first line has more of.
fn sniff(path: &std::path::Path) -> io::Result<u8> {
    let mut line = Vec::new();
    BufReader::new(File::open(path)?)
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', &mut line)?;
    let count = |wanted: u8| line.iter().filter(|&&byte| byte == wanted).count();
    Ok(if count(b';') > count(b',') { b';' } else { b',' })
}

fn strip_byte_order_mark(header: &mut StringRecord) {
    if header.get(0).is_some_and(|first| first.starts_with('\u{feff}')) {
        *header = header
            .iter()
            .map(|column| column.trim_start_matches('\u{feff}'))
            .collect();
    }
}

/// Keeps a rate without drifting: each sample has its own time, counted from the first.
struct Pace {
    every: Option<Duration>,
    next: Instant,
}

impl Pace {
    fn new(rate_hz: Option<f64>) -> Self {
        Self {
            every: rate_hz.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            next: Instant::now(),
        }
    }

    fn wait(&mut self) {
        let Some(every) = self.every else { return };
        let now = Instant::now();
        if self.next > now {
            std::thread::sleep(self.next - now);
        } else if now - self.next > Duration::from_secs(1) {
            // The pipeline was busy for long: go on from here, without a rush to catch up.
            self.next = now;
        }
        self.next += every;
    }
}
