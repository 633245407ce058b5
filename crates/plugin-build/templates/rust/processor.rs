//! Smooths every column of a tensor: each value moves a part of the way from the last result to the new value.

use floorhand_plugin_sdk::state::{LENGTH_BYTES, Reader, VERSION_BYTES, Writer};
use floorhand_plugin_sdk::{Assets, Context, Datatype, Error, Processor, Signature, Tensor, TensorSpec, take};
use schemars::JsonSchema;
use serde::Deserialize;

floorhand_plugin_sdk::export!({{type}} as processor);

/// Of the snapshot's format. Count it up when the format changes.
const STATE_VERSION: u32 = 1;

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
    /// The last results; none before the first sample.
    last: Vec<f32>,
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
            last: Vec::new(),
        })
    }

    fn signature(&self) -> Signature {
        let columns = self.spec.fields.len();
        Signature {
            inputs: vec![self.spec.clone()],
            outputs: vec![self.spec.clone()],
            state_bytes: (VERSION_BYTES + LENGTH_BYTES + 4 * columns) as u32,
        }
    }

    fn process(&mut self, _context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let mut tensor = take(inputs, &self.spec.name)?;
        tensor.check(&self.spec)?;
        // One sample without a number would spoil all that come after it.
        if let Some(column) = tensor.f32s()?.position(|value| !value.is_finite()) {
            return Err(Error::BadInput(format!("column {column} of {:?} is no finite number", tensor.name)));
        }
        if self.last.is_empty() {
            self.last = tensor.to_f32()?;
        }
        let mut last = self.last.iter_mut();
        tensor.map_f32(|value| match last.next() {
            Some(last) => {
                *last += self.factor * (value - *last);
                *last
            }
            None => value,
        })?;
        Ok(vec![tensor])
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(STATE_VERSION);
        writer.f32s(self.last.iter().copied());
        writer.finish()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(STATE_VERSION, state)?;
        let last = reader.f32s()?;
        reader.finish()?;
        if !last.is_empty() && last.len() != self.spec.fields.len() {
            return Err(Error::BadConfig(format!("the state has {} columns", last.len())));
        }
        self.last = last;
        Ok(())
    }
}
