//! `sparkplug-b`: messages of Eclipse Sparkplug B to tensors.
//!
//! Births tell the metrics' names, aliases and types; data tell what has changed. The latest values of the configured
//! metrics, of each edge node and device by itself, are a sample. README.md has the configuration and what becomes of
//! deaths, gaps and values that are missing.

mod config;
mod payload;
mod sessions;
mod topic;
mod wire;

pub use config::{Config, Field, Output, Samples};

use crate::{
    payload::{Metric, Payload},
    sessions::{Sessions, Source},
    topic::{Kind, Topic},
};
use floorhand_plugin_sdk::{
    Assets, Decoder, Error, Failure, Layout, MAX_SAMPLES, Message, Missing, Number, Production, Sample, host,
};
use std::collections::BTreeMap;

floorhand_plugin_sdk::export!(SparkplugB as decoder);

/// Tensors of a sample: more than any model takes.
const MAX_OUTPUTS: usize = 64;

/// Metrics of all outputs: each takes 24 bytes of the snapshot for every source.
const MAX_METRICS: usize = 4096;

/// The most `max_sources` may be.
const MAX_SOURCES: usize = 256;

/// The most `max_bytes` may be: the host's default limit of what a plugin may be given.
const MAX_BYTES: usize = 8 << 20;

/// The configured plugin and what it knows of nodes and devices.
#[derive(Debug)]
pub struct SparkplugB {
    outputs: Outputs,
    names: BTreeMap<String, usize>,
    samples: Samples,
    historical: bool,
    max_bytes: usize,
    sessions: Sessions,
}

/// The tensors, with the index of the metric of each column.
#[derive(Debug)]
struct Outputs {
    layouts: Vec<(Layout, Vec<usize>)>,
    /// By their indices.
    metrics: Vec<String>,
    missing: Missing,
}

impl Decoder for SparkplugB {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        check(&config)?;
        let (mut names, mut metrics, mut layouts) = (BTreeMap::new(), Vec::new(), Vec::new());
        for output in &config.outputs {
            let fields: Vec<&str> = output.fields.iter().map(|field| field.name.as_str()).collect();
            let layout = Layout::of_fields(&output.name, output.datatype, output.shape.clone(), &fields)?;
            let indices = output.fields.iter().map(|field| {
                let metric = field.metric.as_ref().unwrap_or(&field.name);
                *names.entry(metric.clone()).or_insert_with(|| {
                    metrics.push(metric.clone());
                    metrics.len() - 1
                })
            });
            let indices = indices.collect();
            layouts.push((layout, indices));
        }
        if metrics.len() > MAX_METRICS || metrics.iter().any(String::is_empty) {
            return Err(bad(format!(
                "outputs have {} metrics: {MAX_METRICS} at most, none without a name",
                metrics.len()
            )));
        }
        Ok(Self {
            sessions: Sessions::new(config.max_sources, metrics.len()),
            outputs: Outputs {
                layouts,
                metrics,
                missing: config.missing,
            },
            names,
            samples: config.samples,
            historical: config.historical,
            max_bytes: config.max_bytes,
        })
    }

    fn production(&self) -> Production {
        Production {
            outputs: self
                .outputs
                .layouts
                .iter()
                .map(|(layout, _)| layout.spec().clone())
                .collect(),
            state_bytes: u32::try_from(self.sessions.state_bytes()).unwrap_or(u32::MAX),
        }
    }

    fn decode(&mut self, message: Message) -> Result<Vec<Result<Sample, Failure>>, Error> {
        let Some(topic) = Topic::read(&message.topic)? else {
            return Ok(Vec::new());
        };
        // What can't be read is known to be of this source, and of no other.
        let read = self.read(&topic, &message.payload);
        Ok(read.unwrap_or_else(|error| vec![Err(Failure::of(Some(topic.source), error))]))
    }

    fn snapshot(&self) -> Vec<u8> {
        self.sessions.snapshot()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        self.sessions = self.sessions.restored(state)?;
        Ok(())
    }
}

impl SparkplugB {
    fn read(&mut self, topic: &Topic, payload: &[u8]) -> Result<Vec<Result<Sample, Failure>>, Error> {
        let length = payload.len();
        if length > self.max_bytes {
            return Err(Error::BadInput(format!(
                "message of {length} bytes, more than max_bytes, {}",
                self.max_bytes
            )));
        }
        let payload = Payload::read(payload, &self.names)?;
        if topic.kind == Kind::Death {
            self.bury(topic, &payload);
            return Ok(Vec::new());
        }
        self.sessions.check_room(topic)?;
        if topic.kind == Kind::Birth && topic.is_node() {
            self.sessions.begin(topic, payload.sequence, payload.birth);
        } else {
            self.follow(topic, &payload);
        }
        if topic.kind == Kind::Birth {
            self.sessions.forget_source(topic);
            self.sessions.source(topic).is_born = true;
        }
        self.take(topic, payload)
    }

    fn bury(&mut self, topic: &Topic, payload: &Payload) {
        if topic.is_node() {
            // Its sender is the broker, which knows of no sequence.
            self.sessions.end(topic, payload.birth);
        } else if self.sessions.knows_node(topic) {
            self.follow(topic, payload);
            self.sessions.forget_source(topic);
        }
    }

    fn follow(&mut self, topic: &Topic, payload: &Payload) {
        if !self.sessions.follow(topic, payload.sequence) {
            host::counter("sequence-gaps", 1);
        }
    }

    /// Takes in the metrics of a birth or of data, and gives the samples.
    fn take(&mut self, topic: &Topic, payload: Payload) -> Result<Vec<Result<Sample, Failure>>, Error> {
        let is_birth = topic.kind == Kind::Birth;
        let source = self.sessions.source(topic);
        let mut metrics = configured(source, payload.metrics, is_birth);
        if metrics.is_empty() && !source.is_born {
            return Err(Error::BadInput(format!(
                "no birth of {:?} has been seen, which tells what aliases stand for: have it born again",
                topic.source
            )));
        }
        if !self.historical {
            let before = metrics.len();
            metrics.retain(|(_, metric)| !metric.is_historical);
            if metrics.len() < before {
                host::counter("historical-values", (before - metrics.len()) as u64);
            }
        }
        let is_timed = self.samples == Samples::Timestamp && !is_birth;
        let time_of = |metric: &Metric| metric.timestamp_ms.or(payload.timestamp_ms);
        if is_timed {
            metrics.sort_by_key(|(_, metric)| time_of(metric));
        }
        let group =
            |(_, one): &(usize, Metric), (_, other): &(usize, Metric)| !is_timed || time_of(one) == time_of(other);
        let groups = metrics.chunk_by(group);
        if groups.clone().count() > MAX_SAMPLES {
            return Err(Error::BadInput(format!(
                "more than {MAX_SAMPLES} points in time in one message"
            )));
        }
        let outputs = &self.outputs;
        let samples = groups.map(|group| {
            let latest = group.iter().filter_map(|(_, metric)| metric.timestamp_ms).max();
            let time_ms = if is_timed {
                group.first().and_then(|(_, metric)| time_of(metric))
            } else {
                payload.timestamp_ms.or(latest)
            };
            let sample = outputs.sample(source, group, is_birth, &topic.source, time_ms);
            sample.map_err(|error| Failure::of(Some(topic.source.clone()), error))
        });
        Ok(samples.collect())
    }
}

/// The metrics that are configured, with their indices: by their names, or by the aliases of the source's birth.
fn configured(source: &Source, metrics: Vec<Metric>, is_birth: bool) -> Vec<(usize, Metric)> {
    let aliases = source.aliases();
    let index = |metric: &Metric| match metric.index {
        None if is_birth => None,
        None => aliases.get(&metric.alias?).copied(),
        index => index,
    };
    metrics
        .into_iter()
        .filter_map(|metric| Some((index(&metric)?, metric)))
        .collect()
}

impl Outputs {
    /// Takes in the metrics of one sample and gives it.
    fn sample(
        &self,
        source: &mut Source,
        metrics: &[(usize, Metric)],
        is_birth: bool,
        key: &str,
        time_ms: Option<u64>,
    ) -> Result<Sample, Error> {
        let mut no_number = None;
        for (index, metric) in metrics {
            if source.take(*index, metric, is_birth).is_err() {
                no_number = Some(*index);
            }
        }
        let name = |index: usize| self.metrics.get(index).map_or("", String::as_str);
        if let Some(index) = no_number {
            return Err(Error::BadInput(format!(
                "metric {:?} of {key:?} is no number",
                name(index)
            )));
        }
        let number = |&index: &usize| match (source.value(index), self.missing) {
            (Some(number), _) => Ok(number),
            (None, Missing::Nan) => Ok(Number::MISSING),
            (None, Missing::Error) => Err(Error::BadInput(format!(
                "metric {:?} of {key:?} has no value",
                name(index)
            ))),
        };
        let tensors = self.layouts.iter().map(|(layout, indices)| {
            let numbers = indices.iter().map(number).collect::<Result<Vec<_>, _>>()?;
            layout.tensor(&numbers)
        });
        Ok(Sample {
            tensors: tensors.collect::<Result<_, _>>()?,
            id: None,
            key: Some(key.to_owned()),
            // From April 2262 on there is no time that the interface could say.
            time_ns: time_ms
                .and_then(|time| time.checked_mul(1_000_000))
                .filter(|&time| time < 1 << 63),
        })
    }
}

fn check(config: &Config) -> Result<(), Error> {
    if config.outputs.is_empty() || config.outputs.len() > MAX_OUTPUTS {
        return Err(bad(format!(
            "outputs has {} tensors: 1 to {MAX_OUTPUTS}",
            config.outputs.len()
        )));
    }
    if !(1..=MAX_SOURCES).contains(&config.max_sources) {
        return Err(bad(format!(
            "max_sources is {}, and has to be 1 to {MAX_SOURCES}",
            config.max_sources
        )));
    }
    if !(1..=MAX_BYTES).contains(&config.max_bytes) {
        return Err(bad(format!(
            "max_bytes is {}, and has to be 1 to {MAX_BYTES}",
            config.max_bytes
        )));
    }
    for (index, output) in config.outputs.iter().enumerate() {
        if config
            .outputs
            .iter()
            .take(index)
            .any(|earlier| earlier.name == output.name)
        {
            return Err(bad(format!("outputs has {:?} twice", output.name)));
        }
        if config.missing == Missing::Nan && !output.datatype.is_float() {
            let datatype = output.datatype.name();
            return Err(bad(format!(
                "missing is \"nan\", which {datatype} of output {:?} doesn't have",
                output.name
            )));
        }
        if output.shape.as_ref().is_some_and(|shape| shape.contains(&-1)) {
            return Err(bad(format!(
                "shape of output {:?} has a -1, and its size is known",
                output.name
            )));
        }
    }
    Ok(())
}

fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

#[cfg(test)]
mod tests;
