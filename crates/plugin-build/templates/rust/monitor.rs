//! Raises an alarm when a column stays above its limit for some samples in a row, and says when it is back.

use floorhand_plugin_sdk::state::{LENGTH_BYTES, Reader, VERSION_BYTES, Writer};
use floorhand_plugin_sdk::{
    Assets, Columns, Context, Datatype, Detail, Error, Finding, Monitor, Origin, Phase, Severity, Subscription, Tensor, host,
};
use schemars::JsonSchema;
use serde::Deserialize;

floorhand_plugin_sdk::export!({{type}} as monitor);

/// Of the snapshot's format. Count it up when the format changes.
const STATE_VERSION: u32 = 1;

/// What the bundle says under `config`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The FP32 tensor to watch, as it comes from the source.
    pub input: String,
    /// What its columns are called, in order.
    #[schemars(length(min = 1, max = 256))]
    pub fields: Vec<String>,
    /// What no column should stay above, in the columns' unit.
    pub limit: f64,
    /// Samples in a row above the limit that make an alarm.
    #[schemars(range(min = 1, max = 1000000))]
    pub samples: u32,
}

/// The configured plugin.
#[derive(Debug)]
pub struct {{type}} {
    columns: Columns,
    limit: f64,
    samples: u64,
    /// For each column, samples in a row above the limit.
    above: Vec<u64>,
}

impl Monitor for {{type}} {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        if !config.limit.is_finite() {
            return Err(Error::BadConfig("limit is no finite number".into()));
        }
        if !(1..=1_000_000).contains(&config.samples) {
            return Err(Error::BadConfig(format!("samples is {}: 1 to 1000000", config.samples)));
        }
        let above = vec![0; config.fields.len()];
        let shape = Some(vec![1, config.fields.len() as i64]);
        let columns = Columns::new(config.input, Origin::Input, Datatype::Fp32, shape, config.fields)?;
        Ok(Self {
            columns,
            limit: config.limit,
            samples: config.samples.into(),
            above,
        })
    }

    fn subscription(&self) -> Subscription {
        Subscription {
            watches: vec![self.columns.watch()],
            state_bytes: (VERSION_BYTES + LENGTH_BYTES + 8 * self.above.len()) as u32,
        }
    }

    fn observe(&mut self, _context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let (names, above) = (self.columns.names(), &mut self.above);
        self.columns.each(&tensors, |column, value| {
            let (Some(name), Some(count)) = (names.get(column), above.get_mut(column)) else { return };
            let before = *count;
            // NaN is not above.
            *count = if value > self.limit { before + 1 } else { 0 };
            let (severity, phase, message) = if *count == self.samples {
                (Severity::Alarm, Phase::Raised, "stays above the limit")
            } else if *count == 0 && before >= self.samples {
                (Severity::Info, Phase::Cleared, "is not above the limit any more")
            } else {
                return;
            };
            findings.push(Finding {
                kind: "above-limit".into(),
                severity,
                phase,
                watch: Some(0),
                subject: name.clone(),
                value: Some(value),
                threshold: Some(self.limit),
                unit: String::new(),
                message: message.into(),
                details: vec![Detail::new("samples", before.max(*count))],
            });
        })?;
        host::gauge("columns-above", self.above.iter().filter(|&&count| count > 0).count() as f64);
        Ok(findings)
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(STATE_VERSION);
        writer.u64s(&self.above);
        writer.finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(STATE_VERSION, state)?;
        let above = reader.u64s()?;
        reader.finish()?;
        if above.len() != self.above.len() {
            return Err(Error::BadConfig(format!("the state has {} columns", above.len())));
        }
        self.above = above;
        Ok(())
    }
}
