//! Monitors that hold windows of each field against a reference: all that they share.
//!
//! A plugin says which statistic it computes, what its reference looks like in the asset and what its configuration has
//! beside the shared keys ([`drift_config!`](crate::drift_config)); [`Drift`] is the monitor. Owned here: the windows of
//! each field, thresholds shared by the fields, calibration on blocks, episodes, findings, gauges, snapshots. The
//! statistics themselves and the noise in them are `floorhand-statistics`'.
//!
//! **Thresholds.** What noise explains in a share [`Settings::confidence`] of the rounds of windows without drift, all
//! fields taken together (Bonferroni), and at least the statistic's least drift that matters. That holds for samples that
//! don't depend on each other. Where they do, windows of the process itself say how much they differ: the statistics of
//! such blocks stand in the asset (`blocks`), or are those of the first windows on the device
//! ([`Settings::calibration_windows`]). A calibrated threshold is never below the one for independent samples.
//!
//! **Gaps and keys.** Each key has windows, episodes and a calibration on its first windows of its own; the reference and its
//! blocks are common to all. Gauges have the name of the field alone, since a plugin has 64 names: they show the key whose
//! window ended last. A window is a number of samples, whichever they are: one that is missing ([`Context::gap`]) only makes
//! it longer.
//!
//! **False alarms per device and day** are confidence, window, sample rate and number of fields put together
//! ([`floorhand_statistics::false_alarms`]); [`Settings::false_alarms_per_day`] goes the other way.

mod field;
mod reference;
mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod simulation;
mod statistic;

pub use field::{Field, Fields};
pub use reference::{CategoryField, HistogramField, ReferenceFile, SampleField};
pub use settings::{Limits, Settings, check_bins, defaults};
pub use statistic::Statistic;

use crate::{Assets, Columns, Context, Error, Finding, Monitor, Subscription, Tensor};
use floorhand_statistics::StatisticsError;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::{fmt, marker::PhantomData};

/// What one windowed drift monitor has of its own.
pub trait DriftMonitor {
    /// The configuration: [`drift_config!`](crate::drift_config) makes it.
    type Config: DriftConfig;

    /// A field of the asset.
    type Reference: DeserializeOwned;

    /// What is computed of a window.
    type Statistic: Statistic;

    /// In front of the field's name in gauges, e.g. `psi`.
    const GAUGE: &'static str;

    /// The least drift that matters, in the statistic's unit, unless the configuration has another.
    const LEAST_DRIFT: f64;

    /// Checks the keys that aren't shared. Nothing to check by default.
    fn check(_config: &Self::Config) -> Result<(), Error> {
        Ok(())
    }

    /// The statistic of a field with this reference, before its criterion is set.
    fn statistic(config: &Self::Config, reference: Self::Reference) -> Result<Self::Statistic, StatisticsError>;
}

/// A configuration that has the shared keys.
pub trait DriftConfig: DeserializeOwned + JsonSchema {
    /// The shared keys.
    fn settings(&self) -> Settings;
}

/// A monitor made of what it has of its own and what all of its kind share.
pub struct Drift<M: DriftMonitor> {
    columns: Columns,
    fields: Fields<M::Statistic>,
    monitor: PhantomData<M>,
}

impl<M: DriftMonitor> fmt::Debug for Drift<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drift")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl<M: DriftMonitor> Monitor for Drift<M> {
    type Config = M::Config;

    fn configure(config: Self::Config, assets: &Assets) -> Result<Self, Error> {
        let settings = config.settings();
        M::check(&config)?;
        let columns = Columns::new(
            &settings.tensor,
            settings.origin,
            settings.datatype,
            settings.shape.clone(),
            settings.fields.clone(),
        )?;
        let limits = Limits::new(&settings, settings.fields.len(), M::LEAST_DRIFT)?;
        if settings.window == 0 {
            return Err(Error::BadConfig("window has to be at least 1".into()));
        }
        let mut file: ReferenceFile<M::Reference> = assets.json(&settings.reference)?;
        let asset = &settings.reference;
        let mut fields = Fields::new(M::GAUGE, settings.max_keys)?;
        for name in columns.names() {
            let reference = file.take(asset, name)?;
            let statistic = M::statistic(&config, reference)
                .map_err(|error| Error::BadConfig(format!("asset {asset:?}, field {name:?}: {error}")))?;
            fields.add(name, statistic, &limits, file.blocks(asset, name)?)?;
        }
        Ok(Self {
            columns,
            fields,
            monitor: PhantomData,
        })
    }

    fn subscription(&self) -> Subscription {
        Subscription {
            watches: vec![self.columns.watch()],
            state_bytes: self.fields.state_bytes(),
        }
    }

    fn observe(&mut self, context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error> {
        let values = self.columns.values(&tensors)?;
        self.fields.observe(context.key.as_deref(), values)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.fields.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.fields.restore(bytes)
    }
}

/// Declares the configuration of a [`DriftMonitor`]: the shared keys and those between the braces. With `@prediction` in
/// front the tensor is one of the model's outputs unless said otherwise.
///
/// ```
/// floorhand_plugin_sdk::drift_config! {
///     /// The plugin's configuration.
///     Config {
///         /// The most bins that a field of the reference may have. 10 by default.
///         #[serde(default = "ten")]
///         bins: usize,
///     }
/// }
///
/// const fn ten() -> usize {
///     10
/// }
///
/// # use floorhand_plugin_sdk::{config, drift::DriftConfig};
/// let text = br#"{"tensor": "x", "fields": ["a"], "window": 500, "reference": "reference.json"}"#;
/// let config: Config = config::parse("configuration", text)?;
/// assert_eq!((config.bins, config.settings().window), (10, 500));
/// # Ok::<(), floorhand_plugin_sdk::Error>(())
/// ```
#[macro_export]
macro_rules! drift_config {
    ($(#[$about:meta])* $name:ident { $($rest:tt)* }) => {
        $crate::drift_config! {
            @origin "floorhand_plugin_sdk::drift::defaults::origin",
            "Where the tensor is seen: `\"input\"`, `\"features\"`, `\"prediction\"` or `\"output\"`. `\"features\"` by default.",
            $(#[$about])* $name { $($rest)* }
        }
    };
    (@prediction $(#[$about:meta])* $name:ident { $($rest:tt)* }) => {
        $crate::drift_config! {
            @origin "floorhand_plugin_sdk::drift::defaults::prediction",
            "Where the tensor is seen: `\"input\"`, `\"features\"`, `\"prediction\"` or `\"output\"`. `\"prediction\"` by default.",
            $(#[$about])* $name { $($rest)* }
        }
    };
    (@origin $origin:literal, $origin_about:literal, $(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, ::serde::Deserialize, ::schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The tensor to watch. Its last dimension holds the fields; each row along the others is a sample.
            pub tensor: ::std::string::String,
            #[doc = $origin_about]
            #[serde(default = $origin)]
            pub origin: $crate::Origin,
            /// The tensor's type. `"FP32"` by default.
            #[serde(default = "floorhand_plugin_sdk::drift::defaults::datatype")]
            pub datatype: $crate::Datatype,
            /// The tensor's shape; -1 for any size. `[-1, n]` by default for n fields.
            #[serde(default)]
            pub shape: ::std::option::Option<::std::vec::Vec<i64>>,
            /// The names of the tensor's columns, in order; one for every column. The reference may have more.
            #[schemars(length(min = 1, max = 256))]
            pub fields: ::std::vec::Vec<::std::string::String>,
            /// Samples in a window. Windows don't overlap.
            #[schemars(range(min = 1))]
            pub window: u64,
            /// The JSON asset with the reference.
            pub reference: ::std::string::String,
            /// The share of rounds of windows without drift in which none of the fields alarms. 0.999 by default.
            #[serde(default)]
            #[schemars(range(min = 0.5, max = 0.999999999))]
            pub confidence: ::std::option::Option<f64>,
            /// Instead of `confidence`: the false alarms of the device in a day without drift, all fields added up. Needs
            /// `sample_rate_hz`.
            #[serde(default)]
            pub false_alarms_per_day: ::std::option::Option<f64>,
            /// Samples a second of each field, those of all keys together. Findings then say how many false alarms a day there are.
            #[serde(default)]
            pub sample_rate_hz: ::std::option::Option<f64>,
            /// The least drift that alarms however large the samples are, in the statistic's unit. README.md has the default.
            #[serde(default)]
            #[schemars(range(min = 0))]
            pub least_drift: ::std::option::Option<f64>,
            /// How many first windows calibrate the threshold, for samples that depend on each other: 10 to 1000. Without it
            /// none does.
            #[serde(default)]
            #[schemars(range(min = 10, max = 1000))]
            pub calibration_windows: ::std::option::Option<u32>,
            /// How many keys (machines) may come, each with windows of its own: 1 to 1024. 1 by default.
            #[serde(default)]
            pub max_keys: $crate::MaxKeys,
            $($(#[$field_about])* pub $field: $type,)*
        }

        impl $crate::drift::DriftConfig for $name {
            fn settings(&self) -> $crate::drift::Settings {
                $crate::drift::Settings {
                    tensor: self.tensor.clone(),
                    origin: self.origin,
                    datatype: self.datatype,
                    shape: self.shape.clone(),
                    fields: self.fields.clone(),
                    window: self.window,
                    reference: self.reference.clone(),
                    confidence: self.confidence,
                    false_alarms_per_day: self.false_alarms_per_day,
                    sample_rate_hz: self.sample_rate_hz,
                    least_drift: self.least_drift,
                    calibration_windows: self.calibration_windows,
                    max_keys: self.max_keys,
                }
            }
        }
    };
}
