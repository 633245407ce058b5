//! The configuration: what its keys mean, and what of them can't be.

use floorhand_plugin_sdk::{Datatype, Error, TensorSpec};
use floorhand_statistics::image::{self, ImageTransform, MAX_CHANNELS, MAX_SIDE, Normalization, Size};
use schemars::JsonSchema;
use serde::Deserialize;

/// Values of a frame or a result: as FP32 more than the 8 MiB that the host takes by default, and as much as fits the
/// plugin's memory.
const MAX_VALUES: usize = 1 << 22;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The UINT8 tensor with the frame.
    pub input: String,
    /// What the result is called. The input's name by default.
    #[serde(default)]
    pub output: Option<String>,
    /// The frame's shape: `[height, width, channels]` with layout `"hwc"`, `[channels, height, width]` with `"chw"`, or
    /// the same behind a 1.
    #[schemars(length(min = 3, max = 4))]
    pub shape: Vec<i64>,
    /// How the frame's values stand. `"hwc"` by default.
    #[serde(default)]
    pub layout: Layout,
    /// The result's width in pixels. The frame's by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_SIDE))]
    pub width: Option<usize>,
    /// The result's height in pixels. The frame's by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_SIDE))]
    pub height: Option<usize>,
    /// How pixels of another size are made: `"bilinear"` or `"nearest"`. `"bilinear"` by default.
    #[serde(default)]
    pub method: Method,
    /// Whether channels come the other way round, as in BGR to RGB. `false` by default.
    #[serde(default)]
    pub reverse_channels: bool,
    /// How the result's values stand. `"chw"` by default.
    #[serde(default = "default_output_layout")]
    pub output_layout: Layout,
    /// Whether the result's shape begins with a 1. `true` by default.
    #[serde(default = "default_batch_dimension")]
    pub batch_dimension: bool,
    /// The result's type: `"FP32"`, `"UINT8"` or `"INT8"`. `"FP32"` by default.
    #[serde(default = "default_datatype")]
    pub datatype: Datatype,
    /// What values are divided by first, not 0. 255 by default, for 0 to 1.
    #[serde(default)]
    pub divisor: Option<f32>,
    /// Then taken off, for each channel of the result. 0 by default.
    #[serde(default)]
    #[schemars(length(min = 1, max = MAX_CHANNELS))]
    pub mean: Option<Vec<f32>>,
    /// And divided by, for each channel of the result, not 0. 1 by default.
    #[serde(default)]
    #[schemars(length(min = 1, max = MAX_CHANNELS))]
    pub deviation: Option<Vec<f32>>,
    /// How normalised values become UINT8 or INT8. Without it UINT8 is the pixels as they are, resized.
    #[serde(default)]
    pub quantization: Option<Quantization>,
}

/// How values stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Row by row, a pixel's channels side by side.
    #[default]
    Hwc,
    /// All of a channel, row by row, then the next channel.
    Chw,
}

/// How a pixel is made of those of the frame.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Of the two by two around its centre, by their distance.
    #[default]
    Bilinear,
    /// The one whose area its centre lies in.
    Nearest,
}

/// A model's own steps: value = (q - zero_point) * scale.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantization {
    /// What a step is worth, above 0.
    pub scale: f32,
    /// The step that stands for 0: 0 to 255, or -128 to 127 for INT8.
    #[schemars(range(min = -128, max = 255))]
    pub zero_point: i16,
}

/// What the configuration comes to.
pub(crate) struct Parts {
    pub(crate) input: TensorSpec,
    pub(crate) output: TensorSpec,
    pub(crate) transform: ImageTransform,
    pub(crate) kind: Kind,
}

/// What becomes of pixels once they are resized.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Nothing.
    Pixels,
    /// They are normalised.
    Float(Normalization),
    /// They are normalised, then told in steps.
    Quantized {
        normalization: Normalization,
        quantization: Quantization,
        signed: bool,
    },
}

impl Config {
    pub(crate) fn parts(&self) -> Result<Parts, Error> {
        let (source, channels) = self.source()?;
        let target = Size {
            width: self.width.unwrap_or(source.width),
            height: self.height.unwrap_or(source.height),
        };
        let transform = ImageTransform::new(image::Config {
            source,
            target,
            channels,
            method: match self.method {
                Method::Bilinear => image::Method::Bilinear,
                Method::Nearest => image::Method::Nearest,
            },
            layout: match self.output_layout {
                Layout::Hwc => image::Layout::Nhwc,
                Layout::Chw => image::Layout::Nchw,
            },
            reverse_channels: self.reverse_channels,
        });
        let transform = transform.map_err(|error| bad(format!("shape, width or height: {error}")))?;
        for (key, values) in [
            ("shape", transform.source_len()),
            ("width and height", transform.target_len()),
        ] {
            if values > MAX_VALUES {
                return Err(bad(format!(
                    "{key}: {values} values, and at most {MAX_VALUES} have room"
                )));
            }
        }
        let (width, height) = (target.width as i64, target.height as i64);
        let mut shape = match self.output_layout {
            Layout::Hwc => vec![height, width, channels as i64],
            Layout::Chw => vec![channels as i64, height, width],
        };
        if self.batch_dimension {
            shape.insert(0, 1);
        }
        Ok(Parts {
            input: TensorSpec::new(&self.input, Datatype::Uint8, self.shape.clone()),
            output: TensorSpec::new(self.output.as_ref().unwrap_or(&self.input), self.datatype, shape),
            kind: self.kind(channels)?,
            transform,
        })
    }

    /// The frame's size and channels.
    fn source(&self) -> Result<(Size, usize), Error> {
        let sizes = match self.shape.as_slice() {
            [1, sizes @ ..] if sizes.len() == 3 => sizes,
            sizes => sizes,
        };
        let found = match (sizes, self.layout) {
            (&[height, width, channels], Layout::Hwc) | (&[channels, height, width], Layout::Chw) => {
                [width, height, channels].map(usize::try_from)
            }
            _ => {
                return Err(bad(format!(
                    "shape is {:?}, and has to be a height, a width and channels, behind a 1 at most",
                    self.shape
                )));
            }
        };
        match found {
            [Ok(width), Ok(height), Ok(channels)] => Ok((Size { width, height }, channels)),
            _ => Err(bad(format!(
                "shape is {:?}: a frame's size is fixed, and no dimension can be of any size",
                self.shape
            ))),
        }
    }

    fn kind(&self, channels: usize) -> Result<Kind, Error> {
        let is_plain = self.divisor.is_none() && self.mean.is_none() && self.deviation.is_none();
        let signed = match (self.datatype, self.quantization) {
            (Datatype::Fp32, None) => return self.normalization(channels).map(Kind::Float),
            (Datatype::Uint8, None) if is_plain => return Ok(Kind::Pixels),
            (Datatype::Uint8 | Datatype::Int8, None) => {
                return Err(bad(format!(
                    "quantization is missing: {} of normalised values needs a scale and a zero point",
                    self.datatype.name()
                )));
            }
            (Datatype::Uint8, Some(_)) => false,
            (Datatype::Int8, Some(_)) => true,
            (Datatype::Fp32, Some(_)) => return Err(bad("quantization is given, and datatype is FP32".into())),
            (other, _) => {
                return Err(bad(format!(
                    "datatype is {}, and has to be FP32, UINT8 or INT8",
                    other.name()
                )));
            }
        };
        let quantization = self.quantization(signed)?;
        Ok(Kind::Quantized {
            normalization: self.normalization(channels)?,
            quantization,
            signed,
        })
    }

    fn quantization(&self, signed: bool) -> Result<Quantization, Error> {
        let Some(quantization) = self.quantization else {
            return Err(bad("quantization is missing".into()));
        };
        let range = if signed { -128..=127 } else { 0..=255 };
        if !(quantization.scale.is_finite() && quantization.scale > 0.0) {
            return Err(bad(format!(
                "quantization.scale is {}, and has to be above 0",
                quantization.scale
            )));
        }
        if !range.contains(&quantization.zero_point) {
            return Err(bad(format!(
                "quantization.zero_point is {}, and has to be {} to {}",
                quantization.zero_point,
                range.start(),
                range.end()
            )));
        }
        Ok(quantization)
    }

    fn normalization(&self, channels: usize) -> Result<Normalization, Error> {
        for (key, values) in [("mean", &self.mean), ("deviation", &self.deviation)] {
            if let Some(values) = values
                && values.len() != channels
            {
                return Err(bad(format!(
                    "{key} has {} values for {channels} channels",
                    values.len()
                )));
            }
        }
        let normalization = Normalization {
            divisor: self.divisor.unwrap_or(255.0),
            mean: self.mean.clone().unwrap_or_else(|| vec![0.0; channels]),
            deviation: self.deviation.clone().unwrap_or_else(|| vec![1.0; channels]),
        };
        normalization.check(channels).map_err(|error| bad(error.to_string()))?;
        Ok(normalization)
    }
}

const fn default_output_layout() -> Layout {
    Layout::Chw
}

const fn default_batch_dimension() -> bool {
    true
}

const fn default_datatype() -> Datatype {
    Datatype::Fp32
}

const fn bad(what: String) -> Error {
    Error::BadConfig(what)
}
