//! `output-drift`: whether a model still gives what it gave in validation: classes as often, scores distributed alike.
//!
//! The one monitor that needs neither labels nor knowledge of the inputs. README.md has the configuration, the formulas and
//! what to expect of false alarms; what all drift monitors share is [`floorhand_plugin_sdk::drift`]'s.

mod reference;

use floorhand_plugin_sdk::{
    Assets, Columns, Context, Datatype, Error, Finding, Monitor, Subscription, Tensor, TensorSpec, Watch,
    drift::{DriftConfig, Fields, Limits, Settings},
};
use floorhand_statistics::{
    categorical::TumblingChiSquare, kolmogorov_smirnov::TumblingKolmogorovSmirnov, psi::TumblingPsi, softmax::argmax,
};
use reference::References;
use schemars::JsonSchema;
use serde::Deserialize;

floorhand_plugin_sdk::export!(OutputDrift as monitor);

floorhand_plugin_sdk::drift_config! {
    @prediction
    /// The plugin's configuration.
    Config {
        /// What the tensor holds: `"classes"`, a probability, score or logit for each class along the last dimension, of which the
        /// largest is the answer; `"labels"`, an integer for each field; `"scores"`, a number for each field.
        holds: Holds,
        /// What is computed: `"chi2"` or `"psi"` of classes and labels, `"ks"` or `"psi"` of scores. The first of them by
        /// default.
        #[serde(default)]
        statistic: Option<StatisticName>,
    }
}

/// What a model's output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// A number for each class; the class with the largest is the answer.
    Classes,
    /// The class itself.
    Labels,
    /// Numbers, such as a regression's answers or an anomaly score.
    Scores,
}

/// Which statistic is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StatisticName {
    /// Pearson's chi-square test of categories.
    Chi2,
    /// The population stability index.
    Psi,
    /// The Kolmogorov-Smirnov distance.
    Ks,
}

floorhand_plugin_sdk::one_statistic_of! {
    /// The statistic of a field.
    OutputStatistic {
        /// Of categories.
        Chi2(TumblingChiSquare),
        /// Of categories or bins.
        Psi(TumblingPsi),
        /// Of scores.
        Ks(TumblingKolmogorovSmirnov),
    }
}

/// The configured plugin and the windows that are filling.
#[derive(Debug)]
pub struct OutputDrift {
    reader: Reader,
    fields: Fields<OutputStatistic>,
}

/// How values are taken out of a tensor.
#[derive(Debug)]
enum Reader {
    /// One for each row: the place of the largest.
    Rows(Watch),
    /// One for each column.
    Columns(Columns),
}

impl Monitor for OutputDrift {
    type Config = Config;

    fn configure(config: Config, assets: &Assets) -> Result<Self, Error> {
        let settings = config.settings();
        let statistic = statistic_of(config.holds, config.statistic)?;
        let limits = Limits::new(&settings, settings.fields.len(), reference::least_drift(statistic))?;
        let mut references = reference::read(assets, &settings, config.holds, statistic)?;
        let reader = if config.holds == Holds::Classes {
            Reader::rows(&settings, &references)?
        } else {
            Reader::columns(&settings)?
        };
        let mut fields = Fields::new("output", settings.max_keys)?;
        for name in &settings.fields {
            let (statistic, blocks) = references.take(name, settings.window)?;
            fields.add(name, statistic, &limits, blocks)?;
        }
        Ok(Self { reader, fields })
    }

    fn subscription(&self) -> Subscription {
        let watch = match &self.reader {
            Reader::Rows(watch) => watch.clone(),
            Reader::Columns(columns) => columns.watch(),
        };
        Subscription {
            watches: vec![watch],
            state_bytes: self.fields.state_bytes(),
        }
    }

    fn observe(&mut self, context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error> {
        let key = context.key.as_deref();
        match &self.reader {
            Reader::Rows(watch) => self.fields.observe(key, classes(watch, &tensors)?),
            Reader::Columns(columns) => self.fields.observe(key, columns.values(&tensors)?),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.fields.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.fields.restore(bytes)
    }
}

impl Reader {
    fn columns(settings: &Settings) -> Result<Self, Error> {
        let Settings { fields, shape, .. } = settings.clone();
        Columns::new(&settings.tensor, settings.origin, settings.datatype, shape, fields).map(Self::Columns)
    }

    fn rows(settings: &Settings, references: &References) -> Result<Self, Error> {
        let [name] = settings.fields.as_slice() else {
            return Err(Error::BadConfig(format!(
                "fields has {} names: classes are one, whatever their number",
                settings.fields.len()
            )));
        };
        if settings.datatype == Datatype::Bytes {
            return Err(Error::BadConfig(
                "datatype is BYTES, and has to be one of numbers".into(),
            ));
        }
        let classes = references.classes(name)? as i64;
        let mut shape = settings.shape.clone().unwrap_or_else(|| vec![-1, classes]);
        match shape.last_mut() {
            Some(last) if *last < 0 || *last == classes => *last = classes,
            _ => {
                return Err(Error::BadConfig(format!(
                    "shape has to end in {classes}, the reference's classes"
                )));
            }
        }
        Ok(Self::Rows(Watch {
            origin: settings.origin,
            spec: TensorSpec::new(&settings.tensor, settings.datatype, shape),
        }))
    }
}

/// The class of each row; one with a NaN has none, and is one.
fn classes(watch: &Watch, tensors: &[Tensor]) -> Result<impl Iterator<Item = (usize, f64)> + use<>, Error> {
    let [tensor] = tensors else {
        return Err(Error::BadInput(format!(
            "{} tensors where one is watched",
            tensors.len()
        )));
    };
    tensor.check(&watch.spec)?;
    // The spec has it, and it is 2 or more.
    let classes = tensor.shape.last().map_or(1, |&classes| (classes as usize).max(1));
    let values: Vec<f64> = tensor.numbers()?.collect();
    let rows = values.chunks_exact(classes);
    let found: Vec<(usize, f64)> = rows
        .map(|row| (0, argmax(row).map_or(f64::NAN, |class| class as f64)))
        .collect();
    Ok(found.into_iter())
}

fn statistic_of(holds: Holds, wanted: Option<StatisticName>) -> Result<StatisticName, Error> {
    match (holds, wanted) {
        (Holds::Scores, None) => Ok(StatisticName::Ks),
        (_, None) => Ok(StatisticName::Chi2),
        (Holds::Scores, Some(StatisticName::Chi2)) => {
            Err(Error::BadConfig("statistic is chi2: scores take ks or psi".into()))
        }
        (Holds::Classes | Holds::Labels, Some(StatisticName::Ks)) => Err(Error::BadConfig(
            "statistic is ks: classes and labels take chi2 or psi".into(),
        )),
        (_, Some(statistic)) => Ok(statistic),
    }
}

#[cfg(test)]
mod tests;
