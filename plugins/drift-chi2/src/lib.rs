//! `drift-chi2`: whether categories (states, codes, classes) are still as frequent as in training, by the chi-square test.
//!
//! Values of each field are counted by category, window after window. At the end of each window Pearson's statistic is a
//! gauge, and an alarm when it is above what noise explains. README.md has the configuration, the formula and what to expect
//! of false alarms; what all drift monitors share is [`floorhand_plugin_sdk::drift`]'s.

use floorhand_plugin_sdk::drift::{CategoryField, Drift, DriftMonitor};
use floorhand_statistics::{
    StatisticsError,
    categorical::{self, TumblingChiSquare},
};

floorhand_plugin_sdk::export!(Plugin as monitor);

/// The monitor.
pub type Plugin = Drift<DriftChi2>;

floorhand_plugin_sdk::drift_config! {
    /// The plugin's configuration.
    Config {
        /// Whether nothing but the reference's categories can come up: what does is then left out, and windows of few samples say
        /// more. `false` by default: what training never saw is drift.
        #[serde(default)]
        closed: bool,
    }
}

/// Pearson's chi-square statistic of each field.
#[derive(Debug)]
pub struct DriftChi2;

impl DriftMonitor for DriftChi2 {
    type Config = Config;
    type Reference = CategoryField;
    type Statistic = TumblingChiSquare;

    const GAUGE: &'static str = "chi2";
    const LEAST_DRIFT: f64 = categorical::LEAST_DRIFT;

    fn statistic(config: &Config, reference: CategoryField) -> Result<TumblingChiSquare, StatisticsError> {
        if config.closed {
            return TumblingChiSquare::closed(reference.reference()?, config.window);
        }
        TumblingChiSquare::new(reference.reference()?, config.window)
    }
}

#[cfg(test)]
mod tests;
