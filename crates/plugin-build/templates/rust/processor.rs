//! Smooths every column of a tensor: each value moves a part of the way from the last result to the new value.

use floorhand_plugin_sdk::state::{LENGTH_BYTES, Reader, VERSION_BYTES, Writer};
use floorhand_plugin_sdk::{
    Assets, Context, Datatype, Error, Processor, Series, Signature, Tensor, TensorSpec, take,
};
use schemars::JsonSchema;
use serde::Deserialize;

floorhand_plugin_sdk::export!({{type}} as processor);

/// Of the snapshot's format. Count it up when the format changes.
const STATE_VERSION: u32 = 1;

/// Keys (machines) whose samples are kept apart; those of one more are refused. To let the bundle say how many, make a
/// `MaxKeys` a key of the configuration.
const MAX_KEYS: usize = 1;

/// What the bundle says under `config`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The FP32 tensor to take, of one row.
    pub input: String,
    /// What its columns are called, in order.
    #[schemars(length(min = 1, max = 256))]
    pub fields: Vec<String>,
    /// How far a result moves to the new value: 1 is all the way.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub factor: f32,
}

/// The configured plugin.
#[derive(Debug)]
pub struct {{type}} {
    spec: TensorSpec,
    factor: f32,
    /// For each key the last results; none before its first sample.
    last: Series<Vec<f32>>,
}

impl Processor for {{type}} {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        if !(0.001..=1.0).contains(&config.factor) {
            return Err(Error::BadConfig(format!("factor is {}: 0.001 to 1", config.factor)));
        }
        if !(1..=256).contains(&config.fields.len()) {
            return Err(Error::BadConfig(format!("fields has {} names: 1 to 256", config.fields.len())));
        }
        let spec = TensorSpec::new(config.input, Datatype::Fp32, vec![1, config.fields.len() as i64]);
        Ok(Self {
            spec: spec.with_fields(config.fields),
            factor: config.factor,
            last: Series::new(MAX_KEYS),
        })
    }

    fn signature(&self) -> Signature {
        let columns = self.spec.fields.len();
        Signature {
            inputs: vec![self.spec.clone()],
            outputs: vec![self.spec.clone()],
            state_bytes: (VERSION_BYTES + self.last.state_bytes(LENGTH_BYTES + 4 * columns)) as u32,
        }
    }

    fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let mut tensor = take(inputs, &self.spec.name)?;
        tensor.check(&self.spec)?;
        // Samples of one key are one series; what is built of neighbours begins anew where some may be missing.
        let key = context.key.as_deref();
        if context.gap
            && let Some(last) = self.last.known(key)
        {
            last.clear();
        }
        let last = self.last.of(key, Vec::new)?;
        let mut column = 0;
        tensor.map_f32(|value| {
            let before = last.get(column).copied().unwrap_or(value);
            column += 1;
            before + self.factor * (value - before)
        })?;
        // One result without a number would spoil all that come after it.
        let results = tensor.to_f32()?;
        if let Some(column) = results.iter().position(|value| !value.is_finite()) {
            return Err(Error::BadInput(format!("column {column} of {:?} is no number that can be smoothed", tensor.name)));
        }
        *last = results;
        Ok(vec![tensor])
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(STATE_VERSION);
        self.last.write(&mut writer, |last, writer| writer.f32s(last.iter().copied()));
        writer.finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(STATE_VERSION, state)?;
        let columns = self.spec.fields.len();
        let last = self.last.read(&mut reader, |reader| {
            let last = reader.f32s()?;
            if !last.is_empty() && last.len() != columns {
                return Err(Error::BadConfig(format!("the state has {} columns", last.len())));
            }
            Ok(last)
        })?;
        reader.finish()?;
        self.last = last;
        Ok(())
    }
}
