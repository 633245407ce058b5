//! `drift-adwin`: whether the mean of a field has changed, by ADWIN's adaptive window.
//!
//! Each field has a window that grows while its mean is steady; where two parts of it differ by more than chance allows,
//! that is an alarm, and the window begins anew. README.md has the configuration and what to expect of false alarms, and
//! [`floorhand_statistics::adwin`] the formula.

use floorhand_plugin_sdk::{
    Assets, Columns, Context, Datatype, Detail, Error, Finding, KeyState, Keyed, MaxKeys, Monitor, Origin, Phase,
    Severity, Subscription, Tensor, host, name_key, state,
};
use floorhand_statistics::{
    adwin::{self, Adwin, Bucket},
    block::BlockMean,
    detection::Level,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

floorhand_plugin_sdk::export!(DriftAdwin as monitor);

/// The format of the snapshot.
const STATE_VERSION: u32 = 2;

/// Bytes of a bucket in the snapshot.
const BUCKET_BYTES: usize = 24;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor to watch. Its last dimension holds the fields; each row along the others is a value of each.
    pub tensor: String,
    /// Where the tensor is seen: `"input"`, `"features"`, `"prediction"` or `"output"`. `"features"` by default.
    #[serde(default = "default_origin")]
    pub origin: Origin,
    /// The tensor's type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The tensor's shape; -1 for any size. `[-1, n]` by default for n fields.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// The names of the tensor's columns, in order; one for every column.
    #[schemars(length(min = 1, max = 256))]
    pub fields: Vec<String>,
    /// The bound on a false cut each time cuts are tried: above 0 and below 1. 0.002 by default.
    #[serde(default = "default_delta")]
    #[schemars(range(min = 0, max = 1))]
    pub delta: f64,
    /// Cuts are tried at every clock-th value since the start or the last alarm: at least 1. 32 by default.
    #[serde(default = "default_clock")]
    #[schemars(range(min = 1))]
    pub clock: u32,
    /// The most buckets of one size: 2 to 64. 5 by default.
    #[serde(default = "default_max_buckets")]
    #[schemars(range(min = 2, max = 64))]
    pub max_buckets: u32,
    /// Parts of fewer values aren't compared: at least 1. 5 by default.
    #[serde(default = "default_min_window_length")]
    #[schemars(range(min = 1))]
    pub min_window_length: u32,
    /// No cut is tried in a window of this many values or fewer. 10 by default.
    #[serde(default = "default_grace_period")]
    pub grace_period: u32,
    /// Values whose mean is one value of the window: at least 1. 1 by default.
    #[serde(default = "default_block")]
    #[schemars(range(min = 1))]
    pub block: u64,
    /// How many keys (machines) may come, each with windows of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// The configured plugin and its windows.
#[derive(Debug)]
pub struct DriftAdwin {
    columns: Columns,
    fields: Keyed<Vec<Field>>,
}

#[derive(Debug, Clone)]
struct Field {
    name: Arc<str>,
    mean_gauge: Arc<str>,
    width_gauge: Arc<str>,
    block: BlockMean,
    adwin: Adwin,
}

impl Monitor for DriftAdwin {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        let refuse = |error: floorhand_statistics::StatisticsError| Error::BadConfig(error.to_string());
        let block = BlockMean::new(config.block).map_err(refuse)?;
        let adwin = Adwin::new(adwin::Config {
            delta: config.delta,
            clock: config.clock,
            max_buckets: config.max_buckets,
            min_window_length: config.min_window_length,
            grace_period: config.grace_period,
        })
        .map_err(refuse)?;
        let columns = Columns::new(
            config.tensor,
            config.origin,
            config.datatype,
            config.shape,
            config.fields,
        )?;
        let fields = columns
            .names()
            .iter()
            .map(|name| Field::new(name, block, &adwin))
            .collect();
        Ok(Self {
            columns,
            fields: Keyed::new(STATE_VERSION, fields, config.max_keys)?,
        })
    }

    fn subscription(&self) -> Subscription {
        Subscription {
            watches: vec![self.columns.watch()],
            state_bytes: self.fields.state_bytes(),
        }
    }

    fn observe(&mut self, context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error> {
        let values = self.columns.values(&tensors)?;
        let key = context.key.as_deref();
        let fields = self.fields.of(key)?;
        let found = values.filter_map(|(column, value)| fields.get_mut(column)?.observe(value));
        let mut findings: Vec<Finding> = found.collect();
        name_key(&mut findings, key);
        Ok(findings)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.fields.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.fields.restore(bytes)
    }
}

impl Field {
    fn new(name: &str, block: BlockMean, adwin: &Adwin) -> Self {
        Self {
            name: name.into(),
            mean_gauge: format!("adwin-mean/{name}").into(),
            width_gauge: format!("adwin-width/{name}").into(),
            block,
            adwin: adwin.clone(),
        }
    }

    fn observe(&mut self, value: f64) -> Option<Finding> {
        let value = self.block.push(value)?;
        // What the window was, with the new value in it. After an alarm it begins with the new value.
        let (width, total) = if self.adwin.state().drifted {
            (1, value)
        } else {
            (self.adwin.width() + 1, self.adwin.state().total + value)
        };
        let level = self.adwin.push(value);
        if self.adwin.state().tick == 0 {
            host::gauge(&self.mean_gauge, self.adwin.mean());
            host::gauge(&self.width_gauge, self.adwin.width() as f64);
        }
        (level == Level::Drift).then(|| self.finding(width, total))
    }

    /// `width` and `total` are the window's before its older part was dropped.
    fn finding(&self, width: u64, total: f64) -> Finding {
        let (kept, after) = (self.adwin.width(), self.adwin.mean());
        let before = (total - self.adwin.state().total) / (width - kept) as f64;
        Finding {
            kind: "drift".into(),
            severity: Severity::Alarm,
            phase: Phase::Once,
            watch: Some(0),
            subject: self.name.to_string(),
            value: Some(after - before),
            // The bound differs from cut to cut.
            threshold: None,
            unit: String::new(),
            message: "the mean has changed; the window begins anew".into(),
            details: vec![
                Detail::new("mean-before", before),
                Detail::new("mean-after", after),
                Detail::new("samples-before", width - kept),
                Detail::new("samples-after", kept),
            ],
        }
    }
}

impl KeyState for Field {
    fn state_bytes(&self) -> usize {
        let block = 8 + 8;
        let window = 4 + 4 + 8 + 8 + state::LENGTH_BYTES;
        block + window + BUCKET_BYTES * self.adwin.most_buckets()
    }

    fn write(&self, writer: &mut state::Writer) {
        let (count, sum) = self.block.state();
        writer.u64(count);
        writer.f64(sum);
        let window = self.adwin.state();
        writer.u32(window.tick);
        writer.flag(window.drifted);
        writer.f64(window.total);
        writer.f64(window.squares);
        writer.u32(window.buckets.len() as u32);
        for bucket in &window.buckets {
            writer.u64(bucket.size);
            writer.f64(bucket.total);
            writer.f64(bucket.squares);
        }
    }

    fn read(&mut self, reader: &mut state::Reader<'_>) -> Result<(), Error> {
        let wrong = |error| Error::BadConfig(format!("field {:?}: {error}", self.name));
        self.block.restore(reader.u64()?, reader.f64()?).map_err(wrong)?;
        let mut window = adwin::State {
            tick: reader.u32()?,
            drifted: reader.flag()?,
            total: reader.f64()?,
            squares: reader.f64()?,
            buckets: Vec::new(),
        };
        let buckets = reader.u32()? as usize;
        if buckets > self.adwin.most_buckets() {
            return Err(Error::BadConfig(format!(
                "field {:?}: {buckets} buckets in the saved state",
                self.name
            )));
        }
        for _ in 0..buckets {
            window.buckets.push(Bucket {
                size: reader.u64()?,
                total: reader.f64()?,
                squares: reader.f64()?,
            });
        }
        self.adwin.restore(window).map_err(wrong)
    }
}

const fn default_origin() -> Origin {
    Origin::Features
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn default_delta() -> f64 {
    0.002
}

const fn default_clock() -> u32 {
    32
}

const fn default_max_buckets() -> u32 {
    5
}

const fn default_min_window_length() -> u32 {
    5
}

const fn default_grace_period() -> u32 {
    10
}

const fn default_block() -> u64 {
    1
}

#[cfg(test)]
mod tests;
