//! `page-hinkley`: whether the mean of a field has risen or fallen, by the test of Page and Hinkley.
//!
//! Each field has two sums of its distances to its mean; where one has turned back by more than the threshold, that is an
//! alarm, and the test begins anew. README.md has the configuration and what to expect of false alarms, and
//! [`floorhand_statistics::page_hinkley`] the formula.

use floorhand_plugin_sdk::{
    Assets, Columns, Context, Datatype, Detail, Error, Finding, KeyState, Keyed, MaxKeys, Monitor, Origin, Phase,
    Severity, Subscription, Tensor, host, name_key, state,
};
use floorhand_statistics::{
    StatisticsError,
    block::BlockMean,
    detection::{Level, Mean},
    page_hinkley::{self, Direction, PageHinkley, Sum},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

floorhand_plugin_sdk::export!(PageHinkleyMonitor as monitor);

/// The format of the snapshot.
const STATE_VERSION: u32 = 2;

/// A field's bytes in the snapshot: the block, the mean, two sums with their turning points, whether it has alarmed.
const FIELD_BYTES: usize = 16 + 16 + 32 + 4;

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
    /// No alarm comes before this many values since the start or the last alarm. 30 by default.
    #[serde(default = "default_min_instances")]
    pub min_instances: u64,
    /// The distance to the mean that is let pass, at least 0, in the fields' unit. 0.005 by default.
    #[serde(default = "default_delta")]
    #[schemars(range(min = 0))]
    pub delta: f64,
    /// How far a sum has to turn back, above 0, in the fields' unit. 50 by default.
    #[serde(default = "default_threshold")]
    #[schemars(range(min = 0))]
    pub threshold: f64,
    /// What is left of a sum from one value to the next: above 0 and at most 1. 0.9999 by default.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0, max = 1))]
    pub alpha: f64,
    /// Which changes alarm: `"up"`, `"down"` or `"both"`. `"both"` by default.
    #[serde(default)]
    pub mode: Mode,
    /// Values whose mean is one value of the test: at least 1. 1 by default.
    #[serde(default = "default_block")]
    #[schemars(range(min = 1))]
    pub block: u64,
    /// How many keys (machines) may come, each with sums of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// Which changes alarm.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A mean that rises.
    Up,
    /// A mean that falls.
    Down,
    /// Both.
    #[default]
    Both,
}

/// The configured plugin and its sums.
#[derive(Debug)]
pub struct PageHinkleyMonitor {
    columns: Columns,
    mode: Mode,
    threshold: f64,
    fields: Keyed<Vec<Field>>,
}

#[derive(Debug, Clone)]
struct Field {
    name: Arc<str>,
    gauge: Arc<str>,
    block: BlockMean,
    test: PageHinkley,
}

impl Monitor for PageHinkleyMonitor {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        let refuse = |error: StatisticsError| Error::BadConfig(error.to_string());
        let block = BlockMean::new(config.block).map_err(refuse)?;
        let test = PageHinkley::new(page_hinkley::Config {
            min_instances: config.min_instances,
            delta: config.delta,
            threshold: config.threshold,
            alpha: config.alpha,
            direction: config.mode.into(),
        })
        .map_err(refuse)?;
        let columns = Columns::new(
            config.tensor,
            config.origin,
            config.datatype,
            config.shape,
            config.fields,
        )?;
        let field = |name: &String| Field {
            name: name.as_str().into(),
            gauge: format!("page-hinkley/{name}").into(),
            block,
            test,
        };
        let fields = columns.names().iter().map(field).collect();
        Ok(Self {
            fields: Keyed::new(STATE_VERSION, fields, config.max_keys)?,
            columns,
            mode: config.mode,
            threshold: config.threshold,
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
        let mut findings = Vec::new();
        for (column, value) in values {
            let field = fields.get_mut(column);
            findings.extend(field.and_then(|field| field.observe(value, self.mode, self.threshold)));
        }
        for field in fields {
            host::gauge(&field.gauge, self.mode.statistic(&field.test));
        }
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
    fn observe(&mut self, value: f64, mode: Mode, threshold: f64) -> Option<Finding> {
        let value = self.block.push(value)?;
        if self.test.push(value) != Level::Drift {
            return None;
        }
        let rose = self.test.rise() >= self.test.fall();
        let direction = match mode {
            Mode::Up => "risen",
            Mode::Down => "fallen",
            Mode::Both if rose => "risen",
            Mode::Both => "fallen",
        };
        Some(Finding {
            kind: "drift".into(),
            severity: Severity::Alarm,
            phase: Phase::Once,
            watch: Some(0),
            subject: self.name.to_string(),
            value: Some(mode.statistic(&self.test)),
            threshold: Some(threshold),
            unit: String::new(),
            message: format!("the mean has {direction}; the test begins anew"),
            details: vec![
                Detail::new("mean", self.test.mean()),
                Detail::new("value", value),
                Detail::new("samples", self.test.state().values.count),
            ],
        })
    }
}

impl KeyState for Field {
    fn state_bytes(&self) -> usize {
        FIELD_BYTES
    }

    fn write(&self, writer: &mut state::Writer) {
        let (count, sum) = self.block.state();
        writer.u64(count);
        writer.f64(sum);
        let page_hinkley::State {
            values,
            rise,
            fall,
            drifted,
        } = self.test.state();
        writer.u64(values.count);
        for number in [values.mean, rise.value, rise.turn, fall.value, fall.turn] {
            writer.f64(number);
        }
        writer.flag(drifted);
    }

    fn read(&mut self, reader: &mut state::Reader<'_>) -> Result<(), Error> {
        let wrong = |error| Error::BadConfig(format!("field {:?}: {error}", self.name));
        self.block.restore(reader.u64()?, reader.f64()?).map_err(wrong)?;
        let values = Mean {
            count: reader.u64()?,
            mean: reader.f64()?,
        };
        let mut sum = || -> Result<Sum, Error> {
            Ok(Sum {
                value: reader.f64()?,
                turn: reader.f64()?,
            })
        };
        let (rise, fall) = (sum()?, sum()?);
        let drifted = reader.flag()?;
        let state = page_hinkley::State {
            values,
            rise,
            fall,
            drifted,
        };
        self.test.restore(state).map_err(wrong)
    }
}

impl Mode {
    /// What is held against the threshold.
    fn statistic(self, test: &PageHinkley) -> f64 {
        match self {
            Self::Up => test.rise(),
            Self::Down => test.fall(),
            Self::Both => test.rise().max(test.fall()),
        }
    }
}

impl From<Mode> for Direction {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Up => Self::Up,
            Mode::Down => Self::Down,
            Mode::Both => Self::Both,
        }
    }
}

const fn default_origin() -> Origin {
    Origin::Features
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn default_min_instances() -> u64 {
    30
}

const fn default_delta() -> f64 {
    0.005
}

const fn default_threshold() -> f64 {
    50.0
}

const fn default_alpha() -> f64 {
    1.0 - 0.0001
}

const fn default_block() -> u64 {
    1
}

#[cfg(test)]
mod tests;
