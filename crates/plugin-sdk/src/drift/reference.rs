//! The asset with the reference: what fields looked like in training.
//!
//! `{"fields": {"<name>": {...}}, "blocks": {"<name>": [...]}}`. A field is a histogram, a sample or counts of categories,
//! whichever the statistic needs. `blocks`, which may be left out, holds the statistic of windows of training data that
//! aren't part of the reference.

use crate::Error;
use floorhand_statistics::{
    StatisticsError, calibration::Calibration, categorical::CategoryReference, psi::Reference, sample::SortedSample,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The asset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, bound = "R: serde::de::DeserializeOwned")]
pub struct ReferenceFile<R> {
    /// By the field's name.
    pub fields: BTreeMap<String, R>,
    /// By the field's name: the statistic of blocks of training data.
    #[serde(default)]
    pub blocks: BTreeMap<String, Vec<f64>>,
}

impl<R> ReferenceFile<R> {
    /// Takes the reference of a field out of the file `asset`.
    pub fn take(&mut self, asset: &str, name: &str) -> Result<R, Error> {
        self.fields
            .remove(name)
            .ok_or_else(|| Error::BadConfig(format!("asset {asset:?} has no field {name:?}")))
    }

    /// The blocks of a field, if there are any for it.
    pub fn blocks(&mut self, asset: &str, name: &str) -> Result<Option<Calibration>, Error> {
        let Some(blocks) = self.blocks.remove(name) else {
            return Ok(None);
        };
        let calibration = Calibration::new(blocks);
        calibration
            .map(Some)
            .map_err(|error| Error::BadConfig(format!("asset {asset:?}, blocks of {name:?}: {error}")))
    }
}

/// A field as a histogram.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistogramField {
    /// Edges between neighbouring bins, rising. A value that is an edge belongs to the bin above it.
    pub edges: Vec<f64>,
    /// Training samples in each bin: one more than edges.
    pub counts: Vec<f64>,
}

impl HistogramField {
    /// The reference, of `bins` bins at most.
    pub fn reference(self, bins: usize) -> Result<Reference, StatisticsError> {
        if self.counts.len() > bins {
            return Err(StatisticsError::OutOfRange {
                name: "bins",
                value: self.counts.len() as f64,
                min: 2.0,
                max: bins as f64,
            });
        }
        Reference::new(self.edges, self.counts)
    }
}

/// A field as a sample.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleField {
    /// 2 to 4096 finite values, in any order: the training samples, or quantiles of them.
    pub values: Vec<f64>,
    /// How many training samples the values stand for; as many as there are values by default.
    #[serde(default)]
    pub samples: Option<f64>,
}

impl SampleField {
    /// The reference.
    pub fn reference(mut self) -> Result<SortedSample, StatisticsError> {
        self.values.sort_unstable_by(f64::total_cmp);
        let drawn = self.samples.unwrap_or(self.values.len() as f64);
        SortedSample::new(self.values, drawn)
    }
}

/// A field as counts of categories.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryField {
    /// 1 to 256 categories, rising.
    pub categories: Vec<f64>,
    /// Training samples in each.
    pub counts: Vec<f64>,
    /// Training samples in none of them. 0 by default.
    #[serde(default)]
    pub other: f64,
}

impl CategoryField {
    /// The reference.
    pub fn reference(self) -> Result<CategoryReference, StatisticsError> {
        CategoryReference::new(self.categories, self.counts, self.other)
    }
}
