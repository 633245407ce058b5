//! `drift-psi`: whether features still look the way they did in training, by the population stability index.
//!
//! Values of each field are counted into the bins of a reference, window after window. At the end of each window the index
//! is a gauge, and an alarm when it is above what noise explains. README.md has the configuration, the formula and what
//! to expect of false alarms.

use floorhand_plugin_sdk::{
    Assets, Datatype, Error, Finding, Monitor, Observation, Origin, Severity, Subscription, TensorSpec, Watch, host,
    state,
};
use floorhand_statistics::{
    episode::{Change, Episode},
    psi::{self, PsiReport, Reference, TumblingPsi},
};
use serde::Deserialize;
use std::collections::BTreeMap;

floorhand_plugin_sdk::export!(DriftPsi as monitor);

/// Each field has a gauge, and the host bounds their names.
const MAX_FIELDS: usize = 256;

/// The format of the snapshot.
const STATE_VERSION: u32 = 1;

/// The plugin's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor to watch. Its last dimension holds the fields; each row along the others is a sample.
    pub tensor: String,
    /// Where the tensor is seen: `"input"`, `"features"` or `"output"`. `"features"` by default.
    #[serde(default = "default_origin")]
    pub origin: Origin,
    /// The tensor's type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The tensor's shape; -1 for any size. `[-1, n]` by default for n fields.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// The names of the tensor's columns, in order; one for every column. The reference may have more.
    pub fields: Vec<String>,
    /// Samples in a window.
    pub window: u64,
    /// The most bins that a field of the reference may have: 2 to 256. 10 by default.
    #[serde(default = "default_bins")]
    pub bins: usize,
    /// The JSON asset with the reference.
    pub reference: String,
}

/// The asset: what each field looked like in training.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceFile {
    /// By the field's name.
    pub fields: BTreeMap<String, ReferenceField>,
}

/// One field of the asset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceField {
    /// Edges between neighbouring bins, rising. A value that is an edge belongs to the bin above it.
    pub edges: Vec<f64>,
    /// Training samples in each bin: one more than edges.
    pub counts: Vec<f64>,
}

/// The configured plugin and the windows that are filling.
#[derive(Debug)]
pub struct DriftPsi {
    watch: Watch,
    fields: Vec<Field>,
}

#[derive(Debug, Clone)]
struct Field {
    name: String,
    gauge: String,
    psi: TumblingPsi,
    drift: Episode,
}

impl Monitor for DriftPsi {
    type Config = Config;

    fn configure(config: Config, assets: &Assets) -> Result<Self, Error> {
        if config.fields.is_empty() || config.fields.len() > MAX_FIELDS {
            return Err(Error::BadConfig(format!(
                "fields has {} names: 1 to {MAX_FIELDS}",
                config.fields.len()
            )));
        }
        if !(2..=psi::MAX_BINS).contains(&config.bins) {
            return Err(Error::BadConfig(format!(
                "bins is {}, and has to be 2 to {}",
                config.bins,
                psi::MAX_BINS
            )));
        }
        let reference: ReferenceFile = assets.json(&config.reference)?;
        let width = config.fields.len() as i64;
        let shape = config.shape.clone().unwrap_or_else(|| vec![-1, width]);
        if !shape.last().is_some_and(|&last| last == width || last < 0) {
            return Err(Error::BadConfig(format!(
                "shape has to end in {width}, the number of fields"
            )));
        }
        let mut fields: Vec<Field> = Vec::with_capacity(config.fields.len());
        for name in &config.fields {
            if fields.iter().any(|field| field.name == *name) {
                return Err(Error::BadConfig(format!("fields has {name:?} twice")));
            }
            fields.push(Field::new(name, &reference, &config)?);
        }
        let watch = Watch {
            origin: config.origin,
            spec: TensorSpec::new(config.tensor, config.datatype, shape),
        };
        Ok(Self { watch, fields })
    }

    fn subscription(&self) -> Subscription {
        let fields: usize = self.fields.iter().map(Field::state_bytes).sum();
        let state_bytes = (state::VERSION_BYTES + 4 + fields) as u32;
        Subscription {
            watches: vec![self.watch.clone()],
            state_bytes,
        }
    }

    fn observe(&mut self, observation: Observation) -> Result<Vec<Finding>, Error> {
        let [tensor] = observation.tensors.as_slice() else {
            return Err(Error::BadInput(format!(
                "{} tensors where one is watched",
                observation.tensors.len()
            )));
        };
        tensor.check(&self.watch.spec)?;
        let width = self.fields.len();
        if tensor.shape.last() != Some(&(width as u64)) {
            return Err(Error::BadInput(format!(
                "tensor {:?} has shape {:?}, not {width} columns",
                tensor.name, tensor.shape
            )));
        }
        let mut findings = Vec::new();
        let mut values = tensor.numbers()?;
        for _ in 0..values.len() / width {
            // The fields stand first: `zip` doesn't then take a value of the next row.
            for (field, value) in self.fields.iter_mut().zip(&mut values) {
                findings.extend(field.observe(value));
            }
        }
        Ok(findings)
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = state::Writer::new(STATE_VERSION);
        writer.u32(self.fields.len() as u32);
        for field in &self.fields {
            let (seen, counts) = field.psi.state();
            writer.u64(field.drift.length());
            writer.u64(seen);
            writer.u64s(counts);
        }
        writer.finish()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = state::Reader::new(STATE_VERSION, bytes)?;
        if reader.u32()? as usize != self.fields.len() {
            return Err(Error::BadConfig("saved state has another number of fields".into()));
        }
        let mut fields = self.fields.clone();
        for field in &mut fields {
            field.drift.restore(reader.u64()?);
            let (seen, counts) = (reader.u64()?, reader.u64s()?);
            let restored = field.psi.restore(seen, &counts);
            restored.map_err(|error| Error::BadConfig(format!("field {:?}: {error}", field.name)))?;
        }
        reader.finish()?;
        self.fields = fields;
        Ok(())
    }
}

impl Field {
    fn new(name: &str, file: &ReferenceFile, config: &Config) -> Result<Self, Error> {
        let asset = &config.reference;
        let field = file
            .fields
            .get(name)
            .ok_or_else(|| Error::BadConfig(format!("asset {asset:?} has no field {name:?}")))?;
        if field.counts.len() > config.bins {
            let bins = field.counts.len();
            return Err(Error::BadConfig(format!(
                "asset {asset:?}, field {name:?}: {bins} bins, at most {}",
                config.bins
            )));
        }
        let reference = Reference::new(field.edges.clone(), field.counts.clone())
            .map_err(|error| Error::BadConfig(format!("asset {asset:?}, field {name:?}: {error}")))?;
        let psi =
            TumblingPsi::new(reference, config.window).map_err(|error| Error::BadConfig(format!("window: {error}")))?;
        Ok(Self {
            name: name.to_owned(),
            gauge: format!("psi/{name}"),
            psi,
            drift: Episode::new(),
        })
    }

    fn state_bytes(&self) -> usize {
        8 + 8 + state::LENGTH_BYTES + 8 * self.psi.reference().bins()
    }

    fn observe(&mut self, value: f64) -> Option<Finding> {
        let report = self.psi.push(value)?;
        host::gauge(&self.gauge, report.psi);
        self.finding(report)
    }

    fn finding(&mut self, report: PsiReport) -> Option<Finding> {
        let (severity, message) = match self.drift.push(report.drifted()) {
            Change::None => return None,
            Change::Began => (
                Severity::Alarm,
                format!(
                    "the last {} values are distributed otherwise than in training",
                    report.samples
                ),
            ),
            Change::Ended(windows) => (
                Severity::Info,
                format!("distributed as in training again, after {windows} windows"),
            ),
        };
        Some(Finding {
            kind: "drift".into(),
            severity,
            subject: self.name.clone(),
            value: report.psi,
            threshold: report.threshold,
            message,
        })
    }
}

const fn default_origin() -> Origin {
    Origin::Features
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn default_bins() -> usize {
    10
}

#[cfg(test)]
mod tests;
