//! `drift-psi`: whether features still look the way they did in training, by the population stability index.
//!
//! Values of each field are counted into the bins of a reference, window after window. At the end of each window the index
//! is a gauge, and an alarm when it is above what noise explains. README.md has the configuration, the formula and what
//! to expect of false alarms; what all drift monitors share is [`floorhand_plugin_sdk::drift`]'s.

use floorhand_plugin_sdk::{
    Error,
    drift::{Drift, DriftMonitor, HistogramField, check_bins},
};
use floorhand_statistics::{
    StatisticsError,
    psi::{self, TumblingPsi},
};

floorhand_plugin_sdk::export!(Plugin as monitor);

/// The monitor.
pub type Plugin = Drift<DriftPsi>;

floorhand_plugin_sdk::drift_config! {
    /// The plugin's configuration.
    Config {
        /// The most bins that a field of the reference may have: 2 to 256. 10 by default.
        #[serde(default = "floorhand_plugin_sdk::drift::defaults::bins")]
        #[schemars(range(min = 2, max = 256))]
        bins: usize,
    }
}

/// The population stability index of each field.
#[derive(Debug)]
pub struct DriftPsi;

impl DriftMonitor for DriftPsi {
    type Config = Config;
    type Reference = HistogramField;
    type Statistic = TumblingPsi;

    const GAUGE: &'static str = "psi";
    const LEAST_DRIFT: f64 = psi::LEAST_DRIFT;

    fn check(config: &Config) -> Result<(), Error> {
        check_bins(config.bins)
    }

    fn statistic(config: &Config, reference: HistogramField) -> Result<TumblingPsi, StatisticsError> {
        TumblingPsi::new(reference.reference(config.bins)?, config.window)
    }
}

#[cfg(test)]
mod tests;
