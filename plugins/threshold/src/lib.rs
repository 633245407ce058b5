//! `threshold`: how far rows of sensor values are from what is usual, and alarms on that: T² and Q of a principal component
//! analysis, and z-scores of each field.
//!
//! Formulas, limits and false alarms are those of `floorhand_statistics::{pca, zscore, hysteresis}`. README.md has the
//! configuration. It is a processor: what follows may go by scores and alarms; to be told of an alarm take a monitor.

mod config;
mod pca;
mod scores;

pub use config::{Config, PcaConfig, Side, ZScoreConfig};
use floorhand_plugin_sdk::{
    Assets, Columns, Context, Datatype, Error, Origin, Processor, Series, Signature, Tensor, TensorSpec, state, take,
};
pub use pca::PcaFile;
use pca::{Alarms, PcaLimits};
use scores::ZAlarms;

floorhand_plugin_sdk::export!(Threshold as processor);

/// The format of the snapshot.
const STATE_VERSION: u32 = 1;

/// The configured plugin, its baselines and alarms.
#[derive(Debug)]
pub struct Threshold {
    input: TensorSpec,
    scores: TensorSpec,
    alarms: TensorSpec,
    fields: usize,
    pca: Option<PcaLimits>,
    /// What each key begins with.
    quiet: Judges,
    series: Series<Judges>,
}

/// The baselines and alarms of one key.
#[derive(Debug, Clone)]
struct Judges {
    pca: Option<Alarms>,
    z: Option<ZAlarms>,
}

/// A score, and whether the alarm on it is raised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) score: f64,
    pub(crate) raised: bool,
}

impl Processor for Threshold {
    type Config = Config;

    fn configure(config: Config, assets: &Assets) -> Result<Self, Error> {
        if config.pca.is_none() && config.zscore.is_none() {
            return Err(bad("neither pca nor zscore is given".into()));
        }
        if config.scores == config.alarms {
            return Err(bad("scores and alarms have to have different names".into()));
        }
        let columns = Columns::new(
            config.input,
            // Monitors' columns have an origin; a processor's input has none.
            Origin::Input,
            config.datatype,
            config.shape,
            config.fields,
        )?;
        let names = columns.names();
        let mut input = columns.watch().spec.with_fields(names);
        if let Some(last) = input.shape.last_mut() {
            *last = names.len() as i64;
        }
        let pca = config
            .pca
            .map(|pca| PcaLimits::new(&pca, names.len(), assets))
            .transpose()?;
        let keys = config.max_keys.check()?;
        let z = config.zscore.map(|z| ZAlarms::new(&z, names.len(), keys)).transpose()?;
        let of_pca = pca.iter().flat_map(|_| ["t2".to_owned(), "q".to_owned()]);
        let of_z = z.iter().flat_map(|_| names.iter().map(|name| format!("{name}_z")));
        let judged: Vec<String> = of_pca.chain(of_z).collect();
        let (_, rows) = input.shape.split_last().unwrap_or((&0, &[]));
        let shape = [rows, &[judged.len() as i64]].concat();
        Ok(Self {
            scores: TensorSpec::new(config.scores, Datatype::Fp32, shape.clone()).with_fields(&judged),
            alarms: TensorSpec::new(config.alarms, Datatype::Bool, shape).with_fields(&judged),
            fields: names.len(),
            input,
            quiet: Judges {
                pca: pca.as_ref().map(PcaLimits::quiet),
                z,
            },
            series: Series::new(keys),
            pca,
        })
    }

    fn signature(&self) -> Signature {
        let series = self.series.state_bytes(self.quiet.state_bytes());
        Signature {
            inputs: vec![self.input.clone()],
            outputs: vec![self.scores.clone(), self.alarms.clone()],
            state_bytes: (state::VERSION_BYTES + series) as u32,
        }
    }

    fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let tensor = take(inputs, &self.input.name)?;
        tensor.check(&self.input)?;
        let values: Vec<f64> = tensor.numbers()?.collect();
        let quiet = &self.quiet;
        let judges = self.series.of(context.key.as_deref(), || quiet.clone())?;
        let mut judged = Vec::new();
        for row in values.chunks_exact(self.fields) {
            if let (Some(pca), Some(alarms)) = (&mut self.pca, &mut judges.pca) {
                judged.extend(pca.judge(row, alarms)?);
            }
            if let Some(z) = &mut judges.z {
                z.judge(row, &mut judged);
            }
        }
        let rows = tensor.shape.split_last().map(|(_, rows)| rows).unwrap_or_default();
        let shape = [rows, &[self.scores.fields.len() as u64]].concat();
        let scores: Vec<f32> = judged.iter().map(|judged| judged.score as f32).collect();
        Ok(vec![
            Tensor::from_f32(&self.scores.name, shape.clone(), &scores),
            Tensor {
                name: self.alarms.name.clone(),
                datatype: Datatype::Bool,
                shape,
                data: judged.iter().map(|judged| u8::from(judged.raised)).collect(),
            },
        ])
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = state::Writer::new(STATE_VERSION);
        self.series.write(&mut writer, Judges::write);
        writer.finish()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = state::Reader::new(STATE_VERSION, bytes)?;
        let series = self.series.read(&mut reader, |reader| self.quiet.read(reader))?;
        reader.finish()?;
        self.series = series;
        Ok(())
    }
}

impl Judges {
    fn state_bytes(&self) -> usize {
        let pca = self.pca.as_ref().map_or(0, |_| pca::STATE_BYTES);
        pca + self.z.as_ref().map_or(0, ZAlarms::state_bytes)
    }

    fn write(&self, writer: &mut state::Writer) {
        if let Some(alarms) = &self.pca {
            pca::write(alarms, writer);
        }
        if let Some(z) = &self.z {
            z.write(writer);
        }
    }

    /// Saved ones of the same configuration.
    fn read(&self, reader: &mut state::Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            pca: self.pca.as_ref().map(|alarms| pca::read(alarms, reader)).transpose()?,
            z: self.z.as_ref().map(|z| z.read(reader)).transpose()?,
        })
    }
}

const fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

#[cfg(test)]
mod tests;
