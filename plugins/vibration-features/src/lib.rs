//! `vibration-features`: RMS, peak, crest factor, kurtosis and band energies of windows of an acceleration signal.
//!
//! Chunks of samples are gathered into windows of a fixed length that start `hop` samples apart. Until a window is full
//! the answer is "not yet". README.md has the configuration, the formulas and the units.

mod window;

use floorhand_plugin_sdk::{
    Assets, Context, Datatype, Error, MaxKeys, Processor, Series, Signature, Tensor, TensorSpec, host, state, take,
};
use floorhand_statistics::{signal, spectrum::Spectrum};
use schemars::JsonSchema;
use serde::Deserialize;
use std::ops::Range;
use window::SlidingWindow;

floorhand_plugin_sdk::export!(VibrationFeatures as processor);

/// Features in front of the band energies: RMS, peak, crest factor, kurtosis.
pub const TIME_FEATURES: usize = 4;

/// More bands than a third-octave analysis from 1 Hz to 20 kHz has.
const MAX_BANDS: usize = 64;

/// Samples in the windows of all keys: half a MiB of the snapshot.
const MAX_SAMPLES: usize = 1 << 17;

/// The format of the snapshot.
const STATE_VERSION: u32 = 2;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The FP32 tensor with the samples, of `shape`.
    pub input: String,
    /// What the result is called.
    pub output: String,
    /// The input's shape; -1 for any size. All dimensions but the last have to be 1. `[1, -1]` by default.
    #[serde(default = "default_shape")]
    pub shape: Vec<i64>,
    /// Samples a second.
    pub sample_rate_hz: f64,
    /// Samples in a window: a power of two from 8 to 65536.
    pub window: usize,
    /// Samples from one window's start to the next's: 1 to `window`. A chunk may not be longer. `window` by default.
    #[serde(default)]
    pub hop: Option<usize>,
    /// Bands, `[low, high]` in Hz, low included and high not.
    #[serde(default)]
    pub bands_hz: Vec<[f64; 2]>,
    /// Whether the window's mean (gravity, an offset of the sensor) is taken off first. `true` by default.
    #[serde(default = "default_remove_mean")]
    pub remove_mean: bool,
    /// How many keys may come, each with a window of its own: 1 to 1024. 1 by default.
    #[serde(default)]
    pub max_keys: MaxKeys,
}

/// The configured plugin and, for each key, the samples of the window that is filling.
#[derive(Debug)]
pub struct VibrationFeatures {
    input: TensorSpec,
    output: String,
    remove_mean: bool,
    /// What each key begins with.
    empty: SlidingWindow,
    series: Series<SlidingWindow>,
    spectrum: Spectrum,
    bands: Vec<Range<usize>>,
    /// The window that got full, in order, in the precision that features are computed in.
    scratch: Vec<f64>,
}

impl Processor for VibrationFeatures {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        let spectrum = Spectrum::new(config.window).map_err(|error| Error::BadConfig(format!("window: {error}")))?;
        let hop = config.hop.unwrap_or(config.window);
        if !(1..=config.window).contains(&hop) {
            return Err(Error::BadConfig(format!(
                "hop is {hop}, and has to be 1 to window ({})",
                config.window
            )));
        }
        check_shape(&config.shape, hop)?;
        let series = Series::new(keys(&config)?);
        Ok(Self {
            bands: bands(&config, &spectrum)?,
            input: TensorSpec::new(config.input, Datatype::Fp32, config.shape),
            output: config.output,
            remove_mean: config.remove_mean,
            empty: SlidingWindow::new(config.window, hop),
            series,
            spectrum,
            scratch: Vec::with_capacity(config.window),
        })
    }

    fn signature(&self) -> Signature {
        let width = (TIME_FEATURES + self.bands.len()) as i64;
        let output = TensorSpec::new(&self.output, Datatype::Fp32, vec![1, width]);
        let series = self
            .series
            .state_bytes(4 + state::LENGTH_BYTES + 4 * self.empty.length());
        Signature {
            inputs: vec![self.input.clone()],
            outputs: vec![output],
            state_bytes: (state::VERSION_BYTES + series) as u32,
        }
    }

    fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let key = context.key.as_deref();
        if context.gap
            && let Some(window) = self.series.known(key)
        {
            window.clear();
        }
        let chunk = take(inputs, &self.input.name)?;
        chunk.check(&self.input)?;
        let samples = chunk.f32s()?;
        if samples.len() > self.empty.hop() {
            return Err(Error::BadInput(format!(
                "chunk of {} samples is longer than the hop of {}: it could fill two windows",
                samples.len(),
                self.empty.hop()
            )));
        }
        let empty = &self.empty;
        let window = self.series.of(key, || empty.clone())?;
        if let Some(position) = samples.clone().position(|sample| !sample.is_finite()) {
            window.clear();
            host::counter("vibration-gaps", 1);
            return Err(Error::BadInput(format!(
                "sample {position} of the chunk is no finite number: window restarted"
            )));
        }
        if !window.extend(samples, &mut self.scratch) {
            return Ok(Vec::new());
        }
        let features = self.features()?;
        Ok(vec![Tensor::from_f32(
            &self.output,
            vec![1, features.len() as u64],
            &features,
        )])
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = state::Writer::new(STATE_VERSION);
        self.series.write(&mut writer, |window, writer| {
            writer.u32(window.wanted() as u32);
            writer.f32s(window.samples());
        });
        writer.finish()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = state::Reader::new(STATE_VERSION, bytes)?;
        let series = self.series.read(&mut reader, |reader| {
            let (wanted, samples) = (reader.u32()?, reader.f32s()?);
            let mut window = self.empty.clone();
            if window.restore(wanted as usize, &samples) {
                return Ok(window);
            }
            Err(Error::BadConfig("saved state belongs to another window or hop".into()))
        })?;
        reader.finish()?;
        self.series = series;
        Ok(())
    }
}

impl VibrationFeatures {
    /// Of the window in `scratch`.
    fn features(&mut self) -> Result<Vec<f32>, Error> {
        if self.remove_mean {
            let mean = signal::mean(&self.scratch);
            self.scratch.iter_mut().for_each(|sample| *sample -= mean);
        }
        let window = &self.scratch;
        let mut features = Vec::with_capacity(TIME_FEATURES + self.bands.len());
        features.push(signal::rms(window) as f32);
        features.push(signal::peak(window) as f32);
        // A dead sensor has neither; 0 is what no signal can have, so a model can tell.
        features.push(signal::crest_factor(window).unwrap_or(0.0) as f32);
        features.push(signal::kurtosis(window).unwrap_or(0.0) as f32);
        let power = self
            .spectrum
            .power(window)
            .map_err(|error| Error::Internal(error.to_string()))?;
        features.extend(self.bands.iter().map(|band| {
            let energy: f64 = power.get(band.clone()).unwrap_or_default().iter().sum();
            energy as f32
        }));
        Ok(features)
    }
}

fn default_shape() -> Vec<i64> {
    vec![1, -1]
}

const fn default_remove_mean() -> bool {
    true
}

fn keys(config: &Config) -> Result<usize, Error> {
    let keys = config.max_keys.check()?;
    if keys.saturating_mul(config.window) > MAX_SAMPLES {
        return Err(Error::BadConfig(format!(
            "max_keys is {keys} and window {}: at most {MAX_SAMPLES} samples have room",
            config.window
        )));
    }
    Ok(keys)
}

fn check_shape(shape: &[i64], hop: usize) -> Result<(), Error> {
    let (last, others) = shape
        .split_last()
        .ok_or_else(|| Error::BadConfig("shape needs a dimension".into()))?;
    if others.iter().any(|&size| size != 1) {
        return Err(Error::BadConfig(format!(
            "shape is {shape:?}: all dimensions but the last have to be 1"
        )));
    }
    if usize::try_from(*last).is_ok_and(|chunk| chunk > hop) {
        return Err(Error::BadConfig(format!(
            "shape has chunks of {last} samples and hop is {hop}: a chunk could fill two windows"
        )));
    }
    Ok(())
}

fn bands(config: &Config, spectrum: &Spectrum) -> Result<Vec<Range<usize>>, Error> {
    let rate = config.sample_rate_hz;
    if !(rate.is_finite() && rate > 0.0) {
        return Err(Error::BadConfig(format!(
            "sample_rate_hz is {rate}, and has to be above 0"
        )));
    }
    if config.bands_hz.len() > MAX_BANDS {
        return Err(Error::BadConfig(format!(
            "bands_hz has {} bands: at most {MAX_BANDS}",
            config.bands_hz.len()
        )));
    }
    let band = |(index, [low, high]): (usize, &[f64; 2])| {
        if !(*low >= 0.0 && low < high && *high <= rate / 2.0) {
            return Err(Error::BadConfig(format!(
                "bands_hz[{index}] is {low} to {high}: it has to rise, from 0 at least to {} at most, half the sample rate",
                rate / 2.0
            )));
        }
        let bins = spectrum.bins(*low, *high, rate);
        if bins.is_empty() {
            return Err(Error::BadConfig(format!(
                "bands_hz[{index}] is {low} to {high}: no bin falls into it, they stand {} Hz apart",
                rate / config.window as f64
            )));
        }
        Ok(bins)
    };
    config.bands_hz.iter().enumerate().map(band).collect()
}

#[cfg(test)]
mod tests;
