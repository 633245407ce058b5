//! `spectral`: the spectrum of each frame of a signal, its mel bands, and their levels.
//!
//! Chunks of samples are gathered into frames that start `hop` samples apart. Until a frame is full the answer is "not
//! yet". README.md has the configuration, the formulas and what librosa's settings are here.

mod config;

use config::Shape;
pub use config::{Config, Decibels, Function, Level, Logarithm, Mel, MelNorm, MelScale, Scaling, Values};
use floorhand_plugin_sdk::{
    Assets, Context, Datatype, Error, Processor, Series, Signature, Tensor, TensorSpec, host, state, take,
};
use floorhand_statistics::{
    decibel::{self, Decibel},
    frames::Frames,
    mel::MelFilters,
    spectrum::Spectrum,
};

floorhand_plugin_sdk::export!(Spectral as processor);

/// Values of an answer: what the host takes by default, 8 MiB.
const MAX_VALUES: usize = 1 << 21;

/// The format of the snapshot.
const STATE_VERSION: u32 = 1;

/// The configured plugin and the samples of the frame that is filling.
#[derive(Debug)]
pub struct Spectral {
    input: TensorSpec,
    output: TensorSpec,
    gain: f64,
    /// What each key begins with.
    empty: Frames,
    series: Series<Frames>,
    spectrum: Spectrum,
    /// Whether a chunk may complete several frames.
    several: bool,
    form: Form,
}

/// What is told of a frame's power.
#[derive(Debug)]
struct Form {
    magnitude: bool,
    mel: Option<MelFilters>,
    scale: Scale,
}

/// How a band is told.
#[derive(Debug)]
enum Scale {
    Linear,
    Decibel(Decibel),
    /// With this floor.
    Logarithm(f64),
}

impl Processor for Spectral {
    type Config = Config;

    fn configure(config: Config, _assets: &Assets) -> Result<Self, Error> {
        let Shape { hop, spec } = config.shape()?;
        let spectrum = config.spectrum()?;
        let empty = Frames::new(config.window, hop).map_err(|error| bad(format!("hop: {error}")))?;
        let mel = config.filters()?;
        let columns = match &mel {
            Some(filters) => filters.filters(),
            None => config.window / 2 + 1,
        };
        let names = mel
            .iter()
            .flat_map(|filters| (0..filters.filters()).map(|band| format!("mel_{band}")));
        let rows = if config.several { -1 } else { 1 };
        let output = TensorSpec::new(&config.output, Datatype::Fp32, vec![rows, columns as i64]).with_fields(names);
        Ok(Self {
            input: spec,
            output,
            gain: config.gain()?,
            series: Series::new(config.keys()?),
            empty,
            spectrum,
            several: config.several,
            form: Form {
                magnitude: config.values == Values::Magnitude,
                scale: config.scale()?,
                mel,
            },
        })
    }

    fn signature(&self) -> Signature {
        let series = self.series.state_bytes(state::LENGTH_BYTES + 8 * self.empty.length());
        Signature {
            inputs: vec![self.input.clone()],
            outputs: vec![self.output.clone()],
            state_bytes: (state::VERSION_BYTES + series) as u32,
        }
    }

    fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let key = context.key.as_deref();
        if context.gap
            && let Some(frames) = self.series.known(key)
        {
            frames.clear();
        }
        let chunk = take(inputs, &self.input.name)?;
        chunk.check(&self.input)?;
        let samples = chunk.numbers()?;
        self.check_length(samples.len())?;
        let empty = &self.empty;
        let frames = self.series.of(key, || empty.clone())?;
        if let Some(position) = chunk.numbers()?.position(|sample| !(sample * self.gain).is_finite()) {
            frames.clear();
            host::counter("spectral-gaps", 1);
            return Err(Error::BadInput(format!(
                "sample {position} of the chunk is no finite number: frame restarted"
            )));
        }
        let mut rows = 0;
        let mut bands: Vec<f32> = Vec::new();
        for sample in samples {
            if let Some(frame) = frames.push(sample * self.gain) {
                let power = self.spectrum.power(frame).map_err(internal)?;
                let told = self.form.told(power.to_vec())?;
                bands.extend(told.into_iter().map(|band| band as f32));
                rows += 1;
            }
        }
        if rows == 0 {
            return Ok(Vec::new());
        }
        let shape = vec![rows, bands.len() as u64 / rows];
        Ok(vec![Tensor::from_f32(&self.output.name, shape, &bands)])
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut writer = state::Writer::new(STATE_VERSION);
        self.series.write(&mut writer, |frames, writer| {
            writer.f64s(frames.state().iter().copied());
        });
        writer.finish()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = state::Reader::new(STATE_VERSION, bytes)?;
        let series = self.series.read(&mut reader, |reader| {
            let samples = reader.f64s()?;
            if samples.iter().any(|sample| !sample.is_finite()) {
                return Err(bad("saved state holds what is no finite number".into()));
            }
            let mut frames = self.empty.clone();
            let restored = frames.restore(&samples);
            restored.map(|()| frames).map_err(|error| bad(error.to_string()))
        })?;
        reader.finish()?;
        self.series = series;
        Ok(())
    }
}

impl Spectral {
    fn check_length(&self, samples: usize) -> Result<(), Error> {
        let hop = self.empty.hop();
        if samples > hop && !self.several {
            return Err(Error::BadInput(format!(
                "chunk of {samples} samples is longer than the hop of {hop}: it could fill two frames"
            )));
        }
        let columns = self
            .output
            .shape
            .last()
            .map_or(1, |columns| columns.unsigned_abs() as usize);
        if samples.div_ceil(hop).saturating_mul(columns) > MAX_VALUES {
            return Err(Error::BadInput(format!(
                "chunk of {samples} samples could fill frames of more than {MAX_VALUES} values: take shorter ones"
            )));
        }
        Ok(())
    }
}

impl Form {
    /// From a frame's power to the answer: root, filters, level.
    fn told(&self, mut bands: Vec<f64>) -> Result<Vec<f64>, Error> {
        if self.magnitude {
            decibel::magnitudes(&mut bands);
        }
        if let Some(filters) = &self.mel {
            let mut filtered = vec![0.0; filters.filters()];
            filters.apply(&bands, &mut filtered).map_err(internal)?;
            bands = filtered;
        }
        match &self.scale {
            Scale::Linear => {}
            Scale::Decibel(decibel) => decibel.levels(&mut bands),
            Scale::Logarithm(floor) => decibel::natural_logarithms(&mut bands, *floor),
        }
        Ok(bands)
    }
}

/// Lengths are agreed on in `configure`.
fn internal(error: impl ToString) -> Error {
    Error::Internal(error.to_string())
}

const fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

#[cfg(test)]
mod tests;
