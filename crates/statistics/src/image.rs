//! Frames of a camera as a model's input: resize, order of the channels, layout, normalisation.
//!
//! A frame is 8-bit, row by row, the channels of a pixel side by side (NHWC with N = 1). What comes out is FP32 as
//! little-endian bytes, the way tensors cross the plugin boundary, by (x / divisor - mean) / deviation for each
//! channel, which is torchvision's `ToTensor` and `Normalize` with a divisor of 255; or 8-bit again.
//!
//! **Resizing.** Centres of pixels lie at halves: the pixel i of n covers the same part of the picture as i · m / n to
//! (i + 1) · m / n of m did. Positions are quotients of whole numbers and exact.
//! - [`Method::Nearest`] takes the source pixel that the centre lies in, floor((i + 1/2) m / n): ONNX Resize `nearest`
//!   with `half_pixel` and `round_prefer_ceil`, OpenCV's `INTER_NEAREST_EXACT`, Pillow's `NEAREST`, torch's
//!   `nearest-exact`. It is not OpenCV's `INTER_NEAREST`, which takes the corner.
//! - [`Method::Bilinear`] is ONNX Resize `linear` with `half_pixel` and OpenCV's `INTER_LINEAR`, without antialiasing:
//!   four source pixels at most, even where the picture shrinks to a tenth (Pillow's `BILINEAR` averages all of them
//!   then, and so do `antialias=True` elsewhere). At the border the outermost pixel goes on. Computed in single
//!   precision, first along the row: l + (r - l) w. OpenCV computes 8-bit pictures in fixed point, so that its result
//!   may be off by one.

use crate::StatisticsError;
use alloc::vec::Vec;

/// The longest side: more than an 8K camera has.
pub const MAX_SIDE: usize = 8_192;

/// Red, green, blue and what else.
pub const MAX_CHANNELS: usize = 4;

/// How a pixel is made of those of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The one whose area the centre lies in.
    Nearest,
    /// Of the two by two around the centre, by their distance.
    #[default]
    Bilinear,
}

/// In what order values of the result stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// All of a channel, row by row, then the next channel.
    #[default]
    Nchw,
    /// A pixel's channels side by side, as they come.
    Nhwc,
}

/// A picture's size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pixels in a row, 1 to [`MAX_SIDE`].
    pub width: usize,
    /// Rows, 1 to [`MAX_SIDE`].
    pub height: usize,
}

impl Size {
    /// Pixels in the picture.
    #[must_use]
    pub const fn pixels(self) -> usize {
        self.width * self.height
    }
}

/// What becomes of a channel's values: (x / divisor - mean) / deviation.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    /// What 8-bit values are divided by, not 0. 255 for 0 to 1.
    pub divisor: f32,
    /// Taken off, for each channel of the result.
    pub mean: Vec<f32>,
    /// And divided by, for each channel of the result, not 0.
    pub deviation: Vec<f32>,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The frame's size.
    pub source: Size,
    /// The result's size; the frame's own for none.
    pub target: Size,
    /// Channels of a pixel, 1 to [`MAX_CHANNELS`].
    pub channels: usize,
    /// How pixels are made. Where the sizes are the same both give the frame's own.
    pub method: Method,
    /// In what order the result stands.
    pub layout: Layout,
    /// Whether channels come the other way round, as in BGR to RGB.
    pub reverse_channels: bool,
}

/// The tables for frames of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageTransform {
    config: Config,
    columns: Vec<Tap>,
    rows: Vec<Tap>,
}

/// Where in the frame two source pixels, or two rows, begin, and how much of the second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tap {
    first: usize,
    second: usize,
    weight: f32,
}

impl ImageTransform {
    /// Checks the sizes and makes the tables.
    pub fn new(config: Config) -> Result<Self, StatisticsError> {
        let Config { source, target, .. } = config;
        let side = 1..=MAX_SIDE;
        for (name, value, range, expected) in [
            ("width", source.width, &side, "1 to 8192"),
            ("height", source.height, &side, "1 to 8192"),
            ("width of the result", target.width, &side, "1 to 8192"),
            ("height of the result", target.height, &side, "1 to 8192"),
            ("channels", config.channels, &(1..=MAX_CHANNELS), "1 to 4"),
        ] {
            if !range.contains(&value) {
                return Err(StatisticsError::Parameter {
                    name,
                    value: value as f64,
                    expected,
                });
            }
        }
        let taps = |from: usize, to: usize, stride: usize| {
            let positions = 0..to;
            positions
                .map(|position| tap(config.method, position, from, to, stride))
                .collect()
        };
        Ok(Self {
            columns: taps(source.width, target.width, config.channels),
            rows: taps(source.height, target.height, source.width * config.channels),
            config,
        })
    }

    /// What becomes of a frame.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Values in the frame.
    #[must_use]
    pub const fn source_len(&self) -> usize {
        self.config.source.pixels() * self.config.channels
    }

    /// Values in the result.
    #[must_use]
    pub const fn target_len(&self) -> usize {
        self.config.target.pixels() * self.config.channels
    }

    /// The frame, normalised, as FP32.
    pub fn normalize(
        &self,
        frame: &[u8],
        normalization: &Normalization,
        result: &mut [[u8; 4]],
    ) -> Result<(), StatisticsError> {
        normalization.check(self.config.channels)?;
        let Normalization {
            divisor,
            mean,
            deviation,
        } = normalization;
        let parameters: Vec<(f32, f32)> = mean.iter().copied().zip(deviation.iter().copied()).collect();
        self.apply(frame, result, |value, channel| {
            let (mean, deviation) = parameters.get(channel).copied().unwrap_or((0.0, 1.0));
            ((value / divisor - mean) / deviation).to_le_bytes()
        })
    }

    /// The frame in 8 bits, halves rounded up.
    pub fn resize(&self, frame: &[u8], result: &mut [u8]) -> Result<(), StatisticsError> {
        // What is interpolated lies within 0 to 255, and the conversion cuts off.
        self.apply(frame, result, |value, _| (value + 0.5) as u8)
    }

    /// Goes through the result channel by channel, `write` making a value of the pixel's and the channel's number.
    fn apply<T>(&self, frame: &[u8], result: &mut [T], write: impl Fn(f32, usize) -> T) -> Result<(), StatisticsError> {
        check_length(self.source_len(), frame.len())?;
        check_length(self.target_len(), result.len())?;
        let Config { channels, target, .. } = self.config;
        for channel in 0..channels {
            let source_channel = if self.config.reverse_channels {
                channels - 1 - channel
            } else {
                channel
            };
            let (start, step) = match self.config.layout {
                Layout::Nchw => (channel * target.pixels(), 1),
                Layout::Nhwc => (channel, channels),
            };
            let rest = result.get_mut(start..).unwrap_or_default();
            let mut values = rest.iter_mut().step_by(step).take(target.pixels());
            for row in &self.rows {
                let (above, below) = (from(frame, row.first), from(frame, row.second));
                let across = |pixels: &[u8], column: &Tap| {
                    let (left, right) = (column.first + source_channel, column.second + source_channel);
                    between(value(pixels, left), value(pixels, right), column.weight)
                };
                // The columns stand first: `zip` doesn't then take a value of the next row.
                for (column, value) in self.columns.iter().zip(&mut values) {
                    let between_rows = between(across(above, column), across(below, column), row.weight);
                    *value = write(between_rows, channel);
                }
            }
        }
        Ok(())
    }
}

impl Normalization {
    /// Whether it fits so many channels.
    pub fn check(&self, channels: usize) -> Result<(), StatisticsError> {
        check_length(channels, self.mean.len())?;
        check_length(channels, self.deviation.len())?;
        let is_divisor = |value: &f32| *value != 0.0 && value.is_finite();
        let all = [
            ("mean", self.mean.iter().find(|mean| !mean.is_finite()), "finite"),
            (
                "deviation",
                self.deviation.iter().find(|value| !is_divisor(value)),
                "finite and not 0",
            ),
            (
                "divisor",
                Some(&self.divisor).filter(|value| !is_divisor(value)),
                "finite and not 0",
            ),
        ];
        for (name, wrong, expected) in all {
            if let Some(&value) = wrong {
                return Err(StatisticsError::Parameter {
                    name,
                    value: f64::from(value),
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// What begins at an index, all of which are within a frame of the length that was checked.
#[inline]
fn from(frame: &[u8], index: usize) -> &[u8] {
    frame.get(index..).unwrap_or_default()
}

#[inline]
fn value(pixels: &[u8], index: usize) -> f32 {
    f32::from(pixels.get(index).copied().unwrap_or_default())
}

#[inline]
fn between(left: f32, right: f32, weight: f32) -> f32 {
    left + (right - left) * weight
}

/// Where the centre of pixel `position` of `to` lies among `from`, which begin `stride` values apart.
fn tap(method: Method, position: usize, from: usize, to: usize, stride: usize) -> Tap {
    let centre = (2 * position + 1) * from;
    // From the first pixel's centre; before it the first goes on.
    let distance = centre.saturating_sub(to);
    let (first, weight) = match method {
        Method::Nearest => (centre / (2 * to), 0.0),
        Method::Bilinear => (distance / (2 * to), (distance % (2 * to)) as f32 / (2 * to) as f32),
    };
    let second = if weight > 0.0 && first + 1 < from {
        first + 1
    } else {
        first
    };
    Tap {
        first: first * stride,
        second: second * stride,
        weight,
    }
}

fn check_length(expected: usize, actual: usize) -> Result<(), StatisticsError> {
    if expected == actual {
        return Ok(());
    }
    Err(StatisticsError::Length { expected, actual })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Config = Config {
        source: Size { width: 4, height: 1 },
        target: Size { width: 4, height: 1 },
        channels: 1,
        method: Method::Bilinear,
        layout: Layout::Nchw,
        reverse_channels: false,
    };

    fn resized(config: Config, frame: &[u8]) -> Vec<u8> {
        let transform = ImageTransform::new(config).unwrap();
        let mut result = vec![0; transform.target_len()];
        transform.resize(frame, &mut result).unwrap();
        result
    }

    #[test]
    fn centres_lie_at_halves() {
        let row = |width, method| {
            let target = Size { width, height: 1 };
            resized(Config { target, method, ..ROW }, &[0, 100, 200, 40])
        };
        assert_eq!(row(4, Method::Bilinear), [0, 100, 200, 40]);
        assert_eq!(row(4, Method::Nearest), [0, 100, 200, 40]);
        assert_eq!(row(2, Method::Bilinear), [50, 120]);
        // Both centres lie on a border between two pixels: the later one.
        assert_eq!(row(2, Method::Nearest), [100, 40]);
        assert_eq!(row(8, Method::Bilinear), [0, 25, 75, 125, 175, 160, 80, 40]);
        assert_eq!(row(8, Method::Nearest), [0, 0, 100, 100, 200, 200, 40, 40]);
        assert_eq!(
            (row(1, Method::Bilinear), row(1, Method::Nearest)),
            (vec![150], vec![200])
        );
    }

    #[test]
    fn channels_are_reversed_and_laid_out() {
        let size = Size { width: 2, height: 2 };
        let config = Config {
            source: size,
            target: size,
            channels: 3,
            ..ROW
        };
        let frame: Vec<u8> = (0..12).collect();
        assert_eq!(resized(config, &frame), [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
        let pixels = Config {
            layout: Layout::Nhwc,
            reverse_channels: true,
            ..config
        };
        assert_eq!(resized(pixels, &frame), [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9]);
    }

    #[test]
    fn values_are_normalised_by_their_channel_in_the_result() {
        let size = Size { width: 1, height: 1 };
        let config = Config {
            source: size,
            target: size,
            channels: 2,
            reverse_channels: true,
            ..ROW
        };
        let normalization = Normalization {
            divisor: 255.0,
            mean: vec![0.5, 0.25],
            deviation: vec![0.5, 2.0],
        };
        let mut result = [[0; 4]; 2];
        let transform = ImageTransform::new(config).unwrap();
        transform.normalize(&[51, 255], &normalization, &mut result).unwrap();
        assert_eq!(result.map(f32::from_le_bytes), [1.0, (51.0_f32 / 255.0 - 0.25) / 2.0]);
    }

    #[test]
    fn sizes_and_parameters_are_checked() {
        let size = |width, height| Size { width, height };
        for config in [
            Config {
                source: size(0, 1),
                ..ROW
            },
            Config {
                source: size(1, MAX_SIDE + 1),
                ..ROW
            },
            Config {
                target: size(1, 0),
                ..ROW
            },
            Config {
                target: size(usize::MAX, 1),
                ..ROW
            },
            Config { channels: 0, ..ROW },
            Config { channels: 5, ..ROW },
        ] {
            assert!(ImageTransform::new(config).is_err(), "{config:?}");
        }
        let transform = ImageTransform::new(ROW).unwrap();
        assert!(transform.resize(&[0; 3], &mut [0; 4]).is_err() && transform.resize(&[0; 4], &mut [0; 5]).is_err());
        let good = Normalization {
            divisor: 255.0,
            mean: vec![0.0],
            deviation: vec![1.0],
        };
        assert!(good.check(1).is_ok() && good.check(2).is_err());
        for bad in [
            Normalization {
                divisor: 0.0,
                ..good.clone()
            },
            Normalization {
                mean: vec![f32::NAN],
                ..good.clone()
            },
            Normalization {
                deviation: vec![0.0],
                ..good.clone()
            },
            Normalization {
                deviation: vec![f32::INFINITY],
                ..good.clone()
            },
        ] {
            assert!(transform.normalize(&[0; 4], &bad, &mut [[0; 4]; 4]).is_err(), "{bad:?}");
        }
    }
}
