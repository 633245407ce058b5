//! Raises an alarm when a column stays above its limit for some samples in a row, and says when it is back.

use floorhand_plugin_sdk::state::{LENGTH_BYTES, Reader, Writer};
use floorhand_plugin_sdk::{
    Assets, Columns, Context, Datatype, Detail, Error, Finding, KeyState, Keyed, MaxKeys, Monitor, Origin, Phase, Severity,
    Subscription, Tensor, host,
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
    /// Of one key (machine): samples of another are refused. To let the bundle say how many, make a `MaxKeys` a key of the
    /// configuration.
    above: Keyed<Above>,
}

/// For each column of a key's samples, how many in a row are above the limit.
#[derive(Debug, Clone)]
struct Above(Vec<u64>);

impl KeyState for Above {
    fn state_bytes(&self) -> usize {
        LENGTH_BYTES + 8 * self.0.len()
    }

    fn write(&self, writer: &mut Writer) {
        writer.u64s(&self.0);
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let above = reader.u64s()?;
        if above.len() != self.0.len() {
            return Err(Error::BadConfig(format!("the state has {} columns", above.len())));
        }
        self.0 = above;
        Ok(())
    }
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
        let above = Above(vec![0; config.fields.len()]);
        let shape = Some(vec![1, config.fields.len() as i64]);
        let columns = Columns::new(config.input, Origin::Input, Datatype::Fp32, shape, config.fields)?;
        Ok(Self {
            columns,
            limit: config.limit,
            samples: config.samples.into(),
            above: Keyed::new(STATE_VERSION, above, MaxKeys::default())?,
        })
    }

    fn subscription(&self) -> Subscription {
        Subscription {
            watches: vec![self.columns.watch()],
            state_bytes: self.above.state_bytes(),
        }
    }

    fn observe(&mut self, context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let names = self.columns.names();
        let Above(above) = self.above.of(context.key.as_deref())?;
        self.columns.each(&tensors, |column, value| {
            let (Some(name), Some(count)) = (names.get(column), above.get_mut(column)) else { return };
            let before = *count;
            // Samples before this one may be missing, and with them the row; an alarm lasts until a value says otherwise.
            let row = if context.gap && before < self.samples { 0 } else { before };
            // NaN is not above.
            *count = if value > self.limit { row + 1 } else { 0 };
            let (severity, phase, message) = if *count == self.samples && before < self.samples {
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
        host::gauge("columns-above", above.iter().filter(|&&count| count > 0).count() as f64);
        Ok(findings)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.above.snapshot()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        self.above.restore(state)
    }
}
