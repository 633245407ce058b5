//! The z-score of each field, each with a baseline and an alarm of its own.

use crate::{
    Judged, bad,
    config::{Side, ZScoreConfig},
    pca::raised,
};
use floorhand_plugin_sdk::{Error, state};
use floorhand_statistics::zscore::{self, Baseline, Config, State, ZScore};

/// Samples of all baselines of all keys together: half a MiB of saved state, half of what a plugin has, and 7 of its 16 MiB of memory.
const MAX_SAMPLES: usize = 1 << 16;

/// Numbers of a baseline of weights that halve.
const HALVING_NUMBERS: usize = 5;

/// One for each field.
#[derive(Debug, Clone)]
pub(crate) struct ZAlarms {
    fields: Vec<Field>,
    /// The most numbers that a field's baseline has.
    numbers: usize,
}

#[derive(Debug, Clone)]
struct Field {
    config: Config,
    score: ZScore,
    /// Nothing to compare with is as it was.
    raised: bool,
}

impl ZAlarms {
    pub(crate) fn new(config: &ZScoreConfig, fields: usize, keys: usize) -> Result<Self, Error> {
        let (baseline, numbers) = baseline(config, fields, keys)?;
        let least = config.least_deviation.as_deref().unwrap_or(&[0.0]);
        if least.len() != 1 && least.len() != fields {
            return Err(bad(format!(
                "zscore.least_deviation has {} values for {fields} fields: one for all, or one each",
                least.len()
            )));
        }
        let field = |least_deviation: f64| {
            Field::new(Config {
                baseline,
                side: match config.side {
                    Side::Both => zscore::Side::Both,
                    Side::Above => zscore::Side::Above,
                    Side::Below => zscore::Side::Below,
                },
                raise: config.raise,
                clear: config.clear,
                raise_after: config.raise_after,
                clear_after: config.clear_after,
                least_deviation,
                learn_outliers: config.learn_outliers,
            })
        };
        let fields = least.iter().copied().cycle().take(fields).map(field);
        Ok(Self {
            fields: fields.collect::<Result<_, _>>()?,
            numbers,
        })
    }

    /// Of a row. NaN where there is no value, or nothing yet to compare it with; the alarm is then as it was.
    pub(crate) fn judge(&mut self, row: &[f64], judged: &mut Vec<Judged>) {
        for (field, &value) in self.fields.iter_mut().zip(row) {
            let report = field.score.push(value);
            if let Some(report) = report {
                field.raised = report.raised;
            }
            judged.push(Judged {
                score: report.map_or(f64::NAN, |report| report.z),
                raised: field.raised,
            });
        }
    }

    /// Of each field whether the alarm is raised, its run, the older part's length and the baseline.
    pub(crate) fn state_bytes(&self) -> usize {
        self.fields.len() * (4 + 8 + 4 + state::LENGTH_BYTES + 8 * self.numbers)
    }

    pub(crate) fn write(&self, writer: &mut state::Writer) {
        for field in &self.fields {
            let State { baseline, older, alarm } = field.score.state();
            writer.u32(u32::from(alarm.0));
            writer.u64(alarm.1);
            writer.u32(older as u32);
            writer.f64s(baseline);
        }
    }

    /// As it was saved.
    pub(crate) fn read(&self, reader: &mut state::Reader<'_>) -> Result<Self, Error> {
        let field = |field: &Field| {
            let mut restored = Field::new(field.config)?;
            let alarm = (raised(reader)?, reader.u64()?);
            let (older, baseline) = (reader.u32()? as usize, reader.f64s()?);
            let done = restored.score.restore(&State { baseline, older, alarm });
            done.map_err(|error| bad(error.to_string()))?;
            restored.raised = alarm.0;
            Ok(restored)
        };
        Ok(Self {
            fields: self.fields.iter().map(field).collect::<Result<_, Error>>()?,
            numbers: self.numbers,
        })
    }
}

impl Field {
    fn new(config: Config) -> Result<Self, Error> {
        Ok(Self {
            config,
            score: ZScore::new(config).map_err(|error| bad(format!("zscore: {error}")))?,
            raised: false,
        })
    }
}

/// And the numbers that it takes.
fn baseline(config: &ZScoreConfig, fields: usize, keys: usize) -> Result<(Baseline, usize), Error> {
    let samples = match (config.samples, config.half_life) {
        (Some(_), Some(_)) => {
            return Err(bad(
                "zscore.samples stands beside half_life: give one or the other".into()
            ));
        }
        (None, Some(half_life)) => return Ok((Baseline::HalfLife(half_life), HALVING_NUMBERS)),
        (samples, None) => samples.unwrap_or(100),
    };
    let all = samples.saturating_mul(fields * keys);
    if all > MAX_SAMPLES {
        return Err(bad(format!(
            "zscore.samples, times {fields} fields and {keys} keys, make {all}, and {MAX_SAMPLES} have room: take half_life"
        )));
    }
    Ok((Baseline::Rolling(samples), samples))
}
