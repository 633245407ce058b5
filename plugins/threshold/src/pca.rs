//! T² and Q of rows, held against limits that are given or computed.

use crate::{Judged, bad, config::PcaConfig};
use floorhand_plugin_sdk::{Assets, Error, host, state};
use floorhand_statistics::{
    hysteresis::{Config as HysteresisConfig, Hysteresis},
    pca::{MAX_COMPONENTS, PrincipalComponents},
};
use serde::Deserialize;

/// One row in 100,000: at one a second and normally distributed about one false alarm a day of each.
const DEFAULT_PROBABILITY: f64 = 0.99999;

/// A fitted analysis as an asset: attributes of scikit-learn's `StandardScaler` and `PCA`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcaFile {
    /// `StandardScaler.mean_`, or `PCA.mean_` where nothing was scaled.
    pub mean: Vec<f64>,
    /// `StandardScaler.scale_`. 1 for each by default.
    pub scale: Option<Vec<f64>>,
    /// `PCA.components_`: those that are kept, a row each.
    pub components: Vec<Vec<f64>>,
    /// `PCA.explained_variance_`: of all components if Q's limit is to be computed, else of those that are kept.
    pub explained_variance: Vec<f64>,
    /// Rows of training. Needed where a limit is to be computed.
    pub rows: Option<u32>,
}

/// The analysis and what its alarms begin with.
#[derive(Debug)]
pub(crate) struct PcaLimits {
    analysis: PrincipalComponents,
    quiet: Alarms,
}

/// T²'s and Q's.
pub(crate) type Alarms = [Hysteresis; 2];

/// Whether an alarm is raised, and its run.
const ALARM_BYTES: usize = 4 + 8;

/// Of two saved alarms.
pub(crate) const STATE_BYTES: usize = 2 * ALARM_BYTES;

impl PcaLimits {
    pub(crate) fn new(config: &PcaConfig, fields: usize, assets: &Assets) -> Result<Self, Error> {
        let name = &config.asset;
        let file: PcaFile = assets.json(name)?;
        let rows = file.rows;
        let analysis = analysis(file, fields).map_err(|error| bad(format!("asset {name:?}: {}", error.message())))?;
        let (t2_limit, q_limit) = limits(config, &analysis, rows)?;
        host::info(&format!("the limit of T2 is {t2_limit}, that of Q {q_limit}"));
        if !(0.0..=1.0).contains(&config.clear) {
            return Err(bad(format!("pca.clear is {}, and has to be 0 to 1", config.clear)));
        }
        let alarm = |limit: f64| {
            let alarm = Hysteresis::new(HysteresisConfig {
                raise: limit,
                // Nothing is ever above an infinite limit.
                clear: if limit.is_finite() { limit * config.clear } else { limit },
                raise_after: config.raise_after,
                clear_after: config.clear_after,
            });
            alarm.map_err(|error| bad(format!("pca: {error}")))
        };
        Ok(Self {
            quiet: [alarm(t2_limit)?, alarm(q_limit)?],
            analysis,
        })
    }

    /// Alarms that aren't raised.
    pub(crate) const fn quiet(&self) -> Alarms {
        self.quiet
    }

    /// T² and Q of a row. A value that isn't finite makes them NaN, and leaves the alarms as they are.
    pub(crate) fn judge(&mut self, row: &[f64], [t2_alarm, q_alarm]: &mut Alarms) -> Result<[Judged; 2], Error> {
        let (t2, q) = if row.iter().all(|value| value.is_finite()) {
            let distances = self.analysis.distances(row);
            let distances = distances.map_err(|error| Error::Internal(error.to_string()))?;
            (distances.t2, distances.q)
        } else {
            (f64::NAN, f64::NAN)
        };
        Ok([
            Judged {
                score: t2,
                raised: t2_alarm.push(t2),
            },
            Judged {
                score: q,
                raised: q_alarm.push(q),
            },
        ])
    }
}

/// Saves the alarms.
pub(crate) fn write(alarms: &Alarms, writer: &mut state::Writer) {
    for alarm in alarms {
        let (raised, run) = alarm.state();
        writer.u32(u32::from(raised));
        writer.u64(run);
    }
}

/// The alarms as they were saved, with the limits of these.
pub(crate) fn read(quiet: &Alarms, reader: &mut state::Reader<'_>) -> Result<Alarms, Error> {
    let mut alarms = *quiet;
    for alarm in &mut alarms {
        let (raised, run) = (raised(reader)?, reader.u64()?);
        alarm.restore(raised, run).map_err(|error| bad(error.to_string()))?;
    }
    Ok(alarms)
}

/// Reads what is 0 or 1.
pub(crate) fn raised(reader: &mut state::Reader<'_>) -> Result<bool, Error> {
    match reader.u32()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(bad(format!("saved state has an alarm that is {other}"))),
    }
}

fn analysis(file: PcaFile, fields: usize) -> Result<PrincipalComponents, Error> {
    let variables = file.mean.len();
    if variables != fields {
        return Err(bad(format!("mean has {variables} values for {fields} fields")));
    }
    if file.components.is_empty() || file.components.len() > MAX_COMPONENTS {
        return Err(bad(format!(
            "components has {} rows: 1 to {MAX_COMPONENTS}",
            file.components.len()
        )));
    }
    if let Some(row) = file.components.iter().position(|row| row.len() != variables) {
        return Err(bad(format!(
            "components[{row}] hasn't {variables} values, one for each field"
        )));
    }
    let scale = file.scale.unwrap_or_else(|| vec![1.0; variables]);
    let analysis = PrincipalComponents::new(file.mean, scale, file.components.concat(), file.explained_variance);
    analysis.map_err(|error| bad(error.to_string()))
}

/// Of T² and Q; infinite for a Q that is nothing but rounding.
fn limits(config: &PcaConfig, analysis: &PrincipalComponents, rows: Option<u32>) -> Result<(f64, f64), Error> {
    for (key, limit) in [("t2_limit", config.t2_limit), ("q_limit", config.q_limit)] {
        if limit.is_some_and(|limit| !limit.is_finite() || limit <= 0.0) {
            return Err(bad(format!("pca.{key} has to be above 0")));
        }
    }
    if config.probability.is_some() && config.t2_limit.is_some() && config.q_limit.is_some() {
        return Err(bad(
            "pca.probability is given, and so are both limits: it is of limits that are computed".into(),
        ));
    }
    let probability = config.probability.unwrap_or(DEFAULT_PROBABILITY);
    if !(0.5..1.0).contains(&probability) {
        return Err(bad(format!(
            "pca.probability is {probability}, and has to be 0.5 to below 1"
        )));
    }
    let t2 = config.t2_limit.or_else(|| analysis.t2_limit(probability, rows?));
    let keeps_all = analysis.components() == analysis.variables();
    let q = config
        .q_limit
        .or_else(|| keeps_all.then_some(f64::INFINITY))
        .or_else(|| analysis.q_limit(probability, rows?));
    let asset = &config.asset;
    Ok((
        t2.ok_or_else(|| {
            bad(format!(
                "asset {asset:?}: there is no limit of T2: rows has to be there, and more than components; or give \
                 pca.t2_limit"
            ))
        })?,
        q.ok_or_else(|| {
            bad(format!(
                "asset {asset:?}: there is no limit of Q: rows has to be there, more than components and one, and \
                 explained_variance of all components; or give pca.q_limit"
            ))
        })?,
    ))
}
