//! The configuration: what its keys mean, and what of them can't be.

use crate::{Scale, bad};
use floorhand_plugin_sdk::{Datatype, Error, MaxKeys, TensorSpec};
use floorhand_statistics::{
    decibel::Decibel,
    mel::{self, MAX_FILTERS, MelFilters},
    spectrum::{self, MAX_WINDOW, MIN_WINDOW, Options, Spectrum},
    window_function::WindowFunction,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Dimensions that the tensor of one sample may have.
const MAX_DIMENSIONS: usize = 15;

/// Samples in the frames of all keys: half a MiB of saved state, half of what a plugin has.
const MAX_SAMPLES: usize = MAX_WINDOW;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The tensor with the samples.
    pub input: String,
    /// What the result is called.
    pub output: String,
    /// The input's type. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// The input's shape; -1 for any size. All dimensions but the last have to be 1. `[1, -1]` by default.
    #[serde(default = "default_shape")]
    pub shape: Vec<i64>,
    /// What samples are multiplied with first: 1 / 32768 makes -1 to 1 of INT16. 1 by default.
    #[serde(default = "one")]
    pub gain: f64,
    /// Samples in a frame and its transform: a power of two from 8 to 65536.
    #[schemars(range(min = MIN_WINDOW, max = MAX_WINDOW))]
    pub window: usize,
    /// Samples from one frame's start to the next's: 1 to `window`. A chunk may not be longer, unless
    /// `several`. `window` by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_WINDOW))]
    pub hop: Option<usize>,
    /// What a frame is multiplied with: `"hann"`, `"hamming"` or `"rectangular"`. `"hann"` by default.
    #[serde(default)]
    pub function: Function,
    /// Samples in the frame's middle that the function spans, the others being 0: 1 to `window`. `window` by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_WINDOW))]
    pub function_length: Option<usize>,
    /// Whether the frame's mean is taken off first. `false` by default.
    #[serde(default)]
    pub remove_mean: bool,
    /// What a bin's power is: `"squared"`, |X|², or `"mean-square"`, its share of the frame's mean square. `"squared"` by
    /// default.
    #[serde(default)]
    pub scaling: Scaling,
    /// `"power"`, or `"magnitude"`, its root. `"power"` by default.
    #[serde(default)]
    pub values: Values,
    /// Bands instead of bins. None by default.
    #[serde(default)]
    pub mel: Option<Mel>,
    /// How bins or bands are told. As they are by default.
    #[serde(default)]
    pub level: Option<Level>,
    /// Whether a chunk may complete several frames: the answer then has a row for each. `false` by default.
    #[serde(default)]
    pub several: bool,
    /// How many keys may come, each with frames of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// What a frame is multiplied with; all are periodic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    /// 1/2 - 1/2 cos(2 pi n / N).
    #[default]
    Hann,
    /// 0.54 - 0.46 cos(2 pi n / N).
    Hamming,
    /// 1.
    Rectangular,
}

/// What a bin's power is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// |X(k)|².
    #[default]
    Squared,
    /// Scaled so that bins add up to the mean square.
    MeanSquare,
}

/// What is given of a bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    /// Its power.
    #[default]
    Power,
    /// The power's root.
    Magnitude,
}

/// Triangles over the bins.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mel {
    /// How many.
    #[schemars(range(min = 1, max = MAX_FILTERS))]
    pub bands: usize,
    /// Samples a second.
    pub sample_rate_hz: f64,
    /// Where the first band begins. 0 by default.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub low_hz: f64,
    /// Where the last band ends. Half the sample rate by default.
    #[serde(default)]
    pub high_hz: Option<f64>,
    /// `"slaney"` or `"htk"`. `"slaney"` by default.
    #[serde(default)]
    pub scale: MelScale,
    /// `"area"`, `"peak"`, `"sum"` or `"largest"`. `"area"` by default.
    #[serde(default)]
    pub norm: MelNorm,
}

/// Which frequencies are a mel apart.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MelScale {
    /// Linear up to 1 kHz, logarithmic from there.
    #[default]
    Slaney,
    /// 2595 log10(1 + f / 700).
    Htk,
}

/// How high the triangles are.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MelNorm {
    /// Each has the same area.
    #[default]
    Area,
    /// 1 at the middle.
    Peak,
    /// The weights add up to 1.
    Sum,
    /// The largest weight is 1.
    Largest,
}

/// How bins or bands are told: one of the two.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Level {
    /// 10 log10 of powers.
    Decibel(Decibels),
    /// The natural logarithm.
    Logarithm(Logarithm),
}

/// 10 log10(max(power, floor) / reference), and not further below the loudest than a range.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decibels {
    /// The power of 0 dB, above 0. 1 by default.
    #[serde(default = "one")]
    pub reference: f64,
    /// Powers below are taken for it, above 0. 1e-10 by default.
    #[serde(default = "default_floor")]
    pub floor: f64,
    /// How far below the frame's loudest band a level may be. Any by default.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub range_db: Option<f64>,
}

/// ln(max(x, floor)).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logarithm {
    /// Values below are taken for it, above 0. 1e-10 by default.
    #[serde(default = "default_floor")]
    pub floor: f64,
}

/// How samples come.
pub(crate) struct Shape {
    pub(crate) hop: usize,
    pub(crate) spec: TensorSpec,
}

impl Config {
    pub(crate) fn shape(&self) -> Result<Shape, Error> {
        let hop = self.hop.unwrap_or(self.window);
        if self.datatype == Datatype::Bytes {
            return Err(bad("datatype is BYTES, and has to be one of numbers".into()));
        }
        let Some((last, others)) = self.shape.split_last() else {
            return Err(bad("shape needs a dimension".into()));
        };
        if others.iter().any(|&size| size != 1) || others.len() >= MAX_DIMENSIONS {
            return Err(bad(format!(
                "shape is {:?}: all dimensions but the last have to be 1, of {MAX_DIMENSIONS} at most",
                self.shape
            )));
        }
        if !self.several && usize::try_from(*last).is_ok_and(|chunk| chunk > hop) {
            return Err(bad(format!(
                "shape has chunks of {last} samples and hop is {hop}: a chunk could fill two frames, which takes several = true"
            )));
        }
        let spec = TensorSpec::new(&self.input, self.datatype, self.shape.clone());
        Ok(Shape { hop, spec })
    }

    pub(crate) fn keys(&self) -> Result<usize, Error> {
        let keys = self.max_keys.check()?;
        if keys.saturating_mul(self.window) > MAX_SAMPLES {
            return Err(bad(format!(
                "max_keys is {keys} and window {}: at most {MAX_SAMPLES} samples have room",
                self.window
            )));
        }
        Ok(keys)
    }

    pub(crate) fn gain(&self) -> Result<f64, Error> {
        if self.gain.is_finite() && self.gain != 0.0 {
            return Ok(self.gain);
        }
        Err(bad(format!("gain is {}, and has to be finite and not 0", self.gain)))
    }

    pub(crate) fn spectrum(&self) -> Result<Spectrum, Error> {
        if self
            .function_length
            .is_some_and(|length| !(1..=self.window).contains(&length))
        {
            return Err(bad(format!("function_length has to be 1 to window ({})", self.window)));
        }
        let options = Options {
            function: match self.function {
                Function::Hann => WindowFunction::Hann,
                Function::Hamming => WindowFunction::Hamming,
                Function::Rectangular => WindowFunction::Rectangular,
            },
            weighted: self.function_length,
            remove_mean: self.remove_mean,
            scaling: match self.scaling {
                Scaling::Squared => spectrum::Scaling::Squared,
                Scaling::MeanSquare => spectrum::Scaling::MeanSquare,
            },
        };
        Spectrum::with_options(self.window, options).map_err(|error| bad(format!("window: {error}")))
    }

    pub(crate) fn filters(&self) -> Result<Option<MelFilters>, Error> {
        let Some(mel) = &self.mel else {
            return Ok(None);
        };
        let filters = MelFilters::new(&mel::Config {
            sample_rate_hz: mel.sample_rate_hz,
            window: self.window,
            filters: mel.bands,
            low_hz: mel.low_hz,
            high_hz: mel.high_hz.unwrap_or(mel.sample_rate_hz / 2.0),
            scale: match mel.scale {
                MelScale::Slaney => mel::Scale::Slaney,
                MelScale::Htk => mel::Scale::Htk,
            },
            norm: match mel.norm {
                MelNorm::Area => mel::Norm::Area,
                MelNorm::Peak => mel::Norm::Peak,
                MelNorm::Sum => mel::Norm::Sum,
                MelNorm::Largest => mel::Norm::Largest,
            },
        });
        filters.map(Some).map_err(|error| bad(format!("mel: {error}")))
    }

    pub(crate) fn scale(&self) -> Result<Scale, Error> {
        match &self.level {
            None => Ok(Scale::Linear),
            Some(Level::Decibel(_)) if self.values == Values::Magnitude => Err(bad(
                "level.decibel is of powers, and values is magnitude: take power, whose level is the same".into(),
            )),
            Some(Level::Decibel(decibels)) => {
                let decibel = Decibel {
                    reference: decibels.reference,
                    floor: decibels.floor,
                    range_db: decibels.range_db.unwrap_or(f64::INFINITY),
                };
                decibel
                    .check()
                    .map_err(|error| bad(format!("level.decibel: {error}")))?;
                Ok(Scale::Decibel(decibel))
            }
            Some(Level::Logarithm(Logarithm { floor })) => {
                if floor.is_finite() && *floor > 0.0 {
                    return Ok(Scale::Logarithm(*floor));
                }
                Err(bad(format!("level.logarithm: floor is {floor}, and has to be above 0")))
            }
        }
    }
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

fn default_shape() -> Vec<i64> {
    vec![1, -1]
}

const fn one() -> f64 {
    1.0
}

const fn default_floor() -> f64 {
    1e-10
}
