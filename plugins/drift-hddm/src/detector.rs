//! The two variants of the detector behind one face, and their part of the snapshot.

use crate::{Config, Variant};
use floorhand_plugin_sdk::{Error, state};
use floorhand_statistics::{
    StatisticsError,
    detection::{Level, Mean},
    hddm::{AverageConfig, AverageState, HddmA, HddmW, Shift, Side, WeightedConfig, WeightedMean, WeightedState},
};

/// The newest value's weight where none is given.
const DEFAULT_LAMBDA: f64 = 0.05;

/// Either variant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Detector {
    Average(HddmA),
    Weighted(HddmW),
}

impl Detector {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let &Config {
            drift_confidence,
            warning_confidence,
            two_sided,
            ..
        } = config;
        let refuse = |error: StatisticsError| Error::BadConfig(error.to_string());
        if config.variant == Variant::A {
            if config.lambda.is_some() {
                return Err(Error::BadConfig(
                    "lambda belongs to variant \"w\": this is \"a\"".into(),
                ));
            }
            let average = HddmA::new(AverageConfig {
                drift_confidence,
                warning_confidence,
                two_sided,
            });
            return average.map(Self::Average).map_err(refuse);
        }
        let weighted = HddmW::new(WeightedConfig {
            drift_confidence,
            warning_confidence,
            lambda: config.lambda.unwrap_or(DEFAULT_LAMBDA),
            two_sided,
        });
        weighted.map(Self::Weighted).map_err(refuse)
    }

    pub(crate) fn push(&mut self, value: f64) -> Level {
        match self {
            Self::Average(detector) => detector.push(value),
            Self::Weighted(detector) => detector.push(value),
        }
    }

    pub(crate) const fn mean(&self) -> f64 {
        match self {
            Self::Average(detector) => detector.mean(),
            Self::Weighted(detector) => detector.mean(),
        }
    }

    pub(crate) fn shift(&self, level: Level) -> Option<Shift> {
        match self {
            Self::Average(detector) => detector.shift(level),
            Self::Weighted(detector) => detector.shift(level),
        }
    }

    pub(crate) const fn state_bytes(&self) -> usize {
        match self {
            Self::Average(_) => 3 * 16 + 4,
            Self::Weighted(_) => 20 + 2 * (12 + 2 * 20) + 4,
        }
    }

    pub(crate) fn write(&self, writer: &mut state::Writer) {
        match self {
            Self::Average(detector) => {
                let state = detector.state();
                for mean in [state.all, state.lowest, state.highest] {
                    writer.u64(mean.count);
                    writer.f64(mean.mean);
                }
                writer.flag(state.drifted);
            }
            Self::Weighted(detector) => {
                let state = detector.state();
                write_mean(writer, state.all);
                for side in [state.rise, state.fall] {
                    writer.flag(side.cut.is_some());
                    writer.f64(side.cut.unwrap_or_default());
                    write_mean(writer, side.before);
                    write_mean(writer, side.after);
                }
                writer.flag(state.drifted);
            }
        }
    }

    pub(crate) fn read(&mut self, reader: &mut state::Reader<'_>, field: &str) -> Result<(), Error> {
        let restored = match self {
            Self::Average(detector) => {
                let mut mean = || -> Result<Mean, Error> {
                    Ok(Mean {
                        count: reader.u64()?,
                        mean: reader.f64()?,
                    })
                };
                let (all, lowest, highest) = (mean()?, mean()?, mean()?);
                detector.restore(AverageState {
                    all,
                    lowest,
                    highest,
                    drifted: reader.flag()?,
                })
            }
            Self::Weighted(detector) => detector.restore(WeightedState {
                all: read_mean(reader)?,
                rise: read_side(reader)?,
                fall: read_side(reader)?,
                drifted: reader.flag()?,
            }),
        };
        restored.map_err(|error| Error::BadConfig(format!("field {field:?}: {error}")))
    }
}

fn write_mean(writer: &mut state::Writer, mean: WeightedMean) {
    writer.f64(mean.mean);
    writer.f64(mean.squared_weights);
    writer.flag(mean.started);
}

fn read_mean(reader: &mut state::Reader<'_>) -> Result<WeightedMean, Error> {
    Ok(WeightedMean {
        mean: reader.f64()?,
        squared_weights: reader.f64()?,
        started: reader.flag()?,
    })
}

fn read_side(reader: &mut state::Reader<'_>) -> Result<Side, Error> {
    let (is_cut, cut) = (reader.flag()?, reader.f64()?);
    Ok(Side {
        cut: is_cut.then_some(cut),
        before: read_mean(reader)?,
        after: read_mean(reader)?,
    })
}
