//! `drift-ks`: whether features still look the way they did in training, by the Kolmogorov-Smirnov distance.
//!
//! Values of each field are counted between those of a reference, window after window. At the end of each window the
//! distance is a gauge, and an alarm when it is above what noise explains. README.md has the configuration, the formula and
//! what to expect of false alarms; what all drift monitors share is [`floorhand_plugin_sdk::drift`]'s.

use floorhand_plugin_sdk::drift::{Drift, DriftMonitor, SampleField};
use floorhand_statistics::{
    StatisticsError,
    kolmogorov_smirnov::{self, TumblingKolmogorovSmirnov},
};

floorhand_plugin_sdk::export!(Plugin as monitor);

/// The monitor.
pub type Plugin = Drift<DriftKs>;

floorhand_plugin_sdk::drift_config! {
    /// The plugin's configuration.
    Config {}
}

/// The Kolmogorov-Smirnov distance of each field.
#[derive(Debug)]
pub struct DriftKs;

impl DriftMonitor for DriftKs {
    type Config = Config;
    type Reference = SampleField;
    type Statistic = TumblingKolmogorovSmirnov;

    const GAUGE: &'static str = "ks";
    const LEAST_DRIFT: f64 = kolmogorov_smirnov::LEAST_DRIFT;

    fn statistic(config: &Config, reference: SampleField) -> Result<TumblingKolmogorovSmirnov, StatisticsError> {
        TumblingKolmogorovSmirnov::new(reference.reference()?, config.window)
    }
}

#[cfg(test)]
mod tests;
