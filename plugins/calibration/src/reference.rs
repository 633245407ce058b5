//! The asset: how sure the classifier was in validation.

use floorhand_plugin_sdk::Error;
use floorhand_statistics::{StatisticsError, calibration::Calibration, mean_shift::MeanReference};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The asset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceFile {
    /// Answers in validation, 2 or more.
    pub samples: f64,
    /// Of the largest probability.
    pub confidence: Moments,
    /// Of the entropy in nats.
    pub entropy: Moments,
    /// How many of the answers were below `low_confidence`.
    pub low: f64,
    /// The expected calibration error in validation, 0 to 1. 0 by default.
    #[serde(default)]
    pub calibration_error: f64,
    /// By measure: its statistic in windows that aren't part of the above.
    #[serde(default)]
    pub blocks: BTreeMap<String, Vec<f64>>,
}

/// What numbers looked like.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, above 0.
    pub deviation: f64,
    /// The skewness.
    pub skewness: f64,
}

impl ReferenceFile {
    /// The reference of a measure.
    pub(crate) fn mean(&self, measure: &str) -> Result<MeanReference, StatisticsError> {
        let moments = match measure {
            "confidence" => self.confidence,
            "entropy" => self.entropy,
            _ => self.low()?,
        };
        MeanReference::new(moments.mean, moments.deviation, moments.skewness, self.samples)
    }

    /// The blocks of a measure, if there are any for it.
    pub(crate) fn blocks(&mut self, asset: &str, measure: &str) -> Result<Option<Calibration>, Error> {
        let blocks = self.blocks.remove(measure).map(Calibration::new).transpose();
        blocks.map_err(|error| Error::BadConfig(format!("asset {asset:?}, blocks of {measure:?}: {error}")))
    }

    /// Of a number that is 1 for an answer of low confidence and else 0. Half a count on either side, since none of so many
    /// doesn't say never.
    fn low(&self) -> Result<Moments, StatisticsError> {
        if !(0.0..=self.samples).contains(&self.low) {
            return Err(StatisticsError::OutOfRange {
                name: "low",
                value: self.low,
                min: 0.0,
                max: self.samples,
            });
        }
        let share = (self.low + 0.5) / (self.samples + 1.0);
        let deviation = (share * (1.0 - share)).sqrt();
        Ok(Moments {
            mean: share,
            deviation,
            skewness: (1.0 - 2.0 * share) / deviation,
        })
    }
}
