//! Reads lines of numbers: one sample a line, its values between separators.

use floorhand_plugin_sdk::{Assets, Datatype, Decoder, Error, Failure, Message, Production, Sample, Tensor, TensorSpec};
use schemars::JsonSchema;
use serde::Deserialize;

floorhand_plugin_sdk::export!({{type}} as decoder);

/// Lines of a message: the interface allows no more samples.
const MAX_LINES: usize = 4096;

/// What the bundle says under `config`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the FP32 tensor of a sample is called; it has one row.
    pub output: String,
    /// What its columns are called, in order.
    #[schemars(length(min = 1, max = 256))]
    pub fields: Vec<String>,
    /// The one character that stands between two values, of ASCII.
    #[schemars(length(min = 1, max = 1))]
    pub separator: char,
}

/// The configured plugin. Has no state.
#[derive(Debug)]
pub struct {{type}} {
    spec: TensorSpec,
    separator: char,
}

impl Decoder for {{type}} {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        if !config.separator.is_ascii() {
            return Err(Error::BadConfig("separator is no character of ASCII".into()));
        }
        if !(1..=256).contains(&config.fields.len()) {
            return Err(Error::BadConfig(format!("fields has {} names: 1 to 256", config.fields.len())));
        }
        let spec = TensorSpec::new(config.output, Datatype::Fp32, vec![1, config.fields.len() as i64]);
        Ok(Self {
            spec: spec.with_fields(config.fields),
            separator: config.separator,
        })
    }

    fn production(&self) -> Production {
        Production {
            outputs: vec![self.spec.clone()],
            state_bytes: 0,
        }
    }

    fn decode(&mut self, message: Message) -> Result<Vec<Result<Sample, Failure>>, Error> {
        let text = str::from_utf8(&message.payload).map_err(|_| Error::BadInput("the message is no UTF-8".into()))?;
        let mut samples = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if index == MAX_LINES {
                return Err(Error::BadInput(format!("the message has over {MAX_LINES} lines")));
            }
            if !line.is_empty() {
                samples.push(self.sample(line).map_err(Failure::from));
            }
        }
        Ok(samples)
    }
}

impl {{type}} {
    fn sample(&self, line: &str) -> Result<Sample, Error> {
        let columns = self.spec.fields.len();
        let mut values = Vec::with_capacity(columns);
        for text in line.split(self.separator).map(str::trim) {
            let value = text.parse::<f32>().ok().filter(|value| value.is_finite());
            values.push(value.ok_or_else(|| Error::BadInput(format!("value {} is no number", values.len() + 1)))?);
        }
        if values.len() != columns {
            return Err(Error::BadInput(format!("{} values and not {columns}", values.len())));
        }
        Ok(Sample {
            id: None,
            key: None,
            time_ns: None,
            tensors: vec![Tensor::from_f32(&self.spec.name, vec![1, columns as u64], &values)],
        })
    }
}
