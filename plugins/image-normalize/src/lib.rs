//! `image-normalize`: camera frames as a model's input: resized, channels in its order and layout, normalised or quantised.
//!
//! The pixels are those of `floorhand_statistics::image`, in single precision, one rounding after the other. README.md has
//! the configuration and the definition.

mod config;

pub use config::{Config, Layout, Method, Quantization};
use config::{Kind, Parts};
use floorhand_plugin_sdk::{Assets, Context, Error, Processor, Signature, Tensor, TensorSpec, take};
use floorhand_statistics::image::{ImageTransform, Normalization};

floorhand_plugin_sdk::export!(ImageNormalize as processor);

/// The configured plugin. Has no state.
#[derive(Debug)]
pub struct ImageNormalize {
    input: TensorSpec,
    output: TensorSpec,
    output_shape: Vec<u64>,
    /// Whether frames come plane by plane.
    planes: bool,
    transform: ImageTransform,
    kind: Kind,
}

impl Processor for ImageNormalize {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        let Parts {
            input,
            output,
            transform,
            kind,
        } = config.parts()?;
        Ok(Self {
            output_shape: output.shape.iter().map(|&size| size.unsigned_abs()).collect(),
            planes: config.layout == Layout::Chw,
            input,
            output,
            transform,
            kind,
        })
    }

    fn signature(&self) -> Signature {
        Signature {
            inputs: vec![self.input.clone()],
            outputs: vec![self.output.clone()],
            state_bytes: 0,
        }
    }

    fn process(&mut self, _context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let tensor = take(inputs, &self.input.name)?;
        tensor.check(&self.input)?;
        let frame = if self.planes {
            pixels(&tensor.data, self.transform.config().channels)
        } else {
            tensor.data
        };
        let data = match &self.kind {
            Kind::Pixels => {
                let mut data = vec![0; self.transform.target_len()];
                self.transform.resize(&frame, &mut data).map_err(internal)?;
                data
            }
            Kind::Float(normalization) => self.normalized(&frame, normalization)?.into_flattened(),
            Kind::Quantized {
                normalization,
                quantization,
                signed,
            } => {
                let values = self.normalized(&frame, normalization)?;
                let quantize = |bytes: [u8; 4]| quantization.apply(f32::from_le_bytes(bytes), *signed);
                values.into_iter().map(quantize).collect()
            }
        };
        Ok(vec![Tensor {
            name: self.output.name.clone(),
            datatype: self.output.datatype,
            shape: self.output_shape.clone(),
            data,
        }])
    }
}

impl ImageNormalize {
    fn normalized(&self, frame: &[u8], normalization: &Normalization) -> Result<Vec<[u8; 4]>, Error> {
        let mut result = vec![[0; 4]; self.transform.target_len()];
        let done = self.transform.normalize(frame, normalization, &mut result);
        done.map_err(internal)?;
        Ok(result)
    }
}

impl Quantization {
    /// round(x / scale) + zero point, halves to even, and what the type can't hold at its end: ONNX's QuantizeLinear.
    fn apply(&self, value: f32, signed: bool) -> u8 {
        // Sums of whole numbers of this size are exact; casts cut off.
        let steps = (value / self.scale).round_ties_even() + f32::from(self.zero_point);
        if signed {
            (steps as i8).cast_unsigned()
        } else {
            steps as u8
        }
    }
}

/// From plane by plane to pixel by pixel.
fn pixels(planes: &[u8], channels: usize) -> Vec<u8> {
    let size = planes.len() / channels;
    let mut pixels = vec![0; planes.len()];
    for (channel, plane) in planes.chunks_exact(size).enumerate() {
        let places = pixels.iter_mut().skip(channel).step_by(channels);
        places.zip(plane).for_each(|(place, value)| *place = *value);
    }
    pixels
}

/// Sizes are agreed on in `configure`.
fn internal(error: impl ToString) -> Error {
    Error::Internal(error.to_string())
}

#[cfg(test)]
mod tests;
