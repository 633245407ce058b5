//! `drift-js`: whether features still look the way they did in training, by the Jensen-Shannon distance.
//!
//! Values of each field are counted into the bins of a reference, window after window. At the end of each window the
//! distance is a gauge, and an alarm when it is above what noise explains. README.md has the configuration, the formula and
//! what to expect of false alarms; what all drift monitors share is [`floorhand_plugin_sdk::drift`]'s.

use floorhand_plugin_sdk::{
    Error,
    drift::{Drift, DriftMonitor, HistogramField, check_bins},
};
use floorhand_statistics::{
    StatisticsError,
    jensen_shannon::{self, TumblingJensenShannon},
};

floorhand_plugin_sdk::export!(Plugin as monitor);

/// The monitor.
pub type Plugin = Drift<DriftJs>;

floorhand_plugin_sdk::drift_config! {
    /// The plugin's configuration.
    Config {
        /// The most bins that a field of the reference may have: 2 to 256. 10 by default.
        #[serde(default = "floorhand_plugin_sdk::drift::defaults::bins")]
        #[schemars(range(min = 2, max = 256))]
        bins: usize,
    }
}

/// The Jensen-Shannon distance of each field.
#[derive(Debug)]
pub struct DriftJs;

impl DriftMonitor for DriftJs {
    type Config = Config;
    type Reference = HistogramField;
    type Statistic = TumblingJensenShannon;

    const GAUGE: &'static str = "js";
    const LEAST_DRIFT: f64 = jensen_shannon::LEAST_DRIFT;

    fn check(config: &Config) -> Result<(), Error> {
        check_bins(config.bins)
    }

    fn statistic(config: &Config, reference: HistogramField) -> Result<TumblingJensenShannon, StatisticsError> {
        TumblingJensenShannon::new(reference.reference(config.bins)?, config.window)
    }
}

#[cfg(test)]
mod tests;
