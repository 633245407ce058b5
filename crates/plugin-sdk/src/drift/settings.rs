//! The keys that all windowed drift monitors have, and the threshold that they come to.

use crate::{Datatype, Error, MaxKeys, Origin};
use floorhand_statistics::{
    calibration::MIN_BLOCKS,
    drift::{CONFIDENCE, Criterion, MAX_CONFIDENCE, MIN_CONFIDENCE},
    false_alarms::Reporting,
    psi::MAX_BINS,
};

/// 8 KB of state a field: enough for a false-alarm probability of 0.001 that needs no assumption.
const MAX_CALIBRATION_WINDOWS: u32 = 1000;

/// The shared keys of a configuration; [`drift_config!`](crate::drift_config) documents each.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The tensor to watch.
    pub tensor: String,
    /// Where it is seen.
    pub origin: Origin,
    /// Its type.
    pub datatype: Datatype,
    /// Its shape, `[-1, n]` by default.
    pub shape: Option<Vec<i64>>,
    /// The names of its columns.
    pub fields: Vec<String>,
    /// Samples in a window.
    pub window: u64,
    /// The asset with the reference.
    pub reference: String,
    /// The share of rounds of windows without drift in which no field alarms.
    pub confidence: Option<f64>,
    /// Instead of it, false alarms of the device a day.
    pub false_alarms_per_day: Option<f64>,
    /// Samples a second of each field.
    pub sample_rate_hz: Option<f64>,
    /// The least drift that alarms.
    pub least_drift: Option<f64>,
    /// First windows that calibrate the threshold.
    pub calibration_windows: Option<u32>,
    /// How many keys may come.
    pub max_keys: MaxKeys,
}

/// Defaults of keys, for serde.
pub mod defaults {
    use crate::{Datatype, Origin};

    /// Drift is watched in what the model gets.
    #[must_use]
    pub const fn origin() -> Origin {
        Origin::Features
    }

    /// For monitors of what the model gives: before postprocessing takes its numbers for an answer.
    #[must_use]
    pub const fn prediction() -> Origin {
        Origin::Prediction
    }

    /// As many as is usual; each holds a tenth of the training data.
    #[must_use]
    pub const fn bins() -> usize {
        10
    }

    /// What models take.
    #[must_use]
    pub const fn datatype() -> Datatype {
        Datatype::Fp32
    }
}

/// When each field alarms, and how often it does so for nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// For each field's windows.
    pub criterion: Criterion,
    /// Of each field's windows.
    pub confidence: f64,
    /// First windows that calibrate, 0 for none.
    pub calibration_windows: usize,
    /// What the device raises a day without drift at most, where the sample rate is known.
    pub false_alarms_per_day: Option<f64>,
}

impl Limits {
    /// For `fields` that are watched together, with the statistic's own `least_drift`.
    pub fn new(settings: &Settings, fields: usize, least_drift: f64) -> Result<Self, Error> {
        let fields = u32::try_from(fields).unwrap_or(u32::MAX).max(1);
        let reporting = settings
            .sample_rate_hz
            .map(|rate| Reporting::new(settings.window, rate, fields))
            .transpose()
            .map_err(|error| bad("window and sample_rate_hz", &error))?;
        let confidence = confidence(settings, reporting, fields)?;
        let least = settings.least_drift.unwrap_or(least_drift);
        let criterion = Criterion::noise(confidence, least)
            .map_err(|error| bad("confidence, shared by the fields, and least_drift", &error))?;
        Ok(Self {
            criterion,
            confidence,
            calibration_windows: calibration_windows(settings)?,
            false_alarms_per_day: reporting.map(|reporting| reporting.alarms_per_day(1.0 - confidence)),
        })
    }
}

/// The confidence of one field's windows.
fn confidence(settings: &Settings, reporting: Option<Reporting>, fields: u32) -> Result<f64, Error> {
    if let Some(alarms) = settings.false_alarms_per_day {
        if settings.confidence.is_some() {
            return Err(Error::BadConfig(
                "confidence and false_alarms_per_day: give one of them".into(),
            ));
        }
        let reporting =
            reporting.ok_or_else(|| Error::BadConfig("false_alarms_per_day needs sample_rate_hz beside it".into()))?;
        return reporting
            .confidence_for(alarms)
            .map_err(|error| bad("false_alarms_per_day", &error));
    }
    let together = settings.confidence.unwrap_or(CONFIDENCE);
    if !(MIN_CONFIDENCE..=MAX_CONFIDENCE).contains(&together) {
        return Err(Error::BadConfig(format!(
            "confidence is {together}, and has to be {MIN_CONFIDENCE} to {MAX_CONFIDENCE}"
        )));
    }
    // Bonferroni, as Criterion::shared_by; the confidence itself is needed for calibration, too.
    Ok(1.0 - (1.0 - together) / f64::from(fields))
}

/// Checks a configuration's most bins.
pub fn check_bins(bins: usize) -> Result<(), Error> {
    if (2..=MAX_BINS).contains(&bins) {
        return Ok(());
    }
    Err(Error::BadConfig(format!(
        "bins is {bins}, and has to be 2 to {MAX_BINS}"
    )))
}

fn calibration_windows(settings: &Settings) -> Result<usize, Error> {
    let Some(windows) = settings.calibration_windows else {
        return Ok(0);
    };
    if !(MIN_BLOCKS as u32..=MAX_CALIBRATION_WINDOWS).contains(&windows) {
        return Err(Error::BadConfig(format!(
            "calibration_windows is {windows}, and has to be {MIN_BLOCKS} to {MAX_CALIBRATION_WINDOWS}"
        )));
    }
    Ok(windows as usize)
}

fn bad(keys: &str, error: &floorhand_statistics::StatisticsError) -> Error {
    Error::BadConfig(format!("{keys}: {error}"))
}
