//! `data-validation`: values out of range, missing, not finite, stuck or changing too fast, and tensors of the wrong type or shape.
//!
//! A finding at the start of an episode and another one, for information, at its end; in between only counters go on.
//! README.md has the configuration and the findings.

mod field;

use field::Field;
use floorhand_plugin_sdk::{
    Assets, Context, Datatype, Error, Finding, KeyState, Keyed, MAX_FIELDS, MaxKeys, Monitor, Origin, Phase, Severity,
    Subscription, Tensor, TensorSpec, Watch, host, name_key, state,
};
use floorhand_statistics::episode::{Change, Episode};
use schemars::JsonSchema;
use serde::Deserialize;

pub use field::FieldConfig;

floorhand_plugin_sdk::export!(DataValidation as monitor);

/// More findings in one sample, which can be a batch, tell nobody anything. What is beyond is counted.
const MAX_FINDINGS: usize = 256;

/// The format of the snapshot.
const STATE_VERSION: u32 = 3;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor to watch. Its last dimension holds the fields; each row along the others is a sample.
    pub input: String,
    /// Where the tensor is seen: `"input"`, `"features"`, `"prediction"` or `"output"`. `"input"` by default.
    #[serde(default = "default_origin")]
    pub origin: Origin,
    /// The tensor's type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The tensor's shape; -1 for any size. `[-1, -1]` by default.
    #[serde(default = "default_shape")]
    pub shape: Vec<i64>,
    /// What to check, column by column; columns that aren't named aren't checked.
    #[schemars(length(min = 1, max = 256))]
    pub fields: Vec<FieldConfig>,
    /// How many keys (machines) may come, each with runs, rates and episodes of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// The configured plugin, and which episodes last.
#[derive(Debug)]
pub struct DataValidation {
    watch: Watch,
    observed: Keyed<Observed>,
}

/// What is known of a key.
#[derive(Debug, Clone)]
struct Observed {
    misfit: Episode,
    fields: Vec<Field>,
}

impl Monitor for DataValidation {
    type Config = Config;

    fn configure(config: Config, assets: &Assets) -> Result<Self, Error> {
        Self::configure_given(config, assets, &[])
    }

    fn configure_given(config: Config, _assets: &Assets, given: &[Watch]) -> Result<Self, Error> {
        if config.fields.is_empty() || config.fields.len() > MAX_FIELDS {
            return Err(Error::BadConfig(format!(
                "fields has {} entries: 1 to {MAX_FIELDS}",
                config.fields.len()
            )));
        }
        if config.datatype == Datatype::Bytes {
            return Err(Error::BadConfig(
                "datatype is BYTES, and has to be one of numbers".into(),
            ));
        }
        let width = *config
            .shape
            .last()
            .ok_or_else(|| Error::BadConfig("shape needs a dimension".into()))?;
        let watched = |given: &&Watch| given.origin == config.origin && given.spec.name == config.input;
        let columns = given.iter().find(watched).map_or(&[][..], |given| &given.spec.fields);
        let mut fields: Vec<Field> = Vec::with_capacity(config.fields.len());
        for (position, field) in config.fields.into_iter().enumerate() {
            if fields.iter().any(|other| other.name() == field.name) {
                return Err(Error::BadConfig(format!(
                    "fields[{position}].name {:?} is taken already",
                    field.name
                )));
            }
            let unit = columns.get(field.index).map_or("", |column| &column.unit);
            fields.push(Field::new(field, position, width)?.with_unit(unit));
        }
        let watch = Watch {
            origin: config.origin,
            spec: TensorSpec::new(config.input, config.datatype, config.shape),
        };
        let nothing = Observed {
            misfit: Episode::new(),
            fields,
        };
        Ok(Self {
            watch,
            observed: Keyed::new(STATE_VERSION, nothing, config.max_keys)?,
        })
    }

    fn subscription(&self) -> Subscription {
        Subscription {
            watches: vec![self.watch.clone()],
            state_bytes: self.observed.state_bytes(),
        }
    }

    fn observe(&mut self, context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let [tensor] = tensors.as_slice() else {
            return Err(Error::BadInput(format!(
                "{} tensors where one is watched",
                tensors.len()
            )));
        };
        let key = context.key.as_deref();
        if context.gap
            && let Some(observed) = self.observed.known(key)
        {
            observed.fields.iter_mut().for_each(Field::forget_last);
        }
        let observed = self.observed.of(key)?;
        let checked = tensor.check(&self.watch.spec);
        findings.extend(observed.misfit(&self.watch.spec.name, checked.as_ref().err()));
        if checked.is_ok() {
            observed.rows(tensor, context.time_ns, &mut findings);
        }
        if findings.len() > MAX_FINDINGS {
            host::counter("findings-dropped", (findings.len() - MAX_FINDINGS) as u64);
            findings.truncate(MAX_FINDINGS);
        }
        name_key(&mut findings, key);
        Ok(findings)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.observed.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.observed.restore(bytes)
    }
}

impl KeyState for Observed {
    fn state_bytes(&self) -> usize {
        8 + self.fields.state_bytes()
    }

    fn write(&self, writer: &mut state::Writer) {
        writer.u64(self.misfit.length());
        self.fields.write(writer);
    }

    fn read(&mut self, reader: &mut state::Reader<'_>) -> Result<(), Error> {
        self.misfit.restore(reader.u64()?);
        self.fields.read(reader)
    }
}

impl Observed {
    /// Looks at every row of a tensor that fits.
    fn rows(&mut self, tensor: &Tensor, time_ns: u64, findings: &mut Vec<Finding>) {
        let width = tensor
            .shape
            .last()
            .map_or(0, |&width| usize::try_from(width).unwrap_or(usize::MAX));
        let rows = (tensor.data.len() / tensor.datatype.size())
            .checked_div(width)
            .unwrap_or(0);
        for row in 0..rows {
            for field in &mut self.fields {
                let present = field.index() < width;
                let value = tensor.number(row * width + field.index()).filter(|_| present);
                let value = value.unwrap_or(f64::NAN);
                field.observe(value, findings);
                // A sample has one time: its last row stands for it.
                if row + 1 == rows {
                    field.observe_rate(value, time_ns, findings);
                }
            }
        }
    }

    fn misfit(&mut self, tensor: &str, error: Option<&Error>) -> Option<Finding> {
        if error.is_some() {
            host::counter("misfit", 1);
        }
        let (phase, severity, value, message) = match self.misfit.push(error.is_some()) {
            Change::Began => (
                Phase::Raised,
                Severity::Alarm,
                1.0,
                error.map_or_else(String::new, |error| error.message().to_owned()),
            ),
            Change::Ended(samples) => (
                Phase::Cleared,
                Severity::Info,
                samples as f64,
                format!("the tensor has its type and shape again, after {samples} samples"),
            ),
            Change::None => return None,
        };
        Some(Finding {
            kind: "misfit".into(),
            severity,
            phase,
            watch: Some(0),
            subject: tensor.to_owned(),
            value: Some(value),
            threshold: Some(0.0),
            unit: "1".to_owned(),
            message,
            details: Vec::new(),
        })
    }
}

const fn default_origin() -> Origin {
    Origin::Input
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

fn default_shape() -> Vec<i64> {
    vec![-1, -1]
}

#[cfg(test)]
mod tests;
