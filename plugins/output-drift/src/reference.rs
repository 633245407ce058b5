//! The asset with the reference, whose fields look as the statistic needs them.

use crate::{Holds, OutputStatistic, StatisticName};
use floorhand_plugin_sdk::{
    Assets, Error,
    drift::{CategoryField, HistogramField, ReferenceFile, SampleField, Settings},
};
use floorhand_statistics::{
    StatisticsError,
    calibration::Calibration,
    categorical::{self, TumblingChiSquare},
    kolmogorov_smirnov::{self, TumblingKolmogorovSmirnov},
    psi::{self, Reference, TumblingPsi},
};

/// The asset, read.
pub(crate) struct References {
    asset: String,
    file: File,
}

enum File {
    /// Categories of which others may come up.
    Chi2(ReferenceFile<CategoryField>),
    /// The classes of a classifier.
    Closed(ReferenceFile<CategoryField>),
    /// PSI of categories.
    Classes(ReferenceFile<CategoryField>),
    /// PSI of scores.
    Bins(ReferenceFile<HistogramField>),
    Ks(ReferenceFile<SampleField>),
}

/// Reads the asset for a statistic.
pub(crate) fn read(
    assets: &Assets,
    settings: &Settings,
    holds: Holds,
    statistic: StatisticName,
) -> Result<References, Error> {
    let asset = settings.reference.clone();
    let file = match (statistic, holds) {
        (StatisticName::Chi2, Holds::Classes) => File::Closed(assets.json(&asset)?),
        (StatisticName::Chi2, _) => File::Chi2(assets.json(&asset)?),
        (StatisticName::Psi, Holds::Scores) => File::Bins(assets.json(&asset)?),
        (StatisticName::Psi, _) => File::Classes(assets.json(&asset)?),
        (StatisticName::Ks, _) => File::Ks(assets.json(&asset)?),
    };
    Ok(References { asset, file })
}

/// The least drift that matters, in the statistic's unit.
pub(crate) const fn least_drift(statistic: StatisticName) -> f64 {
    match statistic {
        StatisticName::Chi2 => categorical::LEAST_DRIFT,
        StatisticName::Psi => psi::LEAST_DRIFT,
        StatisticName::Ks => kolmogorov_smirnov::LEAST_DRIFT,
    }
}

impl References {
    /// How many classes the only field has: 0, 1, ... all of them named, in the reference.
    pub(crate) fn classes(&self, name: &str) -> Result<usize, Error> {
        let (File::Closed(file) | File::Classes(file)) = &self.file else {
            return Ok(0);
        };
        let found = file.fields.get(name).map_or(&[][..], |field| &field.categories);
        let all = (0_u32..).zip(found).all(|(class, &found)| f64::from(class) == found);
        if all && found.len() > 1 {
            return Ok(found.len());
        }
        Err(Error::BadConfig(format!(
            "asset {:?}, field {name:?}: categories have to be all classes, 0, 1 and so on",
            self.asset
        )))
    }

    /// A field's statistic over windows of `window` samples, and its blocks.
    pub(crate) fn take(&mut self, name: &str, window: u64) -> Result<(OutputStatistic, Option<Calibration>), Error> {
        let asset = &self.asset;
        let (statistic, blocks) = match &mut self.file {
            File::Chi2(file) => (
                chi2(file.take(asset, name)?, window).map(OutputStatistic::Chi2),
                file.blocks(asset, name)?,
            ),
            File::Closed(file) => (
                closed(file.take(asset, name)?, window).map(OutputStatistic::Chi2),
                file.blocks(asset, name)?,
            ),
            File::Classes(file) => (
                classes(file.take(asset, name)?, window).map(OutputStatistic::Psi),
                file.blocks(asset, name)?,
            ),
            File::Bins(file) => (
                bins(file.take(asset, name)?, window).map(OutputStatistic::Psi),
                file.blocks(asset, name)?,
            ),
            File::Ks(file) => (
                ks(file.take(asset, name)?, window).map(OutputStatistic::Ks),
                file.blocks(asset, name)?,
            ),
        };
        let statistic =
            statistic.map_err(|error| Error::BadConfig(format!("asset {asset:?}, field {name:?}: {error}")))?;
        Ok((statistic, blocks))
    }
}

fn chi2(field: CategoryField, window: u64) -> Result<TumblingChiSquare, StatisticsError> {
    TumblingChiSquare::new(field.reference()?, window)
}

fn closed(field: CategoryField, window: u64) -> Result<TumblingChiSquare, StatisticsError> {
    TumblingChiSquare::closed(field.reference()?, window)
}

/// A bin for each category; what lies between two belongs to the nearer.
fn classes(field: CategoryField, window: u64) -> Result<TumblingPsi, StatisticsError> {
    let categories = field.reference()?;
    let pairs = categories.categories().windows(2);
    let edges = pairs.filter_map(|pair| Some(f64::midpoint(*pair.first()?, *pair.last()?)));
    TumblingPsi::new(Reference::new(edges.collect(), categories.counts().to_vec())?, window)
}

fn bins(field: HistogramField, window: u64) -> Result<TumblingPsi, StatisticsError> {
    TumblingPsi::new(field.reference(psi::MAX_BINS)?, window)
}

fn ks(field: SampleField, window: u64) -> Result<TumblingKolmogorovSmirnov, StatisticsError> {
    TumblingKolmogorovSmirnov::new(field.reference()?, window)
}
