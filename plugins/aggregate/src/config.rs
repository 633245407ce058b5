//! The configuration: what its keys mean, what of them can't be, and what the columns of the result are called.

use crate::{Window, bad};
use floorhand_plugin_sdk::{Datatype, Error, MAX_FIELDS, MaxKeys};
use floorhand_statistics::rolling::{Extent, MAX_SAMPLES};
use schemars::JsonSchema;
use serde::Deserialize;

/// Samples of all windows together, times the fields and one more and the keys: half a MiB of saved state, half of what a plugin has,
/// and 7 of its 16 MiB of memory.
const MAX_VALUES: usize = 1 << 16;

/// Columns of the result: more features than models of sensors take, and their names stand in the signature.
const MAX_COLUMNS: usize = 4_096;

/// Minutes, hours, shifts, days: more windows say the same twice.
const MAX_WINDOWS: usize = 16;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor with the fields along its last dimension; each row along the others is an observation at the sample's
    /// time.
    pub input: String,
    /// What the result is called. The input's name by default.
    #[serde(default)]
    pub output: Option<String>,
    /// The input's type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The input's shape; -1 for any size. `[-1, n]` by default for n fields.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// The names of the input's columns, in order, none twice.
    #[schemars(length(min = 1, max = MAX_FIELDS))]
    pub fields: Vec<String>,
    /// The spans of time, each of another width.
    #[schemars(length(min = 1, max = MAX_WINDOWS))]
    pub windows: Vec<WindowConfig>,
    /// What is computed, in the order in which it is given: `"mean"`, `"std"`, `"min"`, `"max"`, `"slope"`, `"count"`. All
    /// but the count by default.
    #[serde(default = "default_statistics")]
    #[schemars(length(min = 1, max = 6))]
    pub statistics: Vec<Statistic>,
    /// Values of a field that a window has to hold for anything but the count to be there. 1 by default.
    #[serde(default = "default_min_values")]
    #[schemars(range(min = 1, max = MAX_SAMPLES))]
    pub min_values: u64,
    /// What stands for a statistic that isn't there. NaN by default.
    #[serde(default)]
    pub missing: Option<f32>,
    /// Observations that the widest window has to hold for any answer; before, it is "not yet". 2 by default where the
    /// standard deviation or the slope is computed, else 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_SAMPLES))]
    pub min_samples: Option<usize>,
    /// How many keys may come, each with windows of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// One span of time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// How long: a whole number and `ms`, `s`, `m`, `h` or `d`, e.g. `"5m"` for five minutes. Stands in the columns'
    /// names as it is.
    #[schemars(regex(pattern = r"^[1-9][0-9]*(ms|s|m|h|d)$"))]
    pub width: String,
    /// The most observations that it holds: what comes in its width, at least. 1024 by default.
    #[serde(default = "default_max_samples")]
    #[schemars(range(min = 1, max = MAX_SAMPLES))]
    pub max_samples: usize,
}

/// What is computed of a field in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Statistic {
    /// The arithmetic mean, in the field's unit.
    Mean,
    /// The standard deviation with divisor n - 1, in the field's unit.
    Std,
    /// The least value, in the field's unit.
    Min,
    /// The greatest value, in the field's unit.
    Max,
    /// That of the least-squares line over time, in the field's unit per second.
    Slope,
    /// How many values there are.
    Count,
}

impl Statistic {
    /// As in the configuration and in the columns' names.
    const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Std => "std",
            Self::Min => "min",
            Self::Max => "max",
            Self::Slope => "slope",
            Self::Count => "count",
        }
    }
}

impl Config {
    /// The windows, all of them empty.
    pub(crate) fn windows(&self) -> Result<Vec<Window>, Error> {
        self.check_lists()?;
        let mut windows: Vec<Window> = Vec::with_capacity(self.windows.len());
        for (index, WindowConfig { width, max_samples }) in self.windows.iter().enumerate() {
            let named = |error: Error| bad(format!("windows[{index}]: {}", error.message()));
            let extent = Extent::Time {
                width_ms: width_ms(width).map_err(named)?,
                max_samples: *max_samples,
            };
            if windows.iter().any(|earlier| same_width(earlier.extent, extent)) {
                return Err(bad(format!("windows[{index}]: {width:?} is as wide as one before")));
            }
            windows.push(Window::new(extent, *max_samples, self.fields.len()).map_err(named)?);
        }
        Ok(windows)
    }

    /// How many observations the widest window has to hold, and which one it is.
    pub(crate) fn min_samples(&self, windows: &[Window]) -> Result<(usize, usize), Error> {
        let is_pairwise = |statistic: &Statistic| matches!(statistic, Statistic::Std | Statistic::Slope);
        let usual = if self.statistics.iter().any(is_pairwise) { 2 } else { 1 };
        let width_ms = |window: &Window| match window.extent {
            Extent::Time { width_ms, .. } => width_ms,
            Extent::Samples(_) => 0,
        };
        let widest = windows.iter().enumerate().max_by_key(|(_, window)| width_ms(window));
        let (place, most) = widest.map_or((0, 0), |(place, window)| (place, window.max_samples));
        let min_samples = self.min_samples.unwrap_or(usual.min(most));
        if !(1..=most).contains(&min_samples) {
            return Err(bad(format!(
                "min_samples is {min_samples}, and has to be 1 to {most}, max_samples of the widest window"
            )));
        }
        Ok((min_samples, place))
    }

    /// `pressure_mean_5m` and so on: field by field, of each window by window.
    pub(crate) fn names(&self) -> Vec<String> {
        let of_window = |field: &String, window: &WindowConfig| -> Vec<String> {
            let name = |statistic: &Statistic| format!("{field}_{}_{}", statistic.name(), window.width);
            self.statistics.iter().map(name).collect()
        };
        let of_field = |field| self.windows.iter().flat_map(move |window| of_window(field, window));
        self.fields.iter().flat_map(of_field).collect()
    }

    fn check_lists(&self) -> Result<(), Error> {
        for (key, length, most) in [
            ("fields", self.fields.len(), MAX_FIELDS),
            ("windows", self.windows.len(), MAX_WINDOWS),
            ("statistics", self.statistics.len(), 6),
        ] {
            if !(1..=most).contains(&length) {
                return Err(bad(format!("{key} has {length} elements: 1 to {most}")));
            }
        }
        for (index, statistic) in self.statistics.iter().enumerate() {
            if self.statistics.iter().take(index).any(|earlier| earlier == statistic) {
                return Err(bad(format!("statistics has {:?} twice", statistic.name())));
            }
        }
        if !(1..=MAX_SAMPLES as u64).contains(&self.min_values) {
            return Err(bad(format!(
                "min_values is {}, and has to be 1 to {MAX_SAMPLES}",
                self.min_values
            )));
        }
        let columns = self.fields.len() * self.windows.len() * self.statistics.len();
        if columns > MAX_COLUMNS {
            return Err(bad(format!(
                "fields, windows and statistics make {columns} columns, and at most {MAX_COLUMNS} may be"
            )));
        }
        let samples = self.windows.iter().map(|window| window.max_samples);
        let values = samples
            .fold(0, usize::saturating_add)
            .saturating_mul((self.fields.len() + 1) * self.max_keys.check()?);
        if values > MAX_VALUES {
            return Err(bad(format!(
                "max_samples of all windows, times the fields and one, times max_keys, make {values}, and {MAX_VALUES} have \
                 room: average fast fields first, or take shorter windows"
            )));
        }
        Ok(())
    }
}

/// A width in milliseconds.
fn width_ms(text: &str) -> Result<u64, Error> {
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms: Option<u64> = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let width = number.parse::<u64>().ok().zip(unit_ms);
    width
        .filter(|_| !number.starts_with('0'))
        .and_then(|(number, unit_ms)| number.checked_mul(unit_ms))
        .filter(|&width_ms| width_ms > 0)
        .ok_or_else(|| {
            bad(format!(
                "width is {text:?}, and has to be a whole number above 0 and ms, s, m, h or d"
            ))
        })
}

fn same_width(left: Extent, right: Extent) -> bool {
    match (left, right) {
        (Extent::Time { width_ms: left, .. }, Extent::Time { width_ms: right, .. }) => left == right,
        _ => false,
    }
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

fn default_statistics() -> Vec<Statistic> {
    vec![
        Statistic::Mean,
        Statistic::Std,
        Statistic::Min,
        Statistic::Max,
        Statistic::Slope,
    ]
}

const fn default_min_values() -> u64 {
    1
}

const fn default_max_samples() -> usize {
    1_024
}
