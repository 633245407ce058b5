//! `drift-wasserstein`: how far features have moved from where they were in training, by the Wasserstein distance.
//!
//! The values of each field are kept for a window. At its end the distance, in the reference's standard deviations, is a
//! gauge, and an alarm when it is above what noise explains. README.md has the configuration, the formula and what to expect
//! of false alarms; what all drift monitors share is [`floorhand_plugin_sdk::drift`]'s.

use floorhand_plugin_sdk::{
    Error,
    drift::{Drift, DriftMonitor, SampleField},
};
use floorhand_statistics::{
    StatisticsError,
    wasserstein::{self, MAX_WINDOW, MIN_WINDOW, TumblingWasserstein},
};

floorhand_plugin_sdk::export!(Plugin as monitor);

/// The monitor.
pub type Plugin = Drift<DriftWasserstein>;

floorhand_plugin_sdk::drift_config! {
    /// The plugin's configuration.
    Config {}
}

/// The Wasserstein distance of each field.
#[derive(Debug)]
pub struct DriftWasserstein;

impl DriftMonitor for DriftWasserstein {
    type Config = Config;
    type Reference = SampleField;
    type Statistic = TumblingWasserstein;

    const GAUGE: &'static str = "wasserstein";
    const LEAST_DRIFT: f64 = wasserstein::LEAST_DRIFT;

    fn check(config: &Config) -> Result<(), Error> {
        if (MIN_WINDOW as u64..=MAX_WINDOW as u64).contains(&config.window) {
            return Ok(());
        }
        Err(Error::BadConfig(format!(
            "window is {}, and has to be {MIN_WINDOW} to {MAX_WINDOW}: in shorter ones drift-ks finds more",
            config.window
        )))
    }

    fn statistic(config: &Config, reference: SampleField) -> Result<TumblingWasserstein, StatisticsError> {
        let window = usize::try_from(config.window).unwrap_or(usize::MAX);
        TumblingWasserstein::new(reference.reference()?, window)
    }
}

#[cfg(test)]
mod tests;
